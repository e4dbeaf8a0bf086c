//! A run: from the pipeline file to the report.
//!
//! ```text
//! pipeline file + flags -> PipelineConfig                          config
//!   -> what the lake holds, what is due: Plan                      state, plan
//!   -> a window's job and fragments                                (extract)
//!   -> blocks decoded ahead, in order, on all cores                bridge    (transform)
//!   -> records told apart, rows to data files                      assemble  (load)
//!   -> the books                                                   reconcile
//!   -> a commit a partition                                        window_run (load)
//!   -> strays join their partitions                                strays
//!   -> RunReport                                                   report
//! ```
//!
//! How far it is, [`Progress`] tells whoever looks.
//!
//! `extract`, `transform` and `load` do not know one another; this crate is the only one that knows all three. What
//! waits runs on tokio, what computes on a rayon pool, and `bridge` is the one place where work crosses over.

// The settings: a TOML file, overlaid by environment and flags.
pub mod config;
// What a run asks for, and why.
pub mod plan;
// How long exports will take.
mod prediction;
// `plan`: what a run would ask for, shared out.
pub mod work_list;
// Which process holds a claim.
mod holder;
// What the lake knows: partitions committed, jobs in flight.
mod state;
// How `run.memory` is shared out.
mod memory;
// Decodes fragments ahead of their use, in order, within bounds.
mod bridge;
// Which records were met.
mod record_index;
// What each partition's digest is made of.
mod content_hashes;
// Notes of partitions that failed.
mod failures;
// What the columns do not hold, and who is told.
mod drift;
// A window's fragments to data files, strays and dead letters.
mod assemble;
// Records that go beside the tables.
mod aside;
// Records too large to be held, read from their fragment again.
mod reread;
// Promised, decoded, written: the books.
mod reconcile;
// What was fetched, kept as it was.
mod landing;
// What a strict run does not commit.
mod strict;
// How far a run is.
pub mod progress;
// A run's own folder on this machine.
mod scratch;
// What `run` and `ingest` work with: lake, threads, scratch.
mod workbench;
// One window: its jobs, its fragments, its partitions.
mod window_run;
// Records of other days, joined with their own.
mod strays;
// `run`: windows in flight, partitions committed.
mod run;
// Dead letters, taken up again.
mod taken_up;
// What partitions hold, joined with what is brought.
mod union;
// Fragments that were kept as they were fetched, taken in again.
mod landed;
// `ingest`: fragments that are at hand.
mod ingest;
// Who is forgotten, as the lake says.
mod tombstones;
// `forget`: whose records are removed.
mod forget;
// `recover`: what killed runs left.
mod recovery;
// `vacuum`: what nobody needs any more.
mod vacuum;
// `restore`: records, back out of the lake.
mod restore;
// `verify`: is it what was committed.
pub mod verify;
// `verify --against-source`: is it what the source has.
pub mod against_source;
// How late records came.
pub mod freshness;
// `status`: what is there.
pub mod status;
// `schema --drift`: what came that the tables do not hold.
pub mod drift_report;
// A lake as its readers see it.
pub mod reading;
// `files`: the files that readers may take.
pub mod files;
// `changes`: the partitions that a consumer is to load again.
pub mod changes;
// `doctor`: will a run work from here.
pub mod doctor;
// What somebody must do something about.
pub mod problem;
// What became of it all.
pub mod report;
// What can go wrong.
pub mod error;

pub use against_source::{SourceReport, SourceRequest, verify_against_source};
pub use answerlake_load::local_path;
pub use changes::{ChangesReport, ChangesRequest, acknowledge, changes};
pub use config::{PipelineConfig, Setting};
pub use drift_report::{DriftReport, DriftRequest, drift};
pub use error::PipelineError;
pub use files::FileList;
pub use forget::{ForgetReport, ForgetRequest, forget};
pub use ingest::{IngestRequest, ingest};
pub use plan::RunRequest;
pub use progress::Progress;
pub use reading::Reading;
pub use recovery::{BrokenRevision, RecoveryReport, RolledForward, recover};
pub use report::{PartitionReport, PartitionState, RunReport, RunStatus, Totals};
pub use restore::{RestoreFormat, RestoreReport, RestoreRequest, restore, restore_to_object};
pub use run::run;
pub use status::{StatusReport, StatusRequest, status};
pub use vacuum::{Found, VacuumReport, vacuum};
pub use verify::{VerifyReport, VerifyRequest, verify};
pub use work_list::{WorkEntry, WorkList, plan_run};
pub use workbench::RunContext;
