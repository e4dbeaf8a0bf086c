//! The corpus that answers draw their chunks from.
//!
//! The same chunks come up again and again, in prompts too, as they do at the vendor: that is what makes the data
//! compress, and what a lake of it must make use of. A chunk is made when it is first drawn and kept escaped, so
//! that a record is mostly copied bytes.

use std::sync::OnceLock;

use super::dice::{Dice, Purpose};
use super::json_writer::escaped;
use super::text;

/// Chunks of one document, at most.
const DOCUMENT_CHUNKS: usize = 5;

const SITES: &[(&str, &str)] = &[
    ("prop", "https://www.propstream.example/"),
    ("https://www.bank.example", "https://www.bank.example"),
    ("help-centre", "https://help.shop.example/"),
    ("intranet", "https://intranet.corp.example/hr/"),
    ("docs", "https://docs.app.example/"),
];

const DIRECTORIES: &[&str] = &["Default Directory", "Reports 2025", "HR „Ordner“"];

/// The chunks there are, each made when it is first drawn.
#[derive(Debug)]
pub(crate) struct Corpus {
    seed: u64,
    text_scale: f64,
    chunks: Vec<OnceLock<Chunk>>,
    instructions: String,
}

/// A chunk of a document. All its texts are escaped for JSON.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) text: String,
    /// The chunk as prompts quote it, up to where its link stands.
    pub(crate) quoted: String,
    pub(crate) origin: Origin,
    pub(crate) record_title: String,
    pub(crate) chunk_id: String,
    pub(crate) doc_id: String,
    pub(crate) source_id: String,
    pub(crate) chunk_type: &'static str,
    pub(crate) extraction_method: &'static str,
}

/// Where a chunk's document comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    Web {
        source_name: &'static str,
        source_url: &'static str,
        record_url: String,
        page_image_url: String,
    },
    /// An uploaded file: its links are signed anew whenever they are handed out.
    File {
        source_name: &'static str,
        /// The link up to and with its `?`.
        link: String,
        page_image_link: String,
        page: usize,
        /// What a link to the page has after its query: `#page=3`.
        fragment: String,
    },
}

impl Chunk {
    pub(crate) fn source_type(&self) -> &'static str {
        match self.origin {
            Origin::Web { .. } => "web",
            Origin::File { .. } => "file",
        }
    }

    pub(crate) fn source_name(&self) -> &'static str {
        self.origin.source_name()
    }
}

impl Origin {
    fn source_name(&self) -> &'static str {
        match self {
            Self::Web { source_name, .. } | Self::File { source_name, .. } => source_name,
        }
    }
}

impl Corpus {
    pub(crate) fn new(seed: u64, pool: usize, text_scale: f64) -> Self {
        Self {
            seed,
            text_scale,
            chunks: (0..pool.max(1)).map(|_| OnceLock::new()).collect(),
            instructions: escaped(&instructions(seed, text_scale)),
        }
    }

    pub(crate) fn chunk(&self, place: usize) -> &Chunk {
        self.chunks[place].get_or_init(|| self.make(place))
    }

    /// What a prompt says before the chunks: examples, then what to do.
    pub(crate) fn instructions(&self) -> &str {
        &self.instructions
    }

    /// Draws distinct chunks, known ones more often, in runs of the same document; fewer than asked for only where
    /// the corpus itself has fewer.
    pub(crate) fn draw(&self, dice: &mut Dice, count: usize) -> Vec<usize> {
        let count = count.min(self.chunks.len());
        let mut drawn: Vec<usize> = Vec::with_capacity(count);
        while drawn.len() < count {
            let start = dice.zipf(self.chunks.len());
            // Where nearly all is drawn already, the next free place does; it ends as there are places enough.
            let mut place = start;
            while drawn.contains(&place) {
                place = (place + 1) % self.chunks.len();
            }
            let document = place / DOCUMENT_CHUNKS;
            for _ in 0..dice.between(1, 4) {
                if drawn.len() < count && !drawn.contains(&place) {
                    drawn.push(place);
                }
                place += 1;
                if place / DOCUMENT_CHUNKS != document || place >= self.chunks.len() {
                    break;
                }
            }
        }
        drawn
    }

    fn make(&self, place: usize) -> Chunk {
        let number = i64::try_from(place).expect("a corpus has fewer chunks than an i64 counts");
        let document = number / DOCUMENT_CHUNKS as i64;
        let document_dice = &mut Dice::new(self.seed, Purpose::Document, document, 0);
        let dice = &mut Dice::new(self.seed, Purpose::Chunk, number, 0);

        let topic = document_dice.pick(text::TOPICS);
        let title = text::title(document_dice, topic);
        let doc_id = format!("fc-{}", document_dice.uuid());
        let page = 1 + place % DOCUMENT_CHUNKS;
        let origin = if document_dice.chance(0.2) {
            file_origin(document_dice, page)
        } else {
            web_origin(document_dice, topic, document)
        };
        let source_name = origin.source_name();
        let record_title = match &origin {
            Origin::Web { .. } => title,
            Origin::File { .. } => format!("{}.pdf", topic.replace(' ', "_")),
        };

        let characters = scaled(dice.between(500, 6_000), self.text_scale);
        let (raw, chunk_type, extraction_method) = match &origin {
            Origin::File { .. } => (
                text::pdf_page(dice, topic, page, characters),
                "Text",
                "text",
            ),
            Origin::Web { .. } if dice.chance(0.4) => (
                text::html_table(dice, topic, characters),
                "Table",
                "advanced_html_extraction",
            ),
            // Plain prose is called a table as well, as in the vendor's sample.
            Origin::Web { .. } if dice.chance(0.7) => (
                text::cut_front(&text::prose(dice, topic, characters)),
                "Table",
                "advanced_html_extraction",
            ),
            Origin::Web { .. } => (
                format!(" {}", text::prose(dice, topic, characters)),
                "Text",
                "text",
            ),
        };
        let quoted = format!(
            "Content: {} source_name: {source_name} recordTitle: {record_title} recordUrl: ",
            raw.replace('<', "&lt;").replace('>', "&gt;"),
        );
        Chunk {
            text: escaped(&raw),
            quoted: escaped(&quoted),
            source_id: format!("fs-{}", source_uuid(self.seed, source_name)),
            origin,
            record_title: escaped(&record_title),
            chunk_id: format!("chk-{}", dice.uuid()),
            doc_id,
            chunk_type,
            extraction_method,
        }
    }
}

fn web_origin(dice: &mut Dice, topic: &str, document: i64) -> Origin {
    let (source_name, source_url) = dice.pick(SITES);
    let slug = topic.replace(' ', "-").to_lowercase();
    Origin::Web {
        source_name,
        source_url,
        record_url: format!(
            "{}/news/{slug}-{document}",
            source_url.trim_end_matches('/')
        ),
        // Some pages give a path of their site only.
        page_image_url: if dice.chance(0.2) {
            format!("/etc.clientlibs/logo/{slug}.jpg")
        } else {
            format!(
                "{}/hubfs/{slug}-{document}.png",
                source_url.trim_end_matches('/')
            )
        },
    }
}

fn file_origin(dice: &mut Dice, page: usize) -> Origin {
    const MEDIA: &str = "https://platform.kore.example/api/getMediaStream/findly/f-";
    Origin::File {
        source_name: dice.pick(DIRECTORIES),
        link: format!("{MEDIA}{}.pdf?", dice.uuid()),
        page_image_link: format!("{MEDIA}{}.png?", dice.uuid()),
        page,
        fragment: format!("#page={page}"),
    }
}

fn source_uuid(seed: u64, source_name: &str) -> String {
    let number = source_name
        .bytes()
        .fold(0u32, |sum, byte| sum * 31 % 65_521 + u32::from(byte));
    Dice::new(seed, Purpose::Document, -1, number).uuid()
}

fn scaled(characters: usize, text_scale: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a length of a text, far below what either type holds; a negative scale gives 0"
    )]
    let characters = (characters as f64 * text_scale) as usize;
    characters
}

/// The fixed first part of a prompt. It holds the words that also structure its second part: `CHUNKS:`,
/// `chunk_id: chk-N`, `User Query:` and `Answer:`.
fn instructions(seed: u64, text_scale: f64) -> String {
    let mut prompt = String::from("#### Examples:\n\n");
    for example in 1..=2 {
        let dice = &mut Dice::new(seed, Purpose::Identity, 1, example);
        let topic = dice.pick(text::TOPICS);
        prompt.push_str(&format!("### Example {example}:\nCHUNKS:\n"));
        for chunk in 1..=2 {
            let content = text::prose(dice, topic, scaled(1_300, text_scale).max(60));
            prompt.push_str(&format!("Content: {content}chunk_id: chk-{chunk} \n "));
        }
        prompt.push_str(&format!(
            "\n\nUser Query: {}\n\nAnswer: [chk-1]\n{}\n\n",
            text::question(dice, topic),
            text::prose(dice, topic, 120),
        ));
    }
    prompt.push_str(
        "#### Instructions:\n1. Answer from the CHUNKS only, and cite each you use as [chk-N].\n\
         2. If they don’t hold the answer, say \"I don't know\".\n\n",
    );
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_the_same_whatever_was_drawn_before() {
        let one = Corpus::new(3, 100, 0.1);
        let other = Corpus::new(3, 100, 0.1);
        one.chunk(5);
        assert_eq!(one.chunk(60).text, other.chunk(60).text);
        assert_eq!(one.chunk(60).chunk_id, other.chunk(60).chunk_id);
        assert_ne!(one.chunk(60).text, one.chunk(61).text);
    }

    #[test]
    fn draws_are_distinct_and_end_in_a_small_corpus() {
        let corpus = Corpus::new(3, 30, 0.1);
        let dice = &mut Dice::new(3, Purpose::Record, 0, 0);
        for _ in 0..50 {
            let mut drawn = corpus.draw(dice, 28);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 28);
        }
        assert_eq!(corpus.draw(dice, 40).len(), 30);
    }

    #[test]
    fn prompts_escape_tags_and_leave_ampersands() {
        let corpus = Corpus::new(3, 200, 0.3);
        let table = (0..200)
            .map(|place| corpus.chunk(place))
            .find(|chunk| chunk.text.starts_with("<table"))
            .unwrap();
        assert!(
            table
                .quoted
                .starts_with("Content: &lt;table style=\\\"width")
        );
        assert!(table.quoted.contains("&nbsp;&lt;/td&gt;"));
    }
}
