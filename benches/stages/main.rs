//! How fast the stages are, and all of it end to end, on seeded data of named sizes.
//!
//! `make bench` prints one table. `cargo bench --bench stages -- write day` keeps the rows whose names hold all of
//! these words; `ANSWERLAKE_BENCH_SCALE=0.1` makes the data that much smaller. The stages run on one thread, so that
//! their times can be compared and added; end to end, the program runs as it comes.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a table is what this is for, and a benchmark that cannot run has nothing better to do than panic"
)]

// Seeded fragments, made once.
mod data;
// Samples of one thing, and their row in the table.
mod measure;
// Fragment bytes to record batches.
mod decode;
// The same, of records that drift from the schema.
mod drift;
// The same, masked.
mod masked;
// Record batches to Parquet files.
mod write;
// Fragments on disk to a committed lake, by the program.
mod end_to_end;

use data::{Input, SIZES};
use measure::Measured;

type Bench = fn(&Input) -> Measured;

const BENCHES: [(&str, Bench); 9] = [
    ("decode", decode::measure),
    ("drift 0%", drift::none),
    ("drift 1%", drift::one_percent),
    ("drift 20%", drift::a_fifth),
    ("drift 100%", drift::all),
    ("hash users", masked::people),
    ("drop text", masked::questions),
    ("write", write::measure),
    ("end_to_end", end_to_end::measure),
];

fn main() {
    // What cargo passes on its own begins with dashes.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |bench: &str, size: &str| {
        let name = format!("{bench} {size}");
        wanted.iter().all(|word| name.contains(word.as_str()))
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .unwrap();

    let cores = std::thread::available_parallelism().unwrap();
    println!("answerlake {}, {cores} cores", env!("CARGO_PKG_VERSION"));
    if cfg!(debug_assertions) {
        println!("built without optimisation: these figures say nothing");
    }
    println!("\n{}", Measured::HEADER);
    for (bench, measure) in BENCHES {
        for size in SIZES {
            // What they cost shows with one size as well as with all.
            let is_variant = !["decode", "write", "end_to_end"].contains(&bench);
            if is_variant && !size.name.starts_with("day") {
                continue;
            }
            if is_wanted(bench, size.name) {
                let input = Input::open(&size);
                println!("{}", measure(&input).row(bench, &input).trim_end());
            }
        }
    }
    println!(
        "\ntimes are medians; MB are of JSON; decode and write on one thread, end_to_end on all cores"
    );
}
