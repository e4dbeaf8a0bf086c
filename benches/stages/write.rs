//! Record batches to Parquet files, sorted into their partitions.

use std::sync::Arc;
use std::time::Instant;

use answerlake_load::{PartitionedWriter, WriterConfig, WriterMemory};
use answerlake_transform::schema::table_schemas;
use answerlake_transform::{PromptLayout, SCHEMA_VERSION};
use tempfile::TempDir;

use crate::data::{Input, target};
use crate::decode::{decode, rows_of};
use crate::measure::{Measured, Sample};

pub(crate) fn measure(input: &Input) -> Measured {
    let blocks: Vec<_> = decode(&input.read()).collect();
    let schemas = Arc::new(table_schemas(PromptLayout::Parts));
    Measured::take(|| {
        let folder = TempDir::new_in(target()).unwrap();
        let began = Instant::now();
        let mut writer = PartitionedWriter::try_new(
            WriterConfig::default(),
            Arc::clone(&schemas),
            SCHEMA_VERSION,
            folder.path(),
            Arc::new(WriterMemory::new(u64::MAX)),
        )
        .unwrap();
        for rows in blocks.iter().flat_map(|block| &block.partitions) {
            writer.write(&rows.key, &rows.batches).unwrap();
        }
        writer.close().unwrap();
        Sample {
            time: began.elapsed(),
            rows: blocks.iter().map(rows_of).sum(),
            peak: None,
        }
    })
}
