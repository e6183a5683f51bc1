//! What the material types that are JSON have in common.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{
    Annotations, MaterialError,
    reading::{Reading, note, text},
    shape::Shape,
};
use crate::{Code, json, limits};

/// Parses strictly: no duplicate keys, bounded depth and number of values.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, MaterialError> {
    json::parse_strict(bytes, limits::MATERIAL_DOCUMENT_BYTES).map_err(explain)
}

/// Parses several documents that follow each other, each strictly.
pub(super) fn parse_sequence(bytes: &[u8]) -> Result<Vec<Value>, MaterialError> {
    json::parse_strict_sequence(bytes, limits::MATERIAL_DOCUMENT_BYTES).map_err(explain)
}

fn explain(error: json::JsonError) -> MaterialError {
    let cut = matches!(&error, json::JsonError::Syntax { message, .. } if message.starts_with("EOF"));
    let code = match error {
        json::JsonError::TooLarge { .. } | json::JsonError::TooMany { .. } => Code::DocumentTooLarge,
        _ => Code::MaterialMalformed,
    };
    let error = MaterialError { code, message: format!("it is not well-formed JSON: {error}"), mend: None };
    if cut { error.mend("the file is cut off: make it again") } else { error }
}

/// A JSON document that policies see as it is, once it has the shape of its format.
pub(super) fn document<'b>(
    bytes: &'b [u8],
    shape: &Shape,
    describe: fn(&Value) -> Annotations,
) -> Result<Reading<'b>, MaterialError> {
    let document = parse(bytes)?;
    shape.check(&document, 0)?;
    Ok(Reading::itself(bytes, describe(&document)))
}

/// The version of its format that a document declares, as the number that shapes know it by.
///
/// # Errors
/// When it declares none, or one that is not known: with all that are.
pub(super) fn version(document: &Value, key: &str, format: &str, known: &[(&str, u16)]) -> Result<u16, MaterialError> {
    let list: Vec<String> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
    let mend = match list.as_slice() {
        [only] => format!("the version that is read is {only}"),
        several => format!("the versions that are read are {}", several.join(", ")),
    };
    let shown =
        |value: &Value| crate::digest::shorten(value.as_str().map_or(value.to_string(), str::to_owned).as_str());
    match document.get(key) {
        None => Err(MaterialError::malformed(format!("it has no `{key}`, so it is not {format}")).mend(mend)),
        Some(value) => {
            let version = value.as_str().and_then(|text| known.iter().find(|(name, _)| *name == text));
            version.map(|(_, number)| *number).ok_or_else(|| {
                let message = format!("its `{key}` is `{}`, which is no known version of {format}", shown(value));
                MaterialError::malformed(message).mend(mend)
            })
        }
    }
}

/// Evidence: policies see it when it is JSON. What is syntactically JSON must be so without duplicate keys, or two
/// readers could read two things.
pub(super) fn evidence(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    if serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
        return Ok(Reading::opaque(Annotations::new()));
    }
    let document = parse(bytes)?;
    let mut annotations = Annotations::new();
    let id = text(&document, "chainloop.material.evidence.id").or_else(|| text(&document, "id"));
    if id.is_some() && document.get("data").is_some() {
        note(&mut annotations, "chainloop.material.evidence.id", id);
        note(&mut annotations, "chainloop.material.evidence.schema", text(&document, "schema"));
    }
    Ok(Reading::itself(bytes, annotations))
}

/// A short text, which policies find in `chainloop_metadata.content`.
pub(super) fn string(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| MaterialError::malformed("a `STRING` is text in UTF-8, and this is not"))?;
    Ok(Reading::json(super::to_json(&text)?, Annotations::new()))
}
