//! `run.strict`: what a partition must not have, to be committed.
//!
//! It is the revision that is judged: where `ingest` joins records with those that a partition holds, what these drift
//! by counts as well.

use answerlake_model::{DriftLedger, PartitionKey};

use crate::assemble::{Assembled, AssembledPartition};
use crate::error::PipelineError;

/// How many paths an error names.
const NAMED_PATHS: usize = 3;

/// What came with a window and belongs to none of its partitions. It may belong to any of them, or say that the
/// source did not keep to the window, so it fails them all.
#[derive(Debug)]
pub(crate) struct Strict {
    strays: u64,
    unassigned: u64,
    first_dead_letter: Option<String>,
}

impl Strict {
    pub(crate) fn of(assembled: &Assembled) -> Self {
        Self {
            strays: assembled.counts.iter().map(|job| job.strays).sum(),
            unassigned: assembled.counts.iter().map(|job| job.unassigned).sum(),
            first_dead_letter: assembled.first_dead_letter.clone(),
        }
    }

    /// Checks that a partition is wholly as expected.
    pub(crate) fn check(
        &self,
        key: &PartitionKey,
        partition: &AssembledPartition,
    ) -> Result<(), PipelineError> {
        let mut findings = Vec::new();
        if !partition.drift.is_empty() {
            findings.push(of_drift(&partition.drift));
        }
        let conflicts = partition.books.conflicts;
        let dead_letters = partition.books.dead_letters - conflicts + self.unassigned;
        if dead_letters > 0 {
            let first = self.first_dead_letter.as_deref().unwrap_or_default();
            findings.push(format!(
                "{} (first: {first})",
                counted(dead_letters, "dead letter")
            ));
        }
        if conflicts > 0 {
            let records = counted(conflicts, "record");
            findings.push(format!("{records} in conflict with a newer version"));
        }
        if self.strays > 0 {
            let strays = counted(self.strays, "stray");
            findings.push(format!("{strays}: records of other days in its window"));
        }
        if findings.is_empty() {
            return Ok(());
        }
        Err(PipelineError::Strict {
            partition: key.clone(),
            findings: findings.join("; "),
        })
    }
}

fn of_drift(ledger: &DriftLedger) -> String {
    let named: Vec<String> = ledger
        .paths()
        .take(NAMED_PATHS)
        .map(|(path, drift)| {
            let expected = path.expected.as_deref().unwrap_or("no such key");
            format!("`{}` (expected {expected}, got {})", path.path, drift.types)
        })
        .collect();
    let others = match ledger.paths().count() - named.len() {
        0 => String::new(),
        1 => " and 1 path more".to_owned(),
        others => format!(" and {others} paths more"),
    };
    let records = counted(ledger.records(), "record");
    format!("{records} with drift: {}{others}", named.join(", "))
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use answerlake_model::{AppId, Grain, PartitionBooks};

    use super::*;

    #[test]
    fn what_belongs_to_no_partition_fails_each() {
        let day = "2025-06-28T00:00:00Z".parse().unwrap();
        let key = PartitionKey::new(AppId::try_new("st-1").unwrap(), day, Grain::Day);
        let findings = |strays, unassigned, dead_letters| {
            let strict = Strict {
                strays,
                unassigned,
                first_dead_letter: Some("fragment 1, record 2: no time".to_owned()),
            };
            let mut partition = AssembledPartition::empty();
            partition.books = PartitionBooks {
                assigned: dead_letters,
                dead_letters,
                ..PartitionBooks::default()
            };
            match strict.check(&key, &partition) {
                Err(PipelineError::Strict { findings, .. }) => findings,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(findings(0, 0, 0), "Ok(())");
        assert_eq!(
            findings(1, 0, 0),
            "1 stray: records of other days in its window"
        );
        assert_eq!(
            findings(2, 1, 2),
            "3 dead letters (first: fragment 1, record 2: no time); 2 strays: records of other days in its window"
        );
    }
}
