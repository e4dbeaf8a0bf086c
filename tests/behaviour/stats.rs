//! What the manifests say of their records in numbers, so that no report has to read the data.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::quality::views;
use crate::support::{Lake, Setup, setup};

/// The numbers of each partition, by day.
fn stats(lake: &Lake) -> BTreeMap<String, Value> {
    let newest = lake.newest().into_iter();
    newest
        .map(|(partition, manifest)| {
            let (_, day) = partition.split_once("/dt=").unwrap();
            (day.to_owned(), manifest["stats"].clone())
        })
        .collect()
}

fn source(name: &str) -> Setup {
    setup(name, |config| {
        config.data.records_per_day = 60;
        config.data.feedback_share = 0.25;
    })
}

#[test]
fn they_are_what_the_records_say() {
    let setup = source("stats");
    setup.run().result();
    let found = stats(&setup.lake());
    let config = setup.source.config();
    for day in setup.source.days() {
        let records = setup.source.records_of(day);
        let stats = &found[&day.to_string()];
        let expected = views(&config.app_id, &records, chrono::TimeDelta::zero());
        let rate = &expected["answer_rate"][0];
        for key in ["queries", "answered", "without_results"] {
            assert_eq!(stats[key], rate[key], "{key} of {day}: {stats}");
        }
        let funnel = &expected["retrieval_funnel"][0];
        let keys = [
            "retrieved",
            "sent_to_llm",
            "used_in_answer",
            "cited",
            "citation_known",
        ];
        for key in keys {
            assert_eq!(stats["funnel"][key], funnel[key], "{key} of {day}: {stats}");
        }
        let votes = |event: &str| {
            records
                .iter()
                .filter(|record| record["event"] == event)
                .count()
        };
        assert_eq!(stats["thumbs_up"], votes("thumbsUp"));
        assert_eq!(stats["thumbs_down"], votes("thumbsDown"));
        let mut tags: BTreeMap<&str, u64> = BTreeMap::new();
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        for record in &records {
            let of_record = record["comments"]["tags"].as_array().into_iter().flatten();
            let mut of_record: Vec<&str> = of_record.filter_map(Value::as_str).collect();
            of_record.sort_unstable();
            of_record.dedup();
            for tag in of_record {
                *tags.entry(tag).or_default() += 1;
            }
            if let Some(name) = record["answerType"].as_str() {
                *types.entry(name).or_default() += 1;
            }
        }
        assert!(!tags.is_empty() && !types.is_empty(), "{day}");
        assert_eq!(stats["feedback_tags"]["names"], json!(tags), "{day}");
        assert_eq!(stats["answer_types"]["names"], json!(types), "{day}");
        // The bucket of the middle holds what the middle is.
        let times = &expected["llm_time"][0];
        let buckets = stats["completion_time_ms"].as_array().unwrap();
        let counted: u64 = buckets
            .iter()
            .map(|bucket| bucket[1].as_u64().unwrap())
            .sum();
        assert_eq!(times["calls"], counted);
        let least = buckets.last().unwrap()[0].as_f64().unwrap();
        let max = times["max_ms"].as_f64().unwrap();
        assert!(least <= max && max < least * 1.25, "{max}: {stats}");
    }
    // Small enough to be kept for good.
    for stats in found.values() {
        assert!(stats.to_string().len() < 2_000, "{stats}");
    }
}

/// Whatever the order of the records, how they came, and how many threads there are.
#[test]
fn they_are_the_same_for_the_same_records() {
    let setup = source("stats-same");
    setup.run().with("--threads", "1").result();
    let expected = stats(&setup.lake());
    let records = setup.source.records();
    let place = crate::support::Place::new("stats-parts");
    // In parts, joined with what is there, some records twice.
    let (late, early) = records.split_at(records.len() / 3);
    for (name, part) in [
        ("a.json", late),
        ("b.json", early),
        ("c.json", &records[..50]),
    ] {
        let part: Vec<&Value> = part.iter().rev().collect();
        let file = place.write(name, json!(part).to_string());
        let app_id = &setup.source.config().app_id;
        place.ingest(&[&file]).with("--app-id", app_id).result();
    }
    assert_eq!(stats(&place.lake()), expected);
    // An older program's manifest has none; a day read again with the same records gets its own.
    let lake = setup.lake();
    let (partition, mut manifest) = lake.newest().into_iter().next().unwrap();
    manifest.as_object_mut().unwrap().remove("stats");
    let path = format!("lake/_answerlake/commits/{partition}/00000001.json");
    setup.place.write(&path, manifest.to_string());
    let verify = setup.place.program("verify").with("--lake", &lake.url());
    verify.ends(0);
    // Numbers that are not those of the files are found.
    manifest["stats"] = json!({"queries": 1});
    setup.place.write(&path, manifest.to_string());
    let text = verify.ends(3).stdout;
    assert!(text.contains("stats count 1 of `queries`"), "{text}");
}

/// What does not land is not counted by name either.
#[test]
fn what_is_masked_is_not_in_them() {
    let setup = source("stats-masked");
    let private = "[privacy.fields]\ntags = \"drop\"\nanswerType = \"drop\"\n";
    let private = setup.place.write("private.toml", private);
    setup.run().arguments(&[&private]).result();
    for stats in stats(&setup.lake()).values() {
        assert_eq!(stats["feedback_tags"]["names"], json!({}), "{stats}");
        assert_eq!(stats["answer_types"]["names"], json!({}), "{stats}");
        assert!(stats["queries"].as_u64().unwrap() > 0);
    }
}
