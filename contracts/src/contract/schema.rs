//! JSON Schemas of custom evidence.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;

use crate::digest::shorten;

/// Makes a validator of a JSON Schema. Patterns are matched in linear time; nothing is fetched: a `$ref` to
/// another document than the schema itself is refused.
///
/// # Errors
/// When the value is not a JSON Schema of a published draft, or needs another document.
pub fn compile_schema(schema: &Json) -> Result<Validator, SchemaError> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(SchemaError::NotSchema);
    }
    let mut options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    if schema.get("$schema").is_none() {
        options = options.with_draft(jsonschema::Draft::Draft202012);
    }
    if let Some(reference) = remote_reference(schema) {
        return Err(SchemaError::Remote { reference: shorten(reference) });
    }
    options.build(schema).map_err(|error| SchemaError::Invalid { reason: shorten(&error.to_string()) })
}

/// A reference that does not begin with `#`. Schemas of evidence are one document; ids for others serve nothing.
fn remote_reference(schema: &Json) -> Option<&str> {
    // The reader bounds the depth, and so the recursion.
    match schema {
        Json::Object(map) => map.iter().find_map(|(key, value)| match (key.as_str(), value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Json::String(text)) if !text.starts_with('#') => {
                Some(text.as_str())
            }
            _ => remote_reference(value),
        }),
        Json::Array(items) => items.iter().find_map(remote_reference),
        _ => None,
    }
}

/// Why a value is not a JSON Schema that evidence can be held against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Neither an object nor a boolean.
    #[error("a JSON Schema is a map of keys, for example `{{type: object, required: [approver]}}`")]
    NotSchema,
    /// It breaks the JSON Schema specification.
    #[error("this is not a valid JSON Schema: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// It refers to another document, and nothing is fetched.
    #[error(
        "the schema refers to `{reference}`, and nothing is fetched: write it into `$defs` and refer to `#/$defs/…`"
    )]
    Remote {
        /// The reference, shortened.
        reference: String,
    },
}
