//! One app's client: what all its requests share, and how one request is sent.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tracing::{debug, warn};
use url::Url;

use crate::auth::{self, Signer};
use crate::config::ExtractConfig;
use crate::error::{Answer, Call, Complaint, ExtractError};
use crate::landing::LandingSink;
use crate::peer::{Proxies, is_loopback};
use crate::rate_limit::CallLimiter;
use crate::retry::{RetryPolicy, THROTTLED_AT_MOST};
use crate::wire;

/// A job's answer holds about 400 bytes for each fragment: this is enough for some 160,000 of them.
const LONGEST_API_ANSWER_BYTES: usize = 64 << 20;
const LONGEST_ERROR_BYTES: usize = 64 << 10;
const MOST_REDIRECTS: usize = 5;
const USER_AGENT: &str = concat!("answerlake/", env!("CARGO_PKG_VERSION"));

/// The export API of one app. Cheap to clone; clones share connections, limits and counters.
#[derive(Clone)]
pub struct ExportClient {
    pub(crate) shared: Arc<Shared>,
    pub(crate) observer: Option<Arc<dyn JobObserver>>,
    pub(crate) landing: Option<Arc<dyn LandingSink>>,
}

/// Is told how the jobs of a client go on. It is called from where things wait, so it must be quick.
pub trait JobObserver: Send + Sync {
    /// The job runs at the source, which says how many percent of it are done, or does not.
    fn running(&self, percent: Option<f64>);

    /// So many bytes of a fragment have come in.
    fn received(&self, bytes: usize);
}

/// What the clones of a client share.
pub(crate) struct Shared {
    pub(crate) config: ExtractConfig,
    /// Sends API calls. Follows no redirect: that would carry the token elsewhere.
    api: Client,
    /// Sends downloads; follows a few redirects.
    links: Client,
    /// The same for loopback addresses, without any proxy.
    loopback_links: Client,
    proxies: Proxies,
    signer: Signer,
    limiter: CallLimiter,
    pub(crate) jobs: Semaphore,
    pub(crate) downloads: Semaphore,
    pub(crate) counters: Counters,
    unknown_statuses: Mutex<HashSet<String>>,
    /// How far the API's clock is ahead, as its last answer shows it.
    skew: Mutex<Option<TimeDelta>>,
}

/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Requests sent: calls and downloads, repeated ones included.
    pub requests: u64,
    /// How many of them were repetitions.
    pub retries: u64,
    /// Bytes of fragments that came in, as received.
    pub bytes_fetched: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes_fetched: AtomicU64,
}

impl Counters {
    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fetched(&self, bytes: usize) {
        self.bytes_fetched
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> ClientStats {
        ClientStats {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            bytes_fetched: self.bytes_fetched.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for ExportClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportClient")
            .field("config", &self.shared.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl ExportClient {
    /// Checks the settings and makes the client; sends nothing.
    ///
    /// # Errors
    /// When a setting cannot work, the certificates cannot be read, or the machine has none: all of
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration).
    pub fn try_new(config: ExtractConfig) -> Result<Self, ExtractError> {
        config.check()?;
        config.auth.check_file()?;
        let host = &config.source.host;
        if host.scheme() == "http" && !is_loopback(host) {
            warn!(%host, "tokens will be sent without encryption");
        }
        let shared = Shared {
            api: http_client(&config, Route::to(host), Policy::none)?,
            links: http_client(&config, Route::Proxy, follow)?,
            loopback_links: http_client(&config, Route::Direct, follow)?,
            proxies: Proxies::new(config.http.proxy.as_ref()),
            signer: Signer::new(&config.auth),
            limiter: CallLimiter::new(&config.rate),
            jobs: Semaphore::new(config.jobs.concurrency),
            downloads: Semaphore::new(config.fetch.concurrency),
            counters: Counters::default(),
            unknown_statuses: Mutex::default(),
            skew: Mutex::default(),
            config,
        };
        Ok(Self {
            shared: Arc::new(shared),
            observer: None,
            landing: None,
        })
    }

    /// A clone whose jobs and downloads are told to `observer`.
    pub fn observed_by(&self, observer: Arc<dyn JobObserver>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            observer: Some(observer),
            landing: self.landing.clone(),
        }
    }

    /// A clone whose jobs and fragments are kept by `landing`, too.
    pub fn landing_in(&self, landing: Arc<dyn LandingSink>) -> Self {
        Self {
            landing: Some(landing),
            ..self.clone()
        }
    }

    /// How far the API's clock is ahead of this machine's, as its last answer shows it, to about a second.
    pub fn clock_skew(&self) -> Option<TimeDelta> {
        *self.shared.lock_skew()
    }

    /// When the token of the next request ends, if it says so.
    ///
    /// # Errors
    /// When there is no token: its file is gone, say.
    pub async fn token_ends(&self) -> Result<Option<DateTime<Utc>>, ExtractError> {
        let token = self.shared.signer.token().await?;
        header_value(&token)?;
        Ok(auth::end_of(&token))
    }

    /// Counts a repetition that its user has decided on.
    pub fn count_retry(&self) {
        self.shared.counters.retried();
    }

    /// What the client and its clones have done so far.
    pub fn stats(&self) -> ClientStats {
        self.shared.counters.stats()
    }
}

/// What an API call sends.
pub(crate) enum Payload {
    Nothing,
    Json(Vec<u8>),
}

impl Shared {
    pub(crate) fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            retries: self.config.fetch.retries,
            hurry: self.config.hurry,
        }
    }

    /// The address of something of the app: `{host}/api/public/bot/{app_id}/search/…`.
    pub(crate) fn address(&self, tail: &[&str]) -> Url {
        let mut url = self.config.source.host.clone();
        url.path_segments_mut()
            .expect("an http address was checked to have a path")
            .pop_if_empty()
            .extend([
                "api",
                "public",
                "bot",
                self.config.source.app_id.as_str(),
                "search",
            ])
            .extend(tail);
        url
    }

    /// Sends one call to the API, with a new token, when the limits allow; gives the body of a good answer.
    ///
    /// A token that is refused as too old or already seen is replaced once: the call was not acted on.
    pub(crate) async fn call(
        &self,
        call: &Call,
        url: Url,
        payload: &Payload,
    ) -> Result<Vec<u8>, ExtractError> {
        match self.call_once(call, url.clone(), payload).await {
            Err(error) if error.wants_new_token() && self.signer.renews() => {
                warn!(%call, error = error.chain(), "token refused, trying a new one");
                self.counters.retried();
                self.call_once(call, url, payload).await
            }
            other => other,
        }
    }

    async fn call_once(
        &self,
        call: &Call,
        url: Url,
        payload: &Payload,
    ) -> Result<Vec<u8>, ExtractError> {
        self.limiter.ready().await;
        let token = self.signer.token().await?;
        let peer = || self.proxies.peer(&url);
        let request = match payload {
            Payload::Nothing => self.api.get(url.clone()),
            Payload::Json(body) => self
                .api
                .post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
        };
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let sent_at = Utc::now();
        let mut response = request
            .header(ACCEPT, "application/json")
            .header("auth", header_value(&token)?)
            .send()
            .await
            .map_err(|error| ExtractError::from_sending(call, peer(), error))?;
        if let Some(skew) = skew(response.headers(), sent_at) {
            *self.lock_skew() = Some(skew);
        }
        let body = read_up_to(call, &mut response, LONGEST_API_ANSWER_BYTES).await?;
        debug!(%call, status = response.status().as_u16(), bytes = body.len(), "call answered");
        let answer = self.judge(&response, &body);
        match ExtractError::from_answer(call, &self.config.source.app_id, hide(answer, &token)) {
            None => Ok(body),
            Some(error) => {
                if let Some(wait) = error.throttled() {
                    self.limiter
                        .hold(wait.min(THROTTLED_AT_MOST) / self.config.hurry);
                }
                Err(error)
            }
        }
    }

    /// Asks for a link, without the token. A bad status is an error; a good one's body is still to be read.
    pub(crate) async fn download(&self, call: &Call, link: &Url) -> Result<Response, ExtractError> {
        let client = if is_loopback(link) {
            &self.loopback_links
        } else {
            &self.links
        };
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let mut response = client
            .get(link.clone())
            .header(ACCEPT_ENCODING, "gzip")
            .send()
            .await
            .map_err(|error| ExtractError::from_sending(call, self.proxies.peer(link), error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let body = read_up_to(call, &mut response, LONGEST_ERROR_BYTES)
            .await
            .unwrap_or_default();
        let answer = self.judge(&response, &body);
        let error = ExtractError::from_answer(call, &self.config.source.app_id, answer);
        Err(error.expect("a status that is no success is an error"))
    }

    /// The error that stands in the body of a good answer, if one does.
    pub(crate) fn error_in_body(
        &self,
        call: &Call,
        response: &Response,
        complaint: Complaint,
    ) -> Option<ExtractError> {
        let answer = Answer {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
            complaint: Some(complaint),
        };
        ExtractError::from_answer(call, &self.config.source.app_id, answer)
    }

    fn judge(&self, response: &Response, body: &[u8]) -> Answer {
        let status = response.status();
        let complaint = if status.is_success() {
            wire::complaint(body)
        } else if status.is_redirection() {
            Some(redirected(response))
        } else if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            Some(Complaint {
                message: "the proxy asks who you are: write user and password into its address"
                    .to_owned(),
                code: None,
            })
        } else {
            wire::complaint_of_failure(body)
        };
        Answer {
            status: status.as_u16(),
            retry_after: retry_after(response.headers()),
            complaint,
        }
    }

    fn lock_skew(&self) -> std::sync::MutexGuard<'_, Option<TimeDelta>> {
        self.skew
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether this unknown status is met for the first time, and so worth a warning.
    pub(crate) fn is_new_status(&self, status: &str) -> bool {
        self.unknown_statuses
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(status.to_owned())
    }
}

/// Reads a body that should be small. An answer that is longer is no answer to what was asked.
async fn read_up_to(
    call: &Call,
    response: &mut Response,
    longest: usize,
) -> Result<Vec<u8>, ExtractError> {
    let mut body = Vec::new();
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|error| ExtractError::from_transport(call, error))?
    {
        body.extend_from_slice(&bytes);
        if body.len() > longest {
            return Err(ExtractError::Malformed {
                call: call.clone(),
                reason: format!("it is longer than {longest} bytes"),
            });
        }
    }
    Ok(body)
}

fn redirected(response: &Response) -> Complaint {
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|target| target.to_str().ok())
        .unwrap_or("nowhere");
    Complaint {
        message: format!(
            "redirected to `{}`; calls follow no redirect, because it would carry the token: set `source.host` to \
             where the API is",
            wire::masked(target)
        ),
        code: None,
    }
}

/// How far the clock of who answers is ahead, of a request sent then: both ends are known to half a second.
fn skew(headers: &HeaderMap, sent_at: DateTime<Utc>) -> Option<TimeDelta> {
    let date = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    let way = (Utc::now() - sent_at) / 2;
    Some(date.to_utc() + TimeDelta::milliseconds(500) - sent_at - way)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    wire::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Utc::now())
}

fn header_value(token: &SecretString) -> Result<HeaderValue, ExtractError> {
    let token = token.expose_secret();
    if token.is_empty() {
        return Err(ExtractError::config(
            "auth",
            "expected a token, got nothing",
        ));
    }
    let mut value = HeaderValue::from_str(token).map_err(|_| {
        ExtractError::config("auth", "expected a token, got text that fits in no header")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Some sources quote the token that they refuse.
fn hide(mut answer: Answer, token: &SecretString) -> Answer {
    if let Some(complaint) = &mut answer.complaint {
        complaint.message = complaint.message.replace(token.expose_secret(), "…");
    }
    answer
}

/// How a connection is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// Through the proxy of the settings or of the environment, if there is one.
    Proxy,
    Direct,
}

impl Route {
    fn to(host: &Url) -> Self {
        if is_loopback(host) {
            Self::Direct
        } else {
            Self::Proxy
        }
    }
}

fn follow() -> Policy {
    Policy::limited(MOST_REDIRECTS)
}

fn http_client(
    config: &ExtractConfig,
    route: Route,
    redirects: fn() -> Policy,
) -> Result<Client, ExtractError> {
    let host = &config.source.host;
    let client = match builder(config, route, redirects())?.build() {
        // A machine without certificates can still talk to itself, without TLS.
        Err(_) if host.scheme() == "http" && is_loopback(host) => {
            let builder = builder(config, route, redirects())?;
            builder.tls_certs_only([]).build()
        }
        built => built,
    };
    client.map_err(|source| ExtractError::Tls { source })
}

fn builder(
    config: &ExtractConfig,
    route: Route,
    redirects: Policy,
) -> Result<ClientBuilder, ExtractError> {
    let (http, timeout) = (&config.http, config.fetch.timeout);
    let mut builder = plain_builder(redirects);
    if !http.connect_timeout.is_zero() {
        builder = builder.connect_timeout(http.connect_timeout);
    }
    if !timeout.is_zero() {
        builder = builder.read_timeout(timeout);
    }
    if route == Route::Direct {
        builder = builder.no_proxy();
    } else if let Some(proxy) = &http.proxy {
        let proxy = Proxy::all(proxy.clone()).map_err(|_| {
            // The cause may quote the address and with it a password.
            ExtractError::config("http.proxy", "expected the address of a proxy")
        })?;
        let loopback = NoProxy::from_string("localhost,127.0.0.0/8,::1");
        builder = builder.proxy(proxy.no_proxy(loopback));
    }
    if let Some(path) = &http.ca_file {
        builder = builder.tls_certs_merge(certificates(path)?);
    }
    Ok(builder)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ExtractError> {
    let failed = |source| ExtractError::CaFile {
        path: path.to_owned(),
        source,
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.into()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.into()))?;
    if certificates.is_empty() {
        return Err(failed("it holds no certificate".into()));
    }
    // By themselves first: else a certificate that is none looks like a machine without any.
    plain_builder(Policy::none())
        .tls_certs_only(certificates.clone())
        .build()
        .map_err(|error| failed(error.into()))?;
    Ok(certificates)
}

fn plain_builder(redirects: Policy) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirects)
        // A redirect must not tell the next host the link that led to it.
        .referer(false)
        // Bodies are kept as received, whatever features other crates switch on.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        // Repeating is done here, with a new token each time.
        .retry(reqwest::retry::never());
    // A pool keeps a timer, and a paused clock jumps to the next timer whenever a test waits for a socket.
    #[cfg(test)]
    let builder = builder.pool_max_idle_per_host(0);
    builder
}

#[cfg(test)]
mod tests {
    use std::io;

    use secrecy::SecretString;
    use tokio::time::Instant;

    use super::*;
    use crate::config::AuthConfig;
    use crate::test_support::{
        self, MemoryStore, Server, TOKEN, answer, finished, ok, request, running,
    };

    fn signed() -> AuthConfig {
        AuthConfig::Signed {
            client_id: "cs-1".into(),
            client_secret: "very-secret".into(),
            audience: None,
            subject: AuthConfig::SUBJECT.into(),
            lifetime: AuthConfig::LIFETIME,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_has_a_token_of_its_own() {
        let mut polls = 0;
        let server = Server::start(move |seen| {
            polls += u32::from(!seen.is_post());
            match polls {
                0 => ok(r#"{"_id": "fj-1", "status": "INPROGRESS"}"#),
                1 => answer(500, &[], ""),
                _ => finished(&["/f"]),
            }
        })
        .await;
        let mut config = test_support::config(&server.url.join("prefix/").unwrap());
        config.auth = signed();
        let client = ExportClient::try_new(config).unwrap();
        client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap()
            .unwrap();
        let seen = server.seen();
        let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
        assert_eq!(
            lines,
            [
                "POST /prefix/api/public/bot/st-1/search/analytics-export HTTP/1.1",
                "GET /prefix/api/public/bot/st-1/search/jobs/fj-1 HTTP/1.1",
                "GET /prefix/api/public/bot/st-1/search/jobs/fj-1 HTTP/1.1",
            ]
        );
        let tokens: HashSet<_> = seen
            .iter()
            .map(|seen| seen.header("auth").unwrap())
            .collect();
        assert_eq!(tokens.len(), 3);
        assert_eq!((client.stats().requests, client.stats().retries), (3, 1));
    }

    async fn refused(auth: AuthConfig, message: &'static str) -> (ExtractError, usize) {
        let server = Server::start(move |_| {
            let body = format!(r#"{{"errors":[{{"msg":"{message}","code":4002}}]}}"#);
            answer(401, &[], body)
        })
        .await;
        let mut config = test_support::config(&server.url);
        config.auth = auth;
        let client = ExportClient::try_new(config).unwrap();
        let error = client.run_job(&request(), &MemoryStore::default()).await;
        (error.unwrap_err(), server.seen().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_and_only_when_that_may_help() {
        let (error, calls) = refused(signed(), "Permission denied. Scope is incorrect!").await;
        assert_eq!((error.kind(), calls), (crate::ErrorKind::Refused, 1));
        let (error, calls) = refused(signed(), "error verifying the jwt: possibly a replay").await;
        assert_eq!((error.kind(), calls), (crate::ErrorKind::Refused, 2));
        let (_, calls) = refused(signed(), "exp must be <= 1 hour(s)").await;
        assert_eq!(calls, 1);
        let (_, calls) = refused(AuthConfig::Token(TOKEN.into()), "jwt expired").await;
        assert_eq!(calls, 1);
    }

    async fn throttled_for(headers: &'static [&'static str], status: u16) -> u64 {
        let mut calls = 0;
        let server = Server::start(move |_| {
            calls += 1;
            match calls {
                1 => answer(
                    status,
                    headers,
                    r#"{"errors":[{"msg":"You've exceeded the hourly rate limit"}]}"#,
                ),
                2 => running(0),
                _ => finished(&["/f"]),
            }
        })
        .await;
        let client = ExportClient::try_new(test_support::config(&server.url)).unwrap();
        let start = Instant::now();
        client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(server.count(test_support::Seen::is_post), 2);
        // Two seconds are the time before the first poll.
        start.elapsed().as_secs() - 2
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_waited_out_under_any_status() {
        assert_eq!(throttled_for(&["retry-after: 7"], 429).await, 7);
        assert_eq!(throttled_for(&[], 429).await, 60);
        assert_eq!(throttled_for(&[], 200).await, 60);
        assert_eq!(throttled_for(&["retry-after: 300"], 400).await, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_follows_no_redirect() {
        let server =
            Server::start(|_| answer(302, &["location: https://other/login?session=1"], "")).await;
        let client = ExportClient::try_new(test_support::config(&server.url)).unwrap();
        let error = client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "starting an export job: the source answered status 302: redirected to `https://other/login?…`; calls \
             follow no redirect, because it would carry the token: set `source.host` to where the API is"
        );
        assert!(!error.is_retryable());
    }

    #[tokio::test(start_paused = true)]
    async fn loopback_goes_past_the_proxy() {
        let server = Server::start(|seen| match seen.path() {
            "/f" => ok("[]"),
            _ if seen.is_post() => running(0),
            _ => finished(&["/f"]),
        })
        .await;
        let mut config = test_support::config(&server.url);
        // A port where nobody listens: going there would fail.
        config.http.proxy = Some("http://user:proxy-password@127.0.0.1:9".parse().unwrap());
        assert!(!format!("{config:?}").contains("proxy-password"));
        let client = ExportClient::try_new(config).unwrap();
        let job = client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ready, _fragments) = tokio::sync::mpsc::channel(1);
        client
            .fetch_fragments(&job, folder.path(), ready)
            .await
            .unwrap();
        assert_eq!(client.stats().bytes_fetched, 2);
    }

    #[test]
    fn a_bad_file_of_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "no certificate").unwrap();
        let mut config = test_support::config(&"https://host/".parse().unwrap());
        config.http.ca_file = Some(path.clone());
        let error = ExportClient::try_new(config).unwrap_err();
        let path = path.display();
        assert_eq!(
            error.chain(),
            format!(
                "the certificates of `http.ca_file` (`{path}`) cannot be read: it holds no certificate"
            )
        );
        assert_eq!(error.kind(), crate::ErrorKind::Configuration);
    }

    /// Set for the process without certificates.
    const CHILD: &str = "ANSWERLAKE_EXTRACT_TEST_CHILD";

    #[test]
    fn a_machine_without_certificates_is_told_so_but_can_talk_to_itself() {
        // The certificates are found through the environment, so this asks a child that has another one.
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none.pem");
        std::fs::write(&none, "").unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["without_certificates", "--ignored"])
            .env(CHILD, "1")
            .env("SSL_CERT_FILE", &none)
            .env("SSL_CERT_DIR", folder.path())
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && output.contains("1 passed"),
            "{output}"
        );
    }

    #[test]
    #[ignore = "run by the test above, in a process without certificates"]
    fn without_certificates() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let client = |host: &str| {
            ExportClient::try_new(test_support::config(&host.parse().unwrap())).map(|_| ())
        };
        let error = client("https://host/").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no TLS client can be made: if this machine has no system certificates, install them (often a package \
             `ca-certificates`), or name a PEM file of them as `http.ca_file` or `--ca-file`"
        );
        client("http://127.0.0.1:1/").unwrap();
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_into(log: &Log) -> tracing::Dispatch {
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("answerlake_extract=trace")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::Dispatch::new(subscriber)
    }

    #[tokio::test(start_paused = true)]
    async fn no_secret_is_ever_shown() {
        let log = Log::default();
        // While there is only one dispatcher, a test in another thread, which has none, can switch a log line off
        // for all of them by being the first to reach it: so there are two.
        let (dispatch, _second) = (log_into(&log), log_into(&Log::default()));
        let _logging = tracing::dispatcher::set_default(&dispatch);
        // The source quotes the token, and answers links with pages that quote the link.
        let server = Server::start(|seen| match seen.path() {
            "/f?s=link-secret$$" => {
                answer(404, &[], "<a href='http://h/f?s=link-secret$$'>gone</a>")
            }
            "/cut?s=link-secret$$" => answer(200, &["content-length: 99"], "[]"),
            "/page?s=link-secret$$" => ok("<html>http://h/page?s=link-secret$$"),
            "/nowhere?s=link-secret$$" => answer(302, &["location: ftp://h/?s=link-secret"], ""),
            other => panic!("{other}"),
        })
        .await;
        let mut config = test_support::config(&server.url);
        config.fetch.retries = 1;
        let faults = server.url.as_str().trim_end_matches('/');
        let mut shown = vec![format!("{config:?}")];
        for link in [
            format!("{faults}/f?s=link-secret$$"),
            format!("{faults}/cut?s=link-secret$$"),
            format!("{faults}/page?s=link-secret$$"),
            format!("{faults}/nowhere?s=link-secret$$"),
            // A port where nobody listens.
            "http://127.0.0.1:9/x?s=link-secret$$".to_owned(),
        ] {
            let api = Server::start(move |seen| {
                if seen.is_post() {
                    running(0)
                } else {
                    finished(&[&link])
                }
            })
            .await;
            let mut config = config.clone();
            config.source.host = api.url.clone();
            let client = ExportClient::try_new(config).unwrap();
            let job = client
                .run_job(&request(), &MemoryStore::default())
                .await
                .unwrap()
                .unwrap();
            shown.push(format!("{job:?} {client:?}"));
            let (ready, _fragments) = tokio::sync::mpsc::channel(1);
            let folder = tempfile::tempdir().unwrap();
            let error = client
                .fetch_fragments(&job, folder.path(), ready)
                .await
                .unwrap_err();
            shown.push(format!("{error:?} {}", error.chain()));
        }
        let (error, _) = refused(AuthConfig::Token(TOKEN.into()), "bad token secret-token").await;
        shown.push(format!("{error:?} {error}"));
        let secret: SecretString = "a\nb".into();
        shown.push(format!("{:?}", header_value(&secret).unwrap_err()));
        shown.push(format!(
            "{:?} {:?}",
            signed(),
            Signer::new(&signed()).renews()
        ));
        shown.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
        let shown = shown.join("\n");
        for line in [
            "request failed, trying again",
            "link not honoured",
            "call answered",
        ] {
            assert!(shown.contains(line), "{line} not in {shown}");
        }
        for secret in [TOKEN, "link-secret", "very-secret"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
