//! What is masked is nowhere: not in the lake, in any file of it and however packed, not in logs at any level, not in
//! results, and not left in scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use answerlake_emulator::{Fault, FaultKind, On};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Lake, Outcome, Program, Setup, TABLES, files_below, setup, time};

/// Stands in everything that must not land.
const SECRET: &str = "hush-secret";

/// The same, as JSON may write it.
const ESCAPED: &str = "h\\u0075sh-secret";

const KEY: &str = "a key of 32 bytes, and some more";

/// Texts that are masked here, with their columns.
const HASHED: [(&str, &str); 6] = [
    ("query", "query_text"),
    ("userId", "user_id"),
    ("sessionId", "session_id"),
    ("messageId", "message_id"),
    ("channelUId", "channel_uid"),
    ("language", "language"),
];

const DROPPED: [&str; 42] = [
    "graphAnswer",
    "prompt",
    "completionText",
    "chunkText",
    "clientInfo",
    "tags",
    "selectedFacets",
    "channel",
    "requestSource",
    "connectionType",
    "queryType",
    "answerType",
    "model",
    "modelName",
    "searchIndexId",
    "queryPipelineId",
    "indexPipelineId",
    "isFullSearch",
    "hasResults",
    "isDev",
    "snippetEnabled",
    "lMod",
    "chunkIds",
    "moreInfo",
    "answeredBy",
    "answeringSource",
    "retrieverUsed",
    "vectorSearchType",
    "chunkFrequency",
    "sourceType",
    "sourceUrl",
    "sourceName",
    "recordTitle",
    "recordUrl",
    "page_image_url",
    "chunkId",
    "docId",
    "sourceId",
    "chunkType",
    "extractionMethod",
    "score",
    "__v",
];

fn pipeline_file() -> String {
    let mut file = "[privacy.fields]\n".to_owned();
    for (field, _) in HASHED {
        file += &format!("{field} = \"hash\"\n");
    }
    for field in DROPPED {
        file += &format!("{field} = \"drop\"\n");
    }
    file
}

/// A member for every documented name that is masked, all holding the secret, and some that nobody knows.
fn planted(names: &[&str]) -> BTreeMap<String, Value> {
    let secret = |name: &str| match name {
        "tags" | "chunkIds" => json!([format!("{SECRET} {name}")]),
        "selectedFacets" | "answeringSource" => json!([{"facet": SECRET}]),
        "moreInfo" => {
            json!([{"key": "Chunk Title", "value": SECRET}, {"key": "LLM Response Id", "value": SECRET},
            {"key": SECRET, "value": 1}, SECRET])
        }
        name => json!(format!("{SECRET} {name}")),
    };
    let mut members: BTreeMap<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), secret(name)))
        .collect();
    members.insert("unheardOf".to_owned(), json!({"query": [SECRET]}));
    members.insert(format!("a key: {SECRET}"), json!(1));
    members
}

fn chunk() -> Value {
    let mut chunk = planted(&DROPPED);
    chunk.insert("additionalInfo".to_owned(), json!(planted(&DROPPED)));
    json!(chunk)
}

/// A record with a secret at every place where a text may stand.
fn record(id: &str, event: Option<&str>, created_on: &str) -> Value {
    let hashed = HASHED.map(|(field, _)| field);
    let names: Vec<&str> = DROPPED.iter().copied().chain(hashed).collect();
    let mut record = planted(&names);
    record.insert("accountId".to_owned(), record["userId"].clone());
    record.insert("comments".to_owned(), json!(planted(&["tags"])));
    record.insert("_id".to_owned(), json!(id));
    record.insert("searchRequestId".to_owned(), json!("fsh-1"));
    record.insert("createdOn".to_owned(), json!(created_on));
    if let Some(event) = event {
        record.insert("event".to_owned(), json!(event));
    }
    let prompts = [
        json!(SECRET),
        json!({"promptText": SECRET, "moreInfo": [{"key": "Model", "value": SECRET}], "text": SECRET}),
        json!({"promptText": [{"role": "user", "content": SECRET}]}),
        json!([SECRET]),
    ];
    let completions = [
        json!(SECRET),
        json!({"answer": SECRET, "chunkIds": [SECRET], "more": SECRET}),
        json!({"answer": {"text": SECRET}}),
        json!(null),
    ];
    let answers = prompts.into_iter().zip(completions).map(|(prompt, completion)| {
        let mut answer = planted(&names);
        let details = json!({"completionText": completion, "moreInfo": [{"key": "LLM Response Id", "value": SECRET}], "new": SECRET});
        answer.insert("prompt".to_owned(), prompt);
        answer.insert("llmResponse".to_owned(), json!({"responseDetails": details, "responseTime": {"moreInfo": SECRET}}));
        answer.insert("extractiveChunks".to_owned(), json!([SECRET, chunk()]));
        answer.insert("generativeChunks".to_owned(), json!([chunk(), chunk()]));
        json!(answer)
    });
    let answers: Vec<Value> = answers.chain([json!(SECRET)]).collect();
    record.insert("answerDebug".to_owned(), json!(answers));
    json!(record)
}

/// A source whose only fragment of June 24th is full of secrets, and how many of its records go where.
fn source() -> (Setup, BTreeMap<&'static str, u64>) {
    let day = time("2025-06-24T00:00:00Z");
    let margin = TimeDelta::seconds(1);
    // As many records as the source promises, so that nothing else is wrong with it.
    let plain = setup("privacy-count", |config| config.fragment_records = 1000);
    let asked = plain.source.emulator().records(
        day - margin,
        day + TimeDelta::days(1) + margin + TimeDelta::milliseconds(1),
    );
    let promised = asked.count() as u64;
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut add = |record: &Value| records.push(record.to_string().into_bytes());
    add(&record("fsh-1", Some("search"), "2025-06-24T10:00:00.000Z"));
    add(&record(
        "fb-1",
        Some("thumbsDown"),
        "2025-06-24T10:00:01.000Z",
    ));
    add(&record("ev-1", Some("click"), "2025-06-24T10:00:02.000Z"));
    add(&record("ev-2", None, "2025-06-24T10:00:03.000Z"));
    // Strays.
    add(&record("fsh-2", Some("search"), "2025-06-20T10:00:00.000Z"));
    add(&record("ev-3", Some("click"), "2025-06-21T10:00:00.000Z"));
    // The margin.
    add(&record("fsh-3", Some("search"), "2025-06-25T00:00:00.500Z"));
    // A conflict: what differs is kept.
    let mut other = record("fb-1", Some("thumbsDown"), "2025-06-24T10:00:01.000Z");
    other["createdOn"] = json!("2025-06-24T10:00:01.500Z");
    add(&other);
    // Dead letters that can be masked.
    add(&record("fsh-4", Some("search"), "yesterday"));
    let mut nameless = record("", Some("click"), "2025-06-24T11:00:00.000Z");
    nameless["_id"] = json!([SECRET]);
    add(&nameless);
    // Such that cannot.
    let text = record("fsh-5", Some("search"), "2025-06-24T11:00:00.000Z").to_string();
    records.push(text.replacen(":{", ":{NaN,", 1).into_bytes());
    records.push(format!("\"{SECRET}\"").into_bytes());
    records.push(SECRET.as_bytes().to_vec());
    records.push(
        [text
            .replacen(SECRET, &format!("{SECRET}\u{1}"), 1)
            .as_bytes()]
        .concat(),
    );
    let given = records.len() as u64;
    let plain = |number: u64| {
        json!({"_id": format!("up-{number}"), "event": "thumbsUp", "searchRequestId": "fsh-1", "query": format!("{SECRET} query"),
            "createdOn": "2025-06-24T12:00:00.000Z"})
            .to_string()
            .replace(SECRET, ESCAPED)
            .into_bytes()
    };
    records.extend((given..promised).map(plain));
    assert_eq!(records.len() as u64, promised, "the source has few records");
    let body = format!("[{}]", String::from_utf8(records.join(&b","[..])).unwrap());
    let setup = setup("privacy", |config| {
        config.fragment_records = 1000;
        config.faults = vec![Fault {
            times: u32::MAX,
            ..Fault::new(On::Fragment, FaultKind::Status(200, body))
        }];
    });
    let counts = BTreeMap::from([
        ("decoded", promised),
        ("margin", 1),
        ("strays", 2),
        ("dead_letters", 7),
        ("conflicts", 1),
    ]);
    (setup, counts)
}

fn run(setup: &Setup, file: Option<&str>) -> Program {
    let run = setup
        .run()
        .without("--from")
        .without("--to")
        .with("--date", "2025-06-24")
        .with("--retries", "0")
        .with("--log", "trace")
        .with(
            "--result-file",
            setup.place.path("result.json").to_str().unwrap(),
        );
    match file {
        Some(file) => run
            .arguments(&[file])
            .environment("ANSWERLAKE_PRIVACY_KEY", KEY),
        None => run,
    }
}

/// Everything that was written, unpacked where it is packed: what it is called, and its content.
fn written(setup: &Setup, lake: &Lake, outcome: &Outcome) -> Vec<(String, Vec<u8>)> {
    let mut written = vec![
        ("stdout".to_owned(), outcome.stdout.clone().into_bytes()),
        ("stderr".to_owned(), outcome.stderr.clone().into_bytes()),
    ];
    for file in lake.files() {
        let bytes = std::fs::read(lake.path(&file)).unwrap();
        if file.ends_with(".zst") {
            let unpacked = zstd::decode_all(&bytes[..]).unwrap();
            written.push((format!("{file}, unpacked"), unpacked));
        }
        written.push((file, bytes));
    }
    for table in TABLES {
        for row in lake.rows(table) {
            let row = json!(row).to_string().into_bytes();
            written.push((format!("a row of {table}"), row));
        }
    }
    // Whatever else lies in the folder of the test, but for the pipeline file.
    let folder = setup.place.path("");
    for file in files_below(&folder) {
        if !file.starts_with("lake") {
            written.push((file.clone(), std::fs::read(folder.join(&file)).unwrap()));
        }
    }
    written
}

/// Where the secret is found.
fn found(setup: &Setup, lake: &Lake, outcome: &Outcome) -> BTreeSet<String> {
    let places = written(setup, lake, outcome).into_iter();
    let holds = |content: &[u8]| {
        let text = String::from_utf8_lossy(content);
        text.contains(SECRET) || text.contains(ESCAPED) || text.contains("hush")
    };
    places
        .filter(|(_, content)| holds(content))
        .map(|(place, _)| place)
        .collect()
}

fn letters(lake: &Lake) -> Vec<Value> {
    let files = lake.files_below("_answerlake/dead_letters/").into_iter();
    let lines = files.map(|file| {
        let bytes = std::fs::read(lake.path(&file)).unwrap();
        String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
    });
    let lines: Vec<String> = lines.collect();
    let lines = lines.iter().flat_map(|lines| lines.lines());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_masked_secret_is_found_nowhere() {
    let (setup, counts) = source();
    // Unmasked it is found wherever it may be: so it would be, were it there.
    let open = setup.place.lake_named("lake-open");
    let outcome = run(&setup, None).into_lake(&open).ends(0);
    let places = found(&setup, &open, &outcome);
    for place in [
        "queries",
        "feedback",
        "answers",
        "chunks",
        "llm_calls",
        "events",
    ] {
        assert!(
            places.contains(&format!("a row of {place}")),
            "{place}: {places:?}"
        );
    }
    for folder in ["_answerlake/strays/", "_answerlake/dead_letters/"] {
        assert!(
            places.iter().any(|place| place.starts_with(folder)),
            "{places:?}"
        );
    }

    let file = setup.place.write("pipeline.toml", pipeline_file());
    let lake = setup.lake();
    let outcome = run(&setup, Some(&file)).ends(0);
    assert_eq!(found(&setup, &lake, &outcome), BTreeSet::new());
    setup.place.assert_scratch_is_empty();
    lake.assert_whole();
    assert!(outcome.stderr.contains("DEBUG"), "debug logs are on");

    // Nothing was lost but what is masked.
    let totals = &outcome.json()["totals"];
    for (name, count) in counts {
        assert_eq!(totals[name], count, "{name}: {totals}");
    }
    let withheld: Vec<Value> = letters(&lake)
        .into_iter()
        .filter(|letter| letter.get("raw").is_none())
        .collect();
    assert_eq!(withheld.len(), 4, "{withheld:?}");
    for letter in withheld {
        assert!(letter["withheld_bytes"].as_u64().unwrap() > 0, "{letter}");
        assert!(letter.get("raw_base64").is_none(), "{letter}");
    }
}

#[test]
fn hashes_join_as_texts_did_and_what_is_dropped_is_null() {
    let (setup, _) = source();
    let file = setup.place.write("pipeline.toml", pipeline_file());
    run(&setup, Some(&file)).ends(0);
    let lake = setup.lake();
    let search = lake.rows("queries").remove(0);
    let hash = search["query_text"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 64, "{hash}");
    for table in ["feedback", "answers"] {
        let rows = lake.rows(table);
        assert!(rows.len() > 3, "{table}");
        // The secret of most feedback is written with an escape.
        assert!(
            rows.iter().all(|row| row["query_text"] == hash.as_str()),
            "{table}"
        );
    }
    assert_eq!(search["user_id"], search["account_id"]);
    let hashes: BTreeSet<&str> = HASHED
        .iter()
        .map(|(_, column)| search[*column].as_str().unwrap())
        .collect();
    assert_eq!(hashes.len(), HASHED.len(), "other texts have other hashes");
    for column in [
        "answer_text",
        "client_info",
        "model",
        "is_dev",
        "modified_at",
        "selected_facets",
        "comment_tags",
    ] {
        assert_eq!(search[column], Value::Null, "{column}");
    }
    for call in lake.rows("llm_calls") {
        assert_eq!(call["completion_text"], Value::Null, "{call:?}");
        assert!(call["prompt_parts"].is_null(), "{call:?}");
    }
    for chunk in lake.rows("chunks") {
        assert_eq!(
            (&chunk["text"], &chunk["chunk_id"]),
            (&Value::Null, &Value::Null)
        );
    }

    let another = setup.place.lake_named("another");
    run(&setup, Some(&file))
        .environment(
            "ANSWERLAKE_PRIVACY_KEY",
            "another key of 32 bytes, and more",
        )
        .into_lake(&another)
        .ends(0);
    let other = another.rows("queries").remove(0);
    assert_ne!(other["query_text"], hash.as_str());
    assert_ne!(other["user_id"], search["user_id"]);
    assert_eq!(other["query_id"], search["query_id"]);

    // The same again: nothing is new.
    let before = lake.stamps();
    run(&setup, Some(&file)).arguments(&["--force"]).ends(0);
    assert_eq!(lake.stamps(), before);
}

#[test]
fn what_is_held_and_what_is_taken_up_is_not_hashed_twice() {
    let (setup, _) = source();
    let file = setup.place.write("pipeline.toml", pipeline_file());
    run(&setup, Some(&file)).ends(0);
    let lake = setup.lake();
    let before = lake.rows("feedback");
    let hash = &before[0]["query_text"];
    let brought = json!([{"_id": "up-new", "event": "thumbsUp", "query": format!("{SECRET} query"),
        "botId": "st-1", "createdOn": "2025-06-24T13:00:00.000Z"}]);
    let new = setup.place.write("new.json", brought.to_string());
    let letters = lake.path("_answerlake/dead_letters");
    let letters = format!("{}/*/*/*", letters.display());
    let ingest = |path: &str| {
        setup
            .place
            .ingest(&[path])
            .with("--pipeline", &file)
            .with("--app-id", &setup.source.config().app_id)
            .environment("ANSWERLAKE_PRIVACY_KEY", KEY)
            .ends(0)
    };
    for path in [new.as_str(), &letters, new.as_str()] {
        ingest(path);
        let rows = lake.rows("feedback");
        assert_eq!(rows.len(), before.len() + 1, "{path}");
        assert!(
            rows.iter().all(|row| row["query_text"] == *hash),
            "{path}: {rows:?}"
        );
        lake.assert_whole();
    }
    std::fs::remove_file(&new).unwrap();
    let nothing = ingest(&letters);
    assert_eq!(found(&setup, &lake, &nothing), BTreeSet::new());
}

#[test]
fn another_key_or_policy_is_refused() {
    let (setup, _) = source();
    let file = setup.place.write("pipeline.toml", pipeline_file());
    let with_key = |key: &str| run(&setup, Some(&file)).environment("ANSWERLAKE_PRIVACY_KEY", key);
    with_key(KEY).ends(0);
    let before = setup.lake().stamps();
    let other_key = "another key of 32 bytes, and more";
    let failure = with_key(other_key).fails(2);
    failure.assert_says(&["`masking.key_check`: lake has `"]);
    let unmasked = run(&setup, None).fails(2);
    unmasked.assert_says(&["`masking.fields.query`: lake has `hash`, run asks nothing"]);
    let text = pipeline_file().replace("query = \"hash\"", "query = \"drop\"");
    let other = setup.place.write("other.toml", text);
    let failure = run(&setup, Some(&other)).fails(2);
    failure.assert_says(&["`masking.fields.query`: lake has `hash`, run asks `drop`"]);
    for outcome in [with_key("short").ends(2), with_key("").ends(2)] {
        let failure = outcome.failure();
        let says = [
            "at least 32 bytes, got 5 bytes",
            "`ANSWERLAKE_PRIVACY_KEY` is not set",
        ];
        assert!(
            says.iter().any(|says| failure.error.contains(says)),
            "{failure:?}"
        );
    }
    assert_eq!(setup.lake().stamps(), before);
    // A plan needs no key, but the same policies.
    let plan = |file: &str| {
        let url = setup.source.emulator().url();
        let app_id = &setup.source.config().app_id;
        setup
            .place
            .program("plan")
            .arguments(&[file])
            .with("--host", &url)
            .with("--app-id", app_id)
            .with("--lake", &setup.lake().url())
            .with("--date", "2025-06-24")
            .with("--output", "json")
    };
    plan(&file).ends(0);
    plan(&other).ends(2);
    let key = KEY.as_bytes();
    let holds_key = |path: &Path| {
        std::fs::read(path)
            .unwrap()
            .windows(key.len())
            .any(|bytes| bytes == key)
    };
    let lake = setup.lake();
    assert!(!lake.files().iter().any(|file| holds_key(&lake.path(file))));
}

#[test]
fn what_is_masked_is_not_restored_and_restore_says_so() {
    let (setup, _) = source();
    let file = setup.place.write("pipeline.toml", pipeline_file());
    let ran = run(&setup, Some(&file)).result();
    let out = setup.place.path("restored.ndjson");
    let restore = setup
        .place
        .program("restore")
        .into_lake(&setup.lake())
        .with("--out", out.to_str().unwrap());
    let result = restore.clone().with("--output", "json").result();
    let records = std::fs::read_to_string(&out).unwrap();
    assert!(!records.contains("hush"), "{records}");
    assert_eq!(records.lines().count(), ran["totals"]["written"]);
    let fields = &result["masking"]["fields"];
    assert_eq!(
        (&fields["query"], &fields["prompt"]),
        (&json!("hash"), &json!("drop"))
    );
    let outcome = restore.ends(0);
    let says = "masked in this lake, and not given back: __v (drop), accountId (hash), ";
    assert!(outcome.stdout.contains(says), "{outcome:?}");
    assert!(
        outcome.stderr.contains("cannot be given back"),
        "{outcome:?}"
    );
}

#[test]
fn a_fragment_that_is_none_is_not_quoted() {
    for body in [
        format!("{{\"odd\": \"{SECRET}\"}}"),
        format!("[{{\"query\": \"{SECRET}\"}}] {SECRET}"),
        format!("{SECRET} {SECRET}"),
        format!("[{{\"query\": \"{SECRET}\"}}, {{\"query\": \"{SECRET}"),
        format!("[\"{SECRET}\", {SECRET}]"),
    ] {
        let setup = setup("privacy-odd", |config| {
            config.fragment_records = 1000;
            config.faults = vec![Fault {
                times: u32::MAX,
                ..Fault::new(On::Fragment, FaultKind::Status(200, body.clone()))
            }];
        });
        let file = setup.place.write("pipeline.toml", pipeline_file());
        let outcome = run(&setup, Some(&file)).outcome();
        assert_ne!(outcome.code, Some(0), "{body}");
        assert_eq!(
            found(&setup, &setup.lake(), &outcome),
            BTreeSet::new(),
            "{body}"
        );
        setup.place.assert_scratch_is_empty();
    }
}

#[test]
fn policies_that_would_leak_are_refused() {
    let setup = setup("privacy-settings", |_| {});
    for (text, says) in [
        (
            "query = \"hash\"",
            "`query` is masked, and its text stands in `prompt` and `completionText` too",
        ),
        (
            "graphAnswer = \"drop\"",
            "its text stands in `completionText` too",
        ),
        (
            "querry = \"drop\"",
            "no field is called `querry`; there are query, ",
        ),
        (
            "_id = \"hash\"",
            "`_id`: expected `keep`, since it decides where a record goes",
        ),
        (
            "query = \"mask\"",
            "expected `keep`, `drop`, `hash` or `strip_query`, got `mask`",
        ),
    ] {
        let file = setup
            .place
            .write("pipeline.toml", format!("[privacy.fields]\n{text}\n"));
        let failure = run(&setup, Some(&file)).fails(2);
        failure.assert_says(&[says]);
    }
    assert!(setup.lake().files().is_empty());
}

#[test]
fn queries_of_links_are_cut_out_and_no_key_is_needed() {
    let setup = setup("privacy-links", |_| {});
    let signed = |lake: &Lake| {
        let rows = lake.rows("chunks");
        let links = rows
            .iter()
            .flat_map(|row| [&row["source_url"], &row["record_url"]]);
        links
            .filter_map(Value::as_str)
            .filter(|link| link.contains("s="))
            .count()
    };
    let open = setup.place.lake_named("lake-open");
    setup.run().into_lake(&open).ends(0);
    assert!(signed(&open) > 0);
    let text = "[privacy.fields]\nrecordUrl = \"strip_query\"\nprompt = \"keep\"\n";
    let file = setup.place.write("pipeline.toml", text);
    setup.run().arguments(&[&file]).ends(0);
    let lake = setup.lake();
    assert_eq!(signed(&lake), 0);
    assert_eq!(lake.counts(), open.counts());
    let paged = lake.rows("chunks").iter().any(|row| {
        row["record_url"]
            .as_str()
            .is_some_and(|link| link.contains("#page="))
    });
    assert!(paged, "the page stays");
}
