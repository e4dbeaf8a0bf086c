//! What a terminal shows while the program works: a line a window and one for all, and afterwards the result alone.
//!
//! The terminal is a real one, emulated behind a pty by `tests/terminal.py`, which keeps every screen it showed.

use std::process::Command;
use std::time::Duration;

use answerlake_emulator::{Fault, FaultKind, On};
use serde::Deserialize;

use crate::support::{Place, Program, Setup, python, repository, setup};

#[derive(Debug, Deserialize)]
struct Seen {
    code: i32,
    screens: Vec<Vec<String>>,
    cursor_hidden: bool,
    cursor_column: u32,
    raw: String,
}

/// Runs it in a terminal; types Ctrl-C once `interrupt` stands there.
fn watched_until(program: &Program, columns: u32, interrupt: &str) -> Seen {
    let command = program.command();
    let mut terminal = Command::new(python());
    terminal.env_clear().env("TERM", "xterm-256color");
    for (name, value) in command.get_envs() {
        terminal.env(name, value.unwrap_or_default());
    }
    let output = terminal
        .current_dir(command.get_current_dir().unwrap())
        .arg(repository("tests/terminal.py"))
        .args([&columns.to_string(), "24", interrupt])
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn watched(program: &Program, columns: u32) -> Seen {
    watched_until(program, columns, "")
}

/// A source that takes its time.
fn slow(name: &str) -> Setup {
    setup(name, |config| {
        config.job_time_base = Duration::from_millis(600);
        config.data.drifts = false;
    })
}

fn human(setup: &Setup) -> Program {
    setup.run().with("--output", "human")
}

fn is_total(line: &str) -> bool {
    line.starts_with("total  ")
}

impl Seen {
    fn last(&self) -> &[String] {
        self.screens.last().unwrap()
    }

    fn has_bars(&self) -> bool {
        self.screens.iter().flatten().any(|line| is_total(line))
    }

    /// From the first picture to the end of the last one there always is one; no line of it is broken, none is there
    /// twice, and nothing of it is left.
    #[track_caller]
    fn assert_steady(&self) {
        let drawn: Vec<bool> = self
            .screens
            .iter()
            .map(|screen| screen.iter().any(|line| is_total(line)))
            .collect();
        let first = drawn.iter().position(|drawn| *drawn);
        let first = first.unwrap_or_else(|| panic!("nothing was drawn: {self:?}"));
        let last = drawn.iter().rposition(|drawn| *drawn).unwrap();
        assert!(last > first + 5, "it does not move: {self:?}");
        for screen in &self.screens[first..=last] {
            let totals = screen.iter().filter(|line| is_total(line)).count();
            assert_eq!(totals, 1, "{screen:#?}");
            for line in screen {
                let is_whole = line.starts_with("2025-06-2") || is_total(line) || is_log(line);
                assert!(
                    is_whole || line.is_empty() || line == "^C",
                    "broken: {screen:#?}"
                );
            }
            let windows = screen.iter().filter(|line| line.starts_with("2025-06-2"));
            assert!(windows.count() <= 2, "{screen:#?}");
        }
        self.assert_clean();
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert!(!self.cursor_hidden && self.cursor_column == 0, "{self:?}");
        let left = self
            .last()
            .iter()
            .any(|line| is_total(line) || line.contains("exporting"));
        assert!(!left, "{:#?}", self.last());
    }
}

/// Whether a line is a log's: it begins with the time of the test.
fn is_log(line: &str) -> bool {
    let (date, rest) = line.split_at(line.len().min(10));
    date.len() == 10
        && !date.starts_with("2025-06")
        && date.starts_with("20")
        && rest.starts_with('T')
}

#[test]
fn progress_is_drawn_and_no_line_of_it_wraps() {
    for columns in [40, 80, 200] {
        let setup = slow("progress");
        let seen = watched(&human(&setup), columns);
        assert_eq!(seen.code, 0, "{seen:?}");
        seen.assert_steady();
        let lines: Vec<&String> = seen.screens.iter().flatten().collect();
        let has = |start: &str, text: &str| {
            lines
                .iter()
                .any(|line| line.starts_with(start) && line.contains(text))
        };
        assert!(has("2025-06-23", "exporting"), "{lines:#?}");
        assert!(has("2025-06-25", "exporting"), "{lines:#?}");
        assert!(has("total", "  0/3") && has("total", "  2/3"), "{lines:#?}");
        let percents = lines.iter().filter(|line| line.contains('%')).count();
        assert!(percents > 3, "{lines:#?}");
        if columns >= 80 {
            assert!(has("2025-06-23", "[="), "{lines:#?}");
            assert!(has("total", "2 committed"), "{lines:#?}");
        }
        // With progress to be seen, what goes well is not logged.
        assert!(!lines.iter().any(|line| is_log(line)), "{lines:#?}");
        assert!(seen.last()[0].starts_with("ok, "), "{:#?}", seen.last());
    }
}

#[test]
fn what_is_logged_stands_above_it_unbroken() {
    let setup = setup("log-above", |config| {
        config.job_time_base = Duration::from_millis(600);
        config.data.drifts = false;
        config.faults = vec![Fault {
            day: Some("2025-06-24".parse().unwrap()),
            times: u32::MAX,
            ..Fault::new(On::Export, FaultKind::JobFailed("FAILED".to_owned()))
        }];
    });
    // One window at a time: the second fails, and so do its parts, while there is something to be above of.
    let seen = watched(&human(&setup).with("--jobs-concurrency", "1"), 300);
    assert_eq!(seen.code, 3, "{seen:?}");
    seen.assert_steady();
    let with_log = seen.screens.iter().find(|screen| {
        screen
            .iter()
            .any(|line| is_total(line) && line.contains("1 failed"))
    });
    let with_log = with_log.unwrap_or_else(|| panic!("{seen:?}"));
    let is_halved = |screen: &Vec<String>| {
        let has = |text: &str| screen.iter().any(|line| line.contains(text));
        has("asking for less at once") && !has("ERROR window failed")
    };
    for screen in seen.screens.iter().filter(|screen| is_halved(screen)) {
        let claims_failure = screen
            .iter()
            .any(|line| is_total(line) && line.contains("failed"));
        assert!(!claims_failure, "its parts may do yet: {screen:#?}");
    }
    let log = with_log
        .iter()
        .position(|line| line.contains("ERROR window failed"));
    let total = with_log.iter().position(|line| is_total(line));
    assert!(log.is_some() && log < total, "{with_log:#?}");

    // All that is logged, when that is asked for.
    let seen = watched(&human(&slow("info-above")).with("--log", "info"), 300);
    seen.assert_steady();
    assert!(seen.raw.contains("partition committed"), "{seen:?}");
}

#[test]
fn ctrl_c_leaves_the_result_alone() {
    let setup = slow("ctrl-c");
    let seen = watched_until(&human(&setup).with("--jobs-concurrency", "1"), 80, "1/3");
    assert_eq!(seen.code, 130, "{seen:?}");
    seen.assert_clean();
    let last = seen.last();
    let log = last.iter().position(|line| line.contains("WARN stopping:"));
    let result = last
        .iter()
        .position(|line| line.starts_with("some partitions failed"));
    assert!(log.is_some() && log < result, "{last:#?}");
    let text = last.concat();
    assert!(
        text.contains("2025-06-24 to 2025-06-25 (2 partitions): stopped before it was done"),
        "{last:#?}"
    );

    // The result of JSON is the last line here, too.
    let seen = watched_until(&slow("ctrl-c-json").run(), 200, "exporting");
    assert_eq!(seen.code, 130, "{seen:?}");
    seen.assert_clean();
    let last = seen.raw.lines().next_back().unwrap();
    // What erased the lines before it stands at its beginning.
    let json = &last[last.find('{').unwrap()..];
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["status"], "failed");
}

#[test]
fn nothing_is_drawn_where_nobody_watches_or_it_cannot_be() {
    let setup = slow("unwatched");
    let piped = human(&setup).environment("TERM", "xterm-256color").ends(0);
    assert!(!piped.stderr.contains('\x1b'), "{}", piped.stderr);
    assert!(!piped.stderr.contains("total"), "{}", piped.stderr);
    assert!(
        piped.stderr.contains("partition committed"),
        "{}",
        piped.stderr
    );

    for (name, value) in [
        ("TERM", "dumb"),
        ("TERM", ""),
        ("ANSWERLAKE_LOG_FORMAT", "json"),
        ("ANSWERLAKE_NO_PROGRESS", "1"),
    ] {
        let setup = slow("cannot");
        let seen = watched(&human(&setup).environment(name, value), 200);
        assert_eq!(seen.code, 0, "{seen:?}");
        assert!(!seen.has_bars(), "{name}={value}: {seen:?}");
        let may_color = name == "ANSWERLAKE_NO_PROGRESS";
        assert!(
            may_color || !seen.raw.contains("\x1b["),
            "{name}={value}: {seen:?}"
        );
        assert!(seen.raw.contains("partition committed"), "{name}: {seen:?}");
    }
}

#[test]
fn no_color_is_honoured() {
    let is_colored = |seen: &Seen| seen.raw.contains("\x1b[1");
    let seen = watched(&human(&slow("color")), 80);
    assert!(seen.has_bars() && is_colored(&seen), "{seen:?}");
    let seen = watched(&human(&slow("no-color")).environment("NO_COLOR", "1"), 80);
    seen.assert_steady();
    assert!(
        !is_colored(&seen) && !seen.raw.contains("\x1b[0m"),
        "{seen:?}"
    );
}

#[test]
fn an_ingest_says_how_much_it_has_read() {
    let place = Place::new("ingest-progress");
    let folder = place.path("fragments");
    place
        .program("emulate --from 2025-06-23 --to 2025-06-25 --records 600")
        .with("--write", folder.to_str().unwrap())
        .ends(0);
    let program = place
        .ingest(&[folder.to_str().unwrap()])
        .with("--output", "human")
        .with("--threads", "1");
    let seen = watched(&program, 80);
    assert_eq!(seen.code, 0, "{seen:?}");
    seen.assert_clean();
    let lines: Vec<&String> = seen.screens.iter().flatten().collect();
    let reading = lines.iter().any(|line| {
        line.starts_with("reading")
            && line.contains('%')
            && line.contains(" rec")
            && line.contains("MB/s")
    });
    assert!(reading, "{lines:#?}");
}

/// A command that prints the secret may ask for a password on the same terminal.
#[test]
fn nothing_is_drawn_over_a_command_that_asks_for_a_secret() {
    let setup = slow("secret-command");
    let secret = &setup.source.config().client_secret;
    let ask = format!("printf 'Password: ' > /dev/tty; sleep 0.7; echo {secret}");
    let program = human(&setup)
        .without_environment("ANSWERLAKE_CLIENT_SECRET")
        .with("--client-secret-command", &ask);
    let seen = watched(&program, 80);
    assert_eq!(seen.code, 0, "{seen:?}");
    assert_eq!(seen.screens[0], ["Password:"], "{seen:?}");
    assert!(seen.screens[1][0].starts_with("Password:"), "{seen:?}");
    assert!(seen.has_bars(), "{seen:?}");
}
