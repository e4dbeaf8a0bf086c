//! Strays and dead letters without the records that are forgotten: files of lines, written anew where one goes.
//!
//! Lines may be of any length: those of strays are records that fit in memory, those of dead letters are looked through
//! and copied a piece at a time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use answerlake_load::{KeptKind, ObjectPath, strays_as_of};
use answerlake_transform::{Forgotten, IdHash, IdScan};
use sha2::{Digest, Sha256};

use crate::bridge::{decompressed, on_its_own_thread};
use crate::error::PipelineError;
use crate::taken_up;
use crate::workbench::Workbench;

/// Bytes of a letter's record that are held to be read as one; a longer one is only looked through.
const READ_BYTES: usize = 4 << 20;

const COMPRESSION_LEVEL: i32 = 3;

/// What files of lines lost, or would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinesSwept {
    pub(crate) files: u64,
    pub(crate) records: u64,
}

/// What is to go of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// The lines, by number from 0.
    lines: BTreeSet<u64>,
    learned: BTreeSet<IdHash>,
}

/// The queries of forgotten persons in such files that are not known as forgotten.
pub(crate) async fn learn(
    bench: &Workbench<'_>,
    kind: KeptKind,
    forgotten: &Arc<Forgotten>,
) -> Result<BTreeSet<IdHash>, PipelineError> {
    let folder = bench.scratch.subfolder()?;
    let mut learned = BTreeSet::new();
    for path in bench.lake.kept_files(kind).await? {
        let Some(file) = bench.lake.fetch(&path, folder.path()).await? else {
            continue;
        };
        let (forgotten, name) = (Arc::clone(forgotten), path.to_string());
        let found = on_its_own_thread(move || look(&file, kind, &forgotten, &name)).await?;
        learned.extend(found.learned);
    }
    Ok(learned)
}

/// Removes what is forgotten from such files, or says what would go.
pub(crate) async fn sweep(
    bench: &Workbench<'_>,
    kind: KeptKind,
    forgotten: &Arc<Forgotten>,
    applies: bool,
) -> Result<LinesSwept, PipelineError> {
    let folder = bench.scratch.subfolder()?;
    let mut swept = LinesSwept::default();
    for path in bench.lake.kept_files(kind).await? {
        let Some(file) = bench.lake.fetch(&path, folder.path()).await? else {
            continue;
        };
        let scratch = folder.path().join(format!("lines-{}", swept.files));
        let (forgotten, name, to) = (Arc::clone(forgotten), path.to_string(), scratch.clone());
        let written = on_its_own_thread(move || {
            let found = look(&file, kind, &forgotten, &name)?;
            let without = if found.lines.is_empty() || !applies {
                None
            } else {
                write_without(&file, &found.lines, &to).map_err(|source| {
                    PipelineError::Scratch {
                        action: "write",
                        path: to,
                        source,
                    }
                })?
            };
            Ok((found.lines.len() as u64, without))
        });
        let (records, without) = written.await?;
        if records == 0 {
            continue;
        }
        swept.files += 1;
        swept.records += records;
        if applies {
            let name = without.map(|name| named_alike(&path, name));
            let replacement = name.as_deref().map(|name| (scratch.as_path(), name));
            bench.lake.replace_kept(&path, replacement).await?;
            tracing::info!(%path, records, "records removed");
        }
    }
    Ok(swept)
}

/// The name of what takes the place of a file: of strays, it tells when they were asked for.
fn named_alike(path: &ObjectPath, name: String) -> String {
    let before = path.filename().unwrap_or_default();
    match (strays_as_of(before), before.split_once('-')) {
        (Some(_), Some((time, _))) => format!("{time}-{name}"),
        _ => name,
    }
}

fn look(
    file: &File,
    kind: KeptKind,
    forgotten: &Forgotten,
    path: &str,
) -> Result<Found, PipelineError> {
    let looked = lines_of(file).and_then(|lines| match kind {
        KeptKind::Strays => look_at_strays(lines, forgotten),
        KeptKind::DeadLetters => look_at_letters(lines, forgotten),
    });
    looked.map_err(|source| PipelineError::KeptFile {
        path: path.to_owned(),
        source,
    })
}

fn lines_of(mut file: &File) -> io::Result<BufReader<Box<dyn Read>>> {
    file.rewind()?;
    let bytes = decompressed(Box::new(file.try_clone()?))?;
    Ok(BufReader::with_capacity(1 << 20, bytes))
}

fn look_at_strays(mut lines: impl BufRead, forgotten: &Forgotten) -> io::Result<Found> {
    let mut found = Found::default();
    let mut line = Vec::new();
    for number in 0.. {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if let Some(verdict) = forgotten.judge_bytes(line.trim_ascii_end()) {
            found.lines.insert(number);
            found.learned.extend(verdict.learned);
        }
    }
    Ok(found)
}

fn look_at_letters(mut lines: impl BufRead, forgotten: &Forgotten) -> io::Result<Found> {
    let mut found = Found::default();
    for number in 0.. {
        if lines.fill_buf()?.is_empty() {
            break;
        }
        let mut letter = LetterRecord {
            start: Vec::new(),
            is_whole: true,
            scan: IdScan::new(forgotten),
        };
        taken_up::read_record(&mut lines, &mut letter)?;
        let read = letter
            .is_whole
            .then(|| forgotten.judge_bytes(&letter.start));
        if let Some(verdict) = read.flatten().or_else(|| letter.scan.verdict()) {
            found.lines.insert(number);
            found.learned.extend(verdict.learned);
        }
    }
    Ok(found)
}

/// The record of a letter on its way: held as far as it is short, and looked through.
struct LetterRecord<'f> {
    start: Vec<u8>,
    is_whole: bool,
    scan: IdScan<'f>,
}

impl Write for LetterRecord<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scan.feed(bytes);
        self.is_whole &= self.start.len() + bytes.len() <= READ_BYTES;
        if self.is_whole {
            self.start.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all lines but those to `to`, compressed; gives the name that the content makes, or `None` where nothing is
/// left.
fn write_without(file: &File, gone: &BTreeSet<u64>, to: &Path) -> io::Result<Option<String>> {
    let mut lines = lines_of(file)?;
    let mut content = Sha256::new();
    let mut is_empty = true;
    let mut out = zstd::Encoder::new(File::create(to)?, COMPRESSION_LEVEL)?;
    for number in 0.. {
        if lines.fill_buf()?.is_empty() {
            break;
        }
        if gone.contains(&number) {
            lines.skip_until(b'\n')?;
            continue;
        }
        is_empty = false;
        loop {
            let piece = lines.fill_buf()?;
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(piece.len(), |end| end + 1);
            content.update(&piece[..taken]);
            out.write_all(&piece[..taken])?;
            lines.consume(taken);
            if end.is_some() || taken == 0 {
                break;
            }
        }
    }
    out.finish()?.sync_all()?;
    let name = format!("{}.ndjson.zst", &hex::encode(content.finalize())[..16]);
    Ok((!is_empty).then_some(name))
}
