//! Cuts the bytes of a fragment into blocks of whole records, without looking into them.
//!
//! Delimiting needs no parser: outside of strings, brackets nest, and an element ends at a comma or at the bracket that
//! closes the array. So a record that is no valid JSON is still delimited, its neighbours load, and a fragment of any
//! size passes through memory block by block. Nor is a record of any size held: of one over the limit no bytes are
//! kept, only where it stands.
//!
//! Accepted are the vendor's JSON array, lines of JSON objects, and an object that wraps the array (the vendor
//! documents the first alone; its sibling APIs answer in the other two).

use std::io::Read;
use std::ops::Range;

use crate::error::FragmentError;
use crate::utf8::Utf8Check;

/// How many bytes of records a block holds at least, unless it is the last.
///
/// Fixed, since the cuts show in the bytes of data files: large enough that a thread has work for some milliseconds,
/// small enough that a few blocks a thread stay far below `run.memory`.
pub const BLOCK_BYTES: usize = 4 * 1024 * 1024;

/// How many records end a block, however small they are.
///
/// A record that becomes a dead letter costs some 200 bytes beside its own, so that 4 MiB of `0,0,0,…` would cost
/// 400 MiB. Records of an export are 300 bytes and more, 14,000 a block, and their blocks are never cut by this.
const BLOCK_RECORDS: usize = 64 * 1024;

/// Some whole records of a fragment, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordBlock {
    /// Bytes that the records lie in.
    pub bytes: Vec<u8>,
    /// Where each record stands in `bytes`.
    pub records: Vec<Range<usize>>,
    /// How many records of the fragment came before.
    pub records_before: u64,
    /// The record after these, if it is larger than the limit.
    pub oversized: Option<OversizedRecord>,
}

impl RecordBlock {
    /// How many records it stands for, the oversized one included.
    pub fn record_count(&self) -> u64 {
        self.records.len() as u64 + u64::from(self.oversized.is_some())
    }
}

/// A record larger than the limit; its bytes are in the fragment alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OversizedRecord {
    /// How many bytes of the fragment, decompressed, come before it.
    pub at: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is UTF-8.
    pub is_utf8: bool,
}

/// Iterates over the blocks of one fragment; after an error there are no more.
#[derive(Debug)]
pub struct BlockReader<R> {
    source: R,
    block_bytes: usize,
    block_records: usize,
    max_record_bytes: usize,
    /// Whether messages quote what is no record.
    quotes: bool,
    buffer: Vec<u8>,
    /// Bytes of the fragment that came before `buffer`.
    bytes_before: u64,
    /// Bytes that stood in `buffer` between `records` and `at`, and were dropped.
    bytes_dropped: u64,
    /// How far `buffer` has been looked at.
    at: usize,
    state: State,
    form: Form,
    records: Vec<Range<usize>>,
    records_before: u64,
    /// The element in progress, once it is over the limit.
    dropping: Option<DroppedElement>,
    /// A record over the limit that comes after `records`, and ends the block.
    oversized: Option<OversizedRecord>,
}

/// What is known of an element whose bytes are not kept.
#[derive(Debug)]
struct DroppedElement {
    at: u64,
    bytes: u64,
    utf8: Utf8Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first bracket.
    Start,
    /// Before the first element of the array, which may have none.
    Opened,
    /// Before an element.
    Between,
    /// Inside the element of which what is kept starts at `start`.
    Inside {
        start: usize,
        depth: usize,
        in_string: bool,
    },
    /// After the array, in the rest of what wraps it.
    Closing { depth: usize, in_string: bool },
    /// After the end.
    Closed,
    /// All has been handed out.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Array,
    WrappedArray,
    Lines,
}

/// What a look at the buffer came to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A block is complete.
    Block,
    /// All has been looked at.
    ReadMore,
}

impl<R: Read> BlockReader<R> {
    /// Reads the fragment that `source` gives; records of more than `max_record_bytes` are not held in memory.
    pub fn new(source: R, max_record_bytes: usize) -> Self {
        Self {
            source,
            block_bytes: BLOCK_BYTES,
            block_records: BLOCK_RECORDS,
            max_record_bytes,
            quotes: true,
            buffer: Vec::new(),
            bytes_before: 0,
            bytes_dropped: 0,
            at: 0,
            state: State::Start,
            form: Form::Array,
            records: Vec::new(),
            records_before: 0,
            dropping: None,
            oversized: None,
        }
    }

    /// Has errors show nothing of the fragment but its first character: it may hold what must not be shown.
    pub fn without_quotes(self) -> Self {
        Self {
            quotes: false,
            ..self
        }
    }

    fn advance(&mut self) -> Result<Option<RecordBlock>, FragmentError> {
        while self.scan()? == Step::ReadMore {
            if !self.fill()? {
                return self.end();
            }
        }
        Ok(Some(self.take_block()))
    }

    /// Reads more; `false` at the end of the fragment.
    fn fill(&mut self) -> Result<bool, FragmentError> {
        // Somewhat more than a block at first, so that the record that completes it is mostly at hand; never less
        // than tells what the fragment is.
        const START_BYTES: usize = 512;
        let ahead = (self.block_bytes + self.block_bytes / 4).max(START_BYTES);
        if self.buffer.len() >= ahead {
            self.drop_filler();
        }
        let want = match self.state {
            State::Start => ahead,
            _ => ahead
                .checked_sub(self.buffer.len())
                .filter(|want| *want > 0)
                .unwrap_or(self.block_bytes),
        };
        self.buffer.reserve(want);
        let read = (&mut self.source)
            .take(want as u64)
            .read_to_end(&mut self.buffer);
        Ok(read.map_err(FragmentError::Read)? > 0)
    }

    fn scan(&mut self) -> Result<Step, FragmentError> {
        loop {
            match self.state {
                State::Start => {
                    if self.start()? == Step::ReadMore {
                        return Ok(Step::ReadMore);
                    }
                }
                State::Opened | State::Between => match self.peek() {
                    None => return Ok(Step::ReadMore),
                    Some(b']') if self.state == State::Opened => {
                        self.at += 1;
                        self.close();
                    }
                    Some(byte) if self.form == Form::Lines && byte != b'{' => {
                        return Err(self.trailing_data());
                    }
                    Some(_) => {
                        self.state = State::Inside {
                            start: self.at,
                            depth: 0,
                            in_string: false,
                        }
                    }
                },
                State::Inside {
                    start,
                    depth,
                    in_string,
                } => {
                    if !self.element(start, depth, in_string) {
                        return Ok(Step::ReadMore);
                    }
                    if self.is_block_complete() {
                        return Ok(Step::Block);
                    }
                }
                State::Closing { depth, in_string } => {
                    if self.wrapper_rest(depth, in_string)? == Step::ReadMore {
                        return Ok(Step::ReadMore);
                    }
                }
                State::Closed | State::Done => match self.peek() {
                    None => return Ok(Step::ReadMore),
                    Some(_) => return Err(self.trailing_data()),
                },
            }
        }
    }

    /// Goes on in what follows the array in the object that wraps it, up to that object's end.
    fn wrapper_rest(&mut self, depth: usize, in_string: bool) -> Result<Step, FragmentError> {
        let mut nesting = Nesting {
            at: self.at,
            depth,
            in_string,
        };
        let stopped = nesting.run(&self.buffer, |byte, depth| {
            depth == 0 && matches!(byte, b'}' | b'[')
        });
        self.at = nesting.at;
        self.state = State::Closing {
            depth: nesting.depth,
            in_string: nesting.in_string,
        };
        if !stopped {
            return Ok(Step::ReadMore);
        }
        if self.buffer[self.at] == b'}' {
            self.at += 1;
            self.state = State::Closed;
            return Ok(Step::Block);
        }
        match first_element(&self.buffer[self.at..]) {
            None if self.is_undecided() => Ok(Step::ReadMore),
            // A second list of objects: nobody can tell which of them the records are.
            None | Some(b'{') => Err(FragmentError::SecondArray {
                at: self.offset(self.at),
            }),
            Some(_) => {
                self.at += 1;
                self.state = State::Closing {
                    depth: 1,
                    in_string: false,
                };
                Ok(Step::Block)
            }
        }
    }

    /// Finds out what the fragment is.
    fn start(&mut self) -> Result<Step, FragmentError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        if self.at == 0 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.at = BYTE_ORDER_MARK.len();
        }
        match self.peek() {
            None => return Ok(Step::ReadMore),
            Some(b'[') => {
                self.at += 1;
                self.state = State::Opened;
            }
            Some(b'{') => match classify(&self.buffer[self.at..]) {
                None if self.is_undecided() => return Ok(Step::ReadMore),
                // What does not tell within a record's size what it is, is taken for a record that is too large.
                None | Some(Object::Record) => {
                    self.form = Form::Lines;
                    self.state = State::Between;
                }
                Some(Object::Wrapper { array_at }) => {
                    self.form = Form::WrappedArray;
                    self.at += array_at + 1;
                    self.state = State::Opened;
                }
                Some(Object::Neither) => return Err(self.not_an_export()),
            },
            Some(_) => return Err(self.not_an_export()),
        }
        Ok(Step::Block)
    }

    /// Goes on inside an element; `true` once it has ended.
    fn element(&mut self, start: usize, depth: usize, in_string: bool) -> bool {
        let mut nesting = Nesting {
            at: self.at,
            depth,
            in_string,
        };
        let lines = self.form == Form::Lines;
        let ended = nesting.run(&self.buffer, |byte, depth| match byte {
            b'}' => lines && depth == 1,
            b',' | b']' => !lines && depth == 0,
            _ => false,
        });
        self.at = nesting.at;
        if !ended {
            self.state = State::Inside {
                start,
                depth: nesting.depth,
                in_string: nesting.in_string,
            };
            if self.dropping.is_some() || self.at - start > self.max_record_bytes {
                self.drop_element(start, self.at);
            }
            return false;
        }
        let delimiter = self.buffer[self.at];
        let end = if lines { self.at + 1 } else { self.at };
        self.at += 1;
        if self.dropping.is_some() || end - start > self.max_record_bytes {
            self.drop_element(start, end);
            self.oversized = self.dropping.take().map(DroppedElement::finish);
        } else {
            self.records.push(start..end);
        }
        self.state = State::Between;
        if delimiter == b']' {
            self.close();
        }
        true
    }

    fn is_block_complete(&self) -> bool {
        let is_full = |last: &Range<usize>| last.end >= self.block_bytes;
        self.oversized.is_some()
            || self.records.len() >= self.block_records
            || self.records.last().is_some_and(is_full)
    }

    /// Drops the bytes from `start` to `end` of the element in progress.
    fn drop_element(&mut self, start: usize, end: usize) {
        let at = self.offset(start);
        let element = self.dropping.get_or_insert_with(|| DroppedElement {
            at,
            bytes: 0,
            utf8: Utf8Check::default(),
        });
        element.bytes += (end - start) as u64;
        element.utf8.add(&self.buffer[start..end]);
        self.drop_bytes(start, end);
        // What the element took until it was found too large.
        self.buffer.shrink_to(2 * self.block_bytes);
    }

    /// Drops what was looked at and is no part of a record: white space, or the rest of a wrapper.
    fn drop_filler(&mut self) {
        if !matches!(self.state, State::Inside { .. }) {
            self.drop_bytes(self.records.last().map_or(0, |last| last.end), self.at);
        }
    }

    /// Drops bytes that were looked at and belong to no delimited record; those after them move up.
    fn drop_bytes(&mut self, start: usize, end: usize) {
        self.buffer.drain(start..end);
        self.at -= end - start;
        self.bytes_dropped += (end - start) as u64;
    }

    /// Where in the fragment a byte stands that comes after the delimited records.
    fn offset(&self, at: usize) -> u64 {
        self.bytes_before + self.bytes_dropped + at as u64
    }

    /// Whether more bytes may tell what stands at the current one. It is asked no longer than for a record's size.
    fn is_undecided(&self) -> bool {
        self.buffer.len() - self.at <= self.max_record_bytes
    }

    fn close(&mut self) {
        self.state = match self.form {
            Form::WrappedArray => State::Closing {
                depth: 0,
                in_string: false,
            },
            Form::Array | Form::Lines => State::Closed,
        };
    }

    /// Hands out the records delimited so far.
    fn take_block(&mut self) -> RecordBlock {
        // The smaller part is copied: a block keeps no more memory than it needs.
        let bytes = if self.at < self.buffer.len() / 2 {
            self.buffer.drain(..self.at).collect()
        } else {
            let rest = self.buffer.split_off(self.at);
            std::mem::replace(&mut self.buffer, rest)
        };
        let records = std::mem::take(&mut self.records);
        let block = RecordBlock {
            records_before: self.records_before,
            bytes,
            records,
            oversized: self.oversized.take(),
        };
        self.bytes_before += block.bytes.len() as u64 + self.bytes_dropped;
        self.bytes_dropped = 0;
        self.records_before += block.record_count();
        self.at = 0;
        block
    }

    /// Decides, where the bytes end, whether that is the end.
    fn end(&mut self) -> Result<Option<RecordBlock>, FragmentError> {
        match (self.state, self.form) {
            (State::Closed, _) | (State::Between, Form::Lines) => {
                self.state = State::Done;
                Ok((!self.records.is_empty()).then(|| self.take_block()))
            }
            (State::Done, _) => Ok(None),
            (State::Start, _) => Err(self.not_an_export()),
            _ => Err(FragmentError::CutShort {
                records: self.records_before + self.records.len() as u64,
                bytes: self.offset(self.buffer.len()),
            }),
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self
            .buffer
            .get(self.at)
            .is_some_and(u8::is_ascii_whitespace)
        {
            self.at += 1;
        }
        self.buffer.get(self.at).copied()
    }

    fn not_an_export(&self) -> FragmentError {
        FragmentError::NotAnExport {
            found: self.preview(),
        }
    }

    fn trailing_data(&self) -> FragmentError {
        FragmentError::TrailingData {
            at: self.offset(self.at),
            found: self.preview(),
        }
    }

    /// How what is left begins, for a message.
    fn preview(&self) -> String {
        let rest = &self.buffer[self.at..];
        match rest.first() {
            Some(first) if !self.quotes => {
                let first = char::from(*first).escape_default();
                format!("{first}… (withheld by the policies of privacy)")
            }
            _ => preview(rest),
        }
    }
}

impl<R: Read> Iterator for BlockReader<R> {
    type Item = Result<RecordBlock, FragmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let step = self.advance();
        if step.is_err() {
            self.state = State::Done;
        }
        step.transpose()
    }
}

impl DroppedElement {
    fn finish(self) -> OversizedRecord {
        OversizedRecord {
            at: self.at,
            bytes: self.bytes,
            is_utf8: self.utf8.finish(),
        }
    }
}

/// A walk over JSON text that knows strings and brackets, and nothing else.
struct Nesting {
    at: usize,
    depth: usize,
    in_string: bool,
}

impl Nesting {
    /// Walks on to a byte outside of strings that `stops`, given the depth it stands at, and stays on it; `false`
    /// when the bytes end before.
    fn run(&mut self, bytes: &[u8], stops: impl Fn(u8, usize) -> bool) -> bool {
        while self.at < bytes.len() {
            if self.in_string {
                let Some(offset) = memchr::memchr2(b'"', b'\\', &bytes[self.at..]) else {
                    self.at = bytes.len();
                    return false;
                };
                self.at += offset;
                if bytes[self.at] == b'"' {
                    self.in_string = false;
                    self.at += 1;
                } else if self.at + 1 < bytes.len() {
                    self.at += 2;
                } else {
                    // What is escaped has not been read yet; the walk goes on from the backslash.
                    return false;
                }
                continue;
            }
            let byte = bytes[self.at];
            if stops(byte, self.depth) {
                return true;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        false
    }
}

/// What the object that a fragment begins with is.
enum Object {
    /// The first of several lines.
    Record,
    /// It wraps the array whose bracket stands at `array_at`.
    Wrapper { array_at: usize },
    /// An error, most likely.
    Neither,
}

/// Looks at the members of an object until one tells what it is; `None` when the bytes end before.
fn classify(bytes: &[u8]) -> Option<Object> {
    const RECORD_KEYS: [&[u8]; 6] = [
        b"_id",
        b"event",
        b"createdOn",
        b"searchRequestId",
        b"timeStampValue",
        b"answerDebug",
    ];
    const ERROR_KEYS: [&[u8]; 4] = [b"errors", b"error", b"analyticsError", b"errorMessage"];
    let white_space = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let mut at = 1;
    let mut empty_array = None;
    loop {
        at = white_space(at);
        if *bytes.get(at)? != b'"' {
            return Some(Object::Neither);
        }
        let mut end = Nesting {
            at: at + 1,
            depth: 0,
            in_string: true,
        };
        // The key ends where the walk meets the first byte outside of its quotes.
        if !end.run(bytes, |_, _| true) {
            return None;
        }
        let key = &bytes[at + 1..end.at - 1];
        if RECORD_KEYS.contains(&key) {
            return Some(Object::Record);
        }
        if ERROR_KEYS.contains(&key) {
            return Some(Object::Neither);
        }
        at = white_space(end.at);
        if *bytes.get(at)? != b':' {
            return Some(Object::Neither);
        }
        at = white_space(at + 1);
        if *bytes.get(at)? == b'[' {
            match first_element(&bytes[at..])? {
                b'{' => return Some(Object::Wrapper { array_at: at }),
                b']' => empty_array = empty_array.or(Some(at)),
                _ => {}
            }
        }
        let mut value = Nesting {
            at,
            depth: 0,
            in_string: false,
        };
        if !value.run(bytes, |byte, depth| {
            depth == 0 && matches!(byte, b',' | b'}')
        }) {
            return None;
        }
        if bytes[value.at] == b'}' {
            // An export of nothing, in an object.
            return Some(
                empty_array.map_or(Object::Neither, |array_at| Object::Wrapper { array_at }),
            );
        }
        at = value.at + 1;
    }
}

/// The first byte of an array's first element, or the bracket that closes it; `None` when the bytes end before.
fn first_element(array: &[u8]) -> Option<u8> {
    array[1..]
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

/// How bytes begin, for a message. What follows a `?` in a link is left out: it may be a signature.
fn preview(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    let shown = |word: &str| match word.split_once('?') {
        Some((target, _)) if target.contains("://") => format!("{target}?…"),
        _ => word.to_owned(),
    };
    let mut words = text
        .split_whitespace()
        .map(shown)
        .collect::<Vec<_>>()
        .join(" ");
    if words.chars().count() > 80 {
        words = words.chars().take(79).chain(['…']).collect();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `text` in blocks of at least `block_bytes`, from a source that gives a few bytes at a time.
    fn records(text: &str, block_bytes: usize) -> Result<Vec<String>, String> {
        let mut reader = BlockReader::new(text.as_bytes(), usize::MAX);
        reader.block_bytes = block_bytes;
        let mut records = Vec::new();
        for block in reader {
            let block = block.map_err(|error| error.to_string())?;
            assert_eq!(block.records_before as usize, records.len());
            records.extend(block.records.iter().map(|range| {
                String::from_utf8_lossy(&block.bytes[range.clone()])
                    .trim()
                    .to_owned()
            }));
        }
        Ok(records)
    }

    #[test]
    fn all_forms_give_the_same_records() {
        let expected = [r#"{"_id":"a]","x":["{",1]}"#, r#"{"_id":"b\"},","y":{}}"#];
        let [a, b] = expected;
        for text in [
            format!("[{a},{b}]"),
            format!("\u{FEFF} [\n {a} ,\n {b}\n]\n"),
            format!("{a}\n{b}\n"),
            format!("{a}\r\n{b}"),
            format!(
                "{{\"total\": 2, \"note\": \"[\", \"records\": [{a},{b}], \"more\": {{\"z\": \"}}\"}}}}\n"
            ),
        ] {
            for block_bytes in [1, 7, 1000] {
                assert_eq!(records(&text, block_bytes).unwrap(), expected, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_record_is_still_delimited() {
        // A bracket that is never closed takes its neighbours with it, and the fragment is fetched again.
        assert_eq!(
            records("[1, NaN, {\"a\":[}, 2]", 1).unwrap_err(),
            "the fragment is cut short: it ends after 2 whole records and 20 bytes, before its closing bracket"
        );
        assert_eq!(records("[{}},{\"b\":1]", 1), Err("the fragment is cut short: it ends after 1 whole records and 12 bytes, before its closing bracket".to_owned()));
        assert_eq!(
            records("[{}},NaN,,[1],]", 1).unwrap(),
            ["{}}", "NaN", "", "[1]", ""]
        );
        assert_eq!(records("[]", 1).unwrap(), [""; 0]);
        assert_eq!(records("{\"items\":[]}", 1).unwrap(), [""; 0]);
        assert_eq!(
            records(
                "{\"warnings\":[],\"items\":[{}],\"pages\":[1,[2]],\"notes\":[]}",
                1
            )
            .unwrap(),
            ["{}"]
        );
        assert_eq!(
            records("{\"selectedFacets\":[],\"_id\":\"a\"}", 1).unwrap(),
            ["{\"selectedFacets\":[],\"_id\":\"a\"}"]
        );
        assert_eq!(
            records("{\"page1\":[{}],\"page2\":[{}]}", 1).unwrap_err(),
            "the fragment is no export: expected one array of records in an object, got a second one at byte 22"
        );
    }

    /// All records of `text`, in order, whether they came in a block or are over the limit; and the largest buffer.
    fn bounded(text: &[u8], limit: usize, block_bytes: usize) -> (Vec<Vec<u8>>, usize) {
        let mut reader = BlockReader::new(text, limit);
        (reader.block_bytes, reader.block_records) = (block_bytes, 5);
        let (mut records, mut largest) = (Vec::new(), 0);
        while let Some(block) = reader.next() {
            let block = block.unwrap();
            largest = largest.max(block.bytes.len() + reader.buffer.len());
            assert_eq!(block.records_before as usize, records.len());
            assert!(block.records.len() <= 5);
            for range in block.records {
                assert!(range.len() <= limit);
                records.push(block.bytes[range].to_vec());
            }
            if let Some(OversizedRecord { at, bytes, is_utf8 }) = block.oversized {
                let record = &text[at as usize..(at + bytes) as usize];
                assert!(record.len() > limit);
                assert_eq!(is_utf8, std::str::from_utf8(record).is_ok());
                records.push(record.to_vec());
            }
        }
        (records, largest)
    }

    #[test]
    fn a_record_over_the_limit_is_told_by_its_place() {
        let long = format!("{{\"text\":\"{}\"}}", "\\\\\\\"],é".repeat(3_000));
        let broken = [&b"\"\xFF"[..], &b"x".repeat(20_000), b"\""].concat();
        let (small, array) = (b"{\"_id\":\"a\"}", "[1,".repeat(900) + &"]".repeat(900));
        let expected = [small, long.as_bytes(), &broken, small, array.as_bytes()];
        let fragment = [b"[", &expected.join(&b","[..])[..], b"]"].concat();
        for block_bytes in [1, 64, 600, 1 << 20] {
            let (records, largest) = bounded(&fragment, 100, block_bytes);
            assert_eq!(records, expected, "{block_bytes}");
            assert!(
                block_bytes > 1000 || largest < 3 * block_bytes + 2_000,
                "{largest}"
            );
        }
        let lines = [small, long.as_bytes(), small].join(&b"\n"[..]);
        for block_bytes in [1, 64, 1 << 20] {
            let (records, _) = bounded(&lines, 100, block_bytes);
            assert_eq!(records, [small, long.as_bytes(), small], "{block_bytes}");
        }
    }

    #[test]
    fn what_is_no_record_is_not_held_either() {
        let space = " ".repeat(100_000);
        for text in [
            format!("{space}[{space}{{}}{space}]{space}"),
            format!("{{\"items\":[{{}}{space}],\"rest\":\"{space}\"}}{space}"),
            format!("{{\"_id\":1}}{space}"),
        ] {
            let (records, largest) = bounded(text.as_bytes(), 1 << 20, 1_000);
            assert_eq!(records.len(), 1, "{records:?}");
            assert!(largest < 105_000, "{largest}");
            let mut reader = BlockReader::new(text.as_bytes(), 1 << 20);
            reader.block_bytes = 1_000;
            while reader.next().is_some() {}
            assert!(reader.buffer.capacity() < 300_000);
        }
        // It never says what it is: the first of several lines, then.
        let text = format!("{{\"a\":\"{space}\"}}\n{{\"_id\":1}}");
        let (records, largest) = bounded(text.as_bytes(), 1_000, 100);
        assert_eq!((records.len(), largest < 3_000), (2, true), "{largest}");
    }

    #[test]
    fn places_count_what_is_not_held() {
        let space = " ".repeat(3_000);
        let long = format!("\"{space}\"");
        let error = |text: &str| {
            let mut reader = BlockReader::new(text.as_bytes(), 100);
            reader.block_bytes = 64;
            let error = reader.find_map(Result::err).unwrap();
            assert!(reader.next().is_none());
            error
        };
        for before in [
            format!("{space}[1,{long},{space}{long}]{space}"),
            format!("{{\"items\":[{{}},{long}],\"rest\":{long}}}{space}"),
        ] {
            let error = error(&format!("{before}x"));
            let FragmentError::TrailingData { at, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(at, before.len() as u64);
        }
        let cut = format!("[1,{long},{long}");
        let error = error(&cut[..cut.len() - 10]);
        let FragmentError::CutShort { records, bytes } = error else {
            panic!("{error}");
        };
        assert_eq!((records, bytes), (2, cut.len() as u64 - 10));
    }

    #[test]
    fn a_block_holds_so_many_records_at_most() {
        let (records, _) = bounded(b"[0,0,0,0,0,0,,,,,,,0,0]", 100, 1 << 20);
        assert_eq!(records.len(), 14);
        let text = format!("[{}0]", "0,".repeat(2 * BLOCK_RECORDS));
        let blocks: Vec<_> = BlockReader::new(text.as_bytes(), 100)
            .map(|block| block.unwrap().records.len())
            .collect();
        assert_eq!(blocks, [BLOCK_RECORDS, BLOCK_RECORDS, 1]);
    }

    #[test]
    fn what_is_no_export_says_what_it_is() {
        let error = |text| records(text, 10).unwrap_err();
        let html = "<html>\n<body>Service unavailable: please try again in a few minutes, or ask your administrator</body>";
        assert_eq!(
            error(html),
            "the fragment is no export: expected a JSON array of records, got `<html> <body>Service unavailable: please try again in a few minutes, or ask you…`"
        );
        assert!(error("Redirecting to https://h/api?n=1&s=secret").contains("https://h/api?…`"));
        assert_eq!(
            error(""),
            "the fragment is no export: expected a JSON array of records, got `nothing`"
        );
        assert_eq!(
            error("{\"errors\":[{\"msg\":\"gone\"}]}"),
            "the fragment is no export: expected a JSON array of records, got `{\"errors\":[{\"msg\":\"gone\"}]}`"
        );
        assert_eq!(
            error("{}"),
            "the fragment is no export: expected a JSON array of records, got `{}`"
        );
        assert_eq!(
            error("[{\"a\":1},{\"a\""),
            "the fragment is cut short: it ends after 1 whole records and 13 bytes, before its closing bracket"
        );
        assert_eq!(
            error("[1] [2]"),
            "the fragment goes on after its closing bracket, at byte 4, with `[2]`"
        );
        assert_eq!(
            error("{\"_id\":1} x"),
            "the fragment goes on after its closing bracket, at byte 10, with `x`"
        );
    }

    #[test]
    fn quotes_can_be_left_out() {
        for text in ["{\"query\":\"hush\"}", "[{}] hush", "\u{ff}hush"] {
            let mut reader = BlockReader::new(text.as_bytes(), 100).without_quotes();
            let error = reader.find_map(Result::err).unwrap().to_string();
            assert!(!error.contains("ush"), "{error}");
            assert!(error.contains("… (withheld by"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_limit_changes_nothing_but_where_records_are(values in prop::collection::vec(any::<(String, u8)>(), 0..20), block_bytes in 1_usize..200, limit in 1_usize..80) {
            let values: Vec<_> = values.into_iter().map(|(text, number)| serde_json::json!({"text": text, "list": [number]})).collect();
            let text = serde_json::to_string(&values).unwrap();
            let expected: Vec<_> = values.iter().map(|value| value.to_string().into_bytes()).collect();
            prop_assert_eq!(bounded(text.as_bytes(), limit, block_bytes).0, expected);
        }

        #[test]
        fn records_come_out_as_they_went_in(values in prop::collection::vec(any::<(String, u8)>(), 0..20), block_bytes in 1_usize..200, pretty: bool) {
            let values: Vec<_> = values.into_iter().map(|(text, number)| serde_json::json!({"text": text, "list": [number, {"deep": text}]})).collect();
            let text = if pretty { serde_json::to_string_pretty(&values) } else { serde_json::to_string(&values) }.unwrap();
            let read: Vec<serde_json::Value> = records(&text, block_bytes).unwrap().iter().map(|record| serde_json::from_str(record).unwrap()).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn a_cut_is_always_noticed(values in prop::collection::vec(any::<String>(), 1..6), at in 0.0_f64..1.0) {
            let text = serde_json::to_string(&values.iter().map(|text| serde_json::json!({"t": text})).collect::<Vec<_>>()).unwrap();
            let mut end = (text.len() as f64 * at) as usize;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            prop_assert!(records(&text[..end], 16).is_err());
        }
    }
}
