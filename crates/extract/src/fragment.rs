//! From a finished job to files on disk, in order.
//!
//! Downloads run side by side, each in a task of its own: while the receiver is busy they go on, instead of letting
//! the source's connections time out. How far they run ahead is bounded by `fetch.concurrency` and the channel.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use answerlake_model::JobId;
use futures::StreamExt;
use reqwest::Response;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, warn};
use url::Url;

use crate::client::ExportClient;
use crate::error::{BoxError, Call, ExtractError};
use crate::job::FinishedJob;
use crate::wire;

/// How often a fragment's link may be replaced by a fresh one.
const MOST_FRESH_LINKS: u32 = 2;
/// How much of a body is looked into for an error; a longer one is no error message.
const PEEK_BYTES: usize = 64 << 10;
const FILE_BUFFER_BYTES: usize = 256 << 10;

/// A fragment that a job offers, not fetched yet.
#[derive(Debug, Clone)]
pub struct FragmentRef {
    /// Its place in the job, from 1.
    pub position: usize,
    /// `recordCount`; older jobs do not tell.
    pub promised_records: Option<u64>,
    pub(crate) link: SignedLink,
}

/// A fragment on disk, as received: perhaps compressed with gzip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFragment {
    /// Its place in the job, from 1.
    pub position: usize,
    /// The file.
    pub path: PathBuf,
    /// The file's size.
    pub bytes: u64,
    /// `recordCount`; older jobs do not tell.
    pub promised_records: Option<u64>,
}

/// A link to a fragment. Its query is a signature, which is masked when the link is shown.
///
/// It is sent as a browser would send it: every character that may stand in an address is left alone, `$`, `|` and
/// `%24` included; only blanks, quotes, `<`, `>` and what is not ASCII are percent-encoded, as they must be.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SignedLink(Url);

impl SignedLink {
    /// Reads a link, relative ones against the host of the API.
    pub(crate) fn try_new(link: Option<&str>, host: &Url) -> Result<Self, &'static str> {
        let link = link.ok_or("it is missing")?;
        let url = host.join(link).map_err(|_| "it is no address")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("expected an `http` or `https` address");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for SignedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.0.scheme(), self.0.host_str().unwrap_or_default());
        write!(f, "{scheme}://{host}")?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())?;
        if self.0.query().is_some() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SignedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl ExportClient {
    /// Downloads all fragments of the job into `folder`, which exists, and sends them to `ready` strictly in order.
    ///
    /// A file is `fragment-00001.json`, and has `.part` behind its name until it is whole. At most
    /// `fetch.concurrency` downloads run at once, over all jobs of the client and its clones; up to as many whole
    /// files wait for those before them. Links that have expired are replaced by asking the job again, and only
    /// what is missing is fetched.
    ///
    /// # Errors
    /// At the first fragment, in order, that cannot be fetched; those before it have been sent. Also when the
    /// receiver is gone.
    pub async fn fetch_fragments(
        &self,
        job: &FinishedJob,
        folder: &Path,
        ready: mpsc::Sender<FetchedFragment>,
    ) -> Result<(), ExtractError> {
        let links = Arc::new(Links::new(job));
        if let Some(landing) = &self.landing {
            landing.job(job).await.map_err(landed)?;
        }
        let fetch = |fragment: &FragmentRef| {
            let download = Download {
                client: self.clone(),
                job_id: job.record.job_id.clone(),
                position: fragment.position,
                promised_records: fragment.promised_records,
                path: folder.join(format!("fragment-{:05}.json", fragment.position)),
            };
            let links = Arc::clone(&links);
            let fetching = async move { download.run(&links).await };
            AbortOnDropHandle::new(tokio::spawn(fetching.in_current_span()))
        };
        let mut fetched = futures::stream::iter(&job.fragments)
            .map(fetch)
            .buffered(self.shared.config.fetch.concurrency);
        while let Some(outcome) = fetched.next().await {
            let fragment = outcome.expect("a download does not panic and is aborted only by us")?;
            if ready.send(fragment).await.is_err() {
                return Err(ExtractError::ReceiverGone);
            }
        }
        Ok(())
    }
}

/// The links of a job's fragments; fresh ones are fetched once for all that need them.
struct Links {
    job_id: JobId,
    current: Mutex<Generation>,
}

struct Generation {
    number: u32,
    links: Vec<SignedLink>,
}

impl Links {
    fn new(job: &FinishedJob) -> Self {
        let links = job.fragments.iter();
        Self {
            job_id: job.record.job_id.clone(),
            current: Mutex::new(Generation {
                number: 0,
                links: links.map(|fragment| fragment.link.clone()).collect(),
            }),
        }
    }

    /// The link of a fragment, and which generation it is of.
    async fn link(&self, position: usize) -> (u32, SignedLink) {
        let current = self.current.lock().await;
        (current.number, current.links[position - 1].clone())
    }

    /// Asks for fresh links, unless those of `generation` have been replaced meanwhile.
    async fn refresh(&self, generation: u32, client: &ExportClient) -> Result<(), ExtractError> {
        let mut current = self.current.lock().await;
        if current.number == generation {
            let count = current.links.len();
            current.links = client.fresh_links(&self.job_id, count).await?;
            current.number += 1;
        }
        Ok(())
    }
}

/// The download of one fragment.
struct Download {
    client: ExportClient,
    job_id: JobId,
    position: usize,
    promised_records: Option<u64>,
    path: PathBuf,
}

impl Download {
    async fn run(self, links: &Links) -> Result<FetchedFragment, ExtractError> {
        let downloads = &self.client.shared.downloads;
        let _turn = downloads
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let mut refreshed = 0;
        let bytes = loop {
            let (generation, link) = links.link(self.position).await;
            match self.fetch(&link).await {
                Ok(bytes) => break bytes,
                Err(error @ ExtractError::LinkRefused { .. }) if refreshed < MOST_FRESH_LINKS => {
                    warn!(
                        job_id = %self.job_id,
                        fragment = self.position,
                        error = error.chain(),
                        "link not honoured, asking for a fresh one"
                    );
                    self.client.shared.counters.retried();
                    links.refresh(generation, &self.client).await?;
                    refreshed += 1;
                }
                Err(error) => return Err(error),
            }
        };
        debug!(job_id = %self.job_id, fragment = self.position, bytes, "fragment fetched");
        let fragment = FetchedFragment {
            position: self.position,
            path: self.path,
            bytes,
            promised_records: self.promised_records,
        };
        if let Some(landing) = &self.client.landing {
            let kept = landing.fragment(&self.job_id, &fragment).await;
            kept.map_err(landed)?;
        }
        Ok(fragment)
    }

    /// Fetches one link, as often as the settings allow.
    async fn fetch(&self, link: &SignedLink) -> Result<u64, ExtractError> {
        let shared = &self.client.shared;
        let policy = shared.retry_policy();
        policy
            .run(&shared.counters, ExtractError::is_transient, || {
                self.attempt(link)
            })
            .await
    }

    async fn attempt(&self, link: &SignedLink) -> Result<u64, ExtractError> {
        let call = Call::FetchFragment {
            job_id: self.job_id.clone(),
            position: self.position,
        };
        let response = self.client.shared.download(&call, &link.0).await?;
        let part = self.path.with_extension("json.part");
        let bytes = self.save(&call, response, &part).await?;
        let failed = |source| file_error(&self.path, source);
        tokio::fs::rename(&part, &self.path).await.map_err(failed)?;
        Ok(bytes)
    }

    /// Streams a body to a file, having looked at its beginning, and checks its length.
    async fn save(
        &self,
        call: &Call,
        mut response: Response,
        part: &Path,
    ) -> Result<u64, ExtractError> {
        let failed = |source| file_error(part, source);
        let expected = response.content_length();
        let mut peek = Peek::default();
        let mut got = 0_u64;
        // A file of an attempt that broke off may still be written to by a thread of tokio: a new file, not that one
        // made empty.
        match tokio::fs::remove_file(part).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let file = File::create(part).await.map_err(failed)?;
        let mut file = BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
        loop {
            let next = response.chunk().await;
            let Some(bytes) = next.map_err(|error| ExtractError::from_transport(call, error))?
            else {
                break;
            };
            self.client.shared.counters.fetched(bytes.len());
            if let Some(observer) = &self.client.observer {
                observer.received(bytes.len());
            }
            got += bytes.len() as u64;
            peek.take(&bytes);
            if peek.begins_like_html() {
                return Err(self.not_honoured("an HTML page came instead of a fragment"));
            }
            file.write_all(&bytes).await.map_err(failed)?;
        }
        if let Some(complaint) = peek.whole_body().and_then(wire::complaint)
            && let Some(error) = self.client.shared.error_in_body(call, &response, complaint)
        {
            return Err(error);
        }
        file.flush().await.map_err(failed)?;
        self.check_length(expected, got)
    }

    fn check_length(&self, expected: Option<u64>, got: u64) -> Result<u64, ExtractError> {
        let (job_id, position) = (self.job_id.clone(), self.position);
        match expected {
            Some(expected) if expected != got => Err(ExtractError::FragmentCutShort {
                job_id,
                position,
                expected,
                got,
            }),
            _ if got == 0 => Err(ExtractError::FragmentEmpty { job_id, position }),
            _ => Ok(got),
        }
    }

    fn not_honoured(&self, reason: &str) -> ExtractError {
        ExtractError::LinkRefused {
            job_id: self.job_id.clone(),
            position: self.position,
            reason: reason.to_owned(),
        }
    }
}

fn landed(source: BoxError) -> ExtractError {
    ExtractError::Landing { source }
}

fn file_error(path: &Path, source: std::io::Error) -> ExtractError {
    ExtractError::File {
        path: path.to_owned(),
        source,
    }
}

/// The beginning of a body.
#[derive(Default)]
struct Peek {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl Peek {
    fn take(&mut self, bytes: &[u8]) {
        let room = PEEK_BYTES - self.bytes.len();
        self.overflowed |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn first_character(&self) -> Option<u8> {
        let text = wire::without_bom(&self.bytes);
        text.iter()
            .copied()
            .find(|byte| !byte.is_ascii_whitespace())
    }

    fn begins_like_html(&self) -> bool {
        self.first_character() == Some(b'<')
    }

    /// The whole body, if it is short and a JSON object; compressed bodies begin otherwise.
    fn whole_body(&self) -> Option<&[u8]> {
        let is_object = !self.overflowed && self.first_character() == Some(b'{');
        is_object.then_some(self.bytes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex as Cell;
    use std::time::Duration;

    use super::*;
    use crate::test_support::{
        self, MemoryStore, Seen, Server, TOKEN, answer, finished, hang_up, ok, request, running,
    };

    /// A job whose fragments are `/1` to `/count` and later, when it is asked again, `/1?fresh=n`.
    async fn serve(
        count: usize,
        mut fragment: impl FnMut(&Seen, usize) -> Vec<u8> + Send + 'static,
    ) -> Server {
        let (mut polls, mut visits) = (0, HashMap::<String, usize>::new());
        Server::start(move |seen| {
            if seen.is_post() {
                running(0)
            } else if seen.path().contains("/jobs/") {
                polls += 1;
                let query = if polls > 1 {
                    format!("?fresh={polls}")
                } else {
                    String::new()
                };
                let links: Vec<_> = (1..=count).map(|n| format!("/{n}{query}")).collect();
                finished(&links.iter().map(String::as_str).collect::<Vec<_>>())
            } else {
                let visit = visits.entry(seen.path().to_owned()).or_default();
                *visit += 1;
                fragment(seen, *visit)
            }
        })
        .await
    }

    struct Fetched {
        result: Result<(), ExtractError>,
        fragments: Vec<FetchedFragment>,
        bodies: Vec<Vec<u8>>,
        left: Vec<String>,
        client: ExportClient,
    }

    async fn fetch(server: &Server) -> Fetched {
        let mut config = test_support::config(&server.url);
        config.fetch.retries = 2;
        let client = ExportClient::try_new(config).unwrap();
        let job = client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ready, mut fetched) = mpsc::channel(1);
        let receive = async {
            let mut fragments = Vec::new();
            while let Some(fragment) = fetched.recv().await {
                fragments.push(fragment);
            }
            fragments
        };
        let fetching = client.fetch_fragments(&job, folder.path(), ready);
        let (result, fragments) = tokio::join!(fetching, receive);
        let read = |fragment: &FetchedFragment| std::fs::read(&fragment.path).unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        Fetched {
            result,
            bodies: fragments.iter().map(read).collect(),
            fragments,
            left,
            client,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fragments_arrive_whole_and_in_order() {
        let server = serve(9, |seen, _| ok(format!("[{}]", &seen.path()[1..]))).await;
        let fetched = fetch(&server).await;
        fetched.result.unwrap();
        let positions: Vec<_> = fetched.fragments.iter().map(|f| f.position).collect();
        assert_eq!(positions, (1..=9).collect::<Vec<_>>());
        let bodies: Vec<_> = (1..=9).map(|n| format!("[{n}]").into_bytes()).collect();
        assert_eq!(fetched.bodies, bodies);
        assert_eq!(fetched.left[8], "fragment-00009.json");
        assert_eq!(
            (
                fetched.fragments[0].bytes,
                fetched.fragments[0].promised_records
            ),
            (3, Some(1))
        );
        assert_eq!(fetched.client.stats().bytes_fetched, 27);
        for seen in server
            .seen()
            .iter()
            .filter(|seen| !seen.path().contains("/api/"))
        {
            assert_eq!(seen.header("auth"), None);
            assert_eq!(seen.header("accept-encoding"), Some("gzip"));
            assert!(!format!("{:?}", seen.headers).contains(TOKEN));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn links_are_used_as_they_are() {
        let path = "/a%24b/getMediaStream/f-1.json?n=526269727&s=Il%24pV|^{}`[]+/=;:@!*(),~%2f$$";
        for (link, sent) in [
            (path.to_owned(), path),
            (
                "HOST?s=a b\"<é>'$$".to_owned(),
                "/?s=a%20b%22%3C%C3%A9%3E%27$$",
            ),
        ] {
            let answers = std::sync::Arc::new(Cell::new(String::new()));
            let link_of_job = std::sync::Arc::clone(&answers);
            let server = Server::start(move |seen| match seen.path() {
                path if path.ends_with("/jobs/fj-1") => finished(&[&link_of_job.lock().unwrap()]),
                _ if seen.is_post() => running(0),
                _ => ok("[]"),
            })
            .await;
            let host = server.url.as_str().trim_end_matches('/');
            *answers.lock().unwrap() = match link.strip_prefix("HOST") {
                Some(tail) => format!("{host}{tail}"),
                None => format!("{host}{link}"),
            };
            fetch(&server).await.result.unwrap();
            assert_eq!(server.seen()[2].line, format!("GET {sent} HTTP/1.1"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_not_honoured_is_replaced_and_only_the_missing_are_fetched() {
        let refusals = [
            answer(401, &[], ""),
            answer(403, &[], ""),
            answer(404, &[], ""),
            answer(410, &[], ""),
            ok("\u{feff} \n<!doctype html><html>sign in"),
            ok(r#" {"errors":[{"msg":"link expired","code":400}]}"#),
        ];
        for refusal in refusals {
            let server = serve(3, move |seen, _| match seen.path() {
                "/2" => refusal.clone(),
                path => ok(format!("[\"{path}\"]")),
            })
            .await;
            let fetched = fetch(&server).await;
            fetched.result.unwrap();
            assert_eq!(fetched.bodies[0], b"[\"/1\"]");
            assert_eq!(fetched.bodies[1], b"[\"/2?fresh=2\"]");
            assert_eq!(server.count(|seen| seen.path().contains("/jobs/")), 2);
            assert_eq!(server.count(|seen| seen.path().starts_with("/1")), 1);
            assert_eq!(fetched.left.len(), 3, "{:?}", fetched.left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn links_are_replaced_twice_at_most() {
        let server = serve(1, |_, _| answer(403, &[], "<Error>expired</Error>")).await;
        let fetched = fetch(&server).await;
        assert_eq!(
            fetched.result.unwrap_err().to_string(),
            "fragment 1 of job `fj-1`: the link is not honoured: status 403: <Error>expired</Error>"
        );
        assert_eq!(server.count(|seen| !seen.path().contains("/api/")), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_of_a_download_pass() {
        let faults = [
            answer(500, &[], ""),
            answer(408, &[], ""),
            answer(429, &["retry-after: 3"], ""),
            ok(r#"{"errors":[{"msg":"Rate limit for this API has been reached"}]}"#),
            answer(200, &["content-length: 10"], "[1"),
            answer(
                200,
                &["transfer-encoding: chunked", "content-length-absent: 1"],
                "2\r\n[1",
            ),
            hang_up(),
            ok(""),
        ];
        for fault in faults {
            let server = serve(
                1,
                move |_, visit| if visit == 1 { fault.clone() } else { ok("[1]") },
            )
            .await;
            let fetched = fetch(&server).await;
            fetched.result.unwrap();
            assert_eq!(fetched.bodies, [b"[1]"]);
            assert_eq!(fetched.left, ["fragment-00001.json"]);
            assert_eq!(fetched.client.stats().retries, 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_fails_ends_after_those_before_it() {
        let server = serve(3, |seen, _| match seen.path() {
            "/2" => answer(200, &["content-length: 1048576"], "[1"),
            _ => ok("[]"),
        })
        .await;
        let fetched = fetch(&server).await;
        assert_eq!(fetched.fragments.len(), 1);
        let error = fetched.result.unwrap_err();
        assert!(
            matches!(error, ExtractError::RetriesExhausted { attempts: 3, .. }),
            "{error:?}"
        );
        assert!(
            error.chain().contains("fetching fragment 2 of job `fj-1`"),
            "{}",
            error.chain()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_kept_as_received() {
        let gzip = b"\x1f\x8b\x08\x00 not looked into: <html>";
        for body in [
            &gzip[..],
            b"\xEF\xBB\xBF[1]",
            br#"{"records": [{"error": "in a record"}]}"#,
            b"{\"_id\":\"1\"}\n{\"_id\":\"2\"}",
        ] {
            let body = body.to_vec();
            let server = {
                let body = body.clone();
                let headers: &[&str] = &["content-encoding: gzip", "content-type: text/html"];
                serve(1, move |_, _| answer(200, headers, &body)).await
            };
            let fetched = fetch(&server).await;
            fetched.result.unwrap();
            assert_eq!(fetched.bodies, [body]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn redirects_are_followed_without_telling_where_from() {
        let server = serve(1, |seen, _| match seen.path() {
            "/1" => answer(302, &["location: /elsewhere?s=$$"], ""),
            _ => ok("[]"),
        })
        .await;
        fetch(&server).await.result.unwrap();
        let last = server.seen().pop().unwrap();
        assert_eq!(last.line, "GET /elsewhere?s=$$ HTTP/1.1");
        assert_eq!((last.header("auth"), last.header("referer")), (None, None));

        let server = serve(1, |_, _| answer(302, &["location: /1"], "")).await;
        let error = fetch(&server).await.result.unwrap_err();
        assert!(
            error.chain().contains("too many redirects"),
            "{}",
            error.chain()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn downloads_stop_when_nobody_takes_them() {
        let server = serve(20, |_, _| ok("[]")).await;
        let client = ExportClient::try_new(test_support::config(&server.url)).unwrap();
        let job = client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ready, mut fetched) = mpsc::channel(1);
        let fetching = client.fetch_fragments(&job, folder.path(), ready);
        let receive = async {
            fetched.recv().await.unwrap();
            fetched.close();
        };
        let (result, ()) = tokio::join!(fetching, receive);
        assert!(matches!(result, Err(ExtractError::ReceiverGone)));
        // The one taken, one in the channel, one on its way, and at most 4 ahead of that.
        assert!(server.count(|seen| !seen.path().contains("/api/")) <= 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_of_downloads_holds_over_all_jobs() {
        let server = serve(5, |_, _| ok("[]")).await.slow(Duration::from_secs(1));
        let mut config = test_support::config(&server.url);
        config.fetch.concurrency = 3;
        let client = ExportClient::try_new(config).unwrap();
        let one = async || {
            let store = MemoryStore::default();
            let job = client.run_job(&request(), &store).await.unwrap().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let (ready, _fetched) = mpsc::channel(5);
            client
                .fetch_fragments(&job, folder.path(), ready)
                .await
                .unwrap();
        };
        let start = tokio::time::Instant::now();
        tokio::join!(one(), one());
        assert_eq!(server.most_at_once(), 3);
        // 1 s for the POST, 2 s before the poll, 1 s for it, and 10 downloads of 1 s, three at once.
        assert_eq!(start.elapsed().as_secs(), 8);
    }

    #[test]
    fn a_link_shows_where_it_leads_but_not_its_signature() {
        let host = "https://host/prefix/".parse().unwrap();
        let shown = |link| SignedLink::try_new(Some(link), &host).unwrap().to_string();
        assert_eq!(
            shown("https://me:pw@other:443/f.json?s=x$$"),
            "https://other/f.json?…"
        );
        assert_eq!(shown("/f.json"), "https://host/f.json");
        assert_eq!(shown("//other:8443/f"), "https://other:8443/f");
        assert_eq!(
            SignedLink::try_new(Some("http://"), &host),
            Err("it is no address")
        );
    }
}
