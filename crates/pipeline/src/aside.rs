//! Records that go beside the tables: strays and dead letters, as compressed lines of JSON.
//!
//! They are collected in scratch, and put into the lake before the partitions they came with are committed, under names
//! made of their content: doing it again changes nothing.
//!
//! There may be any number of them, of any number of partitions and of any size. So the lines of all files wait in a few
//! megabytes until these are full, and each file then gets what waits for it as one zstd frame more; a large line does
//! not wait, but is compressed on its way from the fragment. Frames one after the other are read as one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use answerlake_load::{KeptFile, KeptKind, Lake};
use answerlake_model::PartitionKey;
use answerlake_transform::frame::OversizedRecord;
use answerlake_transform::{
    DeadLetter, Forgotten, IdScan, Raw, Stray, end_without_raw, write_masking, write_raw,
};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::bridge::{Fragment, OriginKind};
use crate::error::PipelineError;
use crate::reread::Reread;

/// How many bytes of lines wait at most, over all files.
const WAITING_BYTES: usize = 4 << 20;

/// A record of more bytes does not wait. As JSON it may be six times as long.
const LARGE_RECORD_BYTES: u64 = WAITING_BYTES as u64 / 8;

/// Bytes of a large record that are looked at together.
const SCANNED_BYTES: usize = 1 << 20;

const COMPRESSION_LEVEL: i32 = 3;

/// Collects them.
pub(crate) struct Aside {
    folder: PathBuf,
    /// When the oldest of the jobs was asked for that bring records.
    as_of: Option<DateTime<Utc>>,
    /// The mark of the masking that all records have passed.
    masking: Option<String>,
    /// Whose records are not kept.
    forgotten: Option<Arc<Forgotten>>,
    /// Where dead letters go that name no partition.
    fallback: PartitionKey,
    files: BTreeMap<(KeptKind, PartitionKey), LinesFile>,
    /// Bytes that wait, over all files.
    waiting_bytes: usize,
    compressor: zstd::bulk::Compressor<'static>,
    reread: Reread,
}

/// The lines of one kind and partition.
struct LinesFile {
    path: PathBuf,
    /// Lines that are not in the file yet.
    waiting: Vec<u8>,
    /// Over the content, but for what differs from one export of the same records to the next.
    content: Sha256,
}

/// Collected, and ready to be put into the lake.
#[derive(Debug, Default)]
pub(crate) struct AsideFiles(Vec<KeptFile>);

impl Aside {
    /// Collects in `folder`, which is there.
    pub(crate) fn try_new(folder: &Path, fallback: PartitionKey) -> Result<Self, PipelineError> {
        let compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL);
        Ok(Self {
            folder: folder.to_owned(),
            as_of: None,
            masking: None,
            forgotten: None,
            fallback,
            files: BTreeMap::new(),
            waiting_bytes: 0,
            compressor: compressor.map_err(|source| unwritable(folder, source))?,
            reread: Reread::default(),
        })
    }

    /// Has every letter tell how its record is masked.
    pub(crate) fn with_masking(self, mark: Option<String>) -> Self {
        Self {
            masking: mark,
            ..self
        }
    }

    /// Has it keep nothing of those. Only what is too large to have been looked at before is looked at here.
    pub(crate) fn without(self, forgotten: Option<Arc<Forgotten>>) -> Self {
        Self { forgotten, ..self }
    }

    /// Adds a stray that came with `fragment`. One that is in the lake is kept already.
    pub(crate) fn add_stray(
        &mut self,
        stray: &Stray,
        fragment: &Fragment,
    ) -> Result<(), PipelineError> {
        if fragment.origin_kind.is_in_lake() {
            return Ok(());
        }
        let as_of = fragment.origin_kind.as_of();
        self.as_of = [self.as_of, as_of].into_iter().flatten().min();
        let key = (KeptKind::Strays, stray.partition.clone());
        self.add(key, stray.json.len() as u64, |_, line| {
            line.write_all(stray.json.as_bytes())?;
            line.write_all(b"\n")
        })
    }

    /// Adds a letter to the partition it names, if any. Its record is in `block`, or only in `fragment`. One that was
    /// taken up is kept already.
    pub(crate) fn add_dead_letter(
        &mut self,
        letter: &DeadLetter,
        block: &[u8],
        fragment: &Fragment,
    ) -> Result<(), PipelineError> {
        if matches!(fragment.origin_kind, OriginKind::TakenUp { .. }) {
            return Ok(());
        }
        if let Raw::Fragment(record) = &letter.raw
            && self.is_forgotten(fragment, record)?
        {
            return Ok(());
        }
        let key = letter.partition.as_ref().unwrap_or(&self.fallback);
        let job_id = fragment
            .origin_kind
            .exported()
            .map(|job| job.job_id.as_str());
        let start = letter.line_start(job_id);
        let start_of_content = letter.line_start(None);
        let record_bytes = match &letter.raw {
            Raw::Block(range) => range.len() as u64,
            Raw::Fragment(record) => record.bytes,
            Raw::Withheld { .. } => 0,
        };
        let masking = self.masking.clone();
        let key = (KeptKind::DeadLetters, key.clone());
        self.add(key, record_bytes, |reread, line| {
            line.lines.write_all(&start)?;
            line.content.update(&start_of_content);
            if let Some(mark) = &masking {
                write_masking(mark, line)?;
            }
            match &letter.raw {
                Raw::Block(range) => {
                    let record = &block[range.clone()];
                    let is_utf8 = std::str::from_utf8(record).is_ok();
                    write_raw(record, is_utf8, line)
                }
                Raw::Fragment(record) => reread.record(fragment, record, |bytes| {
                    write_raw(bytes, record.is_utf8, line)
                }),
                Raw::Withheld { bytes } => end_without_raw(*bytes, line),
            }
        })
    }

    /// Whether a record that is too large to be held mentions who is forgotten.
    fn is_forgotten(
        &mut self,
        fragment: &Fragment,
        record: &OversizedRecord,
    ) -> Result<bool, PipelineError> {
        let Some(forgotten) = self.forgotten.clone() else {
            return Ok(false);
        };
        let mut scan = IdScan::new(&forgotten);
        let read = self.reread.record(fragment, record, |bytes| {
            let mut piece = vec![0; SCANNED_BYTES];
            loop {
                match bytes.read(&mut piece)? {
                    0 => return Ok(()),
                    read => scan.feed(&piece[..read]),
                }
            }
        });
        read.map_err(|source| unwritable(&self.folder, source))?;
        Ok(scan.verdict().is_some())
    }

    /// Ends the collecting.
    pub(crate) fn finish(mut self) -> Result<AsideFiles, PipelineError> {
        self.flush()?;
        let files = self.files.into_iter().map(|((kind, key), file)| KeptFile {
            kind,
            key,
            name: format!("{}.ndjson.zst", &hex::encode(file.content.finalize())[..16]),
            as_of: self.as_of.filter(|_| kind == KeptKind::Strays),
            scratch: file.path,
        });
        Ok(AsideFiles(files.collect()))
    }

    /// Adds the line that `write` writes, of a record of so many bytes.
    fn add(
        &mut self,
        key: (KeptKind, PartitionKey),
        record_bytes: u64,
        write: impl FnOnce(&mut Reread, &mut Line<'_>) -> io::Result<()>,
    ) -> Result<(), PipelineError> {
        let number = self.files.len();
        let file = self.files.entry(key).or_insert_with(|| LinesFile {
            path: self.folder.join(format!("aside-{number}.ndjson.zst")),
            waiting: Vec::new(),
            content: Sha256::new(),
        });
        let waited = file.waiting.len();
        let written = if record_bytes > LARGE_RECORD_BYTES {
            file.stream(&mut self.compressor, |line| write(&mut self.reread, line))
        } else {
            let mut line = Line {
                lines: &mut file.waiting,
                content: &mut file.content,
            };
            write(&mut self.reread, &mut line)
        };
        written.map_err(|source| unwritable(&file.path, source))?;
        self.waiting_bytes = self.waiting_bytes + file.waiting.len() - waited;
        if self.waiting_bytes > WAITING_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes all that waits.
    fn flush(&mut self) -> Result<(), PipelineError> {
        for file in self.files.values_mut() {
            file.flush(&mut self.compressor)
                .map_err(|source| unwritable(&file.path, source))?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }
}

impl LinesFile {
    /// Writes what waits as a frame of its own.
    fn flush(&mut self, compressor: &mut zstd::bulk::Compressor<'static>) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        self.open()?.write_all(&compressor.compress(&waiting)?)
    }

    /// Writes a line as a frame of its own, while it comes.
    fn stream(
        &mut self,
        compressor: &mut zstd::bulk::Compressor<'static>,
        write: impl FnOnce(&mut Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.flush(compressor)?;
        let mut lines = zstd::Encoder::new(self.open()?, COMPRESSION_LEVEL)?;
        write(&mut Line {
            lines: &mut lines,
            content: &mut self.content,
        })?;
        lines.finish().map(drop)
    }

    fn open(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(&self.path)
    }
}

/// A line in the making.
struct Line<'a> {
    lines: &'a mut dyn Write,
    content: &'a mut Sha256,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.lines.write(bytes)?;
        self.content.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

fn unwritable(path: &Path, source: io::Error) -> PipelineError {
    PipelineError::Scratch {
        action: "write",
        path: path.to_owned(),
        source,
    }
}

impl AsideFiles {
    /// Puts them into the lake, where they are not there already.
    pub(crate) async fn put(self, lake: &Lake) -> Result<(), PipelineError> {
        let paths = lake.keep(&self.0).await?;
        for (kind, what) in [
            (
                KeptKind::Strays,
                "records of another day than was asked for are kept as strays",
            ),
            (
                KeptKind::DeadLetters,
                "records that cannot be loaded are kept as dead letters",
            ),
        ] {
            let mut kept = self
                .0
                .iter()
                .zip(&paths)
                .filter(|(file, _)| file.kind == kind);
            if let Some((_, first)) = kept.next() {
                tracing::warn!(files = 1 + kept.count(), %first, "{what}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use answerlake_model::{AppId, Grain};
    use answerlake_transform::Reason;
    use answerlake_transform::frame::OversizedRecord;
    use chrono::{DateTime, TimeDelta};
    use serde_json::Value;

    use super::*;
    use crate::bridge::Exported;

    fn day(number: i64) -> PartitionKey {
        let start = DateTime::UNIX_EPOCH + TimeDelta::days(number);
        PartitionKey::new(AppId::try_new("st-1").unwrap(), start, Grain::Day)
    }

    fn letter(partition: i64, record: u64, raw: Raw) -> DeadLetter {
        DeadLetter {
            partition: Some(day(partition)),
            fragment: 1,
            record,
            reason: Reason::NotAnObject,
            raw,
        }
    }

    /// The records of each file in the order of their lines, read by both of zstd's decoders; and the files' names.
    fn read(files: AsideFiles) -> BTreeMap<(KeptKind, PartitionKey), (String, Vec<Value>)> {
        let read = files.0.into_iter().map(|file| {
            let bytes = std::fs::read(&file.scratch).unwrap();
            let at_once = zstd::decode_all(&bytes[..]).unwrap();
            let mut streamed = Vec::new();
            let mut decoder = zstd::stream::read::Decoder::new(&bytes[..]).unwrap();
            decoder.read_to_end(&mut streamed).unwrap();
            assert!(at_once == streamed);
            let lines = String::from_utf8(at_once).unwrap();
            let lines = lines
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            ((file.kind, file.key), (file.name, lines.collect()))
        });
        read.collect()
    }

    #[test]
    fn lines_of_any_number_of_files_wait_in_little_memory() {
        const DAYS: i64 = 300;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fragment");
        // Some 12 MiB of lines, three times what waits, day after day; on the last day large ones among them.
        let small = format!("\"{}\"", "é\\n".repeat(1_000));
        let large = format!("\"{}\"", "ü\\t".repeat(300_000));
        let fragment_text = format!("[{large},{small}]");
        std::fs::write(
            &path,
            zstd::encode_all(fragment_text.as_bytes(), 1).unwrap(),
        )
        .unwrap();
        let fragment = Fragment {
            number: 1,
            position: 1,
            path,
            origin: "fragment 1".to_owned(),
            promised_records: None,
            origin_kind: OriginKind::Brought,
        };
        let mut aside = Aside::try_new(folder.path(), day(DAYS)).unwrap();
        let block = [small.as_bytes(), large.as_bytes()].concat();
        for round in 0..10 {
            for number in 0..DAYS {
                let letter = letter(number, round, Raw::Block(0..small.len()));
                aside.add_dead_letter(&letter, &block, &fragment).unwrap();
                let waiting: usize = aside.files.values().map(|file| file.waiting.len()).sum();
                assert_eq!(waiting, aside.waiting_bytes);
                assert!(waiting <= WAITING_BYTES);
            }
            let in_block = letter(0, 100 + round, Raw::Block(small.len()..block.len()));
            aside.add_dead_letter(&in_block, &block, &fragment).unwrap();
        }
        let oversized = |at: usize, bytes: &str| {
            Raw::Fragment(OversizedRecord {
                at: at as u64,
                bytes: bytes.len() as u64,
                is_utf8: true,
            })
        };
        for raw in [
            oversized(1, &large),
            oversized(large.len() + 2, &small),
            oversized(1, &large),
        ] {
            let unplaced = DeadLetter {
                partition: None,
                ..letter(0, 7, raw)
            };
            aside.add_dead_letter(&unplaced, &block, &fragment).unwrap();
        }
        let read = read(aside.finish().unwrap());
        assert_eq!(read.len() as i64, DAYS + 1);
        let raw = |number| -> Vec<&str> {
            let (_, lines) = &read[&(KeptKind::DeadLetters, day(number))];
            lines
                .iter()
                .map(|line| line["raw"].as_str().unwrap())
                .collect()
        };
        assert_eq!(raw(DAYS), [&large, &small, &large]);
        assert_eq!(raw(0), [&small, &large].repeat(10));
        assert_eq!(raw(DAYS - 1), [&small].repeat(10));
    }

    #[test]
    fn a_name_is_of_the_content_whatever_the_job_and_the_frames() {
        let folder = tempfile::tempdir().unwrap();
        let fragment = |job_id: &str| Fragment {
            number: 1,
            position: 1,
            path: folder.path().join("fragment"),
            origin: "fragment 1".to_owned(),
            promised_records: None,
            origin_kind: OriginKind::Exported(Arc::new(Exported {
                place: 0,
                job_id: job_id.to_owned(),
                part: None,
                as_of: Some(DateTime::UNIX_EPOCH),
            })),
        };
        let collect = |job_id: &str, record: &[u8], flushes: bool| {
            let fragment = fragment(job_id);
            let folder = tempfile::tempdir_in(folder.path()).unwrap();
            let mut aside = Aside::try_new(folder.path(), day(0)).unwrap();
            for number in 0..2 {
                let letter = letter(0, number, Raw::Block(0..record.len()));
                aside.add_dead_letter(&letter, record, &fragment).unwrap();
                if flushes {
                    aside.flush().unwrap();
                }
            }
            read(aside.finish().unwrap()).into_values().next().unwrap()
        };
        let (name, lines) = collect("fj-1", b"7", false);
        assert_eq!(lines[0]["job_id"], "fj-1");
        assert_eq!(collect("fj-2", b"7", true).0, name);
        assert_ne!(collect("fj-1", b"8", false).0, name);
    }

    #[test]
    fn a_fragment_that_changed_meanwhile_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fragment");
        std::fs::write(&path, "[\"cut").unwrap();
        let fragment = Fragment {
            number: 1,
            position: 1,
            path,
            origin: "fragment 1".to_owned(),
            promised_records: None,
            origin_kind: OriginKind::Brought,
        };
        let mut aside = Aside::try_new(folder.path(), day(0)).unwrap();
        for at in [1, 10] {
            let raw = Raw::Fragment(OversizedRecord {
                at,
                bytes: 9,
                is_utf8: true,
            });
            let error = aside.add_dead_letter(&letter(0, 1, raw), b"", &fragment);
            let source = std::error::Error::source(&error.unwrap_err()).map(ToString::to_string);
            assert_eq!(
                source.as_deref(),
                Some("fragment 1 is not as it was before"),
                "{at}"
            );
        }
    }
}
