//! Killed at any moment and run again, the program leaves what an undisturbed run leaves.
//!
//! Moments are drawn from a seed, of three kinds that together cover the whole life of a run: after so many lines of
//! its log, after so much of the time that an undisturbed run takes, and as soon as so many files of one kind have come
//! into the lake, which is the middle of a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use answerlake_emulator::EmulatorConfig;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Dice, Lake, Place, Program, Source, time, truth};

const SEED: u64 = 20_250_623;

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After this line of its log.
    Logged(usize),
    /// This long after its start.
    Elapsed(Duration),
    /// When this many files of one kind have come into the lake.
    Appeared(Kind, usize),
}

/// The kinds of files that a commit brings into the lake, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Job,
    DeadLetters,
    Staged,
    Manifest,
    Data,
    Marker,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Job,
        Self::DeadLetters,
        Self::Staged,
        Self::Manifest,
        Self::Data,
        Self::Marker,
    ];

    fn is_of(self, file: &str) -> bool {
        let is_ours = |folder: &str| {
            file.strip_prefix("_answerlake/")
                .is_some_and(|file| file.starts_with(folder))
        };
        match self {
            Self::Job => is_ours("jobs/"),
            Self::DeadLetters => is_ours("dead_letters/"),
            Self::Staged => is_ours("staging/"),
            Self::Manifest => is_ours("commits/") && file.ends_with(".json"),
            Self::Marker => file.ends_with(".published"),
            Self::Data => !is_ours(""),
        }
    }
}

/// What a kill left in a lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    /// No partition is committed, nothing is staged.
    Nothing,
    /// Files that no revision names yet.
    Staged,
    /// A revision that is not published.
    Unpublished,
    /// Some partitions are committed and published, the others not.
    Part,
    /// All is committed and published: only what comes after was cut off.
    All,
}

/// What an undisturbed run leaves, and how long and talkative it is.
struct Undisturbed {
    lake: Lake,
    took: Duration,
    lines: usize,
}

#[test]
fn killed_at_twenty_moments() {
    let source = source(|_| {});
    check(&source, 20, &|program, lake| {
        if has_large_windows(lake) {
            program.with("--window", "3d")
        } else {
            program
        }
    });
}

#[test]
#[ignore = "many kills of long runs: minutes"]
fn killed_at_sixty_moments_of_a_long_run_by_the_hour() {
    let source = source(|config| {
        config.data.from = time("2025-06-24T00:00:00Z");
        config.data.to = config.data.from + TimeDelta::days(1);
        config.data.records_per_day = 800;
        config.data.text_scale = 0.2;
    });
    check(&source, 60, &|program, lake| {
        program
            .with("--grain", "hour")
            .with(
                "--window",
                if has_large_windows(lake) { "8h" } else { "1h" },
            )
            .with("--jobs-concurrency", "4")
    });
}

/// Three days, one record of which cannot be loaded; every answer takes a moment, so that there is something to kill.
fn source(adjust: impl FnOnce(&mut EmulatorConfig)) -> Source {
    Source::start(|config| {
        config.latency = Duration::from_millis(3);
        config.fragment_records = 12;
        config.extra_records = vec![json!({
            "event": "search",
            "createdOn": "2025-06-24T12:00:00.000Z",
            "query": "without an id"
        })];
        adjust(config);
    })
}

#[expect(clippy::print_stdout, reason = "where it fails, the moments are shown")]
fn check(source: &Source, moments: usize, adjust: &dyn Fn(Program, usize) -> Program) {
    let run = |place: &Place, lake: usize| adjust(place.run(source), lake).with("--log", "debug");
    let mut records = source.records();
    records.retain(|record| record["_id"].is_string());

    let place = Place::new("undisturbed");
    let undisturbed = Undisturbed::of(&run(&place, 0), place.lake());
    truth::assert_holds(&undisturbed.lake, &records);
    let files = undisturbed.lake.data_files();
    let large = Place::new("undisturbed-large");
    let with_large_windows = (0..).find(|lake| has_large_windows(*lake)).unwrap();
    run(&large, with_large_windows).ends(0);
    let quiet = [undisturbed.lake.clone(), large.lake()].map(|lake| {
        let dead_letters = whole(&lake, "_answerlake/dead_letters/");
        assert_eq!(dead_letters.len(), 1);
        assert_eq!(lake.data_files(), files);
        (comparable(&lake), dead_letters)
    });

    let mut dice = Dice::new(SEED);
    let mut left = BTreeMap::<Left, usize>::new();
    let mut lakes = 0;
    // What a kill leaves is partly chance: goes on until everything that it can leave was met.
    while lakes < moments || (lakes < 4 * moments && !Left::all_in(&left)) {
        let place = Place::new("killed");
        let (program, lake) = (run(&place, lakes), place.lake());
        let mut story = Vec::new();
        // One in three is killed again and again.
        let kills = if lakes % 3 == 2 { 2 + dice.below(3) } else { 1 };
        for _ in 0..kills {
            let moment = undisturbed.moment(&mut dice);
            let found = kill(&program, &lake, moment).then(|| Left::of(&lake, &undisturbed.lake));
            story.push((moment, found));
            if let Some(found) = found {
                *left.entry(found).or_default() += 1;
            }
        }
        if story.iter().all(|(_, found)| found.is_none()) {
            // It was done before.
            continue;
        }
        // Shown where the test fails.
        println!("seed {SEED}, lake {lakes}: {story:?}");
        let result = program.result();
        assert_eq!(lake.data_files(), files);
        // Of large windows, the quiet run's manifests are others.
        let (manifests, dead_letters) = &quiet[usize::from(has_large_windows(lakes))];
        assert_eq!(comparable(&lake), *manifests);
        // Their names tell where in its job each was met.
        assert_eq!(whole(&lake, "_answerlake/dead_letters/"), *dead_letters);
        lake.assert_sound();
        truth::assert_holds(&lake, &records);
        place.assert_scratch_is_empty();
        assert_left_by_others(&lake, &result);
        lakes += 1;
    }
    println!("{left:?}");
    assert!(Left::all_in(&left), "not every state was met: {left:?}");
}

/// In one lake of four, windows are of several partitions.
fn has_large_windows(lake: usize) -> bool {
    lake % 4 == 3
}

impl Undisturbed {
    fn of(program: &Program, lake: Lake) -> Self {
        let began = Instant::now();
        let outcome = program.ends(0);
        let took = began.elapsed();
        assert_eq!(outcome.json()["status"], "ok");
        lake.assert_whole();
        Self {
            lake,
            took,
            lines: outcome.stderr.lines().count(),
        }
    }

    /// Draws a moment of the life of such a run; half of them in its commits.
    fn moment(&self, dice: &mut Dice) -> Moment {
        match dice.below(4) {
            0 => Moment::Logged(1 + dice.below(self.lines)),
            1 => Moment::Elapsed(self.took * dice.below(95) as u32 / 100),
            _ => {
                let kind = Kind::ALL[dice.below(Kind::ALL.len())];
                let partitions = self.lake.newest().len();
                let most = match kind {
                    Kind::DeadLetters => 1,
                    Kind::Staged | Kind::Data => self.lake.data_files().len(),
                    Kind::Job | Kind::Manifest | Kind::Marker => partitions,
                };
                Moment::Appeared(kind, 1 + dice.below(most))
            }
        }
    }
}

/// Runs the program and kills it at that moment; whether it was still running then.
fn kill(program: &Program, lake: &Lake, moment: Moment) -> bool {
    let mut child = program
        .command()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let logs = BufReader::new(child.stderr.take().unwrap());
    let lines = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lines);
    let counting = std::thread::spawn(move || {
        for line in logs.lines() {
            line.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut seen: BTreeSet<String> = lake.files().into_iter().collect();
    let before = seen.len();
    let status = loop {
        let is_now = match moment {
            Moment::Logged(number) => lines.load(Ordering::Relaxed) >= number,
            Moment::Elapsed(time) => began.elapsed() >= time,
            Moment::Appeared(kind, number) => {
                let files = lake.files().into_iter();
                seen.extend(files.filter(|file| kind.is_of(file)));
                seen.len() - before >= number
            }
        };
        if is_now {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_micros(100));
    };
    counting.join().unwrap();
    assert!(
        status.code().is_none_or(|code| code == 0),
        "{moment:?}: {status}"
    );
    status.code().is_none()
}

impl Left {
    fn all_in(counts: &BTreeMap<Self, usize>) -> bool {
        [Self::Nothing, Self::Staged, Self::Unpublished, Self::Part]
            .iter()
            .all(|left| counts.contains_key(left))
    }

    fn of(lake: &Lake, undisturbed: &Lake) -> Self {
        let count = |kind: Kind| {
            let files = lake.files().into_iter();
            files.filter(|file| kind.is_of(file)).count()
        };
        let (manifests, markers) = (count(Kind::Manifest), count(Kind::Marker));
        if markers < manifests {
            Self::Unpublished
        } else if markers == undisturbed.newest().len() {
            Self::All
        } else if count(Kind::Staged) > 0 {
            Self::Staged
        } else if markers > 0 {
            Self::Part
        } else {
            Self::Nothing
        }
    }
}

/// All manifests without what differs from one run to the next: ids, times, and where files were staged.
fn comparable(lake: &Lake) -> BTreeMap<String, Vec<Value>> {
    let mut manifests = lake.manifests();
    for manifest in manifests.values_mut().flatten() {
        for random in ["commit_id", "run_id", "created_at"] {
            assert!(manifest[random].is_string(), "{manifest}");
            manifest[random] = Value::Null;
        }
        for job in manifest["jobs"].as_array_mut().unwrap() {
            for random in ["job_id", "as_of"] {
                assert!(job[random].is_string(), "{job}");
                job[random] = Value::Null;
            }
            // How long the export took is a time, and absent where a job was found done.
            job.as_object_mut().unwrap().remove("export_millis");
        }
        for file in manifest["files"].as_array_mut().unwrap() {
            let staged = &mut file["origin"]["staged"]["path"];
            assert!(staged.is_string(), "{file}");
            *staged = Value::Null;
        }
    }
    manifests
}

/// The files below a folder, but for those that a killed run was writing: the store writes under another name first,
/// ending in `#` and a number, that neither it nor a reader takes for a file of the lake.
fn whole(lake: &Lake, folder: &str) -> Vec<String> {
    let mut files = lake.files_below(folder);
    files.retain(|file| !file.contains('#'));
    files
}

/// What a killed run leaves in staging and among the jobs in flight stays until it is old; the run that ended well
/// leaves nothing there.
#[track_caller]
fn assert_left_by_others(lake: &Lake, last: &Value) {
    let run_id = last["run_id"].as_str().unwrap();
    let staged = lake.files_below("_answerlake/staging/");
    assert!(
        staged.iter().all(|file| !file.contains(run_id)),
        "{staged:?}"
    );
    for file in lake.files() {
        assert!(
            file.starts_with("_answerlake/") || !file.contains('#'),
            "{file}"
        );
    }
    for file in whole(lake, "_answerlake/jobs/") {
        let job: Value = serde_json::from_slice(&std::fs::read(lake.path(&file)).unwrap()).unwrap();
        assert_ne!(job["run_id"], last["run_id"], "{job}");
    }
}
