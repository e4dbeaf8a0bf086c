//! The books: what was promised, decoded and written, counted in records.
//!
//! They balance or the window fails before its commit; the manifests keep them, and anyone can add them up again.

use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Window;

/// The books of one export job (or of one `ingest`, which has no job and promises nothing).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBooks {
    /// The job's id; absent for `ingest`.
    pub job_id: Option<String>,
    /// The window asked for, without its margin; absent for `ingest`.
    pub window: Option<Window>,
    /// When the job was asked for: its records are as of this time. Absent for `ingest`.
    pub as_of: Option<DateTime<Utc>>,
    /// Records promised (`store.totalRecords`); absent when the job promises nothing.
    pub promised: Option<u64>,
    /// Fragments fetched.
    pub fragments: u64,
    /// Records met in the fragments, whatever became of them.
    pub decoded: u64,
    /// Records that lie in the margin, and so belong to a neighbour.
    pub margin: u64,
    /// Records that lie outside window and margin, kept as strays.
    pub strays: u64,
    /// Records that cannot be assigned to a partition: no usable time, or no JSON.
    pub unassigned: u64,
    /// Records assigned to the window's partitions.
    pub assigned: u64,
    /// Of the assigned, those met before in the same job with the same value.
    pub duplicates: u64,
    /// How long the source took for the export, from its POST until it was seen done; absent where nobody saw, and in
    /// books of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_millis: Option<u64>,
    /// Why the job was asked for less time than the settings allow; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
}

/// Why a job was asked for less time than the settings allow: because the source does not manage more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The run had asked for more, in vain.
    Halved,
    /// An earlier run had to.
    Kept,
}

impl JobBooks {
    /// Whether every record met went somewhere, and as many were met as promised.
    ///
    /// The vendor may count a record it sent twice once or twice.
    pub fn balance(&self) -> bool {
        let placed = self.margin + self.strays + self.unassigned + self.assigned;
        let kept = self.promised.is_none_or(|promised| {
            promised == self.decoded || promised == self.decoded - self.duplicates.min(self.decoded)
        });
        placed == self.decoded && kept
    }
}

/// The books of one partition's revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionBooks {
    /// Records that were met and whose time lies in the partition.
    pub assigned: u64,
    /// Records that the partition held before, and that were joined with those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Records written: each is one row of `queries`, `feedback` or `events`.
    pub written: u64,
    /// Records met before with the same value.
    pub duplicates: u64,
    /// Records set aside as dead letters, the conflicts among them.
    pub dead_letters: u64,
    /// Of the dead letters, those that lost to another record of the same event and id.
    pub conflicts: u64,
    /// Records of forgotten persons and queries, of which nothing is kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u64,
}

impl PartitionBooks {
    /// Whether every record assigned went somewhere.
    pub fn balance(&self) -> bool {
        let placed = self.written + self.duplicates + self.dead_letters + self.forgotten;
        self.assigned + self.held == placed && self.conflicts <= self.dead_letters
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl AddAssign for PartitionBooks {
    fn add_assign(&mut self, more: Self) {
        self.assigned += more.assigned;
        self.held += more.held;
        self.written += more.written;
        self.duplicates += more.duplicates;
        self.dead_letters += more.dead_letters;
        self.conflicts += more.conflicts;
        self.forgotten += more.forgotten;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(promised: Option<u64>, decoded: u64, duplicates: u64) -> JobBooks {
        JobBooks {
            job_id: None,
            window: None,
            as_of: None,
            promised,
            fragments: 1,
            decoded,
            margin: 1,
            strays: 1,
            unassigned: 1,
            assigned: decoded - 3,
            duplicates,
            export_millis: None,
            fit: None,
        }
    }

    #[test]
    fn a_job_keeps_its_promise_with_or_without_its_duplicates() {
        assert!(job(Some(10), 10, 0).balance());
        assert!(job(Some(8), 10, 2).balance());
        assert!(job(None, 10, 0).balance());
        assert!(!job(Some(11), 10, 0).balance());
        assert!(!job(Some(9), 10, 2).balance());
    }

    #[test]
    fn books_of_an_older_program_are_read() {
        let older = serde_json::to_value(job(None, 10, 0)).unwrap();
        assert!(older.get("export_millis").is_none());
        assert_eq!(
            serde_json::from_value::<JobBooks>(older).unwrap(),
            job(None, 10, 0)
        );
    }

    #[test]
    fn a_record_gone_astray_shows() {
        assert!(
            !JobBooks {
                margin: 0,
                ..job(None, 10, 0)
            }
            .balance()
        );
        let balanced = PartitionBooks {
            assigned: 4,
            held: 1,
            written: 3,
            duplicates: 1,
            dead_letters: 1,
            forgotten: 0,
            conflicts: 1,
        };
        assert!(balanced.balance());
        assert!(
            !PartitionBooks {
                written: 2,
                ..balanced
            }
            .balance()
        );
    }
}
