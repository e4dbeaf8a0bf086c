//! Gets a window's fragments out of Kore.ai Search AI's "Answer Insights" export API.
//!
//! ```text
//! ExportRequest (app, range, event)
//!   -> take up the stored job, or claim and POST: JobRecord, stored before a poll    job
//!   -> poll until it ends: FinishedJob, its links read and its totals checked        job, wire
//!   -> download each link to a file, at most N at once: FetchedFragment, in order    fragment
//!
//! every request:  rate limit -> fresh token -> send -> status and body to a typed error -> retry
//!                 rate_limit    auth           client  error                               retry
//! ```
//!
//! What holds here: a request is claimed before its job is started, the job's id is stored before its first poll, and a
//! request that starts a job is not repeated blindly. Tokens go to the API only, never to a link. Bodies stream to files and are stored as received, gzip
//! included. Nothing here knows the lake: the jobs in flight are kept by whoever implements [`JobStore`].
//!
//! ```no_run
//! # async fn example(store: &dyn answerlake_extract::JobStore, range: answerlake_model::Window) -> Result<(), answerlake_extract::BoxError> {
//! use answerlake_extract::{AuthConfig, ExportClient, ExtractConfig, SourceConfig};
//!
//! let source = SourceConfig {
//!     host: "https://platform.kore.ai".parse()?,
//!     app_id: "st-1715923c-9a58-54e7-aaa7-14920ded9b91".parse()?,
//!     event: None,
//! };
//! let request = source.request(range);
//! let client = ExportClient::try_new(ExtractConfig::new(source, AuthConfig::TokenFile("token".into())))?;
//!
//! let Some(job) = client.run_job(&request, store).await? else {
//!     return Ok(()); // The store does not want it any more.
//! };
//! let (ready, mut fragments) = tokio::sync::mpsc::channel(4);
//! let folder = std::path::Path::new("/var/tmp/fragments");
//! let fetching = client.fetch_fragments(&job, folder, ready);
//! let reading = async {
//!     while let Some(fragment) = fragments.recv().await {
//!         println!("fragment {}: {} bytes", fragment.position, fragment.bytes);
//!     }
//! };
//! tokio::join!(fetching, reading).0?;
//! # Ok(())
//! # }
//! ```

// The settings, as plain data.
pub mod config;
// A token for each request, ready-made or signed here.
mod auth;
// One app's client: what all its requests share, and how one request is sent.
pub mod client;
// Who is at the other end: the host, or a proxy.
mod peer;
// Why there is no TLS, told by what the TLS library says.
mod tls;
// Keeps the calls of one app below the vendor's limits.
mod rate_limit;
// Repeats what may be repeated, and says how often it did.
mod retry;
// What the API sends, read without requiring more than we use.
mod wire;
// From a request to a finished job: start or take up, poll, check.
pub mod job;
// Jobs that are nobody's to take up.
mod no_store;
// From a finished job to files on disk, in order.
pub mod fragment;
// Where they are kept as they were fetched.
pub mod landing;
// Everything that can go wrong, and what follows from it.
pub mod error;

#[cfg(test)]
mod test_support;

pub use client::{ClientStats, ExportClient, JobObserver};
pub use config::{
    AuthConfig, EventFilter, ExtractConfig, FetchConfig, HttpConfig, JobsConfig, RateConfig,
    SourceConfig,
};
pub use error::{BoxError, Call, ErrorKind, ExtractError};
pub use fragment::{FetchedFragment, FragmentRef};
pub use job::{Claiming, ExportRequest, FinishedJob, JobClaim, JobRecord, JobStore, StoredJob};
pub use landing::LandingSink;
pub use no_store::NoStore;
pub use peer::Peer;
// The types of others that the settings are made of.
pub use secrecy::SecretString;
pub use url::Url;
