//! A calendar of partitions: a line a month, a character a day.

use std::collections::BTreeMap;
use std::fmt::Write;

use answerlake_pipeline::status::{PartitionStatus, State};
use chrono::{Datelike, NaiveDate};

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    Always,
    Never,
}

/// The days of `partitions`, each by the state of its worst hour. Capitals want somebody.
pub(crate) fn calendar(partitions: &[PartitionStatus], color: Color) -> String {
    let mut months: BTreeMap<(i32, u32), BTreeMap<u32, State>> = BTreeMap::new();
    for partition in partitions {
        let day = partition.start.date_naive();
        let days = months.entry((day.year(), day.month())).or_default();
        let state = days.entry(day.day()).or_insert(partition.state);
        *state = partition.state.min(*state);
    }
    let mut text = format!("{:9}1       10 11      20 21       31\n", "");
    for ((year, month), days) in months {
        // Writing to a string cannot fail.
        let _ = write!(text, "{year:04}-{month:02}  ");
        let mut line = String::new();
        for day in 1..=length(year, month) {
            match days.get(&day) {
                Some(state) => line.push_str(&painted(*state, color)),
                None => line.push(' '),
            }
            if day == 10 || day == 20 {
                line.push(' ');
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What each character of `counts` means, and how often it is meant.
pub(crate) fn legend(counts: &BTreeMap<State, usize>, color: Color) -> Vec<String> {
    // The usual ones first.
    const ORDER: [State; 8] = [
        State::Committed,
        State::Empty,
        State::Provisional,
        State::Partial,
        State::NotDue,
        State::Missing,
        State::Failed,
        State::Broken,
    ];
    ORDER
        .into_iter()
        .filter_map(|state| Some((state, counts.get(&state)?)))
        .map(|(state, count)| {
            let count = crate::output::grouped(*count as u64);
            format!("{} {count} {}", painted(state, color), state.name())
        })
        .collect()
}

fn symbol(state: State) -> char {
    match state {
        State::Committed => '#',
        State::Empty => '0',
        State::Provisional => '~',
        State::Partial => '%',
        State::NotDue => '-',
        State::Missing => 'M',
        State::Failed => 'F',
        State::Broken => 'B',
    }
}

fn painted(state: State, color: Color) -> String {
    let symbol = symbol(state);
    if color == Color::Never {
        return symbol.to_string();
    }
    let code = match state {
        State::Committed => "32",
        State::Empty | State::NotDue => "2",
        State::Provisional => "36",
        State::Partial => "33",
        State::Missing | State::Failed | State::Broken => "1;31",
    };
    format!("\u{1b}[{code}m{symbol}\u{1b}[0m")
}

fn length(year: i32, month: u32) -> u32 {
    let next = match month {
        12 => NaiveDate::from_ymd_opt(year + 1, 1, 1),
        month => NaiveDate::from_ymd_opt(year, month + 1, 1),
    };
    next.and_then(|first| first.pred_opt())
        .map_or(31, |last| last.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(start: &str, state: State) -> PartitionStatus {
        PartitionStatus {
            partition: start.to_owned(),
            state,
            committed: None,
            failure: None,
            start: start.parse().unwrap(),
        }
    }

    #[test]
    fn a_day_is_a_character_in_its_place() {
        let days = [
            ("2025-06-09T00:00:00Z", State::Committed),
            ("2025-06-10T00:00:00Z", State::Empty),
            ("2025-06-11T00:00:00Z", State::Missing),
            // Of the hours of a day, the worst shows.
            ("2025-07-01T00:00:00Z", State::Committed),
            ("2025-07-01T01:00:00Z", State::Failed),
            ("2025-07-01T02:00:00Z", State::NotDue),
            ("2025-07-31T00:00:00Z", State::NotDue),
        ];
        let partitions: Vec<_> = days
            .into_iter()
            .map(|(start, state)| partition(start, state))
            .collect();
        assert_eq!(
            calendar(&partitions, Color::Never),
            "         1       10 11      20 21       31\n\
             2025-06          #0 M\n\
             2025-07  F                               -\n"
        );
        assert!(calendar(&partitions, Color::Always).contains("\u{1b}[1;31mM\u{1b}[0m"));
    }

    #[test]
    fn months_have_their_length() {
        assert_eq!(length(2024, 2), 29);
        assert_eq!(length(2025, 12), 31);
    }
}
