//! DuckDB, told what to run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::{python, repository};

/// Runs SQL files on a database, `:memory:` or a file, then queries by name; gives the rows of each.
#[track_caller]
pub(crate) fn duckdb(
    database: &str,
    files: &[&str],
    queries: &[(&str, String)],
) -> Map<String, Value> {
    let queries: Map<String, Value> = queries
        .iter()
        .map(|(name, sql)| ((*name).to_owned(), json!(sql)))
        .collect();
    let mut child = Command::new(python())
        .arg(repository("tests/duckdb_sql.py"))
        .arg(Path::new(database))
        .args(files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(Value::Object(queries).to_string().as_bytes())
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`make test` prepares the Python this needs: {stderr}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
