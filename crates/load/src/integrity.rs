//! Compares a stored data file with what a manifest says of it: that it is there, size, checksum, and its footer.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use answerlake_model::TableSchema;
use arrow::datatypes::Schema;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload, ObjectStoreExt};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::ParquetMetaData;
use sha2::{Digest, Sha256};

use crate::column_reader::read_error;
use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::file_reader::StoredFile;
use crate::file_writer::SCHEMA_VERSION_KEY;
use crate::lake::Lake;
use crate::manifest::Manifest;
use crate::store::{all, run_blocking};
use crate::verify::{Expected, Fault};

/// Bytes that are hashed at once.
const HASHED_AT_ONCE: usize = 1 << 20;

impl Lake {
    /// The final paths of a revision's files that are missing, or hold other bytes than the manifest says.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn damaged_files(
        &self,
        manifest: &Manifest,
    ) -> Result<Vec<String>, LoadError> {
        let looks = manifest.files.iter().map(async |file| {
            let fault = self.check_bytes(file).await?;
            Ok(fault.map(|_| file.path.clone()))
        });
        Ok(all(looks.collect()).await?.into_iter().flatten().collect())
    }

    /// What is wrong with the bytes of a file.
    pub(crate) async fn check_bytes(
        &self,
        file: &DataFile,
    ) -> Result<Option<(Fault, String)>, LoadError> {
        let path = Path::from(file.path.as_str());
        let failed = || LoadError::store("read", &path);
        let stored = match self.store.object_store().get(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(Some(missing())),
            stored => stored.map_err(failed())?,
        };
        let bytes = stored.meta.size;
        if bytes != file.bytes {
            let message = format!("expected {} bytes, got {bytes}", file.bytes);
            return Ok(Some((Fault::WrongSize, message)));
        }
        let sha256 = hash(stored).await.map_err(failed())?;
        Ok((sha256 != file.sha256).then(|| {
            let message = format!("expected SHA-256 {}, got {sha256}", file.sha256);
            (Fault::WrongChecksum, message)
        }))
    }

    /// What is wrong with the footer of a file whose bytes are as the manifest says.
    pub(crate) async fn check_footer(
        &self,
        file: &DataFile,
        manifest: &Manifest,
        expected: &Expected,
    ) -> Result<Vec<(Fault, String)>, LoadError> {
        let footer = StoredFile::new(&self.store, file).get_metadata(None).await;
        let footer = match footer.map_err(|error| read_error(&file.path, error)) {
            Ok(footer) => footer,
            Err(error) if error.is_not_found() => return Ok(vec![missing()]),
            Err(LoadError::ReadData { source, .. }) => {
                return Ok(vec![(Fault::Undecodable, source.to_string())]);
            }
            // The store's own failure says nothing of the file.
            Err(error) => return Err(error),
        };
        let mut faults = Vec::new();
        let rows = footer.file_metadata().num_rows();
        if u64::try_from(rows) != Ok(file.rows) {
            let message = format!("expected {} rows, got {rows}", file.rows);
            faults.push((Fault::WrongRows, message));
        }
        let version = schema_version(&footer);
        if version != Some(manifest.schema_version.to_string().as_str()) {
            let message = format!(
                "expected schema version {}, got {}",
                manifest.schema_version,
                version.unwrap_or("none")
            );
            faults.push((Fault::WrongSchemaVersion, message));
        }
        let columns = check_columns(&footer, &expected.schemas[file.table], {
            manifest.schema_version < expected.schema_version
        });
        faults.extend(columns.err().map(|message| (Fault::WrongColumns, message)));
        Ok(faults)
    }
}

fn missing() -> (Fault, String) {
    (Fault::FileMissing, "is not there".to_owned())
}

/// The SHA-256 of an object, in hex.
async fn hash(stored: GetResult) -> object_store::Result<String> {
    let mut sha256 = Sha256::new();
    let mut stream = match stored.payload {
        GetResultPayload::File(file, _) => {
            let hashed = run_blocking(move || hash_file(file)).await;
            return hashed.map_err(|source| object_store::Error::Generic {
                store: "LocalFileSystem",
                source: source.into(),
            });
        }
        GetResultPayload::Stream(stream) => stream,
    };
    while let Some(bytes) = stream.try_next().await? {
        sha256.update(&bytes);
    }
    Ok(hex::encode(sha256.finalize()))
}

fn hash_file(mut file: File) -> io::Result<String> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; HASHED_AT_ONCE];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(sha256.finalize())),
            read => sha256.update(&buffer[..read]),
        }
    }
}

fn schema_version(footer: &ParquetMetaData) -> Option<&str> {
    let entries = footer.file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == SCHEMA_VERSION_KEY);
    entry?.value.as_deref()
}

/// Compares a file's columns with its table's. A file of an older schema lacks the newest ones: columns are only ever
/// added, and at the end.
fn check_columns(
    footer: &Arc<ParquetMetaData>,
    expected: &TableSchema,
    is_older: bool,
) -> Result<(), String> {
    let descriptor = footer.file_metadata().schema_descr();
    let found = parquet_to_arrow_schema(descriptor, None).map_err(|error| error.to_string())?;
    let shown = |schema: &Schema, index: usize| {
        schema.fields().get(index).map_or_else(
            || "none".to_owned(),
            |field| {
                let null = if field.is_nullable() {
                    ""
                } else {
                    ", not null"
                };
                format!("`{}` {}{null}", field.name(), field.data_type())
            },
        )
    };
    let compared = match is_older {
        true => found.fields().len().min(expected.arrow.fields().len()),
        false => found.fields().len().max(expected.arrow.fields().len()),
    };
    for index in 0..compared {
        let (wanted, got) = (shown(&expected.arrow, index), shown(&found, index));
        if wanted != got {
            let number = index + 1;
            return Err(format!("column {number}: expected {wanted}, got {got}"));
        }
    }
    Ok(())
}
