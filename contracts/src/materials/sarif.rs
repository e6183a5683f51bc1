//! SARIF 2.1.0 (OASIS).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Annotations, MaterialError, documents,
    reading::{Reading, SCAN_TYPES, TOOL_NAME, TOOL_VERSION, note, text},
    shape::{
        Shape::{self, Any, Filled, List, Map, Object, OneOf, Text},
        may, must,
    },
};

pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let document = documents::parse(bytes)?;
    documents::version(&document, "version", "SARIF", &[("2.1.0", 0)])?;
    LOG.check(&document, 0)?;
    Ok(Reading::itself(bytes, describe(&document)))
}

static LOG: Shape = Object(&[must("runs", List(&RUN)), may("$schema", Text)]);

const RUN: Shape = Object(&[
    must(
        "tool",
        Object(&[
            must(
                "driver",
                Object(&[
                    must("name", Filled),
                    may("version", Text),
                    may("rules", List(&Object(&[must("id", Text), may("properties", Map(&Any))]))),
                ]),
            ),
            may("extensions", List(&Object(&[]))),
        ]),
    ),
    may("results", List(&RESULT)),
    may("invocations", List(&Object(&[]))),
    may("artifacts", List(&Object(&[]))),
]);

const RESULT: Shape = Object(&[
    must("message", Object(&[may("text", Text), may("id", Text)])),
    may("ruleId", Text),
    may("level", OneOf(&["none", "note", "warning", "error"])),
    may("kind", OneOf(&["notApplicable", "pass", "fail", "review", "open", "informational"])),
    may("locations", List(&Object(&[]))),
    may("suppressions", List(&Object(&[]))),
    may("properties", Map(&Any)),
]);

fn describe(document: &Value) -> Annotations {
    let mut annotations = Annotations::new();
    let driver = document.pointer("/runs/0/tool/driver");
    note(&mut annotations, TOOL_NAME, driver.and_then(|driver| text(driver, "name")));
    note(&mut annotations, TOOL_VERSION, driver.and_then(|driver| text(driver, "version")));
    // Checkmarx reports all its scanners under one name, and tells them apart in the ids of rules: `… (sast)`.
    let runs = document.get("runs").and_then(Value::as_array).into_iter().flatten();
    let results = runs.filter(|run| of_checkmarx(run)).filter_map(|run| run.get("results")?.as_array()).flatten();
    let engines = results.filter_map(|result| text(result, "ruleId")?.trim().strip_suffix(')')?.rsplit_once('('));
    note_scan_types(&mut annotations, engines.map(|(_, engine)| engine.trim()));
    annotations
}

fn of_checkmarx(run: &Value) -> bool {
    let Some(driver) = run.pointer("/tool/driver") else { return false };
    let tags = |rule: &Value| rule.pointer("/properties/tags").and_then(Value::as_array).cloned().unwrap_or_default();
    text(driver, "name").is_some_and(|name| name.to_lowercase().contains("checkmarx"))
        || driver.get("rules").and_then(Value::as_array).into_iter().flatten().any(|rule| {
            tags(rule).iter().any(|tag| tag.as_str().is_some_and(|tag| tag.eq_ignore_ascii_case("checkmarx")))
        })
}

/// The kinds of scan that Checkmarx's engines are, in the words that policies know. Others are not told.
pub(super) fn note_scan_types<'e>(annotations: &mut Annotations, engines: impl Iterator<Item = &'e str>) {
    let kinds: BTreeSet<&str> = engines
        .filter_map(|engine| match engine.to_ascii_lowercase().as_str() {
            "sast" => Some("sast"),
            "sca" => Some("sca"),
            "kics" => Some("iac"),
            "containers" => Some("container"),
            "sscs" => Some("supply-chain"),
            _ => None,
        })
        .collect();
    note(annotations, SCAN_TYPES, Some(&kinds.into_iter().collect::<Vec<_>>().join(",")));
}
