//! What is made: for which engine, of which lake.

use answerlake_model::Grain;
use answerlake_transform::PromptLayout;

use crate::engine::Engine;
use crate::name::{SchemaName, TimeZone};

/// For whom SQL is made.
#[derive(Debug, Clone)]
pub struct Target {
    /// The engine.
    pub engine: Engine,
    /// How the lake's partitions are cut.
    pub grain: Grain,
    /// How it stores prompts.
    pub prompt: PromptLayout,
    /// Where tables and views are made; absent for wherever the session is.
    pub schema: Option<SchemaName>,
    /// Whose days count in views; absent for UTC.
    pub time_zone: Option<TimeZone>,
}

impl Target {
    /// A table or view by its full name.
    pub fn full_name(&self, name: &str) -> String {
        let Some(schema) = &self.schema else {
            return name.to_owned();
        };
        let full = format!("{schema}.{name}");
        // Only BigQuery takes a dash as it is, and only in a project.
        let quote = match self.engine {
            _ if !full.contains('-') => return full,
            Engine::BigQuery => return format!("`{full}`"),
            Engine::Spark => "`",
            Engine::DuckDb | Engine::Snowflake | Engine::Athena => "\"",
        };
        let parts = full.split('.').map(|part| format!("{quote}{part}{quote}"));
        parts.collect::<Vec<_>>().join(".")
    }

    /// The day of a row of any table.
    pub(crate) fn day(&self) -> String {
        match &self.time_zone {
            Some(zone) => self.engine.local_date("created_at", &zone.to_string()),
            None => "dt".to_owned(),
        }
    }
}
