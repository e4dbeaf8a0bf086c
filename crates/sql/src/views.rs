//! Views over the tables that tell how good answers are, each written once for all engines.
//!
//! They are plain SQL that all engines read alike, but for the calls that begin with `$`: these are spelled for each.
//! `$table(queries)` is the table by its full name, `$day()` the day of a row, by UTC or the zone that is asked for.
//!
//! A search is *answered* where its `answer_text` is not empty. In a lake that drops `graphAnswer`, none is.

use answerlake_transform::PromptLayout;

use crate::target::Target;
use crate::template::expand;

/// A view.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// What one row is, and what to know of it.
    pub doc: &'static str,
    /// Its query, with calls in it.
    query: &'static str,
}

impl View {
    /// Its query, as an engine reads it.
    pub fn query(&self, target: &Target) -> String {
        expand(self.query, target)
    }
}

/// The views, each of which may use those before it.
pub fn views(prompt: PromptLayout) -> [View; 6] {
    let calls = match prompt {
        PromptLayout::Parts => LLM_CALLS_WITH_PROMPT,
        // The column is there already.
        PromptLayout::Text => View {
            query: "SELECT * FROM $table(llm_calls)",
            ..LLM_CALLS_WITH_PROMPT
        },
    };
    [
        calls,
        QUERY_FEEDBACK,
        ANSWER_RATE,
        RETRIEVAL_FUNNEL,
        LLM_TIME,
        UNANSWERED_QUERIES,
    ]
}

const LLM_CALLS_WITH_PROMPT: View = View {
    name: "llm_calls_with_prompt",
    doc: "llm_calls, with the prompt as one text in prompt_text",
    query: "SELECT *, $joined(prompt_parts) AS prompt_text FROM $table(llm_calls)",
};

const QUERY_FEEDBACK: View = View {
    name: "query_feedback",
    doc: "one row per search that was rated: its latest vote, how many of each, and all tags; the search's columns are \
          null where it is not in the lake, and votes that name no search are left out. \
          No tags are null or an empty list",
    query: "\
WITH votes AS (
    SELECT
        app_id,
        query_id,
        event,
        created_at,
        tags,
        ROW_NUMBER() OVER (PARTITION BY app_id, query_id ORDER BY created_at DESC, feedback_id DESC) AS place
    FROM $table(feedback)
    WHERE query_id IS NOT NULL
), rated AS (
    SELECT
        app_id,
        query_id,
        MAX(CASE WHEN place = 1 THEN event END) AS latest_vote,
        MAX(created_at) AS latest_vote_at,
        COUNT(*) AS votes,
        COUNT(CASE WHEN event = 'thumbsUp' THEN 1 END) AS thumbs_up,
        COUNT(CASE WHEN event = 'thumbsDown' THEN 1 END) AS thumbs_down,
        $concatenated(tags) AS tags
    FROM votes
    GROUP BY app_id, query_id
), searches AS (
    SELECT
        app_id,
        query_id,
        created_at,
        $day() AS day,
        query_text,
        COALESCE(answer_text <> '', FALSE) AS answered,
        ROW_NUMBER() OVER (PARTITION BY app_id, query_id ORDER BY created_at, record_id) AS place
    FROM $table(queries)
)
SELECT
    rated.app_id,
    rated.query_id,
    searches.created_at AS asked_at,
    searches.day,
    searches.query_text,
    searches.answered,
    rated.latest_vote,
    rated.latest_vote_at,
    rated.votes,
    rated.thumbs_up,
    rated.thumbs_down,
    $distinct(rated.tags) AS tags
FROM rated
LEFT JOIN searches
    ON searches.app_id = rated.app_id AND searches.query_id = rated.query_id AND searches.place = 1",
};

const ANSWER_RATE: View = View {
    name: "answer_rate",
    doc: "one row per app and day: searches, how many were answered, and how many found nothing",
    query: "\
SELECT
    app_id,
    day,
    COUNT(*) AS queries,
    COUNT(CASE WHEN answered THEN 1 END) AS answered,
    AVG(CASE WHEN answered THEN 1e0 ELSE 0e0 END) AS answer_rate,
    COUNT(CASE WHEN NOT has_results THEN 1 END) AS without_results
FROM (
    SELECT app_id, $day() AS day, has_results, COALESCE(answer_text <> '', FALSE) AS answered
    FROM $table(queries)
) AS searches
GROUP BY app_id, day",
};

const RETRIEVAL_FUNNEL: View = View {
    name: "retrieval_funnel",
    doc: "one row per app and day: chunks retrieved, sent to the model, used in the answer as the vendor marks it, and \
          cited by the completion, which is known of so many as citation_known says",
    query: "\
SELECT
    app_id,
    day,
    COUNT(DISTINCT query_id) AS queries,
    COUNT(*) AS retrieved,
    COUNT(CASE WHEN sent_to_llm THEN 1 END) AS sent_to_llm,
    COUNT(CASE WHEN used_in_answer THEN 1 END) AS used_in_answer,
    COUNT(CASE WHEN cited THEN 1 END) AS cited,
    COUNT(cited) AS citation_known
FROM (
    SELECT app_id, $day() AS day, query_id, sent_to_llm, used_in_answer, cited
    FROM $table(chunks)
) AS retrieved_chunks
GROUP BY app_id, day",
};

const LLM_TIME: View = View {
    name: "llm_time",
    doc: "one row per app and day: how long the model took for its completions, in milliseconds; calls of which no time \
          is known are left out",
    query: "\
SELECT
    app_id,
    day,
    COUNT(*) AS calls,
    AVG(completion_time_ms) AS mean_ms,
    $percentile(completion_time_ms, 50) AS p50_ms,
    $percentile(completion_time_ms, 90) AS p90_ms,
    $percentile(completion_time_ms, 99) AS p99_ms,
    MAX(completion_time_ms) AS max_ms
FROM (
    SELECT app_id, $day() AS day, completion_time_ms
    FROM $table(llm_calls)
    WHERE completion_time_ms IS NOT NULL
) AS timed_calls
GROUP BY app_id, day",
};

const UNANSWERED_QUERIES: View = View {
    name: "unanswered_queries",
    doc: "one row per app and question that was not answered, whatever its case: how often it was asked, and its place \
          among them; WHERE place <= 20 are the top ones",
    query: "\
SELECT
    app_id,
    question,
    COUNT(*) AS asked,
    MIN(created_at) AS first_asked_at,
    MAX(created_at) AS last_asked_at,
    ROW_NUMBER() OVER (PARTITION BY app_id ORDER BY COUNT(*) DESC, question) AS place
FROM (
    SELECT app_id, created_at, LOWER(TRIM(query_text)) AS question
    FROM $table(queries)
    WHERE query_text IS NOT NULL AND NOT COALESCE(answer_text <> '', FALSE)
) AS unanswered
GROUP BY app_id, question",
};

#[cfg(test)]
mod tests {
    use answerlake_model::Grain;

    use super::*;
    use crate::engine::Engine;

    #[test]
    fn no_call_is_left() {
        for engine in Engine::ALL {
            for prompt in [PromptLayout::Parts, PromptLayout::Text] {
                let target = Target {
                    engine,
                    grain: Grain::Day,
                    prompt,
                    schema: None,
                    time_zone: None,
                };
                for view in views(prompt) {
                    let query = view.query(&target);
                    assert!(!query.contains('$'), "{}: {query}", view.name);
                }
            }
        }
    }
}
