//! `answerlake schema`

use std::fmt::Write;

use answerlake_model::Table;
use answerlake_transform::schema::{Column, columns, row_doc};
use answerlake_transform::{PromptLayout, SCHEMA_VERSION};
use serde::Serialize;

use super::answer::{Answer, answer};
use crate::args::{PromptArg, SchemaArgs};
use crate::output::Exit;

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
