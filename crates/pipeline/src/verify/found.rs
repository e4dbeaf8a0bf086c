//! What is found in rows: counted, and the first of each kind told.

use std::collections::BTreeMap;

use answerlake_load::{Fault, LoadError};

use crate::error::{PipelineError, chain};

/// What is wrong with rows, by kind and file.
#[derive(Debug, Default)]
pub(crate) struct Found(BTreeMap<(Fault, String), (u64, String)>);

impl Found {
    /// Adds that something is wrong with a row, which counts from 1; `tell` says what.
    pub(crate) fn add(
        &mut self,
        fault: Fault,
        path: &str,
        row: u64,
        tell: impl FnOnce() -> String,
    ) {
        let (count, _) = self
            .0
            .entry((fault, path.to_owned()))
            .or_insert_with(|| (0, format!("row {row}: {}", tell())));
        *count += 1;
    }

    /// Adds that something is wrong with a file as a whole; with the partition, where the path is empty.
    pub(crate) fn add_file(&mut self, fault: Fault, path: &str, message: String) {
        self.0
            .entry((fault, path.to_owned()))
            .or_insert((1, message));
    }

    /// Adds all that others found.
    pub(crate) fn extend(&mut self, others: Self) {
        for (place, (count, first)) in others.0 {
            self.0.entry(place).or_insert((0, first)).0 += count;
        }
    }

    /// Passes on what was made of a file, or adds why the file cannot be read: that it went meanwhile, or is none. How
    /// the store fails says nothing of the file.
    pub(crate) fn unless_unreadable<T>(
        &mut self,
        path: &str,
        made: Result<T, PipelineError>,
    ) -> Result<Option<T>, PipelineError> {
        let error = match made {
            Ok(made) => return Ok(Some(made)),
            Err(PipelineError::Load(error)) => error,
            Err(error) => return Err(error),
        };
        let fault = match &error {
            LoadError::ReadData { .. } => Fault::Undecodable,
            error if error.is_not_found() => Fault::FileMissing,
            _ => return Err(error.into()),
        };
        self.add_file(fault, path, chain(&error));
        Ok(None)
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each kind and file, with the first row and how many there are.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = (Fault, Option<String>, String)> {
        self.0.into_iter().map(|((fault, path), (count, first))| {
            let message = match count {
                1 => first,
                many => format!("{first}; {many} such rows in all"),
            };
            (fault, Some(path).filter(|path| !path.is_empty()), message)
        })
    }
}
