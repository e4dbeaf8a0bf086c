//! The records come back out of the lake as they were exported.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

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

/// Records of a day, some 100 kB each.
fn large(day: u32, numbers: std::ops::Range<u32>) -> Vec<Value> {
    let record = |number: u32| {
        json!({"_id": format!("q-{day}-{number}"), "event": "search", "botId": "st-1",
            "createdOn": format!("2025-06-{day:02}T10:00:00.000Z"), "query": format!("{number} of many ").repeat(7_000)})
    };
    numbers.map(record).collect()
}

fn ids(records: &[Value], day: &str) -> Vec<String> {
    let of_day = records
        .iter()
        .filter(|record| record["createdOn"].as_str().unwrap().starts_with(day));
    let mut ids: Vec<String> = of_day
        .map(|record| record["_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

/// A lake of two large days, with a `restore` of it that waits: nobody takes what it writes.
fn restoring(name: &str) -> (Place, Child, BufReader<std::process::ChildStdout>) {
    let place = Place::new(name);
    let days = [large(28, 0..150), large(29, 0..3)].concat();
    let file = place.write("days.json", json!(days).to_string());
    place.ingest(&[&file]).result();
    let mut command = restore(&place, &place.lake()).command();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (place, child, stdout)
}

#[test]
fn a_partition_that_is_replaced_meanwhile_comes_back_whole_and_once() {
    let (place, mut child, mut stdout) = restoring("restore-replaced");
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    // The first record is read, and the pipe takes few others: both days are replaced before the rest is.
    let more = [large(28, 150..151), large(29, 3..4)].concat();
    let file = place.write("more.json", json!(more).to_string());
    let result = place.ingest(&[&file]).result();
    for partition in result["partitions"].as_array().unwrap() {
        assert_eq!(partition["revision"], 2, "{partition}");
    }
    stdout.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let records = lines(&text);
    assert_eq!(ids(&records, "2025-06-28"), ids(&large(28, 0..150), ""));
    assert_eq!(ids(&records, "2025-06-29"), ids(&large(29, 0..4), ""));
    place.assert_scratch_is_empty();
}

#[test]
fn partitions_that_are_replaced_again_and_again_come_back_as_one_revision_each() {
    const ROUNDS: u32 = 12;
    let place = Place::new("restore-replacements");
    let lake = place.lake();
    let revision = |number: u32| [large(28, 0..number), large(29, 0..number)].concat();
    let bring = |number: u32| {
        let file = place.write("day.json", json!(revision(number)).to_string());
        place.ingest(&[&file]).result();
    };
    bring(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (2..=ROUNDS).for_each(bring));
        let mut restored = 0;
        let mut last = 0;
        while last < ROUNDS as usize {
            let records = lines(&restore(&place, &lake).ends(0).stdout);
            for day in [28, 29] {
                let found = ids(&records, &format!("2025-06-{day}"));
                assert_eq!(found, ids(&large(day, 0..found.len() as u32), ""));
                last = found.len();
            }
            restored += 1;
        }
        writer.join().unwrap();
        println!("restored {restored} times under {ROUNDS} replacements");
    });
}

#[test]
fn a_restore_that_is_stopped_leaves_what_was_there() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (place, mut child, stdout) = restoring("restore-stopped");
        drop(stdout);
        child.wait().unwrap();
        // To a pipe that nobody reads, so that it cannot come to an end, with the rest as to any file.
        let pipe = place.path("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let mut command = restore(&place, &place.lake())
            .with("--out", pipe.to_str().unwrap())
            .command();
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let reader = std::fs::File::open(&pipe).unwrap();
        let number = child.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &number]).status();
        assert!(told.unwrap().success());
        let mut said = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{said}");
        let error = format!("error: SIG{signal}: stopped before it was done");
        assert!(said.contains(&error), "{said}");
        drop(reader);
        place.assert_scratch_is_empty();
    }
}

#[test]
fn a_file_may_be_named_by_its_address() {
    let (place, records) = drifted("restore-address");
    let out = place.path("a b.ndjson");
    let address = format!("file://{}", out.to_str().unwrap().replace(' ', "%20"));
    let outcome = restore(&place, &place.lake())
        .with("--out", &address)
        .ends(0);
    assert!(outcome.stdout.contains("restored 4 records"), "{outcome:?}");
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().count(), records.len());
    for (address, says) in [
        ("s3://bucket", "expected a bucket and the name of an object"),
        ("file://records.ndjson", "expected an absolute path"),
        (
            "gs://bucket/records.ndjson",
            "expected a path, `file://`, `s3://`",
        ),
    ] {
        let failure = restore(&place, &place.lake())
            .with("--out", address)
            .with("--output", "json")
            .fails(2);
        failure.assert_says(&[says]);
    }
}
