//! What was fetched, kept as it was: it is enough to make the lake again, and holds no secret of the API.

use std::collections::BTreeMap;
use std::path::Path;

use answerlake_emulator::{EmulatorConfig, Fault, FaultKind, On};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Lake, Place, Setup, setup, time, truth};

/// A source whose fragments are kept.
fn keeping(name: &str, adjust: impl FnOnce(&mut EmulatorConfig)) -> Setup {
    setup(name, adjust)
}

fn run(setup: &Setup) -> crate::support::Program {
    setup.run().arguments(&["--landing-keep=true"])
}

/// Takes in all that `from` has kept, into another lake.
fn rebuild(place: &Place, from: &Lake, lake: &str) -> crate::support::Program {
    let raw = from.path("_answerlake/raw");
    place
        .ingest(&[raw.to_str().unwrap()])
        .into_lake(&place.lake_named(lake))
}

fn manifests(lake: &Lake) -> Vec<String> {
    let mut files = lake.files_below("_answerlake/raw/");
    files.retain(|file| file.ends_with("/landing.json"));
    files
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_lake_is_made_again_without_the_api() {
    let setup = keeping("landing", |_| {});
    run(&setup).result();
    // A day changes later: it is read again, and kept again.
    setup.source.emulator().add_record(json!({
        "_id": "late", "event": "thumbsUp", "createdOn": "2025-06-24T12:00:00.000Z", "searchRequestId": "fsh-1",
    }));
    run(&setup)
        .arguments(&["--force"])
        .with("--from", "2025-06-24")
        .result();
    let lake = setup.lake();
    lake.assert_whole();
    assert_eq!(manifests(&lake).len(), 5);
    let requests = setup.source.emulator().requests().len();

    for (name, arguments) in [("replaced", &["--replace"][..]), ("joined", &[])] {
        let program = rebuild(&setup.place, &lake, name).arguments(arguments);
        let result = program.result();
        assert_eq!(result["status"], "ok", "{result}");
        let rebuilt = setup.place.lake_named(name);
        rebuilt.assert_whole();
        assert_eq!(rebuilt.digests(), lake.digests(), "{name}");
        truth::assert_holds(&rebuilt, &setup.source.records());
        for (partition, manifest) in rebuilt.newest() {
            assert_eq!(manifest["partial"], false, "proven whole: {partition}");
            assert_eq!(manifest["provisional"], false, "{partition}");
        }
        // Again, it changes nothing.
        let stamps = rebuilt.data_files();
        program.result();
        assert_eq!(rebuilt.data_files(), stamps, "{name}");
        // And a run finds nothing to do.
        let status = setup.run().into_lake(&rebuilt).result()["status"].clone();
        assert_eq!(status, "nothing_to_do", "{name}");
    }
    assert_eq!(setup.source.emulator().requests().len(), requests);
    // As the runs made them: in the same revisions, with the same books.
    let rebuilt = setup.place.lake_named("replaced");
    let revisions = |lake: &Lake| -> BTreeMap<String, usize> {
        let manifests = lake.manifests().into_iter();
        manifests
            .map(|(key, revisions)| (key, revisions.len()))
            .collect()
    };
    assert_eq!(revisions(&rebuilt), revisions(&lake));
    assert_eq!(rebuilt.data_files(), lake.data_files());
    setup.place.assert_scratch_is_empty();
}

#[test]
fn fragments_are_kept_as_they_came_and_links_are_not() {
    let setup = keeping("landing-as-fetched", |config| {
        config.gzip = true;
        config.redirect_links = true;
    });
    run(&setup).result();
    let lake = setup.lake();
    let mut ids = Vec::new();
    for file in manifests(&lake) {
        let folder = file.strip_suffix("landing.json").unwrap();
        let manifest = json_of(&lake.path(&file));
        let job = std::fs::read_to_string(lake.path(&format!("{folder}job.json"))).unwrap();
        assert!(job.contains("?…") && job.contains("SUCCESS"), "{job}");
        for text in [&job, &manifest.to_string()] {
            assert!(
                !text.contains("$$") && !text.contains("&s=") && !text.contains("eyJ"),
                "{text}"
            );
        }
        let mut decoded = 0;
        for fragment in manifest["fragments"].as_array().unwrap() {
            let name = fragment["name"].as_str().unwrap();
            let stored = std::fs::read(lake.path(&format!("{folder}{name}"))).unwrap();
            let fetched = zstd::decode_all(&stored[..]).unwrap();
            assert_eq!(fetched.len() as u64, fragment["bytes"]);
            let gunzipped = flate2::read::GzDecoder::new(&fetched[..]);
            let records: Vec<Value> = serde_json::from_reader(gunzipped).unwrap();
            assert_eq!(records.len() as u64, fragment["promised_records"]);
            decoded += records.len() as u64;
            let id = |record: &Value| record["_id"].as_str().unwrap().to_owned();
            ids.extend(records.iter().map(id));
        }
        assert_eq!(manifest["decoded"], decoded);
        assert_eq!(manifest["promised"], decoded);
    }
    // Each record once, and twice those in the margin of a neighbour.
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), setup.source.records().len());
    rebuild(&setup.place, &lake, "rebuilt").result();
    let rebuilt = setup.place.lake_named("rebuilt");
    assert_eq!(rebuilt.digests(), lake.digests());
}

#[test]
fn a_landing_that_is_damaged_is_refused_and_the_others_are_taken_in() {
    let setup = keeping("landing-damaged", |_| {});
    run(&setup).result();
    let lake = setup.lake();
    let day = |file: &&String| file.contains("window=20250624");
    let files = lake.files_below("_answerlake/raw/");
    let of_day: Vec<&String> = files.iter().filter(day).collect();
    let fragment = of_day.iter().find(|file| file.ends_with(".zst")).unwrap();
    let whole = std::fs::read(lake.path(fragment)).unwrap();
    // Missing, cut short, with a byte changed, or another whole file.
    let changed = {
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let other = zstd::encode_all(&b"[]"[..], 3).unwrap();
    for (name, bytes, reason) in [
        ("missing", None, "cannot be read"),
        (
            "cut",
            Some(whole[..whole.len() - 7].to_vec()),
            "cannot be read",
        ),
        ("changed", Some(changed), "cannot be read"),
        ("other", Some(other), "is not what was kept"),
    ] {
        std::fs::remove_file(lake.path(fragment)).ok();
        if let Some(bytes) = bytes {
            std::fs::write(lake.path(fragment), bytes).unwrap();
        }
        let result = rebuild(&setup.place, &lake, name).ends(3).json();
        let error = crate::support::error_of(&result);
        assert!(
            error.contains("fragment-0000") && error.contains(reason),
            "{name}: {error}"
        );
        let rebuilt = setup.place.lake_named(name);
        rebuilt.assert_whole();
        let days: Vec<String> = rebuilt.days().into_iter().collect();
        assert_eq!(days, ["2025-06-23", "2025-06-25"], "{name}");
    }
    // Without its manifest nothing says that it is whole: it is passed over.
    let manifest = of_day
        .iter()
        .find(|file| file.ends_with("landing.json"))
        .unwrap();
    std::fs::remove_file(lake.path(manifest)).unwrap();
    rebuild(&setup.place, &lake, "unproven").result();
    assert_eq!(setup.place.lake_named("unproven").days().len(), 2);
}

#[test]
fn only_what_is_proven_whole_replaces() {
    let setup = keeping("landing-loose", |_| {});
    let loose = setup.place.write("loose/part.json", "[]");
    let folder = Path::new(&loose).parent().unwrap().to_str().unwrap();
    for path in [loose.as_str(), folder, "file:///nonexistent/raw"] {
        let failure = setup.place.ingest(&[path, "--replace"]).fails(2);
        failure.assert_says(&["expected what `[landing]` kept", path]);
    }
}

#[test]
fn an_older_landing_does_not_replace_what_is_newer() {
    let setup = keeping("landing-older", |_| {});
    run(&setup).result();
    let lake = setup.lake();
    setup.source.emulator().add_record(json!({
        "_id": "late", "event": "thumbsUp", "createdOn": "2025-06-24T12:00:00.000Z", "searchRequestId": "fsh-1",
    }));
    setup.run().arguments(&["--force"]).result();
    let digests = lake.digests();
    let raw = lake.path("_answerlake/raw");
    let result = setup
        .place
        .ingest(&[raw.to_str().unwrap(), "--replace"])
        .result();
    assert_eq!(lake.digests(), digests, "{result}");
}

#[test]
fn old_landings_are_removed_by_runs() {
    let setup = keeping("landing-retention", |_| {});
    run(&setup).with("--landing-retention", "1d").result();
    let lake = setup.lake();
    assert_eq!(manifests(&lake).len(), 3);
    run(&setup).with("--landing-retention", "1d").result();
    assert_eq!(manifests(&lake).len(), 3);
    // With nothing else to do, and without keeping any more.
    let result = setup.run().with("--landing-retention", "0s").result();
    assert_eq!(result["status"], "nothing_to_do");
    assert!(lake.files_below("_answerlake/raw/").is_empty());
    lake.assert_whole();
}

#[test]
fn what_is_masked_is_not_kept_unless_that_is_allowed() {
    let setup = keeping("landing-masked", |_| {});
    let file = setup.place.write(
        "pipeline.toml",
        "[privacy.fields]\nquery = \"drop\"\nprompt = \"drop\"\ncompletionText = \"drop\"\ngraphAnswer = \"drop\"\n[landing]\nkeep = true\n",
    );
    let program = setup.run().arguments(&[&file]);
    let failure = program.fails(2);
    failure.assert_says(&["landing.keep", "privacy.fields", "allow_unmasked"]);
    assert!(setup.lake().files().is_empty());
    program
        .arguments(&["--landing-allow-unmasked=true"])
        .result();
    assert_eq!(manifests(&setup.lake()).len(), 3);
}

/// Records of the margin belong to a neighbour, and a window of several days to several partitions.
#[test]
fn windows_of_several_days_are_taken_in_as_such() {
    let setup = keeping("landing-large", |config| {
        config.data.to = time("2025-06-28T00:00:00Z");
    });
    run(&setup).with("--window", "3d").result();
    let lake = setup.lake();
    assert_eq!(manifests(&lake).len(), 2);
    rebuild(&setup.place, &lake, "rebuilt")
        .arguments(&["--replace"])
        .result();
    let rebuilt = setup.place.lake_named("rebuilt");
    rebuilt.assert_whole();
    assert_eq!(rebuilt.digests(), lake.digests());
    assert_eq!(rebuilt.data_files(), lake.data_files());
}

#[test]
fn strays_join_the_days_that_are_made_again() {
    let setup = keeping("landing-strays", |config| {
        let of_day = |day: &str, kind| Fault {
            day: Some(day.parse().unwrap()),
            ..Fault::new(On::Export, kind)
        };
        config.data.feedback_share = 0.4;
        // The feedback of a day comes with the next day's window alone.
        config.faults = vec![
            of_day("2025-06-23", FaultKind::LateFeedback),
            of_day("2025-06-24", FaultKind::Strays { records: 30 }),
        ];
    });
    run(&setup).result();
    let lake = setup.lake();
    assert!(!lake.files_below("_answerlake/strays/").is_empty());
    for (name, arguments) in [("replaced", &["--replace"][..]), ("joined", &[])] {
        let program = rebuild(&setup.place, &lake, name).arguments(arguments);
        // And again: strays that have joined stay in, whatever the landing of their day lacks.
        for _ in 0..2 {
            program.result();
            let rebuilt = setup.place.lake_named(name);
            rebuilt.assert_whole();
            assert_eq!(rebuilt.digests(), lake.digests(), "{name}");
        }
    }
}

/// What a landing brings is less than its partition: the rest of that stays.
#[test]
fn parts_of_a_partition_make_it_again() {
    for (grain, window, landings) in [("day", "1d", 2), ("hour", "6h", 4)] {
        let setup = keeping("landing-parts", |config| {
            config.data.to = config.data.from + TimeDelta::days(1);
            let failed = FaultKind::JobFailed("FAILED".to_owned());
            // The first job fails, so the day is asked for by halves.
            config.faults = match grain {
                "day" => vec![Fault::new(On::Export, failed)],
                _ => Vec::new(),
            };
        });
        run(&setup)
            .with("--jobs-concurrency", "1")
            .with("--grain", grain)
            .with("--window", window)
            .result();
        let lake = setup.lake();
        assert_eq!(manifests(&lake).len(), landings);
        rebuild(&setup.place, &lake, "days").result();
        let rebuilt = setup.place.lake_named("days");
        rebuilt.assert_whole();
        truth::assert_holds(&rebuilt, &setup.source.records());
        // Where they come from, they are known.
        let before = lake.digests();
        let raw = lake.path("_answerlake/raw");
        setup
            .place
            .ingest(&[raw.to_str().unwrap()])
            .with("--grain", grain)
            .result();
        assert_eq!(lake.digests(), before);
    }
}

/// `DESIGN.md`: "Of several, the newest job's wins", also where it is taken in again after an older one's.
#[test]
fn an_older_landing_undoes_nothing() {
    let setup = keeping("landing-older", |config| {
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    let vote = |number: u32, text: &str| {
        json!({
            "_id": format!("vote-{number}"), "event": "thumbsUp", "searchRequestId": "fsh-1",
            "createdOn": "2025-06-23T12:00:00.000Z", "query": text,
        })
    };
    for number in 0..12 {
        setup.source.emulator().add_record(vote(number, "before"));
    }
    run(&setup).result();
    let older = manifests(&setup.lake()).remove(0);
    let older = setup
        .lake()
        .path(older.strip_suffix("landing.json").unwrap());
    for number in 0..12 {
        setup.source.emulator().add_record(vote(number, "after"));
    }
    run(&setup).arguments(&["--force"]).result();
    let before = setup.lake().digests();
    setup.place.ingest(&[older.to_str().unwrap()]).result();
    assert_eq!(setup.lake().digests(), before);
    truth::assert_holds(&setup.lake(), &setup.source.records());
}
