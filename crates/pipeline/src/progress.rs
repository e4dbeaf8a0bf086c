//! How far a run is, for whoever wants to look.
//!
//! The run writes down where it stands, which costs a few additions a block of records; nothing is sent anywhere and
//! nobody is called. Who shows it looks as often as he likes, with [`Progress::look`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use answerlake_extract::{FinishedJob, JobObserver};
use answerlake_model::Window;

/// How far a run is.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_working: bool,
    /// When it was planned, and how many windows were.
    planned: Option<(Instant, usize)>,
    ended: usize,
    committed: usize,
    failed: usize,
    records: u64,
    bytes: u64,
    in_flight: Vec<Arc<WindowProgress>>,
}

/// How far a run was when it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressLook {
    /// Whether it has its settings: before that, a command that prints a secret may be asking for a password.
    pub is_working: bool,
    /// Windows planned; `None` until they are.
    pub windows: Option<usize>,
    /// Windows that have ended, failed ones included.
    pub ended: usize,
    /// Partitions that are in the lake as they should be.
    pub committed: usize,
    /// Partitions that failed.
    pub failed: usize,
    /// Records decoded.
    pub records: u64,
    /// Bytes of fragments that came in.
    pub bytes: u64,
    /// How much longer it will take, where that can be told.
    pub remaining: Option<Duration>,
    /// The windows in flight, in order.
    pub in_flight: Vec<WindowLook>,
}

/// How far a window was when it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowLook {
    /// The window; `None` for fragments at hand.
    pub window: Option<Window>,
    /// What is being done.
    pub phase: Phase,
    /// How much of the phase is done, from 0 to 1.
    pub fraction: f64,
    /// Records decoded.
    pub records: u64,
    /// Bytes of fragments that came in.
    pub bytes: u64,
    /// How fast they come in.
    pub bytes_per_second: Option<f64>,
    /// How much longer the phase will take, where that can be told.
    pub remaining: Option<Duration>,
}

/// What is being done for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn, or for its job to start.
    Waiting,
    /// Its job runs at the source.
    Exporting,
    /// Its fragments are downloaded and decoded.
    Loading {
        /// Those done.
        fragments: u64,
        /// All of them.
        of: u64,
    },
    /// Fragments at hand are read and decoded.
    Reading {
        /// Their size.
        bytes: u64,
    },
    /// Its partitions are committed.
    Committing {
        /// Those done.
        partitions: usize,
        /// All of them.
        of: usize,
    },
}

impl Progress {
    /// Looks how far the run is.
    pub fn look(&self) -> ProgressLook {
        self.look_at(Instant::now())
    }

    fn look_at(&self, now: Instant) -> ProgressLook {
        let state = self.state();
        let mut look = ProgressLook {
            is_working: state.is_working,
            windows: state.planned.map(|(_, windows)| windows),
            ended: state.ended,
            committed: state.committed,
            failed: state.failed,
            records: state.records,
            bytes: state.bytes,
            remaining: None,
            in_flight: Vec::with_capacity(state.in_flight.len()),
        };
        let mut windows_done = state.ended as f64;
        for window in &state.in_flight {
            let (committed, failed) = window.partitions_done();
            look.committed += committed;
            look.failed += failed;
            let window_look = window.look_at(now);
            look.records += window_look.records;
            look.bytes += window_look.bytes;
            if let Some(remaining) = window_look.remaining {
                let elapsed = now - window.began;
                windows_done += elapsed.as_secs_f64() / (elapsed + remaining).as_secs_f64();
            }
            look.in_flight.push(window_look);
        }
        look.in_flight
            .sort_by_key(|look| look.window.map(|window| window.start()));
        if let Some((since, windows)) = state.planned {
            look.remaining = Pace::new(since).remaining(windows_done / windows as f64, now, now);
        }
        look
    }

    /// Says that the settings are read and the work begins.
    pub(crate) fn start(&self) {
        self.state().is_working = true;
    }

    /// Says how many windows the run has.
    pub(crate) fn plan(&self, windows: usize) {
        self.state().planned = Some((Instant::now(), windows));
    }

    /// Says that there will be so many windows more.
    pub(crate) fn plan_more(&self, windows: usize) {
        if let Some((_, planned)) = &mut self.state().planned {
            *planned += windows;
        }
    }

    /// Says that a window is worked on.
    pub(crate) fn begin(&self, window: Option<Window>) -> Arc<WindowProgress> {
        let progress = Arc::new(WindowProgress::new(window, Instant::now()));
        self.state().in_flight.push(Arc::clone(&progress));
        progress
    }

    /// Says that a window has ended, and how many of its partitions failed with it.
    pub(crate) fn end(&self, window: &Arc<WindowProgress>, failed_with_it: usize) {
        let (committed, failed) = window.partitions_done();
        let mut state = self.state();
        state.in_flight.retain(|other| !Arc::ptr_eq(other, window));
        state.ended += 1;
        state.committed += committed;
        state.failed += failed + failed_with_it;
        state.records += window.records.load(Relaxed);
        state.bytes += window.bytes.load(Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a window is.
#[derive(Debug)]
pub(crate) struct WindowProgress {
    window: Option<Window>,
    began: Instant,
    stage: Mutex<Stage>,
    records: AtomicU64,
    bytes: AtomicU64,
    fragments: AtomicU64,
}

/// A phase, and what tells how fast it goes.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Waiting,
    Exporting {
        pace: Pace,
        /// What the source said last, and when.
        fraction: f64,
        at: Instant,
    },
    Loading {
        pace: Pace,
        bytes_before: u64,
        fragments: u64,
        records: Option<u64>,
    },
    Reading {
        pace: Pace,
        bytes: u64,
    },
    Committing {
        of: usize,
        committed: usize,
        failed: usize,
    },
}

impl WindowProgress {
    fn new(window: Option<Window>, began: Instant) -> Self {
        Self {
            window,
            began,
            stage: Mutex::new(Stage::Waiting),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            fragments: AtomicU64::new(0),
        }
    }

    /// Says that its job is finished and its fragments are on their way. Those of an earlier export count no more.
    pub(crate) fn loading<'j>(&self, jobs: impl Iterator<Item = &'j FinishedJob> + Clone) {
        let fragments = jobs.clone().map(|job| job.fragments.len() as u64).sum();
        let records = jobs.map(|job| job.total_records).sum();
        self.load(fragments, records, Instant::now());
    }

    fn load(&self, fragments: u64, records: Option<u64>, now: Instant) {
        self.records.store(0, Relaxed);
        self.fragments.store(0, Relaxed);
        *self.stage() = Stage::Loading {
            pace: Pace::new(now),
            bytes_before: self.bytes.load(Relaxed),
            fragments,
            records,
        };
    }

    /// Says that fragments at hand are read, `bytes` in all.
    pub(crate) fn reading(&self, bytes: u64) {
        *self.stage() = Stage::Reading {
            pace: Pace::new(Instant::now()),
            bytes,
        };
    }

    /// Itself, to be told what is read, when it is about fragments at hand: others are counted as they come in.
    pub(crate) fn reader(self: &Arc<Self>) -> Option<Arc<Self>> {
        matches!(*self.stage(), Stage::Reading { .. }).then(|| Arc::clone(self))
    }

    /// Says that so many bytes of a fragment at hand were read.
    pub(crate) fn read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Says that a block of records was decoded.
    pub(crate) fn decoded(&self, records: u64) {
        self.records.fetch_add(records, Relaxed);
    }

    /// Says that a fragment was decoded to its end.
    pub(crate) fn fragment_done(&self) {
        self.fragments.fetch_add(1, Relaxed);
    }

    /// Says that so many partitions are being committed.
    pub(crate) fn committing(&self, partitions: usize) {
        *self.stage() = Stage::Committing {
            of: partitions,
            committed: 0,
            failed: 0,
        };
    }

    /// Says that one of them is done.
    pub(crate) fn partition_done(&self, is_committed: bool) {
        if let Stage::Committing {
            committed, failed, ..
        } = &mut *self.stage()
        {
            *(if is_committed { committed } else { failed }) += 1;
        }
    }

    /// Partitions committed and failed.
    fn partitions_done(&self) -> (usize, usize) {
        match *self.stage() {
            Stage::Committing {
                committed, failed, ..
            } => (committed, failed),
            _ => (0, 0),
        }
    }

    fn look_at(&self, now: Instant) -> WindowLook {
        let (records, bytes) = (self.records.load(Relaxed), self.bytes.load(Relaxed));
        let mut look = WindowLook {
            window: self.window,
            phase: Phase::Waiting,
            fraction: 0.0,
            records,
            bytes,
            bytes_per_second: None,
            remaining: None,
        };
        match *self.stage() {
            Stage::Waiting => {}
            Stage::Exporting { pace, fraction, at } => {
                look.phase = Phase::Exporting;
                look.fraction = fraction;
                look.remaining = pace.remaining(fraction, at, now);
            }
            Stage::Loading {
                pace,
                bytes_before,
                fragments: of,
                records: promised,
            } => {
                let fragments = self.fragments.load(Relaxed).min(of);
                look.phase = Phase::Loading { fragments, of };
                // Records tell more finely than fragments, but not every source promises a number of them.
                look.fraction = match promised {
                    Some(promised) => share(records, promised),
                    None => share(fragments, of),
                };
                look.remaining = pace.remaining(look.fraction, now, now);
                look.bytes_per_second = pace.per_second(bytes - bytes_before, now);
            }
            Stage::Reading { pace, bytes: of } => {
                look.phase = Phase::Reading { bytes: of };
                look.fraction = share(bytes, of);
                look.remaining = pace.remaining(look.fraction, now, now);
                look.bytes_per_second = pace.per_second(bytes, now);
            }
            Stage::Committing {
                of,
                committed,
                failed,
            } => {
                let partitions = committed + failed;
                look.phase = Phase::Committing { partitions, of };
                look.fraction = share(partitions as u64, of as u64);
            }
        }
        look
    }

    fn exported(&self, percent: Option<f64>, now: Instant) {
        let said = percent.map(|percent| (percent / 100.0).clamp(0.0, 1.0));
        let mut stage = self.stage();
        *stage = match *stage {
            Stage::Exporting { pace, fraction, at } => match said {
                // Said again, it tells nothing new.
                Some(said) if said != fraction => Stage::Exporting {
                    pace,
                    fraction: said,
                    at: now,
                },
                _ => Stage::Exporting { pace, fraction, at },
            },
            // A job that was taken up has done much of its work before.
            _ => Stage::Exporting {
                pace: Pace {
                    since: now,
                    from: said.unwrap_or(0.0),
                },
                fraction: said.unwrap_or(0.0),
                at: now,
            },
        };
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobObserver for WindowProgress {
    fn running(&self, percent: Option<f64>) {
        self.exported(percent, Instant::now());
    }

    fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

/// Since when something goes on, and how much of it was done by then.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    from: f64,
}

impl Pace {
    fn new(since: Instant) -> Self {
        Self { since, from: 0.0 }
    }

    /// How much longer it will take, when `fraction` was done at `at`, and it goes on as it went. `None` while too
    /// little is done to tell.
    fn remaining(self, fraction: f64, at: Instant, now: Instant) -> Option<Duration> {
        const ENOUGH: f64 = 0.005;
        let done = fraction - self.from;
        if done < ENOUGH || at <= self.since {
            return None;
        }
        let seconds = (at - self.since).as_secs_f64() * (1.0 - fraction).max(0.0) / done;
        let remaining = Duration::try_from_secs_f64(seconds).ok()?;
        Some(remaining.saturating_sub(now - at))
    }

    fn per_second(self, bytes: u64, now: Instant) -> Option<f64> {
        let seconds = (now - self.since).as_secs_f64();
        (bytes > 0 && seconds > 0.0).then(|| bytes as f64 / seconds)
    }
}

/// What share `done` is of `all`; all of nothing is everything.
fn share(done: u64, all: u64) -> f64 {
    match all {
        0 => 1.0,
        all => (done as f64 / all as f64).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_export_ends_as_it_goes_on() {
        let start = Instant::now();
        let window = WindowProgress::new(None, start);
        let remaining = |at: u64| window.look_at(start + seconds(at)).remaining;
        window.exported(Some(0.0), start);
        assert_eq!(remaining(5), None);
        window.exported(Some(25.0), start + seconds(10));
        assert_eq!(remaining(10), Some(seconds(30)));
        // Between two looks at the job the time runs down; the same answer again changes nothing.
        window.exported(Some(25.0), start + seconds(20));
        assert_eq!(remaining(20), Some(seconds(20)));
        assert_eq!(remaining(99), Some(seconds(0)));
        window.exported(None, start + seconds(99));
        assert_eq!(window.look_at(start + seconds(99)).fraction, 0.25);
    }

    #[test]
    fn a_job_taken_up_is_measured_from_where_it_was() {
        let start = Instant::now();
        let window = WindowProgress::new(None, start);
        window.exported(Some(60.0), start);
        window.exported(Some(80.0), start + seconds(10));
        let remaining = window.look_at(start + seconds(10)).remaining.unwrap();
        assert_eq!(remaining.as_secs_f64().round(), 10.0);
    }

    #[test]
    fn a_second_export_counts_records_anew_and_bytes_on() {
        let start = Instant::now();
        let progress = Progress::default();
        progress.plan(1);
        let window = progress.begin(None);
        for _ in 0..2 {
            window.load(2, Some(100), start);
            window.received(1000);
            window.decoded(50);
            window.fragment_done();
        }
        let look = progress.look_at(start + seconds(2));
        assert_eq!((look.records, look.bytes), (50, 2000));
        let window = &look.in_flight[0];
        assert_eq!(
            window.phase,
            Phase::Loading {
                fragments: 1,
                of: 2
            }
        );
        assert_eq!(
            (window.fraction, window.bytes_per_second),
            (0.5, Some(500.0))
        );
        assert_eq!(window.remaining, Some(seconds(2)));
    }

    #[test]
    fn windows_in_flight_count_by_their_share() {
        let progress = Progress::default();
        progress.plan(4);
        for failed in [0, 3] {
            let window = progress.begin(None);
            window.committing(2 - failed.min(2));
            for _ in failed..2 {
                window.partition_done(true);
            }
            progress.end(&window, failed);
        }
        let (since, _) = progress.state().planned.unwrap();
        let look = progress.look_at(since + seconds(10));
        assert_eq!((look.windows, look.ended), (Some(4), 2));
        assert_eq!((look.committed, look.failed), (2, 3));
        assert_eq!(look.remaining, Some(seconds(10)));

        let window = progress.begin(None);
        window.load(1, Some(100), since);
        window.decoded(50);
        let look = progress.look_at(since + seconds(10));
        // Two and a half of four took ten seconds.
        assert!(look.remaining.unwrap() < seconds(7), "{look:?}");
    }
}
