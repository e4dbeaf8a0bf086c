//! The SQL that `ddl` makes: run by DuckDB and by Spark, and read by parsers of the other dialects, whose views are run
//! by DuckDB as well.

use std::process::Command;

use answerlake_emulator::EmulatorConfig;
use chrono::TimeDelta;
use serde_json::{Map, Value, json};

use crate::support::quality::{assert_rows, views};
use crate::support::{Program, Setup, TABLES, duckdb, python, repository, setup, truth};

const VIEWS: [&str; 5] = [
    "answer_rate",
    "retrieval_funnel",
    "llm_time",
    "query_feedback",
    "unanswered_queries",
];

/// A source with all that the views tell apart: unanswered questions, several votes on one search, and on none.
fn source(config: &mut EmulatorConfig) {
    config.data.records_per_day = 40;
    config.data.feedback_share = 0.2;
    let search = |id: &str, created: &str, query: &str, answer: Option<&str>| {
        let mut record = json!({
            "_id": id, "searchRequestId": id, "event": "search", "query": query,
            "createdOn": created, "hasResults": false, "answerDebug": []
        });
        if let Some(answer) = answer {
            record["graphAnswer"] = json!(answer);
        }
        record
    };
    let vote = |id: &str, search: Option<&str>, created: &str, event: &str, tags: Value| {
        json!({
            "_id": id, "searchRequestId": search, "event": event, "query": "?",
            "createdOn": created, "comments": {"tags": tags}
        })
    };
    config.extra_records = vec![
        // Late in the evening: the next day, in Berlin.
        search(
            "fsh-u1",
            "2025-06-23T23:30:00.000Z",
            "  Is there 'one'?",
            Some(""),
        ),
        search(
            "fsh-u2",
            "2025-06-24T10:00:00.000Z",
            "is there 'one'? ",
            None,
        ),
        search("fsh-u3", "2025-06-24T11:00:00.000Z", "another", Some("")),
        search(
            "fsh-u4",
            "2025-06-24T12:00:00.000Z",
            "no \\ longer",
            Some("yes"),
        ),
        vote(
            "a1",
            Some("fsh-u1"),
            "2025-06-23T23:40:00.000Z",
            "thumbsUp",
            json!(["b", "a"]),
        ),
        vote(
            "a2",
            Some("fsh-u1"),
            "2025-06-25T08:00:00.000Z",
            "thumbsDown",
            json!(["c", "a"]),
        ),
        vote(
            "a3",
            Some("fsh-u4"),
            "2025-06-25T08:00:00.000Z",
            "thumbsUp",
            json!([]),
        ),
        vote(
            "a4",
            Some("fsh-nowhere"),
            "2025-06-25T08:00:00.000Z",
            "thumbsUp",
            json!(["d"]),
        ),
        vote(
            "a5",
            None,
            "2025-06-25T08:00:00.000Z",
            "thumbsUp",
            json!(["e"]),
        ),
    ];
}

fn lake(name: &str) -> Setup {
    let setup = setup(name, source);
    setup.run().result();
    setup
}

fn ddl(setup: &Setup, engine: &str) -> Program {
    setup
        .place
        .program("ddl")
        .with("--engine", engine)
        .with("--lake", &setup.lake().url())
}

/// The SQL, in a file.
#[track_caller]
fn in_file(setup: &Setup, name: &str, program: &Program) -> String {
    setup.place.write(name, program.ends(0).stdout)
}

fn rows_of(view: &str) -> String {
    format!("SELECT to_json(v) FROM (FROM {view}) AS v")
}

/// Rows that came as JSON.
fn parsed(rows: &Value) -> Value {
    let rows = rows.as_array().unwrap_or_else(|| panic!("{rows}")).iter();
    rows.map(|row| serde_json::from_str::<Value>(row[0].as_str().unwrap()).unwrap())
        .collect()
}

#[track_caller]
fn check_views(setup: &Setup, found: &Map<String, Value>, offset: TimeDelta, loose: &[&str]) {
    let app_id = &setup.source.config().app_id;
    let expected = views(app_id, &setup.source.records(), offset);
    for view in VIEWS {
        assert_rows(view, &found[view], &expected[view], loose);
    }
}

#[test]
fn the_views_tell_what_the_records_say() {
    let setup = lake("ddl-duckdb");
    let records = setup.source.records();
    let counts = truth::counts(&records);
    for (zone, offset) in [(None, 0), (Some("Europe/Berlin"), 2)] {
        let mut program = ddl(&setup, "duckdb");
        if let Some(zone) = zone {
            program = program.with("--time-zone", zone);
        }
        let sql = in_file(&setup, "ddl.sql", &program);
        let mut queries: Vec<(&str, String)> = TABLES
            .iter()
            .map(|table| (*table, format!("SELECT count(*) FROM {table}")))
            .collect();
        queries.extend(VIEWS.map(|view| (view, rows_of(view))));
        queries.extend([
            (
                "prompts",
                "SELECT answer_id, prompt_text FROM llm_calls_with_prompt".to_owned(),
            ),
            (
                "comments",
                "SELECT count(*) FROM duckdb_columns() WHERE comment IS NULL AND database_name = \
                          current_database() AND table_name IN ('queries', 'chunks')"
                    .to_owned(),
            ),
            (
                "local",
                "SELECT count(*) FROM chunks_local WHERE local_date <> dt".to_owned(),
            ),
        ]);
        let mut found = duckdb(":memory:", &[&sql], &queries);
        assert!(!found.contains_key("failed"), "{found:?}");
        for table in TABLES {
            assert_eq!(found[table], json!([[counts[table]]]), "{table}");
        }
        for view in VIEWS {
            let rows = parsed(&found[view]);
            found.insert(view.to_owned(), rows);
        }
        check_views(&setup, &found, TimeDelta::hours(offset), &[]);
        assert_eq!(
            found["comments"],
            json!([[0]]),
            "every column is documented"
        );
        let prompts = found["prompts"].as_array().unwrap();
        let answers: Vec<&Value> = records
            .iter()
            .flat_map(|record| truth::objects(&record["answerDebug"]))
            .collect();
        assert_eq!(prompts.len() as u64, counts["llm_calls"]);
        for prompt in prompts {
            let answer = answers.iter().find(|answer| answer["_id"] == prompt[0]);
            assert_eq!(prompt[1], json!(truth::prompt(answer.unwrap())));
        }
        let late = truth::tables(&records)["chunks"]
            .iter()
            .filter(|chunk| {
                chunk["created_at"].as_i64().unwrap() / 3_600_000_000 % 24 >= 24 - offset
            })
            .count();
        match zone {
            Some(_) => assert_eq!(found["local"], json!([[late]])),
            None => assert!(found["local"].as_str().unwrap().contains("chunks_local")),
        }
    }
}

/// Whatever is in its way: nothing yet, prompts as text, hours, fields that do not land.
#[test]
fn every_kind_of_lake_has_its_tables() {
    let setup = setup("ddl-kinds", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
        config.data.other_event_share = 0.0;
    });
    let before = in_file(&setup, "before.sql", &ddl(&setup, "duckdb"));
    let queries = [
        ("calls", "SELECT count(prompt_text) FROM llm_calls_with_prompt".to_owned()),
        ("hour", "SELECT max(hour) FROM s.queries".to_owned()),
        ("events", "SELECT count(*) FROM s.events".to_owned()),
        ("doc", "SELECT comment FROM duckdb_columns() WHERE table_name = 'queries' AND column_name = 'user_id'".to_owned()),
    ];
    let found = duckdb(":memory:", &[&before], &queries);
    assert_eq!(found["calls"], json!([[0]]), "{found:?}");
    assert!(!setup.lake().path("").exists(), "who looks makes nothing");

    let private = setup
        .place
        .write("private.toml", "[privacy.fields]\nuserId = \"drop\"\n");
    setup
        .run()
        .arguments(&[&private])
        .with("--grain", "hour")
        .with("--prompt", "text")
        .result();
    let after = ddl(&setup, "duckdb").with("--schema", "s");
    let after = in_file(&setup, "after.sql", &after);
    let schema = setup.place.write("schema.sql", "CREATE SCHEMA s;");
    let queries =
        queries.map(|(name, sql)| (name, sql.replace("llm_calls_with", "s.llm_calls_with")));
    let found = duckdb(":memory:", &[&schema, &after], &queries);
    let calls = setup.lake().counts()["llm_calls"];
    assert!(calls > 0);
    assert_eq!(found["calls"], json!([[calls]]), "{found:?}");
    assert_eq!(
        (&found["hour"], &found["events"]),
        (&json!([[23]]), &json!([[0]]))
    );
    assert!(
        found["doc"].to_string().contains("dropped in this lake"),
        "{found:?}"
    );
    for engine in ["athena", "spark", "bigquery", "snowflake"] {
        let sql = ddl(&setup, engine).with("--location", "s3://bucket/lake");
        let sql = sql.ends(0).stdout;
        assert!(
            sql.contains("hour") && !sql.contains("prompt_parts"),
            "{sql}"
        );
    }
}

#[test]
fn an_engine_that_cannot_read_there_is_told_so() {
    let setup = setup("ddl-refused", |_| {});
    for engine in ["athena", "bigquery", "snowflake"] {
        let program = ddl(&setup, engine).with("--output", "json");
        program
            .fails(2)
            .assert_says(&["reads no lake at", "--location"]);
    }
    let refused = ddl(&setup, "duckdb").with("--output", "json");
    refused.clone().with("--schema", "a; DROP").fails(2);
    refused.with("--time-zone", "Europe/Ber'lin").fails(2);
}

/// Reads SQL as an engine would.
#[track_caller]
fn dialect(engine: &str, file: &str, tables: Option<&str>) -> Value {
    let output = Command::new(python())
        .arg(repository("tests/sql_dialects.py"))
        .args([engine, file])
        .args(tables)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{engine}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Each dialect's parser knows all of it; its tables have the columns of DuckDB's, and its views, translated to DuckDB's
/// dialect, say the same.
#[test]
fn the_other_engines_read_what_is_made_for_them() {
    let setup = lake("ddl-dialects");
    let tables = in_file(&setup, "duckdb.sql", &ddl(&setup, "duckdb"));
    let described = TABLES.map(|table| (table, format!("DESCRIBE {table}")));
    let described = duckdb(":memory:", &[&tables], &described);
    // What stands for a percentile is an estimate in these; Spark's is none, but the parser takes it for a value that
    // occurs.
    let estimates = ["p50_ms", "p90_ms", "p99_ms"];
    for (engine, location, statements, loose) in [
        ("snowflake", "s3://bucket/lake", "Copy", &[][..]),
        ("bigquery", "gs://bucket/lake", "LoadData", &estimates),
        ("athena", "s3://bucket/lake", "Create TABLE", &estimates),
        ("spark", "s3a://bucket/lake", "Create TABLE", &estimates),
    ] {
        let program = ddl(&setup, engine).with("--location", location);
        let file = in_file(&setup, "engine.sql", &program);
        let found = dialect(engine, &file, Some(&tables));
        let kinds = &found["kinds"];
        assert_eq!(
            (
                &kinds["Create TABLE"],
                &kinds["Create VIEW"],
                &kinds[statements]
            ),
            (&json!(6), &json!(6), &json!(6)),
            "{engine}: {kinds}"
        );
        for table in TABLES {
            let columns = found["tables"][table].as_object().unwrap();
            let expected = described[table].as_array().unwrap();
            assert_eq!(
                columns.len(),
                expected.len(),
                "{engine}.{table}: {columns:?}"
            );
            for row in expected {
                let (name, kind) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
                let given = columns[name].as_str().unwrap();
                assert!(
                    is_kind(given, kind),
                    "{engine}.{table}.{name}: {given}, not {kind}"
                );
            }
        }
        let views = found["views"].as_object().unwrap();
        check_views(&setup, views, TimeDelta::zero(), loose);
        // In a schema, with local days, it is as good SQL.
        let local = program
            .with("--schema", "insights")
            .with("--time-zone", "Europe/Berlin");
        let file = in_file(&setup, "local.sql", &local);
        let found = dialect(engine, &file, None);
        assert_eq!(found["kinds"]["Create VIEW"], 12, "{engine}");
    }
    for engine in ["snowflake", "bigquery", "duckdb"] {
        let changes = setup
            .place
            .program("changes")
            .with("--consumer", "bi")
            .with("--lake", &setup.lake().url())
            .with("--engine", engine)
            .with("--location", "s3://bucket/lake");
        let file = in_file(&setup, "changes.sql", &changes);
        let kinds = &dialect(engine, &file, None)["kinds"];
        assert_eq!(kinds["Transaction"], 3, "{engine}: {kinds}");
        assert_eq!(
            (&kinds["Commit"], &kinds["Delete"]),
            (&json!(3), &json!(18)),
            "{engine}"
        );
    }
}

/// Spark itself, with a Python of its own below `target`.
#[test]
#[ignore = "takes half a minute, and installs Spark (450 MB) first: `make long`"]
fn spark_reads_what_is_made_for_it() {
    let setup = lake("ddl-spark");
    let program = ddl(&setup, "spark").with("--time-zone", "Europe/Berlin");
    let sql = in_file(&setup, "spark.sql", &program);
    let counts = TABLES.map(|table| {
        let sql = format!("SELECT count(*) AS rows, count(DISTINCT dt) AS days FROM {table}");
        (table, sql)
    });
    let queries: Map<String, Value> = counts
        .into_iter()
        .chain(VIEWS.map(|view| (view, format!("SELECT * FROM {view}"))))
        .chain([(
            "prompts",
            "SELECT answer_id, prompt_text FROM llm_calls_with_prompt".to_owned(),
        )])
        .map(|(name, sql)| (name.to_owned(), json!(sql)))
        .collect();
    let found = spark(&setup, &sql, &Value::Object(queries));
    let records = setup.source.records();
    let counts = truth::counts(&records);
    for table in TABLES {
        assert_eq!(found[table][0]["rows"], counts[table], "{table}");
    }
    assert_eq!(found["queries"][0]["days"], 3);
    check_views(&setup, found.as_object().unwrap(), TimeDelta::hours(2), &[]);
    let answers: Vec<&Value> = records
        .iter()
        .flat_map(|record| truth::objects(&record["answerDebug"]))
        .collect();
    for prompt in found["prompts"].as_array().unwrap() {
        let answer = answers
            .iter()
            .find(|answer| answer["_id"] == prompt["answer_id"]);
        assert_eq!(prompt["prompt_text"], json!(truth::prompt(answer.unwrap())));
    }
}

/// Runs SQL on Spark, then queries; gives the rows of each.
#[track_caller]
fn spark(setup: &Setup, sql: &str, queries: &Value) -> Value {
    const SPARK: &str = "pyspark==4.1.1";
    let venv = repository("target/spark-venv");
    let python = venv.join("bin/python");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {stderr}");
        output.stdout
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", SPARK]));
    let folder = setup.place.path("spark");
    std::fs::create_dir(&folder).unwrap();
    let input = setup.place.write("queries.json", queries.to_string());
    let output = run(Command::new(&python)
        .arg(repository("tests/spark_reads.py"))
        .args([folder.to_str().unwrap(), sql])
        .stdin(std::fs::File::open(input).unwrap()));
    serde_json::from_slice(&output).unwrap()
}

/// Whether a type, as a parser calls it for DuckDB, holds what DuckDB's own does.
fn is_kind(given: &str, duckdb: &str) -> bool {
    match duckdb {
        "VARCHAR" => given == "TEXT",
        "TIMESTAMP WITH TIME ZONE" => given.starts_with("TIMESTAMP"),
        "VARCHAR[]" => ["TEXT[]", "[]"].contains(&given),
        "INTEGER[]" => ["INT[]", "BIGINT[]", "[]"].contains(&given),
        "INTEGER" => ["INT", "BIGINT"].contains(&given) || given.starts_with("DECIMAL"),
        "BIGINT" => ["INT", "BIGINT"].contains(&given) || given.starts_with("DECIMAL"),
        other => given == other,
    }
}
