//! How far those have read who follow the lake: for each consumer, the revision of each partition that it holds.
//!
//! What is acknowledged is a new object, created if absent, under the next number; so of two that acknowledge at once
//! one begins again from what the other left, and nothing is lost. An object holds the partitions that it moves, and
//! each `SNAPSHOT_EVERY`th all of them: what is read is one of those and the few after it. None is ever deleted.
//!
//! A move names the revision that it comes *from*. Where the consumer is somewhere else by then, two have loaded the
//! partition, and nobody knows who was last: it counts as not held, and is loaded once more.

use std::collections::BTreeMap;

use answerlake_model::{ConsumerName, PartitionKey};
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::LoadError;
use crate::lake::Lake;
use crate::location;
use crate::manifest::check_format_version;

/// The newest format of an acknowledgement that this program knows.
const ACKNOWLEDGEMENT_FORMAT_VERSION: u32 = 1;

/// Every so many acknowledgements, one holds all partitions.
const SNAPSHOT_EVERY: u64 = 32;

/// How often an acknowledgement begins again because others were faster.
const TRIES: u32 = 32;

/// Where a consumer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerPosition {
    /// The number of its newest acknowledgement; 0 where there is none.
    pub number: u64,
    /// The revision that it holds of each partition.
    pub partitions: BTreeMap<PartitionKey, u64>,
}

/// A partition that a consumer holds another revision of than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub key: PartitionKey,
    /// The revision before; `None` where it held none.
    pub from: Option<u64>,
    /// The revision that it holds now; `None` where it holds the partition no more.
    pub to: Option<u64>,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The number of the consumer's newest acknowledgement.
    pub number: u64,
    /// Partitions moved.
    pub moved: usize,
    /// Partitions that were there already.
    pub unchanged: usize,
    /// Partitions that others have moved meanwhile, and that count as not held.
    pub contested: Vec<PartitionKey>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    /// Random; tells whose acknowledgement this is.
    id: String,
    created_at: DateTime<Utc>,
    /// Whether all partitions are in it.
    snapshot: bool,
    /// The revision held of each partition, by its hive path; `null` for one that is held no more.
    partitions: BTreeMap<String, Option<u64>>,
}

impl Lake {
    /// Where a consumer is; at the beginning, if it never acknowledged anything.
    ///
    /// # Errors
    /// When the store cannot be read, or what it holds is not as this program or an older one writes it.
    pub async fn consumer(&self, name: &ConsumerName) -> Result<ConsumerPosition, LoadError> {
        let listed = self
            .store
            .list_paths(&location::consumer(name), None)
            .await?;
        let numbers = listed
            .iter()
            .filter_map(|path| location::parse_acknowledgement(name, path));
        let Some(newest) = numbers.max() else {
            return Ok(ConsumerPosition::default());
        };
        let first = (newest - newest % SNAPSHOT_EVERY).max(1);
        let paths: Vec<Path> = (first..=newest)
            .map(|number| location::acknowledgement(name, number))
            .collect();
        let read = self.store.read_each(paths.clone(), parse).await?;
        let mut partitions = BTreeMap::new();
        for (stored, path) in read.into_iter().zip(&paths) {
            // Numbers have no gaps, and nothing is deleted.
            let stored = stored.ok_or_else(|| {
                LoadError::store("read", path)(object_store::Error::NotFound {
                    path: path.to_string(),
                    source: "a later acknowledgement is there".into(),
                })
            })?;
            stored.apply(&mut partitions);
        }
        Ok(ConsumerPosition {
            number: newest,
            partitions,
        })
    }

    /// Notes that a consumer holds other revisions than before. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`LoadError::ConsumerBusy`] when others were faster each time, else when the store fails.
    pub async fn acknowledge(
        &self,
        name: &ConsumerName,
        moves: &[Move],
    ) -> Result<Acknowledged, LoadError> {
        let id = Uuid::new_v4().to_string();
        for _ in 0..TRIES {
            let position = self.consumer(name).await?;
            let (outcome, changed) = decide(&position, moves);
            if changed.is_empty() {
                return Ok(outcome);
            }
            let number = position.number + 1;
            let stored = Stored::new(&id, number, &position, changed);
            if self.create_acknowledgement(name, number, &stored).await? {
                return Ok(Acknowledged { number, ..outcome });
            }
        }
        Err(LoadError::ConsumerBusy {
            name: name.clone(),
            tries: TRIES,
        })
    }

    /// Creates an acknowledgement if it is absent; whether it is ours then.
    async fn create_acknowledgement(
        &self,
        name: &ConsumerName,
        number: u64,
        stored: &Stored,
    ) -> Result<bool, LoadError> {
        let path = location::acknowledgement(name, number);
        let json = serde_json::to_vec(stored).expect("maps with text keys");
        let Err(error) = self.store.create(&path, json.into()).await else {
            return Ok(true);
        };
        // Whatever the error: what is there now decides.
        match self.store.read(&path).await? {
            Some(found) => Ok(parse(&path, &found).is_ok_and(|found| found.id == stored.id)),
            None => Err(LoadError::store("create", &path)(error)),
        }
    }
}

/// What becomes of each move, and the partitions that change by it.
fn decide(
    position: &ConsumerPosition,
    moves: &[Move],
) -> (Acknowledged, BTreeMap<PartitionKey, Option<u64>>) {
    let mut changed = BTreeMap::new();
    let mut outcome = Acknowledged {
        number: position.number,
        moved: 0,
        unchanged: 0,
        contested: Vec::new(),
    };
    for Move { key, from, to } in moves {
        let held = position.partitions.get(key).copied();
        if held == *to {
            outcome.unchanged += 1;
        } else if held == *from {
            outcome.moved += 1;
            changed.insert(key.clone(), *to);
        } else {
            outcome.contested.push(key.clone());
            if held.is_some() {
                changed.insert(key.clone(), None);
            }
        }
    }
    (outcome, changed)
}

impl Stored {
    fn new(
        id: &str,
        number: u64,
        position: &ConsumerPosition,
        changed: BTreeMap<PartitionKey, Option<u64>>,
    ) -> Self {
        let snapshot = number.is_multiple_of(SNAPSHOT_EVERY);
        let mut partitions: BTreeMap<String, Option<u64>> = BTreeMap::new();
        if snapshot {
            let held = position.partitions.iter();
            partitions.extend(held.map(|(key, revision)| (key.to_string(), Some(*revision))));
        }
        for (key, revision) in changed {
            match revision {
                None if snapshot => drop(partitions.remove(&key.to_string())),
                revision => drop(partitions.insert(key.to_string(), revision)),
            }
        }
        Self {
            format_version: ACKNOWLEDGEMENT_FORMAT_VERSION,
            id: id.to_owned(),
            created_at: Utc::now(),
            snapshot,
            partitions,
        }
    }

    fn apply(self, held: &mut BTreeMap<PartitionKey, u64>) {
        if self.snapshot {
            held.clear();
        }
        for (partition, revision) in self.partitions {
            // One of a kind that only a newer program knows is not followed by this one.
            let Some(key) = PartitionKey::parse(&partition) else {
                continue;
            };
            match revision {
                Some(revision) => held.insert(key, revision),
                None => held.remove(&key),
            };
        }
    }
}

fn parse(path: &Path, json: &[u8]) -> Result<Stored, LoadError> {
    check_format_version(path, json, ACKNOWLEDGEMENT_FORMAT_VERSION)?;
    serde_json::from_slice(json).map_err(|source| LoadError::Malformed {
        path: path.to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LakeStore;

    fn key(day: u32) -> PartitionKey {
        PartitionKey::parse(&format!("app_id=st-1/dt=2025-06-{day:02}")).unwrap()
    }

    fn step(day: u32, from: Option<u64>, to: Option<u64>) -> Move {
        Move {
            key: key(day),
            from,
            to,
        }
    }

    async fn lake() -> (Lake, ConsumerName) {
        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        (lake, ConsumerName::try_new("bi").unwrap())
    }

    #[tokio::test]
    async fn a_consumer_is_where_it_said() {
        let (lake, name) = lake().await;
        assert_eq!(lake.consumer(&name).await.unwrap(), <_>::default());
        let first = [step(1, None, Some(1)), step(2, None, Some(4))];
        let done = lake.acknowledge(&name, &first).await.unwrap();
        assert_eq!((done.number, done.moved, done.unchanged), (1, 2, 0));
        // The same again changes nothing, and writes nothing.
        let again = lake.acknowledge(&name, &first).await.unwrap();
        assert_eq!((again.number, again.moved, again.unchanged), (1, 0, 2));
        let next = [step(1, Some(1), Some(2)), step(2, Some(4), None)];
        lake.acknowledge(&name, &next).await.unwrap();
        let position = lake.consumer(&name).await.unwrap();
        assert_eq!(position.number, 2);
        assert_eq!(position.partitions, BTreeMap::from([(key(1), 2)]));
        // Another consumer is at its own place.
        let other = ConsumerName::try_new("bi2").unwrap();
        assert_eq!(lake.consumer(&other).await.unwrap(), <_>::default());
    }

    #[tokio::test]
    async fn what_two_have_loaded_is_loaded_once_more() {
        let (lake, name) = lake().await;
        let ack = async |step| lake.acknowledge(&name, &[step]).await.unwrap();
        ack(step(1, None, Some(1))).await;
        // One listed r2, another r3; both were loaded, in whatever order.
        ack(step(1, Some(1), Some(3))).await;
        let late = ack(step(1, Some(1), Some(2))).await;
        assert_eq!(late.contested, [key(1)]);
        assert_eq!(
            lake.consumer(&name).await.unwrap().partitions,
            BTreeMap::new()
        );
        // Whoever was first is no more certain.
        let first = ack(step(1, Some(1), Some(3))).await;
        assert_eq!(first.contested, [key(1)]);
        ack(step(1, None, Some(3))).await;
        assert_eq!(lake.consumer(&name).await.unwrap().partitions[&key(1)], 3);
    }

    #[tokio::test]
    async fn those_at_once_lose_nothing_through_many_snapshots() {
        let (lake, name) = lake().await;
        let race = |day: u32| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            for revision in 1..=5_u64 {
                let from = (revision > 1).then(|| revision - 1);
                let moved = [step(day, from, Some(revision))];
                let acknowledge = async || lake.acknowledge(&name, &moved).await;
                // Where all others were faster, it is for the caller to try again.
                while runtime.as_ref().unwrap().block_on(acknowledge()).is_err() {}
            }
        };
        std::thread::scope(|scope| {
            for day in 1..=28 {
                scope.spawn({
                    let race = &race;
                    move || race(day)
                });
            }
        });
        let position = lake.consumer(&name).await.unwrap();
        assert_eq!(position.number, 28 * 5);
        assert_eq!(
            position.partitions,
            (1..=28).map(|day| (key(day), 5)).collect()
        );
    }
}
