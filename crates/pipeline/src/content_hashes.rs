//! The hashes of each partition's records, for the digest of its content: in memory while they are few, then in sorted
//! runs in scratch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use answerlake_model::PartitionKey;
use answerlake_transform::{ContentDigest, Hash};

use crate::error::PipelineError;

const HASH_BYTES: usize = 16;

/// Collects the hashes of many partitions.
#[derive(Debug)]
pub(crate) struct ContentHashes {
    folder: PathBuf,
    partitions: BTreeMap<PartitionKey, PartitionHashes>,
    /// How many are in memory, of all partitions.
    held: usize,
    max_held: usize,
    file: Option<File>,
}

#[derive(Debug, Default)]
struct PartitionHashes {
    held: Vec<Hash>,
    /// Sorted ones: where they start in the file, and how many they are.
    runs: Vec<(u64, usize)>,
}

impl ContentHashes {
    /// Makes an empty collection that holds `max_held` hashes in memory, and the rest in a file in `folder`.
    pub(crate) fn new(folder: &Path, max_held: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            partitions: BTreeMap::new(),
            held: 0,
            max_held,
            file: None,
        }
    }

    /// Adds the hash of a record.
    pub(crate) fn add(&mut self, key: &PartitionKey, hash: Hash) -> Result<(), PipelineError> {
        if self.held >= self.max_held {
            self.flush().map_err(|error| self.failed("write", error))?;
        }
        match self.partitions.get_mut(key) {
            Some(partition) => partition.held.push(hash),
            None => self
                .partitions
                .entry(key.clone())
                .or_default()
                .held
                .push(hash),
        }
        self.held += 1;
        Ok(())
    }

    /// The digest of a partition's content.
    pub(crate) fn digest(&mut self, key: &PartitionKey) -> Result<String, PipelineError> {
        let mut partition = self.partitions.remove(key).unwrap_or_default();
        partition.held.sort_unstable();
        let digest = partition.digest(self.file.as_ref());
        digest.map_err(|error| self.failed("read", error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.folder)?),
        };
        let mut end = file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(file);
        for partition in self.partitions.values_mut() {
            if partition.held.is_empty() {
                continue;
            }
            let mut hashes = std::mem::take(&mut partition.held);
            hashes.sort_unstable();
            for hash in &hashes {
                out.write_all(&hash.0.to_le_bytes())?;
            }
            partition.runs.push((end, hashes.len()));
            end += (hashes.len() * HASH_BYTES) as u64;
        }
        self.held = 0;
        out.flush()
    }

    fn failed(&self, action: &'static str, source: io::Error) -> PipelineError {
        PipelineError::Scratch {
            action,
            path: self.folder.clone(),
            source,
        }
    }
}

impl PartitionHashes {
    /// Merges the runs with what is held, which is sorted.
    fn digest(self, file: Option<&File>) -> io::Result<String> {
        let mut digest = ContentDigest::new();
        let mut held = self.held.into_iter().peekable();
        if let Some(file) = file {
            let mut runs: Vec<RunReader<'_>> = self
                .runs
                .into_iter()
                .map(|(start, count)| RunReader::new(file, start, count))
                .collect();
            let mut heads = BinaryHeap::with_capacity(runs.len());
            for (index, run) in runs.iter_mut().enumerate() {
                heads.extend(run.next()?.map(|hash| Reverse((hash, index))));
            }
            while let Some(Reverse((hash, index))) = heads.pop() {
                while let Some(smaller) = held.next_if(|held| *held < hash) {
                    digest.add(smaller);
                }
                digest.add(hash);
                heads.extend(runs[index].next()?.map(|hash| Reverse((hash, index))));
            }
        }
        held.for_each(|hash| digest.add(hash));
        Ok(digest.finish())
    }
}

/// Reads a run, some hashes at once.
struct RunReader<'f> {
    file: &'f File,
    at: u64,
    left: usize,
    buffer: std::vec::IntoIter<Hash>,
}

impl<'f> RunReader<'f> {
    fn new(file: &'f File, start: u64, count: usize) -> Self {
        Self {
            file,
            at: start,
            left: count,
            buffer: Vec::new().into_iter(),
        }
    }

    fn next(&mut self) -> io::Result<Option<Hash>> {
        const BUFFER_HASHES: usize = 512;
        if self.buffer.as_slice().is_empty() && self.left > 0 {
            let count = self.left.min(BUFFER_HASHES);
            let mut bytes = vec![0; count * HASH_BYTES];
            self.file.read_exact_at(&mut bytes, self.at)?;
            self.at += bytes.len() as u64;
            self.left -= count;
            let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
            let hashes = hashes.iter().map(|hash| Hash(u128::from_le_bytes(*hash)));
            self.buffer = hashes.collect::<Vec<_>>().into_iter();
        }
        Ok(self.buffer.next())
    }
}

#[cfg(test)]
mod tests {
    use answerlake_model::{AppId, Grain};
    use answerlake_transform::content_digest;

    use super::*;

    #[test]
    fn digests_are_the_same_however_little_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let key = |day: u32| {
            let time = format!("2025-06-{day:02}T00:00:00Z").parse().unwrap();
            PartitionKey::new(AppId::try_new("st-1").unwrap(), time, Grain::Day)
        };
        let hash =
            |value: u128| Hash(value.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        for max_held in [1, 7, 1000, 100_000] {
            let mut hashes = ContentHashes::new(folder.path(), max_held);
            for value in 0..3000 {
                hashes
                    .add(&key(1 + (value % 3 + value % 2) as u32), hash(value))
                    .unwrap();
            }
            for day in 1..=5 {
                let own = (0..3000).filter(|value| 1 + (value % 3 + value % 2) == day);
                assert_eq!(
                    hashes.digest(&key(day as u32)).unwrap(),
                    content_digest(own.map(hash)),
                    "{max_held}"
                );
            }
        }
    }
}
