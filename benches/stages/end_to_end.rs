//! Fragments on disk to a committed lake: `answerlake ingest`, in a process of its own.

use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::data::{Input, target};
use crate::measure::{Measured, Sample};

pub(crate) fn measure(input: &Input) -> Measured {
    Measured::take(|| ingest(input))
}

fn ingest(input: &Input) -> Sample {
    let place = TempDir::new_in(target()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_answerlake"));
    command
        .env_clear()
        .arg("ingest")
        .arg(&input.folder)
        .arg("--lake")
        .arg(place.path().join("lake"))
        .arg("--scratch")
        .arg(place.path())
        .args(["--output", "json", "--log", "error"])
        .stdout(Stdio::piped());
    let began = Instant::now();
    let child = command.spawn().unwrap();
    let peak = watch_peak(child.id());
    let output = child.wait_with_output().unwrap();
    let time = began.elapsed();
    assert!(output.status.success(), "{:?}", output.status);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = result["totals"]["rows"].as_object().unwrap();
    Sample {
        time,
        rows: rows.values().map(|rows| rows.as_u64().unwrap()).sum(),
        peak: peak(),
    }
}

/// Watches the most memory that a process has had; what is returned ends the watch and tells it. The system keeps the
/// mark, so that only what comes between the last look and the end is missed; only Linux tells it at all.
fn watch_peak(process: u32) -> impl FnOnce() -> Option<u64> {
    let status = format!("/proc/{process}/status");
    let (end, ended) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let mut peak = None;
        while ended.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kibibytes = mark.and_then(|mark| mark.trim().strip_suffix(" kB")?.parse().ok());
            peak = kibibytes.map(|kibibytes: u64| kibibytes * 1024).or(peak);
        }
        peak
    });
    move || {
        drop(end);
        watcher.join().unwrap()
    }
}
