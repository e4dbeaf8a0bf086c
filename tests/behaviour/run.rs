//! The main job: a week from the source into the lake, a second time, again by force, and with a day missing.

use std::collections::BTreeMap;
use std::fs::File;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{Setup, iso, setup, time, truth};

fn week(name: &str) -> Setup {
    setup(name, |config| {
        config.data.to = config.data.from + TimeDelta::days(7);
    })
}

#[test]
fn a_week_is_exported_whole() {
    let week = week("week");
    let result = week.run().result();
    let lake = week.lake();
    let records = week.source.records();

    assert_eq!(result["status"], "ok", "{result}");
    assert_eq!(result["retryable"], false);
    let expected = truth::counts(&records);
    assert!(expected.values().all(|rows| *rows > 0), "{expected:?}");
    let totals = &result["totals"];
    assert_eq!(totals["rows"], json!(expected));
    assert_eq!(totals["written"], records.len());
    assert_eq!(totals["promised"], totals["decoded"]);
    let margin = totals["margin"].as_u64().unwrap();
    assert!(
        margin > 0,
        "records at the edges of days come with two windows"
    );
    assert_eq!(totals["decoded"], records.len() as u64 + margin);
    for nothing in [
        "duplicates",
        "strays",
        "dead_letters",
        "conflicts",
        "retries",
    ] {
        assert_eq!(totals[nothing], 0, "{nothing}");
    }

    let partitions = result["partitions"].as_array().unwrap();
    let by_day: BTreeMap<&str, &Value> = partitions
        .iter()
        .map(|partition| (partition["dt"].as_str().unwrap(), partition))
        .collect();
    assert_eq!(by_day.len(), 7);
    for day in week.source.days() {
        let partition = by_day[day.to_string().as_str()];
        assert_eq!(partition["app_id"], week.source.config().app_id.as_str());
        assert_eq!(partition["state"], "committed");
        assert_eq!(partition["revision"], 1);
        assert_eq!(partition["provisional"], false);
        let expected = truth::counts(&week.source.records_of(day));
        assert_eq!(partition["rows"], json!(expected), "{day}");
    }

    lake.assert_whole();
    week.place.assert_scratch_is_empty();
    truth::assert_holds(&lake, &records);
    assert_eq!(week.source.emulator().jobs_started(), 7);
    for (partition, manifest) in lake.newest() {
        assert_eq!(manifest["partial"], false, "{partition}");
        assert_eq!(manifest["jobs"].as_array().unwrap().len(), 1, "{partition}");
        assert_eq!(
            manifest["jobs"][0]["promised"],
            manifest["jobs"][0]["decoded"]
        );
    }
}

#[test]
fn nothing_follows_the_result_on_either_stream() {
    let week = week("streams");
    // Both streams into one file, as an orchestrator merges them.
    for (code, program) in [
        (0, week.run().with("--log", "debug")),
        (2, week.run().with("--window", "7d")),
    ] {
        let path = week.place.path("merged");
        let file = File::create(&path).unwrap();
        let status = program
            .command()
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .status()
            .unwrap();
        let merged = std::fs::read_to_string(&path).unwrap();
        assert_eq!(status.code(), Some(code), "{merged}");
        assert!(merged.ends_with("}\n"), "{merged}");
        let last: Value = serde_json::from_str(merged.lines().next_back().unwrap()).unwrap();
        assert!(last["run_id"].is_string());
    }
    // By itself, stdout is that line and no other, and logs are lines of JSON when asked for.
    let outcome = week
        .run()
        .arguments(&["--force"])
        .with("--log-format", "json")
        .ends(0);
    assert_eq!(outcome.stdout.lines().count(), 1);
    assert!(outcome.stderr.lines().count() > 10, "{}", outcome.stderr);
    for line in outcome.stderr.lines() {
        let logged: Value = serde_json::from_str(line).unwrap();
        assert!(
            logged["level"].is_string() && logged["message"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn a_second_run_finds_nothing_to_do_and_touches_nothing() {
    let week = week("again");
    week.run().result();
    let before = week.lake().stamps();
    let jobs = week.source.emulator().jobs_started();

    let result = week.run().result();
    assert_eq!(result["status"], "nothing_to_do", "{result}");
    assert_eq!(result["retryable"], false);
    assert_eq!(result["partitions"], json!([]));
    assert_eq!(result["totals"]["requests"], 0);
    assert_eq!(week.source.emulator().jobs_started(), jobs);
    assert_eq!(week.lake().stamps(), before);
    week.place.assert_scratch_is_empty();
}

#[test]
fn nothing_to_do_ends_with_the_code_that_was_asked_for() {
    let setup = setup("skip", |_| {});
    let run = || setup.run().with("--skip-exit-code", "99");
    assert_eq!(run().ends(0).json()["status"], "ok");
    assert_eq!(run().ends(99).json()["status"], "nothing_to_do");
}

#[test]
fn the_result_stands_in_a_file_too_when_the_run_fails_as_well() {
    let setup = setup("result-file", |_| {});
    let file = setup.place.path("result.json");
    let run = || setup.run().with("--result-file", file.to_str().unwrap());
    let in_file = || -> Value { serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap() };
    assert_eq!(run().result(), in_file());
    let failed = run()
        .with_token("no.such.token")
        .arguments(&["--force"])
        .ends(4)
        .json();
    assert_eq!(failed, in_file());
    assert_eq!(failed["status"], "failed");
    let nowhere = setup.place.path("no/such/folder/result.json");
    let outcome = setup
        .run()
        .with("--result-file", nowhere.to_str().unwrap())
        .ends(1);
    assert!(
        outcome.stderr.contains("cannot write the result"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_forced_run_reads_again_and_writes_nothing_that_is_there() {
    let week = week("force");
    week.run().result();
    let before = week.lake().stamps();

    let result = week.run().arguments(&["--force"]).result();
    assert_eq!(result["status"], "ok", "{result}");
    let partitions = result["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 7);
    for partition in partitions {
        assert_eq!(partition["state"], "unchanged", "{partition}");
        assert_eq!(partition["revision"], 1);
    }
    assert_eq!(result["totals"]["bytes_written"], 0);
    assert_eq!(week.source.emulator().jobs_started(), 14);
    assert_eq!(week.lake().stamps(), before);
    week.place.assert_scratch_is_empty();
}

#[test]
fn a_missed_day_mends_itself() {
    let week = week("missed");
    let day = |number: i64| iso(week.source.config().data.from + TimeDelta::days(number));
    for (from, to) in [(0, 2), (3, 4)] {
        week.run()
            .with("--from", &day(from))
            .with("--to", &day(to))
            .result();
    }
    assert_eq!(week.lake().days().len(), 3);
    // The last days are asked for; the missed one lies in the lookback.
    let result = week
        .run()
        .with("--from", &day(4))
        .with("--lookback", "3d")
        .result();
    let days: Vec<_> = result["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| partition["dt"].as_str().unwrap())
        .collect();
    assert_eq!(
        days,
        ["2025-06-25", "2025-06-27", "2025-06-28", "2025-06-29"]
    );
    truth::assert_holds(&week.lake(), &week.source.records());
}

#[test]
fn late_feedback_makes_a_new_revision_that_keeps_the_other_tables_files() {
    let setup = setup("late", |_| {});
    setup.run().result();
    let before = setup.lake().data_files();
    setup.source.emulator().add_record(json!({
        "_id": "685a000000000000000000aa",
        "query": "late",
        "searchRequestId": "fsh-late",
        "event": "thumbsUp",
        "comments": {"tags": ["Helpful"]},
        "selectedFacets": [],
        "botId": setup.source.config().app_id,
        "searchIndexId": "sidx-1",
        "timeStampValue": 1_750_766_400_500_i64,
        "createdOn": "2025-06-24T12:00:00.500Z",
        "isDev": false,
        "lMod": "2025-06-24T12:00:01.000Z",
        "__v": 0
    }));

    let result = setup
        .run()
        .arguments(&["--force"])
        .with("--jobs-concurrency", "1")
        .result();
    let states: Vec<_> = result["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| {
            (
                partition["state"].as_str().unwrap(),
                partition["revision"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [("unchanged", 1), ("committed", 2), ("unchanged", 1)]
    );

    let lake = setup.lake();
    lake.assert_whole();
    truth::assert_holds(&lake, &setup.source.records());
    let after = lake.data_files();
    let is_same =
        |file: &&String| !(file.starts_with("feedback/") && file.contains("dt=2025-06-24"));
    let kept =
        |files: &BTreeMap<String, u64>| files.keys().filter(is_same).cloned().collect::<Vec<_>>();
    assert_eq!(
        kept(&before),
        kept(&after),
        "only the day's feedback is written anew"
    );
    assert_ne!(before, after);
}

#[test]
fn a_day_that_has_not_ended_is_not_due() {
    let today = Utc::now().date_naive();
    let start = today.and_time(chrono::NaiveTime::MIN).and_utc();
    let setup = setup("not-due", |config| {
        config.data.from = start - TimeDelta::days(1);
        config.data.to = start + TimeDelta::days(1);
    });
    // Tomorrow is far enough: midnight may pass while this runs.
    let day: DateTime<Utc> = start + TimeDelta::days(2);
    let result = setup
        .run()
        .with("--from", &iso(day))
        .with("--to", &iso(day + TimeDelta::days(1)))
        .result();
    assert_eq!(result["status"], "nothing_to_do", "{result}");
    assert_eq!(result["partitions"][0]["state"], "not_due");
    assert_eq!(setup.source.emulator().jobs_started(), 0);

    // A day just over is read as provisional, and again by the next run.
    let program = setup
        .run()
        .with("--from", &iso(start - TimeDelta::days(1)))
        .with("--to", &iso(start))
        .with("--lag", "0s");
    let result = program.result();
    assert_eq!(result["partitions"][0]["state"], "committed");
    assert_eq!(result["partitions"][0]["provisional"], true);
    let before = setup.lake().stamps();
    let again = program.result();
    assert_eq!(again["partitions"][0]["state"], "unchanged", "{again}");
    assert_eq!(setup.lake().stamps(), before);
}

#[test]
fn an_empty_day_is_known_to_be_empty() {
    let setup = setup("empty", |config| config.data.records_per_day = 0);
    let result = setup.run().result();
    assert_eq!(result["status"], "ok");
    assert_eq!(setup.lake().days().len(), 3);
    assert!(setup.lake().data_files().is_empty());
    setup.lake().assert_whole();
    assert_eq!(setup.run().result()["status"], "nothing_to_do");
}

#[test]
fn hours_and_days_cut_the_same_records() {
    let setup = setup("hours", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    let result = setup
        .run()
        .with("--grain", "hour")
        .with("--window", "6h")
        .result();
    assert_eq!(result["partitions"].as_array().unwrap().len(), 24);
    assert_eq!(setup.source.emulator().jobs_started(), 4);
    let lake = setup.lake();
    lake.assert_whole();
    truth::assert_holds(&lake, &setup.source.records());
    for row in lake.rows("queries") {
        let created = DateTime::from_timestamp_micros(row["created_at"].as_i64().unwrap()).unwrap();
        let path = format!(
            "{}T{:0>2}",
            row["dt"].as_str().unwrap(),
            row["hour"].as_str().unwrap()
        );
        assert_eq!(path, created.format("%Y-%m-%dT%H").to_string());
    }
}

#[test]
fn the_orchestrators_context_goes_into_the_manifests() {
    let setup = setup("context", |config| {
        config.data.to = time("2025-06-24T00:00:00Z");
    });
    setup
        .run()
        .environment("AIRFLOW_CTX_DAG_ID", "answers")
        .result();
    for manifest in setup.lake().newest().values() {
        assert_eq!(manifest["context"]["AIRFLOW_CTX_DAG_ID"], "answers");
    }
}

#[test]
fn one_day_can_be_asked_for_by_its_date() {
    let setup = setup("date", |_| {});
    let result = setup
        .run()
        .without("--from")
        .without("--to")
        .with("--date", "2025-06-24")
        .result();
    assert_eq!(result["partitions"].as_array().unwrap().len(), 1);
    let day = "2025-06-24".parse().unwrap();
    truth::assert_holds(&setup.lake(), &setup.source.records_of(day));
}

#[test]
fn a_range_is_widened_to_whole_partitions() {
    let setup = setup("widened", |_| {});
    setup
        .run()
        .with("--from", "2025-06-23T23:00:00Z")
        .with("--to", "2025-06-25T02:00:00+02:00")
        .result();
    let days: Vec<_> = setup.lake().days().into_iter().collect();
    assert_eq!(days, ["2025-06-23", "2025-06-24"]);
}
