//! Applies policies to records, before anything looks at them.
//!
//! A record is masked as text: it is read once and written anew, member by member, as its policies say. All that comes
//! after (columns, `extra`, hashes, strays, dead letters, messages) is made of the new text and cannot hold what is not
//! in it. A record that cannot be read cannot be masked, so nothing of it is handed on but its size and what is wrong.
//!
//! While policies are in force, what no column maps is left out too, unless it is allowed: members that the vendor does
//! not document, and values of another type than documented, which would stand in `extra`. An element that is left out
//! of an array of answers or chunks becomes `null`, so that the others keep their places.

use std::fmt;
use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::column::parse_time;
use crate::dead_letter::Reason;
use crate::decode::{not_a_record, text_of};
use crate::error::PolicyError;
use crate::json::{Arena, JsonError, Kind, Parser, UNHASHED, Value};
use crate::privacy::{Content, Policies, Policy, field_of};
use crate::record::{ANSWER, Below, CHUNK, Layout, Level, LevelKey, List, RECORD};

/// Policies, and the key that texts are hashed under.
pub struct Masking {
    policies: Policies,
    key: Option<Hmac<Sha256>>,
    record: Rules,
    answer: Rules,
    chunk: Rules,
}

/// What is done with the member of each slot of a layout.
type Rules = Vec<(Policy, Content)>;

/// The entries of `moreInfo` that the vendor documents, or shows elsewhere in the same shape.
const INFO_KEYS: &[&str] = &[
    "Chunk Title",
    "Page Number",
    "LLM Response Id",
    "Completion Time",
    "Model",
    "Mode",
    "Temperature",
    "Frequency Penalty",
    "Presence Penalty",
    "TopP",
    "Response Token Limit",
    "Completion Tokens",
    "Prompt Tokens",
    "Total Tokens",
];

/// Records of a block, masked one after the other.
pub(crate) struct MaskedRecords {
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: Vec<Result<Range<usize>, Withheld>>,
}

/// A record that cannot be masked.
pub(crate) struct Withheld {
    pub(crate) reason: Reason,
    pub(crate) bytes: u64,
}

impl MaskedRecords {
    /// Records as they came.
    pub(crate) fn unmasked(bytes: Vec<u8>, records: Vec<Range<usize>>) -> Self {
        Self {
            bytes,
            records: records.into_iter().map(Ok).collect(),
        }
    }
}

impl Masking {
    /// The fewest bytes of a key: with fewer, what is hashed can be guessed.
    pub const MIN_KEY_BYTES: usize = 32;

    /// Makes it of policies and, where something is hashed, a key.
    ///
    /// # Errors
    /// When a key is needed and there is none, or one that is too short.
    pub fn try_new(policies: Policies, key: Option<&[u8]>) -> Result<Self, PolicyError> {
        let key = match (policies.needs_key(), key) {
            (false, _) => None,
            (true, None) => return Err(PolicyError::NoKey),
            (true, Some(key)) if key.len() < Self::MIN_KEY_BYTES => {
                return Err(PolicyError::ShortKey {
                    min_bytes: Self::MIN_KEY_BYTES,
                    bytes: key.len(),
                });
            }
            (true, Some(key)) => {
                Some(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
            }
        };
        let rules = |layout: &Layout| -> Rules {
            let members =
                (0..layout.len()).filter_map(|slot| layout.pointer(slot).rsplit('/').next());
            let fields = members.map(|name| field_of(name).expect("every member is a field"));
            fields
                .map(|(field, content)| (policies.of(field), content))
                .collect()
        };
        Ok(Self {
            record: rules(&RECORD),
            answer: rules(&ANSWER),
            chunk: rules(&CHUNK),
            policies,
            key,
        })
    }

    /// The policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// What tells one key from another and nothing about either; `None` where there is no key.
    pub fn key_check(&self) -> Option<String> {
        const LABEL: &str = "answerlake: check of the privacy key";
        const DIGITS: usize = 16;
        let mut check = self.hmac(LABEL.as_bytes())?;
        check.truncate(DIGITS);
        Some(check)
    }

    /// What tells records that are masked like this from all others: 16 hexadecimal digits.
    pub fn mark(&self) -> String {
        let mut whole = Sha256::new();
        for (field, policy) in self.policies.masked() {
            whole.update(format!("{field} {policy}\n"));
        }
        whole.update(self.policies.allow_unmapped().to_string());
        whole.update(self.key_check().unwrap_or_default());
        let mut mark = hex::encode(whole.finalize());
        mark.truncate(16);
        mark
    }

    /// What stands in a lake in place of a text that is hashed; `None` where nothing is.
    pub fn hash(&self, text: &str) -> Option<String> {
        self.hmac(text.as_bytes())
    }

    /// Masks the records that stand in `bytes`.
    pub(crate) fn mask(&self, bytes: &[u8], records: Vec<Range<usize>>) -> MaskedRecords {
        let mut walk = Walk {
            masking: self,
            masked: String::with_capacity(bytes.len()),
            scratch: Arena::default(),
        };
        let mut arena = Arena::default();
        let records = records.into_iter().map(|range| {
            let raw = &bytes[range];
            let start = walk.masked.len();
            match walk.record(raw, &mut arena) {
                Ok(()) => Ok(start..walk.masked.len()),
                Err(reason) => {
                    walk.masked.truncate(start);
                    Err(Withheld {
                        reason,
                        bytes: raw.len() as u64,
                    })
                }
            }
        });
        let records = records.collect();
        MaskedRecords {
            bytes: walk.masked.into_bytes(),
            records,
        }
    }

    fn rules(&self, list: List) -> &Rules {
        match list {
            List::Answers => &self.answer,
            List::ExtractiveChunks | List::GenerativeChunks => &self.chunk,
        }
    }

    fn hmac(&self, text: &[u8]) -> Option<String> {
        let mut mac = self.key.clone()?;
        mac.update(text);
        Some(hex::encode(mac.finalize().into_bytes()))
    }
}

/// Shows the policies; never the key.
impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masking")
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

/// A way over records, and what is written on it.
///
/// Most of a record is long texts that land as they are. They are passed over and copied; only what a policy has to look
/// at is unescaped.
struct Walk<'m> {
    masking: &'m Masking,
    masked: String,
    scratch: Arena,
}

impl Walk<'_> {
    fn record(&mut self, raw: &[u8], arena: &mut Arena) -> Result<(), Reason> {
        let text = text_of(raw)?;
        arena.clear();
        let mut parser = Parser::new(text, arena);
        let rules = &self.masking.record;
        let read = self.level(&mut parser, &RECORD.root, rules, self.allows_unmapped());
        read.and_then(|()| parser.finish())
            .map_err(|error| not_a_record(text, &error))
    }

    fn allows_unmapped(&self) -> bool {
        self.masking.policies.allow_unmapped()
    }

    fn level(
        &mut self,
        parser: &mut Parser<'_, '_>,
        level: &'static Level,
        rules: &Rules,
        unmapped_lands: bool,
    ) -> Result<(), JsonError> {
        self.masked.push('{');
        let first = self.masked.len();
        let mut next = 0;
        parser.object(|parser, key| {
            let start = self.masked.len();
            if start > first {
                self.masked.push(',');
            }
            self.masked.push_str(key.raw);
            self.masked.push(':');
            let known = key
                .text(parser.arena())
                .and_then(|name| level.find(name, next));
            let lands = match known {
                Some(index) => {
                    next = index + 1;
                    self.member(parser, &level.keys[index], rules)?
                }
                None => {
                    self.masked.push_str(parser.skip()?);
                    unmapped_lands
                }
            };
            if !lands {
                self.masked.truncate(start);
            }
            Ok(UNHASHED)
        })?;
        self.masked.push('}');
        Ok(())
    }

    /// Writes a member's value, if it lands.
    fn member(
        &mut self,
        parser: &mut Parser<'_, '_>,
        key: &'static LevelKey,
        rules: &Rules,
    ) -> Result<bool, JsonError> {
        let (policy, content) = rules[key.slot];
        match (&key.below, parser.peek()) {
            (Below::Members(level), Some(b'{')) => {
                // What is new inside of what is masked is no less of a secret.
                let unmapped_lands = self.allows_unmapped() && policy == Policy::Keep;
                self.level(parser, level, rules, unmapped_lands)?;
                Ok(true)
            }
            (Below::Nodes(list, layout), Some(b'[')) => {
                self.nodes(parser, *list, layout)?;
                Ok(true)
            }
            _ => Ok(self.value(parser.skip()?, policy, content)),
        }
    }

    fn nodes(
        &mut self,
        parser: &mut Parser<'_, '_>,
        list: List,
        layout: &'static Layout,
    ) -> Result<(), JsonError> {
        let rules = self.masking.rules(list);
        self.masked.push('[');
        parser.array(|parser, index| {
            if index > 0 {
                self.masked.push(',');
            }
            if parser.peek() == Some(b'{') {
                self.level(parser, &layout.root, rules, self.allows_unmapped())?;
            } else {
                let raw = parser.skip()?;
                let lands = self.allows_unmapped();
                self.masked.push_str(if lands { raw } else { "null" });
            }
            Ok(UNHASHED)
        })?;
        self.masked.push(']');
        Ok(())
    }

    /// Writes a value as its policy says, if it lands.
    fn value(&mut self, raw: &str, policy: Policy, content: Content) -> bool {
        match policy {
            Policy::Keep => return self.kept(raw, content),
            Policy::Drop => return false,
            // Of a list or an object nothing is left that could be masked.
            Policy::Hash | Policy::StripQuery if !is_scalar(raw) => return false,
            Policy::Hash | Policy::StripQuery => {}
        }
        self.scratch.clear();
        let value = read(raw, &mut self.scratch);
        let text = value.text(&self.scratch);
        let masked = match policy {
            _ if value.kind == Kind::Null || text == Some("") => None,
            Policy::StripQuery => text.and_then(without_query),
            // What is no Unicode has no other bytes than those it came in, and a number neither.
            _ => {
                let exact = value.exact_text(&self.scratch).unwrap_or(raw);
                self.masking.hmac(exact.as_bytes())
            }
        };
        match masked {
            Some(masked) => push_json_string(&mut self.masked, &masked),
            None => self.masked.push_str(raw),
        }
        true
    }

    /// Writes a value that is not masked, if it lands.
    fn kept(&mut self, raw: &str, content: Content) -> bool {
        if self.allows_unmapped() || is_as_documented(raw, content) {
            self.masked.push_str(raw);
            return true;
        }
        let may_land = match content {
            Content::Info => is_known_info,
            Content::Texts => is_scalar,
            _ => return false,
        };
        let Some(elements) = elements(raw) else {
            return false;
        };
        let elements: Vec<&str> = elements.into_iter().filter(|raw| may_land(raw)).collect();
        self.masked.push('[');
        self.masked.push_str(&elements.join(","));
        self.masked.push(']');
        true
    }
}

/// Whether a value is of the documented type: then a column holds it, or `extra` the way it is written.
fn is_as_documented(raw: &str, content: Content) -> bool {
    if raw == "null" {
        return true;
    }
    let mut arena = Arena::default();
    let mut text_is = |is_such: fn(&str) -> bool| read(raw, &mut arena).text(&arena).map(is_such);
    match content {
        Content::Place | Content::Text | Content::Link => is_scalar(raw),
        Content::Time => text_is(|text| parse_time(text).is_some()).unwrap_or(false),
        Content::Plain if raw.starts_with('"') => {
            text_is(|text| text.is_empty() || text.parse::<f64>().is_ok()).unwrap_or(false)
        }
        Content::Plain => is_scalar(raw),
        Content::Texts => elements(raw).is_some_and(|all| all.into_iter().all(is_scalar)),
        Content::Info => elements(raw).is_some_and(|all| all.into_iter().all(is_known_info)),
        Content::Json => !is_scalar(raw),
        Content::Container => false,
    }
}

fn is_scalar(raw: &str) -> bool {
    !raw.starts_with(['[', '{'])
}

/// Whether an element of a `moreInfo` is one that the vendor documents: an object of `key` and `value` alone.
fn is_known_info(raw: &str) -> bool {
    let mut is_known = true;
    let mut arena = Arena::default();
    let object = Parser::new(raw, &mut arena).object(|parser, name| {
        let (value, _) = parser.value()?;
        is_known &= match name.text(parser.arena()) {
            Some("key") => value
                .text(parser.arena())
                .is_some_and(|key| INFO_KEYS.contains(&key)),
            Some("value") => is_scalar(value.raw),
            _ => false,
        };
        Ok(UNHASHED)
    });
    object.is_ok() && is_known
}

/// The elements of an array as they stand; `None` when it is none.
fn elements(raw: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let mut arena = Arena::default();
    let array = Parser::new(raw, &mut arena).array(|parser, _| {
        elements.push(parser.skip()?);
        Ok(UNHASHED)
    });
    array.is_ok().then_some(elements)
}

/// Reads a value that was passed over once.
fn read<'a>(raw: &'a str, arena: &mut Arena) -> Value<'a> {
    let value = Parser::new(raw, arena).value();
    value.map_or(Value::ABSENT, |(value, _)| value)
}

/// A link without the part from `?` on, up to a `#`; `None` when it has no such part.
fn without_query(link: &str) -> Option<String> {
    let (target, rest) = link.split_once('?')?;
    // What looks like a query behind `#` belongs to the place within the page, and may hold as much.
    let place = rest.find('#').map_or("", |at| &rest[at..]);
    Some(match target.split_once('#') {
        Some(_) => target.to_owned(),
        None => format!("{target}{place}"),
    })
}

fn push_json_string(json: &mut String, text: &str) {
    json.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn masking(named: &[(&str, &str)], allow_unmapped: bool) -> Masking {
        let named: BTreeMap<String, Policy> = named
            .iter()
            .map(|(field, policy)| ((*field).to_owned(), policy.parse().unwrap()))
            .collect();
        let policies = Policies::try_new(&named, allow_unmapped).unwrap().unwrap();
        Masking::try_new(policies, Some(KEY)).unwrap()
    }

    /// Masks records that stand in one block; those withheld as their reason and size.
    fn mask(masking: &Masking, records: &[&[u8]]) -> Vec<Result<String, String>> {
        let mut ranges = Vec::new();
        let mut bytes = Vec::new();
        for record in records {
            ranges.push(bytes.len()..bytes.len() + record.len());
            bytes.extend_from_slice(record);
        }
        let MaskedRecords { bytes, records } = masking.mask(&bytes, ranges);
        let text = |range: Range<usize>| String::from_utf8(bytes[range].to_vec()).unwrap();
        records
            .into_iter()
            .map(|record| match record {
                Ok(range) => Ok(text(range)),
                Err(Withheld { reason, bytes }) => Err(format!("{reason}: {bytes}")),
            })
            .collect()
    }

    fn masked(masking: &Masking, record: &str) -> String {
        mask(masking, &[record.as_bytes()]).remove(0).unwrap()
    }

    #[test]
    fn policies_hold_wherever_a_member_stands() {
        let masking = masking(
            &[
                ("query", "hash"),
                ("prompt", "drop"),
                ("completionText", "drop"),
                ("graphAnswer", "drop"),
                ("userId", "hash"),
                ("sourceUrl", "strip_query"),
            ],
            false,
        );
        // Worked out with another HMAC-SHA-256, of Python.
        let why = "b0e90b99e6e35a2f35916275e978b9fe6db549eece141d6cb66d0c8a921c9d14";
        let user = "8728cad5b6657e664bb4312bffb6db8bab6e54d94fde7c464ce200eb39dbabbf";
        let record = r#"{ "_id": "a", "query": "w\u0068y?", "userId": "u-1", "accountId": "u-1", "graphAnswer": "so",
            "query": "", "secret": {"query": "why?"},
            "answerDebug": [ {"query": "why?", "prompt": "why?", "llmResponse": {"responseDetails": {"completionText": {"answer": "so", "chunkIds": ["chk-1"]}, "more": "so"}},
              "extractiveChunks": [ {"sourceUrl": "https://h/m?n=1&s=2", "recordUrl": "https://h/m?n=1&s=2#page=3", "chunkText": "t"} ] },
              {"prompt": {"promptText": "why?", "moreInfo": []}, "llmResponse": {"responseDetails": {"completionText": "so"}}} ] }"#;
        assert_eq!(
            masked(&masking, record),
            format!(
                "{{\"_id\":\"a\",\"query\":\"{why}\",\"userId\":\"{user}\",\"accountId\":\"{user}\",\"query\":\"\",\
                 \"answerDebug\":[{{\"query\":\"{why}\",\"llmResponse\":{{\"responseDetails\":{{\"completionText\":\
                 {{\"chunkIds\":[\"chk-1\"]}}}}}},\"extractiveChunks\":[{{\"sourceUrl\":\"https://h/m\",\
                 \"recordUrl\":\"https://h/m#page=3\",\"chunkText\":\"t\"}}]}},\
                 {{\"prompt\":{{\"moreInfo\":[]}},\"llmResponse\":{{\"responseDetails\":{{}}}}}}]}}"
            )
        );
    }

    #[test]
    fn what_no_column_maps_is_left_out_unless_it_is_allowed() {
        let record = r#"{"language":{"hush":1},"isDev":"hush","lMod":"hush","new":"hush","comments":{"tags":["t",["hush"]],"text":"hush"},"selectedFacets":[{"a":1}],"score":1,"userId":["hush"],"clientInfo":7,"answerDebug":["hush",{"generativeChunks":[{"score":"0.5","chunkFrequency":"hush","moreInfo":[{"key":"Chunk Title","value":"T"},{"key":"hush","value":1},{"key":"Model","value":["hush"]}],"additionalInfo":"hush"}],"prompt":[{"content":"hush"}]}]}"#;
        let strict = masking(&[("userId", "hash")], false);
        assert_eq!(
            masked(&strict, record),
            r#"{"comments":{"tags":["t"]},"selectedFacets":[{"a":1}],"clientInfo":7,"answerDebug":[null,{"generativeChunks":[{"score":"0.5","moreInfo":[{"key":"Chunk Title","value":"T"}]}]}]}"#
        );
        let lenient = masking(&[("userId", "hash")], true);
        assert_eq!(
            masked(&lenient, record),
            record.replace(r#""userId":["hush"],"#, "")
        );
    }

    #[test]
    fn what_is_new_inside_of_what_is_masked_is_left_out_in_any_case() {
        let named = [("prompt", "hash"), ("recordUrl", "strip_query")];
        let record = r#"{"answerDebug":[{"prompt":{"promptText":[{"content":"hush"}],"text":"hush"},"more":{"prompt":"seen"},"generativeChunks":[{"recordUrl":["https://h/?hush"]}]}]}"#;
        assert_eq!(
            masked(&masking(&named, true), record),
            r#"{"answerDebug":[{"prompt":{},"more":{"prompt":"seen"},"generativeChunks":[{}]}]}"#
        );
    }

    #[test]
    fn what_cannot_be_masked_is_withheld_and_its_neighbours_are_not() {
        let masking = masking(&[("userId", "drop")], true);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let records: [&[u8]; 7] = [
            b"{\"userId\":\"hush\",\"a\":1}",
            b"{\"userId\":\"hush\",NaN}",
            b"\"hush\"",
            b"{\"userId\":\"hush\xFF\"}",
            deep.as_bytes(),
            b"",
            b"{}",
        ];
        assert_eq!(
            mask(&masking, &records),
            [
                Ok("{\"a\":1}".to_owned()),
                Err("expected a key in quotes at byte 17 of the record: 21".to_owned()),
                Err("expected an object: 6".to_owned()),
                Err("expected UTF-8, got other bytes at byte 15 of the record: 18".to_owned()),
                Err("expected at most 128 levels of arrays and objects at byte 133 of the record: 406".to_owned()),
                Err("expected a record at byte 0 of the record: 0".to_owned()),
                Ok("{}".to_owned()),
            ]
        );
    }

    #[test]
    fn equal_texts_have_equal_hashes_and_other_keys_give_others() {
        let one = masking(&[("userId", "hash"), ("sessionId", "hash")], false);
        let text = masked(
            &one,
            r#"{"userId":"\u00fc-7","accountId":"ü-7","sessionId":"","clientInfo":null}"#,
        );
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["userId"], record["accountId"]);
        assert_eq!(record["userId"].as_str().unwrap().len(), 64);
        assert_eq!(record["sessionId"], "");
        assert_eq!(
            masked(&one, r#"{"userId":7}"#),
            masked(&one, r#"{"userId":"7"}"#)
        );
        assert_ne!(
            masked(&one, r#"{"userId":"\ud800"}"#),
            masked(&one, r#"{"userId":"\ud801"}"#)
        );
        let other_key = b"0123456789abcdef0123456789abcdeF";
        let other = Masking::try_new(one.policies().clone(), Some(other_key)).unwrap();
        assert_ne!(
            masked(&other, r#"{"userId":"7"}"#),
            masked(&one, r#"{"userId":"7"}"#)
        );
        assert_ne!(other.key_check(), one.key_check());
        assert_ne!(other.mark(), one.mark());
        assert_ne!(masking(&[("userId", "hash")], false).mark(), one.mark());
        assert_eq!(one.mark().len(), 16);
        assert_eq!(one.key_check().unwrap().len(), 16);
        assert!(!format!("{one:?}").contains("0123"), "{one:?}");
    }

    #[test]
    fn a_key_is_asked_for_where_it_is_needed() {
        let with = |policy, key| {
            let named = BTreeMap::from([("userId".to_owned(), policy)]);
            let policies = Policies::try_new(&named, false).unwrap().unwrap();
            Masking::try_new(policies, key).map(|masking| masking.key_check())
        };
        assert_eq!(with(Policy::Drop, None), Ok(None));
        assert_eq!(with(Policy::Drop, Some(KEY)), Ok(None));
        assert_eq!(with(Policy::Hash, None), Err(PolicyError::NoKey));
        assert_eq!(
            with(Policy::Hash, Some(b"short")).unwrap_err().to_string(),
            "expected a key of at least 32 bytes, got 5 bytes"
        );
    }

    #[test]
    fn queries_of_links_are_cut_out() {
        let cut = |link| without_query(link).unwrap_or_else(|| "as it was".to_owned());
        assert_eq!(cut("https://h/p?a=1"), "https://h/p");
        assert_eq!(cut("https://h/p?a=1#page=3"), "https://h/p#page=3");
        assert_eq!(cut("/p?a=1?b#x?y"), "/p#x?y");
        assert_eq!(cut("https://h/p#x?token=1"), "https://h/p#x");
        assert_eq!(cut("https://h/p#x"), "as it was");
    }

    proptest! {
        /// Whatever the record is: it is JSON still, the policies see to nothing but their members, and masking again
        /// what was masked by dropping changes nothing.
        #[test]
        fn any_record_stays_a_record(members in prop::collection::vec(("(query|userId|comments|answerDebug|isDev|x)", any_json()), 0..6)) {
            let text: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
            let text = format!("{{{}}}", text.join(" , "));
            let lenient = masking(&[("userId", "drop")], true);
            let kept: Vec<String> = members.iter().filter(|(key, _)| key != "userId").map(|(key, value)| format!("\"{key}\": {value}")).collect();
            let kept = format!("{{{}}}", kept.join(" , "));
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let once = masked(&lenient, &text);
            if !text.contains("accountId") {
                prop_assert_eq!(read(&once), read(&kept));
            }
            let strict = masking(&[("userId", "drop")], false);
            let once = masked(&strict, &text);
            prop_assert_eq!(masked(&strict, &once), once);
        }
    }

    /// JSON as it may stand in a record.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|list| format!("[{}]", list.join(", "))),
                prop::collection::vec(("(prompt|query|generativeChunks|tags|y)", inner), 0..4)
                    .prop_map(|members| {
                        let members: Vec<String> = members
                            .iter()
                            .map(|(key, value)| format!("\"{key}\":{value}"))
                            .collect();
                        format!("{{{}}}", members.join(","))
                    }),
            ]
        })
    }
}
