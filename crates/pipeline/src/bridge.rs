//! The one place where work crosses from what waits to what computes.
//!
//! A window's fragments are read, decoded and written by one thread that may block, which hands the decoding of blocks
//! to a rayon pool and takes the results back in the order of the blocks. So rows stand in source order whatever the
//! number of threads, and what is decoded ahead of its use is bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use answerlake_extract::FetchedFragment;
use answerlake_model::{AppId, Window};
use answerlake_transform::frame::{BlockReader, RecordBlock};
use answerlake_transform::{DecodedBlock, Decoder, FragmentError};
use chrono::{DateTime, Utc};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::PipelineError;
use crate::memory::{Admitted, MemoryShares, decode_cost};
use crate::progress::WindowProgress;

/// Threads that compute and the memory they may take, shared by all windows.
#[derive(Debug, Clone)]
pub(crate) struct Compute {
    pool: Arc<ThreadPool>,
    pub(crate) memory: MemoryShares,
}

impl Compute {
    /// Starts `threads` (absent: one a core) that work on `windows` at once, within `memory` bytes.
    pub(crate) fn try_new(
        threads: Option<usize>,
        memory: u64,
        windows: usize,
    ) -> Result<Self, PipelineError> {
        let builder = ThreadPoolBuilder::new().thread_name(|index| format!("compute-{index}"));
        let pool = builder.num_threads(threads.unwrap_or(0)).build();
        let pool = pool.map_err(|error| PipelineError::Threads {
            reason: format!("cannot start threads that compute: {error}"),
        })?;
        Ok(Self {
            memory: MemoryShares::of(memory, pool.current_num_threads(), windows),
            pool: Arc::new(pool),
        })
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on the pool, and blocks until it is done.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

/// Runs `work`, which may block, on a thread of its own. Where nobody waits for it any more, it still runs to its end.
pub(crate) async fn on_its_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PipelineError> + Send + 'static,
) -> Result<T, PipelineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(PipelineError::Threads {
            reason: format!("a thread that assembles died: {error}"),
        })
    })
}

/// A fragment on this machine's disk.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    /// Its number, from 1; no other that is assembled with it has it.
    pub(crate) number: u32,
    /// Its place among those that it came with, from 1.
    pub(crate) position: u32,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// What messages call it.
    pub(crate) origin: String,
    /// How many records it must hold; absent where nobody says.
    pub(crate) promised_records: Option<u64>,
    /// Where its records come from.
    pub(crate) origin_kind: OriginKind,
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OriginKind {
    /// They are brought, by nobody knows what.
    Brought,
    /// A job exported them.
    Exported(Arc<Exported>),
    /// They are dead letters, brought once more.
    TakenUp {
        /// The app, where their place in a lake tells it.
        app_id: Option<AppId>,
        /// The mark of the masking that all of them have passed; absent where some have passed another, or none.
        masking: Option<String>,
    },
    /// A partition holds them already.
    Held {
        /// The app.
        app_id: AppId,
        /// When they were asked for; absent where that is not to decide between versions of a record.
        as_of: Option<DateTime<Utc>>,
    },
    /// They join those that jobs bring, where these do not bring them: strays, and what a partition holds. Of those
    /// that lose nothing is said: they are kept where they come from.
    Joined {
        /// The app.
        app_id: AppId,
        /// When they were asked for.
        as_of: Option<DateTime<Utc>>,
    },
}

/// The job that records came with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exported {
    /// Its place among the jobs of the window, from 0.
    pub(crate) place: usize,
    /// Its id.
    pub(crate) job_id: String,
    /// What it was asked for, where that is only a part of the window.
    pub(crate) part: Option<Window>,
    /// When it was asked for; absent where that is not to decide between versions of a record.
    pub(crate) as_of: Option<DateTime<Utc>>,
}

impl OriginKind {
    /// The app that they all belong to, where that is known.
    fn app_id(&self) -> Option<&AppId> {
        match self {
            Self::Brought | Self::Exported(_) => None,
            Self::TakenUp { app_id, .. } => app_id.as_ref(),
            Self::Held { app_id, .. } | Self::Joined { app_id, .. } => Some(app_id),
        }
    }

    /// Whether they are masked as `decoder` masks: once more, hashes would be hashed.
    fn is_masked(&self, decoder: &Decoder) -> bool {
        match self {
            Self::Brought | Self::Exported(_) => false,
            Self::TakenUp { masking, .. } => *masking == decoder.masking_mark(),
            Self::Held { .. } | Self::Joined { .. } => true,
        }
    }

    /// The job that brought them.
    pub(crate) fn exported(&self) -> Option<&Exported> {
        match self {
            Self::Exported(exported) => Some(exported),
            _ => None,
        }
    }

    /// When they were asked for, where that is known.
    pub(crate) fn as_of(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Exported(exported) => exported.as_of,
            Self::Held { as_of, .. } | Self::Joined { as_of, .. } => *as_of,
            Self::Brought | Self::TakenUp { .. } => None,
        }
    }

    /// Whether the lake holds them already, in this partition or beside it.
    pub(crate) fn is_in_lake(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Joined { .. })
    }
}

/// Where fragments come from, in order.
pub(crate) trait FragmentSource {
    /// The next one. With `wait`, blocks until there is one or there will be none.
    fn next(&mut self, wait: bool) -> Next;
}

/// What a source answers.
pub(crate) enum Next {
    Fragment(Fragment),
    NotYet,
    End,
}

/// Fragments as they are downloaded, job after job, and then those that join them.
pub(crate) struct Downloads {
    pub(crate) jobs: VecDeque<JobDownloads>,
    pub(crate) joined: std::vec::IntoIter<Fragment>,
}

/// The fragments of one job.
pub(crate) struct JobDownloads {
    pub(crate) receiver: tokio::sync::mpsc::Receiver<FetchedFragment>,
    pub(crate) job: Arc<Exported>,
    /// How many fragments the jobs before it have.
    pub(crate) before: u32,
}

impl FragmentSource for Downloads {
    fn next(&mut self, wait: bool) -> Next {
        use tokio::sync::mpsc::error::TryRecvError;
        while let Some(job) = self.jobs.front_mut() {
            let received = match (job.receiver.try_recv(), wait) {
                (Ok(fetched), _) => Some(fetched),
                (Err(TryRecvError::Empty), false) => return Next::NotYet,
                (Err(TryRecvError::Empty), true) => job.receiver.blocking_recv(),
                (Err(TryRecvError::Disconnected), _) => None,
            };
            if let Some(fetched) = received {
                return Next::Fragment(job.fragment(fetched));
            }
            self.jobs.pop_front();
        }
        FragmentSource::next(&mut self.joined, wait)
    }
}

impl JobDownloads {
    fn fragment(&self, fetched: FetchedFragment) -> Fragment {
        let position = u32::try_from(fetched.position).unwrap_or(u32::MAX);
        Fragment {
            number: self.before.saturating_add(position),
            position,
            path: fetched.path,
            origin: format!("fragment {position} of job `{}`", self.job.job_id),
            promised_records: fetched.promised_records,
            origin_kind: OriginKind::Exported(Arc::clone(&self.job)),
        }
    }
}

/// Fragments that are all at hand.
impl FragmentSource for std::vec::IntoIter<Fragment> {
    fn next(&mut self, _: bool) -> Next {
        Iterator::next(self).map_or(Next::End, Next::Fragment)
    }
}

/// What comes out of [`DecodeAhead`].
pub(crate) enum Decoded {
    /// The records of a block, and the memory that was admitted for them.
    Block {
        fragment: Arc<Fragment>,
        block: DecodedBlock,
        admitted: Admitted,
    },
    /// A fragment has been read whole.
    End {
        fragment: Arc<Fragment>,
        records: u64,
    },
}

/// Decodes fragments on the pool, some blocks ahead, and gives them back in order.
pub(crate) struct DecodeAhead<'a, S> {
    compute: &'a Compute,
    decoder: &'a Arc<Decoder>,
    source: S,
    /// Is told what is read, where that is of interest.
    reader: Option<Arc<WindowProgress>>,
    reading: Option<Reading>,
    pending: VecDeque<Pending>,
    is_at_end: bool,
}

struct Reading {
    fragment: Arc<Fragment>,
    decoder: Arc<Decoder>,
    blocks: BlockReader<Box<dyn Read>>,
    records: u64,
    /// Read, and not admitted yet.
    held_back: Option<RecordBlock>,
}

enum Pending {
    Block {
        fragment: Arc<Fragment>,
        result: mpsc::Receiver<Option<DecodedBlock>>,
        admitted: Admitted,
    },
    End {
        fragment: Arc<Fragment>,
        records: u64,
    },
    Failed(PipelineError),
}

impl<'a, S: FragmentSource> DecodeAhead<'a, S> {
    pub(crate) fn new(
        compute: &'a Compute,
        decoder: &'a Arc<Decoder>,
        source: S,
        reader: Option<Arc<WindowProgress>>,
    ) -> Self {
        Self {
            compute,
            decoder,
            source,
            reader,
            reading: None,
            pending: VecDeque::new(),
            is_at_end: false,
        }
    }

    /// The next block or the end of a fragment; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Decoded>, PipelineError> {
        // More than two blocks a thread help nobody, however much memory there is.
        let most = 2 * self.compute.threads() + 1;
        while !self.is_at_end && self.pending.len() <= most {
            if !self.read_on() {
                break;
            }
        }
        match self.pending.pop_front() {
            None => Ok(None),
            Some(Pending::Failed(error)) => Err(error),
            Some(Pending::End { fragment, records }) => {
                Ok(Some(Decoded::End { fragment, records }))
            }
            Some(Pending::Block {
                fragment,
                result,
                admitted,
            }) => match result.recv() {
                Ok(Some(block)) => Ok(Some(Decoded::Block {
                    fragment,
                    block,
                    admitted,
                })),
                Ok(None) | Err(_) => Err(PipelineError::Threads {
                    reason: format!(
                        "{} cannot be decoded: the program has a fault, please report it",
                        fragment.origin
                    ),
                }),
            },
        }
    }

    /// Reads one block more, or comes to an end; `false` when there is nothing to be had without waiting.
    fn read_on(&mut self) -> bool {
        let Some(reading) = &mut self.reading else {
            return match self.source.next(self.pending.is_empty()) {
                Next::NotYet => false,
                Next::End => {
                    self.is_at_end = true;
                    false
                }
                Next::Fragment(fragment) => {
                    match open(&fragment.path, self.reader.clone()) {
                        Ok(bytes) => {
                            let mut decoder = Arc::clone(self.decoder);
                            if let Some(app_id) = fragment.origin_kind.app_id() {
                                decoder = Arc::new(decoder.of_app(app_id.clone()));
                            }
                            if let Some(part) =
                                fragment.origin_kind.exported().and_then(|job| job.part)
                            {
                                decoder = Arc::new(decoder.of_part(part));
                            }
                            if fragment.origin_kind.is_masked(self.decoder) {
                                decoder = Arc::new(decoder.of_masked());
                            }
                            if fragment.origin_kind.is_in_lake() {
                                decoder = Arc::new(decoder.of_held());
                            }
                            self.reading = Some(Reading {
                                fragment: Arc::new(fragment),
                                blocks: decoder.blocks(bytes),
                                decoder,
                                records: 0,
                                held_back: None,
                            });
                        }
                        Err(error) => self.fail(fragment.origin, FragmentError::Read(error)),
                    }
                    true
                }
            };
        };
        let next = match reading.held_back.take() {
            Some(block) => Some(Ok(block)),
            None => reading.blocks.next(),
        };
        match next {
            Some(Ok(block)) => {
                let cost = decode_cost(&block);
                let budget = &self.compute.memory.decode;
                // Who has nothing to go on with waits; what others have admitted is given back without us.
                let admitted = if self.pending.is_empty() {
                    budget.admit(cost)
                } else if let Some(admitted) = budget.try_admit(cost) {
                    admitted
                } else {
                    reading.held_back = Some(block);
                    return false;
                };
                reading.records += block.record_count();
                let (sender, result) = mpsc::sync_channel(1);
                let decoder = Arc::clone(&reading.decoder);
                let fragment = Arc::clone(&reading.fragment);
                let number = fragment.position;
                self.compute.pool.spawn(move || {
                    // A panic would end the whole program; so it fails one window. Nobody waits for a result any more
                    // after an error; then it is dropped.
                    let decoded = catch_unwind(AssertUnwindSafe(|| decoder.decode(block, number)));
                    drop(sender.send(decoded.ok()));
                });
                self.pending.push_back(Pending::Block {
                    fragment,
                    result,
                    admitted,
                });
            }
            Some(Err(error)) => {
                let origin = reading.fragment.origin.clone();
                self.fail(origin, error);
            }
            None => {
                if let Some(Reading {
                    fragment, records, ..
                }) = self.reading.take()
                {
                    self.pending.push_back(Pending::End { fragment, records });
                }
            }
        }
        true
    }

    fn fail(&mut self, origin: String, source: FragmentError) {
        let source = match source {
            FragmentError::Read(error) if error.kind() == ErrorKind::InvalidData => {
                FragmentError::Compression(error)
            }
            source => source,
        };
        self.pending
            .push_back(Pending::Failed(PipelineError::Fragment { origin, source }));
        self.is_at_end = true;
    }
}

/// Opens a fragment, whatever it is compressed with: servers gzip a body that is a gzipped file already.
pub(crate) fn open(
    path: &Path,
    reader: Option<Arc<WindowProgress>>,
) -> std::io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    decompressed(match reader {
        Some(progress) => Box::new(Counted { file, progress }),
        None => Box::new(file),
    })
}

/// The content of bytes that may be compressed.
pub(crate) fn decompressed(mut bytes: Box<dyn Read>) -> std::io::Result<Box<dyn Read>> {
    const GZIP: &[u8] = &[0x1F, 0x8B];
    const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
    // More layers are no server's doing.
    const MAX_LAYERS: usize = 3;
    for _ in 0..MAX_LAYERS {
        let mut head = Vec::with_capacity(ZSTD.len());
        bytes
            .by_ref()
            .take(ZSTD.len() as u64)
            .read_to_end(&mut head)?;
        let (is_gzip, is_zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
        bytes = Box::new(std::io::Cursor::new(head).chain(bytes));
        if is_gzip {
            bytes = Box::new(Decompressed(flate2::bufread::MultiGzDecoder::new(
                BufReader::new(bytes),
            )));
        } else if is_zstd {
            bytes = Box::new(Decompressed(zstd::Decoder::new(bytes)?));
        } else {
            break;
        }
    }
    Ok(bytes)
}

/// Says how much of a file was read.
struct Counted {
    file: File,
    progress: Arc<WindowProgress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.progress.read(read);
        Ok(read)
    }
}

/// Marks the errors of a decompressor, which are the fragment's; others are the disk's.
struct Decompressed<R>(R);

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => std::io::Error::new(ErrorKind::InvalidData, error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn compression_is_told_by_the_bytes() {
        let text = b"[{\"_id\":\"a\"}]";
        let gzip = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let once = gzip(text);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fragment");
        for bytes in [
            text.to_vec(),
            once.clone(),
            gzip(&once),
            zstd::encode_all(&text[..], 1).unwrap(),
            b"[".to_vec(),
            Vec::new(),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            let mut read = Vec::new();
            open(&path, None).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == text || read == bytes, "{bytes:?}");
        }
    }
}
