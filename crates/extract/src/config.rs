//! The settings. Plain data: what they hold is checked once, by [`ExportClient::try_new`](crate::ExportClient::try_new).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use answerlake_model::{AppId, Window};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::ExportRequest;
use crate::error::ExtractError;

/// Everything a client needs to know.
#[derive(Debug, Clone)]
pub struct ExtractConfig {
    /// Which app, and where.
    pub source: SourceConfig,
    /// How requests prove who sends them.
    pub auth: AuthConfig,
    /// How connections are made.
    pub http: HttpConfig,
    /// How jobs are run and waited for.
    pub jobs: JobsConfig,
    /// How fragments are downloaded, and how often any request is repeated.
    pub fetch: FetchConfig,
    /// How often the API may be called.
    pub rate: RateConfig,
    /// By what the waits before repetitions are divided, those that the source asks for too. 1 for any real source; more
    /// where bad days of an emulated one are rehearsed. At least 1.
    pub hurry: u32,
}

impl ExtractConfig {
    /// The defaults for this source and these credentials.
    pub fn new(source: SourceConfig, auth: AuthConfig) -> Self {
        Self {
            source,
            auth,
            http: HttpConfig::default(),
            jobs: JobsConfig::default(),
            fetch: FetchConfig::default(),
            rate: RateConfig::default(),
            hurry: 1,
        }
    }

    /// Finds what cannot work, before anything is sent.
    ///
    /// # Errors
    /// [`ExtractError::Config`], which names the setting.
    pub fn check(&self) -> Result<(), ExtractError> {
        self.source.check()?;
        self.auth.check()?;
        self.http.check()?;
        let jobs = &self.jobs;
        if jobs.poll_min.is_zero() || jobs.poll_min > jobs.poll_max {
            return Err(ExtractError::config(
                "jobs.poll_min",
                "expected more than 0s and at most `jobs.poll_max`",
            ));
        }
        within("hurry", self.hurry as usize, usize::MAX)?;
        within("jobs.concurrency", jobs.concurrency, MOST_AT_ONCE)?;
        within("fetch.concurrency", self.fetch.concurrency, MOST_AT_ONCE)?;
        within("rate.per_minute", self.rate.per_minute as usize, usize::MAX)?;
        within("rate.per_hour", self.rate.per_hour as usize, usize::MAX)
    }
}

/// How many jobs or downloads may run at once at most: no source and no machine gains by more.
const MOST_AT_ONCE: usize = 1_000;

fn within(setting: &'static str, value: usize, most: usize) -> Result<(), ExtractError> {
    let expected = match value {
        0 => "at least 1".to_owned(),
        _ if value > most => format!("at most {most}"),
        _ => return Ok(()),
    };
    let reason = format!("expected {expected}, got {value}");
    Err(ExtractError::config(setting, reason))
}

/// The app whose data is exported. Has no default.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Scheme, host and port of the API, and a path prefix if it has one: `https://platform.kore.ai`.
    /// Credentials, query and fragment are refused.
    pub host: Url,
    /// The app, `st-…`.
    pub app_id: AppId,
    /// Exports only records of this event. Absent: all records.
    pub event: Option<EventFilter>,
}

impl SourceConfig {
    /// The request for `range` (as it is to be asked for, margin included) of this app and event.
    pub fn request(&self, range: Window) -> ExportRequest {
        ExportRequest {
            app_id: self.app_id.clone(),
            range,
            event: self.event,
        }
    }

    fn check(&self) -> Result<(), ExtractError> {
        let host = &self.host;
        let fault = if !matches!(host.scheme(), "http" | "https") || host.host().is_none() {
            "expected an `http` or `https` address with a host"
        } else if !host.username().is_empty() || host.password().is_some() {
            "expected no user name or password in the address"
        } else if host.query().is_some() || host.fragment().is_some() {
            "expected an address without `?` and `#`"
        } else {
            return Ok(());
        };
        Err(ExtractError::config("source.host", fault))
    }
}

/// The vendor's filter by event. Its names are case-sensitive there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventFilter {
    /// `thumbsUp`
    ThumbsUp,
    /// `thumbsDown`
    ThumbsDown,
}

impl EventFilter {
    /// The vendor's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThumbsUp => "thumbsUp",
            Self::ThumbsDown => "thumbsDown",
        }
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How requests prove who sends them. Has no default.
#[derive(Debug, Clone)]
pub enum AuthConfig {
    /// A ready JWT, sent as it is with every request.
    Token(SecretString),
    /// A file that holds a ready JWT. It is read again for each request, so that a rotated token is met.
    TokenFile(PathBuf),
    /// Signs a new HS256 token for each request and each retry.
    Signed {
        /// The JWT app's client id, `cs-…`; goes into the claim `appId`.
        client_id: String,
        /// The JWT app's client secret.
        client_secret: SecretString,
        /// The claim `aud`. Absent: no such claim, which the vendor does not require.
        audience: Option<String>,
        /// The claim `sub`, the user in whose name is asked; usually [`AuthConfig::SUBJECT`].
        subject: String,
        /// How long a token is valid: 1 second to 59 minutes (the vendor refuses more than an hour), usually
        /// [`AuthConfig::LIFETIME`].
        lifetime: Duration,
    },
}

impl AuthConfig {
    /// The usual lifetime of a signed token: 5 minutes.
    pub const LIFETIME: Duration = Duration::from_secs(5 * 60);
    /// The usual subject of a signed token.
    pub const SUBJECT: &str = "answerlake";

    /// Whether the file of a token can be read now; it is read again for each request.
    pub(crate) fn check_file(&self) -> Result<(), ExtractError> {
        match self {
            Self::TokenFile(path) => {
                std::fs::read(path)
                    .map(drop)
                    .map_err(|source| ExtractError::TokenFile {
                        path: path.clone(),
                        source,
                    })
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), ExtractError> {
        let Self::Signed {
            client_id,
            lifetime,
            ..
        } = self
        else {
            return Ok(());
        };
        if client_id.is_empty() {
            return Err(ExtractError::config(
                "auth.client_id",
                "expected the client id of a JWT app, got nothing",
            ));
        }
        let bounds = Duration::from_secs(1)..=Duration::from_secs(59 * 60);
        if !bounds.contains(lifetime) {
            return Err(ExtractError::config(
                "auth.lifetime",
                format!("expected 1s to 59m, got {lifetime:?}"),
            ));
        }
        Ok(())
    }
}

/// How connections are made.
#[derive(Clone)]
pub struct HttpConfig {
    /// The proxy for all requests; may hold credentials. Absent: what `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` say. Loopback addresses never go through a proxy.
    pub proxy: Option<Url>,
    /// A PEM file of certificates to trust beside those of the system. Absent: the system's only.
    pub ca_file: Option<PathBuf>,
    /// How long making a connection may take. Default 10 s; zero means no limit.
    pub connect_timeout: Duration,
}

impl HttpConfig {
    fn check(&self) -> Result<(), ExtractError> {
        match &self.proxy {
            // The address may hold a password, so of it only the scheme is shown.
            Some(proxy) if !matches!(proxy.scheme(), "http" | "https") || !proxy.has_host() => {
                Err(ExtractError::config(
                    "http.proxy",
                    format!(
                        "expected `http://` or `https://` and a host, got `{}:`",
                        proxy.scheme()
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            proxy: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password: only where it is gets shown.
        let proxy = self.proxy.as_ref().map(|proxy| {
            let host = proxy.host_str().unwrap_or_default();
            format!(
                "{}://{host}:{}",
                proxy.scheme(),
                proxy.port_or_known_default().unwrap_or_default()
            )
        });
        f.debug_struct("HttpConfig")
            .field("proxy", &proxy)
            .field("ca_file", &self.ca_file)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// How jobs are run and waited for.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// How many jobs of the app run at once. Default 2, at least 1; others wait for their turn.
    pub concurrency: usize,
    /// The time before the first poll. Default 2 s.
    pub poll_min: Duration,
    /// What the time between polls grows to, by half each time. Default 30 s.
    pub poll_max: Duration,
    /// How long a job may show neither another status nor another percentage. Default 15 minutes.
    pub stall: Duration,
    /// How long one job is waited for in all. Default 6 hours.
    pub deadline: Duration,
    /// Up to which age a stored job is taken up again. Default 24 hours.
    pub max_age: Duration,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            concurrency: 2,
            poll_min: Duration::from_secs(2),
            poll_max: Duration::from_secs(30),
            stall: Duration::from_secs(15 * 60),
            deadline: Duration::from_secs(6 * 3600),
            max_age: Duration::from_secs(24 * 3600),
        }
    }
}

/// How fragments are downloaded.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// How many downloads run at once, over all jobs of the client. Default 4, at least 1.
    pub concurrency: usize,
    /// How often a request or a download is repeated after a fault that may pass. Default 5; waiting for a rate
    /// limit does not count.
    pub retries: u32,
    /// How long one attempt (of a download or a call) may bring nothing. Default 5 minutes; zero means no limit.
    pub timeout: Duration,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            concurrency: 4,
            retries: 5,
            timeout: Duration::from_secs(5 * 60),
        }
    }
}

/// How often the API may be called. Starting jobs and polling them count; downloads do not: they are links to files.
#[derive(Debug, Clone)]
pub struct RateConfig {
    /// Calls in any minute. Default 50, at least 1: the vendor publishes 60 for sibling APIs.
    pub per_minute: u32,
    /// Calls in any hour. Default 1500, at least 1: the vendor publishes 1800 for sibling APIs.
    pub per_hour: u32,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            per_minute: 50,
            per_hour: 1500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn refusal(change: impl FnOnce(&mut ExtractConfig)) -> String {
        let mut config = test_support::config(&"https://host/".parse().unwrap());
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        assert_eq!(
            refusal(|config| config.source.host = "https://me:pw@host/".parse().unwrap()),
            "setting `source.host`: expected no user name or password in the address"
        );
        assert_eq!(
            refusal(|config| config.source.host = "ftp://host/".parse().unwrap()),
            "setting `source.host`: expected an `http` or `https` address with a host"
        );
        assert_eq!(
            refusal(|config| config.rate.per_hour = 0),
            "setting `rate.per_hour`: expected at least 1, got 0"
        );
        assert_eq!(
            refusal(|config| config.jobs.poll_min = Duration::from_secs(31)),
            "setting `jobs.poll_min`: expected more than 0s and at most `jobs.poll_max`"
        );
        assert_eq!(
            refusal(|config| {
                config.auth = AuthConfig::Signed {
                    client_id: "cs-1".into(),
                    client_secret: "x".into(),
                    audience: None,
                    subject: AuthConfig::SUBJECT.into(),
                    lifetime: Duration::from_secs(3600),
                }
            }),
            "setting `auth.lifetime`: expected 1s to 59m, got 3600s"
        );
    }
}
