//! Text that fits a terminal of 80 columns.

/// The columns of a narrow terminal, less one: some wrap a line that fills it.
pub(crate) const COLUMNS: usize = 79;

/// Lines of at most `columns`, cut between words; a longer word has a line of its own.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The items with `separator` between them, each whole, on as many lines as it takes; all but the first are indented
/// as far as `head`, which stands before it.
pub(crate) fn listed(items: &[String], separator: &str, head: &str) -> String {
    let mut text = String::new();
    let mut line = head.to_owned();
    let indent = " ".repeat(head.chars().count());
    for (index, item) in items.iter().enumerate() {
        let is_last = index + 1 == items.len();
        let end = if is_last { "" } else { separator };
        let is_begun = line.trim() != head.trim() || (!head.is_empty() && index > 0);
        let length = (line.chars().count() + item.chars().count()) + end.trim_end().len();
        if is_begun && length > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line = indent.clone();
        }
        line.push_str(item);
        line.push_str(end);
    }
    text.push_str(line.trim_end());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 7), ["incomprehensible"]);
        assert_eq!(wrapped("", 7), [""; 0]);
    }

    #[test]
    fn items_are_kept_whole() {
        let items: Vec<_> = (0..5)
            .map(|item| format!("item {item} {}", "x".repeat(20)))
            .collect();
        let text = listed(&items, ", ", "rows  ");
        assert_eq!(
            text,
            "rows  item 0 xxxxxxxxxxxxxxxxxxxx, item 1 xxxxxxxxxxxxxxxxxxxx,\n      \
             item 2 xxxxxxxxxxxxxxxxxxxx, item 3 xxxxxxxxxxxxxxxxxxxx,\n      \
             item 4 xxxxxxxxxxxxxxxxxxxx\n"
        );
        assert_eq!(listed(&["x".repeat(90)], ", ", ""), "x".repeat(90) + "\n");
        assert_eq!(listed(&[], ", ", ""), "\n");
    }
}
