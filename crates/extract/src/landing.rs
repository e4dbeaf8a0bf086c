//! Where fragments are kept as they were fetched, beside what is made of them.
//!
//! What was fetched is there for good then, however long links and jobs live at the source: a fault in what is made of it
//! needs no new export.

use answerlake_model::JobId;
use async_trait::async_trait;

use crate::error::BoxError;
use crate::fragment::FetchedFragment;
use crate::job::FinishedJob;

/// Keeps what a job brings. It is told of it as it comes in, of several fragments at once.
#[async_trait]
pub trait LandingSink: Send + Sync {
    /// Keeps what the job says of itself. Comes before its fragments.
    async fn job(&self, job: &FinishedJob) -> Result<(), BoxError>;

    /// Keeps a fragment; its file stays where it is until this returns.
    async fn fragment(&self, job_id: &JobId, fragment: &FetchedFragment) -> Result<(), BoxError>;
}
