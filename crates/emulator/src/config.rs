//! What the emulator serves and how it behaves.
//!
//! Every point that the vendor's documents leave open is a setting, with the most likely reading as its default.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::faults::Fault;

/// Settings of an [`Emulator`](crate::Emulator).
#[derive(Debug, Clone)]
pub struct EmulatorConfig {
    /// Address to listen on; `127.0.0.1:0`, any free port, by default.
    pub bind: SocketAddr,
    /// App id of the paths (`st-…`); the `botId` of every seeded record.
    pub app_id: String,
    /// Client id (`cs-…`) that a token's `appId` claim must hold.
    pub client_id: String,
    /// Secret that tokens are signed with (HS256).
    pub client_secret: String,
    /// The seeded records.
    pub data: DataConfig,
    /// Hand-made records served beside the seeded ones, placed by their `createdOn`, else by `timeStampValue`; one
    /// that has neither stands at the first moment of [`DataConfig::from`].
    pub extra_records: Vec<serde_json::Value>,
    /// Shape of a finished job; [`JobShape::Auto`] by default.
    pub shape: JobShape,
    /// Most records of a fragment; 150 by default, as at the vendor. At least 1.
    pub fragment_records: usize,
    /// Whether a record made exactly at `from` is exported; true by default.
    pub from_inclusive: bool,
    /// Whether a record made exactly at `to` is exported; false by default.
    pub to_inclusive: bool,
    /// How long each answer waits; nothing by default.
    pub latency: Duration,
    /// How long a job takes for each of its fragments; nothing by default, about 10 s at the vendor.
    pub job_time_per_fragment: Duration,
    /// How long a job takes besides its fragments; nothing by default.
    pub job_time_base: Duration,
    /// How long a download link works; 5 minutes by default. Each look at a finished job gives new links.
    pub link_lifetime: Duration,
    /// Whether a download link works once only; false by default.
    pub single_use_links: bool,
    /// Whether fragment bodies are sent with `Content-Encoding: gzip`, asked for or not; false by default.
    pub gzip: bool,
    /// Pace of fragment bodies in bytes a second; as fast as they are read by default.
    pub bytes_per_second: Option<u64>,
    /// Whether fragment bodies start with a UTF-8 byte order mark; false by default.
    pub bom: bool,
    /// Whether links lead to a redirect (302) to the signed link; false by default.
    pub redirect_links: bool,
    /// What goes wrong, and when; nothing by default.
    pub faults: Vec<Fault>,
    /// Seed of the faults that are left to chance; 0 by default.
    pub fault_seed: u64,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            app_id: "st-1715923c-9a58-54e7-aaa7-14920ded9b91".to_owned(),
            client_id: "cs-46701eb5-7265-5b0c-9655-df3cda4bda79".to_owned(),
            client_secret: "emulated-client-secret".to_owned(),
            data: DataConfig::default(),
            extra_records: Vec::new(),
            shape: JobShape::Auto,
            fragment_records: 150,
            from_inclusive: true,
            to_inclusive: false,
            latency: Duration::ZERO,
            job_time_per_fragment: Duration::ZERO,
            job_time_base: Duration::ZERO,
            link_lifetime: Duration::from_secs(5 * 60),
            single_use_links: false,
            gzip: false,
            bytes_per_second: None,
            bom: false,
            redirect_links: false,
            faults: Vec::new(),
            fault_seed: 0,
        }
    }
}

/// Shape of a finished job, of which the vendor has shown three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobShape {
    /// Fragments when there are more records than [`EmulatorConfig::fragment_records`], else a single file that is
    /// named in `fileInfo` and in `analyticsFragments` alike. June 2025.
    #[default]
    Auto,
    /// One file named in `fileInfo`, whatever its size, without totals and fragments. February 2025.
    Legacy,
}

/// Settings of the seeded records.
///
/// The same settings give the same records, byte for byte. A record is made from the seed, its day and its place in
/// that day alone, so `from` and `to` only cut: they do not change the records between them.
#[derive(Debug, Clone)]
pub struct DataConfig {
    /// Seed of everything; 7 by default.
    pub seed: u64,
    /// First moment that has records; 2025-06-23 by default.
    pub from: DateTime<Utc>,
    /// First moment that has none any more; 2025-06-30 by default.
    pub to: DateTime<Utc>,
    /// Records of a full day, of all kinds; 300 by default. 0 gives none.
    pub records_per_day: u32,
    /// Distinct chunks that answers draw from; 5,000 by default.
    pub pool: usize,
    /// Size of the long texts: 1.0, the default, gives about 200 kB a generative record. Tests use 0.05.
    pub text_scale: f64,
    /// Share of generative answers among searches, the others being extractive; 0.85 by default.
    pub generative_share: f64,
    /// Share of feedback among the records; 0.10 by default.
    pub feedback_share: f64,
    /// Share of events of unknown kinds among the records; 0.01 by default.
    pub other_event_share: f64,
    /// Whether some records are not shaped as documented: a `language` that is null, a `score` that is a text; true by
    /// default.
    pub drifts: bool,
    /// Whether fragments are indented by 4 spaces, as the vendor's sample is; true by default.
    pub pretty: bool,
}

impl Default for DataConfig {
    fn default() -> Self {
        let from = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_262);
        Self {
            seed: 7,
            from,
            to: from + TimeDelta::days(7),
            records_per_day: 300,
            pool: 5_000,
            text_scale: 1.0,
            generative_share: 0.85,
            feedback_share: 0.10,
            other_event_share: 0.01,
            drifts: true,
            pretty: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_days_are_those_of_the_docs() {
        let data = DataConfig::default();
        assert_eq!(data.from.to_rfc3339(), "2025-06-23T00:00:00+00:00");
        assert_eq!(data.to.to_rfc3339(), "2025-06-30T00:00:00+00:00");
    }
}
