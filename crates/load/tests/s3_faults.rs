//! What an S3 server and the way to it do wrong, at each request of a commit.
//!
//! A fault that passes is not noticed; one that stays ends the commit with an error that says so, and to try again.
//! Afterwards the next run makes of the lake what it would have become undisturbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use answerlake_load::{
    CommitOutcome, KeptFile, KeptKind, Lake, LakeAddress, LakeStore, LoadError, StoreAccess,
};
use object_store::ObjectStoreExt;
use rand::{RngExt, SeedableRng};

use crate::crash_everywhere::{Ground, Place, Scenario};
use crate::crashing_store::Rename;
use crate::s3_proxy::{Fate, Request, S3Proxy, error_body};
use crate::s3_server::S3Server;
use crate::setup::{key, s3_address, s3_server};
use crate::watch::content;

/// How long a fault stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// One request.
    Once,
    /// From then on.
    ForGood,
}

fn fates() -> Vec<(Fate, Lasts)> {
    let answer = |status, code| Fate::Answer(status, error_body(code, "As told."));
    let unknown = Fate::AnswerAfter(500, error_body("InternalError", "As told."));
    let conflict = answer(409, "ConditionalRequestConflict");
    vec![
        (answer(500, "InternalError"), Lasts::Once),
        (answer(503, "SlowDown"), Lasts::Once),
        (unknown, Lasts::Once),
        (Fate::ResetBefore, Lasts::Once),
        (Fate::ResetAfter, Lasts::Once),
        (Fate::CloseAfter, Lasts::Once),
        (Fate::Slow(Duration::from_millis(300)), Lasts::Once),
        // These two only creates are told.
        (conflict.clone(), Lasts::Once),
        (answer(412, "PreconditionFailed"), Lasts::Once),
        (conflict, Lasts::ForGood),
        (answer(503, "SlowDown"), Lasts::ForGood),
        (answer(403, "AccessDenied"), Lasts::ForGood),
        (answer(404, "NoSuchBucket"), Lasts::ForGood),
        (Fate::ResetAfter, Lasts::ForGood),
    ]
}

/// A lake on the server, and the way to it that goes wrong.
struct Way {
    address: LakeAddress,
    proxy: S3Proxy,
    requests: Arc<AtomicU64>,
}

impl Way {
    /// From request `at` on, those that `fate` can be of have it.
    fn to(address: &LakeAddress, server: &S3Server, at: u64, fate: Fate, lasts: Lasts) -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let is_of_creates = matches!(fate, Fate::Answer(409 | 412, _));
        let proxy = S3Proxy::start(&server.url(), move |request: &Request| {
            if is_of_creates && !request.is_create() {
                return Fate::Pass;
            }
            let number = counted.fetch_add(1, SeqCst);
            match lasts {
                Lasts::Once if number == at => fate.clone(),
                Lasts::ForGood if number >= at => fate.clone(),
                _ => Fate::Pass,
            }
        });
        let mut variables = address.access().variables.clone().unwrap();
        variables.insert("AWS_ENDPOINT_URL".to_owned(), proxy.url());
        variables.insert("AWS_MAX_ATTEMPTS".to_owned(), "3".to_owned());
        let address = address.clone().with_access(StoreAccess {
            variables: Some(variables),
            ..StoreAccess::default()
        });
        Self {
            address,
            proxy,
            requests,
        }
    }
}

/// Commits once over a way that goes wrong; `true` when it came to that.
async fn commit_over<F: AsyncFn() -> Ground>(
    place: &Place<F>,
    server: &S3Server,
    scenario: Scenario,
    (at, fate, lasts): (u64, &Fate, Lasts),
) -> bool {
    let ground = place.begin(scenario).await;
    let way = Way::to(ground.address(), server, at, fate.clone(), lasts);
    let lake = Lake::new(LakeStore::open(&way.address).await.unwrap());
    let what = format!("{scenario:?}: {fate:?} at {at}, {lasts:?}");
    let outcome = lake.commit(scenario.proposal(&place.scratch)).await;
    let came_to_it = way.requests.load(SeqCst) > at;
    match outcome {
        Ok(CommitOutcome::Committed { .. }) => {}
        Ok(other) => panic!("{what}: {other:?}"),
        Err(error) => {
            assert!(lasts == Lasts::ForGood && came_to_it, "{what}: {error:?}");
            check_error(&error, fate, &what);
        }
    }
    if came_to_it {
        assert!(way.proxy.seen().len() as u64 > at, "{what}");
    }

    let healthy = ground.lake();
    healthy
        .commit(scenario.proposal(&place.scratch))
        .await
        .unwrap();
    let (expected, _) = place.undisturbed(scenario).await;
    assert_eq!(content(&*ground.object_store()).await, expected, "{what}");
    came_to_it
}

fn check_error(error: &LoadError, fate: &Fate, what: &str) {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    // An answer to HEAD has no body, and with it no code.
    let says = match fate {
        Fate::Answer(status, _) => status.to_string(),
        _ => "error sending request".to_owned(),
    };
    assert!(said.contains(&says), "{what}: {said}");
    assert!(error.hint().is_some(), "{what}: {said}");
    let needs_somebody = matches!(fate, Fate::Answer(403 | 404, _));
    assert_eq!(error.is_retryable(), !needs_somebody, "{what}: {said}");
}

async fn place(server: &'static S3Server) -> Place<impl AsyncFn() -> Ground> {
    let bucket = s3_address(server, "faults");
    Place::new(Rename::InTwoSteps, async move || {
        let lake = bucket.beside(&format!("{}/{}", &*bucket, uuid::Uuid::new_v4()));
        Ground::at(lake).await
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_server_is_borne_or_told() {
    let Some(server) = s3_server() else {
        return;
    };
    let place = place(server).await;
    let seed: u64 = rand::rng().random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut commits, mut faults) = (0, 0);
    for (fate, lasts) in &fates() {
        let is_of_creates = matches!(fate, Fate::Answer(409 | 412, _));
        // A commit creates its manifest and its marker.
        let requests = if is_of_creates { 2 } else { 12 };
        let scenario = Scenario::ALL[random.random_range(0..4)];
        let at = random.random_range(0..requests);
        faults += u64::from(commit_over(&place, server, scenario, (at, fate, *lasts)).await);
        commits += 1;
    }
    eprintln!("{commits} commits on S3 met {faults} faults of the server; seed {seed}");
    assert!(faults > commits / 2, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, run by `make long`"]
async fn every_fault_of_the_server_is_borne_or_told() {
    let Some(server) = s3_server() else {
        return;
    };
    let place = place(server).await;
    let mut faults = 0;
    for scenario in Scenario::ALL {
        for (fate, lasts) in &fates() {
            let mut at = 0;
            while commit_over(&place, server, scenario, (at, fate, *lasts)).await {
                at += 1;
            }
            faults += at;
        }
    }
    eprintln!("commits on S3 met {faults} faults of the server");
    assert!(faults > 300, "{faults}");
}

/// A file that takes three parts is uploaded over a way that goes wrong once; `true` when it came to that.
async fn upload_over(
    server: &'static S3Server,
    file: &KeptFile,
    content: &[u8],
    (at, fate): (u64, &Fate),
) -> bool {
    let address = s3_address(server, "upload");
    let way = Way::to(&address, server, at, fate.clone(), Lasts::Once);
    let lake = Lake::new(LakeStore::open(&way.address).await.unwrap());
    let what = format!("{fate:?} at {at}");
    let kept = lake.keep(std::slice::from_ref(file)).await;
    let kept = kept.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let direct = LakeStore::open(&address).await.unwrap().object_store();
    let found = direct.get(&kept[0]).await.unwrap().bytes().await.unwrap();
    assert!(found == content, "{what}: other bytes");
    way.requests.load(SeqCst) > at
}

fn large_file(scratch: &std::path::Path) -> (KeptFile, Vec<u8>) {
    let content: Vec<u8> = (0..17_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let path = scratch.join("large");
    std::fs::write(&path, &content).unwrap();
    let file = KeptFile {
        kind: KeptKind::DeadLetters,
        key: key(),
        name: "ab12.ndjson.zst".to_owned(),
        as_of: None,
        scratch: path,
    };
    (file, content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_borne_by_an_upload_in_parts() {
    let Some(server) = s3_server() else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let (file, content) = large_file(scratch.path());
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for (fate, _) in fates().iter().take(7) {
        // A look, the begin, three parts, the end.
        let at = random.random_range(0..6);
        assert!(upload_over(server, &file, &content, (at, fate)).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute, run by `make long`"]
async fn every_fault_is_borne_by_an_upload_in_parts() {
    let Some(server) = s3_server() else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let (file, content) = large_file(scratch.path());
    let mut faults = 0;
    for (fate, _) in fates().iter().take(7) {
        let mut at = 0;
        while upload_over(server, &file, &content, (at, fate)).await {
            at += 1;
        }
        faults += at;
    }
    eprintln!("uploads in parts met {faults} faults of the server");
    assert!(faults >= 6 * 7, "{faults}");
}
