//! The shipped policies, each with what it lets pass and what it finds.

use contracts::{Decision, MaterialType};
use serde_json::json;
use testdata::{Material, Outcome};

use crate::support::*;

/// The messages of a shipped policy about one material.
fn messages(policy: &str, with: &str, kind: MaterialType, bytes: &[u8]) -> (Decision, Vec<String>) {
    let spec = format!(
        "materials: [{{name: it, type: {kind}}}]\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: true, with: {with}}}]}}"
    );
    let answer = ask(&rules(&spec, &[("p.yaml", policy)]), &evidence(&[Material::file("it", kind, "it", bytes)]));
    (answer.decision, answer.findings.into_iter().map(|finding| finding.message).collect())
}

#[test]
fn banned_licenses() {
    let kind = MaterialType::SbomCyclonedxJson;
    let with = "{licenses: 'AGPL-3.0-only, SSPL-1.0'}";
    let clean = messages(policies::library::BANNED_LICENSES, with, kind, &testdata::cyclonedx(5));
    assert_eq!(clean, (Decision::Allow, vec![]));
    let component = |name: &str, license: serde_json::Value| json!({"type": "library", "name": name, "version": "1", "licenses": [license]});
    let sbom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
        component("a", json!({"license": {"id": "agpl-3.0-only"}})),
        component("b", json!({"license": {"name": "SSPL-1.0"}})),
        component("c", json!({"expression": "MIT OR (Apache-2.0 AND AGPL-3.0-only)"})),
        component("d", json!({"license": {"id": "MIT"}})),
        {"type": "library", "name": "outer", "components": [component("inner", json!({"license": {"id": "SSPL-1.0"}}))]},
    ]});
    let (decision, found) = messages(policies::library::BANNED_LICENSES, with, kind, sbom.to_string().as_bytes());
    assert_eq!(decision, Decision::Deny);
    let expected = [
        "a 1 is under agpl-3.0-only",
        "b 1 is under sspl-1.0",
        "c 1 is under agpl-3.0-only",
        "inner 1 is under sspl-1.0",
    ];
    assert_eq!(found, expected);
    let (decision, _) = messages(policies::library::BANNED_LICENSES, "{licenses: MIT}", kind, &testdata::cyclonedx(5));
    assert_eq!(decision, Decision::Deny, "one value is not a list");
}

#[test]
fn no_critical_findings() {
    let policy = policies::library::NO_CRITICAL_FINDINGS;
    let kind = MaterialType::Sarif;
    let warnings = testdata::sarif(&[("CVE-1", "warning"), ("CVE-2", "note")]);
    assert_eq!(messages(policy, "{}", kind, &warnings), (Decision::Allow, vec![]));
    let errors = testdata::sarif(&[("CVE-1", "error"), ("CVE-2", "note")]);
    assert_eq!(messages(policy, "{}", kind, &errors), (Decision::Deny, vec!["CVE-1: CVE-1 was found".to_owned()]));
    let scored = |score: &str| {
        let rule = json!({"id": "CVE-1", "properties": {"security-severity": score}});
        json!({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t", "rules": [rule]}},
            "results": [{"ruleId": "CVE-1", "level": "error", "message": {"text": "bad"}}]}]})
        .to_string()
    };
    assert_eq!(messages(policy, "{}", kind, scored("8.9").as_bytes()).0, Decision::Allow);
    assert_eq!(messages(policy, "{}", kind, scored("9.8").as_bytes()).0, Decision::Deny);
    assert_eq!(messages(policy, "{severity: '7.0'}", kind, scored("8.9").as_bytes()).0, Decision::Deny);
    assert_eq!(
        messages(policy, "{}", kind, scored("high").as_bytes()).0,
        Decision::Deny,
        "what is no score is no pass"
    );
}

#[test]
fn tests_pass() {
    let policy = policies::library::TESTS_PASS;
    let report = |cases: &[(&str, Outcome)]| messages(policy, "{}", MaterialType::JunitXml, &testdata::junit(cases));
    assert_eq!(report(&[("a", Outcome::Passed), ("b", Outcome::Skipped)]), (Decision::Allow, vec![]));
    assert_eq!(report(&[("a", Outcome::Skipped)]), (Decision::Deny, vec!["no test was run".to_owned()]));
    let (decision, found) = report(&[("a", Outcome::Passed), ("b", Outcome::Failed)]);
    assert_eq!((decision, found.len()), (Decision::Deny, 1));
    let nested = b"<testsuites><testsuite name=\"o\"><testsuite name=\"i\"><testcase name=\"x\"><failure/></testcase></testsuite></testsuite></testsuites>";
    assert_eq!(messages(policy, "{}", MaterialType::JunitXml, nested).0, Decision::Deny);
}

#[test]
fn every_shipped_policy_is_named_by_its_file() {
    for (file, text) in policies::library::ALL {
        let name = file.trim_end_matches(".yaml");
        let document = contracts::policy::PolicyDocument::parse(file, text.as_bytes()).unwrap();
        assert_eq!(document.name, name);
    }
}
