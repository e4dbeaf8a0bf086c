//! Checks the rows of a partition's tables against one another: records are there once, what belongs to a search or an
//! answer finds it, and positions count from 1.
//!
//! An element of `answerDebug` or of a list of chunks that is no object has no row, but counts: it stands in `extra`, by
//! its place. Of an object in which a key stands twice, `extra` holds all as text, and its lists are not counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use answerlake_load::{Fault, LoadError, StoredColumns};
use answerlake_model::{PerTable, Table};
use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringViewArray};
use arrow::datatypes::Int32Type;
use serde::de::IgnoredAny;
use tokio::runtime::Handle;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::found::Found;

/// Searches, answers, feedback and events that are held at once: of more, the files are read several times. Chunks are
/// counted only.
const ROWS_AT_ONCE: u64 = 200_000;

/// What one of them takes at most.
const ROW_BYTES: u64 = 320;

/// What checking so many rows takes of memory.
pub(crate) fn memory_of(files: &PerTable<Vec<StoredColumns>>) -> u64 {
    held_rows(files).min(ROWS_AT_ONCE) * ROW_BYTES
}

/// Checks the files of a partition. Blocks.
///
/// # Errors
/// When the store, or a file, cannot be read.
pub(crate) fn check_keys(
    files: &PerTable<Vec<StoredColumns>>,
    runtime: &Handle,
) -> Result<Found, LoadError> {
    let classes = held_rows(files).div_ceil(ROWS_AT_ONCE).max(1);
    let mut found = Found::default();
    for class in 0..classes {
        let mut check = Check {
            class,
            classes,
            files,
            runtime,
            records: HashSet::new(),
            searches: HashMap::new(),
            answers: HashMap::new(),
            found: &mut found,
        };
        check.queries()?;
        check.answers()?;
        check.chunks()?;
        check.llm_calls()?;
        check.compare();
        check.records_of(Table::Feedback, "feedback_id")?;
        check.records_of(Table::Events, "record_id")?;
    }
    Ok(found)
}

fn held_rows(files: &PerTable<Vec<StoredColumns>>) -> u64 {
    let held = [
        Table::Queries,
        Table::Answers,
        Table::Feedback,
        Table::Events,
    ];
    let files = held.into_iter().flat_map(|table| &files[table]);
    files.map(|file| file.file().rows).sum()
}

/// The rows of one class: those whose records' ids hash alike.
struct Check<'c> {
    class: u64,
    classes: u64,
    files: &'c PerTable<Vec<StoredColumns>>,
    runtime: &'c Handle,
    records: HashSet<u128>,
    searches: HashMap<u128, Search>,
    answers: HashMap<(u128, i32), Answer>,
    found: &'c mut Found,
}

struct Search {
    place: Place,
    answer_count: i32,
    answers: Positions,
    is_verbatim: bool,
}

struct Answer {
    place: Place,
    extractive: Positions,
    generative: Positions,
    calls: u32,
    is_verbatim: bool,
}

/// Where a row stands: the file by its number among its table's, and the row, from 1.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    row: u64,
}

/// Positions met, as far as tells whether they are just those from 1 to their number.
#[derive(Default)]
struct Positions {
    count: u32,
    last: i32,
    mixed: u64,
}

impl Positions {
    fn add(&mut self, position: i32) {
        self.count += 1;
        self.last = self.last.max(position);
        self.mixed = self.mixed.wrapping_add(mixed(position));
    }

    fn are_gapless(&self) -> bool {
        let all = || (1..=self.last).fold(0_u64, |sum, position| sum.wrapping_add(mixed(position)));
        i64::from(self.count) == i64::from(self.last) && self.mixed == all()
    }
}

fn mixed(position: i32) -> u64 {
    xxh3_64(&position.to_le_bytes())
}

/// The ids of a row's search.
#[derive(Clone, Copy)]
struct Ids<'b> {
    query_id: &'b str,
    record_id: Option<&'b str>,
}

impl<'b> Ids<'b> {
    /// What the record is told from others by.
    fn own(&self) -> &'b str {
        self.record_id
            .filter(|id| !id.is_empty())
            .unwrap_or(self.query_id)
    }

    /// Whether the columns hold the ids as they are: what is no Unicode is replaced, and two may look alike then.
    fn are_exact(&self) -> bool {
        is_exact(self.query_id) && self.record_id.is_none_or(is_exact)
    }

    fn hash(&self) -> u128 {
        let mut hasher = Xxh3::new();
        hasher.update(&(self.query_id.len() as u64).to_le_bytes());
        hasher.update(self.query_id.as_bytes());
        hasher.update(&[u8::from(self.record_id.is_some())]);
        hasher.update(self.record_id.unwrap_or_default().as_bytes());
        hasher.digest128()
    }
}

fn is_exact(id: &str) -> bool {
    !id.contains(char::REPLACEMENT_CHARACTER)
}

fn hash_record(event: &str, id: &str) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(event.len() as u64).to_le_bytes());
    hasher.update(event.as_bytes());
    hasher.update(id.as_bytes());
    hasher.digest128()
}

impl Check<'_> {
    fn queries(&mut self) -> Result<(), LoadError> {
        let names = ["query_id", "record_id", "answer_count", "extra"];
        self.each_row(Table::Queries, &names, |check, place, batch, row| {
            let Some(ids) = batch.ids(row).filter(|ids| check.is_of_class(ids.own())) else {
                return;
            };
            if !check.records.insert(hash_record("search", ids.own())) {
                check.find(Table::Queries, place, Fault::DuplicateRecord, || {
                    format!("record `{}` is there before", ids.own())
                });
                return;
            }
            let mut answers = Positions::default();
            let kept = Kept::read(batch.text("extra", row));
            kept.places("/answerDebug/")
                .for_each(|place| answers.add(place));
            let search = Search {
                place,
                answer_count: batch.int32("answer_count", row).unwrap_or_default(),
                answers,
                is_verbatim: kept.is_verbatim,
            };
            check.searches.insert(ids.hash(), search);
        })
    }

    fn answers(&mut self) -> Result<(), LoadError> {
        let names = ["query_id", "record_id", "position", "extra"];
        self.each_row(Table::Answers, &names, |check, place, batch, row| {
            let Some(ids) = batch.ids(row).filter(|ids| check.is_of_class(ids.own())) else {
                return;
            };
            let Some(search) = check.searches.get_mut(&ids.hash()) else {
                check.find(Table::Answers, place, Fault::QueryMissing, || no_query(ids));
                return;
            };
            let position = batch.int32("position", row).unwrap_or_default();
            search.answers.add(position);
            let kept = Kept::read(batch.text("extra", row));
            let is_verbatim = kept.is_verbatim || search.is_verbatim;
            let answer = check
                .answers
                .entry((ids.hash(), position))
                .or_insert(Answer {
                    place,
                    extractive: Positions::default(),
                    generative: Positions::default(),
                    calls: 0,
                    is_verbatim,
                });
            kept.places("/extractiveChunks/")
                .for_each(|place| answer.extractive.add(place));
            kept.places("/generativeChunks/")
                .for_each(|place| answer.generative.add(place));
        })
    }

    fn chunks(&mut self) -> Result<(), LoadError> {
        let names = [
            "query_id",
            "record_id",
            "answer_position",
            "kind",
            "position",
        ];
        self.each_row(Table::Chunks, &names, |check, place, batch, row| {
            let Some(ids) = batch.ids(row).filter(|ids| check.is_of_class(ids.own())) else {
                return;
            };
            let of = batch.int32("answer_position", row).unwrap_or_default();
            let Some(answer) = check.answers.get_mut(&(ids.hash(), of)) else {
                check.find(Table::Chunks, place, Fault::AnswerMissing, || {
                    no_answer(ids, of)
                });
                return;
            };
            let position = batch.int32("position", row).unwrap_or_default();
            match batch.text("kind", row) {
                Some("extractive") => answer.extractive.add(position),
                Some("generative") => answer.generative.add(position),
                other => {
                    let other = other.unwrap_or("nothing").to_owned();
                    check.find(Table::Chunks, place, Fault::WrongPositions, || {
                        format!("kind: expected `extractive` or `generative`, got `{other}`")
                    });
                }
            }
        })
    }

    fn llm_calls(&mut self) -> Result<(), LoadError> {
        let names = ["query_id", "record_id", "answer_position"];
        self.each_row(Table::LlmCalls, &names, |check, place, batch, row| {
            let Some(ids) = batch.ids(row).filter(|ids| check.is_of_class(ids.own())) else {
                return;
            };
            let of = batch.int32("answer_position", row).unwrap_or_default();
            let Some(answer) = check.answers.get_mut(&(ids.hash(), of)) else {
                check.find(Table::LlmCalls, place, Fault::AnswerMissing, || {
                    no_answer(ids, of)
                });
                return;
            };
            answer.calls += 1;
            if answer.calls > 1 && !answer.is_verbatim {
                check.find(Table::LlmCalls, place, Fault::WrongPositions, || {
                    format!(
                        "answer {of} of query_id `{}` has a call before",
                        ids.query_id
                    )
                });
            }
        })
    }

    /// Compares what searches and answers say with what was met of theirs.
    fn compare(&mut self) {
        let searches = std::mem::take(&mut self.searches);
        for search in searches.into_values().filter(|search| !search.is_verbatim) {
            let (count, met) = (search.answer_count, search.answers.count);
            if i64::from(count) != i64::from(met) {
                self.find(
                    Table::Queries,
                    search.place,
                    Fault::WrongAnswerCount,
                    || format!("answer_count is {count}, and {met} answers are there"),
                );
            } else if !search.answers.are_gapless() {
                self.find(Table::Queries, search.place, Fault::WrongPositions, || {
                    format!("the positions of its {met} answers are not those from 1 on")
                });
            }
        }
        let answers = std::mem::take(&mut self.answers);
        for answer in answers.into_values().filter(|answer| !answer.is_verbatim) {
            for (kind, chunks) in [
                ("extractive", &answer.extractive),
                ("generative", &answer.generative),
            ] {
                if !chunks.are_gapless() {
                    self.find(Table::Answers, answer.place, Fault::WrongPositions, || {
                        let count = chunks.count;
                        format!(
                            "the positions of its {count} {kind} chunks are not those from 1 on"
                        )
                    });
                }
            }
        }
    }

    /// Checks that records of a table are told apart by event and id. An event that is no text cannot be told here.
    fn records_of(&mut self, table: Table, id: &str) -> Result<(), LoadError> {
        self.each_row(table, &["event", id], |check, place, batch, row| {
            let (Some(event), Some(id)) = (batch.text("event", row), batch.text(id, row)) else {
                return;
            };
            let can_be_told = is_exact(event) && is_exact(id) && check.is_of_class(id);
            if can_be_told && !check.records.insert(hash_record(event, id)) {
                check.find(table, place, Fault::DuplicateRecord, || {
                    format!("record `{id}` of event `{event}` is there before")
                });
            }
        })
    }

    fn is_of_class(&self, id: &str) -> bool {
        self.classes == 1 || xxh3_64(id.as_bytes()) % self.classes == self.class
    }

    fn find(&mut self, table: Table, place: Place, fault: Fault, tell: impl FnOnce() -> String) {
        let path = &self.files[table][place.file].file().path;
        self.found.add(fault, path, place.row, tell);
    }

    /// Calls `look` with each row of a table.
    fn each_row(
        &mut self,
        table: Table,
        names: &[&str],
        mut look: impl FnMut(&mut Self, Place, &Columns<'_>, usize),
    ) -> Result<(), LoadError> {
        let files = self.files;
        for (number, file) in files[table].iter().enumerate() {
            let mut next = 1;
            for batch in file.read(names, self.runtime)? {
                let batch = batch?;
                let columns = Columns::of(&batch);
                for row in 0..batch.num_rows() {
                    let place = Place {
                        file: number,
                        row: next + row as u64,
                    };
                    look(self, place, &columns, row);
                }
                next += batch.num_rows() as u64;
            }
        }
        Ok(())
    }
}

fn no_query(ids: Ids<'_>) -> String {
    format!("query_id `{}` is not in queries", ids.query_id)
}

fn no_answer(ids: Ids<'_>, position: i32) -> String {
    format!(
        "answer {position} of query_id `{}` is not in answers",
        ids.query_id
    )
}

/// The columns of a batch that is looked at.
struct Columns<'b> {
    texts: BTreeMap<&'b str, &'b StringViewArray>,
    numbers: BTreeMap<&'b str, &'b Int32Array>,
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Self {
        let (mut texts, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name().as_str();
            texts.extend(column.as_string_view_opt().map(|texts| (name, texts)));
            numbers.extend(
                column
                    .as_primitive_opt::<Int32Type>()
                    .map(|numbers| (name, numbers)),
            );
        }
        Self { texts, numbers }
    }

    fn text(&self, name: &str, row: usize) -> Option<&'b str> {
        let texts = self.texts.get(name)?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    fn int32(&self, name: &str, row: usize) -> Option<i32> {
        let numbers = self.numbers.get(name)?;
        numbers.is_valid(row).then(|| numbers.value(row))
    }

    /// The ids of a row, where they can be told.
    fn ids(&self, row: usize) -> Option<Ids<'b>> {
        let ids = Ids {
            query_id: self.text("query_id", row)?,
            record_id: self.text("record_id", row),
        };
        ids.are_exact().then_some(ids)
    }
}

/// What `extra` says of elements without a row.
struct Kept {
    names: Vec<String>,
    is_verbatim: bool,
}

impl Kept {
    fn read(extra: Option<&str>) -> Self {
        let read = extra.map(serde_json::from_str::<BTreeMap<String, IgnoredAny>>);
        match read {
            None => Self {
                names: Vec::new(),
                is_verbatim: false,
            },
            Some(Ok(members)) => Self {
                is_verbatim: members.contains_key("verbatim"),
                names: members.into_keys().collect(),
            },
            // That it is no JSON is found elsewhere; what it would say is not known.
            Some(Err(_)) => Self {
                names: Vec::new(),
                is_verbatim: true,
            },
        }
    }

    /// The places, from 1, of the elements that are kept of the list whose JSON Pointer `list` ends with a slash.
    fn places(&self, list: &str) -> impl Iterator<Item = i32> {
        let indices = self
            .names
            .iter()
            .filter_map(move |name| name.strip_prefix(list));
        indices.filter_map(|index| index.parse::<i32>().ok()?.checked_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_from_one_on() {
        let are_gapless = |met: &[i32]| {
            let mut positions = Positions::default();
            met.iter().for_each(|position| positions.add(*position));
            positions.are_gapless()
        };
        assert!(are_gapless(&[]));
        assert!(are_gapless(&[3, 1, 2]));
        for wrong in [
            &[2][..],
            &[1, 1],
            &[1, 3],
            &[1, 3, 3],
            &[0, 2],
            &[-1],
            &[1, 1, 4, 4],
        ] {
            assert!(!are_gapless(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn elements_without_a_row_are_in_extra() {
        let kept = Kept::read(Some(
            r#"{"/answerDebug/3":7,"/answerDebug/x":1,"/answerDebug/3/a":1,"/x":1}"#,
        ));
        assert_eq!(kept.places("/answerDebug/").collect::<Vec<_>>(), [4]);
        assert!(!kept.is_verbatim);
        assert!(Kept::read(Some(r#"{"verbatim":{"":"{}"}}"#)).is_verbatim);
    }
}
