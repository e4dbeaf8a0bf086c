//! One object in the making: the inverse of a record's node.

use crate::extra::{Kept, json_string};
use crate::json::compact;
use crate::record::{Below, Layout, Level, List, Place};

/// An object put together from columns and `extra`.
#[derive(Debug)]
pub(crate) struct Draft {
    layout: &'static Layout,
    /// One a slot of the layout.
    slots: Vec<Slot>,
    /// What has no slot.
    others: Vec<Other>,
    /// What is known of its arrays of nodes, element by element.
    elements: Vec<Element>,
    /// The object as text, where names do not address its members.
    verbatim: Option<String>,
}

/// What stands at a known path.
#[derive(Debug, Clone)]
enum Slot {
    /// Nothing is said of it: an object is there if something stands in it.
    Unset,
    Absent,
    /// An object or array, whatever stands in it.
    Container,
    Json(String),
}

#[derive(Debug)]
struct Other {
    level: &'static Level,
    key: String,
    json: String,
}

#[derive(Debug)]
struct Element {
    list: List,
    index: usize,
    json: String,
}

impl Draft {
    pub(crate) fn new(layout: &'static Layout) -> Self {
        Self {
            layout,
            slots: vec![Slot::Unset; layout.len()],
            others: Vec::new(),
            elements: Vec::new(),
            verbatim: None,
        }
    }

    /// Puts a value into a slot, if there is one.
    pub(crate) fn set(&mut self, slot: usize, json: Option<String>) {
        if let Some(json) = json {
            self.slots[slot] = Slot::Json(json);
        }
    }

    /// Puts an object or array into a slot, to be filled by what stands below it.
    pub(crate) fn set_container(&mut self, slot: usize) {
        self.slots[slot] = Slot::Container;
    }

    /// Puts an element into an array.
    pub(crate) fn set_element(&mut self, list: List, index: usize, json: String) {
        self.elements.push(Element { list, index, json });
    }

    /// Puts in what the columns do not hold, and takes out what they suggest in vain.
    pub(crate) fn apply(&mut self, kept: Kept<'_>) -> Result<(), String> {
        for (pointer, json) in kept.values {
            let json = json.to_owned();
            match self.place(&pointer)? {
                Place::Slot(slot) => self.slots[slot] = Slot::Json(json),
                Place::Member { level, key } => self.others.push(Other { level, key, json }),
                Place::Element(list, index) => self.set_element(list, index, json),
            }
        }
        for pointer in kept.absent {
            match self.place(&pointer)? {
                Place::Slot(slot) => self.slots[slot] = Slot::Absent,
                _ => return Err(format!("`extra` says that nothing stands at `{pointer}`")),
            }
        }
        for (pointer, text) in kept.verbatim {
            let json = compact(&text).into_owned();
            if pointer.is_empty() {
                self.verbatim = Some(json);
                continue;
            }
            match self.place(&pointer)? {
                Place::Slot(slot) => self.slots[slot] = Slot::Json(json),
                _ => return Err(format!("`extra` has an object at `{pointer}`")),
            }
        }
        Ok(())
    }

    /// Whether the object is known as text, so that no row below it adds to it.
    pub(crate) fn is_verbatim(&self) -> bool {
        self.verbatim.is_some()
    }

    /// How many elements of `list` there are so far.
    pub(crate) fn element_count(&self, list: List) -> usize {
        self.elements
            .iter()
            .filter(|element| element.list == list)
            .count()
    }

    /// The object as JSON; fails with what does not fit together.
    pub(crate) fn finish(mut self) -> Result<String, String> {
        if let Some(verbatim) = self.verbatim {
            return Ok(verbatim);
        }
        self.elements.sort_by_key(|element| element.index);
        let mut json = String::new();
        self.write_level(&self.layout.root, &mut json)?;
        Ok(json)
    }

    fn place(&self, pointer: &str) -> Result<Place, String> {
        let place = self.layout.place(pointer);
        place.ok_or_else(|| format!("`extra` names `{pointer}`, which no row of this table has"))
    }

    /// Writes an object: its known members in the documented order, then the others.
    fn write_level(&self, level: &'static Level, out: &mut String) -> Result<(), String> {
        out.push('{');
        let mut separator = "";
        let mut next = |out: &mut String, key: &str| {
            out.push_str(separator);
            out.push_str(&json_string(key));
            out.push(':');
            separator = ",";
        };
        for key in &level.keys {
            match (&self.slots[key.slot], &key.below) {
                (Slot::Absent, Below::Nodes(list, _)) => self.expect_no_elements(*list)?,
                (Slot::Json(json), below) => {
                    if let Below::Nodes(list, _) = below {
                        self.expect_no_elements(*list)?;
                    }
                    next(out, key.name);
                    out.push_str(json);
                }
                (Slot::Container, Below::Nodes(list, _)) => {
                    next(out, key.name);
                    self.write_list(*list, out)?;
                }
                (slot, Below::Members(inner))
                    if matches!(slot, Slot::Container)
                        || matches!(slot, Slot::Unset) && self.has_members(inner) =>
                {
                    next(out, key.name);
                    self.write_level(inner, out)?;
                }
                _ => {}
            }
        }
        for other in self.others.iter().filter(|other| other.is_in(level)) {
            next(out, &other.key);
            out.push_str(&other.json);
        }
        out.push('}');
        Ok(())
    }

    fn write_list(&self, list: List, out: &mut String) -> Result<(), String> {
        out.push('[');
        let elements = self.elements.iter().filter(|element| element.list == list);
        for (index, element) in elements.enumerate() {
            if element.index != index {
                return Err(format!(
                    "array `{}`: expected an element at place {}, got one at {}",
                    list.pointer(),
                    index + 1,
                    element.index.saturating_add(1)
                ));
            }
            if index > 0 {
                out.push(',');
            }
            out.push_str(&element.json);
        }
        out.push(']');
        Ok(())
    }

    fn expect_no_elements(&self, list: List) -> Result<(), String> {
        match self.element_count(list) {
            0 => Ok(()),
            count => Err(format!(
                "`extra` says that `{}` is no array, and there are {count} elements of it",
                list.pointer()
            )),
        }
    }

    fn has_members(&self, level: &'static Level) -> bool {
        let is_there = level.keys.iter().any(|key| {
            matches!(self.slots[key.slot], Slot::Json(_) | Slot::Container)
                || matches!(&key.below, Below::Members(inner) if self.has_members(inner))
        });
        is_there || self.others.iter().any(|other| other.is_in(level))
    }
}

impl Other {
    fn is_in(&self, level: &'static Level) -> bool {
        std::ptr::eq(self.level, level)
    }
}
