//! What must hold of a lake at every moment, read without the code under test: JSON, sizes, hashes.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// All of a lake's objects by path, with their sizes.
type Objects = BTreeMap<String, u64>;

/// Says what is wrong, if anything is.
///
/// Of each partition: every file of a published newest revision is in place. While the newest one is not published,
/// each of its files is staged or in place; and either all are in place, or the revision before still has all of its.
/// No data file is there that neither of the two names.
///
/// A listing takes its time, and what is moved meanwhile may be seen at neither of its places: what looks wrong is so
/// where the lake has not changed since.
pub(crate) async fn assert_whole(store: &dyn ObjectStore) -> Result<(), String> {
    let list = async || objects(store).await.map_err(|error| error.to_string());
    let mut seen = list().await?;
    loop {
        let judged = judge(store, &seen).await;
        let now = list().await?;
        if judged.is_ok() || now == seen {
            return judged;
        }
        seen = now;
    }
}

async fn judge(store: &dyn ObjectStore, objects: &Objects) -> Result<(), String> {
    let mut expected = Vec::new();
    for (partition, newest) in newest(objects) {
        let manifest = manifest(store, &partition, newest).await?;
        let files = files(&manifest);
        let in_place =
            |(path, bytes, _): &(String, u64, Option<String>)| objects.get(path) == Some(bytes);
        let marker = format!("_answerlake/commits/{partition}/{newest:08}.published");
        let is_in_place = files.iter().all(in_place);
        if objects.contains_key(&marker) {
            if !is_in_place {
                return Err(format!(
                    "{partition}: published revision {newest} lacks a file"
                ));
            }
        } else {
            let is_somewhere = |file: &(String, u64, Option<String>)| {
                let staged = file.2.as_ref().and_then(|staged| objects.get(staged));
                in_place(file) || staged == Some(&file.1)
            };
            if !files.iter().all(is_somewhere) {
                return Err(format!(
                    "{partition}: a file of revision {newest} is nowhere"
                ));
            }
            if newest > 1 {
                let before = manifest_files(store, &partition, newest - 1).await?;
                if !is_in_place && !before.iter().all(in_place) {
                    return Err(format!("{partition}: no revision is whole"));
                }
                expected.extend(before);
            }
        }
        expected.extend(files);
    }
    for path in objects.keys().filter(|path| !path.starts_with('_')) {
        if !expected.iter().any(|(expected, ..)| expected == path) {
            return Err(format!("nobody names {path}"));
        }
    }
    Ok(())
}

/// What a lake at rest holds: each data file with its hash, each partition with its newest revision and its digest.
/// Fails where a revision is not published, or a file not as its manifest says.
pub(crate) async fn content(store: &dyn ObjectStore) -> BTreeMap<String, String> {
    let objects = objects(store).await.unwrap();
    let mut content = BTreeMap::new();
    for path in objects.keys().filter(|path| !path.starts_with('_')) {
        let bytes = store.get(&Path::from(path.as_str())).await.unwrap();
        let hash = hex::encode(Sha256::digest(bytes.bytes().await.unwrap()));
        content.insert(path.clone(), hash);
    }
    for (partition, newest) in newest(&objects) {
        for revision in 1..=newest {
            let marker = format!("_answerlake/commits/{partition}/{revision:08}.published");
            assert!(objects.contains_key(&marker), "{marker} is missing");
        }
        let manifest = manifest(store, &partition, newest).await.unwrap();
        for file in manifest["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            assert_eq!(file["sha256"], *content[path], "{path}");
        }
        let digest = manifest["content_digest"].as_str().unwrap();
        let state = (digest, &manifest["provisional"], &manifest["books"]);
        content.insert(format!("{partition} at {newest}"), format!("{state:?}"));
    }
    content
}

async fn objects(store: &dyn ObjectStore) -> Result<Objects> {
    let listed: Vec<_> = store.list(None).try_collect().await?;
    let sizes = listed
        .into_iter()
        .map(|object| (object.location.to_string(), object.size));
    Ok(sizes.collect())
}

fn newest(objects: &Objects) -> BTreeMap<String, u64> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for path in objects.keys() {
        let Some(path) = path
            .strip_prefix("_answerlake/commits/")
            .and_then(|path| path.strip_suffix(".json"))
        else {
            continue;
        };
        let (partition, revision) = path.rsplit_once('/').unwrap();
        let known = newest.entry(partition.to_owned()).or_default();
        *known = (*known).max(revision.parse().unwrap());
    }
    newest
}

async fn manifest(
    store: &dyn ObjectStore,
    partition: &str,
    revision: u64,
) -> Result<Value, String> {
    let path = format!("_answerlake/commits/{partition}/{revision:08}.json");
    let read = async { store.get(&Path::from(path.as_str())).await?.bytes().await };
    let json = read.await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| format!("{path}: {error}"))
}

async fn manifest_files(
    store: &dyn ObjectStore,
    partition: &str,
    revision: u64,
) -> Result<Vec<(String, u64, Option<String>)>, String> {
    Ok(files(&manifest(store, partition, revision).await?))
}

/// The files of a manifest: final path, bytes, where it is staged.
fn files(manifest: &Value) -> Vec<(String, u64, Option<String>)> {
    let files = manifest["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            let staged = file["origin"]["staged"]["path"].as_str();
            (
                file["path"].as_str().unwrap().to_owned(),
                file["bytes"].as_u64().unwrap(),
                staged.map(str::to_owned),
            )
        })
        .collect()
}
