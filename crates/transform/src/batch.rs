//! Row builders of all tables, finished as record batches.

use answerlake_model::{PerTable, TableSchema};
use arrow::array::{ArrayRef, RecordBatch};

use crate::column::ColumnBuilder;
use crate::schema::{PromptLayout, columns};

/// Collects the rows of one partition, all tables of it.
#[derive(Debug)]
pub(crate) struct RowBuilders {
    tables: PerTable<TableBuilder>,
}

/// Collects the rows of one table.
#[derive(Debug)]
pub(crate) struct TableBuilder {
    /// One a column, in the schema's order.
    pub(crate) columns: Vec<ColumnBuilder>,
    /// Rows whose columns have all been appended.
    pub(crate) rows: u32,
}

impl RowBuilders {
    pub(crate) fn new(prompt: PromptLayout) -> Self {
        let builder = |table| TableBuilder {
            columns: columns(table, prompt)
                .iter()
                .map(|column| ColumnBuilder::new(column.kind))
                .collect(),
            rows: 0,
        };
        Self {
            tables: PerTable::from_fn(builder),
        }
    }

    pub(crate) fn table(&mut self, table: answerlake_model::Table) -> &mut TableBuilder {
        &mut self.tables[table]
    }

    /// How many rows each table has.
    pub(crate) fn rows(&self) -> PerTable<u32> {
        PerTable::from_fn(|table| self.tables[table].rows)
    }

    /// The rows of each table that has any.
    pub(crate) fn finish(
        mut self,
        schemas: &PerTable<TableSchema>,
    ) -> PerTable<Option<RecordBatch>> {
        PerTable::from_fn(|table| {
            let builder = &mut self.tables[table];
            if builder.rows == 0 {
                return None;
            }
            let arrays: Vec<ArrayRef> = builder
                .columns
                .iter_mut()
                .map(ColumnBuilder::finish)
                .collect();
            let batch = RecordBatch::try_new(schemas[table].arrow.clone(), arrays);
            Some(batch.expect("builders and schema are made from the same list of columns"))
        })
    }
}
