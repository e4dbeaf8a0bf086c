//! The tables, column by column: name, type, where each comes from, and what it means.
//!
//! This is the one place that says so. The flattening runs over these lists, the writers take their Arrow schema from
//! them, and `answerlake schema` prints them.
//!
//! A column whose source is [`Source::Member`] holds that member of the row's JSON object: null when the member is
//! absent, and beside it an entry in `extra` whenever the column does not hold the member exactly.

use std::sync::{Arc, LazyLock};

use answerlake_model::{ColumnRole, PerTable, Table, TableSchema};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

/// The version of the tables' columns; it goes up when a column is added, or the format of `extra` changes.
pub const SCHEMA_VERSION: u32 = 1;

/// How prompts are stored: `[lake] prompt`, pinned in the lake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptLayout {
    /// `prompt_parts`, a list of strings cut by content, so that equal parts are stored once. The default.
    #[default]
    Parts,
    /// `prompt_text`, one string.
    Text,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in the table.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
    /// Whether it may be null.
    pub nullable: bool,
    /// Where its values come from.
    pub source: Source,
    /// What it means, for readers of the table; empty where name and source say it all.
    pub doc: &'static str,
    /// What it is stored for.
    pub role: ColumnRole,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8 text.
    Text,
    /// JSON as text.
    Json,
    /// A truth value.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A 64-bit integer that the source writes as a string.
    Int64InText,
    /// A 64-bit floating-point number.
    Float64,
    /// Microseconds since 1970, UTC.
    Time,
    /// A list of strings.
    TextList,
    /// A list of 32-bit integers.
    Int32List,
}

impl ColumnKind {
    /// Its Arrow type.
    pub fn arrow(self) -> DataType {
        // Readers of Parquet expect the inner field of a list to be called `element` (parquet-format, LogicalTypes).
        let list = |item| DataType::List(Arc::new(Field::new("element", item, false)));
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::Int64InText => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::TextList => list(DataType::Utf8),
            Self::Int32List => list(DataType::Int32),
        }
    }

    /// Its name in `answerlake schema`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Json => "string (JSON)",
            Self::Bool => "boolean",
            Self::Int32 => "int32",
            Self::Int64 | Self::Int64InText => "int64",
            Self::Float64 => "float64",
            Self::Time => "timestamp",
            Self::TextList => "list of string",
            Self::Int32List => "list of int32",
        }
    }
}

/// Where a column's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A member of the row's object, by its path with dots.
    Member(&'static str),
    /// Worked out by the flattening; the text names the JSON paths it looks at.
    Derived(Derived, &'static str),
}

impl Source {
    /// The JSON paths it reads.
    pub fn path(self) -> &'static str {
        match self {
            Self::Member(path) | Self::Derived(_, path) => path,
        }
    }
}

/// The values that are worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// The search's id.
    QueryId,
    /// The record's own id.
    RecordId,
    /// The record's time.
    CreatedAt,
    /// How many answers the search has.
    AnswerCount,
    /// Tags of a comment.
    CommentTags,
    /// The debug element's id.
    AnswerId,
    /// The debug element's place.
    AnswerPosition,
    /// `extractive` or `generative`.
    ChunkKind,
    /// The chunk's place.
    ChunkPosition,
    /// Whether the completion cites the chunk.
    Cited,
    /// `moreInfo`'s `Chunk Title`.
    ChunkTitle,
    /// `moreInfo`'s `Page Number`.
    PageNumber,
    /// The prompt, cut or whole.
    Prompt,
    /// `moreInfo` of the prompt.
    PromptInfo,
    /// The completion's text.
    CompletionText,
    /// The chunks that the completion cites.
    CitedPositions,
    /// Whether there is a completion.
    HasCompletion,
    /// `moreInfo`'s `LLM Response Id`.
    ResponseId,
    /// `moreInfo`'s `Completion Time`.
    CompletionTime,
    /// The rest of the response's `moreInfo`.
    ResponseInfo,
    /// The rest of the response time's `moreInfo`.
    TimeInfo,
    /// The record's event.
    Event,
    /// The record as it came.
    Record,
    /// All that the other columns do not hold.
    Extra,
}

const fn member(
    name: &'static str,
    kind: ColumnKind,
    path: &'static str,
    doc: &'static str,
) -> Column {
    Column {
        name,
        kind,
        nullable: true,
        source: Source::Member(path),
        doc,
        role: ColumnRole::Plain,
    }
}

const fn derived(
    name: &'static str,
    kind: ColumnKind,
    what: Derived,
    path: &'static str,
    doc: &'static str,
) -> Column {
    Column {
        name,
        kind,
        nullable: true,
        source: Source::Derived(what, path),
        doc,
        role: ColumnRole::Plain,
    }
}

impl Column {
    /// The vendor's fields that its values come from: where one of them is masked, so are they.
    pub fn fields(&self) -> Vec<&'static str> {
        let derived = match self.source {
            // All members of the tables have names of their own, whatever they stand in.
            Source::Member(path) => return path.rsplit('.').take(1).collect(),
            Source::Derived(derived, _) => derived,
        };
        match derived {
            Derived::CommentTags => vec!["tags"],
            Derived::Cited | Derived::CitedPositions => vec!["chunkIds", "completionText"],
            Derived::CompletionText | Derived::HasCompletion => vec!["completionText"],
            Derived::Prompt => vec!["prompt"],
            Derived::PromptInfo => vec!["prompt", "moreInfo"],
            Derived::ChunkTitle
            | Derived::PageNumber
            | Derived::ResponseId
            | Derived::CompletionTime
            | Derived::ResponseInfo
            | Derived::TimeInfo => vec!["moreInfo"],
            _ => Vec::new(),
        }
    }

    const fn not_null(self) -> Self {
        Self {
            nullable: false,
            ..self
        }
    }

    const fn id(self) -> Self {
        Self {
            role: ColumnRole::Id,
            ..self
        }
    }

    const fn long(self) -> Self {
        Self {
            role: ColumnRole::LongText,
            ..self
        }
    }
}

use ColumnKind::{Bool, Float64, Int32, Int32List, Int64, Int64InText, Json, Text, TextList, Time};

const QUERY_ID: Column = derived(
    "query_id",
    Text,
    Derived::QueryId,
    "searchRequestId, else _id",
    "the search; joins all tables",
)
.id();
const RECORD_ID: Column = derived("record_id", Text, Derived::RecordId, "_id", "").id();
const CREATED_AT: Column = derived(
    "created_at",
    Time,
    Derived::CreatedAt,
    "createdOn, else timeStampValue",
    "the record's time; it decides the partition",
)
.not_null();
const ANSWER_ID: Column = derived(
    "answer_id",
    Text,
    Derived::AnswerId,
    "answerDebug[]._id",
    "",
)
.id();
const ANSWER_POSITION: Column = derived(
    "answer_position",
    Int32,
    Derived::AnswerPosition,
    "place in answerDebug[]",
    "the answer's place in its search, from 1",
)
.not_null();
const COMMENT_TAGS: Column = derived(
    "comment_tags",
    TextList,
    Derived::CommentTags,
    "comments.tags",
    "",
);
const EXTRA: Column = derived(
    "extra",
    Json,
    Derived::Extra,
    "all else",
    "by JSON Pointer, what the columns of this row do not hold exactly; null when there is nothing",
);

const QUERIES: &[Column] = &[
    QUERY_ID.not_null(),
    RECORD_ID,
    CREATED_AT,
    member("query_text", Text, "query", "what the person asked"),
    member("answer_text", Text, "graphAnswer", "the answer shown").long(),
    member("answer_type", Text, "answerType", ""),
    member("has_results", Bool, "hasResults", ""),
    member("model", Text, "model", ""),
    member("model_name", Text, "modelName", ""),
    derived(
        "answer_count",
        Int32,
        Derived::AnswerCount,
        "length of answerDebug",
        "0 when there is no answerDebug",
    )
    .not_null(),
    member("language", Text, "language", ""),
    member("channel", Text, "channel", ""),
    member("channel_uid", Text, "channelUId", ""),
    member("session_id", Text, "sessionId", "").id(),
    member("user_id", Text, "userId", "").id(),
    member("account_id", Text, "accountId", ""),
    member("message_id", Text, "messageId", ""),
    member("client_info", Text, "clientInfo", ""),
    member("request_source", Text, "requestSource", ""),
    member("connection_type", Text, "connectionType", ""),
    member("query_type", Text, "queryType", ""),
    member("is_full_search", Bool, "isFullSearch", ""),
    member("snippet_enabled", Bool, "snippetEnabled", ""),
    member("is_dev", Bool, "isDev", ""),
    member("bot_id", Text, "botId", ""),
    member("search_index_id", Text, "searchIndexId", ""),
    member("query_pipeline_id", Text, "queryPipelineId", ""),
    member("index_pipeline_id", Text, "indexPipelineId", ""),
    COMMENT_TAGS,
    member("selected_facets", Json, "selectedFacets", ""),
    member(
        "modified_at",
        Time,
        "lMod",
        "whole seconds; may lie before created_at",
    ),
    member("doc_version", Int64, "__v", ""),
    EXTRA,
];

const FEEDBACK: &[Column] = &[
    derived("feedback_id", Text, Derived::RecordId, "_id", "")
        .not_null()
        .id(),
    Column {
        doc: "the search rated, which may lie in another partition",
        ..QUERY_ID
    },
    CREATED_AT,
    derived(
        "event",
        Text,
        Derived::Event,
        "event",
        "`thumbsUp` or `thumbsDown`",
    )
    .not_null(),
    Column {
        name: "tags",
        ..COMMENT_TAGS
    },
    member("query_text", Text, "query", ""),
    member("bot_id", Text, "botId", ""),
    member("search_index_id", Text, "searchIndexId", ""),
    member("selected_facets", Json, "selectedFacets", ""),
    member("is_dev", Bool, "isDev", ""),
    member("modified_at", Time, "lMod", ""),
    member("doc_version", Int64, "__v", ""),
    EXTRA,
];

const ANSWERS: &[Column] = &[
    QUERY_ID.not_null(),
    RECORD_ID,
    ANSWER_ID,
    CREATED_AT,
    Column {
        name: "position",
        ..ANSWER_POSITION
    },
    member("answered_at", Time, "createdOn", "the answer's own time"),
    member("answered_by", Text, "answeredBy", ""),
    member("retriever", Text, "retrieverUsed", ""),
    member("vector_search_type", Text, "vectorSearchType", ""),
    member(
        "extractive_chunk_count",
        Int64,
        "extractiveChunksCount",
        "as the vendor counts",
    ),
    member(
        "generative_chunk_count",
        Int64,
        "generativeChunksCount",
        "as the vendor counts",
    ),
    member(
        "chunks_sent_to_llm",
        Int64,
        "chunksSentToLLM",
        "as the vendor counts",
    ),
    member(
        "chunks_used_in_answer",
        Int64,
        "chunksUsedInAnswer",
        "as the vendor counts",
    ),
    member("answering_source", Json, "answeringSource", ""),
    member("query_text", Text, "query", ""),
    member("channel", Text, "channel", ""),
    member("search_index_id", Text, "searchIndexId", ""),
    member("query_pipeline_id", Text, "queryPipelineId", ""),
    member("index_pipeline_id", Text, "indexPipelineId", ""),
    member("doc_version", Int64, "__v", ""),
    EXTRA,
];

const CHUNKS: &[Column] = &[
    QUERY_ID.not_null(),
    RECORD_ID,
    ANSWER_ID,
    CREATED_AT,
    ANSWER_POSITION,
    derived(
        "kind",
        Text,
        Derived::ChunkKind,
        "which list",
        "`extractive` or `generative`",
    )
    .not_null(),
    derived(
        "position",
        Int32,
        Derived::ChunkPosition,
        "place in extractiveChunks[] or generativeChunks[]",
        "the chunk's place in its list, from 1; the model's `chk-N`",
    )
    .not_null(),
    derived(
        "cited",
        Bool,
        Derived::Cited,
        "chunkIds of the completion",
        "whether the completion cites this position; null when that is unknown",
    ),
    member(
        "score",
        Float64,
        "score",
        "comparable within one answer only",
    ),
    member("sent_to_llm", Bool, "sentToLLM", ""),
    member(
        "used_in_answer",
        Bool,
        "usedInAnswer",
        "as the vendor marks it: all chunks sent are",
    ),
    member("qualified", Bool, "chunkQualified", ""),
    member("reranked", Bool, "chunkRerank", ""),
    member("frequency", Int64InText, "chunkFrequency", ""),
    member("source_type", Text, "sourceType", ""),
    member("source_name", Text, "sourceName", ""),
    member("source_url", Text, "sourceUrl", ""),
    member("record_title", Text, "recordTitle", ""),
    member("record_url", Text, "recordUrl", ""),
    member(
        "page_image_url",
        Text,
        "page_image_url",
        "absolute, or relative to the site",
    ),
    derived(
        "page_number",
        Int64,
        Derived::PageNumber,
        "moreInfo[] `Page Number`",
        "",
    ),
    derived(
        "chunk_title",
        Text,
        Derived::ChunkTitle,
        "moreInfo[] `Chunk Title`",
        "",
    ),
    member(
        "chunk_id",
        Text,
        "additionalInfo.chunkId",
        "not what the model calls `chk-N`",
    )
    .id(),
    member("doc_id", Text, "additionalInfo.docId", "").id(),
    member("source_id", Text, "additionalInfo.sourceId", ""),
    member("chunk_type", Text, "additionalInfo.chunkType", ""),
    member(
        "extraction_method",
        Text,
        "additionalInfo.extractionMethod",
        "",
    ),
    member("text", Text, "chunkText", "").long(),
    EXTRA,
];

const LLM_CALLS: &[Column] = &[
    QUERY_ID.not_null(),
    RECORD_ID,
    ANSWER_ID,
    CREATED_AT,
    ANSWER_POSITION,
    PROMPT_PARTS,
    derived(
        "completion_text",
        Text,
        Derived::CompletionText,
        "llmResponse…completionText, or its answer",
        "",
    )
    .long(),
    derived(
        "cited_positions",
        Int32List,
        Derived::CitedPositions,
        "llmResponse…completionText.chunkIds",
        "the N of each `chk-N`",
    ),
    derived(
        "has_completion",
        Bool,
        Derived::HasCompletion,
        "llmResponse…completionText",
        "false for the empty shell of an extractive answer",
    )
    .not_null(),
    derived(
        "response_id",
        Text,
        Derived::ResponseId,
        "responseDetails.moreInfo[] `LLM Response Id`",
        "",
    )
    .id(),
    derived(
        "completion_time_ms",
        Float64,
        Derived::CompletionTime,
        "responseTime.moreInfo[] `Completion Time`",
        "milliseconds, as far as is known",
    ),
    derived(
        "prompt_info",
        Json,
        Derived::PromptInfo,
        "prompt.moreInfo",
        "",
    ),
    derived(
        "response_info",
        Json,
        Derived::ResponseInfo,
        "responseDetails.moreInfo",
        "its other entries",
    ),
    derived(
        "time_info",
        Json,
        Derived::TimeInfo,
        "responseTime.moreInfo",
        "its other entries",
    ),
    EXTRA,
];

const PROMPT_PARTS: Column = derived(
    "prompt_parts",
    TextList,
    Derived::Prompt,
    "prompt, or its promptText",
    "joined without a separator they are the prompt",
)
.long();
const PROMPT_TEXT: Column = Column {
    name: "prompt_text",
    kind: Text,
    doc: "the prompt",
    ..PROMPT_PARTS
};

const EVENTS: &[Column] = &[
    RECORD_ID,
    QUERY_ID,
    CREATED_AT,
    derived(
        "event",
        Text,
        Derived::Event,
        "event",
        "what happened, as the vendor calls it",
    ),
    derived(
        "record",
        Json,
        Derived::Record,
        "the whole record",
        "as it came",
    )
    .not_null()
    .long(),
];

/// What one row of a table is.
pub fn row_doc(table: Table) -> &'static str {
    match table {
        Table::Queries => "one row per `event: \"search\"` record",
        Table::Feedback => "one row per `thumbsUp` or `thumbsDown` record",
        Table::Answers => "one row per element of a search's answerDebug[]",
        Table::Chunks => {
            "one row per element of an answer's extractiveChunks[] and generativeChunks[]"
        }
        Table::LlmCalls => {
            "one row per element of answerDebug[] that has a prompt or an llmResponse"
        }
        Table::Events => "one row per record of any other event, or of none",
    }
}

/// The column of `table` that holds the records' own ids; `None` for tables whose rows are no records.
pub fn record_id_column(table: Table) -> Option<&'static str> {
    match table {
        Table::Queries | Table::Events => Some(RECORD_ID.name),
        Table::Feedback => Some("feedback_id"),
        Table::Answers | Table::Chunks | Table::LlmCalls => None,
    }
}

/// The columns of `table`, in order.
pub fn columns(table: Table, prompt: PromptLayout) -> &'static [Column] {
    static LLM_CALLS_WITH_TEXT: LazyLock<Vec<Column>> = LazyLock::new(|| {
        LLM_CALLS
            .iter()
            .map(|column| {
                if column.name == PROMPT_PARTS.name {
                    PROMPT_TEXT
                } else {
                    *column
                }
            })
            .collect()
    });
    match (table, prompt) {
        (Table::Queries, _) => QUERIES,
        (Table::Feedback, _) => FEEDBACK,
        (Table::Answers, _) => ANSWERS,
        (Table::Chunks, _) => CHUNKS,
        (Table::LlmCalls, PromptLayout::Parts) => LLM_CALLS,
        (Table::LlmCalls, PromptLayout::Text) => &LLM_CALLS_WITH_TEXT,
        (Table::Events, _) => EVENTS,
    }
}

/// All tables' schemas, as their writers take them.
pub fn table_schemas(prompt: PromptLayout) -> PerTable<TableSchema> {
    PerTable::from_fn(|table| {
        let columns = columns(table, prompt);
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(column.name, column.kind.arrow(), column.nullable))
            .collect();
        TableSchema {
            table,
            arrow: Arc::new(Schema::new(fields)),
            roles: columns.iter().map(|column| column.role).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_columns_are_those_that_have_policies() {
        let fields_of = |table, name: &str| {
            let columns = columns(table, PromptLayout::Parts);
            let column = columns.iter().find(|column| column.name == name);
            column.unwrap().fields()
        };
        assert_eq!(fields_of(Table::Chunks, "doc_id"), ["docId"]);
        assert_eq!(fields_of(Table::Queries, "answer_text"), ["graphAnswer"]);
        assert_eq!(fields_of(Table::Queries, "query_id"), [""; 0]);
        for table in Table::ALL {
            for column in columns(table, PromptLayout::Parts) {
                for field in column.fields() {
                    let known = crate::privacy::field_of(field);
                    assert!(known.is_some_and(|(name, _)| name == field), "{field}");
                }
            }
        }
    }

    #[test]
    fn names_are_unique_and_extra_stands_last() {
        for prompt in [PromptLayout::Parts, PromptLayout::Text] {
            for table in Table::ALL {
                let names: Vec<_> = columns(table, prompt)
                    .iter()
                    .map(|column| column.name)
                    .collect();
                let distinct: std::collections::HashSet<_> = names.iter().collect();
                assert_eq!(distinct.len(), names.len(), "{table}");
                assert_eq!(names.contains(&"extra"), table != Table::Events);
                assert!(table == Table::Events || names.last() == Some(&"extra"));
                assert!(record_id_column(table).is_none_or(|id| names.contains(&id)));
            }
        }
    }
}
