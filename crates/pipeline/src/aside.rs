//! Records that go beside the tables: strays and dead letters, as compressed lines of JSON.
//!
//! They are collected in scratch, and put into the lake before the partitions they came with are committed, under names
//! made of their content: doing it again changes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use answerlake_load::Lake;
use answerlake_model::PartitionKey;
use answerlake_transform::{DeadLetter, Stray};
use sha2::{Digest, Sha256};

use crate::error::PipelineError;

/// What kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Stray,
    DeadLetter,
}

/// Collects them.
pub(crate) struct Aside {
    folder: PathBuf,
    job_id: Option<String>,
    files: BTreeMap<(Kind, PartitionKey), LinesFile>,
}

struct LinesFile {
    path: PathBuf,
    lines: zstd::Encoder<'static, BufWriter<File>>,
    /// Over the content, but for what differs from one export of the same records to the next.
    content: Sha256,
}

/// Collected, and ready to be put into the lake.
#[derive(Debug, Default)]
pub(crate) struct AsideFiles(Vec<(Kind, PartitionKey, String, PathBuf)>);

impl Aside {
    /// Collects in `folder`, which is there.
    pub(crate) fn new(folder: &Path, job_id: Option<String>) -> Self {
        Self {
            folder: folder.to_owned(),
            job_id,
            files: BTreeMap::new(),
        }
    }

    pub(crate) fn add_stray(&mut self, stray: &Stray) -> Result<(), PipelineError> {
        let line = format!("{}\n", stray.json);
        self.add(
            Kind::Stray,
            stray.partition.clone(),
            line.as_bytes(),
            line.as_bytes(),
        )
    }

    /// Adds a letter to the partition it names, else to `fallback`.
    pub(crate) fn add_dead_letter(
        &mut self,
        letter: &DeadLetter,
        fallback: &PartitionKey,
    ) -> Result<(), PipelineError> {
        let key = letter.partition.clone().unwrap_or_else(|| fallback.clone());
        let line = letter.to_json_line(self.job_id.as_deref());
        self.add(Kind::DeadLetter, key, &line, &letter.to_json_line(None))
    }

    fn add(
        &mut self,
        kind: Kind,
        key: PartitionKey,
        line: &[u8],
        content: &[u8],
    ) -> Result<(), PipelineError> {
        let path = self
            .folder
            .join(format!("aside-{}.ndjson.zst", self.files.len()));
        let failed = |source| PipelineError::Scratch {
            action: "write",
            path: self.folder.clone(),
            source,
        };
        let file = match self.files.entry((kind, key)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let file = File::create(&path).map_err(failed)?;
                let lines = zstd::Encoder::new(BufWriter::new(file), 3).map_err(failed)?;
                entry.insert(LinesFile {
                    path,
                    lines,
                    content: Sha256::new(),
                })
            }
        };
        file.content.update(content);
        file.lines.write_all(line).map_err(failed)
    }

    /// Ends the collecting.
    pub(crate) fn finish(self) -> Result<AsideFiles, PipelineError> {
        let mut files = Vec::with_capacity(self.files.len());
        for (
            (kind, key),
            LinesFile {
                path,
                lines,
                content,
            },
        ) in self.files
        {
            let failed = |source| PipelineError::Scratch {
                action: "write",
                path: path.clone(),
                source,
            };
            lines
                .finish()
                .and_then(|mut file| file.flush())
                .map_err(failed)?;
            let name = format!("{}.ndjson.zst", &hex::encode(content.finalize())[..16]);
            files.push((kind, key, name, path));
        }
        Ok(AsideFiles(files))
    }
}

impl AsideFiles {
    /// Puts them into the lake, where they are not there already.
    pub(crate) async fn put(self, lake: &Lake) -> Result<(), PipelineError> {
        for (kind, key, name, path) in self.0 {
            let bytes = tokio::fs::read(&path)
                .await
                .map_err(|source| PipelineError::Scratch {
                    action: "read",
                    path,
                    source,
                })?;
            let path = match kind {
                Kind::Stray => lake.put_stray(&key, &name, bytes.into()).await?,
                Kind::DeadLetter => lake.put_dead_letters(&key, &name, bytes.into()).await?,
            };
            match kind {
                Kind::Stray => {
                    tracing::warn!(%path, "records of another day than was asked for are kept as strays");
                }
                Kind::DeadLetter => {
                    tracing::warn!(%path, "records that cannot be loaded are kept as dead letters");
                }
            }
        }
        Ok(())
    }
}
