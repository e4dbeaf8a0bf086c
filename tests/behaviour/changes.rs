//! A warehouse that follows the lake by what `changes` prints, and equals it each time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Place, Program, Source, TABLES, duckdb, iso, time, truth};

/// A warehouse in DuckDB beside a lake.
struct Warehouse {
    place: Place,
}

/// A search of a day of June, with an answer and chunks.
fn search(day: u32, id: &str, text: &str) -> Value {
    let created = time(&format!("2025-06-{day:02}T08:00:00Z"));
    json!({
        "_id": format!("fsh-{id}"),
        "query": text,
        "searchRequestId": format!("fsh-{id}"),
        "event": "search",
        "selectedFacets": [],
        "timeStampValue": created.timestamp_millis(),
        "createdOn": iso(created),
        "graphAnswer": "it's \\ 'so'",
        "answerDebug": [{
            "_id": format!("fad-{id}"),
            "searchRequestId": format!("fsh-{id}"),
            "generativeChunks": [{"chunkText": text}, {"chunkText": "b"}],
            "extractiveChunks": [],
            "prompt": "a prompt",
        }]
    })
}

fn vote(day: u32, id: &str) -> Value {
    let created = time(&format!("2025-06-{day:02}T09:00:00Z"));
    json!({
        "_id": format!("{id:0>24}"),
        "query": "q",
        "searchRequestId": format!("fsh-{id}"),
        "event": "thumbsUp",
        "comments": {"tags": ["a", "it's"]},
        "timeStampValue": created.timestamp_millis(),
        "createdOn": iso(created),
    })
}

impl Warehouse {
    fn new(name: &str) -> Self {
        Self {
            place: Place::new(name),
        }
    }

    /// Makes the lake hold just these records, from 23 to 26 June.
    #[track_caller]
    fn reread(&self, records: &[Value]) {
        let source = Source::start(|config| {
            config.data.records_per_day = 0;
            config.extra_records = records.to_vec();
        });
        self.place
            .run(&source)
            .with("--on-shrink", "replace")
            .arguments(&["--force"])
            .result();
        truth::assert_holds(&self.place.lake(), records);
    }

    fn changes(&self) -> Program {
        self.place
            .program("changes")
            .with("--consumer", "bi")
            .with("--lake", &self.place.lake().url())
    }

    /// The changes as SQL, in a file.
    #[track_caller]
    fn listed(&self, name: &str) -> String {
        let sql = self.changes().with("--engine", "duckdb").ends(0).stdout;
        self.place.write(name, sql)
    }

    #[track_caller]
    fn load(&self, file: &str) {
        let found = duckdb(&self.database(), &[file], &[]);
        assert!(!found.contains_key("failed"), "{found:?}");
    }

    #[track_caller]
    fn ack(&self, file: &str) -> Value {
        let ack = self.changes().with("--output", "json").with("--ack", file);
        ack.result()
    }

    fn database(&self) -> String {
        self.place.path("warehouse.db").to_str().unwrap().to_owned()
    }

    /// What happened to each partition that is listed, by its day.
    #[track_caller]
    fn pending(&self) -> BTreeMap<String, String> {
        let report = self.changes().with("--output", "json").result();
        let partitions = report["partitions"].as_array().unwrap().iter();
        partitions
            .map(|partition| {
                let (_, day) = partition["partition"]
                    .as_str()
                    .unwrap()
                    .split_once("/dt=")
                    .unwrap();
                let tables: Vec<&str> = partition["tables"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|table| table["table"].as_str().unwrap())
                    .collect();
                let change = partition["change"].as_str().unwrap();
                (day.to_owned(), format!("{change}: {}", tables.join(" ")))
            })
            .collect()
    }

    /// Checks that every table has the rows that the lake has, no more and no less.
    #[track_caller]
    fn assert_equals_the_lake(&self) {
        let sql = self
            .place
            .program("files")
            .with("--lake", &self.place.lake().url())
            .with("--format", "sql")
            .ends(0)
            .stdout;
        // The views of the lake, beside the warehouse's tables of the same names.
        let sql = sql.replace("TEMPORARY VIEW ", "TEMPORARY VIEW lake_");
        let views = self.place.write("lake.sql", sql);
        let queries: Vec<(&str, String)> = TABLES
            .iter()
            .map(|table| {
                let except = |a: &str, b: &str| {
                    format!("(SELECT count(*) FROM (FROM {a} EXCEPT ALL FROM {b}))")
                };
                let (own, lake) = (format!("main.{table}"), format!("lake_{table}"));
                let sql = format!("SELECT {}, {}", except(&own, &lake), except(&lake, &own));
                (*table, sql)
            })
            .collect();
        let found = duckdb(&self.database(), &[&views], &queries);
        for table in TABLES {
            assert_eq!(found[table], json!([[0, 0]]), "{table}: {found:?}");
        }
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let entries = entries.iter();
    entries
        .map(|(day, what)| ((*day).to_owned(), (*what).to_owned()))
        .collect()
}

const ALL: &str = "queries feedback answers chunks llm_calls events";

#[test]
fn a_warehouse_equals_the_lake_after_each_load() {
    let warehouse = Warehouse::new("changes");
    let mut records = vec![
        search(23, "a", "one"),
        search(24, "b", "two"),
        vote(24, "b"),
    ];
    warehouse.reread(&records);
    let new = format!("new: {ALL}");
    let first = [
        ("2025-06-23", new.as_str()),
        ("2025-06-24", &new),
        ("2025-06-25", &new),
    ];
    assert_eq!(warehouse.pending(), map(&first));
    let sql = warehouse.listed("first.sql");
    warehouse.load(&sql);
    warehouse.assert_equals_the_lake();
    // The acknowledgement is lost: all of it comes again, and is loaded again.
    assert_eq!(warehouse.pending(), map(&first));
    warehouse.load(&warehouse.listed("again.sql"));
    warehouse.assert_equals_the_lake();
    assert_eq!(warehouse.ack(&sql)["acknowledged"], 3);
    assert_eq!(warehouse.pending(), map(&[]));

    // A late vote changes one table of one day; the same again changes nothing.
    records.push(vote(23, "a"));
    warehouse.reread(&records);
    assert_eq!(
        warehouse.pending(),
        map(&[("2025-06-23", "replaced: feedback")])
    );
    let late = warehouse.listed("late.sql");
    assert!(
        !std::fs::read_to_string(&late)
            .unwrap()
            .contains("DELETE FROM chunks")
    );
    warehouse.load(&late);
    warehouse.assert_equals_the_lake();

    // While that waits for its acknowledgement, a day is replaced, another emptied.
    records[0] = search(23, "a", "one, corrected");
    records.retain(|record| record["createdOn"].as_str().unwrap() < "2025-06-24");
    warehouse.reread(&records);
    assert_eq!(warehouse.ack(&late)["acknowledged"], 1);
    assert_eq!(
        warehouse.pending(),
        map(&[
            ("2025-06-23", "replaced: queries chunks"),
            (
                "2025-06-24",
                "emptied: queries feedback answers chunks llm_calls"
            ),
        ]),
        "what came after the listing is not acknowledged with it"
    );
    let json = warehouse
        .changes()
        .with("--engine", "duckdb")
        .with("--output", "json");
    let listing = json.result();
    let sql = listing["sql"].as_str().unwrap();
    warehouse.load(&warehouse.place.write("json.sql", sql));
    warehouse.assert_equals_the_lake();
    let file = warehouse.place.write("listing.json", listing.to_string());
    assert_eq!(warehouse.ack(&file)["acknowledged"], 2);
    // Twice is once.
    let again = warehouse.ack(&file);
    assert_eq!(
        (&again["acknowledged"], &again["unchanged"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(warehouse.pending(), map(&[]));
    // An acknowledgement that comes late: nobody knows what was loaded last, so it is loaded again.
    assert_eq!(
        warehouse.ack(&late)["contested"].as_array().unwrap().len(),
        1
    );
    assert_eq!(warehouse.pending(), map(&[("2025-06-23", &new)]));
    warehouse.load(&warehouse.listed("contested.sql"));
    warehouse.assert_equals_the_lake();
}

/// A day that was committed again with the same files is not loaded, but acknowledged with the rest.
#[test]
fn days_with_the_same_files_are_not_loaded_again() {
    let warehouse = Warehouse::new("changes-same");
    let records = [search(23, "a", "one"), search(24, "b", "two")];
    let source = Source::start(|config| {
        config.data.records_per_day = 0;
        config.extra_records = records.to_vec();
    });
    // Read before its records had settled, and again after that.
    let run = warehouse.place.run(&source);
    run.clone().with("--settle", "36500d").result();
    let sql = warehouse.listed("first.sql");
    warehouse.load(&sql);
    warehouse.ack(&sql);
    run.arguments(&["--force"]).result();
    let report = warehouse.changes().with("--output", "json").result();
    assert_eq!(
        (&report["partitions"], &report["unchanged"]),
        (&json!([]), &json!(3))
    );
    let file = warehouse.place.write("listing.json", report.to_string());
    assert_eq!(warehouse.ack(&file)["acknowledged"], 3);
    let report = warehouse.changes().with("--output", "json").result();
    assert_eq!(report["unchanged"], 0);
}

/// A load that meets a file which went ends there; what went before it stays, and the next listing does the rest.
#[test]
fn a_file_that_went_ends_the_load_and_leaves_no_half_of_a_day() {
    let warehouse = Warehouse::new("changes-gone");
    let records = [
        search(23, "a", "one"),
        search(24, "b", "two"),
        vote(24, "b"),
    ];
    warehouse.reread(&records);
    let stale = warehouse.listed("stale.sql");
    let replaced = [
        search(23, "a", "one"),
        search(24, "b", "corrected"),
        vote(24, "b"),
    ];
    warehouse.reread(&replaced);
    let failed = duckdb(&warehouse.database(), &[&stale], &[]);
    let reason = failed["failed"].as_str().unwrap();
    assert!(reason.contains("dt=2025-06-24"), "{reason}");
    let queries = [
        (
            "days",
            "SELECT dt, count(*) FROM queries GROUP BY dt".to_owned(),
        ),
        ("votes", "SELECT count(*) FROM feedback".to_owned()),
    ];
    let found = duckdb(&warehouse.database(), &[], &queries);
    assert_eq!(found["days"], json!([["2025-06-23", 1]]));
    assert_eq!(found["votes"], json!([[0]]));
    let sql = warehouse.listed("again.sql");
    warehouse.load(&sql);
    warehouse.assert_equals_the_lake();
}

#[test]
fn some_partitions_at_a_time() {
    let warehouse = Warehouse::new("changes-limit");
    warehouse.reread(&[search(23, "a", "one"), search(24, "b", "two")]);
    let mut loads = 0;
    loop {
        let sql = warehouse
            .changes()
            .with("--engine", "duckdb")
            .with("--limit", "1");
        let file = warehouse.place.write("some.sql", sql.ends(0).stdout);
        if warehouse.pending().is_empty() {
            break;
        }
        warehouse.load(&file);
        assert_eq!(warehouse.ack(&file)["acknowledged"], 1);
        loads += 1;
    }
    assert_eq!(loads, 3);
    warehouse.assert_equals_the_lake();
    // Another consumer is at its own place, and one day of it is listed alone.
    let other = warehouse
        .changes()
        .with("--consumer", "other")
        .with("--date", "2025-06-24");
    let report = other.with("--output", "json").result();
    assert_eq!(report["partitions"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_no_listing_is_not_acknowledged() {
    let warehouse = Warehouse::new("changes-refused");
    warehouse.reread(&[search(23, "a", "one")]);
    let sql = warehouse.listed("load.sql");
    let text = std::fs::read_to_string(&sql).unwrap();
    let cut = warehouse.place.write("cut.sql", &text[..text.len() - 20]);
    let refuse = |program: Program, parts: &[&str]| {
        program.with("--output", "json").fails(2).assert_says(parts);
    };
    refuse(
        warehouse.changes().with("--ack", &cut),
        &["or not all of it"],
    );
    refuse(
        warehouse.changes().with("--ack", "nowhere.sql"),
        &["cannot read `nowhere.sql`"],
    );
    let other = warehouse
        .changes()
        .with("--ack", &sql)
        .with("--consumer", "other");
    refuse(other, &["consumer `bi`'s, not `other`'s"]);
    let elsewhere = warehouse.place.lake_named("elsewhere");
    let ack = warehouse
        .changes()
        .with("--ack", &sql)
        .into_lake(&elsewhere);
    ack.with("--output", "json")
        .fails(2)
        .assert_says(&["there is no lake"]);
    refuse(
        warehouse.changes().with("--consumer", "a/b"),
        &["is no consumer id"],
    );
    refuse(
        warehouse
            .changes()
            .with("--ack", &sql)
            .with("--engine", "duckdb"),
        &["cannot be used with"],
    );
    // Nothing of this was noted; from stdin it is.
    assert_eq!(
        warehouse.place.lake().files_below("_answerlake/consumers/"),
        [""; 0]
    );
    let mut child = warehouse
        .changes()
        .with("--ack", "-")
        .command()
        .stdin(std::process::Stdio::from(
            std::fs::File::open(&sql).unwrap(),
        ))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(warehouse.pending(), map(&[]));
}
