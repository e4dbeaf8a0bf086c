//! Fragments with bytes changed anywhere: nothing panics, nothing runs on, and no record is lost in silence.

use std::io::{self, Read};

use answerlake_model::Window;
use answerlake_transform::{DecodeConfig, Decoder, FragmentError, PromptLayout, Raw};
use chrono::TimeDelta;
use proptest::prelude::*;

use crate::any_json::{json, scalar};
use crate::choices::{Choices, Noise, bytes, config as cases};
use crate::documented::{mutate, records};
use crate::json::Json;
use crate::round_trip::config;

/// What came out of a fragment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    delimited: u64,
    decoded: u64,
    loaded: u64,
    dead_letters: u64,
    margin: u64,
    strays: u64,
    failed: bool,
}

/// A fragment of a few records, in each form that is accepted.
fn fragment(choices: &mut Choices<'_>) -> Vec<u8> {
    let count = choices.below(5);
    let records: Vec<String> = (0..count)
        .map(|_| {
            let mut record = records().swap_remove(choices.below(4));
            for _ in 0..choices.below(3) {
                mutate(&mut record, choices);
            }
            record.to_string()
        })
        .collect();
    match choices.below(6) {
        0 => records.join("\n"),
        1 => format!(
            "{{\"total\":{count},\"data\":[{}],\"next\":null}}",
            records.join(",")
        ),
        2 => format!("\u{feff}[{}]\n", records.join(" ,\n")),
        _ => format!("[{}]", records.join(",")),
    }
    .into_bytes()
}

/// Changes some bytes: as a bad disk, a hand, or someone of ill will would.
fn damage(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    const BYTES: &[u8] = b"\"\\{}[],:0-e.tn \n\x00\x1f\x80\xc3\xed\xff";
    for _ in 0..choices.below(5) {
        let at = choices.below(bytes.len() + 1);
        let end = (at + choices.below(9)).min(bytes.len());
        match choices.below(10) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, choices.of(BYTES)),
            2 if at < bytes.len() => bytes[at] = choices.of(BYTES),
            3 if at < bytes.len() => bytes[at] ^= 1 << choices.below(8),
            4 if choices.once_in(4) => bytes.truncate(at),
            5 => {
                // A piece of it, somewhere else.
                let end = (at + choices.below(2000)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = choices.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            6 => {
                let text = match choices.below(3) {
                    0 => format!(",{}", scalar(choices)),
                    1 => format!("{},", json(choices, 3)),
                    _ => ["NaN", ",,", "][", "}{", "[[", "\"\"", "undefined"][choices.below(7)]
                        .to_owned(),
                };
                bytes.splice(at..at, text.into_bytes());
            }
            7 => {
                let run = vec![choices.of(BYTES); choices.below(300)];
                bytes.splice(at..at, run);
            }
            8 => {
                // Just where elements begin and end.
                let brackets: Vec<usize> = (0..bytes.len())
                    .filter(|at| b"{}[],\"".contains(&bytes[*at]))
                    .collect();
                if !brackets.is_empty() {
                    let at = brackets[choices.below(brackets.len())];
                    bytes[at] = choices.of(BYTES);
                }
            }
            9 if choices.once_in(8) => bytes.rotate_left(at),
            _ => {}
        }
    }
}

/// Gives a few bytes at a time.
struct Trickle<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.most);
        self.bytes.read(&mut buffer[..most])
    }
}

/// Decodes a fragment, and holds what comes out against what went in.
fn decode(bytes: &[u8], choices: &mut Choices<'_>) -> Result<Tally, String> {
    let window = Window::try_new(
        "2025-06-28T10:19:20Z".parse().unwrap(),
        "2025-06-28T11:00:00Z".parse().unwrap(),
    );
    let config = DecodeConfig {
        window: choices
            .once_in(3)
            .then(|| (window.unwrap(), TimeDelta::hours(1))),
        max_record_bytes: choices.of(&[usize::MAX, usize::MAX, 3000, 400, 1]),
        ..config(choices.of(&[PromptLayout::Parts, PromptLayout::Text]))
    };
    let max_record_bytes = config.max_record_bytes;
    let source = Trickle {
        bytes,
        most: choices.of(&[usize::MAX, 700, 64, 1]),
    };
    let decoder = Decoder::new(config);
    let mut tally = Tally::default();
    let mut numbers = Vec::new();
    let mut failure = None;
    for block in decoder.blocks(source) {
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        if block.records_before != tally.delimited {
            return Err(format!("a block begins at {}", block.records_before));
        }
        tally.delimited += block.record_count();
        let block = decoder.decode(block, 1);
        tally.decoded += block.decoded;
        tally.margin += block.margin;
        tally.strays += block.strays.len() as u64;
        tally.dead_letters += block.dead_letters.len() as u64;
        for letter in &block.dead_letters {
            numbers.push(letter.record);
            if let Raw::Fragment(large) = letter.raw {
                let range = large.at as usize..(large.at + large.bytes) as usize;
                let raw = bytes
                    .get(range)
                    .ok_or("a large record ends after its fragment")?;
                if raw.len() <= max_record_bytes
                    || large.is_utf8 != std::str::from_utf8(raw).is_ok()
                {
                    return Err(format!("not too large: {large:?}"));
                }
            }
        }
        for rows in &block.partitions {
            tally.loaded += rows.records.len() as u64;
            numbers.extend(rows.records.iter().map(|record| record.record));
        }
        if tally.delimited > bytes.len() as u64 {
            return Err("more records than bytes".to_owned());
        }
    }
    numbers.sort_unstable();
    let are_distinct = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    let are_all = tally.margin + tally.strays + numbers.len() as u64 == tally.delimited;
    if !are_distinct || !are_all || tally.decoded != tally.delimited {
        return Err(format!("{tally:?}, of records {numbers:?}"));
    }
    tally.failed = failure.is_some();
    check_against_json(bytes, &tally, failure.as_ref())?;
    Ok(tally)
}

/// Whatever is an array of JSON is taken as one, and has as many records as elements.
fn check_against_json(
    bytes: &[u8],
    tally: &Tally,
    failure: Option<&FragmentError>,
) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).ok();
    match text.map(Json::parse) {
        Some(Ok(Json::Array(elements))) if elements.len() as u64 != tally.delimited => {
            Err(format!(
                "expected {} records, got {tally:?}, {failure:?}",
                elements.len()
            ))
        }
        Some(Ok(Json::Array(_))) if failure.is_some() => Err(format!("{failure:?}")),
        _ => Ok(()),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_bytes_lose_a_record_in_silence(bytes in bytes(500)) {
        let mut choices = Choices::new(&bytes);
        let mut fragment = fragment(&mut choices);
        damage(&mut fragment, &mut choices);
        if let Err(what) = decode(&fragment, &mut choices) {
            return Err(TestCaseError::fail(format!("{what}\n{}", String::from_utf8_lossy(&fragment))));
        }
    }

    /// Not even from a fragment that never was one.
    #[test]
    fn no_noise_is_a_fault(bytes in bytes(300), seed in any::<[u8; 8]>()) {
        let outcome = decode(&bytes, &mut Choices::new(&seed));
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
    }
}

#[test]
fn damage_leads_everywhere() {
    let mut noise = Noise(13);
    let mut sum = Tally::default();
    let mut failed = 0;
    for _ in 0..2000 {
        let bytes: Vec<u8> = noise.by_ref().take(300).collect();
        let mut choices = Choices::new(&bytes);
        let mut fragment = fragment(&mut choices);
        damage(&mut fragment, &mut choices);
        let tally = decode(&fragment, &mut choices).unwrap();
        sum.loaded += tally.loaded;
        sum.dead_letters += tally.dead_letters;
        sum.margin += tally.margin;
        sum.strays += tally.strays;
        failed += u64::from(tally.failed);
    }
    for count in [sum.loaded, sum.dead_letters, sum.margin, sum.strays, failed] {
        assert!(count > 20, "{sum:?}, {failed} fragments failed");
    }
}
