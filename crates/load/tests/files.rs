//! What the data files are like, read back.

use std::fs::File;
use std::sync::Arc;

use answerlake_load::{Compression, EncodedFile, PartitionedWriter, WriterConfig, WriterMemory};
use answerlake_model::{PerTable, Table};
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, ListArray, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{LogicalType, TimeUnit, Type};
use parquet::column::page::Page;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::setup::{batch, encode, key, key_of, noise, schemas, texts, unlimited};

fn queries(config: WriterConfig, batches: &[RecordBatch]) -> (tempfile::TempDir, Vec<EncodedFile>) {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer =
        PartitionedWriter::try_new(config, schemas(), 7, scratch.path(), unlimited()).unwrap();
    for batch in batches {
        let batches = PerTable::from_fn(|table| (table == Table::Queries).then(|| batch.clone()));
        writer.write(&key(), &batches).unwrap();
    }
    let files = writer.close().unwrap().remove(&key()).unwrap();
    (scratch, files)
}

fn reader(file: &EncodedFile) -> SerializedFileReader<File> {
    SerializedFileReader::new(File::open(&file.path).unwrap()).unwrap()
}

fn rows(file: &EncodedFile) -> RecordBatch {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(File::open(&file.path).unwrap()).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn group_rows(file: &EncodedFile) -> Vec<i64> {
    let reader = reader(file);
    let groups = reader.metadata().row_groups();
    groups.iter().map(RowGroupMetaData::num_rows).collect()
}

#[test]
fn files_are_as_their_readers_want_them() {
    let (_scratch, files) = queries(WriterConfig::default(), &[batch(0..1000)]);
    let [file] = &files[..] else {
        panic!("one file")
    };
    assert_eq!((file.part, file.rows), (0, 1000));
    assert_eq!(file.bytes, file.path.metadata().unwrap().len());

    let reader = reader(file);
    let metadata = reader.metadata();
    let file_metadata = metadata.file_metadata();
    assert_eq!(file_metadata.version(), 1);
    assert_eq!(file_metadata.created_by(), Some("answerlake"));
    let keys: Vec<_> = file_metadata.key_value_metadata().unwrap().iter().collect();
    assert_eq!(keys.len(), 1, "no ARROW:schema: {keys:?}");
    assert_eq!(keys[0].key, "answerlake.schema_version");
    assert_eq!(keys[0].value.as_deref(), Some("7"));

    let columns = file_metadata.schema_descr().columns();
    let names: Vec<_> = columns
        .iter()
        .map(|column| column.path().string())
        .collect();
    assert_eq!(
        names,
        [
            "query_id",
            "created_at",
            "text",
            "tags.list.element",
            "score"
        ]
    );
    assert_eq!(columns[0].logical_type_ref(), Some(&LogicalType::String));
    assert_eq!(columns[1].physical_type(), Type::INT64);
    let timestamp = columns[1].logical_type_ref();
    let Some(LogicalType::Timestamp(timestamp)) = timestamp else {
        panic!("{timestamp:?}")
    };
    assert!(timestamp.is_adjusted_to_u_t_c);
    assert_eq!(timestamp.unit, TimeUnit::MICROS);

    let group = metadata.row_group(0);
    let blooms: Vec<_> = group
        .columns()
        .iter()
        .map(|c| c.bloom_filter_offset().is_some())
        .collect();
    assert_eq!(blooms, [true, false, false, false, false]);
    for column in group.columns() {
        // A file names the codec, not the level.
        assert!(matches!(
            column.compression(),
            parquet::basic::Compression::ZSTD(_)
        ));
        assert!(column.statistics().is_some());
        assert!(column.offset_index_offset().is_some());
    }
    assert!(group.column(0).column_index_offset().is_some());
    for column in 0..5 {
        let mut pages = reader
            .get_row_group(0)
            .unwrap()
            .get_column_page_reader(column)
            .unwrap();
        let mut dictionary = false;
        while let Some(page) = pages.get_next_page().unwrap() {
            dictionary |= matches!(page, Page::DictionaryPage { .. });
            assert!(!matches!(page, Page::DataPageV2 { .. }), "version 1 pages");
        }
        assert!(dictionary);
    }
    assert_eq!(rows(file).columns(), batch(0..1000).columns());
}

#[test]
fn snappy_can_be_chosen() {
    let config = WriterConfig {
        compression: Compression::Snappy,
        ..WriterConfig::default()
    };
    let (_scratch, files) = queries(config, &[batch(0..10)]);
    let reader = reader(&files[0]);
    let column = reader.metadata().row_group(0).column(0);
    assert_eq!(column.compression(), parquet::basic::Compression::SNAPPY);
}

#[test]
fn bytes_do_not_depend_on_the_threads() {
    let encoded = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let config = WriterConfig {
                row_group_rows: 700,
                target_file_bytes: 20_000,
                ..WriterConfig::default()
            };
            let batches: Vec<_> = (0..10).map(|n| batch(n * 333..(n + 1) * 333)).collect();
            let (_scratch, files) = queries(config, &batches);
            let bytes: Vec<_> = files
                .iter()
                .map(|file| std::fs::read(&file.path).unwrap())
                .collect();
            let hashes: Vec<_> = files.iter().map(|file| file.sha256.clone()).collect();
            (bytes, hashes)
        })
    };
    let one = encoded(1);
    assert!(one.0.len() > 1);
    assert_eq!(one, encoded(4));
    assert_eq!(one, encoded(4));
}

#[test]
fn row_groups_end_at_their_rows_whatever_the_batches() {
    let config = WriterConfig {
        row_group_rows: 300,
        ..WriterConfig::default()
    };
    let (_scratch, files) = queries(config.clone(), &[batch(0..1000)]);
    assert_eq!(group_rows(&files[0]), [300, 300, 300, 100]);
    let parts: Vec<_> = (0..10).map(|n| batch(n * 100..(n + 1) * 100)).collect();
    let (_scratch, files) = queries(config, &parts);
    assert_eq!(group_rows(&files[0]), [300, 300, 300, 100]);
    assert_eq!(rows(&files[0]).num_rows(), 1000);
}

#[test]
fn row_groups_end_at_their_bytes_whatever_the_batches() {
    let config = WriterConfig {
        row_group_bytes: 50_000,
        ..WriterConfig::default()
    };
    let (_scratch, whole) = queries(config.clone(), &[batch(0..1000)]);
    let parts: Vec<_> = (0..8).map(|n| batch(n * 125..(n + 1) * 125)).collect();
    let (_scratch2, split) = queries(config, &parts);
    let groups = group_rows(&whole[0]);
    assert!(groups.len() > 2, "{groups:?}");
    assert_eq!(groups, group_rows(&split[0]));
    assert_eq!(groups.iter().sum::<i64>(), 1000);
}

#[test]
fn files_end_with_the_row_group_that_takes_them_to_their_size() {
    let config = WriterConfig {
        row_group_rows: 100,
        target_file_bytes: 1,
        ..WriterConfig::default()
    };
    let (scratch, files) = queries(config, &[batch(0..250)]);
    let parts: Vec<_> = files.iter().map(|file| (file.part, file.rows)).collect();
    assert_eq!(parts, [(0, 100), (1, 100), (2, 50)]);
    drop(files);
    assert_eq!(
        std::fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "scratch is removed"
    );
}

#[test]
fn text_may_come_as_dictionary_or_view_and_is_stored_as_text() {
    let plain = batch(0..200);
    let strings = plain.column(2).as_string::<i32>();
    let dictionary: DictionaryArray<Int32Type> = strings.iter().collect();
    let view: StringViewArray = strings.iter().collect();
    let tags = plain.column(3).as_list::<i32>();
    let tag_texts = tags.values().as_string::<i32>();
    let tag_dictionary: DictionaryArray<Int32Type> = tag_texts.iter().collect();
    let element = Field::new("element", tag_dictionary.data_type().clone(), true);
    let tags = ListArray::new(
        Arc::new(element),
        tags.offsets().clone(),
        Arc::new(tag_dictionary),
        tags.nulls().cloned(),
    );
    let given = |text: ArrayRef, tags: ArrayRef| {
        let mut columns = plain.columns().to_vec();
        let mut fields: Vec<Field> = plain
            .schema()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .collect();
        fields[2] = fields[2].clone().with_data_type(text.data_type().clone());
        fields[3] = fields[3].clone().with_data_type(tags.data_type().clone());
        columns[2] = text;
        columns[3] = tags;
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let from_dictionary = given(Arc::new(dictionary), Arc::new(tags));
    let from_view = given(Arc::new(view), Arc::clone(plain.column(3)));
    let mut files = Vec::new();
    for batch in [&plain, &from_dictionary, &from_view] {
        let (scratch, written) = queries(WriterConfig::default(), std::slice::from_ref(batch));
        let read = rows(&written[0]);
        assert_eq!(read.schema().field(2).data_type(), &DataType::Utf8);
        assert_eq!(read.columns(), plain.columns());
        files.push((written[0].sha256.clone(), scratch));
    }
    let expected: Vec<_> = texts(0..200).collect();
    let read: Vec<_> = strings.iter().map(|text| text.map(str::to_owned)).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_batch_with_other_columns_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = PartitionedWriter::try_new(
        WriterConfig::default(),
        schemas(),
        1,
        scratch.path(),
        unlimited(),
    )
    .unwrap();
    let write = |writer: &mut PartitionedWriter, columns: &[usize]| {
        let projected = batch(0..3).project(columns).unwrap();
        let batches =
            PerTable::from_fn(|table| (table == Table::Answers).then(|| projected.clone()));
        writer.write(&key(), &batches).unwrap_err().to_string()
    };
    assert_eq!(
        write(&mut writer, &[0, 1]),
        "table `answers`: expected 5 columns, got 2 columns"
    );
    assert_eq!(
        write(&mut writer, &[0, 4, 2, 3, 4]),
        "table `answers`: expected column `created_at` as Timestamp(µs, \"UTC\"), got Float64"
    );
}

#[test]
fn a_table_without_rows_gets_no_file() {
    let scratch = tempfile::tempdir().unwrap();
    let files = encode(
        scratch.path(),
        WriterConfig::default(),
        &[(Table::Queries, batch(0..0)), (Table::Events, batch(0..2))],
    );
    let tables: Vec<_> = files.iter().map(|file| file.table).collect();
    assert_eq!(tables, [Table::Events]);
}

/// Files of three partitions, written in turns with so much memory.
fn written_in_turns(limit_bytes: u64) -> (bool, Vec<(u32, u64, String)>) {
    let scratch = tempfile::tempdir().unwrap();
    let memory = Arc::new(WriterMemory::new(limit_bytes));
    let config = WriterConfig {
        row_group_rows: 700,
        target_file_bytes: 20_000,
        ..WriterConfig::default()
    };
    let mut writer =
        PartitionedWriter::try_new(config, schemas(), 1, scratch.path(), memory).unwrap();
    for start in (0..3000).step_by(250) {
        for day in ["2025-06-28", "2025-06-29", "2025-06-30"] {
            let key = key_of(&format!("{day}T00:00:00Z"));
            let whole = batch(start..start + 250);
            let batches = PerTable::from_fn(|table| match table {
                // A slice, as the batches of a block are.
                Table::Queries => Some(whole.slice(10, 200)),
                Table::Chunks if start % 500 == 0 => Some(noise(100)),
                _ => None,
            });
            writer.write(&key, &batches).unwrap();
        }
    }
    let has_spilled = writer.has_spilled();
    let files = writer.close().unwrap().into_values().flatten();
    let described = files.map(|file| (file.part, file.rows, file.sha256.clone()));
    (has_spilled, described.collect())
}

#[test]
fn files_are_the_same_however_short_memory_is() {
    let (has_spilled, expected) = written_in_turns(u64::MAX);
    assert!(!has_spilled && expected.len() == 9, "{expected:?}");
    for limit_bytes in [0, 1, 300_000] {
        let (has_spilled, files) = written_in_turns(limit_bytes);
        assert!(has_spilled, "{limit_bytes}");
        assert_eq!(files, expected, "{limit_bytes}");
    }
}
