//! Who the serving gateway is to its upstreams.

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::Digest;

use crate::{adding::guarded_registry, scene::Scene};

#[cfg(unix)]
#[test]
fn a_credential_helper_says_who_the_gateway_is_to_an_upstream() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let digest = Digest::of(b"the image");
    let registry = guarded_registry(digest, format!("Basic {}", STANDARD.encode("jo:from the helper")));
    let upstream =
        "[[upstreams]]\nhost = \"registry.shop.example\"\nplain_http = true\ncredential_helper = \"scene\"\n";
    let scene = Scene::new(
        &format!("{upstream}url = \"http://{registry}\"\n"),
        &testdata::contract("registry.shop.example/shop/**"),
    );
    let image = format!("registry.shop.example/shop/app@{digest}");
    {
        let _serving = scene.serve();
        scene.apply();
        let told = scene.sluice(&["check", &image], 2);
        assert!(told.contains("`docker-credential-scene` cannot be run"), "{told}");
    }
    let helper = "#!/bin/sh\n[ \"$1 $(cat)\" = 'get registry.shop.example' ] && echo '{\"Username\":\"jo\",\"Secret\":\"from the helper\"}'\n";
    scene.write("bin/docker-credential-scene", helper.as_bytes());
    fs::set_permissions(scene.path("bin/docker-credential-scene"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", scene.path("bin").display(), std::env::var("PATH").unwrap());
    let _serving = scene.serve_with(&[("PATH", &path)]);
    // The registry could be asked, and has nothing beside the image.
    let told = scene.sluice(&["check", &image], 1);
    assert!(told.contains("no attestation"), "{told}\n{}", scene.log());
    assert!(!scene.log().contains("from the helper"));
}
