//! Secrets, tokens and signed links are in no log, no result and nothing that the program writes about its work.
//!
//! Links inside records are data, and stay in the data files.

use answerlake_emulator::{Fault, FaultKind, On};

use crate::support::{Lake, Outcome, Setup, setup};

/// Signed links have these in their query; tokens all begin like this.
const TRACES: [&str; 3] = ["&s=", "?n=", "eyJ"];

#[track_caller]
fn assert_hidden(setup: &Setup, outcome: &Outcome, lake: &Lake) {
    let secret = &setup.source.config().client_secret;
    let token = setup.source.emulator().token();
    let signature = token.rsplit('.').next().unwrap();
    let mut hidden: Vec<&str> = TRACES.to_vec();
    hidden.extend([secret.as_str(), token.as_str(), signature, "leaked"]);
    let look = |place: &str, content: &[u8]| {
        let text = String::from_utf8_lossy(content);
        for hidden in &hidden {
            let at = text.find(hidden);
            assert_eq!(at, None, "`{hidden}` in {place}: {text}");
        }
    };
    look("stdout", outcome.stdout.as_bytes());
    look("stderr", outcome.stderr.as_bytes());
    assert!(
        outcome.stderr.contains("DEBUG"),
        "debug logs are on: {}",
        outcome.stderr
    );
    let files = lake.files();
    for file in files.iter().filter(|file| file.starts_with("_answerlake/")) {
        look(file, &std::fs::read(lake.path(file)).unwrap());
    }
    // Of the data files, what never stands in a record.
    for file in &files {
        let content = std::fs::read(lake.path(file)).unwrap();
        let text = String::from_utf8_lossy(&content);
        assert!(
            !text.contains(secret.as_str()) && !text.contains(&token),
            "{file}"
        );
    }
}

#[test]
fn a_run_that_goes_well_shows_none() {
    for format in ["text", "json"] {
        let setup = setup("secrets-well", |config| {
            config.redirect_links = true;
        });
        let logging = |program: crate::support::Program| {
            program.with("--log", "trace").with("--log-format", format)
        };
        let outcome = logging(setup.run()).ends(0);
        assert_hidden(&setup, &outcome, &setup.lake());
        let lake = setup.place.lake_named("by-token");
        let token = setup.source.emulator().token();
        let outcome = logging(setup.run().with_token(&token))
            .into_lake(&lake)
            .ends(0);
        assert_hidden(&setup, &outcome, &lake);
    }
}

#[test]
fn a_run_that_fails_shows_none_even_if_the_source_does() {
    let leak = "no: https://h/api/getMediaStream/findly/f-1.json?n=1&s=leaked$$ for eyJleaked.eyJleaked.leaked";
    let body = serde_json::json!({"errors": [{"msg": leak, "code": 1}]}).to_string();
    let kinds = [
        (On::Export, FaultKind::Status(400, body.clone())),
        (On::Export, FaultKind::Status(401, body.clone())),
        (On::Job, FaultKind::Status(400, body.clone())),
        (On::Job, FaultKind::Status(200, leak.to_owned())),
        (On::Job, FaultKind::CutBody { after: 900 }),
        (On::Fragment, FaultKind::Status(500, leak.to_owned())),
        (On::Fragment, FaultKind::Status(403, body)),
        (On::Fragment, FaultKind::ExpiredLink),
        (On::Fragment, FaultKind::CutBody { after: 10 }),
        (On::Fragment, FaultKind::Html),
        (On::Fragment, FaultKind::WrongRecordCount),
    ];
    for (on, kind) in kinds {
        let setup = setup("secrets-failing", |config| {
            config.faults = vec![Fault {
                times: u32::MAX,
                ..Fault::new(on, kind.clone())
            }];
        });
        let outcome = setup
            .run()
            .with("--log", "trace")
            .with("--retries", "0")
            .with("--date", "2025-06-24")
            .without("--from")
            .without("--to")
            .outcome();
        assert!(
            [Some(4), Some(5)].contains(&outcome.code),
            "{kind:?}: {outcome:?}"
        );
        assert_hidden(&setup, &outcome, &setup.lake());
    }
}

#[test]
fn settings_that_are_wrong_show_none() {
    let setup = setup("secrets-settings", |_| {});
    let token = setup.source.emulator().token();
    let outcome = setup
        .run()
        .environment("ANSWERLAKE_TOKEN", &token)
        .with("--log", "trace")
        .ends(2);
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(
        !all.contains(&token) && !all.contains(&setup.source.config().client_secret),
        "{all}"
    );
    let help = setup
        .run()
        .arguments(&["--help"])
        .environment("ANSWERLAKE_TOKEN", &token)
        .ends(0);
    assert!(!help.stdout.contains(&token));
}

#[test]
fn a_secret_in_the_pipeline_file_is_refused_and_not_shown() {
    let setup = setup("secrets-file", |_| {});
    for text in [
        "[auth]\nclient_secret = \"hush-hush\"\n",
        "[auth]\ntoken = \"hush-hush\"\n",
        "[auth]\nclient_secret_env = [\"hush-hush\"]\n",
        "[auth]\nlifetime = \"hush-hush\n",
    ] {
        let file = setup.place.write("pipeline.toml", text);
        for form in ["json", "human"] {
            let outcome = setup
                .run()
                .arguments(&[&file])
                .with("--output", form)
                .with("--log", "trace")
                .ends(2);
            let all = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(!all.contains("hush"), "{all}");
            assert!(all.contains("pipeline.toml"), "{all}");
        }
    }
}
