//! What is in the lake, what is not, and why: told by the lake alone, and an alert when somebody must do something.

use answerlake_emulator::{Fault, FaultKind, On};
use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::support::{Place, Program, Setup, iso, setup};

fn status(place: &Place) -> Program {
    place.program("status").with("--lake", &place.lake().url())
}

fn of_days(setup: &Setup) -> Program {
    let data = &setup.source.config().data;
    status(&setup.place)
        .with("--from", &iso(data.from))
        .with("--to", &iso(data.to))
}

fn kinds(result: &Value) -> Vec<&str> {
    let problems = result["problems"].as_array().unwrap().iter();
    problems
        .map(|problem| problem["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn a_week_is_shown_as_it_is() {
    let setup = setup("status", |config| {
        config.data.to = config.data.from + TimeDelta::days(7);
        config.faults = vec![Fault {
            nth: 3,
            ..Fault::new(
                On::Export,
                FaultKind::Status(400, "{\"errors\":[{\"msg\":\"no such thing\"}]}".into()),
            )
        }];
    });
    // Four days, one of which the source refuses; an empty day before them, one that never settled.
    setup
        .run()
        .with("--from", "2025-06-22")
        .with("--to", "2025-06-24")
        .result();
    setup
        .run()
        .with("--date", "2025-06-25")
        .without("--from")
        .without("--to")
        .with("--settle", "50y")
        .result();
    setup
        .run()
        .with("--date", "2025-06-26")
        .without("--from")
        .without("--to")
        .ends(5);
    let result = setup
        .run()
        .with("--from", "2025-06-22")
        .with("--to", "2025-06-24")
        .result();
    assert_eq!(result["status"], "nothing_to_do", "{result}");
    let before = setup.lake().stamps();

    let shown = of_days(&setup)
        .with("--from", "2025-06-22")
        .with("--to", "2025-06-29");
    let text = shown.ends(0).stdout;
    let expected = "\
         1       10 11      20 21       31
2025-06                         0#M~FMM
# 1 committed   0 1 empty   ~ 1 provisional   M 3 missing   F 1 failed
";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains('\u{1b}'), "colours, and no terminal");
    for line in text.lines() {
        // A command is never cut, and this one names a long folder.
        let is_command = line.trim_start().starts_with("answerlake run");
        assert!(is_command || line.chars().count() < 80, "{line}");
    }
    // Whoever is called reads the days, the reason and what to do.
    for part in [
        "missing: 2025-06-24",
        "missing: 2025-06-27 to 2025-06-28 (2 days)",
        "failed: 2025-06-26",
        "no such thing",
        "--from 2025-06-27 --to 2025-06-29",
        "left: 2025-06-25 not final, and before the lookback",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let list = shown.clone().arguments(&["--list"]).ends(0).stdout;
    for part in [
        "2025-06-22     empty        r1",
        "2025-06-25     provisional  r1          30 records",
        "2025-06-26     failed\n",
    ] {
        assert!(list.contains(part), "{part}\n{list}");
    }

    let json = shown.clone().with("--output", "json");
    let outcome = json.ends(0);
    assert_eq!(outcome.stdout.lines().count(), 1);
    let result = outcome.json();
    assert_eq!(result["status"], "problems", "{result}");
    assert_eq!(kinds(&result), ["missing", "missing", "failed"]);
    let failed = &result["problems"][2];
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("no such thing"),
        "{failed}"
    );
    assert_eq!(failed["retryable"], false);
    assert!(failed["run_id"].is_string() && failed["at"].is_string());
    let app = &result["apps"][0];
    assert_eq!(
        (&app["records"], app.get("partitions")),
        (&60.into(), None),
        "{app}"
    );
    let listed = json.clone().arguments(&["--list"]).ends(0).json();
    let partitions = listed["apps"][0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 7);
    assert_eq!(
        partitions[3]["rows"]["queries"],
        setup
            .lake()
            .rows("queries")
            .iter()
            .filter(|row| row["dt"] == "2025-06-25")
            .count()
    );
    assert_eq!(
        json.arguments(&["--check"]).ends(3).json()["problems"],
        result["problems"]
    );
    assert_eq!(setup.lake().stamps(), before, "a look changed something");

    // What it proposes mends it: then it is quiet.
    setup
        .run()
        .with("--from", "2025-06-24")
        .with("--to", "2025-06-29")
        .result();
    let mended = shown
        .clone()
        .with("--output", "json")
        .arguments(&["--check"])
        .ends(0)
        .json();
    assert_eq!(mended["status"], "ok", "{mended}");
    let failures: Vec<_> = setup
        .lake()
        .files()
        .into_iter()
        .filter(|file| file.contains("failures"))
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
    assert!(shown.ends(0).stdout.ends_with("no problems\n"));
}

#[test]
fn a_failed_reread_counts_until_it_succeeds_though_nothing_changed() {
    let setup = setup("status-reread", |config| {
        config.faults = vec![Fault {
            nth: 3,
            times: 3,
            ..Fault::new(On::Export, FaultKind::Status(400, "{}".into()))
        }];
    });
    setup.run().result();
    setup.run().arguments(&["--force"]).ends(5);
    let failed = of_days(&setup)
        .with("--output", "json")
        .arguments(&["--check", "--list"])
        .ends(3)
        .json();
    assert_eq!(
        kinds(&failed),
        ["failed"],
        "one error, one problem: {failed}"
    );
    let partition = &failed["apps"][0]["partitions"][0];
    assert_eq!(
        (&partition["state"], &partition["revision"]),
        (&"failed".into(), &1.into())
    );
    setup.run().arguments(&["--force"]).result();
    of_days(&setup).arguments(&["--check"]).ends(0);
}

#[test]
fn a_stopped_run_has_not_failed_and_no_secret_is_noted() {
    let setup = setup("status-notes", |_| {});
    let secret = "not-the-secret-0123456789";
    setup
        .run()
        .environment("ANSWERLAKE_CLIENT_SECRET", secret)
        .ends(4);
    let notes: Vec<_> = setup
        .lake()
        .files()
        .into_iter()
        .filter(|file| file.contains("/failures/"))
        .collect();
    assert_eq!(notes.len(), 3, "{notes:?}");
    for note in notes {
        let text = std::fs::read_to_string(setup.lake().path(&note)).unwrap();
        assert!(text.contains("401") && !text.contains(secret), "{text}");
    }
}

#[test]
fn the_alert_is_for_days_that_are_late_and_not_for_those_that_have_time() {
    // Data of the last days, by the clock of this machine.
    let today = Utc::now()
        .date_naive()
        .and_time(chrono::NaiveTime::MIN)
        .and_utc();
    let setup = setup("status-late", |config| {
        config.data.from = today - TimeDelta::days(6);
        config.data.to = today;
    });
    let run = |from: i64, to: i64| {
        let at = |days| iso(today - TimeDelta::days(days));
        setup
            .run()
            .with("--from", &at(from))
            .with("--to", &at(to))
            .with("--lag", "0s")
            .result()
    };
    let check = |max_age: &str, code| {
        let program = status(&setup.place)
            .with("--lag", "0s")
            .arguments(&["--check"]);
        program
            .with("--max-age", max_age)
            .with("--output", "json")
            .ends(code)
            .json()
    };
    assert_eq!(kinds(&check("26h", 3)), ["nothing_committed"]);
    run(6, 1);
    // Yesterday is not in; the newest data ends a day and some hours ago.
    assert_eq!(kinds(&check("50h", 0)), Vec::<&str>::new());
    let late = check("86399s", 3);
    assert_eq!(kinds(&late), ["late"], "{late}");
    assert!(
        late["problems"][0]["message"]
            .as_str()
            .unwrap()
            .contains("expected at most 23 h"),
        "{late}"
    );
    run(1, 0);
    assert_eq!(kinds(&check("25h", 0)), Vec::<&str>::new(), "all is in");
    // A hole is a problem whatever its age.
    let hole = setup.place.lake().path(&format!(
        "_answerlake/commits/app_id={}/dt={}",
        setup.source.config().app_id,
        (today - TimeDelta::days(2)).date_naive()
    ));
    std::fs::remove_dir_all(hole).unwrap();
    assert_eq!(kinds(&check("50h", 3)), ["missing"]);
}

#[test]
fn without_a_lake_it_says_so() {
    let place = Place::new("status-nothing");
    let outcome = status(&place).arguments(&["--check"]).ends(3);
    assert!(
        outcome.stdout.contains("There is no lake"),
        "{}",
        outcome.stdout
    );
    status(&place).ends(0);
    assert!(!place.lake().path("").exists(), "a lake was made");
}

#[test]
fn the_hours_of_a_day_show_its_worst_and_the_lake_knows_its_grain() {
    let setup = setup("status-hours", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    setup
        .run()
        .with("--grain", "hour")
        .with("--window", "6h")
        .with("--to", "2025-06-23T20:00")
        .result();
    let shown = of_days(&setup);
    let text = shown.ends(0).stdout;
    assert!(
        text.contains("2025-06                          M\n"),
        "{text}"
    );
    assert!(text.contains("M 4 missing"), "{text}");
    assert!(
        text.contains("missing: 2025-06-23T20 to 2025-06-23T23 (4 hours)"),
        "{text}"
    );
    let list = shown.arguments(&["--list"]).ends(0).stdout;
    assert!(
        list.contains("2025-06-23T19  ") && list.contains("2025-06-23T20  missing"),
        "{list}"
    );
    // Without a range: from the first hour there is.
    let open = status(&setup.place).with("--output", "json").ends(0).json();
    assert_eq!(
        (&open["grain"], &open["apps"][0]["from"]),
        (&"hour".into(), &"2025-06-23T00:00:00.000Z".into())
    );
}
