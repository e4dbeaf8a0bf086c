//! Fragments as files: the records of a range as a download of them would look.
//!
//! Each fragment is made by itself, a record at a time, so threads share the work and memory holds no more than the
//! corpus and a buffer a thread, whatever the size of the whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::json_writer::JsonWriter;
use super::{Dataset, Slot, Tally};
use crate::config::DataConfig;

const BUFFER_BYTES: usize = 1 << 20;

/// What [`write_fragments`] has written, in bytes, in records, and in the rows that the records hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Files written.
    pub fragments: usize,
    /// Records of all kinds.
    pub records: u64,
    /// Size of all files.
    pub bytes: u64,
    /// Records of searches.
    pub searches: u64,
    /// Records of ratings, up and down.
    pub feedback: u64,
    /// Records of any other event, or of none.
    pub other_events: u64,
    /// Elements of `answerDebug`.
    pub answers: u64,
    /// Chunks of all answers, generative and extractive.
    pub chunks: u64,
    /// Elements of `answerDebug` that have a `prompt` or an `llmResponse`, which all made here have.
    pub llm_calls: u64,
}

/// Writes all records of `data`, newest first, as `fragment_00001.json`, `fragment_00002.json` … into the folder
/// `out`, which is created where it does not exist.
///
/// A fragment holds `fragment_records` records, at least 1, the last one what remains; without records there is no
/// file. Files that stand there already are overwritten, others are left alone. The work is shared by as many
/// threads as there are cores; what is written does not depend on their number.
///
/// # Errors
///
/// Fails with what the file system says; files written until then stay.
pub fn write_fragments(
    data: &DataConfig,
    app_id: &str,
    fragment_records: usize,
    out: &Path,
) -> io::Result<Written> {
    std::fs::create_dir_all(out)?;
    let dataset = Dataset::new(data.clone(), app_id);
    let slots: Vec<Slot> = dataset
        .newest_first(dataset.from_ms, dataset.to_ms)
        .collect();
    let fragments: Vec<&[Slot]> = slots.chunks(fragment_records.max(1)).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);

    let results: Vec<io::Result<(Tally, u64)>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(fragments.len()))
            .map(|_| scope.spawn(|| write_next(&dataset, &fragments, &next, out)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a writer of fragments does not panic"))
            .collect()
    });

    let (mut tally, mut bytes) = (Tally::default(), 0);
    for result in results {
        let (worker_tally, worker_bytes) = result?;
        tally += worker_tally;
        bytes += worker_bytes;
    }
    Ok(Written {
        fragments: fragments.len(),
        records: slots.len() as u64,
        bytes,
        searches: tally.searches,
        feedback: tally.feedback,
        other_events: tally.other_events,
        answers: tally.answers,
        chunks: tally.chunks,
        llm_calls: tally.answers,
    })
}

/// Writes fragments until none is left that no other thread has taken.
fn write_next(
    dataset: &Dataset,
    fragments: &[&[Slot]],
    next: &AtomicUsize,
    out: &Path,
) -> io::Result<(Tally, u64)> {
    let (mut tally, mut bytes) = (Tally::default(), 0);
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(slots) = fragments.get(place) else {
            return Ok((tally, bytes));
        };
        let path = out.join(format!("fragment_{:05}.json", place + 1));
        bytes += write_fragment(dataset, slots, &path, &mut tally)?;
    }
}

fn write_fragment(
    dataset: &Dataset,
    slots: &[Slot],
    path: &Path,
    tally: &mut Tally,
) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let mut bytes = 0;
    let mut writer = JsonWriter::new(dataset.config.pretty);
    writer.begin_array();
    for &slot in slots {
        writer.element();
        dataset.write(slot, &mut writer, tally);
        if writer.buffer().len() >= BUFFER_BYTES {
            bytes += flush(&mut writer, &mut file)?;
        }
    }
    writer.end_array();
    bytes += flush(&mut writer, &mut file)?;
    Ok(bytes)
}

fn flush(writer: &mut JsonWriter, file: &mut File) -> io::Result<u64> {
    let buffer = writer.buffer();
    file.write_all(buffer)?;
    let bytes = buffer.len() as u64;
    buffer.clear();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::Value;

    use super::super::tests::{all, small};
    use super::*;

    #[test]
    fn files_hold_the_records_in_order_and_the_counts_are_true() {
        let folder = tempfile::tempdir().unwrap();
        let mut data = small();
        data.to = data.from + chrono::TimeDelta::days(1);
        data.pretty = true;
        let written = write_fragments(&data, "st-1", 150, folder.path()).unwrap();
        assert_eq!((written.fragments, written.records), (2, 300));

        let (mut records, mut bytes) = (Vec::new(), 0);
        for number in 1..=2 {
            let path = folder.path().join(format!("fragment_0000{number}.json"));
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.starts_with("[\n    {\n        \"_id\": \""));
            assert!(text.ends_with("\n    }\n]"));
            bytes += text.len() as u64;
            records.append(&mut serde_json::from_str::<Vec<Value>>(&text).unwrap());
        }
        assert_eq!(written.bytes, bytes);
        assert_eq!(records, all(&Dataset::new(data, "st-1")));

        let count = |test: fn(&Value) -> bool| {
            let found = records.iter().filter(|record| test(record)).count();
            found as u64
        };
        let searches = count(|record| record["event"] == "search");
        let feedback = count(|record| {
            record["event"]
                .as_str()
                .is_some_and(|event| event.starts_with("thumbs"))
        });
        assert_eq!((written.searches, written.feedback), (searches, feedback));
        assert_eq!(written.other_events, 300 - searches - feedback);
        let debugs: Vec<&Value> = records
            .iter()
            .flat_map(|record| record["answerDebug"].as_array().into_iter().flatten())
            .collect();
        assert_eq!(written.answers, debugs.len() as u64);
        let chunks = debugs.iter().map(|debug| {
            ["generativeChunks", "extractiveChunks"]
                .map(|key| debug[key].as_array().unwrap().len() as u64)
                .iter()
                .sum::<u64>()
        });
        assert_eq!(written.chunks, chunks.sum::<u64>());
    }

    #[test]
    fn no_records_give_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataConfig {
            records_per_day: 0,
            ..small()
        };
        let written = write_fragments(&data, "st-1", 150, folder.path()).unwrap();
        assert_eq!(written, Written::default());
    }

    /// Says how fast it is: `cargo test --release -p answerlake-emulator -- --ignored --nocapture speed`.
    #[test]
    #[ignore = "a measurement of a gigabyte, for release builds"]
    fn speed() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataConfig {
            records_per_day: 1_000,
            ..DataConfig::default()
        };
        let start = Instant::now();
        let written = write_fragments(&data, "st-1", 150, folder.path()).unwrap();
        let mib = written.bytes >> 20;
        println!("{written:?}: {mib} MiB in {:?}", start.elapsed());
    }
}
