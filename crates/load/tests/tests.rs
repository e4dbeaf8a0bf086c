//! The crate from outside: batches to files, files to commits, and what crashes leave.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics says where, and the setup is in sight"
)]

mod commit;
mod crash;
mod faulty_store;
mod files;
mod held;
mod readers;
mod setup;
mod vacuum;
mod verify;
