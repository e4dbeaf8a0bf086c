//! The settings of a pipeline: a TOML file with one app, overlaid by the environment and by flags.
//!
//! Text is parsed once, here, into types that cannot be wrong. Nothing in this crate reads the environment: who calls
//! it says how.

mod setting;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

use answerlake_extract::{
    AuthConfig, EventFilter, ExtractConfig, FetchConfig, HttpConfig, JobsConfig, RateConfig,
    SecretString, SourceConfig, Url,
};
use answerlake_load::Compression;
use answerlake_model::{AppId, Grain};
use answerlake_transform::PromptLayout;
use chrono::{DateTime, Utc};
use serde::Deserialize;

pub use setting::Setting;
pub use values::{HumanBytes, HumanDuration, HumanTime};

use crate::error::PipelineError;
use values::Written;

/// All settings of a pipeline.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Where the data comes from; `None` when no host is given, which is enough for `ingest`.
    pub extract: Option<ExtractConfig>,
    /// The app, when one is given.
    pub app_id: Option<AppId>,
    /// Only records of this event.
    pub event: Option<EventFilter>,
    /// How time is cut.
    pub window: WindowConfig,
    /// Where the data goes.
    pub lake: LakeConfig,
    /// What a run may use.
    pub run: RunConfig,
}

/// How time is cut: `[window]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowConfig {
    /// The first instant wanted. Absent: a run needs a range.
    pub start: Option<DateTime<Utc>>,
    /// How much time one export job covers. Default: 1 day; at most 6, since the vendor allows "at most 7 days" and a
    /// sibling API of it "less than".
    pub size: Duration,
    /// How much more is asked for on either side. Default: 1 second; the vendor does not say whether ends are
    /// inclusive.
    pub margin: Duration,
    /// How long after its end a partition is due. Default: 60 minutes.
    pub lag: Duration,
    /// How far before a range partitions are looked at. Default: 3 days.
    pub lookback: Duration,
    /// How long after its end a partition stays provisional. Default: 3 days.
    pub settle: Duration,
}

/// Where the data goes: `[lake]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeConfig {
    /// Folder or URL.
    pub url: String,
    /// How partitions are cut. Default: by day.
    pub grain: Grain,
    /// How data files are compressed. Default: ZSTD, level 3.
    pub compression: Compression,
    /// How prompts are stored. Default: as parts.
    pub prompt: PromptLayout,
}

/// What a run may use: `[run]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunConfig {
    /// Memory to stay within, in bytes. Default: 512 MiB; at least 192 MiB.
    pub memory: u64,
    /// Folder for downloads and files in the making. Absent: the caller's choice.
    pub scratch: Option<PathBuf>,
    /// Threads that compute. Absent: one a core.
    pub threads: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    source: RawSource,
    auth: RawAuth,
    http: RawHttp,
    window: RawWindow,
    jobs: RawJobs,
    fetch: RawFetch,
    rate: RawRate,
    lake: RawLake,
    run: RawRun,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSource {
    host: Option<String>,
    app_id: Option<Written<AppId>>,
    event: Option<Written<Event>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAuth {
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
    proxy: Option<Written<Url>>,
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
struct RawRun {
    memory: Option<Written<HumanBytes>>,
    scratch: Option<PathBuf>,
    threads: Option<Written<usize>>,
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
word!(GrainName, Grain, "day" => Grain::Day, "hour" => Grain::Hour);
word!(PromptName, PromptLayout, "parts" => PromptLayout::Parts, "text" => PromptLayout::Text);
word!(Codec, CodecName, "zstd" => CodecName::Zstd, "snappy" => CodecName::Snappy);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CodecName {
    Zstd,
    Snappy,
}

/// A value given outside of the pipeline file.
#[derive(Debug, Clone)]
pub struct Override {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value.
    pub value: String,
    /// Where it was given, for messages: the flag and the variable.
    pub origin: String,
}

/// Looks up an environment variable.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl PipelineConfig {
    /// Reads the pipeline file, if there is one, overlays it, and looks up the secrets it names.
    ///
    /// # Errors
    /// When the file cannot be read, a key is not known, a value is not of its form, what is needed is missing, or two
    /// ways to authenticate are given.
    pub fn load(
        file: Option<&Path>,
        overrides: &[Override],
        environment: Environment<'_>,
    ) -> Result<Self, PipelineError> {
        let mut table = toml::Table::new();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|source| PipelineError::ReadConfig {
                    path: path.to_owned(),
                    source,
                })?;
            let in_file = |source| PipelineError::ParseConfig {
                path: path.to_owned(),
                source: Box::new(source),
            };
            // Checked by itself first: its messages show line and column.
            toml::from_str::<RawConfig>(&text).map_err(in_file)?;
            table = text.parse().map_err(in_file)?;
        }
        for given in overrides {
            let mut alone = toml::Table::new();
            insert(&mut alone, given);
            alone
                .try_into::<RawConfig>()
                .map_err(|error| PipelineError::InvalidSetting {
                    setting: given.origin.clone(),
                    reason: error.message().to_owned(),
                })?;
            insert(&mut table, given);
        }
        let raw: RawConfig =
            table
                .try_into()
                .map_err(|error: toml::de::Error| PipelineError::InvalidSetting {
                    setting: "the pipeline".to_owned(),
                    reason: error.message().to_owned(),
                })?;
        raw.resolve(environment)
    }
}

fn insert(table: &mut toml::Table, given: &Override) {
    let section = table
        .entry(given.setting.section)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = section {
        section.insert(
            given.setting.key.to_owned(),
            toml::Value::String(given.value.clone()),
        );
    }
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
    fn resolve(self, environment: Environment<'_>) -> Result<PipelineConfig, PipelineError> {
        let app_id = self.source.app_id.map(|id| id.0);
        let event = self.source.event.map(|event| event.0.0);
        let window = self.window.resolve()?;
        let lake = self.lake.resolve()?;
        let run = self.run.resolve()?;
        let extract = match self.source.host {
            None => None,
            Some(host) => {
                let host = host.parse::<Url>().map_err(|error| {
                    invalid("source.host", format!("expected a URL such as `https://platform.kore.ai`, got `{host}`: {error}"))
                })?;
                let app_id = app_id.clone().ok_or(PipelineError::Missing {
                    setting: "source.app_id",
                    flag: "app-id",
                })?;
                let auth = self.auth.resolve(environment)?;
                let defaults = ExtractConfig::new(
                    SourceConfig {
                        host,
                        app_id,
                        event,
                    },
                    auth,
                );
                Some(ExtractConfig {
                    http: HttpConfig {
                        proxy: self.http.proxy.map(|url| url.0),
                        ca_file: self.http.ca_file,
                        connect_timeout: duration(
                            self.http.connect_timeout,
                            defaults.http.connect_timeout,
                        ),
                    },
                    jobs: self.jobs.resolve(&defaults.jobs),
                    fetch: FetchConfig {
                        concurrency: self
                            .fetch
                            .concurrency
                            .map_or(defaults.fetch.concurrency, |n| n.0),
                        retries: self.fetch.retries.map_or(defaults.fetch.retries, |n| n.0),
                        timeout: duration(self.fetch.timeout, defaults.fetch.timeout),
                    },
                    rate: RateConfig {
                        per_minute: self
                            .rate
                            .per_minute
                            .map_or(defaults.rate.per_minute, |n| n.0),
                        per_hour: self.rate.per_hour.map_or(defaults.rate.per_hour, |n| n.0),
                    },
                    ..defaults
                })
            }
        };
        Ok(PipelineConfig {
            extract,
            app_id,
            event,
            window,
            lake,
            run,
        })
    }
}

impl RawJobs {
    fn resolve(self, defaults: &JobsConfig) -> JobsConfig {
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
    fn resolve(self, environment: Environment<'_>) -> Result<AuthConfig, PipelineError> {
        const TOKEN_ENV: &str = "ANSWERLAKE_TOKEN";
        const CLIENT_ID_ENV: &str = "ANSWERLAKE_CLIENT_ID";
        const CLIENT_SECRET_ENV: &str = "ANSWERLAKE_CLIENT_SECRET";
        let token_ways = [
            ("auth.token_env", self.token_env.is_some()),
            ("auth.token_file", self.token_file.is_some()),
        ];
        let secret_ways = [
            ("auth.client_secret_env", self.client_secret_env.is_some()),
            ("auth.client_secret_file", self.client_secret_file.is_some()),
            (
                "auth.client_secret_command",
                self.client_secret_command.is_some(),
            ),
        ];
        let given: Vec<&str> = token_ways
            .iter()
            .chain(&secret_ways)
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| *name)
            .collect();
        if let [first, second, ..] = given[..] {
            return Err(PipelineError::TwoWaysToAuthenticate {
                first: first.to_owned(),
                second: second.to_owned(),
            });
        }
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let needed = |name: &str, setting: &'static str| {
            variable(name).ok_or_else(|| PipelineError::MissingVariable {
                name: name.to_owned(),
                setting,
            })
        };
        if let Some(path) = self.token_file {
            return Ok(AuthConfig::TokenFile(path));
        }
        if let Some(name) = self.token_env {
            return Ok(AuthConfig::Token(SecretString::from(needed(
                &name,
                "auth.token_env",
            )?)));
        }
        let client_id_env = self.client_id_env.as_deref().unwrap_or(CLIENT_ID_ENV);
        let signs = !given.is_empty() || self.client_id_env.is_some();
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
            let text =
                std::fs::read_to_string(path).map_err(|source| PipelineError::ReadConfig {
                    path: path.clone(),
                    source,
                })?;
            text.trim().to_owned()
        } else if let Some(command) = &self.client_secret_command {
            secret_from_command(command)?
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
            audience: self.audience,
            subject: self.subject,
            lifetime: duration(self.lifetime, AuthConfig::LIFETIME),
        })
    }
}

/// Runs a command that prints a secret. Nothing of what it prints is ever shown.
fn secret_from_command(command: &str) -> Result<String, PipelineError> {
    let failed = |reason: String| invalid("auth.client_secret_command", reason);
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
        Ok(WindowConfig {
            start: self.start.map(|time| time.0.0),
            size,
            margin: duration(self.margin, Duration::from_secs(1)),
            lag: duration(self.lag, Duration::from_secs(60 * 60)),
            lookback: duration(self.lookback, 3 * DAY),
            settle: duration(self.settle, 3 * DAY),
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
            url: self.url.ok_or(PipelineError::Missing {
                setting: "lake.url",
                flag: "lake",
            })?,
            grain: self.grain.map(|grain| grain.0.0).unwrap_or_default(),
            compression,
            prompt: self.prompt.map(|prompt| prompt.0.0).unwrap_or_default(),
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
        let threads = self.threads.map(|threads| threads.0);
        if threads == Some(0) {
            return Err(invalid("run.threads", "expected at least 1, got 0"));
        }
        Ok(RunConfig {
            memory,
            scratch: self.scratch,
            threads,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        text: &str,
        overrides: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Result<PipelineConfig, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let overrides: Vec<Override> = overrides
            .iter()
            .map(|(flag, value)| Override {
                setting: Setting::ALL
                    .iter()
                    .find(|setting| setting.flag == *flag)
                    .unwrap(),
                value: (*value).to_owned(),
                origin: format!("--{flag}"),
            })
            .collect();
        let environment = |name: &str| {
            environment
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        PipelineConfig::load(Some(file.path()), &overrides, &environment).map_err(|error| {
            let mut text = error
                .to_string()
                .replace(&file.path().display().to_string(), "FILE");
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            text
        })
    }

    const MINIMAL: &str =
        "[source]\nhost = \"https://h\"\napp_id = \"st-1\"\n[lake]\nurl = \"lake\"\n";

    #[test]
    fn defaults_are_as_documented() {
        let config = load(MINIMAL, &[], &[("ANSWERLAKE_TOKEN", "t")]).unwrap();
        assert_eq!(config.window.size, Duration::from_secs(86_400));
        assert_eq!(config.window.lookback, Duration::from_secs(3 * 86_400));
        assert_eq!(config.lake.compression, Compression::Zstd(3));
        assert_eq!(config.run.memory, 512 << 20);
        let extract = config.extract.unwrap();
        assert_eq!(
            (
                extract.jobs.concurrency,
                extract.fetch.concurrency,
                extract.rate.per_minute
            ),
            (2, 4, 50)
        );
        assert!(matches!(extract.auth, AuthConfig::Token(_)));
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let text =
            format!("{MINIMAL}grain = \"day\"\n[jobs]\npoll_min = \"9s\"\nconcurrency = 7\n");
        let config = load(
            &text,
            &[("poll-min", "1s"), ("grain", "hour")],
            &[("ANSWERLAKE_TOKEN", "t")],
        )
        .unwrap();
        let jobs = config.extract.unwrap().jobs;
        assert_eq!(
            (jobs.poll_min, jobs.concurrency),
            (Duration::from_secs(1), 7)
        );
        assert_eq!(config.lake.grain, Grain::Hour);
    }

    #[test]
    fn every_setting_is_known_to_the_file() {
        for setting in Setting::ALL {
            let text = format!("[{}]\n{} = []\n", setting.section, setting.key);
            let error = toml::from_str::<RawConfig>(&text)
                .unwrap_err()
                .message()
                .to_owned();
            assert!(!error.contains("unknown field"), "{setting:?}: {error}");
        }
    }

    #[test]
    fn mistakes_are_said_where_they_are() {
        let token = [("ANSWERLAKE_TOKEN", "t")];
        let cases = [
            (format!("{MINIMAL}ulr = \"x\"\n"), "unknown field `ulr`"),
            (
                format!("{MINIMAL}[window]\nlag = \"soon\"\n"),
                "expected a duration such as `90s`, `15m`, `3d`, got `soon`",
            ),
            (
                format!("{MINIMAL}[window]\nsize = \"7d\"\n"),
                "`window.size`: expected 1h to 6d, got `7days`",
            ),
            (
                format!("{MINIMAL}grain = \"week\"\n"),
                "expected `day` or `hour`, got `week`",
            ),
            (
                MINIMAL.replace("https://h", "h"),
                "`source.host`: expected a URL such as `https://platform.kore.ai`, got `h`",
            ),
            (MINIMAL.replace("app_id", "#"), "`source.app_id` is missing"),
            (MINIMAL.replace("url", "#"), "`lake.url` is missing"),
            (
                format!("{MINIMAL}[run]\nmemory = \"1MiB\"\n"),
                "`run.memory`: expected at least 192MiB",
            ),
            (
                format!("{MINIMAL}[auth]\ntoken_file = \"a\"\nclient_secret_env = \"b\"\n"),
                "two ways to authenticate are given: auth.token_file and auth.client_secret_env",
            ),
            (
                format!("{MINIMAL}[auth]\ntoken_env = \"ELSEWHERE\"\n"),
                "environment variable `ELSEWHERE` is not set",
            ),
        ];
        for (text, expected) in cases {
            let error = load(&text, &[], &token).unwrap_err();
            assert!(
                error.contains(expected),
                "{error}\n  does not contain: {expected}"
            );
        }
        let error = load(MINIMAL, &[("poll-min", "soon")], &token).unwrap_err();
        assert!(error.contains("--poll-min"), "{error}");
        assert!(
            load(MINIMAL, &[], &[])
                .unwrap_err()
                .contains("no way to authenticate")
        );
    }

    #[test]
    fn the_client_secret_may_come_from_a_command() {
        let text = format!("{MINIMAL}[auth]\nclient_secret_command = \"printf hidden\"\n");
        let config = load(&text, &[], &[("ANSWERLAKE_CLIENT_ID", "cs-1")]).unwrap();
        assert!(!format!("{config:?}").contains("hidden"));
        assert!(matches!(
            config.extract.unwrap().auth,
            AuthConfig::Signed { .. }
        ));
        let error = load(
            &text.replace("printf hidden", "exit 3"),
            &[],
            &[("ANSWERLAKE_CLIENT_ID", "cs-1")],
        )
        .unwrap_err();
        assert!(error.contains("the command failed"), "{error}");
    }
}
