//! Every setting by name: its place in the pipeline file, its flag, and what it means.
//!
//! The environment variable of a setting is its flag in capitals with underscores, after `ANSWERLAKE_`:
//! `--poll-min` is `ANSWERLAKE_POLL_MIN`.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The table of the pipeline file.
    pub section: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What a value looks like, for the help.
    pub value: &'static str,
    /// What it means and what holds without it.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable.
    pub fn env(&self) -> String {
        format!("ANSWERLAKE_{}", self.flag.to_uppercase().replace('-', "_"))
    }

    /// All settings, in the order of the pipeline file.
    pub const ALL: &'static [Self] = &[
        setting(
            "source",
            "host",
            "host",
            "URL",
            "The vendor's host, such as https://platform.kore.ai",
        ),
        setting(
            "source",
            "app_id",
            "app-id",
            "ID",
            "The app whose data is exported, st-…",
        ),
        setting(
            "source",
            "event",
            "event",
            "EVENT",
            "Export only thumbsUp or thumbsDown records [default: all records]",
        ),
        setting(
            "auth",
            "token_env",
            "token-env",
            "NAME",
            "Environment variable that holds a ready JWT [default: ANSWERLAKE_TOKEN]",
        ),
        setting(
            "auth",
            "token_file",
            "token-file",
            "FILE",
            "File that holds a ready JWT; read again for each request",
        ),
        setting(
            "auth",
            "client_id_env",
            "client-id-env",
            "NAME",
            "Environment variable that holds the client id, cs-… [default: ANSWERLAKE_CLIENT_ID]",
        ),
        setting(
            "auth",
            "client_secret_env",
            "client-secret-env",
            "NAME",
            "Environment variable that holds the client secret [default: ANSWERLAKE_CLIENT_SECRET]",
        ),
        setting(
            "auth",
            "client_secret_file",
            "client-secret-file",
            "FILE",
            "File that holds the client secret",
        ),
        setting(
            "auth",
            "client_secret_command",
            "client-secret-command",
            "COMMAND",
            "Shell command that prints the client secret",
        ),
        setting(
            "auth",
            "audience",
            "audience",
            "TEXT",
            "The claim `aud` of signed tokens [default: none]",
        ),
        setting(
            "auth",
            "subject",
            "subject",
            "TEXT",
            "The claim `sub` of signed tokens [default: answerlake]",
        ),
        setting(
            "auth",
            "lifetime",
            "token-lifetime",
            "DURATION",
            "How long a signed token is valid, at most 59m [default: 5m]",
        ),
        setting(
            "http",
            "proxy",
            "proxy",
            "URL",
            "Proxy for all requests but those to this machine [default: HTTP_PROXY and HTTPS_PROXY]",
        ),
        setting(
            "http",
            "ca_file",
            "ca-file",
            "FILE",
            "Certificates to trust, PEM [default: the system's]",
        ),
        setting(
            "http",
            "connect_timeout",
            "connect-timeout",
            "DURATION",
            "How long a connection may take [default: 10s]",
        ),
        setting(
            "window",
            "start",
            "window-start",
            "TIME",
            "The first day wanted: without a range, a run reads all that is due since then",
        ),
        setting(
            "window",
            "size",
            "window",
            "DURATION",
            "How much time one export job covers, at most 6d [default: 1d]",
        ),
        setting(
            "window",
            "margin",
            "margin",
            "DURATION",
            "How much more is asked for on either side [default: 1s]",
        ),
        setting(
            "window",
            "lag",
            "lag",
            "DURATION",
            "How long after its end a partition is due [default: 60m]",
        ),
        setting(
            "window",
            "lookback",
            "lookback",
            "DURATION",
            "How far before a range partitions are read again while they are provisional [default: 3d]",
        ),
        setting(
            "window",
            "settle",
            "settle",
            "DURATION",
            "How long after its end a partition stays provisional [default: 3d]",
        ),
        setting(
            "window",
            "on_shrink",
            "on-shrink",
            "ACTION",
            "What to do when an export lacks records that a partition holds: fail or replace [default: fail]",
        ),
        setting(
            "jobs",
            "concurrency",
            "jobs-concurrency",
            "N",
            "Export jobs in flight at once [default: 2]",
        ),
        setting(
            "jobs",
            "poll_min",
            "poll-min",
            "DURATION",
            "The first wait between two looks at a job [default: 2s]",
        ),
        setting(
            "jobs",
            "poll_max",
            "poll-max",
            "DURATION",
            "The longest wait between two looks at a job [default: 30s]",
        ),
        setting(
            "jobs",
            "stall",
            "stall",
            "DURATION",
            "A job without progress for this long has failed [default: 15m]",
        ),
        setting(
            "jobs",
            "deadline",
            "deadline",
            "DURATION",
            "A job that takes longer than this has failed [default: 6h]",
        ),
        setting(
            "jobs",
            "max_age",
            "job-max-age",
            "DURATION",
            "A job started by an earlier run is taken up when it is younger than this [default: 24h]",
        ),
        setting(
            "fetch",
            "concurrency",
            "fetch-concurrency",
            "N",
            "Downloads at once, over all jobs [default: 4]",
        ),
        setting(
            "fetch",
            "retries",
            "retries",
            "N",
            "How often a request is tried again [default: 5]",
        ),
        setting(
            "fetch",
            "timeout",
            "fetch-timeout",
            "DURATION",
            "A download without a byte for this long is tried again [default: 5m]",
        ),
        setting(
            "rate",
            "per_minute",
            "rate-per-minute",
            "N",
            "API calls a minute, for one app [default: 50]",
        ),
        setting(
            "rate",
            "per_hour",
            "rate-per-hour",
            "N",
            "API calls an hour, for one app [default: 1500]",
        ),
        setting(
            "lake",
            "url",
            "lake",
            "URL",
            "The lake: a folder, file:// or s3://bucket/prefix",
        ),
        setting(
            "lake",
            "grain",
            "grain",
            "GRAIN",
            "Partitions by day or by hour; fixed by the lake's first run [default: day]",
        ),
        setting(
            "lake",
            "compression",
            "compression",
            "CODEC",
            "zstd or snappy [default: zstd]",
        ),
        setting(
            "lake",
            "compression_level",
            "compression-level",
            "N",
            "The level of zstd, 1 to 22 [default: 3]",
        ),
        setting(
            "lake",
            "prompt",
            "prompt",
            "LAYOUT",
            "Prompts as `parts` (a list of strings) or `text`; fixed by the lake's first run [default: parts]",
        ),
        setting(
            "run",
            "memory",
            "memory",
            "SIZE",
            "Memory to stay within, at least 192MiB [default: 512MiB]",
        ),
        setting(
            "run",
            "scratch",
            "scratch",
            "FOLDER",
            "Folder for downloads and files in the making [default: TMPDIR, else /var/tmp]",
        ),
        setting(
            "run",
            "threads",
            "threads",
            "N",
            "Threads that compute [default: one a core]",
        ),
    ];
}

const fn setting(
    section: &'static str,
    key: &'static str,
    flag: &'static str,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        section,
        key,
        flag,
        value,
        help,
    }
}
