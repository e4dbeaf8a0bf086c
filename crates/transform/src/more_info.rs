//! The lists of keys and values that the vendor calls `moreInfo`.

use crate::column::integer;
use crate::json::{Arena, Kind, Parser, Value, compact};

/// The `moreInfo` of a chunk.
pub(crate) struct ChunkInfo<'a> {
    pub(crate) title: Option<Value<'a>>,
    pub(crate) page_number: Option<i64>,
    /// Whether title and page number, in this order, are all of it.
    pub(crate) is_all: bool,
}

impl<'a> ChunkInfo<'a> {
    pub(crate) fn read(more_info: &Value<'a>, arena: &mut Arena) -> Self {
        let mut info = Self {
            title: None,
            page_number: None,
            is_all: more_info.kind == Kind::Array,
        };
        for_each_entry(more_info, arena, |entry, arena| {
            let value = entry
                .as_ref()
                .ok()
                .and_then(|entry| Some((entry.key.text(arena)?, entry.value)));
            match value {
                Some(("Chunk Title", title))
                    if info.title.is_none() && title.text(arena).is_some() =>
                {
                    info.is_all &= info.page_number.is_none() && title.exact_text(arena).is_some();
                    info.title = Some(title);
                }
                Some(("Page Number", page))
                    if info.page_number.is_none() && integer(&page).is_some() =>
                {
                    info.page_number = integer(&page);
                }
                _ => info.is_all = false,
            }
        });
        info
    }
}

/// A `moreInfo` of which one entry has a column of its own.
pub(crate) struct MoreInfo<'a> {
    pub(crate) known: Option<Value<'a>>,
    /// Whether that entry stands first, which is where it is put back.
    pub(crate) is_known_first: bool,
    /// The other entries, as a JSON array.
    pub(crate) others: Option<String>,
}

impl<'a> MoreInfo<'a> {
    pub(crate) fn read(more_info: &Value<'a>, known_key: &str, arena: &mut Arena) -> Self {
        let mut info = Self {
            known: None,
            is_known_first: false,
            others: None,
        };
        let mut index = 0;
        for_each_entry(more_info, arena, |entry, arena| {
            match entry {
                Ok(entry) if info.known.is_none() && entry.key.text(arena) == Some(known_key) => {
                    info.known = Some(entry.value);
                    info.is_known_first = index == 0;
                }
                Ok(Entry { raw, .. }) | Err(raw) => {
                    let others = info.others.get_or_insert_with(String::new);
                    others.push(if others.is_empty() { '[' } else { ',' });
                    others.push_str(&compact(raw));
                }
            }
            index += 1;
        });
        if let Some(others) = &mut info.others {
            others.push(']');
        }
        info
    }
}

/// An element of a `moreInfo`: an object of exactly `key`, a string, and `value`.
struct Entry<'a> {
    key: Value<'a>,
    value: Value<'a>,
    raw: &'a str,
}

/// Calls `visit` for each element of a `moreInfo`, with the raw text of those that are shaped otherwise.
fn for_each_entry<'a>(
    more_info: &Value<'a>,
    arena: &mut Arena,
    mut visit: impl FnMut(Result<Entry<'a>, &'a str>, &Arena),
) {
    if more_info.kind != Kind::Array {
        return;
    }
    let read = Parser::new(more_info.raw, arena).array(|parser, _| {
        if parser.peek() != Some(b'{') {
            let (value, hash) = parser.value()?;
            visit(Err(value.raw), parser.arena());
            return Ok(hash);
        }
        let (mut key, mut value, mut members) = (Value::ABSENT, Value::ABSENT, 0);
        let (object, hash) = parser.object(|parser, name| {
            members += 1;
            let (content, hash) = parser.value()?;
            match name.text(parser.arena()) {
                Some("key") => key = content,
                Some("value") => value = content,
                _ => {}
            }
            Ok(hash)
        })?;
        let is_entry =
            members == 2 && key.exact_text(parser.arena()).is_some() && !value.is_absent();
        visit(
            if is_entry {
                Ok(Entry {
                    key,
                    value,
                    raw: object.raw,
                })
            } else {
                Err(object.raw)
            },
            parser.arena(),
        );
        Ok(hash)
    });
    debug_assert!(read.is_ok(), "the text was read once before");
}
