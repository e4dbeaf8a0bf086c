//! What engines are told to read the lake: tables, views, and loads, as SQL.
//!
//! ```text
//! the one schema (transform)   -> columns, by engine                    table
//!   -> a relation, a table     -> CREATE …                              relation, ddl
//!   -> views, written once     -> expanded by engine                    views, template
//!   -> partitions that changed -> DELETE and load, one transaction each load
//! ```
//!
//! Text in, text out: nothing here looks at a lake, and nothing runs.

// The engines, and where their SQL differs.
pub mod engine;
// Names and zones, as they may stand in SQL.
pub mod name;
// What is made: for which engine, of which lake.
pub mod target;
// A table's columns and types.
mod table;
// Files as DuckDB reads them.
pub mod relation;
// Text with calls that each engine spells otherwise.
mod template;
// Views over the tables, each written once.
pub mod views;
// Statements that create all of it.
pub mod ddl;
// Statements that bring a partition into a warehouse.
pub mod load;

pub use ddl::{LakeTables, ddl};
pub use engine::Engine;
pub use load::{PartitionLoad, TableLoad, create_tables, load};
pub use name::{InvalidName, SchemaName, TimeZone};
pub use target::Target;
