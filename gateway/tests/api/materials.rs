//! Materials that are no JSON, from the upload to the policy that reads them.

use std::collections::BTreeMap;

use contracts::{
    Digest, MaterialType,
    api::{ReceivedAttestation, RevisionFiles, StartedRun},
};
use reqwest::Method;
use serde_json::json;
use testdata::{Material, Minter};

use crate::support::{Site, site};

const CONTRACT: &str = r#"
apiVersion: sluice.dev/v1
kind: Contract
metadata: {name: release}
spec:
  materials:
    - {name: coverage, type: JACOCO_XML}
    - {name: scan, type: ZAP_DAST_ZIP}
    - {name: crashes, type: RADAMSA_CRASHES}
    - {name: build, type: ATTESTATION}
  policies:
    materials:
      - {ref: "file://coverage.yaml", gate: true}
      - {ref: "file://scan.yaml", gate: true}
      - {ref: "file://crashes.yaml", gate: true}
      - {ref: "file://build.yaml", gate: true}
    attestation:
      - {ref: "file://run.yaml", gate: true}
"#;

fn policy(name: &str, kind: MaterialType, violation: &str) -> (String, String) {
    let text = format!(
        "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  policies:\n    - kind: {kind}\n      embedded: |\n        package main\n        import rego.v1\n        result := {{\"skipped\": false, \"violations\": violations, \"skip_reason\": \"\"}}\n        {violation}\n"
    );
    (format!("{name}.yaml"), text)
}

async fn prepared() -> (Site, Minter) {
    let (site, build) = (site().await, Minter::fresh());
    let settings = json!({"default_signers": [build.public_pem()], "unmatched": "deny"});
    let put = site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await;
    assert!(put.starts_with("200"), "{put}");
    let files = BTreeMap::from([
        ("contract.yaml".to_owned(), CONTRACT.to_owned()),
        policy(
            "coverage",
            MaterialType::JacocoXml,
            r#"violations contains sprintf("%d instructions are not covered", [c.missed]) if { some c in input.counters; c.type == "INSTRUCTION"; c.missed > c.covered }"#,
        ),
        policy(
            "scan",
            MaterialType::ZapDastZip,
            r#"violations contains alert.alert if { some s in input.site; some alert in s.alerts; alert.riskcode == "3" }"#,
        ),
        policy(
            "crashes",
            MaterialType::RadamsaCrashes,
            r#"violations contains sprintf("%s crashes", [n]) if { n := input.chainloop_metadata.annotations["chainloop.material.radamsa.crashes.count"]; n != "0" }"#,
        ),
        policy(
            "build",
            MaterialType::Attestation,
            r#"violations contains "not ours" if input.subject[0].name != "app""#,
        ),
        policy(
            "run",
            MaterialType::Attestation,
            r#"violations contains sprintf("the run has %s crashes", [n]) if { some m in input.predicate.materials; n := m.annotations["chainloop.material.radamsa.crashes.count"]; n != "0" }"#,
        ),
    ]);
    let files = json!(RevisionFiles { contract: "contract.yaml".to_owned(), files });
    let applied = site.send(&site.admin, Method::PUT, "/api/v1/contracts/release", &files).await;
    assert!(applied.starts_with("201"), "{applied}");
    site.workflow("skynet", "release", "release").await;
    (site, build)
}

/// Pushes a run with these materials: the status, and the findings that block.
async fn push(site: &Site, build: &Minter, materials: &[Material]) -> (u16, Vec<String>) {
    let run = json!({"project": "skynet", "workflow": "release"});
    let run = site.by(&site.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
    let run: StartedRun = run.json().await.unwrap();
    for bytes in materials.iter().filter_map(|material| material.bytes.clone()) {
        let path = format!("/api/v1/evidence/{}", Digest::of(&bytes));
        let put = site.by(&site.admin, Method::PUT, &path).body(bytes).send().await.unwrap();
        assert!(put.status().is_success());
    }
    let bundle = build.attest(&run, materials);
    let path = "/api/v1/attestations?project=skynet&workflow=release";
    let post = site.by(&site.admin, Method::POST, path);
    let post = post.header("content-type", "application/vnd.dev.sigstore.bundle.v0.3+json");
    let answer = post.body(bundle.bytes().to_vec()).send().await.unwrap();
    let status = answer.status().as_u16();
    let received: ReceivedAttestation = answer.json().await.unwrap();
    let blocking = received.run.findings.iter().filter(|finding| finding.blocks());
    (status, blocking.map(|finding| format!("{}: {}", finding.code, finding.message)).collect())
}

fn jacoco(missed: u32, covered: u32) -> Material {
    let report = format!(
        "<!DOCTYPE report PUBLIC \"-//JACOCO//DTD Report 1.1//EN\" \"report.dtd\"><report name=\"app\"><counter type=\"INSTRUCTION\" missed=\"{missed}\" covered=\"{covered}\"/></report>"
    );
    Material::file("coverage", MaterialType::JacocoXml, "jacoco.xml", report.as_bytes())
}

fn zap(name: &str, risk: &str) -> Material {
    let report = json!({"@programName": "ZAP", "site": [{"alerts": [{"alert": "XSS", "riskcode": risk}]}]}).to_string();
    let archive = testdata::archive::zip(&[(name, report.as_bytes())]);
    Material::file("scan", MaterialType::ZapDastZip, "zap.zip", &archive)
}

fn crashes(files: &[(&str, &[u8])]) -> Material {
    let archive = testdata::archive::tgz_unchecked(files);
    let material = Material::file("crashes", MaterialType::RadamsaCrashes, "crashes.tgz", &archive);
    // What the build claims of it is not what counts.
    material.annotated("chainloop.material.radamsa.crashes.count", "0")
}

fn attestation(build: &Minter, subject: &str) -> Material {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": {"sha256": Digest::of(b"app").hex()}}],
        "predicateType": "chainloop.dev/attestation/v0.2",
        "predicate": {},
    });
    let statement = contracts::Statement::parse(statement.to_string().as_bytes()).unwrap();
    Material::file("build", MaterialType::Attestation, "build.json", build.sign(&statement).bytes())
}

#[tokio::test]
async fn policies_read_what_is_in_xml_archives_and_attestations() {
    let (site, build) = prepared().await;
    let folder: &[(&str, &[u8])] = &[];
    let good = [jacoco(1, 9), zap("report_json.json", "1"), attestation(&build, "app")];
    let none = Material::file("crashes", MaterialType::RadamsaCrashes, "crashes.zip", &testdata::archive::zip(folder));
    let fine = [&good[..], &[none]].concat();
    assert_eq!(push(&site, &build, &fine).await, (200, vec![]));

    let bad = [
        jacoco(9, 1),
        zap("report_json.json", "3"),
        crashes(&[("a", b"a"), ("b", b"b")]),
        attestation(&build, "other"),
    ];
    let (status, mut found) = push(&site, &build, &bad).await;
    found.sort();
    assert_eq!(status, 422);
    insta::assert_snapshot!(found.join("\n"), @r"
    policy-violation: 2 crashes
    policy-violation: 9 instructions are not covered
    policy-violation: XSS
    policy-violation: not ours
    policy-violation: the run has 2 crashes
    ");
}

#[tokio::test]
async fn what_is_not_what_its_type_says_denies_before_any_policy() {
    let (site, build) = prepared().await;
    let broken = Material::file("coverage", MaterialType::JacocoXml, "jacoco.xml", b"<report>");
    let bad = [broken, zap("report.json", "1"), crashes(&[("../a", b"a")]), attestation(&build, "app")];
    let (status, mut found) = push(&site, &build, &bad).await;
    found.sort();
    assert_eq!(status, 422);
    insta::assert_snapshot!(found.join("\n"), @r"
    material-malformed: material `coverage`: it is not well-formed XML at line 1: it ends before its elements do
    material-malformed: material `scan`: there is not exactly one `report_json.json` in the archive
    policy-violation: 1 crashes
    policy-violation: the run has 1 crashes
    ");
}
