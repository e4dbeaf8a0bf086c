//! An S3 server on this machine: moto, from the Python that `make test` prepares. It knows create-if-absent, and keeps
//! it among several clients at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Serves on a free port of loopback, says which, and ends when its input does: with the test that started it, however
/// that ends. A listener that is bound before the server is made knows its port at once.
const SERVE: &str = "
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
import threading
WSGIRequestHandler.protocol_version = 'HTTP/1.1'
WSGIRequestHandler.log_request = lambda *arguments: None
application = DomainDispatcherApplication(create_backend_app)
server = make_server('127.0.0.1', 0, application, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.port, flush=True)
sys.stdin.read()
";

/// A server, and what is stored in it, until it is dropped or the process that started it ends.
pub(crate) struct S3Server {
    port: u16,
    process: Child,
    buckets: AtomicU64,
}

impl S3Server {
    /// Starts it, and waits until it serves.
    pub(crate) fn start(python: &Path) -> Self {
        let mut process = Command::new(python)
            .args(["-c", SERVE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let port = said.trim().parse();
        Self {
            port: port.unwrap_or_else(|_| panic!("moto did not start: is it in {python:?}?")),
            process,
            buckets: AtomicU64::new(0),
        }
    }

    /// Its address: what `AWS_ENDPOINT_URL` is to be.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the environment of a client holds.
    pub(crate) fn variables(&self) -> [(String, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url().as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIATEST"),
            ("AWS_SECRET_ACCESS_KEY", "secret-of-the-tests"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// Makes a bucket that nobody else uses.
    pub(crate) fn new_bucket(&self) -> String {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("bucket-{number}");
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            connection,
            "PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        bucket
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
