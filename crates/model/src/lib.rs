//! The words that the crates of answerlake share: plain data, no behaviour that waits or computes for long.
//!
//! The way of the data names them in this order: a run asks for *windows* of one *app*; a window covers whole
//! *partitions*; what it brings becomes rows of *tables*; and the *books* say that nothing was lost on the way.

// Half-open time ranges and the grain that partitions are cut at.
pub mod window;
// Validated identifiers: apps, jobs, runs.
pub mod id;
// The unit of commit: one app and one day or hour.
pub mod partition;
// The six tables, and what a column is for.
pub mod table;
// What was promised, decoded and written, counted.
pub mod books;
// What came that the tables do not hold, by path.
pub mod drift;
// What records say in numbers, for reports.
pub mod stats;

pub use books::{Fit, JobBooks, PartitionBooks};
pub use drift::{Drift, DriftLedger, DriftPath, JsonType, JsonTypes, RecordDrift};
pub use id::{AppId, ConsumerName, InvalidId, JobId, RunId};
pub use partition::PartitionKey;
pub use stats::{ContentStats, Funnel, Histogram, Tally};
pub use table::{ColumnRole, PerTable, Table, TableSchema};
pub use window::{Grain, InvalidWindow, Window};
