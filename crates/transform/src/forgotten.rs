//! Which records are forgotten: those of a person or of a query that somebody had removed from the lake.
//!
//! The lake keeps none of their ids, but a keyed hash of each: HMAC-SHA-256 under a key of the lake, the first half of
//! it. That is enough to know a record that comes again. A record is forgotten where
//!
//! - its `userId` or `accountId` is that of a forgotten person (the vendor may write the one id in both), or
//! - its `searchRequestId` or `_id` is that of a forgotten query.
//!
//! Feedback names its query and no person. So of each record that is forgotten for its person, the query is forgotten
//! too, and with it what is said of it elsewhere: it is handed out as *learned*.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem;
use sha2::Sha256;

use crate::json::{Arena, Kind, Parser, UNHASHED, Value};
use crate::record::{RECORD_SLOTS, Record};

/// What an id is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdKind {
    /// A person.
    User,
    /// A query.
    Query,
}

impl IdKind {
    /// The members of a record that hold such an id.
    pub fn members(self) -> [&'static str; 2] {
        match self {
            Self::User => ["userId", "accountId"],
            Self::Query => ["searchRequestId", "_id"],
        }
    }
}

/// The keyed hash of an id: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(u128);

impl fmt::Display for IdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for IdHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hash = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = u128::from_str_radix(text, 16).ok().filter(|_| is_hash);
        hash.map(Self).ok_or("expected 32 hexadecimal digits")
    }
}

/// The ids that are forgotten, hashed, and the key that they are hashed under.
#[derive(Clone)]
pub struct Forgotten {
    key: Hmac<Sha256>,
    users: HashSet<IdHash>,
    queries: HashSet<IdHash>,
}

/// Shows how many there are; never the key.
impl fmt::Debug for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgotten")
            .field("users", &self.users.len())
            .field("queries", &self.queries.len())
            .finish_non_exhaustive()
    }
}

/// What a record is forgotten for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Its query, where that is not known as forgotten yet.
    pub learned: Option<IdHash>,
}

impl Forgotten {
    /// Nothing is forgotten yet.
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"),
            users: HashSet::new(),
            queries: HashSet::new(),
        }
    }

    /// The hash of an id as a record holds it.
    pub fn hash(&self, kind: IdKind, id: &str) -> IdHash {
        let mut mac = self.key.clone();
        mac.update(match kind {
            IdKind::User => b"user\0",
            IdKind::Query => b"query\0",
        });
        mac.update(id.as_bytes());
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let (half, _) = whole.split_at(16);
        IdHash(u128::from_be_bytes(
            half.try_into().expect("a half of 32 bytes has 16"),
        ))
    }

    /// Adds an id; says whether it is new.
    pub fn insert(&mut self, kind: IdKind, id: IdHash) -> bool {
        match kind {
            IdKind::User => self.users.insert(id),
            IdKind::Query => self.queries.insert(id),
        }
    }

    /// Whether an id, as a record holds it, is forgotten.
    pub fn contains(&self, kind: IdKind, id: &str) -> bool {
        let ids = match kind {
            IdKind::User => &self.users,
            IdKind::Query => &self.queries,
        };
        !id.is_empty() && !ids.is_empty() && ids.contains(&self.hash(kind, id))
    }

    /// Whether nothing is forgotten.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.queries.is_empty()
    }

    /// Whether a person is forgotten, and not only queries.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Judges the bytes of a record: one that can be read by its members, any other by whatever looks like a member
    /// with such an id. `None` where it is not forgotten.
    pub fn judge_bytes(&self, raw: &[u8]) -> Option<Verdict> {
        let mut arena = Arena::default();
        let mut record = Record::default();
        match std::str::from_utf8(raw) {
            Ok(text) if record.parse(text, &mut arena).is_ok() => self.judge(&record, &arena),
            _ => {
                let mut scan = IdScan::new(self);
                scan.feed(raw);
                scan.verdict()
            }
        }
    }

    /// Judges a record that was read.
    pub(crate) fn judge(&self, record: &Record<'_>, arena: &Arena) -> Option<Verdict> {
        let at = &*RECORD_SLOTS;
        let slots = record.slots(0);
        let id = |slot: usize| id_of(&slots[slot], arena);
        let queries = [id(at.search_request_id), id(at.id)];
        // A member that stands there twice has only one slot.
        let is_ambiguous = record
            .verbatim_of(0)
            .iter()
            .any(|object| object.pointer.is_empty());
        if is_ambiguous {
            return self.judge_members(record.nodes[0].raw, queries);
        }
        let users = [id(at.user_id), id(at.account_id)];
        let is_of = |kind, ids: [Option<&str>; 2]| {
            let mut ids = ids.into_iter().flatten();
            ids.any(|id| self.contains(kind, id))
        };
        self.verdict(
            is_of(IdKind::User, users),
            is_of(IdKind::Query, queries),
            queries,
        )
    }

    /// Judges an object by all of its members, those of one name too.
    fn judge_members(&self, object: &str, queries: [Option<&str>; 2]) -> Option<Verdict> {
        let (mut is_of_user, mut is_of_query) = (false, false);
        let mut arena = Arena::default();
        let read = Parser::new(object, &mut arena).object(|parser, key| {
            let (value, _) = parser.value()?;
            let name = key.text(parser.arena()).unwrap_or_default();
            let id = id_of(&value, parser.arena());
            for kind in [IdKind::User, IdKind::Query] {
                let is_of_kind =
                    kind.members().contains(&name) && id.is_some_and(|id| self.contains(kind, id));
                match kind {
                    IdKind::User => is_of_user |= is_of_kind,
                    IdKind::Query => is_of_query |= is_of_kind,
                }
            }
            Ok(UNHASHED)
        });
        debug_assert!(read.is_ok(), "it was read before");
        self.verdict(is_of_user, is_of_query, queries)
    }

    fn verdict(
        &self,
        is_of_user: bool,
        is_of_query: bool,
        queries: [Option<&str>; 2],
    ) -> Option<Verdict> {
        let own = queries.into_iter().flatten().next().filter(|_| is_of_user);
        let own = own.map(|id| self.hash(IdKind::Query, id));
        (is_of_user || is_of_query).then_some(Verdict {
            learned: own.filter(|query| !self.queries.contains(query)),
        })
    }
}

/// An id as it is hashed: the text of a string, or a number as it is written.
fn id_of<'v>(value: &'v Value<'_>, arena: &'v Arena) -> Option<&'v str> {
    match value.kind {
        Kind::Number => Some(value.raw),
        _ => value.text(arena),
    }
    .filter(|id| !id.is_empty())
}

/// Looks for ids in bytes that may be no JSON, or more than is held in memory, a piece at a time: `"userId"`, a colon,
/// and a string or a number behind it, at any depth.
#[derive(Debug)]
pub struct IdScan<'f> {
    forgotten: &'f Forgotten,
    /// The end of what was fed, where a member may begin.
    tail: Vec<u8>,
    is_of_user: bool,
    is_of_query: bool,
    queries: BTreeSet<IdHash>,
}

/// A member is no longer than this: its name, white space, and an id.
const MAX_MEMBER_BYTES: usize = 16 << 10;

impl<'f> IdScan<'f> {
    /// Begins.
    pub fn new(forgotten: &'f Forgotten) -> Self {
        Self {
            forgotten,
            tail: Vec::new(),
            is_of_user: false,
            is_of_query: false,
            queries: BTreeSet::new(),
        }
    }

    /// Looks through the bytes that come next.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut text = std::mem::take(&mut self.tail);
        text.extend_from_slice(bytes);
        for kind in [IdKind::User, IdKind::Query] {
            for name in kind.members() {
                let quoted = format!("\"{name}\"");
                for at in memmem::find_iter(&text, quoted.as_bytes()) {
                    if let Some(id) = id_behind(&text[at + quoted.len()..]) {
                        self.meet(kind, name, &id);
                    }
                }
            }
        }
        text.drain(..text.len().saturating_sub(MAX_MEMBER_BYTES));
        self.tail = text;
    }

    fn meet(&mut self, kind: IdKind, name: &str, id: &str) {
        let is_forgotten = self.forgotten.contains(kind, id);
        match kind {
            IdKind::User => self.is_of_user |= is_forgotten,
            IdKind::Query => self.is_of_query |= is_forgotten,
        }
        if name == IdKind::Query.members()[0] {
            let query = self.forgotten.hash(IdKind::Query, id);
            if !self.forgotten.queries.contains(&query) {
                self.queries.insert(query);
            }
        }
    }

    /// What was met, once all was fed. Of several queries, none is told to be the one that is forgotten.
    pub fn verdict(mut self) -> Option<Verdict> {
        // A number at the very end goes on no more.
        self.feed(b" ");
        let only = match self.queries.len() {
            1 => self.queries.first().copied(),
            _ => None,
        };
        (self.is_of_user || self.is_of_query).then_some(Verdict {
            learned: only.filter(|_| self.is_of_user),
        })
    }
}

/// The string or number that stands behind a member's name.
fn id_behind(text: &[u8]) -> Option<String> {
    let text = text
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    let text = &text[..text.len().min(MAX_MEMBER_BYTES)];
    let Some(rest) = text.strip_prefix(b"\"") else {
        let digits = text
            .iter()
            .take_while(|byte| b"+-.eE0123456789".contains(byte));
        let (number, rest) = text.split_at(digits.count());
        // One that ends with the piece may go on in the next.
        let is_whole = !number.is_empty() && !rest.is_empty();
        return is_whole.then(|| String::from_utf8_lossy(number).into_owned());
    };
    let mut at = 0;
    loop {
        match rest.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    let literal = text.get(..at + 2)?;
    serde_json::from_slice(literal)
        .ok()
        .or_else(|| Some(String::from_utf8_lossy(&rest[..at]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgotten() -> Forgotten {
        let mut forgotten = Forgotten::new(b"0123456789abcdef0123456789abcdef");
        let (user, number) = (
            forgotten.hash(IdKind::User, "u-1"),
            forgotten.hash(IdKind::User, "7"),
        );
        let query = forgotten.hash(IdKind::Query, "q-1");
        assert!(forgotten.insert(IdKind::User, user) && forgotten.insert(IdKind::User, number));
        assert!(forgotten.insert(IdKind::Query, query) && !forgotten.insert(IdKind::Query, query));
        forgotten
    }

    #[test]
    fn records_are_told_by_their_ids_and_queries_are_learned() {
        let forgotten = forgotten();
        let learned = |id| {
            Some(Verdict {
                learned: Some(forgotten.hash(IdKind::Query, id)),
            })
        };
        let known = Some(Verdict { learned: None });
        for (record, expected) in [
            (r#"{"_id":"a","userId":"u-1"}"#, learned("a")),
            (
                r#"{"_id":"a","accountId":"\u0075-1","searchRequestId":"s"}"#,
                learned("s"),
            ),
            (r#"{"_id":"a","userId":7}"#, learned("a")),
            (
                r#"{"_id":"a","user\u0049d":"u-1","userId":"u-2","searchRequestId":"s"}"#,
                learned("s"),
            ),
            (
                r#"{"_id":"a","userId":"u-1","userId":"u-2","searchRequestId":"s"}"#,
                learned("s"),
            ),
            (r#"{"_id":"q-1"}"#, known),
            (
                r#"{"_id":"a","searchRequestId":"q-1","userId":"u-1"}"#,
                known,
            ),
            (r#"{"_id":"u-1","userId":"q-1","sessionId":"u-1"}"#, None),
            (
                r#"{"_id":"a","userId":"","accountId":null,"text":"\"userId\":\"u-1\""}"#,
                None,
            ),
            // What cannot be read is looked through.
            (
                r#"{"_id":"a","userId" : "u-1","searchRequestId":"s",NaN}"#,
                learned("s"),
            ),
            (
                r#"{"userId":"u-1","a":{"searchRequestId":"s"},"searchRequestId":"t",}"#,
                known,
            ),
            (r#"{"x":NaN,"deep":[{"_id":"q-1"}]}"#, known),
            (r#"{"x":NaN,"userId":7.0}"#, None),
            (r#"{"x":NaN,"userId":"u-1"#, None),
        ] {
            assert_eq!(
                forgotten.judge_bytes(record.as_bytes()),
                expected,
                "{record}"
            );
        }
        let torn = b"{\"userId\":\"u-1\",\"a\":\"\xFF\"}";
        assert_eq!(forgotten.judge_bytes(torn), known);
        assert!(!Forgotten::new(b"k").contains(IdKind::User, "u-1"));
    }

    #[test]
    fn a_number_that_goes_on_in_the_next_piece_is_another() {
        let forgotten = forgotten();
        let verdict = |pieces: &[&str]| {
            let mut scan = IdScan::new(&forgotten);
            for piece in pieces {
                scan.feed(piece.as_bytes());
            }
            scan.verdict()
        };
        assert_eq!(verdict(&[r#"{"userId":7"#, "12,NaN}"]), None);
        assert!(verdict(&[r#"{"userId":"#, "7", ",NaN}"]).is_some());
        assert!(verdict(&[r#"{"x":NaN,"userId":7"#]).is_some());
    }

    #[test]
    fn an_id_is_found_wherever_a_piece_ends() {
        let forgotten = forgotten();
        let text = format!("{{\"a\":\"{}\",\"userId\": \"u-1\" ,NaN}}", "x".repeat(100));
        for at in 0..text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            let mut scan = IdScan::new(&forgotten);
            scan.feed(one);
            scan.feed(other);
            assert!(scan.verdict().is_some(), "{at}");
        }
    }

    #[test]
    fn a_hash_is_keyed_told_apart_by_kind_and_reads_back() {
        let (one, other) = (Forgotten::new(b"one"), Forgotten::new(b"other"));
        let hash = one.hash(IdKind::User, "a");
        assert_ne!(hash, other.hash(IdKind::User, "a"));
        assert_ne!(hash, one.hash(IdKind::Query, "a"));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in ["", "+0000000000000000000000000000000", "00"] {
            assert!(bad.parse::<IdHash>().is_err(), "{bad}");
        }
        assert_eq!(format!("{one:?}"), "Forgotten { users: 0, queries: 0, .. }");
    }
}
