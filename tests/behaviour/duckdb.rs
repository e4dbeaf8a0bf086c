//! The lake as DuckDB reads it, with nothing told but where it is: types, days, joins, texts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use serde_json::{Map, Value, json};

use crate::support::truth::{self, objects};
use crate::support::{Lake, Setup, TABLES, iso, python, repository, setup};

fn read(lake: &Lake) -> Value {
    let output = Command::new(python())
        .arg(repository("tests/duckdb_reads.py"))
        .arg(Path::new(&lake.url()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`make test` prepares the Python this needs: {stderr}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn source(name: &str) -> Setup {
    setup(name, |config| {
        // Enough of each kind, ratings of earlier searches among them.
        config.data.records_per_day = 40;
        config.data.feedback_share = 0.2;
    })
}

#[test]
fn a_lake_by_day_reads_as_it_was_exported() {
    let setup = source("duckdb-days");
    setup.run().result();
    let found = read(&setup.lake());
    let records = setup.source.records();
    check_tables(&found, &records, |record| {
        record["createdOn"].as_str().unwrap()[..10].to_owned()
    });
    check_types(&found, false);
    check_joins(&found, &records);
    check_texts(&found, &records);
}

#[test]
fn a_lake_by_hour_reads_as_it_was_exported() {
    let setup = source("duckdb-hours");
    setup
        .run()
        .with("--grain", "hour")
        .with("--window", "12h")
        .with(
            "--to",
            &iso(setup.source.config().data.from + TimeDelta::days(2)),
        )
        .result();
    let found = read(&setup.lake());
    let records: Vec<Value> = setup.source.days()[..2]
        .iter()
        .rev()
        .flat_map(|day| setup.source.records_of(*day))
        .collect();
    check_tables(&found, &records, |record| {
        let created = record["createdOn"].as_str().unwrap();
        format!(
            "{}/{}",
            &created[..10],
            created[11..13].parse::<u32>().unwrap()
        )
    });
    check_types(&found, true);
    check_joins(&found, &records);
    check_texts(&found, &records);
}

/// Rows of each partition, and the time they span.
#[track_caller]
fn check_tables(found: &Value, records: &[Value], partition: impl Fn(&Value) -> String) {
    let mut by_partition: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for record in records {
        by_partition
            .entry(partition(record))
            .or_default()
            .push(record);
    }
    let rows = truth::tables(records);
    for table in TABLES {
        let found = &found["tables"][table];
        let counts: Map<String, Value> = by_partition
            .iter()
            .map(|(partition, records)| (partition, truth::counts(records.iter().copied())[table]))
            .filter(|(_, rows)| *rows > 0)
            .map(|(partition, rows)| (partition.clone(), json!(rows)))
            .collect();
        assert!(!counts.is_empty(), "no rows of {table}");
        assert_eq!(found["counts"], Value::Object(counts), "{table}");
        assert_eq!(
            found["apps"],
            json!(["st-1715923c-9a58-54e7-aaa7-14920ded9b91"])
        );
        assert_eq!(found["outside_dt"], 0, "{table}");
        let times = rows[table]
            .iter()
            .map(|row| row["created_at"].as_i64().unwrap());
        let (first, last) = (times.clone().min().unwrap(), times.max().unwrap());
        for (name, microseconds) in [("first", first), ("last", last)] {
            assert_eq!(found[format!("{name}_us")], microseconds, "{table}");
            let text = found[name].as_str().unwrap();
            assert!(text.ends_with("+00:00"), "{text}");
            let time: chrono::DateTime<chrono::Utc> = text.parse().unwrap();
            assert_eq!(time.timestamp_micros(), microseconds, "{table}");
        }
    }
}

#[track_caller]
fn check_types(found: &Value, by_hour: bool) {
    let exceptions = [
        ("created_at", "TIMESTAMP WITH TIME ZONE"),
        ("modified_at", "TIMESTAMP WITH TIME ZONE"),
        ("answered_at", "TIMESTAMP WITH TIME ZONE"),
        ("answer_count", "INTEGER"),
        ("position", "INTEGER"),
        ("answer_position", "INTEGER"),
        ("extractive_chunk_count", "BIGINT"),
        ("generative_chunk_count", "BIGINT"),
        ("chunks_sent_to_llm", "BIGINT"),
        ("chunks_used_in_answer", "BIGINT"),
        ("frequency", "BIGINT"),
        ("page_number", "BIGINT"),
        ("doc_version", "BIGINT"),
        ("score", "DOUBLE"),
        ("completion_time_ms", "DOUBLE"),
        ("comment_tags", "VARCHAR[]"),
        ("tags", "VARCHAR[]"),
        ("prompt_parts", "VARCHAR[]"),
        ("cited_positions", "INTEGER[]"),
        ("dt", "DATE"),
        ("hour", "BIGINT"),
        ("has_results", "BOOLEAN"),
        ("is_full_search", "BOOLEAN"),
        ("snippet_enabled", "BOOLEAN"),
        ("is_dev", "BOOLEAN"),
        ("cited", "BOOLEAN"),
        ("sent_to_llm", "BOOLEAN"),
        ("used_in_answer", "BOOLEAN"),
        ("qualified", "BOOLEAN"),
        ("reranked", "BOOLEAN"),
        ("has_completion", "BOOLEAN"),
    ];
    let exceptions: BTreeMap<&str, &str> = exceptions.into();
    for table in TABLES {
        let types = found["tables"][table]["types"].as_object().unwrap();
        for (column, kind) in types {
            let expected = exceptions.get(column.as_str()).unwrap_or(&"VARCHAR");
            assert_eq!(kind, expected, "{table}.{column}");
        }
        assert_eq!(types.contains_key("hour"), by_hour);
        assert!(types.contains_key("dt") && types.contains_key("app_id"));
    }
}

#[track_caller]
fn check_joins(found: &Value, records: &[Value]) {
    let ids = |kinds: &[&str]| -> Vec<&str> {
        records
            .iter()
            .filter(|record| kinds.contains(&record["event"].as_str().unwrap_or_default()))
            .map(|record| record["searchRequestId"].as_str().unwrap())
            .collect()
    };
    let searches = ids(&["search"]);
    let ratings = ids(&["thumbsUp", "thumbsDown"]);
    let rated = ratings.iter().filter(|id| searches.contains(id)).count();
    assert!(rated > 0);
    assert_eq!(found["rated"], rated);
    assert_eq!(found["orphans"]["feedback"], ratings.len() - rated);
    for table in ["answers", "chunks", "llm_calls"] {
        assert_eq!(found["orphans"][table], 0, "each of {table} has its query");
    }
    assert_eq!(found["chunks_of_answers"], truth::counts(records)["chunks"]);
    let clicks = records
        .iter()
        .filter(|record| record["event"] == "citationClick")
        .count();
    assert!(clicks > 0);
    assert_eq!(found["clicks"], clicks);
}

#[track_caller]
fn check_texts(found: &Value, records: &[Value]) {
    let (mut prompts, mut completions) = (Map::new(), Map::new());
    let (mut chunks, mut tags) = (Map::new(), Map::new());
    let rows = truth::tables(records);
    for answer in records
        .iter()
        .flat_map(|record| objects(&record["answerDebug"]))
    {
        let id = answer["_id"].as_str().unwrap();
        prompts.insert(id.to_owned(), json!(truth::prompt(answer)));
    }
    for call in &rows["llm_calls"] {
        let id = call["answer_id"].as_str().unwrap().to_owned();
        completions.insert(
            id,
            json!([call["completion_text"], call["cited_positions"]]),
        );
    }
    for chunk in &rows["chunks"] {
        let [id, kind] = ["answer_id", "kind"].map(|column| chunk[column].as_str().unwrap());
        let place = format!("{id}/{kind}/{}", chunk["position"]);
        chunks.insert(
            place,
            json!([chunk["text"], chunk["score"], chunk["cited"]]),
        );
    }
    for rating in &rows["feedback"] {
        let id = rating["feedback_id"].as_str().unwrap().to_owned();
        tags.insert(id, rating["tags"].clone());
    }
    for (name, expected) in [
        ("prompts", prompts),
        ("completions", completions),
        ("chunks", chunks),
        ("tags", tags),
    ] {
        let found = found[name].as_object().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (id, expected) in &expected {
            assert_eq!(found.get(id), Some(expected), "{name} of {id}");
        }
    }
}
