//! What came that the tables do not hold: kept in the ledger, shown, warned of once, and refused by a strict run.

use serde_json::{Value, json};

use crate::support::{Lake, Place, Setup, iso, repository, setup, time};

const SECRET: &str = "jane.doe@example.com";

/// A search as documented, at noon of a day of June, with these members changed.
fn search(id: &str, day: u32, change: impl FnOnce(&mut Value)) -> Value {
    let text = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let mut records: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut record = records.swap_remove(1);
    assert_eq!(record["event"], "search");
    let created = time(&format!("2025-06-{day:02}T12:00:00Z"));
    record["_id"] = json!(id);
    record["searchRequestId"] = json!(id);
    record["answerDebug"][0]["searchRequestId"] = json!(id);
    record["createdOn"] = json!(iso(created));
    record["timeStampValue"] = json!(created.timestamp_millis());
    change(&mut record);
    record
}

fn documented(id: &str, day: u32) -> Value {
    search(id, day, |_| {})
}

/// A source of the days 23 to 25 with these records and no others.
fn source_of(name: &str, records: Vec<Value>) -> Setup {
    setup(name, |config| {
        config.data.records_per_day = 0;
        config.extra_records = records;
    })
}

fn drift(place: &Place, lake: &Lake) -> crate::support::Program {
    place
        .program("schema --drift")
        .with("--lake", &lake.url())
        .with("--output", "json")
}

/// The paths that a log warns of.
fn warned_of(log: &str) -> Vec<&str> {
    let lines = log
        .lines()
        .filter(|line| line.contains("records have drifted from the schema"));
    lines
        .map(|line| {
            let (_, rest) = line.split_once("path=\"").unwrap();
            rest.split_once('"').unwrap().0
        })
        .collect()
}

#[test]
fn records_as_documented_leave_no_ledger() {
    let setup = source_of(
        "drift-none",
        (23..26).map(|day| documented("a", day)).collect(),
    );
    let outcome = setup.run().with("--strict", "true").outcome();
    assert_eq!(outcome.code, Some(2), "a value is told by its `=`");
    let outcome = setup.run().arguments(&["--strict"]).ends(0);
    assert!(!outcome.stderr.contains("WARN"), "{}", outcome.stderr);
    for (partition, manifest) in setup.lake().newest() {
        assert_eq!(manifest["books"]["written"], 1, "{partition}");
        assert_eq!(manifest.get("drift"), None, "{partition}");
    }
    let shown = drift(&setup.place, &setup.lake());
    let report = shown.result();
    assert_eq!(
        report,
        json!({
            "lake": setup.lake().url(), "exists": true, "from": "2025-06-23T00:00:00.000Z", "to": "2025-06-26T00:00:00.000Z",
            "partitions": 3, "drifted_partitions": 0, "drifted_records": 0, "more_records": 0, "paths": []
        })
    );
    let text = shown.without("--output").ends(0).stdout;
    assert_eq!(
        text,
        "No drift in 3 partitions, 2025-06-23 00:00 to 2025-06-26 00:00.\n"
    );
}

#[test]
fn the_ledger_says_where_and_as_what_and_never_what() {
    let setup = source_of(
        "drift-shown",
        vec![
            documented("a", 23),
            search("b", 23, |record| record["sentiment"] = json!(SECRET)),
            search("c", 24, |record| {
                record["sentiment"] = Value::Null;
                record[SECRET] = json!(1);
            }),
            search("d", 24, |record| {
                for chunk in record["answerDebug"][0]["generativeChunks"]
                    .as_array_mut()
                    .unwrap()
                {
                    chunk["score"] = json!(SECRET);
                }
            }),
        ],
    );
    setup.run().result();
    let lake = setup.lake();
    let path = |path: &str, table: &str, expected: Value, types: &[&str], records: u64| {
        let (first, last) = match records {
            2 => (23, 24),
            _ => (24, 24),
        };
        json!({
            "app_id": setup.source.config().app_id, "path": path, "table": table, "column": format!("{table}.extra"),
            "expected": expected, "types": types, "records": records, "partitions": records,
            "first_seen": format!("2025-06-{first}T12:00:00.000Z"), "last_seen": format!("2025-06-{last}T12:00:00.000Z"),
            "example": if table == "chunks" { "d" } else { "c" },
        })
    };
    let score = path(
        "answerDebug[].generativeChunks[].score",
        "chunks",
        json!("number"),
        &["string"],
        1,
    );
    let report = drift(&setup.place, &lake).result();
    assert_eq!(
        report["paths"],
        json!([
            path("*", "queries", Value::Null, &["number"], 1),
            score,
            path("sentiment", "queries", Value::Null, &["null", "string"], 2),
        ])
    );
    assert_eq!(
        (&report["drifted_partitions"], &report["drifted_records"]),
        (&json!(2), &json!(3))
    );
    let chunks = drift(&setup.place, &lake).arguments(&["chunks"]).result();
    assert_eq!(chunks["paths"], json!([score]));
    let one_day = drift(&setup.place, &lake)
        .with("--date", "2025-06-23")
        .result();
    assert_eq!(one_day["paths"][0]["records"], 1);
    assert_eq!(one_day["paths"].as_array().unwrap().len(), 1);
    for range in [("--to", "2025-06-20"), ("--from", "2025-06-25")] {
        let nothing = drift(&setup.place, &lake).with(range.0, range.1).result();
        assert_eq!(nothing["paths"], json!([]), "{range:?}");
    }

    // What stands there is in the tables, and not in what is told of them.
    let extra: Vec<_> = lake
        .rows("queries")
        .into_iter()
        .map(|row| row["extra"].clone())
        .filter(|extra| extra.as_str().is_some_and(|extra| extra.contains(SECRET)))
        .collect();
    assert_eq!(extra.len(), 2);
    for (file, manifests) in lake.manifests() {
        assert!(!format!("{manifests:?}").contains(SECRET), "{file}");
    }
}

#[test]
fn a_new_path_is_warned_of_once() {
    let setup = source_of(
        "drift-warned",
        vec![
            search("a", 23, |record| record["sentiment"] = json!(1)),
            search("b", 24, |record| record["sentiment"] = json!("one")),
            search("c", 25, |record| {
                record["sentiment"] = json!(2);
                record["mood"] = json!(2);
            }),
        ],
    );
    let day = |day: &str| {
        let run = setup.run().without("--from").without("--to");
        let outcome = run.with("--date", day).ends(0);
        let warned: Vec<_> = warned_of(&outcome.stderr)
            .into_iter()
            .map(str::to_owned)
            .collect();
        warned
    };
    assert_eq!(day("2025-06-23"), ["sentiment"]);
    assert_eq!(day("2025-06-24"), [""; 0]);
    assert_eq!(day("2025-06-25"), ["mood"]);

    // In one run, each path once, whichever day comes first.
    let other = setup.place.lake_named("at-once");
    let outcome = setup.run().into_lake(&other).ends(0);
    let mut warned = warned_of(&outcome.stderr);
    warned.sort_unstable();
    assert_eq!(warned, ["mood", "sentiment"]);
}

#[test]
fn any_number_of_new_paths_is_a_few_warnings_and_a_short_ledger() {
    let setup = source_of(
        "drift-many",
        vec![search("a", 23, |record| {
            for first in 'a'..='z' {
                for second in 'a'..='z' {
                    record[format!("key_{first}{second}")] = json!(1);
                }
            }
        })],
    );
    let outcome = setup.run().ends(0);
    assert_eq!(warned_of(&outcome.stderr).len(), 20);
    let report = drift(&setup.place, &setup.lake()).result();
    assert_eq!(report["paths"].as_array().unwrap().len(), 100);
    assert_eq!(report["more_records"], 1);
}

#[test]
fn a_strict_run_commits_nothing_of_a_day_that_drifts() {
    let setup = source_of(
        "strict",
        vec![
            documented("a", 23),
            search("b", 24, |record| record["sentiment"] = json!(1)),
            documented("c", 25),
        ],
    );
    let strict = setup.run().arguments(&["--strict"]);
    let outcome = strict.ends(3);
    let result = outcome.json();
    assert_eq!(result["retryable"], false, "{result}");
    let states: Vec<_> = result["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| &partition["state"])
        .collect();
    assert_eq!(states, ["committed", "failed", "committed"]);
    let app_id = &setup.source.config().app_id;
    assert_eq!(
        result["partitions"][1]["error"],
        format!(
            "partition `app_id={app_id}/dt=2025-06-24` is not committed, as `run.strict` is on: 1 record with drift: \
             `sentiment` (expected no such key, got number)"
        )
    );
    assert!(result["hint"].as_str().unwrap().contains("--strict=false"));
    let lake = setup.lake();
    assert_eq!(lake.counts()["queries"], 2);
    assert!(!lake.days().contains("2025-06-24"));

    // `status` knows why; the setting, and the flag against it.
    let status = setup.place.program("status --output json");
    let status = status.with("--lake", &lake.url()).result();
    assert!(status.to_string().contains("`run.strict` is on"));
    let pipeline = setup.place.write("strict.toml", "[run]\nstrict = true\n");
    let with_file = setup.run().arguments(&[&pipeline]);
    with_file.ends(5);
    with_file.arguments(&["--strict=false"]).result();
    assert_eq!(lake.counts()["queries"], 3);
    lake.assert_whole();
}

#[test]
fn a_strict_run_takes_no_dead_letters_and_no_conflicts() {
    let later = search("c", 24, |record| record["query"] = json!("another"));
    let nameless = json!({"event": "thumbsUp", "searchRequestId": "a", "createdOn": "2025-06-23T12:00:00.000Z"});
    let setup = source_of(
        "strict-dead-letters",
        vec![
            documented("a", 23),
            nameless,
            documented("b", 24),
            documented("c", 24),
            later,
            documented("d", 25),
        ],
    );
    let result = setup.run().arguments(&["--strict"]).ends(3).json();
    let error = |day: usize| result["partitions"][day]["error"].as_str();
    let says = |day: usize, text: &str| {
        assert!(error(day).unwrap().ends_with(text), "{:?}", error(day));
    };
    assert!(
        error(0)
            .unwrap()
            .contains("1 dead letter (first: fragment 1, record")
    );
    says(1, "1 record in conflict with a newer version");
    assert_eq!(error(2), None);
    let kept = setup.lake().files_below("_answerlake/dead_letters");
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(setup.lake().counts()["queries"], 1);

    // Records without a day of their own may belong to any.
    let records = [documented("a", 23), documented("b", 24), json!(7)];
    let file = setup
        .place
        .write("export.json", serde_json::to_string(&records).unwrap());
    let other = setup.place.lake_named("ingested");
    let ingest = setup.place.ingest(&[&file]).into_lake(&other);
    let outcome = ingest.arguments(&["--strict"]).fails(5);
    outcome.assert_says(&["1 dead letter (first: fragment 1, record 3: "]);
    assert_eq!(other.data_files().len(), 0);
    assert_eq!(other.files_below("_answerlake/dead_letters").len(), 1);
    assert_eq!(other.files_below("_answerlake/commits").len(), 0);
}

#[test]
fn what_is_shown_needs_a_lake_and_only_it() {
    let place = Place::new("drift-usage");
    let refused = |arguments: &str, text: &str| {
        let outcome = place.program(arguments).ends(2);
        assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
    };
    refused("schema --drift", "`lake.url` is missing");
    refused("schema --from 2025-06-01", "--drift");
    refused("schema --drift --prompt text --lake x", "--prompt");
    let nowhere = place.program("schema --drift --lake nowhere").ends(0);
    assert_eq!(nowhere.stdout, "There is no lake at `nowhere` yet.\n");
    assert!(!place.path("nowhere").exists());
}
