//! Materials: the pieces of evidence that a contract asks for. This module tells the types apart, checks that
//! bytes are what their type says, and projects them to the JSON that policies read.
//!
//! It must not judge what a document says (that is for policies), and reads no more than its bounds.

mod documents;
mod junit;
mod kind;
mod summary;

pub use kind::{MaterialType, UnknownMaterialType};
pub use summary::describe;

pub(crate) use kind::nearest;

use crate::{Code, Finding, limits};

/// Why bytes are not a material of their type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MaterialError {
    /// The finding's code.
    pub code: Code,
    /// What is wrong, for a person.
    pub message: String,
}

impl MaterialError {
    fn malformed(message: impl Into<String>) -> Self {
        Self { code: Code::MaterialMalformed, message: message.into() }
    }

    /// The finding that says so.
    #[must_use]
    pub fn finding(&self) -> Finding {
        Finding::error(self.code, self.message.clone())
    }
}

/// What policies read of a material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// A well-formed JSON text without duplicate keys, within [`limits::DOCUMENT_DEPTH`].
    Json(Vec<u8>),
    /// The bytes are not read: only the digest, the name and the annotations say something.
    Opaque,
}

/// Checks that the bytes are what the type says.
///
/// CycloneDX and SPDX documents are held to what tells them apart and to the shape of the parts that policies
/// walk, not to the whole published schema: widespread tools write documents that break it (`npm sbom` does).
///
/// # Errors
/// When they are not, or are empty, too large, or of a type that this version does not evaluate.
pub fn validate(kind: MaterialType, bytes: &[u8]) -> Result<(), MaterialError> {
    check_size(kind, bytes)?;
    match kind {
        MaterialType::SbomCyclonedxJson => documents::cyclonedx(bytes),
        MaterialType::SbomSpdxJson => documents::spdx(bytes),
        MaterialType::Sarif => documents::sarif(bytes),
        MaterialType::JunitXml => junit::read(bytes).map(drop),
        MaterialType::String => text(bytes).map(drop),
        MaterialType::Evidence => documents::evidence(bytes).map(drop),
        MaterialType::Artifact | MaterialType::ContainerImage => Ok(()),
        _ => Err(unsupported(kind)),
    }
    .map_err(|error| name_what_it_is(kind, bytes, error))
}

/// Projects the bytes to what policies read, and validates them on the way.
///
/// JSON documents are themselves. JUnit XML becomes the array of suites that policies written for Chainloop
/// know: `{name, package, properties, tests: [{name, classname, duration, status, error, …}], suites, totals}`
/// with durations in nanoseconds. A `STRING` becomes a JSON string. `EVIDENCE` is JSON when it is written in
/// JSON, else opaque, like artifacts and images.
///
/// # Errors
/// As [`validate`].
pub fn project(kind: MaterialType, bytes: &[u8]) -> Result<Projection, MaterialError> {
    check_size(kind, bytes)?;
    let encode = |value: Result<Vec<u8>, serde_json::Error>| {
        value.map(Projection::Json).map_err(|e| MaterialError::malformed(format!("it does not fit into JSON: {e}")))
    };
    match kind {
        MaterialType::JunitXml => junit::read(bytes)
            .map_err(|error| name_what_it_is(kind, bytes, error))
            .and_then(|suites| encode(serde_json::to_vec(&suites))),
        MaterialType::String => text(bytes).and_then(|text| encode(serde_json::to_vec(text))),
        MaterialType::Evidence => documents::evidence(bytes)
            .map(|json| if json { Projection::Json(bytes.to_vec()) } else { Projection::Opaque }),
        _ => {
            validate(kind, bytes)?;
            Ok(if kind.has_document() { Projection::Json(bytes.to_vec()) } else { Projection::Opaque })
        }
    }
}

/// The type that a file's bytes speak for themselves, whatever it is called: a CycloneDX or SPDX document in
/// JSON, SARIF, or JUnit XML. `None` for all else.
#[must_use]
pub fn recognise(bytes: &[u8], filename: &str) -> Option<MaterialType> {
    // Names settle nothing, they only say what to look for first.
    let xml_first = filename.to_ascii_lowercase().ends_with(".xml");
    let xml = || junit::looks_like(bytes).then_some(MaterialType::JunitXml);
    if xml_first { xml().or_else(|| documents::recognise(bytes)) } else { documents::recognise(bytes).or_else(xml) }
}

fn check_size(kind: MaterialType, bytes: &[u8]) -> Result<(), MaterialError> {
    if bytes.is_empty() && kind != MaterialType::ContainerImage {
        return Err(MaterialError::malformed("it is empty"));
    }
    let max = match kind {
        MaterialType::String => limits::INLINE_MATERIAL_BYTES,
        _ if kind.has_document() => limits::MATERIAL_DOCUMENT_BYTES,
        _ => return Ok(()),
    };
    if bytes.len() > max {
        let message = format!("it has {} bytes, and a `{kind}` may have {max}", bytes.len());
        return Err(MaterialError { code: Code::DocumentTooLarge, message });
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, MaterialError> {
    std::str::from_utf8(bytes).map_err(|_| MaterialError::malformed("a `STRING` is text in UTF-8, and this is not"))
}

fn unsupported(kind: MaterialType) -> MaterialError {
    let message = format!("materials of type `{kind}` are not evaluated by this version");
    MaterialError { code: Code::DocumentUnsupported, message }
}

/// When the bytes are another type's, that is the more useful answer.
fn name_what_it_is(kind: MaterialType, bytes: &[u8], error: MaterialError) -> MaterialError {
    match recognise(bytes, "") {
        Some(other) if other != kind && error.code == Code::MaterialMalformed => MaterialError {
            code: Code::MaterialType,
            message: format!("it is of type `{other}`, and `{kind}` is asked for"),
        },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLONEDX: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}"#;
    const SPDX: &str = r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"x",
        "creationInfo":{"created":"2026-11-22T19:21:10.168Z","creators":["Tool: npm/cli-11"]}}"#;
    const SARIF: &str = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"semgrep"}},"results":[]}]}"#;
    const JUNIT: &str = r#"<testsuite name="s"><testcase name="t"/></testsuite>"#;

    #[test]
    fn each_type_takes_its_own_and_names_what_another_is() {
        let samples = [
            (MaterialType::SbomCyclonedxJson, CYCLONEDX),
            (MaterialType::SbomSpdxJson, SPDX),
            (MaterialType::Sarif, SARIF),
            (MaterialType::JunitXml, JUNIT),
        ];
        for (kind, _) in samples {
            for (other, bytes) in samples {
                assert_eq!(recognise(bytes.as_bytes(), "any.xml"), Some(other));
                let code = validate(kind, bytes.as_bytes()).map_err(|e| e.code);
                assert_eq!(code, if kind == other { Ok(()) } else { Err(Code::MaterialType) }, "{kind} {other}");
                assert_eq!(project(kind, bytes.as_bytes()).map_err(|e| e.code).is_ok(), kind == other);
            }
        }
    }

    #[test]
    fn refuses_what_is_not_what_it_says() {
        use MaterialType as M;
        let cases: &[(M, &str)] = &[
            (M::SbomCyclonedxJson, r#"{"bomFormat":"CycloneDX","specVersion":"2.0","version":1}"#),
            (M::SbomCyclonedxJson, r#"{"bomFormat":"CycloneDX","specVersion":"1.6","version":0}"#),
            (M::SbomCyclonedxJson, r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":{}}"#),
            (M::SbomCyclonedxJson, r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[],"components":[1]}"#),
            (M::SbomSpdxJson, r#"{"spdxVersion":"SPDX-3.0","SPDXID":"SPDXRef-DOCUMENT","name":"x"}"#),
            (
                M::SbomSpdxJson,
                r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"x",
                "creationInfo":{"created":"yesterday","creators":["Tool: x"]}}"#,
            ),
            (M::Sarif, r#"{"version":"2.0.0","runs":[]}"#),
            (M::Sarif, r#"{"version":"2.1.0","runs":[{"results":[]}]}"#),
            (M::Sarif, r#"{"version":"2.1.0","runs":{}}"#),
            (M::Evidence, r#"{"approved":false,"approved":true}"#),
            (M::Evidence, ""),
            (M::String, ""),
            (M::Artifact, ""),
        ];
        for (kind, bytes) in cases {
            let code = validate(*kind, bytes.as_bytes()).map_err(|e| e.code);
            assert_eq!(code, Err(Code::MaterialMalformed), "{kind} {bytes}");
            assert!(project(*kind, bytes.as_bytes()).is_err(), "{kind} {bytes}");
        }
        assert_eq!(validate(M::HelmChart, b"x").map_err(|e| e.code), Err(Code::DocumentUnsupported));
        assert_eq!(validate(M::String, &[b'a'; 65_537]).map_err(|e| e.code), Err(Code::DocumentTooLarge));
        assert_eq!(validate(M::String, &[0xff]).map_err(|e| e.code), Err(Code::MaterialMalformed));
    }

    #[test]
    fn evidence_is_json_only_when_it_is_written_in_json() {
        let json = br#"{"approver":"jo"}"#.to_vec();
        assert_eq!(project(MaterialType::Evidence, &json), Ok(Projection::Json(json.clone())));
        assert_eq!(project(MaterialType::Evidence, b"[draft] approved by jo"), Ok(Projection::Opaque));
        assert_eq!(project(MaterialType::String, b"a\"b"), Ok(Projection::Json(br#""a\"b""#.to_vec())));
        assert_eq!(project(MaterialType::Artifact, &json), Ok(Projection::Opaque));
    }
}
