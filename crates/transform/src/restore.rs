//! Rows of each table, made into the records they came from: the inverse of the flattening.
//!
//! The records equal those that were read as JSON values: numbers by value, objects as unordered multisets of members.
//! How they were written (white space, the order of members, escapes, the spelling of numbers) is not kept, and neither
//! is how the records of different tables followed one another.
//!
//! # The `extra` column
//!
//! Format version 1, told by [`SCHEMA_VERSION`](crate::SCHEMA_VERSION) 1. A JSON object. A name that begins with `/` is a
//! JSON Pointer (RFC 6901) from the row's object, and its value is what stands there, as it was written. Three names that
//! no pointer can have say the rest:
//!
//! - `"absent": [pointer, …]`: members that the columns would suggest, and that are not there;
//! - `"verbatim": {pointer: text, …}`: objects in which a key stands twice, or is no Unicode, as text;
//! - `"rows": {"chunks": n, "llm_calls": n}`: how many rows of these tables belong to a search, where its id is no
//!   Unicode, and `record_id` therefore does not tell it from others.
//!
//! Every entry wins over the columns, and `verbatim` over whatever else is said of what stands in its object; only below
//! such an object can a name stand twice.
//!
//! # What the columns say
//!
//! Where `extra` says nothing of a path:
//!
//! | row of | path | is |
//! |---|---|---|
//! | any | a path with a column of its own ([`schema`](crate::schema)) | the column; absent where it is null |
//! | any | an object of which a member is there | there; absent where none is |
//! | `queries`, `feedback` | `_id` | `record_id`, `feedback_id`; absent where it is null |
//! | | `searchRequestId` | `query_id`; absent where it is null |
//! | | `createdOn`, `timeStampValue` | `created_at`, as `2025-06-28T10:19:26.740Z` and as milliseconds |
//! | | `comments` | `{"tags": comment_tags}`; absent where that is null |
//! | | `event` | the column; `search` in `queries` |
//! | `queries` | `answerDebug` | an array of `answer_count` elements: the rows of `answers`, and what `extra` has of it |
//! | `answers` | `_id` | `answer_id`; absent where it is null |
//! | | `searchRequestId` | `query_id` |
//! | | `extractiveChunks`, `generativeChunks` | arrays: the rows of `chunks`, and what `extra` has of them |
//! | | `prompt`, `llmResponse` | absent where there is no row in `llm_calls` |
//! | `chunks` | `moreInfo` | an array of the entries `Chunk Title` and `Page Number`, in this order, without those that are null |
//! | `llm_calls` | `prompt` | the parts joined; an object with that as `promptText` where anything is said of its members; absent where it is null |
//! | | `prompt.moreInfo` | `prompt_info`; absent where it is null |
//! | | `llmResponse`, its `responseDetails` and `responseTime` | objects |
//! | | `…responseDetails.completionText` | `completion_text`; an object with that as `answer` where anything is said of its members |
//! | | `…completionText.chunkIds` | `chk-N` for each of `cited_positions`; absent where that is null |
//! | | `…responseDetails.moreInfo` | an array: the entry `LLM Response Id`, unless `response_id` is null, then those of `response_info` |
//! | | `…responseTime.moreInfo` | the same of `Completion Time`, `completion_time_ms` and `time_info` |
//! | `events` | the record | `record` |

// The rows of one table, one at a time.
mod cursor;
// One object in the making.
mod draft;

use std::error::Error;

use answerlake_model::{PerTable, Table};
use arrow::array::RecordBatch;

use crate::digest::Hash;
use crate::error::RestoreError;
use crate::extra::json_string;
use crate::json::Arena;
use crate::record::{ANSWER, ANSWER_SLOTS, CHUNK, CHUNK_SLOTS, List, RECORD, RECORD_SLOTS, Record};
use crate::schema::Derived;
use cursor::{Cursor, Row, json_time};
use draft::Draft;

/// A record, restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredRecord {
    /// The record on one line.
    pub json: String,
    /// The record by value, as [`RecordRows::hash`](crate::RecordRows::hash) had it when it was read.
    pub hash: Hash,
}

/// Iterates over the records of one partition: of searches, of feedback, then of all other events.
///
/// It takes the batches of each table as they are needed, and holds one of each and one record. After an error there are
/// no more records; those given until then may lack rows, if the error is [`RestoreError::Orphan`].
#[derive(Debug)]
pub struct Restorer<S> {
    queries: Cursor<S>,
    feedback: Cursor<S>,
    answers: Cursor<S>,
    chunks: Cursor<S>,
    llm_calls: Cursor<S>,
    events: Cursor<S>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Searches,
    Feedback,
    Events,
    Done,
}

/// What the rows of one search have in common.
#[derive(Debug)]
struct SearchKey {
    query_id: String,
    record_id: Option<String>,
    created_at: i64,
}

/// How many more rows a search may have; any number, where its key tells them from those of others.
#[derive(Debug, Clone, Copy)]
struct RowsLeft(Option<u64>);

impl<S, E> Restorer<S>
where
    S: Iterator<Item = Result<RecordBatch, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    /// Restores from the batches of each table, with their rows in the order of the partition's files.
    pub fn new(batches: PerTable<S>) -> Self {
        let [queries, feedback, answers, chunks, llm_calls, events] = batches.into_values();
        Self {
            queries: Cursor::new(Table::Queries, &RECORD, queries),
            feedback: Cursor::new(Table::Feedback, &RECORD, feedback),
            answers: Cursor::new(Table::Answers, &ANSWER, answers),
            chunks: Cursor::new(Table::Chunks, &CHUNK, chunks),
            llm_calls: Cursor::new(Table::LlmCalls, &ANSWER, llm_calls),
            events: Cursor::new(Table::Events, &RECORD, events),
            state: State::Searches,
        }
    }

    fn advance(&mut self) -> Result<Option<RestoredRecord>, RestoreError> {
        loop {
            let record = match self.state {
                State::Searches => self.search()?,
                State::Feedback => self.feedback()?,
                State::Events => self.event()?,
                State::Done => return Ok(None),
            };
            if record.is_some() {
                return Ok(record);
            }
            self.state = match self.state {
                State::Searches => {
                    self.expect_no_rows()?;
                    State::Feedback
                }
                State::Feedback => State::Events,
                State::Events | State::Done => State::Done,
            };
        }
    }

    fn search(&mut self) -> Result<Option<RestoredRecord>, RestoreError> {
        let Some(row) = self.queries.peek()? else {
            return Ok(None);
        };
        let key = SearchKey::read(&row)?;
        let kept = row.kept()?;
        let chunks_left = RowsLeft(kept.rows.map(|rows| rows.chunks));
        let calls_left = RowsLeft(kept.rows.map(|rows| rows.llm_calls));
        let mut draft = record_draft(&row, "search")?;
        draft.set_container(RECORD_SLOTS.answer_debug);
        draft.apply(kept).map_err(|what| row.fault(what))?;
        let others = draft.element_count(List::Answers);
        let answers = row.count(Derived::AnswerCount)?.checked_sub(others);
        let answers = answers.ok_or_else(|| {
            row.fault(format!("expected at least {others} answers to be counted"))
        })?;
        let mut rows = SearchRows {
            answers: &mut self.answers,
            chunks: &mut self.chunks,
            llm_calls: &mut self.llm_calls,
            key: &key,
            chunks_left,
            calls_left,
        };
        for found in 0..answers {
            if draft.is_verbatim() {
                rows.skip_answer(found, answers)?;
            } else {
                let (index, json) = rows.answer(found, answers)?;
                draft.set_element(List::Answers, index, json);
            }
        }
        if draft.is_verbatim() {
            rows.skip_below_answers()?;
        }
        rows.finish()?;
        let restored = draft.finish().and_then(restored);
        let restored = restored.map_err(|what| row.fault(what))?;
        self.queries.advance();
        Ok(Some(restored))
    }

    fn feedback(&mut self) -> Result<Option<RestoredRecord>, RestoreError> {
        let Some(row) = self.feedback.peek()? else {
            return Ok(None);
        };
        let event = row.text(Derived::Event);
        let event = event.ok_or_else(|| row.fault("expected an event, got null".to_owned()))?;
        let mut draft = record_draft(&row, event)?;
        let restored = draft
            .apply(row.kept()?)
            .and_then(|()| draft.finish())
            .and_then(restored);
        let restored = restored.map_err(|what| row.fault(what))?;
        self.feedback.advance();
        Ok(Some(restored))
    }

    fn event(&mut self) -> Result<Option<RestoredRecord>, RestoreError> {
        let Some(row) = self.events.peek()? else {
            return Ok(None);
        };
        let json = row.text(Derived::Record);
        let json = json.ok_or_else(|| row.fault("expected a record, got null".to_owned()))?;
        let restored = restored(json.to_owned()).map_err(|what| row.fault(what))?;
        self.events.advance();
        Ok(Some(restored))
    }

    /// Refuses rows that no search has taken.
    fn expect_no_rows(&mut self) -> Result<(), RestoreError> {
        for cursor in [&mut self.answers, &mut self.chunks, &mut self.llm_calls] {
            if let Some(row) = cursor.peek()? {
                return Err(row.orphan());
            }
        }
        Ok(())
    }
}

impl<S, E> Iterator for Restorer<S>
where
    S: Iterator<Item = Result<RecordBatch, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Item = Result<RestoredRecord, RestoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.advance();
        if record.is_err() {
            self.state = State::Done;
        }
        record.transpose()
    }
}

/// The rows that one search has in the tables below it, taken from front to back.
struct SearchRows<'r, S> {
    answers: &'r mut Cursor<S>,
    chunks: &'r mut Cursor<S>,
    llm_calls: &'r mut Cursor<S>,
    key: &'r SearchKey,
    chunks_left: RowsLeft,
    calls_left: RowsLeft,
}

impl<S, E> SearchRows<'_, S>
where
    S: Iterator<Item = Result<RecordBatch, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    /// The next answer, with its index in `answerDebug`; `found` of `expected` came before.
    fn answer(&mut self, found: usize, expected: usize) -> Result<(usize, String), RestoreError> {
        let row = self.answers.peek()?.filter(|row| self.key.is_of(row));
        let row = row.ok_or_else(|| self.key.missing_answer(found, expected))?;
        let at = &*ANSWER_SLOTS;
        let mut draft = Draft::new(&ANSWER);
        row.fill(&mut draft)?;
        draft.set(at.id, row.json(Derived::AnswerId)?);
        draft.set(at.search_request_id, row.json(Derived::QueryId)?);
        draft.set_container(at.extractive_chunks);
        draft.set_container(at.generative_chunks);
        draft.apply(row.kept()?).map_err(|what| row.fault(what))?;
        let position = row.count(Derived::AnswerPosition)?;
        while let Some(chunk) = self
            .chunks
            .peek()?
            .filter(|row| self.chunks_left.is_any() && self.key.is_of_answer(row, position))
        {
            if !draft.is_verbatim() {
                let (list, index, json) = chunk_json(&chunk)?;
                draft.set_element(list, index, json);
            }
            self.chunks.advance();
            self.chunks_left.take();
        }
        if let Some(call) = self
            .llm_calls
            .peek()?
            .filter(|row| self.calls_left.is_any() && self.key.is_of_answer(row, position))
        {
            add_call(&mut draft, &call)?;
            self.llm_calls.advance();
            self.calls_left.take();
        }
        let json = draft.finish().map_err(|what| row.fault(what))?;
        let index = row.index(Derived::AnswerPosition)?;
        self.answers.advance();
        Ok((index, json))
    }

    /// Passes over an answer of a record that is known as text.
    fn skip_answer(&mut self, found: usize, expected: usize) -> Result<(), RestoreError> {
        let row = self.answers.peek()?.filter(|row| self.key.is_of(row));
        row.ok_or_else(|| self.key.missing_answer(found, expected))?;
        self.answers.advance();
        Ok(())
    }

    /// Passes over what belongs to the answers of a record that is known as text.
    fn skip_below_answers(&mut self) -> Result<(), RestoreError> {
        for (cursor, left) in [
            (&mut *self.chunks, &mut self.chunks_left),
            (&mut *self.llm_calls, &mut self.calls_left),
        ] {
            while left.is_any() && cursor.peek()?.is_some_and(|row| self.key.is_of(&row)) {
                cursor.advance();
                left.take();
            }
        }
        Ok(())
    }

    /// Refuses rows of this search that none of its answers has taken.
    fn finish(self) -> Result<(), RestoreError> {
        for (cursor, left) in [
            (self.chunks, self.chunks_left),
            (self.llm_calls, self.calls_left),
        ] {
            match left {
                RowsLeft(Some(0)) => {}
                RowsLeft(Some(count)) => {
                    return Err(RestoreError::Missing {
                        table: cursor.table(),
                        query: self.key.query_id.clone(),
                        what: format!("{count} rows more"),
                    });
                }
                RowsLeft(None) => {
                    if let Some(row) = cursor.peek()?.filter(|row| self.key.is_of(row)) {
                        return Err(row.orphan());
                    }
                }
            }
        }
        Ok(())
    }
}

impl SearchKey {
    fn read(row: &Row<'_>) -> Result<Self, RestoreError> {
        let query_id = row.text(Derived::QueryId);
        Ok(Self {
            query_id: query_id
                .ok_or_else(|| row.fault("expected a query id, got null".to_owned()))?
                .to_owned(),
            record_id: row.text(Derived::RecordId).map(str::to_owned),
            created_at: row.created_at()?,
        })
    }

    fn is_of(&self, row: &Row<'_>) -> bool {
        row.text(Derived::QueryId) == Some(&self.query_id)
            && row.text(Derived::RecordId) == self.record_id.as_deref()
            && row.created_at().is_ok_and(|time| time == self.created_at)
    }

    fn is_of_answer(&self, row: &Row<'_>, position: usize) -> bool {
        let is_of_position = row
            .count(Derived::AnswerPosition)
            .is_ok_and(|found| found == position);
        is_of_position && self.is_of(row)
    }

    fn missing_answer(&self, found: usize, expected: usize) -> RestoreError {
        RestoreError::Missing {
            table: Table::Answers,
            query: self.query_id.clone(),
            what: format!("{expected} rows, got {found}"),
        }
    }
}

impl RowsLeft {
    fn is_any(self) -> bool {
        self.0 != Some(0)
    }

    fn take(&mut self) {
        self.0 = self.0.map(|left| left.saturating_sub(1));
    }
}

/// The part of a record that its own row holds.
fn record_draft(row: &Row<'_>, event: &str) -> Result<Draft, RestoreError> {
    let at = &*RECORD_SLOTS;
    let created_at = row.created_at()?;
    let mut draft = Draft::new(&RECORD);
    row.fill(&mut draft)?;
    draft.set(at.id, row.json(Derived::RecordId)?);
    draft.set(at.search_request_id, row.json(Derived::QueryId)?);
    draft.set(at.created_on, Some(json_time(created_at)));
    let milliseconds = created_at.div_euclid(1000).to_string();
    draft.set(at.time_stamp_value, Some(milliseconds));
    draft.set(at.event, Some(json_string(event)));
    draft.set(at.tags, row.json(Derived::CommentTags)?);
    Ok(draft)
}

/// A chunk: the array it stands in, its index there, and itself.
fn chunk_json(row: &Row<'_>) -> Result<(List, usize, String), RestoreError> {
    let list = match row.text(Derived::ChunkKind) {
        Some("extractive") => List::ExtractiveChunks,
        Some("generative") => List::GenerativeChunks,
        other => {
            let what =
                format!("column `kind`: expected `extractive` or `generative`, got {other:?}");
            return Err(row.fault(what));
        }
    };
    let mut draft = Draft::new(&CHUNK);
    row.fill(&mut draft)?;
    let title = row.json(Derived::ChunkTitle)?;
    let page = row.json(Derived::PageNumber)?;
    let known = [("Chunk Title", title), ("Page Number", page)];
    draft.set(CHUNK_SLOTS.more_info, Some(more_info(known, None)));
    draft.apply(row.kept()?).map_err(|what| row.fault(what))?;
    let json = draft.finish().map_err(|what| row.fault(what))?;
    Ok((list, row.index(Derived::ChunkPosition)?, json))
}

/// Puts into an answer what the call of the language model holds of it.
fn add_call(draft: &mut Draft, row: &Row<'_>) -> Result<(), RestoreError> {
    let at = &*ANSWER_SLOTS;
    let kept = row.kept()?;
    let is_object = |slot: usize| kept.speaks_of_members_of(ANSWER.pointer(slot));

    let prompt = row.prompt()?.map(|prompt| json_string(&prompt));
    let info = row.json(Derived::PromptInfo)?;
    if info.is_some() || is_object(at.prompt) {
        draft.set_container(at.prompt);
        draft.set(at.prompt_text, prompt);
    } else {
        draft.set(at.prompt, prompt);
    }
    draft.set(at.prompt_info, info);

    for container in [at.response, at.details, at.time] {
        draft.set_container(container);
    }
    let completion = row.json(Derived::CompletionText)?;
    let cited = row.positions(Derived::CitedPositions)?;
    if cited.is_some() || is_object(at.completion) {
        draft.set_container(at.completion);
        draft.set(at.completion_answer, completion);
    } else {
        draft.set(at.completion, completion);
    }
    draft.set(at.chunk_ids, cited.as_deref().map(labels));

    let id = row.json(Derived::ResponseId)?;
    let others = row.text(Derived::ResponseInfo);
    let info = more_info([("LLM Response Id", id)], others);
    draft.set(at.details_info, Some(info));
    let time = row.json(Derived::CompletionTime)?;
    let others = row.text(Derived::TimeInfo);
    let info = more_info([("Completion Time", time)], others);
    draft.set(at.time_info, Some(info));
    draft.apply(kept).map_err(|what| row.fault(what))
}

/// A list of keys and values: those that are known, then the entries of the array `others`.
fn more_info<const N: usize>(known: [(&str, Option<String>); N], others: Option<&str>) -> String {
    let mut entries: Vec<String> = Vec::new();
    for (key, value) in known {
        if let Some(value) = value {
            entries.push(format!(r#"{{"key":"{key}","value":{value}}}"#));
        }
    }
    // What is no array is noticed when the record is read again.
    let others = others.map(|json| json.strip_prefix('[').unwrap_or(json));
    let others = others.map(|json| json.strip_suffix(']').unwrap_or(json));
    entries.extend(others.filter(|json| !json.is_empty()).map(str::to_owned));
    format!("[{}]", entries.join(","))
}

/// The labels of chunks as a JSON array.
fn labels(positions: &[i32]) -> String {
    let labels: Vec<String> = positions
        .iter()
        .map(|position| format!("\"chk-{position}\""))
        .collect();
    format!("[{}]", labels.join(","))
}

/// Reads the record once more: that gives its hash, and shows that it is one.
fn restored(json: String) -> Result<RestoredRecord, String> {
    let mut arena = Arena::default();
    let hash = Record::default()
        .parse(&json, &mut arena)
        .map_err(|error| {
            format!(
                "the row makes no record: expected {} at byte {}",
                error.expected, error.at
            )
        })?;
    Ok(RestoredRecord { json, hash })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use answerlake_model::AppId;
    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;
    use crate::decode::{AppAssignment, DecodeConfig, Decoder};

    const TWO: [&str; 2] = [
        r#"{"_id":"q-1","event":"search","createdOn":"2025-06-28T10:00:00.000Z","answerDebug":[
            {"_id":"a-1","generativeChunks":[{"score":0.5},{"score":1}],"prompt":"p"},{"_id":"a-2","prompt":{"promptText":"q"}}]}"#,
        r#"{"_id":"q-2","event":"search","createdOn":"2025-06-28T11:00:00.000Z","answerDebug":[{"extractiveChunks":[{"score":2}]}]}"#,
    ];

    type Batches = PerTable<Vec<RecordBatch>>;

    fn flatten(records: &[&str]) -> Batches {
        let app = AppAssignment::Fixed(AppId::try_new("st-1").unwrap());
        let decoder = Decoder::new(DecodeConfig::new(app));
        let fragment = format!("[{}]", records.join(","));
        let block = decoder.blocks(fragment.as_bytes()).next().unwrap().unwrap();
        let rows = decoder.decode(block, 1).partitions.remove(0);
        PerTable::from_fn(|table| rows.batches[table].clone().into_iter().collect())
    }

    fn restore(batches: &Batches) -> Result<Vec<String>, RestoreError> {
        let sources = PerTable::from_fn(|table| {
            let batches = batches[table].clone();
            batches.into_iter().map(Ok::<_, Infallible>)
        });
        Restorer::new(sources)
            .map(|record| record.map(|record| record.json))
            .collect()
    }

    fn error(batches: &Batches) -> String {
        restore(batches).unwrap_err().to_string()
    }

    fn with_column(batch: &RecordBatch, name: &str, array: ArrayRef) -> RecordBatch {
        let mut columns = batch.columns().to_vec();
        columns[batch.schema().index_of(name).unwrap()] = array;
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    }

    #[test]
    fn a_record_stands_on_one_line_in_the_documented_order() {
        let restored = restore(&flatten(&TWO)).unwrap();
        assert_eq!(
            restored[0],
            r#"{"_id":"q-1","event":"search","createdOn":"2025-06-28T10:00:00.000Z","answerDebug":[{"_id":"a-1","generativeChunks":[{"score":0.5},{"score":1}],"prompt":"p"},{"_id":"a-2","prompt":{"promptText":"q"}}]}"#
        );
    }

    #[test]
    fn searches_whose_ids_are_no_unicode_keep_their_own_rows() {
        let record = |id: &str, answers: &str| {
            format!(
                r#"{{"_id":"{id}","event":"search","createdOn":"2025-06-28T10:00:00.000Z","searchRequestId":"q","answerDebug":{answers}}}"#
            )
        };
        let bare = record(r"\ud800", "[{}]");
        let full = record(
            r"\ud801",
            r#"[{"extractiveChunks":[{"score":1}],"prompt":"p"}]"#,
        );
        for records in [[bare.as_str(), full.as_str()], [&full, &bare]] {
            let restored = restore(&flatten(&records)).unwrap();
            let chunks: Vec<_> = restored.iter().map(|json| json.contains("score")).collect();
            let expected = records.map(|json| json.contains("score"));
            assert_eq!(chunks, expected);
        }
    }

    #[test]
    fn rows_that_belong_to_no_search_are_refused() {
        let mut batches = flatten(&TWO);
        batches[Table::Queries] = vec![batches[Table::Queries][0].slice(0, 1)];
        assert_eq!(
            error(&batches),
            "table `answers`, row 3, query `q-2`: expected the rows of a search in the order of table `queries`, got a row that belongs to none"
        );
        let mut batches = flatten(&TWO);
        let chunks = batches[Table::Chunks].remove(0);
        batches[Table::Chunks] = vec![chunks.slice(2, 1), chunks.slice(0, 2)];
        assert_eq!(
            error(&batches),
            "table `chunks`, row 2, query `q-1`: expected the rows of a search in the order of table `queries`, got a row that belongs to none"
        );
    }

    #[test]
    fn rows_that_are_missing_are_noticed() {
        let mut batches = flatten(&TWO);
        batches[Table::Answers] = vec![batches[Table::Answers][0].slice(0, 2)];
        assert_eq!(
            error(&batches),
            "table `answers`, query `q-2`: expected 1 rows, got 0"
        );
        let mut batches = flatten(&TWO);
        batches[Table::Chunks] = vec![batches[Table::Chunks][0].slice(1, 2)];
        assert_eq!(
            error(&batches),
            "table `answers`, row 1, query `q-1`: array `/generativeChunks`: expected an element at place 1, got one at 2"
        );
    }

    #[test]
    fn what_no_record_gives_a_row_is_refused() {
        let mut batches = flatten(&TWO);
        let scores = Float64Array::from(vec![0.5, f64::NAN, 2.0]);
        batches[Table::Chunks][0] = with_column(
            &batches[Table::Chunks][0],
            "score",
            std::sync::Arc::new(scores),
        );
        assert_eq!(
            error(&batches),
            "table `chunks`, row 2, query `q-1`: expected a number that JSON has, got NaN"
        );
        for (extra, message) in [
            ("{", "column `extra`: expected a key in quotes at byte 1"),
            (
                r#"{"/no/such":1}"#,
                "`extra` names `/no/such`, which no row of this table has",
            ),
            (
                r#"{"/answerDebug":1}"#,
                "`extra` says that `/answerDebug` is no array, and there are 2 elements of it",
            ),
            (
                r#"{"/answerDebug/7":1}"#,
                "table `llm_calls`, row 2, query `q-1`: expected the rows of a search in the order",
            ),
            (
                r#"{"verbatim":{"":"{]"}}"#,
                "the row makes no record: expected a key in quotes at byte 1",
            ),
        ] {
            let mut batches = flatten(&TWO);
            let extras = StringArray::from(vec![Some(extra), None]);
            batches[Table::Queries][0] = with_column(
                &batches[Table::Queries][0],
                "extra",
                std::sync::Arc::new(extras),
            );
            let error = error(&batches);
            assert!(error.contains(message), "{extra}: {error}");
        }
        let mut batches = flatten(&TWO);
        let queries = &batches[Table::Queries][0];
        let without = (0..queries.num_columns() - 1).collect::<Vec<_>>();
        batches[Table::Queries][0] = queries.project(&without).unwrap();
        assert_eq!(
            error(&batches),
            "table `queries`: column `extra`: expected string (JSON), got no such column"
        );
    }

    #[test]
    fn after_an_error_there_are_no_more_records() {
        let mut batches = flatten(&TWO);
        batches[Table::Answers].clear();
        let sources = PerTable::from_fn(|table| {
            let batches = batches[table].clone();
            batches.into_iter().map(Ok::<_, Infallible>)
        });
        let mut restorer = Restorer::new(sources);
        assert!(restorer.next().unwrap().is_err());
        assert!(restorer.next().is_none());
    }
}
