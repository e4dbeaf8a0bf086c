//! Dead letters, taken up again: the records out of the lines that they were kept in, as one fragment.
//!
//! A line may be of any length, so nothing of it is held but what stands before the record.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Error, ErrorKind, Read, Write};
use std::path::Path;

use base64::engine::general_purpose::STANDARD;

use crate::bridge::open;

/// What every line begins with (`answerlake_transform::DeadLetter::line_start`).
const START: &[u8] = b"{\"reason\":\"";
/// What stands before a record that is kept as text, and before one that is not.
const RAW: &[u8] = b",\"raw\":\"";
const RAW_BASE64: &[u8] = b",\"raw_base64\":\"";
/// What stands there in place of a record that is not kept, up to its size.
const WITHHELD: &[u8] = b",\"withheld_bytes\"";
/// What stands before the mark of a masking.
const MASKING: &[u8] = b",\"masking\":\"";
/// Reason, message and place are shorter than this together.
const MAX_START_BYTES: usize = 64 << 10;

/// What was found in the letters of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenUp {
    /// The mark of the masking that all records have passed.
    pub(crate) masking: Option<String>,
    /// Letters without a record.
    pub(crate) withheld: u64,
}

/// Whether a file holds dead letters.
pub(crate) fn is_taken_up(path: &Path) -> io::Result<bool> {
    let mut start = Vec::with_capacity(START.len());
    open(path, None)?
        .take(START.len() as u64)
        .read_to_end(&mut start)?;
    Ok(start == START)
}

/// Writes the records of the letters in `path` to a new file as a JSON array.
pub(crate) fn write_records(path: &Path, to: &Path) -> io::Result<TakenUp> {
    let mut lines = BufReader::with_capacity(1 << 20, open(path, None)?);
    let mut out = BufWriter::new(File::create_new(to)?);
    out.write_all(b"[")?;
    let mut separator: &[u8] = b"";
    let mut withheld = 0;
    let mut masking: Option<Option<String>> = None;
    while !lines.fill_buf()?.is_empty() {
        let start = LineStart::read(&mut lines)?;
        if start.kept == WITHHELD {
            lines.skip_until(b'\n')?;
            withheld += 1;
            continue;
        }
        out.write_all(separator)?;
        write_record(start.kept, &mut lines, &mut out)?;
        separator = b",\n";
        masking = match masking {
            Some(others) if others != start.masking => Some(None),
            _ => Some(start.masking),
        };
    }
    out.write_all(b"]\n")?;
    out.flush()?;
    Ok(TakenUp {
        masking: masking.flatten(),
        withheld,
    })
}

/// Reads the line of a letter, and writes its record to `out`, if it has one.
pub(crate) fn read_record(lines: &mut impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let start = LineStart::read(lines)?;
    if start.kept == WITHHELD {
        return lines.skip_until(b'\n').map(drop);
    }
    write_record(start.kept, lines, out)
}

fn write_record(
    kept: &'static [u8],
    lines: &mut impl BufRead,
    out: &mut impl Write,
) -> io::Result<()> {
    if kept == RAW {
        write_unescaped(lines, out)?;
    } else {
        let mut encoded = UntilQuote(lines);
        io::copy(
            &mut base64::read::DecoderReader::new(&mut encoded, &STANDARD),
            out,
        )?;
        let mut quote = [0];
        lines.read_exact(&mut quote)?;
    }
    let mut end = [0; 2];
    lines.read_exact(&mut end)?;
    if end != *b"}\n" {
        return Err(malformed("a line goes on after its record"));
    }
    Ok(())
}

/// What a line says before its record.
struct LineStart {
    /// How the record is kept: [`RAW`], [`RAW_BASE64`] or [`WITHHELD`].
    kept: &'static [u8],
    /// The mark of the masking that it has passed.
    masking: Option<String>,
}

impl LineStart {
    /// Reads on to the first byte of the record.
    fn read(lines: &mut impl BufRead) -> io::Result<Self> {
        let mut start = Vec::new();
        let mut masking = None;
        while start.len() < MAX_START_BYTES {
            // Inside the strings before it, a quote is escaped: what is looked for stands nowhere else.
            let before = start.len();
            let is_mark = start.ends_with(MASKING);
            let read = lines
                .by_ref()
                .take(MAX_START_BYTES as u64)
                .read_until(b'"', &mut start)?;
            if read == 0 || start.contains(&b'\n') {
                break;
            }
            if is_mark {
                let mark = start[before..].strip_suffix(b"\"").unwrap_or_default();
                masking = Some(String::from_utf8_lossy(mark).into_owned());
            }
            for kept in [RAW, RAW_BASE64, WITHHELD] {
                if start.starts_with(START) && start.ends_with(kept) {
                    return Ok(Self { kept, masking });
                }
            }
        }
        Err(malformed("a line is no dead letter"))
    }
}

/// Writes what the rest of a JSON string says, and reads its closing quote.
fn write_unescaped(lines: &mut impl BufRead, out: &mut impl Write) -> io::Result<()> {
    loop {
        let buffer = lines.fill_buf()?;
        if buffer.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let plain = buffer
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'))
            .unwrap_or(buffer.len());
        out.write_all(&buffer[..plain])?;
        let stopped_at = buffer.get(plain).copied();
        lines.consume(plain + usize::from(stopped_at.is_some()));
        match stopped_at {
            Some(b'"') => return Ok(()),
            Some(_) => out.write_all(&[escaped(lines)?])?,
            None => {}
        }
    }
}

/// The byte that an escape stands for, after its backslash: no other characters are escaped in a letter.
fn escaped(lines: &mut impl BufRead) -> io::Result<u8> {
    let mut letter = [0];
    lines.read_exact(&mut letter)?;
    Ok(match letter[0] {
        byte @ (b'"' | b'\\' | b'/') => byte,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let mut digits = [0; 4];
            lines.read_exact(&mut digits)?;
            let code = std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .filter(u8::is_ascii);
            code.ok_or_else(|| malformed("a line has an escape that no dead letter has"))?
        }
        _ => return Err(malformed("a line has an escape that no dead letter has")),
    })
}

/// Reads up to a quote, and past it.
struct UntilQuote<'l, R>(&'l mut R);

impl<R: BufRead> Read for UntilQuote<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let buffer = self.0.fill_buf()?;
        let most = buffer.len().min(into.len());
        let end = buffer[..most].iter().position(|byte| *byte == b'"');
        let bytes = end.unwrap_or(most);
        into[..bytes].copy_from_slice(&buffer[..bytes]);
        // The quote itself is left for who asks next, to whom it means the end.
        self.0.consume(bytes);
        Ok(bytes)
    }
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use answerlake_transform::{
        DeadLetter, Raw, Reason, end_without_raw, write_masking, write_raw,
    };

    use super::*;

    fn line(raw: &[u8]) -> Vec<u8> {
        let mut line = start();
        write_raw(raw, std::str::from_utf8(raw).is_ok(), &mut line).unwrap();
        line
    }

    fn start() -> Vec<u8> {
        let letter = DeadLetter {
            partition: None,
            fragment: 1,
            record: 7,
            reason: Reason::InvalidJson {
                at: 5,
                expected: ",\"raw\":\"",
            },
            raw: Raw::Block(0..0),
        };
        letter.line_start(Some("fj-1"))
    }

    #[test]
    fn masking_is_known_where_all_records_have_passed_the_same() {
        let marked = |mark: &str| {
            let mut line = start();
            write_masking(mark, &mut line).unwrap();
            write_raw(&b"{}"[..], true, &mut line).unwrap();
            line
        };
        let mut withheld = start();
        write_masking("a", &mut withheld).unwrap();
        end_without_raw(7, &mut withheld).unwrap();
        let found = |lines: &[&[u8]]| {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            std::fs::write(&from, lines.concat()).unwrap();
            let found = write_records(&from, &to).unwrap();
            let records = std::fs::read_to_string(to).unwrap().matches("{}").count();
            (found.masking, found.withheld, records)
        };
        let (a, b, none) = (marked("a"), marked("b"), line(b"{}"));
        let mark = |text: &str| Some(text.to_owned());
        assert_eq!(found(&[&a, &withheld, &a]), (mark("a"), 1, 2));
        assert_eq!(found(&[&a, &b, &b]), (None, 0, 3));
        assert_eq!(found(&[&none, &a]), (None, 0, 2));
        assert_eq!(found(&[&none]), (None, 0, 1));
        assert_eq!(found(&[&withheld, &withheld]), (None, 2, 0));
    }

    fn taken_up(lines: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, zstd::encode_all(lines, 1).unwrap()).unwrap();
        assert!(is_taken_up(&from).unwrap());
        write_records(&from, &to)?;
        std::fs::read(to)
    }

    #[test]
    fn records_come_out_as_they_were_kept() {
        let large = format!("{{\"a\":\"{}\"}}", "\u{1}\\\"é\n".repeat(300_000));
        for records in [
            vec![&b"{\"a\":NaN}"[..]],
            vec![&b"{\"a\":\"\xFF\"}"[..], b"[1,\t\"\\u0041\"]", b"\xFE"],
            vec![large.as_bytes(), b"1"],
        ] {
            let lines: Vec<u8> = records.iter().flat_map(|record| line(record)).collect();
            let expected = [b"[", &records.join(&b",\n"[..])[..], b"]\n"].concat();
            assert!(taken_up(&lines).unwrap() == expected, "{records:?}");
        }
    }

    #[test]
    fn what_is_no_letter_is_said() {
        let whole = line(b"{\"a\":NaN}");
        for cut in [START.len(), 60, whole.len() - 3, whole.len() - 1] {
            assert!(taken_up(&whole[..cut]).is_err(), "{cut}");
        }
        let twice = [&whole[..whole.len() - 1], b"x\n"].concat();
        assert_eq!(
            taken_up(&twice).unwrap_err().to_string(),
            "a line goes on after its record"
        );
    }
}
