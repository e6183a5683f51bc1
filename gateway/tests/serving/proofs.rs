//! What lies beside an image and looks like a proof: signed as something else, by too few, of another image, or made to
//! cost whoever reads it. It opens nothing, by no way of asking.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{Digest, Statement, dsse::IN_TOTO_PAYLOAD_TYPE};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, header};
use serde_json::{Value, json};
use testdata::{Attached, Image, Minter, Sigstore};

use crate::site::{Site, failed, header_of, is, site, site_with};

pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const RELEASE: &str = "https://forge.test/acme/app/.github/workflows/release.yml@refs/heads/main";

/// An SBOM, attested of this image.
pub(crate) fn statement(repository: &str, image: &Image) -> Value {
    let document: Value = serde_json::from_slice(&testdata::cyclonedx(3)).unwrap();
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://cyclonedx.org/bom",
        "subject": [{"name": format!("registry.test/{repository}"), "digest": {"sha256": image.digest().hex()}}],
        "predicate": document,
    })
}

fn others(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"name": "x", "digest": {"sha256": format!("{n:064x}")}})).collect()
}

impl Site {
    /// Puts an image into the registry with something that is said to be a bundle beside it.
    pub(crate) fn beside(&self, repository: &str, image: &Image, bundle: &[u8]) {
        self.fake.image(repository, "v1", image);
        self.fake.attach(repository, &Attached::bundles(&image.manifest, &[bundle]));
    }

    /// The image is closed, by every way of asking; the reason that is told.
    pub(crate) async fn is_closed(&self, repository: &str, image: &Image) -> String {
        let name = format!("registry.test/{repository}");
        let digest = image.digest();
        for reference in ["v1".to_owned(), digest.to_string()] {
            let path = format!("{name}/manifests/{reference}");
            let head = self.head(&path).await;
            let told = (header_of(&head, "docker-content-digest"), header_of(&head, "content-length"));
            assert_eq!((head.status().as_u16(), told), (200, (None, None)), "{path}");
            let known = self.ask(Method::GET, &path).header(header::IF_NONE_MATCH, format!("\"{digest}\""));
            assert_eq!(failed(known.send().await.unwrap()).await, is(403, "DENIED"), "{path}");
        }
        for blob in image.blobs() {
            let path = format!("{name}/blobs/{}", blob.digest);
            assert_eq!(self.status(&path).await, 403);
            let part = self.ask(Method::GET, &path).header(header::RANGE, "bytes=0-0").send().await.unwrap();
            assert_eq!(failed(part).await, is(403, "DENIED"));
        }
        assert_eq!(self.status(&format!("{name}/referrers/{digest}")).await, 403);
        let answer = self.get(&format!("{name}/manifests/{digest}")).await;
        assert_eq!(answer.status(), 403);
        let body: Value = answer.json().await.unwrap();
        body["errors"][0]["message"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn is_open(&self, repository: &str, image: &Image) {
        let answer = self.get(&format!("registry.test/{repository}/manifests/{}", image.digest())).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        for blob in image.blobs() {
            let answer = self.get(&format!("registry.test/{repository}/blobs/{}", blob.digest)).await;
            assert_eq!(answer.bytes().await.unwrap(), blob.bytes);
        }
    }
}

type Make = Box<dyn Fn(&Minter, &Image) -> Vec<u8>>;

/// What is signed rightly, and changed after that.
fn signed(change: impl Fn(&mut Value) + 'static) -> Make {
    Box::new(move |minter, image| {
        let statement = statement("skynet/app", image).to_string();
        let mut bundle = minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.as_bytes());
        change(&mut bundle);
        bundle.to_string().into_bytes()
    })
}

/// Another statement, signed rightly.
fn saying(change: impl Fn(&mut Value) + 'static) -> Make {
    Box::new(move |minter, image| {
        let mut statement = statement("skynet/app", image);
        change(&mut statement);
        minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string().into_bytes()
    })
}

/// A statement in other words than a serializer writes, signed rightly.
fn written(change: impl Fn(String) -> String + 'static) -> Make {
    Box::new(move |minter, image| {
        let statement = change(statement("skynet/app", image).to_string());
        minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.as_bytes()).to_string().into_bytes()
    })
}

fn bytes(bytes: Vec<u8>) -> Make {
    Box::new(move |_, _| bytes.clone())
}

/// Zstandard that becomes more than a gigabyte: ten thousand blocks of one byte repeated.
fn zstd_bomb() -> Vec<u8> {
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for n in 0..10_000 {
        let header: u32 = ((128 * 1024) << 3) | (1 << 1) | u32::from(n == 9_999);
        bomb.extend(&header.to_le_bytes()[..3]);
        bomb.push(0);
    }
    bomb
}

#[tokio::test]
async fn what_proves_nothing_opens_nothing() {
    let site = site().await;
    let ignored = "signer-not-allowed: none of the 1 attestations";
    let cases: Vec<(&str, &str, Make)> = vec![
        ("another payload type", ignored, {
            Box::new(|minter, image| {
                let statement = statement("skynet/app", image).to_string();
                minter.sign_anything("application/json", statement.as_bytes()).to_string().into_bytes()
            })
        }),
        ("another payload type around the same signature", ignored, {
            signed(|bundle| bundle["dsseEnvelope"]["payloadType"] = json!("text/plain"))
        }),
        ("another predicate", "material-sbom", saying(|s| s["predicateType"] = json!("https://example.test/claim/v1"))),
        ("no statement at all", ignored, saying(|s| *s = json!({"predicate": {}}))),
        ("no signature", ignored, signed(|bundle| bundle["dsseEnvelope"]["signatures"] = json!([]))),
        ("an empty signature", ignored, signed(|bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(""))),
        ("an empty one beside the right one", ignored, {
            signed(|bundle| bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(json!({"sig": ""})))
        }),
        ("ten thousand signatures, the right one first", ignored, {
            signed(|bundle| {
                let all = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
                all.extend((0..9_999).map(|n| json!({"sig": STANDARD.encode(format!("junk {n}"))})));
            })
        }),
        ("no subject", ignored, saying(|s| s["subject"] = json!([]))),
        ("ten thousand subjects, the image among them", ignored, {
            saying(|s| s["subject"].as_array_mut().unwrap().extend(others(9_999)))
        }),
        ("one subject more than are read", ignored, {
            saying(|s| s["subject"].as_array_mut().unwrap().extend(others(1_024)))
        }),
        ("the subjects twice", ignored, {
            written(|text| text.replacen('{', &format!("{{\"subject\":{},", json!(others(1))), 1))
        }),
        ("a subject's digest twice", ignored, {
            written(|text| text.replacen("{\"sha256\":", &format!("{{\"sha256\":\"{:064x}\",\"sha256\":", 1), 1))
        }),
        ("the envelope twice", ignored, {
            Box::new(|minter, image| {
                let good = signed(|_| {})(minter, image);
                let text = String::from_utf8(good).unwrap();
                let other = minter.sign_anything("text/plain", b"x")["dsseEnvelope"].to_string();
                text.replacen('{', &format!("{{\"dsseEnvelope\":{other},"), 1).into_bytes()
            })
        }),
        ("a statement nested a hundred thousand deep", ignored, {
            written(|text| {
                let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
                text.replacen('{', &format!("{{\"deep\":{deep},"), 1)
            })
        }),
        ("a bundle nested a hundred thousand deep", ignored, bytes(testdata::deep("{\"a\":", 100_000))),
        ("a gzip bomb", ignored, bytes(testdata::archive::gzip(&vec![0; 16 << 20]))),
        ("a zstd bomb", ignored, bytes(zstd_bomb())),
        ("nothing", ignored, bytes(Vec::new())),
    ];
    for (number, (what, told, make)) in cases.into_iter().enumerate() {
        // Each another image: what was found is remembered for a while.
        let image = Image::new(&format!("app-{number}"));
        site.beside("skynet/app", &image, &make(&site.minter, &image));
        let (begun, asked) = (Instant::now(), site.fake.log().len());
        let reason = site.is_closed("skynet/app", &image).await;
        assert!(reason.starts_with(told), "{what}: {reason}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
        assert!(site.fake.log().len() - asked < 60, "{what}: {} requests", site.fake.log().len() - asked);
    }
    let image = Image::new("good");
    site.beside("skynet/app", &image, &signed(|_| {})(&site.minter, &image));
    site.is_open("skynet/app", &image).await;
}

pub fn contract(name: &str, signers: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {name}}}\nspec:\n  materials: [{{name: sbom, type: SBOM_CYCLONEDX_JSON}}]\n  signers: {signers}\n  admission: {{repositories: [\"registry.test/{name}/**\"]}}\n"
    )
}

#[tokio::test]
async fn signers_are_counted_once_each_whatever_they_are_called() {
    let site = site().await;
    let (one, two, stranger) = (Minter::fresh(), Minter::fresh(), Minter::fresh());
    let signers = "{threshold: 2, any: [{publicKey: \"file://one.pub\"}, {publicKey: \"file://two.pub\"}]}";
    let keys = [("one.pub", one.public_pem()), ("two.pub", two.public_pem())];
    site.apply(&site.admin, "two", &contract("two", signers), &keys).await;
    let sign = |image: &Image, by: &[(&Minter, &str)]| {
        let statement = statement("two/app", image).to_string();
        let bundles = by.iter().map(|(minter, keyid)| {
            let mut bundle = minter.sign_anything(IN_TOTO_PAYLOAD_TYPE, statement.as_bytes());
            bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!(keyid);
            bundle
        });
        let bundles: Vec<Value> = bundles.collect();
        let signatures: Vec<Value> =
            bundles.iter().map(|bundle| bundle["dsseEnvelope"]["signatures"][0].clone()).collect();
        let mut all = bundles[0].clone();
        all["dsseEnvelope"]["signatures"] = json!(signatures);
        all.to_string().into_bytes()
    };
    let cases: Vec<(&str, Vec<(&Minter, &str)>)> = vec![
        ("one alone", vec![(&one, "")]),
        ("one twice", vec![(&one, ""), (&one, "")]),
        ("one under two names", vec![(&one, "one"), (&one, "two")]),
        ("one with a stranger", vec![(&one, "one"), (&stranger, "two")]),
    ];
    for (what, by) in cases {
        let image = Image::new(what);
        site.beside("two/app", &image, &sign(&image, &by));
        let reason = site.is_closed("two/app", &image).await;
        assert!(reason.starts_with("signer"), "{what}: {reason}");
    }
    let image = Image::new("both");
    site.beside("two/app", &image, &sign(&image, &[(&one, "x"), (&two, "x")]));
    site.is_open("two/app", &image).await;
}

pub(crate) fn now() -> Timestamp {
    gateway::http::clock::now()
}

/// A gateway that trusts this Sigstore, with a contract for `keyless/…` that its release workflow signs for.
async fn keyless() -> (Site, Sigstore) {
    keyless_with(|_| {}).await
}

pub(crate) async fn keyless_with(change: impl FnOnce(&mut Value)) -> (Site, Sigstore) {
    let sigstore = Sigstore::new(now());
    let folder = testdata::scratch();
    let path = folder.path().join("trusted_root.json");
    let mut root: Value = serde_json::from_slice(&sigstore.trusted_root()).unwrap();
    change(&mut root);
    std::fs::write(&path, root.to_string()).unwrap();
    let site = site_with(|settings| settings.trusted_root = Some(path)).await;
    let signers = format!("{{any: [{{issuer: \"{ISSUER}\", identity: \"{RELEASE}\"}}]}}");
    site.apply(&site.admin, "keyless", &contract("keyless", &signers), &[]).await;
    (site, sigstore)
}

pub(crate) fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub fn attested(sigstore: &Sigstore, image: &Image, identity: &str, issuer: &str, at: Timestamp) -> Value {
    let statement = Statement::parse(statement("keyless/app", image).to_string().as_bytes()).unwrap();
    let bundle = sigstore.attest(&statement, identity, issuer, at);
    serde_json::from_slice(bundle.bytes()).unwrap()
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_name_signature_and_log_entry_alone() {
    let (site, sigstore) = keyless().await;
    let hour_ago = ago(3600);
    let good = |image: &Image| attested(&sigstore, image, RELEASE, ISSUER, hour_ago);
    let named = |image: &Image, identity: &str, issuer: &str| attested(&sigstore, image, identity, issuer, hour_ago);
    let other = Image::new("somebody else's");
    let material = "verificationMaterial";
    type Case<'c> = (&'c str, Box<dyn Fn(&Image) -> Value + 'c>);
    let changed = |change: fn(&mut Value)| {
        Box::new(move |image: &Image| {
            let mut bundle = good(image);
            change(&mut bundle);
            bundle
        })
    };
    let logged = |certified: i64, logged: i64| -> Box<dyn Fn(&Image) -> Value + '_> {
        let sigstore = &sigstore;
        Box::new(move |image: &Image| {
            let statement = Statement::parse(statement("keyless/app", image).to_string().as_bytes()).unwrap();
            let bundle = sigstore.attest_logged(&statement, RELEASE, ISSUER, (ago(certified), ago(logged)));
            serde_json::from_slice(bundle.bytes()).unwrap()
        })
    };
    let cases: Vec<Case<'_>> = vec![
        ("a repository whose name goes on", {
            Box::new(|image| named(image, &RELEASE.replace("acme/app/", "acme/app.evil/"), ISSUER))
        }),
        ("a name before it", Box::new(|image| named(image, &format!("https://evil.test/{RELEASE}"), ISSUER))),
        ("another branch", Box::new(|image| named(image, &RELEASE.replace("main", "main2"), ISSUER))),
        ("capitals", Box::new(|image| named(image, &RELEASE.replace("acme", "ACME"), ISSUER))),
        ("another issuer", Box::new(|image| named(image, RELEASE, "https://issuer.test.evil.test"))),
        ("an issuer with a slash", Box::new(|image| named(image, RELEASE, &format!("{ISSUER}/")))),
        ("another authority", {
            let strangers = Sigstore::new(now());
            Box::new(move |image| attested(&strangers, image, RELEASE, ISSUER, hour_ago))
        }),
        ("a genuine entry of another image", {
            Box::new(|image| {
                let (mut mine, theirs) = (good(image), good(&other));
                mine[material]["tlogEntries"] = theirs[material]["tlogEntries"].clone();
                mine
            })
        }),
        ("the certificate of another signature", {
            Box::new(|image| {
                let (mut mine, theirs) = (good(image), good(image));
                mine[material]["certificate"] = theirs[material]["certificate"].clone();
                mine
            })
        }),
        ("a statement about another image", Box::new(|_| good(&other))),
        ("no entry", changed(|b| b["verificationMaterial"]["tlogEntries"] = json!([]))),
        ("no proof of inclusion", {
            changed(|b| b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"] = Value::Null)
        }),
        ("a proof of another tree", {
            changed(|b| {
                let root = STANDARD.encode(Digest::of(b"another tree").as_bytes());
                b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["rootHash"] = json!(root);
            })
        }),
        ("a promise of another time", {
            changed(|b| {
                let entry = &mut b["verificationMaterial"]["tlogEntries"][0];
                let time: i64 = entry["integratedTime"].as_str().unwrap().parse().unwrap();
                entry["integratedTime"] = json!((time + 1).to_string());
            })
        }),
        ("logged after its certificate was over", logged(3600, 3600 - 1200)),
        ("logged before its certificate began", logged(3600, 3600 + 1200)),
        ("a time to come", Box::new(|image| attested(&sigstore, image, RELEASE, ISSUER, ago(-600)))),
    ];
    for (what, make) in cases {
        let image = Image::new(what);
        site.beside("keyless/app", &image, make(&image).to_string().as_bytes());
        let reason = site.is_closed("keyless/app", &image).await;
        assert!(reason.starts_with("signer-not-allowed"), "{what}: {reason}");
    }
    let image = Image::new("good");
    site.beside("keyless/app", &image, good(&image).to_string().as_bytes());
    site.is_open("keyless/app", &image).await;
}

#[tokio::test]
async fn one_identity_counts_once_however_often_it_is_logged() {
    let (site, sigstore) = keyless().await;
    let other = RELEASE.replace("main", "review");
    let signers = format!(
        "{{threshold: 2, any: [{{issuer: \"{ISSUER}\", identity: \"{RELEASE}\"}}, {{issuer: \"{ISSUER}\", identity: \"{other}\"}}]}}"
    );
    site.apply(&site.admin, "keyless", &contract("keyless", &signers), &[]).await;
    let image = Image::new("app");
    let (mut bundle, again) = (
        attested(&sigstore, &image, RELEASE, ISSUER, ago(3600)),
        attested(&sigstore, &image, RELEASE, ISSUER, ago(1800)),
    );
    let entries = &mut bundle["verificationMaterial"]["tlogEntries"];
    let entry = entries[0].clone();
    entries.as_array_mut().unwrap().push(entry);
    let bundles = [bundle, again].map(|bundle| bundle.to_string().into_bytes());
    site.fake.image("keyless/app", "v1", &image);
    let attached = Attached::bundles(&image.manifest, &[&bundles[0], &bundles[1]]);
    site.fake.attach("keyless/app", &attached);
    let reason = site.is_closed("keyless/app", &image).await;
    assert!(reason.starts_with("signer"), "{reason}");
}

#[tokio::test]
async fn where_a_certificate_log_is_trusted_its_proof_is_demanded() {
    // The certificates of this authority have none.
    let (site, sigstore) = keyless_with(|root| root["ctlogs"] = root["tlogs"].clone()).await;
    let image = Image::new("app");
    let bundle = attested(&sigstore, &image, RELEASE, ISSUER, ago(3600));
    site.beside("keyless/app", &image, bundle.to_string().as_bytes());
    let reason = site.is_closed("keyless/app", &image).await;
    assert!(reason.starts_with("signer-not-allowed"), "{reason}");
}

#[tokio::test]
async fn a_logged_certificate_that_runs_out_ends_no_verdict() {
    let (site, sigstore) = keyless().await;
    let image = Image::new("app");
    // It is valid for ten minutes around its signature.
    let at = ago(597);
    let bundle = attested(&sigstore, &image, RELEASE, ISSUER, at);
    site.beside("keyless/app", &image, bundle.to_string().as_bytes());
    site.is_open("keyless/app", &image).await;
    assert!(now() < at + SignedDuration::from_secs(600), "the test came too late to see it run out");
    let left = at + SignedDuration::from_secs(601);
    while now() < left {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    site.is_open("keyless/app", &image).await;
    let check = json!({"image": format!("registry.test/keyless/app@{}", image.digest())});
    let check = site.by(&site.admin, Method::POST, "/api/v1/check").json(&check).send().await.unwrap();
    let check: Value = check.json().await.unwrap();
    assert_eq!((&check["decision"], &check["valid_until"]), (&json!("allow"), &Value::Null), "{check:#}");
}
