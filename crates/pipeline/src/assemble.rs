//! A window's fragments to data files: which record is kept, where its rows go, and what goes aside.
//!
//! Rows are written as they come, and the first of several records with one identity is taken to be the one to keep.
//! Where a later one turns out to win (the source sent two versions of a record, which is rare), the files are made
//! again from the fragments, which are still at hand, with the winners known from the start.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use answerlake_load::{EncodedFile, PartitionedWriter, WriterConfig};
use answerlake_model::{PartitionBooks, PartitionKey, PerTable, TableSchema};
use answerlake_transform::{
    DeadLetter, DecodeConfig, DecodedBlock, Decoder, Hash, PartitionRows, Reason, RecordRows,
    SCHEMA_VERSION, content_digest,
};
use arrow::array::RecordBatch;
use tempfile::TempDir;

use crate::aside::{Aside, AsideFiles};
use crate::bridge::{Compute, DecodeAhead, Decoded, Fragment, FragmentSource};
use crate::error::PipelineError;

/// How fragments become data files.
pub(crate) struct Assembly {
    pub(crate) compute: Compute,
    pub(crate) decode: DecodeConfig,
    pub(crate) writer: WriterConfig,
    pub(crate) schemas: Arc<PerTable<TableSchema>>,
    /// An empty folder for the files.
    pub(crate) scratch: PathBuf,
    pub(crate) job_id: Option<String>,
    /// Where dead letters go that name no partition.
    pub(crate) fallback: PartitionKey,
}

/// A window, assembled.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) partitions: BTreeMap<PartitionKey, AssembledPartition>,
    pub(crate) aside: AsideFiles,
    pub(crate) counts: Counts,
    /// The folders that the files lie in; they go with it.
    pub(crate) folders: Vec<TempDir>,
}

/// A partition, assembled.
#[derive(Debug, Default)]
pub(crate) struct AssembledPartition {
    pub(crate) files: Vec<EncodedFile>,
    pub(crate) content_digest: String,
    pub(crate) books: PartitionBooks,
}

/// What was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) fragments: u64,
    pub(crate) decoded: u64,
    pub(crate) margin: u64,
    pub(crate) strays: u64,
    pub(crate) unassigned: u64,
}

impl AssembledPartition {
    /// A partition that no record is in.
    pub(crate) fn empty() -> Self {
        Self {
            content_digest: content_digest([]),
            ..Self::default()
        }
    }
}

impl Assembly {
    /// Assembles all fragments of `source`.
    pub(crate) fn run(&self, source: impl FragmentSource) -> Result<Assembled, PipelineError> {
        let decoder = Arc::new(Decoder::new(self.decode.clone()));
        let mut first = Pass::try_new(self, HashMap::new(), true)?;
        let fragments = first.run(&decoder, source)?;
        if !first.has_late_winner {
            return first.finish();
        }
        // Dropping the rest of it frees its scratch.
        let identities = first.identities;
        tracing::info!("records with several versions: their window is assembled again");
        let mut second = Pass::try_new(self, identities, false)?;
        second.run(&decoder, fragments.into_iter())?;
        second.finish()
    }
}

/// Where a record stands: fragment and place.
type Place = (u32, u64);

/// The record that is kept of those with one identity.
#[derive(Debug, Clone, Copy)]
struct Kept {
    hash: Hash,
    modified_at: Option<i64>,
    place: Place,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Write,
    Duplicate,
    Conflict,
}

/// One way over the fragments.
struct Pass<'a> {
    assembly: &'a Assembly,
    identities: HashMap<Hash, Kept>,
    /// Whether the identities are still being learned.
    learns: bool,
    has_late_winner: bool,
    writer: PartitionedWriter,
    aside: Aside,
    partitions: BTreeMap<PartitionKey, (PartitionBooks, Vec<Hash>)>,
    counts: Counts,
}

impl<'a> Pass<'a> {
    fn try_new(
        assembly: &'a Assembly,
        identities: HashMap<Hash, Kept>,
        learns: bool,
    ) -> Result<Self, PipelineError> {
        let folder = assembly
            .scratch
            .join(if learns { "first" } else { "second" });
        std::fs::create_dir_all(&folder).map_err(|source| PipelineError::Scratch {
            action: "create",
            path: folder.clone(),
            source,
        })?;
        let schemas = Arc::clone(&assembly.schemas);
        Ok(Self {
            assembly,
            identities,
            learns,
            has_late_winner: false,
            writer: PartitionedWriter::try_new(
                assembly.writer.clone(),
                schemas,
                SCHEMA_VERSION,
                &folder,
            )?,
            aside: Aside::new(&folder, assembly.job_id.clone()),
            partitions: BTreeMap::new(),
            counts: Counts::default(),
        })
    }

    /// Reads all fragments; gives them back for another pass.
    fn run(
        &mut self,
        decoder: &Arc<Decoder>,
        source: impl FragmentSource,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments = Vec::new();
        let mut decoded = DecodeAhead::new(&self.assembly.compute, decoder, source);
        while let Some(next) = decoded.next()? {
            match next {
                Decoded::Block { fragment, block } => self.add(fragment, block)?,
                Decoded::End { fragment, records } => {
                    if let Some(promised) = fragment
                        .promised_records
                        .filter(|promised| *promised != records)
                    {
                        let origin = fragment.origin;
                        return Err(PipelineError::WrongRecordCount {
                            origin,
                            promised,
                            decoded: records,
                        });
                    }
                    self.counts.fragments += 1;
                    tracing::debug!(fragment = fragment.number, records, "fragment decoded");
                    fragments.push(fragment);
                }
            }
        }
        Ok(fragments)
    }

    fn add(&mut self, fragment: u32, block: DecodedBlock) -> Result<(), PipelineError> {
        let DecodedBlock {
            bytes,
            decoded,
            partitions,
            margin,
            strays,
            dead_letters,
        } = block;
        self.counts.decoded += decoded;
        self.counts.margin += margin;
        self.counts.strays += strays.len() as u64;
        for stray in &strays {
            self.aside.add_stray(stray)?;
        }
        for letter in &dead_letters {
            match &letter.partition {
                Some(key) => {
                    let (books, _) = self.partitions.entry(key.clone()).or_default();
                    books.assigned += 1;
                    books.dead_letters += 1;
                }
                None => self.counts.unassigned += 1,
            }
            self.aside
                .add_dead_letter(letter, &self.assembly.fallback)?;
        }
        for rows in &partitions {
            self.add_partition(fragment, rows, &bytes)?;
        }
        Ok(())
    }

    fn add_partition(
        &mut self,
        fragment: u32,
        rows: &PartitionRows,
        bytes: &[u8],
    ) -> Result<(), PipelineError> {
        let mut written = RowRuns::default();
        let (books, hashes) = self.partitions.entry(rows.key.clone()).or_default();
        for record in &rows.records {
            books.assigned += 1;
            let place = (fragment, record.record);
            match judge(
                &mut self.identities,
                record,
                place,
                self.learns,
                &mut self.has_late_winner,
            ) {
                Verdict::Write => {
                    books.written += 1;
                    hashes.push(record.hash);
                    written.keep(&record.row_ends);
                }
                Verdict::Duplicate => {
                    books.duplicates += 1;
                    written.skip(&record.row_ends);
                }
                Verdict::Conflict => {
                    books.dead_letters += 1;
                    books.conflicts += 1;
                    written.skip(&record.row_ends);
                    let letter = DeadLetter {
                        partition: Some(rows.key.clone()),
                        fragment,
                        record: record.record,
                        reason: Reason::Conflict,
                        raw: bytes[record.range.clone()].to_vec(),
                    };
                    self.aside
                        .add_dead_letter(&letter, &self.assembly.fallback)?;
                }
            }
        }
        // What is written now would be thrown away with the rest of this pass.
        if self.has_late_winner {
            return Ok(());
        }
        let writer = &mut self.writer;
        for batches in written.of(&rows.batches) {
            self.assembly
                .compute
                .install(|| writer.write(&rows.key, &batches))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Assembled, PipelineError> {
        let writer = self.writer;
        let mut files = self.assembly.compute.install(|| writer.close())?;
        let partitions = self.partitions.into_iter().map(|(key, (books, hashes))| {
            let files = files.remove(&key).unwrap_or_default();
            (
                key,
                AssembledPartition {
                    files,
                    content_digest: content_digest(hashes),
                    books,
                },
            )
        });
        Ok(Assembled {
            partitions: partitions.collect(),
            aside: self.aside.finish()?,
            counts: self.counts,
            folders: Vec::new(),
        })
    }
}

/// Decides what becomes of a record: of several, the one with the greater `lMod` is kept, then the one with the greater
/// hash. (They come from one job; which job is newer decides between revisions.)
fn judge(
    identities: &mut HashMap<Hash, Kept>,
    record: &RecordRows,
    place: Place,
    learns: bool,
    has_late_winner: &mut bool,
) -> Verdict {
    let this = Kept {
        hash: record.hash,
        modified_at: record.modified_at,
        place,
    };
    match identities.entry(record.identity) {
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(this);
            Verdict::Write
        }
        std::collections::hash_map::Entry::Occupied(mut entry) => {
            let kept = *entry.get();
            if !learns && kept.place == place {
                Verdict::Write
            } else if kept.hash == this.hash {
                Verdict::Duplicate
            } else {
                if learns && (this.modified_at, this.hash) > (kept.modified_at, kept.hash) {
                    *has_late_winner = true;
                    entry.insert(this);
                }
                Verdict::Conflict
            }
        }
    }
}

/// The rows of records that are kept, as runs of records next to one another.
#[derive(Default)]
struct RowRuns {
    runs: Vec<(PerTable<u32>, PerTable<u32>)>,
    end: PerTable<u32>,
    is_open: bool,
}

impl RowRuns {
    fn keep(&mut self, row_ends: &PerTable<u32>) {
        match self.runs.last_mut() {
            Some((_, end)) if self.is_open => *end = row_ends.clone(),
            _ => self.runs.push((self.end.clone(), row_ends.clone())),
        }
        self.end = row_ends.clone();
        self.is_open = true;
    }

    fn skip(&mut self, row_ends: &PerTable<u32>) {
        self.end = row_ends.clone();
        self.is_open = false;
    }

    /// The batches of each run; slices, nothing is copied.
    fn of(
        self,
        batches: &PerTable<Option<RecordBatch>>,
    ) -> impl Iterator<Item = PerTable<Option<RecordBatch>>> {
        self.runs.into_iter().map(|(start, end)| {
            PerTable::from_fn(|table| {
                let length = (end[table] - start[table]) as usize;
                let batch = batches[table].as_ref().filter(|_| length > 0)?;
                Some(batch.slice(start[table] as usize, length))
            })
        })
    }
}
