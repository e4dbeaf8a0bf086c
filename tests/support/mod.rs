//! A source, a folder, the program; the lake, and what it should hold.

// Numbers drawn from a seed.
mod dice;
// What the program left in a lake.
mod lake;
// A folder of a test, and the program run in it.
mod program;
// DuckDB, told what to run.
mod duckdb;
// What the views should say, worked out anew.
pub(crate) mod quality;
// What stands between the program and its source.
mod network;
// An S3 server.
mod s3_server;
// What stands between the program and that.
#[expect(dead_code, reason = "the tests of `load` use the rest")]
mod s3_proxy;
// A lake on it.
mod bucket;
// The rows that records should become, worked out anew from `TABLES.md`.
pub(crate) mod truth;

use std::time::Duration;

use answerlake_emulator::{DataConfig, Emulator, EmulatorConfig};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

pub(crate) use bucket::Bucket;
pub(crate) use dice::Dice;
pub(crate) use duckdb::duckdb;
pub(crate) use lake::{Lake, TABLES, files_below};
pub(crate) use network::{Certificate, Relay};
pub(crate) use program::{Outcome, Place, Program, error_of, python, repository};
pub(crate) use s3_proxy::{Fate, NOTHING_LISTED, S3Proxy, error_body};
pub(crate) use s3_server::S3Server;

/// An emulated source, its folder beside it.
pub(crate) struct Setup {
    pub(crate) source: Source,
    pub(crate) place: Place,
}

/// An emulated source on a runtime of its own.
pub(crate) struct Source {
    emulator: Emulator,
    config: EmulatorConfig,
    /// Dropped last: the emulator runs on it.
    _runtime: Runtime,
}

/// A small source of three days, changed by `adjust`, and an empty folder named after the test.
pub(crate) fn setup(name: &str, adjust: impl FnOnce(&mut EmulatorConfig)) -> Setup {
    Setup {
        source: Source::start(adjust),
        place: Place::new(name),
    }
}

/// An instant of the summer of 2025.
pub(crate) fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// An instant as the vendor writes it.
pub(crate) fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A port of this machine where nobody listens: one that was free a moment ago.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}

impl Source {
    pub(crate) fn start(adjust: impl FnOnce(&mut EmulatorConfig)) -> Self {
        let from = time("2025-06-23T00:00:00Z");
        let mut config = EmulatorConfig {
            data: DataConfig {
                from,
                to: from + TimeDelta::days(3),
                records_per_day: 30,
                pool: 60,
                text_scale: 0.02,
                other_event_share: 0.06,
                ..DataConfig::default()
            },
            fragment_records: 20,
            ..EmulatorConfig::default()
        };
        adjust(&mut config);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let emulator = runtime.block_on(Emulator::start(config.clone())).unwrap();
        Self {
            emulator,
            config,
            _runtime: runtime,
        }
    }

    pub(crate) fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    pub(crate) fn config(&self) -> &EmulatorConfig {
        &self.config
    }

    /// All records it has, newest first.
    pub(crate) fn records(&self) -> Vec<Value> {
        let data = &self.config.data;
        self.emulator.records(data.from, data.to).collect()
    }

    pub(crate) fn records_of(&self, day: NaiveDate) -> Vec<Value> {
        let start = day.and_time(chrono::NaiveTime::MIN).and_utc();
        self.emulator
            .records(start, start + TimeDelta::days(1))
            .collect()
    }

    /// The days it has records of.
    pub(crate) fn days(&self) -> Vec<NaiveDate> {
        let data = &self.config.data;
        data.from
            .date_naive()
            .iter_days()
            .take_while(|day| *day < data.to.date_naive())
            .collect()
    }
}

impl Setup {
    /// `answerlake run` over all days of the source.
    pub(crate) fn run(&self) -> Program {
        self.place.run(&self.source)
    }

    pub(crate) fn lake(&self) -> Lake {
        self.place.lake()
    }
}

impl Place {
    /// `answerlake run` over all days of `source` into this place's lake, signing tokens, polling fast.
    pub(crate) fn run(&self, source: &Source) -> Program {
        let config = source.config();
        self.program("run")
            .with("--host", &source.emulator().url())
            .with("--app-id", &config.app_id)
            .with("--from", &iso(config.data.from))
            .with("--to", &iso(config.data.to))
            .with("--lookback", "0s")
            .with("--lake", &self.lake().url())
            .with("--scratch", self.scratch().to_str().unwrap())
            .with("--poll-min", "10ms")
            .with("--poll-max", "50ms")
            .with("--rate-per-minute", "60000")
            .with("--rate-per-hour", "3600000")
            .with("--output", "json")
            .environment("ANSWERLAKE_CLIENT_ID", &config.client_id)
            .environment("ANSWERLAKE_CLIENT_SECRET", &config.client_secret)
    }

    /// `answerlake ingest` of `paths` into this place's lake.
    pub(crate) fn ingest(&self, paths: &[&str]) -> Program {
        self.program("ingest")
            .arguments(paths)
            .with("--lake", &self.lake().url())
            .with("--scratch", self.scratch().to_str().unwrap())
            .with("--output", "json")
    }
}

/// Longer than anything here may take; for what must not hang.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
