//! Whether the lake holds what the source has: exported again, compared record by record, and nothing touched.

use std::process::Command;

use answerlake_emulator::{EmulatorConfig, Fault, FaultKind, On};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Place, Program, Setup, Source, iso, setup};

/// `answerlake verify --against-source` of the lake at `place` and all days of `source`.
fn verify(place: &Place, source: &Source) -> Program {
    let data = &source.config().data;
    let run = place.run(source).without("--lookback");
    run.instead_of_run("verify --against-source")
        .with("--from", &iso(data.from))
        .with("--to", &iso(data.to))
}

fn feedback(id: &str, tag: &str) -> Value {
    json!({
        "_id": id, "event": "thumbsDown", "createdOn": "2025-06-24T12:00:00.000Z",
        "searchRequestId": "fsh-1", "query": "private words", "comments": {"tags": [tag]},
    })
}

fn with(records: &[Value]) -> impl FnOnce(&mut EmulatorConfig) + use<> {
    let records = records.to_vec();
    |config| config.extra_records = records
}

#[test]
fn what_was_just_fetched_is_the_same_and_stays_untouched() {
    let masked =
        "[privacy.fields]\nuserId = \"hash\"\naccountId = \"drop\"\n[lake]\nprompt = \"text\"\n";
    for (name, pipeline) in [
        ("by the day", ""),
        ("hour", "[lake]\ngrain = \"hour\"\n"),
        ("masked", masked),
    ] {
        let setup = setup("against", |config| {
            config.data.to = config.data.from + TimeDelta::days(1);
        });
        let file = setup.place.write("pipeline.toml", pipeline);
        let key = |program: Program| {
            program
                .arguments(&[&file])
                .environment("ANSWERLAKE_PRIVACY_KEY", &"key".repeat(11))
        };
        key(setup.run().with("--window", "1d")).result();
        let stamps = setup.lake().stamps();
        let report = key(verify(&setup.place, &setup.source)).result();
        let partitions = report["partitions"].as_array().unwrap();
        assert_eq!(
            partitions.len(),
            if name == "hour" { 24 } else { 1 },
            "{report}"
        );
        assert!(
            partitions.iter().all(|partition| partition["same"] == true),
            "{report}"
        );
        let records: u64 = partitions
            .iter()
            .map(|one| one["lake_records"].as_u64().unwrap())
            .sum();
        assert_eq!(records, setup.source.records().len() as u64);
        assert_eq!(setup.lake().stamps(), stamps, "{name}");
        setup.place.assert_scratch_is_empty();
    }
}

#[test]
fn what_differs_is_told_by_ids_and_names_of_members() {
    let place = Place::new("against-other");
    let then = Source::start(with(&[
        feedback("gone", "a"),
        feedback("changed", "a"),
        feedback("same", "a"),
    ]));
    let now = Source::start(with(&[
        feedback("new", "a"),
        feedback("changed", "b"),
        feedback("same", "a"),
    ]));
    place.run(&then).result();
    let stamps = place.lake().stamps();

    let outcome = verify(&place, &now).ends(3);
    let report = outcome.json();
    assert_eq!(
        (&report["status"], &report["compared"]),
        (&"problems".into(), &3.into())
    );
    let of_day = &report["partitions"][1];
    assert_eq!(report["partitions"][0]["same"], true);
    assert_eq!(of_day["same"], false);
    for way in ["only_in_lake", "only_in_source", "changed"] {
        assert_eq!(of_day[way], 1, "{way}: {of_day}");
    }
    assert_eq!(of_day["lake_records"], 33);
    assert_eq!(of_day["source_records"], 33);
    let example = |way: &str| of_day[format!("examples_{way}")][0].clone();
    assert_eq!(
        example("only_in_lake"),
        json!({"id": "gone", "event": "thumbsDown"})
    );
    assert_eq!(
        example("only_in_source"),
        json!({"id": "new", "event": "thumbsDown"})
    );
    assert_eq!(
        example("changed"),
        json!({"id": "changed", "event": "thumbsDown", "members": ["comments"]})
    );
    assert_eq!(of_day["mend"], json!(["--date", "2025-06-24", "--force"]));
    assert_eq!(place.lake().stamps(), stamps);
    assert_eq!(now.emulator().jobs_started(), 3);

    let human = verify(&place, &now).with("--output", "human").ends(3);
    for said in [
        "3 partitions exported again of 3 that are settled\n",
        "    33 records in the lake, 33 at the source\n    1 only in the lake, such as:\n      gone (thumbsDown)\n",
        "      changed (thumbsDown): comments\n",
        "--date 2025-06-24 --force\n",
        "there are differences",
    ] {
        assert!(
            human.stdout.contains(said),
            "`{said}` is not in\n{}",
            human.stdout
        );
    }
    for outcome in [outcome, human] {
        let all = outcome.stdout + &outcome.stderr;
        assert!(
            !all.contains("private words") && !all.contains("$$") && !all.contains("eyJ"),
            "{all}"
        );
    }
}

#[test]
fn a_sample_is_the_same_all_day_and_what_is_not_settled_is_left_out() {
    let setup = setup("against-sample", |config| {
        config.data.to = config.data.from + TimeDelta::days(21);
        config.data.records_per_day = 3;
    });
    setup.run().with("--window", "6d").result();
    let sampled = |sample: &str| {
        let program = verify(&setup.place, &setup.source)
            .without("--from")
            .without("--to");
        let report = program.with("--sample", sample).result();
        assert_eq!(report["settled"], 21);
        let partitions = report["partitions"].as_array().unwrap().iter();
        partitions
            .map(|one| one["partition"].to_string())
            .collect::<Vec<_>>()
    };
    let drawn = sampled("10%");
    assert_eq!(drawn.len(), 3, "{drawn:?}");
    assert!(drawn.is_sorted());
    assert_eq!(sampled("0.1").len(), 1);
    // A test that runs over midnight draws anew.
    assert!(sampled("10%") == drawn || sampled("10%") == sampled("10%"));

    let unsettled = Place::new("against-unsettled");
    let three_days = |program: Program| program.with("--to", "2025-06-26");
    three_days(unsettled.run(&setup.source))
        .with("--settle", "30000d")
        .result();
    let outcome = three_days(verify(&unsettled, &setup.source)).ends(3);
    let report = outcome.json();
    assert_eq!(
        (&report["settled"], &report["unsettled"]),
        (&0.into(), &3.into())
    );
    assert_eq!(report["status"], "problems", "nothing was compared");
}

#[test]
fn what_cannot_be_compared_says_why() {
    let failing = |times| Fault {
        times,
        ..Fault::new(On::Export, FaultKind::JobFailed("FAILED".to_owned()))
    };
    let lake = Place::new("against-failing");
    let quiet = Source::start(|_| {});
    lake.run(&quiet).result();
    let stamps = lake.lake().stamps();
    // One of three; all of them; a job that brings less than it promises.
    let wrong = Fault::new(On::Job, FaultKind::WrongRecordCount);
    for (fault, exit, said) in [
        (failing(1), 3, "failed with status `FAILED`"),
        (failing(u32::MAX), 5, "failed with status `FAILED`"),
        (wrong, 3, "expected 12 records, got 11"),
    ] {
        let source = Source::start(|config| config.faults = vec![fault]);
        let report = verify(&lake, &source)
            .with("--jobs-concurrency", "1")
            .ends(exit)
            .json();
        let error = report["partitions"][0]["error"].as_str().unwrap();
        assert!(error.contains(said), "{error}");
        assert_eq!(report["partitions"][1]["same"], exit == 3);
    }
    // Refused by the source, it is refused for all.
    let refused = verify(&lake, &quiet).environment("ANSWERLAKE_CLIENT_SECRET", "another");
    refused.fails(4).assert_says(&["Answer Insights"]);
    // Of another kind than the lake is.
    verify(&lake, &quiet).with("--event", "thumbsUp").fails(2);
    verify(&Place::new("against-none"), &quiet).fails(2);
    assert_eq!(lake.lake().stamps(), stamps);
}

#[test]
fn all_is_exported_again_only_when_that_is_said() {
    let setup: Setup = setup("against-usage", |_| {});
    let program = || verify(&setup.place, &setup.source);
    let failure = program().without("--from").without("--to").fails(2);
    failure.assert_says(&["--sample", "--date"]);
    for sample in ["0%", "101%", "some", "NaN"] {
        program().with("--sample", sample).ends(2);
    }
    program().arguments(&["--deep"]).ends(2);
    assert_eq!(setup.source.emulator().requests().len(), 0);
}

/// The source still has them; that the lake has not is no difference to be mended.
#[test]
fn who_is_forgotten_is_missed_by_nobody() {
    let setup = setup("against-forgotten", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    setup.run().result();
    let user = |record: &Value| record["userId"].as_str().map(str::to_owned);
    let person = setup.source.records().iter().find_map(user).unwrap();
    let forgotten = setup
        .place
        .program("forget --apply --output json")
        .with("--lake", &setup.lake().url())
        .with("--user-id", &person)
        .result();
    assert!(
        forgotten["totals"]["records"].as_u64() > Some(0),
        "{forgotten}"
    );
    let outcome = verify(&setup.place, &setup.source).ends(0);
    assert_eq!(outcome.json()["partitions"][0]["same"], true, "{outcome:?}");
}

/// Whether something was fetched to scratch.
fn has_bytes(place: &Place) -> bool {
    let folders = std::fs::read_dir(place.scratch()).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) if found.len() > 0 => return true,
                _ => {}
            }
        }
    }
    false
}

/// What the source sent lies in scratch unmasked.
#[test]
fn stopped_it_leaves_nothing_of_what_was_fetched() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let setup = setup("against-stopped", |config| {
            config.data.to = config.data.from + TimeDelta::days(1);
        });
        setup.run().result();
        let source = Source::start(|config| {
            config.data.to = config.data.from + TimeDelta::days(1);
            config.faults = vec![Fault {
                times: u32::MAX,
                ..Fault::new(On::Fragment, FaultKind::Hang { after: 10_000 })
            }];
        });
        let mut child = verify(&setup.place, &source).command().spawn().unwrap();
        while !has_bytes(&setup.place) {
            assert!(child.try_wait().unwrap().is_none(), "it ended early");
            std::thread::yield_now();
        }
        let number = child.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &number]).status();
        assert!(told.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        setup.place.assert_scratch_is_empty();
    }
}
