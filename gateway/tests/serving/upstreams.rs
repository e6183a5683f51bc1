//! What the gateway is to its upstreams: whose login it has, where it goes when they send it elsewhere, what it asks for.

use std::path::Path;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response as Answer},
};
use gateway::upstream::Redirects;
use reqwest::{Method, header};
use testdata::{Blob, Image};

use crate::{
    fake::{Asked, Fake},
    site::{Site, failed, header_of, is, site_with},
};

/// The login `me:hunter2`.
const BASIC: &str = "Basic bWU6aHVudGVyMg==";

/// A registry that wants to know who asks.
fn wants_basic(asked: &Asked) -> Option<Answer> {
    let challenge = [("www-authenticate", "Basic realm=\"r\"")];
    (asked.header("authorization") != Some(BASIC)).then(|| (StatusCode::UNAUTHORIZED, challenge).into_response())
}

async fn pulls(site: &Site) -> u16 {
    site.status("registry.test/open/app/manifests/v1").await
}

#[tokio::test]
async fn a_configuration_of_dockers_has_the_login_and_may_change() {
    let config = testdata::scratch();
    let file = config.path().join("config.json");
    std::fs::write(&file, r#"{"auths":{"registry.test":{"auth":"bWU6d3Jvbmc="}}}"#).unwrap();
    let site = site_with(|settings| settings.upstreams[0].docker_config = Some(file.clone())).await;
    site.fake.image("open/app", "v1", &Image::new("app"));
    site.fake.hook(wants_basic);
    assert_eq!(pulls(&site).await, 502, "the password is another one");
    std::fs::write(&file, r#"{"auths":{"registry.test":{"auth":"bWU6aHVudGVyMg=="},"a.test":{"auth":"eDp4"}}}"#)
        .unwrap();
    assert_eq!(pulls(&site).await, 200);
    std::fs::write(&file, r#"{"auths":{"a.test":{"auth":"bWU6aHVudGVyMg=="}}}"#).unwrap();
    let other = site_with(|settings| settings.upstreams[0].docker_config = Some(file)).await;
    other.fake.image("open/app", "v1", &Image::new("app"));
    other.fake.hook(wants_basic);
    let answer = other.get("registry.test/open/app/manifests/v1").await;
    let text = answer.text().await.unwrap();
    assert!(text.contains("has no login for `registry.test`"), "{text}");
    assert!(other.fake.log().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn an_identity_token_is_exchanged_at_the_registrys_own_realm() {
    let config = testdata::scratch();
    let file = config.path().join("config.json");
    std::fs::write(&file, r#"{"auths":{"registry.test":{"identitytoken":"refresh-me"}}}"#).unwrap();
    let site = site_with(|settings| settings.upstreams[0].docker_config = Some(file)).await;
    site.fake.image("open/app", "v1", &Image::new("app"));
    let realm = format!("Bearer realm=\"{}/oauth2/token\",service=\"acr\"", site.fake.url());
    site.fake.hook(move |asked| {
        if asked.path == "/oauth2/token" {
            let post = asked.method == Method::POST && asked.header("authorization").is_none();
            return Some(if post {
                r#"{"access_token":"good"}"#.into_response()
            } else {
                StatusCode::FORBIDDEN.into_response()
            });
        }
        let challenge = [("www-authenticate", realm.clone())];
        let known = asked.header("authorization") == Some("Bearer good");
        (!known).then(|| (StatusCode::UNAUTHORIZED, challenge).into_response())
    });
    assert_eq!(pulls(&site).await, 200);
}

/// A storage that the registry redirects to, with this layer.
async fn storage(layer: &Blob) -> Fake {
    let storage = Fake::start().await;
    storage.blob("bucket", layer);
    storage
}

fn redirects(to: String) -> impl Fn(&Asked) -> Option<Answer> {
    move |asked| {
        let digest = asked.path.split("/blobs/").nth(1)?;
        let location = format!("{to}/v2/bucket/blobs/{digest}?signature=s");
        Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION.as_str(), location)]).into_response())
    }
}

#[tokio::test]
async fn a_client_is_sent_on_only_where_it_is_configured_allowed_and_granted() {
    let (image, denied) = (Image::new("app"), Image::new("denied"));
    let layer = &image.layers[1];
    let storage = storage(layer).await;
    let allowed = storage.address.to_string();
    for (redirected, hosts) in
        [(Redirects::Pass, vec![allowed.clone()]), (Redirects::Follow, vec![allowed]), (Redirects::Pass, Vec::new())]
    {
        let open = !hosts.is_empty();
        let site = site_with(|settings| {
            settings.upstreams[0].redirects = redirected;
            settings.upstreams[0].redirect_hosts = hosts;
        })
        .await;
        site.fake.image("open/app", "v1", &image);
        site.fake.image("skynet/app", "v1", &denied);
        site.fake.hook(redirects(storage.url()));
        let path = format!("registry.test/open/app/blobs/{}", layer.digest);
        assert_eq!(failed(site.get(&path).await).await, is(403, "DENIED"), "not granted yet");
        assert_eq!(pulls(&site).await, 200);
        let (seen, answer) = (storage.log().len(), site.get(&path).await);
        match (redirected, open) {
            (Redirects::Pass, true) => {
                let location = format!("{}/v2/bucket/blobs/{}?signature=s", storage.url(), layer.digest);
                assert_eq!((answer.status().as_u16(), header_of(&answer, "location")), (307, Some(location.as_str())));
                assert_eq!(header_of(&answer, "cache-control"), Some("no-store"));
                assert_eq!(storage.log().len(), seen, "the gateway does not go there");
                let denied = format!("registry.test/skynet/app/blobs/{}", denied.layers[1].digest);
                assert_eq!(failed(site.get(&denied).await).await, is(403, "DENIED"));
            }
            (Redirects::Follow, _) => assert_eq!(answer.bytes().await.unwrap(), layer.bytes),
            (Redirects::Pass, false) => assert_eq!(failed(answer).await, is(502, "UNAVAILABLE")),
        }
    }
    assert!(storage.log().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn schema_1_is_refused_in_words_and_every_other_kind_is_served_whatever_a_client_accepts() {
    let site = site_with(|_| {}).await;
    let old = Blob::new(
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        br#"{"schemaVersion":1,"name":"open/app","fsLayers":[],"history":[]}"#.to_vec(),
    );
    site.fake.manifest("open/app", &old, Some("old"));
    let answer = site.get("registry.test/open/app/manifests/old").await;
    assert_eq!(answer.status(), 403);
    let text = answer.text().await.unwrap();
    assert!(text.contains("schema 1") && text.contains("skopeo copy --format v2s2"), "{text}");

    let image = Image::new("app");
    let retyped = |media_type: &str, config: &str| {
        let text = String::from_utf8(image.manifest.bytes.clone()).unwrap();
        let text = text.replace(testdata::MEDIA_TYPE_MANIFEST, media_type);
        Blob::new(media_type, text.replace("application/vnd.oci.image.config.v1+json", config).into_bytes())
    };
    for (tag, manifest) in [
        (
            "docker",
            retyped(
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            ),
        ),
        ("helm", retyped(testdata::MEDIA_TYPE_MANIFEST, "application/vnd.cncf.helm.config.v1+json")),
        ("wasm", retyped(testdata::MEDIA_TYPE_MANIFEST, "application/vnd.example.never.seen+json")),
    ] {
        site.fake.manifest("open/app", &manifest, Some(tag));
        for accept in [&[][..], &["*/*"], &["application/vnd.oci.image.index.v1+json", "application/json", "text/html"]]
        {
            for method in [Method::GET, Method::HEAD] {
                let mut request = site.ask(method.clone(), &format!("registry.test/open/app/manifests/{tag}"));
                for kind in accept {
                    request = request.header(header::ACCEPT, *kind);
                }
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200, "{tag} {accept:?}");
                assert_eq!(header_of(&answer, "content-type"), Some(manifest.media_type.as_str()));
                assert_eq!(header_of(&answer, "docker-content-digest"), Some(manifest.digest.to_string().as_str()));
                assert_eq!(header_of(&answer, "content-length"), Some(manifest.bytes.len().to_string().as_str()));
                if method == Method::GET {
                    assert_eq!(answer.bytes().await.unwrap(), manifest.bytes);
                }
            }
        }
    }
}

#[test]
fn a_login_is_one_of_the_ways_and_never_a_path_to_a_program() {
    let with = |change: &dyn Fn(&mut gateway::upstream::UpstreamSettings)| {
        let mut settings = gateway::upstream::UpstreamSettings::new("registry.test");
        change(&mut settings);
        gateway::upstream::Upstreams::new(&[settings]).err().map(|error| error.to_string())
    };
    assert_eq!(with(&|s| s.credential_helper = Some("ecr-login".to_owned())), None);
    let told = with(&|s| s.credential_helper = Some("../bin/sh".to_owned())).unwrap();
    assert!(told.contains("docker-credential-"), "{told}");
    let told = with(&|s| s.docker_config = Some(Path::new("/nowhere/config.json").to_owned())).unwrap();
    assert!(told.contains("docker_config"), "{told}");
    let both = with(&|s| {
        s.credential_helper = Some("gcloud".to_owned());
        s.token_file = Some(Path::new("/nowhere/token").to_owned());
    });
    assert!(both.unwrap().contains("one of"), "two ways");
}
