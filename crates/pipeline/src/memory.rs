//! How `run.memory` is shared out, and who waits for whom when it is short.
//!
//! Two things take memory in proportion to what comes in: blocks that are being decoded, and data files that are being
//! encoded. Each has a share; what else there is (code, threads, buffers of connections, what the allocator keeps) is
//! in the 64 MiB that a run may take beyond the setting.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use answerlake_load::WriterMemory;
use answerlake_transform::frame::{BLOCK_BYTES, RecordBlock};

/// What decoding a block takes at most, in multiples of its bytes: they themselves, as much again in batches, and what
/// their builders had in reserve.
const DECODE_FACTOR: u64 = 4;

/// What one data file grows to at most beyond what it held when memory ran out, while it catches up: two dictionaries
/// of long text, their pages, and the small columns.
const CATCH_UP_BYTES: u64 = 128 << 20;

/// Records whose identities are kept in memory, over all windows: 130 bytes each at worst, and as much again for those
/// that are repeated.
const INDEXED_RECORDS: usize = 114_688;

/// Hashes of records that are kept in memory, over all windows: 16 bytes each.
const CONTENT_HASHES: usize = 524_288;

/// The shares.
#[derive(Debug, Clone)]
pub(crate) struct MemoryShares {
    /// For blocks that are decoded, of all windows together.
    pub(crate) decode: Arc<ByteBudget>,
    /// For open data files, of all windows together.
    pub(crate) writers: Arc<WriterMemory>,
    /// Records of a window whose identities are kept in memory.
    pub(crate) indexed_records: usize,
    /// Hashes of a window's records that are kept in memory.
    pub(crate) content_hashes: usize,
}

impl MemoryShares {
    /// Shares out `memory` bytes, where `threads` decode `windows` at once.
    pub(crate) fn of(memory: u64, threads: usize, windows: usize) -> Self {
        const BLOCK_COST: u64 = DECODE_FACTOR * BLOCK_BYTES as u64;
        // Two blocks ahead of each thread keep it busy.
        let useful = (2 * threads as u64 + 1) * BLOCK_COST;
        let decode = useful.min(memory / 4).max(2 * BLOCK_COST);
        let writers = memory.saturating_sub(decode + CATCH_UP_BYTES);
        Self {
            decode: Arc::new(ByteBudget::new(decode)),
            writers: Arc::new(WriterMemory::new(writers)),
            indexed_records: INDEXED_RECORDS / windows.max(1),
            content_hashes: CONTENT_HASHES / windows.max(1),
        }
    }
}

/// What decoding a block takes.
pub(crate) fn decode_cost(block: &RecordBlock) -> u64 {
    // Its place among the rows, or a dead letter without its bytes.
    const RECORD_COST: u64 = 256;
    DECODE_FACTOR * block.bytes.len() as u64 + RECORD_COST * block.record_count()
}

/// So many bytes, taken and given back. Who waits is served in turn.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    total: u64,
    state: Mutex<BudgetState>,
    changed: Condvar,
}

#[derive(Debug)]
struct BudgetState {
    free: u64,
    /// Tickets given out to those who wait.
    tickets: u64,
    /// Tickets served.
    served: u64,
}

/// Bytes taken from a budget; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    budget: Arc<ByteBudget>,
    bytes: u64,
}

impl ByteBudget {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            total,
            state: Mutex::new(BudgetState {
                free: total,
                tickets: 0,
                served: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Takes `bytes`, or the whole budget if it is less, unless that means to wait.
    pub(crate) fn try_admit(self: &Arc<Self>, bytes: u64) -> Option<Admitted> {
        let bytes = bytes.min(self.total);
        let mut state = self.state();
        if state.tickets != state.served || state.free < bytes {
            return None;
        }
        state.free -= bytes;
        Some(self.admitted(bytes))
    }

    /// Takes `bytes`, or the whole budget if it is less; waits until they are free.
    pub(crate) fn admit(self: &Arc<Self>, bytes: u64) -> Admitted {
        let bytes = bytes.min(self.total);
        let mut state = self.state();
        let ticket = state.tickets;
        state.tickets += 1;
        while state.served != ticket || state.free < bytes {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.served += 1;
        state.free -= bytes;
        drop(state);
        self.changed.notify_all();
        self.admitted(bytes)
    }

    fn admitted(self: &Arc<Self>, bytes: u64) -> Admitted {
        Admitted {
            budget: Arc::clone(self),
            bytes,
        }
    }

    fn state(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.budget.state().free += self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_its_turn() {
        let budget = Arc::new(ByteBudget::new(10));
        let first = budget.try_admit(6).unwrap();
        assert!(budget.try_admit(5).is_none());
        let small = budget.try_admit(4).unwrap();
        std::thread::scope(|scope| {
            // More than there is at all takes the whole.
            let waiting = scope.spawn(|| budget.admit(99).bytes);
            while budget.state().tickets == 0 {
                std::thread::yield_now();
            }
            drop(small);
            // There is room, but not before who waits.
            assert!(budget.try_admit(1).is_none());
            drop(first);
            assert_eq!(waiting.join().unwrap(), 10);
        });
        assert!(budget.try_admit(10).is_some());
    }
}
