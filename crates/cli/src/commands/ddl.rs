//! `answerlake ddl`

use std::path::PathBuf;

use answerlake_model::{Grain, PerTable};
use answerlake_pipeline::plan::Range;
use answerlake_pipeline::{PipelineError, Reading};
use answerlake_sql::{Engine, LakeTables, SchemaName, Target, TimeZone, ddl};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::answer::{Answer, answer};
use crate::args::{LakeArgs, ResultArgs};
use crate::output::Exit;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake ddl --engine duckdb --lake ./lake | duckdb insights.duckdb
  answerlake ddl --engine athena --lake s3://bucket/lake --schema insights
  answerlake ddl --engine spark --lake s3://bucket/lake --location s3a://bucket/lake --time-zone Europe/Berlin
  answerlake ddl --engine bigquery --lake ./lake --location gs://bucket/lake --schema insights

Tables are as `answerlake schema` prints them, with the columns of the path: app_id (string), dt (date), and hour \
(integer) where the lake is cut by the hour. How the lake is cut, how it stores prompts, and which fields it masks are \
read from the lake; where there is none yet, from the settings. DuckDB, Athena and Spark read the lake's files where \
they are; Snowflake and BigQuery have tables of their own, filled once by what is printed and kept in step by \
`answerlake changes`.

Views, the same for each engine:
  llm_calls_with_prompt   llm_calls, with the prompt as one text
  query_feedback          searches that were rated: latest vote, counts, tags
  answer_rate             by app and day: searches, and how many were answered
  retrieval_funnel        by app and day: chunks retrieved, sent, used, cited
  llm_time                by app and day: how long the model took
  unanswered_queries      questions without an answer, the most asked first

Days are UTC days, or those of --time-zone; with one, each table has a view more (queries_local) with local_date in it. \
A reader of DuckDB's views may meet a partition's old and new files together while it is replaced; `answerlake files \
--help` says more. Credentials are not needed.")]
pub(crate) struct DdlArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    /// Whose SQL
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: EngineArg,
    /// Where tables and views are made, such as `insights` or `project.insights` [default: where the session is]
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) schema: Option<SchemaName>,
    /// Where the engine finds the lake, if by another path or address than this program
    #[arg(long, value_name = "URL")]
    pub(crate) location: Option<String>,
    /// The time zone whose days count, by its name in the IANA database [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<TimeZone>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) lake: LakeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    Duckdb,
    Snowflake,
    Bigquery,
    Athena,
    Spark,
}

impl From<EngineArg> for Engine {
    fn from(engine: EngineArg) -> Self {
        match engine {
            EngineArg::Duckdb => Self::DuckDb,
            EngineArg::Snowflake => Self::Snowflake,
            EngineArg::Bigquery => Self::BigQuery,
            EngineArg::Athena => Self::Athena,
            EngineArg::Spark => Self::Spark,
        }
    }
}

#[derive(Serialize)]
struct DdlOutput {
    engine: &'static str,
    location: String,
    grain: Grain,
    sql: String,
}

pub(crate) fn execute(args: &DdlArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.lake.0)?;
        let reading = Reading::open(&config, &Range::default()).await?;
        let target = Target {
            engine: args.engine.into(),
            grain: reading.grain,
            prompt: reading.prompt,
            schema: args.schema.clone(),
            time_zone: args.time_zone.clone(),
        };
        let has_files = match target.engine {
            Engine::DuckDb => reading.tables_with_files().await?,
            _ => PerTable::from_fn(|_| true),
        };
        let location = location(args.location.as_deref(), &reading.location, target.engine)?;
        let sql = ddl(
            &target,
            &LakeTables {
                location: location.clone(),
                has_files,
                masking: reading.masking.clone(),
                apps: reading.apps(),
                first_day: reading.first_day(),
            },
        );
        Ok(Answer {
            text: sql.clone(),
            result: DdlOutput {
                engine: target.engine.name(),
                location,
                grain: target.grain,
                sql,
            },
            exit: Exit::Done,
        })
    })
}

/// Where an engine finds the lake.
pub(super) fn location(
    given: Option<&str>,
    own: &str,
    engine: Engine,
) -> Result<String, PipelineError> {
    let location = given.unwrap_or(own).trim_end_matches('/');
    let schemes = engine.schemes();
    if schemes.is_empty() || schemes.iter().any(|scheme| location.starts_with(scheme)) {
        return Ok(location.to_owned());
    }
    Err(PipelineError::Usage {
        reason: format!(
            "{engine} reads no lake at `{location}`: expected an address that begins with {}",
            schemes.join(" or ")
        ),
        hint: Some(
            "say with `--location` where the engine finds the lake, or a copy of it".to_owned(),
        ),
    })
}
