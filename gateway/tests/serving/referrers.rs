//! What speaks about an image, the gateway's own word among it, and answers that depend on what a client has.

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{Bundle, Digest};
use reqwest::{Method, header};
use serde_json::Value;
use testdata::{Attached, Image, Index};

use crate::site::{failed, header_of, is, listed, site};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

#[tokio::test]
async fn the_gateways_word_about_an_allowed_image_is_among_what_speaks_about_it() {
    let site = site().await;
    let image = Image::new("app");
    let attached = site.attested("skynet/app", "v1", &image);
    let path = format!("registry.test/skynet/app/referrers/{}", image.digest());
    let found = listed(site.get(&path).await).await;
    assert_eq!(found.len(), 2, "the gateway's word, and the attestation of the registry");
    assert!(found.contains(&attached.manifest.digest));
    let word = *found.iter().find(|digest| **digest != attached.manifest.digest).unwrap();
    assert_eq!(listed(site.get(&path).await).await, found, "spoken once");
    let tag = format!("registry.test/skynet/app/manifests/sha256-{}", image.digest().hex());
    assert_eq!(listed(site.get(&tag).await).await, found);

    let answer = site.get(&format!("registry.test/skynet/app/manifests/{word}")).await;
    assert_eq!(header_of(&answer, "docker-content-digest"), Some(word.to_string().as_str()));
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(Digest::of(&bytes), word);
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest["subject"], image.manifest.descriptor());
    assert_eq!(manifest["artifactType"], BUNDLE);
    let head = site.head(&format!("registry.test/skynet/app/manifests/{word}")).await;
    assert_eq!(header_of(&head, "content-length"), Some(bytes.len().to_string().as_str()));
    for part in [&manifest["config"], &manifest["layers"][0]] {
        let digest = part["digest"].as_str().unwrap();
        let blob = site.get(&format!("registry.test/skynet/app/blobs/{digest}")).await.bytes().await.unwrap();
        assert_eq!(
            (Digest::of(&blob).to_string(), blob.len()),
            (digest.to_owned(), part["size"].as_u64().unwrap() as usize)
        );
    }
    let blob = format!("registry.test/skynet/app/blobs/{}", manifest["layers"][0]["digest"].as_str().unwrap());
    let bundle = site.get(&blob).await.bytes().await.unwrap();
    Bundle::parse(&bundle).unwrap();
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    let statement = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&statement).unwrap();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], image.digest().hex());
    assert_eq!(statement["predicateType"], "https://slsa.dev/verification_summary/v1");
    assert_eq!(statement["predicate"]["verificationResult"], "PASSED");

    // Of another repository, and of another organization, it is not.
    let elsewhere = site.get(&format!("registry.test/open/app/manifests/{word}")).await;
    assert_eq!(failed(elsewhere).await, is(404, "MANIFEST_UNKNOWN"));
    let other = site.organization("other").await;
    let theirs = site.by(&other, Method::GET, &format!("/v2/registry.test/skynet/app/manifests/{word}"));
    assert_eq!(failed(theirs.send().await.unwrap()).await, is(404, "MANIFEST_UNKNOWN"));

    // The key is withdrawn: what was said does not hold any more.
    site.signed_by(&site.admin, &testdata::Minter::fresh().public_pem()).await;
    assert_eq!(site.status(&format!("registry.test/skynet/app/manifests/{word}")).await, 404);
    assert_eq!(site.status(&blob).await, 403);
    assert_eq!(failed(site.get(&path).await).await, is(403, "DENIED"));
    let inherited = format!("registry.test/skynet/app/manifests/{}", attached.manifest.digest);
    assert_eq!(failed(site.get(&inherited).await).await, is(403, "DENIED"));
}

#[tokio::test]
async fn nothing_is_told_about_a_denied_image_and_nothing_speaks_about_one_that_is_not_there() {
    let site = site().await;
    let denied = Image::new("denied");
    site.fake.image("skynet/app", "v1", &denied);
    site.fake.attach("skynet/app", &Attached::bundles(&denied.manifest, &[br#"{"a":"bundle"}"#]));
    let about = |digest: Digest| format!("registry.test/skynet/app/referrers/{digest}");
    assert_eq!(failed(site.get(&about(denied.digest())).await).await, is(403, "DENIED"));
    let head = site.head(&about(denied.digest())).await;
    assert_eq!((header_of(&head, "etag"), header_of(&head, "content-length")), (None, None));
    let unknown = Digest::of(b"unknown");
    assert_eq!(listed(site.get(&about(unknown)).await).await, []);
    let missing = site.get(&format!("registry.test/skynet/app/manifests/{unknown}")).await;
    assert_eq!(failed(missing).await, is(404, "MANIFEST_UNKNOWN"));

    // Not told to be missing is not missing.
    site.fake.hook(|asked| {
        let by_digest = asked.method == Method::HEAD && asked.path.contains("/manifests/sha256:");
        by_digest.then(|| axum::response::IntoResponse::into_response(axum::http::StatusCode::BAD_GATEWAY))
    });
    let other = Digest::of(b"other");
    assert_eq!(failed(site.get(&about(other)).await).await, is(403, "DENIED"));
    let answer = site.get(&format!("registry.test/skynet/app/manifests/{other}")).await;
    assert_eq!(failed(answer).await, is(403, "DENIED"));
}

#[tokio::test]
async fn what_was_only_let_through_or_comes_with_an_index_has_no_word_of_its_own() {
    let site = site().await;
    let image = Image::new("app");
    site.fake.image("open/app", "v1", &image);
    let open = format!("registry.test/open/app/referrers/{}", image.digest());
    assert_eq!(listed(site.get(&open).await).await, []);

    let index = Index::new("app");
    site.fake.manifest("skynet/multi", &index.index, Some("v1"));
    index.images.iter().for_each(|image| site.fake.image("skynet/multi", "one", image));
    let bundle = site.minter.cosign_cyclonedx("registry.test/skynet/multi", index.digest(), &testdata::cyclonedx(3));
    site.fake.attach("skynet/multi", &Attached::bundles(&index.index, &[bundle.bytes()]));
    assert_eq!(site.status("registry.test/skynet/multi/manifests/v1").await, 200);
    let about = |digest: Digest| format!("registry.test/skynet/multi/referrers/{digest}");
    assert_eq!(listed(site.get(&about(index.digest())).await).await.len(), 2);
    assert_eq!(listed(site.get(&about(index.images[0].digest())).await).await, []);
}

#[tokio::test]
async fn referrers_of_one_kind_are_told_to_be_that() {
    let site = site().await;
    let image = Image::new("app");
    let attached = site.attested("skynet/app", "v1", &image);
    site.fake.refer("skynet/app", image.digest(), &attached);
    let path = format!("registry.test/skynet/app/referrers/{}", image.digest());
    let all = site.get(&path).await;
    assert_eq!(header_of(&all, "oci-filters-applied"), None);
    let bundles = site.get(&format!("{path}?artifactType={}", BUNDLE.replace('+', "%2B"))).await;
    assert_eq!(header_of(&bundles, "oci-filters-applied"), Some("artifactType"));
    let bundles = listed(bundles).await;
    assert!(bundles.len() == 2 && bundles.contains(&attached.manifest.digest));
    let others = site.get(&format!("{path}?artifactType=application/spdx")).await;
    assert_eq!(header_of(&others, "oci-filters-applied"), Some("artifactType"));
    assert_eq!(listed(others).await, []);
    assert_eq!(failed(site.get(&format!("{path}?artifactType=a&artifactType=b")).await).await, is(400, "NAME_INVALID"));
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again_and_a_denied_client_is_never_told_so() {
    let site = site().await;
    let (image, denied) = (Image::new("app"), Image::new("denied"));
    site.attested("skynet/app", "v1", &image);
    site.fake.image("skynet/app", "denied", &denied);
    let ask = async |method: Method, path: &str, tag: &str| {
        let request = site.ask(method, &format!("registry.test/skynet/app/{path}"));
        request.header(header::IF_NONE_MATCH, tag).send().await.unwrap()
    };
    assert_eq!(site.status("registry.test/skynet/app/manifests/v1").await, 200);
    let quoted = |digest: Digest| format!("\"{digest}\"");
    let layer = image.layers[1].digest;
    for (path, digest) in [
        ("manifests/v1".to_owned(), image.digest()),
        (format!("manifests/{}", image.digest()), image.digest()),
        (format!("blobs/{layer}"), layer),
    ] {
        let before = site.fake.asked("/blobs/");
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method, &path, &quoted(digest)).await;
            assert_eq!(answer.status(), 304, "{path}");
            assert_eq!(header_of(&answer, "etag"), Some(quoted(digest).as_str()));
            assert_eq!(answer.bytes().await.unwrap().len(), 0);
        }
        assert_eq!(site.fake.asked("/blobs/"), before, "its registry was not asked");
        assert_eq!(ask(Method::GET, &path, "\"sha256:other\"").await.status(), 200);
    }
    for tag in [quoted(denied.digest()), "*".to_owned()] {
        assert_eq!(failed(ask(Method::GET, "manifests/denied", &tag).await).await, is(403, "DENIED"));
        assert_eq!(ask(Method::HEAD, "manifests/denied", &tag).await.status(), 200);
        let blob = format!("blobs/{}", denied.layers[1].digest);
        assert_eq!(ask(Method::GET, &blob, &tag).await.status(), 403);
    }
    // Nor one that may pull no more.
    site.signed_by(&site.admin, &testdata::Minter::fresh().public_pem()).await;
    assert_eq!(ask(Method::GET, "manifests/v1", &quoted(image.digest())).await.status(), 403);
    assert_eq!(ask(Method::GET, &format!("blobs/{layer}"), &quoted(layer)).await.status(), 403);
}

#[tokio::test]
async fn what_is_let_through_unenforced_comes_with_a_warning_and_is_counted() {
    let site = site().await;
    let (image, good) = (Image::new("app"), Image::new("good"));
    site.fake.image("open/app", "v1", &image);
    site.attested("skynet/app", "v1", &good);
    for method in [Method::GET, Method::HEAD] {
        let answer = site.ask(method, "registry.test/open/app/manifests/v1").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let warning = header_of(&answer, "warning").unwrap();
        assert!(warning.starts_with("299 sluice \"let through unenforced: no-evidence: "), "{warning}");
        assert!(warning.contains("(verdict sha256:") && warning.ends_with('"'), "{warning}");
    }
    let enforced = site.get("registry.test/skynet/app/manifests/v1").await;
    assert_eq!((enforced.status().as_u16(), header_of(&enforced, "warning")), (200, None));
    let metrics = site.by(&site.admin, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let counted =
        |answer: &str| metrics.contains(&format!(r#"sluice_decisions_total{{way="pull",answer="{answer}"}} "#));
    assert!(counted("unenforced") && counted("allow"), "{metrics}");
}
