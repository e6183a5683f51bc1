//! `sluice check` of files and digests, and contracts that are named.

use contracts::{Digest, MaterialType, materials};
use serde_json::Value;
use testdata::{Image, Layout};

use super::real_clients::get;
use crate::scene::{Scene, Serving, read};

const UPSTREAM: &str = "[[upstreams]]\nhost = \"registry.shop.example\"\nlayout = \"images\"\n";
const BINARY: &[u8] = b"a program";
const FILES: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: files}\nspec:\n  materials:\n    - {name: binary, type: ARTIFACT, output: true}\n  signers: {any: [{publicKey: \"file://keys/release.pub\"}]}\n";

/// A served gateway with the contract `files` for the workflow `shop/files`, and a file that nothing was attested about.
fn scene() -> (Scene, Serving) {
    let scene = Scene::new(UPSTREAM, &testdata::contract("registry.shop.example/**"));
    Layout::create(scene.path("images")).add("shop/app:v1", &Image::new("app"));
    let serving = scene.serve();
    scene.apply();
    scene.write("files.yaml", FILES.as_bytes());
    scene.sluice(&["contract", "apply", "files.yaml"], 0);
    scene.sluice(&["workflow", "create", "--project", "shop", "--name", "files", "--contract", "files"], 0);
    scene.write("dist/app.bin", BINARY);
    (scene, serving)
}

fn attest(scene: &Scene) {
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "files"], 0);
    scene.sluice(&["attestation", "add", "--name", "binary", "--value", "dist/app.bin"], 0);
    scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
}

#[test]
fn a_file_is_denied_and_then_allowed_in_every_form() {
    let (scene, _serving) = scene();
    insta::assert_snapshot!("no_contract", scene.sluice(&["check", "dist/app.bin"], 2));
    insta::assert_snapshot!("unknown_contract", scene.sluice(&["check", "./dist/app.bin", "--contract", "nope"], 2));
    let forms = ["human", "sarif", "junit", "github", "gitlab", "markdown"];
    let ask = |form: &str, code: i32| scene.sluice(&["check", "dist/app.bin", "--contract", "files", "-o", form], code);
    for form in forms {
        insta::assert_snapshot!(format!("denied_file_{form}"), ask(form, 1));
    }
    materials::validate(MaterialType::Sarif, ask("sarif", 1).as_bytes()).unwrap();
    materials::validate(MaterialType::JunitXml, ask("junit", 1).as_bytes()).unwrap();
    attest(&scene);
    let told = ask("human", 0);
    let digest = Digest::of(BINARY).to_string();
    assert!(told.contains(&format!("dist/app.bin ({digest}): allowed")), "{told}");
    for form in ["junit", "github", "gitlab", "markdown"] {
        insta::assert_snapshot!(format!("allowed_file_{form}"), ask(form, 0));
    }
    let json: Value = serde_json::from_str(&ask("json", 0)).unwrap();
    assert_eq!((&json["subject"], &json["named"][0]), (&Value::from(digest.as_str()), &Value::from("files")));

    // The digest alone is the same question, and all that are named must allow.
    scene.sluice(&["check", &digest, "--contract", "files"], 0);
    let told = scene.sluice(&["check", &digest, "--contract", "files", "--contract", "release"], 1);
    assert!(told.contains("has attestations for other contracts only (files), and none for `release`"), "{told}");
    let told = scene.sluice(&["check", &digest, "--contract", "files", "--explain"], 0);
    assert!(told.contains("judged: attestation sha256:") && told.contains("satisfied"), "{told}");

    // One byte more is another file.
    scene.write("dist/app.bin", b"a program.");
    ask("human", 1);
}

#[test]
fn the_signed_word_about_a_file_names_its_digest() {
    let (scene, _serving) = scene();
    attest(&scene);
    scene.sluice(&["check", "dist/app.bin", "--contract", "files", "--vsa", "word.json"], 0);
    let bundle = contracts::Bundle::parse(&read(&scene.path("word.json"))).unwrap();
    let statement: Value = serde_json::from_slice(&bundle.envelope().payload).unwrap();
    let digest = Digest::of(BINARY);
    assert_eq!(statement["predicate"]["resourceUri"], Value::from(digest.to_string()));
    assert_eq!(statement["subject"][0]["digest"]["sha256"], Value::from(digest.hex()));
    assert_eq!(statement["predicate"]["verificationResult"], "PASSED");
}

#[test]
fn what_another_gateway_said_of_a_file_counts_where_a_run_brings_it() {
    let (first, _first) = scene();
    attest(&first);
    first.sluice(&["check", "dist/app.bin", "--contract", "files", "--vsa", "word.json"], 0);
    first.write("dist/other.bin", b"another program");
    first.sluice(&["check", "dist/other.bin", "--contract", "files", "--vsa", "denied.json"], 1);
    let word = read(&first.path("word.json"));
    let bundle = contracts::Bundle::parse(&word).unwrap();
    let statement: Value = serde_json::from_slice(&bundle.envelope().payload).unwrap();
    let keys: Value = serde_json::from_slice(&get(&format!("{}/api/v1/keys", first.url()))).unwrap();

    let (second, _second) = scene();
    second.write("first.pub", keys["keys"][0]["pem"].as_str().unwrap().as_bytes());
    let verifier = statement["predicate"]["verifier"]["id"].as_str().unwrap();
    let contract = FILES.replace("  signers:", "    - {name: vsa, type: EVIDENCE, optional: true}\n  signers:");
    let demand = format!("{{id: \"{verifier}\", publicKey: \"file://first.pub\", maxAge: 1d}}");
    let contract =
        format!("{contract}  admission:\n    repositories: [\"none.example/**\"]\n    verifiers: [{demand}]\n");
    second.write("files.yaml", contract.as_bytes());
    second.sluice(&["contract", "apply", "files.yaml"], 0);
    second.write("word.json", &word);
    second.write("denied.json", &read(&first.path("denied.json")));
    let push = |brings: Option<&str>, file: &str| {
        second.sluice(&["attestation", "init", "--project", "shop", "--workflow", "files"], 0);
        second.sluice(&["attestation", "add", "--name", "binary", "--value", file], 0);
        if let Some(summary) = brings {
            second.sluice(&["attestation", "add", "--name", "vsa", "--value", summary], 0);
        }
        second.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    };
    let ask = |file: &str, exit: i32| second.sluice(&["check", file, "--contract", "files"], exit);

    push(None, "dist/app.bin");
    let told = ask("dist/app.bin", 1);
    assert!(told.contains("no summary by") && told.contains("of the type `EVIDENCE`"), "{told}");
    // A denial of another file; and the word about one file for another.
    second.write("dist/other.bin", b"another program");
    push(Some("denied.json"), "dist/other.bin");
    let told = ask("dist/other.bin", 1);
    assert!(told.contains("in the material `vsa`: its result is `FAILED`"), "{told}");
    push(Some("word.json"), "dist/other.bin");
    let told = ask("dist/other.bin", 1);
    assert!(told.contains("in the material `vsa`: it does not speak of"), "{told}");
    push(Some("word.json"), "dist/app.bin");
    ask("dist/app.bin", 0);
}

#[test]
fn what_is_asked_about_is_never_guessed() {
    let (scene, _serving) = scene();
    attest(&scene);
    // A file that is called like the image, with the bytes that are allowed.
    let image = "registry.shop.example/shop/app:v1";
    scene.write(image, BINARY);
    for arguments in [&["check", image][..], &["check", image, "--contract", "files"]] {
        let told = scene.sluice(arguments, 2);
        assert!(told.contains("reads like an image, and there is a file of that name"), "{told}");
    }
    scene.sluice(&["check", image, "--contract", "files", "--as", "file"], 0);
    let told = scene.sluice(&["check", image, "--contract", "files", "--as", "image"], 1);
    assert!(told.contains("contract files revision 1: denies") && told.contains("contract release revision 1: denies"));
    for (subject, says) in [
        ("./gone", "there is no file `./gone`"),
        ("./dist", "is a folder"),
        ("dist", "there is no file `dist`, so an image was asked about"),
        ("sha256:beef", "64 lower-case hexadecimal digits"),
        ("No Such File", "is no image, and there is no file of that name"),
    ] {
        let told = scene.sluice(&["check", subject, "--contract", "files"], 2);
        assert!(told.contains(says), "{subject}: {told}");
    }
    scene.sluice(&["check", "./gone", "--contract", "files", "--report", "json=r.json"], 2);
    let json: Value = serde_json::from_slice(&read(&scene.path("r.json"))).unwrap();
    assert_eq!((&json["subject"], &json["decision"]), (&Value::from("./gone"), &Value::Null));
}
