//! `sluice contract diff, test, replay`, and what editors and shells are told.
#![cfg(test)]

mod program;

use contracts::{Digest, SigningKey, Statement, Subject};
use program::Folder;
use serde_json::{Value, json};

const CONTRACT: &str = r#"apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: shop}
spec:
  materials:
    - {name: image, type: CONTAINER_IMAGE, output: true}
    - {name: scan, type: SARIF, effectiveFrom: 2027-01-01}
  policies:
    materials: [{ref: "file://days.yaml", gate: false, with: {days: 30}}]
  signers: {any: [{publicKey: "file://build.pub"}]}
  admission:
    repositories: ["registry.shop.example/**"]
    maxAge: 90d
"#;

const DAYS: &str = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: days, description: It says how many days}\nspec:\n  inputs: [{name: days}]\n  policies:\n    - kind: SARIF\n      embedded: |\n        package days\n        import rego.v1\n        violations contains \"none\" if count(input.runs) == 0\n";

#[test]
fn diff_tells_in_words_what_is_asked_for_now() {
    let folder = Folder::new();
    folder.write("old.yaml", CONTRACT);
    folder.write("days.yaml", DAYS);
    folder.write("build.pub", &SigningKey::generate_p256().unwrap().public().to_pem());
    let same = folder.sluice(&["contract", "diff", "old.yaml", "old.yaml"]);
    assert_eq!((same.exit, same.stdout.as_str()), (0, "both ask for the same\n"), "{same}");

    let new = CONTRACT
        .replace("gate: false, with: {days: 30}", "gate: true, with: {days: 7}")
        .replace("effectiveFrom: 2027-01-01", "effectiveFrom: 2026-06-01")
        .replace("    - {name: image", "    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n    - {name: image")
        .replace("    maxAge: 90d\n", "    enforcement: warn\n")
        .replace("registry.shop.example/**", "registry.shop.example/app");
    folder.write("new.yaml", &new);
    insta::assert_snapshot!(folder.sluice(&["contract", "diff", "old.yaml", "new.yaml"]));
    let json = folder.sluice(&["contract", "diff", "old.yaml", "new.yaml", "--output", "json"]);
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.exit, &answer["same"]), (1, &json!(false)));
    let ids = |key: &str| -> Vec<&str> {
        answer[key].as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap()).collect()
    };
    assert_eq!(ids("removed"), ["max-age"]);
    assert!(ids("added").contains(&"material-sbom") && ids("changed").contains(&"policy-days-scan"), "{json}");
}

/// A bundle of some tool about something, signed by this key.
fn bundle(key: &SigningKey, signed: bool) -> String {
    let digest = Digest::of(if signed { b"a" } else { b"b" });
    let mut subject = Subject::sha256("registry.shop.example/app", digest);
    if signed {
        subject.annotations = json!({"signature": "s"});
    }
    let statement = Statement::new(vec![subject], "https://example.com/build", json!({}));
    String::from_utf8(key.sign(&statement).unwrap().bytes().to_vec()).unwrap()
}

const LOOSE: &str = r#"apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: shop}
spec:
  signers: {any: [{publicKey: "file://build.pub"}]}
"#;

const STRICT: &str = r#"apiVersion: chainloop.dev/v1
kind: Contract
metadata: {name: shop}
spec:
  signers: {any: [{publicKey: "file://build.pub"}]}
  admission:
    repositories: ["registry.shop.example/**"]
    rules:
      - {name: signed, cel: "attestation.subject.exists(s, has(s.annotations) && has(s.annotations.signature))", message: sign it}
"#;

#[test]
fn bundles_of_a_folder_are_judged_as_they_would_be() {
    let folder = Folder::new();
    let (key, other) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_p256().unwrap());
    folder.write("build.pub", &key.public().to_pem());
    folder.write("loose.yaml", LOOSE);
    folder.write("strict.yaml", STRICT);
    folder.write("bundles/allow/signed.json", &bundle(&key, true));
    folder.write("bundles/deny/rule-failed/unsigned.json", &bundle(&key, false));
    folder.write("bundles/deny/signature-invalid/other.json", &bundle(&other, true));
    let told = folder.sluice(&["contract", "test", "strict.yaml", "bundles"]);
    assert_eq!(told.exit, 0, "{told}");
    assert!(told.stdout.ends_with("3 bundles, 0 failed\n"), "{told}");
    let told = folder.sluice(&["contract", "test", "loose.yaml", "bundles"]);
    assert_eq!(told.exit, 1, "{told}");
    assert!(told.stdout.contains("it is allowed") && told.stdout.ends_with("3 bundles, 1 failed\n"), "{told}");
    // The right decision for another reason is not what was expected.
    folder.write("bundles/deny/evidence-too-old/unsigned.json", &bundle(&key, false));
    let told = folder.sluice(&["contract", "test", "strict.yaml", "bundles", "--output", "json"]);
    assert_eq!(told.exit, 1, "{told}");

    let replayed = folder.sluice(&["contract", "replay", "loose.yaml", "strict.yaml", "bundles", "-o", "json"]);
    let answer: Value = serde_json::from_str(&replayed.stdout).unwrap();
    assert_eq!((replayed.exit, &answer["total"]), (1, &json!(4)), "{replayed}");
    let flips = answer["flips"].as_array().unwrap();
    assert_eq!(flips.len(), 2, "{replayed}");
    assert_eq!((&flips[0]["before"], &flips[0]["after"]), (&json!("allow"), &json!("deny")));
    let same = folder.sluice(&["contract", "replay", "strict.yaml", "strict.yaml", "bundles"]);
    assert_eq!((same.exit, same.stdout.as_str()), (0, "0 of 4 verdicts change\n"), "{same}");
    for (arguments, why) in [
        (&["test", "strict.yaml", "gone"][..], "`gone` cannot be read"),
        (&["test", "strict.yaml", "bundles/allow"], "has no bundle in `allow/` or `deny/`"),
        (&["replay", "loose.yaml", "strict.yaml", "."], ""),
    ] {
        let told = folder.sluice(&[&["contract"], arguments].concat());
        assert!(told.stderr.contains(why), "{why} in\n{told}");
        assert_eq!(told.exit == 2, !why.is_empty(), "{told}");
    }
}

#[test]
fn editors_and_shells_are_told_what_there_is() {
    let folder = Folder::new();
    for kind in ["contract", "policy", "policy-test"] {
        let told = folder.sluice(&["schema", kind]);
        let schema: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!((told.exit, &schema["$schema"]), (0, &json!("https://json-schema.org/draft/2020-12/schema")));
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let told = folder.sluice(&["completions", shell]);
        assert!(told.exit == 0 && told.stdout.contains("attestation") && told.stdout.contains("policy"), "{shell}");
    }
    let told = folder.sluice(&["man", "pages"]);
    assert_eq!(told.exit, 0, "{told}");
    let page = folder.read("pages/sluice-policy-test.1");
    assert!(page.contains(".TH") && page.contains("coverage"), "{page}");
    assert!(folder.path("pages/sluice.1").is_file());
}

#[test]
fn several_contracts_are_linted_at_once() {
    let folder = Folder::new();
    folder.write("build.pub", &SigningKey::generate_p256().unwrap().public().to_pem());
    folder.write("good.yaml", LOOSE);
    folder.write("bad.yaml", &LOOSE.replace("signers", "signer"));
    let told = folder.sluice(&["contract", "lint", "good.yaml", "bad.yaml", "-o", "github"]);
    assert_eq!(told.exit, 1, "{told}");
    assert!(told.stdout.starts_with("::error title=document-unknown-key,file=bad.yaml,line=5,col=3::"), "{told}");
    let told = folder.sluice(&["contract", "lint", "good.yaml", "good.yaml"]);
    assert_eq!(told.exit, 0, "{told}");
}
