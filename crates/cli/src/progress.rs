//! How far a run is, in the terminal: a line a window in flight, and one for all.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use answerlake_model::Window;
use answerlake_pipeline::Progress;
use answerlake_pipeline::progress::{Phase, ProgressLook, WindowLook};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use crate::output::{bytes, grouped};
use crate::screen::{Line, Screen, Size, has_colors};

/// How often it is drawn: often enough to look alive, too seldom to be noticed by anything else.
const INTERVAL: Duration = Duration::from_millis(100);
/// What is over sooner need not be seen.
const FIRST_AFTER: Duration = Duration::from_millis(250);
/// How far back the pace of a run is measured.
const PACE_OVER: Duration = Duration::from_secs(10);

/// Draws a run's progress until it is dropped, and leaves nothing behind.
pub(crate) struct Bars {
    screen: Arc<Screen>,
    drawing: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Bars {
    pub(crate) fn draw(screen: &Arc<Screen>, progress: Arc<Progress>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let own = Arc::clone(screen);
        let draw = move || {
            let mut drawn = Drawn::new(has_colors());
            let mut wait = FIRST_AFTER;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = INTERVAL;
                let look = progress.look();
                if look.is_working {
                    own.show(drawn.lines(&look, Instant::now(), Screen::size()));
                }
            }
        };
        // Without a thread to spare there is no picture, and no harm.
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(draw);
        Self {
            screen: Arc::clone(screen),
            drawing: thread.ok().map(|thread| (stop, thread)),
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            // It prints nothing when it panics but what the panic says.
            let _ = thread.join();
        }
        self.screen.clear();
    }
}

/// What drawing remembers from one picture to the next.
struct Drawn {
    began: Instant,
    has_colors: bool,
    /// Bytes at some times before.
    received: VecDeque<(Instant, u64)>,
}

impl Drawn {
    fn new(has_colors: bool) -> Self {
        Self {
            began: Instant::now(),
            has_colors,
            received: VecDeque::new(),
        }
    }

    fn lines(&mut self, look: &ProgressLook, now: Instant, size: Size) -> Vec<Line> {
        let canvas = Canvas {
            columns: size.columns,
            has_colors: self.has_colors,
        };
        let pace = self.bytes_per_second(look.bytes, now);
        let total = canvas.total(look, pace, now - self.began);
        // The totals, the row below them, and one of what was there before.
        let room = size.rows.saturating_sub(3);
        let (shown, more) = match look.in_flight.len() {
            windows if windows > room => (room.saturating_sub(1), windows - room.saturating_sub(1)),
            windows => (windows, 0),
        };
        let shown = &look.in_flight[..shown];
        let label_columns = shown.iter().map(|window| label(window).len()).max();
        let label_columns = label_columns.unwrap_or(0);
        let mut lines: Vec<Line> = shown
            .iter()
            .map(|window| canvas.window(window, label_columns))
            .collect();
        if more > 0 && room > 0 {
            lines.push(canvas.line(&[], &[Part::new(0, format!("and {more} windows more"))]));
        }
        lines.push(total);
        lines
    }

    /// How fast bytes have come in lately.
    fn bytes_per_second(&mut self, bytes: u64, now: Instant) -> Option<f64> {
        self.received.push_back((now, bytes));
        while self.received.len() > 2 && now - self.received[1].0 >= PACE_OVER {
            self.received.pop_front();
        }
        let (since, before) = self.received[0];
        let seconds = (now - since).as_secs_f64();
        let received = bytes.saturating_sub(before);
        (received > 0 && seconds >= 0.5).then(|| received as f64 / seconds)
    }
}

/// What lines are drawn on.
#[derive(Clone, Copy)]
struct Canvas {
    columns: usize,
    has_colors: bool,
}

/// A piece of a line that may be cut short, or left out where there is no room: the less it matters, the sooner.
struct Part {
    /// 0 matters most.
    rank: u8,
    long: String,
    short: String,
    color: Option<Color>,
}

#[derive(Clone, Copy)]
enum Color {
    Bold,
    Green,
    Cyan,
    Red,
}

impl Part {
    fn new(rank: u8, text: String) -> Self {
        Self::abridged(rank, text.clone(), text)
    }

    fn abridged(rank: u8, long: String, short: String) -> Self {
        Self {
            rank,
            long,
            short,
            color: None,
        }
    }

    fn colored(self, color: Color) -> Self {
        Self {
            color: Some(color),
            ..self
        }
    }
}

impl Canvas {
    fn window(self, look: &WindowLook, label_columns: usize) -> Line {
        let (verb, color) = match look.phase {
            Phase::Waiting => ("waiting", Color::Bold),
            Phase::Exporting => ("exporting", Color::Cyan),
            Phase::Loading { .. } => ("loading", Color::Green),
            Phase::Reading { .. } => ("reading", Color::Green),
            Phase::Committing { .. } => ("committing", Color::Bold),
        };
        let mut head = vec![
            Part::new(0, format!("{:label_columns$}", label(look))),
            Part::new(1, format!("{verb:10}")).colored(color),
        ];
        if label_columns == 0 {
            head.remove(0);
        }
        if let Some(bar) = self.bar(look.fraction) {
            head.push(Part::new(2, bar));
        }
        self.line(&head, &details(look))
    }

    /// A bar, where there is room for one.
    fn bar(self, fraction: f64) -> Option<String> {
        let cells = match self.columns {
            ..50 => return None,
            50..76 => 10,
            76..WIDE => 16,
            WIDE.. => 30,
        };
        let done = (fraction * cells as f64).round() as usize;
        let tip = if done < cells { ">" } else { "" };
        Some(format!("[{:cells$}]", "=".repeat(done) + tip))
    }

    fn total(self, look: &ProgressLook, pace: Option<f64>, elapsed: Duration) -> Line {
        let head = [Part::new(0, "total".to_owned()).colored(Color::Bold)];
        let Some(windows) = look.windows else {
            let parts = [
                Part::new(0, "looking what is due".to_owned()),
                Part::new(1, duration(elapsed)),
            ];
            return self.line(&head, &parts);
        };
        let mut parts = Vec::new();
        let has_windows = look.in_flight.iter().all(|look| look.window.is_some());
        if has_windows {
            let ended = format!("{}/{windows}", look.ended);
            parts.push(Part::abridged(0, format!("{ended} windows"), ended));
        }
        parts.push(Part::new(3, format!("{} committed", look.committed)));
        if look.failed > 0 {
            parts.push(Part::new(1, format!("{} failed", look.failed)).colored(Color::Red));
        }
        parts.push(records(4, look.records));
        parts.push(Part::new(6, bytes(look.bytes)));
        parts.extend(pace.map(|pace| Part::new(5, per_second(pace))));
        parts.push(Part::new(7, duration(elapsed)));
        parts.extend(eta(2, look.remaining));
        self.line(&head, &parts)
    }

    /// Puts parts next to one another: in full, or cut short, or without those that matter least; never beyond the
    /// last column but one, after which some terminals break the line.
    fn line(self, head: &[Part], details: &[Part]) -> Line {
        let room = self.columns.saturating_sub(1);
        let mut parts: Vec<&Part> = head.iter().chain(details).collect();
        let long = |parts: &[&Part]| columns(parts, |part| &part.long);
        let short = |parts: &[&Part]| columns(parts, |part| &part.short);
        if self.columns >= WIDE && long(&parts) <= room {
            return self.join(&parts, |part| &part.long);
        }
        while short(&parts) > room {
            // What comes first and all else hangs on goes last.
            let weight = |(index, part): &(usize, &&Part)| (*index >= head.len(), part.rank);
            let Some((least, _)) = parts.iter().enumerate().max_by_key(weight) else {
                break;
            };
            parts.remove(least);
        }
        self.join(&parts, |part| &part.short)
    }

    fn join(self, parts: &[&Part], text: impl Fn(&Part) -> &str) -> Line {
        let mut line = Line {
            text: String::new(),
            columns: columns(parts, &text),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                line.text.push_str(GAP);
            }
            let code = part
                .color
                .filter(|_| self.has_colors)
                .map(|color| match color {
                    Color::Bold => "1",
                    Color::Green => "1;32",
                    Color::Cyan => "1;36",
                    Color::Red => "1;31",
                });
            // Writing to a string cannot fail.
            let _ = match code {
                Some(code) => write!(line.text, "\x1b[{code}m{}\x1b[0m", text(part)),
                None => write!(line.text, "{}", text(part)),
            };
        }
        line
    }
}

const GAP: &str = "  ";
/// From how many columns on words are written out. Not by what fits: lines would change their words as numbers grow.
const WIDE: usize = 100;

fn columns(parts: &[&Part], text: impl Fn(&Part) -> &str) -> usize {
    let texts: usize = parts.iter().map(|part| text(part).len()).sum();
    texts + parts.len().saturating_sub(1) * GAP.len()
}

fn details(look: &WindowLook) -> Vec<Part> {
    let percent = format!("{:.0}%", look.fraction * 100.0);
    let mut parts = Vec::new();
    match look.phase {
        Phase::Waiting => {}
        Phase::Exporting => parts.push(Part::new(0, percent)),
        Phase::Loading { fragments, of } => {
            let done = format!("{fragments}/{of}");
            parts.push(Part::abridged(0, format!("{done} fragments"), done));
            parts.push(records(2, look.records));
        }
        Phase::Reading { bytes: of } => {
            let read = format!("{} of {}", bytes(look.bytes), bytes(of));
            parts.push(Part::abridged(0, read, percent));
            parts.push(records(2, look.records));
        }
        Phase::Committing { partitions, of } => {
            let done = format!("{partitions}/{of}");
            parts.push(Part::abridged(0, format!("{done} partitions"), done));
        }
    }
    parts.extend(
        look.bytes_per_second
            .map(|pace| Part::new(3, per_second(pace))),
    );
    parts.extend(eta(1, look.remaining));
    parts
}

/// A window by its days, the last one included, or by its times.
fn label(look: &WindowLook) -> String {
    let Some(window) = look.window else {
        return String::new();
    };
    let day = |time: DateTime<Utc>| time.format("%Y-%m-%d").to_string();
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M").to_string();
    let is_midnight = |time: DateTime<Utc>| time.time() == NaiveTime::MIN;
    let (start, end) = (window.start(), window.end());
    if !is_midnight(start) || !is_midnight(end) {
        return format!("{} to {}", time(start), end_of(window, &time));
    }
    let last = end - TimeDelta::days(1);
    if last == start {
        day(start)
    } else {
        format!("{} to {}", day(start), day(last))
    }
}

/// The end of a window, by its time alone where the day is that of its start.
fn end_of(window: Window, time: &impl Fn(DateTime<Utc>) -> String) -> String {
    let (start, end) = (window.start(), window.end());
    if end.date_naive() == start.date_naive() {
        end.format("%H:%M").to_string()
    } else {
        time(end)
    }
}

fn records(rank: u8, records: u64) -> Part {
    let number = grouped(records);
    Part::abridged(rank, format!("{number} records"), format!("{number} rec"))
}

fn per_second(pace: f64) -> String {
    format!("{}/s", bytes(pace as u64))
}

/// When it will be done; nothing where that cannot be told, or should have been by now.
fn eta(rank: u8, remaining: Option<Duration>) -> Option<Part> {
    let seconds = remaining?.as_secs_f64().ceil() as u64;
    (seconds > 0).then(|| {
        let remaining = duration(Duration::from_secs(seconds));
        Part::new(rank, format!("eta {remaining}"))
    })
}

fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        86_400.. => format!("{days}d {:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: &str, end: &str, phase: Phase) -> WindowLook {
        WindowLook {
            window: Some(Window::try_new(start.parse().unwrap(), end.parse().unwrap()).unwrap()),
            phase,
            fraction: 0.45,
            records: 1_234,
            bytes: 45_600_000,
            bytes_per_second: None,
            remaining: Some(Duration::from_secs(125)),
        }
    }

    fn look() -> ProgressLook {
        let exporting = window(
            "2025-06-02T00:00:00Z",
            "2025-06-03T00:00:00Z",
            Phase::Exporting,
        );
        let loading = WindowLook {
            bytes_per_second: Some(12_300_000.0),
            ..window(
                "2025-06-03T00:00:00Z",
                "2025-06-04T00:00:00Z",
                Phase::Loading {
                    fragments: 3,
                    of: 7,
                },
            )
        };
        ProgressLook {
            is_working: true,
            windows: Some(21),
            ended: 3,
            committed: 3,
            failed: 1,
            records: 12_345,
            bytes: 456_700_000,
            remaining: Some(Duration::from_secs(7_000)),
            in_flight: vec![exporting, loading],
        }
    }

    fn drawn(look: &ProgressLook, columns: usize, rows: usize) -> Vec<String> {
        let mut drawn = Drawn::new(false);
        drawn.received.push_back((drawn.began, 0));
        let now = drawn.began + Duration::from_secs(10);
        drawn
            .lines(look, now, Size { columns, rows })
            .into_iter()
            .map(|line| {
                assert_eq!(line.text.len(), line.columns);
                line.text
            })
            .collect()
    }

    #[test]
    fn it_fits_the_screen() {
        assert_eq!(
            drawn(&look(), 200, 50),
            [
                "2025-06-02  exporting   [==============>               ]  45%  eta 2m 05s",
                "2025-06-03  loading     [==============>               ]  3/7 fragments  1,234 records  12.3 MB/s  eta 2m 05s",
                "total  3/21 windows  3 committed  1 failed  12,345 records  456.7 MB  45.7 MB/s  10s  eta 1h 56m",
            ]
        );
        assert_eq!(
            drawn(&look(), 80, 24),
            [
                "2025-06-02  exporting   [=======>        ]  45%  eta 2m 05s",
                "2025-06-03  loading     [=======>        ]  3/7  1,234 rec  eta 2m 05s",
                "total  3/21  3 committed  1 failed  12,345 rec  456.7 MB  45.7 MB/s  eta 1h 56m",
            ]
        );
        assert_eq!(
            drawn(&look(), 40, 24),
            [
                "2025-06-02  exporting   45%  eta 2m 05s",
                "2025-06-03  loading     3/7  eta 2m 05s",
                "total  3/21  1 failed  eta 1h 56m",
            ]
        );
        for columns in 0..200 {
            for line in drawn(&look(), columns, 24) {
                assert!(line.len() < columns.max(1), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn windows_without_room_are_counted() {
        let mut look = look();
        look.in_flight = vec![look.in_flight[0].clone(); 30];
        for rows in 0..40 {
            let lines = drawn(&look, 80, rows);
            assert!(lines.len() < rows.max(2), "{rows}: {lines:?}");
        }
        let lines = drawn(&look, 80, 10);
        assert_eq!(lines[6], "and 24 windows more");
        assert_eq!(lines.len(), 8);
    }

    #[test]
    fn colors_take_no_columns() {
        let mut drawn = Drawn::new(true);
        let size = Size {
            columns: 80,
            rows: 24,
        };
        let line = drawn.lines(&look(), Instant::now(), size).remove(0);
        assert!(line.text.contains("\x1b[1;36mexporting \x1b[0m"));
        assert!(line.columns < 80 && line.text.len() > line.columns);
    }

    #[test]
    fn a_window_is_called_by_its_days_or_times() {
        let label = |start: &str, end: &str| label(&window(start, end, Phase::Waiting));
        let midnight = "2025-06-02T00:00:00Z";
        assert_eq!(label(midnight, "2025-06-03T00:00:00Z"), "2025-06-02");
        assert_eq!(
            label(midnight, "2025-06-08T00:00:00Z"),
            "2025-06-02 to 2025-06-07"
        );
        assert_eq!(
            label(midnight, "2025-06-02T12:00:00Z"),
            "2025-06-02 00:00 to 12:00"
        );
        assert_eq!(
            label("2025-06-02T22:00:00Z", "2025-06-03T03:00:00Z"),
            "2025-06-02 22:00 to 2025-06-03 03:00"
        );
    }
}
