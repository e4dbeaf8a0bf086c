//! Many manifests in one object, so that who looks through a lake far away asks once for a year of them, and not once
//! for each.
//!
//! ```text
//! listing      every manifest there is, with the stamp that the store gave it
//! checkpoint   the manifests of one app and year (one month, where partitions are hours), each with the stamp it had
//! the same stamp: the manifest stands in the checkpoint, byte by byte; any other: it is read itself
//! ```
//!
//! A checkpoint is a hint. What is committed, a listing says; a checkpoint only saves the read of what the listing showed,
//! and only where size, entity tag and time of the object are those that it had when it was read. One that is missing,
//! old, damaged or of a newer program costs reads and changes nothing. Runs write it when they had to read many manifests
//! that it lacks; it is overwritten freely, by several at once too, since each writes nothing but what it read.
//!
//! On a disk, manifests are read as they are: to look at the stamp of each costs as much as to read it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};

use answerlake_model::{AppId, Grain, PartitionKey};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::LoadError;
use crate::lake::{Head, Lake};
use crate::location;
use crate::store::run_blocking;

/// The newest format of checkpoints that this program knows.
const CHECKPOINT_FORMAT_VERSION: u32 = 1;

/// Fewer manifests than this of one checkpoint are read by themselves. A run writes a checkpoint when it lacks as many.
const WORTH_WHILE: usize = 16;

/// Checkpoints read at once.
const CONCURRENCY: usize = 4;

/// The most that a checkpoint may hold, decompressed; a year of days takes about 2 MB, and a month of hours 3 MB. A larger
/// one is not written, and not read.
const MAX_BYTES: u64 = 64 << 20;

/// Manifests repeat themselves so much that more than this gains nothing.
const ZSTD_LEVEL: i32 = 3;

/// What a listing says of an object besides its name: another object of that name has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    bytes: u64,
    /// Of size, time and entity tag.
    hash: [u8; 16],
}

impl Stamp {
    pub(crate) fn of(object: &ObjectMeta) -> Self {
        let (bytes, modified) = (object.size, object.last_modified.timestamp_micros());
        let e_tag = object.e_tag.as_deref().unwrap_or_default();
        let sha256 = Sha256::digest(format!("{bytes} {modified} {e_tag}"));
        let mut hash = [0; 16];
        hash.copy_from_slice(&sha256[..16]);
        Self { bytes, hash }
    }

    /// Whether it is that of the object that a line has the content of.
    fn is_of(self, line: &Line<'_>) -> bool {
        line.stamp == hex::encode(self.hash) && line.manifest.get().len() as u64 == self.bytes
    }
}

/// What stands first in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u32,
}

/// A manifest in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Line<'l> {
    path: String,
    /// The hash of its stamp, in hex.
    stamp: String,
    #[serde(borrow)]
    manifest: &'l RawValue,
}

/// Manifests by path: where each stands among all that are asked for, and its stamp in the listing.
type Asked = HashMap<String, (usize, Stamp)>;

/// The manifests of one checkpoint that are asked for.
struct Wanted {
    checkpoint: Path,
    manifests: Asked,
}

/// What came of looking into a checkpoint.
struct LookedInto<T> {
    found: Vec<(usize, T)>,
    /// Its text, with the lines that are out of date; absent where it is a newer program's.
    text: Option<Bytes>,
}

impl Lake {
    /// The same, for runs: they write checkpoints where it is worth while.
    #[must_use]
    pub fn keeping_checkpoints(self) -> Self {
        Self {
            keeps_checkpoints: true,
            ..self
        }
    }

    /// Reads the manifests that a listing showed and makes something of each, in their order; `None` for one that is not
    /// there.
    pub(crate) async fn read_manifests<T: Send + 'static>(
        &self,
        heads: &[(PartitionKey, Head)],
        make: impl Fn(&Path, &[u8]) -> Result<T, LoadError> + Clone + Send + Sync + 'static,
    ) -> Result<Vec<Option<T>>, LoadError> {
        let paths: Vec<Path> = heads
            .iter()
            .map(|(key, head)| location::manifest(key, head.revision))
            .collect();
        let wanted = wanted(heads, &paths);
        let looks = wanted.iter().map(|wanted| {
            let make = make.clone();
            async move {
                let looked = self.look_into(wanted, make).await;
                looked.map(|looked| (wanted, looked))
            }
        });
        let looked: Vec<(&Wanted, LookedInto<T>)> = stream::iter(looks)
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut made: Vec<Option<T>> = paths.iter().map(|_| None).collect();
        let mut texts = Vec::new();
        for (wanted, LookedInto { found, text }) in looked {
            let lacks = wanted.manifests.len() - found.len();
            if let Some(text) = text.filter(|_| self.keeps_checkpoints && lacks >= WORTH_WHILE) {
                texts.push((wanted, text));
            }
            for (index, value) in found {
                made[index] = Some(value);
            }
        }
        let lacking: Vec<usize> = (0..paths.len())
            .filter(|index| made[*index].is_none())
            .collect();
        let asked = lacking.iter().map(|index| paths[*index].clone()).collect();
        let keeps = !texts.is_empty();
        let read = self.store.read_each(asked, move |path, json| {
            let kept = keeps.then(|| Bytes::copy_from_slice(json));
            Ok((make(path, json)?, kept))
        });
        let mut fresh = HashMap::new();
        for (index, read) in lacking.into_iter().zip(read.await?) {
            let Some((value, json)) = read else {
                continue;
            };
            made[index] = Some(value);
            fresh.extend(json.map(|json| (paths[index].to_string(), json)));
        }
        for (wanted, text) in texts {
            self.write_checkpoint(wanted, text, &fresh).await;
        }
        Ok(made)
    }

    /// Takes out of a checkpoint what is asked for and up to date. That it cannot be read is as if it were empty.
    async fn look_into<T: Send + 'static>(
        &self,
        wanted: &Wanted,
        make: impl Fn(&Path, &[u8]) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<LookedInto<T>, LoadError> {
        let stored = match self.store.read(&wanted.checkpoint).await {
            Ok(stored) => stored.unwrap_or_default(),
            Err(error) => {
                tracing::debug!(checkpoint = %wanted.checkpoint, %error, "a checkpoint cannot be read");
                Bytes::new()
            }
        };
        let (checkpoint, manifests) = (wanted.checkpoint.clone(), wanted.manifests.clone());
        run_blocking(move || {
            let mut found = Vec::new();
            let text = decompress(&stored).and_then(|text| {
                each_line(&text, |line| {
                    let Some((index, stamp)) = manifests.get(&line.path) else {
                        return;
                    };
                    // One that cannot be understood is read again, and then it is an error.
                    if stamp.is_of(&line)
                        && let Ok(value) = make(
                            &Path::from(line.path.as_str()),
                            line.manifest.get().as_bytes(),
                        )
                    {
                        found.push((*index, value));
                    }
                })?;
                Ok(text)
            });
            let text = match text {
                Ok(text) => Some(text.into()),
                Err(error) => {
                    tracing::debug!(%checkpoint, %error, "a checkpoint is not used");
                    found.clear();
                    (error.kind() != io::ErrorKind::Unsupported).then(Bytes::new)
                }
            };
            Ok(LookedInto { found, text })
        })
        .await
    }

    /// Writes a checkpoint anew: what it has of other partitions, and what was read of those asked for. That it cannot
    /// be written does no harm.
    async fn write_checkpoint(&self, wanted: &Wanted, text: Bytes, fresh: &HashMap<String, Bytes>) {
        let asked = wanted.manifests.clone();
        let of_asked = asked.keys().filter_map(|path| fresh.get_key_value(path));
        let fresh: HashMap<String, Bytes> = of_asked
            .map(|(path, json)| (path.clone(), json.clone()))
            .collect();
        let path = &wanted.checkpoint;
        let written = match run_blocking(move || rebuild(&text, &asked, fresh)).await {
            Ok(bytes) => self.store.overwrite(path, bytes).await,
            Err(error) => Err(LoadError::store("write", path)(
                object_store::Error::Generic {
                    store: "checkpoint",
                    source: error.into(),
                },
            )),
        };
        match written {
            Ok(()) => tracing::debug!(checkpoint = %path, "checkpoint written"),
            Err(error) => tracing::debug!(checkpoint = %path, %error, "no checkpoint is written"),
        }
    }
}

/// What is asked for, by the checkpoint that may hold it; not of those that would be asked for little.
fn wanted(heads: &[(PartitionKey, Head)], paths: &[Path]) -> Vec<Wanted> {
    let mut shards: BTreeMap<(&AppId, String), Asked> = BTreeMap::new();
    for (index, ((key, head), path)) in heads.iter().zip(paths).enumerate() {
        let Some(stamp) = head.stamp else {
            continue;
        };
        let shard = shards.entry((key.app_id(), span(key))).or_default();
        shard.insert(path.to_string(), (index, stamp));
    }
    let shards = shards
        .into_iter()
        .filter(|(_, manifests)| manifests.len() >= WORTH_WHILE);
    shards
        .map(|((app_id, span), manifests)| Wanted {
            checkpoint: location::checkpoint(app_id, &span),
            manifests,
        })
        .collect()
}

/// The time whose manifests stand in one checkpoint: a few hundred of them.
fn span(key: &PartitionKey) -> String {
    let format = match key.grain() {
        Grain::Day => "%Y",
        Grain::Hour => "%Y-%m",
    };
    key.start().format(format).to_string()
}

/// A checkpoint of the lines of `text` that are not out of date, and of what was read since.
fn rebuild(text: &[u8], asked: &Asked, fresh: HashMap<String, Bytes>) -> io::Result<Bytes> {
    let mut lines = BTreeMap::new();
    each_line(text, |line| {
        let is_asked = asked.get(&line.path);
        if is_asked.is_none_or(|(_, stamp)| stamp.is_of(&line)) {
            let json = Bytes::copy_from_slice(line.manifest.get().as_bytes());
            lines.insert(line.path, (line.stamp, json));
        }
    })?;
    for (path, json) in fresh {
        if let Some((_, stamp)) = asked.get(&path) {
            lines.insert(path, (hex::encode(stamp.hash), json));
        }
    }
    keep_newest(&mut lines);
    compress(&lines)
}

/// Of several revisions of a partition, the newest is all that anybody asks for.
fn keep_newest(lines: &mut BTreeMap<String, (String, Bytes)>) {
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let mut newest: HashMap<Option<String>, String> = HashMap::new();
    // In the order of their paths, which is that of their revisions.
    for path in lines.keys() {
        newest.insert(folder(path), path.clone());
    }
    lines.retain(|path, _| newest.get(&folder(path)) == Some(path));
}

fn compress(lines: &BTreeMap<String, (String, Bytes)>) -> io::Result<Bytes> {
    let mut out = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    out.include_checksum(true)?;
    let header = Header {
        format_version: CHECKPOINT_FORMAT_VERSION,
    };
    serde_json::to_writer(&mut out, &header)?;
    out.write_all(b"\n")?;
    let mut bytes = 0;
    for (path, (stamp, json)) in lines {
        // What is no JSON is left to who reads it itself.
        let Ok(manifest) = serde_json::from_slice::<&RawValue>(json) else {
            continue;
        };
        bytes += json.len() as u64;
        let line = Line {
            path: path.clone(),
            stamp: stamp.clone(),
            manifest,
        };
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    if bytes > MAX_BYTES / 2 {
        return Err(io::Error::other(format!(
            "{bytes} bytes of manifests are too many"
        )));
    }
    Ok(out.finish()?.into())
}

fn decompress(stored: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if !stored.is_empty() {
        zstd::Decoder::new(stored)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut text)?;
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {MAX_BYTES} bytes"
        )));
    }
    Ok(text)
}

fn each_line(text: &[u8], mut see: impl FnMut(Line<'_>)) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(text.len());
    let (header, lines) = text.split_at(end);
    let found = serde_json::from_slice::<Header>(header)?.format_version;
    if found > CHECKPOINT_FORMAT_VERSION {
        let message = format!("it has format version {found}, a newer program wrote it");
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    for line in serde_json::Deserializer::from_slice(lines).into_iter::<Line<'_>>() {
        see(line?);
    }
    Ok(())
}
