//! Fragments that were kept as they were fetched, without the records that are forgotten.
//!
//! A landing says in its manifest what each of its fragments holds, so that it can stand for its job. A fragment that
//! loses records is written anew under another name; then the manifest names that one and counts what is left; then the
//! old one goes. A fragment that no manifest names is of a run that was killed, and goes as a whole.
//!
//! A run that keeps fragments keeps them whole, and has its own landings swept once it has committed what they brought:
//! only then it is known which queries are of whom.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path as FilePath;
use std::sync::Arc;

use answerlake_load::ObjectPath as Path;
use answerlake_transform::frame::{BlockReader, OversizedRecord};
use answerlake_transform::{Forgotten, IdScan};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::lines::LinesSwept;
use crate::bridge::{decompressed, on_its_own_thread};
use crate::error::PipelineError;
use crate::workbench::Workbench;

/// The name of what says what is in a landing.
const MANIFEST: &str = "landing.json";

const FRAGMENT_ENDING: &str = ".json.zst";

const COMPRESSION_LEVEL: i32 = 3;

/// Removes what is forgotten from all fragments, or from those of one job; or says what would go.
pub(crate) async fn sweep(
    bench: &Workbench<'_>,
    forgotten: &Arc<Forgotten>,
    job_id: Option<&str>,
    applies: bool,
) -> Result<LinesSwept, PipelineError> {
    let of_job = job_id.map(|job_id| format!("/job={job_id}/"));
    let mut paths = bench.lake.landed_files().await?;
    paths.retain(|path| {
        of_job
            .as_ref()
            .is_none_or(|job| path.as_ref().contains(job))
    });
    let mut landings: BTreeMap<Path, Vec<Path>> = BTreeMap::new();
    for path in paths {
        let is_fragment = path
            .filename()
            .is_some_and(|name| name.ends_with(FRAGMENT_ENDING));
        if let (true, Some(folder)) = (is_fragment, path.parent()) {
            landings.entry(folder).or_default().push(path);
        }
    }
    let mut swept = LinesSwept::default();
    for (folder, fragments) in landings {
        for path in fragments {
            let records = sweep_fragment(bench, &folder, &path, forgotten, applies).await?;
            swept.files += u64::from(records > 0);
            swept.records += records;
        }
    }
    Ok(swept)
}

/// Removes what is forgotten from a fragment; gives how many records that is.
async fn sweep_fragment(
    bench: &Workbench<'_>,
    folder: &Path,
    path: &Path,
    forgotten: &Arc<Forgotten>,
    applies: bool,
) -> Result<u64, PipelineError> {
    let scratch = bench.scratch.subfolder()?;
    let Some(file) = bench.lake.fetch(path, scratch.path()).await? else {
        return Ok(0);
    };
    let fragment = FetchedFragment {
        file: Arc::new(file),
        max_record_bytes: bench.config.run.max_record_bytes,
        forgotten: Arc::clone(forgotten),
    };
    let failed = |source| PipelineError::KeptFile {
        path: path.to_string(),
        source,
    };
    let counted = fragment.clone();
    let gone = on_its_own_thread(move || Ok(counted.filter(None))).await?;
    let gone = gone.map_err(failed)?.gone;
    if gone == 0 || !applies {
        return Ok(gone);
    }
    let manifest_path = folder.clone().join(MANIFEST);
    let manifest = bench.lake.read_kept(&manifest_path).await?;
    let manifest = manifest.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let name = path.filename().unwrap_or_default().to_owned();
    let Some(mut manifest) = manifest.filter(|manifest| entry(manifest, &name).is_some()) else {
        bench.lake.replace_kept(path, None).await?;
        return Ok(gone);
    };
    let to = scratch.path().join("fragment");
    let (written, out) = (fragment.clone(), to.clone());
    let filtered = on_its_own_thread(move || Ok(written.filter(Some(&out)))).await?;
    let filtered = filtered.map_err(failed)?;
    let stem = name.strip_suffix(FRAGMENT_ENDING).unwrap_or(&name);
    let new_name = format!("{stem}-{}{FRAGMENT_ENDING}", &filtered.sha256[..8]);
    bench
        .lake
        .bring_kept(&folder.clone().join(new_name.as_str()), &to)
        .await?;
    amend(&mut manifest, &name, &new_name, &filtered);
    let json = serde_json::to_vec_pretty(&manifest).expect("it was JSON before");
    bench.lake.put_kept(&manifest_path, json.into()).await?;
    bench.lake.replace_kept(path, None).await?;
    tracing::info!(%path, records = gone, "records removed");
    Ok(gone)
}

/// What a manifest says of a fragment.
fn entry<'m>(manifest: &'m Value, name: &str) -> Option<&'m Value> {
    let mut fragments = manifest["fragments"].as_array()?.iter();
    fragments.find(|fragment| fragment["name"] == name)
}

/// Names the new fragment in place of the old, and counts what is left.
fn amend(manifest: &mut Value, name: &str, new_name: &str, filtered: &Filtered) {
    let less = |value: &mut Value| {
        if let Some(records) = value.as_u64() {
            *value = json!(records.saturating_sub(filtered.gone));
        }
    };
    for total in ["promised", "decoded"] {
        less(&mut manifest[total]);
    }
    let fragments = manifest["fragments"].as_array_mut().into_iter().flatten();
    for fragment in fragments.filter(|fragment| fragment["name"] == name) {
        less(&mut fragment["promised_records"]);
        fragment["name"] = json!(new_name);
        fragment["bytes"] = json!(filtered.bytes);
        fragment["sha256"] = json!(filtered.sha256);
    }
}

/// A fragment on this machine.
#[derive(Clone)]
struct FetchedFragment {
    file: Arc<File>,
    max_record_bytes: usize,
    forgotten: Arc<Forgotten>,
}

/// A fragment without some records.
#[derive(Debug, Default)]
struct Filtered {
    /// How many it lost.
    gone: u64,
    /// Its bytes, before they are compressed, and their SHA-256; of no meaning where it was not written.
    bytes: u64,
    sha256: String,
}

impl FetchedFragment {
    /// Looks at all records; writes those that stay to a new file, if one is given.
    fn filter(&self, to: Option<&FilePath>) -> io::Result<Filtered> {
        let out: Box<dyn Write> = match to {
            Some(path) => {
                let mut out = zstd::Encoder::new(File::create(path)?, COMPRESSION_LEVEL)?;
                out.include_checksum(true)?;
                Box::new(out.auto_finish())
            }
            None => Box::new(io::sink()),
        };
        let mut array = ArrayWriter::new(out)?;
        let mut gone = 0;
        for block in BlockReader::new(self.content()?, self.max_record_bytes) {
            let block = block.map_err(io::Error::other)?;
            for range in block.records {
                let record = &block.bytes[range];
                if self.forgotten.judge_bytes(record).is_some() {
                    gone += 1;
                } else {
                    array.add(&mut &record[..])?;
                }
            }
            if let Some(oversized) = block.oversized {
                if self.is_forgotten(&oversized)? {
                    gone += 1;
                } else {
                    array.add(&mut self.bytes_of(&oversized)?)?;
                }
            }
        }
        let (bytes, sha256) = array.finish()?;
        Ok(Filtered {
            gone,
            bytes,
            sha256,
        })
    }

    fn content(&self) -> io::Result<Box<dyn Read>> {
        decompressed(Box::new(FromStart {
            file: Arc::clone(&self.file),
            at: 0,
        }))
    }

    /// The bytes of a record that is too large to be held.
    fn bytes_of(&self, record: &OversizedRecord) -> io::Result<impl Read + use<>> {
        let mut content = self.content()?;
        io::copy(&mut (&mut content).take(record.at), &mut io::sink())?;
        Ok(content.take(record.bytes))
    }

    fn is_forgotten(&self, record: &OversizedRecord) -> io::Result<bool> {
        let mut bytes = self.bytes_of(record)?;
        let mut scan = IdScan::new(&self.forgotten);
        let mut piece = vec![0; 1 << 20];
        loop {
            match bytes.read(&mut piece)? {
                0 => return Ok(scan.verdict().is_some()),
                read => scan.feed(&piece[..read]),
            }
        }
    }
}

/// Reads a file wherever others stand in it.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Puts what is written.
struct Piecewise<'a>(&'a mut ArrayWriter);

impl Write for Piecewise<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes records as one array.
struct ArrayWriter {
    out: Box<dyn Write>,
    sha256: Sha256,
    bytes: u64,
    is_empty: bool,
}

impl ArrayWriter {
    fn new(out: Box<dyn Write>) -> io::Result<Self> {
        let mut array = Self {
            out,
            sha256: Sha256::new(),
            bytes: 0,
            is_empty: true,
        };
        array.put(b"[")?;
        Ok(array)
    }

    fn add(&mut self, record: &mut impl Read) -> io::Result<()> {
        let separator: &[u8] = if self.is_empty { b"\n" } else { b",\n" };
        self.put(separator)?;
        self.is_empty = false;
        io::copy(record, &mut Piecewise(self)).map(drop)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<(u64, String)> {
        self.put(b"\n]\n")?;
        self.out.flush()?;
        Ok((self.bytes, hex::encode(self.sha256.finalize())))
    }
}
