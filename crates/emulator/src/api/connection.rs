//! Connections that can be reset, and a port that can be shut for a while.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Whether the port is shut, and until when.
#[derive(Debug, Default)]
pub(super) struct Shutter {
    until: Mutex<Option<Instant>>,
    shut: Notify,
}

impl Shutter {
    /// Refuses connections from now on, for so long.
    pub(super) fn shut(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut known = self.until.lock().expect("no holder of this lock panics");
        *known = Some(known.map_or(until, |known| known.max(until)));
        self.shut.notify_one();
    }

    fn is_shut_until(&self) -> Option<Instant> {
        let until = *self.until.lock().expect("no holder of this lock panics");
        until.filter(|until| *until > Instant::now())
    }
}

/// The port that is listened on.
pub(super) struct Port {
    listener: Option<TcpListener>,
    address: SocketAddr,
    shutter: Arc<Shutter>,
}

impl Port {
    pub(super) fn new(listener: TcpListener, address: SocketAddr, shutter: Arc<Shutter>) -> Self {
        Self {
            listener: Some(listener),
            address,
            shutter,
        }
    }

    /// Listens again once the port may be open. Who has taken it meanwhile gives it back at some time.
    async fn reopened(&mut self) -> &TcpListener {
        while let Some(until) = self.shutter.is_shut_until() {
            self.listener = None;
            tokio::time::sleep_until(until).await;
        }
        while self.listener.is_none() {
            match TcpListener::bind(self.address).await {
                Ok(listener) => self.listener = Some(listener),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        self.listener.as_ref().expect("it was bound just now")
    }
}

impl Listener for Port {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let shutter = Arc::clone(&self.shutter);
        loop {
            let listener = self.reopened().await;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutter.shut.notified() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        stream,
                        reset: Reset::default(),
                        shutter,
                    };
                    return (connection, peer);
                }
                // Too many open files, say: some are closed soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Resets one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

impl Reset {
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Port>> for Reset {
    fn connect_info(stream: IncomingStream<'_, Port>) -> Self {
        stream.io().reset.clone()
    }
}

/// A connection that breaks off when it is to be reset, or the port is shut.
pub(super) struct Connection {
    stream: TcpStream,
    reset: Reset,
    shutter: Arc<Shutter>,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.reset.0.load(Ordering::Relaxed) || self.shutter.is_shut_until().is_some() {
            // What closes it then does so by a reset, not in good order.
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Who gave it up has not always tried to write to it once more.
        let _ = self.check();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
