//! `sluice policy init`: a policy to begin with, and its test cases.

use std::path::Path;

use anyhow::{Context, bail};
use contracts::MaterialType;
use serde_json::json;

use crate::{
    exit::Exit,
    files,
    report::{Report, plain},
};

/// What a kind of policy begins with.
struct Start {
    kind: MaterialType,
    /// What is asked for, in words and in Rego.
    asks: &'static str,
    condition: &'static str,
    /// Two inputs: one that passes, and one that does not.
    good: &'static str,
    bad: &'static str,
}

const CYCLONEDX: Start = Start {
    kind: MaterialType::SbomCyclonedxJson,
    asks: "the SBOM lists no component",
    condition: "count(object.get(input, \"components\", [])) == 0",
    good: "{bomFormat: CycloneDX, specVersion: \"1.6\", components: [{type: library, name: a}]}",
    bad: "{bomFormat: CycloneDX, specVersion: \"1.6\", components: []}",
};
const SPDX: Start = Start {
    kind: MaterialType::SbomSpdxJson,
    asks: "the SBOM lists no package",
    condition: "count(object.get(input, \"packages\", [])) == 0",
    good: "{spdxVersion: SPDX-2.3, SPDXID: SPDXRef-DOCUMENT, dataLicense: CC0-1.0, documentNamespace: \"https://example.com/app\", name: app, creationInfo: {created: \"2027-01-01T00:00:00Z\", creators: [\"Tool: t\"]}, packages: [{SPDXID: SPDXRef-a, name: a, downloadLocation: NONE}]}",
    bad: "{spdxVersion: SPDX-2.3, SPDXID: SPDXRef-DOCUMENT, dataLicense: CC0-1.0, documentNamespace: \"https://example.com/app\", name: app, creationInfo: {created: \"2027-01-01T00:00:00Z\", creators: [\"Tool: t\"]}}",
};
const SARIF: Start = Start {
    kind: MaterialType::Sarif,
    asks: "the log has no run",
    condition: "count(input.runs) == 0",
    good: "{version: 2.1.0, runs: [{tool: {driver: {name: t}}, results: []}]}",
    bad: "{version: 2.1.0, runs: []}",
};
const ATTESTATION: Start = Start {
    kind: MaterialType::Attestation,
    asks: "the run does not say where it ran",
    condition: "not input.predicate.runnerURL",
    good: "{_type: \"https://in-toto.io/Statement/v1\", predicateType: chainloop.dev/attestation/v0.2, subject: [{name: app, digest: {sha1: 78ac366c9e8a300d51808d581422ca61f7b5b721}}], predicate: {runnerURL: \"https://ci.example/1\"}}",
    bad: "{_type: \"https://in-toto.io/Statement/v1\", predicateType: chainloop.dev/attestation/v0.2, subject: [{name: app, digest: {sha1: 78ac366c9e8a300d51808d581422ca61f7b5b721}}], predicate: {}}",
};
const EVIDENCE: Start = Start {
    kind: MaterialType::Evidence,
    asks: "nobody approved it",
    condition: "not input.approver",
    good: "{approver: jo}",
    bad: "{}",
};
const STARTS: [Start; 5] = [CYCLONEDX, SPDX, SARIF, ATTESTATION, EVIDENCE];

/// Writes NAME.yaml and NAME.test.yaml into a folder. What is there is not replaced.
pub fn run(name: &str, kind: MaterialType, folder: &Path) -> anyhow::Result<Report> {
    let Some(start) = STARTS.iter().find(|start| start.kind == kind) else {
        let known: Vec<String> = STARTS.iter().map(|start| start.kind.to_string()).collect();
        bail!("there is nothing prepared for {kind}: begin with one of {}", known.join(", "));
    };
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !name.bytes().all(letters) || !name.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) || name.ends_with('-')
    {
        bail!("`{name}` is not a name: use lower-case letters, digits and hyphens, beginning with a letter");
    }
    let folder = if folder == Path::new(".") { Path::new("") } else { folder };
    let policy = folder.join(format!("{name}.yaml"));
    let cases = folder.join(format!("{name}.test.yaml"));
    for path in [&policy, &cases] {
        if path.exists() {
            bail!("`{}` is there already, and is not replaced", path.display());
        }
    }
    std::fs::create_dir_all(files::folder_of(&policy))
        .with_context(|| format!("the folder `{}` cannot be made", folder.display()))?;
    files::create(&policy, document(name, start).as_bytes(), files::Readers::Everyone)?;
    files::create(&cases, tests(start).as_bytes(), files::Readers::Everyone)?;
    let shown = [plain(&policy.display().to_string()), plain(&cases.display().to_string())];
    let [policy, cases] = &shown;
    let text = format!("wrote {policy} and {cases}; `sluice policy test {policy}` runs the cases");
    Report::new(Exit::Yes, &json!({"policy": policy, "tests": cases}), text)
}

fn document(name: &str, start: &Start) -> String {
    let Start { kind, asks, condition, .. } = start;
    let package = name.replace('-', "_");
    format!(
        r#"apiVersion: chainloop.dev/v1
kind: Policy
metadata:
  name: {name}
  description: Say here what the policy asks for
  annotations:
    version: 0.1.0
spec:
  policies:
    - kind: {kind}
      embedded: |
        package {package}

        import rego.v1

        violations contains "{asks}" if {condition}
"#
    )
}

fn tests(start: &Start) -> String {
    let Start { asks, good, bad, .. } = start;
    format!(
        "tests:\n  - name: what is asked for is there\n    input: {good}\n    expect: {{decision: allow, messages: []}}\n  \
         - name: what is asked for is missing\n    input: {bad}\n    expect: {{decision: deny, messages: [{asks}]}}\n"
    )
}
