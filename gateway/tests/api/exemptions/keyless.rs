//! Approvers who have no key: a certificate says who they are, and a log when they signed.

use contracts::{
    Bundle, Statement, Subject,
    exemption::{APPROVAL_PREDICATE_TYPE, Approvals},
};
use testdata::Sigstore;

use super::*;
use crate::{scene::scene_in, support::site_with};

const ISSUER: &str = "https://accounts.acme.dev";
const BOB: &str = "https://acme.dev/people/bob";
const CAROL: &str = "https://acme.dev/people/carol";

/// As [`exempting`], where ann has a key and bob and carol have none; the gateway trusts this Sigstore.
async fn keyless() -> (Exempting, Sigstore) {
    let sigstore = Sigstore::new(now());
    let folder = testdata::scratch();
    let path = folder.path().join("trusted_root.json");
    std::fs::write(&path, sigstore.trusted_root()).unwrap();
    let scene = scene_in(site_with(|settings| settings.trusted_root = Some(path)).await).await;
    let (ann, bob) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap());
    let image = Digest::of(b"image");
    let run = scene.release(image, false).await;
    let exempting = Exempting { scene, ann, bob, image, run };
    exempting.settings(approvers(&exempting.ann, 2)).await;
    (exempting, sigstore)
}

fn approvers(ann: &SigningKey, threshold: u32) -> Value {
    let person = |identity| json!({"issuer": ISSUER, "identity": identity});
    json!({"approvers": [ann.public().to_pem(), person(BOB), person(CAROL)], "threshold": threshold})
}

fn note() -> String {
    document("note", NOTE, everywhere(), hours(-1), hours(24))
}

/// What somebody signs when they approve of a document.
fn signed(sigstore: &Sigstore, document: &str, identity: &str, issuer: &str) -> Bundle {
    let statement = Approvals::none_of(document.as_bytes().to_vec()).statement("note");
    sigstore.attest(&statement, identity, issuer, hours(-1))
}

impl Exempting {
    async fn send(&self, body: &Value) -> String {
        self.scene.site.send(&self.scene.site.admin, Method::PUT, "/api/v1/exemptions/note", body).await
    }
}

fn with(document: &str, bundles: &[&Bundle]) -> Approvals {
    let none = Approvals::none_of(document.as_bytes().to_vec());
    bundles.iter().fold(none, |approvals, bundle| approvals.with_bundle((*bundle).clone()).unwrap())
}

#[tokio::test]
async fn a_key_and_a_certificate_approve_together_until_one_is_taken_off_the_list() {
    let (exempting, sigstore) = keyless().await;
    let document = note();
    let by_bob = signed(&sigstore, &document, BOB, ISSUER);
    let alone = with(&document, &[&by_bob]);
    let told = exempting.send(&alone.to_value()).await;
    assert!(told.starts_with("403") && told.contains("1 of the organization's approvers signed"), "{told}");
    let both = alone.with_envelope(exempting.ann.approve(document.as_bytes()).unwrap());
    let told = exempting.send(&both.to_value()).await;
    assert!(told.starts_with("201"), "{told}");
    assert_eq!(exempting.verdict().await, "allow");
    let names: Vec<String> = exempting.list().await[0].approvers.iter().map(ToString::to_string).collect();
    assert_eq!(names, [format!("key {}", exempting.ann.public().id()), format!("{BOB} (by {ISSUER})")]);

    let mut fewer = approvers(&exempting.ann, 2);
    fewer["approvers"].as_array_mut().unwrap().remove(1);
    exempting.settings(fewer).await;
    assert_eq!(exempting.verdict().await, "run-rejected material-missing", "at once");
    assert_eq!(exempting.state("note").await, ExemptionState::Void);
}

#[tokio::test]
async fn two_certificates_approve_and_one_person_twice_does_not() {
    let (exempting, sigstore) = keyless().await;
    let document = note();
    let (bob, again) = (signed(&sigstore, &document, BOB, ISSUER), signed(&sigstore, &document, BOB, ISSUER));
    let told = exempting.send(&with(&document, &[&bob, &again]).to_value()).await;
    assert!(told.starts_with("403") && told.contains("count once"), "{told}");
    let carol = signed(&sigstore, &document, CAROL, ISSUER);
    let told = exempting.send(&with(&document, &[&bob, &carol]).to_value()).await;
    assert!(told.starts_with("201"), "{told}");
    assert_eq!(exempting.verdict().await, "allow");
}

#[tokio::test]
async fn what_a_certificate_signed_counts_only_for_this_document_by_this_person_at_a_proven_time() {
    let (exempting, sigstore) = keyless().await;
    exempting.settings(approvers(&exempting.ann, 1)).await;
    let document = note();
    let good = signed(&sigstore, &document, BOB, ISSUER);
    let says = |predicate: &str, subjects: Vec<Subject>| {
        let statement = Statement::new(subjects, predicate, json!({}));
        sigstore.attest(&statement, BOB, ISSUER, hours(-1))
    };
    let this = || Subject::sha256("note", Digest::of(document.as_bytes()));
    let other = || Subject::sha256("note", Digest::of(b"another document"));
    let changed = |change: fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(good.bytes()).unwrap();
        change(&mut value);
        Bundle::parse(value.to_string().as_bytes()).unwrap()
    };
    let strangers = Sigstore::new(now());
    let by_key = exempting.bob.sign(&Approvals::none_of(document.as_bytes().to_vec()).statement("note")).unwrap();
    let bad = [
        ("another identity", signed(&sigstore, &document, "https://acme.dev/people/bobby", ISSUER)),
        ("another issuer", signed(&sigstore, &document, BOB, "https://accounts.evil.dev")),
        ("another authority", signed(&strangers, &document, BOB, ISSUER)),
        ("another document", says(APPROVAL_PREDICATE_TYPE, vec![other()])),
        ("more documents", says(APPROVAL_PREDICATE_TYPE, vec![this(), other()])),
        ("another claim", says("https://example.dev/seen/v1", vec![this()])),
        ("no proof of a time", changed(|value| value["verificationMaterial"]["tlogEntries"] = json!([]))),
        ("no signature", changed(|value| value["dsseEnvelope"]["signatures"][0]["sig"] = json!("AAAA"))),
        ("a key", by_key),
    ];
    for (what, bundle) in bad {
        let mut value = with(&document, &[&good]).to_value();
        value["bundles"] = json!([serde_json::from_slice::<Value>(bundle.bytes()).unwrap()]);
        let told = exempting.send(&value).await;
        assert!(told.starts_with("403") && told.contains("exemption-not-approved"), "{what}: {told}");
        assert_eq!(exempting.verdict().await, "run-rejected material-missing", "{what}");
    }
    let mut value = with(&document, &[&good]).to_value();
    value["bundles"] = json!([1]);
    assert!(exempting.send(&value).await.starts_with("422"));
    value["bundles"] = json!([]);
    assert!(exempting.send(&value).await.starts_with("422"), "nobody signed");
    assert!(exempting.send(&with(&document, &[&good]).to_value()).await.starts_with("201"));
    assert_eq!(exempting.verdict().await, "allow");
}
