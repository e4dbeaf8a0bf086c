//! Statements that create the lake's tables and views, for each engine.
//!
//! DuckDB and Spark read the files where they are, and so does Athena; Snowflake and BigQuery have tables of their own,
//! filled once by what stands here and kept in step by `answerlake changes`.

use std::collections::BTreeMap;
use std::fmt::Write;

use answerlake_model::{AppId, Grain, PerTable, Table};
use answerlake_transform::schema::{Column, row_doc};
use chrono::NaiveDate;

use crate::engine::Engine;
use crate::relation::{select_nothing, select_pattern};
use crate::table::{PathColumn, column_doc, file_columns};
use crate::target::Target;
use crate::views::views;

/// A lake, as far as its tables' statements tell of it.
#[derive(Debug, Clone)]
pub struct LakeTables {
    /// Where it is for the engine, without a `/` at its end.
    pub location: String,
    /// Which tables have files.
    pub has_files: PerTable<bool>,
    /// The fields that are masked in it, with their policies.
    pub masking: BTreeMap<String, String>,
    /// The apps that it has.
    pub apps: Vec<AppId>,
    /// Its first day; `None` while it has none.
    pub first_day: Option<NaiveDate>,
}

/// How the tables join: one, another, and what to know of it.
const JOINS: [(&str, &str); 5] = [
    (
        "queries, feedback",
        "USING (app_id, query_id); a search may have several votes, in later partitions",
    ),
    (
        "queries, answers",
        "USING (app_id, query_id); dt is the same, too",
    ),
    (
        "answers, chunks",
        "USING (app_id, query_id, record_id) where chunks.answer_position = answers.position",
    ),
    (
        "answers, llm_calls",
        "USING (app_id, query_id, record_id) where llm_calls.answer_position = answers.position",
    ),
    (
        "queries, events",
        "USING (app_id, query_id), for events that name a search",
    ),
];

/// The stage that Snowflake loads from.
pub(crate) const STAGE: &str = "answerlake_lake";
/// The file format that it loads by.
pub(crate) const FILE_FORMAT: &str = "answerlake_parquet";

/// All statements, each ended by `;`.
pub fn ddl(target: &Target, lake: &LakeTables) -> String {
    let mut sql = head(target);
    for statement in prelude(target, &lake.location) {
        let _ = writeln!(sql, "{statement};\n");
    }
    for table in Table::ALL {
        for statement in table_statements(table, target, lake) {
            let _ = writeln!(sql, "{statement};\n");
        }
    }
    if target.time_zone.is_some() {
        let day = target.day();
        for table in Table::ALL {
            let query = format!(
                "SELECT *, {day} AS local_date FROM {}",
                target.full_name(table.name())
            );
            let doc = format!("{table}, with the local day of created_at in local_date");
            let name = format!("{table}_local");
            let _ = writeln!(sql, "{};\n", view(&name, &doc, &query, target));
        }
    }
    for one in views(target.prompt) {
        let statement = view(one.name, one.doc, &one.query(target), target);
        let _ = writeln!(sql, "{statement};\n");
    }
    sql.truncate(sql.trim_end().len());
    sql.push('\n');
    sql
}

/// What is said of it all. Writing to a string cannot fail.
fn head(target: &Target) -> String {
    let about = match target.engine {
        Engine::DuckDb => {
            "-- Views over the lake's files. A query that reads while a partition is replaced may meet its old and new files\n\
             -- together for an instant; over the list that `answerlake files` gives, it never does.\n\
             -- A lake on S3 needs DuckDB's httpfs and a secret: CREATE SECRET (TYPE s3, PROVIDER credential_chain);\n"
        }
        Engine::Snowflake => {
            "-- Tables of Snowflake's own, filled once from a stage; `answerlake changes` keeps them in step. The stage wants\n\
             -- STORAGE_INTEGRATION = ... besides, or credentials. Times are TIMESTAMP_NTZ, in UTC.\n"
        }
        Engine::BigQuery => {
            "-- Tables of BigQuery's own, filled once; `answerlake changes` keeps them in step. Where the lake is on S3, give\n\
             -- its copy in Cloud Storage as --location, or add WITH CONNECTION to each LOAD DATA.\n"
        }
        Engine::Athena => {
            "-- Tables over the lake's files, with partition projection: new days need no crawler and no MSCK REPAIR TABLE.\n\
             -- New apps do: they stand in projection.app_id.values. Athena runs one statement at a time.\n"
        }
        Engine::Spark => {
            "-- Tables over the lake's files. New partitions are found by MSCK REPAIR TABLE, after each run of answerlake;\n\
             -- files that were replaced, by REFRESH TABLE in sessions that read the table before.\n"
        }
    };
    let mut sql = format!("{about}--\n-- Joins:\n");
    for (tables, how) in JOINS {
        let _ = writeln!(sql, "--   {tables}: {how}");
    }
    sql.push('\n');
    sql
}

/// What must be there before tables.
pub(crate) fn prelude(target: &Target, location: &str) -> Vec<String> {
    if target.engine != Engine::Snowflake {
        return Vec::new();
    }
    let (format, stage) = (target.full_name(FILE_FORMAT), target.full_name(STAGE));
    let url = target.engine.literal(&format!("{location}/"));
    vec![
        format!("CREATE FILE FORMAT IF NOT EXISTS {format} TYPE = PARQUET USE_LOGICAL_TYPE = TRUE"),
        format!(
            "CREATE STAGE IF NOT EXISTS {stage} URL = {url} FILE_FORMAT = (FORMAT_NAME = '{format}')"
        ),
    ]
}

fn table_statements(table: Table, target: &Target, lake: &LakeTables) -> Vec<String> {
    match target.engine {
        Engine::DuckDb => duckdb(table, target, lake),
        Engine::Snowflake => vec![
            own_table(table, target, &lake.masking),
            truncate(table, target),
            snowflake_load(table, target),
        ],
        Engine::BigQuery => vec![
            own_table(table, target, &lake.masking),
            truncate(table, target),
            bigquery_load(table, target, lake),
        ],
        Engine::Athena => vec![athena(table, target, lake)],
        Engine::Spark => spark(table, target, lake),
    }
}

fn duckdb(table: Table, target: &Target, lake: &LakeTables) -> Vec<String> {
    let name = target.full_name(table.name());
    let (note, query) = if lake.has_files[table] {
        ("", select_pattern(&lake.location, table, target))
    } else {
        // DuckDB refuses a pattern that matches nothing.
        (
            "-- No file yet: once there is one, `answerlake ddl` reads it.\n",
            select_nothing(table, target),
        )
    };
    let literal = |text: &str| target.engine.literal(text);
    let mut statements = vec![
        format!("{note}CREATE OR REPLACE VIEW {name} AS\n{query}"),
        format!("COMMENT ON VIEW {name} IS {}", literal(row_doc(table))),
    ];
    for (column, doc) in documented(table, target, &lake.masking) {
        statements.push(format!(
            "COMMENT ON COLUMN {name}.{column} IS {}",
            literal(&doc)
        ));
    }
    // The comments of one table are one paragraph.
    vec![statements.join(";\n")]
}

/// A table that the engine keeps itself.
pub(crate) fn own_table(
    table: Table,
    target: &Target,
    masking: &BTreeMap<String, String>,
) -> String {
    let engine = target.engine;
    let comment = |doc: &str| {
        let doc = engine.literal(doc);
        match engine {
            Engine::DuckDb => String::new(),
            Engine::BigQuery => format!(" OPTIONS (description = {doc})"),
            _ => format!(" COMMENT {doc}"),
        }
    };
    let mut lines = Vec::new();
    for column in file_columns(table, target) {
        let not_null = if column.nullable { "" } else { " NOT NULL" };
        let comment = comment(&column_doc(column, masking));
        let (name, kind) = (column.name, engine.type_of(column.kind));
        lines.push(format!("    {name} {kind}{not_null}{comment}"));
    }
    for column in PathColumn::of(target.grain) {
        let (name, kind) = (column.name(), column.type_of(engine));
        let comment = comment(column.doc());
        // What BigQuery reads off a path may be null for all it knows.
        let not_null = match engine {
            Engine::BigQuery => "",
            _ => " NOT NULL",
        };
        lines.push(format!("    {name} {kind}{not_null}{comment}"));
    }
    let name = target.full_name(table.name());
    let doc = engine.literal(row_doc(table));
    let end = match engine {
        Engine::Snowflake => format!("\nCLUSTER BY (dt)\nCOMMENT = {doc}"),
        Engine::BigQuery => {
            format!("\nPARTITION BY dt\nCLUSTER BY app_id\nOPTIONS (description = {doc})")
        }
        _ => String::new(),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {name} (\n{}\n){end}",
        lines.join(",\n")
    )
}

/// The same again loads all of it again: partitions may have been replaced since.
fn truncate(table: Table, target: &Target) -> String {
    format!("TRUNCATE TABLE {}", target.full_name(table.name()))
}

fn snowflake_load(table: Table, target: &Target) -> String {
    let (mut columns, mut values) = snowflake_columns(table, target);
    for column in PathColumn::of(target.grain) {
        let (name, kind) = (column.name(), column.type_of(target.engine));
        columns.push(name);
        values.push(format!(
            "REGEXP_SUBSTR(METADATA$FILENAME, '{name}=([^/]+)', 1, 1, 'e')::{kind}"
        ));
    }
    format!(
        "COPY INTO {} ({})\nFROM (\n    SELECT {}\n    FROM @{}/{table}/\n)\n\
         FILE_FORMAT = (FORMAT_NAME = '{}')\nPATTERN = '.*[.]parquet'",
        target.full_name(table.name()),
        columns.join(", "),
        values.join(", "),
        target.full_name(STAGE),
        target.full_name(FILE_FORMAT),
    )
}

/// The columns of a table's files, and how Snowflake reads each.
pub(crate) fn snowflake_columns(table: Table, target: &Target) -> (Vec<&'static str>, Vec<String>) {
    let columns = file_columns(table, target);
    let names = columns.iter().map(|column| column.name).collect();
    let read = |column: &Column| {
        let kind = target.engine.type_of(column.kind);
        format!("$1:{}::{kind}", column.name)
    };
    (names, columns.iter().map(read).collect())
}

fn bigquery_load(table: Table, target: &Target, lake: &LakeTables) -> String {
    let literal = |text: String| target.engine.literal(&text);
    let path = PathColumn::of(target.grain)
        .iter()
        .map(|column| format!("{} {}", column.name(), column.type_of(target.engine)));
    format!(
        "LOAD DATA INTO {}\nFROM FILES (\n    format = 'PARQUET',\n    uris = [{}],\n    \
         hive_partition_uri_prefix = {},\n    enable_list_inference = TRUE\n)\nWITH PARTITION COLUMNS ({})",
        target.full_name(table.name()),
        literal(format!("{}/{table}/*.parquet", lake.location)),
        literal(format!("{}/{table}", lake.location)),
        path.collect::<Vec<_>>().join(", "),
    )
}

fn athena(table: Table, target: &Target, lake: &LakeTables) -> String {
    let engine = target.engine;
    let literal = |text: &str| engine.ddl_literal(text);
    let column =
        |name: &str, kind: &str, doc: &str| format!("    `{name}` {kind} COMMENT {}", literal(doc));
    let files: Vec<_> = file_columns(table, target)
        .iter()
        .map(|one| {
            column(
                one.name,
                engine.type_of(one.kind),
                &column_doc(one, &lake.masking),
            )
        })
        .collect();
    let path: Vec<_> = PathColumn::of(target.grain)
        .iter()
        .map(|one| column(one.name(), one.type_of(engine), one.doc()))
        .collect();
    let properties: Vec<_> = projection(table, target, lake)
        .iter()
        .map(|(key, value)| format!("    {} = {}", literal(key), literal(value)))
        .collect();
    // Hive's names, quoted as Hive does.
    let name = target.full_name(table.name()).replace('"', "`");
    format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {name} (\n{}\n)\nCOMMENT {}\nPARTITIONED BY (\n{}\n)\nSTORED AS PARQUET\n\
         LOCATION {}\nTBLPROPERTIES (\n{}\n)",
        files.join(",\n"),
        literal(row_doc(table)),
        path.join(",\n"),
        literal(&format!("{}/{table}/", lake.location)),
        properties.join(",\n"),
    )
}

/// What Athena works partitions out by.
fn projection(table: Table, target: &Target, lake: &LakeTables) -> Vec<(&'static str, String)> {
    let mut properties = vec![("projection.enabled", "true".to_owned())];
    if lake.apps.is_empty() {
        // Each query must name its app then.
        properties.push(("projection.app_id.type", "injected".to_owned()));
    } else {
        let apps: Vec<_> = lake.apps.iter().map(AppId::as_str).collect();
        properties.push(("projection.app_id.type", "enum".to_owned()));
        properties.push(("projection.app_id.values", apps.join(",")));
    }
    let first = lake.first_day.unwrap_or_else(earliest_day);
    properties.push(("projection.dt.type", "date".to_owned()));
    properties.push(("projection.dt.format", "yyyy-MM-dd".to_owned()));
    properties.push(("projection.dt.range", format!("{first},NOW")));
    let mut template = format!("{}/{table}/app_id=${{app_id}}/dt=${{dt}}", lake.location);
    if target.grain == Grain::Hour {
        properties.push(("projection.hour.type", "integer".to_owned()));
        properties.push(("projection.hour.range", "0,23".to_owned()));
        template.push_str("/hour=${hour}");
    }
    properties.push(("storage.location.template", template));
    properties
}

/// Before it, the vendor had no such export.
fn earliest_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2024, 1, 1).expect("a day of the calendar")
}

fn spark(table: Table, target: &Target, lake: &LakeTables) -> Vec<String> {
    let engine = target.engine;
    let mut lines = Vec::new();
    for column in file_columns(table, target) {
        let (name, kind) = (column.name, engine.type_of(column.kind));
        let doc = engine.literal(&column_doc(column, &lake.masking));
        lines.push(format!("    {name} {kind} COMMENT {doc}"));
    }
    let mut partitions = Vec::new();
    for column in PathColumn::of(target.grain) {
        let (name, kind) = (column.name(), column.type_of(engine));
        let doc = engine.literal(column.doc());
        lines.push(format!("    {name} {kind} COMMENT {doc}"));
        partitions.push(name);
    }
    let name = target.full_name(table.name());
    let location = format!("{}/{table}", lake.location);
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {name} (\n{}\n)\nUSING PARQUET\nPARTITIONED BY ({})\nCOMMENT {}\nLOCATION {}",
            lines.join(",\n"),
            partitions.join(", "),
            engine.literal(row_doc(table)),
            engine.literal(&location),
        ),
        format!("MSCK REPAIR TABLE {name}"),
    ]
}

/// Each column of a table with what it means.
fn documented(
    table: Table,
    target: &Target,
    masking: &BTreeMap<String, String>,
) -> Vec<(&'static str, String)> {
    let files = file_columns(table, target)
        .iter()
        .map(|column| (column.name, column_doc(column, masking)));
    let path = PathColumn::of(target.grain)
        .iter()
        .map(|column| (column.name(), column.doc().to_owned()));
    files.chain(path).collect()
}

fn view(name: &str, doc: &str, query: &str, target: &Target) -> String {
    let name = target.full_name(name);
    let literal = target.engine.literal(doc);
    match target.engine {
        Engine::DuckDb => format!(
            "CREATE OR REPLACE VIEW {name} AS\n{query};\nCOMMENT ON VIEW {name} IS {literal}"
        ),
        Engine::Snowflake => {
            format!("CREATE OR REPLACE VIEW {name}\nCOMMENT = {literal}\nAS\n{query}")
        }
        Engine::BigQuery => {
            format!("CREATE OR REPLACE VIEW {name}\nOPTIONS (description = {literal})\nAS\n{query}")
        }
        Engine::Athena => format!("-- {doc}\nCREATE OR REPLACE VIEW {name} AS\n{query}"),
        Engine::Spark => {
            format!("CREATE OR REPLACE VIEW {name}\nCOMMENT {literal}\nAS\n{query}")
        }
    }
}
