//! The engines, and where their SQL differs.

use std::fmt;

use answerlake_transform::schema::ColumnKind;

/// What reads the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// DuckDB.
    DuckDb,
    /// Snowflake.
    Snowflake,
    /// BigQuery.
    BigQuery,
    /// Amazon Athena, version 3.
    Athena,
    /// Apache Spark, from 3.4 on, and what is made of it.
    Spark,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DuckDb,
        Self::Snowflake,
        Self::BigQuery,
        Self::Athena,
        Self::Spark,
    ];

    /// Its name, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Snowflake => "snowflake",
            Self::BigQuery => "bigquery",
            Self::Athena => "athena",
            Self::Spark => "spark",
        }
    }

    /// Which addresses it can read a lake at; empty where it is any path or address.
    pub fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::DuckDb | Self::Spark => &[],
            Self::Snowflake => &["s3://", "gcs://", "azure://"],
            Self::BigQuery => &["gs://", "s3://"],
            Self::Athena => &["s3://"],
        }
    }

    /// A text, as its queries spell it.
    pub fn literal(self, text: &str) -> String {
        match self {
            Self::DuckDb | Self::Athena => format!("'{}'", text.replace('\'', "''")),
            // A backslash escapes here as well.
            Self::Snowflake => {
                format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
            }
            Self::BigQuery | Self::Spark => {
                let text = text.replace('\\', "\\\\").replace('\'', "\\'");
                format!("'{}'", text.replace('\n', "\\n"))
            }
        }
    }

    /// A text, as its `CREATE TABLE` spells it: for Athena, that is Hive's.
    pub(crate) fn ddl_literal(self, text: &str) -> String {
        match self {
            Self::Athena => Self::Spark.literal(text),
            _ => self.literal(text),
        }
    }

    /// The type of a column.
    pub(crate) fn type_of(self, kind: ColumnKind) -> &'static str {
        use ColumnKind::{
            Bool, Float64, Int32, Int32List, Int64, Int64InText, Json, Text, TextList, Time,
        };
        match (self, kind) {
            (Self::DuckDb | Self::Snowflake, Text | Json) => "VARCHAR",
            (Self::BigQuery | Self::Spark, Text | Json) => "STRING",
            (Self::Athena, Text | Json) => "string",
            (Self::BigQuery, Bool) => "BOOL",
            (Self::Athena, Bool) => "boolean",
            (_, Bool) => "BOOLEAN",
            (Self::BigQuery, Int32 | Int64 | Int64InText) => "INT64",
            (Self::Spark, Int32) => "INT",
            (Self::Athena, Int32) => "int",
            (_, Int32) => "INTEGER",
            (Self::Athena, Int64 | Int64InText) => "bigint",
            (_, Int64 | Int64InText) => "BIGINT",
            (Self::BigQuery, Float64) => "FLOAT64",
            (Self::Snowflake, Float64) => "FLOAT",
            (Self::Athena, Float64) => "double",
            (_, Float64) => "DOUBLE",
            (Self::DuckDb, Time) => "TIMESTAMPTZ",
            (Self::Snowflake, Time) => "TIMESTAMP_NTZ",
            (Self::Athena, Time) => "timestamp",
            (_, Time) => "TIMESTAMP",
            (Self::DuckDb, TextList) => "VARCHAR[]",
            (Self::DuckDb, Int32List) => "INTEGER[]",
            (Self::Snowflake, TextList | Int32List) => "ARRAY",
            (Self::BigQuery, TextList) => "ARRAY<STRING>",
            (Self::BigQuery, Int32List) => "ARRAY<INT64>",
            (Self::Athena, TextList) => "array<string>",
            (Self::Athena, Int32List) => "array<int>",
            (Self::Spark, TextList) => "ARRAY<STRING>",
            (Self::Spark, Int32List) => "ARRAY<INT>",
        }
    }

    /// The texts of a list, one after the other.
    pub(crate) fn joined(self, list: &str) -> String {
        match self {
            Self::DuckDb => format!("array_to_string({list}, '')"),
            Self::Snowflake | Self::BigQuery => format!("ARRAY_TO_STRING({list}, '')"),
            Self::Athena | Self::Spark => format!("array_join({list}, '')"),
        }
    }

    /// An aggregate: the elements of all lists, as one list.
    pub(crate) fn concatenated(self, list: &str) -> String {
        match self {
            Self::DuckDb => format!("flatten(list({list}) FILTER (WHERE {list} IS NOT NULL))"),
            Self::Snowflake => format!("ARRAY_FLATTEN(ARRAY_AGG({list}))"),
            Self::BigQuery => format!("ARRAY_CONCAT_AGG({list})"),
            Self::Athena => {
                format!("flatten(array_agg({list}) FILTER (WHERE {list} IS NOT NULL))")
            }
            Self::Spark => format!("flatten(collect_list({list}))"),
        }
    }

    /// The elements of a list, each once, in order.
    pub(crate) fn distinct(self, list: &str) -> String {
        match self {
            Self::DuckDb => format!("list_sort(list_distinct({list}))"),
            Self::Snowflake => format!("ARRAY_SORT(ARRAY_DISTINCT({list}))"),
            Self::BigQuery => {
                format!("ARRAY(SELECT DISTINCT item FROM UNNEST({list}) AS item ORDER BY item)")
            }
            Self::Athena | Self::Spark => format!("array_sort(array_distinct({list}))"),
        }
    }

    /// An aggregate: the value that so many percent do not exceed.
    pub(crate) fn percentile(self, value: &str, percent: &str) -> String {
        match self {
            Self::DuckDb => format!("quantile_cont({value}, 0.{percent})"),
            Self::Snowflake => {
                format!("PERCENTILE_CONT(0.{percent}) WITHIN GROUP (ORDER BY {value})")
            }
            Self::BigQuery => format!("APPROX_QUANTILES({value}, 100)[OFFSET({percent})]"),
            Self::Athena => format!("approx_percentile({value}, 0.{percent})"),
            Self::Spark => format!("percentile({value}, 0.{percent})"),
        }
    }

    /// The date that an instant falls on in a zone.
    pub(crate) fn local_date(self, time: &str, zone: &str) -> String {
        let zone = self.literal(zone);
        match self {
            Self::DuckDb => format!("CAST(timezone({zone}, {time}) AS DATE)"),
            Self::Snowflake => {
                format!("CAST(CONVERT_TIMEZONE('UTC', {zone}, {time}) AS DATE)")
            }
            Self::BigQuery => format!("DATE({time}, {zone})"),
            // Its columns are times without a zone, in UTC.
            Self::Athena => {
                format!("CAST(with_timezone({time}, 'UTC') AT TIME ZONE {zone} AS date)")
            }
            // An instant becomes a time without a zone by the session's.
            Self::Spark => format!(
                "CAST(convert_timezone(current_timezone(), {zone}, CAST({time} AS TIMESTAMP_NTZ)) AS DATE)"
            ),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
