//! Which records were met, by identity: in memory while they are few, then in sorted runs in scratch.
//!
//! A window of a few large records and one of millions of small ones take the same memory, but for a filter of ten bits
//! a record: it says of nearly all records that are new that no run has them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use answerlake_transform::Hash;
use fastbloom::BloomFilter;

use crate::error::PipelineError;

/// Entries of a run that are read at once.
const PAGE_ENTRIES: usize = 128;

/// Of the records that a run does not have, so many are looked for in it.
const FALSE_POSITIVES: f64 = 0.01;

/// Where a record stands: fragment and place.
pub(crate) type Place = (u32, u64);

/// The record that is kept of those with one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) hash: Hash,
    pub(crate) modified_at: Option<i64>,
    pub(crate) place: Place,
}

/// Records by identity.
#[derive(Debug)]
pub(crate) struct RecordIndex {
    folder: PathBuf,
    /// The latest entries; they count before those of the runs.
    recent: HashMap<Hash, Kept>,
    max_recent: usize,
    file: Option<File>,
    runs: Vec<Run>,
}

/// Entries by identity, one after the other in the file.
#[derive(Debug)]
struct Run {
    start: u64,
    entries: usize,
    /// The first identity of each page.
    page_starts: Vec<Hash>,
    filter: BloomFilter,
}

impl RecordIndex {
    /// Makes an empty index that holds `max_recent` entries in memory, and the rest in a file in `folder`.
    pub(crate) fn new(folder: &Path, max_recent: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            recent: HashMap::new(),
            max_recent,
            file: None,
            runs: Vec::new(),
        }
    }

    /// What was inserted last for `identity`.
    pub(crate) fn find(&self, identity: Hash) -> Result<Option<Kept>, PipelineError> {
        if let Some(kept) = self.recent.get(&identity) {
            return Ok(Some(*kept));
        }
        let Some(file) = &self.file else {
            return Ok(None);
        };
        for run in self.runs.iter().rev() {
            let found = run.find(file, identity);
            if let Some(kept) = found.map_err(|error| self.failed("read", error))? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// Inserts an entry, in place of an earlier one.
    pub(crate) fn insert(&mut self, identity: Hash, kept: Kept) -> Result<(), PipelineError> {
        if self.recent.len() >= self.max_recent {
            self.flush().map_err(|error| self.failed("write", error))?;
        }
        self.recent.insert(identity, kept);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.folder)?),
        };
        let mut entries: Vec<_> = self.recent.drain().collect();
        entries.sort_unstable_by_key(|(identity, _)| *identity);
        let start = file.seek(SeekFrom::End(0))?;
        let mut filter =
            BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(entries.len().max(1));
        let mut out = BufWriter::new(&mut *file);
        for (identity, kept) in &entries {
            filter.insert_hash(short(*identity));
            out.write_all(&encoded(*identity, *kept))?;
        }
        out.flush()?;
        drop(out);
        self.runs.push(Run {
            start,
            entries: entries.len(),
            page_starts: entries
                .iter()
                .step_by(PAGE_ENTRIES)
                .map(|(identity, _)| *identity)
                .collect(),
            filter,
        });
        Ok(())
    }

    fn failed(&self, action: &'static str, source: io::Error) -> PipelineError {
        PipelineError::Scratch {
            action,
            path: self.folder.clone(),
            source,
        }
    }
}

impl Run {
    fn find(&self, file: &File, identity: Hash) -> io::Result<Option<Kept>> {
        if !self.filter.contains_hash(short(identity)) {
            return Ok(None);
        }
        let after = self.page_starts.partition_point(|start| *start <= identity);
        let Some(page) = after.checked_sub(1) else {
            return Ok(None);
        };
        let first = page * PAGE_ENTRIES;
        let count = PAGE_ENTRIES.min(self.entries - first);
        let mut bytes = vec![0; count * ENTRY_BYTES];
        file.read_exact_at(&mut bytes, self.start + (first * ENTRY_BYTES) as u64)?;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let found = entries.binary_search_by_key(&identity, |entry| decoded(entry).0);
        Ok(found.ok().map(|at| decoded(&entries[at]).1))
    }
}

/// Identities are hashes already; half of one is enough for a filter.
fn short(identity: Hash) -> u64 {
    identity.0 as u64
}

const ENTRY_BYTES: usize = 16 + 16 + 1 + 8 + 4 + 8;

fn encoded(identity: Hash, kept: Kept) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..16].copy_from_slice(&identity.0.to_le_bytes());
    bytes[16..32].copy_from_slice(&kept.hash.0.to_le_bytes());
    bytes[32] = u8::from(kept.modified_at.is_some());
    bytes[33..41].copy_from_slice(&kept.modified_at.unwrap_or(0).to_le_bytes());
    bytes[41..45].copy_from_slice(&kept.place.0.to_le_bytes());
    bytes[45..].copy_from_slice(&kept.place.1.to_le_bytes());
    bytes
}

fn decoded(bytes: &[u8; ENTRY_BYTES]) -> (Hash, Kept) {
    fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        bytes[at..at + N].try_into().expect("it has that length")
    }
    let kept = Kept {
        hash: Hash(u128::from_le_bytes(field(bytes, 16))),
        modified_at: (bytes[32] == 1).then(|| i64::from_le_bytes(field(bytes, 33))),
        place: (
            u32::from_le_bytes(field(bytes, 41)),
            u64::from_le_bytes(field(bytes, 45)),
        ),
    };
    (Hash(u128::from_le_bytes(field(bytes, 0))), kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(value: u64) -> Kept {
        Kept {
            hash: Hash(u128::from(value) << 70),
            modified_at: value.is_multiple_of(3).then_some(-(value as i64)),
            place: (value as u32, value),
        }
    }

    /// Spread as hashes are.
    fn identity(value: u64) -> Hash {
        Hash(u128::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
    }

    #[test]
    fn what_was_inserted_last_is_found_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        for max_recent in [1, 300, 10_000] {
            let mut index = RecordIndex::new(folder.path(), max_recent);
            for value in 0..2000 {
                index.insert(identity(value), kept(value)).unwrap();
            }
            for value in (0..2000).step_by(7) {
                index.insert(identity(value), kept(value + 5000)).unwrap();
            }
            for value in 0..2000 {
                let expected = if value % 7 == 0 { value + 5000 } else { value };
                assert_eq!(
                    index.find(identity(value)).unwrap(),
                    Some(kept(expected)),
                    "{value}"
                );
            }
            for value in 2000..4000 {
                assert_eq!(index.find(identity(value)).unwrap(), None);
            }
            assert_eq!(index.runs.is_empty(), max_recent == 10_000);
        }
    }
}
