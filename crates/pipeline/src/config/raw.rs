//! The settings as they are written, and how they become [`PipelineConfig`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use answerlake_extract::{
    AuthConfig, EventFilter, FetchConfig, HttpConfig, JobsConfig, RateConfig, SecretString, Url,
};
use answerlake_load::Compression;
use answerlake_model::{AppId, Grain};
use answerlake_transform::{DecodeConfig, Policies, Policy, PromptLayout};
use serde::Deserialize;

use super::values::{HumanBytes, HumanDuration, HumanTime, ProxyUrl, Written, without_credentials};
use super::{
    Environment, LakeConfig, LandingConfig, OnShrink, PipelineConfig, PrivacyConfig, RunConfig,
    WindowConfig,
};
use crate::error::PipelineError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    source: RawSource,
    auth: RawAuth,
    http: RawHttp,
    window: RawWindow,
    jobs: RawJobs,
    fetch: RawFetch,
    rate: RawRate,
    lake: RawLake,
    privacy: RawPrivacy,
    landing: RawLanding,
    run: RawRun,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSource {
    host: Option<String>,
    app_id: Option<Written<AppId>>,
    event: Option<Written<Event>>,
}

/// Where the secrets are, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAuth {
    token_env: Option<String>,
    token_file: Option<PathBuf>,
    client_id_env: Option<String>,
    client_secret_env: Option<String>,
    client_secret_file: Option<PathBuf>,
    client_secret_command: Option<String>,
    audience: Option<String>,
    subject: Option<String>,
    lifetime: Option<Written<HumanDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    proxy: Option<Written<ProxyUrl>>,
    ca_file: Option<PathBuf>,
    connect_timeout: Option<Written<HumanDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawWindow {
    start: Option<Written<HumanTime>>,
    size: Option<Written<HumanDuration>>,
    margin: Option<Written<HumanDuration>>,
    lag: Option<Written<HumanDuration>>,
    lookback: Option<Written<HumanDuration>>,
    settle: Option<Written<HumanDuration>>,
    on_shrink: Option<Written<OnShrinkName>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawJobs {
    concurrency: Option<Written<usize>>,
    poll_min: Option<Written<HumanDuration>>,
    poll_max: Option<Written<HumanDuration>>,
    stall: Option<Written<HumanDuration>>,
    deadline: Option<Written<HumanDuration>>,
    max_age: Option<Written<HumanDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFetch {
    concurrency: Option<Written<usize>>,
    retries: Option<Written<u32>>,
    timeout: Option<Written<HumanDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRate {
    per_minute: Option<Written<u32>>,
    per_hour: Option<Written<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLake {
    url: Option<String>,
    grain: Option<Written<GrainName>>,
    compression: Option<Written<Codec>>,
    compression_level: Option<Written<i32>>,
    prompt: Option<Written<PromptName>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPrivacy {
    key_env: Option<String>,
    key_file: Option<PathBuf>,
    key_command: Option<String>,
    allow_unmapped: Option<Written<Truth>>,
    fields: BTreeMap<String, Written<Policy>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLanding {
    keep: Option<Written<bool>>,
    retention: Option<Written<HumanDuration>>,
    allow_unmasked: Option<Written<bool>>,
}

/// Where the key is that texts are hashed under.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    Variable(String),
    File(PathBuf),
    Command(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRun {
    memory: Option<Written<HumanBytes>>,
    max_record: Option<Written<HumanBytes>>,
    scratch: Option<PathBuf>,
    threads: Option<Written<usize>>,
    strict: Option<Written<bool>>,
}

/// Makes a type that is read from one of a few words.
macro_rules! word {
    ($name:ident, $target:ty, $($word:literal => $value:expr),+) => {
        #[derive(Debug, Clone, Copy)]
        struct $name($target);

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self($value)),)+
                    _ => Err(format!("expected {}", [$(concat!("`", $word, "`")),+].join(" or "))),
                }
            }
        }
    };
}

word!(Event, EventFilter, "thumbsUp" => EventFilter::ThumbsUp, "thumbsDown" => EventFilter::ThumbsDown);
word!(OnShrinkName, OnShrink, "fail" => OnShrink::Fail, "keep" => OnShrink::Keep, "replace" => OnShrink::Replace);
word!(GrainName, Grain, "day" => Grain::Day, "hour" => Grain::Hour);
word!(PromptName, PromptLayout, "parts" => PromptLayout::Parts, "text" => PromptLayout::Text);
word!(Truth, bool, "true" => true, "false" => false);
word!(Codec, CodecName, "zstd" => CodecName::Zstd, "snappy" => CodecName::Snappy);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CodecName {
    Zstd,
    Snappy,
}

fn duration(written: Option<Written<HumanDuration>>, default: Duration) -> Duration {
    written.map_or(default, |written| written.0.0)
}

fn invalid(setting: &str, reason: impl Into<String>) -> PipelineError {
    PipelineError::InvalidSetting {
        setting: format!("`{setting}`"),
        reason: reason.into(),
    }
}

impl RawConfig {
    pub(super) fn resolve(self) -> Result<PipelineConfig, PipelineError> {
        let app_id = self.source.app_id.map(|id| id.0);
        let event = self.source.event.map(|event| event.0.0);
        let window = self.window.resolve()?;
        let lake = self.lake.resolve()?;
        let privacy = self.privacy.resolve()?;
        let landing = self.landing.resolve(privacy.policies.is_some())?;
        let run = self.run.resolve()?;
        let host = self.source.host.map(|host| {
            host.parse::<Url>().map_err(|error| {
                invalid(
                    "source.host",
                    format!(
                        "expected a URL such as `https://platform.kore.ai`, got `{}`: {error}",
                        without_credentials(&host)
                    ),
                )
            })
        });
        self.auth.check()?;
        Ok(PipelineConfig {
            host: host.transpose()?,
            app_id,
            event,
            auth: self.auth,
            http: self.http.resolve(),
            window,
            jobs: self.jobs.resolve(),
            fetch: self.fetch.resolve(),
            rate: self.rate.resolve(),
            lake,
            privacy,
            landing,
            run,
            given: Vec::new(),
        })
    }
}

impl RawHttp {
    fn resolve(self) -> HttpConfig {
        HttpConfig {
            proxy: self.proxy.map(|url| url.0.0),
            ca_file: self.ca_file,
            connect_timeout: duration(self.connect_timeout, HttpConfig::default().connect_timeout),
        }
    }
}

impl RawFetch {
    fn resolve(self) -> FetchConfig {
        let defaults = FetchConfig::default();
        FetchConfig {
            concurrency: self.concurrency.map_or(defaults.concurrency, |n| n.0),
            retries: self.retries.map_or(defaults.retries, |n| n.0),
            timeout: duration(self.timeout, defaults.timeout),
        }
    }
}

impl RawRate {
    fn resolve(self) -> RateConfig {
        let defaults = RateConfig::default();
        RateConfig {
            per_minute: self.per_minute.map_or(defaults.per_minute, |n| n.0),
            per_hour: self.per_hour.map_or(defaults.per_hour, |n| n.0),
        }
    }
}

impl RawJobs {
    fn resolve(self) -> JobsConfig {
        let defaults = JobsConfig::default();
        JobsConfig {
            concurrency: self.concurrency.map_or(defaults.concurrency, |n| n.0),
            poll_min: duration(self.poll_min, defaults.poll_min),
            poll_max: duration(self.poll_max, defaults.poll_max),
            stall: duration(self.stall, defaults.stall),
            deadline: duration(self.deadline, defaults.deadline),
            max_age: duration(self.max_age, defaults.max_age),
        }
    }
}

impl RawAuth {
    /// Finds what cannot work without a look at the secrets.
    fn check(&self) -> Result<(), PipelineError> {
        if let [first, second, ..] = self.ways()[..] {
            return Err(PipelineError::TwoWaysToAuthenticate {
                first: first.to_owned(),
                second: second.to_owned(),
            });
        }
        Ok(())
    }

    /// The ways to authenticate that are given.
    fn ways(&self) -> Vec<&'static str> {
        let ways = [
            ("auth.token_env", self.token_env.is_some()),
            ("auth.token_file", self.token_file.is_some()),
            ("auth.client_secret_env", self.client_secret_env.is_some()),
            ("auth.client_secret_file", self.client_secret_file.is_some()),
            (
                "auth.client_secret_command",
                self.client_secret_command.is_some(),
            ),
        ];
        ways.into_iter()
            .filter_map(|(name, is_given)| is_given.then_some(name))
            .collect()
    }

    /// Looks up the secrets.
    pub(super) fn look_up(
        &self,
        environment: Environment<'_>,
    ) -> Result<AuthConfig, PipelineError> {
        const TOKEN_ENV: &str = "ANSWERLAKE_TOKEN";
        const CLIENT_ID_ENV: &str = "ANSWERLAKE_CLIENT_ID";
        const CLIENT_SECRET_ENV: &str = "ANSWERLAKE_CLIENT_SECRET";
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let needed = |name: &str, setting: &'static str| {
            variable(name).ok_or_else(|| PipelineError::MissingVariable {
                name: name.to_owned(),
                setting,
            })
        };
        if let Some(path) = &self.token_file {
            return Ok(AuthConfig::TokenFile(path.clone()));
        }
        if let Some(name) = &self.token_env {
            return Ok(AuthConfig::Token(SecretString::from(needed(
                name,
                "auth.token_env",
            )?)));
        }
        let client_id_env = self.client_id_env.as_deref().unwrap_or(CLIENT_ID_ENV);
        let signs = !self.ways().is_empty() || self.client_id_env.is_some();
        if !signs {
            match (variable(TOKEN_ENV), variable(CLIENT_SECRET_ENV)) {
                (Some(_), Some(_)) => {
                    return Err(PipelineError::TwoWaysToAuthenticate {
                        first: TOKEN_ENV.to_owned(),
                        second: CLIENT_SECRET_ENV.to_owned(),
                    });
                }
                (Some(token), None) => return Ok(AuthConfig::Token(SecretString::from(token))),
                (None, Some(_)) => {}
                (None, None) => return Err(PipelineError::NoAuthentication),
            }
        }
        let client_secret = if let Some(path) = &self.client_secret_file {
            secret_from_file(path)?
        } else if let Some(command) = &self.client_secret_command {
            secret_from_command(command, "auth.client_secret_command")?
        } else {
            let name = self
                .client_secret_env
                .as_deref()
                .unwrap_or(CLIENT_SECRET_ENV);
            needed(name, "auth.client_secret_env")?
        };
        Ok(AuthConfig::Signed {
            client_id: needed(client_id_env, "auth.client_id_env")?,
            client_secret: SecretString::from(client_secret),
            audience: self.audience.clone(),
            subject: self
                .subject
                .clone()
                .unwrap_or_else(|| AuthConfig::SUBJECT.to_owned()),
            lifetime: duration(self.lifetime.clone(), AuthConfig::LIFETIME),
        })
    }
}

impl KeySource {
    const VARIABLE: &str = "ANSWERLAKE_PRIVACY_KEY";

    /// The setting that says so.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Variable(_) => "privacy.key_env",
            Self::File(_) => "privacy.key_file",
            Self::Command(_) => "privacy.key_command",
        }
    }

    /// Looks up the key.
    pub(super) fn look_up(
        &self,
        environment: Environment<'_>,
    ) -> Result<SecretString, PipelineError> {
        let key =
            match self {
                Self::Variable(name) => environment(name)
                    .filter(|key| !key.is_empty())
                    .ok_or_else(|| PipelineError::MissingVariable {
                        name: name.clone(),
                        setting: self.setting(),
                    })?,
                Self::File(path) => secret_from_file(path)?,
                Self::Command(command) => secret_from_command(command, self.setting())?,
            };
        Ok(SecretString::from(key))
    }
}

/// Reads a file that holds a secret.
fn secret_from_file(path: &Path) -> Result<String, PipelineError> {
    let text = std::fs::read_to_string(path).map_err(|source| PipelineError::ReadConfig {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// Runs a command that prints a secret, as `setting` says. Nothing of what it prints is ever shown.
fn secret_from_command(command: &str, setting: &str) -> Result<String, PipelineError> {
    let failed = |reason: String| invalid(setting, reason);
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("the command cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("the command failed: {}", output.status)));
    }
    let secret = String::from_utf8(output.stdout)
        .map_err(|_| failed("the command printed no UTF-8".to_owned()))?;
    match secret.trim() {
        "" => Err(failed("the command printed nothing".to_owned())),
        secret => Ok(secret.to_owned()),
    }
}

impl RawWindow {
    fn resolve(self) -> Result<WindowConfig, PipelineError> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let size = duration(self.size, DAY);
        if size > 6 * DAY || size < Duration::from_secs(60 * 60) {
            let got = humantime::format_duration(size);
            return Err(invalid(
                "window.size",
                format!("expected 1h to 6d, got `{got}`"),
            ));
        }
        let margin = duration(self.margin, Duration::from_secs(1));
        // The vendor takes at most 7 days, the margins on both sides included.
        if margin > DAY / 4 {
            let got = humantime::format_duration(margin);
            return Err(invalid(
                "window.margin",
                format!("expected at most 6h, got `{got}`"),
            ));
        }
        Ok(WindowConfig {
            start: self.start.map(|time| time.0.0),
            size,
            margin,
            lag: duration(self.lag, Duration::from_secs(60 * 60)),
            lookback: duration(self.lookback, 3 * DAY),
            settle: duration(self.settle, 3 * DAY),
            on_shrink: self.on_shrink.map(|word| word.0.0).unwrap_or_default(),
        })
    }
}

impl RawLake {
    fn resolve(self) -> Result<LakeConfig, PipelineError> {
        let level = self.compression_level.map(|level| level.0);
        let compression = match (
            self.compression.map_or(CodecName::Zstd, |codec| codec.0.0),
            level,
        ) {
            (CodecName::Snappy, Some(_)) => {
                return Err(invalid("lake.compression_level", "snappy has no levels"));
            }
            (CodecName::Snappy, None) => Compression::Snappy,
            (CodecName::Zstd, level) => Compression::Zstd(level.unwrap_or(3)),
        };
        if let Compression::Zstd(level) = compression
            && !(1..=22).contains(&level)
        {
            return Err(invalid(
                "lake.compression_level",
                format!("expected 1 to 22, got {level}"),
            ));
        }
        Ok(LakeConfig {
            url: self
                .url
                .as_ref()
                .ok_or(PipelineError::Missing {
                    setting: "lake.url",
                    flag: "lake",
                })?
                .into(),
            grain: self.grain.map(|grain| grain.0.0).unwrap_or_default(),
            compression,
            prompt: self.prompt.map(|prompt| prompt.0.0).unwrap_or_default(),
        })
    }
}

impl RawPrivacy {
    fn resolve(self) -> Result<PrivacyConfig, PipelineError> {
        let key = match (self.key_env, self.key_file, self.key_command) {
            (name, None, None) => {
                KeySource::Variable(name.unwrap_or_else(|| KeySource::VARIABLE.to_owned()))
            }
            (None, Some(path), None) => KeySource::File(path),
            (None, None, Some(command)) => KeySource::Command(command),
            _ => {
                return Err(invalid(
                    "privacy.key_env",
                    "expected one of this, `privacy.key_file` and `privacy.key_command`, got several",
                ));
            }
        };
        let named = self.fields.into_iter();
        let named = named.map(|(field, policy)| (field, policy.0)).collect();
        let allow_unmapped = self.allow_unmapped.is_some_and(|allow| allow.0.0);
        let policies = Policies::try_new(&named, allow_unmapped);
        Ok(PrivacyConfig {
            policies: policies.map_err(|error| invalid("privacy.fields", error.to_string()))?,
            key,
            masking: None,
        })
    }
}

impl RawLanding {
    fn resolve(self, masks: bool) -> Result<LandingConfig, PipelineError> {
        let keep = self.keep.is_some_and(|keep| keep.0);
        if keep && masks && !self.allow_unmasked.is_some_and(|allow| allow.0) {
            return Err(invalid(
                "landing.keep",
                "what is kept as it was fetched holds what `privacy.fields` masks: keep nothing, or set \
                 `landing.allow_unmasked` to `true`",
            ));
        }
        Ok(LandingConfig {
            keep,
            retention: self.retention.map(|retention| retention.0.0),
        })
    }
}

impl RawRun {
    fn resolve(self) -> Result<RunConfig, PipelineError> {
        const MIB: u64 = 1 << 20;
        let memory = self.memory.map_or(512 * MIB, |memory| memory.0.0);
        if memory < 192 * MIB {
            let got = bytesize::ByteSize(memory);
            return Err(invalid(
                "run.memory",
                format!("expected at least 192MiB, got {got}"),
            ));
        }
        let max_record = self
            .max_record
            .map_or(DecodeConfig::DEFAULT_MAX_RECORD_BYTES as u64, |size| {
                size.0.0
            });
        // While it is decoded and written, a record takes some six times its size.
        let most = memory / 6;
        if !(MIB..=most).contains(&max_record) {
            let (most, got) = (bytesize::ByteSize(most), bytesize::ByteSize(max_record));
            return Err(invalid(
                "run.max_record",
                format!("expected 1MiB to a sixth of `run.memory`, which is {most}, got {got}"),
            ));
        }
        let threads = self.threads.map(|threads| threads.0);
        // Starting more takes longer than they could ever save.
        if let Some(threads) = threads.filter(|threads| !(1..=1024).contains(threads)) {
            return Err(invalid(
                "run.threads",
                format!("expected 1 to 1024, got {threads}"),
            ));
        }
        Ok(RunConfig {
            strict: self.strict.is_some_and(|strict| strict.0),
            memory,
            max_record_bytes: max_record as usize,
            scratch: self.scratch,
            threads,
        })
    }
}
