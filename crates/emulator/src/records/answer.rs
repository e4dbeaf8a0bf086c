//! Elements of `answerDebug`: the chunks found, the prompt, what the model said.
//!
//! Here are most of the drifts of the samples: `prompt` and `completionText` are a text or an object, a score is a
//! number with or without a fraction (and, in a neighbouring API, a text), counts go by two names.

use std::fmt::Write;

use super::corpus::{Chunk, Corpus, Origin};
use super::dice::Dice;
use super::iso_ms;
use super::json_writer::{JsonWriter, escaped};
use super::search::Search;
use super::text;

/// An element of `answerDebug`.
pub(super) struct Answer<'a> {
    id: String,
    chunks: Vec<Drawn<'a>>,
    /// The answer shown, escaped.
    text: String,
}

/// A chunk and its part in one answer.
struct Drawn<'a> {
    chunk: &'a Chunk,
    /// JSON of the score.
    score: String,
    sent: bool,
    used: bool,
    qualified: bool,
    frequency: &'static str,
    /// The signature of its links, where the chunk is from a file.
    link_query: String,
}

impl<'a> Answer<'a> {
    pub(super) fn draw(corpus: &'a Corpus, search: &Search<'_>, dice: &mut Dice) -> Self {
        let id = format!("fad-{}", dice.uuid());
        let count = if search.generative {
            dice.between(20, 28)
        } else {
            dice.between(5, 20)
        };
        let places = corpus.draw(dice, count);
        let selective = dice.chance(0.4);
        let chunks: Vec<Drawn<'_>> = places
            .into_iter()
            .enumerate()
            .map(|(rank, place)| {
                let mut drawn = Drawn::draw(corpus.chunk(place), search, dice);
                if search.generative {
                    // The first 20 are sent, with an exception now and then.
                    drawn.sent = rank < 20 && !(selective && dice.chance(0.03));
                    drawn.used = drawn.sent && !(selective && rank > 0 && dice.chance(0.7));
                    drawn.qualified = drawn.sent || !dice.chance(0.2);
                } else {
                    drawn.used = rank == 0;
                }
                drawn
            })
            .collect();
        let text = if !search.generative {
            chunks.first().map_or_else(String::new, |first| {
                format!("   {}", first.chunk.text.trim_start())
            })
        } else if dice.chance(0.01) {
            String::new()
        } else {
            let characters = dice.between(160, 700);
            escaped(&text::prose(dice, search.question.topic, characters))
        };
        Self { id, chunks, text }
    }

    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn source_type(&self) -> &'static str {
        self.chunks
            .first()
            .map_or("web", |drawn| drawn.chunk.source_type())
    }

    pub(super) fn write(
        &self,
        search: &Search<'_>,
        instructions: &str,
        dice: &mut Dice,
        writer: &mut JsonWriter,
    ) {
        writer.begin_object();
        writer.text("_id", &self.id);
        if search.generative {
            writer.text("query", &search.question.text);
        }
        writer.text("searchRequestId", &search.question.id);
        writer.text("searchIndexId", &search.identity.search_index_id);
        writer.text("createdOn", &iso_ms(search.created_ms + 8));
        writer.text("queryPipelineId", &search.identity.query_pipeline_id);
        writer.text("indexPipelineId", &search.identity.index_pipeline_id);
        self.write_chunks(search.generative, writer);
        writer.key("prompt");
        if search.generative {
            self.write_prompt(search, instructions, dice, writer);
        } else {
            writer.begin_object();
            writer.text("promptText", "");
            writer.empty_array("moreInfo");
            writer.end_object();
        }
        self.write_response(search.generative, dice, writer);
        writer.text("answeredBy", search.model());
        writer.empty_array("answeringSource");
        if search.generative {
            writer.text("channel", search.channel());
        }
        writer.text("retrieverUsed", "hybrid_search");
        writer.text("vectorSearchType", "approx_knn");
        writer.plain("__v", "0");
        writer.end_object();
    }

    fn write_chunks(&self, generative: bool, writer: &mut JsonWriter) {
        let count = self.chunks.len().to_string();
        let (full, empty) = if generative {
            writer.plain("generativeChunksCount", &count);
            writer.empty_array("extractiveChunks");
            ("generativeChunks", None)
        } else {
            writer.plain("extractiveChunksCount", &count);
            ("extractiveChunks", Some("generativeChunks"))
        };
        writer.key(full);
        writer.begin_array();
        for drawn in &self.chunks {
            writer.element();
            drawn.write(generative, writer);
        }
        writer.end_array();
        if let Some(empty) = empty {
            writer.empty_array(empty);
        }
        let count = |counts: fn(&Drawn<'_>) -> bool| {
            let chunks = self.chunks.iter();
            chunks.filter(|drawn| counts(drawn)).count().to_string()
        };
        writer.plain("chunksSentToLLM", &count(|drawn| drawn.sent));
        writer.plain("chunksUsedInAnswer", &count(|drawn| drawn.used));
    }

    /// Writes the prompt, mostly as a text, now and then as the object that extractive answers have.
    fn write_prompt(
        &self,
        search: &Search<'_>,
        instructions: &str,
        dice: &mut Dice,
        writer: &mut JsonWriter,
    ) {
        let question = escaped(&search.question.text);
        let labels: Vec<String> = (1..=self.chunks.len())
            .map(|label| format!(" sys_file_type: html chunk_id: chk-{label}"))
            .collect();
        let mut pieces = vec![instructions, "CHUNKS:\\n"];
        for (drawn, label) in self.chunks.iter().zip(&labels) {
            if drawn.sent {
                pieces.push(&drawn.chunk.quoted);
                pieces.extend(drawn.record_url());
                pieces.extend([label.as_str(), " \\n "]);
            }
        }
        pieces.extend(["\\n\\nUser Query: ", &question, "\\n\\nAnswer:"]);

        if dice.chance(0.9) {
            writer.escaped(&pieces);
            return;
        }
        writer.begin_object();
        writer.key("promptText");
        writer.escaped(&pieces);
        if dice.chance(0.5) {
            writer.empty_array("moreInfo");
        } else {
            writer.key("moreInfo");
            writer.begin_array();
            write_info("Model", "\"XO-GPT\"", writer);
            write_info("Temperature", "0.2", writer);
            writer.end_array();
        }
        writer.end_object();
    }

    fn write_response(&self, generative: bool, dice: &mut Dice, writer: &mut JsonWriter) {
        writer.key("llmResponse");
        writer.begin_object();
        writer.key("responseDetails");
        writer.begin_object();
        writer.key("completionText");
        if !generative || self.text.is_empty() {
            writer.string("");
        } else {
            self.write_completion(dice.chance(0.05), writer);
        }
        writer.key("moreInfo");
        writer.begin_array();
        if generative {
            let id = format!("\"llm-{}\"", dice.uuid());
            write_info("LLM Response Id", &id, writer);
        }
        writer.end_array();
        writer.end_object();

        writer.key("responseTime");
        writer.begin_object();
        writer.key("moreInfo");
        writer.begin_array();
        if generative {
            let time = decimal(dice.between(8_000_000, 120_000_000), 4);
            write_info("Completion Time", &time, writer);
        }
        writer.end_array();
        writer.end_object();
        writer.end_object();
    }

    /// Writes what the model said: its citations, by the places of the chunks in the list, then the answer.
    fn write_completion(&self, as_text: bool, writer: &mut JsonWriter) {
        let cited: Vec<String> = (1..)
            .zip(&self.chunks)
            .filter(|(_, drawn)| drawn.used)
            .map(|(label, _)| format!("chk-{label}"))
            .collect();
        let mut labels = String::new();
        for label in &cited {
            let _ = write!(labels, "[{label}]");
        }
        let said = [labels.as_str(), "\\n", &self.text];
        if as_text {
            writer.escaped(&said);
            return;
        }
        writer.begin_object();
        writer.key("answer");
        writer.escaped(&said);
        writer.key("chunkIds");
        writer.begin_array();
        for label in &cited {
            writer.element();
            writer.string(label);
        }
        writer.end_array();
        writer.end_object();
    }
}

impl<'a> Drawn<'a> {
    fn draw(chunk: &'a Chunk, search: &Search<'_>, dice: &mut Dice) -> Self {
        let score = match dice.below(400) {
            0 if search.drifts => "\"\"".to_owned(),
            1 if search.drifts => format!("\"{}\"", decimal(dice.between(340, 1_240), 3)),
            2..20 => "1".to_owned(),
            _ => decimal(dice.between(340, 1_240), 3),
        };
        Self {
            chunk,
            score,
            sent: false,
            used: false,
            qualified: true,
            frequency: if dice.chance(0.02) { "2" } else { "0" },
            link_query: match chunk.origin {
                Origin::File { .. } => dice.link_query(),
                Origin::Web { .. } => String::new(),
            },
        }
    }

    fn write(&self, generative: bool, writer: &mut JsonWriter) {
        let chunk = self.chunk;
        writer.begin_object();
        writer.plain("score", &self.score);
        writer.key("chunkText");
        writer.escaped(&[&chunk.text]);
        writer.flag("sentToLLM", self.sent);
        writer.flag("usedInAnswer", self.used);
        writer.flag("chunkQualified", self.qualified);
        if generative {
            writer.text("chunkFrequency", self.frequency);
        }
        writer.text("sourceType", chunk.source_type());
        writer.key("sourceUrl");
        match &chunk.origin {
            Origin::Web { source_url, .. } => writer.string(source_url),
            Origin::File { link, .. } => writer.escaped(&[link, &self.link_query]),
        }
        writer.text("sourceName", chunk.source_name());
        writer.key("recordTitle");
        writer.escaped(&[&chunk.record_title]);
        writer.key("recordUrl");
        writer.escaped(&self.record_url());
        writer.flag("chunkRerank", false);
        if generative {
            writer.key("page_image_url");
            match &chunk.origin {
                Origin::Web { page_image_url, .. } => writer.string(page_image_url),
                Origin::File {
                    page_image_link, ..
                } => writer.escaped(&[page_image_link, &self.link_query]),
            }
        }
        self.write_info(writer);
        writer.end_object();
    }

    fn write_info(&self, writer: &mut JsonWriter) {
        let chunk = self.chunk;
        writer.key("moreInfo");
        writer.begin_array();
        write_info("Chunk Title", "\"\"", writer);
        if let Origin::File { page, .. } = chunk.origin {
            write_info("Page Number", &page.to_string(), writer);
        }
        writer.end_array();
        writer.key("additionalInfo");
        writer.begin_object();
        writer.text("chunkId", &chunk.chunk_id);
        writer.text("docId", &chunk.doc_id);
        writer.text("sourceId", &chunk.source_id);
        writer.text("chunkType", chunk.chunk_type);
        writer.text("extractionMethod", chunk.extraction_method);
        writer.end_object();
    }

    /// The link to the document, in pieces.
    fn record_url(&self) -> [&str; 3] {
        match &self.chunk.origin {
            Origin::Web { record_url, .. } => [record_url, "", ""],
            Origin::File { link, fragment, .. } => [link, &self.link_query, fragment],
        }
    }
}

/// Writes an element of a `moreInfo` list; the value is JSON.
fn write_info(key: &str, value: &str, writer: &mut JsonWriter) {
    writer.element();
    writer.begin_object();
    writer.text("key", key);
    writer.plain("value", value);
    writer.end_object();
}

/// A number of that many decimal places as JavaScript prints it: no zeros at the end, and no point before nothing.
fn decimal(number: usize, places: u32) -> String {
    let unit = 10usize.pow(places);
    let width = places as usize;
    let text = format!("{}.{:0width$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Dataset;
    use super::super::tests::{all, keys_after, small};
    use super::*;

    #[test]
    fn decimals_are_printed_as_javascript_does() {
        let printed = [750, 1_000, 1_240, 341, 0].map(|number| decimal(number, 3));
        assert_eq!(printed, ["0.75", "1", "1.24", "0.341", "0"]);
        assert_eq!(decimal(89_631_632, 4), "8963.1632");
    }

    #[test]
    fn keys_of_answers_and_chunks_stand_as_in_the_samples() {
        const ANSWER: &str = "_id query searchRequestId searchIndexId createdOn queryPipelineId indexPipelineId \
            generativeChunksCount extractiveChunks generativeChunks chunksSentToLLM chunksUsedInAnswer prompt \
            llmResponse answeredBy answeringSource channel retrieverUsed vectorSearchType __v";
        const CHUNK: &str = "score chunkText sentToLLM usedInAnswer chunkQualified chunkFrequency sourceType sourceUrl \
            sourceName recordTitle recordUrl chunkRerank page_image_url moreInfo additionalInfo";
        let dataset = Dataset::new(small(), "st-1");
        let text = super::super::tests::first_record(&dataset, super::super::Kind::Generative);
        assert_eq!(keys_after(&text, "\"answerDebug\":[{").join(" "), ANSWER);
        assert_eq!(
            keys_after(&text, "\"generativeChunks\":[{").join(" "),
            CHUNK
        );

        const EXTRACTIVE: &str = "_id searchRequestId searchIndexId createdOn queryPipelineId indexPipelineId \
            extractiveChunksCount extractiveChunks generativeChunks chunksSentToLLM chunksUsedInAnswer prompt \
            llmResponse answeredBy answeringSource retrieverUsed vectorSearchType __v";
        const EXTRACTED: &str = "score chunkText sentToLLM usedInAnswer chunkQualified sourceType sourceUrl \
            sourceName recordTitle recordUrl chunkRerank moreInfo additionalInfo";
        let text = super::super::tests::first_record(&dataset, super::super::Kind::Extractive);
        assert_eq!(
            keys_after(&text, "\"answerDebug\":[{").join(" "),
            EXTRACTIVE
        );
        assert_eq!(
            keys_after(&text, "\"extractiveChunks\":[{").join(" "),
            EXTRACTED
        );
    }

    #[test]
    fn a_prompt_holds_the_chunks_sent_and_the_question() {
        let mut seen = 0;
        for record in all(&Dataset::new(small(), "st-1")) {
            let debug = &record["answerDebug"][0];
            let Some(prompt) = debug["prompt"].as_str() else {
                continue;
            };
            let chunks = debug["generativeChunks"].as_array().unwrap();
            let mut sent = 0;
            for (label, chunk) in (1..).zip(chunks) {
                let text = chunk["chunkText"].as_str().unwrap();
                let quoted = text.replace('<', "&lt;").replace('>', "&gt;");
                let end = format!(
                    "recordUrl: {} sys_file_type: html chunk_id: chk-{label} \n ",
                    chunk["recordUrl"].as_str().unwrap()
                );
                if chunk["sentToLLM"] == true {
                    assert!(prompt.contains(&quoted) && prompt.contains(&end));
                    sent += 1;
                }
            }
            assert_eq!(debug["chunksSentToLLM"], sent);
            assert_eq!(debug["generativeChunksCount"], chunks.len());
            let end = format!(
                "\n\nUser Query: {}\n\nAnswer:",
                record["query"].as_str().unwrap()
            );
            assert!(prompt.ends_with(&end));
            seen += 1;
        }
        assert!(seen > 800);
    }
}
