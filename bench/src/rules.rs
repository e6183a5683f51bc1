//! The contract and policies of the benchmark, once for the gateway and once for OPA: the same questions about
//! the same statement.

use std::{collections::BTreeMap, fmt::Write};

use contracts::{Digest, crafting::DeclaredMaterial, materials::MaterialType};

/// One policy in the published shape. Each asks something else, so that nothing is shared between them.
fn policy(n: usize) -> String {
    format!(
        r#"apiVersion: chainloop.dev/v1
kind: Policy
metadata: {{name: bench-{n}}}
spec:
  policies:
    - kind: ATTESTATION
      embedded: |
{}"#,
        indent(&rego(n))
    )
}

/// The Rego of policy `n`.
fn rego(n: usize) -> String {
    format!(
        r#"package bench_{n}

import rego.v1

result := {{"skipped": false, "violations": violations, "skip_reason": ""}}

violations contains msg if {{
	some m in input.predicate.materials
	m.annotations["chainloop.material.name"] == "banned-{n}"
	msg := sprintf("material %s is banned", [m.annotations["chainloop.material.name"]])
}}

violations contains msg if {{
	count(input.subject) < 1
	msg := "no subject"
}}

violations contains msg if {{
	input.predicate.metadata.team == "team-{n}"
	msg := "this team may not release"
}}
"#
    )
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "        {line}");
        all
    })
}

/// The files of a contract with that many gating policies, answering for `registry.bench.example/<name>/**`.
#[must_use]
pub fn contract(name: &str, policies: usize, public_key: &str) -> BTreeMap<String, String> {
    let mut contract = format!(
        "apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {{name: {name}}}\nspec:\n  materials:\n    \
         - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: version, type: STRING}}\n  policies:\n    attestation:\n"
    );
    let mut files = BTreeMap::new();
    for n in 0..policies {
        let _ = writeln!(contract, "      - {{ref: \"file://policies/bench-{n}.yaml\", gate: true}}");
        files.insert(format!("policies/bench-{n}.yaml"), policy(n));
    }
    let _ = write!(
        contract,
        "  signers: {{any: [{{publicKey: \"file://keys/bench.pub\"}}]}}\n  admission:\n    repositories: [\"{}/{name}/**\"]\n",
        crate::site::REGISTRY
    );
    files.insert("contract.yaml".to_owned(), contract);
    files.insert("keys/bench.pub".to_owned(), public_key.to_owned());
    files
}

/// The modules for OPA: each policy, and a gate that allows when none has a violation.
#[must_use]
pub fn opa(policies: usize) -> BTreeMap<String, String> {
    let mut files: BTreeMap<_, _> = (0..policies).map(|n| (format!("bench_{n}.rego"), rego(n))).collect();
    let mut gate = "package gate\n\nimport rego.v1\n\ndefault allow := false\n\nallow if {\n".to_owned();
    for n in 0..policies {
        let _ = writeln!(gate, "\tcount(data.bench_{n}.result.violations) == 0");
    }
    gate.push_str("}\n");
    files.insert("gate.rego".to_owned(), gate);
    files
}

/// A policy that reads every component of an SBOM.
pub const SBOM_REGO: &str = r#"package banned_licenses

import rego.v1

result := {"skipped": false, "violations": violations, "skip_reason": ""}

banned := {"AGPL-3.0-only", "SSPL-1.0"}

violations contains msg if {
	some component in input.components
	some entry in component.licenses
	entry.license.id in banned
	msg := sprintf("%s is under %s", [component.name, entry.license.id])
}
"#;

/// The files of a contract with one gating policy that reads every component of an SBOM.
#[must_use]
pub fn sbom(public_key: &str) -> BTreeMap<String, String> {
    let policy = format!(
        "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: banned-licenses}}\nspec:\n  policies:\n    \
         - kind: SBOM_CYCLONEDX_JSON\n      embedded: |\n{}",
        indent(SBOM_REGO)
    );
    let contract = "apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {name: sbom}\nspec:\n  materials:\n    \
         - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n  policies:\n    materials:\n      \
         - {ref: \"file://policies/banned-licenses.yaml\", gate: true}\n  \
         signers: {any: [{publicKey: \"file://keys/bench.pub\"}]}\n";
    [("contract.yaml", contract), ("policies/banned-licenses.yaml", &policy), ("keys/bench.pub", public_key)]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
}

/// The material that a statement would declare for this SBOM.
#[must_use]
pub fn declared_sbom(document: &[u8]) -> DeclaredMaterial {
    DeclaredMaterial {
        name: "sbom".to_owned(),
        kind: MaterialType::SbomCyclonedxJson,
        digest: Digest::of(document),
        filename: Some("sbom.json".to_owned()),
        inline: None,
        image: None,
        skip_upload: false,
        output: false,
        annotations: BTreeMap::new(),
    }
}
