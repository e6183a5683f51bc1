//! The material types that are JSON documents: what tells each apart and the shape that policies walk.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::{MaterialError, MaterialType, strict};
use crate::{digest::shorten, limits};

type Checked = Result<(), MaterialError>;

/// CycloneDX 1.2 to 1.7 (ECMA-424) in JSON.
pub(super) fn cyclonedx(bytes: &[u8]) -> Checked {
    const VERSIONS: [&str; 6] = ["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"];
    let document = parse(bytes)?;
    expect_text(&document, "bomFormat", "a CycloneDX document", |text| text == "CycloneDX")?;
    expect_text(&document, "specVersion", "CycloneDX 1.2 to 1.7", |text| VERSIONS.contains(&text))?;
    if document.get("version").is_some_and(|version| version.as_u64().is_none_or(|n| n == 0)) {
        return Err(MaterialError::malformed("its `version` is not a whole number from 1"));
    }
    for list in ["components", "services", "dependencies", "vulnerabilities"] {
        expect_list_if_there(&document, list)?;
    }
    expect_object_if_there(&document, "metadata")
}

/// SPDX 2.2 and 2.3 in JSON. `created` may have fractions of a second, which the specification does not allow
/// and npm writes.
pub(super) fn spdx(bytes: &[u8]) -> Checked {
    let document = parse(bytes)?;
    expect_text(&document, "spdxVersion", "SPDX 2.2 or 2.3", |text| matches!(text, "SPDX-2.2" | "SPDX-2.3"))?;
    expect_text(&document, "SPDXID", "an SPDX document", |text| text == "SPDXRef-DOCUMENT")?;
    expect_text(&document, "name", "an SPDX document with a name", |text| !text.is_empty())?;
    let Some(creation) = document.get("creationInfo").filter(|info| info.is_object()) else {
        return Err(MaterialError::malformed("it has no `creationInfo`, so it is not a whole SPDX document"));
    };
    expect_text(creation, "created", "dated in UTC, as in 2026-01-31T12:00:00Z", |text| {
        text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
    })?;
    let creators = creation.get("creators").and_then(Value::as_array);
    if creators.is_none_or(|list| list.is_empty() || !list.iter().all(Value::is_string)) {
        return Err(MaterialError::malformed("its `creationInfo.creators` is not a list of names"));
    }
    for list in ["packages", "files", "relationships", "documentDescribes"] {
        expect_list_if_there(&document, list)?;
    }
    Ok(())
}

/// SARIF 2.1.0 (OASIS).
pub(super) fn sarif(bytes: &[u8]) -> Checked {
    let document = parse(bytes)?;
    expect_text(&document, "version", "SARIF 2.1.0", |text| text == "2.1.0")?;
    let Some(runs) = document.get("runs").and_then(Value::as_array) else {
        return Err(MaterialError::malformed("it has no list of `runs`, so it is not a SARIF log"));
    };
    for (n, run) in runs.iter().enumerate() {
        let named = run.pointer("/tool/driver/name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if !named {
            return Err(MaterialError::malformed(format!("`runs[{n}]` does not name its tool (`tool.driver.name`)")));
        }
        expect_list_if_there(run, "results")?;
    }
    Ok(())
}

/// Whether evidence is JSON. What is syntactically JSON must be so without duplicate keys, or two readers could
/// read two things.
pub(super) fn evidence(bytes: &[u8]) -> Result<bool, MaterialError> {
    if serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
        return Ok(false);
    }
    parse(bytes).map(|_| true)
}

/// What the document's first level says it is.
pub(super) fn recognise(bytes: &[u8]) -> Option<MaterialType> {
    if bytes.len() > limits::MATERIAL_DOCUMENT_BYTES || !starts_with_brace(bytes) {
        return None;
    }
    let signs: Signs = serde_json::from_slice(bytes).ok()?;
    if signs.bom_format {
        Some(MaterialType::SbomCyclonedxJson)
    } else if signs.spdx_version {
        Some(MaterialType::SbomSpdxJson)
    } else if signs.version && signs.runs {
        Some(MaterialType::Sarif)
    } else {
        None
    }
}

/// Parses strictly: no duplicate keys, bounded depth.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, MaterialError> {
    strict::parse(bytes).map_err(|error| MaterialError::malformed(format!("it is not well-formed JSON: {error}")))
}

fn starts_with_brace(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn expect_text(document: &Value, key: &str, wanted: &str, good: impl Fn(&str) -> bool) -> Checked {
    match document.get(key) {
        Some(Value::String(text)) if good(text) => Ok(()),
        Some(Value::String(text)) => {
            Err(MaterialError::malformed(format!("its `{key}` is `{}`, so it is not {wanted}", shorten(text))))
        }
        Some(_) => Err(MaterialError::malformed(format!("its `{key}` is not a text, so it is not {wanted}"))),
        None => Err(MaterialError::malformed(format!("it has no `{key}`, so it is not {wanted}"))),
    }
}

fn expect_list_if_there(document: &Value, key: &str) -> Checked {
    match document.get(key) {
        None | Some(Value::Array(_)) => Ok(()),
        Some(_) => Err(MaterialError::malformed(format!("its `{key}` is not a list"))),
    }
}

fn expect_object_if_there(document: &Value, key: &str) -> Checked {
    match document.get(key) {
        None | Some(Value::Object(_)) => Ok(()),
        Some(_) => Err(MaterialError::malformed(format!("its `{key}` is not an object"))),
    }
}

/// Which telling keys the first level has, without keeping the rest in memory.
#[derive(Default)]
struct Signs {
    bom_format: bool,
    spdx_version: bool,
    version: bool,
    runs: bool,
}

impl<'de> Deserialize<'de> for Signs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstLevel;
        impl<'de> Visitor<'de> for FirstLevel {
            type Value = Signs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Signs, A::Error> {
                let mut signs = Signs::default();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match &*key {
                        "bomFormat" => signs.bom_format = true,
                        "spdxVersion" => signs.spdx_version = true,
                        "version" => signs.version = true,
                        "runs" => signs.runs = true,
                        _ => {}
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(signs)
            }
        }
        deserializer.deserialize_map(FirstLevel)
    }
}
