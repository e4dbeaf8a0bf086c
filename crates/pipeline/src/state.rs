//! What the lake knows that a run must know: which partitions are committed, and which jobs are in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use answerlake_extract::{BoxError, ExportRequest, JobRecord, JobStore};
use answerlake_load::{Lake, PartitionSummary};
use answerlake_model::{AppId, PartitionKey};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::error::chain;
use crate::plan::{Committed, to_delta};

/// What the plan must know of the partitions' states.
pub(crate) fn committed(
    states: &BTreeMap<PartitionKey, PartitionSummary>,
) -> BTreeMap<PartitionKey, Committed> {
    let facts = |state: &PartitionSummary| Committed {
        provisional: state.provisional,
        partial: state.partial,
        broken: state.is_broken(),
    };
    states
        .iter()
        .map(|(key, state)| (key.clone(), facts(state)))
        .collect()
}

/// Keeps the jobs in flight in the lake, so that any machine can take them up.
#[derive(Debug, Clone)]
pub(crate) struct LakeJobs(pub(crate) Lake);

impl LakeJobs {
    /// Forgets jobs of the app that are too old to be taken up: of a window that no run asks for any more, such as one
    /// that was open then, nobody else would. A job that cannot be forgotten does no harm.
    pub(crate) async fn clear(&self, app_id: &AppId, now: DateTime<Utc>, max_age: Duration) {
        let stored = match self.0.jobs(app_id).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(error = chain(&error), "stored jobs cannot be read");
                return;
            }
        };
        for (name, json) in stored {
            let is_too_old = serde_json::from_slice::<JobRecord>(&json)
                .is_ok_and(|record| now - record.posted_at > to_delta(max_age));
            if is_too_old && let Err(error) = self.0.delete_job(app_id, &name).await {
                tracing::warn!(
                    job = name,
                    error = chain(&error),
                    "a stored job that is too old stays"
                );
            }
        }
    }
}

/// What a job's object is called: one a request, so that a new job takes the place of the old.
fn name(request: &ExportRequest) -> String {
    let event = request
        .event
        .map_or("all", answerlake_extract::EventFilter::name);
    let compact =
        |time: chrono::DateTime<chrono::Utc>| time.format("%Y%m%dT%H%M%S%.3fZ").to_string();
    format!(
        "{}-{}-{event}",
        compact(request.range.start()),
        compact(request.range.end())
    )
}

#[async_trait]
impl JobStore for LakeJobs {
    async fn find(&self, request: &ExportRequest) -> Result<Option<JobRecord>, BoxError> {
        let name = name(request);
        let stored = self.0.jobs(&request.app_id).await?;
        let Some((_, json)) = stored.into_iter().find(|(stored, _)| *stored == name) else {
            return Ok(None);
        };
        match serde_json::from_slice::<JobRecord>(&json) {
            Ok(record) => Ok((record.request == *request).then_some(record)),
            Err(error) => {
                // The job it named is lost to us, no more: the window is exported anew.
                tracing::warn!(job = name, %error, "a stored job cannot be read");
                Ok(None)
            }
        }
    }

    async fn save(&self, record: &JobRecord) -> Result<(), BoxError> {
        let json = serde_json::to_vec(record)?;
        let (lake, request) = (self.0.clone(), record.request.clone());
        // On a task of its own, so that it is done even where the run stops just now: a job that runs at the source and
        // is not stored would be exported once more.
        let stored = tokio::spawn(async move {
            lake.put_job(&request.app_id, &name(&request), json.into())
                .await
        });
        Ok(stored.await??)
    }

    async fn forget(&self, record: &JobRecord) -> Result<(), BoxError> {
        Ok(self
            .0
            .delete_job(&record.request.app_id, &name(&record.request))
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use answerlake_extract::EventFilter;
    use answerlake_load::LakeStore;
    use answerlake_model::{AppId, JobId, Window};

    use super::*;

    #[tokio::test]
    async fn a_job_is_found_by_its_request_alone() {
        let jobs = LakeJobs(Lake::new(LakeStore::open("memory://").await.unwrap()));
        let request = |end: &str, event| ExportRequest {
            app_id: AppId::try_new("st-1").unwrap(),
            range: Window::try_new(
                "2025-06-27T23:59:59Z".parse().unwrap(),
                end.parse().unwrap(),
            )
            .unwrap(),
            event,
        };
        let asked = request("2025-06-29T00:00:01Z", None);
        let record = |id| JobRecord {
            job_id: JobId::try_new(id).unwrap(),
            request: asked.clone(),
            posted_at: "2025-06-30T00:00:00Z".parse().unwrap(),
        };
        assert_eq!(jobs.find(&asked).await.unwrap(), None);
        jobs.save(&record("fj-1")).await.unwrap();
        jobs.save(&record("fj-2")).await.unwrap();
        assert_eq!(jobs.find(&asked).await.unwrap(), Some(record("fj-2")));
        assert_eq!(
            jobs.find(&request("2025-06-30T00:00:01Z", None))
                .await
                .unwrap(),
            None
        );
        assert_eq!(
            jobs.find(&request(
                "2025-06-29T00:00:01Z",
                Some(EventFilter::ThumbsUp)
            ))
            .await
            .unwrap(),
            None
        );
        let app_id = &asked.app_id;
        let day = Duration::from_secs(24 * 60 * 60);
        let posted_at = record("fj-2").posted_at;
        jobs.clear(app_id, posted_at + day, day).await;
        assert_eq!(jobs.find(&asked).await.unwrap(), Some(record("fj-2")));
        jobs.clear(app_id, posted_at + day + Duration::from_secs(1), day)
            .await;
        assert_eq!(jobs.find(&asked).await.unwrap(), None);

        jobs.save(&record("fj-3")).await.unwrap();
        jobs.forget(&record("fj-3")).await.unwrap();
        assert_eq!(jobs.find(&asked).await.unwrap(), None);
    }
}
