//! Bytes as decisions: what is made of them shrinks as they do.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Bytes that are used up one decision after the other; all decisions after the last are 0.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end <= 256 {
            return usize::from(self.byte()) % end.max(1);
        }
        let number = (0..4).fold(0, |number, _| number << 8 | usize::from(self.byte()));
        number % end
    }

    /// True once in `times`; false when all has been decided.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub(crate) fn of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }
}

/// Bytes without end, the same each time (xorshift64*).
#[derive(Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Iterator for Noise {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        Some((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8)
    }
}

/// Bytes for one case.
pub(crate) fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

/// 2,000 cases, the same each time, unless the environment says otherwise.
pub(crate) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: 2_000,
        rng_seed: match default.rng_seed {
            RngSeed::Random => RngSeed::Fixed(7),
            given => given,
        },
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..default
    }
}
