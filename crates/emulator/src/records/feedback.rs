//! Records that are no searches: ratings of answers, and events of kinds that no document shows.
//!
//! Clicks are exported since 2026, of a shape not published; what stands here is made up from the names that
//! neighbouring APIs use, and serves to show that unknown records come through.

use super::dice::{Dice, Purpose};
use super::json_writer::JsonWriter;
use super::{Dataset, Kind, Question, Slot, iso_ms};

const TAGS: &[&str] = &[
    "Incorrect Answer",
    "Incorrect Citation",
    "Incorrect Formatting",
    "Ambiguous",
    "Missing details",
    "Hallucination",
    "Out of Date",
    "Wrong Answer",
];

impl Dataset {
    pub(super) fn write_feedback(&self, slot: Slot, writer: &mut JsonWriter) {
        let dice = &mut Dice::new(self.config.seed, Purpose::Record, slot.day, slot.index);
        let search = self.earlier_search(slot, dice);
        writer.begin_object();
        writer.text("_id", &dice.object_id(slot.created_ms / 1_000));
        writer.text("query", &search.text);
        writer.text("searchRequestId", &search.id);
        writer.text("event", slot.event().unwrap_or_default());
        if !dice.chance(0.05) {
            let tags = match slot.kind {
                Kind::ThumbsDown => dice.below(3),
                _ => 0,
            };
            writer.key("comments");
            writer.begin_object();
            writer.key("tags");
            writer.begin_array();
            for _ in 0..tags {
                writer.element();
                writer.string(dice.pick(TAGS));
            }
            writer.end_array();
            writer.end_object();
        }
        writer.empty_array("selectedFacets");
        self.write_end(slot, dice, writer);
    }

    pub(super) fn write_other_event(&self, slot: Slot, writer: &mut JsonWriter) {
        let dice = &mut Dice::new(self.config.seed, Purpose::Record, slot.day, slot.index);
        let search = self.earlier_search(slot, dice);
        writer.begin_object();
        writer.text("_id", &dice.object_id(slot.created_ms / 1_000));
        writer.text("query", &search.text);
        writer.text("searchRequestId", &search.id);
        match slot.event() {
            Some(event) => {
                writer.text("event", event);
                writer.text("citationId", &dice.between(1, 20).to_string());
                let place = dice.zipf(self.config.pool.max(1));
                writer.text("chunkId", &self.corpus.chunk(place).chunk_id);
                writer.plain("position", &dice.between(1, 5).to_string());
                writer.text("sourceType", "web");
            }
            None => self.write_ingested(&search, dice, writer),
        }
        self.write_end(slot, dice, writer);
    }

    /// Writes what the "ingest analytics metadata" call takes in: lists where a search has counts.
    fn write_ingested(&self, search: &Question, dice: &mut Dice, writer: &mut JsonWriter) {
        writer.text("aiAnswer", &format!("About {}: see below.", search.topic));
        let places = self.corpus.draw(dice, 3);
        for (key, count) in [("chunksSentToLlm", 3), ("chunksUsedForAnswer", 1)] {
            writer.key(key);
            writer.begin_array();
            for &place in places.iter().take(count) {
                writer.element();
                writer.string(&self.corpus.chunk(place).chunk_id);
            }
            writer.end_array();
        }
        writer.plain("llmResponseTime", &dice.between(800, 9_000).to_string());
    }

    /// Writes the members that end all these records.
    fn write_end(&self, slot: Slot, dice: &mut Dice, writer: &mut JsonWriter) {
        writer.text("botId", &self.identity.bot_id);
        writer.text("searchIndexId", &self.identity.search_index_id);
        writer.plain("timeStampValue", &slot.created_ms.to_string());
        writer.text("createdOn", &iso_ms(slot.created_ms));
        writer.flag("isDev", dice.chance(0.02));
        let changed_ms = (slot.created_ms + 1_300).div_euclid(1_000) * 1_000;
        writer.text("lMod", &iso_ms(changed_ms));
        writer.plain("__v", "0");
        writer.end_object();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{first_record, keys_after, small};
    use super::*;

    #[test]
    fn keys_of_feedback_stand_as_in_the_sample() {
        const FEEDBACK: &str = "_id query searchRequestId event comments selectedFacets botId searchIndexId \
            timeStampValue createdOn isDev lMod __v";
        let dataset = Dataset::new(small(), "st-1");
        let text = first_record(&dataset, Kind::ThumbsDown);
        assert_eq!(keys_after(&text, "{").join(" "), FEEDBACK);
    }

    #[test]
    fn other_events_have_an_unknown_name_or_none() {
        let dataset = Dataset::new(small(), "st-1");
        let click = first_record(&dataset, Kind::CitationClick);
        assert!(click.contains("\"event\":\"citationClick\""));
        let none = first_record(&dataset, Kind::NoEvent);
        assert!(!none.contains("\"event\"") && none.contains("\"chunksSentToLlm\":["));
    }
}
