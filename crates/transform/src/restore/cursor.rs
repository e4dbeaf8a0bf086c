//! The rows of one table, one at a time, across its batches.

use std::error::Error;

use answerlake_model::Table;
use arrow::array::{
    Array, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use super::draft::Draft;
use crate::error::RestoreError;
use crate::extra::{Kept, json_string};
use crate::record::Layout;
use crate::row::{Step, print_time, steps};
use crate::schema::{Column, ColumnKind, Derived, PromptLayout, columns};

/// Goes over a table's rows.
#[derive(Debug)]
pub(crate) struct Cursor<S> {
    table: Table,
    steps: Vec<Step>,
    source: S,
    /// The batch in hand.
    batch: Vec<ColumnReader>,
    batch_rows: usize,
    at: usize,
    /// Rows of the batches before.
    rows_before: u64,
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'c> {
    table: Table,
    /// Its place in the table, from 1.
    number: u64,
    steps: &'c [Step],
    columns: &'c [ColumnReader],
    at: usize,
}

/// One column of a batch.
#[derive(Debug)]
enum ColumnReader {
    Text(StringArray),
    Json(StringArray),
    Bool(BooleanArray),
    Int32(Int32Array),
    Int64(Int64Array),
    Int64InText(Int64Array),
    Float64(Float64Array),
    Time(TimestampMicrosecondArray),
    TextList(ListArray),
    Int32List(ListArray),
}

impl<S, E> Cursor<S>
where
    S: Iterator<Item = Result<RecordBatch, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    /// `layout` is of the object that a row is made of.
    pub(crate) fn new(table: Table, layout: &'static Layout, source: S) -> Self {
        Self {
            table,
            // The steps are the same for either layout of prompts; only a column's type differs.
            steps: steps(table, PromptLayout::Parts, layout),
            source,
            batch: Vec::new(),
            batch_rows: 0,
            at: 0,
            rows_before: 0,
        }
    }

    /// The next row, which stays the next one.
    pub(crate) fn peek(&mut self) -> Result<Option<Row<'_>>, RestoreError> {
        while self.at == self.batch_rows {
            let Some(batch) = self.source.next() else {
                return Ok(None);
            };
            let batch = batch.map_err(|source| RestoreError::Read {
                table: self.table,
                source: source.into(),
            })?;
            self.rows_before += self.batch_rows as u64;
            self.batch = read_batch(self.table, &batch)?;
            self.batch_rows = batch.num_rows();
            self.at = 0;
        }
        Ok(Some(Row {
            table: self.table,
            number: self.rows_before + self.at as u64 + 1,
            steps: &self.steps,
            columns: &self.batch,
            at: self.at,
        }))
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    /// Goes on to the row after the one that [`Cursor::peek`] gave.
    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }
}

impl<'c> Row<'c> {
    /// Puts each column that holds a member of the object into its slot.
    pub(crate) fn fill(&self, draft: &mut Draft) -> Result<(), RestoreError> {
        for (step, column) in self.steps.iter().zip(self.columns) {
            if let Step::Member { slot, .. } = *step {
                draft.set(slot, column.json(self.at).map_err(|what| self.fault(what))?);
            }
        }
        Ok(())
    }

    /// A worked-out column as JSON.
    pub(crate) fn json(&self, derived: Derived) -> Result<Option<String>, RestoreError> {
        let json = self.column(derived).json(self.at);
        json.map_err(|what| self.fault(what))
    }

    /// A worked-out column of text.
    pub(crate) fn text(&self, derived: Derived) -> Option<&'c str> {
        match self.column(derived) {
            ColumnReader::Text(array) | ColumnReader::Json(array) => {
                array.is_valid(self.at).then(|| array.value(self.at))
            }
            other => unreachable!("{derived:?} is read as text, and is {other:?}"),
        }
    }

    /// The prompt, its parts joined.
    pub(crate) fn prompt(&self) -> Result<Option<String>, RestoreError> {
        match self.column(Derived::Prompt) {
            ColumnReader::TextList(array) => {
                let parts = texts(array, self.at).map_err(|what| self.fault(what))?;
                Ok(parts.map(|parts| parts.concat()))
            }
            _ => Ok(self.text(Derived::Prompt).map(str::to_owned)),
        }
    }

    /// A list of positions.
    pub(crate) fn positions(&self, derived: Derived) -> Result<Option<Vec<i32>>, RestoreError> {
        let ColumnReader::Int32List(array) = self.column(derived) else {
            unreachable!("{derived:?} is read as a list of positions")
        };
        let positions = array.is_valid(self.at).then(|| array.value(self.at));
        let Some(positions) = positions else {
            return Ok(None);
        };
        if positions.null_count() > 0 {
            return Err(self.fault("expected no null in a list".to_owned()));
        }
        Ok(Some(
            positions.as_primitive::<Int32Type>().values().to_vec(),
        ))
    }

    /// A count, or a place in an array, which is never null.
    pub(crate) fn count(&self, derived: Derived) -> Result<usize, RestoreError> {
        let ColumnReader::Int32(array) = self.column(derived) else {
            unreachable!("{derived:?} is read as a count")
        };
        let count = array.is_valid(self.at).then(|| array.value(self.at));
        count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| self.fault(format!("expected a count or place, got {count:?}")))
    }

    /// The place in an array, from 0.
    pub(crate) fn index(&self, derived: Derived) -> Result<usize, RestoreError> {
        let position = self.count(derived)?;
        position
            .checked_sub(1)
            .ok_or_else(|| self.fault("expected a place from 1, got 0".to_owned()))
    }

    /// The record's time in microseconds.
    pub(crate) fn created_at(&self) -> Result<i64, RestoreError> {
        match self.column(Derived::CreatedAt) {
            ColumnReader::Time(array) if array.is_valid(self.at) => Ok(array.value(self.at)),
            _ => Err(self.fault("expected a time in `created_at`, got null".to_owned())),
        }
    }

    /// What the columns do not hold.
    pub(crate) fn kept(&self) -> Result<Kept<'c>, RestoreError> {
        let Some(extra) = self.text(Derived::Extra) else {
            return Ok(Kept::default());
        };
        Kept::read(extra).map_err(|what| self.fault(format!("column `extra`: {what}")))
    }

    /// What is wrong with this row.
    pub(crate) fn fault(&self, what: String) -> RestoreError {
        RestoreError::Row {
            table: self.table,
            row: self.number,
            query: self.query().to_owned(),
            what,
        }
    }

    /// That this row belongs to nothing.
    pub(crate) fn orphan(&self) -> RestoreError {
        RestoreError::Orphan {
            table: self.table,
            row: self.number,
            query: self.query().to_owned(),
        }
    }

    /// What the row is called by in errors.
    pub(crate) fn query(&self) -> &'c str {
        self.text(Derived::QueryId)
            .or_else(|| self.text(Derived::RecordId))
            .unwrap_or_default()
    }

    fn column(&self, derived: Derived) -> &'c ColumnReader {
        let mut columns = self.steps.iter().zip(self.columns);
        columns
            .find_map(|(step, column)| {
                matches!(step, Step::Derived(found) if *found == derived).then_some(column)
            })
            .unwrap_or_else(|| unreachable!("{derived:?} is no column of `{}`", self.table))
    }
}

/// The columns of a batch that the table has; others are passed over.
fn read_batch(table: Table, batch: &RecordBatch) -> Result<Vec<ColumnReader>, RestoreError> {
    let prompt = match batch.schema_ref().column_with_name("prompt_text") {
        Some(_) => PromptLayout::Text,
        None => PromptLayout::Parts,
    };
    columns(table, prompt)
        .iter()
        .map(|column| ColumnReader::new(table, column, batch))
        .collect()
}

impl ColumnReader {
    fn new(table: Table, column: &Column, batch: &RecordBatch) -> Result<Self, RestoreError> {
        // Any engine may have read the list, and calls what it holds nullable.
        let wanted = match column.kind {
            ColumnKind::TextList => list_of(DataType::Utf8),
            ColumnKind::Int32List => list_of(DataType::Int32),
            kind => kind.arrow(),
        };
        let unlike = |found: String| RestoreError::Column {
            table,
            column: column.name,
            expected: column.kind.name(),
            found,
        };
        let array = batch
            .column_by_name(column.name)
            .ok_or_else(|| unlike("no such column".to_owned()))?;
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let array = if *array.data_type() == wanted {
            array.clone()
        } else {
            cast_with_options(array, &wanted, &strict)
                .map_err(|_| unlike(array.data_type().to_string()))?
        };
        Ok(match column.kind {
            ColumnKind::Text => Self::Text(array.as_string().clone()),
            ColumnKind::Json => Self::Json(array.as_string().clone()),
            ColumnKind::Bool => Self::Bool(array.as_boolean().clone()),
            ColumnKind::Int32 => Self::Int32(array.as_primitive::<Int32Type>().clone()),
            ColumnKind::Int64 => Self::Int64(array.as_primitive::<Int64Type>().clone()),
            ColumnKind::Int64InText => Self::Int64InText(array.as_primitive::<Int64Type>().clone()),
            ColumnKind::Float64 => Self::Float64(array.as_primitive::<Float64Type>().clone()),
            ColumnKind::Time => {
                Self::Time(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            ColumnKind::TextList => Self::TextList(array.as_list().clone()),
            ColumnKind::Int32List => Self::Int32List(array.as_list().clone()),
        })
    }

    /// The value in a row as JSON; `None` when it is null. Fails with what is wrong with it.
    fn json(&self, at: usize) -> Result<Option<String>, String> {
        if self.array().is_null(at) {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Text(array) => json_string(array.value(at)),
            Self::Json(array) => array.value(at).to_owned(),
            Self::Bool(array) => array.value(at).to_string(),
            Self::Int32(array) => array.value(at).to_string(),
            Self::Int64(array) => array.value(at).to_string(),
            Self::Int64InText(array) => format!("\"{}\"", array.value(at)),
            Self::Float64(array) => match array.value(at) {
                number if number.is_finite() => json_number(number),
                other => return Err(format!("expected a number that JSON has, got {other}")),
            },
            Self::Time(array) => json_time(array.value(at)),
            Self::TextList(array) => {
                let texts = texts(array, at)?.unwrap_or_default();
                let texts: Vec<String> = texts.into_iter().map(json_string).collect();
                format!("[{}]", texts.join(","))
            }
            Self::Int32List(_) => unreachable!("positions are not read as JSON"),
        }))
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Text(array) | Self::Json(array) => array,
            Self::Bool(array) => array,
            Self::Int32(array) => array,
            Self::Int64(array) | Self::Int64InText(array) => array,
            Self::Float64(array) => array,
            Self::Time(array) => array,
            Self::TextList(array) | Self::Int32List(array) => array,
        }
    }
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Field::new("element", element, true).into())
}

/// The texts of a list; `None` when it is null.
fn texts(array: &ListArray, at: usize) -> Result<Option<Vec<&str>>, String> {
    if array.is_null(at) {
        return Ok(None);
    }
    let offsets = array.value_offsets();
    let (start, end) = (offsets[at] as usize, offsets[at + 1] as usize);
    let values: &StringArray = array.values().as_string();
    (start..end)
        .map(|index| {
            let text = values.is_valid(index).then(|| values.value(index));
            text.ok_or_else(|| "expected no null in a list".to_owned())
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The shortest number that reads back the same; whole ones as integers, as JavaScript writes them.
fn json_number(number: f64) -> String {
    let mut json = serde_json::to_string(&number).expect("a finite number is always JSON");
    if json.ends_with(".0") {
        json.truncate(json.len() - 2);
    }
    json
}

/// A time as the vendor writes it, in quotes.
pub(crate) fn json_time(micros: i64) -> String {
    format!("\"{}\"", print_time(micros))
}
