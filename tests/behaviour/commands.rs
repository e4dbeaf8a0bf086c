//! Everything that is neither a run nor an ingest: `schema`, `emulate`, `demo`, and what the program says of itself.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Place, TABLES, python, truth};

const COMMANDS: [&str; 12] = [
    "run",
    "verify",
    "doctor",
    "ingest",
    "schema",
    "files",
    "changes",
    "ddl",
    "emulate",
    "demo",
    "init",
    "completions",
];

#[test]
fn the_help_lists_commands_and_exit_codes() {
    let place = Place::new("help");
    for arguments in ["--help", "-h"] {
        let help = place.program(arguments).ends(0).stdout;
        for command in COMMANDS {
            assert!(help.contains(&format!("  {command} ")), "{command}: {help}");
        }
        let (_, codes) = help.split_once("Exit codes:").unwrap();
        let listed: Vec<&str> = codes
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .flat_map(|line| line.split("   ").next().unwrap().split(", "))
            .map(str::trim)
            .collect();
        let expected = ["0", "1", "2", "3", "4", "5", "6", "99", "130", "143"];
        assert_eq!(listed, expected);
    }
}

#[test]
fn the_help_of_each_command_has_an_example() {
    let place = Place::new("examples");
    for command in COMMANDS {
        for form in ["--help", "-h"] {
            let help = place.program(&format!("{command} {form}")).ends(0).stdout;
            let (_, examples) = help
                .split_once("Example")
                .unwrap_or_else(|| panic!("no example: {help}"));
            assert!(
                examples.contains(&format!("answerlake {command}")),
                "{help}"
            );
        }
    }
}

#[test]
fn the_help_of_run_names_every_setting_with_its_variable() {
    let place = Place::new("settings-help");
    let help = place.program("run --help").ends(0).stdout;
    for flag in [
        "--host",
        "--token-file",
        "--window",
        "--rate-per-minute",
        "--lake",
        "--scratch",
    ] {
        assert!(help.contains(flag), "{flag}: {help}");
        let variable = format!("ANSWERLAKE_{}", flag[2..].replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable}: {help}");
    }
}

#[test]
fn completions_know_the_commands_and_settings() {
    let place = Place::new("completions");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place
            .program(&format!("completions {shell}"))
            .ends(0)
            .stdout;
        for word in ["ingest", "completions", "poll-min", "result-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = place.write("script", place.program("completions bash").ends(0).stdout);
    let completed = std::process::Command::new("bash")
        .args(["-c", "source \"$1\"; COMP_WORDS=(answerlake ru); COMP_CWORD=1; _answerlake answerlake ru; echo \"${COMPREPLY[@]}\"", "bash", &script])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&completed.stdout),
        "run\n",
        "{completed:?}"
    );
    let outcome = place.program("completions tcsh").ends(2);
    assert!(outcome.stderr.contains("elvish"), "{outcome:?}");
}

#[test]
fn the_version_is_the_packages() {
    let place = Place::new("version");
    let version = place.program("--version").ends(0).stdout;
    assert_eq!(
        version,
        format!("answerlake {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_schema_names_the_columns_that_the_lake_has() {
    let place = Place::new("schema");
    let fixture = crate::support::repository("tests/fixtures/export.json");
    let click = place.write(
        "click.json",
        r#"[{"_id":"c","event":"citationClick","botId":"st-1","createdOn":"2025-06-28T00:00:00.000Z"}]"#,
    );
    place.ingest(&[fixture.to_str().unwrap(), &click]).result();
    let schema = place.program("schema --output json").ends(0).json();
    assert_eq!(schema["schema_version"], 1);
    let tables: Vec<&str> = schema["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["table"].as_str().unwrap())
        .collect();
    assert_eq!(tables, TABLES);
    for table in schema["tables"].as_array().unwrap() {
        let columns = table["columns"].as_array().unwrap();
        let mut names: Vec<&str> = columns
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        let row = truth::comparable(&place.lake().rows(table["table"].as_str().unwrap())[0]);
        let mut in_lake: Vec<&str> = row.keys().map(String::as_str).collect();
        if names.contains(&"extra") {
            in_lake.push("extra");
        }
        in_lake.sort_unstable();
        assert_eq!(names, in_lake, "{}", table["table"]);
        let shown = place
            .program(&format!("schema {}", table["table"].as_str().unwrap()))
            .ends(0)
            .stdout;
        for name in names {
            assert!(shown.contains(&format!("  {name} ")), "{name}: {shown}");
        }
    }
    let outcome = place.program("schema no_such_table").ends(2);
    assert!(outcome.stderr.contains("no_such_table") && outcome.stderr.contains("llm_calls"));
}

#[test]
fn emulate_writes_fragments_that_ingest_takes() {
    let place = Place::new("write");
    let folder = place.path("fragments");
    let write = |seed: &str| {
        place
            .program("emulate --from 2025-06-02 --to 2025-06-04 --records 40 --text-scale 0.02 --pool 50")
            .with("--write", folder.to_str().unwrap())
            .with("--seed", seed)
            .ends(0)
            .stdout
    };
    let said = write("7");
    assert!(said.contains("1 fragments, 40 records"), "{said}");
    let path = folder.join("fragment_00001.json");
    let first = std::fs::read(&path).unwrap();
    let records: Vec<Value> = serde_json::from_slice(&first).unwrap();
    assert_eq!(records.len(), 40);
    place.ingest(&[folder.to_str().unwrap()]).result();
    place.lake().assert_whole();
    truth::assert_holds(&place.lake(), &records);

    write("7");
    assert!(
        std::fs::read(&path).unwrap() == first,
        "the same seed, the same bytes"
    );
    write("8");
    assert!(
        std::fs::read(&path).unwrap() != first,
        "another seed, other bytes"
    );
}

/// A program that runs until the test is over, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Pastes lines into a shell in the folder of `place`.
fn pasted(place: &Place, lines: &str) -> String {
    let mut shell = Command::new("bash");
    shell.env_clear().args(["-euc", lines]);
    let program = place.program("");
    for (name, value) in program.command().get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    // `python3` is the one with DuckDB.
    let path = format!(
        "{}:{}",
        python().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let folder = place.path("");
    let output = shell
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{lines}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_emulate_prints_runs_as_pasted() {
    let place = Place::new("pasted");
    let mut emulator = place
        .program("emulate --port 0 --from 2025-06-02 --to 2025-06-04 --records-per-day 20")
        .with("--text-scale", "0.02")
        .with("--pool", "50")
        .command()
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let printed = BufReader::new(emulator.0.stdout.take().unwrap());
    let mut lines = Vec::new();
    for line in printed.lines() {
        let line = line.unwrap();
        let is_last = line.contains("run pipeline.toml");
        if line.starts_with("export ") || line.contains("answerlake ") {
            lines.push(line);
        }
        if is_last {
            break;
        }
    }
    let said = pasted(&place, &lines.join("\n"));
    assert!(said.starts_with("ok, "), "{said}");
    assert!(said.contains("partitions: 2 committed"), "{said}");
    assert!(said.contains("Wrote `pipeline.toml`"), "{said}");
    assert!(said.contains("\nnothing to do, "), "{said}");
    place.lake().assert_whole();
    assert_eq!(place.lake().days().len(), 2);
}

/// The file of faults that the help shows is served from, and runs against it end in the records all the same.
#[test]
fn the_faults_of_the_help_can_be_rehearsed() {
    let place = Place::new("rehearsed");
    let help = place.program("emulate --help").ends(0).stdout;
    // As it stands there, on a terminal that is not wide.
    let (_, example) = help.split_once("seed = 7").unwrap();
    let faults = format!("seed = 7{example}");
    let quick: Vec<&str> = faults
        .split("\n\n")
        .filter(|fault| {
            ![
                "rate_limit",
                "job_failed",
                "no_answer",
                "late_feedback",
                "earlier_records",
                "repeat_record",
            ]
            .iter()
            .any(|kind| fault.contains(&format!("\"{kind}")))
        })
        .filter(|fault| !fault.contains("500"))
        .collect();
    assert!(quick.len() > 25, "{faults}");
    let whole = place.write("whole.toml", &faults);
    let file = place.write("faults.toml", quick.join("\n\n"));
    let serve = |file: &str| {
        place
            .program("emulate --port 0 --from 2025-06-02 --to 2025-06-06 --records-per-day 20 --text-scale 0.02")
            .with("--faults", file)
            .command()
            .stdout(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap()
    };
    let read = |emulator: &mut Running| {
        let mut printed = BufReader::new(emulator.0.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("run pipeline.toml") {
            assert!(printed.read_line(&mut said).unwrap() > 0, "{said}");
        }
        (printed, said)
    };
    let mut emulator = serve(&whole);
    let (_, said) = read(&mut emulator);
    assert!(
        said.contains(&format!("{} faults", faults.matches("[[fault]]").count())),
        "{said}"
    );

    let mut emulator = serve(&file);
    let (mut printed, said) = read(&mut emulator);
    let exports = said
        .lines()
        .filter(|line| line.starts_with("export ") || line.contains("run --lake"));
    let ran = pasted(&place, &exports.collect::<Vec<_>>().join("\n"));
    assert!(ran.contains("partitions: 4 committed"), "{ran}");
    place.lake().assert_whole();
    let id = emulator.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    printed.read_to_string(&mut rest).unwrap();
    let (_, met) = rest.split_once("Faults met: ").unwrap();
    assert!(
        met.contains("redirect_links") || met.contains("gzip"),
        "{rest}"
    );
    let unknown = place.write(
        "unknown.toml",
        "[[fault]]\non = \"job\"\nkind = \"html\"\nnht = 1\n",
    );
    let refused = place.program("emulate").with("--faults", &unknown).ends(2);
    assert!(
        refused.stderr.contains("line 4: unknown field `nht`"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_demo_runs_and_a_second_one_finds_nothing_to_do() {
    let place = Place::new("demo");
    let program = place
        .program("demo demo --weeks 1 --records-per-day 5")
        .with("--log", "warn");
    let first = program.ends(0);
    assert!(first.stdout.contains("35 records"), "{}", first.stdout);
    assert_eq!(first.stderr, "");
    let query = first
        .stdout
        .lines()
        .find(|line| line.contains("python3 -c"));
    let answer = pasted(&place, query.unwrap());
    assert!(answer.contains("2025-06-08 │       5"), "{answer}");
    let lake = crate::support::Lake::new(place.path("demo/lake"));
    lake.assert_whole();
    assert_eq!(lake.days().len(), 7);
    let before = lake.stamps();
    let second = program.ends(0);
    assert!(second.stdout.contains("Nothing to do"), "{}", second.stdout);
    assert_eq!(lake.stamps(), before);
    let counts = lake.counts();
    assert_eq!(
        counts["queries"] + counts["feedback"] + counts["events"],
        35
    );
    place.assert_scratch_is_empty();
    assert_eq!(json!(counts["answers"]), json!(counts["llm_calls"]));
}
