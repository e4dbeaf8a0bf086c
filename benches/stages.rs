//! The stages of the hot path, one thread each, on seeded fragments of named sizes.
//!
//! `cargo bench --bench stages` prints a table: time a run, and bytes of JSON a second.

use std::path::Path;
use std::sync::Arc;

use answerlake_emulator::{DataConfig, write_fragments};
use answerlake_load::{PartitionedWriter, WriterConfig, WriterMemory};
use answerlake_model::Grain;
use answerlake_transform::frame::BlockReader;
use answerlake_transform::schema::table_schemas;
use answerlake_transform::{
    AppAssignment, DecodeConfig, DecodedBlock, Decoder, PromptLayout, SCHEMA_VERSION,
};
use divan::Bencher;
use divan::counter::BytesCount;
use rayon::ThreadPoolBuilder;
use tempfile::TempDir;

fn main() {
    // One thread, so that figures of stages can be compared and added.
    ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("no pool was started before");
    divan::main();
}

/// Named inputs: how many records of a day, and whether they are indented.
const INPUTS: [(&str, u32, bool); 3] = [
    ("small", 30, true),
    ("day", 300, true),
    ("day-compact", 300, false),
];

/// The bytes of one day's fragments.
fn fragments(input: &str) -> Vec<Vec<u8>> {
    let (_, records_per_day, pretty) = INPUTS
        .into_iter()
        .find(|(name, ..)| *name == input)
        .expect("it is named above");
    let folder = TempDir::new().expect("a folder for the input");
    let from = DataConfig::default().from;
    let data = DataConfig {
        records_per_day,
        pretty,
        from,
        to: from + chrono::TimeDelta::days(1),
        ..DataConfig::default()
    };
    write_fragments(&data, "st-1", 150, folder.path()).expect("the input is written");
    let mut paths: Vec<_> = folder
        .path()
        .read_dir()
        .expect("the folder is there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path: &std::path::PathBuf| std::fs::read(path as &Path).expect("it was just written"))
        .collect()
}

fn total(fragments: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(fragments.iter().map(Vec::len).sum::<usize>())
}

fn decoder() -> Decoder {
    Decoder::new(DecodeConfig {
        app: AppAssignment::FromRecords,
        window: None,
        grain: Grain::Day,
        prompt: PromptLayout::Parts,
        max_record_bytes: DecodeConfig::DEFAULT_MAX_RECORD_BYTES,
    })
}

fn decode(fragments: &[Vec<u8>]) -> Vec<DecodedBlock> {
    let decoder = decoder();
    let blocks = fragments.iter().zip(1..).flat_map(|(bytes, number)| {
        BlockReader::new(bytes.as_slice())
            .map(move |block| (block.expect("the input is well formed"), number))
    });
    blocks
        .map(|(block, number)| decoder.decode(block, number))
        .collect()
}

/// Delimiting records.
#[divan::bench(args = INPUTS.map(|(name, ..)| name))]
fn frame(bencher: Bencher<'_, '_>, input: &str) {
    let fragments = fragments(input);
    bencher.counter(total(&fragments)).bench(|| {
        fragments
            .iter()
            .map(|bytes| BlockReader::new(bytes.as_slice()).count())
            .sum::<usize>()
    });
}

/// Delimiting, reading and flattening, to record batches.
#[divan::bench(args = INPUTS.map(|(name, ..)| name))]
fn decode_and_flatten(bencher: Bencher<'_, '_>, input: &str) {
    let fragments = fragments(input);
    bencher
        .counter(total(&fragments))
        .bench(|| decode(&fragments));
}

/// Record batches to Parquet files.
#[divan::bench(args = INPUTS.map(|(name, ..)| name))]
fn write(bencher: Bencher<'_, '_>, input: &str) {
    let fragments = fragments(input);
    let blocks = decode(&fragments);
    let schemas = Arc::new(table_schemas(PromptLayout::Parts));
    bencher.counter(total(&fragments)).bench(|| {
        let folder = TempDir::new().expect("a folder for the files");
        let mut writer = PartitionedWriter::try_new(
            WriterConfig::default(),
            Arc::clone(&schemas),
            SCHEMA_VERSION,
            folder.path(),
            Arc::new(WriterMemory::new(u64::MAX)),
        )
        .expect("the settings are the defaults");
        for rows in blocks.iter().flat_map(|block| &block.partitions) {
            writer
                .write(&rows.key, &rows.batches)
                .expect("the batches have the tables' columns");
        }
        writer.close().expect("scratch has room")
    });
}
