//! What fuzzing with Radamsa leaves: the log of its metadata (`-M`), and the inputs that crashed a program.

use serde_json::{Map, Value};

use super::{
    Annotations, MaterialError, archive,
    reading::{Reading, made_by, note, to_json},
};
use crate::{digest::shorten, limits};

/// A log, a gzipped log, or an archive of logs: policies see one record for each mutation, as a list.
pub(super) fn report(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let mut log = Log { records: Vec::new(), fields: 0 };
    let single = match archive::format(bytes) {
        None => {
            log.read(bytes)?;
            true
        }
        Some(archive::Format::Gzip) => match archive::gunzip(bytes)? {
            Some(content) => {
                log.read(&content)?;
                true
            }
            None => false,
        },
        Some(_) => false,
    };
    if !single {
        for (name, content) in archive::unpack(bytes, &|_| true)?.files {
            log.read(&content).map_err(|error| error.about(&format!("`{}` in the archive", shorten(&name))))?;
        }
    }
    let mut annotations = made_by("radamsa", None);
    let count = log.records.len().to_string();
    note(&mut annotations, "chainloop.material.radamsa.report.records.count", Some(&count));
    Ok(Reading::json(to_json(&log.records)?, annotations))
}

/// An input that crashed a program, or an archive of them: policies see how many, as an annotation.
pub(super) fn crashes(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    // What only looks like an archive may well be a crashing input.
    let count = match archive::format(bytes) {
        Some(archive::Format::Zip | archive::Format::Gzip) => match archive::unpack(bytes, &|_| false) {
            Ok(unpacked) => unpacked.count,
            Err(error) if error.code == crate::Code::DocumentTooLarge => return Err(error),
            Err(_) => 1,
        },
        _ => 1,
    };
    let mut annotations: Annotations = made_by("radamsa", None);
    note(&mut annotations, "chainloop.material.radamsa.crashes.count", Some(&count.to_string()));
    Ok(Reading::opaque(annotations))
}

struct Log {
    records: Vec<Value>,
    fields: usize,
}

impl Log {
    /// Adds the records of one log. A line with `seed` begins a run, and is none of its mutations.
    fn read(&mut self, bytes: &[u8]) -> Result<(), MaterialError> {
        let text = super::tabular::decode(bytes).ok_or_else(|| MaterialError::malformed("it is not text in UTF-8"))?;
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let record = self.record(line).map_err(|error| error.about(&format!("line {}", n + 1)))?;
            if !record.contains_key("seed") {
                self.records.push(Value::Object(record));
            }
        }
        Ok(())
    }

    /// `key: value, key: "value", …`
    fn record(&mut self, line: &str) -> Result<Map<String, Value>, MaterialError> {
        let mut record = Map::new();
        let pairs = pairs(line).ok_or_else(|| {
            MaterialError::malformed("a quotation begins that does not end")
                .mend("the file may be cut off: make it again")
        })?;
        for pair in pairs {
            let pair = pair.trim();
            if pair.is_empty() {
                continue;
            }
            self.fields += 1;
            if self.fields > limits::TEXT_FIELDS {
                return Err(MaterialError::too_large(format!("it has more than {} fields", limits::TEXT_FIELDS)));
            }
            let (key, value) = match pair.split_once(": ") {
                Some(parts) => parts,
                None => (
                    pair.strip_suffix(':').ok_or_else(|| {
                        let message = format!("`{}` is not a key with a value", shorten(pair));
                        MaterialError::malformed(message).mend("give the log that radamsa writes with `-M`")
                    })?,
                    "",
                ),
            };
            record.insert(key.trim().to_owned(), value_of(value.trim()));
        }
        Ok(record)
    }
}

/// The parts between `, ` that are not inside quotes; `None` when a quotation does not end.
fn pairs(line: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begun, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    let bytes = line.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted && bytes.get(at + 1) == Some(&b' ') => {
                parts.push(line.get(begun..at).unwrap_or_default());
                begun = at + 2;
            }
            _ => {}
        }
    }
    parts.push(line.get(begun..).unwrap_or_default());
    (!quoted).then_some(parts)
}

/// A text without its quotes, a whole number, or the word.
fn value_of(text: &str) -> Value {
    if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let unescaped = serde_json::from_str::<String>(text).ok();
        return Value::String(unescaped.unwrap_or_else(|| inner.to_owned()));
    }
    text.parse::<i64>().map_or_else(|_| Value::String(text.to_owned()), Value::from)
}
