//! Scripted faults: which request goes wrong, how often, and how.

use std::sync::Mutex;

/// A fault that fires at requests of one kind, by their number.
///
/// Requests are counted from the start of the emulator, each kind by itself, refused ones too. Of several faults
/// for one request the first in the list fires.
///
/// ```
/// use answerlake_emulator::{Fault, FaultKind, On};
///
/// // The second and third look at a job are refused as too many.
/// let fault = Fault {
///     on: On::Job,
///     nth: 1,
///     times: 2,
///     kind: FaultKind::RateLimit { retry_after: Some(1) },
/// };
/// assert_eq!(fault.nth, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Kind of request it fires at.
    pub on: On,
    /// Number of the first request it fires at; the first of all is 0.
    pub nth: u32,
    /// How many requests it fires at, one after the other.
    pub times: u32,
    /// What happens.
    pub kind: FaultKind,
}

/// The kinds of requests that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The request that starts a job.
    Export,
    /// A look at a job.
    Job,
    /// The download of a fragment. A redirect to it is not counted.
    Fragment,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The answer has this status and this body, as JSON. Nothing is done: no job starts, no link is used up.
    Status(u16, String),
    /// The answer is 429 with the vendor's message, and with a `Retry-After` of so many seconds where given.
    RateLimit {
        /// Seconds of the `Retry-After` header.
        retry_after: Option<u64>,
    },
    /// The vendor's message of a rate limit comes with status 200.
    RateLimitText,
    /// The answer is 403, as for a link that is too old.
    ExpiredLink,
    /// The request is carried out, but the connection closes after so many bytes of the answer's body, whose
    /// `Content-Length` is that of the whole. 0 sends the head only.
    CutBody {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// The answer is 200 with a web page, as of a proxy or a login.
    Html,
    /// On a job: its last fragment and the total promise one record more than there is, once it is finished. On a
    /// fragment: the last record is missing. Nothing on an export.
    WrongRecordCount,
    /// On a job: it promises one file more than it lists, once it is finished. Nothing on an export or a fragment.
    WrongFileCount,
    /// On a job: its total promises one record more than its fragments do, once it is finished. Nothing on an export
    /// or a fragment.
    WrongTotal,
    /// The answer ends after so many bytes of its body, and says that this is all of it.
    CutText {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// On an export: the job that it starts has a record twice and another not at all, as paging over moving data
    /// gives it; its counts are right. The first record of the second fragment gives way to the last of the first,
    /// in a single file the second record to the first. Nothing on a job or a fragment, or with fewer than two
    /// records.
    RepeatRecord,
    /// On a job: this look at it shows the status given. On an export: the job that it starts shows the status given
    /// at every look and comes no further, so that a status of `INPROGRESS` is a job that never ends. Nothing on a
    /// fragment.
    JobFailed(String),
    /// As [`FaultKind::JobFailed`] with the status `INPROGRESS`, and `timedOut: true`.
    JobTimedOut,
}

/// The faults of an emulator, and how many requests of each kind there were.
#[derive(Debug)]
pub(crate) struct Faults {
    script: Vec<Fault>,
    seen: Mutex<[u32; 3]>,
}

impl Faults {
    pub(crate) fn new(script: Vec<Fault>) -> Self {
        Self {
            script,
            seen: Mutex::new([0; 3]),
        }
    }

    /// Counts a request, and gives what is to go wrong with it.
    pub(crate) fn next(&self, on: On) -> Option<FaultKind> {
        let number = {
            let mut seen = self.seen.lock().expect("no holder of this lock panics");
            let count = &mut seen[on as usize];
            *count += 1;
            *count - 1
        };
        self.script
            .iter()
            .find(|fault| fault.on == on && number >= fault.nth && number - fault.nth < fault.times)
            .map(|fault| fault.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_fire_by_number_and_kind_of_request() {
        let fault = |on, nth, times, kind| Fault {
            on,
            nth,
            times,
            kind,
        };
        let faults = Faults::new(vec![
            fault(On::Job, 1, 2, FaultKind::Html),
            fault(On::Job, 2, 2, FaultKind::ExpiredLink),
            fault(On::Export, 0, 1, FaultKind::RateLimitText),
        ]);
        let jobs: Vec<Option<FaultKind>> = (0..5).map(|_| faults.next(On::Job)).collect();
        assert_eq!(
            jobs,
            [
                None,
                Some(FaultKind::Html),
                Some(FaultKind::Html),
                Some(FaultKind::ExpiredLink),
                None
            ]
        );
        assert_eq!(faults.next(On::Export), Some(FaultKind::RateLimitText));
        assert_eq!(faults.next(On::Export), None);
        assert_eq!(faults.next(On::Fragment), None);
    }
}
