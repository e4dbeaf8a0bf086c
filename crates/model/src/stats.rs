//! What a partition's records say in numbers, so that reports need not read the data.
//!
//! Everything is a count, so what is added up in whatever order, by however many threads, is the same for the same
//! records; and of bounded size, however many values there are. The manifests keep it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What the records of a partition, or of many, say in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentStats {
    /// Searches.
    pub queries: u64,
    /// Of these, those whose `answer_text` is not empty.
    pub answered: u64,
    /// Of these, those with `has_results` false.
    pub without_results: u64,
    /// Searches by `answer_type`; those without one are in none.
    pub answer_types: Tally,
    /// Votes up.
    pub thumbs_up: u64,
    /// Votes down.
    pub thumbs_down: u64,
    /// Votes that have a tag, by tag.
    pub feedback_tags: Tally,
    /// From what was found to what was cited.
    pub funnel: Funnel,
    /// `completion_time_ms` of calls of the language model, where it is known.
    pub completion_time_ms: Histogram,
    /// How many seconds after `created_at` records of searches and votes were modified, where that is known.
    pub modified_after_seconds: Histogram,
}

/// Chunks, from what was found to what was cited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Funnel {
    /// Chunks that retrieval found.
    pub retrieved: u64,
    /// Of these, those sent to the language model.
    pub sent_to_llm: u64,
    /// Of these, those used in the answer, as the vendor marks it.
    pub used_in_answer: u64,
    /// Of these, those that the completion cites.
    pub cited: u64,
    /// Chunks of which it is known whether the completion cites them.
    pub citation_known: u64,
}

/// How often names occur.
///
/// The first [`Tally::MAX_NAMES`] in the order of their bytes are counted each, and the others together: which these are
/// does not depend on which came first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    names: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    more: u64,
}

/// Values by size, in buckets that grow with them: four to each power of two, so that a bucket's ends differ by a
/// quarter at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(f64, u64)>", into = "Vec<(f64, u64)>")]
pub struct Histogram {
    buckets: BTreeMap<u8, u64>,
}

impl Tally {
    /// How many names are counted each.
    pub const MAX_NAMES: usize = 32;
    /// How long a name may be, in bytes; a longer one is counted with the others. Types and tags are words, not texts.
    pub const MAX_NAME_BYTES: usize = 64;

    /// Counts a name.
    pub fn add(&mut self, name: &str) {
        self.add_many(name, 1);
    }

    fn add_many(&mut self, name: &str, count: u64) {
        if let Some(known) = self.names.get_mut(name) {
            *known += count;
        } else if name.len() > Self::MAX_NAME_BYTES {
            self.more += count;
        } else {
            self.names.insert(name.to_owned(), count);
            if self.names.len() > Self::MAX_NAMES
                && let Some((_, last)) = self.names.pop_last()
            {
                self.more += last;
            }
        }
    }

    /// The names that are counted each, in the order of their bytes.
    pub fn names(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
    }

    /// How often other names occur.
    pub fn more(&self) -> u64 {
        self.more
    }
}

impl Histogram {
    /// Buckets to each power of two: what the first two bits after the leading one tell apart.
    const PER_OCTAVE: u64 = 4;
    /// The bucket of all values from 2^40 on: of milliseconds, 35 years.
    const LAST: u8 = 1 + 40 * Self::PER_OCTAVE as u8;

    /// Counts a value; those below 1 are together in the first bucket.
    pub fn add(&mut self, value: f64) {
        *self.buckets.entry(Self::bucket(value)).or_default() += 1;
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// Each bucket that has any: the least value that it holds, and how many it has.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.buckets
            .iter()
            .map(|(bucket, count)| (Self::least(*bucket), *count))
    }

    /// Of the bucket that holds the value which `share` of the values do not exceed, both ends; `None` where there is no
    /// value.
    pub fn quantile(&self, share: f64) -> Option<(f64, f64)> {
        let place = (share.clamp(0.0, 1.0) * self.count() as f64)
            .ceil()
            .max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= place {
                return Some((Self::least(*bucket), Self::least(bucket + 1)));
            }
        }
        None
    }

    fn bucket(value: f64) -> u8 {
        if value.is_nan() || value < 1.0 {
            return 0;
        }
        // Exponent and first bits of the fraction stand next to one another, and are exact on every machine.
        let bits = value.to_bits() >> 50;
        let index = bits - (1.0_f64.to_bits() >> 50);
        u8::try_from(index + 1).map_or(Self::LAST, |bucket| bucket.min(Self::LAST))
    }

    fn least(bucket: u8) -> f64 {
        match bucket {
            0 => 0.0,
            bucket => {
                let index = u64::from(bucket.min(Self::LAST) - 1);
                f64::from_bits((index << 50) + 1.0_f64.to_bits())
            }
        }
    }
}

impl From<Histogram> for Vec<(f64, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.buckets().collect()
    }
}

impl From<Vec<(f64, u64)>> for Histogram {
    fn from(stored: Vec<(f64, u64)>) -> Self {
        let mut histogram = Self::default();
        for (least, count) in stored {
            *histogram.buckets.entry(Self::bucket(least)).or_default() += count;
        }
        histogram
    }
}

impl AddAssign<&Self> for ContentStats {
    fn add_assign(&mut self, more: &Self) {
        self.queries += more.queries;
        self.answered += more.answered;
        self.without_results += more.without_results;
        self.answer_types += &more.answer_types;
        self.thumbs_up += more.thumbs_up;
        self.thumbs_down += more.thumbs_down;
        self.feedback_tags += &more.feedback_tags;
        self.funnel += more.funnel;
        self.completion_time_ms += &more.completion_time_ms;
        self.modified_after_seconds += &more.modified_after_seconds;
    }
}

impl AddAssign for Funnel {
    fn add_assign(&mut self, more: Self) {
        self.retrieved += more.retrieved;
        self.sent_to_llm += more.sent_to_llm;
        self.used_in_answer += more.used_in_answer;
        self.cited += more.cited;
        self.citation_known += more.citation_known;
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, more: &Self) {
        for (name, count) in &more.names {
            self.add_many(name, *count);
        }
        self.more += more.more;
    }
}

impl AddAssign<&Self> for Histogram {
    fn add_assign(&mut self, more: &Self) {
        for (bucket, count) in &more.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        let mut histogram = Histogram::default();
        for value in [0.0, -1.0, 0.99, f64::NAN] {
            histogram.add(value);
        }
        for value in [1.0, 1.24, 1.25, 1000.0, 1023.9, 1024.0, 1e30] {
            histogram.add(value);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        let last = 2.0_f64.powi(40);
        let expected = [
            (0.0, 4),
            (1.0, 2),
            (1.25, 1),
            (896.0, 2),
            (1024.0, 1),
            (last, 1),
        ];
        assert_eq!(buckets, expected);
        assert_eq!(histogram.quantile(0.5), Some((1.0, 1.25)));
        assert_eq!(histogram.quantile(0.0), Some((0.0, 1.0)));
        assert_eq!(Histogram::default().quantile(0.5), None);
        let json = serde_json::to_string(&histogram).unwrap();
        assert!(json.starts_with("[[0.0,4],[1.0,2],[1.25,1],"), "{json}");
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), histogram);
    }

    #[test]
    fn stats_of_other_programs_are_read() {
        let stats: ContentStats =
            serde_json::from_str(r#"{"queries":2,"new_one":[1],"funnel":{"retrieved":1}}"#)
                .unwrap();
        assert_eq!((stats.queries, stats.funnel.retrieved), (2, 1));
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(
            mut names in prop::collection::vec("[a-c]{0,4}|x{60,70}", 0..300),
            cut in 0.0..1.0_f64,
        ) {
            let tally = |names: &[String]| {
                let mut tally = Tally::default();
                for name in names {
                    tally.add(name);
                }
                tally
            };
            let whole = tally(&names);
            prop_assert!(whole.names().count() <= Tally::MAX_NAMES);
            let counted: u64 = whole.names().map(|(_, count)| count).sum();
            prop_assert_eq!(counted + whole.more(), names.len() as u64);
            for (name, count) in whole.names() {
                let expected = names.iter().filter(|other| *other == name).count();
                prop_assert_eq!(count, expected as u64);
            }
            let at = (names.len() as f64 * cut) as usize;
            let mut parts = tally(&names[at..]);
            parts += &tally(&names[..at]);
            prop_assert_eq!(&parts, &whole);
            names.reverse();
            prop_assert_eq!(tally(&names), whole);
        }

        #[test]
        fn a_value_lies_within_its_bucket(value in 1.0..1e12_f64) {
            let bucket = Histogram::bucket(value);
            let (least, next) = (Histogram::least(bucket), Histogram::least(bucket + 1));
            prop_assert!(least <= value && value < next && next <= least * 1.25);
        }
    }
}
