//! How late records really came is told by the lake, and whether the lookback is long enough for that.

use answerlake_emulator::{Fault, FaultKind, On};
use chrono::{Days, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{Program, Setup, setup, truth};

/// A source of yesterday, whose feedback is not there yet when it is exported first.
fn yesterday(name: &str) -> Setup {
    setup(name, |config| {
        let today = Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc();
        config.data.to = today;
        config.data.from = today - Days::new(1);
        config.data.records_per_day = 100;
        config.faults = vec![Fault::new(On::Export, FaultKind::LateFeedback)];
    })
}

fn run(setup: &Setup) -> Program {
    setup.run().with("--lag", "0s")
}

fn status(setup: &Setup, lookback: &str) -> (Value, String) {
    let program = |output: &str| {
        setup
            .place
            .program("status")
            .with("--lake", &setup.lake().url())
            .with("--lag", "0s")
            .with("--lookback", lookback)
            .with("--output", output)
    };
    let json = program("json").ends(0).json();
    let text = program("human").ends(0).stdout.replace('\n', " ");
    (json["apps"][0]["freshness"].clone(), text)
}

#[test]
fn what_a_reread_finds_new_is_told_by_how_late_it_came() {
    let setup = yesterday("late");
    run(&setup).result();
    let (freshness, text) = status(&setup, "3d");
    assert_eq!(freshness["verdict"], "unknown", "{freshness}");
    assert!(!text.contains("late:"), "{text}");

    // It is provisional, so it is read again.
    let result = run(&setup).result();
    assert_eq!(result["partitions"][0]["revision"], 2, "{result}");
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
    let late = setup.lake().counts()["feedback"];
    assert!(late > 0);
    let newest = setup.lake().newest();
    let section = &newest.values().next().unwrap()["freshness"];
    assert_eq!(section["late"]["feedback"]["records"], late, "{section}");
    let by_hours = section["late"]["feedback"]["by_hours"].as_object().unwrap();
    let sum: u64 = by_hours
        .values()
        .map(|records| records.as_u64().unwrap())
        .sum();
    assert_eq!(sum, late, "{section}");
    assert!(section["late"].get("queries").is_none(), "{section}");

    let (freshness, text) = status(&setup, "3d");
    assert_eq!(freshness["verdict"], "unknown", "{freshness}");
    assert!(text.contains("long enough is not known yet"), "{text}");
    // What came an hour after it was made is missed by who looks an hour back.
    let (freshness, text) = status(&setup, "1h");
    assert_eq!(freshness["verdict"], "too_short", "{freshness}");
    let day = TimeDelta::hours(48).num_seconds();
    assert!(
        freshness["latest_seconds"].as_i64().unwrap() <= day,
        "{freshness}"
    );
    assert!(text.contains("is too short"), "{text}");

    // A third read finds nothing, and the section stays as it is.
    let result = run(&setup).result();
    assert_eq!(result["partitions"][0]["state"], "unchanged", "{result}");
    assert_eq!(setup.lake().newest(), newest);
    assert_eq!(newest.values().next().unwrap()["provisional"], json!(true));
}
