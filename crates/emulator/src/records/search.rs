//! Records of searches, generative and extractive ones.
//!
//! Keys stand in the order of the samples, and are there or not as they are there: an extractive record has no
//! `userId`, `comments`, `modelName` and `lMod`, but an `answerType`.

use super::answer::Answer;
use super::dice::{Dice, Purpose};
use super::json_writer::JsonWriter;
use super::{Dataset, Identity, Kind, Question, Slot, Tally, iso_ms};

/// What a search's record and its answers have in common.
pub(super) struct Search<'a> {
    pub(super) identity: &'a Identity,
    pub(super) question: Question,
    pub(super) created_ms: i64,
    pub(super) generative: bool,
    /// Whether it may be shaped otherwise than documented.
    pub(super) drifts: bool,
    /// Whether it was asked in the chat widget, not through the public API.
    widget: bool,
    account: String,
}

impl Dataset {
    pub(super) fn write_search(&self, slot: Slot, writer: &mut JsonWriter, tally: &mut Tally) {
        let dice = &mut Dice::new(self.config.seed, Purpose::Record, slot.day, slot.index);
        let search = self.search(slot, dice);
        let count = match dice.below(100) {
            0 => 0,
            1 | 2 => 2,
            _ => 1,
        };
        let answers: Vec<Answer<'_>> = (0..count)
            .map(|_| Answer::draw(&self.corpus, &search, dice))
            .collect();

        writer.begin_object();
        search.write_asker(dice, writer);
        search.write_request(answers.first(), dice, writer);
        search.write_outcome(answers.first(), dice, writer);
        writer.key("answerDebug");
        writer.begin_array();
        for answer in &answers {
            writer.element();
            answer.write(&search, self.corpus.instructions(), dice, writer);
            tally.chunks += answer.chunk_count() as u64;
        }
        writer.end_array();
        writer.end_object();
        tally.searches += 1;
        tally.answers += answers.len() as u64;
    }

    fn search(&self, slot: Slot, dice: &mut Dice) -> Search<'_> {
        let generative = slot.kind == Kind::Generative;
        let widget = generative && dice.chance(0.8);
        let account = if widget {
            // Few people ask much.
            let user = u32::try_from(dice.zipf(400)).expect("one of 400 users");
            let user = &mut Dice::new(self.config.seed, Purpose::Identity, 2, user);
            format!("u-{}", user.uuid())
        } else {
            Dice::new(self.config.seed, Purpose::Identity, 3, 0).object_id(1_630_971_217)
        };
        Search {
            identity: &self.identity,
            question: self.question(slot.day, slot.index),
            created_ms: slot.created_ms,
            generative,
            drifts: self.config.drifts,
            widget,
            account,
        }
    }
}

impl Search<'_> {
    pub(super) fn model(&self) -> &'static str {
        if self.generative {
            "generative_model"
        } else {
            "extractive_model"
        }
    }

    pub(super) fn channel(&self) -> &'static str {
        if self.widget { "rtm" } else { "publicApi" }
    }

    fn write_asker(&self, dice: &mut Dice, writer: &mut JsonWriter) {
        writer.text("_id", &self.question.id);
        if self.widget {
            let session = dice.object_id(self.created_ms / 1_000 - 43);
            writer.text("sessionId", &session);
            writer.text("userId", &self.account);
            let channel = format!("cs-{}/{}{}", dice.uuid(), dice.uuid(), dice.uuid());
            writer.text("channelUId", &channel);
        } else {
            writer.text("sessionId", "");
            writer.text("channelUId", "");
        }
        writer.text("clientInfo", "");
    }

    fn write_request(&self, answer: Option<&Answer<'_>>, dice: &mut Dice, writer: &mut JsonWriter) {
        writer.text("query", &self.question.text);
        writer.flag("isFullSearch", true);
        writer.text("searchRequestId", &self.question.id);
        if !self.generative {
            writer.text("answerType", answer.map_or("web", Answer::source_type));
        }
        writer.text("event", "search");
        if self.generative && !dice.chance(0.03) {
            writer.key("comments");
            writer.begin_object();
            writer.empty_array("tags");
            writer.end_object();
        }
        writer.empty_array("selectedFacets");
        writer.text("botId", &self.identity.bot_id);
        writer.text("searchIndexId", &self.identity.search_index_id);
        match dice.below(100) {
            0 if self.drifts => writer.plain("language", "null"),
            1..10 => writer.text("language", "de"),
            10..14 => writer.text("language", "ja"),
            _ => writer.text("language", "en"),
        }
        writer.flag("hasResults", answer.is_some());
        writer.plain("timeStampValue", &self.created_ms.to_string());
        writer.text("createdOn", &iso_ms(self.created_ms));
        writer.text("accountId", &self.account);
        writer.flag("isDev", dice.chance(0.02));
        writer.text("queryPipelineId", &self.identity.query_pipeline_id);
        writer.text("indexPipelineId", &self.identity.index_pipeline_id);
    }

    fn write_outcome(&self, answer: Option<&Answer<'_>>, dice: &mut Dice, writer: &mut JsonWriter) {
        let (source, connection) = if self.widget {
            ("sdk", "ws")
        } else {
            ("publicApi", "xhr")
        };
        writer.text("requestSource", source);
        writer.text("connectionType", connection);
        writer.text("queryType", "fullSearch");
        writer.flag("snippetEnabled", true);
        writer.text("model", self.model());
        if self.generative {
            writer.text("modelName", "Kore.ai XO GPT - XO-GPT");
        }
        writer.key("graphAnswer");
        writer.escaped(&[answer.map_or("", Answer::text)]);
        writer.text("channel", self.channel());
        if self.widget {
            writer.text("messageId", &format!("ms-{}", dice.uuid()));
        } else {
            writer.text("messageId", "");
        }
        if self.generative {
            // Cut to whole seconds, so it lies before `createdOn`.
            let second_ms = self.created_ms.div_euclid(1_000) * 1_000;
            writer.text("lMod", &iso_ms(second_ms));
        }
        writer.plain("__v", "0");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{all, small};
    use super::*;

    const GENERATIVE: &str = "_id sessionId userId channelUId clientInfo query isFullSearch searchRequestId event \
        comments selectedFacets botId searchIndexId language hasResults timeStampValue createdOn accountId isDev \
        queryPipelineId indexPipelineId requestSource connectionType queryType snippetEnabled model modelName \
        graphAnswer channel messageId lMod __v answerDebug";
    const EXTRACTIVE: &str = "_id sessionId channelUId clientInfo query isFullSearch searchRequestId answerType event \
        selectedFacets botId searchIndexId language hasResults timeStampValue createdOn accountId isDev \
        queryPipelineId indexPipelineId requestSource connectionType queryType snippetEnabled model graphAnswer \
        channel messageId __v answerDebug";

    #[test]
    fn keys_stand_as_in_the_samples() {
        let dataset = Dataset::new(
            crate::DataConfig {
                pretty: true,
                ..small()
            },
            "st-1",
        );
        let mut orders = std::collections::BTreeMap::<String, usize>::new();
        for slot in dataset.newest_first(dataset.from_ms, dataset.to_ms) {
            if slot.event() == Some("search") {
                let mut writer = JsonWriter::new(true);
                dataset.write_search(slot, &mut writer, &mut Tally::default());
                let keys = super::super::tests::top_keys(&writer.into_bytes());
                *orders.entry(keys.join(" ")).or_default() += 1;
            }
        }
        assert!(orders[GENERATIVE] > 800, "{orders:?}");
        assert!(orders[EXTRACTIVE] > 200, "{orders:?}");
        // The other forms: without `comments`, and through the public API without `userId`.
        assert_eq!(orders.len(), 5, "{orders:?}");
    }

    #[test]
    fn the_answer_shown_is_what_the_model_said_after_its_labels() {
        let mut compared = 0;
        for record in all(&Dataset::new(small(), "st-1")) {
            let details = &record["answerDebug"][0]["llmResponse"]["responseDetails"];
            let said = &details["completionText"]["answer"];
            let Some((labels, text)) = said.as_str().and_then(|said| said.split_once('\n')) else {
                continue;
            };
            assert_eq!(text, record["graphAnswer"]);
            let ids = details["completionText"]["chunkIds"].as_array().unwrap();
            let joined: String = ids
                .iter()
                .map(|id| format!("[{}]", id.as_str().unwrap()))
                .collect();
            assert_eq!(labels, joined);
            compared += 1;
        }
        assert!(compared > 800);
    }
}
