//! Text with calls that each engine spells otherwise: `$name(arguments)`, for each engine.

use crate::target::Target;

/// Expands all calls. A call that is not known, or is not closed, stays as it is: the tests see to it that there is none.
pub(crate) fn expand(text: &str, target: &Target) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        let (before, call) = rest.split_at(start);
        expanded.push_str(before);
        match Call::read(call).and_then(|call| Some((call.expand(target)?, call.length))) {
            Some((text, length)) => {
                expanded.push_str(&text);
                rest = &call[length..];
            }
            None => {
                expanded.push('$');
                rest = &call[1..];
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

struct Call<'t> {
    name: &'t str,
    arguments: Vec<&'t str>,
    /// Bytes from its `$` to its `)`.
    length: usize,
}

impl<'t> Call<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let open = text.find('(')?;
        let mut depth = 0;
        let mut arguments = Vec::new();
        let mut begin = open + 1;
        let letters = text[open..].char_indices();
        for (at, letter) in letters.map(|(at, letter)| (open + at, letter)) {
            match letter {
                '(' => depth += 1,
                ',' if depth == 1 => {
                    arguments.push(text[begin..at].trim());
                    begin = at + 1;
                }
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                arguments.push(text[begin..at].trim());
                return Some(Self {
                    name: &text[1..open],
                    arguments,
                    length: at + 1,
                });
            }
        }
        None
    }

    fn expand(&self, target: &Target) -> Option<String> {
        let engine = target.engine;
        Some(match (self.name, self.arguments.as_slice()) {
            ("table", [name]) => target.full_name(name),
            ("day", [""]) => target.day(),
            ("joined", [list]) => engine.joined(list),
            ("concatenated", [list]) => engine.concatenated(list),
            ("distinct", [list]) => engine.distinct(list),
            ("percentile", [value, percent]) => engine.percentile(value, percent),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use answerlake_model::Grain;

    use super::*;
    use crate::engine::Engine;

    #[test]
    fn calls_are_spelled_for_the_engine() {
        let mut target = Target {
            engine: Engine::DuckDb,
            grain: Grain::Day,
            prompt: Default::default(),
            schema: Some("a.b".parse().unwrap()),
            time_zone: None,
        };
        let text = "SELECT $day(), $percentile(COALESCE(x, 0), 50) FROM $table(queries) -- 5 $";
        assert_eq!(
            expand(text, &target),
            "SELECT dt, quantile_cont(COALESCE(x, 0), 0.50) FROM a.b.queries -- 5 $"
        );
        target.engine = Engine::BigQuery;
        target.schema = Some("my-project.b".parse().unwrap());
        target.time_zone = Some("Europe/Berlin".parse().unwrap());
        assert_eq!(
            expand(text, &target),
            "SELECT DATE(created_at, 'Europe/Berlin'), APPROX_QUANTILES(COALESCE(x, 0), 100)[OFFSET(50)] \
             FROM `my-project.b.queries` -- 5 $"
        );
    }
}
