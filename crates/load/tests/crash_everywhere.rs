//! A commit is cut off at each of its operations, in each way that an operation can go wrong.
//!
//! After every operation, whoever may look finds the lake whole. Afterwards the next run makes of it what it would have
//! become undisturbed, to the byte.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use answerlake_load::{Lake, LakeAddress, LakeStore, Proposal};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::crashing_store::{Crash, CrashingStore, Rename};
use crate::setup::{proposal, s3_address, s3_server};
use crate::watch::content;

/// What is committed, over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    First,
    Replacement,
    ShrinkToEmpty,
    CarryOver,
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] = [
        Self::First,
        Self::Replacement,
        Self::ShrinkToEmpty,
        Self::CarryOver,
    ];

    /// What is there already.
    fn before(self, scratch: &TempDir) -> Option<Proposal> {
        let before = proposal(scratch.path(), "run-1", 5);
        match self {
            Self::First => None,
            Self::Replacement | Self::ShrinkToEmpty => Some(before),
            Self::CarryOver => Some(Proposal {
                provisional: true,
                ..before
            }),
        }
    }

    /// What is committed.
    pub(crate) fn proposal(self, scratch: &TempDir) -> Proposal {
        match self {
            Self::First | Self::CarryOver => proposal(scratch.path(), "run-2", 5),
            Self::Replacement => proposal(scratch.path(), "run-2", 6),
            Self::ShrinkToEmpty => Proposal {
                files: Vec::new(),
                ..proposal(scratch.path(), "run-2", 0)
            },
        }
    }
}

/// Where lakes are made, each new and empty.
pub(crate) struct Place<F> {
    make: F,
    rename: Rename,
    pub(crate) scratch: TempDir,
}

/// Where one lake is.
pub(crate) struct Ground {
    address: LakeAddress,
    store: LakeStore,
}

impl Ground {
    fn plain(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            address: "test://".into(),
            store: LakeStore::from_object_store("test://", store),
        }
    }

    pub(crate) async fn at(address: LakeAddress) -> Self {
        Self {
            store: LakeStore::open(&address).await.unwrap(),
            address,
        }
    }

    pub(crate) fn address(&self) -> &LakeAddress {
        &self.address
    }

    pub(crate) fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.store.object_store()
    }

    pub(crate) fn lake(&self) -> Lake {
        Lake::new(self.store.clone())
    }

    fn crashing(&self, rename: Rename, crash: Option<(u64, Crash)>) -> (Lake, CrashingStore) {
        let crashing = CrashingStore::new(self.store.object_store(), rename, crash);
        let store = self.store.clone();
        let lake = Lake::new(store.with_object_store(Arc::new(crashing.clone())));
        (lake, crashing)
    }
}

impl<F: AsyncFn() -> Ground> Place<F> {
    pub(crate) fn new(rename: Rename, make: F) -> Self {
        Self {
            make,
            rename,
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) async fn begin(&self, scenario: Scenario) -> Ground {
        let ground = (self.make)().await;
        if let Some(before) = scenario.before(&self.scratch) {
            ground.lake().commit(before).await.unwrap();
        }
        ground
    }

    /// What the lake becomes undisturbed, and in how many operations.
    pub(crate) async fn undisturbed(&self, scenario: Scenario) -> (BTreeMap<String, String>, u64) {
        let ground = self.begin(scenario).await;
        let (lake, watched) = ground.crashing(self.rename, None);
        lake.commit(scenario.proposal(&self.scratch)).await.unwrap();
        watched.assert_was_whole();
        let content = content(&*ground.object_store()).await;
        (content, watched.operations())
    }

    /// Crashes one commit at one operation; `true` when it came to that.
    async fn crash(
        &self,
        scenario: Scenario,
        (at, crash): (u64, Crash),
        expected: &BTreeMap<String, String>,
    ) -> bool {
        let ground = self.begin(scenario).await;
        let (lake, crashing) = ground.crashing(self.rename, Some((at, crash)));
        tokio::select! {
            _ = lake.commit(scenario.proposal(&self.scratch)) => {}
            () = crashing.hangs() => {}
        }
        let came_to_it = crashing.operations() > at;
        crashing.assert_was_whole();

        // Either the next run does it all, or `recover` its part first.
        let (healthy, watched) = ground.crashing(self.rename, None);
        if at % 2 == 0 {
            healthy.recover(None).await.unwrap();
            let before = content(&*ground.object_store()).await;
            assert!(!before.is_empty() || scenario == Scenario::First);
        }
        let again = healthy.commit(scenario.proposal(&self.scratch)).await;
        again.unwrap();
        watched.assert_was_whole();
        let found = content(&*ground.object_store()).await;
        assert_eq!(&found, expected, "{scenario:?}: {crash:?} at {at}");
        came_to_it
    }

    /// Crashes each scenario's commit at every operation in every way; the number of crashes.
    async fn crash_everywhere(&self) -> u64 {
        let mut crashes = 0;
        for scenario in Scenario::ALL {
            let (expected, operations) = self.undisturbed(scenario).await;
            for crash in Crash::ALL {
                let mut at = 0;
                // What goes wrong may take more operations to mend than there were; at the end there is none more.
                while self.crash(scenario, (at, crash), &expected).await {
                    at += 1;
                }
                assert!(
                    at >= operations,
                    "{scenario:?}: {crash:?}: {at} of {operations}"
                );
                crashes += at;
            }
        }
        crashes
    }
}

/// Who mends a commit that died is cut off as well, at each of its operations.
#[tokio::test(start_paused = true)]
async fn a_crash_of_who_mends_a_crash_is_mended() {
    let make = async || Ground::plain(Arc::new(InMemory::new()));
    let place = Place::new(Rename::InTwoSteps, make);
    let scenario = Scenario::Replacement;
    let (expected, operations) = place.undisturbed(scenario).await;
    let mut crashes = 0;
    for first in 0..operations {
        for crash in Crash::ALL {
            for second in 0.. {
                let ground = place.begin(scenario).await;
                let (lake, crashing) =
                    ground.crashing(place.rename, Some((first, Crash::DiesAfter)));
                lake.commit(scenario.proposal(&place.scratch))
                    .await
                    .unwrap_err();
                crashing.assert_was_whole();

                let (mending, crashing) = ground.crashing(place.rename, Some((second, crash)));
                tokio::select! {
                    _ = mending.recover(None) => {}
                    () = crashing.hangs() => {}
                }
                crashing.assert_was_whole();

                let (healthy, watched) = ground.crashing(place.rename, None);
                let again = healthy.commit(scenario.proposal(&place.scratch)).await;
                again.unwrap();
                watched.assert_was_whole();
                let found = content(&*ground.object_store()).await;
                assert_eq!(found, expected, "{crash:?} at {first}, then at {second}");
                if crashing.operations() <= second {
                    break;
                }
                crashes += 1;
            }
        }
    }
    print("and then who mended it, in memory", crashes);
}

#[expect(clippy::print_stderr, reason = "a number that is asked for")]
fn print(place: &str, crashes: u64) {
    eprintln!("crashed a commit {crashes} times {place}");
    assert!(crashes > 100, "{crashes}");
}

fn on_a_disk(folder: &TempDir, number: &Cell<u32>) -> PathBuf {
    number.set(number.get() + 1);
    let root = folder.path().join(number.get().to_string());
    std::fs::create_dir(&root).unwrap();
    root
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_is_mended_in_memory() {
    let make = async || Ground::plain(Arc::new(InMemory::new()));
    let place = Place::new(Rename::InTwoSteps, make);
    print("in memory", place.crash_everywhere().await);
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_is_mended_in_a_plain_folder() {
    let (folder, number) = (tempfile::tempdir().unwrap(), Cell::new(0));
    let make = async || {
        let root = on_a_disk(&folder, &number);
        Ground::plain(Arc::new(LocalFileSystem::new_with_prefix(root).unwrap()))
    };
    let place = Place::new(Rename::InTwoSteps, make);
    print(
        "in a folder, renaming in two steps",
        place.crash_everywhere().await,
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_is_mended_on_disk() {
    let (folder, number) = (tempfile::tempdir().unwrap(), Cell::new(0));
    let make = async || {
        let root = on_a_disk(&folder, &number);
        Ground::at(root.to_str().unwrap().into()).await
    };
    let place = Place::new(Rename::AtOnce, make);
    print("on disk", place.crash_everywhere().await);
}

/// A lake below a prefix of its own in the bucket.
fn on_s3(bucket: &Arc<dyn ObjectStore>) -> Ground {
    let prefix = uuid::Uuid::new_v4().to_string();
    Ground::plain(Arc::new(PrefixStore::new(Arc::clone(bucket), prefix)))
}

async fn bucket() -> Option<Arc<dyn ObjectStore>> {
    let address = s3_address(s3_server()?, "crashes");
    Some(LakeStore::open(address).await.unwrap().object_store())
}

#[tokio::test]
async fn a_crash_somewhere_is_mended_on_s3() {
    let Some(bucket) = bucket().await else {
        return;
    };
    let place = Place::new(Rename::InTwoSteps, async || on_s3(&bucket));
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut crashes = 0;
    for scenario in Scenario::ALL {
        let (expected, operations) = place.undisturbed(scenario).await;
        for crash in Crash::ALL {
            let at = random.random_range(0..operations);
            assert!(place.crash(scenario, (at, crash), &expected).await);
            crashes += 1;
        }
    }
    eprintln!("crashed a commit {crashes} times on S3");
}

#[tokio::test]
#[ignore = "minutes, run by `make long`"]
async fn a_crash_anywhere_is_mended_on_s3() {
    let Some(bucket) = bucket().await else {
        return;
    };
    let place = Place::new(Rename::InTwoSteps, async || on_s3(&bucket));
    print("on S3", place.crash_everywhere().await);
}
