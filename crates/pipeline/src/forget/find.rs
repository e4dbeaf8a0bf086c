//! Which partitions may hold records that are forgotten: told by the columns of their ids alone, which are small.
//!
//! A partition that is passed over holds none. One that is not may hold none all the same: what drifted stands in
//! `extra`, where it is only seen that an id is mentioned.

use std::sync::Arc;

use answerlake_load::{Lake, LoadError, StoredColumns};
use answerlake_model::{PartitionKey, Table};
use answerlake_transform::{Forgotten, IdKind};
use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use tokio::runtime::Handle;

use crate::bridge::on_its_own_thread;
use crate::error::PipelineError;

/// How often a partition may be replaced while it is looked at.
const TRIES: u32 = 16;

/// The columns that hold ids, and whose.
const ID_COLUMNS: [(Table, &str, IdKind); 6] = [
    (Table::Queries, "user_id", IdKind::User),
    (Table::Queries, "account_id", IdKind::User),
    (Table::Queries, "query_id", IdKind::Query),
    (Table::Queries, "record_id", IdKind::Query),
    (Table::Feedback, "query_id", IdKind::Query),
    (Table::Feedback, "feedback_id", IdKind::Query),
];

/// What stands in `extra` where it may hold an id: the members' names, as pointers or in a text.
const MENTIONS: [&str; 4] = ["userId", "accountId", "searchRequestId", "_id"];

/// Whether the newest revision of a partition may hold such a record.
pub(crate) async fn may_hold(
    lake: &Lake,
    key: &PartitionKey,
    forgotten: &Arc<Forgotten>,
) -> Result<bool, PipelineError> {
    for _ in 0..TRIES {
        let Some(state) = lake.state(key).await? else {
            return Ok(false);
        };
        if !state.published {
            return Ok(true);
        }
        match any_row_may_be(lake, &state.manifest.files, forgotten).await {
            Err(PipelineError::Load(error)) if error.is_not_found() => {
                let newest = lake.state(key).await?.map(|state| state.revision);
                if newest == Some(state.revision) {
                    return Err(error.into());
                }
            }
            looked => return looked,
        }
    }
    Err(LoadError::Busy {
        partition: key.clone(),
        tries: TRIES,
    }
    .into())
}

async fn any_row_may_be(
    lake: &Lake,
    files: &[answerlake_load::DataFile],
    forgotten: &Arc<Forgotten>,
) -> Result<bool, PipelineError> {
    for file in files {
        if !matches!(file.table, Table::Queries | Table::Feedback | Table::Events) {
            continue;
        }
        let columns = lake.open_columns(file).await?;
        let (runtime, forgotten) = (Handle::current(), Arc::clone(forgotten));
        let looked = on_its_own_thread(move || look(&columns, &forgotten, &runtime));
        if looked.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn look(
    columns: &StoredColumns,
    forgotten: &Forgotten,
    runtime: &Handle,
) -> Result<bool, PipelineError> {
    let table = columns.file().table;
    let mut names: Vec<&str> = id_columns(table).map(|(name, _)| name).collect();
    names.push(if table == Table::Events {
        "record"
    } else {
        "extra"
    });
    for batch in columns.read(&names, runtime)? {
        if batch_may_hold(&batch?, table, forgotten) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn id_columns(table: Table) -> impl Iterator<Item = (&'static str, IdKind)> {
    let columns = ID_COLUMNS.into_iter();
    columns.filter_map(move |(of, name, kind)| (of == table).then_some((name, kind)))
}

fn batch_may_hold(batch: &RecordBatch, table: Table, forgotten: &Forgotten) -> bool {
    let has_id = id_columns(table).any(|(name, kind)| {
        texts(batch, name)
            .is_some_and(|ids| ids.iter().flatten().any(|id| forgotten.contains(kind, id)))
    });
    let has_mention = || {
        let extra = texts(batch, "extra");
        extra.is_some_and(|extra| {
            let mut extra = extra.iter().flatten();
            extra.any(|extra| MENTIONS.iter().any(|name| extra.contains(name)))
        })
    };
    let has_event = || {
        let records = texts(batch, "record");
        records.is_some_and(|records| {
            let mut records = records.iter().flatten();
            records.any(|record| forgotten.judge_bytes(record.as_bytes()).is_some())
        })
    };
    has_id || has_mention() || has_event()
}

fn texts<'b>(batch: &'b RecordBatch, name: &str) -> Option<&'b StringViewArray> {
    let column = batch.column_by_name(name)?;
    debug_assert!(
        column.as_string_view_opt().is_some(),
        "{name} is {}",
        column.data_type()
    );
    column.as_string_view_opt()
}
