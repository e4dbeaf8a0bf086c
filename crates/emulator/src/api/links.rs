//! Signed download links.
//!
//! A link is `…/f-<uuid>.json?n=<digits>&s=<signature>` with a signature that ends in `$$`, as base64 does in `==`.
//! It is checked byte for byte: a client that encodes the query anew gets nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey};
use tokio::time::Instant;

use super::answer::Answer;
use crate::jobs::Job;

/// The links given out.
pub(super) struct Links {
    key: EncodingKey,
    lifetime: Duration,
    single_use: bool,
    files: Mutex<HashMap<String, LinkedFile>>,
}

/// A file that links lead to.
struct LinkedFile {
    job: Arc<Job>,
    place: usize,
    /// Links to the file, by their `n`.
    issued: HashMap<String, Issued>,
}

struct Issued {
    ends: Instant,
    used: bool,
    single_use: bool,
}

/// What is worse about a link than the settings say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LinkTerms {
    pub(super) is_dead: bool,
    pub(super) single_use: bool,
}

impl Links {
    pub(super) fn new(secret: &str, lifetime: Duration, single_use: bool) -> Self {
        Self {
            key: EncodingKey::from_secret(secret.as_bytes()),
            lifetime,
            single_use,
            files: Mutex::default(),
        }
    }

    /// Makes a new link to a file of a job: its name and query. Older ones go on working for their time.
    pub(super) fn issue(&self, job: &Arc<Job>, place: usize, terms: LinkTerms) -> String {
        let name = &job.files[place].media_name;
        let number = (uuid::Uuid::new_v4().as_u128() % 10_000_000_000).to_string();
        let query = self.query(name, &number);
        let mut files = self.files.lock().expect("no holder of this lock panics");
        let file = files.entry(name.clone()).or_insert_with(|| LinkedFile {
            job: Arc::clone(job),
            place,
            issued: HashMap::new(),
        });
        let lifetime = if terms.is_dead {
            Duration::ZERO
        } else {
            self.lifetime
        };
        let issued = Issued {
            ends: Instant::now() + lifetime,
            used: false,
            single_use: self.single_use || terms.single_use,
        };
        file.issued.insert(number, issued);
        format!("{name}?{query}")
    }

    /// The job, and the place in it, of a file that there is a link to.
    pub(super) fn linked(&self, name: &str) -> Option<(Arc<Job>, usize)> {
        let files = self.files.lock().expect("no holder of this lock panics");
        let file = files.get(name)?;
        Some((Arc::clone(&file.job), file.place))
    }

    /// Finds what a link leads to, and uses it up where links work once only. The query is as it came over the wire.
    pub(super) fn follow(&self, name: &str, query: &str) -> Result<(Arc<Job>, usize), Answer> {
        let mut files = self.files.lock().expect("no holder of this lock panics");
        let file = files
            .get_mut(name)
            .ok_or_else(|| Answer::refusal(404, "Invalid file id", 404))?;
        let number = query
            .strip_prefix("n=")
            .and_then(|rest| rest.split_once('&'))
            .map_or("", |(number, _)| number);
        let issued = match file.issued.get_mut(number) {
            Some(issued) if query == self.query(name, number) => issued,
            _ => return Err(Answer::refusal(401, "Invalid signature", 401)),
        };
        if issued.ends <= Instant::now() {
            return Err(Answer::refusal(403, "The link has expired", 403));
        }
        if issued.used {
            return Err(Answer::refusal(403, "The link was used before", 403));
        }
        issued.used = issued.single_use;
        Ok((Arc::clone(&file.job), file.place))
    }

    fn query(&self, name: &str, number: &str) -> String {
        let message = format!("{name}?n={number}");
        let digest = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::HS256)
            .expect("HS256 signs anything with any secret");
        // The samples' signatures are a digest in quotes, in base64 once more.
        let signature = STANDARD.encode(format!("\"{digest}=\""));
        format!("n={number}&s={}", signature.replace('=', "$"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobShape;
    use crate::jobs::{JobFaults, JobSpec};

    fn job() -> Arc<Job> {
        let spec = JobSpec {
            app_id: "st-1".to_owned(),
            search_index_id: "sidx-1".to_owned(),
            shape: JobShape::Legacy,
            fragment_records: 150,
            base: Duration::ZERO,
            per_fragment: Duration::ZERO,
            range: Default::default(),
        };
        Arc::new(Job::start(Vec::new(), spec, 0, JobFaults::default()))
    }

    fn status(links: &Links, name: &str, query: &str) -> u16 {
        match links.follow(name, query) {
            Ok(_) => 200,
            Err(answer) => answer.status(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_works_byte_for_byte_and_for_its_time() {
        let links = Links::new("secret", Duration::from_secs(300), false);
        let job = job();
        let link = links.issue(&job, 0, LinkTerms::default());
        let (name, query) = link.split_once('?').unwrap();
        assert!(query.ends_with("$$"), "{query}");
        assert_eq!(query.split_once("&s=").unwrap().1.len(), 64);
        assert_eq!(status(&links, name, query), 200);
        assert_eq!(status(&links, name, query), 200);
        assert_eq!(status(&links, name, &query.replace('$', "%24")), 401);
        assert_eq!(status(&links, name, ""), 401);
        assert_eq!(status(&links, "f-other.json", query), 404);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(status(&links, name, query), 403);
        let link = links.issue(&job, 0, LinkTerms::default());
        let (name, query) = link.split_once('?').unwrap();
        assert_eq!(status(&links, name, query), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_for_one_use_works_once() {
        let links = Links::new("secret", Duration::from_secs(300), true);
        let link = links.issue(&job(), 0, LinkTerms::default());
        let (name, query) = link.split_once('?').unwrap();
        assert_eq!(status(&links, name, query), 200);
        assert_eq!(status(&links, name, query), 403);
    }
}
