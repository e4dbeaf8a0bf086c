//! Which chunks a completion cites.

use crate::json::{Arena, Kind, Parser, Value};
use crate::record::{CHUNK_SLOTS, List, Record};

/// What a completion cites.
pub(crate) struct CitedPositions {
    /// The N of each `chk-N`.
    pub(crate) positions: Vec<i32>,
    /// Whether the list holds nothing else.
    pub(crate) is_all: bool,
}

impl CitedPositions {
    /// Reads a list of labels `chk-1`, `chk-2`, …; `None` when there is none.
    pub(crate) fn read(chunk_ids: &Value<'_>) -> Option<Self> {
        if chunk_ids.kind != Kind::Array {
            return None;
        }
        let mut cited = Self {
            positions: Vec::new(),
            is_all: true,
        };
        let mut arena = Arena::default();
        let read = Parser::new(chunk_ids.raw, &mut arena).array(|parser, _| {
            let (label, hash) = parser.value()?;
            match label.exact_text(parser.arena()).and_then(position_of_label) {
                Some(position) => cited.positions.push(position),
                None => cited.is_all = false,
            }
            Ok(hash)
        });
        read.is_ok().then_some(cited)
    }
}

fn position_of_label(label: &str) -> Option<i32> {
    let position: i32 = label.strip_prefix("chk-")?.parse().ok()?;
    (position > 0 && label == format!("chk-{position}")).then_some(position)
}

/// Whether the labels are known to count the elements of the array of chunks.
///
/// A label counts the chunks sent to the model. Only while those are the array's first ones is it known to count the
/// array's elements as well.
pub(crate) fn labels_are_positions(record: &Record<'_>, answer: usize) -> bool {
    let sent_at = CHUNK_SLOTS.sent_to_llm;
    let sent = record
        .elements(answer, List::GenerativeChunks)
        .filter(|chunk| record.slots(*chunk)[sent_at].kind == Kind::Bool(true))
        .filter_map(|chunk| record.nodes[chunk].place);
    sent.enumerate().all(|(count, (_, index))| count == index)
}
