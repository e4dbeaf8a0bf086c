//! What the rows of a partition say in numbers, counted column by column as they are written.

use answerlake_model::{ContentStats, Table};
use arrow::array::{
    Array, AsArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, TimestampMicrosecondType};

/// Counts rows of a table. They must be the table's own columns, as the decoder makes them; of others nothing is counted.
pub fn count_rows(stats: &mut ContentStats, table: Table, rows: &RecordBatch) {
    match table {
        Table::Queries => count_queries(stats, rows),
        Table::Feedback => count_feedback(stats, rows),
        Table::Chunks => count_chunks(stats, rows),
        Table::LlmCalls => {
            if let Some(times) = numbers::<Float64Type>(rows, "completion_time_ms") {
                for time in times.iter().flatten() {
                    stats.completion_time_ms.add(time);
                }
            }
        }
        Table::Answers | Table::Events => {}
    }
}

fn count_queries(stats: &mut ContentStats, rows: &RecordBatch) {
    stats.queries += rows.num_rows() as u64;
    if let Some(answers) = texts(rows, "answer_text") {
        let answered = (0..answers.len())
            .filter(|row| answers.is_valid(*row) && answers.value_length(*row) > 0);
        stats.answered += answered.count() as u64;
    }
    if let Some(results) = flags(rows, "has_results") {
        stats.without_results += (results.len() - results.null_count()) as u64 - trues(results);
    }
    if let Some(types) = texts(rows, "answer_type") {
        for name in types.iter().flatten() {
            stats.answer_types.add(name);
        }
    }
    count_modified(stats, rows);
}

fn count_feedback(stats: &mut ContentStats, rows: &RecordBatch) {
    for event in texts(rows, "event").into_iter().flatten().flatten() {
        match event {
            "thumbsUp" => stats.thumbs_up += 1,
            _ => stats.thumbs_down += 1,
        }
    }
    if let Some(lists) = column(rows, "tags").and_then(|tags| tags.as_list_opt::<i32>()) {
        count_tags(stats, lists);
    }
    count_modified(stats, rows);
}

/// A vote that has a tag twice has it.
fn count_tags(stats: &mut ContentStats, lists: &ListArray) {
    for tags in lists.iter().flatten() {
        let Some(tags) = tags.as_string_opt::<i32>() else {
            continue;
        };
        let mut tags: Vec<&str> = tags.iter().flatten().collect();
        tags.sort_unstable();
        tags.dedup();
        for tag in tags {
            stats.feedback_tags.add(tag);
        }
    }
}

fn count_chunks(stats: &mut ContentStats, rows: &RecordBatch) {
    let count = |name| flags(rows, name).map_or(0, trues);
    stats.funnel.retrieved += rows.num_rows() as u64;
    stats.funnel.sent_to_llm += count("sent_to_llm");
    stats.funnel.used_in_answer += count("used_in_answer");
    stats.funnel.cited += count("cited");
    if let Some(cited) = flags(rows, "cited") {
        stats.funnel.citation_known += (cited.len() - cited.null_count()) as u64;
    }
}

fn count_modified(stats: &mut ContentStats, rows: &RecordBatch) {
    let time = |name| numbers::<TimestampMicrosecondType>(rows, name);
    let (Some(created), Some(modified)) = (time("created_at"), time("modified_at")) else {
        return;
    };
    for (created, modified) in created.iter().zip(modified) {
        if let (Some(created), Some(modified)) = (created, modified) {
            let seconds = modified.saturating_sub(created) / 1_000_000;
            stats.modified_after_seconds.add(seconds as f64);
        }
    }
}

fn column<'b>(rows: &'b RecordBatch, name: &str) -> Option<&'b dyn Array> {
    rows.column_by_name(name).map(AsRef::as_ref)
}

fn texts<'b>(rows: &'b RecordBatch, name: &str) -> Option<&'b StringArray> {
    column(rows, name)?.as_string_opt()
}

fn flags<'b>(rows: &'b RecordBatch, name: &str) -> Option<&'b BooleanArray> {
    column(rows, name)?.as_boolean_opt()
}

fn numbers<'b, T: ArrowPrimitiveType>(
    rows: &'b RecordBatch,
    name: &str,
) -> Option<&'b PrimitiveArray<T>> {
    column(rows, name)?.as_primitive_opt()
}

fn trues(flags: &BooleanArray) -> u64 {
    flags.true_count() as u64
}

#[cfg(test)]
mod tests {
    use answerlake_model::{AppId, PerTable};

    use super::*;
    use crate::{AppAssignment, DecodeConfig, Decoder};

    fn stats(records: &str) -> ContentStats {
        let app = AppAssignment::Fixed(AppId::try_new("st-1").unwrap());
        let decoder = Decoder::new(DecodeConfig::new(app));
        let mut stats = ContentStats::default();
        for block in decoder.blocks(records.as_bytes()) {
            for rows in decoder.decode(block.unwrap(), 1).partitions {
                let batches: PerTable<Option<RecordBatch>> = rows.batches;
                for (table, rows) in batches.iter() {
                    count_rows(&mut stats, table, rows.as_ref().unwrap_or(&empty()));
                }
            }
        }
        stats
    }

    fn empty() -> RecordBatch {
        RecordBatch::new_empty(std::sync::Arc::new(arrow::datatypes::Schema::empty()))
    }

    #[test]
    fn what_a_record_says_is_counted() {
        let found = stats(
            r#"[{"_id":"1","event":"search","createdOn":"2025-06-28T00:00:00.500Z","lMod":"2025-06-28T00:01:40.000Z",
                 "graphAnswer":"x","answerType":"file","hasResults":true,"answerDebug":[{"generativeChunks":[
                 {"sentToLLM":true,"usedInAnswer":true},{"sentToLLM":true},{}],"llmResponse":{"responseDetails":
                 {"completionText":{"answer":"x","chunkIds":["chk-1"]}},"responseTime":{"moreInfo":
                 [{"key":"Completion Time","value":1000}]}}}]},
                {"_id":"2","event":"search","createdOn":"2025-06-28T00:00:00.000Z","graphAnswer":"","hasResults":false,
                 "answerDebug":[{"generativeChunks":[{}],"extractiveChunks":[{}]}]},
                {"_id":"3","event":"search","createdOn":"2025-06-28T00:00:00.000Z"},
                {"_id":"4","event":"thumbsUp","createdOn":"2025-06-28T00:00:00.000Z","comments":{"tags":["b","a","b"]}},
                {"_id":"5","event":"thumbsDown","createdOn":"2025-06-28T00:00:02.000Z","lMod":"2025-06-28T00:00:00.000Z"},
                {"_id":"6","event":"click","createdOn":"2025-06-28T00:00:02.000Z"}]"#,
        );
        assert_eq!(
            (found.queries, found.answered, found.without_results),
            (3, 1, 1)
        );
        assert_eq!((found.thumbs_up, found.thumbs_down), (1, 1));
        assert_eq!(
            found.answer_types.names().collect::<Vec<_>>(),
            [("file", 1)]
        );
        let tags: Vec<_> = found.feedback_tags.names().collect();
        assert_eq!(tags, [("a", 1), ("b", 1)]);
        let funnel = found.funnel;
        assert_eq!(
            (funnel.retrieved, funnel.sent_to_llm, funnel.used_in_answer),
            (5, 2, 1)
        );
        assert_eq!((funnel.cited, funnel.citation_known), (1, 3));
        let times: Vec<_> = found.completion_time_ms.buckets().collect();
        assert_eq!(times, [(896.0, 1)]);
        // 99.5 s after, and before.
        let modified: Vec<_> = found.modified_after_seconds.buckets().collect();
        assert_eq!(modified, [(0.0, 1), (96.0, 1)]);
    }
}
