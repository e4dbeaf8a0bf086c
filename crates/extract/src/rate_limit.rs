//! Keeps the calls of one app below the vendor's limits, which are rolling windows of a minute and of an hour.
//!
//! Two governors in a row. Each gives a tenth of its limit at once and the rest evenly, so that *any* minute or hour
//! holds at most the limit, not only those that start when the program does. A call that was throttled holds all.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::{Clock, ReasonablyRealtime};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::config::RateConfig;

type Governor = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// The limiter of one app's calls.
pub(crate) struct CallLimiter {
    clock: TokioClock,
    per_hour: Governor,
    per_minute: Governor,
    held_until: Mutex<Instant>,
}

impl CallLimiter {
    pub(crate) fn new(config: &RateConfig) -> Self {
        let clock = TokioClock(Instant::now());
        let governor =
            |limit, period| RateLimiter::direct_with_clock(quota(limit, period), clock.clone());
        Self {
            per_hour: governor(config.per_hour, Duration::from_secs(3600)),
            per_minute: governor(config.per_minute, Duration::from_secs(60)),
            held_until: Mutex::new(clock.0),
            clock,
        }
    }

    /// Waits until one more call may be sent.
    pub(crate) async fn ready(&self) {
        // The hour first: its waits are the long ones, and the minute is to hold at the time of sending.
        for governor in [&self.per_hour, &self.per_minute] {
            while let Err(early) = governor.check() {
                tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
            }
        }
        loop {
            let held_until = *self.held();
            if held_until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(held_until).await;
        }
    }

    /// Holds all calls for `wait` from now: the source has said that there were too many.
    pub(crate) fn hold(&self, wait: Duration) {
        let mut held_until = self.held();
        *held_until = (*held_until).max(Instant::now() + wait);
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.held_until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// At most `limit` in any `period`: `burst` at once, and as many more as come up to the limit, evenly.
fn quota(limit: u32, period: Duration) -> Quota {
    let burst = (limit / 10).max(1);
    let interval = period / (limit - burst + 1);
    Quota::with_period(interval)
        .expect("an hour and a minute hold more nanoseconds than a u32 counts")
        .allow_burst(NonZeroU32::new(burst).expect("it is at least 1"))
}

/// Tokio's clock, so that tests can pause it.
#[derive(Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

impl ReasonablyRealtime for TokioClock {}

#[cfg(test)]
mod tests {
    use super::*;

    async fn calls(config: RateConfig, count: usize) -> Vec<Duration> {
        let limiter = CallLimiter::new(&config);
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..count {
            limiter.ready().await;
            times.push(start.elapsed());
        }
        times
    }

    fn most_in(times: &[Duration], period: Duration) -> usize {
        let from = |start: &Duration| {
            times
                .iter()
                .filter(|time| *time >= start && **time < *start + period)
                .count()
        };
        times.iter().map(from).max().unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_and_no_hour_holds_more_than_its_limit() {
        let times = calls(RateConfig::default(), 4000).await;
        assert!(most_in(&times, Duration::from_secs(60)) <= 50);
        assert!(most_in(&times, Duration::from_secs(3600)) <= 1500);
        // It does not wait without need either: 4000 calls at nine tenths of 1500 an hour.
        assert!(
            times[3999] < Duration::from_secs(10_667),
            "{:?}",
            times[3999]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_limit_works() {
        let config = RateConfig {
            per_minute: 1,
            per_hour: 1500,
        };
        let times = calls(config, 3).await;
        assert_eq!(most_in(&times, Duration::from_secs(60)), 1);
        assert_eq!(times[2].as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_stops_every_call() {
        let limiter = CallLimiter::new(&RateConfig::default());
        let start = Instant::now();
        limiter.hold(Duration::from_secs(60));
        limiter.hold(Duration::from_secs(5));
        limiter.ready().await;
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
