//! Hashes of JSON by value: of a record, and of the set of records that a partition holds.
//!
//! Two texts that mean the same value hash alike, whatever their white space, the order of their members, their
//! escapes or the way they write a number; so a pretty-printed export, or records restored from the lake, have the
//! digest of the first one. XXH3 with 128 bits tells values apart that are not chosen to collide; the digest over a
//! partition is SHA-256, and goes into its manifest.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

/// The hash of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub u128);

// One constant a kind of value keeps the string "1" apart from the number 1. Any distinct values do.
const TEXT: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C834;
const NUMBER: u128 = 0xD1B5_4A32_D192_ED03_AEF1_7502_108E_F2D9;
const LITERAL: u128 = 0x8CB9_2BA7_2F3D_8DD7_1082_276B_F3A2_7251;
const ARRAY: u128 = 0xABC9_8388_FB8F_AC03_1459_26CE_55DD_F8A1;
const OBJECT: u128 = 0x62A9_D9ED_7997_05F5_CB24_D0A5_C88C_35B3;

pub(crate) fn hash_text(content: &[u8]) -> Hash {
    Hash(xxh3_128(content) ^ TEXT)
}

pub(crate) fn hash_literal(word: &str) -> Hash {
    Hash(xxh3_128(word.as_bytes()) ^ LITERAL)
}

/// Hashes a number by what it is worth, to the last digit: `1`, `1.0` and `10e-1` are one number.
pub(crate) fn hash_number(text: &str) -> Hash {
    Hash(
        match Decimal::canonical_integer(text) {
            Some(text) => xxh3_128(text.as_bytes()),
            None => xxh3_128(Decimal::parse(text).to_string().as_bytes()),
        } ^ NUMBER,
    )
}

/// Hashes an object as the multiset of its members.
pub(crate) struct ObjectHash {
    members: u128,
    count: u128,
}

impl ObjectHash {
    pub(crate) fn new() -> Self {
        Self {
            members: 0,
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, key: Hash, value: Hash) {
        // A sum, so that the order does not matter; each member is mixed well before it is added.
        self.members = self.members.wrapping_add(pair(key.0, value.0));
        self.count += 1;
    }

    pub(crate) fn finish(self) -> Hash {
        Hash(pair(self.members, self.count) ^ OBJECT)
    }
}

/// Hashes an array as the sequence of its elements.
pub(crate) struct ArrayHash(u128);

impl ArrayHash {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn add(&mut self, element: Hash) {
        self.0 = pair(self.0, element.0);
    }

    pub(crate) fn finish(self) -> Hash {
        Hash(self.0 ^ ARRAY)
    }
}

fn pair(a: u128, b: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&a.to_le_bytes());
    bytes[16..].copy_from_slice(&b.to_le_bytes());
    xxh3_128(&bytes)
}

/// The digest of a set of records: `v1-` and 64 hexadecimal digits of SHA-256 over their sorted hashes.
pub fn content_digest(records: impl IntoIterator<Item = Hash>) -> String {
    let mut hashes: Vec<Hash> = records.into_iter().collect();
    hashes.sort_unstable();
    let mut digest = ContentDigest::new();
    for hash in hashes {
        digest.add(hash);
    }
    digest.finish()
}

/// Makes a [`content_digest`] of hashes that come sorted, so that none need be held.
#[derive(Debug, Default)]
pub struct ContentDigest(Sha256);

impl ContentDigest {
    /// The digest of no records, so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record, whose hash is not below those before.
    pub fn add(&mut self, record: Hash) {
        self.0.update(record.0.to_be_bytes());
    }

    /// Ends it.
    pub fn finish(self) -> String {
        let hex: String = self
            .0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("v1-{hex}")
    }
}

/// A JSON number as digits and a power of ten: exact, of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Without leading and trailing zeros; empty for zero.
    digits: String,
    /// The value is `0.digits` times ten to this power, where the exponent itself fits; text that no machine
    /// would compute with (`1e99999999999999999999`) saturates, and then keeps its own spelling apart.
    exponent: i64,
    overflow: Option<String>,
}

impl Decimal {
    /// The text itself where it is an integer without sign of zero, fraction or exponent, as nearly all are.
    fn canonical_integer(text: &str) -> Option<&str> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let canonical =
            digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit()) && text != "-0";
        canonical.then_some(text)
    }

    /// Reads a number that is known to follow JSON's grammar.
    pub(crate) fn parse(text: &str) -> Self {
        let (negative, text) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let leading = all.len() - all.trim_start_matches('0').len();
        let digits = all.trim_matches('0').to_owned();
        if digits.is_empty() {
            return Self {
                negative: false,
                digits,
                exponent: 0,
                overflow: None,
            };
        }
        let place = whole.len() as i64 - leading as i64;
        // Far beyond any number that a machine computes with, and far from the bounds of the arithmetic here.
        const MAX_POWER: u64 = 1 << 40;
        let small_power = power
            .parse::<i64>()
            .ok()
            .filter(|power| power.unsigned_abs() <= MAX_POWER);
        let exponent = small_power.map(|power| power + place);
        let overflow = exponent.is_none().then(|| format!("{power}+{place}"));
        Self {
            negative,
            digits,
            exponent: exponent.unwrap_or(i64::MAX),
            overflow,
        }
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if let Some(overflow) = &self.overflow {
            return write!(f, "{sign}0.{}e{overflow}", self.digits);
        }
        // An integer of up to 18 digits is written as `canonical_integer` leaves it, so that both hash alike.
        let digits = self.digits.len() as i64;
        if (digits..=18).contains(&self.exponent) {
            let zeros = usize::try_from(self.exponent - digits).unwrap_or(0);
            return write!(f, "{sign}{}{}", self.digits, "0".repeat(zeros));
        }
        write!(f, "{sign}0.{}e{}", self.digits, self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_digest_is_of_a_set() {
        let hashes = [Hash(3), Hash(1), Hash(2)];
        assert_eq!(
            content_digest(hashes),
            content_digest([Hash(1), Hash(2), Hash(3)])
        );
        assert_ne!(content_digest(hashes), content_digest([Hash(1), Hash(2)]));
        assert_eq!(
            content_digest([]),
            "v1-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn numbers_are_told_apart_to_the_last_digit() {
        for (a, b) in [
            ("0.1", "0.10000000000000000001"),
            ("123456789012345678901", "123456789012345678902"),
            ("1e999999999999999999999", "1e999999999999999999998"),
        ] {
            assert_ne!(hash_number(a), hash_number(b), "{a} {b}");
        }
        for extreme in [
            "0.1e-9223372036854775808",
            "0.12e9223372036854775807",
            "1e1099511627777",
            "-1e-1099511627776",
        ] {
            assert_eq!(hash_number(extreme), hash_number(extreme));
        }
        for (a, b) in [
            ("1000000000000000000000", "1e21"),
            ("0.001", "1e-3"),
            ("120", "1.2e2"),
            ("-0.0", "0"),
        ] {
            assert_eq!(hash_number(a), hash_number(b), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn a_number_hashes_alike_in_every_spelling(value in any::<i64>(), zeros in 0_usize..4) {
            let plain = value.to_string();
            let spelled = format!("{value}.{}", "0".repeat(zeros + 1));
            let (digits, power) = plain.split_at(plain.len() - (plain.len() > 4) as usize * 2);
            prop_assert_eq!(hash_number(&plain), hash_number(&spelled));
            if power.len() == 2 {
                let fraction = format!("{digits}.{power}e2");
                prop_assert_eq!(hash_number(&plain), hash_number(&fraction));
            }
        }
    }
}
