//! A window's fragments to data files: which record is kept, where its rows go, and what goes aside.
//!
//! Rows are written as they come, and the first of several records with one identity is taken to be the one to keep.
//! Where a later one turns out to win (the source sent two versions of a record, which is rare), the files are made
//! again from the fragments, which are still at hand, with the winners known from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use answerlake_load::{EncodedFile, PartitionedWriter, WriterConfig};
use answerlake_model::{
    ContentStats, DriftLedger, PartitionBooks, PartitionKey, PerTable, TableSchema,
};
use answerlake_transform::{
    DeadLetter, DecodeConfig, DecodedBlock, Decoder, Forgotten, ForgottenRecords, Hash, IdHash,
    IdKind, PartitionRows, Raw, Reason, RecordRows, SCHEMA_VERSION, content_digest, count_rows,
};
use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use tempfile::TempDir;

use crate::aside::{Aside, AsideFiles};
use crate::bridge::{Compute, DecodeAhead, Decoded, Fragment, FragmentSource, OriginKind};
use crate::content_hashes::ContentHashes;
use crate::drift::WindowDrift;
use crate::error::PipelineError;
use crate::progress::WindowProgress;
use crate::record_index::{Kept, Place, RecordIndex};
use crate::tombstones::Tombstones;

/// How fragments become data files.
pub(crate) struct Assembly {
    pub(crate) compute: Compute,
    pub(crate) decode: DecodeConfig,
    pub(crate) writer: WriterConfig,
    pub(crate) schemas: Arc<PerTable<TableSchema>>,
    /// An empty folder for the files.
    pub(crate) scratch: PathBuf,
    /// Where dead letters go that name no partition.
    pub(crate) fallback: PartitionKey,
    pub(crate) progress: Arc<WindowProgress>,
    /// Where what `decode` says of who is forgotten comes from.
    pub(crate) tombstones: Tombstones,
}

/// A window, assembled.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) partitions: BTreeMap<PartitionKey, AssembledPartition>,
    pub(crate) aside: AsideFiles,
    /// By job; of what came without one, one.
    pub(crate) counts: Vec<Counts>,
    /// What is wrong with the first record that was set aside.
    pub(crate) first_dead_letter: Option<String>,
    /// Queries of forgotten persons that nobody knew as forgotten: none of their records is here, and they are to be
    /// forgotten from now on.
    pub(crate) learned: BTreeSet<IdHash>,
    /// What was known of who is forgotten.
    pub(crate) tombstones: Tombstones,
    /// The folders that the files lie in; they go with it.
    pub(crate) folders: Vec<Arc<TempDir>>,
}

/// A partition, assembled.
#[derive(Debug, Default)]
pub(crate) struct AssembledPartition {
    pub(crate) files: Vec<EncodedFile>,
    pub(crate) content_digest: String,
    pub(crate) books: PartitionBooks,
    pub(crate) drift: DriftLedger,
    pub(crate) stats: ContentStats,
}

/// What was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) fragments: u64,
    pub(crate) decoded: u64,
    pub(crate) margin: u64,
    pub(crate) strays: u64,
    pub(crate) unassigned: u64,
    pub(crate) assigned: u64,
    pub(crate) duplicates: u64,
}

impl Counts {
    /// Records that belong to no partition of their window.
    fn elsewhere(&self) -> u64 {
        self.strays + self.margin
    }
}

impl Assembled {
    /// Checks that not every record was set aside: that would be a source that changed, not a day without records.
    pub(crate) fn check_any_loaded(&self) -> Result<(), PipelineError> {
        let books = self.partitions.values().map(|partition| partition.books);
        let written: u64 = books.map(|books| books.written + books.forgotten).sum();
        match &self.first_dead_letter {
            Some(letter) if written == 0 && self.counts.iter().all(|job| job.elsewhere() == 0) => {
                Err(PipelineError::NothingLoaded {
                    records: self.counts.iter().map(|job| job.decoded).sum(),
                    first: letter.clone(),
                })
            }
            _ => Ok(()),
        }
    }
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
        let mut decode = self.decode.clone();
        let mut first = Pass::try_new(self, PassKind::First, &decode)?;
        let mut fragments = first.run(&decode, source)?;
        let mut learned = std::mem::take(&mut first.learned);
        let mut known = 0;
        // What was read before a query was known as forgotten may be of that query.
        while learned.len() > known {
            known = learned.len();
            tracing::info!("queries of forgotten persons: their window is assembled again");
            decode.forgotten = decode
                .forgotten
                .map(|forgotten| with_queries(&forgotten, &learned));
            drop(first);
            first = Pass::try_new(self, PassKind::Again(known), &decode)?;
            fragments = first.run(&decode, fragments.into_iter())?;
            learned.append(&mut first.learned);
        }
        if first.has_late_winner {
            // The rest of it, files and all, is of no use any more.
            let winners = first.into_repeated();
            tracing::info!("records with several versions: their window is assembled again");
            first = Pass::try_new(self, PassKind::Winners(winners), &decode)?;
            first.run(&decode, fragments.into_iter())?;
        }
        Ok(Assembled {
            learned,
            ..first.finish()?
        })
    }
}

/// The same, with more queries that are forgotten.
pub(crate) fn with_queries(forgotten: &Forgotten, queries: &BTreeSet<IdHash>) -> Arc<Forgotten> {
    let mut more = forgotten.clone();
    for query in queries {
        more.insert(IdKind::Query, *query);
    }
    Arc::new(more)
}

/// What a pass knows from the passes before it.
enum PassKind {
    /// There was none.
    First,
    /// So many queries that are forgotten.
    Again(usize),
    /// Of the identities met more than once, the record that is kept.
    Winners(RecordIndex),
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
    /// The records met, by identity; of no use where the winners are known.
    met: RecordIndex,
    /// Of the identities met more than once, the record that is kept.
    repeated: RecordIndex,
    /// Whether `repeated` is known from the start.
    knows_winners: bool,
    /// Whether all that is read was read and counted before.
    is_repetition: bool,
    has_late_winner: bool,
    writer: PartitionedWriter,
    aside: Aside,
    partitions: BTreeMap<PartitionKey, PartitionBooks>,
    hashes: ContentHashes,
    drift: WindowDrift,
    stats: BTreeMap<PartitionKey, ContentStats>,
    counts: Vec<Counts>,
    /// When the records of each fragment were asked for, by its number.
    as_of: BTreeMap<u32, Option<DateTime<Utc>>>,
    first_dead_letter: Option<String>,
    learned: BTreeSet<IdHash>,
}

impl<'a> Pass<'a> {
    fn try_new(
        assembly: &'a Assembly,
        kind: PassKind,
        decode: &DecodeConfig,
    ) -> Result<Self, PipelineError> {
        let (folder, is_repetition, winners) = match kind {
            PassKind::First => ("first".to_owned(), false, None),
            PassKind::Again(known) => (format!("again-{known}"), true, None),
            PassKind::Winners(winners) => ("second".to_owned(), true, Some(winners)),
        };
        let knows_winners = winners.is_some();
        let folder = assembly.scratch.join(folder);
        // Not with its parents: where the run has stopped and cleared its scratch, it stays cleared.
        std::fs::create_dir(&folder).map_err(|source| PipelineError::Scratch {
            action: "create",
            path: folder.clone(),
            source,
        })?;
        let schemas = Arc::clone(&assembly.schemas);
        let memory = &assembly.compute.memory;
        let index = || RecordIndex::new(&folder, memory.indexed_records);
        Ok(Self {
            assembly,
            met: index(),
            repeated: winners.unwrap_or_else(index),
            knows_winners,
            is_repetition,
            has_late_winner: false,
            hashes: ContentHashes::new(&folder, memory.content_hashes),
            writer: PartitionedWriter::try_new(
                assembly.writer.clone(),
                schemas,
                SCHEMA_VERSION,
                &folder,
                Arc::clone(&memory.writers),
            )?,
            aside: Aside::try_new(&folder, assembly.fallback.clone())?
                .with_masking(
                    assembly
                        .decode
                        .masking
                        .as_ref()
                        .map(|masking| masking.mark()),
                )
                .without(decode.forgotten.clone()),
            partitions: BTreeMap::new(),
            drift: WindowDrift::default(),
            stats: BTreeMap::new(),
            counts: Vec::new(),
            as_of: BTreeMap::new(),
            first_dead_letter: None,
            learned: BTreeSet::new(),
        })
    }

    /// Reads all fragments; gives them back for another pass.
    fn run(
        &mut self,
        decode: &DecodeConfig,
        source: impl FragmentSource,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments = Vec::new();
        let decoder = &Arc::new(Decoder::new(decode.clone()));
        let progress = (!self.is_repetition).then_some(&self.assembly.progress);
        let reader = progress.and_then(WindowProgress::reader);
        let mut decoded = DecodeAhead::new(&self.assembly.compute, decoder, source, reader);
        while let Some(next) = decoded.next()? {
            match next {
                Decoded::Block {
                    fragment,
                    block,
                    admitted,
                } => {
                    if let Some(progress) = progress
                        && !is_held(&fragment)
                    {
                        progress.decoded(block.decoded);
                    }
                    self.add(&fragment, block)?;
                    drop(admitted);
                }
                Decoded::End { fragment, records } => {
                    if let Some(promised) = fragment
                        .promised_records
                        .filter(|promised| *promised != records)
                    {
                        let origin = fragment.origin.clone();
                        return Err(PipelineError::WrongRecordCount {
                            origin,
                            promised,
                            decoded: records,
                        });
                    }
                    if !is_held(&fragment) {
                        self.counts_of(&fragment).fragments += 1;
                        if let Some(progress) = progress {
                            progress.fragment_done();
                        }
                    }
                    tracing::debug!(fragment = fragment.number, records, "fragment decoded");
                    fragments.push(Fragment::clone(&fragment));
                }
            }
        }
        Ok(fragments)
    }

    fn add(&mut self, fragment: &Fragment, block: DecodedBlock) -> Result<(), PipelineError> {
        let DecodedBlock {
            bytes,
            decoded,
            partitions,
            margin,
            strays,
            dead_letters,
            forgotten,
        } = block;
        let is_held = is_held(fragment);
        self.as_of
            .insert(fragment.number, fragment.origin_kind.as_of());
        if !is_held {
            let counts = self.counts_of(fragment);
            counts.decoded += decoded;
            counts.margin += margin;
            counts.strays += strays.len() as u64;
        }
        for stray in &strays {
            self.aside.add_stray(stray, fragment)?;
        }
        self.forget(forgotten, fragment);
        if let Some(letter) = dead_letters.first() {
            self.first_dead_letter
                .get_or_insert_with(|| letter.to_string());
        }
        for letter in &dead_letters {
            match &letter.partition {
                Some(key) => {
                    let books = self.partitions.entry(key.clone()).or_default();
                    meet(books, is_held);
                    books.dead_letters += 1;
                    self.counts_of(fragment).assigned += u64::from(!is_held);
                }
                None => self.counts_of(fragment).unassigned += 1,
            }
            self.aside.add_dead_letter(letter, &bytes, fragment)?;
        }
        let mut kept = Vec::with_capacity(partitions.len());
        for rows in &partitions {
            kept.push(self.judge_all(fragment, rows, &bytes)?);
        }
        // Of a large record, what it came from and what it became are too much at once.
        drop(bytes);
        // What is written now would be thrown away with the rest of this pass.
        if self.has_late_winner {
            return Ok(());
        }
        let (writer, compute) = (&mut self.writer, &self.assembly.compute);
        for (rows, kept) in partitions.iter().zip(kept) {
            let stats = self.stats.entry(rows.key.clone()).or_default();
            for batches in kept.of(&rows.batches) {
                for (table, batch) in batches.iter() {
                    if let Some(batch) = batch {
                        count_rows(stats, table, batch);
                    }
                }
                compute.install(|| writer.write(&rows.key, &batches))?;
            }
        }
        Ok(())
    }

    /// Counts records of which nothing is kept.
    fn forget(&mut self, forgotten: ForgottenRecords, fragment: &Fragment) {
        let is_held = is_held(fragment);
        if !is_held {
            let counts = self.counts_of(fragment);
            counts.strays += forgotten.strays;
            counts.unassigned += forgotten.unassigned;
            counts.assigned += forgotten.partitions.values().sum::<u64>();
        }
        for (key, records) in forgotten.partitions {
            let books = self.partitions.entry(key).or_default();
            if is_held {
                books.held += records;
            } else {
                books.assigned += records;
            }
            books.forgotten += records;
        }
        self.learned.extend(forgotten.learned);
    }

    /// Judges a partition's records; gives the rows of those that are written.
    fn judge_all(
        &mut self,
        fragment: &Fragment,
        rows: &PartitionRows,
        bytes: &[u8],
    ) -> Result<RowRuns, PipelineError> {
        let mut written = RowRuns::default();
        let mut books = PartitionBooks::default();
        let joins = matches!(fragment.origin_kind, OriginKind::Joined { .. });
        for record in &rows.records {
            let verdict = self.judge(record, (fragment.number, record.record))?;
            if joins && verdict != Verdict::Write {
                written.skip(&record.row_ends);
                continue;
            }
            meet(&mut books, is_held(fragment));
            match verdict {
                Verdict::Write => {
                    books.written += 1;
                    self.hashes.add(&rows.key, record.hash)?;
                    if let Some(drift) = &record.drift {
                        self.drift.add(&rows.key, drift);
                    }
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
                        fragment: fragment.number,
                        record: record.record,
                        reason: Reason::Conflict,
                        raw: Raw::Block(record.range.clone()),
                    };
                    self.aside.add_dead_letter(&letter, bytes, fragment)?;
                }
            }
        }
        let counts = self.counts_of(fragment);
        counts.assigned += books.assigned;
        counts.duplicates += books.duplicates;
        *self.partitions.entry(rows.key.clone()).or_default() += books;
        Ok(written)
    }

    /// What was met of the job that a fragment came with.
    fn counts_of(&mut self, fragment: &Fragment) -> &mut Counts {
        let place = fragment.origin_kind.exported().map_or(0, |job| job.place);
        if self.counts.len() <= place {
            self.counts.resize_with(place + 1, Counts::default);
        }
        &mut self.counts[place]
    }

    /// Decides what becomes of a record: of several, the one of the newest job is kept, then the one with the greater
    /// `lMod`, then the one with the greater hash.
    fn judge(&mut self, record: &RecordRows, place: Place) -> Result<Verdict, PipelineError> {
        let identity = record.identity;
        let this = Kept {
            hash: record.hash,
            modified_at: record.modified_at,
            place,
        };
        if self.knows_winners {
            return Ok(match self.repeated.find(identity)? {
                None => Verdict::Write,
                Some(kept) if kept.place == place => Verdict::Write,
                Some(kept) if kept.hash == this.hash => Verdict::Duplicate,
                Some(_) => Verdict::Conflict,
            });
        }
        let Some(kept) = self.met.find(identity)? else {
            self.met.insert(identity, this)?;
            return Ok(Verdict::Write);
        };
        if kept.hash == this.hash {
            self.repeated.insert(identity, kept)?;
            return Ok(Verdict::Duplicate);
        }
        if self.rank(this) > self.rank(kept) {
            self.has_late_winner = true;
            self.met.insert(identity, this)?;
            self.repeated.insert(identity, this)?;
        } else {
            self.repeated.insert(identity, kept)?;
        }
        Ok(Verdict::Conflict)
    }

    fn rank(&self, record: Kept) -> (Option<DateTime<Utc>>, Option<i64>, Hash) {
        let (fragment, _) = record.place;
        let as_of = self.as_of.get(&fragment).copied().flatten();
        (as_of, record.modified_at, record.hash)
    }

    fn into_repeated(self) -> RecordIndex {
        self.repeated
    }

    fn finish(self) -> Result<Assembled, PipelineError> {
        let (writer, compute) = (self.writer, &self.assembly.compute);
        let alone = writer
            .has_spilled()
            .then(|| compute.memory.writers.catch_up());
        let mut files = compute.install(|| writer.close())?;
        drop(alone);
        let (mut partitions, mut hashes, mut drift) = (BTreeMap::new(), self.hashes, self.drift);
        let mut stats = self.stats;
        for (key, books) in self.partitions {
            let partition = AssembledPartition {
                files: files.remove(&key).unwrap_or_default(),
                content_digest: hashes.digest(&key)?,
                drift: drift.take(&key),
                stats: stats.remove(&key).unwrap_or_default(),
                books,
            };
            partitions.insert(key, partition);
        }
        Ok(Assembled {
            partitions,
            aside: self.aside.finish()?,
            counts: self.counts,
            first_dead_letter: self.first_dead_letter,
            learned: BTreeSet::new(),
            tombstones: self.assembly.tombstones.clone(),
            folders: Vec::new(),
        })
    }
}

/// Whether a fragment is not brought, but is in the lake already.
fn is_held(fragment: &Fragment) -> bool {
    fragment.origin_kind.is_in_lake()
}

/// Counts a record of a partition, brought or held before.
fn meet(books: &mut PartitionBooks, is_held: bool) {
    if is_held {
        books.held += 1;
    } else {
        books.assigned += 1;
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

#[cfg(test)]
mod tests {
    use answerlake_load::{Lake, LakeStore};
    use answerlake_model::{AppId, Grain, Table, Window};
    use answerlake_transform::schema::table_schemas;
    use answerlake_transform::{AppAssignment, PromptLayout};
    use chrono::TimeDelta;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::bridge::Exported;
    use crate::progress::Progress;

    const DAY: &str = "2025-06-28";

    fn assemble(fragments: &[&[String]], threads: usize) -> (Assembled, tempfile::TempDir) {
        let limit = DecodeConfig::DEFAULT_MAX_RECORD_BYTES;
        assemble_within(limit, fragments, threads)
    }

    fn assemble_within(
        max_record_bytes: usize,
        fragments: &[&[String]],
        threads: usize,
    ) -> (Assembled, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let app_id = AppId::try_new("st-1").unwrap();
        let start = format!("{DAY}T00:00:00Z").parse().unwrap();
        let window = Window::try_new(start, start + TimeDelta::days(1)).unwrap();
        let assembly = Assembly {
            compute: Compute::try_new(Some(threads), 1 << 30, 1).unwrap(),
            decode: DecodeConfig {
                window: Some((window, TimeDelta::seconds(1))),
                max_record_bytes,
                ..DecodeConfig::new(AppAssignment::Fixed(app_id.clone()))
            },
            writer: WriterConfig::default(),
            schemas: Arc::new(table_schemas(PromptLayout::Parts)),
            scratch: folder.path().to_owned(),
            fallback: PartitionKey::new(app_id, start, Grain::Day),
            progress: Progress::default().begin(None),
            tombstones: Tombstones::default(),
        };
        let fragments: Vec<Fragment> = fragments
            .iter()
            .zip(1..)
            .map(|(records, number)| {
                let path = folder.path().join(format!("fragment-{number}.json"));
                std::fs::write(&path, format!("[{}]", records.join(","))).unwrap();
                let job = Exported {
                    place: 0,
                    job_id: "fj-1".to_owned(),
                    part: None,
                    as_of: Some(window.end()),
                };
                Fragment {
                    number,
                    position: number,
                    path,
                    origin: format!("fragment {number}"),
                    promised_records: Some(records.len() as u64),
                    origin_kind: OriginKind::Exported(Arc::new(job)),
                }
            })
            .collect();
        (assembly.run(fragments.into_iter()).unwrap(), folder)
    }

    /// A search at `time` of the day, with text that tells its version.
    fn search(id: &str, modified: &str, text: &str, time: &str) -> String {
        format!(
            r#"{{"_id":"{id}","searchRequestId":"{id}","event":"search","query":"{text}","lMod":"{DAY}T10:00:{modified}.000Z",
            "timeStampValue":0,"createdOn":"{time}","answerDebug":[{{"_id":"d","searchRequestId":"{id}","generativeChunks":[{{"chunkText":"{text}"}}]}}]}}"#
        )
    }

    fn at_noon(id: &str, modified: &str, text: &str) -> String {
        search(id, modified, text, &format!("{DAY}T12:00:00.000Z"))
    }

    fn only(assembled: &Assembled) -> &AssembledPartition {
        assert_eq!(assembled.partitions.len(), 1);
        assembled.partitions.values().next().unwrap()
    }

    fn rows(partition: &AssembledPartition, table: Table) -> u64 {
        partition
            .files
            .iter()
            .filter(|file| file.table == table)
            .map(|file| file.rows)
            .sum()
    }

    #[test]
    fn a_record_sent_twice_is_written_once() {
        let (assembled, _folder) = assemble(
            &[
                &[at_noon("a", "01", "x"), at_noon("b", "01", "y")],
                &[at_noon("a", "01", "x")],
            ],
            2,
        );
        let partition = only(&assembled);
        let expected = PartitionBooks {
            assigned: 3,
            written: 2,
            duplicates: 1,
            ..PartitionBooks::default()
        };
        assert_eq!(partition.books, expected);
        assert_eq!(
            (
                rows(partition, Table::Queries),
                rows(partition, Table::Chunks)
            ),
            (2, 2)
        );
        let (once, _folder) = assemble(&[&[at_noon("a", "01", "x"), at_noon("b", "01", "y")]], 1);
        assert_eq!(partition.content_digest, only(&once).content_digest);
        let hashes = |partition: &AssembledPartition| -> Vec<String> {
            partition
                .files
                .iter()
                .map(|file| file.sha256.clone())
                .collect()
        };
        assert_eq!(hashes(partition), hashes(only(&once)));
    }

    #[test]
    fn of_two_versions_the_later_one_wins_wherever_it_stands() {
        let (old, new, other) = (
            at_noon("a", "01", "old"),
            at_noon("a", "02", "new"),
            at_noon("b", "01", "y"),
        );
        let (expected, _folder) = assemble(&[&[new.clone(), other.clone()]], 1);
        for fragments in [
            vec![new.clone(), old.clone(), other.clone()],
            vec![old.clone(), new.clone(), new, other],
        ] {
            let (assembled, _folder) = assemble(&[&fragments], 2);
            let partition = only(&assembled);
            assert_eq!(
                (
                    partition.books.written,
                    partition.books.conflicts,
                    partition.books.dead_letters
                ),
                (2, 1, 1)
            );
            assert_eq!(partition.books.duplicates, fragments.len() as u64 - 3);
            assert!(partition.books.balance());
            assert_eq!(partition.content_digest, only(&expected).content_digest);
            assert_eq!(
                (
                    rows(partition, Table::Queries),
                    rows(partition, Table::Chunks)
                ),
                (2, 2)
            );
        }
    }

    #[tokio::test]
    async fn records_over_the_limit_are_set_aside_whole() {
        let large = |text: &str| format!(r#"{{"_id":"x","text":"{}"}}"#, text.repeat(3_000));
        let (second, third) = (large("a\\\"]"), large("é"));
        let good = |id| at_noon(id, "01", "x");
        let fragments: [&[String]; 2] = [
            &[good("a"), second.clone(), third.clone(), good("b")],
            &[third.clone(), good("c")],
        ];
        let (assembled, _folder) = assemble_within(2_000, &fragments, 2);
        assert_eq!(assembled.counts[0].decoded, 6);
        assert_eq!(assembled.counts[0].unassigned, 3);
        assert_eq!(only(&assembled).books.written, 3);
        assert_eq!(
            assembled.first_dead_letter.as_deref(),
            Some("fragment 1, record 2: expected a record of at most 2000 bytes, got 12021 bytes")
        );
        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        assembled.aside.put(&lake).await.unwrap();
        let letters = dead_letters(&lake).await;
        let raw: Vec<_> = letters.iter().map(|line| &line["raw"]).collect();
        assert_eq!(raw, [&second, &third, &third]);
    }

    #[tokio::test]
    async fn what_belongs_elsewhere_is_kept_beside_the_lake() {
        let fragments = [
            at_noon("a", "01", "x"),
            search("b", "01", "stray", "2025-07-04T00:00:00.000Z"),
            search("c", "01", "margin", "2025-06-29T00:00:00.500Z"),
            "NaN".to_owned(),
            r#"{"event":"thumbsUp","createdOn":"2025-06-28T12:00:00.000Z"}"#.to_owned(),
        ];
        let (assembled, _folder) = assemble(&[&fragments], 2);
        let partition = only(&assembled);
        let expected = PartitionBooks {
            assigned: 2,
            written: 1,
            dead_letters: 1,
            ..PartitionBooks::default()
        };
        assert_eq!(partition.books, expected);
        let expected = Counts {
            fragments: 1,
            decoded: 5,
            margin: 1,
            strays: 1,
            unassigned: 1,
            assigned: 2,
            duplicates: 0,
        };
        assert_eq!(assembled.counts, [expected]);

        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        assembled.aside.put(&lake).await.unwrap();
        let stray_day = PartitionKey::new(
            AppId::try_new("st-1").unwrap(),
            "2025-07-04T00:00:00Z".parse().unwrap(),
            Grain::Day,
        );
        let strays = lake.strays(stray_day.app_id()).await.unwrap();
        let name = strays[&stray_day].first().unwrap();
        assert!(name.starts_with("20250629T000000.000Z-"), "{name}");
        let lines = lake.read_strays(&stray_day, name).await.unwrap();
        let lines = zstd::decode_all(&lines[..]).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&lines).unwrap();
        assert_eq!(record["query"], "stray");

        let letters = dead_letters(&lake).await;
        let reasons: Vec<_> = letters.iter().map(|line| &line["reason"]).collect();
        assert_eq!(reasons, ["invalid_json", "no_id"]);
        assert!(letters.iter().all(|line| line["job_id"] == "fj-1"));
    }

    /// The lines of the only file of dead letters.
    async fn dead_letters(lake: &Lake) -> Vec<serde_json::Value> {
        let store = lake.store().object_store();
        let folder = format!("_answerlake/dead_letters/app_id=st-1/dt={DAY}").into();
        let listed = store.list_with_delimiter(Some(&folder)).await.unwrap();
        assert_eq!(listed.objects.len(), 1);
        let object = store.get(&listed.objects[0].location).await.unwrap();
        let lines = zstd::decode_all(&object.bytes().await.unwrap()[..]).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
