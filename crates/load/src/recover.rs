//! Finishes what a crash left between commit and publish.

use answerlake_model::{AppId, PartitionKey};

use crate::error::LoadError;
use crate::lake::Lake;
use crate::store::all;

/// What became of an unpublished revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Its files are in place now.
    RolledForward {
        /// The partition.
        partition: PartitionKey,
        /// The revision.
        revision: u64,
    },
    /// Files of it are nowhere: the partition is to be committed again.
    Broken {
        /// The partition.
        partition: PartitionKey,
        /// The revision.
        revision: u64,
        /// The final paths of the files, relative to the lake.
        missing: Vec<String>,
    },
}

impl Lake {
    /// Publishes the newest revision of each partition where that was not done: of one app, or of all. What is
    /// returned is in the order of the partitions.
    ///
    /// # Errors
    /// When the store fails; what was published until then stays so.
    pub async fn recover(&self, app_id: Option<&AppId>) -> Result<Vec<Recovered>, LoadError> {
        let heads = self.heads(app_id, None).await?;
        let unpublished = heads
            .into_iter()
            .filter(|(_, head)| !head.published)
            .map(|(key, head)| self.recover_partition(key, head.revision));
        let recovered = all(unpublished.collect()).await?;
        Ok(recovered.into_iter().flatten().collect())
    }

    /// What [`Lake::recover`] would do, by a look alone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unfinished(&self, app_id: Option<&AppId>) -> Result<Vec<Recovered>, LoadError> {
        let heads = self.heads(app_id, None).await?;
        let unpublished = heads.into_iter().filter(|(_, head)| !head.published);
        let looks = unpublished.map(async |(partition, head)| {
            let state = self.read_state(&partition, head).await?;
            if state.published {
                return Ok(None);
            }
            let (revision, missing) = (state.revision, state.missing);
            Ok(Some(match missing.is_empty() {
                true => Recovered::RolledForward {
                    partition,
                    revision,
                },
                false => Recovered::Broken {
                    partition,
                    revision,
                    missing,
                },
            }))
        });
        let found = all(looks.collect()).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn recover_partition(
        &self,
        partition: PartitionKey,
        revision: u64,
    ) -> Result<Option<Recovered>, LoadError> {
        let Some(manifest) = self.read_manifest(&partition, revision).await? else {
            return Ok(None);
        };
        match self.publish(&partition, &manifest).await {
            // Superseded means that another finished it meanwhile.
            Ok(_) => Ok(Some(Recovered::RolledForward {
                partition,
                revision,
            })),
            Err(LoadError::Broken { missing, .. }) => Ok(Some(Recovered::Broken {
                partition,
                revision,
                missing,
            })),
            Err(error) => Err(error),
        }
    }
}
