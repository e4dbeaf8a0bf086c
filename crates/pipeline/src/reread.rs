//! Records too large to be held in memory, read from their fragment once more.

use std::io::{Error, Read, Result, copy, sink};

use answerlake_transform::frame::OversizedRecord;

use crate::bridge::{Fragment, open};

/// Reads them. Those of one fragment, asked for in their order, are met on one way through it.
#[derive(Default)]
pub(crate) struct Reread {
    open: Option<OpenFragment>,
}

struct OpenFragment {
    number: u32,
    bytes: Box<dyn Read>,
    /// How far it has been read.
    at: u64,
}

impl Reread {
    /// Hands the bytes of `record` to `read`, which reads them all.
    pub(crate) fn record(
        &mut self,
        fragment: &Fragment,
        record: &OversizedRecord,
        read: impl FnOnce(&mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let is_ahead = |open: &OpenFragment| open.number == fragment.number && open.at <= record.at;
        let mut open = match self.open.take().filter(is_ahead) {
            Some(open) => open,
            None => OpenFragment {
                number: fragment.number,
                bytes: open(&fragment.path, None)?,
                at: 0,
            },
        };
        let before = record.at - open.at;
        let skipped = copy(&mut (&mut open.bytes).take(before), &mut sink())?;
        let mut bytes = (&mut open.bytes).take(record.bytes);
        read(&mut bytes)?;
        if skipped < before || bytes.limit() > 0 {
            let reason = format!("{} is not as it was before", fragment.origin);
            return Err(Error::other(reason));
        }
        open.at = record.at + record.bytes;
        self.open = Some(open);
        Ok(())
    }
}
