//! What a registry may do to the gateway, and that it harms nobody else. In each case `one.test` is the registry that
//! means harm, and `two.test` goes on answering.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contracts::Digest;
use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Image, Index};

use crate::{
    fake::{Asked, Fake},
    site::{Site, blob, caching, failed, is, passing},
};

type Answer = Box<dyn Fn(&Asked) -> Response + Send>;

/// A gateway with an image in both registries, granted in both.
struct Scene {
    site: Site,
    image: Image,
}

impl Scene {
    async fn new(site: Site) -> Self {
        let image = Image::with_payload("app", 300_000);
        site.one.image("open/app", "v1", &image);
        site.grant("two.test", "open/app", &image).await;
        Self { site, image }
    }

    /// The same, with the image granted in the first registry too.
    async fn granted(site: Site) -> Self {
        let scene = Self::new(site).await;
        scene.site.grant("one.test", "open/app", &scene.image).await;
        scene
    }

    fn manifest(&self, host: &str) -> String {
        format!("{host}/open/app/manifests/{}", self.image.digest())
    }

    fn layer(&self, host: &str) -> String {
        blob(host, "open/app", self.image.layers[1].digest)
    }

    /// The second registry's image comes, whatever the first one does.
    async fn others_are_served(&self) {
        let begun = Instant::now();
        let bytes = self.site.get(&self.layer("two.test")).await.bytes().await.unwrap();
        assert_eq!(bytes, self.image.layers[1].bytes);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    /// Once the first registry is well again, so is the image: nothing of what it did is remembered.
    async fn is_well_again(&self) {
        self.site.one.hook(|_| None);
        assert_eq!(self.site.get("one.test/open/app/manifests/v1").await.status(), 200);
        let bytes = self.site.get(&self.layer("one.test")).await.bytes().await.unwrap();
        assert_eq!(bytes, self.image.layers[1].bytes);
    }
}

fn endless() -> Body {
    Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65_536]))))
}

fn with(headers: &[(&'static str, &str)], body: impl Into<Body>) -> Response {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect();
    (headers, body.into()).into_response()
}

#[tokio::test]
async fn whatever_is_no_honest_manifest_is_no_answer_and_is_forgotten() {
    let kind = testdata::MEDIA_TYPE_MANIFEST;
    let image = Image::with_payload("app", 300_000);
    let (right, bytes) = (image.digest().to_string(), image.manifest.bytes.clone());
    let changed = |change: fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&bytes).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    };
    let other = Image::new("other").manifest.bytes;
    let answers: Vec<(&str, u16, Answer)> = vec![
        ("500", 503, Box::new(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())),
        ("another manifest", 502, {
            let other = other.clone();
            Box::new(move |_| with(&[("content-type", kind)], other.clone()))
        }),
        ("another manifest under the right name", 502, {
            let right = right.clone();
            Box::new(move |_| with(&[("content-type", kind), ("docker-content-digest", &right)], other.clone()))
        }),
        ("the right manifest under another name", 502, {
            let bytes = bytes.clone();
            let other = Digest::of(b"x").to_string();
            Box::new(move |_| with(&[("content-type", kind), ("docker-content-digest", &other)], bytes.clone()))
        }),
        ("another type", 502, {
            let bytes = bytes.clone();
            Box::new(move |_| with(&[("content-type", testdata::MEDIA_TYPE_INDEX)], bytes.clone()))
        }),
        ("gzip", 502, {
            let bytes = bytes.clone();
            Box::new(move |_| with(&[("content-type", kind), ("content-encoding", "gzip")], bytes.clone()))
        }),
        ("no end", 502, Box::new(move |_| with(&[("content-type", kind)], endless()))),
        ("a hundred gigabytes", 502, {
            Box::new(move |_| with(&[("content-type", kind), ("content-length", "107374182400")], endless()))
        }),
        ("more than it announced", 502, {
            Box::new(move |_| with(&[("content-type", kind), ("content-length", "10")], Body::from(vec![b' '; 10])))
        }),
        ("metadata", 502, redirect("http://169.254.169.254/latest/meta-data")),
        ("another host", 502, redirect("http://other.test/v2/")),
        ("a file", 502, redirect("file:///etc/passwd")),
        ("nowhere", 502, Box::new(|_| StatusCode::TEMPORARY_REDIRECT.into_response())),
        ("round and round", 502, Box::new(|asked| redirected(&asked.path))),
        ("a cheaper realm", 502, { Box::new(|_| challenge("http://169.254.169.254/token")) }),
    ];
    for (what, status, answer) in answers {
        let scene = Scene::new(caching(64 << 20).await).await;
        scene.site.one.hook(move |asked| Some(answer(asked)));
        let begun = Instant::now();
        for _ in 0..2 {
            let answer = scene.site.get(&scene.manifest("one.test")).await;
            assert_eq!(failed(answer).await, is(status, "UNAVAILABLE"), "{what}");
        }
        let head = scene.site.api(&scene.site.admin, Method::HEAD, &format!("/v2/{}", scene.manifest("one.test")));
        assert_eq!(head.send().await.unwrap().status(), status, "{what}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
        assert!(scene.site.one.log().len() < 60, "{what}: {} requests", scene.site.one.log().len());
        scene.others_are_served().await;
        scene.is_well_again().await;
    }
    // What says two things, or costs whoever reads it, is refused whatever its digest.
    let mut listing: Value = serde_json::from_slice(&Index::new("app").index.bytes).unwrap();
    listing["layers"] = json!([]);
    let index = testdata::MEDIA_TYPE_INDEX;
    for (what, kind, bytes) in [
        ("two kinds", kind, changed(|m| m["manifests"] = json!([]))),
        ("two kinds the other way", index, listing.to_string().into_bytes()),
        ("other addresses", kind, changed(|m| m["layers"][0]["urls"] = json!(["http://169.254.169.254/x"]))),
        ("another type inside", kind, changed(|m| m["mediaType"] = json!(testdata::MEDIA_TYPE_INDEX))),
        ("schema 1", kind, changed(|m| m["schemaVersion"] = json!(1))),
        ("a key twice", kind, {
            let text = String::from_utf8(bytes.clone()).unwrap();
            text.replacen('{', "{\"layers\":[],", 1).into_bytes()
        }),
        ("nested a hundred thousand deep", kind, testdata::deep("{\"a\":", 100_000)),
        ("a gzip bomb", kind, testdata::archive::gzip(&vec![b' '; 64 << 20])),
    ] {
        let scene = Scene::new(passing().await).await;
        let manifest = testdata::Blob::new(kind, bytes);
        scene.site.one.manifest("open/app", &manifest, Some("v1"));
        for reference in ["v1".to_owned(), manifest.digest.to_string()] {
            let path = format!("one.test/open/app/manifests/{reference}");
            let (answer, ()) = tokio::join!(scene.site.get(&path), scene.others_are_served());
            assert_eq!(failed(answer).await, is(502, "UNAVAILABLE"), "{what}");
        }
    }
}

fn redirected(to: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
}

fn redirect(to: &'static str) -> Answer {
    Box::new(move |_| redirected(to))
}

fn challenge(realm: &str) -> Response {
    (StatusCode::UNAUTHORIZED, [("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"x\""))])
        .into_response()
}

#[tokio::test]
async fn whatever_is_no_honest_blob_never_ends_well_and_is_not_kept() {
    let image = Image::with_payload("app", 300_000);
    let layer = image.layers[1].clone();
    let length = layer.bytes.len().to_string();
    let mut wrong = layer.bytes.clone();
    wrong[0] ^= 1;
    let half = layer.bytes[..100_000].to_vec();
    // Those that can be told before the first byte are an answer; the others break the stream off.
    let answers: Vec<(&str, Option<u16>, Answer)> = vec![
        ("500", Some(503), Box::new(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())),
        ("gone", Some(404), Box::new(|_| StatusCode::NOT_FOUND.into_response())),
        ("gzip", Some(502), {
            let bytes = layer.bytes.clone();
            Box::new(move |_| with(&[("content-encoding", "gzip")], bytes.clone()))
        }),
        ("no end and no length", Some(502), Box::new(|_| endless().into_response())),
        ("metadata", Some(502), redirect("http://169.254.169.254/latest/meta-data")),
        ("another host", Some(502), redirect("http://other.test/v2/")),
        ("round and round", Some(502), Box::new(|asked| redirected(&asked.path))),
        ("nothing", Some(502), Box::new(|_| with(&[], Body::empty()))),
        ("other bytes", None, Box::new(move |_| with(&[], wrong.clone()))),
        ("fewer bytes", None, {
            let half = half.clone();
            Box::new(move |_| with(&[], half.clone()))
        }),
        ("a reset in the middle", None, {
            let (half, length) = (Bytes::from(half), length.clone());
            Box::new(move |_| {
                let reset = async {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(std::io::Error::other("reset"))
                };
                let pieces = stream::iter([Ok(half.clone())]).chain(stream::once(reset));
                with(&[("content-length", &length)], Body::from_stream(pieces))
            })
        }),
        ("silence in the middle", None, {
            let (bytes, length) = (Bytes::from(layer.bytes[..1000].to_vec()), length.clone());
            Box::new(move |_| {
                let pieces = stream::iter([Ok::<_, std::io::Error>(bytes.clone())]).chain(stream::pending());
                with(&[("content-length", &length)], Body::from_stream(pieces))
            })
        }),
        ("a byte at a time", None, {
            let (bytes, length) = (Bytes::from(layer.bytes.clone()), length.clone());
            Box::new(move |_| {
                let bytes = bytes.clone();
                let pieces = stream::iter(0..bytes.len()).then(move |at| {
                    let byte = bytes.slice(at..=at);
                    async move {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        Ok::<_, std::io::Error>(byte)
                    }
                });
                with(&[("content-length", &length)], Body::from_stream(pieces))
            })
        }),
    ];
    for (what, status, answer) in answers {
        let answer = Arc::new(std::sync::Mutex::new(answer));
        for site in [passing().await, caching(64 << 20).await] {
            let cached = site.folder.path().join("cache").is_dir();
            let scene = Scene::granted(site).await;
            let answer = Arc::clone(&answer);
            scene.site.one.hook(move |asked| {
                (asked.path.contains("/blobs/") && asked.method == Method::GET).then(|| answer.lock().unwrap()(asked))
            });
            let (path, begun) = (scene.layer("one.test"), Instant::now());
            let two = async { tokio::join!(scene.site.get(&path), scene.site.get(&path)) };
            // Others are not kept waiting meanwhile.
            let ((first, second), ()) = tokio::join!(two, scene.others_are_served());
            for response in [first, second] {
                match status {
                    Some(status) => assert_eq!(response.status(), status, "{what} {cached}"),
                    None => {
                        assert_eq!(response.status(), 200, "{what} {cached}");
                        assert!(response.bytes().await.is_err(), "{what} {cached}");
                    }
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(6), "{what}: {:?}", begun.elapsed());
            if cached {
                scene.site.holds(1).await;
                scene.site.rests().await;
            }
            scene.is_well_again().await;
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_silent_keeps_nobody_else_waiting_and_another_one_is_not_asked_for_it() {
    let scene = Scene::new(passing().await).await;
    let elsewhere = Fake::start().await;
    elsewhere.image("open/app", "v1", &scene.image);
    let to = format!("{}/v2/open/app/manifests/v1", elsewhere.url());
    scene.site.one.hook(move |_| Some(redirected(&to)));
    let answer = scene.site.get(&scene.manifest("one.test")).await;
    assert_eq!(failed(answer).await, is(502, "UNAVAILABLE"), "another host, whichever");
    assert!(elsewhere.log().is_empty());
    scene
        .site
        .one
        .hook(|_| Some(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()).into_response()));
    let many = (0..40).map(|_| scene.site.get("one.test/open/app/manifests/v1"));
    let many = futures::future::join_all(many);
    let (many, ()) = tokio::join!(many, scene.others_are_served());
    for answer in many {
        assert_eq!(failed(answer).await, is(503, "UNAVAILABLE"));
    }
    scene.is_well_again().await;
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_is_left_alone() {
    let scene = Scene::granted(caching(64 << 20).await).await;
    let kept = &scene.image.layers[0];
    let kept_path = blob("one.test", "open/app", kept.digest);
    scene.site.get(&kept_path).await.bytes().await.unwrap();
    scene.site.holds(1).await;
    scene.site.one.hook(|_| Some((StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "2")]).into_response()));
    let before = scene.site.one.log().len();
    for path in ["one.test/open/app/manifests/v1".to_owned(), scene.layer("one.test")] {
        for _ in 0..3 {
            let answer = scene.site.get(&path).await;
            let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=2).contains(&seconds), "{seconds}");
            assert_eq!(failed(answer).await, is(503, "TOOMANYREQUESTS"));
        }
    }
    assert_eq!(scene.site.one.log().len() - before, 1, "it was asked once, and no more");
    // What is kept is served meanwhile, and so is what others have.
    assert_eq!(scene.site.get(&kept_path).await.bytes().await.unwrap(), kept.bytes);
    scene.others_are_served().await;
    scene.site.one.hook(|_| None);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    scene.is_well_again().await;

    // Whatever it says, it is asked again after a while.
    scene
        .site
        .one
        .hook(|_| Some((StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "999999999")]).into_response()));
    let answer = scene.site.get("one.test/open/app/manifests/v1").await;
    assert_eq!(answer.headers()["retry-after"], "300");
}

#[tokio::test]
async fn neither_foreign_realms_nor_redirects_are_given_credentials() {
    let site = passing().await;
    let foreign = Fake::start().await;
    let scene = Scene::new(site).await;
    let realm = format!("{}/token", foreign.url());
    scene.site.one.hook(move |_| Some(challenge(&realm)));
    assert_eq!(failed(scene.site.get(&scene.manifest("one.test")).await).await, is(502, "UNAVAILABLE"));
    let to = foreign.url();
    scene.site.one.hook(move |_| Some(redirected(&to)));
    assert_eq!(failed(scene.site.get(&scene.manifest("one.test")).await).await, is(502, "UNAVAILABLE"));
    assert!(foreign.log().is_empty(), "nobody else is asked");
}

#[tokio::test]
async fn a_tag_that_is_told_twice_is_served_as_it_was_judged() {
    let scene = Scene::new(passing().await).await;
    // HEAD says one, GET of the tag would say another: only what was judged is served.
    let secret = Image::new("secret");
    scene.site.one.image("open/app", "moved", &secret);
    let told = scene.image.digest().to_string();
    scene.site.one.hook(move |asked| {
        let head = asked.method == Method::HEAD && asked.path.ends_with("/manifests/moved");
        head.then(|| with(&[("docker-content-digest", &told), ("content-type", testdata::MEDIA_TYPE_MANIFEST)], ""))
    });
    let answer = scene.site.get("one.test/open/app/manifests/moved").await;
    assert_eq!(answer.headers()["docker-content-digest"], scene.image.digest().to_string().as_str());
    assert_eq!(answer.bytes().await.unwrap(), scene.image.manifest.bytes);
}
