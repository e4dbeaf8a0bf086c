//! The crate from outside: batches to files, files to commits, and what crashes leave.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics says where, and the setup is in sight"
)]

mod checkpoint;
mod commit;
mod crash;
mod crash_everywhere;
mod crashing_store;
mod faulty_store;
mod files;
mod full_disk;
mod held;
mod paused;
mod racers;
mod readers;
mod s3_faults;
#[path = "../../../tests/support/s3_proxy.rs"]
#[expect(dead_code, reason = "the tests of the program use the rest")]
mod s3_proxy;
#[path = "../../../tests/support/s3_server.rs"]
mod s3_server;
mod setup;
mod vacuum;
mod verify;
mod watch;
mod watched_store;
