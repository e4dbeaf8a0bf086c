//! `answerlake files`

use std::io::{self, Seek, Write};
use std::path::PathBuf;

use answerlake_model::{PerTable, Table};
use answerlake_pipeline::files::{FileTotals, ListedFile, UnlistedRevision};
use answerlake_pipeline::{FileList, Reading};
use answerlake_sql::relation::{file_literal, select_begin, select_end, select_nothing};
use answerlake_sql::{Engine, Target};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use tempfile::SpooledTempFile;

use crate::args::{LakeArgs, OutputFormat, RangeArgs, ResultArgs, refused};
use crate::output::{Exit, bytes, copy_to_stdout, grouped};
use crate::whole_file::WholeFile;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake files --lake ./lake --table queries --date 2025-06-28
  answerlake files --lake ./lake --format sql > lake.sql && duckdb -init lake.sql
  answerlake files --lake s3://bucket/lake --format paths --table chunks
  answerlake files pipelines/support.toml --output json

The list is that of one committed revision of each partition, the newest one whose files are all in place; a commit \
that is not published yet is listed once its last file is in place, and until then the revision before it is. With \
--format sql it is a temporary view a table, for DuckDB; a table without files is an empty one of the same columns \
and types. The list is printed whole or not at all.

A query over the list is never wrong: no row is missing, doubled, or of another revision. It fails where a file was \
dropped because its partition was replaced since; then list again. A query over the glob \
'LAKE/queries/app_id=*/dt=*/**/*.parquet' that begins while a partition is replaced may fail the same way, or count rows \
of it twice, or miss some, without a word: for some tenths of a second on a disk. Of 288 such queries, one after the \
other while 90 days were replaced within a minute, 14 were wrong; over the list, none.

Without a range, all that is committed; without an app, all apps of the lake. Credentials are not needed. Exit code 3 \
where partitions have no revision that can be read (files of it are lost): they are named, and not in the list.")]
pub(crate) struct FilesArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// One table only
    #[arg(long, value_parser = PossibleValuesParser::new(Table::ALL.map(Table::name)))]
    pub(crate) table: Option<String>,
    /// Form of the list: for people, a path or address a line, or SQL for DuckDB
    #[arg(long, value_name = "FORMAT", default_value = "list")]
    pub(crate) format: FilesFormat,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) lake: LakeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FilesFormat {
    List,
    Paths,
    Sql,
}

/// What is kept in memory of a form of the list, before it goes to a file.
const SPOOLED_BYTES: usize = 8 << 20;

pub(crate) fn execute(args: &FilesArgs) -> anyhow::Result<Exit> {
    let is_json = args.result.output.output == OutputFormat::Json;
    if is_json && args.format != FilesFormat::List {
        return Err(refused(
            "the JSON result has all that --format could show: leave out one of the two",
        ));
    }
    super::runtime()?.block_on(list(args, is_json))
}

async fn list(args: &FilesArgs, is_json: bool) -> anyhow::Result<Exit> {
    let config = super::pipeline(args.pipeline.as_deref(), &args.lake.0)?;
    let table = args.table.as_deref().and_then(Table::from_name);
    let mut list = FileList::open(&config, &(&args.range).into(), table).await?;
    let mut printed = match (is_json, args.format) {
        (true, _) => Form::json(&list.reading)?,
        (false, FilesFormat::List) => Form::List(spool()),
        (false, FilesFormat::Paths) => Form::Paths(spool()),
        (false, FilesFormat::Sql) => Form::sql(&list.reading, table),
    };
    let mut result = match args.result.result_file() {
        Some(path) => Some((WholeFile::create(path)?, Form::json(&list.reading)?)),
        None => None,
    };
    while let Some(files) = list.next().await? {
        for file in &files {
            printed.add(file)?;
            if let Some((_, form)) = &mut result {
                form.add(file)?;
            }
        }
    }
    for lost in &list.totals.unreadable {
        tracing::warn!(
            partition = lost.partition,
            revision = lost.revision,
            "no revision of the partition can be read: `answerlake run` reads it again"
        );
    }
    printed.finish(&list, &mut |bytes| copy_to_stdout(bytes))?;
    if let Some((file, form)) = result {
        let mut writer = file.writer()?;
        form.finish(&list, &mut |bytes| io::copy(bytes, &mut writer).map(drop))?;
        file.finish()?;
    }
    Ok(match list.totals.unreadable.is_empty() {
        true => Exit::Done,
        false => Exit::SomeFailed,
    })
}

/// A form of the list in the making, in memory or in a file: none of it is seen before all of it is known.
enum Form {
    List(SpooledTempFile),
    Paths(SpooledTempFile),
    Json { text: SpooledTempFile, files: u64 },
    Sql(Box<SqlForm>),
}

struct SqlForm {
    target: Target,
    only: Option<Table>,
    files: PerTable<(SpooledTempFile, u64)>,
}

/// Where a form goes once it is done.
type Sink<'s> = &'s mut dyn FnMut(&mut dyn io::Read) -> io::Result<()>;

fn spool() -> SpooledTempFile {
    tempfile::spooled_tempfile(SPOOLED_BYTES)
}

impl Form {
    fn json(reading: &Reading) -> io::Result<Self> {
        let mut text = spool();
        let head = serde_json::json!({
            "lake": reading.url,
            "location": reading.location,
            "exists": reading.exists,
            "grain": reading.grain,
        });
        let head = head.to_string();
        // The list follows as one member more.
        write!(text, "{},\"files\":[", head.trim_end_matches('}'))?;
        Ok(Self::Json { text, files: 0 })
    }

    fn sql(reading: &Reading, only: Option<Table>) -> Self {
        Self::Sql(Box::new(SqlForm {
            target: Target {
                engine: Engine::DuckDb,
                grain: reading.grain,
                prompt: reading.prompt,
                schema: None,
                time_zone: None,
            },
            only,
            files: PerTable::from_fn(|_| (spool(), 0)),
        }))
    }

    fn add(&mut self, file: &ListedFile) -> io::Result<()> {
        match self {
            Self::List(text) => {
                let first = file.first_created_at.as_deref().map_or("", minutes);
                let last = file.last_created_at.as_deref().map_or("", minutes);
                writeln!(
                    text,
                    "{}\n    {} rows, {}{}",
                    file.path,
                    grouped(file.rows),
                    bytes(file.bytes),
                    match first {
                        "" => String::new(),
                        first => format!(", {first} to {last}"),
                    }
                )
            }
            Self::Paths(text) => writeln!(text, "{}", file.path),
            Self::Json { text, files } => {
                if *files > 0 {
                    text.write_all(b",")?;
                }
                *files += 1;
                serde_json::to_writer(text, file).map_err(io::Error::from)
            }
            Self::Sql(sql) => {
                let (text, files) = &mut sql.files[file.table];
                let separator = if *files > 0 { "," } else { "" };
                *files += 1;
                write!(text, "{separator}\n    {}", file_literal(&file.path))
            }
        }
    }

    fn finish(self, list: &FileList, sink: Sink<'_>) -> io::Result<()> {
        let mut text = match self {
            Self::List(mut text) => {
                text.write_all(summary(list).as_bytes())?;
                text
            }
            Self::Paths(text) => text,
            Self::Json { mut text, .. } => {
                text.write_all(b"],\"totals\":")?;
                serde_json::to_writer(&mut text, &list.totals)?;
                text.write_all(b"}\n")?;
                text
            }
            Self::Sql(sql) => return sql.finish(sink),
        };
        text.rewind()?;
        sink(&mut text)
    }
}

impl SqlForm {
    fn finish(self, sink: Sink<'_>) -> io::Result<()> {
        for (table, (mut text, files)) in self.files {
            if self.only.is_some_and(|only| only != table) {
                continue;
            }
            let head = format!("CREATE OR REPLACE TEMPORARY VIEW {table} AS\n");
            if files == 0 {
                let nothing = select_nothing(table, &self.target);
                sink(&mut format!("{head}{nothing};\n").as_bytes())?;
                continue;
            }
            let begin = select_begin(table, &self.target);
            sink(&mut format!("{head}{begin}").as_bytes())?;
            text.rewind()?;
            sink(&mut text)?;
            sink(&mut format!("\n{};\n", select_end(&self.target)).as_bytes())?;
        }
        Ok(())
    }
}

fn summary(list: &FileList) -> String {
    let FileTotals {
        partitions,
        files,
        rows,
        bytes: size,
        behind,
        unreadable,
    } = &list.totals;
    if !list.reading.exists {
        return format!("There is no lake at `{}` yet.\n", list.reading.url);
    }
    let rows: u64 = rows.iter().map(|(_, rows)| rows).sum();
    let mut text = format!(
        "{} files of {} partitions: {} rows, {}\n",
        grouped(*files),
        grouped(*partitions),
        grouped(rows),
        bytes(*size)
    );
    for (which, what) in [
        (
            behind,
            "is committed but not in place yet; the one before is listed",
        ),
        (unreadable, "cannot be read: files of it are lost"),
    ] {
        for UnlistedRevision {
            partition,
            revision,
        } in which
        {
            text.push_str(&format!("revision {revision} of {partition} {what}\n"));
        }
    }
    text
}

/// `2025-06-01T12:30` of an instant in ISO 8601.
fn minutes(instant: &str) -> &str {
    instant.get(..16).unwrap_or(instant)
}
