//! What stands between a client and its S3 server, and makes of each request what a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The server answers it.
    Pass,
    /// It never comes to the server; this is the answer: status and body.
    Answer(u16, String),
    /// The server does it; this is the answer all the same.
    AnswerAfter(u16, String),
    /// The connection is reset before the server hears of it.
    ResetBefore,
    /// The server does it, and the connection is reset before the answer.
    ResetAfter,
    /// The server does it, and the connection is closed before the answer.
    CloseAfter,
    /// The server answers it, late.
    Slow(Duration),
    /// The server is sent it without the condition that nothing be there.
    WithoutCondition,
}

/// A request as it came: its first line, and its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head: String,
    body: Vec<u8>,
}

/// The answer to a listing of nothing.
pub(crate) const NOTHING_LISTED: &str = "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";

/// Serves on a free port of loopback until it is dropped.
pub(crate) struct S3Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    runtime: Option<Runtime>,
}

type Decide = Arc<dyn Fn(&Request) -> Fate + Send + Sync>;

/// What S3 says in an error.
pub(crate) fn error_body(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

impl Request {
    /// Such as `PUT`.
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The path and the query.
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether it is to create what must be absent.
    pub(crate) fn is_create(&self) -> bool {
        self.head.to_lowercase().contains("if-none-match: *")
    }
}

impl S3Proxy {
    /// In front of the server at `url`; `decide` is asked of each request.
    pub(crate) fn start(
        url: &str,
        decide: impl Fn(&Request) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let (_, target) = url.split_once("://").unwrap();
        let target: SocketAddr = target.parse().unwrap();
        let decide: Decide = Arc::new(decide);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let noted = Arc::clone(&seen);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(
                    client,
                    target,
                    Arc::clone(&decide),
                    Arc::clone(&noted),
                ));
            }
        });
        Self {
            address,
            seen,
            runtime: Some(runtime),
        }
    }

    /// A server that answers everything itself.
    pub(crate) fn answering(
        decide: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        Self::start("http://127.0.0.1:1", move |request| {
            let (status, body) = decide(request);
            Fate::Answer(status, body)
        })
    }

    /// Its address: what `AWS_ENDPOINT_URL` is to be.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        // It may be dropped on another runtime, which must not wait for this one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    decide: Decide,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    while let Some(request) = read_request(&mut client).await {
        seen.lock().unwrap().push(request.clone());
        let (answer, is_last) = match decide(&request) {
            Fate::Pass => (pass_on(&request, server).await, false),
            Fate::Answer(status, body) => (answer(&request, status, &body), false),
            Fate::AnswerAfter(status, body) => {
                pass_on(&request, server).await;
                (answer(&request, status, &body), false)
            }
            Fate::ResetBefore => {
                let _ = client.set_zero_linger();
                (Vec::new(), true)
            }
            Fate::ResetAfter => {
                pass_on(&request, server).await;
                let _ = client.set_zero_linger();
                (Vec::new(), true)
            }
            Fate::CloseAfter => {
                pass_on(&request, server).await;
                (Vec::new(), true)
            }
            Fate::Slow(delay) => {
                tokio::time::sleep(delay).await;
                (pass_on(&request, server).await, false)
            }
            Fate::WithoutCondition => {
                let lines = request.head.split_inclusive("\r\n");
                let others = lines.filter(|line| !line.to_lowercase().starts_with("if-none-match"));
                let request = Request {
                    head: others.collect(),
                    ..request
                };
                (pass_on(&request, server).await, false)
            }
        };
        if is_last || client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn read_request(client: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    client.read_exact(&mut body).await.ok()?;
    Some(Request { head, body })
}

/// Has the server do it; its answer, with the connection kept.
async fn pass_on(request: &Request, server: SocketAddr) -> Vec<u8> {
    let mut server = TcpStream::connect(server).await.unwrap();
    let head = request.head.trim_end_matches("\r\n");
    let head = format!("{head}\r\nConnection: close\r\n\r\n");
    server.write_all(head.as_bytes()).await.unwrap();
    server.write_all(&request.body).await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    let end_of_head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = answer.split_off(end_of_head.unwrap() + 4);
    let head = String::from_utf8(answer).unwrap();
    let kept = head
        .split_inclusive("\r\n")
        .filter(|line| !line.to_lowercase().starts_with("connection:"));
    let mut answer = kept.collect::<String>().into_bytes();
    answer.extend(body);
    answer
}

fn answer(request: &Request, status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    let body = if request.method() == "HEAD" { "" } else { body };
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nETag: \"0\"\r\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n{body}"
    )
    .into_bytes()
}
