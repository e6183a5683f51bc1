//! What does not compile, and where it says so.

use contracts::Diagnostics;

use crate::support::*;

fn show(result: Result<policies::RuleSet, Diagnostics>) -> String {
    let Err(Diagnostics(findings)) = result else { return "compiles".to_owned() };
    let line = |f: &contracts::Finding| {
        let place = f.origin.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{place} {} {}\n", f.code, f.message)
    };
    findings.iter().map(line).collect()
}

#[test]
fn a_contract_that_asks_for_nothing_does_not_compile() {
    insta::assert_snapshot!(show(compiled("{}", &[])), @"contract.yaml:1:1 document-missing-key the contract asks for nothing, so everything would satisfy it");
}

#[test]
fn every_mistake_is_told_at_its_line() {
    let bad = policy(
        "bad",
        "SBOM_CYCLONEDX_JSON",
        "violations contains r if {\n\tr := http.send({\"url\": input.url})\n}\nviolations contains x if {\n\t[x, _] := walk(input)\n}",
    );
    let file = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: other}\nspec: {policies: [{kind: SBOM_CYCLONEDX_JSON, path: other.rego}]}";
    let script = "package p\nimport rego.v1\n\nviolations contains x if x := nothing_like_it\n";
    let spec = "materials: [{name: sbom, type: SBOM_CYCLONEDX_JSON}]\npolicies:\n  materials:\n  - {ref: 'file://bad.yaml', gate: true}\n  - {ref: 'file://other.yaml', gate: true}\nadmission:\n  repositories: ['r.dev/**']\n  rules:\n  - {name: one, cel: atestation.subject == 1, message: m}\n  - {name: two, cel: 'reverse(subject.digest) == 1', message: m}";
    let files = [("bad.yaml", bad.as_str()), ("other.yaml", file), ("other.rego", script)];
    insta::assert_snapshot!(show(compiled(spec, &files)), @"
    bad.yaml:11:22 policy-builtin policies have no network: `http.send` may not be called; put what it fetches into a file under `spec.data` and read `data.<name>`
    bad.yaml:14:23 policy-builtin `walk` is not a function that policies may call
    other.rego:4:26 policy-compile Undefined variable: 'nothing_like_it'
    contract.yaml:13:24 policy-compile `atestation` is not known: rules can use `attestation`, `materials`, `subject`, `signers`, `verifiers`, `run`, `signed_at`, `now`, `age`
    contract.yaml:14:32 policy-compile `reverse` is not a function that rules may call
    ");
}

#[test]
fn the_rules_of_a_contract_can_be_read() {
    let text = policy("p", "SBOM_CYCLONEDX_JSON", "violations contains \"x\" if input.bad");
    let spec = "runner: {type: GITHUB_ACTION}\nannotations: [{name: version}, {name: channel, value: \"it's\"}]\nmaterials:\n- {name: image, type: CONTAINER_IMAGE, output: true}\n- {name: sbom, type: SBOM_CYCLONEDX_JSON, optional: true}\npolicies: {materials: [{ref: 'file://p.yaml', gate: true}, {ref: 'file://p.yaml', gate: false}]}\nsigners: {threshold: 1, any: [{issuer: 'https://i.dev', identity: 'a@i.dev'}]}\nadmission: {repositories: ['r.dev/**'], maxAge: 90d, rules: [{name: mine, cel: 'size(signers) > 0', message: m}]}";
    let rules = rules(spec, &[("p.yaml", &text)]);
    let lines: String = rules
        .rules()
        .iter()
        .map(|rule| {
            let source = rule.source.lines().next().unwrap_or_default();
            format!("{} {:?} {:?} gate={} {}: {source}\n", rule.id, rule.engine, rule.phase, rule.gate, rule.code)
        })
        .collect();
    insta::assert_snapshot!(lines, @r#"
    material-image Cel Intake gate=true material-missing: 'image' in materials
    material-image-type Cel Intake gate=true material-type: !('image' in materials) || materials['image'].type == 'CONTAINER_IMAGE'
    material-sbom-type Cel Intake gate=true material-type: !('sbom' in materials) || materials['sbom'].type == 'SBOM_CYCLONEDX_JSON'
    material-sbom-bytes Cel Intake gate=true material-bytes-absent: !('sbom' in materials) || materials['sbom'].present
    annotation-version Cel Intake gate=true annotation-missing: 'version' in run.annotations && run.annotations['version'] != ''
    annotation-channel Cel Intake gate=true annotation-missing: 'channel' in run.annotations && run.annotations['channel'] == 'it\'s'
    runner Cel Intake gate=true runner-mismatch: has(run.runner) && run.runner == 'GITHUB_ACTION'
    signers Cel Intake gate=true signer-not-allowed: size(signers.filter(s, [s.issuer, s.identity] in [['https://i.dev', 'a@i.dev']])) >= 1
    policy-p-sbom Rego Intake gate=true policy-violation: package p
    policy-p-other-sbom-cyclonedx-json Rego Intake gate=true policy-violation: package p
    policy-p-sbom-2 Rego Intake gate=false policy-violation: package p
    policy-p-other-sbom-cyclonedx-json-2 Rego Intake gate=false policy-violation: package p
    output-image Cel Admission gate=true subject-mismatch: !('image' in materials) || materials['image'].digest == subject.digest
    max-age Cel Admission gate=true evidence-too-old: age < duration('7776000s')
    mine Cel Admission gate=true rule-failed: size(signers) > 0
    "#);
}
