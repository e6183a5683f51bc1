//! What of the published language decides, and how.

use std::collections::BTreeMap;

use contracts::{Code, Decision, Digest, MaterialType};
use jiff::Timestamp;
use policies::authoring::{Input, PolicyFiles, ask as ask_policy};
use testdata::Material;

use crate::support::*;

fn sarif(name: &str, found: &[(&str, &str)]) -> Material {
    Material::file(name, MaterialType::Sarif, "scan.sarif", &testdata::sarif(found))
}

/// A policy of which every material of a kind breaks what is named like this.
fn finds(kind: &str, rule: &str) -> String {
    policy(
        "finds",
        kind,
        &format!(
            "violations contains r.ruleId if {{\n\tsome run in input.runs\n\tsome r in run.results\n\tr.ruleId == \"{rule}\"\n}}"
        ),
    )
}

#[test]
fn of_a_group_of_materials_one_must_be_there() {
    let spec = "materials:\n- {name: cdx, type: SBOM_CYCLONEDX_JSON, group: sbom}\n- {name: spdx, type: SBOM_SPDX_JSON, group: sbom}";
    let rules = rules(spec, &[]);
    let cdx = Material::cyclonedx("cdx", &testdata::cyclonedx(1));
    let spdx = Material::file("spdx", MaterialType::SbomSpdxJson, "s.json", &testdata::spdx(1));
    assert_eq!(told(&ask(&rules, &evidence(&[]))), denied(Code::MaterialMissing));
    for enough in [vec![cdx.clone()], vec![spdx.clone()], vec![cdx.clone(), spdx]] {
        assert_eq!(told(&ask(&rules, &evidence(&enough))), allowed());
    }
    let wrong = Material::string("cdx", "no SBOM");
    assert_eq!(told(&ask(&rules, &evidence(&[wrong]))), denied(Code::MaterialType));
}

const GROUP: &str = "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: g}\nspec:\n  inputs: [{name: rule, required: true}]\n  policies:\n    materials:\n    - name: scan\n      type: SARIF\n      policies: [{ref: 'file://named.yaml', with: {rule: '{{ inputs.rule }}'}}]\n    attestation:\n    - {ref: 'file://run.yaml', gate: false}\n";

fn group_files() -> [(&'static str, String); 3] {
    let body = "violations contains r.ruleId if {\n\tsome run in input.runs\n\tsome r in run.results\n\tr.ruleId == input.args.rule\n}";
    let named = policy("named", "SARIF", body).replace("spec:\n", "spec:\n  inputs: [{name: rule, required: true}]\n");
    let run = policy("run", "ATTESTATION", "violations contains \"a run\"");
    [("g.yaml", GROUP.to_owned()), ("named.yaml", named), ("run.yaml", run)]
}

#[test]
fn a_group_asks_for_its_materials_and_its_gate_is_the_contracts() {
    let files = group_files();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let with =
        |text: &str| rules(&format!("policyGroups: [{{ref: 'file://g.yaml', with: {{rule: CVE-1}}{text}}}]"), &files);
    let clean = evidence(&[sarif("scan", &[("CVE-2", "error")])]);
    let broken = evidence(&[sarif("scan", &[("CVE-1", "error")])]);
    let (violation, warning) = (Code::PolicyViolation.to_string(), format!("({})", Code::PolicyViolation));
    assert_eq!(told(&ask(&with(""), &evidence(&[]))).0, Decision::Deny, "the material is asked for");
    assert_eq!(told(&ask(&with(""), &clean)), (Decision::Allow, vec![warning.clone()]));
    assert_eq!(told(&ask(&with(""), &broken)), (Decision::Allow, vec![warning.clone(), warning.clone()]));
    assert_eq!(told(&ask(&with(", gate: true"), &clean)), (Decision::Deny, vec![violation.clone()]));
    assert_eq!(
        told(&ask(&with(", gate: true"), &broken)),
        (Decision::Deny, vec![violation.clone(), violation.clone()])
    );
    assert_eq!(told(&ask(&with(", gate: true, skip: [run]"), &clean)), allowed());
    assert_eq!(told(&ask(&with(", gate: true, skip: [run]"), &broken)), (Decision::Deny, vec![violation]));
    let later = with(", gate: true, skip: [run], effectiveFrom: 2027-06-01");
    let before: Timestamp = "2027-05-31T23:59:59Z".parse().unwrap();
    assert_eq!(told(&ask_at(&later, &broken, before)), (Decision::Allow, vec![warning]));
    let after: Timestamp = "2027-06-01T00:00:00Z".parse().unwrap();
    assert_eq!(ask_at(&later, &broken, after).decision, Decision::Deny);
    assert_eq!(ask_at(&later, &broken, before).valid_until, Some(after));
}

/// As in the other system, and so that a build cannot hide a bad scan behind another name.
#[test]
fn what_the_contract_does_not_ask_for_is_judged_too() {
    let spec = |selector: &str| {
        format!(
            "materials: [{{name: scan, type: SARIF}}]\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: true{selector}}}]}}"
        )
    };
    let policy = finds("SARIF", "CVE-1");
    let (good, bad) = (sarif("scan", &[]), |name: &str| sarif(name, &[("CVE-1", "error")]));
    let ask_with = |selector: &str, materials: &[Material]| {
        told(&ask(&rules(&spec(selector), &[("p.yaml", &policy)]), &evidence(materials)))
    };
    assert_eq!(ask_with("", std::slice::from_ref(&good)), allowed());
    assert_eq!(ask_with("", &[good.clone(), bad("scan-1")]), denied(Code::PolicyViolation));
    assert_eq!(ask_with("", &[good.clone(), sarif("scan-1", &[])]), allowed());
    let prefix = ", selector: {name: scan, matchMode: PREFIX}";
    assert_eq!(ask_with(prefix, &[good.clone(), bad("scan-1")]), denied(Code::PolicyViolation));
    assert_eq!(ask_with(prefix, &[good.clone(), bad("other")]), allowed());
    assert_eq!(ask_with(", selector: {name: scan}", &[good.clone(), bad("scan-1")]), allowed());
    let other_kind = Material::cyclonedx("more", &testdata::cyclonedx(1));
    assert_eq!(ask_with("", &[good, other_kind]), allowed());
}

#[test]
fn an_attached_policy_can_begin_later() {
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, effectiveFrom: 2027-06-01, selector: {name: scan}}]}";
    let rules = rules(spec, &[("p.yaml", &finds("SARIF", "CVE-1"))]);
    let bad = evidence(&[sarif("scan", &[("CVE-1", "error")])]);
    let starts: Timestamp = "2027-06-01T00:00:00Z".parse().unwrap();
    let before = ask_at(&rules, &bad, "2027-05-01T00:00:00Z".parse().unwrap());
    assert_eq!((told(&before), before.valid_until), (warned(Code::PolicyViolation), Some(starts)));
    assert_eq!(told(&ask_at(&rules, &bad, starts)), denied(Code::PolicyViolation));
}

#[test]
fn policies_in_cel_answer_like_those_in_rego() {
    let document = |script: &str| {
        format!(
            "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {{name: p}}\nspec:\n  data: [{{name: banned, ref: banned.yaml}}]\n  policies:\n  - kind: SARIF\n{script}"
        )
    };
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, selector: {name: scan}, with: {most: 1}}]}";
    let bad = evidence(&[sarif("scan", &[("CVE-1", "error"), ("CVE-2", "error")])]);
    let good = evidence(&[sarif("scan", &[("CVE-3", "error")])]);
    for script in [
        "    cel: input.runs.all(r, !r.results.exists(f, f.ruleId in data.banned))\n    message: banned\n",
        "    cel: input.runs.filter(r, r.results.exists(f, f.ruleId in data.banned)).map(r, r.tool.driver.name)\n",
        "    cel: size(input.runs[0].results) <= int(input.args.most)\n",
    ] {
        let rules = rules(spec, &[("p.yaml", &document(script)), ("banned.yaml", "[CVE-1]")]);
        assert_eq!(told(&ask(&rules, &bad)), denied(Code::PolicyViolation), "{script}");
        assert_eq!(told(&ask(&rules, &good)), allowed(), "{script}");
    }
    let failing = rules(spec, &[("p.yaml", &document("    cel: input.nothing == 1\n")), ("banned.yaml", "[]")]);
    assert_eq!(told(&ask(&failing, &good)), denied(Code::RuleError));
    let shapeless = rules(spec, &[("p.yaml", &document("    cel: input.runs\n")), ("banned.yaml", "[]")]);
    assert_eq!(told(&ask(&shapeless, &good)), denied(Code::RuleResultShape));
}

#[test]
fn data_is_part_of_the_rules() {
    let body = "import data.banned\nviolations contains r.ruleId if {\n\tsome run in input.runs\n\tsome r in run.results\n\tr.ruleId in banned\n}";
    let document = policy("p", "SARIF", body).replace("spec:\n", "spec:\n  data: [{name: banned, ref: banned.json}]\n");
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, selector: {name: scan}}]}";
    let with = |data: &str| rules(spec, &[("p.yaml", &document), ("banned.json", data)]);
    let scan = evidence(&[sarif("scan", &[("CVE-1", "error")])]);
    let (banned, free) = (with(r#"["CVE-1"]"#), with("[]"));
    assert_eq!(told(&ask(&banned, &scan)), denied(Code::PolicyViolation));
    assert_eq!(told(&ask(&free, &scan)), allowed());
    assert_ne!(banned.digest(), free.digest());
    assert_eq!(banned.digest(), with("- CVE-1\n").digest(), "how it is written is not part of it");
}

#[test]
fn discover_knows_the_evidence_and_nothing_else() {
    let body = |digest: &str, kind: &str, expected: &str| {
        format!(
            "violations contains json.marshal(found) if {{\n\tfound := chainloop.discover({digest}, \"{kind}\")\n\tnot {expected}\n}}"
        )
    };
    let scan = sarif("scan", &[]);
    let of_scan = "sprintf(\"sha256:%s\", [input.chainloop_metadata.digest.sha256])";
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, selector: {name: scan}}]}";
    let ask_with = |body: &str| {
        let policy = policy("p", "SARIF", body);
        let answer = ask(&rules(spec, &[("p.yaml", &policy)]), &evidence(std::slice::from_ref(&scan)));
        (answer.decision, answer.findings.into_iter().map(|f| format!("{} {}", f.code, f.message)).collect::<Vec<_>>())
    };
    let whole = "ok(found)\n}\nok(found) if {\n\tfound.kind == \"SARIF\"\n\tcount(found.references) == 1\n\tfound.references[0].kind == \"ATTESTATION\"\n\tfound.references[0].metadata.name == \"release\"\n\tnot found.references[0].metadata.hasPolicyViolations";
    let (_, told) = ask_with(&body(of_scan, "", whole));
    assert_eq!(told, [""; 0]);
    let image = format!("\"{}\"", image());
    assert_eq!(
        ask_with(&body(&image, "CONTAINER_IMAGE", "found.references[0].kind == \"ATTESTATION\"")).0,
        Decision::Allow
    );
    let (decision, told) = ask_with(&body(&format!("\"{}\"", Digest::of(b"elsewhere")), "", "false"));
    assert_eq!(decision, Decision::Deny);
    assert!(
        told[0].starts_with("rule-error ") && told[0].contains("the evidence has nothing with the digest"),
        "{told:?}"
    );
    assert_eq!(ask_with(&body(of_scan, "CONTAINER_IMAGE", "true")).0, Decision::Deny);
}

#[test]
fn findings_keep_what_their_type_tells() {
    let body = "result := {\"findings\": {f | some run in input.runs; some r in run.results; f := object.union(chainloop.vulnerability(\"found\", r.ruleId, \"pkg:a\", \"HIGH\"), {\"cvss_v3_score\": 9.1, \"suppress\": r.ruleId == \"CVE-2\"})}}";
    let document = policy("p", "SARIF", body).replace("{name: p}", "{name: p, findingType: VULNERABILITY}");
    let spec = "materials: [{name: scan, type: SARIF}]\npolicies: {materials: [{ref: 'file://p.yaml', gate: true, selector: {name: scan}}]}";
    let with = rules(spec, &[("p.yaml", &document)]);
    let answer = ask(&with, &evidence(&[sarif("scan", &[("CVE-1", "error"), ("CVE-2", "error")])]));
    assert_eq!(told(&answer), (Decision::Deny, vec!["policy-violation".to_owned(), "(policy-violation)".to_owned()]));
    let details = answer.findings[0].details.as_ref().unwrap();
    assert_eq!(
        serde_json::to_string(details).unwrap(),
        r#"{"type":"VULNERABILITY","cvss_v3_score":9.1,"external_id":"CVE-1","package_purl":"pkg:a","severity":"HIGH"}"#
    );
    let wrong = rules(spec, &[("p.yaml", &document.replace("VULNERABILITY", "SAST"))]);
    let answer = ask(&wrong, &evidence(&[sarif("scan", &[("CVE-1", "error")])]));
    assert_eq!(told(&answer), denied(Code::RuleResultShape));
}

/// There such a policy looks at the beginning of a run only, which the client judges.
#[test]
fn a_policy_for_the_beginning_judges_what_is_pushed() {
    let document = policy("p", "ATTESTATION", "violations contains \"no\" if input.predicateType")
        .replace("    - kind: ATTESTATION\n", "    - kind: ATTESTATION\n      attestationPhases: [INIT]\n");
    let rules = rules("policies: {attestation: [{ref: 'file://p.yaml', gate: true}]}", &[("p.yaml", &document)]);
    assert_eq!(told(&ask(&rules, &evidence(&[]))), denied(Code::PolicyViolation));
}

/// Authors are told by interpreting what the machine runs: both must see the same data and functions.
#[test]
fn both_ways_of_running_a_script_see_the_same() {
    let document = "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {name: p, findingType: VULNERABILITY}\nspec:\n  data: [{name: banned, ref: banned.yaml}]\n  policies:\n  - {kind: SARIF, path: p.rego}\n  - {kind: SARIF, cel: size(input.runs) > 7, message: too few}\n";
    let script = "package p\nimport data.banned\nimport rego.v1\nfindings contains f if {\n\tsome run in input.runs\n\tsome r in run.results\n\tr.ruleId in banned\n\tr.ruleId in data.banned\n\tf := chainloop.vulnerability(\"found\", r.ruleId, \"pkg:a\", \"HIGH\")\n}\nresult := {\"findings\": findings}\n";
    let policy = PolicyFiles::collect("p.yaml", &mut |path| match path {
        "p.yaml" => Ok(document.as_bytes().to_vec()),
        "p.rego" => Ok(script.as_bytes().to_vec()),
        "banned.yaml" => Ok(b"[CVE-1]".to_vec()),
        _ => Err("no such file".to_owned()),
    })
    .unwrap();
    let input = Input {
        kind: MaterialType::Sarif,
        bytes: testdata::sarif(&[("CVE-1", "error"), ("CVE-2", "error")]),
        filename: None,
        annotations: BTreeMap::new(),
    };
    let asked = ask_policy(&policy, &input, &BTreeMap::new(), testdata::noon(), true).unwrap();
    let messages: Vec<&str> = asked.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!((asked.decision, messages), (Decision::Deny, vec!["found", "too few"]));
    let [rego, cel] = asked.scripts.as_slice() else { panic!("{:?}", asked.scripts) };
    let trace = rego.trace.as_ref().unwrap();
    assert_eq!((trace.differs.as_deref(), trace.missed.len()), (None, 0), "{trace:?}");
    assert_eq!(cel.result, Some(serde_json::json!(false)));
}
