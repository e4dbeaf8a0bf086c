//! Samples of one thing, and their row in the table.

use std::time::{Duration, Instant};

use crate::data::Input;

/// Samples are taken until there are so many and so much time has gone; or there is no more time.
const LEAST_SAMPLES: usize = 5;
const LEAST_TIME: Duration = Duration::from_secs(2);
const MOST_TIME: Duration = Duration::from_secs(20);

/// What was measured.
pub(crate) struct Measured {
    /// How long each sample took, sorted.
    samples: Vec<Duration>,
    /// Rows of all tables that came out.
    rows: u64,
    /// The most memory that a process of its own took, in bytes.
    peak: Option<u64>,
}

/// What one sample came to.
pub(crate) struct Sample {
    pub(crate) time: Duration,
    pub(crate) rows: u64,
    pub(crate) peak: Option<u64>,
}

impl Measured {
    /// The head of the table; 98 columns wide.
    pub(crate) const HEADER: &str = "\
bench       size        input MB     rows  samples     median       best   MB/s   rows/s  peak MiB";

    /// Takes samples, after one to warm up.
    pub(crate) fn take(mut sample: impl FnMut() -> Sample) -> Self {
        let warm = sample();
        let mut measured = Self {
            samples: Vec::new(),
            rows: warm.rows,
            peak: warm.peak,
        };
        let began = Instant::now();
        loop {
            let next = sample();
            assert_eq!(next.rows, measured.rows, "each sample does the same");
            measured.samples.push(next.time);
            measured.peak = measured.peak.max(next.peak);
            let (taken, time) = (measured.samples.len(), began.elapsed());
            if taken >= LEAST_SAMPLES && time >= LEAST_TIME || time >= MOST_TIME {
                measured.samples.sort();
                return measured;
            }
        }
    }

    pub(crate) fn row(&self, bench: &str, input: &Input) -> String {
        let median = self.samples[self.samples.len() / 2];
        let seconds = median.as_secs_f64();
        let megabytes = input.bytes as f64 / 1e6;
        format!(
            "{bench:<11} {:<11} {megabytes:>8.1} {:>8} {:>8} {:>10} {:>10} {:>6.0} {:>8.0} {:>9}",
            input.size,
            self.rows,
            self.samples.len(),
            milliseconds(median),
            milliseconds(self.samples[0]),
            megabytes / seconds,
            self.rows as f64 / seconds,
            self.peak
                .map_or(String::new(), |peak| (peak >> 20).to_string()),
        )
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
