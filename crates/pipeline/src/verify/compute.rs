//! Threads that read and decode data files, and the memory that they may take.

use std::panic::{AssertUnwindSafe, catch_unwind};

use answerlake_load::LoadError;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, oneshot};

use crate::config::RunConfig;
use crate::error::PipelineError;

/// What the program takes itself of `run.memory`, and the buffers of what is hashed.
const OWN_BYTES: u64 = 64 << 20;

/// Shared by all partitions.
pub(crate) struct Compute {
    /// Threads of their own, and few: those that come and go as they block leave memory behind, each where it was.
    pool: ThreadPool,
    /// Mebibytes that are free.
    memory: Semaphore,
    mebibytes: u32,
}

impl Compute {
    /// Starts the threads.
    ///
    /// # Errors
    /// When they cannot be started.
    pub(crate) fn try_new(config: &RunConfig) -> Result<Self, PipelineError> {
        let builder = ThreadPoolBuilder::new().thread_name(|index| format!("verify-{index}"));
        let pool = builder.num_threads(config.threads.unwrap_or(0)).build();
        let bytes = config.memory.saturating_sub(OWN_BYTES);
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).max(1);
        Ok(Self {
            pool: pool.map_err(|error| PipelineError::Threads {
                reason: format!("cannot start threads that verify: {error}"),
            })?,
            memory: Semaphore::new(mebibytes as usize),
            mebibytes,
        })
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Does `work` on one of the threads, where it may block, once so much memory is free; all there is, if that is
    /// less.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, PipelineError> {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let mebibytes = mebibytes.saturating_add(1).min(self.mebibytes);
        let admitted = self.memory.acquire_many(mebibytes).await;
        let _admitted = admitted.expect("the semaphore is never closed");
        let (sender, done) = oneshot::channel();
        self.pool.spawn(move || {
            // A decoder that panics at what it reads must not take the program with it.
            if let Ok(made) = catch_unwind(AssertUnwindSafe(work)) {
                // Who asked may have gone.
                let _ = sender.send(made);
            }
        });
        let made = done.await.map_err(|_| PipelineError::Threads {
            reason: "a thread that verified a data file panicked".to_owned(),
        })?;
        Ok(made?)
    }
}
