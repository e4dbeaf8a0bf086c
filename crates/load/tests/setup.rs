//! A small schema, batches of it, and the stores that the contract suite runs over.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use answerlake_load::{
    EncodedFile, Lake, LakeAddress, LakeStore, OnCommitted, PartitionedWriter, Proposal,
    StoreAccess, WriterConfig, WriterMemory,
};
use answerlake_model::{
    AppId, ColumnRole, DriftLedger, Grain, PartitionBooks, PartitionKey, PerTable, RunId, Table,
    TableSchema,
};
use arrow::array::{
    ArrayRef, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::s3_server::S3Server;

/// Makes a test over each kind of store of each function named; they stand in `super`, as do `memory`, `local`, `s3`.
macro_rules! over_all_stores {
    ($($name:ident),* $(,)?) => {
        mod over_memory { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() { super::$name(super::memory().await).await; }
        )* }
        mod over_local_disk { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() { super::$name(super::local().await).await; }
        )* }
        mod over_s3 { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                if let Some(lake) = super::s3().await { super::$name(lake).await; }
            }
        )* }
    };
}
pub(crate) use over_all_stores;

pub(crate) fn schema(table: Table) -> TableSchema {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let tags = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
    TableSchema {
        table,
        arrow: Arc::new(Schema::new(vec![
            Field::new("query_id", DataType::Utf8, false),
            Field::new("created_at", timestamp, false),
            Field::new("text", DataType::Utf8, true),
            Field::new("tags", tags, true),
            Field::new("score", DataType::Float64, true),
        ])),
        roles: vec![
            ColumnRole::Id,
            ColumnRole::Plain,
            ColumnRole::LongText,
            ColumnRole::LongText,
            ColumnRole::Plain,
        ],
    }
}

/// Memory for open files without a limit.
pub(crate) fn unlimited() -> Arc<WriterMemory> {
    Arc::new(WriterMemory::new(u64::MAX))
}

pub(crate) fn schemas() -> Arc<PerTable<TableSchema>> {
    Arc::new(PerTable::from_fn(schema))
}

pub(crate) fn texts(rows: Range<i64>) -> impl Iterator<Item = Option<String>> {
    rows.map(|row| (row % 7 != 0).then(|| format!("text {} ", row % 50).repeat(20)))
}

pub(crate) fn batch(rows: Range<i64>) -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new()).with_field(Field::new(
        "element",
        DataType::Utf8,
        true,
    ));
    for row in rows.clone() {
        for tag in 0..row % 3 {
            tags.values().append_value(format!("tag {tag}"));
        }
        tags.append(row % 5 != 0);
    }
    let ids = rows.clone().map(|row| format!("query-{row}"));
    let times: Vec<i64> = rows
        .clone()
        .map(|row| 1_751_068_800_000_000 + row)
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        Arc::new(StringArray::from_iter(texts(rows.clone()))),
        Arc::new(tags.finish()),
        Arc::new(Float64Array::from_iter_values(
            rows.map(|row| row as f64 / 3.0),
        )),
    ];
    RecordBatch::try_new(schema(Table::Queries).arrow, columns).unwrap()
}

/// Rows whose text does not compress.
pub(crate) fn noise(rows: i64) -> RecordBatch {
    let plain = batch(0..rows);
    let texts = (0..rows).map(|row| hex::encode(Sha256::digest(row.to_le_bytes())));
    let mut columns = plain.columns().to_vec();
    columns[2] = Arc::new(StringArray::from_iter_values(texts));
    RecordBatch::try_new(plain.schema(), columns).unwrap()
}

pub(crate) fn key() -> PartitionKey {
    key_of("2025-06-28T00:00:00Z")
}

pub(crate) fn key_of(time: &str) -> PartitionKey {
    PartitionKey::new(
        AppId::try_new("st-1").unwrap(),
        time.parse().unwrap(),
        Grain::Day,
    )
}

/// Encodes rows for the tables that have any.
pub(crate) fn encode(
    scratch: &Path,
    config: WriterConfig,
    tables: &[(Table, RecordBatch)],
) -> Vec<EncodedFile> {
    encode_to(&key(), scratch, config, tables)
}

/// The same, for a partition.
pub(crate) fn encode_to(
    key: &PartitionKey,
    scratch: &Path,
    config: WriterConfig,
    tables: &[(Table, RecordBatch)],
) -> Vec<EncodedFile> {
    let mut writer =
        PartitionedWriter::try_new(config, schemas(), 1, scratch, unlimited()).unwrap();
    let batches = PerTable::from_fn(|table| {
        let found = tables.iter().find(|(name, _)| *name == table);
        found.map(|(_, batch)| batch.clone())
    });
    writer.write(key, &batches).unwrap();
    writer.close().unwrap().remove(key).unwrap()
}

/// Proposes `rows` rows of `queries`, and three of `chunks` that are the same each time. The digest follows the rows.
pub(crate) fn proposal(scratch: &Path, run: &str, rows: i64) -> Proposal {
    let tables = [
        (Table::Queries, batch(0..rows)),
        (Table::Chunks, batch(0..3)),
    ];
    Proposal {
        key: key(),
        run_id: RunId::try_new(run).unwrap(),
        files: encode(scratch, WriterConfig::default(), &tables),
        content_digest: format!("digest of {rows}"),
        provisional: false,
        partial: false,
        books: PartitionBooks {
            assigned: rows as u64,
            written: rows as u64,
            ..PartitionBooks::default()
        },
        strays: std::collections::BTreeSet::new(),
        drift: DriftLedger::default(),
        stats: None,
        jobs: Vec::new(),
        schema_version: 1,
        program_version: "0.1.0".to_owned(),
        context: BTreeMap::new(),
        on_committed: OnCommitted::Replace,
        record_id_columns: PerTable::from_fn(|table| {
            (table == Table::Queries).then_some("query_id")
        }),
        allow_unchanged: true,
        recheck: false,
    }
}

pub(crate) async fn paths(lake: &Lake, prefix: &str) -> Vec<String> {
    let prefix = object_store::path::Path::from(prefix);
    let store = lake.store().object_store();
    let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    let mut paths: Vec<_> = listed
        .into_iter()
        .map(|object| object.location.to_string())
        .collect();
    paths.sort();
    paths
}

/// What must hold whenever nobody is at work: the newest revision is published, its files and no others are there with
/// the bytes it says, and nothing is staged. Returns the revision.
pub(crate) async fn check_consistent(lake: &Lake) -> u64 {
    let state = lake.state(&key()).await.unwrap().unwrap();
    assert!(state.published && !state.is_broken());
    let mut named: Vec<_> = state
        .manifest
        .files
        .iter()
        .map(|file| file.path.clone())
        .collect();
    named.sort();
    let mut there = paths(lake, "queries").await;
    there.extend(paths(lake, "chunks").await);
    there.sort();
    assert_eq!(there, named);
    for file in &state.manifest.files {
        let path = object_store::path::Path::from(file.path.as_str());
        let store = lake.store().object_store();
        let object = object_store::ObjectStoreExt::get(&store, &path)
            .await
            .unwrap();
        let bytes = object.bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.bytes);
        assert_eq!(hex::encode(Sha256::digest(&bytes)), file.sha256);
    }
    assert_eq!(paths(lake, "_answerlake/staging").await, [""; 0]);
    state.revision
}

/// A store of the contract suite, and the folder it may live in.
pub(crate) struct TestLake {
    pub(crate) lake: Lake,
    pub(crate) scratch: tempfile::TempDir,
}

pub(crate) async fn memory() -> TestLake {
    TestLake {
        lake: Lake::new(LakeStore::open("memory://").await.unwrap()),
        scratch: tempfile::tempdir().unwrap(),
    }
}

pub(crate) async fn local() -> TestLake {
    let scratch = tempfile::tempdir().unwrap();
    let lake = scratch.path().join("lake");
    TestLake {
        lake: Lake::new(LakeStore::open(lake.to_str().unwrap()).await.unwrap()),
        scratch,
    }
}

/// A store on the S3 server of these tests, in a bucket of its own.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) async fn s3() -> Option<TestLake> {
    let Some(server) = s3_server() else {
        eprintln!(
            "SKIPPED on S3: set ANSWERLAKE_TEST_PYTHON, as `make test` does, and build with `--features s3`"
        );
        return None;
    };
    Some(TestLake {
        lake: Lake::new(LakeStore::open(s3_address(server, "lake")).await.unwrap()),
        scratch: tempfile::tempdir().unwrap(),
    })
}

/// The S3 server of all tests of this binary; `None` where `make test` did not prepare it, or without S3.
pub(crate) fn s3_server() -> Option<&'static S3Server> {
    static SERVER: LazyLock<Option<S3Server>> = LazyLock::new(|| {
        let python = std::env::var_os("ANSWERLAKE_TEST_PYTHON")?;
        cfg!(feature = "s3").then(|| S3Server::start(Path::new(&python)))
    });
    SERVER.as_ref()
}

/// A prefix in a new bucket of the server.
pub(crate) fn s3_address(server: &S3Server, prefix: &str) -> LakeAddress {
    let url = format!("s3://{}/{prefix}", server.new_bucket());
    LakeAddress::from(&url).with_access(StoreAccess {
        variables: Some(server.variables().into()),
        ..StoreAccess::default()
    })
}
