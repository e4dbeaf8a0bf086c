//! A source that no longer has what is committed: nothing is lost unless that is asked for.

use serde_json::{Value, json};

use crate::support::{Place, Source, iso, time, truth};

/// A source with these records of one day.
fn source(ids: &[&str]) -> Source {
    let first = time("2025-06-23T08:00:00Z");
    let records: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({
                "_id": format!("fsh-{id}"),
                "query": id,
                "searchRequestId": format!("fsh-{id}"),
                "event": "search",
                "selectedFacets": [],
                "timeStampValue": first.timestamp_millis(),
                "createdOn": iso(first),
                "answerDebug": []
            })
        })
        .collect();
    Source::start(|config| {
        config.data.records_per_day = 0;
        config.extra_records = records;
    })
}

/// Commits a day with three records, then reads it again from a source that has `ids`.
#[track_caller]
fn reread_is_shrunk(name: &str, ids: &[&str]) {
    let place = Place::new(name);
    let before = source(&["a", "b", "c"]);
    place.run(&before).result();
    // All but jobs in flight, and notes of what failed.
    let stamps = || {
        let mut stamps = place.lake().stamps();
        stamps.retain(|file, _| {
            let is_of_runs = ["jobs", "failures"];
            !is_of_runs
                .iter()
                .any(|folder| file.starts_with(&format!("_answerlake/{folder}/")))
        });
        stamps
    };
    let committed = stamps();

    let after = source(ids);
    let again = place
        .run(&after)
        .without("--from")
        .without("--to")
        .with("--date", "2025-06-23")
        .arguments(&["--force"]);
    let outcome = again.ends(5);
    let result = outcome.json();
    assert_eq!(result["status"], "failed", "{result}");
    assert_eq!(result["partitions"][0]["state"], "shrunk", "{result}");
    assert!(stamps() == committed, "nothing is lost");

    again.with("--on-shrink", "replace").result();
    place.lake().assert_whole();
    truth::assert_holds(&place.lake(), &after.records());
}

#[test]
fn what_a_day_lost_is_kept_where_that_is_asked_for() {
    let place = Place::new("kept");
    let before = source(&["a", "b", "c"]);
    place.run(&before).result();
    let after = source(&["a", "d"]);
    let again = place
        .run(&after)
        .without("--from")
        .without("--to")
        .with("--date", "2025-06-23")
        .with("--on-shrink", "keep")
        .arguments(&["--force"]);
    let result = again.result();
    assert_eq!(result["partitions"][0]["state"], "committed", "{result}");
    place.lake().assert_whole();
    place.assert_scratch_is_empty();
    truth::assert_holds(&place.lake(), &source(&["a", "b", "c", "d"]).records());
    let newest = place.lake().newest();
    let books = &newest.values().next().unwrap()["books"];
    assert_eq!(
        (&books["assigned"], &books["held"]),
        (&json!(2), &json!(2)),
        "{books}"
    );
    assert_eq!(again.result()["partitions"][0]["state"], "unchanged");
}

#[test]
fn a_day_that_lost_a_record_stays_as_it_was() {
    reread_is_shrunk("shrunk", &["a", "c"]);
}

#[test]
fn a_day_that_lost_all_records_stays_as_it_was() {
    reread_is_shrunk("emptied", &[]);
}

/// `DESIGN.md`: "a reread in which a committed `_id` is gone", so the number of records does not decide.
#[test]
fn a_day_that_lost_a_record_and_got_another_stays_as_it_was() {
    reread_is_shrunk("exchanged", &["a", "b", "d"]);
}

/// The result says that running again may help: then the next run has to ask for an export of its own.
#[test]
fn a_day_that_shrank_is_exported_anew_by_the_next_run() {
    let place = Place::new("shrunk-once");
    let before = source(&["a", "b", "c"]);
    place.run(&before).result();
    let after = source(&["a", "c"]);
    let again = place
        .run(&after)
        .without("--from")
        .without("--to")
        .with("--date", "2025-06-23")
        .arguments(&["--force"]);
    assert_eq!(again.ends(5).json()["retryable"], true);
    let back = before
        .records()
        .into_iter()
        .find(|record| record["_id"] == "fsh-b");
    after.emulator().add_record(back.unwrap());
    let result = again.result();
    assert_eq!(result["partitions"][0]["state"], "unchanged", "{result}");
    assert_eq!(after.emulator().jobs_started(), 2);
    place.lake().assert_whole();
}
