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

/// One helper that hangs keeps nobody from what lies in other registries, and whoever asks for the same together waits once.
#[cfg(unix)]
#[test]
fn a_credential_helper_that_hangs_stops_no_other_registry() {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        time::{Duration, Instant},
    };

    let digest = Digest::of(b"the image");
    let registry = guarded_registry(digest, format!("Basic {}", STANDARD.encode("jo:secret")));
    let upstream = |host: &str, helper: &str| {
        format!(
            "[[upstreams]]\nhost = \"{host}\"\nplain_http = true\ncredential_helper = \"{helper}\"\nurl = \"http://{registry}\"\n"
        )
    };
    let settings = upstream("hangs.shop.example", "hangs") + &upstream("registry.shop.example", "scene");
    let scene = Scene::new(&settings, &testdata::contract("hangs.shop.example/**\", \"registry.shop.example/**"));
    let script = |name: &str, text: &str| {
        scene.write(&format!("bin/{name}"), text.as_bytes());
        fs::set_permissions(scene.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("docker-credential-hangs", "#!/bin/sh\nexec sleep 60\n");
    script("docker-credential-scene", "#!/bin/sh\necho '{\"Username\":\"jo\",\"Secret\":\"secret\"}'\n");
    let path = format!("{}:{}", scene.path("bin").display(), std::env::var("PATH").unwrap());
    let _serving = scene.serve_with(&[("PATH", &path)]);
    scene.apply();
    let image = |host: &str| format!("{host}/shop/app@{digest}");
    std::thread::scope(|threads| {
        let hanging: Vec<_> =
            (0..3).map(|_| threads.spawn(|| scene.sluice(&["check", &image("hangs.shop.example")], 2))).collect();
        std::thread::sleep(Duration::from_secs(1));
        let begin = Instant::now();
        let told = scene.sluice(&["check", &image("registry.shop.example")], 1);
        assert!(told.contains("no attestation"), "{told}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        for one in hanging {
            one.join().unwrap();
        }
        // Three times one after the other they would wait for a minute and a half.
        assert!(begin.elapsed() < Duration::from_secs(45), "{:?}", begin.elapsed());
    });
}
