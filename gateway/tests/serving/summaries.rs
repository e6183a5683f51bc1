//! What another verifier says of an image opens it only as the contract demands, and for no longer.

use std::time::Duration;

use contracts::{Digest, Statement, Subject, vsa};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, header};
use serde_json::{Value, json};
use testdata::{Attached, Image, Minter};

use crate::site::{Site, failed, header_of, is, site};

const VERIFIER: &str = "https://verifier.example.test/acme";
const POLICY: &[u8] = b"a policy";

/// A gateway whose contract `asked` asks this verifier, and for nothing else.
async fn asking(max_age: &str) -> (Site, Minter) {
    let (site, verifier) = (site().await, Minter::fresh());
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: asked}}\nspec:\n  materials: []\n  admission:\n    repositories: [\"registry.test/asked/**\"]\n    verifiers:\n      - {{id: \"{VERIFIER}\", publicKey: \"file://verifier.pub\", policy: \"{}\", maxAge: {max_age}}}\n",
        Digest::of(POLICY)
    );
    site.apply(&site.admin, "asked", &contract, &[("verifier.pub", verifier.public_pem())]).await;
    (site, verifier)
}

fn passed(verified: Timestamp) -> Value {
    json!({
        "verifier": {"id": VERIFIER},
        "timeVerified": verified,
        "resourceUri": "oci://registry.test/asked/app",
        "policy": {"uri": "https://verifier.example.test/policy", "digest": {"sha256": Digest::of(POLICY).hex()}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        "slsaVersion": "1.1",
    })
}

impl Site {
    fn summed_up(&self, image: &Image, predicate: Value, by: &Minter) {
        let subject = Subject::sha256("app", image.digest());
        let bundle = by.sign(&Statement::new(vec![subject], vsa::PREDICATE_TYPE, predicate));
        self.fake.image("asked/app", "v1", image);
        self.fake.attach("asked/app", &Attached::bundles(&image.manifest, &[bundle.bytes()]));
    }
}

fn manifest(image: &Image) -> String {
    format!("registry.test/asked/app/manifests/{}", image.digest())
}

#[tokio::test]
async fn only_what_the_contract_demands_of_a_verifier_opens_an_image() {
    let (site, verifier) = asking("1h").await;
    let (stranger, now) = (Minter::fresh(), gateway::http::clock::now());
    let with = |pointer: &str, value: Value| {
        let mut predicate = passed(now);
        *predicate.pointer_mut(pointer).unwrap() = value;
        predicate
    };
    let cases = [
        ("signed by a stranger", passed(now), &stranger),
        ("signed by who signs for builds", passed(now), &site.minter),
        ("another verifier", with("/verifier/id", json!("https://verifier.example.test/acm")), &verifier),
        ("failed", with("/verificationResult", json!("FAILED")), &verifier),
        ("another resource", with("/resourceUri", json!("oci://registry.test/asked/other")), &verifier),
        ("another policy", with("/policy/digest/sha256", json!(Digest::of(b"another").hex())), &verifier),
        ("too old", with("/timeVerified", json!(now - SignedDuration::from_hours(2))), &verifier),
        ("yet to come", with("/timeVerified", json!(now + SignedDuration::from_hours(2))), &verifier),
    ];
    for (what, predicate, by) in cases {
        let image = Image::new(what);
        site.summed_up(&image, predicate, by);
        let head = site.head(&manifest(&image)).await;
        assert_eq!((head.status().as_u16(), header_of(&head, "docker-content-digest")), (200, None), "{what}");
        let answer = site.get(&manifest(&image)).await;
        assert_eq!(answer.status(), 403, "{what}");
        let told = answer.text().await.unwrap();
        assert!(told.contains("summar") || told.contains("signer-not-allowed"), "{what}: {told}");
        let blob = format!("registry.test/asked/app/blobs/{}", image.layers[1].digest);
        assert_eq!(failed(site.get(&blob).await).await, is(403, "DENIED"), "{what}");
    }
    // What is said of one image is not said of another that it lies beside.
    let (good, beside) = (Image::new("good"), Image::new("beside"));
    site.summed_up(&good, passed(now), &verifier);
    assert_eq!(site.status(&manifest(&good)).await, 200);
    site.fake.image("asked/app", "v1", &beside);
    let mut attached = Attached::bundles(&beside.manifest, &[]);
    let subject = Subject::sha256("app", good.digest());
    let word = verifier.sign(&Statement::new(vec![subject], vsa::PREDICATE_TYPE, passed(now)));
    attached.clone_from(&Attached::bundles(&beside.manifest, &[word.bytes()]));
    site.fake.attach("asked/app", &attached);
    assert_eq!(failed(site.get(&manifest(&beside)).await).await, is(403, "DENIED"));
}

#[tokio::test]
async fn a_summary_that_grows_too_old_closes_the_image_at_that_instant() {
    let (site, verifier) = asking("4s").await;
    let (image, verified) = (Image::new("app"), gateway::http::clock::now());
    let end = verified + SignedDuration::from_secs(4);
    site.summed_up(&image, passed(verified), &verifier);
    let layer = format!("registry.test/asked/app/blobs/{}", image.layers[1].digest);
    let ask = async |path: &str, ranged: bool| {
        let request = site.ask(Method::GET, path);
        let request = if ranged { request.header(header::RANGE, "bytes=0-3") } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    let all = async || {
        let manifest = manifest(&image);
        [
            ask(&manifest, false).await,
            ask("registry.test/asked/app/manifests/v1", false).await,
            ask(&layer, false).await,
            ask(&layer, true).await,
        ]
    };
    let mut open = 0;
    loop {
        let begun = gateway::http::clock::now();
        let answers = all().await;
        if gateway::http::clock::now() < end {
            assert_eq!(answers, [200, 200, 200, 206]);
            open += 1;
        } else if begun >= end {
            assert_eq!(answers, [403; 4]);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(open > 5, "it was open for a while: {open}");
    let head = site.head(&manifest(&image)).await;
    assert_eq!((head.status().as_u16(), header_of(&head, "docker-content-digest")), (200, None));
}
