//! The documents that builds bring as evidence, and contracts that ask for them.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// A CycloneDX 1.6 JSON document that lists this many libraries. The same count gives the same bytes.
#[must_use]
pub fn cyclonedx(components: usize) -> Vec<u8> {
    cyclonedx_named("app", components)
}

/// Likewise, about something of this name; another name gives other bytes.
#[must_use]
pub fn cyclonedx_named(name: &str, components: usize) -> Vec<u8> {
    cyclonedx_with(name, &(0..components).map(component).collect::<Vec<_>>())
}

/// A CycloneDX document of about this many bytes: at least that, and at most one library more.
#[must_use]
pub fn cyclonedx_of_size(bytes: usize) -> Vec<u8> {
    let mut components = Vec::new();
    let mut size = cyclonedx(0).len();
    while size < bytes {
        let next = component(components.len());
        size += next.to_string().len() + 1;
        components.push(next);
    }
    cyclonedx_with("app", &components)
}

/// A policy `endless` for a type of material, whose Rego would go on for hours.
#[must_use]
pub fn endless_policy(kind: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1
kind: Policy
metadata: {{name: endless}}
spec:
  policies:
    - kind: {kind}
      embedded: |
        package main
        import rego.v1
        violations contains \"x\" if {{
          some a in numbers.range(1, 90000)
          some b in numbers.range(1, 90000)
          a == b + 100000
        }}
"
    )
}

fn cyclonedx_with(name: &str, components: &[Value]) -> Vec<u8> {
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "version": 1,
        "metadata": {
            "timestamp": "2026-11-24T12:00:00Z",
            "tools": {"components": [{"type": "application", "name": "testdata", "version": "1.0.0"}]},
            "component": {"bom-ref": "app", "type": "container", "name": name, "version": "1.0.0"},
        },
        "components": components,
        "dependencies": [],
    })
    .to_string()
    .into_bytes()
}

fn component(n: usize) -> Value {
    const LICENCES: [&str; 4] = ["Apache-2.0", "MIT", "BSD-3-Clause", "ISC"];
    let licence = LICENCES.get(n % LICENCES.len()).copied().unwrap_or_default();
    let (major, minor) = (n % 7, n % 23);
    json!({
        "bom-ref": format!("pkg:cargo/library-{n}@{major}.{minor}.0"),
        "type": "library",
        "name": format!("library-{n}"),
        "version": format!("{major}.{minor}.0"),
        "purl": format!("pkg:cargo/library-{n}@{major}.{minor}.0"),
        "licenses": [{"license": {"id": licence}}],
        "hashes": [{"alg": "SHA-256", "content": contracts::Digest::of(&n.to_be_bytes()).hex()}],
    })
}

/// An SPDX 2.3 JSON document of this many packages.
#[must_use]
pub fn spdx(packages: usize) -> Vec<u8> {
    let packages: Vec<_> = (0..packages)
        .map(|n| {
            json!({
                "SPDXID": format!("SPDXRef-Package-{n}"),
                "name": format!("library-{n}"),
                "versionInfo": "1.0.0",
                "downloadLocation": "NOASSERTION",
                "licenseConcluded": "Apache-2.0",
            })
        })
        .collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "app",
        "documentNamespace": "https://spdx.example.test/app-1.0.0",
        "creationInfo": {"created": "2026-11-24T12:00:00Z", "creators": ["Tool: testdata"]},
        "packages": packages,
    })
    .to_string()
    .into_bytes()
}

/// A SARIF 2.1.0 log of one run with these results, each a rule and a level (`error`, `warning`, `note`).
#[must_use]
pub fn sarif(results: &[(&str, &str)]) -> Vec<u8> {
    let results: Vec<_> = results
        .iter()
        .map(|(rule, level)| {
            json!({
                "ruleId": rule,
                "level": level,
                "message": {"text": format!("{rule} was found")},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": "src/main.rs"},
                    "region": {"startLine": 1},
                }}],
            })
        })
        .collect();
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{"tool": {"driver": {"name": "testdata", "rules": []}}, "results": results}],
    })
    .to_string()
    .into_bytes()
}

/// How a test of a JUnit report ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// An assertion failed.
    Failed,
    /// It was not run.
    Skipped,
}

/// A JUnit XML report of one suite.
#[must_use]
pub fn junit(cases: &[(&str, Outcome)]) -> Vec<u8> {
    let count = |outcome| cases.iter().filter(|(_, is)| *is == outcome).count();
    let (failed, skipped) = (count(Outcome::Failed), count(Outcome::Skipped));
    let mut xml = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="suite" tests="{}" failures="{failed}" errors="0" skipped="{skipped}" time="0.1" timestamp="2026-11-24T12:00:00">
"#,
        cases.len()
    );
    for (name, outcome) in cases {
        let inside = match outcome {
            Outcome::Passed => "",
            Outcome::Failed => r#"<failure message="expected 2, got 3">assertion</failure>"#,
            Outcome::Skipped => r#"<skipped message="not here"/>"#,
        };
        let _infallible = writeln!(xml, r#"<testcase classname="suite" name="{name}" time="0.01">{inside}</testcase>"#);
    }
    xml.push_str("</testsuite></testsuites>\n");
    xml.into_bytes()
}

/// Custom evidence: an approval by this person.
#[must_use]
pub fn approval(approver: &str) -> Vec<u8> {
    json!({"approver": approver, "ticket": "REL-1"}).to_string().into_bytes()
}

/// A contract named `release` for these repositories: an image and a CycloneDX document, signed with the key in
/// the file `keys/release.pub` beside it.
#[must_use]
pub fn contract(repositories: &str) -> String {
    format!(
        r#"apiVersion: chainloop.dev/v1
kind: Contract
metadata:
  name: release
spec:
  materials:
    - name: image
      type: CONTAINER_IMAGE
      output: true
    - name: sbom
      type: SBOM_CYCLONEDX_JSON
  signers:
    threshold: 1
    any:
      - publicKey: "file://keys/release.pub"
  admission:
    repositories: ["{repositories}"]
    enforcement: enforce
"#
    )
}

/// A policy on CycloneDX documents: a component under this licence is a violation.
#[must_use]
pub fn policy_banning_licence(licence: &str) -> String {
    format!(
        r#"apiVersion: chainloop.dev/v1
kind: Policy
metadata:
  name: banned-licence
spec:
  policies:
    - kind: SBOM_CYCLONEDX_JSON
      embedded: |
        package main

        import rego.v1

        result := {{
            "skipped": false,
            "violations": violations,
            "skip_reason": "",
            "ignore": false,
        }}

        violations contains msg if {{
            some component in input.components
            some entry in component.licenses
            entry.license.id == "{licence}"
            msg := sprintf("%s is under %s", [component.name, entry.license.id])
        }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_as_large_as_asked() {
        for size in [2_000, 200_000, 5_000_000] {
            let document = cyclonedx_of_size(size);
            assert!((size..size + 600).contains(&document.len()), "{size}: {}", document.len());
            serde_json::from_slice::<Value>(&document).unwrap();
        }
    }
}
