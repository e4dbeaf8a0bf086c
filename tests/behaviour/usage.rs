//! Arguments that are refused: exit code 2, and a result where one was asked for, as with any other failure.

use serde_json::Value;

use crate::support::{Outcome, Place};

#[track_caller]
fn assert_refused(outcome: &Outcome, result: &Value, reason: &str) {
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert_eq!(result["status"], "failed", "{result}");
    assert_eq!(result["retryable"], false, "{result}");
    let error = result["error"].as_str().unwrap();
    assert!(error.contains(reason), "{error}");
    assert!(
        !error.contains('\n') && !error.contains('\x1b'),
        "{error:?}"
    );
    assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
}

#[test]
fn who_asked_for_json_gets_json_on_refusal_too() {
    let place = Place::new("usage");
    for (arguments, reason) in [
        (
            "run --no-such-flag --output json",
            "unexpected argument '--no-such-flag'",
        ),
        (
            "run --output=json --date yesterday",
            "invalid value 'yesterday' for '--date",
        ),
        ("--output json", "'--output'"),
        ("no-such-command --output json", "unrecognized subcommand"),
        (
            "ingest --output json",
            "required arguments were not provided",
        ),
        ("schema no_such_table --output json", "no_such_table"),
        ("run --output json --log inof", "expected a level"),
        (
            "run --output json --log answerlake_load=loud",
            "`answerlake_load=loud`",
        ),
        (
            "run --output json --from 2025-06-01 --date 2025-06-01",
            "cannot be used with",
        ),
        (
            "emulate --from 2025-06-02 --to 2025-06-01 --output json",
            "--output",
        ),
    ] {
        let outcome = place.program(arguments).outcome();
        assert_refused(&outcome, &outcome.json(), reason);
    }
    let outcome = place
        .program("")
        .environment("ANSWERLAKE_OUTPUT", "json")
        .ends(2);
    assert_eq!(outcome.json()["error"], "expected a command, got none");
    assert!(outcome.stderr.contains("Commands:"), "{outcome:?}");
    let outcome = place
        .program("run --hots x")
        .environment("ANSWERLAKE_OUTPUT", "json")
        .outcome();
    assert_refused(&outcome, &outcome.json(), "'--hots'");
    assert!(
        outcome.json()["hint"]
            .as_str()
            .unwrap()
            .contains("'--host'"),
        "{outcome:?}"
    );
    let outcome = place
        .program("schema --output json")
        .environment("ANSWERLAKE_LOG", "loud")
        .outcome();
    assert_refused(&outcome, &outcome.json(), "got `loud`");
}

#[test]
fn a_result_file_is_written_on_refusal_too() {
    let place = Place::new("usage-file");
    let path = place.path("result.json");
    let given = [
        place
            .program("run --no-such-flag")
            .with("--result-file", path.to_str().unwrap()),
        place
            .program("run --no-such-flag")
            .environment("ANSWERLAKE_RESULT_FILE", path.to_str().unwrap()),
    ];
    for program in given {
        let outcome = program.outcome();
        let result = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_refused(&outcome, &result, "'--no-such-flag'");
        assert_eq!(outcome.stdout, "");
        std::fs::remove_file(&path).unwrap();
    }
    let outcome = place
        .program("run --no-such-flag --output json --result-file /no/such/folder/result.json")
        .ends(2);
    assert!(
        outcome.stderr.contains("/no/such/folder/result.json"),
        "{outcome:?}"
    );
    assert_eq!(outcome.json()["status"], "failed");
}

#[test]
fn who_did_not_gets_text() {
    let place = Place::new("usage-text");
    let outcome = place.program("run --no-such-flag").ends(2);
    assert_eq!(outcome.stdout, "");
    assert!(
        outcome.stderr.contains("Usage: answerlake run"),
        "{outcome:?}"
    );
    let outcome = place.program("run --output json --help").ends(0);
    assert!(outcome.stdout.contains("Examples:"), "{outcome:?}");
    let outcome = place
        .program("emulate --from 2025-06-02 --to 2025-06-01")
        .ends(2);
    assert!(outcome.stderr.contains("`--from`"), "{outcome:?}");
    // A variable that is set to nothing is as good as not set.
    place
        .program("schema")
        .environment("ANSWERLAKE_LOG", "")
        .ends(0);
}
