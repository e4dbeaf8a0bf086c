//! Records at the edges of days: each lands once, in its own day, whichever ends of a range the source takes in.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{iso, setup, time};

/// Milliseconds from midnight that records are made at.
const OFFSETS: [i64; 11] = [-1_001, -1_000, -999, -2, -1, 0, 1, 2, 999, 1_000, 1_001];

#[test]
fn both_ends_inclusive() {
    each_record_lands_once("edges-both", true, true);
}

#[test]
fn only_the_start_inclusive() {
    each_record_lands_once("edges-from", true, false);
}

#[test]
fn only_the_end_inclusive() {
    each_record_lands_once("edges-to", false, true);
}

#[test]
fn no_end_inclusive() {
    each_record_lands_once("edges-none", false, false);
}

/// Three days, with records around each of their four midnights, in windows of one day and of three.
fn each_record_lands_once(name: &str, from_inclusive: bool, to_inclusive: bool) {
    let first = time("2025-06-23T00:00:00Z");
    let setup = setup(name, |config| {
        config.data.records_per_day = 0;
        config.from_inclusive = from_inclusive;
        config.to_inclusive = to_inclusive;
        config.fragment_records = 4;
        config.extra_records = (0..4)
            .flat_map(|day| {
                OFFSETS.map(|offset| first + TimeDelta::days(day) + TimeDelta::milliseconds(offset))
            })
            .map(|created| record(&format!("r-{}", iso(created)), created))
            .collect();
    });
    let mut expected = BTreeMap::new();
    for record in setup.source.records() {
        let (id, created) = (&record["_id"], record["createdOn"].as_str().unwrap());
        expected.insert(
            id.as_str().unwrap().to_owned(),
            vec![created[..10].to_owned()],
        );
    }
    assert_eq!(
        expected.len(),
        33,
        "of 44, 11 lie before the first midnight or after the last"
    );

    for window in ["1d", "3d"] {
        let lake = setup.place.lake_named(window);
        let result = setup
            .run()
            .with("--window", window)
            .into_lake(&lake)
            .result();
        let mut landed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in lake.rows("queries") {
            let text = |column: &str| row[column].as_str().unwrap().to_owned();
            landed
                .entry(text("record_id"))
                .or_default()
                .push(text("dt"));
        }
        assert_eq!(landed, expected, "windows of {window}");
        let totals = &result["totals"];
        assert_eq!(totals["written"], 33);
        assert_eq!(
            totals["strays"], 0,
            "all that was asked for is window or margin: {totals}"
        );
        lake.assert_whole();
    }
    let digests = |window: &str| setup.place.lake_named(window).digests();
    assert_eq!(digests("1d"), digests("3d"));
}

fn record(id: &str, created: chrono::DateTime<chrono::Utc>) -> Value {
    json!({
        "_id": id,
        "query": "at the edge",
        "searchRequestId": id,
        "event": "search",
        "selectedFacets": [],
        "timeStampValue": created.timestamp_millis(),
        "createdOn": iso(created),
        "answerDebug": []
    })
}
