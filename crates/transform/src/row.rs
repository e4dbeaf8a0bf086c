//! One row in the making: its columns, and what of its object they do not hold.

use crate::batch::TableBuilder;
use crate::column::{ColumnBuilder, integer};
use crate::extra::Extra;
use crate::json::{Arena, Kind, Value};
use crate::record::{Layout, RECORD_SLOTS, Record};
use crate::schema::{ColumnKind, Derived, PromptLayout, Source, columns};

use answerlake_model::Table;
use chrono::{DateTime, SecondsFormat};

/// How a table's rows are filled.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One a column, in the schema's order.
    pub(crate) steps: Vec<Step>,
    /// Slots that no column takes: what stands in them goes to `extra`.
    pub(crate) left_over: Vec<usize>,
    /// Which part of its object the row accounts for.
    pub(crate) scope: Scope,
}

/// How a column is filled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Member { slot: usize, kind: ColumnKind },
    Derived(Derived),
}

/// How each column of `table` is filled, in the schema's order; `layout` is of the object that a row is made of.
pub(crate) fn steps(table: Table, prompt: PromptLayout, layout: &Layout) -> Vec<Step> {
    columns(table, prompt)
        .iter()
        .map(|column| match column.source {
            Source::Member(path) => Step::Member {
                slot: layout.slot(path),
                kind: column.kind,
            },
            Source::Derived(derived, _) => Step::Derived(derived),
        })
        .collect()
}

/// Which part of an object a row accounts for. An answer's object feeds two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Whole,
    /// All but what the call of the language model accounts for.
    Answer,
    /// `prompt` and `llmResponse`.
    LlmCall,
}

impl Scope {
    fn holds(self, pointer: &str) -> bool {
        let is_of_call = || {
            ["/prompt", "/llmResponse"].iter().any(|root| {
                pointer
                    .strip_prefix(root)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        match self {
            Self::Whole => true,
            Self::Answer => !is_of_call(),
            Self::LlmCall => is_of_call(),
        }
    }
}

/// The object that a row is made of.
#[derive(Clone, Copy)]
pub(crate) struct Row<'r, 'a> {
    pub(crate) record: &'r Record<'a>,
    pub(crate) node: usize,
    pub(crate) layout: &'static Layout,
    pub(crate) arena: &'r Arena,
}

impl<'r, 'a> Row<'r, 'a> {
    /// What stands in a slot.
    pub(crate) fn slot(&self, slot: usize) -> &'r Value<'a> {
        &self.record.slots(self.node)[slot]
    }

    /// Appends all columns, `derive` those that are worked out, and `extra` at last.
    pub(crate) fn append(
        &self,
        plan: &Plan,
        builder: &mut TableBuilder,
        extra: &mut Extra,
        mut derive: impl FnMut(Derived, &mut ColumnBuilder, &mut Extra),
    ) {
        for (step, column) in plan.steps.iter().zip(&mut builder.columns) {
            match *step {
                Step::Member { slot, kind } => {
                    if !column.append_member(kind, self.slot(slot), self.arena) {
                        self.keep(slot, extra);
                    }
                }
                Step::Derived(Derived::Extra) => {
                    for slot in &plan.left_over {
                        self.keep(*slot, extra);
                    }
                    self.keep_unknown(plan, extra);
                    column.append_text(extra.take());
                }
                Step::Derived(derived) => derive(derived, column, extra),
            }
        }
        // A table without that column keeps all in its own way: the next row starts empty all the same.
        extra.clear();
        builder.rows += 1;
    }

    /// Keeps what stands in a slot.
    pub(crate) fn keep(&self, slot: usize, extra: &mut Extra) {
        let value = self.slot(slot);
        if !value.is_absent() {
            extra.set(self.layout.pointer(slot), value.raw);
        }
    }

    /// Keeps what stands in a slot that the columns expect something in.
    pub(crate) fn keep_or_absent(&self, slot: usize, extra: &mut Extra) {
        if self.slot(slot).is_absent() {
            extra.set_absent(self.layout.pointer(slot));
        } else {
            self.keep(slot, extra);
        }
    }

    /// Keeps a string that a column holds, unless it holds it exactly.
    pub(crate) fn keep_inexact_text(&self, slot: usize, extra: &mut Extra) {
        if self.slot(slot).exact_text(self.arena).is_none() {
            self.keep_or_absent(slot, extra);
        }
    }

    /// Keeps what stands where a column holds `text`, unless it is exactly that.
    pub(crate) fn keep_unless_text(&self, slot: usize, text: Option<&str>, extra: &mut Extra) {
        if text.is_none() || self.slot(slot).exact_text(self.arena) != text {
            self.keep(slot, extra);
        }
    }

    /// Keeps what stands where the columns expect an array.
    pub(crate) fn keep_unless_array(&self, slot: usize, extra: &mut Extra) {
        if self.slot(slot).kind != Kind::Array {
            self.keep_or_absent(slot, extra);
        }
    }

    /// Keeps an object whose members have columns, where those do not show that it is there.
    pub(crate) fn keep_container(&self, slot: usize, extra: &mut Extra) {
        let pointer = self.layout.pointer(slot);
        let is_below = |member: &usize| {
            self.layout
                .pointer(*member)
                .strip_prefix(pointer)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let has_members = || {
            (slot + 1..self.layout.len())
                .take_while(is_below)
                .any(|member| !self.slot(member).is_absent())
                || self.has_unknown_in(pointer)
        };
        if self.slot(slot).kind != Kind::Object || !has_members() {
            self.keep(slot, extra);
        }
    }

    /// Keeps a `moreInfo` that the columns do not give back; they tell nothing of it where its object is missing.
    pub(crate) fn keep_more_info(
        &self,
        container: usize,
        list: usize,
        is_exact: bool,
        extra: &mut Extra,
    ) {
        if self.slot(container).kind == Kind::Object
            && (self.slot(list).kind != Kind::Array || !is_exact)
        {
            self.keep_or_absent(list, extra);
        }
    }

    /// Keeps the record's times where `created_at`, in microseconds, does not give them back.
    pub(crate) fn keep_times(&self, created_at: i64, extra: &mut Extra) {
        let at = &*RECORD_SLOTS;
        let printed = || print_time(created_at);
        if self
            .slot(at.created_on)
            .exact_text(self.arena)
            .is_none_or(|text| text != printed())
        {
            self.keep_or_absent(at.created_on, extra);
        }
        if integer(self.slot(at.time_stamp_value)) != Some(created_at.div_euclid(1000)) {
            self.keep_or_absent(at.time_stamp_value, extra);
        }
    }

    /// Whether something without a slot stands in the object at `pointer`.
    pub(crate) fn has_unknown_in(&self, pointer: &str) -> bool {
        self.record
            .unknown_of(self.node)
            .iter()
            .any(|unknown| unknown.parent == pointer)
    }

    fn keep_unknown(&self, plan: &Plan, extra: &mut Extra) {
        let verbatim = self.record.verbatim_of(self.node);
        for entry in verbatim
            .iter()
            .filter(|entry| plan.scope.holds(entry.pointer))
        {
            extra.set_verbatim(entry);
        }
        let is_kept_whole = |parent: &str| {
            plan.left_over
                .iter()
                .any(|slot| self.layout.pointer(*slot) == parent)
                || verbatim.iter().any(|entry| entry.pointer == parent)
        };
        for unknown in self.record.unknown_of(self.node) {
            if is_kept_whole(unknown.parent) {
                continue;
            }
            let pointer = unknown.pointer(self.arena);
            if plan.scope.holds(&pointer) {
                extra.set(&pointer, unknown.value.raw);
            }
        }
    }
}

/// Prints a time as the vendor does.
pub(crate) fn print_time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
