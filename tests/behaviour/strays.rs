//! Records that come with another day's window find their own day, whenever they come.

use std::collections::BTreeSet;

use answerlake_emulator::{Fault, FaultKind, On};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{Program, Setup, setup, time, truth};

/// Two days. The export of the second also has the records of the first, which the first's own export has as
/// `first_has` says.
fn two_days(name: &str, first_has: Option<FaultKind>) -> Setup {
    setup(name, |config| {
        config.data.to = config.data.from + TimeDelta::days(2);
        let strays = Fault {
            day: Some("2025-06-24".parse().unwrap()),
            times: u32::MAX,
            ..Fault::new(On::Export, FaultKind::Strays { records: 1_000 })
        };
        config.faults = vec![strays];
        config.faults.extend(first_has.map(|kind| Fault {
            day: Some("2025-06-23".parse().unwrap()),
            times: u32::MAX,
            ..Fault::new(On::Export, kind)
        }));
    })
}

fn day(setup: &Setup, day: &str) -> Program {
    setup
        .run()
        .without("--from")
        .without("--to")
        .with("--date", day)
}

/// Why `plan` would read which partitions.
fn reasons(setup: &Setup) -> Vec<(String, Value)> {
    let plan = setup
        .place
        .program("plan")
        .with("--host", &setup.source.emulator().url())
        .with("--app-id", &setup.source.config().app_id)
        .with("--lake", &setup.lake().url())
        .with("--from", "2025-06-23")
        .with("--to", "2025-06-25")
        .with("--lookback", "0s")
        .with("--output", "json");
    let entries = plan.ends(0).json();
    let reasons = entries.as_array().unwrap().iter().map(|entry| {
        let day = entry["partitions"][0].as_str().unwrap().to_owned();
        (day, entry["reasons"].clone())
    });
    reasons.collect()
}

fn strays(setup: &Setup) -> Vec<String> {
    setup.lake().files_below("_answerlake/strays/")
}

#[track_caller]
fn assert_complete(setup: &Setup) {
    setup.lake().assert_whole();
    setup.place.assert_scratch_is_empty();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn what_is_in_its_day_already_changes_nothing() {
    let setup = two_days("strays-known", None);
    let result = setup.run().with("--jobs-concurrency", "1").result();
    assert!(result["totals"]["strays"].as_u64().unwrap() > 0, "{result}");
    assert_eq!(strays(&setup).len(), 1);
    assert_complete(&setup);
    let manifests = setup.lake().manifests();
    let of_first = manifests
        .iter()
        .find(|(key, _)| key.ends_with("dt=2025-06-23"))
        .unwrap()
        .1;
    assert_eq!(of_first[0]["content_digest"], of_first[1]["content_digest"]);
    assert_eq!(of_first.len(), 2, "that they are in is noted");
    assert_eq!(reasons(&setup), []);
    let before = setup.lake().stamps();
    assert_eq!(setup.run().result()["status"], "nothing_to_do");
    assert!(setup.lake().stamps() == before);
}

#[test]
fn what_its_day_lacks_joins_it() {
    let setup = two_days("strays-new", Some(FaultKind::LateFeedback));
    let result = setup.run().with("--jobs-concurrency", "1").result();
    assert_eq!(
        result["partitions"].as_array().unwrap().len(),
        2,
        "{result}"
    );
    assert_complete(&setup);
    // And again, whenever its day is exported without it.
    let result = day(&setup, "2025-06-23").arguments(&["--force"]).result();
    assert_eq!(result["partitions"][0]["state"], "unchanged", "{result}");
    assert_complete(&setup);
    assert_eq!(strays(&setup).len(), 1, "they are kept");
}

#[test]
fn a_committed_day_is_due_for_strays_that_are_new_to_it() {
    let setup = two_days("strays-due", Some(FaultKind::LateFeedback));
    day(&setup, "2025-06-23").result();
    // A run of another day does not touch it.
    day(&setup, "2025-06-24").result();
    assert_eq!(
        reasons(&setup),
        [("2025-06-23".to_owned(), json!({"strays": 1}))]
    );
    let jobs = setup.source.emulator().jobs_started();
    let result = setup.run().result();
    assert_eq!(result["partitions"][0]["state"], "committed", "{result}");
    assert_eq!(
        setup.source.emulator().jobs_started(),
        jobs,
        "nobody is asked"
    );
    assert_complete(&setup);
    assert_eq!(reasons(&setup), []);
    assert_eq!(setup.run().result()["status"], "nothing_to_do");
}

/// `run.max_record` is about what is brought: what a day holds is joined whatever its size.
#[test]
fn a_large_record_of_the_day_outlives_a_lowered_limit() {
    let setup = two_days("strays-large", Some(FaultKind::LateFeedback));
    setup.source.emulator().add_record(json!({
        "_id": "fsh-large", "searchRequestId": "fsh-large", "event": "search",
        "createdOn": "2025-06-23T08:00:00.000Z", "timeStampValue": 1_750_665_600_000_i64,
        "query": "x".repeat(2 << 20), "answerDebug": [],
    }));
    day(&setup, "2025-06-23").result();
    day(&setup, "2025-06-24").result();
    let result = setup.run().with("--max-record", "1MiB").result();
    assert_eq!(result["partitions"][0]["state"], "committed", "{result}");
    assert_eq!(result["totals"]["dead_letters"], 0, "{result}");
    assert_complete(&setup);
}

/// `DESIGN.md`: "Of several, the newest job's wins".
#[test]
fn of_two_versions_the_newer_jobs_stays() {
    // The strays are newer than what their day's own export brought.
    let setup = two_days("strays-newer", Some(FaultKind::EarlierRecords));
    day(&setup, "2025-06-23").result();
    setup.run().result();
    assert_complete_rows(&setup);

    // And older: then nothing is said of them.
    let setup = setup_of_older();
    day(&setup, "2025-06-24").result();
    let result = day(&setup, "2025-06-23").result();
    assert_eq!(result["totals"]["conflicts"], 0, "{result}");
    assert_eq!(result["totals"]["dead_letters"], 0, "{result}");
    day(&setup, "2025-06-24").arguments(&["--force"]).result();
    assert_complete(&setup);
    assert_eq!(reasons(&setup), []);
}

/// Two days, the second of which brings the first's records as they were before they had answers, when it is exported
/// for the first time.
fn setup_of_older() -> Setup {
    setup("strays-older", |config| {
        config.data.to = config.data.from + TimeDelta::days(2);
        let of_second = |kind| Fault {
            day: Some("2025-06-24".parse().unwrap()),
            ..Fault::new(On::Export, kind)
        };
        // Its next export has none of that.
        config.faults = vec![
            of_second(FaultKind::Strays { records: 1_000 }),
            of_second(FaultKind::EarlierRecords),
        ];
    })
}

#[track_caller]
fn assert_complete_rows(setup: &Setup) {
    setup.lake().assert_whole();
    let rows = setup.lake().rows("answers").into_iter();
    let answered: BTreeSet<String> = rows.map(|row| row["query_id"].to_string()).collect();
    // What lies in the margin of the second day's job belongs to the first day, and is none of its strays.
    let is_stray = |record: &Value| {
        let made: DateTime<Utc> = record["createdOn"].as_str().unwrap().parse().unwrap();
        let second_day = time("2025-06-24T00:00:00Z");
        !(second_day - TimeDelta::seconds(1)..second_day).contains(&made)
    };
    let is_answered = |record: &Value| {
        let answers = record["answerDebug"].as_array();
        answers.is_some_and(|answers| !answers.is_empty())
    };
    let records = setup.source.records().into_iter();
    let expected: BTreeSet<String> = records
        .filter(|record| is_answered(record) && is_stray(record))
        .map(|record| record["searchRequestId"].to_string())
        .collect();
    assert_eq!(answered, expected);
}

#[test]
fn strays_of_hours_find_their_hour() {
    let setup = two_days("strays-hours", Some(FaultKind::LateFeedback));
    let run = setup.run().with("--grain", "hour").with("--window", "1d");
    run.result();
    assert_complete(&setup);
    assert!(
        strays(&setup).iter().all(|file| file.contains("/hour=")),
        "{:?}",
        strays(&setup)
    );
    assert_eq!(run.result()["status"], "nothing_to_do");
}
