//! The file that faults are written in.
//!
//! ```
//! use answerlake_emulator::FaultScript;
//!
//! let script: FaultScript = "[[fault]]\non = \"job\"\nkind = \"rate_limit\"\nretry_after = 2\n".parse()?;
//! assert_eq!(script.faults.len(), 1);
//!
//! let refused = "seed = 7\n[[fault]]\non = \"job\"\nkind = \"html\"\nretry_after = 2\n".parse::<FaultScript>();
//! assert_eq!(
//!     refused.unwrap_err().to_string(),
//!     "line 5: `retry_after` is no setting of kind `html`"
//! );
//! # Ok::<(), answerlake_emulator::ScriptError>(())
//! ```

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveDate;
use serde::Deserialize;
use toml::Spanned;

use super::{EmptyShape, Fault, FaultKind, On};

/// A file of faults with every kind there is, commented: what [`FaultScript`] reads.
pub const EXAMPLE: &str = include_str!("../../faults.toml");

/// A web page that stands where something else should.
const WEB_PAGE: &str = "<!DOCTYPE html>\n<html><body><h1>Bad Gateway</h1></body></html>\n";
const RATE_LIMIT: &str = r#"{"errors":[{"msg":"You've exceeded the per-minute rate limit. Please try again later.","code":400}]}"#;

/// The faults of a file, and the seed of those that are left to chance.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FaultScript {
    /// Seed of those with a chance; 0 by default.
    pub seed: u64,
    /// The faults, in the order of the file.
    pub faults: Vec<Fault>,
}

/// Why a file of faults cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    line: usize,
    reason: String,
}

impl std::fmt::Display for ScriptError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ScriptError {}

impl FromStr for FaultScript {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let at = |span: Range<usize>, reason: String| ScriptError {
            line: 1 + text[..span.start.min(text.len())].matches('\n').count(),
            reason,
        };
        let raw: RawScript = toml::from_str(text).map_err(|error| {
            at(
                error.span().unwrap_or_default(),
                error.message().trim_end().replace('\n', ", "),
            )
        })?;
        let mut faults = Vec::with_capacity(raw.fault.len());
        for entry in raw.fault {
            let span = entry.span();
            let fault = entry.into_inner().fault();
            faults.push(fault.map_err(|refusal| at(refusal.span.unwrap_or(span), refusal.reason))?);
        }
        Ok(Self {
            seed: raw.seed,
            faults,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<Spanned<RawFault>>,
}

/// A fault as it is written: all settings that any kind has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    on: Spanned<String>,
    kind: Spanned<String>,
    day: Option<Spanned<String>>,
    fragment: Option<Spanned<u32>>,
    nth: Option<Spanned<u32>>,
    times: Option<Spanned<Times>>,
    each: Option<bool>,
    chance: Option<Spanned<f64>>,
    status: Option<Spanned<RawStatus>>,
    body: Option<Spanned<String>>,
    retry_after: Option<Spanned<u32>>,
    as_date: Option<Spanned<bool>>,
    seconds: Option<Spanned<f64>>,
    after: Option<Spanned<usize>>,
    bytes_per_second: Option<Spanned<u64>>,
    carried_out: Option<Spanned<bool>>,
    records: Option<Spanned<usize>>,
    shape: Option<Spanned<String>>,
}

/// A number, or `"always"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Times {
    Number(u32),
    Word(String),
}

/// A status of HTTP, or of a job.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawStatus {
    Number(u16),
    Name(String),
}

struct Refusal {
    /// Absent: the fault as a whole.
    span: Option<Range<usize>>,
    reason: String,
}

impl Refusal {
    fn of<T>(place: &Spanned<T>, reason: impl Into<String>) -> Self {
        Self {
            span: Some(place.span()),
            reason: reason.into(),
        }
    }
}

impl RawFault {
    fn fault(mut self) -> Result<Fault, Refusal> {
        let on = match self.on.as_ref().as_str() {
            "export" => On::Export,
            "job" => On::Job,
            "fragment" => On::Fragment,
            "any" => On::Any,
            other => {
                return Err(Refusal::of(
                    &self.on,
                    format!(
                        "expected `on` to be `export`, `job`, `fragment` or `any`, got `{other}`"
                    ),
                ));
            }
        };
        let kind = self.take_kind()?;
        self.refuse_the_rest()?;
        if !kind.does_something_on(on) {
            return Err(Refusal::of(
                &self.kind,
                format!(
                    "kind `{}` does nothing on `{}`",
                    self.kind.as_ref(),
                    self.on.as_ref()
                ),
            ));
        }
        Ok(Fault {
            day: self.day()?,
            fragment: self.fragment(on)?,
            nth: self.nth.map_or(0, Spanned::into_inner),
            times: times(self.times)?,
            each: self.each.unwrap_or(false),
            chance: chance(self.chance)?,
            ..Fault::new(on, kind)
        })
    }

    fn day(&self) -> Result<Option<NaiveDate>, Refusal> {
        let Some(day) = &self.day else {
            return Ok(None);
        };
        let text = day.as_ref();
        let day = text.parse().map_err(|_| {
            Refusal::of(
                day,
                format!("expected `day` to be a date such as \"2025-06-24\", got `{text}`"),
            )
        })?;
        Ok(Some(day))
    }

    fn fragment(&self, on: On) -> Result<Option<u32>, Refusal> {
        let Some(fragment) = &self.fragment else {
            return Ok(None);
        };
        if on != On::Fragment {
            return Err(Refusal::of(
                fragment,
                "`fragment` is for faults on `fragment`",
            ));
        }
        if *fragment.as_ref() == 0 {
            return Err(Refusal::of(fragment, "fragments are counted from 1, got 0"));
        }
        Ok(Some(*fragment.as_ref()))
    }

    /// The kind, with the settings that it takes.
    fn take_kind(&mut self) -> Result<FaultKind, Refusal> {
        let name = self.kind.as_ref().clone();
        Ok(match name.as_str() {
            "status" => {
                let body = self
                    .body
                    .take()
                    .map_or_else(|| "{}".into(), Spanned::into_inner);
                FaultKind::Status(self.http_status(None)?, body)
            }
            "html" => match self.http_status(Some(200))? {
                200 => FaultKind::Html,
                status => FaultKind::Status(status, WEB_PAGE.to_owned()),
            },
            "rate_limit" => self.take_rate_limit()?,
            "rate_limit_text" => match self.http_status(Some(200))? {
                200 => FaultKind::RateLimitText,
                status => FaultKind::Status(status, RATE_LIMIT.to_owned()),
            },
            "expired_link" => FaultKind::ExpiredLink,
            "replayed_token" => FaultKind::ReplayedToken,
            "clock_skew" => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a cast of a float saturates"
                )]
                let seconds = self.seconds(f64::MIN)?.as_ref().round() as i64;
                FaultKind::ClockSkew { seconds }
            }
            "delay" => FaultKind::Delay(self.duration()?),
            "reset" => FaultKind::Reset,
            "down" => FaultKind::Down(self.duration()?),
            "no_answer" => FaultKind::NoAnswer {
                carried_out: self.carried_out.take().is_some_and(Spanned::into_inner),
            },
            "hang" => FaultKind::Hang {
                after: self.after()?,
            },
            "cut_body" => FaultKind::CutBody {
                after: self.after()?,
            },
            "cut_chunked" => FaultKind::CutChunked {
                after: self.after()?,
            },
            "reset_body" => FaultKind::ResetBody {
                after: self.after()?,
            },
            "cut_text" => FaultKind::CutText {
                after: self.after()?,
            },
            "slow" => {
                let pace = required(self.bytes_per_second.take(), &name, "bytes_per_second")?;
                if *pace.as_ref() == 0 {
                    return Err(Refusal::of(
                        &pace,
                        "expected at least 1 byte a second, got 0",
                    ));
                }
                FaultKind::Slow {
                    bytes_per_second: pace.into_inner(),
                }
            }
            "wrong_record_count" => FaultKind::WrongRecordCount,
            "wrong_file_count" => FaultKind::WrongFileCount,
            "wrong_total" => FaultKind::WrongTotal,
            "redirect_links" => FaultKind::RedirectLinks,
            "relative_links" => FaultKind::RelativeLinks,
            "dead_links" => FaultKind::DeadLinks,
            "single_use_links" => FaultKind::SingleUseLinks,
            "job_gone" => FaultKind::JobGone,
            "job_failed" => FaultKind::JobFailed(self.job_status("FAILED")?),
            "stuck" => FaultKind::JobFailed("INPROGRESS".to_owned()),
            "job_timed_out" => FaultKind::JobTimedOut,
            "backwards" => FaultKind::Backwards,
            "repeat_record" => FaultKind::RepeatRecord,
            "extra_record" => FaultKind::ExtraRecord,
            "strays" => FaultKind::Strays {
                records: self.records.take().map_or(5, Spanned::into_inner),
            },
            "out_of_order" => FaultKind::OutOfOrder,
            "late_feedback" => FaultKind::LateFeedback,
            "earlier_records" => FaultKind::EarlierRecords,
            "empty" => FaultKind::Empty(self.empty_shape()?),
            "gzip" => FaultKind::Gzip,
            "bom" => FaultKind::Bom,
            "ndjson" => FaultKind::Ndjson,
            "wrapped" => FaultKind::Wrapped,
            other => {
                let reason = format!("there is no kind `{other}` of faults");
                return Err(Refusal::of(&self.kind, reason));
            }
        })
    }

    fn take_rate_limit(&mut self) -> Result<FaultKind, Refusal> {
        let seconds = self.retry_after.take();
        let as_date = self.as_date.take();
        match (seconds, as_date) {
            (Some(seconds), Some(as_date)) if *as_date.as_ref() => Ok(FaultKind::RateLimitUntil {
                seconds: seconds.into_inner(),
            }),
            (None, Some(as_date)) if *as_date.as_ref() => {
                Err(Refusal::of(&as_date, "`as_date` needs `retry_after`"))
            }
            (seconds, _) => Ok(FaultKind::RateLimit {
                retry_after: seconds.map(|seconds| seconds.into_inner().into()),
            }),
        }
    }

    fn http_status(&mut self, default: Option<u16>) -> Result<u16, Refusal> {
        let Some(status) = self.status.take() else {
            return default.ok_or_else(|| missing(self.kind.as_ref(), "status"));
        };
        match status.as_ref() {
            RawStatus::Number(number @ 200..=599) => Ok(*number),
            _ => Err(Refusal::of(
                &status,
                "expected `status` to be a number from 200 to 599",
            )),
        }
    }

    fn job_status(&mut self, default: &str) -> Result<String, Refusal> {
        match self.status.take() {
            None => Ok(default.to_owned()),
            Some(status) => match status.as_ref() {
                RawStatus::Name(name) => Ok(name.clone()),
                RawStatus::Number(_) => Err(Refusal::of(
                    &status,
                    "expected `status` to be a text such as \"FAILED\"",
                )),
            },
        }
    }

    fn seconds(&mut self, least: f64) -> Result<Spanned<f64>, Refusal> {
        let seconds = required(self.seconds.take(), self.kind.as_ref(), "seconds")?;
        let given = *seconds.as_ref();
        // Some years: what adds it to a time must not overflow.
        if given.is_nan() || given < least || given.abs() > 1e9 {
            let reason = format!("expected `seconds` to be at most a billion, got {given}");
            return Err(Refusal::of(&seconds, reason));
        }
        Ok(seconds)
    }

    fn duration(&mut self) -> Result<Duration, Refusal> {
        Ok(Duration::from_secs_f64(*self.seconds(0.0)?.as_ref()))
    }

    fn after(&mut self) -> Result<usize, Refusal> {
        Ok(required(self.after.take(), self.kind.as_ref(), "after")?.into_inner())
    }

    fn empty_shape(&mut self) -> Result<EmptyShape, Refusal> {
        let shape = required(self.shape.take(), self.kind.as_ref(), "shape")?;
        Ok(match shape.as_ref().as_str() {
            "file" => EmptyShape::File,
            "totals" => EmptyShape::Totals,
            "nothing" => EmptyShape::Nothing,
            other => {
                let reason =
                    format!("expected `shape` to be `file`, `totals` or `nothing`, got `{other}`");
                return Err(Refusal::of(&shape, reason));
            }
        })
    }

    /// What the kind has not taken, it has no use for.
    fn refuse_the_rest(&self) -> Result<(), Refusal> {
        let rest = [
            ("status", self.status.as_ref().map(Spanned::span)),
            ("body", self.body.as_ref().map(Spanned::span)),
            ("retry_after", self.retry_after.as_ref().map(Spanned::span)),
            ("as_date", self.as_date.as_ref().map(Spanned::span)),
            ("seconds", self.seconds.as_ref().map(Spanned::span)),
            ("after", self.after.as_ref().map(Spanned::span)),
            (
                "bytes_per_second",
                self.bytes_per_second.as_ref().map(Spanned::span),
            ),
            ("carried_out", self.carried_out.as_ref().map(Spanned::span)),
            ("records", self.records.as_ref().map(Spanned::span)),
            ("shape", self.shape.as_ref().map(Spanned::span)),
        ];
        for (name, span) in rest {
            if span.is_some() {
                let reason = format!("`{name}` is no setting of kind `{}`", self.kind.as_ref());
                return Err(Refusal { span, reason });
            }
        }
        Ok(())
    }
}

fn missing(kind: &str, name: &str) -> Refusal {
    Refusal {
        span: None,
        reason: format!("kind `{kind}` needs `{name}`"),
    }
}

fn required<T>(value: Option<Spanned<T>>, kind: &str, name: &str) -> Result<Spanned<T>, Refusal> {
    value.ok_or_else(|| missing(kind, name))
}

fn times(times: Option<Spanned<Times>>) -> Result<u32, Refusal> {
    let Some(times) = times else {
        return Ok(1);
    };
    match times.as_ref() {
        Times::Number(number) => Ok(*number),
        Times::Word(word) if word == "always" => Ok(u32::MAX),
        Times::Word(word) => Err(Refusal::of(
            &times,
            format!("expected `times` to be a number or \"always\", got `{word}`"),
        )),
    }
}

fn chance(chance: Option<Spanned<f64>>) -> Result<f64, Refusal> {
    let Some(chance) = chance else {
        return Ok(1.0);
    };
    let given = *chance.as_ref();
    if (0.0..=1.0).contains(&given) {
        return Ok(given);
    }
    let reason = format!("expected `chance` to be from 0 to 1, got {given}");
    Err(Refusal::of(&chance, reason))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_example_has_every_kind() {
        let script: FaultScript = EXAMPLE.parse().unwrap();
        let kinds: BTreeSet<&str> = script
            .faults
            .iter()
            .map(|fault| fault.kind.name())
            .collect();
        assert_eq!(kinds.len(), 38, "{kinds:?}");
        assert_eq!(script.seed, 7);
        // What comes from the file is what a test would write.
        assert_eq!(
            script.faults[0],
            Fault {
                times: 2,
                each: true,
                ..Fault::new(On::Job, FaultKind::Status(500, "{}".to_owned()))
            }
        );
        assert_eq!(
            script.faults[1],
            Fault {
                day: Some("2025-06-24".parse().unwrap()),
                ..Fault::new(
                    On::Export,
                    FaultKind::RateLimit {
                        retry_after: Some(2)
                    }
                )
            }
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        let fault = |rest: &str| format!("# a comment\n[[fault]]\non = \"job\"\n{rest}");
        for (text, refusal) in [
            (
                "sead = 1\n".to_owned(),
                "line 1: unknown field `sead`, expected `seed` or `fault`",
            ),
            (
                "\n\nseed = \n".to_owned(),
                "line 3: string values must be quoted, expected literal string",
            ),
            (
                fault("kind = \"html\"\nnht = 1\n"),
                "line 5: unknown field `nht`",
            ),
            (
                fault("kind = \"htlm\"\n"),
                "line 4: there is no kind `htlm` of faults",
            ),
            (
                fault("kind = \"gzip\"\n"),
                "line 4: kind `gzip` does nothing on `job`",
            ),
            (
                fault("kind = \"hang\"\n"),
                "line 2: kind `hang` needs `after`",
            ),
            (
                fault("kind = \"hang\"\nafter = -1\n"),
                "line 5: invalid value",
            ),
            (
                fault("kind = \"reset\"\nchance = 1.5\n"),
                "line 5: expected `chance` to be from 0 to 1, got 1.5",
            ),
            (
                fault("kind = \"reset\"\nday = \"24 June\"\n"),
                "line 5: expected `day` to be a date",
            ),
            (
                fault("kind = \"reset\"\nfragment = 1\n"),
                "line 5: `fragment` is for faults on `fragment`",
            ),
            (
                fault("kind = \"reset\"\ntimes = \"often\"\n"),
                "line 5: expected `times` to be a number or \"always\"",
            ),
            (
                fault("kind = \"status\"\nstatus = 99\n"),
                "line 5: expected `status` to be a number from 200 to 599",
            ),
            (
                fault("kind = \"delay\"\nseconds = inf\n"),
                "line 5: expected `seconds` to be at most a billion",
            ),
            (
                fault("kind = \"rate_limit\"\nas_date = true\n"),
                "line 5: `as_date` needs `retry_after`",
            ),
            (
                "[[fault]]\non = \"poll\"\nkind = \"reset\"\n".to_owned(),
                "line 2: expected `on` to be",
            ),
            (
                "[[fault]]\nkind = \"reset\"\n".to_owned(),
                "line 1: missing field `on`",
            ),
        ] {
            let error = text.parse::<FaultScript>().unwrap_err().to_string();
            assert!(error.starts_with(refusal), "{text}\n{error}");
        }
    }
}
