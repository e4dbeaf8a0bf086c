//! What a user does wrong: each mistake has its exit code, says what to do, and leaves the lake as it was.

use answerlake_emulator::{Fault, FaultKind, On};

use crate::support::{Place, closed_port, setup};

#[test]
fn a_wrong_token_is_refused_naming_both_scopes() {
    let setup = setup("token", |_| {});
    for program in [
        setup.run().with_token("no.such.token"),
        setup
            .run()
            .environment("ANSWERLAKE_CLIENT_SECRET", "another secret"),
        setup
            .run()
            .environment("ANSWERLAKE_CLIENT_ID", "cs-another"),
    ] {
        let failure = program.fails(4);
        assert!(!failure.retryable);
        for scope in ["Answer Insights", "Answer Generation"] {
            assert!(failure.error.contains(scope), "{}", failure.error);
        }
    }
    assert!(setup.lake().newest().is_empty());
    assert_eq!(setup.source.emulator().jobs_started(), 0);
    setup.place.assert_scratch_is_empty();
}

#[test]
fn a_ready_token_is_as_good() {
    let setup = setup("ready", |_| {});
    let token = setup.source.emulator().token();
    let file = setup.place.write("token", format!("{token}\n"));
    assert_eq!(setup.run().with_token(&token).result()["status"], "ok");
    let by_file = setup
        .run()
        .without_environment("ANSWERLAKE_CLIENT_ID")
        .without_environment("ANSWERLAKE_CLIENT_SECRET")
        .with("--token-file", &file)
        .into_lake(&setup.place.lake_named("by-file"))
        .result();
    assert_eq!(by_file["status"], "ok");
}

#[test]
fn a_wrong_app_is_refused() {
    let setup = setup("app", |_| {});
    let failure = setup.run().with("--app-id", "st-another").fails(4);
    assert!(failure.error.contains("`st-another`"), "{}", failure.error);
    assert!(!failure.retryable);
}

#[test]
fn a_server_that_is_not_there_is_a_failure_of_the_source() {
    let setup = setup("no-server", |_| {});
    let failure = setup
        .run()
        .with("--host", &format!("http://127.0.0.1:{}", closed_port()))
        .with("--retries", "0")
        .fails(5);
    assert!(failure.retryable);
    assert!(failure.error.contains("no connection"), "{}", failure.error);
    assert!(setup.lake().newest().is_empty());
}

#[test]
fn mistakes_in_the_settings_are_found_before_anything_is_asked() {
    let setup = setup("settings", |_| {});
    let unknown = setup
        .place
        .write("unknown.toml", "[lake]\nulr = \"./lake\"\n");
    let broken = setup.place.write("broken.toml", "[lake\n");
    let zone = "2025-06-24T00:00:00Z";
    let signed_twice = setup.source.emulator().token();
    let cases = [
        (setup.run().arguments(&[&unknown]), "unknown field `ulr`"),
        (setup.run().arguments(&[&broken]), "broken.toml"),
        (
            setup.run().arguments(&["/no/such/file.toml"]),
            "/no/such/file.toml",
        ),
        (
            setup.run().with("--from", zone).with("--to", zone),
            "@daily",
        ),
        (
            setup.run().with("--from", zone).with("--to", "2025-06-23"),
            "2025-06-24",
        ),
        (setup.run().with("--window", "7d"), "expected 1h to 6d"),
        (setup.run().with("--poll-min", "soon"), "--poll-min"),
        (
            setup.run().with("--host", "platform.kore.ai"),
            "source.host",
        ),
        (setup.run().without("--app-id"), "source.app_id"),
        (setup.run().without("--host"), "source.host"),
        (setup.run().without("--lake"), "lake.url"),
        (
            setup.run().without("--from").without("--to"),
            "window.start",
        ),
        (
            setup.run().without_environment("ANSWERLAKE_CLIENT_SECRET"),
            "no way to authenticate",
        ),
        (
            setup.run().environment("ANSWERLAKE_TOKEN", &signed_twice),
            "two ways to authenticate",
        ),
    ];
    for (program, expected) in cases {
        let failure = program.fails(2);
        assert!(failure.error.contains(expected), "{}", failure.error);
        assert!(!failure.retryable, "{}", failure.error);
    }
    // Arguments that are none at all end before there is a result.
    for arguments in [
        "run --no-such-flag",
        "run --from yesterday",
        "run --date 2025-06-24 --from 2025-06-24",
        "no-such-command",
        "",
    ] {
        let outcome = setup.place.program(arguments).ends(2);
        assert!(outcome.stdout.is_empty(), "{}", outcome.stdout);
        assert!(!outcome.stderr.is_empty());
    }
    assert!(setup.lake().files().is_empty());
    assert!(setup.source.emulator().requests().is_empty());
}

#[test]
fn a_lake_keeps_the_grain_it_was_made_with() {
    let setup = setup("grain", |_| {});
    setup.run().result();
    let before = setup.lake().stamps();
    let jobs = setup.source.emulator().jobs_started();
    let failure = setup.run().with("--grain", "hour").fails(2);
    for part in ["grain", "day", "hour"] {
        assert!(failure.error.contains(part), "{}", failure.error);
    }
    let failure = setup.run().with("--prompt", "text").fails(2);
    for part in ["prompt", "parts", "text"] {
        assert!(failure.error.contains(part), "{}", failure.error);
    }
    setup.run().with("--event", "thumbsUp").fails(2);
    assert_eq!(setup.lake().stamps(), before);
    assert_eq!(setup.source.emulator().jobs_started(), jobs);
    // What does not change what a lake means may change.
    setup.run().with("--compression", "snappy").result();
}

#[test]
fn a_lake_that_cannot_be_is_said_before_an_export_is_asked_for() {
    let setup = setup("no-lake", |_| {});
    setup.place.write("lake", "a file in the folder's place");
    let failure = setup.run().fails(6);
    assert!(failure.error.contains("lake"), "{}", failure.error);
    assert_eq!(setup.source.emulator().jobs_started(), 0);
    setup.place.assert_scratch_is_empty();
}

#[test]
fn fragments_that_are_none_are_not_ingested() {
    let place = Place::new("no-fragments");
    let whole =
        std::fs::read_to_string(crate::support::repository("tests/fixtures/export.json")).unwrap();
    let half = whole.len() / 2;
    let cut = (0..=half)
        .rev()
        .find(|&at| whole.is_char_boundary(at))
        .unwrap();
    let cases = [
        (
            "page.json",
            "<!DOCTYPE html>\n<html><body>Sign in</body></html>",
            "no export",
        ),
        ("cut.json", &whole[..cut], "cut short"),
        (
            "open.json",
            whole.trim_end().strip_suffix(']').unwrap(),
            "cut short",
        ),
        ("empty.json", "", "empty"),
        ("twice.json", &format!("{whole}{whole}"), "goes on after"),
    ];
    for (name, content, expected) in cases {
        let file = place.write(name, content);
        let failure = place.ingest(&[&file]).fails(5);
        assert!(failure.error.contains(name), "{}", failure.error);
        if name != "empty.json" {
            assert!(failure.error.contains(expected), "{}", failure.error);
        }
    }
    // A good fragment beside a bad one is not committed either.
    let good = place.write("good.json", &whole);
    place
        .ingest(&[&good, place.path("cut.json").to_str().unwrap()])
        .fails(5);
    let nothing = place.path("nothing-*.json");
    place.ingest(&[nothing.to_str().unwrap()]).fails(2);
    assert!(place.lake().newest().is_empty());
    assert!(place.lake().data_files().is_empty());
    place.lake().assert_whole();
    place.assert_scratch_is_empty();
}

#[test]
fn a_failure_at_night_is_told_in_full_to_people_too() {
    let setup = setup("human", |config| {
        config.faults = vec![Fault {
            on: On::Export,
            nth: 0,
            times: 1,
            kind: FaultKind::JobFailed("FAILED".to_owned()),
        }];
    });
    let outcome = setup
        .run()
        .with("--output", "human")
        .with("--jobs-concurrency", "1")
        .ends(3);
    assert!(
        outcome.stdout.contains("some partitions failed"),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stdout.contains("2025-06-23"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("failed with status `FAILED`"),
        "{}",
        outcome.stdout
    );
}
