//! Batches that wait in scratch, as Arrow IPC streams one after the other in one file.
//!
//! They come back as they were, batch by batch, so that what is written from them is the same to the byte.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::error::LoadError;

/// The file. It has no name, so it goes with the program however that ends.
#[derive(Debug)]
pub(crate) struct Spill {
    folder: PathBuf,
    file: BufWriter<File>,
    end: u64,
}

/// Where a batch stands in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpilledBatch {
    start: u64,
    bytes: u64,
}

impl Spill {
    /// Makes an empty file in `folder`.
    pub(crate) fn try_new(folder: &Path) -> Result<Self, LoadError> {
        const BUFFER_BYTES: usize = 256 << 10;
        let file = tempfile::tempfile_in(folder)
            .map_err(LoadError::scratch("create a file in", folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            end: 0,
        })
    }

    /// Appends a batch.
    pub(crate) fn append(&mut self, batch: &RecordBatch) -> Result<SpilledBatch, LoadError> {
        let start = self.end;
        let mut counted = Counted(self);
        let write = |counted: &mut Counted<'_>| -> Result<(), ArrowError> {
            let mut stream = StreamWriter::try_new(counted, &batch.schema())?;
            stream.write(batch)?;
            stream.finish()
        };
        write(&mut counted).map_err(|error| self.failed("write", error))?;
        Ok(SpilledBatch {
            start,
            bytes: self.end - start,
        })
    }

    /// Reads a batch back.
    pub(crate) fn read(&mut self, batch: SpilledBatch) -> Result<RecordBatch, LoadError> {
        let read = |file: &mut BufWriter<File>| -> Result<Option<RecordBatch>, ArrowError> {
            file.seek(SeekFrom::Start(batch.start))?;
            let bytes = BufReader::new(file.get_ref().take(batch.bytes));
            StreamReader::try_new(bytes, None)?.next().transpose()
        };
        match read(&mut self.file) {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => {
                Err(self.failed("read", io::Error::from(io::ErrorKind::UnexpectedEof).into()))
            }
            Err(error) => Err(self.failed("read", error)),
        }
    }

    fn failed(&self, action: &'static str, error: ArrowError) -> LoadError {
        let source = match error {
            ArrowError::IoError(_, source) => source,
            other => io::Error::other(other),
        };
        LoadError::scratch(action, &self.folder)(source)
    }
}

/// Counts what is appended.
struct Counted<'s>(&'s mut Spill);

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.file.write(bytes)?;
        self.0.end += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Read back only after a seek, which flushes.
        Ok(())
    }
}
