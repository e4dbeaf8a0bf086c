//! `verify` finds whatever is wrong with a lake, by name and place, says what mends it, and that does; and of a lake that
//! nobody touched it says nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use answerlake_load::{DataFileWriter, WriterConfig};
use answerlake_model::Table;
use answerlake_transform::PromptLayout;
use answerlake_transform::schema::table_schemas;
use arrow::array::{
    ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{Lake, Place, Program, Setup, Source, iso, setup, time};

fn verify(place: &Place, lake: &Lake) -> Program {
    place
        .program("verify")
        .with("--lake", &lake.url())
        .with("--output", "json")
}

/// Every row of every file of a lake is as it should be, and so many partitions were looked at.
#[track_caller]
fn assert_sound(place: &Place, lake: &Lake, partitions: usize) {
    let before = lake.stamps();
    let result = verify(place, lake).arguments(&["--deep"]).ends(0).json();
    assert_eq!(result["status"], "ok", "{result}");
    assert_eq!(result["findings"], json!([]));
    let checked = &result["checked"];
    assert_eq!(checked["partitions"], partitions, "{result}");
    let newest = lake.newest();
    let files: usize = newest
        .values()
        .map(|manifest| manifest["files"].as_array().unwrap().len())
        .sum();
    assert_eq!(checked["files"], files, "{result}");
    let rows: u64 = lake.counts().values().sum();
    assert_eq!(checked["rows"], rows, "{result}");
    assert_eq!(lake.stamps(), before, "it only reads");
}

/// The code and the path of each finding.
fn codes(result: &Value) -> BTreeSet<(String, String)> {
    assert_eq!(result["status"], "problems", "{result}");
    let findings = result["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            assert!(!text("message").is_empty() && finding["mend"]["hint"].is_string());
            (text("code"), text("path"))
        })
        .collect()
}

fn found(code: &str, path: &str) -> (String, String) {
    (code.to_owned(), path.to_owned())
}

/// Runs what the first finding says mends it.
#[track_caller]
fn mend(setup: &Setup, result: &Value) {
    let mend = &result["findings"][0]["mend"];
    let arguments = mend["arguments"].as_array().into_iter().flatten();
    let arguments: Vec<_> = arguments
        .map(|argument| argument.as_str().unwrap())
        .collect();
    let program = match mend["command"].as_str() {
        Some("run") => setup.run().without("--from").without("--to"),
        Some("recover") => setup
            .place
            .program("recover")
            .with("--lake", &setup.lake().url()),
        other => panic!("no command: {other:?} {result}"),
    };
    program.arguments(&arguments).ends(0);
}

#[test]
fn nothing_is_found_in_lakes_that_nobody_touched() {
    let setup = setup("verify-untouched", |config| {
        config.data.feedback_share = 0.2;
    });
    setup.run().result();
    assert_sound(&setup.place, &setup.lake(), 3);
    // By the hour.
    let hours = setup.place.lake_named("hours");
    setup
        .run()
        .into_lake(&hours)
        .with("--grain", "hour")
        .result();
    assert_sound(&setup.place, &hours, 72);
    // With prompts as text.
    let texts = setup.place.lake_named("texts");
    setup
        .run()
        .into_lake(&texts)
        .with("--prompt", "text")
        .result();
    assert_sound(&setup.place, &texts, 3);
    // However they are compressed, the same rows are left as they are.
    setup
        .run()
        .with("--compression", "snappy")
        .arguments(&["--force"])
        .result();
    assert!(setup.lake().manifests().values().all(|all| all.len() == 1));
    let snappy = setup.place.lake_named("snappy");
    setup
        .run()
        .into_lake(&snappy)
        .with("--compression", "snappy")
        .result();
    assert_sound(&setup.place, &snappy, 3);
    assert_sound(&setup.place, &setup.lake(), 3);
}

#[test]
fn nothing_is_found_after_late_feedback_and_ingest() {
    let place = Place::new("verify-late");
    let source = |late: bool| {
        Source::start(|config| {
            if late {
                let at = time("2025-06-24T11:00:00Z");
                config.extra_records = vec![json!({
                    "_id": "late",
                    "event": "thumbsDown",
                    "searchRequestId": "fsh-somewhere-else",
                    "createdOn": iso(at),
                    "timeStampValue": at.timestamp_millis()
                })];
            }
        })
    };
    place.run(&source(false)).result();
    place.run(&source(true)).arguments(&["--force"]).result();
    let lake = place.lake();
    let revisions: Vec<_> = lake
        .manifests()
        .into_values()
        .map(|all| all.len())
        .collect();
    assert_eq!(revisions, [1, 2, 1]);
    assert_sound(&place, &lake, 3);
    // Joined with what a run brought, and once more.
    let joined =
        json!([{"_id": "joined", "event": "thumbsUp", "createdOn": "2025-06-24T09:00:00.000Z"}]);
    let file = place.write("joined.json", joined.to_string());
    let app_id = lake.newest().into_keys().next().unwrap();
    let app_id = app_id.split(['=', '/']).nth(1).unwrap().to_owned();
    for _ in 0..2 {
        place.ingest(&[&file]).with("--app-id", &app_id).result();
        assert_sound(&place, &lake, 3);
    }
    let revisions: Vec<_> = lake
        .manifests()
        .into_values()
        .map(|all| all.len())
        .collect();
    assert_eq!(revisions, [1, 3, 1]);

    // Fragments at hand, with records that are set aside and others that do not look as documented.
    let at = r#""createdOn":"2025-06-28T10:00:00.000Z","timeStampValue":1751104800000"#;
    let records = [
        format!(
            r#"{{"_id":"twins","event":"search",{at},"answerDebug":[{{"_id":"1"}}],"answerDebug":[{{"_id":"2"}},7]}}"#
        ),
        format!(
            r#"{{"_id":"gaps","event":"search",{at},"answerDebug":[7,{{"_id":"1","generativeChunks":[null,{{"score":1}},"x"],"extractiveChunks":3}},[]]}}"#
        ),
        format!(r#"{{"_id":"none","event":"search",{at},"answerDebug":{{"0":{{}}}}}}"#),
        format!(r#"{{"_id":"\ud800","event":"search",{at},"answerDebug":[{{"prompt":"x"}}]}}"#),
        format!(r#"{{"_id":"\ud801","event":"search",{at},"answerDebug":[{{"prompt":"y"}}]}}"#),
        format!(
            r#"{{"_id":7,"searchRequestId":"by-another-name","event":"search",{at},"answerDebug":[{{}}]}}"#
        ),
        format!(
            r#"{{"_id":"one","searchRequestId":"shared","event":"search",{at},"answerDebug":[{{}},{{}}]}}"#
        ),
        format!(
            r#"{{"_id":"two","searchRequestId":"shared","event":"search",{at},"answerDebug":[{{}}]}}"#
        ),
        format!(r#"{{"_id":"e","event":1,{at}}}"#),
        format!(r#"{{"_id":"e","event":2,{at}}}"#),
        format!(
            r#"{{"_id":"e","event":"click",{at},"deep":{}{}}}"#,
            "[".repeat(100),
            "]".repeat(100)
        ),
        format!(r#"{{"_id":"e","event":"click",{at},"deep":0}}"#),
        format!(r#"{{"_id":"broken",{at},"#).replace(r#"000,"#, "000,x}"),
    ];
    let file = place.write("export.json", format!("[{}]", records.join(",")));
    let lake = place.lake_named("ingested");
    let ingested = place
        .ingest(&[&file])
        .with("--app-id", "st-1")
        .into_lake(&lake);
    let result = ingested.result();
    assert!(
        result["totals"]["dead_letters"].as_u64().unwrap() > 0,
        "{result}"
    );
    assert_sound(&place, &lake, 1);
}

#[test]
fn a_lake_of_killed_runs_is_sound_or_says_what_to_do() {
    let setup = setup("verify-killed", |_| {});
    setup.run().result();
    let lake = setup.lake();
    let staged =
        "lake/_answerlake/staging/run-killed/app_id=st-1/dt=2025-06-23/c/queries/x.parquet";
    setup.place.write(staged, "left");
    assert_sound(&setup.place, &lake, 3);

    // Killed between commit and publish.
    let (partition, manifest) = lake.newest().into_iter().next().unwrap();
    let marker = format!("_answerlake/commits/{partition}/00000001.published");
    std::fs::remove_file(lake.path(&marker)).unwrap();
    for file in manifest["files"].as_array().unwrap() {
        let staged = lake.path(file["origin"]["staged"]["path"].as_str().unwrap());
        std::fs::create_dir_all(staged.parent().unwrap()).unwrap();
        std::fs::rename(lake.path(file["path"].as_str().unwrap()), staged).unwrap();
    }
    let result = verify(&setup.place, &lake).ends(3).json();
    assert_eq!(codes(&result), [found("unpublished", &marker)].into());
    assert_eq!(result["findings"][0]["partition"], partition);
    mend(&setup, &result);
    assert_sound(&setup.place, &lake, 3);
}

/// What is done to the files of a lake by hand, and what is found then.
#[test]
fn each_damage_is_found_and_mended_by_what_is_said() {
    let setup = setup("verify-damage", |_| {});
    setup.run().result();
    let lake = setup.lake();
    let file_of = |lake: &Lake, table: &str| {
        let (_, manifest) = lake.newest().into_iter().next().unwrap();
        let files = manifest["files"].as_array().unwrap().iter();
        let mut files = files.filter(|file| file["table"] == table);
        files.next().unwrap()["path"].as_str().unwrap().to_owned()
    };
    type Damage = fn(&Lake, &str, &str) -> Vec<(&'static str, String)>;
    let damages: [Damage; 5] = [
        |lake, chunks, _| {
            std::fs::remove_file(lake.path(chunks)).unwrap();
            vec![("file_missing", chunks.to_owned())]
        },
        |lake, chunks, _| {
            let file = File::options().write(true).open(lake.path(chunks)).unwrap();
            file.set_len(100).unwrap();
            vec![("wrong_size", chunks.to_owned())]
        },
        |lake, chunks, _| {
            let mut bytes = std::fs::read(lake.path(chunks)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::write(lake.path(chunks), bytes).unwrap();
            vec![("wrong_checksum", chunks.to_owned())]
        },
        |lake, chunks, queries| {
            let aside = lake.path("aside");
            std::fs::rename(lake.path(chunks), &aside).unwrap();
            std::fs::rename(lake.path(queries), lake.path(chunks)).unwrap();
            std::fs::rename(&aside, lake.path(queries)).unwrap();
            vec![
                ("wrong_size", chunks.to_owned()),
                ("wrong_size", queries.to_owned()),
            ]
        },
        |lake, _, _| {
            let path = edit(lake, |manifest| {
                let written = manifest["books"]["written"].as_u64().unwrap();
                manifest["books"]["written"] = json!(written + 1);
            });
            vec![("partition_books", path)]
        },
    ];
    for damage in damages {
        let (chunks, queries) = (file_of(&lake, "chunks"), file_of(&lake, "queries"));
        let expected = damage(&lake, &chunks, &queries);
        let expected: BTreeSet<_> = expected
            .iter()
            .map(|(code, path)| found(code, path))
            .collect();
        for deep in [&[][..], &["--deep"]] {
            let result = verify(&setup.place, &lake).arguments(deep).ends(3).json();
            assert_eq!(codes(&result), expected, "{result}");
        }
        let day = ["--date", "2025-06-23"];
        let others = verify(&setup.place, &lake)
            .with(day[0], "2025-06-24")
            .ends(0)
            .json();
        assert_eq!(others["checked"]["partitions"], 1);
        let result = verify(&setup.place, &lake)
            .with(day[0], day[1])
            .ends(3)
            .json();
        assert_eq!(codes(&result), expected, "{result}");
        mend(&setup, &result);
        assert_sound(&setup.place, &lake, 3);
        lake.assert_whole();
    }
    crate::support::truth::assert_holds(&lake, &setup.source.records());
}

#[test]
fn what_no_run_mends_says_what_to_do() {
    let setup = setup("verify-by-hand", |_| {});
    setup.run().result();
    let lake = setup.lake();
    let partition = lake.newest().into_keys().next().unwrap();
    let app = partition.split('/').next().unwrap();
    let check = |expected: &[(&str, &str)], hint: &str| {
        let result = verify(&setup.place, &lake).ends(3).json();
        let expected = expected
            .iter()
            .map(|(code, path)| found(code, path))
            .collect();
        assert_eq!(codes(&result), expected, "{result}");
        let said = result["findings"][0]["mend"]["hint"].as_str().unwrap();
        assert!(said.contains(hint), "{result}");
    };
    let foreign = [
        format!("answers/{partition}/part-00000-r1-0123456789ab.parquet"),
        format!("chunks/{app}/dt=2024-01-01/part-00000-r1-0123456789ab.parquet"),
        "events/notes.txt".to_owned(),
        "queries/app_id=st-other/dt=2025-06-23/x.parquet".to_owned(),
    ];
    for path in &foreign {
        setup.place.write(&format!("lake/{path}"), "x");
    }
    let unlisted: Vec<_> = foreign
        .iter()
        .map(|path| ("unlisted_file", path.as_str()))
        .collect();
    check(&unlisted, "remove it");
    // What lies in no folder of the app, or of the range, is not asked for then.
    let app_id = app.strip_prefix("app_id=").unwrap();
    let result = verify(&setup.place, &lake)
        .with("--app-id", app_id)
        .ends(3)
        .json();
    assert_eq!(codes(&result).len(), 2, "{result}");
    let result = verify(&setup.place, &lake)
        .with("--date", "2025-06-23")
        .ends(3)
        .json();
    assert_eq!(codes(&result), [found("unlisted_file", &foreign[0])].into());
    for path in &foreign {
        std::fs::remove_file(lake.path(path)).unwrap();
    }
    assert_sound(&setup.place, &lake, 3);

    let manifest = format!("_answerlake/commits/{partition}/00000001.json");
    let intact = std::fs::read(lake.path(&manifest)).unwrap();
    std::fs::write(lake.path(&manifest), &intact[..intact.len() / 2]).unwrap();
    check(&[("manifest_unreadable", &manifest)], "backup");
    std::fs::remove_file(lake.path(&manifest)).unwrap();
    check(&[("manifest_missing", &manifest)], "backup");
    std::fs::write(lake.path(&manifest), &intact).unwrap();

    let pins = lake.path("_answerlake/lake");
    std::fs::rename(&pins, lake.path("pins")).unwrap();
    check(&[("pin_missing", "_answerlake/lake")], "backup");
    std::fs::rename(lake.path("pins"), &pins).unwrap();
    assert_sound(&setup.place, &lake, 3);
}

#[test]
fn what_was_set_aside_and_is_gone_is_missed() {
    let setup = setup("verify-aside", |config| {
        // Its id is too long to be one.
        let day = time("2025-06-23T10:00:00Z");
        config.extra_records = vec![
            json!({"_id": "x".repeat(600), "event": "click", "createdOn": iso(day), "timeStampValue": day.timestamp_millis()}),
        ];
    });
    setup.run().result();
    let lake = setup.lake();
    assert_sound(&setup.place, &lake, 3);
    let kept = lake.files_below("_answerlake/dead_letters/");
    assert_eq!(kept.len(), 1);
    std::fs::remove_file(lake.path(&kept[0])).unwrap();
    let result = verify(&setup.place, &lake).ends(3).json();
    let folder = kept[0].rsplit_once('/').unwrap().0;
    assert_eq!(
        codes(&result),
        [found("dead_letters_missing", folder)].into()
    );
    mend(&setup, &result);
    assert_sound(&setup.place, &lake, 3);

    let path = edit(&lake, |manifest| {
        manifest["jobs"][0]["strays"] = json!(1);
        let decoded = manifest["jobs"][0]["decoded"].as_u64().unwrap();
        manifest["jobs"][0]["decoded"] = json!(decoded + 1);
        manifest["jobs"][0]["promised"] = json!(decoded + 1);
    });
    let result = verify(&setup.place, &lake).ends(3).json();
    let app = path
        .split('/')
        .find(|folder| folder.starts_with("app_id="))
        .unwrap();
    let strays = format!("_answerlake/strays/{app}");
    assert_eq!(codes(&result), [found("strays_missing", &strays)].into());
}

/// Rows that are wrong in files that are as their manifests say: as a faulty program would leave them.
#[test]
fn rows_that_do_not_belong_together_are_found_and_mended() {
    let setup = setup("verify-deep", |config| config.data.feedback_share = 0.2);
    setup.run().result();
    let lake = setup.lake();
    type Forgery = (
        Table,
        fn(RecordBatch) -> RecordBatch,
        &'static [(&'static str, Table)],
    );
    let forgeries: [Forgery; 13] = [
        // A record twice.
        (
            Table::Queries,
            |rows| append(&rows, &rows.slice(0, 1)),
            &[("duplicate_record", Table::Queries)],
        ),
        (
            Table::Feedback,
            |rows| append(&rows, &rows.slice(1, 1)),
            &[("duplicate_record", Table::Feedback)],
        ),
        (
            Table::Events,
            |rows| append(&rows, &rows),
            &[("duplicate_record", Table::Events)],
        ),
        // Rows of another day.
        (
            Table::Answers,
            |rows| later(&rows),
            &[("wrong_time", Table::Answers)],
        ),
        (
            Table::Events,
            |rows| later(&rows),
            &[("wrong_time", Table::Events)],
        ),
        // Rows are missing.
        (
            Table::Queries,
            |rows| rows.slice(1, rows.num_rows() - 1),
            &[
                ("query_missing", Table::Answers),
                ("answer_missing", Table::Chunks),
                ("answer_missing", Table::LlmCalls),
            ],
        ),
        (
            Table::Answers,
            |rows| rows.slice(1, rows.num_rows() - 1),
            &[
                ("wrong_answer_count", Table::Queries),
                ("answer_missing", Table::Chunks),
                ("answer_missing", Table::LlmCalls),
            ],
        ),
        (
            Table::Chunks,
            |rows| rows.slice(1, rows.num_rows() - 1),
            &[("wrong_positions", Table::Answers)],
        ),
        // Rows are there twice.
        (
            Table::Chunks,
            |rows| append(&rows, &rows.slice(0, 1)),
            &[("wrong_positions", Table::Answers)],
        ),
        (
            Table::LlmCalls,
            |rows| append(&rows, &rows.slice(0, 1)),
            &[("wrong_positions", Table::LlmCalls)],
        ),
        // Values are wrong.
        (
            Table::Answers,
            |rows| {
                let positions = rows
                    .column_by_name("position")
                    .unwrap()
                    .as_primitive::<Int32Type>();
                let positions: Int32Array =
                    positions.iter().map(|at| at.map(|at| at + 1)).collect();
                with(&rows, "position", Arc::new(positions))
            },
            &[
                ("wrong_positions", Table::Queries),
                ("answer_missing", Table::Chunks),
                ("answer_missing", Table::LlmCalls),
            ],
        ),
        (
            Table::Queries,
            |rows| {
                let facets: StringArray = (0..rows.num_rows()).map(|_| Some("[1,")).collect();
                with(&rows, "selected_facets", Arc::new(facets))
            },
            &[("invalid_json", Table::Queries)],
        ),
        // A value that nothing but the records' digest knows.
        (
            Table::Chunks,
            |rows| {
                let texts = rows.column_by_name("text").unwrap().as_string::<i32>();
                let texts = texts.iter().enumerate();
                let texts: StringArray = texts
                    .map(|(row, text)| {
                        if row == 0 {
                            Some("something else")
                        } else {
                            text
                        }
                    })
                    .collect();
                with(&rows, "text", Arc::new(texts))
            },
            &[("wrong_content", Table::Events)],
        ),
    ];
    for (table, change, expected) in forgeries {
        let rows = forge(&setup, table, change);
        assert!(
            rows > 3 || table == Table::Events,
            "{table} has {rows} rows"
        );
        // The files are as the manifests say.
        verify(&setup.place, &lake).ends(0);
        let result = verify(&setup.place, &lake)
            .arguments(&["--deep"])
            .ends(3)
            .json();
        let found: BTreeSet<(String, String)> = codes(&result)
            .into_iter()
            .map(|(code, path)| (code, path.split('/').next().unwrap().to_owned()))
            .collect();
        let expected: BTreeSet<_> = expected
            .iter()
            .map(|(code, table)| match *code {
                "wrong_content" => (code.to_string(), String::new()),
                code => (code.to_owned(), table.to_string()),
            })
            .collect();
        assert_eq!(found, expected, "{table}: {result}");
        mend(&setup, &result);
        assert_sound(&setup.place, &lake, 3);
    }
    lake.assert_whole();
    crate::support::truth::assert_holds(&lake, &setup.source.records());
}

#[test]
fn a_lake_is_sound_at_any_moment_of_runs_that_change_it() {
    let place = Place::new("verify-live");
    let source = |ids: &[&str]| {
        let at = time("2025-06-24T11:00:00Z");
        let records = ids.iter().map(|id| {
            json!({"_id": id, "event": "thumbsUp", "createdOn": iso(at), "timeStampValue": at.timestamp_millis()})
        });
        let records = records.collect();
        Source::start(|config| config.extra_records = records)
    };
    let sources = [source(&[]), source(&["one"])];
    place.run(&sources[0]).result();
    let lake = place.lake();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut looks = 0;
            while !is_done.load(Ordering::Relaxed) {
                verify(&place, &lake).arguments(&["--deep"]).ends(0);
                looks += 1;
            }
            looks
        });
        for round in 1..=6 {
            let run = place
                .run(&sources[round % 2])
                .with("--on-shrink", "replace");
            run.arguments(&["--force"]).result();
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(watching.join().unwrap() > 3);
    });
    let revisions: usize = lake.manifests().values().map(Vec::len).sum();
    assert_eq!(revisions, 3 + 6);
    assert_sound(&place, &lake, 3);
}

#[test]
fn what_people_read_names_the_place_and_the_command() {
    let setup = setup("verify-text", |_| {});
    setup.run().result();
    let lake = setup.lake();
    let text = |code| {
        verify(&setup.place, &lake)
            .with("--output", "human")
            .ends(code)
            .stdout
    };
    let sound = text(0);
    assert!(
        sound.ends_with("no problems\n") && sound.starts_with("1 app, 3 partitions, "),
        "{sound}"
    );
    let path = lake.files_below("chunks/").remove(0);
    std::fs::remove_file(lake.path(&path)).unwrap();
    let broken = text(3);
    let command = format!(
        "answerlake run --lake {} --date 2025-06-23 --force\n",
        lake.url()
    );
    for part in ["1 problem:\n", &path, "is not there\n", &command] {
        assert!(broken.contains(part), "`{part}` is not in\n{broken}");
    }
}

#[test]
fn what_is_not_there_is_not_sound() {
    let setup = setup("verify-nothing", |_| {});
    let failure = verify(&setup.place, &setup.lake()).fails(2);
    failure.assert_says(&["there is no lake at"]);
    assert!(!setup.lake().path("").exists(), "it makes none");
    setup.run().result();
    for (flag, value) in [("--app-id", "st-typo"), ("--date", "2024-01-01")] {
        let result = verify(&setup.place, &setup.lake())
            .with(flag, value)
            .ends(3)
            .json();
        assert_eq!(codes(&result), [found("nothing_committed", "")].into());
    }
    verify(&setup.place, &setup.lake())
        .with("--from", "2025-06-24")
        .with("--to", "2025-06-24")
        .fails(2);
    std::fs::write(setup.lake().path("_answerlake/lake/00000001.json"), "{").unwrap();
    verify(&setup.place, &setup.lake()).fails(6);
}

#[test]
fn the_lake_of_the_demo_is_sound() {
    let place = Place::new("verify-demo");
    place
        .program("demo demo --weeks 1 --records-per-day 40")
        .ends(0);
    assert_sound(&place, &place.lake_named("demo/lake"), 7);
}

/// Edits the newest manifest of the first partition; gives its path.
fn edit(lake: &Lake, change: impl FnOnce(&mut Value)) -> String {
    let (partition, mut manifest) = lake.newest().into_iter().next().unwrap();
    let revision = manifest["revision"].as_u64().unwrap();
    change(&mut manifest);
    let path = format!("_answerlake/commits/{partition}/{revision:08}.json");
    std::fs::write(lake.path(&path), manifest.to_string()).unwrap();
    path
}

/// Changes the rows of a table in the first partition, and makes its manifest believe them; gives how many there were.
fn forge(setup: &Setup, table: Table, change: fn(RecordBatch) -> RecordBatch) -> usize {
    let lake = setup.lake();
    let name = table.name();
    let (_, manifest) = lake.newest().into_iter().next().unwrap();
    let files = manifest["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["table"] == name).unwrap();
    let path = file["path"].as_str().unwrap().to_owned();
    let rows = read(&lake.path(&path));
    let count = rows.num_rows();
    let changed = change(rows);

    let schemas = table_schemas(PromptLayout::Parts);
    let config = WriterConfig::default();
    let scratch = setup.place.scratch();
    let mut writer = DataFileWriter::try_new(&config, &schemas[table], 1, &scratch).unwrap();
    assert_eq!(writer.write(&changed).unwrap(), changed.num_rows());
    let forged = writer.close().unwrap();
    let forged_path = format!(
        "{}-{}.parquet",
        path.rsplit_once('-').unwrap().0,
        &forged.sha256[..12]
    );
    std::fs::copy(&forged.scratch, lake.path(&forged_path)).unwrap();
    std::fs::remove_file(lake.path(&path)).unwrap();
    edit(&lake, |manifest| {
        if [Table::Queries, Table::Feedback, Table::Events].contains(&table) {
            for entry in ["written", "assigned"] {
                let before = manifest["books"][entry].as_u64().unwrap();
                manifest["books"][entry] = json!(before + changed.num_rows() as u64 - count as u64);
            }
        }
        // Older programs wrote none, and those that are there would tell.
        manifest.as_object_mut().unwrap().remove("stats");
        let files = manifest["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == path).unwrap();
        file["path"] = json!(forged_path);
        file["rows"] = json!(changed.num_rows());
        file["bytes"] = json!(forged.bytes);
        file["sha256"] = json!(forged.sha256);
    });
    count
}

fn read(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

fn append(rows: &RecordBatch, more: &RecordBatch) -> RecordBatch {
    concat_batches(&rows.schema(), [rows, more]).unwrap()
}

fn with(rows: &RecordBatch, column: &str, values: ArrayRef) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    columns[rows.schema().index_of(column).unwrap()] = values;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// The rows, a day later.
fn later(rows: &RecordBatch) -> RecordBatch {
    const DAY: i64 = 86_400_000_000;
    let times = rows.column_by_name("created_at").unwrap();
    let times = times.as_primitive::<TimestampMicrosecondType>().iter();
    let times: TimestampMicrosecondArray = times.map(|time| time.map(|time| time + DAY)).collect();
    with(rows, "created_at", Arc::new(times.with_timezone("UTC")))
}
