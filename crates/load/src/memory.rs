//! How much memory the open data files of a run may take, all its writers together.
//!
//! A file's row group is encoded in memory: dictionaries, pages. Files are cut by rows and by the settings alone, so
//! when memory runs short no file can be ended early; what is to be written waits in scratch instead (`spill.rs`), until
//! the other files have ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files open at once. Systems give a program a thousand or so, and not for its files alone.
const MAX_OPEN_FILES: usize = 256;

/// The memory of open files, counted.
#[derive(Debug)]
pub struct WriterMemory {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    open_files: AtomicUsize,
    catching_up: Mutex<()>,
}

impl WriterMemory {
    /// Counts up to a limit in bytes. What is open when it is reached stays open: it may be exceeded by one batch for
    /// each thread that writes.
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            open_files: AtomicUsize::new(0),
            catching_up: Mutex::new(()),
        }
    }

    /// Waits until no other writer catches up with what it spilled, and keeps others from it.
    ///
    /// Not to be called on a thread of a rayon pool: one that waits here could be the one that the other needs.
    pub fn catch_up(&self) -> MutexGuard<'_, ()> {
        self.catching_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file that is open may not grow on.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) >= self.limit_bytes
    }

    /// Whether one more file may not be opened.
    pub(crate) fn is_exhausted_for_new_files(&self) -> bool {
        self.is_exhausted() || self.open_files.load(Ordering::Relaxed) >= MAX_OPEN_FILES
    }
}

/// What one open file takes; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct HeldMemory {
    memory: Arc<WriterMemory>,
    bytes: u64,
}

impl HeldMemory {
    pub(crate) fn new(memory: Arc<WriterMemory>) -> Self {
        memory.open_files.fetch_add(1, Ordering::Relaxed);
        Self { memory, bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn set(&mut self, bytes: u64) {
        let used = &self.memory.used_bytes;
        if bytes >= self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.set(0);
        self.memory.open_files.fetch_sub(1, Ordering::Relaxed);
    }
}
