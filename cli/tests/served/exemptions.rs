//! Exemptions with the real command line: signed by two people, applied, seen, withdrawn; and an emergency.

use contracts::{Digest, keys::SigningKey};

use crate::scene::{Scene, read};

const IMAGE: &str = "registry.acme.dev/shop/app";

/// A gateway whose contract asks for an image and a note, with two approvers who must both sign.
fn scene() -> Scene {
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: note, type: STRING}}\n  signers: {{any: [{{publicKey: \"file://keys/release.pub\"}}]}}\n  admission:\n    repositories: [\"{IMAGE}\"]\n    breakGlass: {{callers: [operator], maxDuration: 1h}}\n"
    );
    let scene = Scene::new("", &contract);
    for name in ["ann", "bob"] {
        let key = SigningKey::generate_p256().unwrap();
        scene.write(&format!("keys/{name}.key"), key.to_encrypted_pem(b"scene").unwrap().as_bytes());
        scene.write(&format!("keys/{name}.pub"), key.public().to_pem().as_bytes());
    }
    scene
}

fn approvers(scene: &Scene) {
    let settings = "exemptions:\n  approvers: [file://keys/ann.pub, file://keys/bob.pub]\n  threshold: 2\n";
    scene.write("organization.yaml", settings.replace("threshold: 2", "threshold: 3").as_bytes());
    let told = scene.sluice(&["organization", "apply", "organization.yaml"], 2);
    assert!(told.contains("only 2 different signers"), "{told}");
    scene.write("organization.yaml", settings.replace("file://keys/ann", "keys/ann").as_bytes());
    let told = scene.sluice(&["organization", "apply", "organization.yaml"], 2);
    assert!(told.contains("write `file://keys/ann.pub`"), "{told}");
    scene.write("organization.yaml", settings.as_bytes());
    scene.sluice(&["organization", "apply", "organization.yaml"], 0);
    let told = scene.sluice(&["organization", "describe"], 0);
    assert!(told.contains("2 of 2, for 30d at most"), "{told}");
}

/// Pushes a run without its note.
fn push(scene: &Scene, image: &str, more: &[&str], exit: i32) -> String {
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release", "-f"], 0);
    scene.sluice(&["attestation", "add", "--name", "image", "--value", image], 0);
    let mut arguments = vec!["attestation", "push", "--key", "keys/release.key"];
    arguments.extend(more);
    scene.sluice(&arguments, exit)
}

#[test]
fn two_people_sign_and_the_image_goes_out_until_it_is_withdrawn() {
    let scene = scene();
    let _serving = scene.serve();
    scene.apply();
    approvers(&scene);
    let image = format!("{IMAGE}@{}", Digest::of(b"image"));
    push(&scene, &image, &["--force"], 4);
    scene.sluice(&["check", &image], 1);

    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: note, organization: default}}\nspec:\n  scope: {{rule: material-note, repositories: [{IMAGE}]}}\n  reason: the note comes on Monday\n  from: 2026-01-01\n  until: 2999-01-01\n"
    );
    // Of a rule that the contract does not have nobody is to sign.
    let lint = ["exemption", "lint", "note.yaml", "--contract", "contract.yaml"];
    scene.write("note.yaml", document.replace("rule: material-note", "rule: note").as_bytes());
    insta::assert_snapshot!(scene.sluice(&lint, 0));
    scene.write("note.yaml", document.as_bytes());
    assert!(scene.sluice(&lint, 0).contains("no mistakes"));
    scene.write("note.yaml", document.replace("{rule", "{contract: releases, rule").as_bytes());
    assert!(scene.sluice(&lint, 0).contains("none of the contracts that were named is `releases`"));
    scene.write("note.yaml", document.replace("reason", "raison").as_bytes());
    let told = scene.sluice(&["exemption", "lint", "note.yaml"], 1);
    assert!(told.contains("did you mean `reason`?") && told.contains("needs `reason`"), "{told}");
    scene.write("note.yaml", document.as_bytes());
    scene.sluice(&["exemption", "sign", "note.yaml", "--key", "keys/ann.key"], 0);
    let told = scene.sluice(&["exemption", "apply", "note.signed.json"], 2);
    assert!(told.contains("2 distinct ones must"), "{told}");
    scene.sluice(&["exemption", "sign", "note.signed.json", "--key", "keys/bob.key"], 0);
    let told = scene.sluice(&["exemption", "apply", "note.signed.json"], 2);
    assert!(told.contains("allows 30d at most") || told.contains("exemption-too-long"), "{told}");

    let (from, until) = (days(-1), days(7));
    scene.write("note.yaml", document.replace("2026-01-01", &from).replace("2999-01-01", &until).as_bytes());
    scene.sluice(&["exemption", "sign", "note.yaml", "--key", "keys/ann.key"], 0);
    scene.sluice(&["exemption", "sign", "note.signed.json", "--key", "keys/bob.key"], 0);
    scene.sluice(&["exemption", "apply", "note.signed.json"], 0);
    let told = scene.sluice(&["exemption", "list"], 0);
    assert!(told.contains("in force") && told.contains("rule material-note"), "{told}");
    let told = scene.sluice(&["check", &image], 0);
    assert!(told.contains("exempt"), "{told}");
    scene.sluice(&["exemption", "withdraw", "note"], 0);
    scene.sluice(&["check", &image], 1);
    let told = scene.sluice(&["exemption", "apply", "note.signed.json"], 2);
    assert!(told.contains("does not come back"), "{told}");
}

/// It is approved and in force, and nothing ever goes out by it.
#[test]
fn an_exemption_from_a_rule_that_is_not_there_is_told_to_cover_nothing() {
    let scene = scene();
    let _serving = scene.serve();
    scene.apply();
    approvers(&scene);
    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: note, organization: default}}\nspec:\n  scope: {{rule: material-nota, repositories: [{IMAGE}]}}\n  reason: r\n  from: {}\n  until: {}\n",
        days(-1),
        days(7)
    );
    let apply = |document: &str| {
        scene.write("note.yaml", document.as_bytes());
        scene.sluice(&["exemption", "sign", "note.yaml", "--key", "keys/ann.key"], 0);
        scene.sluice(&["exemption", "sign", "note.signed.json", "--key", "keys/bob.key"], 0);
        scene.sluice(&["exemption", "apply", "note.signed.json"], 0)
    };
    let told = apply(&document);
    assert!(told.contains("covers nothing now; did you mean `material-note`?"), "{told}");
    assert!(scene.sluice(&["exemption", "list", "-o", "json"], 0).contains("covers nothing"));
    let told = apply(&document.replace("material-nota", "material-note"));
    assert!(!told.contains("warning"), "{told}");
    // Of that rule, but not where this contract asks.
    let told = apply(&document.replace("{rule: material-nota", "{rule: material-note, contract: another"));
    assert!(told.contains("covers nothing"), "{told}");
}

#[expect(clippy::disallowed_methods, reason = "the gateway under test reads the same clock")]
fn days(n: i64) -> String {
    jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(24 * n)).unwrap().to_string()
}

#[test]
fn in_an_emergency_a_rejected_run_goes_out_with_a_reason() {
    let scene = scene();
    let _serving = scene.serve();
    scene.apply();
    let image = format!("{IMAGE}@{}", Digest::of(b"image"));
    let told = push(&scene, &image, &["--emergency", "the site is down"], 0);
    assert!(told.contains("let through until") && told.contains("material-missing"), "{told}");
    scene.sluice(&["check", &image], 0);
    let told = scene.sluice(&["exemption", "list"], 0);
    assert!(told.contains("EMERGENCY by operator") && told.contains("the site is down"), "{told}");

    // A run that was blocked already; then one that nobody may let through any more.
    let image = format!("{IMAGE}@{}", Digest::of(b"another"));
    push(&scene, &image, &["--force"], 4);
    scene.sluice(&["check", &image], 1);
    let emergency = ["attestation", "push", "--key", "keys/release.key", "--emergency", "still down"];
    scene.sluice(&emergency, 0);
    scene.sluice(&["check", &image], 0);
    let contract = String::from_utf8(read(&scene.path("contract.yaml"))).unwrap();
    scene.write("contract.yaml", contract.replace("callers: [operator]", "callers: [on-call]").as_bytes());
    scene.sluice(&["contract", "apply", "contract.yaml"], 0);
    scene.sluice(&["check", &image], 1);
    let told = push(&scene, &image, &["--emergency", "the site is down"], 4);
    assert!(told.contains("is not among the `callers`"), "{told}");
}

#[test]
fn somebody_without_a_key_approves_with_a_bundle_that_another_program_made() {
    let at: jiff::Timestamp = days(-1).parse().unwrap();
    let sigstore = testdata::Sigstore::new(at);
    let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: image, type: CONTAINER_IMAGE, output: true}\n    - {name: note, type: STRING}\n  signers: {any: [{publicKey: \"file://keys/release.pub\"}]}\n  admission: {repositories: [\"registry.acme.dev/shop/app\"]}\n";
    let scene = Scene::new("trusted_root = \"trusted_root.json\"\n", contract);
    scene.write("trusted_root.json", &sigstore.trusted_root());
    let _serving = scene.serve();
    scene.apply();
    let (issuer, carol) = ("https://accounts.acme.dev", "https://acme.dev/people/carol");
    let settings = format!("exemptions:\n  approvers: [{{issuer: \"{issuer}\", identity: \"{carol}\"}}]\n");
    scene.write("organization.yaml", settings.as_bytes());
    scene.sluice(&["organization", "apply", "organization.yaml"], 0);
    let image = format!("{IMAGE}@{}", Digest::of(b"image"));
    push(&scene, &image, &["--force"], 4);

    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: note, organization: default}}\nspec:\n  scope: {{rule: material-note, repositories: [{IMAGE}]}}\n  reason: the note comes on Monday\n  from: {}\n  until: {}\n",
        days(-1),
        days(7)
    );
    scene.write("note.yaml", document.as_bytes());
    scene.write("other.yaml", document.replace("Monday", "Tuesday").as_bytes());
    let approvals = contracts::exemption::Approvals::none_of(document.into_bytes());
    scene.write("carol.json", sigstore.attest(&approvals.statement("note.yaml"), carol, issuer, at).bytes());
    let told = scene.sluice(&["exemption", "sign", "other.yaml", "--add-bundle", "carol.json"], 2);
    assert!(told.contains("does not approve of this document"), "{told}");
    // No key is taken from the environment of a pipeline, and nobody is asked.
    let ambient = [("SLUICE_SIGNING_KEY_PATH", "keys/release.key")];
    let told = scene.sluice_on(&ambient, &["exemption", "sign", "note.yaml"], 2);
    assert!(told.contains("there is nothing to sign with"), "{told}");
    scene.sluice(&["exemption", "sign", "note.yaml", "--add-bundle", "carol.json"], 0);
    scene.sluice(&["exemption", "apply", "note.signed.json"], 0);
    let told = scene.sluice(&["exemption", "list"], 0);
    assert!(told.contains(carol), "{told}");
    assert!(scene.sluice(&["check", &image], 0).contains("by exemption alone"));
}
