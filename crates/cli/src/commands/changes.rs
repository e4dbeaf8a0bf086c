//! `answerlake changes`

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use answerlake_model::ConsumerName;
use answerlake_pipeline::changes::{Ack, AckReport, ChangedPartition};
use answerlake_pipeline::plan::Range;
use answerlake_pipeline::{ChangesReport, ChangesRequest, PipelineError, acknowledge};
use answerlake_sql::{Engine, PartitionLoad, SchemaName, TableLoad, Target, create_tables, load};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, answer};
use super::ddl::location;
use crate::args::{LakeArgs, RangeArgs, ResultArgs};
use crate::output::{Exit, grouped};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake changes --consumer bi --lake ./lake
  answerlake changes --consumer bi --lake ./lake --engine duckdb > load.sql
  duckdb warehouse.duckdb -bail -f load.sql && answerlake changes --consumer bi --lake ./lake --ack load.sql
  answerlake changes --consumer bi --lake ./lake --output json > changes.json
  answerlake changes --consumer bi --lake ./lake --ack changes.json

A consumer is a name, made by its first --ack. The lake keeps which revision of each partition it holds; listed is what \
the lake has another revision of now: partitions that are new, replaced, emptied, or (after `migrate` to another grain) \
removed, with the tables whose files are others, and these files before and now. Partitions that were committed again \
with the same files are not to be loaded, and are acknowledged with the rest.

With --engine, SQL: it creates the tables where they are not there yet, then deletes and loads each partition in one \
transaction, so it may be repeated at will, whole or in part. A file that was dropped meanwhile ends it with an error, \
at that partition: list again. The tables must be the warehouse's own: not the views that `answerlake ddl --engine \
duckdb` makes; --schema puts them elsewhere.

--ack takes what a listing printed, as SQL or JSON, from a file or, with `-`, from stdin, and acknowledges just what \
stood in it: a revision that came after the listing is listed the next time. What was loaded and not acknowledged is \
listed again. Acknowledging twice is once; two that acknowledge at once lose nothing, and a partition that both have \
loaded is listed again. Where the range or --limit left partitions out, they wait.

Exit code 3 where partitions have no revision that can be read (files of it are lost): they are named, and not in \
the list. Credentials of the source are not needed.")]
pub(crate) struct ChangesArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    /// Who follows the lake: letters, digits, `-`, `_`, `.`
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: ConsumerName,
    /// Acknowledge what a listing printed; `-` for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["engine", "limit", "schema", "location", "from", "to", "date"])]
    pub(crate) ack: Option<PathBuf>,
    /// SQL that loads the partitions into a warehouse
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<WarehouseArg>,
    /// With --engine: where its tables are, such as `insights` or `project.insights` [default: where the session is]
    #[arg(long, value_name = "SCHEMA", requires = "engine")]
    pub(crate) schema: Option<SchemaName>,
    /// With --engine: where it finds the lake, if by another path or address than this program
    #[arg(long, value_name = "URL", requires = "engine")]
    pub(crate) location: Option<String>,
    /// How many partitions are listed at most [default: all]
    #[arg(long, value_name = "PARTITIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) lake: LakeArgs,
}

/// The engines that keep tables of their own and replace rows in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WarehouseArg {
    Duckdb,
    Snowflake,
    Bigquery,
}

/// What stands before an acknowledgement in SQL.
const ACK_COMMENT: &str = "-- answerlake changes --ack: ";

/// The largest listing that is read back: many times that of any lake.
const MAX_ACK_BYTES: u64 = 1 << 30;

#[derive(Serialize)]
struct ChangesOutput {
    #[serde(flatten)]
    report: ChangesReport,
    /// With an engine: what loads it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    sql: Option<String>,
}

pub(crate) fn execute(args: &ChangesArgs) -> anyhow::Result<Exit> {
    if let Some(path) = &args.ack {
        return answer(&args.result, async {
            let config = super::pipeline(args.pipeline.as_deref(), &args.lake.0)?;
            let ack = read_ack(path)?;
            let report = acknowledge(&config, &args.consumer, &ack).await?;
            Ok(Answer {
                text: acknowledged(&report),
                result: report,
                exit: Exit::Done,
            })
        });
    }
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.lake.0)?;
        let request = ChangesRequest {
            consumer: args.consumer.clone(),
            range: Range::from(&args.range),
            limit: args.limit.map(|limit| limit as usize),
        };
        let report = answerlake_pipeline::changes(&config, &request).await?;
        let sql = match args.engine {
            Some(engine) => Some(sql(args, engine, &report)?),
            None => None,
        };
        for partition in &report.unreadable {
            tracing::warn!(
                partition,
                "no revision of the partition can be read: `answerlake run` reads it again"
            );
        }
        let exit = match report.unreadable.is_empty() {
            true => Exit::Done,
            false => Exit::SomeFailed,
        };
        Ok(Answer {
            text: sql.clone().unwrap_or_else(|| text(&report)),
            result: ChangesOutput { report, sql },
            exit,
        })
    })
}

fn sql(
    args: &ChangesArgs,
    engine: WarehouseArg,
    report: &ChangesReport,
) -> Result<String, PipelineError> {
    let target = Target {
        engine: match engine {
            WarehouseArg::Duckdb => Engine::DuckDb,
            WarehouseArg::Snowflake => Engine::Snowflake,
            WarehouseArg::Bigquery => Engine::BigQuery,
        },
        grain: report.grain,
        prompt: report.prompt,
        schema: args.schema.clone(),
        time_zone: None,
    };
    let location = location(args.location.as_deref(), &report.location, target.engine)?;
    let mut sql = create_tables(&target, &location);
    for partition in &report.partitions {
        let tables = partition.tables.iter().map(|table| TableLoad {
            table: table.table,
            files: table.files.clone(),
        });
        let partition = PartitionLoad {
            key: &partition.key,
            about: about(partition),
            tables: tables.collect(),
        };
        sql.push('\n');
        sql.push_str(&load(&partition, &target, &location));
    }
    let ack = serde_json::to_string(&report.ack).map_err(|error| PipelineError::Unexpected {
        reason: error.to_string(),
    })?;
    // JSON escapes line breaks, so it stays one comment. Writing to a string cannot fail.
    let _ = writeln!(sql, "\n{ACK_COMMENT}{ack}");
    Ok(sql)
}

/// `app_id=st-1/dt=2025-06-28 replaced, revision 2 after 1`
fn about(partition: &ChangedPartition) -> String {
    let (name, change) = (&partition.partition, partition.change.name());
    let mut text = format!("{name} {change}");
    match (partition.from, partition.to) {
        (Some(from), Some(to)) => text.push_str(&format!(", revision {to} after {from}")),
        (None, Some(to)) => text.push_str(&format!(", revision {to}")),
        (Some(from), None) => text.push_str(&format!(" after revision {from}")),
        (None, None) => {}
    }
    text
}

fn text(report: &ChangesReport) -> String {
    if !report.exists {
        return format!("There is no lake at `{}` yet.\n", report.lake);
    }
    let mut text = String::new();
    for partition in &report.partitions {
        let _ = writeln!(text, "{}", about(partition));
        for table in &partition.tables {
            let rows = grouped(table.rows);
            let _ = writeln!(text, "  {:9}  {rows} rows", table.table.name());
            for (sign, files) in [('-', &table.old_files), ('+', &table.files)] {
                for file in files {
                    let _ = writeln!(text, "    {sign} {file}");
                }
            }
        }
    }
    let _ = writeln!(
        text,
        "{} partitions to load for consumer {}; {} with a new revision of the same files",
        grouped(report.partitions.len() as u64),
        report.consumer,
        grouped(report.unchanged as u64)
    );
    if report.more > 0 {
        let _ = writeln!(
            text,
            "{} more may be listed after these",
            grouped(report.more as u64)
        );
    }
    for partition in &report.unreadable {
        let _ = writeln!(text, "{partition} cannot be read: files of it are lost");
    }
    text
}

fn acknowledged(report: &AckReport) -> String {
    let mut text = format!(
        "{} partitions acknowledged for consumer {}, {} were before\n",
        grouped(report.acknowledged as u64),
        report.consumer,
        grouped(report.unchanged as u64)
    );
    for partition in &report.contested {
        let _ = writeln!(
            text,
            "{partition} was acknowledged otherwise since it was listed, and is listed again"
        );
    }
    text
}

/// What stands for an acknowledgement in a listing: `ack` in JSON, a comment in SQL.
fn read_ack(path: &Path) -> Result<Ack, PipelineError> {
    let failed = |source| PipelineError::ReadConfig {
        path: path.to_owned(),
        source,
    };
    let mut listing = String::new();
    match path.as_os_str() == "-" {
        true => std::io::stdin()
            .take(MAX_ACK_BYTES)
            .read_to_string(&mut listing),
        false => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_ACK_BYTES).read_to_string(&mut listing)),
    }
    .map_err(failed)?;
    parse_ack(&listing).ok_or_else(|| PipelineError::Usage {
        reason: format!(
            "`{}` is nothing that `answerlake changes` printed as JSON or SQL, or not all of it",
            path.display()
        ),
        hint: Some("print the list with `--output json`, or as SQL with `--engine`".to_owned()),
    })
}

fn parse_ack(listing: &str) -> Option<Ack> {
    #[derive(Deserialize)]
    struct Listing {
        ack: Ack,
    }
    // Logs may stand before it, where an orchestrator merges the streams.
    let line = listing.lines().rfind(|line| !line.trim().is_empty())?;
    match line.strip_prefix(ACK_COMMENT) {
        Some(ack) => serde_json::from_str(ack).ok(),
        None => serde_json::from_str::<Listing>(line)
            .ok()
            .map(|listing| listing.ack),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_found_in_what_was_printed() {
        let ack =
            r#"{"consumer":"bi","lake":"/l","partitions":{"app_id=a/dt=2025-06-28":[null,1]}}"#;
        let expected: Ack = serde_json::from_str(ack).unwrap();
        let json = format!("a log line\n{{\"lake\":\"l\",\"ack\":{ack},\"sql\":\"x\"}}\n");
        assert_eq!(parse_ack(&json), Some(expected.clone()));
        let sql = format!("BEGIN TRANSACTION;\nCOMMIT;\n\n{ACK_COMMENT}{ack}\n\n");
        assert_eq!(parse_ack(&sql), Some(expected));
        for cut in ["", "BEGIN TRANSACTION;\n", &sql[..sql.len() - 6], "{}"] {
            assert_eq!(parse_ack(cut), None, "{cut}");
        }
    }
}
