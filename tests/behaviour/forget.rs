//! A person who is forgotten is found nowhere in the lake, and does not come back; everybody else stays.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use answerlake_emulator::{Fault, FaultKind, On};
use serde_json::{Value, json};

use crate::support::{Bucket, Lake, Place, Program, TABLES, setup};

/// The person, who is found by this wherever they are.
const PERSON: &str = "u-forget-me";

/// What they ask: in their searches and what is said of these.
const ASKED: &str = "what nobody else asks";

fn search(id: &str, user: &str, time: &str, question: &str) -> Value {
    json!({"_id": id, "searchRequestId": format!("s-{id}"), "event": "search", "botId": "st-1", "userId": user,
        "accountId": user, "createdOn": time, "query": question,
        "answerDebug": [{"_id": format!("d-{id}"), "searchRequestId": format!("s-{id}"), "prompt": question,
            "generativeChunks": [{"chunkText": question}]}]})
}

fn feedback(id: &str, search: &str, time: &str, question: &str) -> Value {
    json!({"_id": id, "searchRequestId": format!("s-{search}"), "event": "thumbsUp", "botId": "st-1", "createdOn": time,
        "query": question})
}

/// Records of the person, wherever they may lie, and of others.
fn records() -> (Vec<Value>, Vec<Value>) {
    let theirs = vec![
        search("p1", PERSON, "2025-06-23T10:00:00.000Z", ASKED),
        json!({"_id": "p2", "event": "search", "botId": "st-1", "accountId": PERSON, "createdOn": "2025-06-24T10:00:00.000Z",
            "query": ASKED}),
        // In a column they have no place: the id is no text, or stands there twice.
        json!({"_id": "p3", "event": "click", "botId": "st-1", "userId": PERSON, "createdOn": "2025-06-25T10:00:00.000Z"}),
        feedback("f1", "p1", "2025-06-25T11:00:00.000Z", ASKED),
        json!({"_id": "f2", "searchRequestId": "p2", "event": "thumbsDown", "botId": "st-1",
            "createdOn": "2025-06-23T12:00:00.000Z", "query": ASKED}),
    ];
    let others = vec![
        search(
            "o1",
            "u-other",
            "2025-06-23T10:00:00.000Z",
            "what others ask",
        ),
        search("o2", "u-other", "2025-06-26T10:00:00.000Z", "and again"),
        feedback("f3", "o1", "2025-06-25T11:00:00.000Z", "what others ask"),
        json!({"_id": "e1", "event": "click", "botId": "st-1", "userId": "u-other", "note": "extra",
            "createdOn": "2025-06-24T10:00:00.000Z"}),
    ];
    (theirs, others)
}

/// A lake of these records, and of letters of both.
fn lake(name: &str) -> (Place, String) {
    let place = Place::new(name);
    let (theirs, others) = records();
    let mut all: Vec<String> = [theirs, others]
        .concat()
        .iter()
        .map(Value::to_string)
        .collect();
    all.push(format!(r#"{{"_id":"t1","userId":"{PERSON}","userId":"x","event":"search","botId":"st-1","createdOn":"2025-06-23T13:00:00.000Z"}}"#));
    all.push(format!(
        r#"{{"_id":"l1","userId":"{PERSON}","createdOn":"never","query":"{ASKED}"}}"#
    ));
    all.push(format!(r#"{{"_id":"l2","userId" : "{PERSON}",NaN}}"#));
    all.push(r#"{"_id":"l3","userId":"u-other",NaN}"#.to_owned());
    let file = place.write("all.json", format!("[{}]", all.join(",")));
    place.ingest(&[&file]).result();
    (place, file)
}

fn forget(place: &Place, lake: &Lake) -> Program {
    place
        .program("forget --output json")
        .into_lake(lake)
        .with("--scratch", place.scratch().to_str().unwrap())
}

fn restored(place: &Place, lake: &Lake) -> BTreeSet<String> {
    let outcome = place.program("restore").into_lake(lake).ends(0);
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// Where in the lake a text is found, in any file, however packed.
fn places_of(lake: &Lake, text: &str) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for file in lake.files() {
        let bytes = std::fs::read(lake.path(&file)).unwrap();
        let content = match file.ends_with(".zst") {
            true => zstd::decode_all(&bytes[..]).unwrap(),
            false => bytes,
        };
        if String::from_utf8_lossy(&content).contains(text) {
            places.insert(file);
        }
    }
    for table in TABLES {
        for row in lake.rows(table) {
            if json!(row).to_string().contains(text) {
                places.insert(format!("a row of {table}"));
            }
        }
    }
    places
}

#[track_caller]
fn assert_forgotten(place: &Place, lake: &Lake) {
    for text in [PERSON, ASKED, "\"p1\"", "s-p1", "\"p2\""] {
        assert_eq!(places_of(lake, text), BTreeSet::new(), "{text}");
    }
    lake.assert_whole();
    let verified = place
        .program("verify --deep --output json")
        .into_lake(lake)
        .ends(0)
        .json();
    assert_eq!(verified["status"], "ok", "{verified}");
    place.assert_scratch_is_empty();
}

#[test]
fn a_person_is_found_nowhere_and_does_not_come_back() {
    let (place, file) = lake("forget");
    let lake = place.lake();
    for folder in [
        "a row of queries",
        "a row of llm_calls",
        "a row of chunks",
        "a row of events",
        "a row of feedback",
    ] {
        let places = places_of(
            &lake,
            if folder.ends_with("events") {
                PERSON
            } else {
                ASKED
            },
        );
        assert!(places.contains(folder), "{folder}: {places:?}");
    }
    let before = restored(&place, &lake);
    let stamps = lake.stamps();

    // At first it is only said.
    let said = forget(&place, &lake).with("--user-id", PERSON).result();
    assert_eq!(lake.stamps(), stamps);
    assert_eq!(
        (&said["status"], &said["applied"]),
        (&json!("ok"), &json!(false))
    );
    let done = forget(&place, &lake)
        .with("--user-id", PERSON)
        .arguments(&["--apply"])
        .result();
    for of_both in ["totals", "strays", "dead_letters"] {
        assert_eq!(said[of_both], done[of_both], "{of_both}");
    }
    assert_eq!(done["totals"]["records"], 8, "{done}");
    assert_eq!(done["dead_letters"], json!({"files": 1, "records": 2}));
    assert_eq!(done["totals"]["rows"]["queries"], 3, "{done}");
    assert_eq!(done["finished"], true);
    assert_forgotten(&place, &lake);

    let (theirs, others) = records();
    let after = restored(&place, &lake);
    assert!(after.is_subset(&before));
    assert_eq!(before.len() - after.len(), theirs.len() + 1);
    let others: Vec<Value> = others;
    assert_eq!(after.len(), others.len());
    for record in &after {
        let record: Value = serde_json::from_str(record).unwrap();
        assert!(others.contains(&record), "{record}");
    }
    let receipt = std::fs::read_to_string(lake.path(done["receipt"].as_str().unwrap())).unwrap();
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["partitions"], done["partitions"]);
    assert_eq!(receipt["partitions"].as_array().unwrap().len(), 3);
    for partition in receipt["partitions"].as_array().unwrap() {
        assert_eq!(
            (&partition["from_revision"], &partition["revision"]),
            (&json!(1), &json!(2))
        );
    }

    // The same records again, and new ones of theirs: none lands, and the rest is as it was.
    let data = lake.data_files();
    let again = place.ingest(&[&file]).result();
    for partition in again["partitions"].as_array().unwrap() {
        assert_eq!(partition["state"], "unchanged", "{again}");
    }
    assert_eq!(again["totals"]["forgotten"], 6, "{again}");
    assert_forgotten(&place, &lake);
    assert_eq!(lake.data_files(), data);
    let nothing = forget(&place, &lake).arguments(&["--apply"]).result();
    assert_eq!(nothing["status"], "nothing_to_do", "{nothing}");
}

#[test]
fn what_is_said_of_a_forgotten_search_is_known_by_it() {
    let place = Place::new("forget-late");
    let lake = place.lake();
    let other = search(
        "o1",
        "u-other",
        "2025-06-23T10:00:00.000Z",
        "what others ask",
    );
    let first = place.write("first.json", json!([other]).to_string());
    place.ingest(&[&first]).result();
    let done = forget(&place, &lake)
        .with("--user-id", PERSON)
        .arguments(&["--apply"])
        .result();
    assert_eq!(done["totals"]["records"], 0, "{done}");

    // The feedback comes before the search that tells whose it is: in one fragment, and in one before.
    let said = feedback("f1", "p9", "2025-06-23T09:00:00.000Z", ASKED);
    let searched = search("p9", PERSON, "2025-06-23T08:00:00.000Z", ASKED);
    let new = search("o2", "u-other", "2025-06-23T11:00:00.000Z", "more");
    let one = place.write("one.json", json!([said]).to_string());
    let two = place.write("two.json", json!([said, new, searched]).to_string());
    let result = place.ingest(&[&one, &two]).result();
    assert_eq!(result["totals"]["forgotten"], 3, "{result}");
    assert_eq!(result["totals"]["written"], 1, "{result}");
    assert_forgotten(&place, &lake);
    // And it stays known where the search does not come again.
    let result = place.ingest(&[&one]).result();
    assert_eq!(result["totals"]["forgotten"], 1, "{result}");
    assert_forgotten(&place, &lake);
}

#[test]
fn a_query_goes_with_its_feedback_and_nothing_else() {
    let (place, _) = lake("forget-query");
    let lake = place.lake();
    let before = restored(&place, &lake);
    let done = forget(&place, &lake)
        .with("--query-id", "s-o1")
        .arguments(&["--apply", "--query-id", "no such query"])
        .result();
    assert_eq!(done["totals"]["records"], 2, "{done}");
    assert_eq!(done["named"], json!({"users": 0, "queries": 2}));
    let gone: BTreeSet<String> = before
        .difference(&restored(&place, &lake))
        .cloned()
        .collect();
    let is_of = |record: &String| record.contains("s-o1");
    assert!(gone.iter().all(is_of) && gone.len() == 2, "{gone:?}");
    assert_eq!(places_of(&lake, "s-o1"), BTreeSet::new());
    lake.assert_whole();
}

#[test]
fn a_reread_of_whom_is_forgotten_has_not_shrunk() {
    let setup = setup("forget-reread", |_| {});
    setup.run().result();
    let (place, lake) = (&setup.place, setup.lake());
    let user = |record: &Value| record["userId"].as_str().map(str::to_owned);
    let person = setup.source.records().iter().find_map(user).unwrap();
    assert!(!places_of(&lake, &person).is_empty());
    let done = forget(place, &lake)
        .with("--user-id", &person)
        .arguments(&["--apply"])
        .result();
    assert!(done["totals"]["records"].as_u64() > Some(0), "{done}");
    assert_eq!(places_of(&lake, &person), BTreeSet::new());

    let after = restored(place, &lake);
    let again = setup.run().arguments(&["--force"]).result();
    for partition in again["partitions"].as_array().unwrap() {
        assert_eq!(partition["state"], "unchanged", "{again}");
    }
    assert_eq!(again["totals"]["forgotten"], done["totals"]["records"]);
    assert_eq!(places_of(&lake, &person), BTreeSet::new());
    assert_eq!(restored(place, &lake), after);
    lake.assert_whole();
}

/// As after a `forget` that was killed once it had written its tombstone.
#[test]
fn who_is_forgotten_and_still_there_has_not_shrunk_either() {
    let setup = setup("forget-unswept", |_| {});
    setup.run().result();
    let (place, lake) = (&setup.place, setup.lake());
    let user = |record: &Value| record["userId"].as_str().map(str::to_owned);
    let person = setup.source.records().iter().find_map(user).unwrap();
    let other = place.lake_named("other");
    setup.run().into_lake(&other).result();
    forget(place, &other)
        .with("--user-id", &person)
        .arguments(&["--apply"])
        .result();
    let forgotten = "_answerlake/forgotten";
    std::fs::rename(other.path(forgotten), lake.path(forgotten)).unwrap();

    let result = setup.run().arguments(&["--force"]).result();
    assert_eq!(result["status"], "ok", "{result}");
    assert_eq!(places_of(&lake, &person), BTreeSet::new());
    assert_eq!(lake.digests(), other.digests());
    lake.assert_whole();
}

/// The run has read who is forgotten before there was anybody.
#[test]
fn who_is_forgotten_while_a_run_is_at_work_does_not_come_back_with_it() {
    let setup = setup("forget-race", |config| {
        config.job_time_base = Duration::from_secs(3);
    });
    let (place, lake) = (&setup.place, setup.lake());
    let user = |record: &Value| record["userId"].as_str().map(str::to_owned);
    let person = setup.source.records().iter().find_map(user).unwrap();
    // What is said of a search of theirs names the search alone, and lies in the windows before and after.
    let emulator = setup.source.emulator();
    emulator.add_record(search("asked", &person, "2025-06-24T10:00:00.000Z", ASKED));
    emulator.add_record(feedback(
        "before",
        "asked",
        "2025-06-23T10:00:00.000Z",
        ASKED,
    ));
    emulator.add_record(feedback(
        "after",
        "asked",
        "2025-06-25T10:00:00.000Z",
        ASKED,
    ));
    let mut command = setup.run().command();
    let run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut run = run.unwrap();
    // Its first job is stored once it has begun, and runs for seconds.
    while lake.files_below("_answerlake/jobs/").is_empty() {
        assert!(
            run.try_wait().unwrap().is_none(),
            "it ended before it began"
        );
        std::thread::yield_now();
    }
    let done = forget(place, &lake)
        .with("--user-id", &person)
        .arguments(&["--apply"])
        .result();
    assert_eq!(done["totals"]["records"], 0, "{done}");
    assert!(run.wait().unwrap().success());
    assert_eq!(places_of(&lake, &person), BTreeSet::new());
    assert_eq!(places_of(&lake, ASKED), BTreeSet::new());
    assert!(!restored(place, &lake).is_empty());
    lake.assert_whole();
}

#[test]
fn a_forget_that_is_killed_is_done_by_the_next() {
    const DAYS: u32 = 12;
    let place = Place::new("forget-killed");
    let lake = place.lake();
    let theirs = |day: u32| {
        search(
            &format!("p{day}"),
            PERSON,
            &format!("2025-06-{day:02}T10:00:00.000Z"),
            ASKED,
        )
    };
    // What is said of a day's search lies in the next.
    let said = |day: u32| {
        feedback(
            &format!("f{day}"),
            &format!("p{day}"),
            &format!("2025-06-{:02}T10:00:00.000Z", day + 1),
            ASKED,
        )
    };
    let other = |day: u32| {
        search(
            &format!("o{day}"),
            "u-other",
            &format!("2025-06-{day:02}T11:00:00.000Z"),
            "others",
        )
    };
    let all: Vec<Value> = (1..=DAYS)
        .flat_map(|day| [theirs(day), said(day), other(day)])
        .collect();
    let file = place.write("all.json", json!(all).to_string());
    place.ingest(&[&file]).result();

    let mut kills = 0;
    loop {
        // The ids are told to the first one only.
        let program = match kills {
            0 => forget(&place, &lake).with("--user-id", PERSON),
            _ => forget(&place, &lake),
        };
        let receipts = || lake.files_below("_answerlake/forgotten/receipts/").len();
        let swept = |lake: &Lake| {
            let newest = lake.newest().into_values();
            newest.filter(|manifest| manifest["revision"] == 2).count()
        };
        let (before, receipts_before) = (swept(&lake), receipts());
        let mut command = program.arguments(&["--apply"]).command();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // As soon as it has written of a partition, or ended.
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if receipts() > receipts_before {
                break None;
            }
        };
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(swept(&lake) > before, "each brings it on");
        kills += 1;
    }
    println!("killed {kills} times");
    assert!(kills > 0);
    place
        .program("recover --output json")
        .into_lake(&lake)
        .ends(0);
    for text in [PERSON, ASKED] {
        assert_eq!(places_of(&lake, text), BTreeSet::new());
    }
    lake.assert_sound();
    assert_eq!(restored(&place, &lake).len(), DAYS as usize);
}

#[test]
fn strays_of_a_person_go_and_do_not_come_back() {
    // Of another day than was asked for, as a source may serve them.
    let body = json!([
        search("p1", PERSON, "2025-06-01T10:00:00.000Z", ASKED),
        search(
            "o1",
            "u-other",
            "2025-06-01T10:00:00.000Z",
            "what others ask"
        ),
        search(
            "o2",
            "u-other",
            "2025-06-24T10:00:00.000Z",
            "what belongs there"
        ),
    ]);
    let setup = setup("forget-strays", |config| {
        config.data.records_per_day = 0;
        config.extra_records = (0..3)
            .map(|second| {
                search(
                    &second.to_string(),
                    "u",
                    &format!("2025-06-24T10:00:0{second}.000Z"),
                    "",
                )
            })
            .collect();
        config.faults = vec![Fault {
            times: u32::MAX,
            ..Fault::new(On::Fragment, FaultKind::Status(200, body.to_string()))
        }];
    });
    let (place, lake) = (&setup.place, setup.lake());
    let run = || {
        let run = setup.run().without("--from").without("--to");
        run.with("--date", "2025-06-24")
            .arguments(&["--force"])
            .result()
    };
    assert_eq!(run()["totals"]["strays"], 2);
    let done = forget(place, &lake)
        .with("--user-id", PERSON)
        .arguments(&["--apply"])
        .result();
    assert_eq!(done["strays"], json!({"files": 1, "records": 1}), "{done}");
    assert_forgotten(place, &lake);
    assert!(!places_of(&lake, "what others ask").is_empty());
    assert_eq!(run()["totals"]["strays"], 2);
    assert_forgotten(place, &lake);
}

#[test]
fn in_a_masked_lake_a_person_is_named_as_the_source_has_them() {
    let place = Place::new("forget-masked");
    let lake = place.lake();
    let (theirs, others) = records();
    let all = [theirs.clone(), others.clone()].concat();
    let file = place.write("all.json", json!(all).to_string());
    let pipeline = place.write(
        "masked.toml",
        "[privacy]\nallow_unmapped = true\n[privacy.fields]\nuserId = \"hash\"\n",
    );
    let masked = |program: Program| {
        program
            .with("--pipeline", &pipeline)
            .environment("ANSWERLAKE_PRIVACY_KEY", "a key of 32 bytes, and some more")
    };
    masked(place.ingest(&[&file])).result();
    assert_eq!(places_of(&lake, PERSON), BTreeSet::new());
    let before = restored(&place, &lake).len();

    let failure = forget(&place, &lake).with("--user-id", PERSON).fails(2);
    failure.assert_says(&["holds `userId` as a keyed hash", "key"]);
    let by_key = || {
        forget(&place, &lake)
            .arguments(&[&pipeline, "--apply"])
            .environment("ANSWERLAKE_PRIVACY_KEY", "a key of 32 bytes, and some more")
    };
    let done = by_key().with("--user-id", PERSON).result();
    assert_eq!(done["totals"]["records"], theirs.len(), "{done}");
    assert_eq!(restored(&place, &lake).len(), before - theirs.len());
    assert_eq!(places_of(&lake, "s-p1"), BTreeSet::new());
    let again = masked(place.ingest(&[&file])).result();
    assert_eq!(again["totals"]["forgotten"], theirs.len(), "{again}");
    assert_eq!(restored(&place, &lake).len(), before - theirs.len());
    lake.assert_whole();

    let dropped = place.lake_named("dropped");
    let pipeline = place.write(
        "dropped.toml",
        "[privacy]\nallow_unmapped = true\n[privacy.fields]\nuserId = \"drop\"\n",
    );
    place
        .ingest(&[&file])
        .with("--pipeline", &pipeline)
        .into_lake(&dropped)
        .result();
    let failure = forget(&place, &dropped).with("--user-id", PERSON).fails(2);
    failure.assert_says(&["does not hold `userId`", "--query-id"]);
    let done = forget(&place, &dropped)
        .arguments(&["--query-id", "s-p1", "--apply"])
        .result();
    assert_eq!(done["totals"]["records"], 2, "{done}");
}

#[test]
fn what_cannot_be_removed_is_said_and_the_rest_is_removed() {
    let (place, _) = lake("forget-damaged");
    let lake = place.lake();
    let damaged = lake
        .files_below("queries/app_id=st-1/dt=2025-06-23")
        .remove(0);
    let kept = std::fs::read(lake.path(&damaged)).unwrap();
    std::fs::write(lake.path(&damaged), "no Parquet").unwrap();
    let apply = || {
        forget(&place, &lake)
            .with("--user-id", PERSON)
            .arguments(&["--apply"])
    };
    let done = apply().ends(3).json();
    assert_eq!(
        (&done["status"], &done["finished"]),
        (&json!("partial"), &json!(false))
    );
    assert_eq!(
        done["errors"][0]["place"], "app_id=st-1/dt=2025-06-23",
        "{done}"
    );
    assert_eq!(done["errors"].as_array().unwrap().len(), 1, "{done}");
    std::fs::write(lake.path(&damaged), kept).unwrap();
    assert_eq!(apply().result()["finished"], true);
    assert_forgotten(&place, &lake);
}

#[test]
fn who_is_meant_must_be_said() {
    let place = Place::new("forget-usage");
    let lake = place.lake();
    forget(&place, &lake).ends(2);
    forget(&place, &lake).with("--user-id", "").ends(2);
    let failure = forget(&place, &lake).with("--user-id", "u").fails(2);
    failure.assert_says(&["there is no lake"]);
    assert!(!place.path("lake").exists());
}

#[test]
fn a_person_is_forgotten_on_s3() {
    let (place, _) = lake("forget-s3");
    let bucket = Bucket::new();
    bucket
        .of(place.ingest(&[place.path("all.json").to_str().unwrap()]))
        .result();
    let done = bucket
        .of(forget(&place, &place.lake()))
        .with("--user-id", PERSON)
        .arguments(&["--apply"])
        .result();
    assert_eq!(done["totals"]["records"], 8, "{done}");
    assert_forgotten(&place, &bucket.copy(&place, "copy"));
}

#[test]
fn verify_finds_who_is_back_and_says_how_to_mend_it() {
    let (place, file) = lake("forget-verify");
    let lake = place.lake();
    forget(&place, &lake)
        .with("--user-id", PERSON)
        .arguments(&["--apply"])
        .result();
    // As a run would have brought it that was killed in the one moment between its commit and its look at this.
    let aside = place.path("aside");
    std::fs::rename(lake.path("_answerlake/forgotten"), &aside).unwrap();
    place.ingest(&[&file]).result();
    std::fs::rename(&aside, lake.path("_answerlake/forgotten")).unwrap();
    let verify = || {
        let verify = place.program("verify --deep --output json");
        verify.into_lake(&lake).outcome().json()
    };
    let found = verify();
    let findings = found["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 3, "{found}");
    for finding in findings {
        assert_eq!(finding["code"], "not_forgotten", "{found}");
        assert_eq!(finding["mend"]["command"], "forget", "{found}");
        assert_eq!(finding["mend"]["arguments"], json!(["--apply"]));
    }
    forget(&place, &lake).arguments(&["--apply"]).result();
    assert_eq!(verify()["status"], "ok");
    assert_forgotten(&place, &lake);
}

/// A landing as `[landing] keep` makes it, and what a killed run left of another.
fn land(lake: &Lake, records: &[Value]) -> (String, String) {
    let folder = "_answerlake/raw/app_id=st-1/window=20250623T000000Z_20250627T000000Z/job=fj-1";
    let write = |path: &str, content: &[u8]| {
        let path = lake.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    let content = json!(records).to_string();
    let packed = zstd::encode_all(content.as_bytes(), 1).unwrap();
    let manifest = json!({"format_version": 1, "app_id": "st-1", "job_id": "fj-1", "promised": records.len(),
        "decoded": records.len(), "fragments": [{"name": "fragment-00001.json.zst", "promised_records": records.len(),
            "bytes": content.len(), "sha256": "of it"}]});
    write(&format!("{folder}/fragment-00001.json.zst"), &packed);
    write(
        &format!("{folder}/landing.json"),
        manifest.to_string().as_bytes(),
    );
    let left = folder.replace("fj-1", "fj-2");
    write(&format!("{left}/fragment-00001.json.zst"), &packed);
    (folder.to_owned(), left)
}

#[test]
fn fragments_that_are_kept_as_they_were_fetched_lose_the_person_too() {
    let (place, _) = lake("forget-raw");
    let lake = place.lake();
    let (theirs, others) = records();
    let (folder, left) = land(&lake, &[theirs, others.clone()].concat());
    let said = forget(&place, &lake).with("--user-id", PERSON).result();
    assert_eq!(said["raw"], json!({"files": 2, "records": 10}), "{said}");
    let done = forget(&place, &lake)
        .with("--user-id", PERSON)
        .arguments(&["--apply"])
        .result();
    assert_eq!(done["raw"], said["raw"]);
    assert_forgotten(&place, &lake);
    assert!(lake.files_below(&left).is_empty());

    let manifest = std::fs::read(lake.path(&format!("{folder}/landing.json"))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let fragment = &manifest["fragments"][0];
    for number in [
        &manifest["promised"],
        &manifest["decoded"],
        &fragment["promised_records"],
    ] {
        assert_eq!(number, others.len(), "{manifest}");
    }
    let name = format!("{folder}/{}", fragment["name"].as_str().unwrap());
    assert_eq!(
        lake.files_below(&folder),
        [name.clone(), format!("{folder}/landing.json")]
    );
    let packed = std::fs::read(lake.path(&name)).unwrap();
    let content = zstd::decode_all(&packed[..]).unwrap();
    assert_eq!(fragment["bytes"], content.len());
    let kept: Vec<Value> = serde_json::from_slice(&content).unwrap();
    assert_eq!(kept, others);
    let nothing = forget(&place, &lake).arguments(&["--apply"]).result();
    assert_eq!(nothing["status"], "nothing_to_do", "{nothing}");
}

#[test]
fn a_lake_made_again_of_what_was_fetched_is_without_the_person() {
    let setup = setup("forget-landing", |_| {});
    let (place, lake) = (&setup.place, setup.lake());
    let user = |record: &Value| record["userId"].as_str().map(str::to_owned);
    let person = setup.source.records().iter().find_map(user).unwrap();
    let keeping = || setup.run().arguments(&["--landing-keep=true"]);
    keeping().result();
    assert!(
        places_of(&lake, &person)
            .iter()
            .any(|place| place.contains("/raw/"))
    );
    let done = forget(place, &lake)
        .with("--user-id", &person)
        .arguments(&["--apply"])
        .result();
    assert_eq!(done["raw"]["records"], done["totals"]["records"], "{done}");
    // What is kept from then on is without them, too.
    keeping().arguments(&["--force"]).result();
    assert_eq!(places_of(&lake, &person), BTreeSet::new());
    lake.assert_whole();

    let made_again = place.lake_named("made-again");
    let raw = lake.path("_answerlake/raw");
    let result = place
        .ingest(&["--replace", raw.to_str().unwrap()])
        .into_lake(&made_again)
        .result();
    assert_eq!(result["status"], "ok", "{result}");
    assert_eq!(made_again.digests(), lake.digests());
    made_again.assert_whole();
}
