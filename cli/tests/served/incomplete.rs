//! A push that lacks what the contract requires costs nothing until it is forced; and what is said to whoever
//! brings no token.

use contracts::Digest;

use crate::scene::Scene;

const REPOSITORY: &str = "registry.shop.example/shop/app";
const UPSTREAM: &str = "[[upstreams]]\nhost = \"registry.shop.example\"\nlayout = \"images\"\n";
const PUSH: [&str; 4] = ["attestation", "push", "--key", "keys/release.key"];

#[test]
fn an_incomplete_push_is_not_sent_unless_it_is_forced() {
    let scene = Scene::new(UPSTREAM, &testdata::contract("registry.shop.example/shop/**"));
    testdata::Layout::create(scene.path("images"));
    let _serving = scene.serve();
    scene.apply();
    scene.sluice(&["attestation", "init", "--project", "shop", "--workflow", "release"], 0);
    let image = format!("{REPOSITORY}@{}", Digest::of(b"image"));
    scene.sluice(&["attestation", "add", "--name", "image", "--value", &image], 0);

    let told = scene.sluice(&PUSH, 4);
    assert!(told.contains("not pushed") && told.contains("sluice attestation add --name sbom --value FILE"), "{told}");
    let runs = scene.sluice(&["run", "list", "--workflow", "shop/release"], 0);
    assert!(runs.contains("started") && !runs.contains("rejected"), "{runs}");

    let forced = [&PUSH[..], &["--force"]].concat();
    let told = scene.sluice_without_password(&forced, 2);
    assert!(told.contains("is encrypted: put its password into SLUICE_KEY_PASSWORD"), "{told}");
    let told = scene.sluice(&forced, 4);
    assert!(told.contains("blocked: attestation"), "{told}");
    let runs = scene.sluice(&["run", "list", "--workflow", "shop/release"], 0);
    assert!(runs.contains("rejected"), "{runs}");
    let told = scene.sluice(&PUSH, 2);
    assert!(told.contains("pushed already, and blocked"), "{told}");
}

#[test]
fn a_missing_token_is_told_with_what_to_set_and_a_missing_tag_as_it_is_written() {
    let scene = Scene::new(UPSTREAM, &testdata::contract("registry.shop.example/shop/**"));
    testdata::Layout::create(scene.path("images"));
    let _serving = scene.serve();
    scene.apply();
    let told = scene.sluice_without_token(&["run", "list"], 2);
    assert!(told.contains("SLUICE_TOKEN") && told.contains("--token-file"), "{told}");
    let told = scene.sluice(&["check", &format!("{REPOSITORY}:nope")], 2);
    assert!(told.contains(&format!("{REPOSITORY}:nope")), "{told}");
    assert!(!scene.log().contains('\x1b'), "{}", scene.log());
}
