//! A record as it was read: the members that columns know at their places, and everything else by name.
//!
//! Nothing is copied and nothing is allocated from value to value. A record becomes a flat list of *nodes*, one for
//! itself, one for each answer and one for each chunk, in the order they stand in the text; each node owns a run of
//! *slots*, one for each path its [`Layout`] knows.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use crate::digest::{Hash, hash_text};
use crate::json::{Arena, JsonError, Kind, Parser, Value};

/// How many answers and chunks a record may have: some thousand times what the vendor shows. Each costs memory of its
/// own, however short its text.
const MAX_NODES: usize = 100_000;

/// The paths that are known below one kind of object, each with its slot.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) root: Level,
    /// JSON Pointers of the slots, in order.
    pointers: Vec<String>,
}

/// One object inside a node.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) pointer: String,
    pub(crate) keys: Vec<LevelKey>,
}

/// A member that is known there.
#[derive(Debug)]
pub(crate) struct LevelKey {
    pub(crate) name: &'static str,
    pub(crate) slot: usize,
    pub(crate) below: Below,
    /// The part after `?` is left out of the hash when it is a signature, which is new in every export.
    is_link: bool,
}

/// What is known below a member.
#[derive(Debug)]
pub(crate) enum Below {
    /// Whatever stands here is kept as it is.
    Nothing,
    /// An object's members have slots of this node.
    Members(Level),
    /// An array's objects are nodes of their own.
    Nodes(List, &'static LazyLock<Layout>),
}

/// The arrays whose objects become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum List {
    Answers,
    ExtractiveChunks,
    GenerativeChunks,
}

/// How a layout is written down.
enum Known {
    Key(&'static str),
    Link(&'static str),
    Object(&'static str, &'static [Known]),
    Nodes(&'static str, List, &'static LazyLock<Layout>),
}

use Known::{Key, Link, Object};

/// A record of any event.
pub(crate) static RECORD: LazyLock<Layout> = LazyLock::new(|| {
    Layout::new(&[
        Key("_id"),
        Key("sessionId"),
        Key("userId"),
        Key("channelUId"),
        Key("clientInfo"),
        Key("query"),
        Key("isFullSearch"),
        Key("searchRequestId"),
        Key("answerType"),
        Key("event"),
        Object("comments", &[Key("tags")]),
        Key("selectedFacets"),
        Key("botId"),
        Key("searchIndexId"),
        Key("language"),
        Key("hasResults"),
        Key("timeStampValue"),
        Key("createdOn"),
        Key("accountId"),
        Key("isDev"),
        Key("queryPipelineId"),
        Key("indexPipelineId"),
        Key("requestSource"),
        Key("connectionType"),
        Key("queryType"),
        Key("snippetEnabled"),
        Key("model"),
        Key("modelName"),
        Key("graphAnswer"),
        Key("channel"),
        Key("messageId"),
        Key("lMod"),
        Key("__v"),
        Known::Nodes("answerDebug", List::Answers, &ANSWER),
    ])
});

/// An element of `answerDebug`.
pub(crate) static ANSWER: LazyLock<Layout> = LazyLock::new(|| {
    Layout::new(&[
        Key("_id"),
        Key("query"),
        Key("searchRequestId"),
        Key("searchIndexId"),
        Key("createdOn"),
        Key("queryPipelineId"),
        Key("indexPipelineId"),
        Key("generativeChunksCount"),
        Key("extractiveChunksCount"),
        Known::Nodes("extractiveChunks", List::ExtractiveChunks, &CHUNK),
        Known::Nodes("generativeChunks", List::GenerativeChunks, &CHUNK),
        Key("chunksSentToLLM"),
        Key("chunksUsedInAnswer"),
        Object("prompt", &[Key("promptText"), Key("moreInfo")]),
        Object(
            "llmResponse",
            &[
                Object(
                    "responseDetails",
                    &[
                        Object("completionText", &[Key("answer"), Key("chunkIds")]),
                        Key("moreInfo"),
                    ],
                ),
                Object("responseTime", &[Key("moreInfo")]),
            ],
        ),
        Key("answeredBy"),
        Key("answeringSource"),
        Key("channel"),
        Key("retrieverUsed"),
        Key("vectorSearchType"),
        Key("__v"),
    ])
});

/// An element of `extractiveChunks` or `generativeChunks`.
pub(crate) static CHUNK: LazyLock<Layout> = LazyLock::new(|| {
    Layout::new(&[
        Key("score"),
        Key("chunkText"),
        Key("sentToLLM"),
        Key("usedInAnswer"),
        Key("chunkQualified"),
        Key("chunkFrequency"),
        Key("sourceType"),
        Link("sourceUrl"),
        Key("sourceName"),
        Key("recordTitle"),
        Link("recordUrl"),
        Key("chunkRerank"),
        Link("page_image_url"),
        Key("moreInfo"),
        Object(
            "additionalInfo",
            &[
                Key("chunkId"),
                Key("docId"),
                Key("sourceId"),
                Key("chunkType"),
                Key("extractionMethod"),
            ],
        ),
    ])
});

/// What a JSON Pointer points to.
#[derive(Debug)]
pub(crate) enum Place {
    /// A known path.
    Slot(usize),
    /// A member that has no slot.
    Member { level: &'static Level, key: String },
    /// An element of an array whose objects are nodes, which is none of them.
    Element(List, usize),
}

/// The slots of a record that are looked at by name.
#[derive(Debug)]
pub(crate) struct RecordSlots {
    pub(crate) id: usize,
    pub(crate) user_id: usize,
    pub(crate) account_id: usize,
    pub(crate) search_request_id: usize,
    pub(crate) created_on: usize,
    pub(crate) time_stamp_value: usize,
    pub(crate) event: usize,
    pub(crate) comments: usize,
    pub(crate) tags: usize,
    pub(crate) bot_id: usize,
    pub(crate) modified_at: usize,
    pub(crate) answer_debug: usize,
}

pub(crate) static RECORD_SLOTS: LazyLock<RecordSlots> = LazyLock::new(|| RecordSlots {
    id: RECORD.slot("_id"),
    user_id: RECORD.slot("userId"),
    account_id: RECORD.slot("accountId"),
    search_request_id: RECORD.slot("searchRequestId"),
    created_on: RECORD.slot("createdOn"),
    time_stamp_value: RECORD.slot("timeStampValue"),
    event: RECORD.slot("event"),
    comments: RECORD.slot("comments"),
    tags: RECORD.slot("comments.tags"),
    bot_id: RECORD.slot("botId"),
    modified_at: RECORD.slot("lMod"),
    answer_debug: RECORD.slot("answerDebug"),
});

/// The slots of an answer that are looked at by name.
#[derive(Debug)]
pub(crate) struct AnswerSlots {
    pub(crate) id: usize,
    pub(crate) search_request_id: usize,
    pub(crate) extractive_chunks: usize,
    pub(crate) generative_chunks: usize,
    pub(crate) prompt: usize,
    pub(crate) prompt_text: usize,
    pub(crate) prompt_info: usize,
    pub(crate) response: usize,
    pub(crate) details: usize,
    pub(crate) completion: usize,
    pub(crate) completion_answer: usize,
    pub(crate) chunk_ids: usize,
    pub(crate) details_info: usize,
    pub(crate) time: usize,
    pub(crate) time_info: usize,
}

pub(crate) static ANSWER_SLOTS: LazyLock<AnswerSlots> = LazyLock::new(|| AnswerSlots {
    id: ANSWER.slot("_id"),
    search_request_id: ANSWER.slot("searchRequestId"),
    extractive_chunks: ANSWER.slot("extractiveChunks"),
    generative_chunks: ANSWER.slot("generativeChunks"),
    prompt: ANSWER.slot("prompt"),
    prompt_text: ANSWER.slot("prompt.promptText"),
    prompt_info: ANSWER.slot("prompt.moreInfo"),
    response: ANSWER.slot("llmResponse"),
    details: ANSWER.slot("llmResponse.responseDetails"),
    completion: ANSWER.slot("llmResponse.responseDetails.completionText"),
    completion_answer: ANSWER.slot("llmResponse.responseDetails.completionText.answer"),
    chunk_ids: ANSWER.slot("llmResponse.responseDetails.completionText.chunkIds"),
    details_info: ANSWER.slot("llmResponse.responseDetails.moreInfo"),
    time: ANSWER.slot("llmResponse.responseTime"),
    time_info: ANSWER.slot("llmResponse.responseTime.moreInfo"),
});

/// The slots of a chunk that are looked at by name.
#[derive(Debug)]
pub(crate) struct ChunkSlots {
    pub(crate) sent_to_llm: usize,
    pub(crate) more_info: usize,
    pub(crate) additional_info: usize,
}

pub(crate) static CHUNK_SLOTS: LazyLock<ChunkSlots> = LazyLock::new(|| ChunkSlots {
    sent_to_llm: CHUNK.slot("sentToLLM"),
    more_info: CHUNK.slot("moreInfo"),
    additional_info: CHUNK.slot("additionalInfo"),
});

impl Layout {
    fn new(known: &[Known]) -> Self {
        let mut pointers = Vec::new();
        let root = Level::new(String::new(), known, &mut pointers);
        Self { root, pointers }
    }

    /// The slot of a path with dots.
    pub(crate) fn slot(&self, path: &str) -> usize {
        let pointer = format!("/{}", path.replace('.', "/"));
        let slot = self.pointers.iter().position(|known| *known == pointer);
        slot.unwrap_or_else(|| panic!("`{path}` is not in the layout"))
    }

    /// The JSON Pointer of a slot, from its node.
    pub(crate) fn pointer(&self, slot: usize) -> &str {
        &self.pointers[slot]
    }

    /// What a JSON Pointer, from its node, points to; `None` for one that is never written of such a node.
    pub(crate) fn place(&'static self, pointer: &str) -> Option<Place> {
        if let Some(slot) = self.pointers.iter().position(|known| known == pointer) {
            return Some(Place::Slot(slot));
        }
        let (parent, name) = pointer.rsplit_once('/')?;
        if let Some(level) = self.root.at(parent) {
            return Some(Place::Member {
                level,
                key: name.replace("~1", "/").replace("~0", "~"),
            });
        }
        let list = self.root.list_at(parent)?;
        Some(Place::Element(list, name.parse().ok()?))
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.pointers.len()
    }
}

impl Level {
    fn new(pointer: String, known: &[Known], pointers: &mut Vec<String>) -> Self {
        let mut keys = Vec::with_capacity(known.len());
        for entry in known {
            let (Key(name) | Link(name) | Object(name, _) | Known::Nodes(name, ..)) = entry;
            let slot = pointers.len();
            pointers.push(format!("{pointer}/{name}"));
            let below = match entry {
                Key(_) | Link(_) => Below::Nothing,
                Object(_, known) => {
                    Below::Members(Self::new(pointers[slot].clone(), known, pointers))
                }
                Known::Nodes(_, list, layout) => Below::Nodes(*list, layout),
            };
            keys.push(LevelKey {
                name,
                slot,
                below,
                is_link: matches!(entry, Link(_)),
            });
        }
        Self { pointer, keys }
    }

    /// The object at `pointer`, this one or one inside it.
    fn at(&self, pointer: &str) -> Option<&Self> {
        if self.pointer == pointer {
            return Some(self);
        }
        self.keys.iter().find_map(|key| match &key.below {
            Below::Members(level) => level.at(pointer),
            Below::Nothing | Below::Nodes(..) => None,
        })
    }

    /// The array at `pointer` whose objects are nodes.
    fn list_at(&self, pointer: &str) -> Option<List> {
        self.keys.iter().find_map(|key| match key.below {
            Below::Nodes(list, _) if list.pointer() == pointer => Some(list),
            _ => None,
        })
    }

    /// The key of that name. `next` is where the documented order expects it; looking from there on makes a record
    /// as documented cost one comparison a key.
    pub(crate) fn find(&self, name: &str, next: usize) -> Option<usize> {
        (next..self.keys.len())
            .chain(0..next.min(self.keys.len()))
            .find(|index| self.keys[*index].name == name)
    }
}

/// An object that becomes a row.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// The array it is an element of, and its index there; `None` for the record itself.
    pub(crate) place: Option<(List, usize)>,
    /// The object as it stands.
    pub(crate) raw: &'a str,
    slots: Range<usize>,
    /// The node after the last one below this.
    pub(crate) end: usize,
}

/// What has no slot.
#[derive(Debug)]
pub(crate) struct Unknown<'a> {
    pub(crate) node: usize,
    /// JSON Pointer, from the node, of the object or array it stands in.
    pub(crate) parent: &'static str,
    pub(crate) name: Name<'a>,
    pub(crate) value: Value<'a>,
}

impl Unknown<'_> {
    /// Its JSON Pointer from the node. A key that is no Unicode has its object kept verbatim, and here is for the eye.
    pub(crate) fn pointer(&self, arena: &Arena) -> String {
        match self.name {
            Name::Index(index) => format!("{}/{index}", self.parent),
            Name::Key(key) => {
                let key = key
                    .text(arena)
                    .unwrap_or_default()
                    .replace('~', "~0")
                    .replace('/', "~1");
                format!("{}/{key}", self.parent)
            }
        }
    }
}

/// Its name there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name<'a> {
    /// A member's key.
    Key(Value<'a>),
    /// An element's index.
    Index(usize),
}

/// An object that names do not address: a key stands in it twice, or is no Unicode.
#[derive(Debug)]
pub(crate) struct Verbatim<'a> {
    pub(crate) node: usize,
    /// Its JSON Pointer, from the node.
    pub(crate) pointer: &'static str,
    pub(crate) raw: &'a str,
}

/// One record, read. Made once and used for record after record.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    values: Vec<Value<'a>>,
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) unknown: Vec<Unknown<'a>>,
    pub(crate) verbatim: Vec<Verbatim<'a>>,
}

impl<'a> Record<'a> {
    /// Reads the record that `text` is, forgetting the one before; gives its hash.
    pub(crate) fn parse(&mut self, text: &'a str, arena: &mut Arena) -> Result<Hash, JsonError> {
        self.values.clear();
        self.nodes.clear();
        self.unknown.clear();
        self.verbatim.clear();
        arena.clear();
        let mut parser = Parser::new(text, arena);
        let hash = self.node(&mut parser, &RECORD, None)?;
        parser.finish()?;
        // An object ends after those inside it: sorted by node, each node's entries stand together, in source order.
        self.unknown.sort_by_key(|entry| entry.node);
        self.verbatim.sort_by_key(|entry| entry.node);
        Ok(hash)
    }

    /// The values of a node's slots.
    pub(crate) fn slots(&self, node: usize) -> &[Value<'a>] {
        &self.values[self.nodes[node].slots.clone()]
    }

    /// What has no slot in a node.
    pub(crate) fn unknown_of(&self, node: usize) -> &[Unknown<'a>] {
        let start = self.unknown.partition_point(|entry| entry.node < node);
        let end = self.unknown.partition_point(|entry| entry.node <= node);
        &self.unknown[start..end]
    }

    /// The objects of a node that are kept verbatim.
    pub(crate) fn verbatim_of(&self, node: usize) -> &[Verbatim<'a>] {
        let start = self.verbatim.partition_point(|entry| entry.node < node);
        let end = self.verbatim.partition_point(|entry| entry.node <= node);
        &self.verbatim[start..end]
    }

    /// The nodes of one array below `node`.
    pub(crate) fn elements(&self, node: usize, list: List) -> impl Iterator<Item = usize> {
        (node + 1..self.nodes[node].end).filter(move |index| {
            self.nodes[*index]
                .place
                .is_some_and(|(place, _)| place == list)
        })
    }

    fn node(
        &mut self,
        parser: &mut Parser<'a, '_>,
        layout: &'static Layout,
        place: Option<(List, usize)>,
    ) -> Result<Hash, JsonError> {
        let node = self.nodes.len();
        if node > MAX_NODES {
            return parser.fail("at most 100000 answers and chunks in a record");
        }
        let slots = self.values.len()..self.values.len() + layout.len();
        self.values.resize(slots.end, Value::ABSENT);
        self.nodes.push(Node {
            place,
            raw: "",
            slots,
            end: 0,
        });
        let (value, hash) = self.level(parser, node, &layout.root)?;
        self.nodes[node].raw = value.raw;
        self.nodes[node].end = self.nodes.len();
        Ok(hash)
    }

    fn level(
        &mut self,
        parser: &mut Parser<'a, '_>,
        node: usize,
        level: &'static Level,
    ) -> Result<(Value<'a>, Hash), JsonError> {
        let base = self.nodes[node].slots.start;
        let first_unknown = self.unknown.len();
        let mut next = 0;
        let mut verbatim = false;
        let (value, hash) = parser.object(|parser, key| {
            verbatim |= matches!(key.kind, Kind::Lossy(_));
            let known = key
                .text(parser.arena())
                .and_then(|name| level.find(name, next));
            let Some(index) = known else {
                let (value, hash) = parser.value()?;
                self.unknown.push(Unknown {
                    node,
                    parent: &level.pointer,
                    name: Name::Key(key),
                    value,
                });
                return Ok(hash);
            };
            next = index + 1;
            let key = &level.keys[index];
            verbatim |= !self.values[base + key.slot].is_absent();
            let (value, hash) = self.member(parser, node, key)?;
            self.values[base + key.slot] = value;
            Ok(hash)
        })?;
        if verbatim || self.has_twins(first_unknown, node, &level.pointer, parser.arena()) {
            self.verbatim.push(Verbatim {
                node,
                pointer: &level.pointer,
                raw: value.raw,
            });
        }
        Ok((value, hash))
    }

    fn member(
        &mut self,
        parser: &mut Parser<'a, '_>,
        node: usize,
        key: &'static LevelKey,
    ) -> Result<(Value<'a>, Hash), JsonError> {
        match (&key.below, parser.peek()) {
            (Below::Members(level), Some(b'{')) => self.level(parser, node, level),
            (Below::Nodes(list, layout), Some(b'[')) => parser.array(|parser, index| {
                if parser.peek() == Some(b'{') {
                    return self.node(parser, layout, Some((*list, index)));
                }
                let (value, hash) = parser.value()?;
                let parent = list.pointer();
                self.unknown.push(Unknown {
                    node,
                    parent,
                    name: Name::Index(index),
                    value,
                });
                Ok(hash)
            }),
            _ => {
                let (value, hash) = parser.value()?;
                let unsigned = if key.is_link {
                    value.text(parser.arena()).and_then(without_signature)
                } else {
                    None
                };
                Ok((
                    value,
                    unsigned.map_or(hash, |link| hash_text(link.as_bytes())),
                ))
            }
        }
    }

    /// Whether two unknown members of one object have the same key.
    fn has_twins(&self, first: usize, node: usize, parent: &str, arena: &Arena) -> bool {
        let unknown = &self.unknown[first..];
        if unknown.len() < 2 {
            return false;
        }
        let mut seen = HashSet::new();
        unknown
            .iter()
            .filter(|entry| entry.node == node && entry.parent == parent)
            .any(|entry| match entry.name {
                Name::Key(key) => !seen.insert(key.text(arena)),
                Name::Index(_) => false,
            })
    }
}

impl List {
    /// Where the array stands in its node.
    pub(crate) fn pointer(self) -> &'static str {
        match self {
            Self::Answers => "/answerDebug",
            Self::ExtractiveChunks => "/extractiveChunks",
            Self::GenerativeChunks => "/generativeChunks",
        }
    }
}

/// A link without its query, when that is a signature: the vendor's media links (`…/getMediaStream/…?n=…&s=…`) are
/// signed anew in each export.
fn without_signature(link: &str) -> Option<&str> {
    let (target, query) = link.split_once('?')?;
    let signed =
        target.contains("/getMediaStream/") && query.split('&').any(|part| part.starts_with("s="));
    signed.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(text: &'a str, arena: &mut Arena) -> (Record<'a>, Hash) {
        let mut record = Record::default();
        let hash = record.parse(text, arena).unwrap();
        (record, hash)
    }

    #[test]
    fn known_members_stand_in_their_slots_in_any_order() {
        let mut arena = Arena::default();
        let text = r#"{"event":"search","_id":"a","comments":{"tags":["x"]},"answerDebug":[{"generativeChunks":[{"score":1},7,{"score":2}]},{"_id":"d"}]}"#;
        let (record, _) = parse(text, &mut arena);
        let slots = record.slots(0);
        assert_eq!(slots[RECORD.slot("_id")].raw, r#""a""#);
        assert_eq!(slots[RECORD.slot("comments.tags")].raw, r#"["x"]"#);
        let answers: Vec<_> = record.elements(0, List::Answers).collect();
        assert_eq!(answers.len(), 2);
        let chunks: Vec<_> = record
            .elements(answers[0], List::GenerativeChunks)
            .collect();
        assert_eq!(
            chunks
                .iter()
                .map(|chunk| record.slots(*chunk)[CHUNK.slot("score")].raw)
                .collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(
            record.nodes[chunks[1]].place,
            Some((List::GenerativeChunks, 2))
        );
        assert_eq!(record.slots(answers[1])[ANSWER.slot("_id")].raw, r#""d""#);
        assert_eq!(record.unknown.len(), 1);
        assert_eq!(
            (record.unknown[0].parent, record.unknown[0].value.raw),
            ("/generativeChunks", "7")
        );
    }

    #[test]
    fn twins_are_noticed_among_known_and_unknown_keys() {
        let mut arena = Arena::default();
        for (text, pointers) in [
            (r#"{"_id":"a","_id":"b"}"#, vec![""]),
            (r#"{"x":1,"y":2,"\u0078":3}"#, vec![""]),
            (r#"{"comments":{"tags":[],"tags":[]}}"#, vec!["/comments"]),
            (r#"{"x":{"y":1,"y":1}}"#, vec![]),
            (r#"{"x":1,"comments":{"x":1}}"#, vec![]),
        ] {
            let (record, _) = parse(text, &mut arena);
            assert_eq!(
                record
                    .verbatim
                    .iter()
                    .map(|entry| entry.pointer)
                    .collect::<Vec<_>>(),
                pointers,
                "{text}"
            );
        }
    }

    #[test]
    fn a_new_signature_is_no_change() {
        let mut arena = Arena::default();
        let record = |url: &str| {
            format!(r#"{{"answerDebug":[{{"extractiveChunks":[{{"recordUrl":"{url}"}}]}}]}}"#)
        };
        let mut hash = |url: &str| parse(&record(url), &mut arena).1;
        let signed = "https://h/api/getMediaStream/findly/f-1.pdf";
        assert_eq!(
            hash(&format!("{signed}?n=1&s=abc$$")),
            hash(&format!("{signed}?n=2&s=def$$"))
        );
        assert_ne!(hash("https://h/page?id=1"), hash("https://h/page?id=2"));
    }
}
