//! Rows of each table, out of a record.

use std::iter::once;

use answerlake_model::{RecordDrift, Table};

use crate::batch::RowBuilders;
use crate::citation::{CitedPositions, labels_are_positions};
use crate::column::{ColumnBuilder, float, text_list};
use crate::drift::RowPlace;
use crate::extra::{Extra, RowCounts};
use crate::json::{Arena, Kind, Value, compact};
use crate::more_info::{ChunkInfo, MoreInfo};
use crate::prompt::parts;
use crate::record::{
    ANSWER, ANSWER_SLOTS, CHUNK, CHUNK_SLOTS, Layout, List, RECORD, RECORD_SLOTS, Record,
};
use crate::row::{Plan, Row, Scope, Step, steps};
use crate::schema::{Derived, PromptLayout};

/// How long an id may be, in bytes. Ids are repeated in every row of their record: a longer one is no id, and would
/// cost more than all the rest.
pub(crate) const MAX_ID_BYTES: usize = 512;

/// Which table the record itself has a row in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Search,
    Feedback,
    Other,
}

/// A record with what all its rows share.
#[derive(Clone, Copy)]
pub(crate) struct RecordContext<'r, 'a> {
    pub(crate) record: &'r Record<'a>,
    pub(crate) arena: &'r Arena,
    pub(crate) kind: EventKind,
    /// `searchRequestId`, when it can be used.
    pub(crate) search_request_id: Option<&'r str>,
    /// `_id`, when it is text.
    pub(crate) record_id: Option<&'r str>,
    /// The record's time in microseconds.
    pub(crate) created_at: i64,
}

impl<'r, 'a> RecordContext<'r, 'a> {
    /// What joins the tables. A search is known by its own id where it names no other; feedback and events are not.
    fn query_id(&self) -> Option<&'r str> {
        match self.kind {
            EventKind::Search => self.search_request_id.or(self.record_id),
            EventKind::Feedback | EventKind::Other => self.search_request_id,
        }
    }

    /// How many rows of the tables below its answers the record has.
    fn row_counts(&self) -> RowCounts {
        let answers = self.record.elements(0, List::Answers);
        let has_call = |answer: &usize| has_call(self.record.slots(*answer));
        let chunks = self
            .record
            .nodes
            .iter()
            .filter(|node| node.place.is_some_and(|(list, _)| list != List::Answers));
        RowCounts {
            chunks: chunks.count() as u64,
            llm_calls: answers.filter(has_call).count() as u64,
        }
    }

    fn row(&self, node: usize, layout: &'static Layout) -> Row<'r, 'a> {
        Row {
            record: self.record,
            node,
            layout,
            arena: self.arena,
        }
    }
}

/// What the rows of an answer share.
struct AnswerContext<'r, 'a> {
    record: &'r RecordContext<'r, 'a>,
    node: usize,
    id: Option<&'r str>,
    position: i32,
    cited: Option<CitedPositions>,
    labels_are_positions: bool,
}

impl AnswerContext<'_, '_> {
    /// Appends a column that answers, chunks and calls have in common; `false` when `derived` is none of them.
    fn append(&self, derived: Derived, column: &mut ColumnBuilder) -> bool {
        match derived {
            Derived::QueryId => column.append_text(self.record.query_id()),
            Derived::RecordId => column.append_text(self.record.record_id),
            Derived::CreatedAt => column.append_time(self.record.created_at),
            Derived::AnswerId => column.append_text(self.id),
            Derived::AnswerPosition => column.append_int32(self.position),
            _ => return false,
        }
        true
    }

    /// Whether the completion cites the generative chunk at `position`; `None` when that is unknown.
    fn cites(&self, position: i32) -> Option<bool> {
        let cited = self.cited.as_ref().filter(|_| self.labels_are_positions)?;
        Some(cited.positions.contains(&position))
    }
}

/// Fills the tables; used for record after record.
#[derive(Debug)]
pub(crate) struct Flattener {
    queries: Plan,
    feedback: Plan,
    answers: Plan,
    chunks: Plan,
    llm_calls: Plan,
    events: Plan,
    prompt: PromptLayout,
    extra: Extra,
    scratch: Arena,
}

impl Plan {
    /// `worked_out` are the paths that the derived columns account for.
    fn new(
        table: Table,
        prompt: PromptLayout,
        layout: &Layout,
        scope: Scope,
        worked_out: &[&str],
    ) -> Self {
        let steps = steps(table, prompt, layout);
        let is_taken = |slot: &usize| {
            let by_column = steps
                .iter()
                .any(|step| matches!(step, Step::Member { slot: taken, .. } if taken == slot));
            by_column || worked_out.iter().any(|path| layout.slot(path) == *slot)
        };
        let left_over = (0..layout.len()).filter(|slot| !is_taken(slot)).collect();
        Self {
            steps,
            left_over,
            scope,
        }
    }
}

impl Flattener {
    pub(crate) fn new(prompt: PromptLayout) -> Self {
        const RECORD_PATHS: [&str; 7] = [
            "_id",
            "searchRequestId",
            "createdOn",
            "timeStampValue",
            "event",
            "comments",
            "comments.tags",
        ];
        const ANSWER_PATHS: [&str; 4] = [
            "_id",
            "searchRequestId",
            "extractiveChunks",
            "generativeChunks",
        ];
        const CALL_PATHS: [&str; 11] = [
            "prompt",
            "prompt.promptText",
            "prompt.moreInfo",
            "llmResponse",
            "llmResponse.responseDetails",
            "llmResponse.responseDetails.completionText",
            "llmResponse.responseDetails.completionText.answer",
            "llmResponse.responseDetails.completionText.chunkIds",
            "llmResponse.responseDetails.moreInfo",
            "llmResponse.responseTime",
            "llmResponse.responseTime.moreInfo",
        ];
        let query_paths: Vec<&str> = RECORD_PATHS
            .into_iter()
            .chain(once("answerDebug"))
            .collect();
        let answer_paths: Vec<&str> = ANSWER_PATHS.into_iter().chain(CALL_PATHS).collect();
        let plan = |table, layout, scope, worked_out: &[&str]| {
            Plan::new(table, prompt, layout, scope, worked_out)
        };
        // What the rest of an answer's object holds, its own row keeps; and an event keeps its record as it is.
        let nothing_left = |plan| Plan {
            left_over: Vec::new(),
            ..plan
        };
        Self {
            queries: plan(Table::Queries, &RECORD, Scope::Whole, &query_paths),
            feedback: plan(Table::Feedback, &RECORD, Scope::Whole, &RECORD_PATHS),
            answers: plan(Table::Answers, &ANSWER, Scope::Answer, &answer_paths),
            chunks: plan(
                Table::Chunks,
                &CHUNK,
                Scope::Whole,
                &["moreInfo", "additionalInfo"],
            ),
            llm_calls: nothing_left(plan(Table::LlmCalls, &ANSWER, Scope::LlmCall, &[])),
            events: nothing_left(plan(Table::Events, &RECORD, Scope::Whole, &[])),
            prompt,
            extra: Extra::default(),
            scratch: Arena::default(),
        }
    }

    /// Appends all rows of a record; gives what of it the columns do not hold.
    pub(crate) fn flatten(
        &mut self,
        context: &RecordContext<'_, '_>,
        builders: &mut RowBuilders,
    ) -> Option<Box<RecordDrift>> {
        match context.kind {
            EventKind::Search => {
                self.record_row(Table::Queries, context, builders);
                for node in context.record.elements(0, List::Answers) {
                    self.answer_rows(node, context, builders);
                }
            }
            EventKind::Feedback => self.record_row(Table::Feedback, context, builders),
            EventKind::Other => self.record_row(Table::Events, context, builders),
        }
        self.extra.drift.take(context)
    }

    fn record_row(
        &mut self,
        table: Table,
        context: &RecordContext<'_, '_>,
        builders: &mut RowBuilders,
    ) {
        let plan = match table {
            Table::Queries => &self.queries,
            Table::Feedback => &self.feedback,
            _ => &self.events,
        };
        self.extra.drift.begin_row(RowPlace::Record(table));
        let at = &*RECORD_SLOTS;
        let row = context.row(0, &RECORD);
        row.append(
            plan,
            builders.table(table),
            &mut self.extra,
            |derived, column, extra| match derived {
                Derived::QueryId => {
                    column.append_text(context.query_id());
                    // A search that names no other suggests that it names itself; the others have no query_id then.
                    match (table, context.search_request_id) {
                        (_, Some(_)) => {}
                        (Table::Queries, None) => row.keep_or_absent(at.search_request_id, extra),
                        (_, None) => row.keep(at.search_request_id, extra),
                    }
                }
                Derived::RecordId => {
                    column.append_text(context.record_id);
                    row.keep_unless_text(at.id, context.record_id, extra);
                    // An id that is no Unicode may be the same text as another.
                    let is_inexact = row.slot(at.id).exact_text(context.arena).is_none();
                    if table == Table::Queries && context.record_id.is_some() && is_inexact {
                        extra.set_rows(context.row_counts());
                    }
                }
                Derived::CreatedAt => {
                    column.append_time(context.created_at);
                    row.keep_times(context.created_at, extra);
                }
                Derived::AnswerCount => {
                    column.append_int32(answer_count(context.record));
                    row.keep_unless_array(at.answer_debug, extra);
                }
                Derived::CommentTags => {
                    let tags = text_list(row.slot(at.tags));
                    column.append_texts(tags.as_ref().map(|tags| tags.iter().map(String::as_str)));
                    match row.slot(at.comments).kind {
                        Kind::Object if tags.is_some() => {}
                        Kind::Object if !row.slot(at.tags).is_absent() => row.keep(at.tags, extra),
                        _ => row.keep_container(at.comments, extra),
                    }
                }
                Derived::Event => column.append_text(row.slot(at.event).text(context.arena)),
                Derived::Record => column.append_text(Some(&compact(context.record.nodes[0].raw))),
                other => unreachable!("{other:?} is not worked out for a record"),
            },
        );
    }

    fn answer_rows(
        &mut self,
        node: usize,
        context: &RecordContext<'_, '_>,
        builders: &mut RowBuilders,
    ) {
        let at = &*ANSWER_SLOTS;
        let row = context.row(node, &ANSWER);
        let answer = AnswerContext {
            record: context,
            node,
            id: row
                .slot(at.id)
                .text(context.arena)
                .filter(|id| id.len() <= MAX_ID_BYTES),
            position: position(context.record, node),
            cited: CitedPositions::read(row.slot(at.chunk_ids)),
            labels_are_positions: labels_are_positions(context.record, node),
        };
        self.extra.drift.begin_row(RowPlace::Answer);
        row.append(
            &self.answers,
            builders.table(Table::Answers),
            &mut self.extra,
            |derived, column, extra| {
                let is_shared = answer.append(derived, column);
                debug_assert!(is_shared, "{derived:?} is not worked out for an answer");
                match derived {
                    Derived::QueryId
                        if row.slot(at.search_request_id).exact_text(context.arena)
                            != context.query_id() =>
                    {
                        row.keep_or_absent(at.search_request_id, extra);
                    }
                    Derived::AnswerId => row.keep_unless_text(at.id, answer.id, extra),
                    Derived::AnswerPosition => {
                        row.keep_unless_array(at.extractive_chunks, extra);
                        row.keep_unless_array(at.generative_chunks, extra);
                    }
                    _ => {}
                }
            },
        );
        for list in [List::ExtractiveChunks, List::GenerativeChunks] {
            for chunk in context.record.elements(node, list) {
                self.chunk_row(chunk, list, &answer, builders);
            }
        }
        if has_call(context.record.slots(node)) {
            self.llm_call_row(&answer, builders);
        }
    }

    fn chunk_row(
        &mut self,
        node: usize,
        list: List,
        answer: &AnswerContext<'_, '_>,
        builders: &mut RowBuilders,
    ) {
        let at = &*CHUNK_SLOTS;
        let row = answer.record.row(node, &CHUNK);
        let position = position(answer.record.record, node);
        self.scratch.clear();
        let info = ChunkInfo::read(row.slot(at.more_info), &mut self.scratch);
        let scratch = &self.scratch;
        self.extra.drift.begin_row(RowPlace::Chunk(list));
        row.append(
            &self.chunks,
            builders.table(Table::Chunks),
            &mut self.extra,
            |derived, column, extra| {
                if answer.append(derived, column) {
                    return;
                }
                match derived {
                    Derived::ChunkKind => column.append_text(Some(match list {
                        List::GenerativeChunks => "generative",
                        List::ExtractiveChunks | List::Answers => "extractive",
                    })),
                    Derived::ChunkPosition => column.append_int32(position),
                    Derived::Cited => {
                        let is_labelled = list == List::GenerativeChunks;
                        column.append_bool(if is_labelled {
                            answer.cites(position)
                        } else {
                            None
                        });
                    }
                    Derived::PageNumber => column.append_int64(info.page_number),
                    Derived::ChunkTitle => {
                        column
                            .append_text(info.title.as_ref().and_then(|title| title.text(scratch)));
                        if !info.is_all {
                            row.keep_or_absent(at.more_info, extra);
                        }
                        row.keep_container(at.additional_info, extra);
                    }
                    other => unreachable!("{other:?} is not worked out for a chunk"),
                }
            },
        );
    }

    fn llm_call_row(&mut self, answer: &AnswerContext<'_, '_>, builders: &mut RowBuilders) {
        let at = &*ANSWER_SLOTS;
        let arena = answer.record.arena;
        let row = answer.record.row(answer.node, &ANSWER);
        self.scratch.clear();
        let details = MoreInfo::read(
            row.slot(at.details_info),
            "LLM Response Id",
            &mut self.scratch,
        );
        let time = MoreInfo::read(row.slot(at.time_info), "Completion Time", &mut self.scratch);
        let scratch = &self.scratch;
        let prompt_layout = self.prompt;
        let is_object = |slot: usize| row.slot(slot).kind == Kind::Object;
        let either = |slot: usize, inner: usize| {
            row.slot(slot)
                .text(arena)
                .or_else(|| row.slot(inner).text(arena))
        };
        let completion = either(at.completion, at.completion_answer);
        let table = builders.table(Table::LlmCalls);
        self.extra.drift.begin_row(RowPlace::LlmCall);
        row.append(
            &self.llm_calls,
            table,
            &mut self.extra,
            |derived, column, extra| {
                if answer.append(derived, column) {
                    return;
                }
                match derived {
                    Derived::Prompt => {
                        let prompt = either(at.prompt, at.prompt_text);
                        match prompt_layout {
                            PromptLayout::Parts => column.append_texts(prompt.map(parts)),
                            PromptLayout::Text => column.append_text(prompt),
                        }
                        if is_object(at.prompt) {
                            row.keep_inexact_text(at.prompt_text, extra);
                        } else if row.slot(at.prompt).exact_text(arena).is_none() {
                            row.keep(at.prompt, extra);
                        }
                    }
                    Derived::PromptInfo => {
                        let info = row.slot(at.prompt_info);
                        let is_list = info.kind == Kind::Array;
                        column.append_text(is_list.then(|| compact(info.raw)).as_deref());
                        if is_object(at.prompt) {
                            row.keep_unless_array(at.prompt_info, extra);
                        }
                    }
                    Derived::CompletionText => {
                        column.append_text(completion);
                        if !is_object(at.response) {
                            row.keep_or_absent(at.response, extra);
                            return;
                        }
                        for container in [at.details, at.time] {
                            if !is_object(container) {
                                row.keep_or_absent(container, extra);
                            }
                        }
                        if is_object(at.completion) {
                            row.keep_inexact_text(at.completion_answer, extra);
                        } else if is_object(at.details) {
                            row.keep_inexact_text(at.completion, extra);
                        }
                    }
                    Derived::CitedPositions => {
                        column.append_int32s(
                            answer
                                .cited
                                .as_ref()
                                .map(|cited| cited.positions.as_slice()),
                        );
                        if is_object(at.completion)
                            && !answer.cited.as_ref().is_some_and(|cited| cited.is_all)
                        {
                            row.keep_or_absent(at.chunk_ids, extra);
                        }
                    }
                    Derived::HasCompletion => {
                        column.append_bool(Some(completion.is_some_and(|text| !text.is_empty())));
                    }
                    Derived::ResponseId => {
                        column.append_text(
                            details.known.as_ref().and_then(|value| value.text(scratch)),
                        );
                        let is_exact = details.known.is_none_or(|value| {
                            details.is_known_first && value.exact_text(scratch).is_some()
                        });
                        row.keep_more_info(at.details, at.details_info, is_exact, extra);
                    }
                    Derived::CompletionTime => {
                        let number = time
                            .known
                            .filter(|value| value.kind == Kind::Number)
                            .map(|value| float(&value, scratch));
                        column.append_float64(number.and_then(|(content, _)| content));
                        let is_exact = time.known.is_none()
                            || time.is_known_first && number.is_some_and(|(_, is_exact)| is_exact);
                        row.keep_more_info(at.time, at.time_info, is_exact, extra);
                    }
                    Derived::ResponseInfo => column.append_text(details.others.as_deref()),
                    Derived::TimeInfo => column.append_text(time.others.as_deref()),
                    other => unreachable!("{other:?} is not worked out for a call"),
                }
            },
        );
    }
}

/// Whether an answer with these slots has a row for its call of the language model.
fn has_call(slots: &[Value<'_>]) -> bool {
    let at = &*ANSWER_SLOTS;
    !slots[at.prompt].is_absent() || !slots[at.response].is_absent()
}

/// How many elements `answerDebug` has, the ones that are no objects included.
fn answer_count(record: &Record<'_>) -> i32 {
    let objects = record.elements(0, List::Answers).count();
    let others = record
        .unknown_of(0)
        .iter()
        .filter(|unknown| unknown.parent == List::Answers.pointer());
    i32::try_from(objects + others.count()).unwrap_or(i32::MAX)
}

/// The place of a node in its array, from 1.
fn position(record: &Record<'_>, node: usize) -> i32 {
    let index = record.nodes[node].place.map_or(0, |(_, index)| index);
    i32::try_from(index + 1).unwrap_or(i32::MAX)
}
