//! Decodes a block of records: each to its partition's batches, or aside.
//!
//! What becomes of a record depends on its bytes and the [`DecodeConfig`] alone, so blocks can be decoded in any order
//! and on any thread. Which of several records with one identity is kept cannot be told from one block; for that, each
//! record's identity, hash and rows are handed out beside the batches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use answerlake_model::{AppId, Grain, PartitionKey, PerTable, RecordDrift, TableSchema, Window};
use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};

use crate::batch::RowBuilders;
use crate::column::{integer, parse_time};
use crate::dead_letter::{DeadLetter, Raw, Reason};
use crate::digest::{ArrayHash, Hash, hash_literal, hash_text};
use crate::flatten::{EventKind, Flattener, MAX_ID_BYTES, RecordContext};
use crate::forgotten::{Forgotten, IdHash, Verdict};
use crate::frame::{BlockReader, OversizedRecord, RecordBlock};
use crate::json::{Arena, JsonError, Kind, Value, compact};
use crate::masking::{MaskedRecords, Masking, Withheld};
use crate::record::{RECORD_SLOTS, Record};
use crate::schema::{PromptLayout, table_schemas};

/// What decides where a record goes.
#[derive(Debug, Clone)]
pub struct DecodeConfig {
    /// The app that records belong to.
    pub app: AppAssignment,
    /// The window that was asked for, and the margin around it; `None` takes records of any time.
    pub window: Option<(Window, TimeDelta)>,
    /// The grain that partitions are cut at.
    pub grain: Grain,
    /// How prompts are stored.
    pub prompt: PromptLayout,
    /// A record larger than this, in bytes, becomes a dead letter. Default: 32 MiB.
    pub max_record_bytes: usize,
    /// What must not land of a record; absent where everything may. Records that were masked before, such as strays and
    /// restored ones, are not to be masked again.
    pub masking: Option<Arc<Masking>>,
    /// Which records are forgotten, and must not land: by their ids as they come, and as they are masked. Absent where
    /// none are.
    pub forgotten: Option<Arc<Forgotten>>,
}

impl DecodeConfig {
    /// 32 MiB: some 150 times the largest record the vendor documents. A record takes several times its size while it
    /// is decoded and written, and that must fit in the least memory a run may have.
    pub const DEFAULT_MAX_RECORD_BYTES: usize = 32 * 1024 * 1024;

    /// For records of any time, by day, with prompts as parts, of the default size, and not masked.
    pub fn new(app: AppAssignment) -> Self {
        Self {
            app,
            window: None,
            grain: Grain::Day,
            prompt: PromptLayout::default(),
            max_record_bytes: Self::DEFAULT_MAX_RECORD_BYTES,
            masking: None,
            forgotten: None,
        }
    }
}

/// Which app records belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppAssignment {
    /// This one: they came out of its export.
    Fixed(AppId),
    /// The one that each names in `botId`.
    FromRecords,
}

/// A block, decoded.
#[derive(Debug)]
pub struct DecodedBlock {
    /// The records' bytes; masked, if that is asked for.
    pub bytes: Vec<u8>,
    /// Records met.
    pub decoded: u64,
    /// The rows of each partition that has records here.
    pub partitions: Vec<PartitionRows>,
    /// Records in the margin, which belong to a neighbour.
    pub margin: u64,
    /// Records outside of window and margin.
    pub strays: Vec<Stray>,
    /// Records that could not be loaded.
    pub dead_letters: Vec<DeadLetter>,
    /// Records that are forgotten.
    pub forgotten: ForgottenRecords,
}

/// Records that are forgotten: nothing is left of them but their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForgottenRecords {
    /// How many would have been assigned to each partition.
    pub partitions: BTreeMap<PartitionKey, u64>,
    /// How many would have been strays.
    pub strays: u64,
    /// How many could have been assigned to none.
    pub unassigned: u64,
    /// Their queries, where these were not known as forgotten.
    pub learned: BTreeSet<IdHash>,
}

/// The rows of one partition, in the order of their records.
#[derive(Debug)]
pub struct PartitionRows {
    /// The partition.
    pub key: PartitionKey,
    /// Its rows by table; `None` where there are none.
    pub batches: PerTable<Option<RecordBatch>>,
    /// Its records.
    pub records: Vec<RecordRows>,
}

/// One record among the rows.
#[derive(Debug, Clone)]
pub struct RecordRows {
    /// Event and id: equal for records of which one is to be kept.
    pub identity: Hash,
    /// The record by value.
    pub hash: Hash,
    /// `lMod` in microseconds.
    pub modified_at: Option<i64>,
    /// Its place in the fragment, from 1.
    pub record: u64,
    /// Where it stands in the block's bytes.
    pub range: Range<usize>,
    /// Up to which row of each table it reaches; it begins where the record before it ends.
    pub row_ends: PerTable<u32>,
    /// What of it the columns do not hold.
    pub drift: Option<Box<RecordDrift>>,
}

/// A record of another day than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The partition it belongs to.
    pub partition: PartitionKey,
    /// The record by value.
    pub hash: Hash,
    /// The record on one line.
    pub json: String,
}

/// Decodes blocks; cheap to share among threads.
#[derive(Debug)]
pub struct Decoder {
    config: DecodeConfig,
    schemas: PerTable<TableSchema>,
}

impl Decoder {
    /// Makes a decoder.
    pub fn new(config: DecodeConfig) -> Self {
        let schemas = table_schemas(config.prompt);
        Self { config, schemas }
    }

    /// The same, for records that all belong to one app.
    #[must_use]
    pub fn of_app(&self, app_id: AppId) -> Self {
        Self::new(DecodeConfig {
            app: AppAssignment::Fixed(app_id),
            ..self.config.clone()
        })
    }

    /// The same, for records of what was asked for as a part of its window. Nothing changes where there is none.
    #[must_use]
    pub fn of_part(&self, part: Window) -> Self {
        let window = self.config.window.map(|(_, margin)| (part, margin));
        Self::new(DecodeConfig {
            window,
            ..self.config.clone()
        })
    }

    /// The same, for records that are masked already, by the same policies and key.
    #[must_use]
    pub fn of_masked(&self) -> Self {
        Self::new(DecodeConfig {
            masking: None,
            ..self.config.clone()
        })
    }

    /// The same, for records that a lake holds, of any time and size: whatever is asked for or refused now, they were
    /// taken in, and must come out again.
    #[must_use]
    pub fn of_held(&self) -> Self {
        Self::new(DecodeConfig {
            window: None,
            max_record_bytes: usize::MAX,
            ..self.config.clone()
        })
    }

    /// The mark of its masking; `None` where nothing is masked.
    pub fn masking_mark(&self) -> Option<String> {
        let masking = self.config.masking.as_ref();
        masking.map(|masking| masking.mark())
    }

    /// Cuts the fragment that `source` gives into blocks.
    pub fn blocks<R: Read>(&self, source: R) -> BlockReader<R> {
        let blocks = BlockReader::new(source, self.config.max_record_bytes);
        match &self.config.masking {
            Some(_) => blocks.without_quotes(),
            None => blocks,
        }
    }

    /// Decodes one block of the fragment with that number (from 1).
    pub fn decode(&self, block: RecordBlock, fragment: u32) -> DecodedBlock {
        let RecordBlock {
            bytes,
            records,
            records_before,
            oversized,
        } = block;
        let end = records_before + records.len() as u64;
        let mut sorted = Sorted::new(&self.config, fragment);
        let verdicts = self.verdicts_before_masking(&bytes, &records);
        // From here on nobody sees what is masked.
        let MaskedRecords { bytes, records } = match &self.config.masking {
            Some(masking) => {
                let masked = masking.mask(&bytes, records);
                drop(bytes);
                masked
            }
            None => MaskedRecords::unmasked(bytes, records),
        };
        let mut record = Record::default();
        for (index, place) in records.into_iter().enumerate() {
            let number = records_before + 1 + index as u64;
            match place {
                Ok(range) => {
                    let verdict = verdicts.get(index).copied().flatten();
                    sorted.add(&mut record, &bytes, range, number, verdict);
                }
                Err(withheld) => sorted.add_withheld(withheld, number),
            }
        }
        drop(record);
        if let Some(oversized) = oversized {
            sorted.add_oversized(oversized, end + 1);
        }
        let Sorted {
            partitions,
            margin,
            strays,
            dead_letters,
            decoded,
            forgotten,
            ..
        } = sorted;
        let partitions = partitions
            .into_iter()
            .map(|(key, (builders, records))| PartitionRows {
                key,
                batches: builders.finish(&self.schemas),
                records,
            })
            .collect();
        DecodedBlock {
            bytes,
            decoded,
            partitions,
            margin,
            strays,
            dead_letters,
            forgotten,
        }
    }

    /// Which records are forgotten by ids that masking takes away; none where nothing is masked.
    fn verdicts_before_masking(
        &self,
        bytes: &[u8],
        records: &[Range<usize>],
    ) -> Vec<Option<Verdict>> {
        match (&self.config.masking, &self.config.forgotten) {
            (Some(_), Some(forgotten)) => {
                let records = records.iter();
                let verdicts = records.map(|range| forgotten.judge_bytes(&bytes[range.clone()]));
                verdicts.collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The records of a block, sorted by where they go.
struct Sorted<'a> {
    config: &'a DecodeConfig,
    fragment: u32,
    flattener: Flattener,
    arena: Arena,
    partitions: BTreeMap<PartitionKey, (RowBuilders, Vec<RecordRows>)>,
    decoded: u64,
    margin: u64,
    strays: Vec<Stray>,
    dead_letters: Vec<DeadLetter>,
    forgotten: ForgottenRecords,
}

impl<'a> Sorted<'a> {
    fn new(config: &'a DecodeConfig, fragment: u32) -> Self {
        Self {
            config,
            fragment,
            flattener: Flattener::new(config.prompt),
            arena: Arena::default(),
            partitions: BTreeMap::new(),
            decoded: 0,
            margin: 0,
            strays: Vec::new(),
            dead_letters: Vec::new(),
            forgotten: ForgottenRecords::default(),
        }
    }

    fn add<'b>(
        &mut self,
        record: &mut Record<'b>,
        bytes: &'b [u8],
        range: Range<usize>,
        number: u64,
        verdict: Option<Verdict>,
    ) {
        self.decoded += 1;
        let raw = &bytes[range.clone()];
        let added = self.try_add(record, raw, range.clone(), number, verdict);
        if let Err((partition, reason)) = added {
            let forgotten = self.config.forgotten.as_ref();
            let verdict = verdict.or_else(|| forgotten?.judge_bytes(raw));
            if let Some(verdict) = verdict {
                self.forgotten.learned.extend(verdict.learned);
                self.forgotten.unassigned += 1;
                return;
            }
            let letter = DeadLetter {
                partition,
                fragment: self.fragment,
                record: number,
                reason,
                raw: Raw::Block(range),
            };
            self.dead_letters.push(letter);
        }
    }

    fn add_withheld(&mut self, withheld: Withheld, number: u64) {
        self.decoded += 1;
        self.dead_letters.push(DeadLetter {
            partition: None,
            fragment: self.fragment,
            record: number,
            reason: withheld.reason,
            raw: Raw::Withheld {
                bytes: withheld.bytes,
            },
        });
    }

    fn add_oversized(&mut self, oversized: OversizedRecord, number: u64) {
        self.decoded += 1;
        self.dead_letters.push(DeadLetter {
            partition: None,
            fragment: self.fragment,
            record: number,
            reason: Reason::TooLarge {
                bytes: oversized.bytes,
                max_bytes: self.config.max_record_bytes as u64,
            },
            raw: match self.config.masking {
                Some(_) => Raw::Withheld {
                    bytes: oversized.bytes,
                },
                None => Raw::Fragment(oversized),
            },
        });
    }

    fn try_add<'b>(
        &mut self,
        record: &mut Record<'b>,
        raw: &'b [u8],
        range: Range<usize>,
        number: u64,
        verdict: Option<Verdict>,
    ) -> Result<(), (Option<PartitionKey>, Reason)> {
        let unplaced = |reason| (None, reason);
        let text = text_of(raw).map_err(unplaced)?;
        let parsed = record.parse(text, &mut self.arena);
        let hash = parsed.map_err(|error| unplaced(not_a_record(text, &error)))?;
        let facts = Facts::read(record, &self.arena);
        let Some(created_at) = facts.created_at else {
            return Err(unplaced(Reason::NoTime {
                found: shortened(facts.created_on),
            }));
        };
        let app_id = match &self.config.app {
            AppAssignment::Fixed(app_id) => app_id.clone(),
            AppAssignment::FromRecords => facts
                .bot_id
                .text(&self.arena)
                .and_then(|id| AppId::try_new(id).ok())
                .ok_or_else(|| {
                    unplaced(Reason::NoApp {
                        found: shortened(facts.bot_id),
                    })
                })?,
        };
        let key = PartitionKey::new(app_id, created_at, self.config.grain);
        let is_inside = self
            .config
            .window
            .is_none_or(|(window, _)| window.contains(created_at));
        let in_margin = !is_inside
            && self
                .config
                .window
                .is_some_and(|(window, margin)| in_margin(&window, margin, created_at));
        if in_margin {
            self.margin += 1;
            return Ok(());
        }
        let forgotten = self.config.forgotten.as_ref();
        let verdict = verdict.or_else(|| forgotten?.judge(record, &self.arena));
        if let Some(verdict) = verdict {
            self.forgotten.learned.extend(verdict.learned);
            if is_inside {
                *self.forgotten.partitions.entry(key).or_default() += 1;
            } else {
                self.forgotten.strays += 1;
            }
            return Ok(());
        }
        let Some(identity) = facts.identity(key.app_id(), &self.arena) else {
            // A stray without an id could never be joined in; it is set aside with the partition it names.
            return Err((
                is_inside.then_some(key),
                Reason::NoId {
                    found: shortened(facts.id),
                },
            ));
        };
        if !is_inside {
            self.strays.push(Stray {
                partition: key,
                hash,
                json: compact(text).into_owned(),
            });
            return Ok(());
        }
        let prompt = self.config.prompt;
        let (builders, records) = self
            .partitions
            .entry(key)
            .or_insert_with(|| (RowBuilders::new(prompt), Vec::new()));
        let context = RecordContext {
            record,
            arena: &self.arena,
            kind: facts.kind,
            search_request_id: facts.search_request_id,
            record_id: facts
                .id
                .text(&self.arena)
                .filter(|id| id.len() <= MAX_ID_BYTES),
            created_at: created_at.timestamp_micros(),
        };
        let drift = self.flattener.flatten(&context, builders);
        records.push(RecordRows {
            identity,
            hash,
            modified_at: facts.modified_at,
            record: number,
            range,
            row_ends: builders.rows(),
            drift,
        });
        Ok(())
    }
}

/// What must be known of a record before its rows are made.
struct Facts<'r, 'a> {
    kind: EventKind,
    event: &'r Value<'a>,
    id: &'r Value<'a>,
    search_request_id: Option<&'r str>,
    bot_id: &'r Value<'a>,
    created_on: &'r Value<'a>,
    created_at: Option<DateTime<Utc>>,
    modified_at: Option<i64>,
}

impl<'r, 'a> Facts<'r, 'a> {
    fn read(record: &'r Record<'a>, arena: &'r Arena) -> Self {
        let at = &*RECORD_SLOTS;
        let slots = record.slots(0);
        let event = &slots[at.event];
        let created_on = &slots[at.created_on];
        let micros = created_on
            .text(arena)
            .and_then(parse_time)
            .map(|time| time.micros)
            .filter(is_usable)
            .or_else(|| {
                integer(&slots[at.time_stamp_value])?
                    .checked_mul(1000)
                    .filter(is_usable)
            });
        Self {
            kind: match event.text(arena) {
                Some("search") => EventKind::Search,
                Some("thumbsUp" | "thumbsDown") => EventKind::Feedback,
                _ => EventKind::Other,
            },
            event,
            id: &slots[at.id],
            search_request_id: slots[at.search_request_id]
                .exact_text(arena)
                .filter(|id| is_usable_id(id)),
            bot_id: &slots[at.bot_id],
            created_on,
            created_at: micros.and_then(DateTime::from_timestamp_micros),
            modified_at: slots[at.modified_at]
                .text(arena)
                .and_then(parse_time)
                .map(|time| time.micros),
        }
    }

    /// The hash of app, event and id; `None` when there is no id to tell records apart by.
    fn identity(&self, app_id: &AppId, arena: &Arena) -> Option<Hash> {
        let hash_of = |value: &Value<'_>| match value.exact_text(arena) {
            Some(text) => hash_text(text.as_bytes()),
            None => hash_literal(value.raw),
        };
        let own = self
            .id
            .text(arena)
            .filter(|id| is_usable_id(id))
            .map(|_| hash_of(self.id));
        // Of a search, the id it goes by will do. Feedback and events name another record's there, and several of them
        // may name the same.
        let other = self
            .search_request_id
            .filter(|_| self.kind == EventKind::Search);
        let mut identity = ArrayHash::new();
        identity.add(hash_text(app_id.as_str().as_bytes()));
        identity.add(hash_of(self.event));
        identity.add(own.or_else(|| other.map(|id| hash_text(id.as_bytes())))?);
        Some(identity.finish())
    }
}

fn is_usable_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
}

/// Times from 1970 to the end of 2199: what lies outside is a mistake, and would make a partition of its own.
fn is_usable(micros: &i64) -> bool {
    const YEAR_2200: i64 = 7_258_118_400_000_000;
    (0..YEAR_2200).contains(micros)
}

fn in_margin(window: &Window, margin: TimeDelta, time: DateTime<Utc>) -> bool {
    // Both ends of what was asked for may be inclusive.
    window.start() - margin <= time && time <= window.end() + margin
}

/// The text of a record.
pub(crate) fn text_of(raw: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(raw).map_err(|error| Reason::InvalidUtf8 {
        at: error.valid_up_to(),
    })
}

/// What to say of a text that is no record: that it is no object, if it is JSON at all.
pub(crate) fn not_a_record(text: &str, error: &JsonError) -> Reason {
    let JsonError { at, expected } = *error;
    if text.trim_start().starts_with('{') {
        return Reason::InvalidJson { at, expected };
    }
    match serde_json::from_str::<&serde_json::value::RawValue>(text) {
        Ok(_) => Reason::NotAnObject,
        Err(_) if text.trim().is_empty() => Reason::InvalidJson {
            at,
            expected: "a record",
        },
        Err(_) => Reason::InvalidJson { at, expected },
    }
}

fn shortened(value: &Value<'_>) -> String {
    if value.kind == Kind::Absent {
        return "no such field".to_owned();
    }
    let mut text: String = value.raw.chars().take(60).collect();
    if text.len() < value.raw.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use answerlake_model::Table;
    use arrow::array::AsArray;
    use arrow::datatypes::DataType;

    use super::*;

    const SEARCH: &str = r#"{"_id":"fsh-1","query":"how?","searchRequestId":"fsh-1","event":"search","comments":{"tags":[]},"selectedFacets":[],
        "botId":"st-1","timeStampValue":1751105958209,"createdOn":"2025-06-28T10:19:18.209Z","isDev":false,"lMod":"2025-06-28T10:19:18.000Z","__v":0,
        "answerDebug":[{"_id":"fad-1","searchRequestId":"fsh-1","createdOn":"2025-06-28T10:19:18.217Z","generativeChunksCount":2,"extractiveChunks":[],
          "generativeChunks":[
            {"score":0.75,"chunkText":"one\n<b>","sentToLLM":true,"chunkFrequency":"0","moreInfo":[{"key":"Chunk Title","value":""}],"additionalInfo":{"chunkId":"chk-a"}},
            {"score":1,"chunkText":"two","sentToLLM":false,"moreInfo":[{"key":"Chunk Title","value":"T"},{"key":"Page Number","value":3}]}],
          "chunksSentToLLM":1,"prompt":"Rules\nchk-1: one","llmResponse":{
            "responseDetails":{"completionText":{"answer":"[chk-1] so","chunkIds":["chk-1"]},"moreInfo":[{"key":"LLM Response Id","value":"llm-1"}]},
            "responseTime":{"moreInfo":[{"key":"Completion Time","value":8963.1632}]}}}]}"#;
    const FEEDBACK: &str = r#"{"_id":"685fc1ae","query":"how?","searchRequestId":"fsh-1","event":"thumbsDown","comments":{"tags":["Wrong"]},
        "botId":"st-1","timeStampValue":1751105966740,"createdOn":"2025-06-28T10:19:26.740Z","__v":0}"#;

    fn config() -> DecodeConfig {
        DecodeConfig::new(AppAssignment::FromRecords)
    }

    fn decode(config: DecodeConfig, records: &[&str]) -> DecodedBlock {
        let fragment = format!("[{}]", records.join(","));
        let block = BlockReader::new(fragment.as_bytes(), usize::MAX)
            .next()
            .unwrap()
            .unwrap();
        Decoder::new(config).decode(block, 1)
    }

    /// The rows of `table` in the first partition, `column=value` by row, nulls left out.
    fn rows(block: &DecodedBlock, table: Table) -> Vec<String> {
        let batch = block.partitions[0].batches[table].as_ref().unwrap();
        let schema = batch.schema();
        (0..batch.num_rows())
            .map(|row| {
                let shown = schema
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .filter(|(_, array)| array.is_valid(row))
                    .map(|(field, array)| {
                        let plain = match field.data_type() {
                            DataType::Timestamp(unit, _) => {
                                arrow::compute::cast(array, &DataType::Timestamp(*unit, None))
                                    .unwrap()
                            }
                            _ => array.clone(),
                        };
                        format!(
                            "{}={}",
                            field.name(),
                            arrow::util::display::array_value_to_string(&plain, row).unwrap()
                        )
                    });
                shown.collect::<Vec<_>>().join(" | ")
            })
            .collect()
    }

    #[test]
    fn a_search_fills_four_tables_and_leaves_nothing_over() {
        let block = decode(config(), &[SEARCH]);
        assert_eq!(
            block.partitions[0].key.to_string(),
            "app_id=st-1/dt=2025-06-28"
        );
        assert_eq!(
            rows(&block, Table::Queries),
            [
                "query_id=fsh-1 | record_id=fsh-1 | created_at=2025-06-28T10:19:18.209 | query_text=how? | answer_count=1 | is_dev=false | \
              bot_id=st-1 | comment_tags=[] | selected_facets=[] | modified_at=2025-06-28T10:19:18 | doc_version=0"
            ]
        );
        assert_eq!(
            rows(&block, Table::Answers),
            [
                "query_id=fsh-1 | record_id=fsh-1 | answer_id=fad-1 | created_at=2025-06-28T10:19:18.209 | position=1 | \
              answered_at=2025-06-28T10:19:18.217 | generative_chunk_count=2 | chunks_sent_to_llm=1"
            ]
        );
        let shared = "query_id=fsh-1 | record_id=fsh-1 | answer_id=fad-1 | created_at=2025-06-28T10:19:18.209 | answer_position=1";
        assert_eq!(
            rows(&block, Table::Chunks),
            [
                format!(
                    "{shared} | kind=generative | position=1 | cited=true | score=0.75 | sent_to_llm=true | frequency=0 | chunk_title= | chunk_id=chk-a | text=one\n<b>"
                ),
                format!(
                    "{shared} | kind=generative | position=2 | cited=false | score=1.0 | sent_to_llm=false | page_number=3 | chunk_title=T | text=two"
                ),
            ]
        );
        assert_eq!(
            rows(&block, Table::LlmCalls),
            [format!(
                "{shared} | prompt_parts=[Rules\n, chk-1, : one] | completion_text=[chk-1] so | cited_positions=[1] | has_completion=true | response_id=llm-1 | completion_time_ms=8963.1632"
            )]
        );
        assert!(block.partitions[0].batches[Table::Feedback].is_none());
    }

    #[test]
    fn feedback_and_other_events_have_their_tables() {
        let click = r#"{"_id":"c1","event":"citationClick","createdOn":"2025-06-28T11:00:00.000Z","botId":"st-1","chunk": "chk-1"}"#;
        let block = decode(config(), &[FEEDBACK, click]);
        assert_eq!(
            rows(&block, Table::Feedback),
            [
                "feedback_id=685fc1ae | query_id=fsh-1 | created_at=2025-06-28T10:19:26.740 | event=thumbsDown | tags=[Wrong] | query_text=how? | bot_id=st-1 | doc_version=0"
            ]
        );
        assert_eq!(
            rows(&block, Table::Events),
            [format!(
                "record_id=c1 | created_at=2025-06-28T11:00:00 | event=citationClick | record={}",
                click.replace(": ", ":")
            )]
        );
    }

    /// `extra` of the only row of a table.
    fn extra(block: &DecodedBlock, table: Table) -> Option<String> {
        let batch = block.partitions[0].batches[table].as_ref().unwrap();
        let column = batch.column_by_name("extra").unwrap();
        column
            .is_valid(0)
            .then(|| column.as_string::<i32>().value(0).to_owned())
    }

    #[test]
    fn what_the_columns_do_not_hold_stands_in_extra() {
        let cases = [
            (
                Table::Queries,
                r#""isDev":false"#,
                r#""isDev":false,"new~/key":{"a": [1]}"#,
                r#"{"/new~0~1key":{"a":[1]}}"#,
            ),
            (
                Table::Queries,
                r#""isDev":false"#,
                r#""isDev":null,"language":null,"model":7"#,
                r#"{"/model":7,"/language":null,"/isDev":null}"#,
            ),
            (
                Table::Queries,
                r#""comments":{"tags":[]}"#,
                r#""comments":{}"#,
                r#"{"/comments":{}}"#,
            ),
            (
                Table::Queries,
                r#""comments":{"tags":[]}"#,
                r#""comments":{"tags":"x","text":"y"}"#,
                r#"{"/comments/tags":"x","/comments/text":"y"}"#,
            ),
            (
                Table::Queries,
                r#""query":"how?""#,
                r#""query":"\ud800""#,
                r#"{"/query":"\ud800"}"#,
            ),
            (
                Table::Queries,
                r#""timeStampValue":1751105958209,"#,
                "",
                r#"{"absent":["/timeStampValue"]}"#,
            ),
            (
                Table::Queries,
                r#""_id":"fsh-1""#,
                r#""_id":7"#,
                r#"{"/_id":7}"#,
            ),
            (
                Table::Queries,
                r#""_id":"fsh-1""#,
                r#""_id":"\ud800""#,
                r#"{"/_id":"\ud800","rows":{"chunks":2,"llm_calls":1}}"#,
            ),
            (
                Table::Answers,
                r#""_id":"fad-1""#,
                r#""_id":null"#,
                r#"{"/_id":null}"#,
            ),
            (
                Table::Queries,
                r#""__v":0"#,
                r#""__v":0,"__v":1"#,
                "verbatim",
            ),
            (
                Table::Answers,
                r#""extractiveChunks":[]"#,
                r#""extractiveChunks":[7]"#,
                r#"{"/extractiveChunks/0":7}"#,
            ),
            (
                Table::Answers,
                r#""extractiveChunks":[],"#,
                "",
                r#"{"absent":["/extractiveChunks"]}"#,
            ),
            (
                Table::Answers,
                r#""chunksSentToLLM":1"#,
                r#""chunksSentToLLM":["chk-1"]"#,
                r#"{"/chunksSentToLLM":["chk-1"]}"#,
            ),
            (
                Table::Chunks,
                r#""score":0.75"#,
                r#""score":"0.75""#,
                r#"{"/score":"0.75"}"#,
            ),
            (
                Table::Chunks,
                r#"[{"key":"Chunk Title","value":""}]"#,
                r#"[{"key":"Chunk Title"}]"#,
                r#"{"/moreInfo":[{"key":"Chunk Title"}]}"#,
            ),
            (
                Table::Chunks,
                r#"{"chunkId":"chk-a"}"#,
                "{}",
                r#"{"/additionalInfo":{}}"#,
            ),
            (
                Table::LlmCalls,
                r#""prompt":"Rules\nchk-1: one""#,
                r#""prompt":{"promptText":"x","moreInfo":[],"model":"m"}"#,
                r#"{"/prompt/model":"m"}"#,
            ),
            (
                Table::LlmCalls,
                r#""prompt":"Rules\nchk-1: one""#,
                r#""prompt":{"promptText":[{"role":"user"}]}"#,
                r#"{"/prompt/promptText":[{"role":"user"}],"absent":["/prompt/moreInfo"]}"#,
            ),
            (
                Table::LlmCalls,
                r#","chunkIds":["chk-1"]"#,
                r#","chunkIds":null"#,
                r#"{"/llmResponse/responseDetails/completionText/chunkIds":null}"#,
            ),
            (
                Table::LlmCalls,
                r#""value":8963.1632"#,
                r#""value":"8963""#,
                r#"{"/llmResponse/responseTime/moreInfo":[{"key":"Completion Time","value":"8963"}]}"#,
            ),
        ];
        for (table, documented, drifted, expected) in cases {
            assert!(SEARCH.contains(documented), "{documented}");
            let block = decode(config(), &[&SEARCH.replacen(documented, drifted, 1)]);
            assert_eq!(block.dead_letters, [], "{drifted}");
            let extra = extra(&block, table).unwrap_or_default();
            assert!(
                extra == expected
                    || expected == "verbatim" && extra.starts_with("{\"verbatim\":{\"\":\"{"),
                "{drifted}: {extra}"
            );
        }
    }

    #[test]
    fn an_event_leaves_nothing_behind_for_the_next_record() {
        let event = r#"{"_id":"e1","event":"click","botId":"st-1","createdOn":"2025-06-28T12:00:00+02:00"}"#;
        assert_eq!(
            extra(&decode(config(), &[event, SEARCH]), Table::Queries),
            None
        );
    }

    #[test]
    fn what_is_kept_whole_is_not_kept_in_parts_too() {
        let feedback = FEEDBACK.replace(r#""__v":0"#, r#""__v":0,"answerDebug":[7,{"a":1}]"#);
        let block = decode(config(), &[&feedback]);
        assert_eq!(
            extra(&block, Table::Feedback).unwrap(),
            r#"{"/answerDebug":[7,{"a":1}]}"#
        );
        let twins = SEARCH.replacen(r#""isDev":false"#, r#""isDev":false,"x":1,"x":2"#, 1);
        let kept = extra(&decode(config(), &[&twins]), Table::Queries).unwrap();
        assert!(kept.starts_with(r#"{"verbatim":{"":"{"#), "{kept}");
    }

    #[test]
    fn records_are_one_only_if_event_and_id_are() {
        let record = |event: &str, id: &str| {
            format!(
                r#"{{"_id":{id},"event":{event},"searchRequestId":"q","botId":"st-1","createdOn":"2025-06-28T12:00:00.000Z"}}"#
            )
        };
        let texts = [
            record(r#""a""#, r#""b""#),
            record(r#""a""#, r#""\ud800""#),
            record(r#""a""#, r#""\ud801""#),
            record("7", r#""b""#),
            record("null", r#""b""#),
            record(r#""a\nb""#, r#""c""#),
            record(r#""a""#, r#""b\nc""#),
            record(r#""\u0061""#, r#""b""#),
        ];
        let block = decode(
            config(),
            &texts.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let identities: std::collections::HashSet<_> = block.partitions[0]
            .records
            .iter()
            .map(|record| record.identity)
            .collect();
        assert_eq!(identities.len(), texts.len() - 1);
        let long = record(r#""a""#, &format!("\"{}\"", "x".repeat(513)));
        assert_eq!(
            decode(config(), &[&long]).dead_letters[0].reason.code(),
            "no_id"
        );
    }

    #[test]
    fn a_record_of_nothing_but_chunks_is_set_aside() {
        let chunks = vec!["{}"; 100_001].join(",");
        let record = format!(r#"{{"_id":"a","answerDebug":[{{"generativeChunks":[{chunks}]}}]}}"#);
        assert_eq!(
            decode(config(), &[&record]).dead_letters[0].reason.code(),
            "invalid_json"
        );
    }

    #[test]
    fn a_record_of_very_many_values_is_set_aside() {
        let record = |values: usize| {
            let tags = vec!["0"; values - 4].join(",");
            format!(
                r#"{{"_id":"a","event":"e","createdOn":"2025-06-28T10:00:00.000Z","tags":[{tags}]}}"#
            )
        };
        let config = DecodeConfig {
            app: AppAssignment::Fixed(AppId::try_new("st-9").unwrap()),
            ..config()
        };
        let block = decode(config, &[&record(250_000), &record(250_001)]);
        let letters: Vec<_> = block
            .dead_letters
            .iter()
            .map(|letter| (letter.record, letter.reason.code()))
            .collect();
        assert_eq!(letters, [(2, "invalid_json")]);
    }

    #[test]
    fn a_citation_is_unknown_where_labels_may_count_otherwise() {
        let cited = |search: &str| {
            let block = decode(config(), &[search]);
            let batch = block.partitions[0].batches[Table::Chunks].clone().unwrap();
            let column = batch.column_by_name("cited").unwrap().as_boolean().clone();
            column.iter().collect::<Vec<_>>()
        };
        assert_eq!(cited(SEARCH), [Some(true), Some(false)]);
        let second_sent = SEARCH
            .replace(r#""sentToLLM":true"#, r#""sentToLLM":0"#)
            .replace(r#""sentToLLM":false"#, r#""sentToLLM":true"#);
        assert_eq!(cited(&second_sent), [None, None]);
        assert_eq!(
            cited(&SEARCH.replace(r#","chunkIds":["chk-1"]"#, "")),
            [None, None]
        );
    }

    #[test]
    fn records_go_by_their_time() {
        let at = |time: &str| {
            format!(r#"{{"_id":"x","event":"e","botId":"st-1","createdOn":"{time}"}}"#)
        };
        let window = Window::try_new(
            "2025-06-28T00:00:00Z".parse().unwrap(),
            "2025-06-30T00:00:00Z".parse().unwrap(),
        )
        .unwrap();
        let config = DecodeConfig {
            window: Some((window, TimeDelta::seconds(1))),
            app: AppAssignment::Fixed(AppId::try_new("st-9").unwrap()),
            ..config()
        };
        let times = [
            "2025-06-27T23:59:58.999Z",
            "2025-06-27T23:59:59.000Z",
            "2025-06-28T00:00:00.000Z",
            "2025-06-28T23:59:59.999Z",
            "2025-06-29T00:00:00.000Z",
            "2025-06-30T00:00:01.000Z",
            "2025-07-05T00:00:00.000Z",
        ];
        let records: Vec<String> = times.iter().map(|time| at(time)).collect();
        let block = decode(
            config,
            &records.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let found: Vec<_> = block
            .partitions
            .iter()
            .map(|rows| {
                (
                    rows.key.to_string(),
                    rows.records
                        .iter()
                        .map(|record| record.record)
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("app_id=st-9/dt=2025-06-28".to_owned(), vec![3, 4]),
                ("app_id=st-9/dt=2025-06-29".to_owned(), vec![5])
            ]
        );
        assert_eq!(block.margin, 2);
        assert_eq!(
            block
                .strays
                .iter()
                .map(|stray| stray.partition.to_string())
                .collect::<Vec<_>>(),
            ["app_id=st-9/dt=2025-06-27", "app_id=st-9/dt=2025-07-05"]
        );
    }

    #[test]
    fn what_cannot_be_loaded_says_why_and_the_others_load() {
        let block = decode(
            config(),
            &[
                "NaN",
                "7",
                r#"{"_id": bare}"#,
                r#"{"_id":"a","botId":"st-1","createdOn":"yesterday"}"#,
                r#"{"_id":"a","botId":"st-1","createdOn":"1066-10-14T00:00:00.000Z"}"#,
                r#"{"event":"thumbsUp","searchRequestId":"fsh-1","botId":"st-1","createdOn":"2025-06-28T00:00:00.000Z"}"#,
                r#"{"_id":"a","createdOn":"2025-06-28T00:00:00.000Z"}"#,
                FEEDBACK,
                "",
            ],
        );
        let letters: Vec<_> = block.dead_letters.iter().map(ToString::to_string).collect();
        assert_eq!(
            letters,
            [
                "fragment 1, record 1: expected an object at byte 0 of the record",
                "fragment 1, record 2: expected an object",
                "fragment 1, record 3: expected a value at byte 8 of the record",
                "fragment 1, record 4: field `createdOn`: expected a UTC time between 1970 and 2200, got \"yesterday\"",
                "fragment 1, record 5: field `createdOn`: expected a UTC time between 1970 and 2200, got \"1066-10-14T00:00:00.000Z\"",
                "fragment 1, record 6: field `_id`: expected text, got no such field",
                "fragment 1, record 7: field `botId`: expected an app id, got no such field",
                "fragment 1, record 9: expected a record at byte 0 of the record",
            ]
        );
        assert_eq!(block.decoded, 9);
        assert_eq!(rows(&block, Table::Feedback).len(), 1);
        let decoder = Decoder::new(DecodeConfig {
            max_record_bytes: 9,
            ..config()
        });
        let reasons = |fragment: &[u8]| -> Vec<_> {
            decoder
                .blocks(fragment)
                .flat_map(|block| decoder.decode(block.unwrap(), 1).dead_letters)
                .map(|letter| (letter.record, letter.reason))
                .collect()
        };
        assert_eq!(
            reasons(b"[{\"a\":\"\xFF\"},{\"a\":1234}]"),
            [
                (1, Reason::InvalidUtf8 { at: 6 }),
                (
                    2,
                    Reason::TooLarge {
                        bytes: 10,
                        max_bytes: 9
                    }
                )
            ]
        );
    }

    #[test]
    fn identity_is_event_and_id_and_the_hash_is_the_value() {
        let pretty = serde_json::to_string_pretty(
            &serde_json::from_str::<serde_json::Value>(SEARCH).unwrap(),
        )
        .unwrap();
        let other = SEARCH.replace("\"how?\"", "\"why?\"");
        let block = decode(config(), &[SEARCH, &pretty, &other, FEEDBACK]);
        let records = &block.partitions[0].records;
        assert_eq!(records[0].identity, records[1].identity);
        assert_eq!(records[0].hash, records[1].hash);
        assert_eq!(records[0].identity, records[2].identity);
        assert_ne!(records[0].hash, records[2].hash);
        assert_ne!(records[0].identity, records[3].identity);
        assert_eq!(records[1].row_ends[Table::Chunks], 4);
        assert_eq!(records[3].row_ends[Table::Chunks], 6);
        assert_eq!(records[3].row_ends[Table::Feedback], 1);
    }
}
