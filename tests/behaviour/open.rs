//! Days that have not ended, and ranges that lie ahead.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{Setup, iso, setup, time};

/// A source that has records of yesterday, today and tomorrow.
fn current(name: &str) -> Setup {
    setup(name, |config| {
        let today = Utc::now()
            .date_naive()
            .and_time(chrono::NaiveTime::MIN)
            .and_utc();
        config.data.from = today - TimeDelta::days(1);
        config.data.to = today + TimeDelta::days(2);
    })
}

fn by_state(result: &Value) -> Vec<(String, String)> {
    let partitions = result["partitions"].as_array().unwrap().iter();
    partitions
        .map(|one| {
            let word = |name: &str| one[name].as_str().unwrap().to_owned();
            (word("dt"), word("state"))
        })
        .collect()
}

#[test]
fn an_open_day_is_read_when_asked_for_and_the_future_never_is() {
    let setup = current("open");
    let before = Utc::now();
    let days: Vec<_> = setup
        .source
        .days()
        .iter()
        .map(ToString::to_string)
        .collect();
    let open = || {
        setup
            .run()
            .arguments(&["--include-open"])
            .with("--lag", "1s")
    };
    let result = open().result();
    let after = Utc::now();
    if before.date_naive() != after.date_naive() {
        // It became another day meanwhile; what this test knows is of the one before.
        return;
    }
    let said = |states: [&str; 3]| -> Vec<(String, String)> {
        let states = states.iter().map(ToString::to_string);
        days.iter().cloned().zip(states).collect()
    };
    assert_eq!(
        by_state(&result),
        said(["committed", "committed", "not_due"])
    );
    let newest = setup.lake().newest();
    assert_eq!(newest.len(), 2);
    assert!(
        newest
            .values()
            .all(|manifest| manifest["provisional"] == true)
    );
    for table in ["queries", "feedback"] {
        for row in setup.lake().rows(table) {
            let created = row["created_at"].as_i64().unwrap();
            assert!(
                created <= after.timestamp_micros(),
                "a record of the future: {row:?}"
            );
        }
    }
    setup.lake().assert_whole();

    // Without the flag it waits until it has ended, though it is provisional; with it, it is read again.
    let closed = setup.run().with("--lag", "1s").result();
    assert_eq!(
        by_state(&closed)[1..],
        said(["", "not_due", "not_due"])[1..]
    );
    let again = open().result();
    let states = by_state(&again);
    assert!(
        ["committed", "unchanged"].contains(&states[1].1.as_str()),
        "{states:?}"
    );
    // The end of the range is now, unless it is said.
    let unbounded = open().without("--to").result();
    assert_eq!(by_state(&unbounded).len(), 2, "{unbounded}");
    setup.lake().assert_whole();
}

#[test]
fn a_day_within_the_lag_stays_provisional_whatever_settles() {
    let setup = current("within-lag");
    let result = setup
        .run()
        .arguments(&["--include-open"])
        .with("--lag", "30d")
        .with("--settle", "0s")
        .result();
    let provisional: Vec<_> = result["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["provisional"].clone())
        .collect();
    assert_eq!(provisional[..2], [json!(true), json!(true)], "{result}");
}

#[test]
fn a_range_in_the_future_is_nothing_to_do_and_says_so() {
    let setup = setup("future", |_| {});
    let from = iso(Utc::now() + TimeDelta::days(30));
    let to = iso(Utc::now() + TimeDelta::days(32));
    let future = || setup.run().with("--from", &from).with("--to", &to);
    for program in [future(), future().arguments(&["--include-open"])] {
        let result = program.clone().result();
        assert_eq!(result["status"], "nothing_to_do", "{result}");
        let states = by_state(&result);
        assert!((2..=3).contains(&states.len()), "{states:?}");
        assert!(
            states.iter().all(|(_, state)| state == "not_due"),
            "{states:?}"
        );
        let text = program.with("--output", "human").ends(0).stdout;
        assert!(text.contains("not due yet"), "{text}");
    }
    assert_eq!(setup.source.emulator().requests().len(), 0);
}

#[test]
fn ranges_that_are_none_are_refused_with_the_reason() {
    let setup = setup("ranges", |_| {});
    let day = iso(time("2025-06-24T00:00:00Z"));
    for (from, to, expected) in [
        (
            day.as_str(),
            "2025-06-23",
            "the range is empty: it starts at `2025-06-24T00:00:00.000Z` and ends at `2025-06-23T00:00:00.000Z`",
        ),
        (&day, &day, "write `--date {{ ds }}`"),
        ("0001-01-01", "9999-12-31", "expected at most 100 years"),
    ] {
        for command in ["run", "plan", "status"] {
            let mut program = setup.run().with("--from", from).with("--to", to);
            if command == "plan" || command == "status" {
                program = setup
                    .place
                    .program(command)
                    .with("--from", from)
                    .with("--to", to)
                    .with("--app-id", "st-1")
                    .with("--lake", &setup.lake().url())
                    .with("--output", "json");
            }
            let failure = program.fails(2);
            assert!(
                failure.error.contains(expected),
                "{command}: {}",
                failure.error
            );
            assert!(!failure.retryable);
        }
    }
    assert!(!setup.lake().path("").exists());
}
