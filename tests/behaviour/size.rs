//! What holds for big data. `make long` runs it, optimised.

use std::time::Instant;

use answerlake_emulator::{DataConfig, write_fragments};
use chrono::TimeDelta;

use crate::support::{Place, time};

#[test]
#[ignore = "a gigabyte: `make long`"]
fn a_gigabyte_is_ingested_alike_with_any_number_of_threads() {
    let place = Place::new("gigabyte");
    let from = time("2025-06-23T00:00:00Z");
    let data = DataConfig {
        from,
        to: from + TimeDelta::days(7),
        records_per_day: 860,
        ..DataConfig::default()
    };
    let fragments = place.path("fragments");
    let written = write_fragments(&data, "st-1", 150, &fragments).unwrap();
    assert!(written.bytes > 1_000_000_000, "{written:?}");
    let lakes = ["1", "2"].map(|threads| {
        let lake = place.lake_named(threads);
        let began = Instant::now();
        let result = place
            .ingest(&[fragments.to_str().unwrap()])
            .with("--threads", threads)
            .into_lake(&lake)
            .result();
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{threads} threads: {seconds:.1} s, {:.0} MB/s",
            written.bytes as f64 / 1e6 / seconds
        );
        assert_eq!(result["totals"]["written"], written.records);
        assert_eq!(result["totals"]["rows"]["chunks"], written.chunks);
        lake.assert_whole();
        lake
    });
    let [one, two] = lakes;
    assert_eq!(one.digests(), two.digests());
    assert_eq!(one.data_files(), two.data_files());
}
