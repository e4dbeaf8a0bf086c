//! Records to rows and back.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;

use answerlake_model::{AppId, Grain, PartitionKey, PerTable, Table};
use answerlake_transform::{
    AppAssignment, DecodeConfig, DecodedBlock, Decoder, Hash, PromptLayout, RestoreError,
    RestoredRecord, Restorer, content_digest,
};
use arrow::array::{AsArray, RecordBatch};

use crate::json::{Json, Value};

/// What is to come of some records.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The rows of each partition.
    pub(crate) partitions: BTreeMap<PartitionKey, PerTable<Vec<RecordBatch>>>,
    /// The texts of the records that these are made of, and their hashes.
    pub(crate) records: BTreeMap<PartitionKey, Vec<(String, Hash)>>,
    /// How many could not be loaded.
    pub(crate) dead_letters: usize,
}

pub(crate) fn config(prompt: PromptLayout) -> DecodeConfig {
    DecodeConfig {
        grain: Grain::Hour,
        prompt,
        ..DecodeConfig::new(AppAssignment::Fixed(AppId::try_new("st-1").unwrap()))
    }
}

/// Decodes a fragment of these records; of several with one identity only the first, as a partition holds only one.
pub(crate) fn load(records: &[Json], prompt: PromptLayout) -> Loaded {
    let mut records = records.to_vec();
    loop {
        let texts: Vec<String> = records.iter().map(ToString::to_string).collect();
        let fragment = format!("[{}]", texts.join(","));
        let decoder = Decoder::new(config(prompt));
        let blocks: Vec<DecodedBlock> = decoder
            .blocks(fragment.as_bytes())
            .map(|block| decoder.decode(block.unwrap(), 1))
            .collect();
        let mut seen = HashSet::new();
        let all = blocks.iter().flat_map(|block| &block.partitions);
        let all = all.flat_map(|rows| rows.records.iter().map(|record| (&rows.key, record)));
        let twin = all
            .map(|(key, record)| (record.record, seen.insert((key.clone(), record.identity))))
            .find(|(_, is_new)| !is_new);
        let Some((number, _)) = twin else {
            return Loaded::new(blocks);
        };
        records.remove(number as usize - 1);
    }
}

impl Loaded {
    fn new(blocks: Vec<DecodedBlock>) -> Self {
        let mut loaded = Self::default();
        for block in blocks {
            loaded.dead_letters += block.dead_letters.len();
            for rows in block.partitions {
                let texts = loaded.records.entry(rows.key.clone()).or_default();
                for record in rows.records {
                    let text = std::str::from_utf8(&block.bytes[record.range]).unwrap();
                    texts.push((text.to_owned(), record.hash));
                }
                let batches = loaded.partitions.entry(rows.key).or_default();
                for (table, batch) in rows.batches {
                    batches[table].extend(batch);
                }
            }
        }
        loaded
    }

    /// Restores all, with `cut` between batches and what is read of them, and compares.
    pub(crate) fn check(
        &self,
        mut cut: impl FnMut(Vec<RecordBatch>) -> Vec<RecordBatch>,
    ) -> Result<usize, String> {
        let mut count = 0;
        for (key, batches) in &self.partitions {
            let batches = PerTable::from_fn(|table| cut(batches[table].clone()));
            let restored =
                restore(batches).map_err(|error| format!("{error}: {:#?}", self.records[key]))?;
            let by_value = |texts: Vec<&String>| -> BTreeMap<Value, (usize, String)> {
                let mut values = BTreeMap::new();
                for text in texts {
                    let value = Json::parse(text).unwrap().value();
                    values.entry(value).or_insert((0, text.clone())).0 += 1;
                }
                values
            };
            let expected = &self.records[key];
            let wanted = by_value(expected.iter().map(|(text, _)| text).collect());
            let got = by_value(restored.iter().map(|record| &record.json).collect());
            for (value, (count, text)) in &wanted {
                if got.get(value).map(|(count, _)| count) != Some(count) {
                    let others = got.iter().filter(|(value, _)| !wanted.contains_key(*value));
                    let others: Vec<&String> = others.map(|(_, (_, text))| text).collect();
                    return Err(format!("expected {text}\ngot {others:#?}"));
                }
            }
            if wanted.len() != got.len() {
                return Err(format!("expected {wanted:#?}\ngot {got:#?}"));
            }
            let expected = content_digest(expected.iter().map(|(_, hash)| *hash));
            let got = content_digest(restored.iter().map(|record| record.hash));
            if expected != got {
                return Err(format!("equal values of unequal digest: {restored:#?}"));
            }
            count += restored.len();
        }
        Ok(count)
    }

    /// Whatever stands in `extra`, of all rows.
    pub(crate) fn extras(&self) -> Vec<String> {
        let mut extras = Vec::new();
        for batches in self.partitions.values() {
            for batch in batches.iter().flat_map(|(_, batches)| batches) {
                if let Some(extra) = batch.column_by_name("extra") {
                    let found = extra.as_string::<i32>().iter().flatten();
                    extras.extend(found.map(str::to_owned));
                }
            }
        }
        extras
    }
}

/// All records, or the first error.
pub(crate) fn restore(
    batches: PerTable<Vec<RecordBatch>>,
) -> Result<Vec<RestoredRecord>, RestoreError> {
    let mut batches = batches.into_values().map(Some);
    let sources = PerTable::from_fn(|table| {
        let place = Table::ALL.iter().position(|found| *found == table).unwrap();
        let batches = batches[place].take().unwrap();
        batches.into_iter().map(Ok::<_, Infallible>)
    });
    Restorer::new(sources).collect()
}
