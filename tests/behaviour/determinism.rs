//! Same records and settings, same bytes: whatever the threads, the run, and the way the source writes them.

use answerlake_emulator::{DataConfig, write_fragments};
use chrono::TimeDelta;

use crate::support::{Lake, Place, Source, setup, time, truth};

#[test]
fn ingest_gives_the_same_bytes_with_any_number_of_threads() {
    let place = Place::new("threads");
    let from = time("2025-06-23T00:00:00Z");
    // Fragments of several megabytes, so that each is cut into blocks that threads race for.
    let data = DataConfig {
        from,
        to: from + TimeDelta::days(2),
        records_per_day: 120,
        pool: 200,
        text_scale: 0.3,
        ..DataConfig::default()
    };
    let fragments = place.path("fragments");
    let written = write_fragments(&data, "st-1", 150, &fragments).unwrap();
    assert!(written.bytes > 9 << 20, "{written:?}");

    let ingest = |threads: &str| {
        let lake = place.lake_named(threads);
        let result = place
            .ingest(&[fragments.to_str().unwrap()])
            .with("--threads", threads)
            .into_lake(&lake)
            .result();
        assert_eq!(result["totals"]["written"], written.records);
        lake.assert_whole();
        lake
    };
    let one = ingest("1");
    for threads in ["2", "4"] {
        assert_same(&one, &ingest(threads));
    }
}

#[test]
fn runs_against_equal_sources_give_the_same_bytes() {
    let first = setup("equal", |_| {});
    first.run().with("--threads", "1").result();
    for (lake, threads, jobs) in [("b", "2", "1"), ("c", "4", "4")] {
        let source = Source::start(|_| {});
        let lake = first.place.lake_named(lake);
        first
            .place
            .run(&source)
            .with("--threads", threads)
            .with("--jobs-concurrency", jobs)
            .with("--fetch-concurrency", jobs)
            .into_lake(&lake)
            .result();
        assert_same(&first.lake(), &lake);
    }
    truth::assert_holds(&first.lake(), &first.source.records());
}

#[test]
fn the_way_records_are_written_and_served_does_not_matter() {
    let quiet = setup("served", |_| {});
    quiet.run().result();
    let expected = quiet.lake();
    type Adjust = fn(&mut answerlake_emulator::EmulatorConfig);
    let ways: [(&str, Adjust); 7] = [
        ("compact", |config| config.data.pretty = false),
        ("gzip", |config| config.gzip = true),
        ("bom", |config| config.bom = true),
        ("redirect", |config| config.redirect_links = true),
        ("once", |config| config.single_use_links = true),
        ("legacy", |config| {
            config.shape = answerlake_emulator::JobShape::Legacy;
        }),
        ("fragments", |config| config.fragment_records = 3),
    ];
    for (way, adjust) in ways {
        let source = Source::start(adjust);
        let lake = quiet.place.lake_named(way);
        quiet.place.run(&source).into_lake(&lake).result();
        assert_eq!(lake.digests(), expected.digests(), "{way}");
        assert_eq!(lake.counts(), expected.counts(), "{way}");
        lake.assert_whole();
    }
}

#[test]
fn run_and_ingest_of_the_same_records_agree() {
    let setup = setup("agree", |_| {});
    setup.run().result();
    let fragments = setup.place.path("fragments");
    let config = setup.source.config();
    write_fragments(&config.data, &config.app_id, 7, &fragments).unwrap();
    let lake = setup.place.lake_named("ingested");
    setup
        .place
        .ingest(&[fragments.to_str().unwrap()])
        .into_lake(&lake)
        .result();
    assert_eq!(lake.digests(), setup.lake().digests());
    assert_eq!(lake.data_files(), setup.lake().data_files());
}

#[track_caller]
fn assert_same(one: &Lake, other: &Lake) {
    assert!(!one.data_files().is_empty());
    assert_eq!(one.digests(), other.digests());
    assert_eq!(one.data_files(), other.data_files());
}
