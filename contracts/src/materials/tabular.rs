//! Tables as comma- or tab-separated text, and the encodings that tools on Windows write text in.

use std::borrow::Cow;

use super::MaterialError;
use crate::{digest::shorten, limits};

/// The text: UTF-8, or UTF-16 when it begins with a byte-order mark that says so. `None` when it is neither.
pub(super) fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let wide = |rest: &[u8], read: fn([u8; 2]) -> u16| {
        let units = rest.as_chunks::<2>();
        if !units.1.is_empty() {
            return None;
        }
        char::decode_utf16(units.0.iter().map(|pair| read(*pair))).collect::<Result<String, _>>().ok()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes).map(Cow::Owned),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    }
}

/// A table: its columns, and its rows, each as long as the header.
pub(super) struct Table {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Reads a table whose first row names the columns. Rows may be shorter than the header, and what they have beyond it
/// is left out.
///
/// # Errors
/// When it is not text, has no header or two columns of one name, or is larger than [`limits::TABLE_COLUMNS`] and
/// [`limits::TEXT_FIELDS`] allow.
pub(super) fn read(bytes: &[u8]) -> Result<Table, MaterialError> {
    let text = decode(bytes).ok_or_else(|| MaterialError::malformed("it is not text in UTF-8 or UTF-16"))?;
    let mut records = Records { rest: &text, separator: separator(&text), line: 1 };
    let header = records.next().transpose()?.ok_or_else(|| MaterialError::malformed("it has no header row"))?;
    if header.len() > limits::TABLE_COLUMNS {
        let message = format!("its header has more than {} columns", limits::TABLE_COLUMNS);
        return Err(MaterialError::too_large(message));
    }
    let mut sorted: Vec<&String> = header.iter().collect();
    sorted.sort();
    if let Some([twice, _]) = sorted.windows(2).find(|pair| matches!(pair, [one, other] if one == other)) {
        return Err(MaterialError::malformed(format!("its header has the column `{}` twice", shorten(twice))));
    }
    let mut rows = Vec::new();
    for record in records {
        let mut row = record?;
        if (rows.len() + 1) * header.len() > limits::TEXT_FIELDS {
            return Err(MaterialError::too_large(format!("it has more than {} fields", limits::TEXT_FIELDS)));
        }
        row.resize(header.len(), String::new());
        rows.push(row);
    }
    Ok(Table { header, rows })
}

/// What stands between the columns of the first line, outside of quotes.
fn separator(text: &str) -> char {
    let line = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let (mut commas, mut tabs, mut quoted) = (0_usize, 0_usize, false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => commas += 1,
            '\t' if !quoted => tabs += 1,
            _ => {}
        }
    }
    if tabs > commas { '\t' } else { ',' }
}

/// The records of RFC 4180, but for quotes in the middle of a field, which tools write without doubling them: they are
/// themselves. Empty lines are no records.
struct Records<'t> {
    rest: &'t str,
    separator: char,
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<String>, MaterialError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let after = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
            let Some(after) = after else { break };
            self.rest = after;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut fields = Vec::new();
        loop {
            match self.field() {
                Ok((field, more)) => {
                    fields.push(field);
                    if !more {
                        return Some(Ok(fields));
                    }
                }
                Err(error) => {
                    self.rest = "";
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Records<'_> {
    /// A field, and whether another follows in the record.
    fn field(&mut self) -> Result<(String, bool), MaterialError> {
        let begun = self.line;
        let mut field = String::new();
        let quoted = self.rest.starts_with('"');
        let mut characters = self.rest.char_indices().peekable();
        if quoted {
            characters.next();
        }
        let mut inside = quoted;
        while let Some((at, c)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            if inside {
                match c {
                    '"' if next == Some('"') => {
                        characters.next();
                        field.push('"');
                    }
                    '"' if next.is_none_or(|next| next == self.separator || next == '\n' || next == '\r') => {
                        inside = false;
                    }
                    _ => {
                        self.line += usize::from(c == '\n');
                        field.push(c);
                    }
                }
            } else if c == self.separator || c == '\n' {
                self.line += usize::from(c == '\n');
                self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or_default();
                return Ok((field, c == self.separator));
            } else if c != '\r' || next != Some('\n') {
                field.push(c);
            }
        }
        self.rest = "";
        if inside {
            let message = format!("at line {begun} a quotation begins that does not end");
            return Err(MaterialError::malformed(message).mend("the file may be cut off: make it again"));
        }
        Ok((field, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tools_write() {
        let table =
            read(b"\xef\xbb\xbf\"a\",\"b\tc\",d\r\n\"1\",\"x \"\"y\"\", \"z\" w\",3\r\n\r\n4\n5,6,7,8").unwrap();
        assert_eq!(table.header, ["a", "b\tc", "d"]);
        assert_eq!(table.rows, [vec!["1", "x \"y\", \"z\" w", "3"], vec!["4", "", ""], vec!["5", "6", "7"]]);
        let wide: Vec<u8> = "\u{feff}a\tb\né\t2".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&wide).unwrap().rows, [vec!["é", "2"]]);
        for bad in [&b"a,a\n1,2"[..], b"a,b\n\"1,2\n3", b"", b"\n\n", b"\xff\xfea", b"a\xff"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
