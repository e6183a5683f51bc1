//! Documents: JSON, parsed once and shared by every rule.

use std::{cell::RefCell, collections::BTreeMap, collections::HashSet, fmt, sync::Arc};

use contracts::Digest;
use regorus::Value;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON document, parsed once. Rego takes it as it is; CEL looks at it through a lazy adapter. Cheap to share,
/// never changed.
///
/// Duplicate keys are refused, as parsers disagree about which one counts; so are documents nested deeper than
/// 128 levels, and anything after the document's end.
#[derive(Clone)]
pub struct Document {
    value: Value,
    digest: Digest,
    bytes: usize,
}

impl Document {
    /// Parses JSON.
    ///
    /// # Errors
    /// When it is not JSON, or is JSON that two parsers could read differently.
    pub fn from_json(bytes: &[u8]) -> Result<Arc<Self>, DocumentError> {
        let keys = RefCell::new(HashSet::new());
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = Strict { keys: &keys }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(Arc::new(Self { value, digest: Digest::of(bytes), bytes: bytes.len() }))
    }

    /// The sha256 of the JSON's bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes of JSON it was.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn value(&self) -> &Value {
        &self.value
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("digest", &self.digest).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why bytes are not a document.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON document that reads one way only: {0}")]
pub struct DocumentError(#[from] serde_json::Error);

/// Reads any JSON value; every key's text is kept once per document.
#[derive(Clone, Copy)]
struct Strict<'k> {
    keys: &'k RefCell<HashSet<Arc<str>>>,
}

impl Strict<'_> {
    fn key(self, text: &str) -> Value {
        let mut keys = self.keys.borrow_mut();
        if let Some(known) = keys.get(text) {
            return Value::String(Arc::clone(known));
        }
        let new: Arc<str> = Arc::from(text);
        keys.insert(Arc::clone(&new));
        Value::String(new)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() { Ok(Value::from(value)) } else { Err(E::custom("a number out of range")) }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(Arc::from(value)))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(Arc::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::from(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key_seed(Key(self))? {
            let value = entries.next_value_seed(self)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("the same key twice in one object"));
            }
        }
        Ok(Value::from(object))
    }
}

struct Key<'k>(Strict<'k>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.0.key(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_reads_two_ways() {
        for bad in
            [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"\u0062":2}}"#, "{} {}", "{", "", "[1,]", "1e999", &"[".repeat(5000)]
        {
            assert!(Document::from_json(bad.as_bytes()).is_err(), "{}", bad.get(..20).unwrap_or(bad));
        }
    }

    #[test]
    fn keeps_what_it_read() {
        let text = r#"{"a":[1,-2,1.5,"x",null,true],"b":{}}"#;
        let document = Document::from_json(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(document.value()).unwrap(), text);
        assert_eq!(document.digest(), Digest::of(text.as_bytes()));
    }
}
