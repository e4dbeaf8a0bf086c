//! The six tables of the lake, and what a writer must know of their columns.

use std::fmt;
use std::ops::{Index, IndexMut};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row a search.
    Queries,
    /// One row a thumbs-up or thumbs-down.
    Feedback,
    /// One row an answer of a search.
    Answers,
    /// One row a chunk that an answer's retrieval found.
    Chunks,
    /// One row a call of the language model.
    LlmCalls,
    /// One row a record of any other event.
    Events,
}

impl Table {
    /// All of them, in the order the lake lists them.
    pub const ALL: [Self; 6] = [
        Self::Queries,
        Self::Feedback,
        Self::Answers,
        Self::Chunks,
        Self::LlmCalls,
        Self::Events,
    ];

    /// Its name: the folder in the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::Feedback => "feedback",
            Self::Answers => "answers",
            Self::Chunks => "chunks",
            Self::LlmCalls => "llm_calls",
            Self::Events => "events",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerTable<T> {
    queries: T,
    feedback: T,
    answers: T,
    chunks: T,
    llm_calls: T,
    events: T,
}

impl<T> PerTable<T> {
    /// Makes each table's value.
    pub fn from_fn(mut make: impl FnMut(Table) -> T) -> Self {
        Self {
            queries: make(Table::Queries),
            feedback: make(Table::Feedback),
            answers: make(Table::Answers),
            chunks: make(Table::Chunks),
            llm_calls: make(Table::LlmCalls),
            events: make(Table::Events),
        }
    }

    /// Makes another value of each.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> PerTable<U> {
        let [queries, feedback, answers, chunks, llm_calls, events] = self.into_values().map(make);
        PerTable {
            queries,
            feedback,
            answers,
            chunks,
            llm_calls,
            events,
        }
    }

    /// The values, in the order of [`Table::ALL`].
    pub fn into_values(self) -> [T; 6] {
        [
            self.queries,
            self.feedback,
            self.answers,
            self.chunks,
            self.llm_calls,
            self.events,
        ]
    }

    /// Each table with its value, in the order of [`Table::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Table, &T)> {
        Table::ALL.into_iter().map(|table| (table, &self[table]))
    }
}

impl<T> IntoIterator for PerTable<T> {
    type Item = (Table, T);
    type IntoIter = std::iter::Zip<std::array::IntoIter<Table, 6>, std::array::IntoIter<T, 6>>;

    fn into_iter(self) -> Self::IntoIter {
        Table::ALL.into_iter().zip(self.into_values())
    }
}

impl<T> Index<Table> for PerTable<T> {
    type Output = T;

    fn index(&self, table: Table) -> &T {
        match table {
            Table::Queries => &self.queries,
            Table::Feedback => &self.feedback,
            Table::Answers => &self.answers,
            Table::Chunks => &self.chunks,
            Table::LlmCalls => &self.llm_calls,
            Table::Events => &self.events,
        }
    }
}

impl<T> IndexMut<Table> for PerTable<T> {
    fn index_mut(&mut self, table: Table) -> &mut T {
        match table {
            Table::Queries => &mut self.queries,
            Table::Feedback => &mut self.feedback,
            Table::Answers => &mut self.answers,
            Table::Chunks => &mut self.chunks,
            Table::LlmCalls => &mut self.llm_calls,
            Table::Events => &mut self.events,
        }
    }
}

/// What a column holds, as far as it decides how it is best stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnRole {
    /// An identifier that readers look up: gets a bloom filter.
    Id,
    /// Long text that repeats from row to row: gets large pages and a large dictionary.
    LongText,
    /// Anything else.
    Plain,
}

/// A table's Arrow schema, with each column's role beside it.
#[derive(Debug, Clone)]
pub struct TableSchema {
    /// The table.
    pub table: Table,
    /// Its columns.
    pub arrow: SchemaRef,
    /// What each column holds, in the order of `arrow`'s fields.
    pub roles: Vec<ColumnRole>,
}
