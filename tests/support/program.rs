//! A folder of a test, and the program run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::Lake;

/// A folder of one test: a lake, scratch, and whatever else it needs.
pub(crate) struct Place(TempDir);

/// A command line, not run yet: a flag given again replaces what was given before.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    arguments: Vec<String>,
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
}

/// The most that a process had at any moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peaks {
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Files, pipes and sockets.
    pub(crate) open_files: usize,
}

/// How a run ended and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("answerlake-test-{name}-"))
            .tempdir()
            .unwrap();
        let place = Self(folder);
        std::fs::create_dir(place.scratch()).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.path("scratch")
    }

    pub(crate) fn lake(&self) -> Lake {
        self.lake_named("lake")
    }

    pub(crate) fn lake_named(&self, name: &str) -> Lake {
        Lake::new(self.path(name))
    }

    /// Writes a file; gives its path as an argument.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program with its first arguments, in an environment of its own: nothing that is set around the tests, the
    /// program's own variables, an orchestrator's or a proxy, reaches it.
    pub(crate) fn program(&self, arguments: &str) -> Program {
        let home = self.0.path().to_str().unwrap().to_owned();
        let temporary = self.scratch().to_str().unwrap().to_owned();
        Program {
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            flags: BTreeMap::new(),
            environment: BTreeMap::from([
                ("HOME".to_owned(), home),
                ("TMPDIR".to_owned(), temporary),
                ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
            ]),
            folder: self.0.path().to_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn assert_scratch_is_empty(&self) {
        let left: Vec<_> = super::files_below(&self.scratch());
        let folders = std::fs::read_dir(self.scratch()).unwrap().count();
        assert_eq!(
            (left, folders),
            (Vec::new(), 0),
            "something is left in scratch"
        );
    }
}

impl Program {
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// The same settings for another command than `run`.
    pub(crate) fn instead_of_run(mut self, command: &str) -> Self {
        assert_eq!(self.arguments.first().map(String::as_str), Some("run"));
        let words = command.split_whitespace().map(str::to_owned);
        self.arguments.splice(..1, words);
        self
    }

    pub(crate) fn with(mut self, flag: &str, value: &str) -> Self {
        self.flags.insert(flag.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without(mut self, flag: &str) -> Self {
        assert!(self.flags.remove(flag).is_some(), "{flag} was not given");
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without_environment(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// The same, with a ready token in place of client id and secret.
    pub(crate) fn with_token(self, token: &str) -> Self {
        self.without_environment("ANSWERLAKE_CLIENT_ID")
            .without_environment("ANSWERLAKE_CLIENT_SECRET")
            .environment("ANSWERLAKE_TOKEN", token)
    }

    pub(crate) fn into_lake(self, lake: &Lake) -> Self {
        self.with("--lake", &lake.url())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_answerlake"));
        command
            .env_clear()
            .envs(&self.environment)
            .current_dir(&self.folder);
        command.args(&self.arguments);
        for (flag, value) in &self.flags {
            command.args([flag, value]);
        }
        command
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.command().output().unwrap().into()
    }

    /// Runs it; gives the most that it had of memory and of open files as well.
    pub(crate) fn outcome_and_peaks(&self) -> (Outcome, Peaks) {
        let mut command = self.command();
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let has_ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut peaks = Peaks::default();
                while !has_ended.load(Ordering::Relaxed) {
                    // The system keeps the peak, so that only what comes in the last moment can be missed.
                    let text = std::fs::read_to_string(process.join("status")).unwrap_or_default();
                    peaks.memory = peak_memory(&text).unwrap_or(peaks.memory);
                    let open = std::fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
                    peaks.open_files = peaks.open_files.max(open);
                    std::thread::sleep(Duration::from_millis(5));
                }
                peaks
            });
            let outcome = Outcome::from(child.wait_with_output().unwrap());
            has_ended.store(true, Ordering::Relaxed);
            let peaks = watch.join().unwrap();
            assert!(peaks.memory > 0 && peaks.open_files > 0, "{peaks:?}");
            (outcome, peaks)
        })
    }

    /// Runs it; it must end with `code`.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> Outcome {
        let outcome = self.outcome();
        assert_eq!(
            outcome.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            outcome.stdout,
            outcome.stderr
        );
        outcome
    }

    /// Runs it; it must end well and give a result in JSON.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        self.ends(0).json()
    }

    /// Runs it; it must end with `code` and say in its JSON result that it failed, why, and whether to try again.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32) -> Failure {
        let outcome = self.ends(code);
        assert_eq!(outcome.json()["status"], "failed", "{outcome:?}");
        outcome.failure()
    }
}

/// The peak in what the system says of a process, in bytes.
fn peak_memory(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// What a result says of its failure.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: String,
    /// What to do about it; empty where the error says it.
    pub(crate) hint: String,
    pub(crate) retryable: bool,
}

impl Failure {
    #[track_caller]
    pub(crate) fn assert_says(&self, parts: &[&str]) {
        for part in parts {
            let says = self.error.contains(part) || self.hint.contains(part);
            assert!(says, "`{part}` is not in {self:?}");
        }
    }
}

/// All error texts of a result, of the run and of its partitions, each once.
pub(crate) fn error_of(result: &Value) -> String {
    let partitions = result["partitions"].as_array().into_iter().flatten();
    let mut errors: Vec<&str> = partitions
        .map(|partition| &partition["error"])
        .chain([&result["error"]])
        .filter_map(Value::as_str)
        .collect();
    errors.dedup();
    errors.join("\n")
}

impl Outcome {
    /// The last line of stdout, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let line = self.stdout.lines().next_back().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// What its result says of the failure.
    #[track_caller]
    pub(crate) fn failure(&self) -> Failure {
        let result = self.json();
        let error = error_of(&result);
        assert!(!error.is_empty(), "no error text: {result}");
        let retryable = result["retryable"].as_bool();
        Failure {
            error,
            hint: result["hint"].as_str().unwrap_or_default().to_owned(),
            retryable: retryable.unwrap_or_else(|| panic!("`retryable` is no bool: {result}")),
        }
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The path of something of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The Python that `make test` prepares.
pub(crate) fn python() -> PathBuf {
    let python = std::env::var_os("ANSWERLAKE_TEST_PYTHON")
        .map_or_else(|| repository("target/venv/bin/python"), PathBuf::from);
    assert!(
        python.is_file(),
        "{} is missing: run `make test`, which prepares it, or set ANSWERLAKE_TEST_PYTHON",
        python.display()
    );
    python
}
