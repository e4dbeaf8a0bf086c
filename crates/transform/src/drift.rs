//! What of a record lands in `extra`, noted as paths and types for the drift ledger.
//!
//! A record that the columns hold wholly costs nothing here: notes are taken where something is put into `extra`, and
//! nowhere else.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use answerlake_model::{DriftPath, JsonType, JsonTypes, RecordDrift, Table};

use crate::flatten::RecordContext;
use crate::record::List;
use crate::schema::{ColumnKind, PromptLayout, Source, columns};

/// How many paths the notes of one record name.
const MAX_FINDINGS: usize = 100;

/// How many paths the notes of one block know.
const MAX_PATHS: usize = 1_000;

/// A longer key is shown as data, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// A key with more digits is shown as data: it is an id, a date or a number.
const MAX_KEY_DIGITS: usize = 4;

/// The row whose object is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowPlace {
    /// A record that has a row in this table.
    Record(Table),
    /// An element of `answerDebug`, but for what is the call's.
    Answer,
    /// An element of one of an answer's lists.
    Chunk(List),
    /// What is the call's of an element of `answerDebug`.
    LlmCall,
}

/// Takes notes, record after record.
#[derive(Debug, Default)]
pub(crate) struct DriftNotes {
    place: Option<RowPlace>,
    known: HashMap<RowPlace, HashMap<String, Known>>,
    paths: usize,
    record: u64,
    findings: Vec<(Arc<DriftPath>, JsonTypes)>,
    has_more: bool,
    path: String,
}

/// A path that was met before.
#[derive(Debug)]
struct Known {
    path: Arc<DriftPath>,
    /// The record it was met in last, and which of that record's findings it is.
    last: (u64, usize),
}

impl DriftNotes {
    /// Says of which row the next notes are.
    pub(crate) fn begin_row(&mut self, place: RowPlace) {
        self.place = Some(place);
    }

    /// Notes what stands at a JSON Pointer from the row's object.
    pub(crate) fn add(&mut self, pointer: &str, kind: JsonType) {
        // A table without a column `extra` keeps its records whole.
        let Some(place) = self.place.filter(|place| place.table() != Table::Events) else {
            return;
        };
        self.path.clear();
        self.path.push_str(place.prefix());
        push_path(&mut self.path, pointer, place);
        let known = self.known.entry(place).or_default();
        let Some(known) = known.get_mut(self.path.as_str()) else {
            if self.paths == MAX_PATHS || self.findings.len() == MAX_FINDINGS {
                self.has_more = true;
                return;
            }
            let path = Arc::new(DriftPath {
                path: self.path.clone(),
                table: place.table(),
                expected: expected(place, pointer).map(Cow::Borrowed),
            });
            let last = (self.record, self.findings.len());
            self.findings.push((Arc::clone(&path), kind.into()));
            known.insert(self.path.clone(), Known { path, last });
            self.paths += 1;
            return;
        };
        if known.last.0 == self.record {
            self.findings[known.last.1].1 |= kind.into();
        } else if self.findings.len() < MAX_FINDINGS {
            known.last = (self.record, self.findings.len());
            self.findings.push((Arc::clone(&known.path), kind.into()));
        } else {
            self.has_more = true;
        }
    }

    /// The notes of a record, if there are any; the next record starts without.
    pub(crate) fn take(&mut self, context: &RecordContext<'_, '_>) -> Option<Box<RecordDrift>> {
        if self.findings.is_empty() && !self.has_more {
            return None;
        }
        self.record += 1;
        Some(Box::new(RecordDrift {
            created_at: chrono::DateTime::from_timestamp_micros(context.created_at)?,
            id: context
                .record_id
                .or(context.search_request_id)
                .map(str::to_owned),
            findings: mem::take(&mut self.findings),
            has_more: mem::take(&mut self.has_more),
        }))
    }
}

impl RowPlace {
    fn table(self) -> Table {
        match self {
            Self::Record(table) => table,
            Self::Answer => Table::Answers,
            Self::Chunk(_) => Table::Chunks,
            Self::LlmCall => Table::LlmCalls,
        }
    }

    /// The path of the row's object.
    fn prefix(self) -> &'static str {
        match self {
            Self::Record(_) => "",
            Self::Answer | Self::LlmCall | Self::Chunk(List::Answers) => "answerDebug[]",
            Self::Chunk(List::ExtractiveChunks) => "answerDebug[].extractiveChunks[]",
            Self::Chunk(List::GenerativeChunks) => "answerDebug[].generativeChunks[]",
        }
    }
}

/// Appends a JSON Pointer as the ledger writes paths.
fn push_path(path: &mut String, pointer: &str, place: RowPlace) {
    if pointer.is_empty() && path.is_empty() {
        path.push('$');
    }
    if let Some(list) = list_of_element(pointer, place) {
        push_key(path, &list.pointer()[1..]);
        path.push_str("[]");
        return;
    }
    for key in pointer.split('/').skip(1) {
        push_key(path, key);
    }
}

fn push_key(path: &mut String, key: &str) {
    let is_name = is_name(key);
    if is_name && key.contains('.') {
        path.extend(["[\"", key, "\"]"]);
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(if is_name { key } else { "*" });
}

/// Whether a key looks like a name that somebody gave to a field, and not like data.
fn is_name(key: &str) -> bool {
    let is_usable = |char: char| char.is_alphanumeric() || "_-$:.".contains(char);
    let begins = |char: char| char.is_alphabetic() || "_$".contains(char);
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    key.len() <= MAX_KEY_BYTES
        && digits <= MAX_KEY_DIGITS
        && key.starts_with(begins)
        && key.chars().all(is_usable)
}

/// The list that has something at `pointer` as its element: one that is no object.
fn list_of_element(pointer: &str, place: RowPlace) -> Option<List> {
    let lists: &[List] = match place {
        RowPlace::Record(Table::Queries) => &[List::Answers],
        RowPlace::Answer => &[List::ExtractiveChunks, List::GenerativeChunks],
        _ => &[],
    };
    let is_its = |list: &&List| {
        pointer
            .strip_prefix(list.pointer())
            .is_some_and(|rest| rest.starts_with('/'))
    };
    lists.iter().copied().find(|list| is_its(&list))
}

/// What the place's table expects at `pointer`, in words; `None` where it knows of no such thing.
fn expected(place: RowPlace, pointer: &str) -> Option<&'static str> {
    if pointer.is_empty() || list_of_element(pointer, place).is_some() {
        return Some("object");
    }
    let table = place.table();
    let has_column = columns(table, PromptLayout::Parts)
        .iter()
        .find_map(|column| {
            let Source::Member(path) = column.source else {
                return None;
            };
            let mut keys = pointer.split('/').skip(1);
            let is_it =
                path.split('.').all(|key| keys.next() == Some(key)) && keys.next().is_none();
            is_it.then(|| in_words(column.kind))
        });
    has_column.or_else(|| worked_out(table, pointer))
}

fn in_words(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "string",
        ColumnKind::Json => "anything but null",
        ColumnKind::Bool => "boolean",
        ColumnKind::Int32 | ColumnKind::Int64 => "integer",
        ColumnKind::Int64InText => "integer as a string",
        ColumnKind::Float64 => "number",
        ColumnKind::Time => "time as a string",
        ColumnKind::TextList => "array of strings",
        ColumnKind::Int32List => "array of integers",
    }
}

/// The same, of what feeds derived columns.
fn worked_out(table: Table, pointer: &str) -> Option<&'static str> {
    Some(match (table, pointer) {
        (Table::Queries | Table::Feedback, pointer) => match pointer {
            "/_id" | "/searchRequestId" | "/event" => "string",
            "/createdOn" => "time as a string",
            "/timeStampValue" => "milliseconds of createdOn",
            "/comments" => "object",
            "/comments/tags" => "array of strings",
            "/answerDebug" if table == Table::Queries => "array",
            _ => return None,
        },
        (Table::Answers, "/_id") => "string",
        (Table::Answers, "/searchRequestId") => "the search's own",
        (Table::Answers, "/extractiveChunks" | "/generativeChunks") => "array",
        (Table::Chunks, "/moreInfo") => "array of Chunk Title and Page Number",
        (Table::Chunks, "/additionalInfo") => "object",
        (Table::LlmCalls, pointer) => match pointer {
            "/prompt" | "/llmResponse/responseDetails/completionText" => "string or object",
            "/prompt/promptText" | "/llmResponse/responseDetails/completionText/answer" => "string",
            "/llmResponse" | "/llmResponse/responseDetails" | "/llmResponse/responseTime" => {
                "object"
            }
            "/llmResponse/responseDetails/completionText/chunkIds" => "array of chk-N",
            "/prompt/moreInfo"
            | "/llmResponse/responseDetails/moreInfo"
            | "/llmResponse/responseTime/moreInfo" => "array of keys and values",
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use answerlake_model::DriftLedger;

    use crate::{AppAssignment, DecodeConfig, Decoder};

    use super::*;

    /// The ledger of a fragment, a path a line.
    fn ledger(fragment: &str) -> (Vec<String>, DriftLedger) {
        let decoder = Decoder::new(DecodeConfig::new(AppAssignment::FromRecords));
        let mut ledger = DriftLedger::default();
        for block in decoder.blocks(fragment.as_bytes()) {
            let block = decoder.decode(block.unwrap(), 1);
            assert_eq!(block.dead_letters, []);
            for record in block.partitions.iter().flat_map(|rows| &rows.records) {
                if let Some(drift) = &record.drift {
                    ledger.add(drift, usize::MAX);
                }
            }
        }
        let lines = ledger.paths().map(|(path, drift)| {
            let expected = path.expected.as_deref().unwrap_or("nothing");
            let (DriftPath { path, table, .. }, types) = (path, drift.types);
            format!(
                "{}x {path} in {table}: {types}, expected {expected}",
                drift.records
            )
        });
        (lines.collect(), ledger)
    }

    fn search(members: &str, answer: &str) -> String {
        format!(
            r#"{{"_id":"fsh-1","searchRequestId":"fsh-1","event":"search","botId":"st-1","timeStampValue":1751105958209,
            "createdOn":"2025-06-28T10:19:18.209Z",{members}"answerDebug":[{{"_id":"fad-1","searchRequestId":"fsh-1",
            "extractiveChunks":[],{answer}}}]}}"#
        )
    }

    #[test]
    fn records_as_documented_do_not_drift() {
        let (lines, ledger) = ledger(include_str!("../../../tests/fixtures/export.json"));
        assert_eq!(lines, [""; 0]);
        assert!(ledger.is_empty());
    }

    #[test]
    fn each_path_is_counted_once_a_record_with_all_its_types() {
        let record = search(
            r#""new":{"deep":1},"query":null,"hasResults":"yes","comments":{"tags":["a"],"by":"b"},"#,
            r#""prompt":{"moreInfo":[]},"llmResponse":7,"generativeChunks":[
                {"moreInfo":[],"rank":1},{"moreInfo":[],"rank":null,"score":"high"},{"rank":"one"},7]"#,
        );
        let feedback = r#"{"_id":"f","event":"thumbsUp","searchRequestId":"fsh-1","botId":"st-1","sessionId":"s",
            "timeStampValue":1751105958209,"createdOn":"2025-06-28T12:19:18.209+02:00"}"#;
        let event = r#"{"_id":"e","event":"click","botId":"st-1","query":7,"new":1,"createdOn":"2025-06-28"}"#
            .replace("2025-06-28", "2025-06-28T10:19:18Z");
        let (lines, ledger) = ledger(&format!("[{record},{feedback},{event},{record}]"));
        let expected = [
            "2x answerDebug[].generativeChunks[] in answers: number, expected object",
            "2x answerDebug[].generativeChunks[].moreInfo in chunks: absent, expected array of Chunk Title and Page Number",
            "2x answerDebug[].generativeChunks[].rank in chunks: null, number, string, expected nothing",
            "2x answerDebug[].generativeChunks[].score in chunks: string, expected number",
            "2x answerDebug[].llmResponse in llm_calls: number, expected object",
            "2x answerDebug[].prompt.promptText in llm_calls: absent, expected string",
            "2x comments.by in queries: string, expected nothing",
            "1x createdOn in feedback: string, expected time as a string",
            "2x hasResults in queries: string, expected boolean",
            "2x new in queries: object, expected nothing",
            "2x query in queries: null, expected string",
            "1x sessionId in feedback: string, expected nothing",
        ];
        assert_eq!(lines, expected);
        assert_eq!((ledger.records(), ledger.more()), (3, 0));
        let (_, new) = ledger.paths().find(|(path, _)| path.path == "new").unwrap();
        assert_eq!(new.example.as_deref(), Some("fsh-1"));
        assert_eq!(new.first_seen.to_rfc3339(), "2025-06-28T10:19:18.209+00:00");
    }

    #[test]
    fn keys_that_are_data_are_not_told() {
        let keys = [
            "jane@example.com",
            "how do I log in?",
            "2025-06-28",
            "u-f2454de3-8a1f",
            "a/b",
            "",
            &"x".repeat(65),
            "line\\nbreak",
        ];
        let mut members = String::new();
        for key in keys {
            members += &format!(r#""{key}":"secret","#);
        }
        let record = search(
            &format!(
                r#"{members}"sys.file.type":1,"straße":1,"v2":1,"comments":{{{members}"tags":[]}},"#
            ),
            r#""generativeChunks":[]"#,
        );
        let (lines, _) = ledger(&format!("[{record}]"));
        let expected = [
            "1x * in queries: string, expected nothing",
            "1x [\"sys.file.type\"] in queries: number, expected nothing",
            "1x comments.* in queries: string, expected nothing",
            "1x straße in queries: number, expected nothing",
            "1x v2 in queries: number, expected nothing",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_object_kept_as_text_is_one_path() {
        let record = search(
            r#""twin":1,"twin":2,"#,
            r#""generativeChunks":[],"a":1,"a":2"#,
        );
        let (lines, _) = ledger(&format!("[{record}]"));
        let expected = [
            "1x $ in queries: object, expected object",
            "1x answerDebug[] in answers: object, expected object",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn any_number_of_names_stays_within_bounds() {
        let letters = |number: usize| -> String {
            let digits = number.to_string();
            digits.bytes().map(|digit| char::from(digit + 49)).collect()
        };
        let records: Vec<String> = (0..20)
            .map(|record| {
                let members =
                    (0..500).map(|key| format!(r#""k{}":0,"#, letters(record * 500 + key)));
                search(&members.collect::<String>(), r#""generativeChunks":[]"#)
                    .replace("\"_id\":\"fsh-1\"", &format!("\"_id\":\"fsh-{record}\""))
            })
            .collect();
        let (lines, ledger) = ledger(&format!("[{}]", records.join(",")));
        assert_eq!(lines.len(), DriftLedger::MAX_PATHS);
        assert_eq!((ledger.records(), ledger.more()), (20, 20));
    }
}
