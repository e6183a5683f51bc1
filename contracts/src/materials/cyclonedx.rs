//! CycloneDX 1.2 to 1.7 (ECMA-424) in JSON.

use serde_json::Value;

use super::{
    Annotations, MaterialError, documents,
    reading::{Reading, note, note_tools, text},
    shape::{
        Field,
        Shape::{
            self, Any, Either, Filled, Flag, Like, List, Map, Nullable, Number, Object, OneOf, OneOfSince, Ref, Since,
            Text, Whole,
        },
        may, must, must_until,
    },
};
use crate::Reference;

const VERSIONS: &[(&str, u16)] = &[("1.2", 12), ("1.3", 13), ("1.4", 14), ("1.5", 15), ("1.6", 16), ("1.7", 17)];

pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let document = documents::parse(bytes)?;
    if text(&document, "bomFormat") != Some("CycloneDX") {
        return Err(MaterialError::malformed("its `bomFormat` is not `CycloneDX`, so it is not a CycloneDX document"));
    }
    let version = documents::version(&document, "specVersion", "CycloneDX", VERSIONS)?;
    BOM.check(&document, version)
        .map_err(|error| error.mend("make the SBOM again with a tool that follows the version it declares"))?;
    Ok(Reading::itself(bytes, describe(&document)))
}

static BOM: Shape = Object(&[
    must_until("version", Whole(1), 14),
    may("serialNumber", Like("`urn:uuid:` with a UUID", is_serial_number)),
    may(
        "metadata",
        Object(&[
            may("timestamp", Text),
            // A list until 1.4, and from 1.5 on better an object with components and services.
            may("tools", Since(&[(12, List(&LEGACY_TOOL)), (15, Either(TOOLS, &[List(&LEGACY_TOOL), TOOL_LISTS]))])),
            may("authors", List(&CONTACT)),
            may("component", Ref(&COMPONENT)),
            may("manufacture", Object(ORGANIZATION)),
            may("manufacturer", Object(ORGANIZATION)),
            may("supplier", Object(ORGANIZATION)),
            may("licenses", List(&LICENCE)),
            may("properties", List(&PROPERTY)),
            may("lifecycles", List(&Object(&[]))),
        ]),
    ),
    may("components", List(&COMPONENT)),
    may("services", List(&SERVICE)),
    may("externalReferences", List(&EXTERNAL_REFERENCE)),
    may(
        "dependencies",
        List(&Object(&[must("ref", Filled), may("dependsOn", List(&Text)), may("provides", List(&Text))])),
    ),
    may("compositions", List(&Object(&[must("aggregate", Filled)]))),
    may("vulnerabilities", List(&VULNERABILITY)),
    may("annotations", List(&Object(&[]))),
    may("formulation", List(&Object(&[]))),
    may("properties", List(&PROPERTY)),
]);

const TOOLS: &str = "a list of tools, or an object with `components` and `services`";

const LEGACY_TOOL: Shape = Object(&[may("vendor", Text), may("name", Text), may("version", Text)]);

const TOOL_LISTS: Shape = Object(&[may("components", List(&COMPONENT)), may("services", List(&SERVICE))]);

static COMPONENT: Shape = Object(&[
    must(
        "type",
        OneOfSince(&[
            (
                12,
                &["application", "framework", "library", "container", "operating-system", "device", "firmware", "file"],
            ),
            (15, &["platform", "device-driver", "machine-learning-model", "data"]),
            (16, &["cryptographic-asset"]),
        ]),
    ),
    must("name", Text),
    must_until("version", Text, 13),
    may("bom-ref", Filled),
    may("mime-type", Text),
    may("group", Text),
    may("description", Text),
    may("publisher", Text),
    may("author", Text),
    may("authors", List(&CONTACT)),
    may("supplier", Object(ORGANIZATION)),
    may("scope", OneOf(&["required", "optional", "excluded"])),
    may("hashes", List(&HASH)),
    may("licenses", List(&LICENCE)),
    may("copyright", Text),
    may("cpe", Text),
    may("purl", Text),
    may("modified", Flag),
    may("components", List(&COMPONENT)),
    may("externalReferences", List(&EXTERNAL_REFERENCE)),
    may("properties", List(&PROPERTY)),
    may("evidence", Map(&Any)),
    may("tags", List(&Text)),
]);

static SERVICE: Shape = Object(&[
    must("name", Text),
    may("bom-ref", Filled),
    may("version", Text),
    may("endpoints", List(&Text)),
    may("licenses", List(&LICENCE)),
    may("services", List(&SERVICE)),
    may("externalReferences", List(&EXTERNAL_REFERENCE)),
    may("properties", List(&PROPERTY)),
]);

static LICENCE: Shape = Either(
    "a `license` with an `id` or a `name`, or an `expression`",
    &[
        Object(&[must("license", Either("", &[Object(&[must("id", Filled)]), Object(&[must("name", Text)])]))]),
        Object(&[must("expression", Filled)]),
    ],
);

const HASH: Shape = Object(&[must("alg", Filled), must("content", Filled)]);

/// Addresses are texts of any form: `npm sbom` writes those of Git as they stand in `package.json`.
const EXTERNAL_REFERENCE: Shape = Object(&[must("type", Filled), must("url", Text), may("hashes", List(&HASH))]);

const PROPERTY: Shape = Object(&[may("name", Text), may("value", Text)]);

const CONTACT: Shape = Object(&[may("name", Text), may("email", Text), may("phone", Text)]);

const ORGANIZATION: &[Field] = &[may("name", Text), may("url", List(&Text)), may("contact", List(&CONTACT))];

static VULNERABILITY: Shape = Object(&[
    may("bom-ref", Filled),
    may("id", Text),
    may("source", Object(&[may("name", Text), may("url", Text)])),
    may("references", List(&Object(&[]))),
    may(
        "ratings",
        List(&Object(&[
            may("score", Number),
            may("severity", OneOf(&["critical", "high", "medium", "low", "info", "none", "unknown"])),
            may("method", Text),
            may("vector", Text),
        ])),
    ),
    // Widespread tools write null for none.
    may("cwes", Nullable(&List(&Whole(1)))),
    may("description", Text),
    may("detail", Text),
    may("recommendation", Text),
    may("created", Text),
    may("published", Text),
    may("updated", Text),
    may(
        "analysis",
        Object(&[
            may(
                "state",
                OneOf(&[
                    "resolved",
                    "resolved_with_pedigree",
                    "exploitable",
                    "in_triage",
                    "false_positive",
                    "not_affected",
                ]),
            ),
            may("justification", Text),
            may("response", List(&Text)),
            may("detail", Text),
        ]),
    ),
    may("affects", List(&Object(&[must("ref", Filled), may("versions", List(&Object(&[])))]))),
    may("properties", List(&PROPERTY)),
]);

fn is_serial_number(text: &str) -> bool {
    let Some(uuid) = text.strip_prefix("urn:uuid:") else { return false };
    let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn describe(document: &Value) -> Annotations {
    let mut annotations = Annotations::new();
    let listed = document.pointer("/metadata/tools");
    let tools = listed.and_then(|tools| tools.as_array().or_else(|| tools.get("components")?.as_array()));
    let tools = tools.into_iter().flatten().filter_map(|tool| {
        Some((text(tool, "name")?.to_owned(), text(tool, "version").unwrap_or_default().to_owned()))
    });
    note_tools(&mut annotations, &tools.collect::<Vec<_>>());
    if let Some(component) = document.pointer("/metadata/component") {
        let kind = text(component, "type");
        let version = text(component, "version").filter(|version| !version.is_empty());
        let version = version.map(str::to_owned).or_else(|| image_digest(component));
        main_component(&mut annotations, text(component, "name"), kind, version.as_deref());
    }
    if document.get("vulnerabilities").is_some_and(|list| !list.is_null()) {
        note(&mut annotations, "chainloop.material.sbom.vulnerabilities_report", Some("true"));
    }
    annotations
}

/// What Trivy puts in a property where an image has no version.
fn image_digest(component: &Value) -> Option<String> {
    let properties = component.get("properties")?.as_array()?;
    let digest = properties.iter().find(|p| text(p, "name") == Some("aquasecurity:trivy:RepoDigest"))?;
    text(digest, "value")?.split_once("sha256:").map(|(_, hex)| format!("sha256:{hex}"))
}

/// What an SBOM is about. An image is named by its repository alone.
pub(super) fn main_component(
    annotations: &mut Annotations,
    name: Option<&str>,
    kind: Option<&str>,
    version: Option<&str>,
) {
    let image = if kind == Some("container") { name.and_then(|name| name.parse::<Reference>().ok()) } else { None };
    let repository = image.map(|image| image.repository.to_string());
    note(annotations, "chainloop.material.sbom.main_component.name", repository.as_deref().or(name));
    note(annotations, "chainloop.material.sbom.main_component.type", kind);
    note(annotations, "chainloop.material.sbom.main_component.version", version);
}
