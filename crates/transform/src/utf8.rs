//! UTF-8 that comes in pieces, cut anywhere.

/// Checks whether pieces, one after the other, are UTF-8.
#[derive(Debug, Default)]
pub(crate) struct Utf8Check {
    /// A character that the last piece began.
    begun: Vec<u8>,
    is_broken: bool,
}

impl Utf8Check {
    pub(crate) fn add(&mut self, mut piece: &[u8]) {
        while !self.begun.is_empty()
            && let Some((byte, rest)) = piece.split_first()
        {
            self.begun.push(*byte);
            piece = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return self.break_off(),
                Err(_) => {}
            }
        }
        if self.is_broken {
            return;
        }
        match std::str::from_utf8(piece) {
            Ok(_) => {}
            Err(error) if error.error_len().is_some() => self.break_off(),
            Err(error) => self.begun.extend(&piece[error.valid_up_to()..]),
        }
    }

    /// Whether all of it was UTF-8.
    pub(crate) fn finish(self) -> bool {
        !self.is_broken && self.begun.is_empty()
    }

    fn break_off(&mut self) {
        self.is_broken = true;
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_utf8_just_if_the_whole_is(
            text in any::<String>(), broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(1_usize..6, 1..40)
        ) {
            let mut bytes = text.into_bytes();
            if let (Some((at, byte)), false) = (broken, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut check = Utf8Check::default();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                check.add(piece);
                rest = after;
            }
            prop_assert_eq!(check.finish(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
