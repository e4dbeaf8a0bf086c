//! Fragments at hand: the vendor's samples, records of the same shapes, and the forms that files come in.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Lake, Place, TABLES, repository, truth};

/// Made-up records of the shapes of the vendor's samples.
fn fixture() -> (String, Vec<Value>) {
    let text = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let records = serde_json::from_str(&text).unwrap();
    (text, records)
}

#[track_caller]
fn assert_nothing_is_extra(lake: &Lake) {
    for table in TABLES {
        for row in lake.rows(table) {
            let extra = row.get("extra").unwrap_or(&Value::Null);
            assert_eq!(extra, &Value::Null, "{table}: {row:?}");
        }
    }
}

#[test]
fn records_of_the_documented_shapes_fill_every_column() {
    let place = Place::new("fixture");
    let (text, records) = fixture();
    let file = place.write("export.json", text);
    let result = place.ingest(&[&file]).result();
    assert_eq!(
        result["totals"]["rows"],
        json!({"queries": 3, "feedback": 1, "answers": 3, "chunks": 8, "llm_calls": 3, "events": 0})
    );
    let lake = place.lake();
    lake.assert_whole();
    truth::assert_holds(&lake, &records);
    assert_nothing_is_extra(&lake);
    place.assert_scratch_is_empty();

    // Every column is filled by some record of these, but for those that no sample fills.
    let unfilled = ["extra", "response_info", "time_info"];
    for table in ["queries", "feedback", "answers", "chunks", "llm_calls"] {
        let rows = lake.rows(table);
        for column in rows[0].keys() {
            let is_filled = rows.iter().any(|row| !row[column].is_null());
            assert_eq!(
                is_filled,
                !unfilled.contains(&column.as_str()),
                "{table}.{column}"
            );
        }
    }
    let cited: Vec<_> = lake
        .rows("chunks")
        .iter()
        .filter(|row| row["kind"] == "generative")
        .map(|row| row["cited"].as_bool())
        .collect();
    assert_eq!(cited, [true, false, true, false, false, false].map(Some));
    // Two days: the fixture's records lie on both sides of midnight.
    assert_eq!(lake.days().len(), 2);
    for manifest in lake.newest().values() {
        assert_eq!(manifest["partial"], true, "nothing proves it complete");
    }
}

#[test]
fn the_vendors_samples_load_whole() {
    let folder = std::env::var_os("ANSWERLAKE_SAMPLES")
        .map_or_else(|| repository("../shared/samples"), PathBuf::from);
    let files = [
        "answer-insights-export.json",
        "answer-insights-export-extractive.json",
    ]
    .map(|name| folder.join(name));
    if !files.iter().all(|file| file.is_file()) {
        println!(
            "skipped: the vendor's samples are not in {}",
            folder.display()
        );
        return;
    }
    let place = Place::new("samples");
    let paths = files.each_ref().map(|file| file.to_str().unwrap());
    let result = place.ingest(&paths).result();
    assert_eq!(
        result["totals"]["rows"],
        json!({"queries": 3, "feedback": 1, "answers": 3, "chunks": 7, "llm_calls": 3, "events": 0})
    );
    assert_eq!(result["totals"]["dead_letters"], 0);
    let records: Vec<Value> = files
        .iter()
        .flat_map(|file| {
            serde_json::from_slice::<Vec<Value>>(&std::fs::read(file).unwrap()).unwrap()
        })
        .collect();
    let lake = place.lake();
    lake.assert_whole();
    truth::assert_holds(&lake, &records);
    assert_nothing_is_extra(&lake);

    for chunk in lake.rows("chunks") {
        let expected = match chunk["kind"].as_str().unwrap() {
            "generative" => json!(true),
            _ => Value::Null,
        };
        assert_eq!(chunk["cited"], expected, "{chunk:?}");
    }
    let calls = lake.rows("llm_calls");
    let generative: Vec<_> = calls
        .iter()
        .filter(|call| call["has_completion"] == true)
        .collect();
    assert_eq!(generative.len(), 1);
    assert_eq!(
        generative[0]["cited_positions"],
        json!((1..=20).collect::<Vec<_>>())
    );
    assert_eq!(generative[0]["completion_time_ms"], 8963.1632);
}

#[test]
fn the_same_again_changes_nothing() {
    let place = Place::new("same");
    let (text, _) = fixture();
    let file = place.write("export.json", text);
    place.ingest(&[&file]).result();
    let before = place.lake().stamps();
    // Written otherwise, in another order of keys: still the same records.
    let (_, records) = fixture();
    let other = place.write("other.json", serde_json::to_string(&records).unwrap());
    for file in [file, other] {
        let result = place.ingest(&[&file]).result();
        for partition in result["partitions"].as_array().unwrap() {
            assert_eq!(partition["state"], "unchanged", "{partition}");
        }
        assert_eq!(result["totals"]["bytes_written"], 0);
        assert_eq!(place.lake().stamps(), before);
    }
}

#[test]
fn what_comes_later_joins_what_is_there() {
    let place = Place::new("joined");
    let (text, records) = fixture();
    let file = place.write("export.json", text);
    place.ingest(&[&file]).result();
    let before = place.lake().digests();

    // One that is new, one that is there already, and one that is there in an earlier version.
    let mut new = records[0].clone();
    new["_id"] = json!("68600000dddddddddddddddd");
    let mut changed = records[0].clone();
    changed["lMod"] = json!("2031-01-01T00:00:00.000Z");
    changed["query"] = json!("asked otherwise");
    let brought = [new.clone(), records[1].clone(), changed.clone()];
    let other = place.write("other.json", serde_json::to_string(&brought).unwrap());
    let result = place.ingest(&[&other]).result();
    assert_eq!(result["partitions"][0]["state"], "committed", "{result}");
    assert_eq!(result["partitions"][0]["revision"], 2);
    assert_eq!(result["totals"]["decoded"], 3);
    assert_eq!(result["totals"]["duplicates"], 1);
    assert_eq!(result["totals"]["conflicts"], 1);
    assert_eq!(result["totals"]["written"], 1, "one more than before");
    let mut expected = records.clone();
    expected[0] = changed;
    expected.push(new);
    place.lake().assert_whole();
    truth::assert_holds(&place.lake(), &expected);
    let newest = place.lake().newest();
    let joined = |manifest: &&Value| manifest["revision"] == 2;
    let books = &newest.values().find(joined).unwrap()["books"];
    let number = |name: &str| books[name].as_u64().unwrap();
    assert_eq!(number("assigned"), 3, "{books}");
    assert!(number("held") >= 2, "{books}");
    assert_eq!(number("written"), number("held") + 1);

    // Each file again changes nothing: the older version lost, and loses once more.
    let joined = place.lake().data_files();
    for again in [&other, &file] {
        let result = place.ingest(&[again]).result();
        assert_eq!(result["partitions"][0]["state"], "unchanged", "{result}");
        assert_eq!(result["totals"]["bytes_written"], 0);
        assert_eq!(place.lake().data_files(), joined);
    }
    assert_ne!(place.lake().digests(), before);
    place.assert_scratch_is_empty();
}

/// Piece by piece, in any order, as at once.
#[test]
fn fragments_loaded_one_by_one_make_the_lake_of_all() {
    let place = Place::new("one-by-one");
    let source = crate::support::Source::start(|_| {});
    let records = source.records();
    let files: Vec<String> = records
        .chunks(25)
        .zip(1..)
        .map(|(records, number)| {
            let text = serde_json::to_string(records).unwrap();
            place.write(&format!("piece-{number}.json"), text)
        })
        .collect();
    let at_once = place.lake_named("at-once");
    let all: Vec<&str> = files.iter().map(String::as_str).collect();
    place.ingest(&all).into_lake(&at_once).result();
    let in_turns = place.lake_named("in-turns");
    for file in files.iter().rev() {
        place.ingest(&[file]).into_lake(&in_turns).result();
        in_turns.assert_whole();
    }
    assert_eq!(in_turns.digests(), at_once.digests());
    truth::assert_holds(&in_turns, &records);
    place.assert_scratch_is_empty();
}

/// A run's partition belongs to the run's app, whatever its records say, and stays as complete as it was.
#[test]
fn a_day_that_a_run_committed_is_joined_too() {
    let setup = crate::support::setup("run-joined", |_| {});
    setup.run().result();
    let before = setup.lake().newest();
    let record = json!({
        "_id": "68600000dddddddddddddddd", "event": "thumbsUp", "searchRequestId": "fs-1",
        "createdOn": "2025-06-24T10:00:00.000Z", "query": "late",
    });
    let file = setup.place.write("late.json", json!([record]).to_string());
    let result = setup
        .place
        .ingest(&[&file])
        .with("--app-id", &setup.source.config().app_id)
        .result();
    assert_eq!(result["partitions"][0]["revision"], 2, "{result}");
    let mut records = setup.source.records();
    records.push(record);
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &records);
    for (key, manifest) in setup.lake().newest() {
        assert_eq!(manifest["partial"], before[&key]["partial"], "{key}");
        assert_eq!(manifest["provisional"], before[&key]["provisional"]);
    }
}

/// What was wrong may be mended by a flag, or by a newer program.
#[test]
fn dead_letters_are_taken_up_again() {
    let place = Place::new("taken-up");
    let (_, records) = fixture();
    let app_id = records[0]["botId"].as_str().unwrap().to_owned();
    let mut without_app = records.clone();
    for record in &mut without_app[1..] {
        record.as_object_mut().unwrap().remove("botId");
    }
    let mut text = serde_json::to_string(&without_app).unwrap();
    text.insert_str(text.len() - 1, r#",{"_id":"bad","event":"search","x":NaN}"#);
    let file = place.write("without-app.json", &text);
    let result = place.ingest(&[&file]).result();
    assert_eq!(result["totals"]["dead_letters"], records.len(), "{result}");
    let letters = |place: &Place| {
        let mut files = place.lake().files();
        files.retain(|file| file.starts_with("_answerlake/dead_letters/"));
        files
    };
    let kept = letters(&place);
    assert!(!kept.is_empty());

    let again = place
        .ingest(&[place
            .lake()
            .path("_answerlake/dead_letters")
            .join("*/*/*")
            .to_str()
            .unwrap()])
        .with("--app-id", &app_id);
    let result = again.result();
    assert_eq!(result["totals"]["decoded"], records.len(), "{result}");
    assert_eq!(result["totals"]["written"], records.len() - 1);
    // What is wrong in itself stays where it is.
    assert_eq!(result["totals"]["dead_letters"], 1);
    assert_eq!(letters(&place), kept);
    let mut expected = without_app;
    expected.sort_by_key(|record| record["_id"].to_string());
    place.lake().assert_whole();
    truth::assert_holds(&place.lake(), &expected);
    let before = place.lake().stamps();
    assert_eq!(again.result()["totals"]["bytes_written"], 0);
    assert_eq!(place.lake().stamps(), before);
}

/// `run.max_record` says what is set aside when it comes. What the lake holds was small enough once, and stays.
#[test]
fn a_record_over_the_limit_is_set_aside_until_the_limit_is_raised() {
    let place = Place::new("max-record");
    let (_, mut records) = fixture();
    let app_id = records[0]["botId"].as_str().unwrap().to_owned();
    let last = records.pop().unwrap();
    records[0]["query"] = "x".repeat(2 << 20).into();
    let file = place.write("large.json", serde_json::to_string(&records).unwrap());
    let result = place.ingest(&[&file]).with("--max-record", "1MiB").result();
    assert_eq!(result["totals"]["dead_letters"], 1, "{result}");

    let letters = place.lake().path("_answerlake/dead_letters/*/*/*");
    let taken_up = place.ingest(&[letters.to_str().unwrap()]);
    let result = taken_up.with("--app-id", &app_id).result();
    assert_eq!(result["totals"]["dead_letters"], 0, "{result}");
    truth::assert_holds(&place.lake(), &records);

    records.push(last);
    let file = place.write("last.json", json!([records.last()]).to_string());
    let result = place.ingest(&[&file]).with("--max-record", "1MiB").result();
    assert_eq!(result["totals"]["dead_letters"], 0, "{result}");
    truth::assert_holds(&place.lake(), &records);

    let failure = place
        .ingest(&[&file])
        .with("--max-record", "86MiB")
        .fails(2);
    failure.assert_says(&[
        "`run.max_record`, given as --max-record",
        "a sixth of `run.memory`, which is 85.3 MiB",
    ]);
}

#[test]
fn a_run_reads_ingested_days_again() {
    let setup = crate::support::setup("partial", |_| {});
    let config = setup.source.config();
    let fragments = setup.place.path("fragments");
    // Two of three days, and of these only what two fragments hold.
    answerlake_emulator::write_fragments(&config.data, &config.app_id, 20, &fragments).unwrap();
    let two = ["fragment_00001.json", "fragment_00002.json"].map(|name| fragments.join(name));
    setup
        .place
        .ingest(&two.each_ref().map(|path| path.to_str().unwrap()))
        .result();
    let result = setup.run().result();
    let committed = result["partitions"].as_array().unwrap();
    assert_eq!(committed.len(), 3, "{result}");
    let lake = setup.lake();
    lake.assert_whole();
    truth::assert_holds(&lake, &setup.source.records());
    for manifest in lake.newest().values() {
        assert_eq!(manifest["partial"], false);
    }
    assert_eq!(setup.run().result()["status"], "nothing_to_do");
}

#[test]
fn every_form_of_file_gives_the_same_partitions() {
    let place = Place::new("forms");
    let (text, records) = fixture();
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let plain = place.write("plain.json", &text);
    let (newer, older) = records.split_at(2);
    place.write("folder/1.json", serde_json::to_string(newer).unwrap());
    place.write("folder/2.json", serde_json::to_string(older).unwrap());
    place.write("folder/notes.txt", "no fragment");
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let forms: [(&str, Vec<String>); 8] = [
        ("gzip", vec![place.write("a.json.gz", gzip)]),
        ("zstd", vec![place.write("a.json.zst", zstd)]),
        ("lines", vec![place.write("a.ndjson", &lines)]),
        (
            "lines-without-end",
            vec![place.write("b.ndjson", lines.trim_end())],
        ),
        (
            "wrapped",
            vec![place.write(
                "w.json",
                format!("{{\"count\":4,\"records\":{text},\"more\":false}}"),
            )],
        ),
        (
            "bom",
            vec![place.write("bom.json", format!("\u{feff}{text}\r\n"))],
        ),
        ("folder", vec![path("folder")]),
        ("pattern", vec![path("folder/*.json")]),
    ];
    place.ingest(&[&plain]).result();
    for (form, paths) in forms {
        let lake = place.lake_named(&format!("lake-of-{form}"));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let result = place.ingest(&paths).into_lake(&lake).result();
        assert_eq!(result["totals"]["written"], 4, "{form}");
        assert_eq!(lake.digests(), place.lake().digests(), "{form}");
        assert_eq!(lake.counts(), place.lake().counts(), "{form}");
        lake.assert_whole();
    }
}

#[test]
fn a_record_that_cannot_be_loaded_is_set_aside_and_the_rest_loads() {
    let place = Place::new("dead-letter");
    let (_, mut records) = fixture();
    let day = records[0]["createdOn"].clone();
    records.truncate(2);
    let good: Vec<String> = records.iter().map(Value::to_string).collect();
    let bad = [
        format!(r#"{{"_id":"x","createdOn":{day},"broken":tru}}"#),
        r#"{"_id":"y","event":"search"}"#.to_owned(),
        "17".to_owned(),
    ];
    let fragment = format!("[{},{},{}]", good[0], bad.join(","), good[1]);
    let file = place.write("export.json", fragment);
    let result = place.ingest(&[&file]).result();
    assert_eq!(result["totals"]["decoded"], 5);
    assert_eq!(result["totals"]["written"], 2);
    assert_eq!(result["totals"]["dead_letters"], 3);
    let lake = place.lake();
    lake.assert_whole();
    truth::assert_holds(&lake, &records);
    let letters: Vec<String> = lake
        .files()
        .iter()
        .filter(|file| file.starts_with("_answerlake/dead_letters/"))
        .map(|file| {
            let bytes = std::fs::read(lake.path(file)).unwrap();
            String::from_utf8(zstd::decode_all(bytes.as_slice()).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(letters.concat().lines().count(), 3, "{letters:?}");
}

#[test]
fn each_record_goes_to_the_app_it_names_or_to_the_one_given() {
    let place = Place::new("apps");
    let (_, mut records) = fixture();
    records[0]["botId"] = json!("st-other");
    let file = place.write("export.json", serde_json::to_string(&records).unwrap());
    let apps = |lake: &Lake| {
        let partitions = lake.newest().into_keys();
        partitions
            .map(|partition| partition.split('/').next().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    place.ingest(&[&file]).result();
    assert_eq!(apps(&place.lake()).len(), 2);
    let lake = place.lake_named("given");
    place
        .ingest(&[&file])
        .with("--app-id", "st-given")
        .into_lake(&lake)
        .result();
    assert_eq!(apps(&lake), ["app_id=st-given".to_owned()].into());
}

#[test]
fn what_the_columns_do_not_hold_stands_in_extra() {
    let place = Place::new("extra");
    let (_, mut records) = fixture();
    records.truncate(2);
    let (rating, search) = records.split_at_mut(1);
    rating[0]["isDev"] = json!("no");
    search[0]["experiment"] = json!({"arm": "b", "since": null});
    search[0]["answerDebug"][0]["generativeChunks"][0]["score"] = json!("0.75");
    search[0]["answerDebug"][0]["generativeChunks"][1]["highlight"] = json!([1, 2]);
    search[0]["answerDebug"][0]["llmResponse"]["tokens"] = json!(17);
    let file = place.write("export.json", serde_json::to_string(&records).unwrap());
    place.ingest(&[&file]).result();
    let lake = place.lake();
    truth::assert_holds(&lake, &records);
    let extra = |table: &str, row: usize| -> Value {
        let rows = lake.rows(table);
        let extra = rows[row]["extra"].as_str().unwrap_or("null");
        serde_json::from_str(extra).unwrap()
    };
    assert_eq!(
        extra("queries", 0),
        json!({"/experiment": {"arm": "b", "since": null}})
    );
    assert_eq!(extra("feedback", 0), json!({"/isDev": "no"}));
    assert_eq!(extra("chunks", 0), json!({"/score": "0.75"}));
    assert_eq!(extra("chunks", 1), json!({"/highlight": [1, 2]}));
    assert_eq!(extra("chunks", 2), Value::Null);
    let call = [extra("answers", 0), extra("llm_calls", 0)];
    assert!(
        call.contains(&json!({"/llmResponse/tokens": 17})),
        "{call:?}"
    );
}

#[test]
fn a_fragment_of_which_nothing_can_be_loaded_is_no_empty_day() {
    let place = Place::new("nothing-loads");
    let file = place.write("export.json", r#"[{"_id":"a"},{"id":7},null]"#);
    let failure = place.ingest(&[&file]).fails(5);
    assert!(
        failure.error.contains("none of 3 records"),
        "{}",
        failure.error
    );
    let lake = place.lake();
    assert!(lake.newest().is_empty());
    let files = lake.files();
    let letters = files
        .iter()
        .filter(|file| file.starts_with("_answerlake/dead_letters/"));
    assert_eq!(letters.count(), 1, "{files:?}");
    place.assert_scratch_is_empty();
}

#[test]
fn a_day_of_which_nothing_can_be_loaded_is_not_committed_as_empty() {
    let place = Place::new("no-ids");
    // Their day and app are known, their ids are not.
    let record = r#"{"event":"thumbsUp","botId":"st-1","createdOn":"2025-06-28T12:00:00.000Z"}"#;
    let file = place.write("export.json", format!("[{record},{record}]"));
    let failure = place.ingest(&[&file]).fails(5);
    assert!(
        failure.error.contains("none of 2 records"),
        "{}",
        failure.error
    );
    let lake = place.lake();
    assert!(lake.newest().is_empty());
    let files = lake.files();
    let kept = "_answerlake/dead_letters/app_id=st-1/dt=2025-06-28/";
    assert!(files.iter().any(|file| file.starts_with(kept)), "{files:?}");
}
