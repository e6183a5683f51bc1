//! What a registry may do to us, over real HTTP.

#[path = "../../../tests/fake/mod.rs"]
mod fake;

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde_json::{Value, json};
use testdata::{Attached, Blob as Minted, Image};

use self::fake::Fake;
use super::*;

const REPOSITORY: &str = "skynet/app";

fn settings(fake: &Fake) -> UpstreamSettings {
    UpstreamSettings {
        url: Some(fake.url()),
        plain_http: true,
        connect_timeout: SignedDuration::from_millis(500),
        answer_timeout: SignedDuration::from_millis(500),
        idle_timeout: SignedDuration::from_millis(500),
        ..UpstreamSettings::new("registry.test")
    }
}

fn remote(fake: &Fake) -> Remote {
    Remote::new(&settings(fake), Memory::default()).unwrap()
}

fn with_password(settings: UpstreamSettings) -> (UpstreamSettings, tempfile::TempDir) {
    let folder = testdata::scratch();
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    (UpstreamSettings { username: Some("me".into()), password_file: Some(file), ..settings }, folder)
}

fn pinned(digest: Digest) -> PinnedRef {
    PinnedRef { repository: testdata::repository("registry.test/skynet/app"), digest }
}

async fn bytes(blob: Result<Blob, UpstreamError>) -> Result<Vec<u8>, UpstreamError> {
    let add = |mut all: Vec<u8>, piece: Bytes| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    };
    blob?.body.try_fold(Vec::new(), add).await
}

fn changed(manifest: &Minted, change: impl FnOnce(&mut Value)) -> Minted {
    let mut value = serde_json::from_slice(&manifest.bytes).unwrap();
    change(&mut value);
    Minted::of_json(&manifest.media_type, &value)
}

#[tokio::test]
async fn serves_what_the_registry_has_and_a_hot_manifest_without_asking_it() {
    let fake = Fake::start().await;
    let image = Image::new("app");
    fake.image(REPOSITORY, "v1", &image);
    let remote = remote(&fake);

    let digest = remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(digest, image.digest());
    for _ in 0..2 {
        let manifest = remote.checked_manifest(REPOSITORY, digest).await.unwrap();
        assert_eq!(manifest.bytes, image.manifest.bytes);
        assert_eq!(manifest.children.len(), 3);
    }
    let methods: Vec<_> = fake.log().into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, [Method::HEAD, Method::GET]);
    assert_eq!(fake.log()[1].headers.get_all("accept").iter().count(), 1, "one Accept header");

    let layer = &image.layers[1];
    assert_eq!(bytes(remote.checked_blob(REPOSITORY, layer.digest, None).await).await.unwrap(), layer.bytes);
    assert_eq!(remote.length(REPOSITORY, layer.digest).await.unwrap(), layer.bytes.len() as u64);
    let range = Some(ByteRange { first: 3, last: Some(9) });
    let part = remote.checked_blob(REPOSITORY, layer.digest, range).await.unwrap();
    assert_eq!((part.total, part.range), (layer.bytes.len() as u64, Some((3, 9))));
    assert_eq!(bytes(Ok(part)).await.unwrap(), layer.bytes[3..=9]);
    let outside = Some(ByteRange { first: 1 << 40, last: None });
    let outside = remote.checked_blob(REPOSITORY, layer.digest, outside).await;
    assert!(matches!(outside, Err(UpstreamError::Range { total }) if total == layer.bytes.len() as u64));
    let missing = remote.checked_manifest(REPOSITORY, Digest::of(b"?")).await;
    assert!(matches!(missing, Err(UpstreamError::NotFound { .. })));
}

#[tokio::test]
async fn a_tag_that_moves_is_another_image_and_changes_nothing_about_this_one() {
    let fake = Fake::start().await;
    fake.image(REPOSITORY, "v1", &Image::new("one"));
    let remote = remote(&fake);
    let tag = "v1".parse().unwrap();
    let before = remote.resolved(REPOSITORY, &tag).await.unwrap();
    fake.image(REPOSITORY, "v1", &Image::new("two"));
    assert_eq!(remote.checked_manifest(REPOSITORY, before).await.unwrap().bytes, Image::new("one").manifest.bytes);
    assert_eq!(remote.resolved(REPOSITORY, &tag).await.unwrap(), Image::new("two").digest());
}

#[tokio::test]
async fn lies_are_found_out() {
    let image = Image::new("app");
    let other = Image::new("other");
    let said = |digest: Digest, kind: &'static str, bytes: Vec<u8>| {
        ([("docker-content-digest", digest.to_string()), ("content-type", kind.to_owned())], bytes).into_response()
    };
    let (right, bytes_of) = (image.digest(), image.manifest.bytes.clone());
    let kind = testdata::MEDIA_TYPE_MANIFEST;
    type Answer = Box<dyn Fn() -> Response + Send>;
    let answers: Vec<(&str, Answer)> = vec![
        ("another manifest", Box::new(move || said(right, kind, other.manifest.bytes.clone()))),
        (
            "a lying header",
            Box::new({
                let bytes = bytes_of.clone();
                move || said(Digest::of(b"x"), kind, bytes.clone())
            }),
        ),
        (
            "another type",
            Box::new({
                let bytes = bytes_of.clone();
                move || said(right, testdata::MEDIA_TYPE_INDEX, bytes.clone())
            }),
        ),
        ("no manifest", Box::new(|| Body::from("<html>").into_response())),
        ("too long", Box::new(move || said(right, kind, vec![b' '; MANIFEST_BYTES + 1]))),
        (
            "encoded",
            Box::new(move || {
                let mut response = said(right, kind, bytes_of.clone());
                response.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
                response
            }),
        ),
        ("a teapot", Box::new(|| StatusCode::IM_A_TEAPOT.into_response())),
    ];
    for (what, respond) in answers {
        let fake = Fake::start().await;
        fake.hook(move |_| Some(respond()));
        let answer = remote(&fake).checked_manifest(REPOSITORY, right).await;
        assert!(matches!(answer, Err(UpstreamError::Lied { .. })), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn manifests_that_lead_elsewhere_or_say_two_things_are_refused() {
    let fake = Fake::start().await;
    let manifest = Image::new("app").manifest;
    for (what, bad) in [
        ("both kinds", changed(&manifest, |m| m["manifests"] = json!([]))),
        ("urls", changed(&manifest, |m| m["layers"][0]["urls"] = json!(["https://evil.dev/x"]))),
        ("another kind inside", changed(&manifest, |m| m["mediaType"] = json!(testdata::MEDIA_TYPE_INDEX))),
    ] {
        fake.manifest(REPOSITORY, &bad, None);
        let answer = remote(&fake).checked_manifest(REPOSITORY, bad.digest).await;
        assert!(matches!(answer, Err(UpstreamError::Lied { .. })), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_tampered_blob_never_arrives_whole() {
    let fake = Fake::start().await;
    let layer = Minted::new("x/y", vec![7; 300_000]);
    let mut tampered = layer.bytes.clone();
    tampered[0] = 8;
    fake.raw_blob(REPOSITORY, layer.digest, &tampered);
    let blob = remote(&fake).checked_blob(REPOSITORY, layer.digest, None).await.unwrap();
    let pieces: Vec<_> = blob.body.collect().await;
    assert!(matches!(pieces.last(), Some(Err(UpstreamError::Lied { .. }))));
    let arrived: usize = pieces.iter().flatten().map(Bytes::len).sum();
    assert!(arrived < layer.bytes.len(), "{arrived}");
}

#[tokio::test]
async fn nothing_waits_for_longer_than_its_bound() {
    let stalled = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()).into_response();
    let fake = Fake::start().await;
    let layer = Minted::new("x/y", vec![7; 10]);
    fake.hook(move |_| {
        let mut response = stalled();
        response.headers_mut().insert(CONTENT_LENGTH, 10.into());
        Some(response)
    });
    let slow = remote(&fake);
    let start = Instant::now();
    let manifest = slow.checked_manifest(REPOSITORY, layer.digest).await;
    assert!(matches!(manifest, Err(UpstreamError::Unavailable { .. })), "{manifest:?}");
    let blob = bytes(slow.checked_blob(REPOSITORY, layer.digest, None).await).await;
    assert!(matches!(blob, Err(UpstreamError::Unavailable { .. })), "{blob:?}");
    assert!(start.elapsed() < Duration::from_secs(5));

    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Some(format!("http://{}", silent.local_addr().unwrap()));
    let remote = Remote::new(&UpstreamSettings { url, ..settings(&fake) }, Memory::default()).unwrap();
    let start = Instant::now();
    let answer = remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await;
    assert!(matches!(answer, Err(UpstreamError::Unavailable { .. })), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(5));

    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY] {
        fake.hook(move |_| Some(status.into_response()));
        let answer = slow.discover(&pinned(layer.digest), 8).await;
        assert!(matches!(answer, Err(UpstreamError::Unavailable { .. })), "{status}: {answer:?}");
    }
    fake.hook(|_| Some(StatusCode::TOO_MANY_REQUESTS.into_response()));
    let answer = slow.discover(&pinned(layer.digest), 8).await;
    assert!(matches!(answer, Err(UpstreamError::Throttled { seconds: 1, .. })), "{answer:?}");
}

/// A registry that wants a token from this realm.
fn demand_token(fake: &Fake, realm: String) {
    fake.hook(move |asked| {
        if asked.path == "/token" {
            return Some(axum::Json(json!({"token": "t0", "expires_in": 300})).into_response());
        }
        if asked.header("authorization") == Some("Bearer t0") {
            return None;
        }
        let challenge = format!(r#"Bearer realm="{realm}",service="fake",scope="repository:everything:pull,push""#);
        Some((StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response())
    });
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_for_pulling_this_repository_only() {
    let fake = Fake::start().await;
    fake.image(REPOSITORY, "v1", &Image::new("app"));
    demand_token(&fake, format!("{}/token", fake.url()));
    let (settings, _folder) = with_password(settings(&fake));
    let remote = Remote::new(&settings, Memory::default()).unwrap();
    for _ in 0..3 {
        remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await.unwrap();
    }
    let tokens: Vec<_> = fake.log().into_iter().filter(|asked| asked.path == "/token").collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].query, "service=fake&scope=repository%3Askynet%2Fapp%3Apull");
    assert_eq!(tokens[0].header("authorization"), Some("Basic bWU6aHVudGVyMg=="));

    // The registry forgets the token: it is renewed, once.
    let answers = std::sync::atomic::AtomicUsize::new(0);
    fake.hook(move |asked| match asked.path.as_str() {
        "/token" => Some(axum::Json(json!({"access_token": "t1"})).into_response()),
        _ if answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 100 => {
            let challenge = format!(r#"Bearer realm="http://{}/token""#, asked.header("host").unwrap());
            Some((StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response())
        }
        _ => None,
    });
    let before = fake.log().len();
    let answer = remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await;
    assert!(matches!(answer, Err(UpstreamError::Refused { .. })), "{answer:?}");
    assert_eq!(fake.log().len() - before, 3, "asked, token, asked again");
}

#[tokio::test]
async fn credentials_do_not_follow_a_registry_to_a_foreign_realm() {
    let (fake, foreign) = (Fake::start().await, Fake::start().await);
    fake.image(REPOSITORY, "v1", &Image::new("app"));
    let (settings, _folder) = with_password(settings(&fake));
    for realm in [format!("{}/token", foreign.url()), "http://169.254.169.254/token".to_owned()] {
        demand_token(&fake, realm);
        let remote = Remote::new(&settings, Memory::default()).unwrap();
        let answer = remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await;
        assert!(matches!(answer, Err(UpstreamError::Lied { .. })), "{answer:?}");
    }
    assert!(foreign.log().is_empty());

    // Named in the settings it is asked, with the credentials.
    demand_token(&fake, format!("{}/token", foreign.url()));
    demand_token(&foreign, String::new());
    let settings = UpstreamSettings { realm_hosts: vec![foreign.address.to_string()], ..settings };
    let remote = Remote::new(&settings, Memory::default()).unwrap();
    remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(foreign.log().len(), 1);
}

#[tokio::test]
async fn basic_goes_to_a_registry_that_asks_for_it() {
    let fake = Fake::start().await;
    fake.image(REPOSITORY, "v1", &Image::new("app"));
    fake.hook(|asked| {
        let known = asked.header("authorization") == Some("Basic bWU6aHVudGVyMg==");
        let challenge = [("www-authenticate", "Basic realm=\"fake\"")];
        (!known).then(|| (StatusCode::UNAUTHORIZED, challenge).into_response())
    });
    let (settings, _folder) = with_password(settings(&fake));
    let remote = Remote::new(&settings, Memory::default()).unwrap();
    for _ in 0..2 {
        remote.resolved(REPOSITORY, &"v1".parse().unwrap()).await.unwrap();
    }
    assert_eq!(fake.log().len(), 3, "the second time it goes along at once");
}

#[tokio::test]
async fn redirects_lead_only_where_the_settings_say_and_without_credentials() {
    let (fake, storage) = (Fake::start().await, Fake::start().await);
    let layer = Minted::new("x/y", b"layer".to_vec());
    fake.blob(REPOSITORY, &layer);
    storage.blob(REPOSITORY, &layer);
    let redirect = |to: String| {
        fake.hook(move |asked| {
            if asked.header("authorization").is_none() {
                let challenge = [("www-authenticate", "Basic realm=\"fake\"")];
                return Some((StatusCode::UNAUTHORIZED, challenge).into_response());
            }
            let to = format!("{to}{}", asked.path);
            Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response())
        });
    };
    let (closed, _folder) = with_password(settings(&fake));
    for to in ["http://169.254.169.254".to_owned(), "http://[::ffff:a9fe:a9fe]".to_owned(), storage.url()] {
        redirect(to.clone());
        let hosts = vec!["169.254.169.254".to_owned()];
        let remote =
            Remote::new(&UpstreamSettings { redirect_hosts: hosts, ..closed.clone() }, Memory::default()).unwrap();
        let answer = remote.checked_blob(REPOSITORY, layer.digest, None).await.map(|_| ());
        assert!(matches!(answer, Err(UpstreamError::Lied { .. })), "{to}: {answer:?}");
    }
    assert!(storage.log().is_empty());

    let open = UpstreamSettings { redirect_hosts: vec![storage.address.to_string()], ..closed };
    let remote = Remote::new(&open, Memory::default()).unwrap();
    assert_eq!(bytes(remote.checked_blob(REPOSITORY, layer.digest, None).await).await.unwrap(), layer.bytes);
    assert_eq!(storage.log()[0].header("authorization"), None);

    // Round and round is not forever.
    redirect(fake.url());
    let answer = remote.checked_blob(REPOSITORY, layer.digest, None).await.map(|_| ());
    assert!(matches!(answer, Err(UpstreamError::Lied { .. })), "{answer:?}");
}

#[tokio::test]
async fn attestations_are_found_in_every_place_where_they_are_kept() {
    let image = Image::new("app");
    let subject = pinned(image.digest());
    let bundle: &[u8] = br#"{"a":"bundle"}"#;
    let attached = Attached::bundles(&image.manifest, &[bundle]);

    let none = Fake::start().await;
    let found = remote(&none).discover(&subject, 8).await.unwrap();
    assert!(found.bundles.is_empty() && found.complete);

    let fallback = Fake::start().await;
    fallback.attach(REPOSITORY, &attached);
    let found = remote(&fallback).discover(&subject, 8).await.unwrap();
    assert_eq!((found.bundles, found.complete), (vec![Bytes::from_static(bundle)], true));

    let api = Fake::start().await;
    api.refer(REPOSITORY, image.digest(), &attached);
    let found = remote(&api).discover(&subject, 8).await.unwrap();
    assert_eq!((found.bundles, found.complete), (vec![Bytes::from_static(bundle)], true));
    assert_eq!(api.asked(&format!("manifests/{}", beside::tag_of(image.digest()))), 1, "cosign's tag only");

    let cosign = Fake::start().await;
    let envelope = json!({"payload": "e30=", "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "", "sig": "AAAA"}]});
    cosign.attach(REPOSITORY, &Attached::cosign_v2(&image.manifest, envelope.to_string().as_bytes(), "x"));
    let found = remote(&cosign).discover(&subject, 8).await.unwrap();
    assert_eq!((found.bundles.len(), found.complete), (1, true));
    assert_ne!(found.bundles[0], envelope.to_string().as_bytes(), "wrapped");
}

#[tokio::test]
async fn what_is_junk_beside_an_image_is_passed_over_and_bounded() {
    let fake = Fake::start().await;
    let (image, other) = (Image::new("app"), Image::new("other"));
    // Says that it is about this image, and is about another.
    let foreign = Attached::bundles(&other.manifest, &[b"{}"]);
    // Its bundle is not what its digest says.
    let bundle = br#"{"a":"bundle"}"#;
    let broken = Attached::bundles(&image.manifest, &[bundle]);
    fake.attach(REPOSITORY, &broken);
    fake.raw_blob(REPOSITORY, Digest::of(bundle), br#"{"b":"bundle"}"#);
    fake.attach(REPOSITORY, &foreign);
    let many: Vec<Vec<u8>> = (0..12).map(|n| format!("{{\"n\":{n}}}").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let good = Attached::bundles(&image.manifest, &many);
    good.blobs.iter().for_each(|blob| fake.blob(REPOSITORY, blob));
    good.blobs.iter().for_each(|blob| fake.manifest(REPOSITORY, blob, None));
    fake.manifest(REPOSITORY, &good.manifest, None);
    let entries = [&foreign, &broken, &good].map(|one| serde_json::from_slice::<Value>(&one.tagged.bytes).unwrap());
    let entries: Vec<Value> = entries.iter().flat_map(|index| index["manifests"].as_array().unwrap().clone()).collect();
    let index = json!({"schemaVersion": 2, "mediaType": testdata::MEDIA_TYPE_INDEX, "manifests": entries});
    let index = Minted::of_json(testdata::MEDIA_TYPE_INDEX, &index);
    fake.manifest(REPOSITORY, &index, Some(&beside::tag_of(image.digest())));

    let found = remote(&fake).discover(&pinned(image.digest()), 64).await.unwrap();
    assert_eq!((found.bundles.len(), found.complete), (12, true));
    let found = remote(&fake).discover(&pinned(image.digest()), 10).await.unwrap();
    assert_eq!((found.bundles.len(), found.complete), (8, false), "two of ten are junk");
}

#[tokio::test]
async fn only_documents_inherit() {
    let fake = Fake::start().await;
    let image = Image::new("app");
    let evidence = Attached::bundles(&image.manifest, &[br#"{"a":"bundle"}"#]);
    // An image that claims to speak about another, and one that hides a manifest in its layers.
    let mut runnable = Image::new("evil");
    runnable.manifest = changed(&runnable.manifest, |m| m["subject"] = image.manifest.descriptor());
    let hidden = Minted::new("application/json", Image::new("evil").manifest.bytes);
    let carrier = changed(&evidence.manifest, |m| m["layers"] = json!([hidden.descriptor()]));
    // The same, spelled so that only some clients read it as one.
    let spelled = Minted::new("application/json", "{\"\u{17f}chemaVersion\":2,\"layer\u{17f}\":[]}".into());
    let misspelled = changed(&evidence.manifest, |m| m["layers"] = json!([spelled.descriptor()]));
    fake.attach(REPOSITORY, &evidence);
    fake.blob(REPOSITORY, &spelled);
    fake.manifest(REPOSITORY, &misspelled, None);
    fake.image(REPOSITORY, "evil", &runnable);
    fake.blob(REPOSITORY, &hidden);
    fake.manifest(REPOSITORY, &carrier, None);
    let index = json!({"schemaVersion": 2, "mediaType": testdata::MEDIA_TYPE_INDEX, "manifests":
        [evidence.manifest.descriptor(), runnable.manifest.descriptor(), carrier.descriptor(), misspelled.descriptor()]});
    let index = Minted::of_json(testdata::MEDIA_TYPE_INDEX, &index);
    fake.manifest(REPOSITORY, &index, Some(&beside::tag_of(image.digest())));
    // The same under cosign's tag.
    fake.image(REPOSITORY, &format!("{}.sig", beside::tag_of(image.digest())), &Image::new("worse"));

    for _ in 0..2 {
        let found = remote(&fake).referrers(&pinned(image.digest()), 64).await.unwrap();
        assert_eq!(found.iter().map(|one| one.digest).collect::<Vec<_>>(), [evidence.manifest.digest]);
    }
}

#[tokio::test]
async fn large_manifests_beside_an_image_are_bounded_together_and_hide_no_small_one() {
    const MIB: usize = 1024 * 1024;
    let fake = Fake::start().await;
    let image = Image::new("app");
    let attached = |bundle: &[u8], annotation: usize| {
        let attached = Attached::bundles(&image.manifest, &[bundle]);
        let manifest =
            changed(&attached.manifest, |m| m["annotations"] = json!({"a": "x".repeat(annotation), "b": "y"}));
        attached.blobs.iter().for_each(|blob| fake.blob(REPOSITORY, blob));
        fake.manifest(REPOSITORY, &manifest, None);
        manifest
    };
    let large: Vec<Minted> = (0..8).map(|n| attached(format!("{{\"large\":{n}}}").as_bytes(), 3 * MIB)).collect();
    // One that is longer than the index says is not the one that is listed.
    let understated = attached(br#"{"under":"stated"}"#, MIB);
    let (good, liked) = (attached(br#"{"a":"bundle"}"#, 10), attached(br#"{"b":"bundle"}"#, 20_000));
    let mut entries: Vec<Value> = large.iter().chain([&good, &liked]).map(Minted::descriptor).collect();
    let mut lie = understated.descriptor();
    lie["size"] = 10.into();
    entries.push(lie);
    let index = json!({"schemaVersion": 2, "mediaType": testdata::MEDIA_TYPE_INDEX, "manifests": entries});
    let index = Minted::of_json(testdata::MEDIA_TYPE_INDEX, &index);
    fake.manifest(REPOSITORY, &index, Some(&beside::tag_of(image.digest())));

    let found = remote(&fake).discover(&pinned(image.digest()), 64).await.unwrap();
    assert!(!found.complete);
    for small in [&br#"{"a":"bundle"}"#[..], br#"{"b":"bundle"}"#] {
        assert!(found.bundles.iter().any(|bundle| *bundle == small), "{} bundles", found.bundles.len());
    }
    let read = large.iter().filter(|one| fake.asked(&format!("manifests/{}", one.digest)) > 0);
    assert!(read.count() * 3 * MIB <= contracts::limits::BESIDE_MANIFESTS_BYTES);
    assert!(!found.bundles.iter().any(|bundle| *bundle == br#"{"under":"stated"}"#[..]));

    let referrers = remote(&fake).referrers(&pinned(image.digest()), 64).await.unwrap();
    let of =
        |manifest: &Minted| referrers.iter().find(|one| one.digest == manifest.digest).unwrap().annotations.clone();
    assert_eq!(of(&good).keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(of(&liked).keys().collect::<Vec<_>>(), ["b"], "as much as fits");
}

#[tokio::test]
async fn what_cosign_says_beside_an_envelope_comes_along() {
    let image = Image::new("app");
    let envelope = json!({"payload": "e30=", "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "", "sig": "AAAA"}]});
    let attached = Attached::cosign_v2(&image.manifest, envelope.to_string().as_bytes(), "x");
    let found = async |annotations: Value| {
        let fake = Fake::start().await;
        fake.attach(REPOSITORY, &attached);
        let manifest = changed(&attached.manifest, |m| m["layers"][0]["annotations"] = annotations);
        fake.manifest(REPOSITORY, &manifest, Some(&attached.tag));
        let found = remote(&fake).discover(&pinned(image.digest()), 8).await.unwrap();
        found.bundles.iter().map(|bundle| serde_json::from_slice::<Value>(bundle).unwrap()).collect::<Vec<_>>()
    };
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let keyless = found(json!({"dev.sigstore.cosign/certificate": certificate, "other": "x"})).await;
    let chain = &keyless[0]["verificationMaterial"]["x509CertificateChain"]["certificates"];
    assert_eq!(chain, &json!([{"rawBytes": "AAAA"}]));
    let keyed = found(json!({"other": "x"})).await;
    assert!(keyed[0]["verificationMaterial"]["publicKey"].is_object(), "{keyed:?}");
    assert!(found(json!({"dev.sigstore.cosign/certificate": "not one"})).await.is_empty());
}
