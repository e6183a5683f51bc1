//! What a registry says that it has beside an image: floods of it, things without end, and nothing at all because it
//! fails. What was pushed to the gateway is decided by first; what could not be looked at is no verdict.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contracts::{Digest, api::StartedRun};
use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Attached, Blob, Image, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Material, Minter};

use crate::{
    fake::Asked,
    site::{Site, blob, caching, failed, is, passing},
};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What is looked at beside one image, with some room for the lists and tags themselves.
const MOST_ASKED: usize = 200;

/// A gateway whose contracts ask for an SBOM in `one.test/skynet/…`, and for a run's note in `one.test/release/…`.
struct Scene {
    site: Site,
    minter: Minter,
    /// An image that another registry has, and may be pulled.
    other: Image,
}

impl Scene {
    async fn new(site: Site) -> Self {
        let scene = Self { site, minter: Minter::fresh(), other: Image::with_payload("other", 100_000) };
        let settings = json!({"default_signers": [scene.minter.public_pem()], "unmatched": "deny"});
        scene.send(Method::PUT, "/api/v1/organization", &settings).await;
        let note = "{name: image, type: CONTAINER_IMAGE, output: true}, {name: note, type: STRING}";
        for (name, materials) in [("skynet", "{name: sbom, type: SBOM_CYCLONEDX_JSON}"), ("release", note)] {
            let contract = format!(
                "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {name}}}\nspec:\n  materials: [{materials}]\n  admission: {{repositories: [\"one.test/{name}/**\"]}}\n"
            );
            let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}});
            scene.send(Method::PUT, &format!("/api/v1/contracts/{name}"), &files).await;
        }
        let workflow = json!({"project": "skynet", "name": "release", "team": "core", "contract": "release"});
        scene.send(Method::POST, "/api/v1/workflows", &workflow).await;
        scene.site.grant("two.test", "open/app", &scene.other).await;
        scene
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> reqwest::Response {
        let answer = self.site.api(&self.site.admin, method, path).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer
    }

    /// Pushes a run about an image that satisfies its contract.
    async fn push(&self, image: &Image) {
        let run = json!({"project": "skynet", "workflow": "release"});
        let run: StartedRun = self.send(Method::POST, "/api/v1/runs", &run).await.json().await.unwrap();
        let image = Material::image("image", "one.test/release/app", image.digest());
        let bundle = self.minter.attest(&run, &[image, Material::string("note", "looked at")]);
        let path = "/api/v1/attestations?project=skynet&workflow=release";
        let push = self.site.api(&self.site.admin, Method::POST, path).header("content-type", BUNDLE);
        assert_eq!(push.body(bundle.bytes().to_vec()).send().await.unwrap().status(), 200);
    }

    /// An attestation that satisfies the contract `skynet`.
    fn bundle(&self, image: &Image) -> Vec<u8> {
        let document = testdata::cyclonedx(3);
        self.minter.cosign_cyclonedx("one.test/skynet/app", image.digest(), &document).bytes().to_vec()
    }

    async fn get(&self, repository: &str, image: &Image) -> reqwest::Response {
        self.site.get(&format!("one.test/{repository}/manifests/{}", image.digest())).await
    }

    /// That it is denied, with this in the reason, while others are served.
    async fn is_denied(&self, repository: &str, image: &Image, why: &str) {
        let (begun, before) = (Instant::now(), self.site.one.log().len());
        let (denied, ()) = tokio::join!(self.get(repository, image), self.others_are_served());
        assert_eq!(denied.status(), 403);
        let text = denied.text().await.unwrap();
        assert!(text.contains(why), "{why}: {text}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{why}: {:?}", begun.elapsed());
        let asked = self.site.one.log().len() - before;
        assert!(asked < MOST_ASKED, "{why}: {asked} requests");
    }

    /// Another client has its image from another registry, whatever this one does.
    async fn others_are_served(&self) {
        let begun = Instant::now();
        let layer = &self.other.layers[1];
        let bytes = self.site.get(&blob("two.test", "open/app", layer.digest)).await.bytes().await.unwrap();
        assert_eq!(bytes, layer.bytes);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

fn junk(count: usize, padding: usize) -> Vec<Value> {
    let one = |n: usize| {
        json!({"mediaType": MEDIA_TYPE_MANIFEST, "digest": Digest::of(format!("{n}").as_bytes()),
            "size": 500, "artifactType": BUNDLE, "annotations": {"x": "x".repeat(padding)}})
    };
    (0..count).map(one).collect()
}

fn index(manifests: &[Value]) -> Bytes {
    json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": manifests}).to_string().into()
}

fn list(bytes: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE_INDEX)], bytes.into()).into_response()
}

fn endless() -> Body {
    Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65_536]))))
}

#[tokio::test]
async fn ten_thousand_referrers_do_not_deny_a_good_image_nor_delay_others() {
    let scene = Scene::new(passing().await).await;
    let site = &scene.site;
    // Beside every image is junk, in one list of two megabytes or of more than is read at all.
    for (round, padding) in [0, 400].into_iter().enumerate() {
        let list_of_junk = index(&junk(10_000, padding));
        site.one.hook(move |asked| asked.path.contains("/referrers/").then(|| list(list_of_junk.clone())));
        let (bad, good, pushed) = (
            Image::new(&format!("bad-{round}")),
            Image::new(&format!("good-{round}")),
            Image::new(&format!("pushed-{round}")),
        );
        site.one.image("skynet/app", "bad", &bad);
        scene.is_denied("skynet/app", &bad, "limit-reached").await;
        // What is known without asking is enough.
        let about = site.get(&format!("one.test/skynet/app/referrers/{}", bad.digest())).await;
        assert_eq!(failed(about).await, is(403, "DENIED"));

        // A good one under cosign's tag is not hidden by the junk.
        site.one.image("skynet/app", "good", &good);
        let envelope: Value = serde_json::from_slice(&scene.bundle(&good)).unwrap();
        let envelope = envelope["dsseEnvelope"].to_string();
        site.one.attach("skynet/app", &Attached::cosign_v2(&good.manifest, envelope.as_bytes(), "x"));
        let allowed = scene.get("skynet/app", &good).await;
        assert_eq!(allowed.status(), 200, "{}", allowed.text().await.unwrap());

        // With a good one in the gateway's own store, the registry is not even asked what it has beside the image.
        site.one.image("release/app", "pushed", &pushed);
        scene.push(&pushed).await;
        let before = site.one.asked("/referrers/");
        let (allowed, ()) = tokio::join!(scene.get("release/app", &pushed), scene.others_are_served());
        assert_eq!(allowed.bytes().await.unwrap(), pushed.manifest.bytes);
        assert_eq!(site.one.asked("/referrers/"), before);
        // Without it, the image is denied like the other.
        let unknown = Image::new(&format!("unknown-{round}"));
        site.one.image("release/app", "unknown", &unknown);
        scene.is_denied("release/app", &unknown, "limit-reached").await;
    }
}

#[tokio::test]
async fn of_a_long_list_what_was_examined_decides() {
    let scene = Scene::new(passing().await).await;
    let site = &scene.site;
    for (what, first) in [("first", true), ("last", false)] {
        let image = Image::new(what);
        site.one.image("skynet/app", what, &image);
        let attached = Attached::bundles(&image.manifest, &[&scene.bundle(&image)]);
        // As the registry has it, it is listed among nothing else; here it is one of ten thousand and one.
        attached.blobs.iter().for_each(|blob| site.one.blob("skynet/app", blob));
        site.one.manifest("skynet/app", &attached.manifest, None);
        let mut one = attached.manifest.descriptor();
        one["artifactType"] = json!(BUNDLE);
        let mut all = junk(10_000, 0);
        all.insert(if first { 0 } else { all.len() }, one);
        let all = index(&all);
        site.one.hook(move |asked| asked.path.contains("/referrers/").then(|| list(all.clone())));
        if first {
            let answer = scene.get("skynet/app", &image).await;
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        } else {
            scene.is_denied("skynet/app", &image, "limit-reached").await;
        }
    }
}

type Made = Box<dyn Fn() -> Response + Send>;

#[tokio::test]
async fn lists_and_bundles_that_cost_whoever_reads_them_are_cut_and_prove_nothing() {
    let scene = Scene::new(caching(64 << 20).await).await;
    let site = &scene.site;
    let bomb = Bytes::from(testdata::archive::gzip(&vec![b' '; 64 << 20]));
    let deep = Bytes::from(testdata::deep("{\"manifests\":[", 100_000));
    let many = Bytes::from(format!("{{\"schemaVersion\":2,\"manifests\":[{}0]}}", "0,".repeat(2_000_000)));
    // What goes on without end is not believed to be complete; the rest is not a list.
    let lists: Vec<(&str, Made)> = vec![
        ("without end", Box::new(|| list(endless()))),
        ("a gzip bomb that says so", {
            let bomb = bomb.clone();
            Box::new(move || {
                ([(header::CONTENT_TYPE, MEDIA_TYPE_INDEX), (header::CONTENT_ENCODING, "gzip")], bomb.clone())
                    .into_response()
            })
        }),
        ("a gzip bomb", Box::new(move || list(bomb.clone()))),
        ("nested a hundred thousand deep", {
            let deep = deep.clone();
            Box::new(move || list(deep.clone()))
        }),
        ("two million entries that are none", Box::new(move || list(many.clone()))),
        ("a list that leads on to itself", {
            Box::new(|| {
                let link = "</v2/skynet/app/referrers/sha256:0000000000000000000000000000000000000000000000000000000000000000?n=1>; rel=\"next\"";
                ([(header::CONTENT_TYPE, MEDIA_TYPE_INDEX), (header::LINK, link)], index(&junk(1, 0))).into_response()
            })
        }),
    ];
    for (what, make) in lists {
        let image = Image::new(what);
        site.one.image("skynet/app", "v1", &image);
        site.one.hook(move |asked| asked.path.contains("/referrers/").then(&make));
        scene.is_denied("skynet/app", &image, "DENIED").await;
    }
    site.one.hook(|_| None);

    // Bundles that are not what their manifest says of them.
    let deep_bundle = testdata::deep("{\"a\":", 100_000);
    for (what, bundle, answer) in [
        ("longer than it is said to be", b"{}".to_vec(), Some(true)),
        ("other bytes than its digest", b"{\"a\":1}".to_vec(), Some(false)),
        ("nested deep", deep_bundle, None),
        ("longer than any", vec![b' '; 5 << 20], None),
    ] {
        let image = Image::new(what);
        site.one.image("skynet/app", "v1", &image);
        let attached = Attached::bundles(&image.manifest, &[&bundle]);
        site.one.attach("skynet/app", &attached);
        if let Some(without_end) = answer {
            let digest = Digest::of(&bundle).to_string();
            site.one.hook(move |asked| {
                let body = || if without_end { endless() } else { Body::from("{\"a\":2}") };
                asked.path.ends_with(&digest).then(|| body().into_response())
            });
        }
        scene.is_denied("skynet/app", &image, "DENIED").await;
        site.one.hook(|_| None);
    }
    let good = Image::new("good");
    site.one.image("skynet/app", "v1", &good);
    site.one.attach("skynet/app", &Attached::bundles(&good.manifest, &[&scene.bundle(&good)]));
    assert_eq!(scene.get("skynet/app", &good).await.status(), 200);
}

/// How a registry fails when it is asked for evidence.
#[derive(Debug, Clone, Copy)]
enum Failing {
    With(u16),
    Silent,
    /// It breaks off.
    Broken,
}

impl Failing {
    const ALL: [Self; 8] = [
        Self::With(408),
        Self::With(429),
        Self::With(500),
        Self::With(502),
        Self::With(503),
        Self::With(504),
        Self::Silent,
        Self::Broken,
    ];

    /// Instead of something that is so long.
    fn answer(self, length: usize) -> Response {
        let as_if = [(header::CONTENT_TYPE, MEDIA_TYPE_INDEX.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
        match self {
            Self::With(429) => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
            Self::With(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Self::Silent => {
                let silence = stream::pending::<Result<Bytes, std::io::Error>>();
                (as_if, Body::from_stream(silence)).into_response()
            }
            Self::Broken => {
                let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("broken off"))]);
                (as_if, Body::from_stream(broken)).into_response()
            }
        }
    }
}

#[tokio::test]
async fn evidence_that_cannot_be_had_now_is_no_verdict_and_is_used_at_once_when_it_can() {
    let scene = Scene::new(passing().await).await;
    let site = &scene.site;
    for failing in Failing::ALL {
        let (good, bare) = (Image::new(&format!("good {failing:?}")), Image::new(&format!("bare {failing:?}")));
        site.one.image("skynet/app", "good", &good);
        site.one.image("skynet/app", "bare", &bare);
        let attached = Attached::bundles(&good.manifest, &[&scene.bundle(&good)]);
        site.one.attach("skynet/app", &attached);
        let (manifest, bundle) = (&attached.manifest, attached.blobs.last().unwrap());
        // The list, cosign's tag, the manifest of what is listed, and the bundle itself.
        let places = [
            ("/referrers/".to_owned(), 1000),
            (".att".to_owned(), 1000),
            (format!("manifests/{}", manifest.digest), manifest.bytes.len()),
            (format!("blobs/{}", bundle.digest), bundle.bytes.len()),
        ];
        for (place, length) in places {
            let lists = length == 1000;
            let at = place.clone();
            site.one.hook(move |asked: &Asked| asked.path.contains(&at).then(|| failing.answer(length)));
            let images: &[&Image] = if lists { &[&good, &bare] } else { &[&good] };
            for image in images {
                let path = format!("/v2/one.test/skynet/app/manifests/{}", image.digest());
                for method in [Method::GET, Method::HEAD] {
                    let (answer, ()) =
                        tokio::join!(site.api(&site.admin, method.clone(), &path).send(), scene.others_are_served());
                    let answer = answer.unwrap();
                    assert_eq!(answer.status(), 503, "{failing:?} {place} {method}");
                    assert!(answer.headers().contains_key("retry-after"));
                    assert!(!answer.headers().contains_key("docker-content-digest"));
                    if method == Method::GET {
                        let code =
                            if matches!(failing, Failing::With(429)) { "TOOMANYREQUESTS" } else { "UNAVAILABLE" };
                        assert_eq!(failed(answer).await, is(503, code), "{failing:?} {place}");
                    }
                }
                let check = json!({"image": format!("one.test/skynet/app@{}", image.digest())});
                let check = site.api(&site.admin, Method::POST, "/api/v1/check").json(&check).send().await.unwrap();
                assert_eq!(check.status(), 503, "{failing:?} {place}");
            }
            // Asked for patience, it is left alone for as long as it says.
            if matches!(failing, Failing::With(429)) {
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
        }
        site.one.hook(|_| None);
        let allowed = scene.get("skynet/app", &good).await;
        assert_eq!(allowed.status(), 200, "{failing:?}: {}", allowed.text().await.unwrap());
        assert_eq!(failed(scene.get("skynet/app", &bare).await).await, is(403, "DENIED"), "{failing:?}");
    }
    // What is allowed by what was pushed needs nothing beside it.
    let pushed = Image::new("pushed");
    site.one.image("release/app", "v1", &pushed);
    scene.push(&pushed).await;
    site.one.hook(|asked| {
        let evidence = asked.path.contains("/referrers/") || asked.path.contains(".att");
        evidence.then(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    });
    assert_eq!(scene.get("release/app", &pushed).await.status(), 200);
}

#[tokio::test]
async fn a_list_about_one_image_never_speaks_for_its_parts_or_neighbours() {
    let scene = Scene::new(passing().await).await;
    let site = &scene.site;
    let (mine, neighbour) = (Image::new("mine"), Image::new("neighbour"));
    let attached = Attached::bundles(&neighbour.manifest, &[&scene.bundle(&neighbour)]);
    for image in [&mine, &neighbour] {
        site.one.image("skynet/app", "v1", image);
    }
    // The registry answers every question for referrers with what it has about one image, with a subject that lies.
    let mut lying: Value = serde_json::from_slice(&attached.manifest.bytes).unwrap();
    lying["subject"] = mine.manifest.descriptor();
    let lying = Blob::of_json(MEDIA_TYPE_MANIFEST, &lying);
    attached.blobs.iter().for_each(|blob| site.one.blob("skynet/app", blob));
    for one in [&attached.manifest, &lying] {
        site.one.manifest("skynet/app", one, None);
    }
    let all = index(&[attached.manifest.descriptor(), lying.descriptor()]);
    site.one.hook(move |asked| asked.path.contains("/referrers/").then(|| list(all.clone())));
    scene.is_denied("skynet/app", &mine, "DENIED").await;
    assert_eq!(scene.get("skynet/app", &neighbour).await.status(), 200);
}
