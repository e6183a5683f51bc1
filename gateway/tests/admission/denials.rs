//! What an operator denies is closed on every way from the next request on, and open again when the denial ends.

use std::time::{Duration, Instant};

use contracts::{Decision, Dependency, Digest};
use gateway::app::Gateway;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Attached, Blob, Image, Index, list_of_referrers};

use crate::site::{REPOSITORY, Site, site};

/// An allowed index of two images, pulled whole.
pub async fn pulled() -> (Site, Index) {
    let site = site().await;
    let index = Index::new("web");
    for image in &index.images {
        site.fake.image(REPOSITORY, "part", image);
    }
    site.fake.manifest(REPOSITORY, &index.index, Some("v1"));
    site.release(index.digest(), true).await;
    assert_eq!(open(&site, &index).await, everything(&index));
    (site, index)
}

/// Every way to content of the index: its tag, the digests of all manifests, all blobs.
pub fn ways(index: &Index) -> Vec<String> {
    let manifests = std::iter::once(index.digest()).chain(index.images.iter().map(Image::digest));
    let blobs = index.images.iter().flat_map(|image| image.blobs()).map(|blob| format!("blobs/{}", blob.digest));
    let manifests = manifests.map(|digest| format!("manifests/{digest}"));
    let mut all: Vec<String> = std::iter::once("manifests/v1".to_owned()).chain(manifests).chain(blobs).collect();
    all.dedup();
    all
}

pub fn everything(index: &Index) -> Vec<String> {
    ways(index)
}

/// The ways by which content is had. A way that is closed gives nothing by GET, HEAD or a range.
pub async fn open(site: &Site, index: &Index) -> Vec<String> {
    let mut open = Vec::new();
    for way in ways(index) {
        let get = site.pull(Method::GET, &way, false).await;
        let (served, reason) = (get.status() == 200, get.text().await.unwrap());
        let head = site.pull(Method::HEAD, &way, false).await;
        let told = head.status() == 200 && head.headers().contains_key("docker-content-digest");
        let part = site.pull(Method::GET, &way, true).await.status();
        assert_eq!((told, part.is_success()), (served, served), "{way}: {reason}");
        if served {
            open.push(way);
        } else {
            assert!(reason.contains("DENIED"), "{way}: {reason}");
        }
    }
    open
}

#[tokio::test]
async fn a_denied_document_closes_the_artifact_that_carries_it_and_not_the_image() {
    let site = site().await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    site.release(image.digest(), true).await;
    let attached = Attached::bundles(&image.manifest, &[br#"{"a": "document"}"#]);
    site.fake.attach(REPOSITORY, &attached);
    assert_eq!(site.get(&format!("referrers/{}", image.digest())).await.0, 200);
    let (manifest, document) = (attached.manifest.digest, attached.blobs[1].digest);
    let open = async || {
        let manifest = site.pull(Method::GET, &format!("manifests/{manifest}"), false).await.status().as_u16();
        let document = site.pull(Method::GET, &format!("blobs/{document}"), true).await.status().as_u16();
        (manifest, document, site.get("manifests/v1").await.0)
    };
    assert_eq!(open().await, (200, 206, 200));
    assert_eq!(site.deny(document, json!({})).await.0, 201);
    assert_eq!(open().await, (403, 403, 200));
    let told = site.get(&format!("manifests/{manifest}")).await.1;
    assert!(told.contains("it phones home"), "{told}");
    assert_eq!(site.undeny(document).await.0, 200);
    assert_eq!(open().await, (200, 206, 200));
}

#[tokio::test]
async fn what_an_artifact_with_a_denied_document_also_carries_is_closed_with_it() {
    let site = site().await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    site.release(image.digest(), true).await;
    let [bad, good, shared] = ["bad", "good", "shared"].map(|name| format!("{{\"{name}\": 1}}").into_bytes());
    let [bad, good, shared] = [bad, good, shared].map(|bytes| Blob::new("application/json", bytes));
    let both = Attached::carrying(&image.manifest, &[bad.clone(), good.clone(), shared.clone()]);
    let other = Attached::carrying(&image.manifest, std::slice::from_ref(&shared));
    // What speaks about the artifact is reached through it.
    let about = Attached::carrying(&both.manifest, &[Blob::new("application/json", b"{\"about\": 1}".to_vec())]);
    let listed = Attached { tagged: list_of_referrers([&both.manifest, &other.manifest]), ..both.clone() };
    site.fake.refer(REPOSITORY, image.digest(), &listed);
    site.fake.manifest(REPOSITORY, &other.manifest, None);
    site.fake.refer(REPOSITORY, both.manifest.digest, &about);
    let all = [
        format!("manifests/{}", both.manifest.digest),
        format!("manifests/{}", other.manifest.digest),
        format!("manifests/{}", about.manifest.digest),
        format!("blobs/{}", bad.digest),
        format!("blobs/{}", good.digest),
        format!("blobs/{}", shared.digest),
        format!("blobs/{}", about.blobs[1].digest),
    ];
    for subject in [image.digest(), both.manifest.digest] {
        assert_eq!(site.get(&format!("referrers/{subject}")).await.0, 200);
    }
    let open = async || {
        let mut statuses = Vec::new();
        for way in &all {
            let (get, part) = (site.get(way).await.0, site.pull(Method::GET, way, true).await.status().is_success());
            assert_eq!(get == 200, part, "{way}");
            statuses.push(get);
        }
        assert_eq!(site.get("manifests/v1").await.0, 200, "the image itself");
        statuses
    };
    assert_eq!(open().await, [200; 7]);
    assert_eq!(site.deny(bad.digest, json!({})).await.0, 201);
    let closed = [403, 200, 403, 403, 403, 200, 403];
    assert_eq!(open().await, closed);
    assert_eq!(site.undeny(bad.digest).await.0, 200);
    assert_eq!(open().await, [200; 7]);
    // In other repositories it may be.
    let elsewhere = json!({"repositories": ["registry.test/other/**"]});
    assert_eq!(site.deny(bad.digest, elsewhere).await.0, 201);
    assert_eq!(open().await, [200; 7]);
    // Also when nothing is remembered and the registry does not have the artifact any more.
    assert_eq!(site.deny(bad.digest, json!({})).await.0, 200);
    let gone = both.manifest.digest.to_string();
    site.fake.hook(move |asked| {
        let not_found = || axum::response::IntoResponse::into_response(axum::http::StatusCode::NOT_FOUND);
        (asked.path.contains("/manifests/") && asked.path.ends_with(&gone)).then(not_found)
    });
    let site = again(site).await;
    for (document, status) in [(&good, 403), (&shared, 200), (&about.blobs[1], 403)] {
        assert_eq!(site.get(&format!("blobs/{}", document.digest)).await.0, status);
    }
}

#[tokio::test]
async fn a_denied_index_manifest_configuration_or_layer_closes_all_that_holds_it_at_once() {
    let (site, index) = pulled().await;
    let (part, config) = (&index.images[1], &index.images[1].config);
    let layer = part.layers[1].digest;
    for denied in [index.digest(), part.digest(), config.digest, layer] {
        assert_eq!(site.verdict(index.digest()).await, "allow");
        let begun = Instant::now();
        assert_eq!(site.deny(denied, json!({})).await.0, 201);
        let (status, message) = site.get("manifests/v1").await;
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(status, 403, "{denied}");
        let told = "an operator denied";
        assert!(message.contains(told) && message.contains("CVE-2031-1: it phones home"), "{message}");
        assert!(message.contains(&denied.to_string()), "{message}");
        assert_eq!(open(&site, &index).await, Vec::<String>::new(), "{denied}");
        let check = site.check(index.digest()).await.verdict;
        assert_eq!((check.decision, check.enforced, check.exempted), (Decision::Deny, true, false));
        assert_eq!(check.findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["denied-by-operator"]);
        assert!(matches!(check.depends_on.as_slice(), [Dependency::Denial(_)]));
        // Whoever asks for the blob alone is told too.
        if denied == layer {
            let (status, message) = site.get(&format!("blobs/{layer}")).await;
            assert!(status == 403 && message.contains("it phones home"), "{message}");
        }
        // The part that is closed by its index says so, not that it has no evidence.
        let (_, message) = site.get(&format!("manifests/{}", index.images[0].digest())).await;
        assert!(message.contains("it phones home"), "{message}");
        assert_eq!(site.undeny(denied).await.0, 200);
        assert_eq!(open(&site, &index).await, everything(&index), "{denied}");
    }
    assert_eq!(site.events(&["digest-denied", "denial-removed"]).await, ["digest-denied", "denial-removed"].repeat(4));
}

#[tokio::test]
async fn what_was_never_pulled_is_looked_through_before_it_is_allowed() {
    let site = site().await;
    let index = Index::new("web");
    for image in &index.images {
        site.fake.image(REPOSITORY, "part", image);
    }
    site.fake.manifest(REPOSITORY, &index.index, Some("v1"));
    site.release(index.digest(), true).await;
    // A layer of both images, which nobody has pulled.
    let layer = index.images[0].layers[0].digest;
    assert_eq!(site.deny(layer, json!({})).await.0, 201);
    assert_eq!(site.verdict(index.digest()).await, "denied-by-operator");
    assert_eq!(open(&site, &index).await, Vec::<String>::new());
    assert_eq!(site.undeny(layer).await.0, 200);
    // When the registry does not answer, it is not known: neither yes nor no.
    assert_eq!(site.deny(index.images[1].layers[1].digest, json!({})).await.0, 201);
    let other = Image::new("other");
    site.fake.image(REPOSITORY, "other", &other);
    site.release(other.digest(), true).await;
    site.fake.hook(|_| Some(axum::response::IntoResponse::into_response(axum::http::StatusCode::SERVICE_UNAVAILABLE)));
    assert_eq!(site.get(&format!("manifests/{}", other.digest())).await.0, 503);
    site.fake.hook(|_| None);
    assert_eq!(site.get(&format!("manifests/{}", other.digest())).await.0, 200, "nothing of that was remembered");
    assert_eq!(site.get("manifests/v1").await.0, 403);
}

#[tokio::test]
async fn a_part_that_the_registry_does_not_have_is_looked_for_again() {
    let site = site().await;
    let index = Index::new("web");
    for image in &index.images {
        site.fake.image(REPOSITORY, "part", image);
    }
    site.fake.manifest(REPOSITORY, &index.index, Some("v1"));
    site.release(index.digest(), true).await;
    let part = &index.images[1];
    assert_eq!(site.deny(part.layers[1].digest, json!({})).await.0, 201);
    // Whoever may delete takes the part away, and pushes it again.
    let gone = part.digest().to_string();
    site.fake.hook(move |asked| {
        let not_found = || axum::response::IntoResponse::into_response(axum::http::StatusCode::NOT_FOUND);
        asked.path.ends_with(&gone).then(not_found)
    });
    assert_eq!(site.verdict(index.digest()).await, "allow", "what cannot be had cannot be run");
    site.fake.hook(|_| None);
    tokio::time::sleep(Duration::from_millis(5100)).await;
    assert_eq!(site.verdict(index.digest()).await, "denied-by-operator");
}

#[tokio::test]
async fn a_denial_ends_at_its_instant_and_holds_in_its_repositories() {
    let (site, index) = pulled().await;
    let until = gateway::http::clock::now().checked_add(SignedDuration::from_millis(1200)).unwrap();
    assert_eq!(site.deny(index.digest(), json!({"until": until})).await.0, 201);
    let denied = site.check(index.digest()).await.verdict;
    assert_eq!((denied.decision, denied.valid_until), (Decision::Deny, Some(until)));
    assert_eq!(open(&site, &index).await, Vec::<String>::new());
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(open(&site, &index).await, everything(&index));
    let (_, list) = site.send(Method::GET, "/api/v1/denials", &json!({})).await;
    assert_eq!((&list[0]["in_force"], &list[0]["digest"]), (&json!(false), &json!(index.digest())));

    // Another one drops it, and says nothing of this repository.
    let other = json!({"repositories": ["registry.test/other/**"]});
    assert_eq!(site.deny(index.images[0].digest(), other).await.0, 201);
    assert_eq!(open(&site, &index).await, everything(&index));
    let here = json!({"repositories": ["registry.test/other/**", "registry.test/app/**"]});
    assert_eq!(site.deny(index.images[0].digest(), here).await.0, 200, "in the place of the one before");
    assert_eq!(open(&site, &index).await, Vec::<String>::new());
    let (_, list) = site.send(Method::GET, "/api/v1/denials", &json!({})).await;
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn nothing_that_lets_through_lets_a_denied_digest_through() {
    let site = site().await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    // An emergency, a contract that only warns, an organization that lets everything else through.
    site.release(image.digest(), false).await;
    site.apply("release", "app/**", "    breakGlass: {callers: [operator], maxDuration: 1h}\n").await;
    let emergency =
        json!({"reason": "it must go out", "project": "skynet", "workflow": "release", "digest": image.digest()});
    let (status, body) = site.send(Method::POST, "/api/v1/exemptions/emergency", &emergency).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(site.verdict(image.digest()).await, "allow");
    assert_eq!(site.deny(image.digest(), json!({})).await.0, 201);
    assert_eq!(site.verdict(image.digest()).await, "denied-by-operator");
    site.apply("release", "app/**", "    enforcement: warn\n").await;
    assert_eq!(site.get("manifests/v1").await.0, 403);
    site.apply("release", "nothing/**", "").await;
    site.settings(json!({"unmatched": "allow"})).await;
    assert_eq!(site.get("manifests/v1").await.0, 403);
    assert_eq!(site.undeny(image.digest()).await.0, 200);
    assert_eq!(site.get("manifests/v1").await.0, 200);
}

#[tokio::test]
async fn who_may_deny_and_what_is_refused() {
    let site = site().await;
    let digest = Digest::of(b"x");
    let path = format!("/api/v1/denials/{digest}");
    for role in ["push", "pull", "read"] {
        let token = site.token(role).await;
        let put = site.by(&token, Method::PUT, &path).json(&json!({"reason": "r"})).send().await.unwrap();
        assert_eq!(put.status(), 403, "{role}");
        assert_eq!(site.by(&token, Method::DELETE, &path).send().await.unwrap().status(), 403);
        assert_eq!(site.by(&token, Method::GET, "/api/v1/denials").send().await.unwrap().status(), 200);
    }
    let mut told = Vec::new();
    for body in [
        json!({"reason": " "}),
        json!({"reason": "x".repeat(2001)}),
        json!({"reason": "two\nlines"}),
        json!({"reason": "r", "until": "2020-01-01T00:00:00Z"}),
        json!({"reason": "r", "repositories": ["app"]}),
        json!({"reason": "r", "untill": "2020-01-01T00:00:00Z"}),
    ] {
        let (status, body) = site.send(Method::PUT, &path, &body).await;
        told.push(format!("{status} {}", body["error"]["message"].as_str().unwrap()));
    }
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(site.send(Method::PUT, "/api/v1/denials/sha256:00", &json!({"reason": "r"})).await.0, 400);
    assert_eq!(site.undeny(digest).await.0, 404);
    // Another organization's operators deny for themselves.
    let made = site.send(Method::POST, "/api/v1/organizations", &json!({"name": "other"})).await.1;
    let other = made["secret"].as_str().unwrap();
    assert_eq!(site.deny(digest, json!({})).await.0, 201);
    let theirs: Value = site.by(other, Method::GET, "/api/v1/denials").send().await.unwrap().json().await.unwrap();
    assert_eq!(theirs, json!([]));
    assert_eq!(site.by(other, Method::DELETE, &path).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_denial_survives_a_start() {
    let (site, index) = pulled().await;
    assert_eq!(site.deny(index.images[0].layers[1].digest, json!({})).await.0, 201);
    let site = again(site).await;
    assert_eq!(open(&site, &index).await, Vec::<String>::new());
    assert_eq!(site.undeny(index.images[0].layers[1].digest).await.0, 200);
    assert_eq!(open(&site, &index).await, everything(&index));
}

/// Another gateway on the same state.
async fn again(site: Site) -> Site {
    let Site { folder, running, fake, admin, pull, client, build } = site;
    running.stop().await;
    let mut settings = gateway::config::Settings::defaults(folder.path());
    settings.listen = "127.0.0.1:0".parse().unwrap();
    settings.upstreams = vec![gateway::upstream::UpstreamSettings {
        url: Some(fake.url()),
        plain_http: true,
        ..gateway::upstream::UpstreamSettings::new(crate::site::HOST)
    }];
    let running = Gateway::start(settings).await.unwrap();
    Site { folder, running, fake, admin, pull, client, build }
}
