//! What a material says of itself, as annotations with the names that Chainloop gave them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{MaterialType, documents};

const TOOL_NAME: &str = "chainloop.material.tool.name";
const TOOL_VERSION: &str = "chainloop.material.tool.version";
const TOOLS: &str = "chainloop.material.tools";

/// The tools that made a document, and what an SBOM is about, as annotations of the material. Empty when the
/// bytes are not of the type or say nothing. It is what the document claims, nothing was checked.
#[must_use]
pub fn describe(kind: MaterialType, bytes: &[u8]) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if !matches!(
        kind,
        MaterialType::SbomCyclonedxJson | MaterialType::SbomSpdxJson | MaterialType::Sarif | MaterialType::Evidence
    ) {
        return annotations;
    }
    let Ok(document) = documents::parse(bytes) else { return annotations };
    match kind {
        MaterialType::SbomCyclonedxJson => cyclonedx(&document, &mut annotations),
        MaterialType::SbomSpdxJson => spdx(&document, &mut annotations),
        MaterialType::Sarif => {
            let driver = document.pointer("/runs/0/tool/driver");
            insert(&mut annotations, TOOL_NAME, driver.and_then(|d| text(d, "name")));
            insert(&mut annotations, TOOL_VERSION, driver.and_then(|d| text(d, "version")));
        }
        _ => {
            let id = text(&document, "chainloop.material.evidence.id").or_else(|| text(&document, "id"));
            if id.is_some() && document.get("data").is_some() {
                insert(&mut annotations, "chainloop.material.evidence.id", id);
                insert(&mut annotations, "chainloop.material.evidence.schema", text(&document, "schema"));
            }
        }
    }
    annotations
}

fn cyclonedx(document: &Value, annotations: &mut BTreeMap<String, String>) {
    let listed = document.pointer("/metadata/tools");
    // A list until 1.4, an object with components from 1.5 on.
    let tools = listed.and_then(|tools| tools.as_array().or_else(|| tools.get("components")?.as_array()));
    let tools = tools.into_iter().flatten().filter_map(|tool| {
        Some((text(tool, "name")?.to_owned(), text(tool, "version").unwrap_or_default().to_owned()))
    });
    insert_tools(annotations, tools.collect());
    if let Some(component) = document.pointer("/metadata/component") {
        main_component(annotations, text(component, "name"), text(component, "type"), text(component, "version"));
    }
    if document.get("vulnerabilities").is_some() {
        insert(annotations, "chainloop.material.sbom.vulnerabilities_report", Some("true"));
    }
}

fn spdx(document: &Value, annotations: &mut BTreeMap<String, String>) {
    let list = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten();
    let creators = document.pointer("/creationInfo/creators").and_then(Value::as_array).into_iter().flatten();
    let tools = creators.filter_map(|creator| creator.as_str()?.strip_prefix("Tool:")).map(|tool| {
        let tool = tool.trim();
        let (name, version) = tool.split_once('-').unwrap_or((tool, ""));
        (name.to_owned(), version.to_owned())
    });
    insert_tools(annotations, tools.collect());

    let described = list("documentDescribes").find_map(Value::as_str).or_else(|| {
        list("relationships")
            .find(|relation| {
                text(relation, "relationshipType") == Some("DESCRIBES")
                    && text(relation, "spdxElementId") == Some("SPDXRef-DOCUMENT")
            })
            .and_then(|relation| text(relation, "relatedSpdxElement"))
    });
    let package = described.and_then(|id| list("packages").find(|package| text(package, "SPDXID") == Some(id)));
    if let Some(package) = package {
        let purpose = text(package, "primaryPackagePurpose").map(str::to_lowercase);
        main_component(annotations, text(package, "name"), purpose.as_deref(), text(package, "versionInfo"));
    }
}

fn main_component(
    annotations: &mut BTreeMap<String, String>,
    name: Option<&str>,
    kind: Option<&str>,
    version: Option<&str>,
) {
    insert(annotations, "chainloop.material.sbom.main_component.name", name);
    insert(annotations, "chainloop.material.sbom.main_component.type", kind);
    insert(annotations, "chainloop.material.sbom.main_component.version", version);
}

fn insert_tools(annotations: &mut BTreeMap<String, String>, tools: Vec<(String, String)>) {
    let Some((name, version)) = tools.first() else { return };
    insert(annotations, TOOL_NAME, Some(name));
    insert(annotations, TOOL_VERSION, Some(version));
    let all: Vec<String> = tools
        .iter()
        .map(|(name, version)| if version.is_empty() { name.clone() } else { format!("{name}@{version}") })
        .collect();
    insert(annotations, TOOLS, Some(&Value::from(all).to_string()));
}

fn insert(annotations: &mut BTreeMap<String, String>, key: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        annotations.insert(key.to_owned(), value.to_owned());
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_tools_and_what_the_sbom_is_about() {
        let npm = br#"{"metadata":{"tools":[{"name":"cli","version":"11"},{"name":"x"}],
            "component":{"name":"app","type":"library","version":"1.0"}},"vulnerabilities":[]}"#;
        let found = describe(MaterialType::SbomCyclonedxJson, npm);
        let shown: Vec<String> =
            found.iter().map(|(k, v)| format!("{}={v}", k.replace("chainloop.material.", ""))).collect();
        assert_eq!(
            shown,
            [
                "sbom.main_component.name=app",
                "sbom.main_component.type=library",
                "sbom.main_component.version=1.0",
                "sbom.vulnerabilities_report=true",
                "tool.name=cli",
                "tool.version=11",
                r#"tools=["cli@11","x"]"#
            ]
        );
        assert!(describe(MaterialType::SbomCyclonedxJson, b"{").is_empty());
    }
}
