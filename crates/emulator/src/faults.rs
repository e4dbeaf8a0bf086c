//! Scripted faults: which requests go wrong, how often, and how.
//!
//! A fault is a place (kind of request, day, fragment, number), a count, and what happens there. Faults are read from
//! a file or made by tests, in the same terms; a seed settles those that are left to chance.

// The file that faults are written in.
mod script;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::records::{Dice, Purpose};
pub use script::{EXAMPLE, FaultScript, ScriptError};

/// A fault that fires at requests of one kind, by their number.
///
/// Requests are counted from the start of the emulator, refused ones too. All faults that are due at a request happen
/// to it; of those that take the place of the answer, the first in the list does.
///
/// ```
/// use answerlake_emulator::{Fault, FaultKind, On};
///
/// // The second and third look at a job are refused as too many.
/// let fault = Fault {
///     nth: 1,
///     times: 2,
///     ..Fault::new(On::Job, FaultKind::RateLimit { retry_after: Some(1) })
/// };
/// assert_eq!(fault.chance, 1.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Kind of request it fires at.
    pub on: On,
    /// Only requests about a window that reaches into this day; all by default.
    pub day: Option<NaiveDate>,
    /// Only downloads of the fragment at this place of its job, from 1; all by default.
    pub fragment: Option<u32>,
    /// Number of the first request it fires at, of those at its place; the first of all, 0, by default.
    pub nth: u32,
    /// How many requests it fires at; 1 by default.
    pub times: u32,
    /// Whether requests are counted for each window, job or fragment by itself, not all together; false by default.
    pub each: bool,
    /// How likely it fires at a request that is due, from 0 to 1; 1 by default.
    pub chance: f64,
    /// What happens.
    pub kind: FaultKind,
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The request that starts a job.
    Export,
    /// A look at a job.
    Job,
    /// The download of a fragment. A redirect to it is not counted.
    Fragment,
    /// Any of these.
    Any,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The answer has this status and this body, as JSON or, where it begins with `<`, as a web page. Nothing is done:
    /// no job starts, no link is used up.
    Status(u16, String),
    /// The answer is 429 with the vendor's message, and with a `Retry-After` of so many seconds where given.
    RateLimit {
        /// Seconds of the `Retry-After` header.
        retry_after: Option<u64>,
    },
    /// As [`FaultKind::RateLimit`], with a `Retry-After` that names the time so many seconds from now.
    RateLimitUntil {
        /// Seconds until that time.
        seconds: u32,
    },
    /// The vendor's message of a rate limit comes with status 200.
    RateLimitText,
    /// The answer is 403, as for a link that is too old.
    ExpiredLink,
    /// The answer is 200 with a web page, as of a proxy or a login.
    Html,
    /// The token is refused as one that was seen before. Nothing on a fragment.
    ReplayedToken,
    /// The server's clock is off by so many seconds, ahead where positive: in its `Date`, and where it checks tokens.
    ClockSkew {
        /// Seconds that the clock is ahead.
        seconds: i64,
    },
    /// The answer waits so long.
    Delay(Duration),
    /// The connection is reset, and nothing is done.
    Reset,
    /// The connection is reset, nothing is done, and for so long all connections are closed and new ones refused.
    Down(Duration),
    /// No answer comes, and the connection stays open.
    NoAnswer {
        /// Whether the request is carried out all the same.
        carried_out: bool,
    },
    /// After so many bytes of the answer's body nothing more comes, and the connection stays open.
    Hang {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// The request is carried out, but the connection closes after so many bytes of the answer's body, whose
    /// `Content-Length` is that of the whole. 0 sends the head only.
    CutBody {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// As [`FaultKind::CutBody`], of an answer that tells no `Content-Length`.
    CutChunked {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// As [`FaultKind::CutBody`], and the connection is reset, not closed.
    ResetBody {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// The answer ends after so many bytes of its body, and says that this is all of it.
    CutText {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// The body comes at this pace.
    Slow {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// On a job: its last fragment and the total promise one record more than there is, once it is finished. On a
    /// fragment: the last record is missing. Nothing on an export.
    WrongRecordCount,
    /// On a job: it promises one file more than it lists, once it is finished. Nothing on an export or a fragment.
    WrongFileCount,
    /// On a job: its total promises one record more than its fragments do, once it is finished. Nothing on an export
    /// or a fragment.
    WrongTotal,
    /// On a job: the links that this look gives lead through a redirect.
    RedirectLinks,
    /// On a job: the links that this look gives have no host.
    RelativeLinks,
    /// On a job: the links that this look gives work no longer.
    DeadLinks,
    /// On a job: the links that this look gives work once.
    SingleUseLinks,
    /// On a job: it is not known at this look. On an export: the job that it starts is never known.
    JobGone,
    /// On a job: this look at it shows the status given. On an export: the job that it starts shows the status given
    /// at every look and comes no further, so that a status of `INPROGRESS` is a job that never ends. Nothing on a
    /// fragment.
    JobFailed(String),
    /// As [`FaultKind::JobFailed`] with the status `INPROGRESS`, and `timedOut: true`.
    JobTimedOut,
    /// On an export: the progress of the job goes up, back, and up again, before it goes on as it should.
    Backwards,
    /// On an export: the job that it starts has a record twice and another not at all, as paging over moving data
    /// gives it; its counts are right. The first record of the second fragment gives way to the last of the first,
    /// in a single file the second record to the first. Nothing on a job or a fragment, or with fewer than two
    /// records.
    RepeatRecord,
    /// As [`FaultKind::RepeatRecord`], but that no record is missing: the job has one more, and says so.
    ExtraRecord,
    /// On an export: the job that it starts also has records of the day before its range, as many as there are, up to
    /// this number.
    Strays {
        /// Most records of the day before.
        records: usize,
    },
    /// On an export: the records of the job are in no order.
    OutOfOrder,
    /// On an export: the job lacks all feedback, as if it were given later.
    LateFeedback,
    /// On an export: the searches of the job have no answers yet, as if these were written later.
    EarlierRecords,
    /// On an export without records: how the job tells of none.
    Empty(EmptyShape),
    /// On a fragment: it is compressed with gzip.
    Gzip,
    /// On a fragment: it begins with a byte order mark.
    Bom,
    /// On a fragment: it is lines of records, no array.
    Ndjson,
    /// On a fragment: its array stands in an object.
    Wrapped,
}

/// How a finished job tells that there are no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyShape {
    /// One file, whose array is empty.
    File,
    /// Totals of 0, and no list of files.
    Totals,
    /// Neither files nor totals: nothing that proves that there is nothing.
    Nothing,
}

impl Fault {
    /// A fault of the first request of a kind, and of no other.
    pub fn new(on: On, kind: FaultKind) -> Self {
        Self {
            on,
            day: None,
            fragment: None,
            nth: 0,
            times: 1,
            each: false,
            chance: 1.0,
            kind,
        }
    }

    fn is_at(&self, place: &Place) -> bool {
        let is_on = self.on == On::Any || self.on == place.on;
        let is_in = self.day.is_none_or(|day| place.reaches_into(day));
        is_on && is_in && (self.fragment.is_none() || self.fragment == place.fragment)
    }
}

impl FaultKind {
    /// Its name, as a file of faults has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status(..) => "status",
            Self::RateLimit { .. } | Self::RateLimitUntil { .. } => "rate_limit",
            Self::RateLimitText => "rate_limit_text",
            Self::ExpiredLink => "expired_link",
            Self::Html => "html",
            Self::ReplayedToken => "replayed_token",
            Self::ClockSkew { .. } => "clock_skew",
            Self::Delay(_) => "delay",
            Self::Reset => "reset",
            Self::Down(_) => "down",
            Self::NoAnswer { .. } => "no_answer",
            Self::Hang { .. } => "hang",
            Self::CutBody { .. } => "cut_body",
            Self::CutChunked { .. } => "cut_chunked",
            Self::ResetBody { .. } => "reset_body",
            Self::CutText { .. } => "cut_text",
            Self::Slow { .. } => "slow",
            Self::WrongRecordCount => "wrong_record_count",
            Self::WrongFileCount => "wrong_file_count",
            Self::WrongTotal => "wrong_total",
            Self::RedirectLinks => "redirect_links",
            Self::RelativeLinks => "relative_links",
            Self::DeadLinks => "dead_links",
            Self::SingleUseLinks => "single_use_links",
            Self::JobGone => "job_gone",
            Self::JobFailed(_) => "job_failed",
            Self::JobTimedOut => "job_timed_out",
            Self::Backwards => "backwards",
            Self::RepeatRecord => "repeat_record",
            Self::ExtraRecord => "extra_record",
            Self::Strays { .. } => "strays",
            Self::OutOfOrder => "out_of_order",
            Self::LateFeedback => "late_feedback",
            Self::EarlierRecords => "earlier_records",
            Self::Empty(_) => "empty",
            Self::Gzip => "gzip",
            Self::Bom => "bom",
            Self::Ndjson => "ndjson",
            Self::Wrapped => "wrapped",
        }
    }

    /// Whether it does anything on requests of this kind.
    pub fn does_something_on(&self, on: On) -> bool {
        match self {
            Self::WrongRecordCount => matches!(on, On::Job | On::Fragment),
            Self::WrongFileCount
            | Self::WrongTotal
            | Self::RedirectLinks
            | Self::RelativeLinks
            | Self::DeadLinks
            | Self::SingleUseLinks => on == On::Job,
            Self::JobGone | Self::JobFailed(_) | Self::JobTimedOut | Self::ReplayedToken => {
                matches!(on, On::Export | On::Job)
            }
            Self::Backwards
            | Self::RepeatRecord
            | Self::ExtraRecord
            | Self::Strays { .. }
            | Self::OutOfOrder
            | Self::LateFeedback
            | Self::EarlierRecords
            | Self::Empty(_) => on == On::Export,
            Self::ExpiredLink | Self::Gzip | Self::Bom | Self::Ndjson | Self::Wrapped => {
                on == On::Fragment
            }
            _ => true,
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) on: On,
    /// The range that is exported; absent where the request names none.
    pub(crate) range: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The fragment, from 1.
    pub(crate) fragment: Option<u32>,
    /// The window, job or fragment.
    pub(crate) target: String,
}

impl Place {
    /// Whether the range reaches into a day by more than a margin.
    fn reaches_into(&self, day: NaiveDate) -> bool {
        const MARGIN: TimeDelta = TimeDelta::seconds(60);
        let start = day.and_time(NaiveTime::MIN).and_utc();
        self.range.is_some_and(|(from, to)| {
            to > start + MARGIN && from < start + TimeDelta::days(1) - MARGIN
        })
    }
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Met(Vec<FaultKind>);

impl Met {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &FaultKind> {
        self.0.iter()
    }

    pub(crate) fn has(&self, kind: &FaultKind) -> bool {
        self.0.contains(kind)
    }
}

/// The faults of an emulator, and how often requests came to their places.
#[derive(Debug)]
pub(crate) struct Faults {
    script: Vec<Fault>,
    seed: u64,
    over: AtomicBool,
    counts: Mutex<Vec<HashMap<String, Count>>>,
    met: Mutex<Vec<FaultKind>>,
}

#[derive(Debug, Default)]
struct Count {
    seen: u32,
    fired: u32,
}

impl Faults {
    pub(crate) fn new(script: Vec<Fault>, seed: u64) -> Self {
        Self {
            counts: Mutex::new(script.iter().map(|_| HashMap::new()).collect()),
            met: Mutex::default(),
            script,
            seed,
            over: AtomicBool::new(false),
        }
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Counts a request, and gives what is to go wrong with it.
    pub(crate) fn next(&self, place: &Place) -> Met {
        if self.over.load(Ordering::Relaxed) {
            return Met::default();
        }
        let mut counts = self.counts.lock().expect("no holder of this lock panics");
        let mut met = Met::default();
        for (index, (fault, counts)) in (0..).zip(self.script.iter().zip(counts.iter_mut())) {
            if !fault.is_at(place) {
                continue;
            }
            let target = if fault.each {
                place.target.as_str()
            } else {
                ""
            };
            let drawn: u32 = counts.values().map(|count| count.seen).sum();
            let count = counts.entry(target.to_owned()).or_default();
            count.seen += 1;
            let is_due = count.seen > fault.nth && count.fired < fault.times;
            let dice = &mut Dice::new(self.seed, Purpose::Fault, index, drawn);
            if is_due && dice.chance(fault.chance) {
                count.fired += 1;
                met.0.push(fault.kind.clone());
            }
        }
        let mut all = self.met.lock().expect("no holder of this lock panics");
        all.extend(met.iter().cloned());
        met
    }

    /// What went wrong so far, in order.
    pub(crate) fn met(&self) -> Vec<FaultKind> {
        self.met
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(on: On, target: &str) -> Place {
        let day: NaiveDate = "2025-06-24".parse().unwrap();
        let start = day.and_time(NaiveTime::MIN).and_utc();
        let second = TimeDelta::seconds(1);
        Place {
            on,
            range: Some((start - second, start + TimeDelta::days(1) + second)),
            fragment: (on == On::Fragment).then_some(2),
            target: target.to_owned(),
        }
    }

    fn fired(faults: &Faults, place: &Place) -> Vec<&'static str> {
        let met = faults.next(place);
        met.iter().map(FaultKind::name).collect()
    }

    #[test]
    fn faults_fire_by_number_and_kind_of_request() {
        let fault = |on, nth, times, kind| Fault {
            nth,
            times,
            ..Fault::new(on, kind)
        };
        let faults = Faults::new(
            vec![
                fault(On::Job, 1, 2, FaultKind::Html),
                fault(On::Job, 2, 2, FaultKind::Reset),
                fault(On::Export, 0, 1, FaultKind::RateLimitText),
                fault(On::Any, 6, 1, FaultKind::Bom),
            ],
            0,
        );
        let look = place(On::Job, "fj-1");
        let jobs: Vec<_> = (0..5).map(|_| fired(&faults, &look)).collect();
        assert_eq!(
            jobs,
            [
                vec![],
                vec!["html"],
                vec!["html", "reset"],
                vec!["reset"],
                vec![]
            ]
        );
        assert_eq!(fired(&faults, &place(On::Export, "")), ["rate_limit_text"]);
        assert_eq!(fired(&faults, &place(On::Export, "")), ["bom"]);
        assert!(fired(&faults, &place(On::Fragment, "")).is_empty());
        assert_eq!(faults.met().len(), 6);
    }

    #[test]
    fn faults_fire_at_their_place_and_for_each_by_itself() {
        let of_day = |day: &str, kind| Fault {
            day: Some(day.parse().unwrap()),
            times: 9,
            ..Fault::new(On::Any, kind)
        };
        let of_fragment = |number, kind| Fault {
            fragment: Some(number),
            ..Fault::new(On::Fragment, kind)
        };
        let each = Fault {
            each: true,
            nth: 1,
            ..Fault::new(On::Job, FaultKind::JobGone)
        };
        let script = vec![
            of_day("2025-06-24", FaultKind::Html),
            of_day("2025-06-25", FaultKind::Reset),
            of_fragment(2, FaultKind::Gzip),
            of_fragment(3, FaultKind::Bom),
            each,
        ];
        let faults = Faults::new(script, 0);
        assert_eq!(fired(&faults, &place(On::Fragment, "a")), ["html", "gzip"]);
        assert_eq!(fired(&faults, &place(On::Job, "a")), ["html"]);
        assert_eq!(fired(&faults, &place(On::Job, "b")), ["html"]);
        assert_eq!(fired(&faults, &place(On::Job, "b")), ["html", "job_gone"]);
        assert_eq!(fired(&faults, &place(On::Job, "a")), ["html", "job_gone"]);
        assert_eq!(fired(&faults, &place(On::Job, "a")), ["html"]);
        let elsewhere = Place {
            range: None,
            ..place(On::Job, "c")
        };
        assert!(fired(&faults, &elsewhere).is_empty());
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let draw = |seed| {
            let fault = Fault {
                times: u32::MAX,
                chance: 0.3,
                ..Fault::new(On::Job, FaultKind::Html)
            };
            let faults = Faults::new(vec![fault], seed);
            let look = place(On::Job, "");
            (0..200)
                .map(|_| fired(&faults, &look).len())
                .collect::<Vec<_>>()
        };
        let count: usize = draw(1).iter().sum();
        assert!((30..90).contains(&count), "{count}");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
