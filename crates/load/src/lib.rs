//! Record batches in, committed Parquet data files of a lake out.
//!
//! ```text
//! batches of a partition          PartitionedWriter::write      rayon
//!   -> files by size              RollingWriter
//!   -> Parquet, hashed, scratch   DataFileWriter
//!   -> EncodedFiles               PartitionedWriter::close
//!   -> Proposal                   Lake::commit                  async
//!        settle   the newest revision is published, or rolled forward
//!        decide   unchanged, refused, or the next revision
//!        stage    _answerlake/staging/…
//!        create   _answerlake/commits/…/0000000N.json, if absent: the commit
//!        publish  {table}/app_id=…/dt=…/part-…parquet, then 0000000N.published
//!   -> CommitOutcome
//! ```
//!
//! The writers know nothing of the lake and need no network: the same batches give the same bytes, whatever the
//! threads. The commit knows nothing of rows. This crate knows no other of the workspace than `model`.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use answerlake_load::{CommitOutcome, Lake, LakeStore, OnCommitted, Proposal};
//! use answerlake_model::{AppId, Grain, DriftLedger, PartitionBooks, PartitionKey, PerTable, RunId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lake = Lake::new(LakeStore::open("memory://").await?);
//! let key = PartitionKey::new(AppId::try_new("st-1")?, "2025-06-28T00:00:00Z".parse()?, Grain::Day);
//! // A day without records is committed too: it is known to be empty.
//! let proposal = Proposal {
//!     key: key.clone(),
//!     run_id: RunId::try_new("run-1")?,
//!     files: Vec::new(),
//!     content_digest: "of no records".to_owned(),
//!     provisional: false,
//!     partial: false,
//!     books: PartitionBooks::default(),
//!     jobs: Vec::new(),
//!     strays: std::collections::BTreeSet::new(),
//!     drift: DriftLedger::default(),
//!     stats: None,
//!     schema_version: 1,
//!     program_version: "0.1.0".to_owned(),
//!     context: BTreeMap::new(),
//!     on_committed: OnCommitted::Replace,
//!     record_id_columns: PerTable::default(),
//!     allow_unchanged: true,
//!     recheck: false,
//! };
//! let outcome = lake.commit(proposal).await?;
//! assert!(matches!(outcome, CommitOutcome::Committed { revision: 1, .. }));
//! assert!(lake.state(&key).await?.is_some_and(|state| state.published));
//! # Ok(())
//! # }
//! ```

// How files are cut and encoded.
pub mod config;
// Where a lake is, and how it is reached.
pub mod address;
// The object store behind a lake's address.
pub mod store;
// A bucket, by the usual variables.
#[cfg(feature = "s3")]
mod s3;
// The HTTP below it.
#[cfg(feature = "s3")]
mod s3_http;
// What S3 says when it does not do what it was asked.
#[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "S3 alone answers so"))]
mod s3_answer;
// Scratch files to the store.
mod upload;
// Many names and small files of a lake on a disk, read fast.
mod local_listing;
// Every path of a lake.
pub mod location;
// The bytes that each row counts towards its row group.
mod row_size;
// One Parquet file.
pub mod file_writer;
// What open files take of memory, and may take.
pub mod memory;
// Batches that wait in scratch while memory is short.
mod spill;
// The files of one table of one partition.
pub mod rolling_writer;
// All tables of all partitions.
pub mod partitioned_writer;
// A file as a manifest names it.
pub mod data_file;
// One revision of one partition.
pub mod manifest;
// What is committed, and the small objects beside the data.
pub mod lake;
// Many manifests in one object.
mod checkpoint;
// What is committed, in brief.
pub mod summary;
// The files that readers may take, of many partitions.
pub mod current_files;
// How far those have read who follow the lake.
pub mod consumer;
// What jobs brought, as it was fetched.
pub mod landing;
// What the records say in numbers, as manifests keep it.
mod stats;
// What the records drifted by, as manifests keep it.
mod drift;
// Why partitions failed.
pub mod failure;
// Whether the store keeps two commits apart.
mod probe;
// Files of records beside the tables, written anew.
mod kept;
// Who is forgotten, and what was removed for it.
pub mod forgotten;
// What all runs of one lake must agree on.
pub mod pin;
// Decide, stage, create the revision.
pub mod commit;
// Data files, read back.
mod file_reader;
// All files of a revision, to be read to their end.
pub mod held_files;
// How late records come.
pub mod freshness;
// Which records a commit would lose.
mod shrink;
// Staged files to their places.
mod publish;
// What a crash left, finished.
pub mod recover;
// What killed runs staged, cleared.
pub mod staging;
// What nobody needs, told apart from what somebody may.
pub mod leftover;
// Columns of a data file, in little memory.
pub mod column_reader;
// A stored file against what a manifest says of it.
mod integrity;
// Whether files have the same rows.
mod same_rows;
// A partition against its manifests.
pub mod verify;
// Files that no manifest lists.
mod unlisted;
// All that nobody needs, found and removed.
pub mod vacuum;
// An object of any store, written as it comes.
pub mod object_writer;
// What can go wrong.
pub mod error;

pub use address::{LakeAddress, StoreAccess};
pub use checkpoint::Stamp;
pub use column_reader::StoredColumns;
pub use commit::{CommitOutcome, OnCommitted, Proposal};
pub use config::{Compression, WriterConfig};
pub use consumer::{Acknowledged, ConsumerPosition, Move};
pub use current_files::CurrentFiles;
pub use data_file::{DataFile, Origin, TimeSpan};
pub use error::{LoadError, PinDifference};
pub use failure::PartitionFailure;
pub use file_writer::DataFileWriter;
pub use forgotten::Tombstone;
pub use freshness::{Freshness, LateRecords};
pub use held_files::{HeldFiles, HeldRows};
pub use lake::{Head, KeptFile, KeptKind, Lake, PartitionState, strays_as_of};
pub use landing::{FoundLanding, LandingFolder, Landings};
pub use leftover::{KeptBecause, Leftover, LeftoverKind};
pub use manifest::Manifest;
pub use memory::WriterMemory;
pub use object_store::path::Path as ObjectPath;
pub use object_writer::{ObjectUpload, ObjectWriter};
pub use partitioned_writer::PartitionedWriter;
pub use pin::{LAKE_FORMAT_VERSION, LakePin, MaskingPin};
pub use recover::Recovered;
pub use rolling_writer::{EncodedFile, RollingWriter};
pub use staging::ClearedStaging;
pub use store::{LakeStore, local_path};
pub use summary::PartitionSummary;
pub use vacuum::{VacuumOptions, Vacuumed};
pub use verify::{Checked, Expected, Fault, Finding, Revisions};
