//! JSON as it is read from outside: one meaning or none.

use std::cell::Cell;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{digest::shorten, limits};

/// Reads one JSON document. Readers disagree on what a key given twice means, and that disagreement is how a
/// signed document comes to say two things; so such a document is refused, as is one that is longer than
/// `max_bytes`, nests deeper than [`limits::DOCUMENT_DEPTH`], has more values than [`limits::JSON_VALUES`], is not
/// UTF-8, or has anything after its end.
///
/// # Errors
/// The first thing that is wrong; nothing of the document is handed out beside an error.
pub fn parse_strict(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    parse_within(bytes, max_bytes, limits::JSON_VALUES)
}

/// As [`parse_strict`], of what nobody is known to have signed: with at most [`limits::UNVERIFIED_VALUES`] values, as a
/// value takes many times the memory of the bytes that it is written with.
///
/// # Errors
/// As [`parse_strict`].
pub fn parse_unverified(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    parse_within(bytes, max_bytes, limits::UNVERIFIED_VALUES)
}

fn parse_within(bytes: &[u8], max_bytes: usize, max_values: usize) -> Result<Value, JsonError> {
    if bytes.len() > max_bytes {
        return Err(JsonError::TooLarge { max: max_bytes });
    }
    let (refusal, values) = (Cell::new(None), Cell::new(0));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict { depth: 0, refusal: &refusal, values: &values, max_values };
    let read = strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| why(&refusal, &error))
}

/// Reads JSON documents that follow each other, as tools write them one to a line. Each is read as by
/// [`parse_strict`]; the bounds are for all of them together. No document at all is an empty list.
///
/// # Errors
/// The first thing that is wrong with any of them.
pub fn parse_strict_sequence(bytes: &[u8], max_bytes: usize) -> Result<Vec<Value>, JsonError> {
    if bytes.len() > max_bytes {
        return Err(JsonError::TooLarge { max: max_bytes });
    }
    let (refusal, values) = (Cell::new(None), Cell::new(0));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut documents = Vec::new();
    // There is an end, or else another document.
    while reader.end().is_err() {
        let strict = Strict { depth: 0, refusal: &refusal, values: &values, max_values: limits::JSON_VALUES };
        documents.push(strict.deserialize(&mut reader).map_err(|error| why(&refusal, &error))?);
    }
    Ok(documents)
}

fn why(refusal: &Cell<Option<JsonError>>, error: &serde_json::Error) -> JsonError {
    refusal.take().unwrap_or_else(|| JsonError::Syntax {
        line: error.line(),
        column: error.column(),
        message: explain(error),
    })
}

/// serde_json ends its messages with the place, which has fields of its own here.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    shorten(text.strip_suffix(&place).unwrap_or(&text))
}

/// Why a JSON document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Longer than allowed.
    #[error("the document is longer than {max} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// Nested too deeply.
    #[error("the document nests deeper than {max} levels")]
    TooDeep {
        /// The bound, in levels.
        max: usize,
    },
    /// More values than are kept.
    #[error("the document has more than {max} values")]
    TooMany {
        /// The bound, in values.
        max: usize,
    },
    /// A key twice in one object.
    #[error("the key `{key}` is given twice in one object")]
    DuplicateKey {
        /// The key, shortened.
        key: String,
    },
    /// Not JSON.
    #[error("not valid JSON at line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What the reader says, without the place.
        message: String,
    },
}

/// Builds a value and remembers why it stopped, since the reader's own error type holds text alone.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refusal: &'a Cell<Option<JsonError>>,
    values: &'a Cell<usize>,
    max_values: usize,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, error: JsonError) -> E {
        let text = E::custom(&error);
        self.refusal.set(Some(error));
        text
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= limits::DOCUMENT_DEPTH {
            return Err(self.refuse(JsonError::TooDeep { max: limits::DOCUMENT_DEPTH }));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let values = self.values.get() + 1;
        self.values.set(values);
        if values > self.max_values {
            return Err(self.refuse(JsonError::TooMany { max: self.max_values }));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(self.refuse(JsonError::DuplicateKey { key: shorten(&key) }));
            }
            let value = entries.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn ambiguous_and_oversized_documents_are_refused() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let max = limits::DOCUMENT_DEPTH;
        assert!(parse_strict(nested(max).as_bytes(), 1 << 20).is_ok());
        for (text, expected) in [
            (r#"{"a":1,"a":1}"#.to_owned(), JsonError::DuplicateKey { key: "a".into() }),
            (r#"[{"b":{"a":1,"\u0061":2}}]"#.to_owned(), JsonError::DuplicateKey { key: "a".into() }),
            (nested(max + 1), JsonError::TooDeep { max }),
            (nested(100_000), JsonError::TooDeep { max }),
            ("\"".to_owned() + &"x".repeat(1 << 20), JsonError::TooLarge { max: 1 << 20 }),
        ] {
            assert_eq!(parse_strict(text.as_bytes(), 1 << 20), Err(expected));
        }
        for bad in [&b""[..], b"{}{}", b"{} x", b"[1,]", b"{'a':1}", b"\"\xff\"", b"NaN", b"1e999", b"\xef\xbb\xbf{}"] {
            assert!(matches!(parse_strict(bad, 1 << 20), Err(JsonError::Syntax { .. })), "{bad:?}");
        }
    }

    /// Fails when a dependency turns on serde_json's `arbitrary_precision`, which changes what numbers look like.
    #[test]
    fn numbers_are_numbers() {
        let value = parse_strict(b"[1, -2, 1.5, 18446744073709551615]", 100);
        assert_eq!(value, Ok(json!([1, -2, 1.5, u64::MAX])));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300f64).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_is_written(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(parse_strict(text.as_bytes(), text.len()), Ok(value));
            prop_assert_eq!(parse_strict(text.as_bytes(), text.len() - 1), Err(JsonError::TooLarge { max: text.len() - 1 }));
        }

        #[test]
        fn never_reads_what_the_plain_reader_refuses(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = parse_strict(&bytes, 64) {
                prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).ok(), Some(value));
            }
        }
    }
}
