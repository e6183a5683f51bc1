//! What a registry has beside an image and is no evidence about it; and what of a request counts for nothing.

use contracts::Statement;
use reqwest::{Method, header::HeaderName};
use serde_json::{Value, json};
use testdata::{Attached, Image};

use crate::site::{Site, failed, header_of, is, listed, site};

/// An SBOM, attested with the right key about these subjects.
fn about(site: &Site, subjects: &Value) -> Vec<u8> {
    let document: Value = serde_json::from_slice(&testdata::cyclonedx(3)).unwrap();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://cyclonedx.org/bom",
        "subject": subjects,
        "predicate": document,
    });
    site.minter.sign(&Statement::parse(statement.to_string().as_bytes()).unwrap()).bytes().to_vec()
}

fn hang(site: &Site, image: &Image, bundle: &[u8]) {
    site.fake.image("skynet/app", "v1", image);
    site.fake.attach("skynet/app", &Attached::bundles(&image.manifest, &[bundle]));
}

fn path(image: &Image) -> String {
    format!("registry.test/skynet/app/manifests/{}", image.digest())
}

#[tokio::test]
async fn a_statement_speaks_of_the_very_digest_that_it_names() {
    let site = site().await;
    let wrong: [fn(&str) -> Value; 4] = [
        // One digit is another.
        |hex| json!({"sha256": format!("{}{}", &hex[..63], if hex.ends_with('0') { '1' } else { '0' })}),
        |hex| json!({"sha256": hex.to_ascii_uppercase(), "sha1": &hex[..40]}),
        |hex| json!({"sha1": &hex[..40]}),
        |hex| json!({"sha512": format!("{hex}{hex}")}),
    ];
    for (number, digests) in wrong.iter().enumerate() {
        // Each another image: what was found is remembered for a while.
        let image = Image::new(&format!("app-{number}"));
        let hex = image.digest().hex();
        let subjects = json!([{"name": "registry.test/skynet/app", "digest": digests(&hex)}]);
        hang(&site, &image, &about(&site, &subjects));
        assert_eq!(failed(site.get(&path(&image)).await).await, is(403, "DENIED"), "{subjects}");
    }
    let image = Image::new("app");
    let subjects = json!([{"name": "registry.test/skynet/app", "digest": {"sha256": image.digest().hex()}}]);
    hang(&site, &image, &about(&site, &subjects));
    assert_eq!(site.get(&path(&image)).await.status(), 200);
}

#[tokio::test]
async fn a_list_under_one_images_name_lends_it_nothing_that_was_said_of_another() {
    let site = site().await;
    let (app, other) = (Image::new("app"), Image::new("other"));
    let mut attached = site.attested("skynet/app", "other", &other);
    site.fake.image("skynet/app", "v1", &app);
    // As a registry without the referrers API has it, and as one with.
    attached.tag = format!("sha256-{}", app.digest().hex());
    site.fake.attach("skynet/app", &attached);
    assert_eq!(failed(site.get(&path(&app)).await).await, is(403, "DENIED"));
    let third = Image::new("third");
    site.fake.image("skynet/app", "third", &third);
    site.fake.refer("skynet/app", third.digest(), &attached);
    assert_eq!(failed(site.get(&path(&third)).await).await, is(403, "DENIED"));
}

#[tokio::test]
async fn the_gateways_own_word_is_no_evidence() {
    let site = site().await;
    let (app, other) = (Image::new("app"), Image::new("other"));
    site.attested("skynet/app", "v1", &app);
    let image = format!("registry.test/skynet/app@{}", app.digest());
    let check = site.by(&site.admin, Method::POST, "/api/v1/check").json(&json!({"image": image, "vsa": true}));
    let answer: Value = check.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["decision"], "allow", "{answer:#}");
    let word = answer["vsa"].to_string();
    // Neither of another image, nor of this one once its evidence is worth nothing.
    hang(&site, &other, word.as_bytes());
    assert_eq!(failed(site.get(&path(&other)).await).await, is(403, "DENIED"));
    hang(&site, &app, word.as_bytes());
    site.signed_by(&site.admin, &testdata::Minter::fresh().public_pem()).await;
    assert_eq!(failed(site.get(&path(&app)).await).await, is(403, "DENIED"));
}

#[tokio::test]
async fn a_tag_that_moves_takes_no_verdict_with_it() {
    let site = site().await;
    let (app, other) = (Image::new("app"), Image::new("other"));
    site.attested("skynet/app", "v1", &app);
    let tag = "registry.test/skynet/app/manifests/v1";
    assert_eq!(site.get(tag).await.status(), 200);
    site.fake.image("skynet/app", "v1", &other);
    let head = site.head(tag).await;
    assert_eq!((head.status().as_u16(), header_of(&head, "docker-content-digest")), (200, None));
    assert_eq!(failed(site.get(tag).await).await, is(403, "DENIED"));
    site.fake.image("skynet/app", "v1", &app);
    assert_eq!(site.get(tag).await.bytes().await.unwrap(), app.manifest.bytes);
}

#[tokio::test]
async fn a_contract_that_changes_is_in_the_next_pull() {
    let site = site().await;
    let image = Image::new("app");
    site.attested("skynet/app", "v1", &image);
    let layer = format!("registry.test/skynet/app/blobs/{}", image.layers[1].digest);
    let contract = |more: &str| {
        format!(
            "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: skynet}}\nspec:\n  materials: [{{name: sbom, type: SBOM_CYCLONEDX_JSON}}{more}]\n  admission: {{repositories: [\"registry.test/skynet/**\"]}}\n"
        )
    };
    for _ in 0..2 {
        assert_eq!((site.status(&path(&image)).await, site.status(&layer).await), (200, 200));
        site.apply(&site.admin, "skynet", &contract(", {name: scan, type: SARIF}"), &[]).await;
        assert_eq!((site.status(&layer).await, site.status(&path(&image)).await), (403, 403));
        let part = site.ask(Method::GET, &layer).header("range", "bytes=0-3").send().await.unwrap();
        assert_eq!(failed(part).await, is(403, "DENIED"));
        site.apply(&site.admin, "skynet", &contract(""), &[]).await;
    }
    assert_eq!((site.status(&layer).await, site.status(&path(&image)).await), (200, 200));

    // What the gateway said under the old contract is not what it says under the new one, which allows the image too.
    let about = format!("registry.test/skynet/app/referrers/{}", image.digest());
    let before = listed(site.get(&about).await).await[0];
    let word = format!("registry.test/skynet/app/manifests/{before}");
    let answer = site.get(&word).await;
    assert_eq!(answer.status(), 200);
    // Its parts are what they are, under no other address.
    let bundle = answer.json::<Value>().await.unwrap()["layers"][0]["digest"].as_str().unwrap().to_owned();
    for (path, status) in
        [(format!("blobs/{bundle}"), 200), (format!("manifests/{bundle}"), 404), (format!("blobs/{before}"), 403)]
    {
        assert_eq!(site.status(&format!("registry.test/skynet/app/{path}")).await, status, "{path}");
    }
    site.apply(&site.admin, "skynet", &contract(", {name: scan, type: SARIF, optional: true}"), &[]).await;
    assert_eq!((site.status(&path(&image)).await, site.status(&word).await), (200, 404));
    assert_ne!(listed(site.get(&about).await).await[0], before);
}

#[tokio::test]
async fn what_one_organization_was_told_no_other_is() {
    let site = site().await;
    let image = Image::new("app");
    site.fake.image("skynet/app", "v1", &image);
    let denied = site.get(&path(&image)).await.bytes().await.unwrap();
    let reason = serde_json::from_slice::<Value>(&denied).unwrap()["errors"][0]["message"].clone();
    // A client that takes the denial for the manifest asks for it as a blob.
    let asked = format!("registry.test/skynet/app/blobs/{}", contracts::Digest::of(&denied));
    let again: Value = site.get(&asked).await.json().await.unwrap();
    assert_eq!(again["errors"][0]["message"], reason);
    let other = site.organization("other").await;
    let theirs = site.by(&other, Method::GET, &format!("/v2/{asked}")).send().await.unwrap();
    assert_eq!(theirs.status(), 403);
    let theirs: Value = theirs.json().await.unwrap();
    assert_ne!(theirs["errors"][0]["message"], reason, "{theirs}");
}

#[tokio::test]
async fn what_a_client_says_of_itself_opens_nothing() {
    let site = site().await;
    let image = Image::new("app");
    site.fake.image("skynet/app", "v1", &image);
    let digest = image.digest().to_string();
    for (name, value) in [
        ("x-forwarded-host", "registry.test"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "host=registry.test;proto=https"),
        ("x-original-url", "/v2/registry.test/open/app/manifests/v1"),
        ("x-rewrite-url", "/v2/registry.test/open/app/manifests/v1"),
        ("x-http-method-override", "HEAD"),
        ("oci-namespace", "open.test"),
        ("docker-content-digest", digest.as_str()),
        ("if-none-match", &format!("\"{digest}\"")),
        ("warning", "299 - allowed"),
        ("user-agent", "cosign/v3.0.0"),
    ] {
        let asked = site.ask(Method::GET, &path(&image)).header(name.parse::<HeaderName>().unwrap(), value);
        assert_eq!(failed(asked.send().await.unwrap()).await, is(403, "DENIED"), "{name}");
    }
}
