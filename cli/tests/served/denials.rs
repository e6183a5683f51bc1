//! An operator denies a digest or withdraws an attestation, and asks which of what was pulled or runs would be denied now.

use contracts::Digest;
use serde_json::json;
use testdata::{Image, Layout};

use crate::scene::{Scene, Serving};

const UPSTREAM: &str = "[[upstreams]]\nhost = \"registry.shop.example\"\nlayout = \"images\"\n";

/// A served gateway with one allowed image.
fn scene() -> (Scene, Serving, Image) {
    let scene = Scene::new(UPSTREAM, &testdata::contract("registry.shop.example/**"));
    let image = Image::new("app");
    Layout::create(scene.path("images")).add("shop/app:v1", &image);
    let serving = scene.serve();
    scene.apply();
    scene.write("sbom.json", &testdata::cyclonedx(3));
    let named = format!("registry.shop.example/shop/app@{}", image.digest());
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    scene.sluice(&["attestation", "add", "--name", "image", "--value", &named], 0);
    scene.sluice(&["attestation", "add", "--name", "sbom", "--value", "sbom.json"], 0);
    scene.sluice(&["attestation", "push", "--key", "keys/release.key"], 0);
    (scene, serving, image)
}

#[test]
fn a_digest_is_denied_listed_and_opened_again() {
    let (scene, _serving, image) = scene();
    let (name, layer) = ("registry.shop.example/shop/app:v1", image.layers[1].digest.to_string());
    scene.sluice(&["check", name], 0);
    let reason = ["--reason", "CVE-2031-1: it phones home"];
    let told = scene.sluice(&[&["deny", &layer][..], &reason, &["--until", "2h"]].concat(), 0);
    assert!(told.contains("is denied from now on, and whatever holds it: in every repository, until"), "{told}");
    let told = scene.sluice(&["check", name], 1);
    assert!(told.contains("it phones home") && told.contains("denied-by-operator"), "{told}");
    let listed = scene.sluice(&["deny", "list"], 0);
    assert!(listed.contains(&layer) && listed.contains("everywhere"), "{listed}");
    // What is pulled and what runs, asked about without pulling.
    let pinned = format!("registry.shop.example/shop/app@{}", image.digest());
    let other = format!("registry.shop.example/shop/other@{}", Digest::of(b"other"));
    scene.write("fleet.txt", format!("# what runs\n{pinned}\n{other}\n").as_bytes());
    let told = scene.sluice(&["pulls", "--would-deny", "--from", "fleet.txt"], 1);
    assert!(told.contains("2 images asked about, 2 would be denied now, 0 could not be told"), "{told}");
    assert!(told.contains("it phones home"), "{told}");
    scene.sluice(&["deny", "remove", &layer], 0);
    scene.sluice(&["check", name], 0);
    scene.sluice(&["deny", "rm", &layer], 2);
    scene.write("fleet.txt", pinned.as_bytes());
    scene.sluice(&["pulls", "--would-deny", "--from", "fleet.txt"], 0);
    let status = json!({"name": "web", "image": "a", "imageID": Digest::of(b"configuration").to_string()});
    let pod = json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "web-1"}, "status": {"phase": "Running", "containerStatuses": [status]}});
    scene.write("pods.json", json!({"kind": "List", "items": [pod]}).to_string().as_bytes());
    let told = scene.sluice(&["pulls", "--would-deny", "--from", "pods.json"], 2);
    assert!(told.contains("shop/web-1 web") && told.contains("it names no digest"), "{told}");
    let told = scene.sluice(&["deny", "web:v1", "--reason", "r"], 2);
    assert!(told.contains("is not a digest"), "{told}");
    let told = scene.sluice(&["pulls", "--would-deny"], 0);
    assert!(told.contains("there is no image to ask about"), "{told}");
    // A list that names nothing is a mistake of whoever made it.
    scene.write("fleet.txt", b"\n");
    scene.sluice(&["pulls", "--would-deny", "--from", "fleet.txt"], 2);
}

#[test]
fn an_attestation_is_withdrawn_shown_as_such_and_restored() {
    let (scene, _serving, _) = scene();
    let name = "registry.shop.example/shop/app:v1";
    scene.sluice(&["check", name], 0);
    let runs: serde_json::Value = serde_json::from_str(&scene.sluice(&["run", "list", "-o", "json"], 0)).unwrap();
    let (run, attestation) = (runs[0]["id"].as_str().unwrap(), runs[0]["attestation"].as_str().unwrap());
    let told = scene.sluice(&["attestation", "withdraw", run], 2);
    assert!(told.contains("--reason"), "whoever is denied wants to know why: {told}");
    let reason = ["--reason", "the builder was broken into"];
    let told = scene.sluice(&[&["attestation", "withdraw", run][..], &reason].concat(), 0);
    assert!(told.contains(attestation) && told.contains("counts no more from now on"), "{told}");
    let told = scene.sluice(&["check", name], 1);
    assert!(told.contains("the builder was broken into") && told.contains("attestation-withdrawn"), "{told}");
    let told = scene.sluice(&["run", "describe", run], 0);
    assert!(told.contains("withdrawn") && told.contains("the builder was broken into"), "{told}");
    let listed = scene.sluice(&["att", "withdrawn"], 0);
    assert!(listed.contains(attestation) && listed.contains("shop/release"), "{listed}");
    let told = scene.sluice(&["run", "provenance", run], 2);
    assert!(told.contains("an operator withdrew"), "{told}");
    let told = scene.sluice(&["attestation", "restore", attestation], 0);
    assert!(told.contains("counts again"), "{told}");
    scene.sluice(&["check", name], 0);
    let told = scene.sluice(&["attestation", "restore", attestation, "--graceful-exit"], 2);
    assert!(told.contains("is withdrawn"), "{told}");
    let told = scene.sluice(&["attestation", "withdraw", "no-such-run", "--reason", "r"], 2);
    assert!(told.contains("there is no run `no-such-run` here"), "{told}");
}
