//! `answerlake schema`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_model::Table;
use answerlake_pipeline::config::HumanTime;
use answerlake_pipeline::plan::Range;
use answerlake_transform::schema::{Column, columns, row_doc};
use answerlake_transform::{PromptLayout, SCHEMA_VERSION};
use chrono::NaiveDate;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::answer::{Answer, answer};
use crate::args::{LakeArgs, ResultArgs};
use crate::output::Exit;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake schema
  answerlake schema chunks
  answerlake schema --output json
  answerlake schema --drift --lake ./lake
  answerlake schema chunks --drift --lake ./lake --from 2025-06-01 --output json

With --drift: what records brought that the columns do not hold, and that stands in `extra` therefore, by path: keys \
that have no column, values of a type that is not expected, null among them, values that a column would not give \
back exactly, and `absent` for keys that are there in every documented record. It is told by the manifests of the \
lake alone; credentials are not needed. Only paths are told, never values; keys that look like data stand as `*`. \
Records of other events than search and feedback stand whole in `events` and do not drift. `answerlake run --strict` \
fails partitions that drift.")]
pub(crate) struct SchemaArgs {
    /// One table only
    #[arg(value_parser = PossibleValuesParser::new(Table::ALL.map(Table::name)))]
    pub(crate) table: Option<String>,
    /// How prompts are stored: parts or text
    #[arg(
        long,
        value_name = "LAYOUT",
        default_value = "parts",
        conflicts_with = "drift"
    )]
    pub(crate) prompt: PromptArg,
    /// Show what drifted from the schema in a lake
    #[arg(long)]
    pub(crate) drift: bool,
    /// With --drift: pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are shown
    #[arg(long, value_name = "FILE", requires = "drift")]
    pub(crate) pipeline: Option<PathBuf>,
    /// With --drift: first instant looked at, UTC unless it names a zone [default: the first partition]
    #[arg(long, value_name = "TIME", requires = "drift")]
    from: Option<HumanTime>,
    /// With --drift: first instant not looked at [default: the end of the last partition]
    #[arg(long, value_name = "TIME", requires = "drift")]
    to: Option<HumanTime>,
    /// With --drift: one UTC day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"], requires = "drift")]
    date: Option<NaiveDate>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) lake: LakeArgs,
}

impl SchemaArgs {
    /// The range that is looked at.
    pub(crate) fn range(&self) -> Range {
        Range {
            from: self.from.map(|time| time.0),
            to: self.to.map(|time| time.0),
            date: self.date,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PromptArg {
    Parts,
    Text,
}

#[derive(Serialize)]
struct SchemaOutput {
    schema_version: u32,
    tables: Vec<TableOutput>,
}

#[derive(Serialize)]
struct TableOutput {
    table: &'static str,
    row: &'static str,
    columns: Vec<ColumnOutput>,
}

#[derive(Serialize)]
struct ColumnOutput {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    nullable: bool,
    source: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
}

pub(crate) fn execute(args: &SchemaArgs) -> anyhow::Result<Exit> {
    let table = args.table.as_deref().and_then(Table::from_name);
    if args.drift {
        return super::drift::execute(args, table);
    }
    let tables = table.map_or_else(|| Table::ALL.to_vec(), |table| vec![table]);
    let prompt = match args.prompt {
        PromptArg::Parts => PromptLayout::Parts,
        PromptArg::Text => PromptLayout::Text,
    };
    let text: Vec<_> = tables.iter().map(|table| human(*table, prompt)).collect();
    let result = SchemaOutput {
        schema_version: SCHEMA_VERSION,
        tables: tables.iter().map(|table| json(*table, prompt)).collect(),
    };
    answer(&args.result, async {
        Ok(Answer {
            result,
            text: text.join("\n"),
            exit: Exit::Done,
        })
    })
}

fn human(table: Table, prompt: PromptLayout) -> String {
    let columns = columns(table, prompt);
    let kind = |column: &Column| {
        format!(
            "{}{}",
            column.kind.name(),
            if column.nullable { "" } else { ", not null" }
        )
    };
    let width = |text: fn(&Column) -> usize| columns.iter().map(text).max().unwrap_or(0);
    let name_width = width(|column| column.name.len());
    let kind_width = columns
        .iter()
        .map(|column| kind(column).len())
        .max()
        .unwrap_or(0);
    let mut text = format!("{table}: {}\n", row_doc(table));
    for column in columns {
        let doc = if column.doc.is_empty() {
            String::new()
        } else {
            format!(": {}", column.doc)
        };
        let (name, source) = (column.name, column.source.path());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {name:name_width$}  {:kind_width$}  {source}{doc}",
            kind(column)
        );
    }
    text
}

fn json(table: Table, prompt: PromptLayout) -> TableOutput {
    let column = |column: &Column| ColumnOutput {
        name: column.name,
        kind: column.kind.name(),
        nullable: column.nullable,
        source: column.source.path(),
        description: column.doc,
    };
    TableOutput {
        table: table.name(),
        row: row_doc(table),
        columns: columns(table, prompt).iter().map(column).collect(),
    }
}
