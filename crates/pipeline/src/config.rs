//! The settings of a pipeline: a TOML file with one app, overlaid by the environment and by flags.
//!
//! Text is parsed once, here, into types that cannot be wrong. Nothing in this crate reads the environment: who calls
//! it says how.

// How settings are written, and what they become.
mod raw;
// Every setting by name.
mod setting;
// A pipeline file to start from.
mod template;
// Durations, sizes, times.
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use answerlake_extract::{
    AuthConfig, EventFilter, ExtractConfig, ExtractError, FetchConfig, HttpConfig, JobsConfig,
    RateConfig, SourceConfig, Url,
};
use answerlake_load::{
    Compression, LAKE_FORMAT_VERSION, LakeAddress, LakePin, MaskingPin, StoreAccess,
};
use answerlake_model::{AppId, Grain};
use answerlake_transform::{Masking, Policies, PolicyError, PromptLayout, SCHEMA_VERSION};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;

pub use setting::{Setting, Unset};
pub use template::{Template, template};
pub use values::{HumanBytes, HumanDuration, HumanTime};

use crate::error::PipelineError;
use raw::{KeySource, RawAuth, RawConfig};

/// All settings of a pipeline.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// The vendor's host; absent where none is given, which is enough for all that works on the lake alone.
    pub host: Option<Url>,
    /// The app, when one is given.
    pub app_id: Option<AppId>,
    /// Only records of this event.
    pub event: Option<EventFilter>,
    /// Where the secrets are found; they are looked up by [`PipelineConfig::extract`] alone.
    auth: RawAuth,
    /// How connections are made.
    pub http: HttpConfig,
    /// How time is cut.
    pub window: WindowConfig,
    /// How jobs are run and waited for.
    pub jobs: JobsConfig,
    /// How fragments are downloaded.
    pub fetch: FetchConfig,
    /// How often the API may be called.
    pub rate: RateConfig,
    /// Where the data goes.
    pub lake: LakeConfig,
    /// What must not land.
    pub privacy: PrivacyConfig,
    /// What is kept as it was fetched.
    pub landing: LandingConfig,
    /// What a run may use.
    pub run: RunConfig,
    /// What was given outside of the pipeline file, for messages.
    given: Vec<Override>,
}

const MISSING_HOST: PipelineError = PipelineError::Missing {
    setting: "source.host",
    flag: "host",
};

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
    /// What happens to a partition of which an export lacks records that it holds. Default: it fails.
    pub on_shrink: OnShrink,
}

/// What happens to a partition of which an export lacks records that it holds: the vendor may have deleted
/// them, and the export may be a bad one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnShrink {
    /// It stays as it is, and fails.
    #[default]
    Fail,
    /// It is replaced, but for those records, which stay.
    Keep,
    /// It is replaced.
    Replace,
}

/// Where the data goes: `[lake]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeConfig {
    /// Folder or URL, and how it is reached: see [`PipelineConfig::with_store_variables`].
    pub url: LakeAddress,
    /// How partitions are cut. Default: by day.
    pub grain: Grain,
    /// How data files are compressed. Default: ZSTD, level 3.
    pub compression: Compression,
    /// How prompts are stored. Default: as parts.
    pub prompt: PromptLayout,
}

/// What must not land: `[privacy]`.
#[derive(Debug, Clone)]
pub struct PrivacyConfig {
    /// What becomes of each field; absent where all are kept.
    pub policies: Option<Policies>,
    /// Where the key is found that texts are hashed under.
    key: KeySource,
    /// The policies with their key, once that is looked up by [`PipelineConfig::with_masking`].
    masking: Option<Arc<Masking>>,
}

/// What is kept as it was fetched: `[landing]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LandingConfig {
    /// Whether fragments are kept. Default: no. Where fields are masked, only when that is allowed.
    pub keep: bool,
    /// How long they are kept. Absent: for good.
    pub retention: Option<Duration>,
}

/// What a run may use: `[run]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunConfig {
    /// Memory to stay within, in bytes. Default: 512 MiB; at least 192 MiB.
    pub memory: u64,
    /// A larger record, in bytes, is set aside as a dead letter. Default: 32 MiB; at most a sixth of `memory`.
    pub max_record_bytes: usize,
    /// Folder for downloads and files in the making. Absent: the caller's choice.
    pub scratch: Option<PathBuf>,
    /// Threads that compute. Absent: one a core.
    pub threads: Option<usize>,
    /// Whether drift, strays, dead letters and conflicts fail a partition. Default: they do not; nothing is lost by
    /// them.
    pub strict: bool,
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
    /// Reads the pipeline file, if there is one, and overlays it. Secrets stay where they are.
    ///
    /// # Errors
    /// When the file cannot be read, a key is not known, a value is not of its form, what is needed is missing, or two
    /// ways to authenticate are given.
    pub fn load(file: Option<&Path>, overrides: &[Override]) -> Result<Self, PipelineError> {
        let mut table = toml::Table::new();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|source| PipelineError::ReadConfig {
                    path: path.to_owned(),
                    source,
                })?;
            let in_file = |error: toml::de::Error| PipelineError::ParseConfig {
                path: path.to_owned(),
                line: error
                    .span()
                    .map_or(1, |span| text[..span.start].matches('\n').count() + 1),
                reason: error.message().to_owned(),
            };
            table = text.parse().map_err(in_file)?;
            if !fill_in(path, &mut table, overrides)? {
                // Checked by itself first: its messages say the line.
                toml::from_str::<RawConfig>(&text).map_err(in_file)?;
            }
        }
        for given in overrides {
            check(given)?;
            insert(&mut table, given);
        }
        let raw: RawConfig =
            table
                .try_into()
                .map_err(|error: toml::de::Error| PipelineError::InvalidSetting {
                    setting: "the pipeline".to_owned(),
                    reason: error.message().to_owned(),
                })?;
        let config = raw.resolve().map(|config| Self {
            given: overrides.to_vec(),
            ..config
        });
        config
            .and_then(|config| config.check().map(|()| config))
            .map_err(|error| said_where(error, overrides))
    }

    /// Finds what cannot work, whatever the secrets are.
    fn check(&self) -> Result<(), PipelineError> {
        if self.host.is_some() && self.app_id.is_some() {
            let made_up = AuthConfig::Token("made-up".into());
            self.extract_with(made_up)?.check()?;
        }
        Ok(())
    }

    /// What it takes to talk to the source: looks up the secrets that the settings name.
    ///
    /// # Errors
    /// When host or app are missing, a secret is not there, or there are two of them.
    pub fn extract(&self, environment: Environment<'_>) -> Result<ExtractConfig, PipelineError> {
        let looked_up = || {
            // What is missing of the source is said before what is missing of the secrets.
            self.host.as_ref().ok_or(MISSING_HOST)?;
            self.app()?;
            let extract = self.extract_with(self.auth.look_up(environment)?)?;
            extract.check()?;
            Ok(extract)
        };
        looked_up().map_err(|error| said_where(error, &self.given))
    }

    fn extract_with(&self, auth: AuthConfig) -> Result<ExtractConfig, PipelineError> {
        Ok(ExtractConfig {
            hurry: 1,
            source: SourceConfig {
                host: self.host.clone().ok_or(MISSING_HOST)?,
                app_id: self.app()?.clone(),
                event: self.event,
            },
            auth,
            http: self.http.clone(),
            jobs: self.jobs.clone(),
            fetch: self.fetch.clone(),
            rate: self.rate.clone(),
        })
    }

    /// Reaches the lake as the `AWS_*` variables of the environment say, and through `http.proxy` and `http.ca_file`.
    /// Without them, a lake on S3 cannot be opened.
    #[must_use]
    pub fn with_store_variables(
        mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let variables = environment
            .into_iter()
            .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
        let access = StoreAccess {
            variables: Some(variables.collect()),
            proxy: self.http.proxy.clone(),
            ca_file: self.http.ca_file.clone(),
            connect_timeout: self.http.connect_timeout,
        };
        self.lake.url = self.lake.url.with_access(access);
        self
    }

    /// Looks up the key of `[privacy]`, where one is needed. `run` and `ingest` refuse to work without.
    ///
    /// # Errors
    /// When it is needed and not there, or too short.
    pub fn with_masking(mut self, environment: Environment<'_>) -> Result<Self, PipelineError> {
        if let Some(policies) = &self.privacy.policies {
            let source = &self.privacy.key;
            let key = policies.needs_key().then(|| source.look_up(environment));
            let key = key.transpose()?;
            let masking = Masking::try_new(
                policies.clone(),
                key.as_ref().map(|key| key.expose_secret().as_bytes()),
            );
            let masking = masking.map_err(|error| self.privacy.refused(&error))?;
            self.privacy.masking = Some(Arc::new(masking));
        }
        Ok(self)
    }

    /// What must not land, with the key; `None` where everything may.
    pub(crate) fn masking(&self) -> Result<Option<Arc<Masking>>, PipelineError> {
        match (&self.privacy.policies, &self.privacy.masking) {
            (Some(_), None) => Err(self.privacy.refused(&PolicyError::NoKey)),
            (_, masking) => Ok(masking.clone()),
        }
    }

    /// The app, where one is needed.
    ///
    /// # Errors
    /// When none is given.
    pub fn app(&self) -> Result<&AppId, PipelineError> {
        self.app_id.as_ref().ok_or(PipelineError::Missing {
            setting: "source.app_id",
            flag: "app-id",
        })
    }

    /// What the lake is held to by its first run.
    pub(crate) fn lake_pin(&self) -> LakePin {
        LakePin {
            format_version: LAKE_FORMAT_VERSION,
            grain: self.lake.grain,
            event: self.event.map(|event| event.name().to_owned()),
            prompt: match self.lake.prompt {
                PromptLayout::Parts => "parts".to_owned(),
                PromptLayout::Text => "text".to_owned(),
            },
            schema_version: SCHEMA_VERSION,
            masking: self.privacy.pin(),
        }
    }
}

impl PrivacyConfig {
    fn pin(&self) -> Option<MaskingPin> {
        let policies = self.policies.as_ref()?;
        let fields = policies
            .masked()
            .map(|(field, policy)| (field.to_owned(), policy.name().to_owned()));
        let masking = self.masking.as_ref();
        Some(MaskingPin {
            fields: fields.collect(),
            allow_unmapped: policies.allow_unmapped(),
            key_check: masking.and_then(|masking| masking.key_check()),
        })
    }

    fn refused(&self, error: &PolicyError) -> PipelineError {
        PipelineError::InvalidSetting {
            setting: format!("`{}`", self.key.setting()),
            reason: error.to_string(),
        }
    }
}

/// Adds to a message about a setting where it was given, if that is not the pipeline file.
fn said_where(error: PipelineError, overrides: &[Override]) -> PipelineError {
    let (setting, reason) = match error {
        PipelineError::InvalidSetting { setting, reason } => (setting, reason),
        PipelineError::Extract(ExtractError::Config { setting, reason }) => {
            (format!("`{setting}`"), reason)
        }
        other => return other,
    };
    let given = overrides
        .iter()
        .find(|given| setting == format!("`{}.{}`", given.setting.section, given.setting.key));
    PipelineError::InvalidSetting {
        setting: match given {
            Some(given) => format!("{setting}, given as {}", given.origin),
            None => setting,
        },
        reason,
    }
}

/// Takes out what is to be filled in; says whether there was such a thing.
///
/// # Errors
/// When any of it is not given outside of the file.
fn fill_in(
    path: &Path,
    table: &mut toml::Table,
    overrides: &[Override],
) -> Result<bool, PipelineError> {
    let (mut had_any, mut missing) = (false, Vec::new());
    for setting in Setting::ALL {
        let Some(toml::Value::Table(section)) = table.get_mut(setting.section) else {
            continue;
        };
        if section.get(setting.key).and_then(toml::Value::as_str) != Some(Setting::TO_FILL_IN) {
            continue;
        }
        section.remove(setting.key);
        had_any = true;
        if !overrides.iter().any(|given| given.setting == setting) {
            missing.push(setting);
        }
    }
    if missing.is_empty() {
        return Ok(had_any);
    }
    let list = |name: fn(&Setting) -> String| {
        let names: Vec<String> = missing.iter().map(|setting| name(setting)).collect();
        names.join(", ")
    };
    Err(PipelineError::ToFillIn {
        path: path.to_owned(),
        settings: list(|setting| format!("`{}.{}`", setting.section, setting.key)),
        flags: list(|setting| format!("--{}", setting.flag)),
    })
}

/// Checks a value by itself: so the message says where it was given.
fn check(given: &Override) -> Result<(), PipelineError> {
    let mut alone = toml::Table::new();
    insert(&mut alone, given);
    match alone.try_into::<RawConfig>() {
        Ok(_) => Ok(()),
        Err(error) => Err(PipelineError::InvalidSetting {
            setting: given.origin.clone(),
            reason: error.message().to_owned(),
        }),
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

#[cfg(test)]
mod tests {
    use answerlake_extract::AuthConfig;

    use super::*;

    fn load(
        text: &str,
        overrides: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Result<(PipelineConfig, ExtractConfig), String> {
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
        let loaded = PipelineConfig::load(Some(file.path()), &overrides).and_then(|config| {
            let extract = config.extract(&environment)?;
            // What became of both is in the rest.
            let config = PipelineConfig {
                auth: RawAuth::default(),
                given: Vec::new(),
                ..config
            };
            Ok((config, extract))
        });
        loaded.map_err(|error| {
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
        let (config, extract) = load(MINIMAL, &[], &[("ANSWERLAKE_TOKEN", "t")]).unwrap();
        assert_eq!(config.window.size, Duration::from_secs(86_400));
        assert_eq!(config.window.lookback, Duration::from_secs(3 * 86_400));
        assert_eq!(config.lake.compression, Compression::Zstd(3));
        assert_eq!(config.run.memory, 512 << 20);
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

    const TOKEN: &[(&str, &str)] = &[("ANSWERLAKE_TOKEN", "t")];
    const CLIENT: &[(&str, &str)] = &[
        ("ANSWERLAKE_CLIENT_ID", "cs-1"),
        ("ANSWERLAKE_CLIENT_SECRET", "s"),
    ];

    fn prefilled() -> Vec<Override> {
        let value = |flag| match flag {
            "host" => "https://h",
            "app-id" => "st-1",
            "window-start" => "2025-06-01",
            _ => "it's a \"lake\"",
        };
        Setting::needed()
            .map(|setting| Override {
                setting,
                value: value(setting.flag).to_owned(),
                origin: format!("--{}", setting.flag),
            })
            .collect()
    }

    #[test]
    fn the_template_loads_as_written() {
        let config = load(&template(&prefilled()).unwrap().text, &[], TOKEN).unwrap();
        let given: Vec<_> = prefilled()
            .iter()
            .map(|given| (given.setting.flag, given.value.clone()))
            .collect();
        let given: Vec<_> = given
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()))
            .collect();
        let expected = load("", &given, TOKEN).unwrap();
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
        assert_eq!(&*config.0.lake.url, "it's a \"lake\"");
    }

    /// A default that the help has wrong changes what the settings become, or is refused.
    #[test]
    fn every_default_of_the_template_is_the_one_that_holds_without_it() {
        let text = template(&prefilled()).unwrap().text;
        let mut defaults = 0;
        for setting in Setting::ALL {
            let commented = |line: &&str| line.starts_with(&format!("#{} = ", setting.key));
            let section = text
                .split_once(&format!("[{}]\n", setting.section))
                .unwrap()
                .1;
            let section = section
                .split_once("\n[")
                .map_or(section, |(section, _)| section);
            let Some(line) = section.lines().find(commented) else {
                assert_eq!(setting.unset, Unset::Needed, "{setting:?}");
                continue;
            };
            let changed = section.replace(line, &line[1..]);
            let with_it = text.replace(section, &changed);
            assert_ne!(with_it, text);
            match setting.unset {
                Unset::Needed => panic!("{} is commented out", setting.key),
                Unset::Is(_) => {
                    let signs = setting.section == "auth" && setting.key != "token_env";
                    let environment = if signs { CLIENT } else { TOKEN };
                    let expected = load(&text, &[], environment).unwrap();
                    let config = load(&with_it, &[], environment).unwrap();
                    assert_eq!(format!("{config:?}"), format!("{expected:?}"), "{line}");
                    defaults += 1;
                }
                Unset::Means { .. } | Unset::Nothing { .. } => {
                    assert!(toml::from_str::<RawConfig>(&with_it).is_ok(), "{line}");
                }
            }
        }
        assert!(defaults > 25, "{defaults}");
    }

    #[test]
    fn what_is_to_be_filled_in_is_asked_for_all_at_once() {
        let file = template(&[]).unwrap();
        let names: Vec<&str> = file.to_fill_in.iter().map(|setting| setting.flag).collect();
        assert_eq!(names, ["host", "app-id", "window-start", "lake"]);
        assert_eq!(
            load(&file.text, &[("app-id", "st-1")], TOKEN).unwrap_err(),
            "pipeline file `FILE` is to be filled in: `source.host`, `window.start`, `lake.url`"
        );
        let given: Vec<_> = prefilled()
            .into_iter()
            .map(|given| (given.setting.flag, given.value))
            .collect();
        let given: Vec<_> = given
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()))
            .collect();
        assert_eq!(
            &*load(&file.text, &given, TOKEN).unwrap().0.lake.url,
            given[3].1
        );
    }

    #[test]
    fn a_template_takes_no_value_that_the_file_could_not_have() {
        let mut given = prefilled();
        given[0].value = "platform.kore.ai".to_owned();
        let error = template(&given).unwrap_err().to_string();
        assert!(
            error.starts_with("`source.host`, given as --host: expected a URL"),
            "{error}"
        );
        given[0].value = "https://h".to_owned();
        given[2].value = "yesterday".to_owned();
        let error = template(&given).unwrap_err().to_string();
        assert!(
            error.starts_with("--window-start: expected a time"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let text =
            format!("{MINIMAL}grain = \"day\"\n[jobs]\npoll_min = \"9s\"\nconcurrency = 7\n");
        let (config, extract) = load(
            &text,
            &[("poll-min", "1s"), ("grain", "hour")],
            &[("ANSWERLAKE_TOKEN", "t")],
        )
        .unwrap();
        let jobs = extract.jobs;
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
            (
                format!("{MINIMAL}ulr = \"x\"\n"),
                "line 6: unknown field `ulr`",
            ),
            (
                format!("{MINIMAL}[window]\nlag = \"soon\"\n"),
                "line 7: expected a duration such as `90s`, `15m`, `3d`, at most 100 years, got `soon`",
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
                format!("{MINIMAL}[run]\nmax_record = \"100MiB\"\n"),
                "`run.max_record`: expected 1MiB to a sixth of `run.memory`, which is 85.3 MiB, got 100.0 MiB",
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
    fn what_works_on_the_lake_alone_needs_no_source() {
        let text = "[auth]\nclient_secret_command = \"exit 3\"\n[lake]\nurl = \"lake\"\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = PipelineConfig::load(Some(file.path()), &[]).unwrap();
        let error = config.extract(&|_| None).unwrap_err().to_string();
        assert!(error.contains("`source.host` is missing"), "{error}");
    }

    #[test]
    fn the_client_secret_may_come_from_a_command() {
        let text = format!("{MINIMAL}[auth]\nclient_secret_command = \"printf hidden\"\n");
        let (_, extract) = load(&text, &[], &[("ANSWERLAKE_CLIENT_ID", "cs-1")]).unwrap();
        assert!(!format!("{extract:?}").contains("hidden"));
        assert!(matches!(extract.auth, AuthConfig::Signed { .. }));
        let error = load(
            &text.replace("printf hidden", "exit 3"),
            &[],
            &[("ANSWERLAKE_CLIENT_ID", "cs-1")],
        )
        .unwrap_err();
        assert!(error.contains("the command failed"), "{error}");
    }
}
