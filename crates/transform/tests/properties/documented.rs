//! Records shaped as the vendor documents them, and what drifts away from that.

use crate::any_json::{json, key, member, scalar};
use crate::choices::Choices;
use crate::json::Json;

/// Made by hand after the vendor's samples: feedback, a generative search, an extractive one, and another event.
pub(crate) fn records() -> Vec<Json> {
    match Json::parse(include_str!("../fixtures/documented.json")) {
        Ok(Json::Array(records)) => records,
        other => panic!("expected an array of records, got {other:?}"),
    }
}

/// Changes a record somewhere, in a way that drift, a hand or a fault might.
pub(crate) fn mutate(record: &mut Json, choices: &mut Choices<'_>) {
    let nth = choices.below(containers(record));
    match container(record, &mut { nth }).expect("there are that many") {
        Json::Object(members) => mutate_object(members, choices),
        Json::Array(elements) => mutate_array(elements, choices),
        Json::Scalar(_) => unreachable!("a scalar holds nothing"),
    }
}

fn mutate_object(members: &mut Vec<(String, Json)>, choices: &mut Choices<'_>) {
    if members.is_empty() || choices.once_in(14) {
        let at = choices.below(members.len() + 1);
        members.insert(at, member(choices, 2));
        return;
    }
    let at = choices.below(members.len());
    let other = choices.below(members.len());
    match choices.below(12) {
        0 => {
            members.remove(at);
        }
        1 => members[at].0 = key(choices),
        2 => {
            // A twin, of the same value or of another.
            let (key, value) = members[at].clone();
            let value = if choices.once_in(2) {
                json(choices, 2)
            } else {
                value
            };
            members.insert(other, (key, value));
        }
        3 => {
            let name = &members[at].0;
            // The same key, with its first letter escaped.
            if let Some(first) = name.chars().nth(1).filter(char::is_ascii_alphanumeric) {
                members[at].0 = format!("\"\\u{:04x}{}", first as u32, &name[2..]);
            }
        }
        4 => {
            let key = members[at].0.clone();
            members[at].0 = std::mem::replace(&mut members[other].0, key);
        }
        5 => members.swap(at, other),
        _ => mutate_value(&mut members[at].1, choices),
    }
}

fn mutate_array(elements: &mut Vec<Json>, choices: &mut Choices<'_>) {
    let at = choices.below(elements.len().max(1));
    match choices.below(5) {
        0 => elements.insert(at.min(elements.len()), json(choices, 2)),
        _ if elements.is_empty() => elements.push(json(choices, 2)),
        1 => {
            elements.remove(at);
        }
        2 => elements.insert(at, elements[at].clone()),
        3 => {
            let other = choices.below(elements.len());
            elements.swap(at, other);
        }
        _ => mutate_value(&mut elements[at], choices),
    }
}

fn mutate_value(value: &mut Json, choices: &mut Choices<'_>) {
    let null = || Json::Scalar("null".to_owned());
    let old = std::mem::replace(value, null());
    *value = match (choices.below(8), old) {
        (0, _) => null(),
        (1, _) => scalar(choices),
        (2, _) => json(choices, 3),
        (3, old) => Json::Array(vec![old]),
        (4, old) => Json::Object(vec![(key(choices), old)]),
        (5, Json::Array(_)) => Json::Object(Vec::new()),
        (5, Json::Object(_)) => Json::Array(Vec::new()),
        (5, Json::Scalar(text)) => match text.strip_prefix('"') {
            // What reads as a number without its quotes becomes one; what has none gets them.
            Some(rest) => match Json::parse(rest.trim_end_matches('"')) {
                Ok(Json::Scalar(bare)) if !bare.starts_with('"') => Json::Scalar(bare),
                _ => Json::Scalar(text),
            },
            None => Json::Scalar(format!("\"{text}\"")),
        },
        (6, Json::Scalar(text)) => {
            // The same number, spelled otherwise.
            let is_integer = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let tail = if is_integer {
                choices.of(&[".0", "e0", ".000E+0"])
            } else {
                ""
            };
            Json::Scalar(format!("{text}{tail}"))
        }
        (6, Json::Object(members)) => {
            Json::Array(members.into_iter().map(|(_, json)| json).collect())
        }
        (6, Json::Array(elements)) => Json::Object(
            elements
                .into_iter()
                .map(|json| (key(choices), json))
                .collect(),
        ),
        (_, old) => {
            let mut old = old;
            if containers(&old) > 0 {
                mutate(&mut old, choices);
            }
            old
        }
    };
}

/// How many arrays and objects there are, the outermost included.
fn containers(json: &Json) -> usize {
    match json {
        Json::Scalar(_) => 0,
        Json::Array(elements) => 1 + elements.iter().map(containers).sum::<usize>(),
        Json::Object(members) => {
            1 + members
                .iter()
                .map(|(_, json)| containers(json))
                .sum::<usize>()
        }
    }
}

/// The array or object that `left` others come before.
fn container<'j>(json: &'j mut Json, left: &mut usize) -> Option<&'j mut Json> {
    if matches!(json, Json::Scalar(_)) {
        return None;
    }
    if *left == 0 {
        return Some(json);
    }
    *left -= 1;
    let inner: Vec<&mut Json> = match json {
        Json::Scalar(_) => Vec::new(),
        Json::Array(elements) => elements.iter_mut().collect(),
        Json::Object(members) => members.iter_mut().map(|(_, json)| json).collect(),
    };
    inner.into_iter().find_map(|json| container(json, left))
}
