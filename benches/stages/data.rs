//! Seeded fragments of named sizes, made once and kept in `target/bench-data`.

use std::path::{Path, PathBuf};

use answerlake_emulator::{DataConfig, write_fragments};
use chrono::TimeDelta;

/// Counts up when the emulator makes other records of the same settings.
const DATA_VERSION: u32 = 1;

const FRAGMENT_RECORDS: usize = 150;

/// How much data a name stands for.
pub(crate) struct Size {
    pub(crate) name: &'static str,
    days: u32,
    records_per_day: u32,
    /// Whether it is indented, as the vendor's is.
    is_pretty: bool,
}

/// From what a small app has in a day to what a busy one has in a week.
pub(crate) const SIZES: [Size; 4] = [
    size("small", 1, 30, true),
    size("day", 1, 300, true),
    size("day-compact", 1, 300, false),
    size("big", 7, 400, true),
];

const fn size(name: &'static str, days: u32, records_per_day: u32, is_pretty: bool) -> Size {
    Size {
        name,
        days,
        records_per_day,
        is_pretty,
    }
}

/// The fragments of one size.
pub(crate) struct Input {
    pub(crate) size: &'static str,
    pub(crate) folder: PathBuf,
    pub(crate) fragments: Vec<PathBuf>,
    pub(crate) bytes: u64,
}

impl Input {
    /// Opens the fragments of `size`; makes them where they are not there, or were made otherwise.
    pub(crate) fn open(size: &Size) -> Self {
        let from = DataConfig::default().from;
        let data = DataConfig {
            from,
            to: from + TimeDelta::days(i64::from(size.days)),
            records_per_day: (f64::from(size.records_per_day) * scale()).ceil() as u32,
            pretty: size.is_pretty,
            ..DataConfig::default()
        };
        let folder = target().join("bench-data").join(size.name);
        let made_by = folder.join("made-by.txt");
        let recipe = format!("{data:?}, {FRAGMENT_RECORDS} a fragment, version {DATA_VERSION}");
        if std::fs::read_to_string(&made_by).ok() != Some(recipe.clone()) {
            if folder.exists() {
                std::fs::remove_dir_all(&folder).unwrap();
            }
            write_fragments(&data, "st-1", FRAGMENT_RECORDS, &folder).unwrap();
            // Last, so that what is not whole is made again.
            std::fs::write(&made_by, recipe).unwrap();
        }
        let mut fragments: Vec<PathBuf> = folder
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|name| name == "json"))
            .collect();
        fragments.sort();
        let bytes = fragments.iter().map(|path| path.metadata().unwrap().len());
        Self {
            size: size.name,
            bytes: bytes.sum(),
            folder,
            fragments,
        }
    }

    /// The bytes of all fragments.
    pub(crate) fn read(&self) -> Vec<Vec<u8>> {
        let read = self.fragments.iter().map(std::fs::read);
        read.collect::<Result<_, _>>().unwrap()
    }
}

/// The folder that everything built lies in.
pub(crate) fn target() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap().to_owned()
}

fn scale() -> f64 {
    std::env::var("ANSWERLAKE_BENCH_SCALE").map_or(1.0, |scale| scale.parse().unwrap())
}
