//! Pulling as clients do it: what is served, in whole and in parts, what is refused, and a registry that lies.

use std::time::{Duration, Instant};

use axum::{body::Body, http::StatusCode, response::IntoResponse};
use contracts::Digest;
use gateway::{
    app::Gateway,
    config::{Settings, TlsSettings},
    upstream::{UpstreamError, UpstreamSettings, Upstreams},
};
use jiff::SignedDuration;
use reqwest::{Method, header};
use serde_json::{Value, json};
use testdata::{Attached, Authority, Blob, Image, Index, Material, Minter};

use crate::site::{Site, failed, header_of, is, site_with};

/// A gateway that waits half a second for its registry, which has another name too.
async fn hasty() -> Site {
    site_with(|settings| {
        for upstream in &mut settings.upstreams {
            upstream.aliases = vec!["mirror.test".to_owned()];
            let half = SignedDuration::from_millis(500);
            (upstream.connect_timeout, upstream.answer_timeout, upstream.idle_timeout) = (half, half, half);
        }
    })
    .await
}

#[tokio::test]
async fn a_token_that_may_pull_comes_as_basic_or_bearer() {
    let site = hasty().await;
    let url = format!("http://{}/v2/", site.running.address());
    let nobody = site.client.get(&url).send().await.unwrap();
    assert!(header_of(&nobody, "www-authenticate").unwrap().starts_with("Bearer realm="));
    assert_eq!(header_of(&nobody, "docker-distribution-api-version"), Some("registry/2.0"));
    assert_eq!(failed(nobody).await, is(401, "UNAUTHORIZED"));
    for request in [
        site.client.get(&url).basic_auth("anyone", Some(&site.pull)),
        site.client.get(&url).bearer_auth(&site.pull),
        site.client.get(&url).bearer_auth(&site.admin),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    for role in ["push", "read"] {
        let token = site.token(&site.admin, role).await;
        let answer = site.client.get(&url).bearer_auth(token).send().await.unwrap();
        assert_eq!(failed(answer).await, is(403, "DENIED"));
    }
    let wrong = site.client.get(&url).basic_auth("anyone", Some("sluice_wrong")).send().await.unwrap();
    assert_eq!(failed(wrong).await, is(401, "UNAUTHORIZED"));
}

#[tokio::test]
async fn a_denied_image_gives_a_reason_and_no_bytes() {
    let site = hasty().await;
    let image = Image::new("app");
    site.fake.image("skynet/app", "v1", &image);
    for reference in ["v1".to_owned(), image.digest().to_string()] {
        let path = format!("registry.test/skynet/app/manifests/{reference}");
        let answer = site.get(&path).await;
        assert_eq!(answer.status(), 403);
        let bytes = answer.bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["errors"][0]["code"], "DENIED");
        let message = body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("(verdict sha256:") && message.contains(&image.digest().to_string()), "{message}");

        // A client that takes the denial for the manifest asks for it as a blob, and is told the same.
        let again = site.get(&format!("registry.test/skynet/app/blobs/{}", Digest::of(&bytes))).await;
        assert_eq!(again.status(), 403);
        assert_eq!(again.json::<Value>().await.unwrap()["errors"][0]["message"], message);

        let answer = site.head(&path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!((header_of(&answer, "docker-content-digest"), header_of(&answer, "content-length")), (None, None));
        assert_eq!(header_of(&answer, "etag"), None);
    }
    for blob in image.blobs() {
        let path = format!("registry.test/skynet/app/blobs/{}", blob.digest);
        assert_eq!(failed(site.get(&path).await).await, is(403, "DENIED"));
        let part = site.ask(Method::GET, &path).header(header::RANGE, "bytes=0-9").send().await.unwrap();
        assert_eq!(failed(part).await, is(403, "DENIED"));
        assert_eq!(site.head(&path).await.status(), 403);
    }
    let about = site.get(&format!("registry.test/skynet/app/referrers/{}", image.digest())).await;
    assert_eq!(failed(about).await, is(403, "DENIED"));
    assert_eq!(site.fake.asked("/blobs/"), 0);
}

#[tokio::test]
async fn an_allowed_image_is_served_whole_and_in_parts() {
    let site = hasty().await;
    let image = Image::with_payload("app", 2_000_000);
    site.fake.image("open/app", "v1", &image);
    let layer = &image.layers[1];
    let blob = format!("open/app/blobs/{}?ns=registry.test", layer.digest);
    assert_eq!(failed(site.get(&blob).await).await, is(403, "DENIED"), "its manifest was not pulled yet");

    for path in [
        "registry.test/open/app/manifests/v1",
        "mirror.test/open/app/manifests/v1",
        "open/app/manifests/v1?ns=registry.test",
    ] {
        let head = site.head(path).await;
        assert_eq!(head.status(), 200);
        let get = site.get(path).await;
        for answer in [&head, &get] {
            assert_eq!(header_of(answer, "docker-content-digest"), Some(image.digest().to_string().as_str()));
            assert_eq!(header_of(answer, "content-type"), Some(testdata::MEDIA_TYPE_MANIFEST));
            assert_eq!(header_of(answer, "content-length"), Some(image.manifest.bytes.len().to_string().as_str()));
            assert_eq!(header_of(answer, "oci-namespace"), path.split_once("ns=").map(|(_, ns)| ns));
        }
        assert_eq!(get.bytes().await.unwrap(), image.manifest.bytes);
    }

    let whole = site.ask(Method::GET, &blob).header(header::ACCEPT_ENCODING, "zstd,gzip").send().await.unwrap();
    assert_eq!((whole.status().as_u16(), header_of(&whole, "content-encoding")), (200, None));
    assert_eq!(whole.bytes().await.unwrap(), layer.bytes);
    let part = site.ask(Method::GET, &blob).header(header::RANGE, "bytes=1000-").send().await.unwrap();
    assert_eq!(part.status(), 206);
    let range = format!("bytes 1000-{}/{}", layer.bytes.len() - 1, layer.bytes.len());
    assert_eq!(header_of(&part, "content-range"), Some(range.as_str()));
    assert_eq!(part.bytes().await.unwrap(), layer.bytes[1000..]);
    let outside = site.ask(Method::GET, &blob).header(header::RANGE, "bytes=99999999-").send().await.unwrap();
    assert_eq!(header_of(&outside, "content-range"), Some(format!("bytes */{}", layer.bytes.len()).as_str()));
    assert_eq!(failed(outside).await, is(416, "RANGE_INVALID"));
    let head = site.head(&blob).await;
    assert_eq!(header_of(&head, "content-length"), Some(layer.bytes.len().to_string().as_str()));

    // What the client sent stays here.
    for asked in site.fake.log() {
        assert!(asked.method == Method::GET || asked.method == Method::HEAD);
        assert_eq!((asked.query.as_str(), asked.header("authorization")), ("", None));
    }

    // Grants are of a repository and of an organization.
    let elsewhere = format!("registry.test/skynet/app/blobs/{}", layer.digest);
    site.fake.blob("skynet/app", layer);
    assert_eq!(failed(site.get(&elsewhere).await).await, is(403, "DENIED"));
    let other = site.organization("other").await;
    let theirs = site.by(&other, Method::GET, &format!("/v2/{blob}")).send().await.unwrap();
    assert_eq!(failed(theirs).await, is(403, "DENIED"));
}

#[tokio::test]
async fn what_is_not_a_pull_of_a_known_repository_reaches_nobody() {
    let site = hasty().await;
    let digest = Digest::of(b"x");
    for (path, answer) in [
        ("registry.test/a/../b/manifests/v1", is(400, "NAME_INVALID")),
        ("registry.test/a%2fb/manifests/v1", is(400, "NAME_INVALID")),
        ("registry.test/A/manifests/v1", is(400, "NAME_INVALID")),
        ("a/manifests/v1?ns=registry.test&ns=registry.test", is(400, "NAME_INVALID")),
        ("a/manifests/v1?ns=169.254.169.254", is(404, "NAME_UNKNOWN")),
        ("a/manifests/v1?ns=elsewhere.test", is(404, "NAME_UNKNOWN")),
        ("elsewhere.test/a/manifests/v1", is(404, "NAME_UNKNOWN")),
        ("a/manifests/v1", is(404, "NAME_UNKNOWN")),
        ("registry.test/a/manifests/sha512:00", is(400, "DIGEST_INVALID")),
        ("_catalog", is(404, "UNSUPPORTED")),
    ] {
        // A client library would tidy the path up.
        let address = site.running.address();
        let raw = raw_get(address, &format!("/v2/{path}"), &site.pull).await;
        assert_eq!(raw, answer, "{path}");
    }
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        for path in ["manifests/v1".to_owned(), format!("manifests/{digest}"), "blobs/uploads/".to_owned()] {
            let answer = site.ask(method.clone(), &format!("registry.test/open/app/{path}")).send().await.unwrap();
            assert_eq!(header_of(&answer, "allow"), Some("GET, HEAD"));
            assert_eq!(failed(answer).await, is(405, "UNSUPPORTED"), "{method} {path}");
        }
    }
    assert!(site.fake.log().is_empty());
}

/// A request whose path goes out as it is.
async fn raw_get(address: std::net::SocketAddr, path: &str, token: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    (head[9..12].parse().unwrap(), body["errors"][0]["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_upstream_that_lies_or_does_not_answer_is_no_verdict() {
    let site = hasty().await;
    let image = Image::new("app");
    let path = format!("registry.test/open/app/manifests/{}", image.digest());
    assert_eq!(failed(site.get(&path).await).await, is(404, "MANIFEST_UNKNOWN"));

    let other = Image::new("other").manifest.bytes;
    site.fake.hook(move |asked| {
        let manifest = asked.path.contains("/manifests/sha256:");
        manifest.then(|| ([("content-type", testdata::MEDIA_TYPE_MANIFEST)], other.clone()).into_response())
    });
    assert_eq!(failed(site.get(&path).await).await, is(502, "UNAVAILABLE"));

    site.fake.hook(|_| {
        Some(Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>()).into_response())
    });
    let start = Instant::now();
    let answer = site.get(&path).await;
    assert_eq!(header_of(&answer, "retry-after"), Some("5"));
    assert_eq!(failed(answer).await, is(503, "UNAVAILABLE"));
    assert!(start.elapsed() < Duration::from_secs(10));

    for status in [StatusCode::BAD_GATEWAY, StatusCode::INTERNAL_SERVER_ERROR] {
        site.fake.hook(move |_| Some(status.into_response()));
        assert_eq!(failed(site.get(&path).await).await, is(503, "UNAVAILABLE"));
        assert_eq!(failed(site.get("registry.test/open/app/manifests/v1").await).await, is(503, "UNAVAILABLE"));
        let evidence = path.replace("open", "skynet");
        assert_eq!(failed(site.get(&evidence).await).await, is(503, "UNAVAILABLE"), "not looked at is not denied");
        assert_eq!(site.head(&evidence).await.status(), 503);
    }

    site.fake.hook(|_| None);
    site.fake.image("open/app", "v1", &image);
    assert_eq!(site.get(&path).await.status(), 200, "nothing of it was remembered");
}

#[tokio::test]
async fn a_tampered_layer_never_arrives_whole() {
    let site = hasty().await;
    let image = Image::with_payload("app", 500_000);
    site.fake.image("open/app", "v1", &image);
    let layer = &image.layers[1];
    let mut tampered = layer.bytes.clone();
    tampered[100] ^= 1;
    site.fake.raw_blob("open/app", layer.digest, &tampered);
    assert_eq!(site.get("registry.test/open/app/manifests/v1").await.status(), 200);
    let answer = site.get(&format!("registry.test/open/app/blobs/{}", layer.digest)).await;
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn what_speaks_about_an_allowed_image_is_served_with_it() {
    let site = hasty().await;
    let image = Image::new("app");
    site.fake.image("open/app", "v1", &image);
    let attached = Attached::bundles(&image.manifest, &[br#"{"a":"bundle"}"#]);
    let signature = Attached::cosign_v2(&image.manifest, br#"{"an":"envelope"}"#, "x");
    site.fake.refer("open/app", image.digest(), &attached);
    site.fake.attach("open/app", &signature);

    let fallback = format!("manifests/sha256-{}", image.digest().hex());
    for path in [format!("referrers/{}", image.digest()), fallback] {
        let answer = site.get(&format!("registry.test/open/app/{path}")).await;
        assert_eq!(header_of(&answer, "content-type"), Some(testdata::MEDIA_TYPE_INDEX));
        let index: Value = answer.json().await.unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(index["manifests"][0]["digest"], attached.manifest.digest.to_string());
    }
    let tag = format!("registry.test/open/app/manifests/{}", signature.tag);
    assert_eq!(site.get(&tag).await.bytes().await.unwrap(), signature.manifest.bytes);
    for blob in &signature.blobs {
        let path = format!("registry.test/open/app/blobs/{}", blob.digest);
        assert_eq!(site.get(&path).await.bytes().await.unwrap(), blob.bytes);
    }
    let nothing = format!("registry.test/open/app/manifests/sha256-{}.sbom", image.digest().hex());
    assert_eq!(failed(site.get(&nothing).await).await, is(404, "MANIFEST_UNKNOWN"));
}

#[tokio::test]
async fn an_allowed_index_opens_its_own_parts_and_closes_them_again() {
    let site = hasty().await;
    let (index, foreign) = (Index::new("app"), Index::new("foreign"));
    for one in [&index, &foreign] {
        site.fake.manifest("skynet/app", &one.index, None);
        one.images.iter().for_each(|image| site.fake.image("skynet/app", "one", image));
    }
    let bundle = site.minter.cosign_cyclonedx("registry.test/skynet/app", index.digest(), &testdata::cyclonedx(3));
    site.fake.attach("skynet/app", &Attached::bundles(&index.index, &[bundle.bytes()]));

    let status = async |kind: &str, digest: Digest| {
        site.get(&format!("registry.test/skynet/app/{kind}/{digest}")).await.status().as_u16()
    };
    let (child, stranger) = (&index.images[1], &foreign.images[1]);
    let (layer, strange_layer) = (child.layers[1].digest, stranger.layers[1].digest);
    assert_eq!(status("manifests", child.digest()).await, 403, "its index was not pulled yet");
    assert_eq!(status("manifests", index.digest()).await, 200);
    assert_eq!(status("blobs", layer).await, 403, "its manifest was not pulled yet");
    assert_eq!(status("manifests", child.digest()).await, 200);
    assert_eq!(status("blobs", layer).await, 200);
    assert_eq!(status("manifests", foreign.digest()).await, 403);
    assert_eq!(status("manifests", stranger.digest()).await, 403);
    assert_eq!(status("blobs", strange_layer).await, 403);

    // The key is withdrawn: all that hung on it closes with the next request.
    site.signed_by(&site.admin, &Minter::fresh().public_pem()).await;
    for (kind, digest) in [("manifests", index.digest()), ("manifests", child.digest()), ("blobs", layer)] {
        assert_eq!(status(kind, digest).await, 403, "{kind} {digest}");
    }
}

#[tokio::test]
async fn a_hot_manifest_costs_its_registry_nothing() {
    let site = hasty().await;
    let index = Index::new("app");
    let blob = |blob: &Blob| site.fake.manifest("open/app", blob, None);
    blob(&index.index);
    index.images.iter().for_each(|image| blob(&image.manifest));
    let path = format!("registry.test/open/app/manifests/{}", index.digest());
    assert_eq!(site.get(&path).await.status(), 200);
    let before = site.fake.log().len();
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(site.get(&path).await.bytes().await.unwrap(), index.index.bytes);
    }
    println!("a hot manifest takes {:?}", start.elapsed() / 50);
    assert_eq!(site.fake.log().len(), before);
}

#[tokio::test]
async fn only_the_named_authority_vouches_for_an_upstream() {
    let now = gateway::http::clock::now();
    let folder = testdata::scratch();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = Authority::new("upstream", now);
    let server = authority.tls_server(&["127.0.0.1"], now);
    let tls = TlsSettings {
        certificate: write("tls.pem", &server.certificate_pem),
        key: write("tls.key", &server.key_pem),
        client_ca: None,
    };
    // Another gateway is the registry. It refuses us, once it is believed to be itself.
    let settings =
        Settings { listen: "127.0.0.1:0".parse().unwrap(), tls: Some(tls), ..Settings::defaults(folder.path()) };
    let registry = Gateway::start(settings).await.unwrap();
    let url = Some(format!("https://{}", registry.address()));
    let resolve = |ca_file: Option<std::path::PathBuf>| {
        let upstream = UpstreamSettings { url: url.clone(), ca_file, ..UpstreamSettings::new("registry.test") };
        let table = Upstreams::new(&[upstream]).unwrap();
        async move {
            let upstream = table.locate(&"acme".parse().unwrap(), "registry.test").unwrap();
            let tag = "v1".parse().unwrap();
            upstream.resolve(&testdata::repository("registry.test/skynet/app"), &tag).await
        }
    };
    let own = write("ca.pem", &authority.root_pem());
    let other = write("other.pem", &Authority::new("other", now).root_pem());
    let known = resolve(Some(own)).await;
    assert!(matches!(known, Err(UpstreamError::Refused { .. })), "{known:?}");
    for stranger in [Some(other), None] {
        let answer = resolve(stranger).await;
        assert!(matches!(answer, Err(UpstreamError::Unavailable { .. })), "{answer:?}");
    }
    let broken = UpstreamSettings { ca_file: Some(write("no.pem", "")), ..UpstreamSettings::new("registry.test") };
    assert!(Upstreams::new(&[broken]).is_err());
    registry.stop().await;
}

#[tokio::test]
async fn no_index_opens_an_image_that_was_rejected_itself() {
    let site = hasty().await;
    let index = Index::new("app");
    site.fake.manifest("skynet/app", &index.index, None);
    for (number, image) in index.images.iter().enumerate() {
        site.fake.image("skynet/app", &format!("part-{number}"), image);
    }
    let bundle = site.minter.cosign_cyclonedx("registry.test/skynet/app", index.digest(), &testdata::cyclonedx(3));
    site.fake.attach("skynet/app", &Attached::bundles(&index.index, &[bundle.bytes()]));
    let status = async |reference: &str| {
        site.get(&format!("registry.test/skynet/app/manifests/{reference}")).await.status().as_u16()
    };
    let (rejected, other) = (&index.images[0], &index.images[1]);
    assert_eq!(status(&index.digest().to_string()).await, 200);
    assert_eq!(status("part-0").await, 200, "what an allowed index lists may be pulled");

    let blob = async |image: &Image| {
        site.get(&format!("registry.test/skynet/app/blobs/{}", image.layers[1].digest)).await.status().as_u16()
    };
    assert_eq!(status("part-1").await, 200);
    assert_eq!((blob(rejected).await, blob(other).await), (200, 200));

    // Now a run about one part alone, without what the contract asks for.
    let workflow = json!({"project": "skynet", "name": "release", "team": "core", "contract": "skynet"});
    let put = site.by(&site.admin, Method::POST, "/api/v1/workflows").json(&workflow).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let run = json!({"project": "skynet", "workflow": "release"});
    let run = site.by(&site.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
    let run = run.json::<contracts::api::StartedRun>().await.unwrap();
    let image = Material::image("image", "registry.test/skynet/app", rejected.digest());
    let push = site.by(&site.admin, Method::POST, "/api/v1/attestations?project=skynet&workflow=release");
    let push = push.header("content-type", "application/vnd.dev.sigstore.bundle.v0.3+json");
    let pushed = push.body(site.minter.attest(&run, &[image]).bytes().to_vec()).send().await.unwrap();
    assert_eq!(pushed.status(), 422, "{}", pushed.text().await.unwrap());

    for reference in ["part-0", &rejected.digest().to_string()] {
        assert_eq!(status(reference).await, 403, "{reference}");
    }
    assert_eq!(blob(rejected).await, 403, "what it leads to is closed with it");
    assert_eq!(status(&index.digest().to_string()).await, 200);
    assert_eq!(status(&other.digest().to_string()).await, 200, "the other part has nothing of its own");
    assert_eq!(blob(other).await, 200);
}
