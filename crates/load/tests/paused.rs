//! Whoever is stopped for hours at any step, and goes on after others have been at work, does no harm.
//!
//! A committer, a recoverer or a vacuum is stopped before or after its k-th operation, for every k. Meanwhile others
//! commit, recover, and vacuum by a clock that is 60 hours on. Then it goes on. At no moment are there other data files
//! than those of one revision, does a published manifest name a file that is not there, or stays anything for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use answerlake_load::{
    CommitOutcome, Lake, LakeStore, LoadError, OnCommitted, Proposal, VacuumOptions, WriterConfig,
};
use answerlake_model::Table;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::task::JoinHandle;

use crate::faulty_store::FaultyStore;
use crate::setup::{batch, check_consistent, encode, key, paths, proposal};
use crate::watched_store::{Clock, Stop, Watched, WatchedStore};

/// More than staging lives.
const HOURS: i64 = 60;

/// Where a lake lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In memory; a rename is a copy and a deletion, as on S3.
    Memory,
    /// On a disk, as the program opens it.
    Disk,
}

/// A lake, and the folder that it and its scratch files are in.
struct Shared {
    place: Place,
    folder: tempfile::TempDir,
    store: LakeStore,
    clock: Arc<Clock>,
}

/// What the one that is stopped brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    First,
    Replacement,
    Empty,
    /// The content that is there, which ends that it is provisional.
    CarryOver,
    /// A replacement that reads what it would replace.
    Guarded,
}

/// What others do meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Recover,
    Commit,
    CommitTwice,
    VacuumThenCommit,
    CommitThenVacuum,
    Vacuum,
    /// A staged file is lost, so that its revision can never be published, and another is committed.
    LoseThenCommit,
}

/// Who is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Committer(Brought),
    /// Of a replacement whose committer was killed once it had created the revision.
    Recoverer,
    /// The same, and there are leftovers.
    Vacuum,
}

const BROUGHT: [Brought; 5] = [
    Brought::First,
    Brought::Replacement,
    Brought::Empty,
    Brought::CarryOver,
    Brought::Guarded,
];

const MEANWHILE: [Meanwhile; 7] = [
    Meanwhile::CommitThenVacuum,
    Meanwhile::Vacuum,
    Meanwhile::LoseThenCommit,
    Meanwhile::Recover,
    Meanwhile::Commit,
    Meanwhile::CommitTwice,
    Meanwhile::VacuumThenCommit,
];

/// Those of them that every run of the tests tries: what the others do is in these, too.
const FEW: usize = 3;

impl Shared {
    async fn new(place: Place) -> Self {
        // Where there is a disk in memory: how long another takes to sync is not what is looked at.
        let quick = Path::new("/dev/shm");
        let folder = match quick.is_dir() {
            true => tempfile::tempdir_in(quick).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let store = match place {
            Place::Memory => LakeStore::from_object_store("memory://", Arc::new(InMemory::new())),
            Place::Disk => {
                let lake = folder.path().join("lake");
                LakeStore::open(lake.to_str().unwrap()).await.unwrap()
            }
        };
        Self {
            place,
            folder,
            store,
            clock: Arc::default(),
        }
    }

    fn scratch(&self) -> &Path {
        self.folder.path()
    }

    fn watched(&self, stop: Option<Stop>) -> (Arc<WatchedStore>, Lake) {
        let inner: Arc<dyn ObjectStore> = match self.place {
            Place::Memory => self.store.object_store(),
            // Without its syncs, which take most of the time and are not what is looked at here.
            Place::Disk => {
                Arc::new(LocalFileSystem::new_with_prefix(self.folder.path().join("lake")).unwrap())
            }
        };
        let mut store = WatchedStore::new(inner);
        if self.place == Place::Memory {
            store = store.with_clock(&self.clock);
        } else {
            store = store.with_atomic_renames();
        }
        if let Some(stop) = stop {
            store = store.stopping(stop);
        }
        let store = Arc::new(store);
        let watched = Arc::new(Watched(Arc::clone(&store)));
        (
            store,
            Lake::new(self.store.clone().with_object_store(watched)),
        )
    }

    /// The lake as others see it.
    fn lake(&self) -> Lake {
        self.watched(None).1
    }

    fn jump(&self) {
        match self.place {
            Place::Memory => self.clock.jump(HOURS),
            Place::Disk => age(&self.folder.path().join("lake")),
        }
    }

    fn brought(&self, brought: Brought) -> Proposal {
        let scratch = self.scratch();
        match brought {
            Brought::First | Brought::Replacement => proposal(scratch, "run-1", 6),
            Brought::Empty => empty(scratch),
            Brought::CarryOver => proposal(scratch, "run-1", 5),
            Brought::Guarded => Proposal {
                on_committed: OnCommitted::ReplaceUnlessShrunk,
                recheck: true,
                ..proposal(scratch, "run-1", 6)
            },
        }
    }

    async fn prepare(&self, brought: Brought) {
        if brought != Brought::First {
            let provisional = Proposal {
                provisional: true,
                ..proposal(self.scratch(), "run-0", 5)
            };
            self.lake().commit(provisional).await.unwrap();
        }
    }

    async fn meanwhile(&self, what: Meanwhile) {
        let lake = self.lake();
        let commit = async |run: &str, rows| {
            let outcome = lake.commit(proposal(self.scratch(), run, rows)).await;
            assert!(
                matches!(outcome, Ok(CommitOutcome::Committed { .. })),
                "{outcome:?}"
            );
            self.check_view().await;
        };
        match what {
            Meanwhile::Recover => {
                lake.recover(None).await.unwrap();
            }
            Meanwhile::Commit => commit("run-2", 7).await,
            Meanwhile::CommitTwice => {
                commit("run-2", 7).await;
                commit("run-3", 8).await;
            }
            Meanwhile::VacuumThenCommit => {
                self.vacuum().await;
                self.check_view().await;
                commit("run-2", 7).await;
            }
            Meanwhile::Vacuum => self.vacuum().await,
            Meanwhile::LoseThenCommit => {
                self.lose_staged_file().await;
                commit("run-2", 7).await;
            }
            Meanwhile::CommitThenVacuum => {
                commit("run-2", 7).await;
                self.vacuum().await;
                self.check_view().await;
                commit("run-3", 8).await;
            }
        }
        self.check_view().await;
    }

    async fn lose_staged_file(&self) {
        let staged = paths(&self.lake(), "_answerlake/staging/run-1").await;
        if let Some(path) = staged.last() {
            let store = self.store.object_store();
            let path = object_store::path::Path::from(path.as_str());
            // Of what one does at once, only one thing is stopped: another may just have moved the file.
            match object_store::ObjectStoreExt::delete(&store, &path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Commits a replacement as one who is killed once he has created the revision.
    async fn cut_replacement(&self) {
        self.prepare(Brought::Replacement).await;
        let mut faulty = FaultyStore::new(self.watched(None).1.store().object_store());
        faulty.dies_after_create = true;
        let lake = Lake::new(self.store.clone().with_object_store(Arc::new(faulty)));
        let tables = [(Table::Queries, batch(0..6)), (Table::Chunks, batch(0..4))];
        let both = Proposal {
            files: encode(self.scratch(), WriterConfig::default(), &tables),
            ..proposal(self.scratch(), "run-1", 6)
        };
        lake.commit(both).await.unwrap_err();
    }

    /// Leaves what vacuum looks for: old staging, and a file that the first revision had.
    async fn leave(&self) {
        let store = self.store.object_store();
        let state = self.lake().state(&key()).await.unwrap().unwrap();
        let dropped = &state.manifest.dropped[0];
        let left = format!(
            "_answerlake/staging/run-0/{}/c/queries/part-00000-r1-ab.parquet",
            key()
        );
        for path in [dropped, &left] {
            let path = object_store::path::Path::from(path.as_str());
            object_store::ObjectStoreExt::put(&store, &path, "left".into())
                .await
                .unwrap();
        }
        self.jump();
    }

    async fn vacuum(&self) {
        self.jump();
        let options = VacuumOptions {
            apply: true,
            ..VacuumOptions::default()
        };
        self.lake().vacuum(&options).await.unwrap();
    }

    /// What readers see is one revision, whole: that of the newest manifest that is published, after all who are not
    /// stopped are done.
    async fn check_view(&self) {
        let lake = self.lake();
        let Some(state) = lake.state(&key()).await.unwrap() else {
            assert_eq!(self.data().await, BTreeMap::new());
            return;
        };
        assert!(state.published, "nobody is at work but who is stopped");
        let files = state.manifest.files.iter();
        let named = files.map(|file| (file.path.clone(), file.bytes));
        assert_eq!(self.data().await, named.collect());
    }

    /// The data files, with their sizes.
    async fn data(&self) -> BTreeMap<String, u64> {
        let lake = self.lake();
        let mut found = BTreeMap::new();
        for table in ["queries", "chunks"] {
            for path in paths(&lake, table).await {
                let store = self.store.object_store();
                let location = object_store::path::Path::from(path.as_str());
                let object = object_store::ObjectStoreExt::head(&store, &location);
                found.insert(path, object.await.unwrap().size);
            }
        }
        found
    }

    /// Checks the end of it all; says whether a vacuum was needed.
    async fn check_end(&self) -> bool {
        self.check_view().await;
        let lake = self.lake();
        let is_clean = paths(&lake, "_answerlake/staging").await.is_empty();
        if !is_clean {
            self.vacuum().await;
        }
        check_consistent(&lake).await;
        !is_clean
    }
}

fn empty(scratch: &Path) -> Proposal {
    Proposal {
        files: Vec::new(),
        content_digest: "of nothing".to_owned(),
        ..proposal(scratch, "run-1", 0)
    }
}

/// Makes all of a folder older.
fn age(folder: &Path) {
    let by = Duration::from_secs(HOURS.unsigned_abs() * 3600);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        }
        // What is done beside the one operation that is stopped may go on for a moment.
        let Ok(file) = std::fs::File::open(&path) else {
            continue;
        };
        let modified: SystemTime = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - by).unwrap();
    }
}

/// Waits until the one at work is stopped; gives what came of it where it was done before.
async fn stopped<T>(store: &WatchedStore, work: &mut JoinHandle<T>) -> Option<T> {
    tokio::select! {
        biased;
        permit = store.stopped.acquire() => {
            permit.unwrap().forget();
            None
        }
        done = work => Some(done.unwrap()),
    }
}

/// Stops somebody at every point; gives how many there were, and after how many a vacuum was needed.
async fn stop_everywhere(place: Place, who: Who, meanwhile: Meanwhile) -> (u64, u64) {
    let (mut points, mut vacuumed) = (0, 0);
    for at in 1.. {
        for stop in [Stop::Before(at), Stop::After(at)] {
            let shared = Shared::new(place).await;
            let (store, mut work) = start(&shared, who, stop).await;
            if let Some(done) = stopped(&store, &mut work).await {
                done.unwrap();
                assert!(points >= 8, "{points}");
                return (points, vacuumed);
            }
            points += 1;
            let log = store.log();
            let context = format!("{place:?}, {who:?}, {meanwhile:?}, {stop:?}: {log:?}");
            let check = async {
                shared.meanwhile(meanwhile).await;
                store.go_on.add_permits(1);
                let outcome = work.await.unwrap().unwrap();
                if let (Who::Committer(brought), Some(outcome)) = (who, outcome) {
                    let digest = &shared.brought(brought).content_digest;
                    check_outcome(&shared, outcome, digest).await;
                }
                shared.check_end().await
            };
            vacuumed += u64::from(told(context, &store, check).await);
        }
    }
    unreachable!("all work ends")
}

type Work = JoinHandle<Result<Option<CommitOutcome>, LoadError>>;

/// Begins the work of the one who is stopped.
async fn start(shared: &Shared, who: Who, stop: Stop) -> (Arc<WatchedStore>, Work) {
    match who {
        Who::Committer(brought) => shared.prepare(brought).await,
        Who::Recoverer => shared.cut_replacement().await,
        Who::Vacuum => {
            shared.cut_replacement().await;
            shared.leave().await;
        }
    }
    let (store, lake) = shared.watched(Some(stop));
    let work = match who {
        Who::Committer(brought) => {
            let proposal = shared.brought(brought);
            tokio::spawn(async move { lake.commit(proposal).await.map(Some) })
        }
        Who::Recoverer => tokio::spawn(async move { lake.recover(None).await.map(|_| None) }),
        Who::Vacuum => {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || {
                let options = VacuumOptions {
                    apply: true,
                    ..VacuumOptions::default()
                };
                runtime.block_on(lake.vacuum(&options)).map(|_| None)
            })
        }
    };
    (store, work)
}

/// Says what was at work when a check fails.
async fn told<T>(context: String, store: &WatchedStore, check: impl Future<Output = T>) -> T {
    use futures::FutureExt;
    let checked = std::panic::AssertUnwindSafe(check).catch_unwind().await;
    checked.unwrap_or_else(|panic| {
        // Nobody waits for one who is stopped for good.
        store.go_on.add_permits(1);
        let text = panic.downcast_ref::<String>().cloned();
        panic!(
            "{context}: {}",
            text.unwrap_or_else(|| "see above".to_owned())
        )
    })
}

/// Who says that he committed a revision did, and it holds what he brought.
async fn check_outcome(shared: &Shared, outcome: CommitOutcome, digest: &str) {
    let revision = match outcome {
        CommitOutcome::Committed { revision, .. } | CommitOutcome::Unchanged { revision, .. } => {
            revision
        }
        CommitOutcome::Shrunk { .. } => return,
        other => panic!("{other:?}"),
    };
    let path = format!("_answerlake/commits/{}/{revision:08}.json", key());
    let path = object_store::path::Path::from(path);
    let store = shared.store.object_store();
    let json = object_store::ObjectStoreExt::get(&store, &path)
        .await
        .unwrap();
    let json = json.bytes().await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(manifest["content_digest"], digest);
}

#[expect(clippy::print_stdout, reason = "the number of points is worth seeing")]
async fn stop_all(place: Place, who: &[Who], meanwhile: &[Meanwhile]) {
    let (mut points, mut vacuumed) = (0, 0);
    for &who in who {
        for &meanwhile in meanwhile {
            let (some, needed) = stop_everywhere(place, who, meanwhile).await;
            points += some;
            vacuumed += needed;
        }
    }
    println!(
        "{place:?}: stopped at {points} points; something was left for vacuum after {vacuumed}"
    );
}

#[tokio::test]
async fn a_committer_may_stop_anywhere_in_memory() {
    stop_all(
        Place::Memory,
        &BROUGHT.map(Who::Committer),
        &MEANWHILE[..FEW],
    )
    .await;
}

#[tokio::test]
async fn a_committer_may_stop_anywhere_on_disk() {
    stop_all(Place::Disk, &BROUGHT.map(Who::Committer), &MEANWHILE[..FEW]).await;
}

#[tokio::test]
async fn a_recoverer_and_a_vacuum_may_stop_anywhere_in_memory() {
    stop_all(
        Place::Memory,
        &[Who::Recoverer, Who::Vacuum],
        &MEANWHILE[..FEW],
    )
    .await;
}

#[tokio::test]
async fn a_recoverer_and_a_vacuum_may_stop_anywhere_on_disk() {
    stop_all(
        Place::Disk,
        &[Who::Recoverer, Who::Vacuum],
        &MEANWHILE[..FEW],
    )
    .await;
}

#[tokio::test]
#[ignore = "a minute"]
async fn anybody_may_stop_anywhere_whatever_others_do() {
    for place in [Place::Memory, Place::Disk] {
        stop_all(place, &BROUGHT.map(Who::Committer), &MEANWHILE[FEW..]).await;
        stop_all(place, &[Who::Recoverer, Who::Vacuum], &MEANWHILE[FEW..]).await;
    }
}
