//! The seeded records: which there are, and each one's JSON.
//!
//! A day's list of records (when, of which kind) is cheap and made whenever it is asked for; the JSON of a record
//! is made when it is served. Nothing is kept but the corpus, so a month of them costs no memory.

// Chance, the same each time.
mod dice;
// What is said and asked.
mod text;
// The chunks that answers draw from.
mod corpus;
// JSON with its keys in order.
mod json_writer;
// Records of searches, then of all else.
mod answer;
mod feedback;
mod search;
// Records as files.
mod fragment_files;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::config::DataConfig;
use corpus::Corpus;
pub(crate) use dice::{Dice, Purpose};
pub use fragment_files::{Written, write_fragments};
pub(crate) use json_writer::JsonWriter;

const DAY_MS: i64 = 86_400_000;

/// The seeded records of one app.
#[derive(Debug)]
pub(crate) struct Dataset {
    config: DataConfig,
    corpus: Corpus,
    identity: Identity,
    from_ms: i64,
    to_ms: i64,
}

/// What all records share.
#[derive(Debug)]
struct Identity {
    bot_id: String,
    search_index_id: String,
    query_pipeline_id: String,
    index_pipeline_id: String,
}

/// A record that there is, not its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    day: i64,
    index: u32,
    pub(crate) created_ms: i64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Generative,
    Extractive,
    ThumbsUp,
    ThumbsDown,
    CitationClick,
    /// A record that has no `event` at all.
    NoEvent,
}

/// How many records, and rows that are made of them, were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) searches: u64,
    pub(crate) feedback: u64,
    pub(crate) other_events: u64,
    pub(crate) answers: u64,
    pub(crate) chunks: u64,
}

/// What is known of a search without making its record.
struct Question {
    id: String,
    text: String,
    topic: &'static str,
}

impl Dataset {
    pub(crate) fn new(config: DataConfig, app_id: &str) -> Self {
        let dice = &mut Dice::new(config.seed, Purpose::Identity, 0, 0);
        Self {
            corpus: Corpus::new(config.seed, config.pool, config.text_scale),
            identity: Identity {
                bot_id: app_id.to_owned(),
                search_index_id: format!("sidx-{}", dice.uuid()),
                query_pipeline_id: format!("fqp-{}", dice.uuid()),
                index_pipeline_id: format!("fip-{}", dice.uuid()),
            },
            from_ms: ceil_ms(config.from),
            to_ms: ceil_ms(config.to),
            config,
        }
    }

    pub(crate) fn search_index_id(&self) -> &str {
        &self.identity.search_index_id
    }

    /// The records made in `[from_ms, to_ms)`, newest first.
    pub(crate) fn newest_first(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = Slot> {
        let from_ms = from_ms.max(self.from_ms);
        let to_ms = to_ms.min(self.to_ms);
        let days = from_ms.div_euclid(DAY_MS)..(to_ms + DAY_MS - 1).div_euclid(DAY_MS);
        days.rev()
            .flat_map(|day| {
                (0..self.config.records_per_day)
                    .rev()
                    .map(move |i| (day, i))
            })
            .map(|(day, index)| self.slot(day, index))
            .filter(move |slot| (from_ms..to_ms).contains(&slot.created_ms))
    }

    /// Writes a record where the writer stands.
    pub(crate) fn write(&self, slot: Slot, writer: &mut JsonWriter, tally: &mut Tally) {
        match slot.kind {
            Kind::Generative | Kind::Extractive => self.write_search(slot, writer, tally),
            Kind::ThumbsUp | Kind::ThumbsDown => {
                tally.feedback += 1;
                self.write_feedback(slot, writer);
            }
            Kind::CitationClick | Kind::NoEvent => {
                tally.other_events += 1;
                self.write_other_event(slot, writer);
            }
        }
    }

    /// The record at a place of a day. Its time grows with its place, so a day is sorted as it is made.
    fn slot(&self, day: i64, index: u32) -> Slot {
        let dice = &mut Dice::new(self.config.seed, Purpose::Slot, day, index);
        let offset_ms = self.offset_ms(day, index);
        let share = dice.unit();
        let feedback = self.config.feedback_share;
        let kind = if share < feedback {
            if dice.chance(0.6) {
                Kind::ThumbsDown
            } else {
                Kind::ThumbsUp
            }
        } else if share < feedback + self.config.other_event_share {
            if dice.chance(0.7) {
                Kind::CitationClick
            } else {
                Kind::NoEvent
            }
        } else if dice.chance(self.config.generative_share) {
            Kind::Generative
        } else {
            Kind::Extractive
        };
        Slot {
            day,
            index,
            created_ms: day * DAY_MS + offset_ms,
            kind,
        }
    }

    fn offset_ms(&self, day: i64, index: u32) -> i64 {
        let count = i64::from(self.config.records_per_day);
        let place = i64::from(index);
        // The edges of a day are where windows go wrong, and two records of one millisecond where sorting does.
        if index == 0 {
            return 0;
        }
        if place == count - 1 {
            return DAY_MS - 1;
        }
        if index % 40 == 7 {
            return self.offset_ms(day, index - 1);
        }
        let start = place * DAY_MS / count;
        let width = ((place + 1) * DAY_MS / count - start).max(1);
        let dice = &mut Dice::new(self.config.seed, Purpose::Slot, day, u32::MAX - index);
        let jitter = dice.below(usize::try_from(width).expect("a width of at least 1"));
        start + i64::try_from(jitter).expect("the jitter is below the width")
    }

    fn question(&self, day: i64, index: u32) -> Question {
        let dice = &mut Dice::new(self.config.seed, Purpose::Question, day, index);
        // Few topics are asked for most, and the same words come again, as people ask.
        let topic = text::TOPICS[dice.zipf(text::TOPICS.len())];
        Question {
            text: text::question(dice, topic),
            id: format!("fsh-{}", dice.uuid()),
            topic,
        }
    }

    /// The search that a record of feedback or of a click is about: an earlier one, now and then of the day before,
    /// and one that is not in the data where there is no earlier one.
    fn earlier_search(&self, slot: Slot, dice: &mut Dice) -> Question {
        let (mut day, mut index) = (slot.day, i64::from(slot.index));
        let day_records = i64::from(self.config.records_per_day);
        if dice.chance(0.06) {
            day -= 1;
            index = day_records;
        }
        index -= 1 + i64::try_from(dice.below(20)).expect("a small number");
        for _ in 0..200 {
            if index < 0 {
                day -= 1;
                index += day_records;
            }
            let place = u32::try_from(index.max(0)).expect("a place within a day");
            let earlier = self.slot(day, place);
            if matches!(earlier.kind, Kind::Generative | Kind::Extractive) {
                return self.question(day, place);
            }
            index -= 1;
        }
        self.question(slot.day - 10_000, slot.index)
    }
}

impl Slot {
    /// The value of the record's `event`, if it has one.
    pub(crate) fn event(self) -> Option<&'static str> {
        match self.kind {
            Kind::Generative | Kind::Extractive => Some("search"),
            Kind::ThumbsUp => Some("thumbsUp"),
            Kind::ThumbsDown => Some("thumbsDown"),
            Kind::CitationClick => Some("citationClick"),
            Kind::NoEvent => None,
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.searches += other.searches;
        self.feedback += other.feedback;
        self.other_events += other.other_events;
        self.answers += other.answers;
        self.chunks += other.chunks;
    }
}

/// The first whole millisecond that is not before the time.
pub(crate) fn ceil_ms(time: DateTime<Utc>) -> i64 {
    let whole = time.timestamp_millis();
    whole + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000_000))
}

/// A time as the vendor writes it: `2025-06-28T10:19:18.209Z`.
pub(crate) fn iso_ms(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde_json::Value;

    use super::*;

    pub(super) fn small() -> DataConfig {
        DataConfig {
            text_scale: 0.02,
            pool: 300,
            pretty: false,
            ..DataConfig::default()
        }
    }

    pub(super) fn all(dataset: &Dataset) -> Vec<Value> {
        dataset
            .newest_first(i64::MIN / 2, i64::MAX / 2)
            .map(|slot| serde_json::from_slice(&bytes(dataset, slot)).unwrap())
            .collect()
    }

    /// The compact JSON of the newest complete record of a kind.
    pub(super) fn first_record(dataset: &Dataset, kind: Kind) -> String {
        dataset
            .newest_first(dataset.from_ms, dataset.to_ms)
            .filter(|slot| slot.kind == kind)
            .map(|slot| String::from_utf8(bytes(dataset, slot)).unwrap())
            .find(|text| {
                !text.contains("\"answerDebug\":[]")
                    && (text.contains("\"comments\"")
                        || !matches!(kind, Kind::Generative | Kind::ThumbsDown))
            })
            .unwrap()
    }

    /// The keys of the first object after `start`, in their order.
    pub(super) fn keys_after(text: &str, start: &str) -> Vec<String> {
        let object = text.find(start).unwrap() + start.len() - 1;
        top_keys(&text.as_bytes()[object..])
    }

    /// The keys of the object that the text starts with, in their order; what follows the object does not matter.
    pub(super) fn top_keys(text: &[u8]) -> Vec<String> {
        struct Keys;
        impl<'de> serde::de::Visitor<'de> for Keys {
            type Value = Vec<String>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(keys)
            }
        }
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        serde::Deserializer::deserialize_map(&mut deserializer, Keys).unwrap()
    }

    fn bytes(dataset: &Dataset, slot: Slot) -> Vec<u8> {
        let mut writer = JsonWriter::new(dataset.config.pretty);
        dataset.write(slot, &mut writer, &mut Tally::default());
        writer.into_bytes()
    }

    #[test]
    fn a_day_is_the_same_whatever_stands_around_it() {
        let whole = Dataset::new(small(), "st-1");
        let mut cut = small();
        cut.from += chrono::TimeDelta::days(3);
        cut.to = cut.from + chrono::TimeDelta::hours(5);
        let part = Dataset::new(cut.clone(), "st-1");
        let from_part: Vec<Vec<u8>> = part
            .newest_first(i64::MIN / 2, i64::MAX / 2)
            .map(|slot| bytes(&part, slot))
            .collect();
        let from_whole: Vec<Vec<u8>> = whole
            .newest_first(ceil_ms(cut.from), ceil_ms(cut.to))
            .map(|slot| bytes(&whole, slot))
            .collect();
        assert!(from_part.len() > 50);
        assert_eq!(from_part, from_whole);
        let mut other = small();
        other.seed += 1;
        let other = Dataset::new(other, "st-1");
        let slot = whole
            .newest_first(whole.from_ms, whole.to_ms)
            .next()
            .unwrap();
        assert_ne!(bytes(&whole, slot), bytes(&other, slot));
    }

    #[test]
    fn days_reach_their_edges_and_some_records_share_a_millisecond() {
        let dataset = Dataset::new(small(), "st-1");
        let slots: Vec<Slot> = dataset
            .newest_first(dataset.from_ms, dataset.to_ms)
            .collect();
        assert_eq!(slots.len(), 7 * 300);
        assert!(slots.is_sorted_by(|a, b| a.created_ms >= b.created_ms));
        let at = |offset| {
            slots
                .iter()
                .filter(|slot| slot.created_ms.rem_euclid(DAY_MS) == offset)
                .count()
        };
        assert_eq!((at(0), at(DAY_MS - 1)), (7, 7));
        let twins = slots
            .windows(2)
            .filter(|pair| pair[0].created_ms == pair[1].created_ms)
            .count();
        assert!(twins >= 7 * 7, "{twins} twins");
        let half: Vec<Slot> = dataset
            .newest_first(dataset.from_ms + 1, dataset.from_ms + DAY_MS)
            .collect();
        assert_eq!(half.len(), 299);
    }

    #[test]
    fn every_kind_and_every_drift_comes_up() {
        let records = all(&Dataset::new(small(), "st-1"));
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut note = |name, yes: bool| *seen.entry(name).or_default() += usize::from(yes);
        for record in &records {
            let debugs = record["answerDebug"].as_array();
            note("no event", record.get("event").is_none());
            note("click", record["event"] == "citationClick");
            note("up", record["event"] == "thumbsUp");
            note("down", record["event"] == "thumbsDown");
            note(
                "null language",
                record.get("language").is_some_and(Value::is_null),
            );
            note("two debugs", debugs.is_some_and(|list| list.len() == 2));
            note("no debug", debugs.is_some_and(Vec::is_empty));
            for debug in debugs.into_iter().flatten() {
                let completion = &debug["llmResponse"]["responseDetails"]["completionText"];
                let generative = debug["answeredBy"] == "generative_model";
                note("prompt text", debug["prompt"].is_string());
                note(
                    "prompt object",
                    generative && debug["prompt"]["promptText"].is_string(),
                );
                note("completion object", completion.is_object());
                note("completion text", generative && completion.is_string());
                let chunks = ["generativeChunks", "extractiveChunks"]
                    .map(|key| debug[key].as_array().unwrap().iter());
                for chunk in chunks.into_iter().flatten() {
                    note("integer score", chunk["score"].is_u64());
                    note("text score", chunk["score"].is_string());
                    note("unqualified", chunk["chunkQualified"] == false);
                    note(
                        "sent, unused",
                        chunk["sentToLLM"] == true && chunk["usedInAnswer"] == false,
                    );
                    let url = chunk["recordUrl"].as_str().unwrap();
                    note("page", url.contains("$$#page="));
                }
            }
        }
        assert!(seen.values().all(|&count| count > 0), "{seen:?}");
        assert!(seen["two debugs"] < records.len() / 20, "{seen:?}");
    }

    #[test]
    fn feedback_rates_earlier_searches_now_and_then_of_the_day_before() {
        let records = all(&Dataset::new(small(), "st-1"));
        let searches: HashMap<&str, &Value> = records
            .iter()
            .filter(|record| record["event"] == "search")
            .map(|record| (record["_id"].as_str().unwrap(), record))
            .collect();
        let (mut rated, mut day_before) = (0, 0);
        for record in &records {
            let Some(search) = searches.get(record["searchRequestId"].as_str().unwrap()) else {
                continue;
            };
            assert_eq!(search["query"], record["query"]);
            let time = |value: &Value| value["timeStampValue"].as_i64().unwrap();
            assert!(time(search) <= time(record));
            rated += usize::from(record["event"] != "search");
            day_before += usize::from(time(search) / DAY_MS < time(record) / DAY_MS);
        }
        assert!(rated > 100 && day_before > 3, "{rated}, {day_before}");
    }

    #[test]
    fn a_generative_record_is_as_big_as_the_vendors() {
        let mut config = DataConfig::default();
        config.to = config.from + chrono::TimeDelta::hours(1);
        let dataset = Dataset::new(config, "st-1");
        let sizes: Vec<usize> = dataset
            .newest_first(dataset.from_ms, dataset.to_ms)
            .filter(|slot| slot.kind == Kind::Generative)
            .map(|slot| bytes(&dataset, slot).len())
            .collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((150_000..250_000).contains(&mean), "{mean} bytes");
    }
}
