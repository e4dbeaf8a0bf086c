//! Any record that loads is restored as it was, by value.

use answerlake_emulator::{DataConfig, write_fragments};
use answerlake_model::PerTable;
use answerlake_transform::PromptLayout;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use crate::any_json::{json, member};
use crate::choices::{Choices, Noise, bytes, config};
use crate::documented::{mutate, records};
use crate::json::Json;
use crate::round_trip::{load, restore};

const LAYOUTS: [PromptLayout; 2] = [PromptLayout::Parts, PromptLayout::Text];

/// An object of anything, with what it takes to be loaded.
fn any_record(choices: &mut Choices<'_>) -> Json {
    const EVENTS: [&str; 4] = ["search", "thumbsUp", "thumbsDown", "click"];
    const TIMES: [&str; 4] = [
        r#""2025-06-28T10:19:18.209Z""#,
        r#""2025-06-28T10:19:18.209250Z""#,
        r#""2025-06-28T12:19:18+02:00""#,
        r#""1970-01-01T00:00:00.000Z""#,
    ];
    let length = choices.below(6);
    let mut members: Vec<_> = (0..length).map(|_| member(choices, 3)).collect();
    let id = choices.of(&[
        r#""q-1""#,
        r#""q-2""#,
        r#""\ud800""#,
        r#""\ud801""#,
        "7",
        "null",
        r#""""#,
    ]);
    let needed = [
        ("_id", Json::Scalar(id.to_owned())),
        ("event", Json::text(choices.of(&EVENTS))),
        ("createdOn", Json::Scalar(choices.of(&TIMES).to_owned())),
    ];
    let mut needed: Vec<(&str, Json)> = needed.into();
    match choices.below(4) {
        0 => {}
        1 => needed.push(("searchRequestId", json(choices, 0))),
        _ => needed.push((
            "searchRequestId",
            Json::text(choices.of(&["q-1", "q-2", "q-3"])),
        )),
    }
    if choices.once_in(2) {
        needed.push(("answerDebug", answers(choices)));
    }
    for (key, json) in needed {
        let at = choices.below(members.len() + 1);
        members.insert(at, (format!("\"{key}\""), json));
    }
    Json::Object(members)
}

/// Answers of anything, with enough of what they have for their rows to matter.
fn answers(choices: &mut Choices<'_>) -> Json {
    let length = choices.below(4);
    let answer = |choices: &mut Choices<'_>| {
        if choices.once_in(5) {
            return json(choices, 1);
        }
        let length = choices.below(4);
        let mut members: Vec<_> = (0..length).map(|_| member(choices, 2)).collect();
        for list in ["extractiveChunks", "generativeChunks"] {
            if choices.once_in(2) {
                let length = choices.below(3);
                let chunks = (0..length).map(|_| json(choices, 2)).collect();
                members.push((format!("\"{list}\""), Json::Array(chunks)));
            }
        }
        Json::Object(members)
    };
    Json::Array((0..length).map(|_| answer(choices)).collect())
}

/// A documented record, changed in some places.
fn drifted_record(choices: &mut Choices<'_>) -> Json {
    let mut record = choices.of(&[1, 2, 0, 3]);
    record %= 4;
    let mut record = records().swap_remove(record);
    for _ in 0..choices.below(9) {
        mutate(&mut record, choices);
    }
    record
}

/// Cuts batches anywhere, and puts empty ones between.
fn cut(batches: Vec<RecordBatch>, choices: &mut Choices<'_>) -> Vec<RecordBatch> {
    let mut cut = Vec::new();
    for batch in batches {
        let mut at = 0;
        while at < batch.num_rows() {
            let length = choices.below(batch.num_rows() - at) + usize::from(choices.byte() < 250);
            cut.push(batch.slice(at, length));
            at += length;
            if length == 0 && choices.byte() == 0 {
                cut.push(batch.slice(at, batch.num_rows() - at));
                break;
            }
        }
    }
    cut
}

/// Takes rows away, repeats them, and puts the values of one column into another of its type.
fn damage(batch: &RecordBatch, choices: &mut Choices<'_>) -> RecordBatch {
    let rows: UInt32Array = (0..batch.num_rows() as u32)
        .flat_map(|row| std::iter::repeat_n(row, [1, 1, 1, 1, 0, 2][choices.below(6)]))
        .collect();
    let mut columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| take(column, &rows, None).unwrap())
        .collect();
    for _ in 0..choices.below(3) {
        let (from, to) = (choices.below(columns.len()), choices.below(columns.len()));
        if columns[from].data_type() == columns[to].data_type() {
            columns[to] = columns[from].clone();
        }
    }
    let fields = batch.schema_ref().fields().iter();
    let fields: Vec<_> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    RecordBatch::try_new(Schema::new(fields).into(), columns).unwrap()
}

fn check(records: &[Json], choices: &mut Choices<'_>) -> Result<(), TestCaseError> {
    let layout = choices.of(&LAYOUTS);
    let loaded = load(records, layout);
    loaded
        .check(|batches| cut(batches, choices))
        .map(|_| ())
        .map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_object_is_restored(bytes in bytes(400)) {
        let mut choices = Choices::new(&bytes);
        check(&[any_record(&mut choices)], &mut choices)?;
    }

    #[test]
    fn what_drifts_is_restored(bytes in bytes(200)) {
        let mut choices = Choices::new(&bytes);
        check(&[drifted_record(&mut choices)], &mut choices)?;
    }

    /// What is no longer what was written is refused, or restored as far as it goes.
    #[test]
    fn damaged_tables_do_no_harm(bytes in bytes(600)) {
        let mut choices = Choices::new(&bytes);
        let records = [drifted_record(&mut choices), any_record(&mut choices)];
        let loaded = load(&records, choices.of(&LAYOUTS));
        for batches in loaded.partitions.values() {
            let damaged = PerTable::from_fn(|table| {
                let batches = batches[table].iter();
                batches.map(|batch| damage(batch, &mut choices)).collect()
            });
            if let Err(error) = restore(damaged) {
                prop_assert!(error.to_string().starts_with("table `"), "{}", error);
            }
        }
    }

    #[test]
    fn records_are_told_apart_wherever_batches_end(bytes in bytes(1200)) {
        let mut choices = Choices::new(&bytes);
        let count = choices.below(7);
        let records: Vec<Json> = (0..count)
            .map(|_| match choices.below(3) {
                0 => drifted_record(&mut choices),
                _ => any_record(&mut choices),
            })
            .collect();
        check(&records, &mut choices)?;
    }
}

#[test]
fn most_of_what_is_made_here_is_loaded() {
    let mut noise = Noise(7);
    for make in [any_record, drifted_record] {
        let loaded: usize = (0..500)
            .map(|_| {
                let bytes: Vec<u8> = noise.by_ref().take(300).collect();
                let record = make(&mut Choices::new(&bytes));
                1 - load(&[record], PromptLayout::Parts).dead_letters
            })
            .sum();
        assert!(loaded > 250, "{loaded} of 500 are loaded");
    }
}

#[test]
fn records_come_back_out_of_parquet() {
    let mut noise = Noise(11);
    let records: Vec<Json> = (0..400)
        .map(|index| {
            let bytes: Vec<u8> = noise.by_ref().take(500).collect();
            let mut choices = Choices::new(&bytes);
            match index % 2 {
                0 => drifted_record(&mut choices),
                _ => any_record(&mut choices),
            }
        })
        .collect();
    for layout in LAYOUTS {
        for skip_arrow_metadata in [false, true] {
            let loaded = load(&records, layout);
            let count = loaded.check(|batches| through_parquet(&batches, skip_arrow_metadata));
            assert!(count.as_ref().is_ok_and(|count| *count > 20), "{count:?}");
        }
    }
}

/// Writes batches to a Parquet file in memory, in small row groups, and reads them in batches of another size.
fn through_parquet(batches: &[RecordBatch], skip_arrow_metadata: bool) -> Vec<RecordBatch> {
    let Some(first) = batches.first() else {
        return Vec::new();
    };
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(5))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), first.schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    let file = bytes::Bytes::from(writer.into_inner().unwrap());
    // What a writer that knows no Arrow leaves behind: the types of Parquet alone.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(skip_arrow_metadata);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
    let reader = reader.unwrap().with_batch_size(3).build().unwrap();
    reader.map(Result::unwrap).collect()
}

#[test]
fn emulated_records_leave_over_only_what_drifts_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataConfig {
        records_per_day: 40,
        pool: 200,
        text_scale: 0.05,
        ..DataConfig::default()
    };
    write_fragments(&data, "st-1", 1000, folder.path()).unwrap();
    let fragment = std::fs::read_to_string(folder.path().join("fragment_00001.json")).unwrap();
    let Ok(Json::Array(records)) = Json::parse(&fragment) else {
        panic!("expected an array of records")
    };
    for layout in LAYOUTS {
        let loaded = load(&records, layout);
        assert_eq!(loaded.check(|batches| batches), Ok(records.len()));
        // The emulator writes some scores as text, and some languages as null, and nothing else that drifts.
        let extras = loaded.extras();
        let is_known = |extra: &&String| {
            extra.starts_with(r#"{"/score":""#) || *extra == r#"{"/language":null}"#
        };
        assert_eq!(extras.iter().find(|extra| !is_known(extra)), None);
        assert!(extras.len() < records.len());
    }
}

#[test]
fn documented_records_leave_nothing_over() {
    for layout in LAYOUTS {
        let loaded = load(&records(), layout);
        assert_eq!(loaded.check(|batches| batches), Ok(records().len()));
        assert_eq!(loaded.extras(), [""; 0]);
    }
}
