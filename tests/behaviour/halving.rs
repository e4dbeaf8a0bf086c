//! What the source does not manage at once is asked for as less, down to the hour, and as more again when it manages.

use std::collections::BTreeMap;

use answerlake_emulator::{Fault, FaultKind, On};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Program, Setup, setup, truth};

/// A source of so many days, of whose first jobs so many fail.
fn failing(name: &str, days: i64, times: u32, kind: FaultKind) -> Setup {
    setup(name, |config| {
        config.data.to = config.data.from + TimeDelta::days(days);
        config.faults = vec![Fault {
            times,
            ..Fault::new(On::Export, kind)
        }];
    })
}

fn failed() -> FaultKind {
    FaultKind::JobFailed("FAILED".to_owned())
}

fn run(setup: &Setup) -> Program {
    setup.run().with("--jobs-concurrency", "1")
}

#[track_caller]
fn assert_complete(setup: &Setup) {
    setup.lake().assert_whole();
    setup.place.assert_scratch_is_empty();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

/// How many hours each job was asked for, and why, by the day that it brought.
fn jobs(setup: &Setup) -> BTreeMap<String, Vec<(i64, Value)>> {
    let newest = setup.lake().newest().into_iter();
    let of_day = |manifest: &Value| {
        let jobs = manifest["jobs"].as_array().unwrap().iter();
        jobs.map(|job| {
            let time = |name: &str| -> chrono::DateTime<chrono::Utc> {
                job["window"][name].as_str().unwrap().parse().unwrap()
            };
            let hours = (time("end") - time("start")).num_hours();
            (hours, job.get("fit").cloned().unwrap_or(Value::Null))
        })
        .collect()
    };
    newest
        .map(|(key, manifest)| (key[key.len() - 2..].to_owned(), of_day(&manifest)))
        .collect()
}

#[test]
fn a_window_of_several_days_becomes_two() {
    let setup = failing("halved-days", 3, 1, failed());
    let result = run(&setup).with("--window", "3d").result();
    assert_eq!(result["status"], "ok", "{result}");
    assert_eq!(setup.source.emulator().jobs_started(), 3);
    let halved = |hours| vec![(hours, json!("halved"))];
    assert_eq!(
        jobs(&setup),
        BTreeMap::from([
            ("23".to_owned(), halved(24)),
            ("24".to_owned(), halved(48)),
            ("25".to_owned(), halved(48)),
        ])
    );
    assert_complete(&setup);
}

#[test]
fn a_day_becomes_hours_and_is_committed_whole() {
    let setup = failing("halved-hours", 1, 3, failed());
    let result = run(&setup).result();
    assert_eq!(result["partitions"][0]["revision"], 1, "{result}");
    let hours: Vec<_> = jobs(&setup)["23"].iter().map(|(hours, _)| *hours).collect();
    assert_eq!(hours, [3, 3, 6, 12]);
    assert_eq!(setup.source.emulator().jobs_started(), 3 + 4);
    let totals = &result["totals"];
    assert_eq!(totals["promised"], totals["decoded"], "{totals}");
    assert_eq!(totals["written"], setup.source.records().len(), "{totals}");
    assert_eq!(totals["duplicates"], 0, "{totals}");
    assert_complete(&setup);
}

#[test]
fn a_job_that_never_ends_is_halved_as_well() {
    let kind = FaultKind::JobFailed("INPROGRESS".to_owned());
    let setup = failing("halved-stall", 1, 1, kind);
    let result = run(&setup).with("--stall", "300ms").result();
    assert_eq!(result["status"], "ok", "{result}");
    let hours: Vec<_> = jobs(&setup)["23"].iter().map(|(hours, _)| *hours).collect();
    assert_eq!(hours, [12, 12]);
    // The job that stalled stays, for whoever wants that window.
    setup.lake().assert_sound();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn a_fragment_that_never_comes_whole_is_asked_for_as_less() {
    let setup = setup("halved-fragment", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
        config.faults = vec![Fault {
            times: 2,
            ..Fault::new(On::Fragment, FaultKind::CutBody { after: 1_000 })
        }];
        config.fragment_records = 1_000;
    });
    let result = run(&setup).with("--retries", "1").result();
    assert_eq!(result["status"], "ok", "{result}");
    let hours: Vec<_> = jobs(&setup)["23"].iter().map(|(hours, _)| *hours).collect();
    assert_eq!(hours, [12, 12]);
    assert_complete(&setup);
}

#[test]
fn where_an_hour_is_too_much_the_window_fails_and_others_are_not_halved() {
    let setup = failing("halved-in-vain", 2, u32::MAX, failed());
    let failure = run(&setup).fails(5);
    failure.assert_says(&["failed with status `FAILED`"]);
    assert!(failure.retryable);
    // 24, 12, 6, 3, 2 and 1 hours of the first day, and the second day.
    assert_eq!(setup.source.emulator().jobs_started(), 6 + 1);
    assert!(setup.lake().newest().is_empty());
    setup.lake().assert_whole();
    setup.place.assert_scratch_is_empty();
}

#[test]
fn windows_stay_small_for_some_days_and_grow_back() {
    let setup = failing("grows-back", 7, 2, failed());
    for day in 23..30 {
        let day = format!("2025-06-{day}");
        run(&setup)
            .without("--from")
            .without("--to")
            .with("--date", &day)
            .with("--lookback", "3d")
            .with("--window-start", "2025-06-23")
            .result();
    }
    let seen: Vec<_> = jobs(&setup)
        .into_values()
        .map(|jobs| {
            let hours: Vec<_> = jobs.iter().map(|(hours, _)| *hours).collect();
            (hours, jobs[0].1.clone())
        })
        .collect();
    let kept = || (vec![12, 12], json!("kept"));
    assert_eq!(seen[0], (vec![6, 6, 12], json!("halved")));
    assert_eq!(seen[1..4], [kept(), kept(), kept()]);
    assert_eq!(seen[4..], vec![(vec![24], Value::Null); 3]);
    assert_complete(&setup);
}
