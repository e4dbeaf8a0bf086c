//! Fragment bytes to record batches: delimited, read, flattened.

use std::hint::black_box;
use std::time::Instant;

use answerlake_transform::{AppAssignment, DecodeConfig, DecodedBlock, Decoder};

use crate::data::Input;
use crate::measure::{Measured, Sample};

pub(crate) fn measure(input: &Input) -> Measured {
    measure_all(&input.read())
}

/// Measures the decoding of all fragments, each time.
pub(crate) fn measure_all(fragments: &[Vec<u8>]) -> Measured {
    measure_all_as(fragments, &DecodeConfig::new(AppAssignment::FromRecords))
}

/// The same, with other settings.
pub(crate) fn measure_all_as(fragments: &[Vec<u8>], config: &DecodeConfig) -> Measured {
    Measured::take(|| {
        let began = Instant::now();
        let mut rows = 0;
        for block in decode_as(fragments, config.clone()) {
            rows += rows_of(black_box(&block));
        }
        Sample {
            time: began.elapsed(),
            rows,
            peak: None,
        }
    })
}

/// Decodes the fragments, a block at a time.
pub(crate) fn decode(fragments: &[Vec<u8>]) -> impl Iterator<Item = DecodedBlock> {
    decode_as(fragments, DecodeConfig::new(AppAssignment::FromRecords))
}

fn decode_as(fragments: &[Vec<u8>], config: DecodeConfig) -> impl Iterator<Item = DecodedBlock> {
    let decoder = Decoder::new(config);
    let mut fragments = fragments.iter().zip(1..);
    let mut reading = None;
    std::iter::from_fn(move || {
        loop {
            let (blocks, number) = match &mut reading {
                Some(reading) => reading,
                None => {
                    let (bytes, number) = fragments.next()?;
                    reading.insert((decoder.blocks(bytes.as_slice()), number))
                }
            };
            match blocks.next() {
                Some(block) => return Some(decoder.decode(block.unwrap(), *number)),
                None => reading = None,
            }
        }
    })
}

/// The rows of all tables of a block.
pub(crate) fn rows_of(block: &DecodedBlock) -> u64 {
    let batches = block.partitions.iter().flat_map(|rows| rows.batches.iter());
    batches
        .filter_map(|(_, batch)| Some(batch.as_ref()?.num_rows() as u64))
        .sum()
}
