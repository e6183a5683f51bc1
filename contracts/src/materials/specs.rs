//! Descriptions of APIs: OpenAPI 2.0 to 3.2 and AsyncAPI 2 and 3, in JSON or YAML. Policies see them as JSON.

use serde_json::Value;

use super::{
    Annotations, MaterialError, documents,
    look::{Form, Look, Sign},
    reading::{Reading, note, text, to_json},
    shape::{
        Shape::{self, Any, Filled, List, Map, Object, Text},
        may, must, must_until,
    },
};
use crate::{Code, digest::shorten, limits, yaml};

const INFO: Shape = Object(&[must("title", Text), must("version", Text), may("description", Text)]);

/// OpenAPI, and Swagger 2.0 as it was called before.
pub(super) fn openapi(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static API: Shape = Object(&[
        must("info", INFO),
        // From 3.1 on components or webhooks are enough.
        must_until("paths", Map(&Map(&Any)), 30),
        may("servers", List(&Object(&[must("url", Text)]))),
        may("components", Map(&Any)),
        may("security", List(&Map(&List(&Text)))),
        may("tags", List(&Object(&[must("name", Text)]))),
        may("webhooks", Map(&Any)),
    ]);
    let (mut document, json) = read(bytes)?;
    // Written without quotes, YAML takes the version for a number.
    let number =
        document.get("swagger").and_then(Value::as_f64).is_some_and(|number| (number - 2.0).abs() < f64::EPSILON);
    if let (true, Some(map)) = (number, document.as_object_mut()) {
        map.insert("swagger".to_owned(), "2.0".into());
    }
    let declared = text(&document, "openapi").or_else(|| text(&document, "swagger"));
    let version = match declared {
        Some("2.0") if document.get("openapi").is_none() => 20,
        Some(version) if minor(version, "3.0") => 30,
        Some(version) if minor(version, "3.1") => 31,
        Some(version) if minor(version, "3.2") => 32,
        found => return Err(unknown(found, "openapi` (or `swagger`)", "OpenAPI", "2.0, 3.0, 3.1 and 3.2")),
    };
    API.check(&document, version)?;
    if version > 30 && !["paths", "components", "webhooks"].iter().any(|key| document.get(key).is_some()) {
        return Err(MaterialError::malformed("it has neither `paths` nor `components` nor `webhooks`"));
    }
    let annotations = describe(&document, declared);
    if json && !number {
        Ok(Reading::itself(bytes, annotations))
    } else {
        Ok(Reading::json(to_json(&document)?, annotations))
    }
}

/// AsyncAPI.
pub(super) fn asyncapi(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    static API: Shape = Object(&[
        must("asyncapi", Filled),
        must("info", INFO),
        must_until("channels", Map(&Map(&Any)), 2),
        may("operations", Map(&Any)),
        may("servers", Map(&Object(&[may("protocol", Text), may("host", Text), may("url", Text)]))),
        may("components", Map(&Any)),
    ]);
    let (document, json) = read(bytes)?;
    let declared = text(&document, "asyncapi");
    let version = match declared {
        Some(version) if major(version, '2') => 2,
        Some(version) if major(version, '3') => 3,
        found => return Err(unknown(found, "asyncapi`", "AsyncAPI", "2 and 3")),
    };
    API.check(&document, version)?;
    let mut annotations = describe(&document, declared);
    let servers = document.get("servers").and_then(Value::as_object).into_iter().flatten();
    let mut protocols: Vec<_> = servers.filter_map(|(name, server)| Some((name, text(server, "protocol")?))).collect();
    protocols.sort();
    let protocol = protocols.iter().map(|(_, protocol)| *protocol).find(|protocol| !protocol.is_empty());
    note(&mut annotations, "chainloop.material.api.protocol", protocol);
    if json { Ok(Reading::itself(bytes, annotations)) } else { Ok(Reading::json(to_json(&document)?, annotations)) }
}

/// By the key that names the version: in JSON, or at the beginning of a line of YAML.
pub(super) fn sign(look: &Look<'_>, keys: &[&str]) -> Sign {
    match &look.form {
        Form::Object(peek) => Sign::from(keys.iter().any(|key| peek.has(key))),
        Form::Text(text) => {
            let begins = |line: &str, key: &&str| line.strip_prefix(*key).is_some_and(|rest| rest.starts_with(':'));
            Sign::from(text.lines().any(|line| keys.iter().any(|key| begins(line, key))))
        }
        _ => Sign::No,
    }
}

/// The document, and whether it is JSON.
fn read(bytes: &[u8]) -> Result<(Value, bool), MaterialError> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return documents::parse(bytes).map(|document| (document, true));
    }
    yaml_to_json(bytes, limits::MATERIAL_YAML_BYTES).map(|document| (document, false))
}

/// A YAML document as JSON; with less than YAML allows, so that it means one thing to everyone.
pub(super) fn yaml_to_json(bytes: &[u8], most_bytes: usize) -> Result<Value, MaterialError> {
    if bytes.len() > most_bytes {
        return Err(MaterialError::too_large(format!("it has {} bytes of YAML; {most_bytes} are read", bytes.len()))
            .mend("write it as JSON, or without what is generated"));
    }
    let node = yaml::parse_bounded(bytes, most_bytes, limits::MATERIAL_YAML_NODES).map_err(|diagnostics| {
        let Some(first) = diagnostics.0.into_iter().next() else { return MaterialError::malformed("it is no YAML") };
        let line = first.origin.as_ref().map_or(1, |origin| origin.line);
        let code = if first.code == Code::DocumentTooLarge { first.code } else { Code::MaterialMalformed };
        MaterialError { code, message: format!("at line {line}: {}", first.message), mend: first.mend }
    })?;
    node.to_json().map_err(|(place, number)| {
        let message = format!("at line {}: `{}` is no number that JSON has", place.line, shorten(&number));
        MaterialError::malformed(message)
    })
}

fn minor(version: &str, wanted: &str) -> bool {
    version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn major(version: &str, wanted: char) -> bool {
    version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn unknown(found: Option<&str>, key: &str, format: &str, known: &str) -> MaterialError {
    match found {
        Some(found) => MaterialError::malformed(format!("its version is `{}`, which is no known one", shorten(found))),
        None => MaterialError::malformed(format!("it has no `{key} with a version, so it is not {format}")),
    }
    .mend(format!("the versions of {format} that are read are {known}"))
}

fn describe(document: &Value, version: Option<&str>) -> Annotations {
    let mut annotations = Annotations::new();
    let info = |key: &str| document.get("info").and_then(|info| text(info, key));
    note(&mut annotations, "chainloop.material.api.spec_version", version);
    note(&mut annotations, "chainloop.material.api.name", info("title"));
    note(&mut annotations, "chainloop.material.api.version", info("version"));
    annotations
}
