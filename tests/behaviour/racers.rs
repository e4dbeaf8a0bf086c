//! Runs of the program at once, on one lake.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Bucket, Lake, Place, Program};

const RACERS: usize = 8;

/// Records of three days that one racer brings in one round: some are its own, some all bring.
fn records(racer: usize, round: usize) -> Vec<Value> {
    let record = |id: String, day: usize| {
        json!({"_id": id, "event": "search", "botId": "st-1", "query": format!("of {id}"),
            "createdOn": format!("2025-06-2{}T10:00:00.000Z", 7 + day)})
    };
    let own = (0..6).map(|number| record(format!("own-{racer}-{round}-{number}"), number % 3));
    let shared = (0..3).map(|number| record(format!("shared-{round}-{number}"), number));
    own.chain(shared).collect()
}

/// Every racer ingests its records, again while it loses to others; how often it had to.
fn ingest(
    place: &Place,
    to_lake: &(dyn Fn(Program) -> Program + Sync),
    racer: usize,
    end: Instant,
) -> (usize, usize) {
    let (mut round, mut again) = (0, 0);
    while Instant::now() < end || round == 0 {
        let text = Value::Array(records(racer, round)).to_string();
        let file = place.write(&format!("{racer}-{round}.json"), text);
        let scratch = place.path(&format!("scratch-{racer}"));
        std::fs::create_dir_all(&scratch).unwrap();
        let program = to_lake(
            place
                .ingest(&[&file])
                .with("--scratch", scratch.to_str().unwrap()),
        );
        loop {
            let outcome = program.outcome();
            let result = outcome.json();
            if outcome.code == Some(0) {
                break;
            }
            assert_eq!(result["retryable"], true, "{result}");
            again += 1;
        }
        round += 1;
    }
    (round, again)
}

#[expect(clippy::print_stderr, reason = "numbers that are asked for")]
fn race(
    name: &str,
    place: &Place,
    to_lake: &(dyn Fn(Program) -> Program + Sync),
    length: Duration,
    lake: impl FnOnce() -> Lake,
) {
    let end = Instant::now() + length;
    let rounds: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| scope.spawn(move || ingest(place, to_lake, racer, end)))
            .collect();
        let racers = racers.into_iter();
        racers.map(|racer| racer.join().unwrap()).collect()
    });

    let mut expected = BTreeSet::new();
    for (racer, (rounds, _)) in rounds.iter().enumerate() {
        for round in 0..*rounds {
            let ids = records(racer, round).into_iter();
            expected.extend(ids.map(|record| record["_id"].as_str().unwrap().to_owned()));
        }
    }
    let outcome = to_lake(place.program("restore")).ends(0);
    let restored: Vec<String> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| record["_id"].as_str().unwrap().to_owned())
        .collect();
    let found: BTreeSet<String> = restored.iter().cloned().collect();
    assert_eq!(restored.len(), found.len(), "a record is there twice");
    assert_eq!(found, expected);

    let lake = lake();
    lake.assert_whole();
    let runs: usize = rounds.iter().map(|(rounds, _)| rounds).sum();
    let again: usize = rounds.iter().map(|(_, again)| again).sum();
    let revisions: usize = lake.manifests().values().map(Vec::len).sum();
    eprintln!(
        "{name}: {RACERS} programs at once brought {} records in {runs} runs, {again} of them made again; {revisions} \
         revisions of 3 days",
        found.len()
    );
}

fn race_on_disk(length: Duration) {
    let place = Place::new("race");
    race(
        "on disk",
        &place,
        &|program| program.into_lake(&place.lake()),
        length,
        || place.lake(),
    );
}

fn race_on_s3(length: Duration) {
    let (place, bucket) = (Place::new("race-s3"), Bucket::new());
    race(
        "on S3",
        &place,
        &|program| bucket.of(program),
        length,
        || bucket.copy(&place, "copy"),
    );
}

#[test]
fn programs_that_race_on_disk_lose_no_record_and_double_none() {
    race_on_disk(Duration::from_secs(2));
}

#[test]
fn programs_that_race_on_s3_lose_no_record_and_double_none() {
    race_on_s3(Duration::from_secs(2));
}

#[test]
#[ignore = "a minute each: `make long`"]
fn programs_race_for_a_minute() {
    race_on_disk(Duration::from_secs(60));
    race_on_s3(Duration::from_secs(60));
}
