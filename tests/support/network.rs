//! What stands between the program and its source: a server of TLS, and a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject};

/// Passes on what it is sent to another server, and notes it.
pub(crate) struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    _runtime: Runtime,
}

/// A certificate that nobody but its maker trusts.
pub(crate) struct Certificate {
    pem: String,
    tls: TlsAcceptor,
}

impl Certificate {
    /// For these hosts.
    pub(crate) fn new(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(hosts).unwrap();
        let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Self {
            pem: cert.pem(),
            tls: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// It, as a file that can be trusted holds it.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }
}

impl Relay {
    /// A server of TLS in front of the one at `url`.
    pub(crate) fn tls(certificate: &Certificate, url: &str) -> Self {
        let tls = certificate.tls.clone();
        Self::start(url, move |client, target, seen| {
            let tls = tls.clone();
            async move {
                // Who does not trust the certificate goes away here.
                if let Ok(client) = tls.accept(client).await {
                    pass_on(client, target, &seen).await;
                }
            }
        })
    }

    /// A proxy to which every host is the server at `url`.
    pub(crate) fn proxy(url: &str) -> Self {
        Self::start(url, |client, target, seen| async move {
            pass_on(client, target, &seen).await;
        })
    }

    fn start<F>(
        url: &str,
        serve: impl Fn(TcpStream, SocketAddr, Arc<Mutex<Vec<u8>>>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (_, target) = url.split_once("://").unwrap();
        let target: SocketAddr = target.parse().unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::default());
        let noted = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, Arc::clone(&noted)));
            }
        });
        Self {
            address,
            seen,
            _runtime: runtime,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// All that it was sent, as text.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

async fn pass_on(client: impl AsyncRead + AsyncWrite, target: SocketAddr, seen: &Mutex<Vec<u8>>) {
    let (from_client, mut to_client) = tokio::io::split(client);
    let mut from_client = BufReader::new(from_client);
    let mut server = TcpStream::connect(target).await.unwrap();
    let (mut from_server, mut to_server) = server.split();
    if from_client
        .fill_buf()
        .await
        .unwrap_or_default()
        .starts_with(b"CONNECT ")
    {
        // A tunnel: of what goes through it, only this head is for the proxy.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if from_client.read_until(b'\n', &mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        seen.lock().unwrap().extend(head);
        to_client
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .await
            .unwrap();
    }
    let there = async {
        let mut buffer = [0; 8 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            seen.lock().unwrap().extend(&buffer[..read]);
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    // Either side may end it.
    tokio::select! {
        () = there => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}
