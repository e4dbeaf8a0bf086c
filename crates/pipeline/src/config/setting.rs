//! Every setting by name: its place in the pipeline file, its flag, and what it means.
//!
//! The environment variable of a setting is its flag in capitals with underscores, after `ANSWERLAKE_`:
//! `--poll-min` is `ANSWERLAKE_POLL_MIN`. The help of the program and the file that `init` writes are made of these.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The table of the pipeline file.
    pub section: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What a value looks like, for the help. `N` is a number, `BOOL` a truth value, anything else text.
    pub value: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What holds without it.
    pub unset: Unset,
}

/// What holds without a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// Every pipeline file gives it.
    Needed,
    /// The same as with this value.
    Is(&'static str),
    /// What no value says.
    Means {
        /// What, in words.
        words: &'static str,
        /// A value that it might have.
        example: &'static str,
    },
    /// Nothing: it is one way of several.
    Nothing {
        /// A value that it might have.
        example: &'static str,
    },
}

impl Setting {
    /// What stands in a pipeline file for a value that is to be filled in.
    pub const TO_FILL_IN: &'static str = "<fill in>";

    /// The environment variable.
    pub fn env(&self) -> String {
        format!("ANSWERLAKE_{}", self.flag.to_uppercase().replace('-', "_"))
    }

    /// What it means, and what holds without it.
    pub fn help_with_default(&self) -> String {
        match self.unset {
            Unset::Needed | Unset::Nothing { .. } => self.help.to_owned(),
            Unset::Is(value) => format!("{} [default: {value}]", self.help),
            Unset::Means { words, .. } => format!("{} [default: {words}]", self.help),
        }
    }

    /// Those that every pipeline file gives.
    pub fn needed() -> impl Iterator<Item = &'static Self> {
        Self::ALL
            .iter()
            .filter(|setting| setting.unset == Unset::Needed)
    }

    /// All settings, in the order of the pipeline file.
    pub const ALL: &'static [Self] = &[
        setting(
            "source",
            "host",
            "host",
            "URL",
            "The vendor's host, such as https://platform.kore.ai",
            Unset::Needed,
        ),
        setting(
            "source",
            "app_id",
            "app-id",
            "ID",
            "The app whose data is exported, st-…",
            Unset::Needed,
        ),
        setting(
            "source",
            "event",
            "event",
            "EVENT",
            "Export only thumbsUp or thumbsDown records",
            Unset::Means {
                words: "all records",
                example: "thumbsUp",
            },
        ),
        setting(
            "auth",
            "token_env",
            "token-env",
            "NAME",
            "Environment variable that holds a ready JWT",
            Unset::Is("ANSWERLAKE_TOKEN"),
        ),
        setting(
            "auth",
            "token_file",
            "token-file",
            "FILE",
            "File that holds a ready JWT; read again for each request",
            Unset::Nothing {
                example: "/run/secrets/answerlake-token",
            },
        ),
        setting(
            "auth",
            "client_id_env",
            "client-id-env",
            "NAME",
            "Environment variable that holds the client id, cs-…",
            Unset::Is("ANSWERLAKE_CLIENT_ID"),
        ),
        setting(
            "auth",
            "client_secret_env",
            "client-secret-env",
            "NAME",
            "Environment variable that holds the client secret",
            Unset::Is("ANSWERLAKE_CLIENT_SECRET"),
        ),
        setting(
            "auth",
            "client_secret_file",
            "client-secret-file",
            "FILE",
            "File that holds the client secret",
            Unset::Nothing {
                example: "/run/secrets/answerlake-client-secret",
            },
        ),
        setting(
            "auth",
            "client_secret_command",
            "client-secret-command",
            "COMMAND",
            "Shell command that prints the client secret",
            Unset::Nothing {
                example: "pass show answerlake",
            },
        ),
        setting(
            "auth",
            "audience",
            "audience",
            "TEXT",
            "The claim `aud` of signed tokens",
            Unset::Means {
                words: "none",
                example: "https://idproxy.kore.com/authorize",
            },
        ),
        setting(
            "auth",
            "subject",
            "subject",
            "TEXT",
            "The claim `sub` of signed tokens",
            Unset::Is("answerlake"),
        ),
        setting(
            "auth",
            "lifetime",
            "token-lifetime",
            "DURATION",
            "How long a signed token is valid, at most 59m",
            Unset::Is("5m"),
        ),
        setting(
            "http",
            "proxy",
            "proxy",
            "URL",
            "Proxy for all requests but those to this machine",
            Unset::Means {
                words: "HTTP_PROXY and HTTPS_PROXY",
                example: "http://proxy.example:3128",
            },
        ),
        setting(
            "http",
            "ca_file",
            "ca-file",
            "FILE",
            "Certificates to trust, PEM",
            Unset::Means {
                words: "the system's",
                example: "/etc/ssl/certs/ca-certificates.crt",
            },
        ),
        setting(
            "http",
            "connect_timeout",
            "connect-timeout",
            "DURATION",
            "How long a connection may take",
            Unset::Is("10s"),
        ),
        setting(
            "window",
            "start",
            "window-start",
            "TIME",
            "The first day wanted: without a range, a run reads all that is due since then",
            Unset::Needed,
        ),
        setting(
            "window",
            "size",
            "window",
            "DURATION",
            "How much time one export job covers, at most 6d",
            Unset::Is("1d"),
        ),
        setting(
            "window",
            "margin",
            "margin",
            "DURATION",
            "How much more is asked for on either side",
            Unset::Is("1s"),
        ),
        setting(
            "window",
            "lag",
            "lag",
            "DURATION",
            "How long after its end a partition is due",
            Unset::Is("60m"),
        ),
        setting(
            "window",
            "lookback",
            "lookback",
            "DURATION",
            "How far before a range partitions are read again while they are provisional",
            Unset::Is("3d"),
        ),
        setting(
            "window",
            "settle",
            "settle",
            "DURATION",
            "How long after its end a partition stays provisional",
            Unset::Is("3d"),
        ),
        setting(
            "window",
            "on_shrink",
            "on-shrink",
            "ACTION",
            "What to do when an export lacks records that a partition holds: fail, keep or replace",
            Unset::Is("fail"),
        ),
        setting(
            "jobs",
            "concurrency",
            "jobs-concurrency",
            "N",
            "Export jobs in flight at once",
            Unset::Is("2"),
        ),
        setting(
            "jobs",
            "poll_min",
            "poll-min",
            "DURATION",
            "The first wait between two looks at a job",
            Unset::Is("2s"),
        ),
        setting(
            "jobs",
            "poll_max",
            "poll-max",
            "DURATION",
            "The longest wait between two looks at a job",
            Unset::Is("30s"),
        ),
        setting(
            "jobs",
            "stall",
            "stall",
            "DURATION",
            "A job without progress for this long has failed",
            Unset::Is("15m"),
        ),
        setting(
            "jobs",
            "deadline",
            "deadline",
            "DURATION",
            "A job that takes longer than this has failed",
            Unset::Is("6h"),
        ),
        setting(
            "jobs",
            "max_age",
            "job-max-age",
            "DURATION",
            "A job started by an earlier run is taken up when it is younger than this",
            Unset::Is("24h"),
        ),
        setting(
            "fetch",
            "concurrency",
            "fetch-concurrency",
            "N",
            "Downloads at once, over all jobs",
            Unset::Is("4"),
        ),
        setting(
            "fetch",
            "retries",
            "retries",
            "N",
            "How often a request is tried again",
            Unset::Is("5"),
        ),
        setting(
            "fetch",
            "timeout",
            "fetch-timeout",
            "DURATION",
            "A download without a byte for this long is tried again",
            Unset::Is("5m"),
        ),
        setting(
            "rate",
            "per_minute",
            "rate-per-minute",
            "N",
            "API calls a minute, for one app",
            Unset::Is("50"),
        ),
        setting(
            "rate",
            "per_hour",
            "rate-per-hour",
            "N",
            "API calls an hour, for one app",
            Unset::Is("1500"),
        ),
        setting(
            "lake",
            "url",
            "lake",
            "URL",
            "The lake: a folder, file:// or s3://bucket/prefix",
            Unset::Needed,
        ),
        setting(
            "lake",
            "grain",
            "grain",
            "GRAIN",
            "Partitions by day or by hour; fixed by the lake's first run",
            Unset::Is("day"),
        ),
        setting(
            "lake",
            "compression",
            "compression",
            "CODEC",
            "zstd or snappy",
            Unset::Is("zstd"),
        ),
        setting(
            "lake",
            "compression_level",
            "compression-level",
            "N",
            "The level of zstd, 1 to 22",
            Unset::Is("3"),
        ),
        setting(
            "lake",
            "prompt",
            "prompt",
            "LAYOUT",
            "Prompts as `parts` (a list of strings) or `text`; fixed by the lake's first run",
            Unset::Is("parts"),
        ),
        setting(
            "privacy",
            "key_env",
            "privacy-key-env",
            "NAME",
            "Environment variable that holds the key that texts are hashed under, at least 32 bytes",
            Unset::Is("ANSWERLAKE_PRIVACY_KEY"),
        ),
        setting(
            "privacy",
            "key_file",
            "privacy-key-file",
            "FILE",
            "File that holds the key",
            Unset::Nothing {
                example: "/run/secrets/answerlake-privacy-key",
            },
        ),
        setting(
            "privacy",
            "key_command",
            "privacy-key-command",
            "COMMAND",
            "Shell command that prints the key",
            Unset::Nothing {
                example: "pass show answerlake-privacy",
            },
        ),
        setting(
            "privacy",
            "allow_unmapped",
            "privacy-allow-unmapped",
            "BOOL",
            "With fields masked, whether what no column maps lands all the same: true or false",
            Unset::Is("false"),
        ),
        setting(
            "landing",
            "keep",
            "landing-keep",
            "BOOL",
            "Whether fragments are kept in the lake as they were fetched: true or false",
            Unset::Is("false"),
        ),
        setting(
            "landing",
            "retention",
            "landing-retention",
            "DURATION",
            "How long they are kept; older ones are removed by each run",
            Unset::Means {
                words: "for good",
                example: "90d",
            },
        ),
        setting(
            "landing",
            "allow_unmasked",
            "landing-allow-unmasked",
            "BOOL",
            "With fields masked, whether they are kept all the same, unmasked: true or false",
            Unset::Is("false"),
        ),
        setting(
            "run",
            "memory",
            "memory",
            "SIZE",
            "Memory to stay within, at least 192MiB",
            Unset::Is("512MiB"),
        ),
        setting(
            "run",
            "max_record",
            "max-record",
            "SIZE",
            "A larger record is set aside as a dead letter; at most a sixth of the memory",
            Unset::Is("32MiB"),
        ),
        setting(
            "run",
            "scratch",
            "scratch",
            "FOLDER",
            "Folder for downloads and files in the making",
            Unset::Means {
                words: "TMPDIR, else /var/tmp",
                example: "/var/tmp",
            },
        ),
        setting(
            "run",
            "threads",
            "threads",
            "N",
            "Threads that compute",
            Unset::Means {
                words: "one a core",
                example: "4",
            },
        ),
        setting(
            "run",
            "strict",
            "strict",
            "BOOL",
            "Fail partitions whose records drift from the schema, or come with strays, dead letters or conflicts",
            Unset::Is("false"),
        ),
    ];
}

const fn setting(
    section: &'static str,
    key: &'static str,
    flag: &'static str,
    value: &'static str,
    help: &'static str,
    unset: Unset,
) -> Setting {
    Setting {
        section,
        key,
        flag,
        value,
        help,
        unset,
    }
}
