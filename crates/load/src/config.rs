//! How data files are cut and encoded.
//!
//! Every cut depends on the rows and on these settings alone, never on the memory or the threads at hand, so that
//! the same rows give the same bytes anywhere.

use crate::error::LoadError;

/// The size at which a file is cut whatever the settings say, in bytes: with its indexes and footer, and a last row
/// of 64 MiB, it stays below the 1 GiB that a server-side copy and most loaders take without complaint.
pub(crate) const MAX_FILE_BYTES: u64 = 896 << 20;

/// The codec of every column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// ZSTD at a level from 1 to 22; 3 by default.
    Zstd(i32),
    /// Snappy, for readers that do not know ZSTD (Redshift lists none).
    Snappy,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(3)
    }
}

/// Settings of the writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterConfig {
    /// The codec. Default: ZSTD, level 3.
    pub compression: Compression,
    /// Rows after which a row group ends. Default: 1,000,000, the most that DuckDB and Trino read well.
    pub row_group_rows: usize,
    /// Logical bytes (values as they are, before any encoding) after which a row group ends, at the row that
    /// reaches them. Default: 256 MiB.
    pub row_group_bytes: usize,
    /// Encoded bytes from which a file ends with its row group. Default: 256 MiB; at most 896 MiB, where a file
    /// ends in any case.
    pub target_file_bytes: u64,
    /// Bytes of a data page of long text. Default: 8 MiB: pages are compressed one by one, and a page of the usual
    /// 1 MiB does not see what the text repeats; Teradata reads none above 16 MB.
    pub long_text_page_bytes: usize,
    /// Bytes of distinct long text up to which a column of a row group is dictionary-encoded. Default: 64 MiB.
    pub long_text_dictionary_bytes: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            row_group_rows: 1_000_000,
            row_group_bytes: 256 << 20,
            target_file_bytes: 256 << 20,
            long_text_page_bytes: 8 << 20,
            long_text_dictionary_bytes: 64 << 20,
        }
    }
}

impl WriterConfig {
    pub(crate) fn validate(&self) -> Result<(), LoadError> {
        let refuse = |setting, expected: &str, got: String| {
            Err(LoadError::InvalidConfig {
                setting,
                expected: expected.to_owned(),
                got,
            })
        };
        if let Compression::Zstd(level) = self.compression
            && !(1..=22).contains(&level)
        {
            return refuse("compression_level", "1 to 22", level.to_string());
        }
        for (setting, value) in [
            ("row_group_rows", self.row_group_rows),
            ("row_group_bytes", self.row_group_bytes),
            ("long_text_page_bytes", self.long_text_page_bytes),
            (
                "long_text_dictionary_bytes",
                self.long_text_dictionary_bytes,
            ),
        ] {
            if value == 0 {
                return refuse(setting, "at least 1", value.to_string());
            }
        }
        if !(1..=MAX_FILE_BYTES).contains(&self.target_file_bytes) {
            return refuse(
                "target_file_bytes",
                "1 to 939524096",
                self.target_file_bytes.to_string(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_named() {
        let error = |config: WriterConfig| config.validate().unwrap_err().to_string();
        assert_eq!(
            error(WriterConfig {
                compression: Compression::Zstd(23),
                ..WriterConfig::default()
            }),
            "setting `compression_level`: expected 1 to 22, got 23"
        );
        assert_eq!(
            error(WriterConfig {
                target_file_bytes: 1 << 30,
                ..WriterConfig::default()
            }),
            "setting `target_file_bytes`: expected 1 to 939524096, got 1073741824"
        );
        WriterConfig::default().validate().unwrap();
    }
}
