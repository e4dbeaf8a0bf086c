//! What the views that `ddl` makes should say, worked out anew from the records: slowly, plainly, and sharing nothing with
//! the program's SQL.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::truth::{created_at, tables};

/// The rows of a view, as objects.
pub(crate) type Rows = Vec<Value>;

/// What the views should say of an app's records, by name; days are those of a zone so far from UTC.
pub(crate) fn views(
    app_id: &str,
    records: &[Value],
    offset: TimeDelta,
) -> BTreeMap<&'static str, Rows> {
    let quality = Quality {
        app_id,
        records,
        offset,
    };
    BTreeMap::from([
        ("answer_rate", quality.answer_rate()),
        ("retrieval_funnel", quality.retrieval_funnel()),
        ("llm_time", quality.llm_time()),
        ("query_feedback", quality.query_feedback()),
        ("unanswered_queries", quality.unanswered_queries()),
    ])
}

struct Quality<'r> {
    app_id: &'r str,
    records: &'r [Value],
    offset: TimeDelta,
}

impl Quality<'_> {
    fn day(&self, record: &Value) -> String {
        (created_at(record) + self.offset).date_naive().to_string()
    }

    fn searches(&self) -> impl Iterator<Item = &Value> {
        self.records
            .iter()
            .filter(|record| record["event"] == "search")
    }

    /// The searches of each day.
    fn days(&self) -> BTreeMap<String, Vec<Value>> {
        let mut days: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in self.searches() {
            days.entry(self.day(record))
                .or_default()
                .push(record.clone());
        }
        days
    }

    fn answer_rate(&self) -> Rows {
        let rate = |(day, searches): (String, Vec<Value>)| {
            let answered = searches.iter().filter(|record| is_answered(record)).count();
            let nothing = searches
                .iter()
                .filter(|record| record["hasResults"] == false);
            json!({
                "app_id": self.app_id,
                "day": day,
                "queries": searches.len(),
                "answered": answered,
                "answer_rate": answered as f64 / searches.len() as f64,
                "without_results": nothing.count(),
            })
        };
        self.days().into_iter().map(rate).collect()
    }

    fn retrieval_funnel(&self) -> Rows {
        let mut rows = Rows::new();
        for (day, searches) in self.days() {
            let chunks = &tables(&searches)["chunks"];
            if chunks.is_empty() {
                continue;
            }
            let count = |column: &str| chunks.iter().filter(|chunk| chunk[column] == true).count();
            let queries: BTreeSet<&str> = chunks
                .iter()
                .map(|chunk| chunk["query_id"].as_str().unwrap())
                .collect();
            rows.push(json!({
                "app_id": self.app_id,
                "day": day,
                "queries": queries.len(),
                "retrieved": chunks.len(),
                "sent_to_llm": count("sent_to_llm"),
                "used_in_answer": count("used_in_answer"),
                "cited": count("cited"),
                "citation_known": chunks.iter().filter(|chunk| !chunk["cited"].is_null()).count(),
            }));
        }
        rows
    }

    fn llm_time(&self) -> Rows {
        let mut rows = Rows::new();
        for (day, searches) in self.days() {
            let calls = &tables(&searches)["llm_calls"];
            let mut times: Vec<f64> = calls
                .iter()
                .filter_map(|call| call["completion_time_ms"].as_f64())
                .collect();
            times.sort_by(f64::total_cmp);
            let Some(last) = times.last() else {
                continue;
            };
            rows.push(json!({
                "app_id": self.app_id,
                "day": day,
                "calls": times.len(),
                "mean_ms": times.iter().sum::<f64>() / times.len() as f64,
                "p50_ms": percentile(&times, 0.5),
                "p90_ms": percentile(&times, 0.9),
                "p99_ms": percentile(&times, 0.99),
                "max_ms": last,
            }));
        }
        rows
    }

    fn query_feedback(&self) -> Rows {
        let mut votes: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for record in self.records {
            let is_vote =
                ["thumbsUp", "thumbsDown"].contains(&record["event"].as_str().unwrap_or(""));
            if let (true, Some(id)) = (is_vote, record["searchRequestId"].as_str()) {
                votes.entry(id).or_default().push(record);
            }
        }
        let rated = votes.into_iter().map(|(id, votes)| {
            let latest = votes.iter().max_by_key(|vote| created_at(vote)).unwrap();
            let count = |event: &str| votes.iter().filter(|vote| vote["event"] == event).count();
            let tags: BTreeSet<&str> = votes
                .iter()
                .flat_map(|vote| vote["comments"]["tags"].as_array().into_iter().flatten())
                .map(|tag| tag.as_str().unwrap())
                .collect();
            let search = self
                .searches()
                .find(|record| record["searchRequestId"] == id);
            json!({
                "app_id": self.app_id,
                "query_id": id,
                "day": search.map(|search| self.day(search)),
                "query_text": search.map(|search| search["query"].clone()),
                "answered": search.map(is_answered),
                "latest_vote": latest["event"],
                "votes": votes.len(),
                "thumbs_up": count("thumbsUp"),
                "thumbs_down": count("thumbsDown"),
                "tags": tags,
            })
        });
        rated.collect()
    }

    fn unanswered_queries(&self) -> Rows {
        let mut asked: BTreeMap<String, u64> = BTreeMap::new();
        for record in self.searches().filter(|record| !is_answered(record)) {
            let question = record["query"].as_str().unwrap();
            *asked
                .entry(question.trim_matches(' ').to_lowercase())
                .or_default() += 1;
        }
        let mut places: Vec<_> = asked.into_iter().collect();
        places.sort_by_key(|(_, asked)| std::cmp::Reverse(*asked));
        let row = |((question, asked), place): ((String, u64), u64)| json!({"app_id": self.app_id, "question": question, "asked": asked, "place": place});
        places.into_iter().zip(1..).map(row).collect()
    }
}

fn is_answered(record: &Value) -> bool {
    record["graphAnswer"]
        .as_str()
        .is_some_and(|answer| !answer.is_empty())
}

/// Between the two values that stand there, in proportion.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * share;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

/// Checks the rows of a view, in whatever order: all columns that `expected` has, but for `loose` ones, which may be off
/// by some percent.
#[track_caller]
pub(crate) fn assert_rows(name: &str, found: &Value, expected: &[Value], loose: &[&str]) {
    let key = |row: &Value| {
        // Some leave out what is null.
        let of = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        [of("day"), of("query_id"), of("question")]
    };
    let sorted = |rows: &[Value]| {
        let mut rows = rows.to_vec();
        rows.sort_by_key(key);
        rows
    };
    let found = sorted(found.as_array().unwrap());
    assert_eq!(found.len(), expected.len(), "rows of {name}");
    assert!(!expected.is_empty(), "{name} has no rows to compare");
    for (found, expected) in found.iter().zip(sorted(expected)) {
        for (column, value) in expected.as_object().unwrap() {
            let given = &found[column];
            // No tags are null where no vote has a list of them: engines differ in that.
            if *value == json!([]) && given.is_null() {
                continue;
            }
            match (value.as_f64(), given.as_f64()) {
                (Some(expected), Some(given)) => {
                    let bound = if loose.contains(&column.as_str()) {
                        0.3
                    } else {
                        1e-9
                    };
                    let is_near = (given - expected).abs() <= bound * expected.abs();
                    assert!(is_near, "{name}.{column}: {given}, not {expected}: {found}");
                }
                _ => assert_eq!(given, value, "{name}.{column}: {found}"),
            }
        }
    }
}
