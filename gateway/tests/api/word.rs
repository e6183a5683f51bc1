//! The gateway's own word: verdicts that it signs, and the keys to check them with.

use contracts::{
    Bundle, Digest, PublicKey, TrustRoot, Verification, Verified,
    api::{CheckAnswer, GatewayKeys},
    keys::SigningKey,
};
use gateway::{
    app::Gateway,
    config::{PreviousKey, SigningSettings},
};
use insta::assert_snapshot;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    scene::{REPOSITORY, Scene, scene, scene_in},
    support::{Site, settings, site, site_with},
};

async fn keys(site: &Site) -> GatewayKeys {
    Client::new().get(site.url("/api/v1/keys")).send().await.unwrap().json().await.unwrap()
}

/// What a signed verdict says, by the keys that the gateway publishes.
pub async fn believed(site: &Site, bundle: &[u8]) -> Verified<Verification> {
    let published = keys(site).await.keys;
    let keys = published.iter().map(|key| PublicKey::from_pem(&key.pem).unwrap()).collect();
    let root = TrustRoot::new(keys, None).unwrap();
    root.verify(&Bundle::parse(bundle).unwrap(), testdata::noon()).unwrap()
}

async fn word(scene: &Scene, answer: &CheckAnswer) -> Value {
    let bundle = answer.vsa.as_ref().unwrap().to_string();
    let verified = believed(&scene.site, bundle.as_bytes()).await;
    assert!(verified.statement.names_sha256(answer.verdict.subject.digest()));
    verified.statement.predicate.clone()
}

#[tokio::test]
async fn the_answer_comes_signed_when_it_is_asked_for() {
    let scene = scene().await;
    let image = Digest::of(b"image");
    let denied = word(&scene, &scene.check_signed(image).await).await;
    assert_eq!((&denied["verificationResult"], &denied["verifiedLevels"]), (&json!("FAILED"), &json!(["FAILED"])));
    let extension = &denied["https://sluice.dev/verdict/v1"];
    assert_eq!(extension["findings"][0]["code"], "no-evidence");

    let received = scene.release(image, true).await;
    let answer = scene.check_signed(image).await;
    let allowed = word(&scene, &answer).await;
    assert_eq!(allowed["verificationResult"], "PASSED");
    assert_eq!(allowed["resourceUri"], format!("oci://{REPOSITORY}"));
    assert_eq!(allowed["inputAttestations"], json!([{"digest": {"sha256": received.attestation.hex()}}]));
    assert_eq!(allowed["policy"]["digest"]["sha256"], answer.verdict.contracts[0].digest.hex());
    assert_eq!(allowed["https://sluice.dev/verdict/v1"]["key"], json!(answer.key));
    let gateway = keys(&scene.site).await.gateway;
    assert_eq!(allowed["verifier"]["id"], format!("{gateway}/organizations/default"));
    assert!(scene.check(image).await.vsa.is_none(), "nobody asked");

    // A run that breaks its contract is among what the verdict was made from.
    let rejected = scene.release(image, false).await;
    let failed = word(&scene, &scene.check_signed(image).await).await;
    assert_eq!(failed["verificationResult"], "FAILED");
    assert_eq!(failed["inputAttestations"], json!([{"digest": {"sha256": rejected.attestation.hex()}}]));
}

#[tokio::test]
async fn what_is_only_let_through_never_passed() {
    let scene = scene().await;
    let image = Digest::of(b"image");
    scene.apply("    enforcement: warn\n").await;
    let answer = scene.check_signed(image).await;
    assert_eq!((answer.verdict.decision, answer.verdict.enforced), (contracts::Decision::Allow, false));
    let told = word(&scene, &answer).await;
    assert_eq!(told["verificationResult"], "FAILED");

    scene.organization(json!({"unmatched": "allow"})).await;
    let elsewhere = json!({"image": format!("other.dev/app@{image}"), "vsa": true});
    let answer = scene.site.by(&scene.site.admin, Method::POST, "/api/v1/check").json(&elsewhere).send().await;
    let answer: CheckAnswer = answer.unwrap().json().await.unwrap();
    assert_eq!((answer.verdict.decision, answer.verdict.enforced), (contracts::Decision::Allow, false));
    assert_eq!(word(&scene, &answer).await["verificationResult"], "FAILED");
}

#[tokio::test]
async fn a_verdict_is_found_by_its_key_and_signed_only_while_it_holds() {
    let scene = scene().await;
    let site = &scene.site;
    let image = Digest::of(b"image");
    scene.release(image, true).await;
    assert_eq!(scene.verdict(image).await, "allow");
    let answer = scene.check(image).await;
    let path = format!("/api/v1/verdicts/{}", answer.key);
    let shown = site.by(&site.admin, Method::GET, &path).send().await.unwrap();
    assert_eq!(shown.json::<CheckAnswer>().await.unwrap(), answer);
    let vsa = format!("{path}/vsa");
    let signed = site.by(&site.admin, Method::GET, &vsa).send().await.unwrap();
    assert_eq!(signed.status(), StatusCode::OK);
    assert_eq!(signed.headers()["content-type"], contracts::bundle::MEDIA_TYPE);
    let bundle = signed.bytes().await.unwrap();
    assert_eq!(believed(site, &bundle).await.statement.predicate["verificationResult"], "PASSED");

    // Neither another organization's, nor without a token, nor for those who may not ask for verdicts.
    let other = site.organization("other").await;
    for path in [&path, &vsa] {
        assert!(site.get(&other, path).await.starts_with("404"), "{path}");
        assert_eq!(site.client.get(site.url(path)).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    let reader = site.token("read", None).await.secret;
    assert!(site.get(&reader, &path).await.starts_with("200"));
    assert!(site.get(&reader, &vsa).await.starts_with("403"));

    scene.release(image, false).await;
    assert!(site.get(&site.admin, &path).await.starts_with("200"), "it is shown still");
    let overtaken = site.get(&site.admin, &vsa).await;
    assert!(overtaken.starts_with("409") && overtaken.contains("verdict-overtaken"), "{overtaken}");
    assert_snapshot!(site.get(&site.admin, &format!("/api/v1/verdicts/{}", Digest::of(b"none"))).await, @r#"
    404 Not Found
    {
      "error": {
        "code": "not-found",
        "message": "there is no verdict `sha256:140bedbf9c3f6d56a9846d2ba7088798683f4da0c248231336e6a05679e4fdfe`, or it was forgotten: ask again with `POST /api/v1/check`"
      }
    }
    "#);
}

#[tokio::test]
async fn the_gateways_own_word_is_no_evidence() {
    let scene = scene().await;
    let image = Digest::of(b"image");
    scene.release(image, true).await;
    let vsa = scene.check_signed(image).await.vsa.unwrap().to_string();
    // Not even where its key speaks for the contract.
    let key = keys(&scene.site).await.keys[0].pem.clone();
    scene.organization(json!({"default_signers": [key]})).await;
    let path = "/api/v1/attestations?project=skynet&workflow=release";
    let push = scene.site.by(&scene.site.admin, Method::POST, path);
    let push = push.header("content-type", contracts::bundle::MEDIA_TYPE).body(vsa).send().await.unwrap();
    assert_eq!(push.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(push.text().await.unwrap().contains("attestation-unreadable"));
}

#[tokio::test]
async fn what_an_accepted_run_built_has_provenance() {
    let scene = scene().await;
    let site = &scene.site;
    let image = Digest::of(b"image");
    let received = scene.release(image, true).await;
    let path = format!("/api/v1/runs/{}/provenance", received.run.id);
    let signed = site.by(&site.admin, Method::GET, &path).send().await.unwrap();
    assert_eq!(signed.status(), StatusCode::OK);
    let verified = believed(site, &signed.bytes().await.unwrap()).await;
    let statement = &verified.statement;
    assert_eq!(statement.predicate_type, "https://slsa.dev/provenance/v1");
    assert!(statement.names_sha256(&image));
    assert_eq!(statement.subjects[0].annotations, json!({"sluice.dev/asserted-by": "job"}));
    let predicate = &statement.predicate;
    let extension = &predicate["https://sluice.dev/provenance/v1"];
    assert_eq!(extension["buildLevel"], "SLSA_BUILD_LEVEL_1", "a key signed");
    assert!(predicate["runDetails"]["builder"]["id"].as_str().unwrap().ends_with("/builders/unverified"));
    let byproduct = &predicate["runDetails"]["byproducts"][0]["digest"]["sha256"];
    assert_eq!(*byproduct, received.attestation.hex());

    let other = site.organization("other").await;
    let nightly = site.token("push", Some("skynet/release")).await.secret;
    assert!(site.get(&other, &path).await.starts_with("404"));
    assert!(site.get(&nightly, &path).await.starts_with("200"));
    let rejected = scene.release(image, false).await;
    let none = site.get(&site.admin, &format!("/api/v1/runs/{}/provenance", rejected.run.id)).await;
    assert!(none.starts_with("409") && none.contains("no-provenance"), "{none}");
    // Whose signature no longer counts, of that nothing is vouched for.
    let stranger = SigningKey::generate_p256().unwrap().public().to_pem();
    scene.organization(json!({"default_signers": [stranger]})).await;
    let none = site.get(&site.admin, &path).await;
    assert!(none.starts_with("409") && none.contains("not trusted any more"), "{none}");
    let bad = json!({"default_signers": [stranger], "isolated_builders": [{"issuer": "https://i", "identity": "https://github.com/acme/*"}]});
    let put = site.send(&site.admin, Method::PUT, "/api/v1/organization", &bad).await;
    assert!(put.starts_with("422") && put.contains("isolated-builders-invalid"), "{put}");
}

#[tokio::test]
async fn anyone_may_read_the_keys_and_old_ones_stay_for_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let old = SigningKey::generate_ed25519().unwrap();
    let path = folder.path().join("old.pub");
    std::fs::write(&path, old.public().to_pem()).unwrap();
    let previous = |until: &str| PreviousKey { key: path.clone(), from: None, until: Some(until.parse().unwrap()) };
    let site = site_with(|settings| {
        settings.external_url = Some("https://sluice.acme.dev".to_owned());
        settings.signing.previous = vec![previous("2999-01-01T00:00:00Z"), previous("2020-01-01T00:00:00Z")];
    })
    .await;
    let published = keys(&site).await;
    assert_eq!(published.gateway, "https://sluice.acme.dev");
    let told: Vec<_> = published.keys.iter().map(|key| (key.id == old.public().id(), key.current)).collect();
    assert_eq!(told, [(false, true), (true, false)], "the one that ended is not there");
}

#[tokio::test]
async fn the_key_is_the_same_after_a_start_and_a_bad_one_stops_it() {
    let first = site().await;
    let id = keys(&first).await.keys[0].id;
    let Site { folder, running, .. } = first;
    running.stop().await;
    let running = Gateway::start(settings(&folder)).await.unwrap();
    let again = Client::new().get(format!("http://{}/api/v1/keys", running.address())).send().await.unwrap();
    assert_eq!(again.json::<GatewayKeys>().await.unwrap().keys[0].id, id);
    running.stop().await;

    let mut bad = settings(&folder);
    bad.signing = SigningSettings { key: folder.path().join("no.key"), make: false, ..bad.signing };
    let error = Gateway::start(bad).await.err().unwrap().to_string();
    assert!(error.contains("no.key") && error.contains("is not there"), "{error}");
}

#[tokio::test]
async fn the_word_of_one_organization_names_another_verifier_than_that_of_the_next() {
    let scene = scene_in(site().await).await;
    let image = Digest::of(b"image");
    let other = scene.site.organization("other").await;
    let body = json!({"image": format!("{REPOSITORY}@{image}"), "vsa": true});
    let answer = scene.site.by(&other, Method::POST, "/api/v1/check").json(&body).send().await.unwrap();
    let told = word(&scene, &answer.json().await.unwrap()).await;
    assert!(told["verifier"]["id"].as_str().unwrap().ends_with("/organizations/other"));
}
