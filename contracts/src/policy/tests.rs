use super::*;
use crate::materials::MaterialType;

fn show(text: &str) -> String {
    match PolicyDocument::parse("policies/p.yaml", text.as_bytes()) {
        Ok(document) => format!("READ {document:?}"),
        Err(diagnostics) => diagnostics
            .0
            .iter()
            .map(|f| {
                let origin = f.origin.as_ref().map(|o| format!("{}:{}", o.line, o.column)).unwrap_or_default();
                format!("{origin} {} {}; {}\n", f.code, f.message, f.mend.as_deref().unwrap_or("-"))
            })
            .collect(),
    }
}

#[test]
fn both_shapes_are_read() {
    let legacy = "apiVersion: workflowcontract.chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  type: SARIF\n  embedded: |\n    package main\n";
    let current = "api_version: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  policies:\n    - kind: SARIF\n      embedded: |\n        package main\n";
    let legacy = PolicyDocument::parse("policies/p.yaml", legacy.as_bytes()).unwrap();
    let current = PolicyDocument::parse("policies/p.yaml", current.as_bytes()).unwrap();
    let source = |document: &PolicyDocument| match &document.scripts[0] {
        PolicyScript {
            kind: ScriptKind::Material(MaterialType::Sarif),
            source: ScriptSource::Inline { text, origin },
            ..
        } => (text.clone(), origin.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(source(&legacy), ("package main\n".to_owned(), "policies/p.yaml:7:5".to_owned()));
    assert_eq!(source(&current), ("package main\n".to_owned(), "policies/p.yaml:8:9".to_owned()));
}

#[test]
fn scripts_are_looked_for_next_to_the_policy() {
    let text = "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {name: p, findingType: SAST}\nspec:\n  policies:\n    - {kind: ATTESTATION, path: rego/x.rego, attestation_phases: [PUSH]}\n    - {ref: file://../y.rego}\n";
    let document = PolicyDocument::parse("policies/p.yaml", text.as_bytes()).unwrap();
    let found: Vec<_> = document
        .scripts
        .iter()
        .map(|script| match &script.source {
            ScriptSource::File(file) => (script.kind, file.path.as_str()),
            ScriptSource::Inline { .. } => panic!("not inline"),
        })
        .collect();
    assert_eq!(found, [(ScriptKind::Attestation, "policies/rego/x.rego"), (ScriptKind::Any, "y.rego")]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = "\
apiVersion: chainloop.dev/v2
kind: Policy
metadata:
  name: Not A Name
  finding_type: WRONG
spec:
  autoMatch: {embedded: x}
  inputs:
    - {name: 1st}
    - {name: days, required: true, default: 3}
    - {name: days}
    - {nam: x}
  policies:
    - {kind: SBOM_CYCLONE, embedded: x}
    - {kind: SARIF}
    - {kind: SARIF, embedded: x, path: y}
    - {kind: SARIF, path: /etc/passwd}
    - {kind: SARIF, path: ../../x.rego}
    - {kind: SARIF, ref: 'https://acme.dev/x.rego'}
    - {kind: SARIF, path: x.wasm}
    - {kind: SARIF, embedded: x, attestation_phases: [PUSH]}
    - {kind: ATTESTATION, embedded: x, attestation_phases: [INIT]}
    - {kind: ATTESTATION, embedded: x, attestationPhases: [LATER, PUSH]}
";
    insta::assert_snapshot!(show(text), @"
    1:13 document-invalid-value `chainloop.dev/v2` is not a version of this document; write `apiVersion: chainloop.dev/v1`; also read: `workflowcontract.chainloop.dev/v1`, `sluice.dev/v1`
    4:9 document-invalid-value `Not A Name` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
    5:17 document-invalid-value `WRONG` is not a finding type; write VULNERABILITY, SAST or LICENSE_VIOLATION
    7:14 document-unsupported `autoMatch` attaches nothing: a contract names the policies that it uses; attach the policy under `policies` of each contract that needs it
    9:14 document-invalid-value `1st` is not the name of an input; start with a letter, then use letters, digits and underscores
    10:45 document-invalid-value input `days` is required, so its default is never used; leave out `required` or `default`
    11:14 document-duplicate input `days` is declared twice; -
    12:7 document-missing-key an input needs `name`; -
    12:8 document-unknown-key an input has no key `nam`; did you mean `name`?
    14:14 document-invalid-value `SBOM_CYCLONE` is not a material type: did you mean `SBOM_CYCLONEDX_JSON`?; -
    15:7 document-missing-key a script needs one of `path`, `embedded`, `ref`, `cel`; -
    16:31 document-duplicate `path` and `embedded` are two ways to give the same; keep one of `path`, `embedded`, `ref`, `cel`
    17:27 document-reference `/etc/passwd` is an absolute path: write it relative to the file that names it; -
    18:27 document-reference `../../x.rego` leads out of the contract's folder: a contract and all that it refers to live in one folder; -
    20:27 document-unsupported WebAssembly policies are not supported; write the policy in Rego or CEL
    21:54 document-invalid-value `attestationPhases` is for scripts of kind ATTESTATION; leave it out
    22:60 policy-phase the script is for the start of an attestation; it judges what is pushed, as all scripts do; add PUSH to say so, or leave `attestationPhases` out
    23:60 document-invalid-value `LATER` is not a phase: write INIT or PUSH; -
    ");
    let text = "kind: PolicyGroup\nmetadata: {}\nspec: {path: x.rego, policies: [{path: y.rego}]}";
    insta::assert_snapshot!(show(text), @"
    1:1 document-missing-key a policy needs `apiVersion`; -
    1:7 document-invalid-value this is a `PolicyGroup`; a `Policy` is needed here; attach groups under `policyGroups`
    ");
    let text = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec: {policies: []}";
    insta::assert_snapshot!(show(text), @"4:7 document-missing-key the policy has no script; give `policies:` with a `kind` and an `embedded` or `path` script");
}
