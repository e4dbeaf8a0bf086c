//! The records come back out of the lake as they were exported.

use serde_json::Value;

use crate::support::{Lake, Place, repository, setup};

fn sorted(mut records: Vec<Value>) -> Vec<Value> {
    records.sort_by_key(ToString::to_string);
    records
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn restore(place: &Place, lake: &Lake) -> crate::support::Program {
    place.program("restore").into_lake(lake)
}

/// A lake of records that drift, bring twins and break what names address, and its place.
fn drifted(name: &str) -> (Place, Vec<&'static str>) {
    let records = vec![
        r#"{"_id":"q-1","event":"search","botId":"st-1","createdOn":"2025-06-28T10:00:00.000Z","a/b":{"~":[1.50,1e400]},
           "answerDebug":[{"_id":7,"prompt":{"promptText":["x"],"model":"m"},"generativeChunks":[{"score":"0.5"},12345678901234567890]}]}"#,
        r#"{"_id":"q-2","event":"search","botId":"st-1","createdOn":"2025-06-28T11:00:00Z","query":"\ud800","answerDebug":{},"a":1,"a":null}"#,
        r#"{"_id":"f-1","event":"thumbsUp","botId":"st-1","createdOn":"2025-06-29T11:00:00.000Z","comments":{"tags":"x","text":""}}"#,
        r#"{"_id":"e-1","botId":"st-1","createdOn":"2025-06-30T11:00:00.000Z","event":["click"]}"#,
    ];
    let place = Place::new(name);
    let file = place.write("drifted.json", format!("[{}]", records.join(",")));
    place.ingest(&[&file]).result();
    (place, records)
}

#[test]
fn what_was_exported_comes_back() {
    let setup = setup("restore", |_| {});
    setup.run().result();
    let outcome = restore(&setup.place, &setup.lake()).ends(0);
    assert_eq!(
        sorted(lines(&outcome.stdout)),
        sorted(setup.source.records())
    );

    let day = setup.source.days()[1];
    let outcome = restore(&setup.place, &setup.lake())
        .with("--date", &day.to_string())
        .ends(0);
    assert_eq!(
        sorted(lines(&outcome.stdout)),
        sorted(setup.source.records_of(day))
    );
}

#[test]
fn a_lake_made_of_restored_records_has_the_same_content() {
    let (place, records) = drifted("restored");
    let file = place.path("restored.json");
    let file = file.to_str().unwrap();
    let result = restore(&place, &place.lake())
        .arguments(&["--format", "json", "--out", file, "--output", "json"])
        .ends(0)
        .json();
    assert_eq!(result["records"], records.len());
    assert_eq!(result["partitions"], 3);
    assert_eq!(
        result["bytes"],
        std::fs::metadata(file).unwrap().len(),
        "{result}"
    );

    let again = place.lake_named("again");
    place.ingest(&[file]).into_lake(&again).result();
    assert_eq!(again.digests(), place.lake().digests());
    for table in ["queries", "feedback", "answers", "chunks", "llm_calls"] {
        assert_eq!(again.rows(table).len(), place.lake().rows(table).len());
    }
}

#[test]
fn the_vendors_shapes_come_back() {
    let place = Place::new("restored-fixture");
    let text = std::fs::read_to_string(repository("tests/fixtures/export.json")).unwrap();
    let file = place.write("export.json", &text);
    place.ingest(&[&file]).result();
    let outcome = restore(&place, &place.lake()).ends(0);
    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(sorted(lines(&outcome.stdout)), sorted(records));
}

#[test]
fn what_is_not_as_it_was_committed_is_refused() {
    let (place, _) = drifted("restore-damaged");
    let lake = place.lake();
    let out = place.path("out.ndjson");
    let to_file = || restore(&place, &lake).with("--out", out.to_str().unwrap());

    // The feedback of another day's lake: every file is whole, and the record is another.
    let other = place.write(
        "other.json",
        r#"{"_id":"f-1","event":"thumbsUp","botId":"st-1","createdOn":"2025-06-29T11:00:00.000Z","comments":{"tags":"y"}}"#,
    );
    let others = place.lake_named("others");
    place.ingest(&[&other]).into_lake(&others).result();
    let feedback = |lake: &Lake| {
        let files = lake.data_files().into_keys();
        let mut files = files.filter(|path| path.starts_with("feedback/"));
        lake.path(&files.next().unwrap())
    };
    let (own, foreign) = (feedback(&lake), feedback(&others));
    let kept = std::fs::read(&own).unwrap();
    let mut bytes = std::fs::read(foreign).unwrap();
    // A Parquet file is found by its size, which stands in the manifest.
    let manifest = lake.files_below("_answerlake/commits/app_id=st-1/dt=2025-06-29");
    let manifest = manifest
        .iter()
        .find(|path| path.ends_with(".json"))
        .unwrap();
    let manifest = lake.path(manifest);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let fitted = text.replace(
        &format!("\"bytes\":{}", kept.len()),
        &format!("\"bytes\":{}", bytes.len()),
    );
    assert_ne!(fitted, text);
    std::fs::write(&manifest, fitted).unwrap();
    std::fs::write(&own, &bytes).unwrap();
    let outcome = to_file().ends(6);
    assert!(
        outcome
            .stderr
            .contains("dt=2025-06-29`: the records restored are not those committed"),
        "{outcome:?}"
    );
    assert!(!out.exists() && !place.path("out.ndjson.partial").exists());

    bytes.truncate(10);
    std::fs::write(&own, &bytes).unwrap();
    let outcome = to_file().ends(6);
    assert!(outcome.stderr.contains("cannot be restored"), "{outcome:?}");
    assert!(!out.exists());
}

#[test]
fn what_cannot_be_restored_is_said() {
    let place = Place::new("restore-usage");
    let outcome = restore(&place, &place.lake()).ends(2);
    assert!(
        outcome.stderr.contains("there is no lake at"),
        "{outcome:?}"
    );
    let outcome = restore(&place, &place.lake())
        .with("--output", "json")
        .ends(2);
    assert!(
        outcome.stdout.contains("stdout carries the records"),
        "{outcome:?}"
    );
}
