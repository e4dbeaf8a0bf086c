//! `answerlake emulate`

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use answerlake_emulator::{
    DataConfig, EXAMPLE_FAULTS, Emulator, EmulatorConfig, FaultKind, FaultScript, JobShape,
    write_fragments,
};
use answerlake_pipeline::config::{HumanDuration, HumanTime};
use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::refused;
use crate::output::{Exit, bytes, grouped, print, program};

const EXAMPLES: &str = "\
Examples:
  answerlake emulate
  answerlake emulate --port 8080 --from 2025-06-01 --to 2025-07-01 --records-per-day 500
  answerlake emulate --faults faults.toml
  answerlake emulate --write fragments --records 5000

It prints the settings that a run needs. With --write it serves nothing: it writes fragments to a folder, as the \
API would serve them, for `answerlake ingest`.

With --faults the API goes wrong as a file says, so that schedules, alerts and reruns can be rehearsed; when it is \
stopped it says what went wrong how often.";

#[derive(Debug, Args)]
#[command(
    after_help = format!("{EXAMPLES} `--help` shows such a file."),
    after_long_help = format!("{EXAMPLES} Such a file, with every kind of fault there is:\n\n{EXAMPLE_FAULTS}"),
)]
pub(crate) struct EmulateArgs {
    /// Port on the loopback interface; 0 takes a free one
    #[arg(long, default_value_t = 8780)]
    pub(crate) port: u16,
    /// First day with records
    #[arg(long, value_name = "TIME", default_value = "2025-06-02")]
    pub(crate) from: HumanTime,
    /// Day after the last
    #[arg(long, value_name = "TIME", default_value = "2025-06-30")]
    pub(crate) to: HumanTime,
    /// Records a day
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) records_per_day: u32,
    /// Seed of the made-up data
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) seed: u64,
    /// Distinct chunks in the made-up corpus
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub(crate) pool: usize,
    /// Length of texts: 1 makes about 200 kB of a generative record
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) text_scale: f64,
    /// Export time of a fragment; the vendor takes about 10 s
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) fragment_time: HumanDuration,
    /// Delay of each answer
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) latency: HumanDuration,
    /// Serve fragments gzipped
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Serve jobs in the older shape, one file without totals
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Compact JSON, not indented as the vendor's is
    #[arg(long)]
    pub(crate) compact: bool,
    /// What goes wrong: a file of faults in TOML
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    pub(crate) faults: Option<PathBuf>,
    /// Write fragments to this folder and end
    #[arg(long, value_name = "FOLDER", requires = "records")]
    pub(crate) write: Option<PathBuf>,
    /// How many records to write, spread over the days
    #[arg(long, value_name = "N", requires = "write")]
    pub(crate) records: Option<u32>,
}

pub(crate) fn execute(args: &EmulateArgs) -> anyhow::Result<Exit> {
    let defaults = EmulatorConfig::default();
    let data = DataConfig {
        seed: args.seed,
        from: args.from.0,
        to: args.to.0,
        records_per_day: args.records_per_day,
        pool: args.pool,
        text_scale: args.text_scale,
        pretty: !args.compact,
        ..defaults.data
    };
    if data.from >= data.to {
        return Err(refused("expected `--from` to lie before `--to`"));
    }
    if let (Some(folder), Some(records)) = (&args.write, args.records) {
        let days = u32::try_from((data.to - data.from).num_days())
            .unwrap_or(u32::MAX)
            .max(1);
        let data = DataConfig {
            records_per_day: records.div_ceil(days),
            ..data
        };
        let written =
            write_fragments(&data, &defaults.app_id, defaults.fragment_records, folder)
                .with_context(|| format!("cannot write fragments to `{}`", folder.display()))?;
        print(&format!(
            "{} fragments, {} records, {} in {}\n",
            grouped(written.fragments as u64),
            grouped(written.records),
            bytes(written.bytes),
            folder.display()
        ))?;
        return Ok(Exit::Done);
    }
    let script = match &args.faults {
        Some(path) => read_faults(path)?,
        None => FaultScript::default(),
    };
    let config = EmulatorConfig {
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        data,
        shape: if args.legacy {
            JobShape::Legacy
        } else {
            JobShape::Auto
        },
        gzip: args.gzip,
        latency: args.latency.0,
        job_time_per_fragment: args.fragment_time.0,
        faults: script.faults,
        fault_seed: script.seed,
        ..defaults
    };
    super::runtime()?.block_on(serve(config))
}

fn read_faults(path: &Path) -> anyhow::Result<FaultScript> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| refused(format!("cannot read `{}`: {error}", path.display())))?;
    text.parse()
        .map_err(|error| refused(format!("{}: {error}", path.display())))
}

async fn serve(config: EmulatorConfig) -> anyhow::Result<Exit> {
    let (from, to) = (config.data.from.date_naive(), config.data.to.date_naive());
    let (app_id, client_id, client_secret) = (
        config.app_id.clone(),
        config.client_id.clone(),
        config.client_secret.clone(),
    );
    let address = config.bind;
    let faults = match config.faults.len() {
        0 => String::new(),
        1 => "It goes wrong as scripted: 1 fault.\n".to_owned(),
        count => format!("It goes wrong as scripted: {count} faults.\n"),
    };
    let emulator = Emulator::start(config)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    print(&format!(
        "The export API is served on {url} until this is stopped (Ctrl-C).\n\
         It has records from {from} until before {to}.\n{faults}\
         To run against it, in another shell:\n\n\
         export ANSWERLAKE_HOST={url}\n\
         export ANSWERLAKE_APP_ID={app_id}\n\
         export ANSWERLAKE_CLIENT_ID={client_id}\n\
         export ANSWERLAKE_CLIENT_SECRET={client_secret}\n\
         export ANSWERLAKE_WINDOW_START={from}\n\
         export ANSWERLAKE_RATE_PER_MINUTE=60000 ANSWERLAKE_RATE_PER_HOUR=3600000    # it has no limits\n\
         export ANSWERLAKE_POLL_MIN=100ms\n\
         {program} run --lake ./lake --to {to}\n\n\
         or, with a pipeline file:\n\n\
         {program} init pipeline.toml --lake ./lake\n\
         {program} run pipeline.toml --to {to}\n",
        url = emulator.url(),
        program = program(),
    ))?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped?,
        _ = terminate.recv() => {}
    }
    if !faults.is_empty() {
        print(&told(&emulator.faults_met()))?;
    }
    Ok(Exit::Done)
}

/// What went wrong, and how often: `Faults met: 2 html, 1 reset.`
fn told(met: &[FaultKind]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for fault in met {
        *counts.entry(fault.name()).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if counts.is_empty() {
        return "Faults met: none.\n".to_owned();
    }
    format!("Faults met: {}.\n", counts.join(", "))
}
