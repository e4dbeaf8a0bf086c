//! Standard error as a screen: log lines scroll by, and below them stand lines that are redrawn.
//!
//! Each change is one write, made over what stands there, so nothing flickers; the cursor rests on an empty row below
//! and is never hidden, so nothing is left behind even by a program that is killed.

use std::io::{self, IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use terminal_size::terminal_size_of;

/// The screen behind standard error.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    shown: Mutex<Vec<Line>>,
}

/// A line, and how many columns it takes without its colours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) columns: usize,
}

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Whether somebody watches standard error, on a terminal that can redraw.
pub(crate) fn is_watched() -> bool {
    stderr().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether colours are welcome on standard error.
pub(crate) fn has_colors() -> bool {
    is_watched() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Screen {
    /// Its size; the usual one where it tells none.
    pub(crate) fn size() -> Size {
        let told = terminal_size_of(stderr())
            .map(|(columns, rows)| (usize::from(columns.0), usize::from(rows.0)));
        let (columns, rows) = told
            .filter(|(columns, rows)| *columns > 0 && *rows > 0)
            .unwrap_or((80, 24));
        Size { columns, rows }
    }

    /// Shows `lines` in place of those shown before.
    pub(crate) fn show(&self, lines: Vec<Line>) {
        let mut shown = self.shown();
        if *shown != lines {
            paint(&mut shown, b"", lines);
        }
    }

    /// Takes away what is shown.
    pub(crate) fn clear(&self) {
        self.show(Vec::new());
    }

    fn shown(&self) -> MutexGuard<'_, Vec<Line>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Text that scrolls by, above what is shown.
impl Write for &Screen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut shown = self.shown();
        if shown.is_empty() {
            return stderr().write(text);
        }
        let lines = shown.clone();
        paint(&mut shown, text, lines);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn paint(shown: &mut Vec<Line>, above: &[u8], lines: Vec<Line>) {
    let change = change(shown, above, &lines, Screen::size().columns);
    // A terminal that is gone shows nothing; the work goes on.
    let _ = stderr().lock().write_all(&change);
    *shown = lines;
}

/// What to write so that `lines` stand where `shown` stood, with `above` over them.
fn change(shown: &[Line], above: &[u8], lines: &[Line], columns: usize) -> Vec<u8> {
    const ERASE_BELOW: &str = "\x1b[J";
    const ERASE_RIGHT: &str = "\x1b[K";
    // A terminal made narrower has broken the lines that are longer than it is wide now.
    let rows: usize = shown
        .iter()
        .map(|line| line.columns.div_ceil(columns.max(1)).max(1))
        .sum();
    let mut bytes = Vec::new();
    if rows > 0 {
        bytes.extend_from_slice(format!("\r\x1b[{rows}A").as_bytes());
    }
    if rows > shown.len() || !above.is_empty() {
        bytes.extend_from_slice(ERASE_BELOW.as_bytes());
    }
    bytes.extend_from_slice(above);
    for line in lines {
        bytes.extend_from_slice(format!("{}{ERASE_RIGHT}\r\n", line.text).as_bytes());
    }
    // What was below, the echo of Ctrl-C too.
    bytes.extend_from_slice(ERASE_BELOW.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            text: text.to_owned(),
            columns: text.len(),
        }
    }

    fn changed(shown: &[Line], above: &str, lines: &[Line], columns: usize) -> String {
        String::from_utf8(change(shown, above.as_bytes(), lines, columns)).unwrap()
    }

    #[test]
    fn lines_are_written_over_those_before() {
        let (before, after) = ([line("a"), line("b")], [line("c")]);
        assert_eq!(
            changed(&[], "", &before, 80),
            "a\x1b[K\r\nb\x1b[K\r\n\x1b[J"
        );
        assert_eq!(
            changed(&before, "", &after, 80),
            "\r\x1b[2Ac\x1b[K\r\n\x1b[J"
        );
        assert_eq!(changed(&after, "", &[], 80), "\r\x1b[1A\x1b[J");
        assert_eq!(
            changed(&after, "log\n", &after, 80),
            "\r\x1b[1A\x1b[Jlog\nc\x1b[K\r\n\x1b[J"
        );
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_all_erased() {
        let shown = [line("0123456789"), line("")];
        assert!(changed(&shown, "", &[], 10).starts_with("\r\x1b[2A"));
        assert!(changed(&shown, "", &[], 4).starts_with("\r\x1b[4A\x1b[J"));
    }
}
