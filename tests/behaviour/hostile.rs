//! Input made to exhaust memory: what it takes stays bounded, and nothing of it is lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::time::Instant;

use chrono::{NaiveDate, TimeDelta};
use serde_json::{Value, json};

use crate::support::{Lake, Place};

/// How much of each kind of hostile record there is.
struct Sizes {
    /// Bytes of the one large record, over the limit of 32 MiB.
    large: usize,
    /// Elements that are nothing but `0`, and as many that are nothing at all.
    tiny: usize,
    /// Days that have a record each that cannot be loaded, and then each another.
    days: usize,
}

const MEMORY: u64 = 192 << 20;
const MEMORY_BEYOND: u64 = 64 << 20;

#[test]
fn hostile_records_are_set_aside_in_bounded_memory() {
    hostile_records_are_set_aside(&Sizes {
        large: 90 << 20,
        tiny: 66_000,
        days: 100,
    });
}

#[test]
#[ignore = "hundreds of megabytes: `make long`"]
fn many_hostile_records_are_set_aside_in_bounded_memory() {
    hostile_records_are_set_aside(&Sizes {
        large: 300 << 20,
        tiny: 2_100_000,
        days: 2_000,
    });
}

#[expect(clippy::print_stdout, reason = "what it took is worth seeing")]
fn hostile_records_are_set_aside(sizes: &Sizes) {
    let place = Place::new("hostile");
    let large = large_text(sizes.large);
    let good = |id: &str| {
        format!(
            r#"{{"_id":"{id}","event":"thumbsUp","botId":"st-1","createdOn":"2025-06-28T10:00:00.000Z"}}"#
        )
    };
    // Too large as well, and no UTF-8: it is kept as base64.
    let broken = [&large.as_bytes()[..(33 << 20)], b"\xFF\""].concat();
    let path = place.path("fragment.json");
    let mut fragment = BufWriter::new(File::create(&path).unwrap());
    let mut write = |bytes: &[u8]| fragment.write_all(bytes).unwrap();
    write(format!("[{},{large},{},", good("a"), good("b")).as_bytes());
    write(&broken);
    write(&b",0".repeat(sizes.tiny));
    write(&b",".repeat(sizes.tiny));
    for _ in 0..2 {
        for day in days(sizes) {
            let record = format!(
                r#",{{"event":"thumbsUp","botId":"st-1","createdOn":"{day}T10:00:00.000Z"}}"#
            );
            write(record.as_bytes());
        }
    }
    write(format!(",{}]", good("c")).as_bytes());
    fragment.flush().unwrap();

    let began = Instant::now();
    let (outcome, peaks) = place
        .ingest(&[path.to_str().unwrap()])
        .with("--memory", "192MiB")
        .with("--threads", "2")
        .outcome_and_peaks();
    let peak = peaks.memory;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let dead_letters = 2 + 2 * sizes.tiny + 2 * sizes.days;
    let totals = &outcome.json()["totals"];
    assert_eq!(totals["decoded"], 3 + dead_letters);
    assert_eq!(totals["dead_letters"], dead_letters);
    let lake = place.lake();
    lake.assert_whole();
    let loaded = lake.rows("feedback");
    let loaded: Vec<_> = loaded.iter().map(|row| &row["feedback_id"]).collect();
    assert_eq!(loaded, [&json!("a"), &json!("b"), &json!("c")]);
    place.assert_scratch_is_empty();

    check_letters(&lake, sizes, &large, &broken);
    println!("{:?}, peak {} MiB", began.elapsed(), peak >> 20);
    assert!(peak <= MEMORY + MEMORY_BEYOND, "{} MiB", peak >> 20);
    let is_held = peak > sizes.large as u64;
    assert!(
        !is_held,
        "the large record was in memory: {} MiB",
        peak >> 20
    );
}

/// Checks that each hostile record stands whole in a dead letter.
fn check_letters(lake: &Lake, sizes: &Sizes, large: &str, broken: &[u8]) {
    let mut letters: BTreeMap<String, usize> = BTreeMap::new();
    let files = lake.files().into_iter();
    for file in files.filter(|file| file.starts_with("_answerlake/dead_letters/")) {
        let bytes = BufReader::new(File::open(lake.path(&file)).unwrap());
        let lines = BufReader::new(zstd::Decoder::with_buffer(bytes).unwrap());
        for line in lines.lines() {
            let letter: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let what = match letter["raw"].as_str() {
                Some("0") => "zero".to_owned(),
                Some("") => "nothing".to_owned(),
                Some(raw) if raw == large => "large".to_owned(),
                Some(raw) => {
                    let record: Value = serde_json::from_str(raw).unwrap();
                    let day = &record["createdOn"].as_str().unwrap()[..10];
                    assert!(file.contains(&format!("/dt={day}/")), "{file}: {raw}");
                    day.to_owned()
                }
                None => {
                    let encoded = letter["raw_base64"].as_str().unwrap();
                    assert!(base64(encoded) == broken);
                    "broken".to_owned()
                }
            };
            let is_large = ["large", "broken"].contains(&what.as_str());
            assert_eq!(letter["reason"] == "too_large", is_large, "{what}");
            *letters.entry(what).or_default() += 1;
        }
    }
    let mut expected: BTreeMap<String, usize> =
        days(sizes).map(|day| (day.to_string(), 2)).collect();
    expected.insert("zero".to_owned(), sizes.tiny);
    expected.insert("nothing".to_owned(), sizes.tiny);
    expected.insert("large".to_owned(), 1);
    expected.insert("broken".to_owned(), 1);
    assert_eq!(letters, expected);
}

fn days(sizes: &Sizes) -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(2019, 1, 1).unwrap();
    (0..sizes.days as i64).map(move |day| first + TimeDelta::days(day))
}

/// A JSON string of so many bytes, of text that does not repeat itself, with escapes and brackets in it.
fn large_text(bytes: usize) -> String {
    const PIECES: [&str; 16] = [
        "\\\"", "\\\\", "\\n", "]", "}", "[", "{", ",", "é", "→", "𝄞", "\\u0000", "a", "b", "c",
        " ",
    ];
    let mut text = String::with_capacity(bytes + 16);
    text.push('"');
    let mut state = 42_u64;
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for shift in (0..64).step_by(4) {
            text.push_str(PIECES[(state >> shift & 15) as usize]);
        }
    }
    text.push('"');
    text
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [0; 256];
    for (value, byte) in (0_u32..).zip(ALPHABET) {
        values[usize::from(*byte)] = value;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let bits = group
            .iter()
            .fold(0, |bits, byte| bits << 6 | values[usize::from(*byte)]);
        bytes.extend(&bits.to_be_bytes()[1..]);
    }
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    bytes.truncate(bytes.len() - padding);
    bytes
}
