//! The rows that records should become, worked out anew from `TABLES.md`: slowly, plainly, and sharing nothing with
//! the program.
//!
//! `extra` is left out, and so are `dt`, `hour` and `app_id`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::lake::{Row, TABLES};

/// Rows by table.
pub(crate) type Tables = BTreeMap<&'static str, Vec<Row>>;

/// The rows of each table that `records` should become, in their order.
pub(crate) fn tables(records: &[Value]) -> Tables {
    let mut tables: Tables = TABLES.map(|table| (table, Vec::new())).into();
    for record in records {
        add(record, &mut tables);
    }
    tables
}

/// How many rows of each table `records` should become.
pub(crate) fn counts<'r>(
    records: impl IntoIterator<Item = &'r Value>,
) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<&'static str, u64> = TABLES.map(|table| (table, 0)).into();
    for record in records {
        match record["event"].as_str() {
            Some("search") => *counts.get_mut("queries").unwrap() += 1,
            Some("thumbsUp" | "thumbsDown") => *counts.get_mut("feedback").unwrap() += 1,
            _ => *counts.get_mut("events").unwrap() += 1,
        }
        if record["event"] != "search" {
            continue;
        }
        for answer in objects(&record["answerDebug"]) {
            *counts.get_mut("answers").unwrap() += 1;
            let chunks = ["extractiveChunks", "generativeChunks"];
            *counts.get_mut("chunks").unwrap() += chunks
                .map(|list| objects(&answer[list]).count() as u64)
                .iter()
                .sum::<u64>();
            let is_call = answer.get("prompt").is_some() || answer.get("llmResponse").is_some();
            *counts.get_mut("llm_calls").unwrap() += u64::from(is_call);
        }
    }
    counts
}

/// When a record was made.
pub(crate) fn created_at(record: &Value) -> DateTime<Utc> {
    match record["createdOn"].as_str() {
        Some(text) => text.parse().unwrap(),
        None => {
            DateTime::from_timestamp_millis(record["timeStampValue"].as_i64().unwrap()).unwrap()
        }
    }
}

/// The prompt of an answer, if it has one.
pub(crate) fn prompt(answer: &Value) -> Option<&str> {
    let prompt = &answer["prompt"];
    prompt.as_str().or_else(|| prompt["promptText"].as_str())
}

/// What an answer's model said, if it did.
pub(crate) fn completion(answer: &Value) -> Option<&str> {
    let completion = &answer["llmResponse"]["responseDetails"]["completionText"];
    completion
        .as_str()
        .or_else(|| completion["answer"].as_str())
}

/// The elements of an array that are objects.
pub(crate) fn objects(array: &Value) -> impl Iterator<Item = &Value> {
    array
        .as_array()
        .into_iter()
        .flatten()
        .filter(|element| element.is_object())
}

fn add(record: &Value, tables: &mut Tables) {
    let query_id = record
        .get("searchRequestId")
        .filter(|id| id.is_string())
        .unwrap_or(&record["_id"]);
    let ids = [
        ("query_id", query_id.clone()),
        ("record_id", text(&record["_id"])),
        ("created_at", json!(created_at(record).timestamp_micros())),
    ];
    let tags = texts(&record["comments"]["tags"]);
    let mut push = |table, row| tables.get_mut(table).unwrap().push(row);
    match record["event"].as_str() {
        Some("search") => {
            let answers = &record["answerDebug"];
            let mut row = Row::from_iter(ids.clone().map(named));
            row.insert("comment_tags".to_owned(), tags);
            let count = answers.as_array().map_or(0, Vec::len);
            row.insert("answer_count".to_owned(), json!(count));
            members(&mut row, record, QUERIES);
            push("queries", row);
            for (answer, position) in answers.as_array().into_iter().flatten().zip(1..) {
                let answer_ids = ids.clone().into_iter().chain([
                    ("answer_id", text(&answer["_id"])),
                    ("answer_position", json!(position)),
                ]);
                let ids: Row = answer_ids.map(named).collect();
                push("answers", answer_row(answer, &ids));
                for (kind, list) in [
                    ("extractive", "extractiveChunks"),
                    ("generative", "generativeChunks"),
                ] {
                    for (chunk, position) in answer[list].as_array().into_iter().flatten().zip(1..)
                    {
                        push("chunks", chunk_row(chunk, kind, position, answer, &ids));
                    }
                }
                push("llm_calls", call_row(answer, &ids));
            }
        }
        Some("thumbsUp" | "thumbsDown") => {
            let mut row = Row::from_iter(ids.map(named));
            let id = row.remove("record_id").unwrap();
            row.insert("feedback_id".to_owned(), id);
            row.insert("tags".to_owned(), tags);
            row.insert("event".to_owned(), record["event"].clone());
            members(&mut row, record, FEEDBACK);
            push("feedback", row);
        }
        _ => {
            let mut row = Row::from_iter(ids.map(named));
            row.insert("event".to_owned(), text(&record["event"]));
            row.insert("record".to_owned(), record.clone());
            push("events", row);
        }
    }
}

fn answer_row(answer: &Value, ids: &Row) -> Row {
    let mut row = ids.clone();
    let position = row.remove("answer_position").unwrap();
    row.insert("position".to_owned(), position);
    members(&mut row, answer, ANSWERS);
    row
}

fn chunk_row(chunk: &Value, kind: &str, position: i64, answer: &Value, ids: &Row) -> Row {
    let mut row = ids.clone();
    let cited = match (kind, cited(answer)) {
        ("generative", Some(cited)) if sent_chunks_are_first(answer) => {
            json!(cited.contains(&position))
        }
        _ => Value::Null,
    };
    row.extend(
        [
            ("kind", json!(kind)),
            ("position", json!(position)),
            ("cited", cited),
            ("page_number", integer(&info(chunk, "Page Number"))),
            ("chunk_title", text(&info(chunk, "Chunk Title"))),
        ]
        .map(named),
    );
    members(&mut row, chunk, CHUNKS);
    row
}

fn call_row(answer: &Value, ids: &Row) -> Row {
    let mut row = ids.clone();
    let details = &answer["llmResponse"]["responseDetails"];
    let time = &answer["llmResponse"]["responseTime"];
    let completion = completion(answer);
    row.extend(
        [
            ("prompt_parts", json!(prompt(answer))),
            ("completion_text", json!(completion)),
            ("cited_positions", json!(cited(answer))),
            (
                "has_completion",
                json!(completion.is_some_and(|text| !text.is_empty())),
            ),
            ("response_id", text(&info(details, "LLM Response Id"))),
            ("completion_time_ms", number(&info(time, "Completion Time"))),
            ("prompt_info", answer["prompt"]["moreInfo"].clone()),
            ("response_info", other_info(details, "LLM Response Id")),
            ("time_info", other_info(time, "Completion Time")),
        ]
        .map(named),
    );
    row
}

/// The N of each `chk-N`; `None` without a list.
fn cited(answer: &Value) -> Option<Vec<i64>> {
    let ids = &answer["llmResponse"]["responseDetails"]["completionText"]["chunkIds"];
    let position = |id: &Value| id.as_str()?.strip_prefix("chk-")?.parse().ok();
    Some(ids.as_array()?.iter().filter_map(position).collect())
}

fn sent_chunks_are_first(answer: &Value) -> bool {
    let chunks = answer["generativeChunks"].as_array();
    let sent = chunks
        .into_iter()
        .flatten()
        .map(|chunk| chunk["sentToLLM"] == true);
    sent.skip_while(|is_sent| *is_sent).all(|is_sent| !is_sent)
}

/// The value of a `moreInfo` entry.
fn info(object: &Value, key: &str) -> Value {
    objects(&object["moreInfo"])
        .find(|entry| entry["key"] == key)
        .map_or(Value::Null, |entry| entry["value"].clone())
}

/// The `moreInfo` entries but for one; null where there are none.
fn other_info(object: &Value, key: &str) -> Value {
    let others: Vec<&Value> = objects(&object["moreInfo"])
        .filter(|entry| entry["key"] != key)
        .collect();
    if others.is_empty() {
        Value::Null
    } else {
        json!(others)
    }
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Json,
    Bool,
    Integer,
    IntegerInText,
    Number,
    Time,
}

use Type::{Bool, Integer, IntegerInText, Json, Number, Text, Time};

type Members = &'static [(&'static str, Type, &'static str)];

const QUERIES: Members = &[
    ("query_text", Text, "/query"),
    ("answer_text", Text, "/graphAnswer"),
    ("answer_type", Text, "/answerType"),
    ("has_results", Bool, "/hasResults"),
    ("model", Text, "/model"),
    ("model_name", Text, "/modelName"),
    ("language", Text, "/language"),
    ("channel", Text, "/channel"),
    ("channel_uid", Text, "/channelUId"),
    ("session_id", Text, "/sessionId"),
    ("user_id", Text, "/userId"),
    ("account_id", Text, "/accountId"),
    ("message_id", Text, "/messageId"),
    ("client_info", Text, "/clientInfo"),
    ("request_source", Text, "/requestSource"),
    ("connection_type", Text, "/connectionType"),
    ("query_type", Text, "/queryType"),
    ("is_full_search", Bool, "/isFullSearch"),
    ("snippet_enabled", Bool, "/snippetEnabled"),
    ("is_dev", Bool, "/isDev"),
    ("bot_id", Text, "/botId"),
    ("search_index_id", Text, "/searchIndexId"),
    ("query_pipeline_id", Text, "/queryPipelineId"),
    ("index_pipeline_id", Text, "/indexPipelineId"),
    ("selected_facets", Json, "/selectedFacets"),
    ("modified_at", Time, "/lMod"),
    ("doc_version", Integer, "/__v"),
];

const FEEDBACK: Members = &[
    ("query_text", Text, "/query"),
    ("bot_id", Text, "/botId"),
    ("search_index_id", Text, "/searchIndexId"),
    ("selected_facets", Json, "/selectedFacets"),
    ("is_dev", Bool, "/isDev"),
    ("modified_at", Time, "/lMod"),
    ("doc_version", Integer, "/__v"),
];

const ANSWERS: Members = &[
    ("answered_at", Time, "/createdOn"),
    ("answered_by", Text, "/answeredBy"),
    ("retriever", Text, "/retrieverUsed"),
    ("vector_search_type", Text, "/vectorSearchType"),
    ("extractive_chunk_count", Integer, "/extractiveChunksCount"),
    ("generative_chunk_count", Integer, "/generativeChunksCount"),
    ("chunks_sent_to_llm", Integer, "/chunksSentToLLM"),
    ("chunks_used_in_answer", Integer, "/chunksUsedInAnswer"),
    ("answering_source", Json, "/answeringSource"),
    ("query_text", Text, "/query"),
    ("channel", Text, "/channel"),
    ("search_index_id", Text, "/searchIndexId"),
    ("query_pipeline_id", Text, "/queryPipelineId"),
    ("index_pipeline_id", Text, "/indexPipelineId"),
    ("doc_version", Integer, "/__v"),
];

const CHUNKS: Members = &[
    ("score", Number, "/score"),
    ("sent_to_llm", Bool, "/sentToLLM"),
    ("used_in_answer", Bool, "/usedInAnswer"),
    ("qualified", Bool, "/chunkQualified"),
    ("reranked", Bool, "/chunkRerank"),
    ("frequency", IntegerInText, "/chunkFrequency"),
    ("source_type", Text, "/sourceType"),
    ("source_name", Text, "/sourceName"),
    ("source_url", Text, "/sourceUrl"),
    ("record_title", Text, "/recordTitle"),
    ("record_url", Text, "/recordUrl"),
    ("page_image_url", Text, "/page_image_url"),
    ("chunk_id", Text, "/additionalInfo/chunkId"),
    ("doc_id", Text, "/additionalInfo/docId"),
    ("source_id", Text, "/additionalInfo/sourceId"),
    ("chunk_type", Text, "/additionalInfo/chunkType"),
    (
        "extraction_method",
        Text,
        "/additionalInfo/extractionMethod",
    ),
    ("text", Text, "/chunkText"),
];

fn members(row: &mut Row, object: &Value, members: Members) {
    for &(column, kind, pointer) in members {
        let value = object.pointer(pointer).unwrap_or(&Value::Null);
        let value = match kind {
            Text => text(value),
            Json => value.clone(),
            Bool => json!(value.as_bool()),
            Integer => integer(value),
            IntegerInText => json!(value.as_str().and_then(|text| text.parse::<i64>().ok())),
            Number => number(value),
            Time => {
                let time = value
                    .as_str()
                    .and_then(|text| text.parse::<DateTime<Utc>>().ok());
                json!(time.map(|time| time.timestamp_micros()))
            }
        };
        row.insert(column.to_owned(), value);
    }
}

fn named((name, value): (&str, Value)) -> (String, Value) {
    (name.to_owned(), value)
}

fn text(value: &Value) -> Value {
    json!(value.as_str())
}

fn integer(value: &Value) -> Value {
    json!(value.as_i64())
}

/// A number, also one written as text; `extra` then says so.
fn number(value: &Value) -> Value {
    let in_text = || value.as_str()?.parse().ok();
    json!(value.as_f64().or_else(in_text))
}

fn texts(value: &Value) -> Value {
    match value.as_array() {
        Some(list) if list.iter().all(Value::is_string) => value.clone(),
        _ => Value::Null,
    }
}

/// A row of the lake in the form of these: without `extra` and the path's columns, JSON parsed, the prompt joined.
pub(crate) fn comparable(row: &Row) -> Row {
    const JSON_COLUMNS: [&str; 6] = [
        "selected_facets",
        "answering_source",
        "prompt_info",
        "response_info",
        "time_info",
        "record",
    ];
    let mut comparable: Map<String, Value> = row.clone();
    for column in ["extra", "dt", "hour", "app_id"] {
        comparable.remove(column);
    }
    for (column, value) in &mut comparable {
        if let (true, Some(text)) = (JSON_COLUMNS.contains(&column.as_str()), value.as_str()) {
            *value = serde_json::from_str(text).unwrap();
        }
        if let ("prompt_parts", Some(parts)) = (column.as_str(), value.as_array()) {
            let joined: String = parts.iter().map(|part| part.as_str().unwrap()).collect();
            *value = json!(joined);
        }
    }
    comparable
}

/// Checks the rows of a lake against `records`, in whatever order.
#[track_caller]
pub(crate) fn assert_holds(lake: &super::Lake, records: &[Value]) {
    let sorted = |rows: Vec<Row>| {
        let mut rows: Vec<(String, Row)> = rows
            .into_iter()
            .map(|row| (serde_json::to_string(&row).unwrap(), row))
            .collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows
    };
    for (table, expected) in tables(records) {
        let rows = lake.rows(table);
        assert_eq!(rows.len(), expected.len(), "rows of {table}");
        let rows = rows.iter().map(comparable).collect();
        for ((_, row), (_, expected)) in sorted(rows).iter().zip(&sorted(expected)) {
            for (column, value) in expected {
                assert_eq!(
                    row.get(column),
                    Some(value),
                    "{table}.{column} of {expected:?}"
                );
            }
            let columns = |row: &Row| row.keys().cloned().collect::<Vec<_>>();
            assert_eq!(columns(row), columns(expected), "columns of {table}");
        }
    }
}
