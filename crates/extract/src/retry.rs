//! Repeats what may be repeated.
//!
//! Two kinds of waiting: a fault that may pass is met with growing, jittered delays and counts as a retry; a rate
//! limit says itself how long to wait, does not count, and ends only when it has cost more than its longest window.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;
use tracing::warn;

use crate::client::Counters;
use crate::error::ExtractError;

/// How long one request may wait for rate limits: a little more than the hour after which the longest one ends.
pub(crate) const THROTTLED_AT_MOST: Duration = Duration::from_secs(75 * 60);

/// How often, and with what delays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// Repetitions after the first attempt.
    pub(crate) retries: u32,
    /// By what waits are divided.
    pub(crate) hurry: u32,
}

impl RetryPolicy {
    const FIRST_DELAY: Duration = Duration::from_secs(1);
    const LONGEST_DELAY: Duration = Duration::from_secs(60);

    fn delays(self) -> impl Iterator<Item = Duration> {
        ExponentialBuilder::new()
            .with_min_delay(Self::FIRST_DELAY)
            .with_max_delay(Self::LONGEST_DELAY)
            .with_factor(2.0)
            .with_jitter()
            .with_max_times(self.retries as usize)
            .build()
    }

    /// Runs `operation` until it succeeds, fails for good, or has failed too often.
    ///
    /// `passes` tells which faults may pass; a throttled request is always repeated.
    pub(crate) async fn run<T, F>(
        self,
        counters: &Counters,
        passes: impl Fn(&ExtractError) -> bool,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, ExtractError>
    where
        F: Future<Output = Result<T, ExtractError>>,
    {
        let started = Instant::now();
        let mut delays = self.delays();
        let mut throttled = Duration::ZERO;
        let mut attempts = 0_u32;
        loop {
            attempts += 1;
            let error = match operation().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let delay = if let Some(wait) = error.throttled() {
                throttled += wait;
                (throttled <= THROTTLED_AT_MOST).then_some(wait)
            } else if passes(&error) {
                delays.next()
            } else {
                return Err(error);
            };
            let Some(delay) = delay else {
                return Err(exhausted(error, attempts, started.elapsed()));
            };
            counters.retried();
            warn!(
                attempt = attempts,
                wait_seconds = delay.as_secs_f64(),
                error = error.chain(),
                "request failed, trying again"
            );
            tokio::time::sleep(delay / self.hurry).await;
        }
    }
}

/// What is said when retries have ended.
pub(crate) fn exhausted(error: ExtractError, attempts: u32, elapsed: Duration) -> ExtractError {
    ExtractError::RetriesExhausted {
        attempts,
        elapsed,
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Call;

    fn answered(status: u16) -> ExtractError {
        ExtractError::Answered {
            call: Call::StartJob,
            status,
            message: "no".into(),
        }
    }

    fn throttled(wait: u64) -> ExtractError {
        ExtractError::Throttled {
            call: Call::StartJob,
            status: 429,
            wait: Duration::from_secs(wait),
            message: "slow".into(),
        }
    }

    async fn run(
        retries: u32,
        mut answer: impl FnMut(u32) -> Result<u32, ExtractError>,
    ) -> (Result<u32, ExtractError>, u64, u64) {
        let (start, counters) = (Instant::now(), Counters::default());
        let mut attempt = 0;
        let result = RetryPolicy { retries, hurry: 1 }
            .run(&counters, ExtractError::is_transient, || {
                attempt += 1;
                std::future::ready(answer(attempt))
            })
            .await;
        (result, start.elapsed().as_secs(), counters.stats().retries)
    }

    /// Or all that a fault has hit at once would come again at once.
    #[test]
    fn delays_differ_from_one_request_to_the_next() {
        let policy = RetryPolicy {
            retries: 5,
            hurry: 1,
        };
        let delays = || policy.delays().collect::<Vec<_>>();
        assert_ne!(delays(), delays());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_that_passes_is_waited_out() {
        let (result, _, retries) = run(5, |n| if n < 4 { Err(answered(503)) } else { Ok(n) }).await;
        assert_eq!((result.unwrap(), retries), (4, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_says_how_often_and_how_long() {
        let (result, seconds, _) = run(3, |_| Err(answered(500))).await;
        let error = result.unwrap_err();
        let ExtractError::RetriesExhausted {
            attempts, elapsed, ..
        } = &error
        else {
            panic!("{error:?}");
        };
        // Delays of 1, 2 and 4 seconds, each with up to its own length of jitter.
        assert_eq!(*attempts, 4);
        assert!((7..=14).contains(&seconds), "{seconds}");
        assert_eq!(elapsed.as_secs(), seconds);
        assert!(
            error
                .to_string()
                .starts_with("gave up after 4 attempts in "),
            "{error}"
        );
        assert!(error.is_retryable());
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_pass_is_not_repeated() {
        let (result, seconds, retries) = run(3, |_| Err(answered(412))).await;
        assert!(matches!(
            result,
            Err(ExtractError::Answered { status: 412, .. })
        ));
        assert_eq!((seconds, retries), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_does_not_use_up_retries() {
        let (result, seconds, _) = run(0, |n| if n < 9 { Err(throttled(60)) } else { Ok(n) }).await;
        assert_eq!((result.unwrap(), seconds), (9, 480));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_that_never_ends_does() {
        let (result, seconds, _) = run(0, |_| Err(throttled(60))).await;
        assert_eq!(seconds, 75 * 60);
        assert!(matches!(
            result,
            Err(ExtractError::RetriesExhausted { attempts: 76, .. })
        ));
    }
}
