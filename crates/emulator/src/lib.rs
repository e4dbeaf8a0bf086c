//! The export API of Kore.ai Search AI's "Answer Insights", on this machine.
//!
//! For tests and the demo: it answers as the vendor's documents and samples say, with made-up records, and it can
//! be told to go wrong in the ways such services do. What the documents leave open is a setting here, so that a
//! test can have it both ways.
//!
//! ```text
//! EmulatorConfig -> Dataset (records, made when asked for) -> jobs -> links -> fragment bodies
//! ```
//!
//! This crate shares no types with `answerlake-extract`: a mistake in one then shows in the other.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use answerlake_emulator::{Emulator, EmulatorConfig};
//!
//! let emulator = Emulator::start(EmulatorConfig::default()).await?;
//! assert!(emulator.url().starts_with("http://127.0.0.1:"));
//! assert_eq!(emulator.jobs_started(), 0);
//! # Ok(())
//! # }
//! ```

// What is served and how: settings only.
mod config;
// The made-up records and the fragment files made of them.
mod records;
// Export jobs and how they come along over time.
mod jobs;
// What goes wrong, when told to.
mod faults;
// The HTTP side: tokens, links, answers.
mod api;

pub use api::{Emulator, RequestSeen};
pub use config::{DataConfig, EmulatorConfig, JobShape};
pub use faults::{
    EXAMPLE as EXAMPLE_FAULTS, EmptyShape, Fault, FaultKind, FaultScript, On, ScriptError,
};
pub use records::{Written, write_fragments};
