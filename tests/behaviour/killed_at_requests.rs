//! Killed at each of its requests and run again, the program leaves what an undisturbed run leaves, and has exported
//! no window more than once more.
//!
//! The source holds the request at which the program is killed: unheard, heard but not answered, or answered by half.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use answerlake_emulator::{Fault, FaultKind, On};

use crate::support::{Dice, LONG, Place, Source};

const SEED: u64 = 6;

/// How far a request has come when the program is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// It is sent, and nothing came of it.
    Sent,
    /// The source has done what was asked for, and has not answered.
    Done,
    /// The head of the answer and the first bytes of its body have come.
    HalfAnswered,
}

impl Reach {
    const ALL: [Self; 3] = [Self::Sent, Self::Done, Self::HalfAnswered];

    fn fault(self) -> FaultKind {
        match self {
            Self::Sent => FaultKind::NoAnswer { carried_out: false },
            Self::Done => FaultKind::NoAnswer { carried_out: true },
            // Less than the answer to an export has, the shortest of all.
            Self::HalfAnswered => FaultKind::Hang { after: 200 },
        }
    }
}

#[test]
fn killed_at_twenty_of_its_requests() {
    let mut points = all_points();
    let dice = &mut Dice::new(SEED);
    for place in (1..points.len()).rev() {
        points.swap(place, dice.below(place + 1));
    }
    check(&points[..20]);
}

#[test]
#[ignore = "as many kills as a run has requests, three times: a minute"]
fn killed_at_each_of_its_requests() {
    check(&all_points());
}

/// Three days in two or three fragments each.
fn source(faults: Vec<Fault>) -> Source {
    Source::start(|config| {
        config.fragment_records = 12;
        config.faults = faults;
    })
}

fn all_points() -> Vec<(u32, Reach)> {
    let requests = quiet_run().requests as u32;
    (0..requests)
        .flat_map(|request| Reach::ALL.map(|reach| (request, reach)))
        .collect()
}

/// What an undisturbed run leaves.
struct Quiet {
    digests: BTreeMap<String, String>,
    data_files: BTreeMap<String, u64>,
    requests: usize,
    jobs: usize,
}

fn quiet_run() -> Quiet {
    let source = source(Vec::new());
    let place = Place::new("quiet");
    program(&place, &source).result();
    Quiet {
        digests: place.lake().digests(),
        data_files: place.lake().data_files(),
        requests: source.emulator().requests().len(),
        jobs: source.emulator().jobs_started(),
    }
}

/// The run, one request after the other, so that it is known which one is which.
fn program(place: &Place, source: &Source) -> crate::support::Program {
    place
        .run(source)
        .with("--jobs-concurrency", "1")
        .with("--fetch-concurrency", "1")
}

#[expect(
    clippy::print_stdout,
    reason = "the counts are what the test is asked for"
)]
fn check(points: &[(u32, Reach)]) {
    let quiet = quiet_run();
    assert!(quiet.requests >= 3 * 5, "{}", quiet.requests);
    let mut more_jobs = BTreeMap::<(Reach, usize), usize>::new();
    for &(request, reach) in points {
        let told = format!("killed at request {request}, {reach:?}");
        let source = source(vec![Fault {
            nth: request,
            ..Fault::new(On::Any, reach.fault())
        }]);
        let place = Place::new("killed-at-request");
        let program = program(&place, &source);
        let child = program
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        kill_at_the_fault(child.unwrap(), &source, &told);
        assert_eq!(
            source.emulator().requests().len(),
            request as usize + 1,
            "{told}"
        );

        program.result();
        let lake = place.lake();
        assert_eq!(lake.digests(), quiet.digests, "{told}");
        assert_eq!(lake.data_files(), quiet.data_files, "{told}");
        lake.assert_sound();
        place.assert_scratch_is_empty();
        let jobs = source.emulator().jobs_started() - quiet.jobs;
        assert!(jobs <= 1, "{told}: {jobs} jobs more than a quiet run");
        *more_jobs.entry((reach, jobs)).or_default() += 1;
    }
    println!(
        "{} kills, in a run of {} requests; by reach, and jobs started beyond the {} of a quiet run: {more_jobs:?}",
        points.len(),
        quiet.requests,
        quiet.jobs
    );
    // Only an export that was heard, and whose answer was not, is made again.
    assert!(!more_jobs.contains_key(&(Reach::Sent, 1)), "{more_jobs:?}");
}

#[track_caller]
fn kill_at_the_fault(mut child: Child, source: &Source, told: &str) {
    let began = Instant::now();
    while source.emulator().faults_met().is_empty() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{told}: it ended before, {ended:?}");
        assert!(began.elapsed() < LONG, "{told}: it does not come to it");
        std::thread::sleep(Duration::from_millis(1));
    }
    // For what was sent to arrive; where it does not, the kill comes a little earlier.
    std::thread::sleep(Duration::from_millis(10));
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert_eq!(ended.code(), None, "{told}: {ended}");
}
