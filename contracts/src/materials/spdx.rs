//! SPDX 2.2, 2.3 and 3.0 in JSON.

use serde_json::Value;

use super::{
    Annotations, MaterialError,
    cyclonedx::main_component,
    documents,
    reading::{Reading, note_tools, text},
    shape::{
        Shape::{self, Any, Filled, Flag, Like, List, Object, OneOfSince, Several, Text},
        may, must,
    },
};
use crate::digest::shorten;

const VERSIONS: &[(&str, u16)] = &[("SPDX-2.2", 22), ("SPDX-2.3", 23)];
const MEND: &str = "the versions that are read are `SPDX-2.2`, `SPDX-2.3`, and 3.0 as JSON-LD";

pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let document = documents::parse(bytes)?;
    let again =
        |error: MaterialError| error.mend("make the SBOM again with a tool that follows the version it declares");
    if is_graph(&document) {
        GRAPH.check(&document, 30).map_err(again)?;
        graph(&document).map_err(again)?;
        return Ok(Reading::itself(bytes, describe_graph(&document)));
    }
    if document.get("spdxVersion").is_none() {
        let message = "it has neither `spdxVersion` nor the `@context` of SPDX 3.0, so it is not an SPDX document";
        return Err(MaterialError::malformed(message).mend(MEND));
    }
    let version = documents::version(&document, "spdxVersion", "SPDX", VERSIONS)
        .map_err(|error| MaterialError { mend: Some(MEND.to_owned()), ..error })?;
    DOCUMENT.check(&document, version).map_err(again)?;
    Ok(Reading::itself(bytes, describe(&document)))
}

static DOCUMENT: Shape = Object(&[
    must("SPDXID", Like("`SPDXRef-DOCUMENT`", |text| text == "SPDXRef-DOCUMENT")),
    must("name", Filled),
    must("dataLicense", Filled),
    must("documentNamespace", Filled),
    must(
        "creationInfo",
        Object(&[
            must("created", Like("a time in UTC, as in 2026-01-31T12:00:00Z", is_utc)),
            must("creators", Several(&Text)),
        ]),
    ),
    may("documentDescribes", List(&Text)),
    may("packages", List(&PACKAGE)),
    may("files", List(&Object(&[must("SPDXID", Like(IDENTIFIER, is_identifier)), must("fileName", Filled)]))),
    may(
        "relationships",
        List(&Object(&[
            must("spdxElementId", Filled),
            must("relationshipType", Filled),
            must("relatedSpdxElement", Filled),
        ])),
    ),
    may("hasExtractedLicensingInfos", List(&Object(&[must("licenseId", Filled), may("extractedText", Text)]))),
    may("annotations", List(&Object(&[]))),
    may("externalDocumentRefs", List(&Object(&[]))),
]);

static PACKAGE: Shape = Object(&[
    must("SPDXID", Like(IDENTIFIER, is_identifier)),
    must("name", Filled),
    must("downloadLocation", Text),
    may("versionInfo", Text),
    may("supplier", Text),
    may("originator", Text),
    may("filesAnalyzed", Flag),
    may("licenseConcluded", Text),
    may("licenseDeclared", Text),
    may("licenseInfoFromFiles", List(&Text)),
    may("copyrightText", Text),
    may("homepage", Text),
    may("checksums", List(&Object(&[must("algorithm", Filled), must("checksumValue", Filled)]))),
    may(
        "externalRefs",
        List(&Object(&[
            must("referenceCategory", Filled),
            must("referenceType", Filled),
            must("referenceLocator", Filled),
        ])),
    ),
    may(
        "primaryPackagePurpose",
        OneOfSince(&[(
            22,
            &[
                "APPLICATION",
                "FRAMEWORK",
                "LIBRARY",
                "CONTAINER",
                "OPERATING-SYSTEM",
                "OPERATING_SYSTEM",
                "DEVICE",
                "FIRMWARE",
                "SOURCE",
                "ARCHIVE",
                "FILE",
                "INSTALL",
                "OTHER",
            ],
        )]),
    ),
]);

static GRAPH: Shape = Object(&[must("@context", Any), must("@graph", Several(&Object(&[])))]);

const IDENTIFIER: &str = "an identifier that begins with `SPDXRef-`";

fn is_identifier(text: &str) -> bool {
    text.starts_with("SPDXRef-")
}

/// Fractions of a second are taken: the specification does not allow them, and npm writes them.
fn is_utc(text: &str) -> bool {
    text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

/// Whether the context is that of SPDX 3.
fn is_graph(document: &Value) -> bool {
    let of_spdx = |value: &Value| value.as_str().is_some_and(is_context);
    match document.get("@context") {
        Some(Value::Array(list)) => list.iter().any(of_spdx),
        Some(context) => of_spdx(context),
        None => false,
    }
}

pub(super) fn is_context(text: &str) -> bool {
    text.starts_with("https://spdx.org/rdf/3.") || text.starts_with("https://spdx.github.io/spdx-spec/v3.")
}

/// What a graph of SPDX 3.0 has to say of each element.
fn graph(document: &Value) -> Result<(), MaterialError> {
    let elements = elements(document);
    let mut documents = 0;
    for (n, element) in elements.iter().enumerate() {
        let lacks = |what: &str| Err(MaterialError::malformed(format!("`/@graph/{n}` has no `{what}`")));
        let Some(kind) = kind(element) else { return lacks("type") };
        if kind == "CreationInfo" {
            match text(element, "specVersion") {
                Some(version) if version == "3.0" || version.starts_with("3.0.") => {}
                Some(version) => {
                    let version = shorten(version);
                    let message =
                        format!("`/@graph/{n}/specVersion` is `{version}`, which is no known version of SPDX");
                    return Err(MaterialError::malformed(message).mend(MEND));
                }
                None => return lacks("specVersion"),
            }
            if !text(element, "created").is_some_and(is_utc) {
                return lacks("created, a time in UTC");
            }
            if element.get("createdBy").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                return lacks("createdBy, a list that is not empty");
            }
            continue;
        }
        documents += usize::from(kind == "SpdxDocument");
        // What has an identifier is an element, and tells who made it; the rest are parts of one.
        if text(element, "spdxId").is_some() && element.get("creationInfo").is_none() {
            return lacks("creationInfo");
        }
        if kind == "software_Package" && text(element, "name").is_none_or(str::is_empty) {
            return lacks("name");
        }
    }
    match documents {
        1 => Ok(()),
        _ => {
            Err(MaterialError::malformed(format!("`/@graph` has {documents} elements of type `SpdxDocument`, not one")))
        }
    }
}

fn elements(document: &Value) -> &[Value] {
    document.get("@graph").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn kind(element: &Value) -> Option<&str> {
    text(element, "type").or_else(|| text(element, "@type"))
}

fn describe(document: &Value) -> Annotations {
    let mut annotations = Annotations::new();
    let list = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten();
    let creators = document.pointer("/creationInfo/creators").and_then(Value::as_array).into_iter().flatten();
    let tools = creators.filter_map(|creator| creator.as_str()?.strip_prefix("Tool:")).map(|tool| {
        let tool = tool.trim();
        let (name, version) = tool.split_once('-').unwrap_or((tool, ""));
        (name.to_owned(), version.to_owned())
    });
    note_tools(&mut annotations, &tools.collect::<Vec<_>>());

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
        main_component(&mut annotations, text(package, "name"), purpose.as_deref(), text(package, "versionInfo"));
    }
    annotations
}

fn describe_graph(document: &Value) -> Annotations {
    let mut annotations = Annotations::new();
    let elements = elements(document);
    let called = |id: &str| elements.iter().find(|element| text(element, "spdxId") == Some(id));
    let tools = elements.iter().filter(|element| kind(element) == Some("Tool"));
    let tools = tools.filter_map(|tool| Some((text(tool, "name")?.to_owned(), String::new())));
    note_tools(&mut annotations, &tools.collect::<Vec<_>>());

    let roots = elements.iter().filter(|element| matches!(kind(element), Some("software_Sbom" | "SpdxDocument")));
    let roots = roots.filter_map(|element| element.get("rootElement")?.as_array()?.first()?.as_str());
    let package = roots.filter_map(called).find(|element| kind(element) == Some("software_Package"));
    if let Some(package) = package {
        let purpose = text(package, "software_primaryPurpose").map(str::to_lowercase);
        let version = text(package, "software_packageVersion");
        main_component(&mut annotations, text(package, "name"), purpose.as_deref(), version);
    }
    annotations
}
