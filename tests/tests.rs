//! The program from the outside: each test has its own emulated source, its own folder, and runs the built binary.
//!
//! `support` sets a test up and reads what it left; `behaviour` has one file for each thing the program promises.
#![expect(
    clippy::unwrap_used,
    reason = "where a test cannot go on it fails, and the place says why"
)]

// What each promise comes to.
mod behaviour;
// A source, a folder, the program; the lake, and what it should hold.
mod support;
