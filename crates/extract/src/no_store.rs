//! A store that keeps nothing: for jobs that are nobody's to take up.

use async_trait::async_trait;

use crate::error::BoxError;
use crate::job::{Claiming, ExportRequest, JobClaim, JobRecord, JobStore, StoredJob};

/// Keeps no job. A job that is run with it is started each time, and whoever is cut off leaves it to the source.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStore;

#[async_trait]
impl JobStore for NoStore {
    async fn find(&self, _: &ExportRequest) -> Result<Option<StoredJob>, BoxError> {
        Ok(None)
    }

    async fn claim(&self, _: &JobClaim) -> Result<Claiming, BoxError> {
        Ok(Claiming::Ours)
    }

    async fn release(&self, _: &JobClaim) -> Result<(), BoxError> {
        Ok(())
    }

    async fn save(&self, _: &JobRecord) -> Result<(), BoxError> {
        Ok(())
    }

    async fn forget(&self, _: &JobRecord) -> Result<(), BoxError> {
        Ok(())
    }
}
