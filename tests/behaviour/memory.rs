//! `DESIGN.md`: peak memory is at most `run.memory` plus 64 MiB, whatever the input; and the lake is the same whatever
//! the memory.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use answerlake_emulator::{DataConfig, write_fragments};
use chrono::TimeDelta;

use crate::support::{Lake, Place, Program, Source, time};

const MIB: u64 = 1 << 20;

/// Writers open 256 at most; beside them stand scratch, fragments and what the program itself has.
const OPEN_FILES: usize = 320;

/// Runs it within `memory_mib`, which must do; gives the lake, and prints what it took.
#[expect(clippy::print_stdout, reason = "what it took is worth seeing")]
#[track_caller]
fn within(program: &Program, lake: Lake, memory_mib: u64) -> Lake {
    let began = Instant::now();
    let (outcome, peaks) = program
        .clone()
        .into_lake(&lake)
        .with("--memory", &format!("{memory_mib}MiB"))
        .outcome_and_peaks();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.json()["status"], "ok", "{outcome:?}");
    let (mib, open_files) = (peaks.memory / MIB, peaks.open_files);
    println!("--memory {memory_mib}MiB: {seconds:.1} s, peak {mib} MiB, {open_files} open files");
    assert!(
        peaks.memory <= (memory_mib + 64) * MIB,
        "--memory {memory_mib}MiB took {mib} MiB"
    );
    assert!(open_files <= OPEN_FILES, "{open_files} open files");
    lake.assert_whole();
    lake
}

/// Writes fragments of `records` emulated records, over so many days; gives their bytes.
fn fragments(folder: &Path, records: u32, days: u32, text_scale: f64) -> u64 {
    let from = time("2025-06-02T00:00:00Z");
    let data = DataConfig {
        from,
        to: from + TimeDelta::days(i64::from(days)),
        records_per_day: records / days,
        text_scale,
        ..DataConfig::default()
    };
    write_fragments(&data, "st-1", 150, folder).unwrap().bytes
}

/// Writes fragments of feedback, each record some 220 bytes.
fn feedback(folder: &Path, records: u32) {
    const FRAGMENT_RECORDS: u32 = 100_000;
    std::fs::create_dir(folder).unwrap();
    for first in (0..records).step_by(FRAGMENT_RECORDS as usize) {
        let mut text = String::from("[");
        for record in first..records.min(first + FRAGMENT_RECORDS) {
            let (id, day, hour) = (
                u64::from(record).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                2 + record % 7,
                record % 24,
            );
            let comma = if record == first { "" } else { "," };
            write!(
                text,
                r#"{comma}{{"_id":"fb-{id:016x}","event":"thumbsUp","searchRequestId":"fs-{id:016x}","createdOn":"2025-06-0{day}T{hour:02}:00:00.000Z","query":"question {}","comments":{{"tags":["good"]}}}}"#,
                record % 1000
            )
            .unwrap();
        }
        text.push(']');
        std::fs::write(folder.join(format!("fragment_{first:08}.json")), text).unwrap();
    }
}

#[test]
fn little_memory_gives_the_same_lake() {
    let place = Place::new("memory");
    let folder = place.path("fragments");
    let bytes = fragments(&folder, 900, 9, 0.7);
    assert!(bytes > 100_000_000, "{bytes}");
    // 216 partitions, over a thousand files.
    let ingest = place
        .ingest(&[folder.to_str().unwrap()])
        .with("--grain", "hour");
    let little = within(&ingest, place.lake_named("little"), 192);
    let much = within(&ingest, place.lake_named("much"), 2048);
    assert_eq!(little.digests(), much.digests());
    assert_eq!(little.data_files(), much.data_files());
    place.assert_scratch_is_empty();
}

#[test]
fn many_small_records_take_no_more_memory() {
    let place = Place::new("many-small");
    let folder = place.path("fragments");
    feedback(&folder, 300_000);
    let ingest = place
        .ingest(&[folder.to_str().unwrap()])
        .with("--app-id", "st-1");
    let little = within(&ingest, place.lake_named("little"), 192);
    let much = within(&ingest, place.lake_named("much"), 2048);
    assert_eq!(little.digests(), much.digests());
    assert_eq!(little.data_files(), much.data_files());
}

#[test]
#[ignore = "minutes where nothing is optimised: `make long`"]
fn a_partition_of_a_thousand_fragments_takes_no_more_memory_or_files() {
    let place = Place::new("thousand-fragments");
    let folder = place.path("fragments");
    std::fs::create_dir(&folder).unwrap();
    for fragment in 0..1000_u64 {
        let records: Vec<_> = (0..150)
            .map(|record| {
                let id = (fragment * 150 + record).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                format!(
                    r#"{{"_id":"f-{id:016x}","event":"thumbsUp","botId":"st-1","createdOn":"2025-06-02T{:02}:00:00.000Z","query":"{}"}}"#,
                    record % 24,
                    "why ".repeat(50)
                )
            })
            .collect();
        let text = format!("[{}]", records.join(","));
        std::fs::write(folder.join(format!("fragment_{fragment:04}.json")), text).unwrap();
    }
    let ingest = place.ingest(&[folder.to_str().unwrap()]);
    let little = within(&ingest, place.lake_named("little"), 192);
    assert_eq!(little.manifests().len(), 1);
    assert_eq!(little.counts()["feedback"], 150_000);
    let much = within(&ingest, place.lake_named("much"), 2048);
    assert_eq!(little.data_files(), much.data_files());
    place.assert_scratch_is_empty();
}

#[test]
#[ignore = "gigabytes: `make long`"]
fn gigabytes_take_no_more_memory() {
    // A gigabyte over a week, and five over four weeks: more partitions, and more in each.
    for (records, days) in [(6_000, 7), (30_000, 28)] {
        let place = Place::new("gigabytes");
        let folder = place.path("fragments");
        let bytes = fragments(&folder, records, days, 1.0);
        println!("{:.2} GB over {days} days", bytes as f64 / 1e9);
        let ingest = place.ingest(&[folder.to_str().unwrap()]);
        let little = within(&ingest, place.lake_named("little"), 256);
        let much = within(&ingest, place.lake_named("much"), 2048);
        assert_eq!(little.digests(), much.digests());
        assert_eq!(little.data_files(), much.data_files());
    }
}

#[test]
#[ignore = "millions of records: `make long`"]
fn millions_of_records_take_no_more_memory() {
    let place = Place::new("millions");
    let folder = place.path("fragments");
    feedback(&folder, 5_000_000);
    let ingest = place
        .ingest(&[folder.to_str().unwrap()])
        .with("--app-id", "st-1");
    within(&ingest, place.lake(), 192);
}

#[test]
#[ignore = "a gigabyte through the source: `make long`"]
fn windows_at_once_share_the_memory() {
    let place = Place::new("windows-at-once");
    let source = Source::start(|config| {
        let from = time("2025-06-02T00:00:00Z");
        config.data = DataConfig {
            from,
            to: from + TimeDelta::days(24),
            records_per_day: 250,
            ..DataConfig::default()
        };
        config.fragment_records = 150;
    });
    let run = place
        .run(&source)
        .with("--window", "6d")
        .with("--jobs-concurrency", "4")
        .with("--fetch-concurrency", "8");
    let little = within(&run, place.lake_named("little"), 192);
    let much = within(&run.with("--window", "1d"), place.lake_named("much"), 2048);
    assert_eq!(little.digests(), much.digests());
    place.assert_scratch_is_empty();
}
