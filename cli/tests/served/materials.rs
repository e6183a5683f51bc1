//! What `attestation add` makes of a value when nobody says what it is, up to the push.

use crate::scene::Scene;

const CONTRACT: &str = r#"
apiVersion: sluice.dev/v1
kind: Contract
metadata: {name: release}
spec:
  materials:
    - {name: version, type: STRING}
    - {name: coverage, type: JACOCO_XML}
    - {name: secrets, type: TRUFFLEHOG_JSON}
    - {name: leaks, type: GITLEAKS_JSON}
    - {name: alerts, type: GHAS_CODE_SCAN}
    - {name: notes, type: EVIDENCE}
    - {name: chart, type: HELM_CHART}
  signers: {any: [{publicKey: "file://keys/release.pub"}]}
"#;

#[test]
fn a_value_is_told_by_its_bytes_and_never_guessed() {
    let scene = Scene::new("", CONTRACT);
    let _serving = scene.serve();
    scene.apply();
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    scene.write("coverage.txt", b"<report><counter type=\"INSTRUCTION\" missed=\"1\" covered=\"9\"/></report>");
    scene.write("broken.xml", b"<report>\n<counter></report>");
    scene.write("none.json", b"[]");
    scene.write("empty.jsonl", b"");
    scene.write("scan.json", br#"{"version":"2.1.0","runs":[]}"#);
    scene.write("notes.md", b"reviewed by jo");
    scene.write("api.yaml", b"openapi: 3.1.0\ninfo: {title: Pets, version: '1'}\npaths: {}\n");
    let chart = testdata::archive::tgz(&[("shop/Chart.yaml", b"apiVersion: v2\nname: shop\nversion: 1.0.0\n")]);
    scene.write("shop-1.0.0.tgz", &chart);

    let mut all = String::new();
    for (arguments, exit) in [
        (&["--value", "1.2.3"][..], 2),
        (&["--value", "reports/sbom.json"], 2),
        (&["--value", "broken.xml"], 2),
        (&["--value", "coverage.txt"], 0),
        (&["--value", "none.json"], 2),
        (&["--value", "scan.json"], 0),
        (&["--name", "leaks", "--value", "scan.json"], 2),
        (&["--name", "leaks", "--kind", "SARIF", "--value", "scan.json"], 2),
        (&["--kind", "SARIF", "--value", "scan.json"], 0),
        (&["--name", "leaks", "--value", "none.json"], 0),
        (&["--name", "secrets", "--value", "empty.jsonl"], 0),
        (&["--value", "none.json"], 0),
        (&["--value", "notes.md"], 0),
        (&["--value", "shop-1.0.0.tgz"], 0),
        (&["--kind", "STRING", "--value", "1.2.3"], 0),
        (&["--name", "other", "--value", "notes.md"], 2),
        (&["--name", "other", "--value", "none.json"], 2),
        (&["--value", "api.yaml"], 0),
    ] {
        let told = scene.sluice(&[&["attestation", "add"], arguments].concat(), exit);
        all += &format!("$ add {}\n{}\n", arguments.join(" "), told.trim_end());
    }
    insta::assert_snapshot!(all);
    let told = scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    assert!(told.contains("accepted"), "{told}");
}
