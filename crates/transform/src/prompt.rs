//! Where a prompt is cut into parts.
//!
//! A prompt is instructions, the chunks sent to the model and the question, and nearly all of that stands in many
//! other prompts too. It is cut by what stands in it, never by where, so that equal pieces become equal parts and the
//! dictionary of the column holds each once: around every long line, and around every citation label `chk-N`, since
//! the same chunk is `chk-3` in one prompt and `chk-7` in the next. The parts joined are the prompt, whatever it holds.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// What a citation label begins with. Lines are many and short: a finder for each would cost more than the search.
static LABEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("chk-"));

/// From this length on, in bytes with its line feed, a line is a part of its own.
const LONG_LINE: usize = 96;

/// Splits `prompt` into its parts; none for an empty prompt.
pub(crate) fn parts(prompt: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &prompt[at..];
        if rest.is_empty() {
            return None;
        }
        let part = &rest[..part_end(rest)];
        at += part.len();
        Some(part)
    })
}

/// Where the part that `rest` begins with ends.
fn part_end(rest: &str) -> usize {
    let mut at = 0;
    while at < rest.len() {
        let line_end = memchr::memchr(b'\n', &rest.as_bytes()[at..])
            .map_or(rest.len(), |offset| at + offset + 1);
        let line = &rest[at..line_end];
        if let Some((start, end)) = label(line) {
            return match at + start {
                0 => end,
                start => start,
            };
        }
        if line.len() >= LONG_LINE {
            return if at == 0 { line_end } else { at };
        }
        at = line_end;
    }
    rest.len()
}

/// The first `chk-N` of a line.
fn label(line: &str) -> Option<(usize, usize)> {
    LABEL.find_iter(line.as_bytes()).find_map(|start| {
        let number = start + LABEL.needle().len();
        let digits = line.as_bytes()[number..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (digits > 0).then_some((start, number + digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chunk_is_the_same_part_under_every_label() {
        let text = "t".repeat(LONG_LINE);
        let prompt = |label: u32| {
            format!(
                "Rules:\nbe brief\nContent: {text} chunk_id: chk-{label} \n \nUser Query: why?\n"
            )
        };
        let (three, eleven) = (prompt(3), prompt(11));
        let three: Vec<_> = parts(&three).collect();
        let eleven: Vec<_> = parts(&eleven).collect();
        assert_eq!(three.len(), 3);
        assert_eq!(three[1], "chk-3");
        assert_eq!(eleven[1], "chk-11");
        assert_eq!((three[0], three[2]), (eleven[0], eleven[2]));
    }

    #[test]
    fn a_long_line_stands_alone() {
        let long = format!("{}\n", "x".repeat(LONG_LINE));
        let prompt = format!("a\nb\n{long}c\n{long}");
        assert_eq!(
            parts(&prompt).collect::<Vec<_>>(),
            ["a\nb\n", long.as_str(), "c\n", long.as_str()]
        );
    }

    proptest! {
        #[test]
        fn parts_joined_are_the_prompt(prompt in r"((chk-[0-9]{0,2}|[a-zé👉 ]{0,60}|\n){0,12})") {
            let parts: Vec<_> = parts(&prompt).collect();
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
            prop_assert_eq!(parts.concat(), prompt);
        }
    }
}
