//! `init`: a pipeline file to start from, that runs as soon as it is filled in.

use crate::support::{Place, Program, setup, truth};

fn init(place: &Place) -> Program {
    place.program("init")
}

#[test]
fn the_file_runs_as_it_was_written() {
    let setup = setup("init", |_| {});
    let config = setup.source.config();
    let said = init(&setup.place)
        .with("--host", &setup.source.emulator().url())
        .with("--app-id", &config.app_id)
        .with("--window-start", "2025-06-23")
        .environment("ANSWERLAKE_LAKE", &setup.lake().url())
        .ends(0)
        .stdout;
    assert!(said.contains("answerlake run pipeline.toml"), "{said}");
    assert!(said.contains("answerlake plan pipeline.toml"), "{said}");
    assert!(!said.contains("fill in"), "{said}");
    let result = setup
        .run()
        .without("--host")
        .without("--app-id")
        .without("--lake")
        .without("--from")
        .without("--lookback")
        .arguments(&["pipeline.toml"])
        .result();
    assert_eq!(result["status"], "ok", "{result}");
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn what_is_not_given_is_asked_for() {
    let place = Place::new("init-empty");
    let said = init(&place).ends(0).stdout;
    let needed = "source.host, source.app_id, window.start, lake.url";
    assert!(said.contains(&format!("fill in {needed}")), "{said}");
    let run = place
        .program("run pipeline.toml --output json")
        .environment("ANSWERLAKE_TOKEN", "t");
    let failure = run.clone().with("--app-id", "st-1").fails(2);
    assert_eq!(
        failure.error,
        "pipeline file `pipeline.toml` is to be filled in: `source.host`, `window.start`, `lake.url`"
    );
    let result = run.ends(2).json();
    assert!(
        result["hint"].as_str().unwrap().contains("`<fill in>`"),
        "{result}"
    );
    // Given elsewhere, nothing is to be filled in: this fails for the host, which is not there.
    let failure = run
        .with("--app-id", "st-1")
        .with("--host", "http://127.0.0.1:1")
        .with("--window-start", "2025-06-23")
        .with("--retries", "0")
        .with("--lake", &place.lake().url())
        .with("--to", "2025-06-24")
        .fails(5);
    assert!(failure.error.contains("no connection"), "{}", failure.error);
}

#[test]
fn a_file_that_is_there_stays_there() {
    let place = Place::new("init-there");
    let path = place.write("pipeline.toml", "mine");
    let outcome = init(&place).ends(2);
    assert!(
        outcome.stderr.contains("`pipeline.toml` exists already"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("--force"), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let refused = place
        .program("init --force --window-start yesterday")
        .ends(2);
    assert!(
        refused.stderr.contains("--window-start: expected a time"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");

    place.program("init --force").ends(0);
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.contains("\n[source]\n"), "{written}");
    let shown = place.program("init -").ends(0).stdout;
    assert_eq!(shown, written);
    assert!(!place.path("-").exists());
    let nowhere = place.program("init no/such/folder/pipeline.toml").ends(1);
    assert!(
        nowhere.stderr.contains("no/such/folder/pipeline.toml"),
        "{nowhere:?}"
    );
}
