//! Fragment bytes in, record batches out: no network, no clock, no tokio. The same bytes give the same batches.
//!
//! ```text
//! bytes of a fragment
//!   -> blocks of delimited records      frame      sequential, bounded memory
//!   -> what of them may land            masking    (privacy), where there are policies
//!   -> records, read once               record     (json, digest)
//!   -> rows of each table               flatten    (column, extra, prompt)
//!   -> record batches by partition      batch
//! ```
//!
//! [`frame::BlockReader`] cuts the bytes into blocks of whole records; [`Decoder::decode`] turns a block into batches, and
//! blocks can be decoded on as many threads as there are. A record that cannot be loaded becomes a
//! [`DeadLetter`] and the others load.

// The tables, column by column, and where each column comes from.
pub mod schema;
// Cuts a fragment's bytes into blocks of delimited records.
pub mod frame;
// Decodes a block: each record to its partition's batches, or aside.
mod decode;
// Which records are forgotten.
mod forgotten;
// Which policy each member of a record has.
mod privacy;
// Records without what must not land.
mod masking;
// JSON text, read once, hashed on the way.
mod json;
// A record's members at their places.
mod record;
// Rows of each table, out of a record.
mod flatten;
// One row in the making.
mod row;
// Which chunks a completion cites.
mod citation;
// The vendor's lists of keys and values.
mod more_info;
// What the columns do not hold.
mod extra;
// What goes there, by path and type.
mod drift;
// Where a prompt is cut into parts.
mod prompt;
// Column builders, and how JSON values become theirs.
mod column;
// Row builders of all tables, finished as record batches.
mod batch;
// UTF-8 that comes in pieces.
mod utf8;
// What rows say in numbers.
mod stats;
// Hashes of JSON by value.
mod digest;
// Rows of each table, made into records again.
pub mod restore;
// A record set aside, with its reason.
mod dead_letter;
// What can be wrong with a fragment, and with rows.
mod error;

pub use dead_letter::{DeadLetter, Raw, Reason, end_without_raw, write_masking, write_raw};
pub use decode::{
    AppAssignment, DecodeConfig, DecodedBlock, Decoder, ForgottenRecords, PartitionRows,
    RecordRows, Stray,
};
pub use digest::{ContentDigest, Hash, content_digest};
pub use error::{FragmentError, PolicyError, RestoreError};
pub use forgotten::{Forgotten, IdHash, IdKind, IdScan, Verdict};
pub use masking::Masking;
pub use privacy::{Policies, Policy};
pub use restore::{RestoredRecord, Restorer};
pub use schema::{PromptLayout, SCHEMA_VERSION};
pub use stats::count_rows;
