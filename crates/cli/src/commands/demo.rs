//! `answerlake demo`: the whole way once, with nothing to set up.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use answerlake_emulator::{DataConfig, Emulator, EmulatorConfig};
use answerlake_model::{PerTable, Table};
use answerlake_pipeline::config::Override;
use answerlake_pipeline::plan::Range;
use answerlake_pipeline::{PartitionReport, RunReport, RunRequest, RunStatus, Setting};
use anyhow::Context;
use chrono::TimeDelta;
use clap::Args;

use crate::output::{Exit, bytes, grouped, print, program};
use crate::progress::Bars;
use crate::screen::Screen;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  answerlake demo /tmp/answerlake-demo

Run it twice: the second run finds that nothing is left to do.")]
pub(crate) struct DemoArgs {
    /// Folder of the lake
    #[arg(default_value = "answerlake-demo")]
    pub(crate) folder: PathBuf,
    /// Weeks of made-up data
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) weeks: u32,
    /// Records a day
    #[arg(long, value_name = "N", default_value_t = 80)]
    pub(crate) records_per_day: u32,
}

pub(crate) fn execute(args: &DemoArgs, screen: Option<&Arc<Screen>>) -> anyhow::Result<Exit> {
    let lake = args.folder.join("lake");
    super::runtime()?.block_on(demo(args, &lake, screen))
}

async fn demo(args: &DemoArgs, lake: &Path, screen: Option<&Arc<Screen>>) -> anyhow::Result<Exit> {
    let defaults = DataConfig::default();
    let from = "2025-06-02T00:00:00Z".parse().expect("it is a time");
    let to = from + TimeDelta::weeks(i64::from(args.weeks.max(1)));
    let data = DataConfig {
        from,
        to,
        records_per_day: args.records_per_day,
        // What is warned of is for those who have real data.
        drifts: false,
        ..defaults
    };
    let config = EmulatorConfig {
        data,
        ..EmulatorConfig::default()
    };
    let (app_id, client_id, client_secret) = (
        config.app_id.clone(),
        config.client_id.clone(),
        config.client_secret.clone(),
    );
    let emulator = Emulator::start(config)
        .await
        .context("cannot start the emulator")?;
    print(&format!(
        "An emulated source has {} weeks of made-up searches, {} to {}.\n",
        args.weeks,
        from.date_naive(),
        to.date_naive()
    ))?;

    let lake_url = lake.to_str().context("the folder's name is no UTF-8")?;
    let settings = [
        ("host", emulator.url()),
        ("app-id", app_id),
        ("lake", lake_url.to_owned()),
        // There is nothing before the first day to look back at.
        ("window-start", from.to_rfc3339()),
        // The emulator has no limits and needs no time.
        ("poll-min", "20ms".to_owned()),
        ("poll-max", "200ms".to_owned()),
        ("rate-per-minute", "60000".to_owned()),
        ("rate-per-hour", "3600000".to_owned()),
    ];
    let overrides: Vec<Override> = settings
        .into_iter()
        .map(|(flag, value)| Override {
            setting: setting(flag),
            value,
            origin: format!("--{flag}"),
        })
        .collect();
    let secrets = |name: &str| match name {
        "ANSWERLAKE_CLIENT_ID" => Some(client_id.clone()),
        "ANSWERLAKE_CLIENT_SECRET" => Some(client_secret.clone()),
        _ => None,
    };
    let pipeline = super::pipeline(None, &overrides)?;
    let extract = pipeline.extract(&secrets)?;
    let range = Range {
        from: Some(from),
        to: Some(to),
        date: None,
    };
    let context = super::run_context()?;
    let began = Instant::now();
    let bars = screen.map(|screen| Bars::draw(screen, Arc::clone(&context.progress)));
    let report = answerlake_pipeline::run(
        &pipeline,
        &extract,
        &RunRequest {
            range,
            ..RunRequest::default()
        },
        &context,
    )
    .await;
    drop(bars);
    let report = report?;
    let took = began.elapsed();

    print(&shown(&report, took, lake)?)?;
    Ok(Exit::of(&report))
}

fn setting(flag: &str) -> &'static Setting {
    Setting::ALL
        .iter()
        .find(|setting| setting.flag == flag)
        .expect("it is a setting")
}

fn shown(report: &RunReport, took: Duration, lake: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    match report.status {
        RunStatus::NothingToDo => {
            writeln!(
                text,
                "\nNothing to do: every partition is in the lake already ({:.2} s).",
                took.as_secs_f64()
            )?;
        }
        RunStatus::Ok => {
            writeln!(text, "\n{}", by_partition(&report.partitions))?;
            let fetched = report.totals.bytes_fetched;
            writeln!(
                text,
                "{} records, {} of JSON to committed Parquet in {:.1} s: {:.0} MB/s.",
                grouped(report.totals.written),
                bytes(fetched),
                took.as_secs_f64(),
                fetched as f64 / 1e6 / took.as_secs_f64()
            )?;
        }
        RunStatus::Partial | RunStatus::Failed => {
            writeln!(text, "\nThe run failed:")?;
            for partition in &report.partitions {
                writeln!(
                    text,
                    "  {} {}",
                    partition.dt,
                    partition.error.as_deref().unwrap_or("committed")
                )?;
            }
        }
    }
    writeln!(text, "\nThe lake, {}:", lake.display())?;
    for table in Table::ALL {
        let (files, size) = size_of(&lake.join(table.name()))?;
        writeln!(
            text,
            "  {:10} {files:>4} files  {:>10}",
            table.name(),
            bytes(size)
        )?;
    }
    let query = format!(
        "SELECT dt, count(*) AS queries FROM read_parquet('{}/queries/app_id=*/dt=*/**/*.parquet', \
         hive_partitioning = true) GROUP BY dt ORDER BY dt",
        lake.display()
    );
    writeln!(
        text,
        "\nRead it with DuckDB, from Python (pip install duckdb) or with its own program:\n\n  \
         python3 -c \"import duckdb; print(duckdb.sql('''{query}'''))\"\n\n  \
         duckdb -c \"{query}\"\n\n\
         Next: `{program} emulate` serves the same source for runs of your own, and says how.",
        program = program(),
    )?;
    Ok(text)
}

fn by_partition(partitions: &[PartitionReport]) -> String {
    let mut text = format!("{:10}", "dt");
    for table in Table::ALL {
        let _ = write!(text, "  {:>9}", table.name());
    }
    text.push('\n');
    let mut total: PerTable<u64> = PerTable::default();
    let mut line = |name: &str, rows: &PerTable<u64>| {
        let _ = write!(text, "{name:10}");
        for (_, rows) in rows.iter() {
            let _ = write!(text, "  {:>9}", grouped(*rows));
        }
        text.push('\n');
    };
    for partition in partitions {
        let rows = partition.rows.clone().unwrap_or_default();
        line(&partition.dt, &rows);
        total = PerTable::from_fn(|table| total[table] + rows[table]);
    }
    line("all", &total);
    text
}

/// Files below a folder, and their bytes.
fn size_of(folder: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut files, mut size) = (0, 0);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let below = size_of(&entry.path())?;
            files += below.0;
            size += below.1;
        } else {
            files += 1;
            size += entry.metadata()?.len();
        }
    }
    Ok((files, size))
}
