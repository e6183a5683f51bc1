//! Bytes are shared, rights are not: what one repository, registry, user or organization has is no other's for its name.

use std::{fs, sync::atomic::Ordering, time::Duration};

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gateway::upstream::UpstreamSettings;
use reqwest::Method;

use crate::{
    cache::{MIB, by_hand, gone, image},
    fake::{Asked, Fake},
    site::{blob, caching, changed, failed, is},
};

#[tokio::test]
async fn a_name_alone_opens_nothing_that_its_own_registry_does_not_have() {
    let site = caching(64 * MIB).await;
    let secret = image("secret");
    let layer = &secret.layers[1];
    site.grant("one.test", "open/secret", &secret).await;
    site.get(&blob("one.test", "open/secret", layer.digest)).await.bytes().await.unwrap();
    site.holds(1).await;

    // Another repository of the same registry, and another registry: their manifests name a layer that they do not have.
    site.one.manifest("open/thief", &secret.manifest, Some("v1"));
    site.two.manifest("open/thief", &secret.manifest, Some("v1"));
    for host in ["one.test", "two.test"] {
        let manifest = site.get(&format!("{host}/open/thief/manifests/{}", secret.digest())).await;
        assert_eq!(manifest.status(), 200);
        let stolen = site.get(&blob(host, "open/thief", layer.digest)).await;
        assert_eq!(failed(stolen).await, is(404, "BLOB_UNKNOWN"), "{host}");
    }
    // Nor does a HEAD tell of it, and a manifest that only another repository has is not there.
    let length = site.api(&site.admin, Method::HEAD, &format!("/v2/{}", blob("one.test", "open/thief", layer.digest)));
    assert_eq!(length.send().await.unwrap().status(), 404);
    for host in ["one.test", "two.test"] {
        let none = site.get(&format!("{host}/open/none/manifests/{}", secret.digest())).await;
        assert_eq!(failed(none).await, is(404, "MANIFEST_UNKNOWN"), "{host}");
    }
    // One that has something else under its name: it is told by its length.
    site.one.raw_blob("open/thief", layer.digest, b"short");
    let short = site.get(&blob("one.test", "open/thief", layer.digest)).await;
    assert_eq!(failed(short).await, is(502, "UNAVAILABLE"));
    // A registry that says that it does, and has other bytes.
    site.two.raw_blob("open/thief", layer.digest, &vec![7; layer.bytes.len()]);
    let lied = site.get(&blob("two.test", "open/thief", layer.digest)).await;
    assert!(lied.bytes().await.is_err());

    // One that does have it is asked for it whole; a repository of the first registry only whether it does.
    let downloads = |fake: &Fake| {
        let of_blobs = fake.log().into_iter().filter(|asked| asked.path.contains("/blobs/"));
        of_blobs.filter(|asked| asked.method == Method::GET).count()
    };
    site.two.blob("open/thief", layer);
    site.one.blob("open/thief", layer);
    let before = (downloads(&site.one), downloads(&site.two));
    for host in ["one.test", "two.test", "one.test", "two.test"] {
        assert_eq!(site.get(&blob(host, "open/thief", layer.digest)).await.bytes().await.unwrap(), layer.bytes);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((downloads(&site.one), downloads(&site.two)), (before.0, before.1 + 1));
    site.holds(1).await;
    for fake in [&site.one, &site.two] {
        gone(fake, StatusCode::INTERNAL_SERVER_ERROR);
    }
    for host in ["one.test", "two.test"] {
        assert_eq!(site.get(&blob(host, "open/thief", layer.digest)).await.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn who_joins_a_fetch_has_to_have_the_blob_too() {
    let site = caching(64 * MIB).await;
    let image = image("app");
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    // These name it and do not have it: another repository of the same registry, and another registry.
    for (host, fake) in [("one.test", &site.one), ("two.test", &site.two)] {
        fake.manifest("open/thief", &image.manifest, Some("v1"));
        let manifest = site.get(&format!("{host}/open/thief/manifests/{}", image.digest())).await;
        assert_eq!(manifest.status(), 200);
    }
    let path = blob("one.test", "open/app", layer.digest);
    let (send, asked) = by_hand(&site.one, layer.bytes.len());
    let first = tokio::spawn(site.ask(&path).send());
    send.send(Ok(Bytes::from(layer.bytes[..1000].to_vec()))).await.unwrap();
    let first = first.await.unwrap().unwrap();
    for host in ["one.test", "two.test"] {
        for range in ["bytes=0-", "bytes=10-99"] {
            let thief = site.ask(&blob(host, "open/thief", layer.digest)).header(header::RANGE, range);
            let answer = tokio::time::timeout(Duration::from_secs(3), thief.send()).await.unwrap().unwrap();
            assert_eq!(failed(answer).await, is(404, "BLOB_UNKNOWN"), "{host} {range}");
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    send.send(Ok(Bytes::from(layer.bytes[1000..].to_vec()))).await.unwrap();
    drop(send);
    assert_eq!(first.bytes().await.unwrap(), layer.bytes);
}

#[tokio::test]
async fn two_users_of_one_registry_share_nothing_that_one_of_them_may_not_have() {
    let folder = testdata::scratch();
    let secret = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, name).unwrap();
        path
    };
    let (ours, theirs) = (secret("ours"), secret("theirs"));
    // The registry, the user's name and the image are the same; only the password differs.
    let site = changed(64 * MIB, |settings| {
        let shared = |organization: &str, password: &std::path::Path| UpstreamSettings {
            host: "shared.test".to_owned(),
            username: Some("ci".to_owned()),
            password_file: Some(password.to_owned()),
            organizations: vec![organization.parse().unwrap()],
            ..settings.upstreams[0].clone()
        };
        let both = [shared("default", &ours), shared("other", &theirs)];
        settings.upstreams.extend(both);
    })
    .await;
    let other = site.organization("other").await;
    let image = image("app");
    let layer = image.layers[1].digest.to_string();
    site.one.image("open/app", "v1", &image);
    site.one.hook(move |asked: &Asked| match asked.header("authorization") {
        None => Some((StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"x\"")]).into_response()),
        Some(known) => {
            let theirs = STANDARD.encode("ci:theirs");
            let may_not = known.ends_with(&theirs) && asked.path.ends_with(&layer);
            may_not.then(|| StatusCode::NOT_FOUND.into_response())
        }
    });
    let manifest = format!("/v2/shared.test/open/app/manifests/{}", image.digest());
    let path = format!("/v2/{}", blob("shared.test", "open/app", image.layers[1].digest));
    for token in [&site.admin, &other] {
        assert_eq!(site.api(token, Method::GET, &manifest).send().await.unwrap().status(), 200);
    }
    let mine = site.api(&site.admin, Method::GET, &path).send().await.unwrap();
    assert_eq!(mine.bytes().await.unwrap(), image.layers[1].bytes);
    site.holds(1).await;
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(site.api(&other, method, &path).send().await.unwrap().status(), 404);
    }
}
