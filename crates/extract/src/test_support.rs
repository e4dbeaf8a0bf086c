//! A small HTTP server, written by hand so that tests see and send exact bytes, and what most tests start with.
//!
//! Tests run client and server in one runtime with a paused clock. No timer may be pending while a socket is waited
//! for, or the clock would jump to it: so the settings here switch timeouts off.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use answerlake_model::Window;
use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use url::Url;

use crate::config::{AuthConfig, ExtractConfig, SourceConfig};
use crate::error::BoxError;
use crate::job::{Claiming, ExportRequest, JobClaim, JobRecord, JobStore, StoredJob};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The request line, `GET /path HTTP/1.1`.
    pub(crate) line: String,
    /// The header lines, names in lower case as reqwest sends them.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(&start))
    }

    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn is_post(&self) -> bool {
        self.line.starts_with("POST ")
    }
}

/// Serves until dropped.
pub(crate) struct Server {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    pace: Arc<Mutex<Pace>>,
    task: AbortHandle,
}

/// How fast the server is, and how many downloads it has had open.
#[derive(Default)]
struct Pace {
    delay: Duration,
    open: usize,
    most: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request with the bytes that `answer` gives for it; closes the connection after each.
    pub(crate) async fn start(answer: impl FnMut(&Seen) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(answer));
        let log = Arc::clone(&seen);
        let pace = Arc::new(Mutex::new(Pace::default()));
        let paced = Arc::clone(&pace);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let pace = Arc::clone(&paced);
                tokio::spawn(async move {
                    let (mut stream, request) = read(stream).await?;
                    let bytes = (answer.lock().unwrap())(&request);
                    let download = usize::from(!request.path().contains("/api/"));
                    log.lock().unwrap().push(request);
                    let delay = {
                        let mut pace = pace.lock().unwrap();
                        pace.open += download;
                        pace.most = pace.most.max(pace.open);
                        pace.delay
                    };
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    pace.lock().unwrap().open -= download;
                    stream.write_all(&bytes).await?;
                    stream.shutdown().await
                });
            }
        });
        Self {
            url: url.parse().unwrap(),
            seen,
            pace,
            task: task.abort_handle(),
        }
    }

    /// Takes so long for each answer, by the paused clock.
    pub(crate) fn slow(self, delay: Duration) -> Self {
        self.pace.lock().unwrap().delay = delay;
        self
    }

    /// How many downloads were open at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.pace.lock().unwrap().most
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| wanted(seen)).count()
    }
}

async fn read(mut stream: TcpStream) -> std::io::Result<(TcpStream, Seen)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n").map(str::to_owned);
    let mut seen = Seen {
        line: lines.next().unwrap(),
        headers: lines.collect(),
        body: String::new(),
    };
    let length = seen
        .header("content-length")
        .map_or(0, |n| n.parse().unwrap());
    while bytes.len() < head + 4 + length {
        stream.read_buf(&mut bytes).await?;
    }
    seen.body = String::from_utf8(bytes[head + 4..].to_vec()).unwrap();
    Ok((stream, seen))
}

/// An answer with these header lines.
pub(crate) fn answer(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if !headers
        .iter()
        .any(|line| line.starts_with("content-length"))
    {
        bytes += &format!("content-length: {}\r\n", body.len());
    }
    for line in headers {
        bytes += &format!("{line}\r\n");
    }
    let mut bytes = (bytes + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer(200, &[], body)
}

/// Nothing at all: the connection is closed after the request.
pub(crate) fn hang_up() -> Vec<u8> {
    Vec::new()
}

pub(crate) fn running(percent: u32) -> Vec<u8> {
    ok(format!(
        r#"{{"_id": "fj-1", "status": "INPROGRESS", "percentageDone": {percent}}}"#
    ))
}

/// A finished job with these links, each of one record.
pub(crate) fn finished(links: &[&str]) -> Vec<u8> {
    let files: Vec<_> = links
        .iter()
        .map(|link| serde_json::json!({"fileUrl": link, "recordCount": 1}))
        .collect();
    let job = serde_json::json!({
        "_id": "fj-1",
        "status": "SUCCESS",
        "analyticsFragments": files,
        "store": {"totalFiles": links.len(), "totalRecords": links.len()},
    });
    ok(job.to_string())
}

pub(crate) const TOKEN: &str = "secret-token";

/// Settings for a test against `host`: a fixed token, no timeouts, no rate limits to speak of.
pub(crate) fn config(host: &Url) -> ExtractConfig {
    let source = SourceConfig {
        host: host.clone(),
        app_id: "st-1".parse().unwrap(),
        event: None,
    };
    let mut config = ExtractConfig::new(source, AuthConfig::Token(TOKEN.into()));
    config.http.connect_timeout = Duration::ZERO;
    config.fetch.timeout = Duration::ZERO;
    config.rate.per_minute = 100_000;
    config.rate.per_hour = 1_000_000;
    config
}

/// A day of app `st-1`.
pub(crate) fn request() -> ExportRequest {
    ExportRequest {
        app_id: "st-1".parse().unwrap(),
        range: Window::try_new(
            "2025-06-28T00:00:00Z".parse().unwrap(),
            "2025-06-29T00:00:00Z".parse().unwrap(),
        )
        .unwrap(),
        event: None,
    }
}

/// Keeps what was stored last, and says what was done to it.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) kept: Mutex<Option<StoredJob>>,
    pub(crate) log: Mutex<Vec<String>>,
    /// Whether claims find that the request is not wanted any more.
    pub(crate) is_unwanted: bool,
}

impl MemoryStore {
    pub(crate) fn with(record: JobRecord) -> Self {
        Self::with_stored(StoredJob::Started(record))
    }

    pub(crate) fn with_stored(stored: StoredJob) -> Self {
        Self {
            kept: Mutex::new(Some(stored)),
            ..Self::default()
        }
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn say(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn find(&self, request: &ExportRequest) -> Result<Option<StoredJob>, BoxError> {
        let kept = self.kept.lock().unwrap().clone();
        Ok(kept.filter(|kept| match kept {
            StoredJob::Claimed { claim, .. } => claim.request == *request,
            StoredJob::Started(record) => record.request == *request,
        }))
    }

    async fn claim(&self, claim: &JobClaim) -> Result<Claiming, BoxError> {
        if self.is_unwanted {
            return Ok(Claiming::Unwanted);
        }
        self.say(format!("claim {}", claim.generation));
        *self.kept.lock().unwrap() = Some(StoredJob::Claimed {
            claim: claim.clone(),
            is_abandoned: false,
        });
        Ok(Claiming::Ours)
    }

    async fn release(&self, claim: &JobClaim) -> Result<(), BoxError> {
        self.say(format!("release {}", claim.generation));
        *self.kept.lock().unwrap() = None;
        Ok(())
    }

    async fn save(&self, record: &JobRecord) -> Result<(), BoxError> {
        self.say(format!("save {}", record.job_id));
        *self.kept.lock().unwrap() = Some(StoredJob::Started(record.clone()));
        Ok(())
    }

    async fn forget(&self, record: &JobRecord) -> Result<(), BoxError> {
        self.say(format!("forget {}", record.job_id));
        *self.kept.lock().unwrap() = None;
        Ok(())
    }
}
