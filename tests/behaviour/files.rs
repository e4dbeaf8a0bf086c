//! The files that readers may take: just those of the manifests, and SQL over them that can be pasted.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Place, Program, Setup, TABLES, duckdb, setup, truth};

fn files(place: &Place, lake: &str) -> Program {
    place.program("files").with("--lake", lake)
}

/// The files of the newest manifests, by path, with all that the manifests say of them.
fn of_manifests(setup: &Setup) -> BTreeMap<String, Value> {
    let newest = setup.lake().newest();
    let files = newest
        .values()
        .flat_map(|manifest| manifest["files"].as_array().unwrap());
    files
        .map(|file| {
            let path = file["path"].as_str().unwrap();
            (
                setup.lake().path(path).to_str().unwrap().to_owned(),
                file.clone(),
            )
        })
        .collect()
}

#[test]
fn the_list_is_that_of_the_manifests() {
    let setup = setup("files", |_| {});
    setup.run().result();
    let expected = of_manifests(&setup);
    let list = files(&setup.place, &setup.lake().url());
    let result = list.clone().with("--output", "json").result();
    let listed = result["files"].as_array().unwrap();
    let paths: Vec<&str> = listed
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), expected.len());
    for file in listed {
        let manifest = &expected[file["path"].as_str().unwrap()];
        for key in ["table", "rows", "bytes", "sha256"] {
            assert_eq!(file[key], manifest[key], "{file}");
        }
        // The times are those of its rows.
        let rows = setup.lake().rows(file["table"].as_str().unwrap());
        let partition = file["partition"].as_str().unwrap();
        let times = rows
            .iter()
            .filter(|row| partition.ends_with(&format!("dt={}", row["dt"].as_str().unwrap())))
            .map(|row| row["created_at"].as_i64().unwrap());
        for (key, micros) in [
            ("first_created_at", times.clone().min()),
            ("last_created_at", times.max()),
        ] {
            let time: chrono::DateTime<chrono::Utc> = file[key].as_str().unwrap().parse().unwrap();
            assert_eq!(Some(time.timestamp_micros()), micros, "{key}: {file}");
        }
    }
    let counts = setup.lake().counts();
    for table in TABLES {
        assert_eq!(result["totals"]["rows"][table], counts[table]);
    }
    let lines = list.clone().with("--format", "paths").ends(0).stdout;
    assert_eq!(lines.lines().collect::<Vec<_>>(), paths);

    // One table of one day.
    let one = list
        .clone()
        .with("--table", "chunks")
        .with("--date", "2025-06-24");
    let text = one.ends(0).stdout;
    assert!(
        text.contains("/chunks/") && text.contains("1 files of 1 partitions"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 3, "{text}");
    let refused = one.with("--format", "sql").with("--output", "json");
    refused.fails(2).assert_says(&["leave out one of the two"]);
    // The same as a file, beside whatever is printed.
    let path = setup.place.path("files.json");
    list.with("--format", "sql")
        .with("--result-file", path.to_str().unwrap())
        .ends(0);
    let written: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(written, result);
}

/// The counts of each table, by the SQL that `files` prints, pasted.
fn pasted(place: &Place, list: &Program) -> serde_json::Map<String, Value> {
    let sql = list.clone().with("--format", "sql").ends(0).stdout;
    let path = place.write("files.sql", sql);
    let queries: Vec<_> = TABLES
        .iter()
        .map(|table| (*table, format!("SELECT count(*) FROM {table}")))
        .chain([
            ("types", "DESCRIBE events".to_owned()),
            ("columns", "DESCRIBE queries".to_owned()),
        ])
        .collect();
    duckdb(":memory:", &[&path], &queries)
}

/// A folder whose name holds what SQL quotes, what patterns mean, and what looks like a hive column.
#[test]
fn the_sql_reads_lakes_of_any_name_and_tables_without_files() {
    let setup = setup("files-sql", |config| config.data.other_event_share = 0.0);
    let lake = setup.place.lake_named("it's/env=prod/[a]*? é");
    setup.run().into_lake(&lake).result();
    let list = files(&setup.place, &lake.url());
    let found = pasted(&setup.place, &list);
    let counts = truth::counts(&setup.source.records());
    assert_eq!(counts["events"], 0);
    for table in TABLES {
        assert_eq!(found[table], json!([[counts[table]]]), "{found:?}");
    }
    let names = |found: &Value| -> Vec<String> {
        let rows = found.as_array().unwrap().iter();
        rows.map(|row| format!("{} {}", row[0].as_str().unwrap(), row[1].as_str().unwrap()))
            .collect()
    };
    // A table without files has the columns and types that it will have.
    assert_eq!(
        names(&found["types"]),
        [
            "record_id VARCHAR",
            "query_id VARCHAR",
            "created_at TIMESTAMP WITH TIME ZONE",
            "event VARCHAR",
            "record VARCHAR",
            "app_id VARCHAR",
            "dt DATE"
        ]
    );
    let columns = names(&found["columns"]);
    assert!(columns.contains(&"dt DATE".to_owned()), "{columns:?}");
    assert!(
        !columns.iter().any(|column| column.starts_with("env")),
        "{columns:?}"
    );
}

#[test]
fn a_lake_by_hour_lists_its_hours() {
    let setup = setup("files-hours", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    setup.run().with("--grain", "hour").result();
    let list = files(&setup.place, &setup.lake().url());
    let found = pasted(&setup.place, &list);
    let counts = truth::counts(&setup.source.records());
    for table in TABLES {
        assert_eq!(found[table], json!([[counts[table]]]), "{found:?}");
    }
    assert!(
        found["columns"]
            .to_string()
            .contains("[\"hour\",\"BIGINT\"")
    );
}

#[test]
fn where_there_is_nothing_the_sql_still_reads() {
    let place = Place::new("files-nothing");
    let list = files(&place, "no such lake");
    let found = pasted(&place, &list);
    assert_eq!(found["chunks"], json!([[0]]), "{found:?}");
    assert!(!place.path("no such lake").exists());
    let result = list.with("--output", "json").result();
    assert_eq!(
        (&result["exists"], &result["files"]),
        (&json!(false), &json!([]))
    );
}

/// Its files are listed once they are in place; nothing is where they are lost.
#[test]
fn an_unpublished_day_is_listed_when_it_is_in_place() {
    let setup = setup("files-unpublished", |_| {});
    setup.run().result();
    let list = files(&setup.place, &setup.lake().url()).with("--output", "json");
    let whole = list.result();
    let (partition, manifest) = setup.lake().newest().into_iter().next().unwrap();
    let marker = format!("_answerlake/commits/{partition}/00000001.published");
    std::fs::remove_file(setup.lake().path(&marker)).unwrap();
    assert_eq!(list.result(), whole);
    let first = manifest["files"][0]["path"].as_str().unwrap();
    std::fs::remove_file(setup.lake().path(first)).unwrap();
    let outcome = list.ends(3);
    let totals = &outcome.json()["totals"];
    assert_eq!(
        totals["unreadable"],
        json!([{"partition": partition, "revision": 1}])
    );
    assert_eq!(totals["partitions"], 2);
    assert!(
        outcome
            .stderr
            .contains("no revision of the partition can be read"),
        "{}",
        outcome.stderr
    );
    let sql = list
        .without("--output")
        .with("--format", "sql")
        .ends(3)
        .stdout;
    assert!(!sql.contains(&format!("{partition}/")));
}
