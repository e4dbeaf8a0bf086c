//! Seeded chance: one stream of it for each thing that is made.
//!
//! A stream is opened by what it is for, a seed and two numbers (a day and a place in it, say), so anything can be
//! made on its own, in any order, and comes out the same.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream of chance is for; two purposes share no chance.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// When a record was made and of which kind it is.
    Slot = 1,
    /// The id and the question of a search.
    Question = 2,
    /// All else of a record.
    Record = 3,
    /// A document of the corpus.
    Document = 4,
    /// A chunk of the corpus.
    Chunk = 5,
    /// Ids that all records share.
    Identity = 6,
    /// Whether a fault fires, and in which order records come.
    Fault = 7,
}

/// A stream of seeded chance.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64, purpose: Purpose, major: i64, minor: u32) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&major.to_le_bytes());
        key[16..20].copy_from_slice(&minor.to_le_bytes());
        key[20] = purpose as u8;
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `bound`, and 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        let number = self.0.random_range(0..bound as u64);
        usize::try_from(number).expect("the number is below a usize")
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Whether something of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    pub(crate) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// A number below `bound`, small ones more often: as often between 1 and 2 as between 2 and 4.
    ///
    /// This is Zipf's law by doublings, drawn from whole numbers, so that no platform's `powf` can change it.
    pub(crate) fn zipf(&mut self, bound: usize) -> usize {
        let doublings = usize::BITS - bound.leading_zeros();
        loop {
            let low = 1usize << self.below(doublings as usize);
            let rank = low + self.below(low);
            if rank <= bound {
                return rank - 1;
            }
        }
    }

    /// A UUID as text, of the name-based version that most ids of the samples have.
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        bytes[6] = 0x50 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        uuid::Uuid::from_bytes(bytes).to_string()
    }

    /// An id of 24 hex digits whose first 8 are a time in seconds, as a MongoDB ObjectId.
    pub(crate) fn object_id(&mut self, seconds: i64) -> String {
        let low = self.0.next_u64();
        let high = self.0.next_u32();
        format!("{:08x}{high:08x}{:08x}", seconds & 0xffff_ffff, low >> 32)
    }

    /// The query of a signed media link, after the `?`; it ends in the vendor's `$$`.
    pub(crate) fn link_query(&mut self) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let number = 100_000_000 + self.below(9_900_000_000);
        let mut query = format!("n={number}&s=I");
        for _ in 0..60 {
            query.push(char::from(self.pick(ALPHABET)));
        }
        query.push_str("g$$");
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_all_that_opens_it() {
        let first = |seed, purpose, major, minor| Dice::new(seed, purpose, major, minor).uuid();
        let one = first(7, Purpose::Slot, 1, 2);
        assert_eq!(one, first(7, Purpose::Slot, 1, 2));
        for other in [
            first(8, Purpose::Slot, 1, 2),
            first(7, Purpose::Record, 1, 2),
            first(7, Purpose::Slot, 2, 2),
            first(7, Purpose::Slot, 1, 3),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn small_ranks_are_drawn_more_often() {
        let mut dice = Dice::new(1, Purpose::Chunk, 0, 0);
        let drawn: Vec<usize> = (0..4_000).map(|_| dice.zipf(1_000)).collect();
        assert!(drawn.iter().all(|&rank| rank < 1_000));
        let low = drawn.iter().filter(|&&rank| rank < 31).count();
        assert!((1_600..2_800).contains(&low), "{low} of 4000");
    }
}
