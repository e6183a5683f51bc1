//! Other verifiers' summaries: what counts, and all that must not.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts::{
    Code, Digest, PinnedRef, SigningKey, Statement, Subject,
    api::{RevisionFiles, Withdrawn},
    vsa,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    gate::Inquiry,
    store::{AttestationName, Store},
    trial::{INTERVAL, Trial, acme, image, name, only, own_key},
};

const VERIFIER: &str = "https://verifier.example.org/organizations/acme";
const POLICY: &[u8] = b"a policy";

/// A trial whose contract `release` asks this verifier, and nothing else but the materials.
async fn trial(materials: &str) -> (Trial, SigningKey) {
    let (trial, key) = (Trial::new().await, SigningKey::generate_p256().unwrap());
    ask(&trial, materials, &key).await;
    (trial, key)
}

async fn ask(trial: &Trial, materials: &str, key: &SigningKey) {
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials: [{materials}]\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n    verifiers:\n      - {{id: \"{VERIFIER}\", publicKey: \"file://verifier.pub\", levels: [SLSA_BUILD_LEVEL_2], policy: \"{}\", maxAge: 1h}}\n",
        Digest::of(POLICY)
    );
    let files =
        BTreeMap::from([("contract.yaml".to_owned(), contract), ("verifier.pub".to_owned(), key.public().to_pem())]);
    trial.apply_files("release", RevisionFiles { contract: "contract.yaml".to_owned(), files }).await;
}

fn predicate(trial: &Trial, image: &PinnedRef) -> Value {
    json!({
        "verifier": {"id": VERIFIER},
        "timeVerified": trial.now - SignedDuration::from_mins(1),
        "resourceUri": format!("oci://{}", image.repository),
        "policy": {"uri": "https://verifier.example.org/policy", "digest": {"sha256": Digest::of(POLICY).hex()}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        "slsaVersion": "1.1",
    })
}

fn summary(image: Digest, predicate: Value, key: &SigningKey) -> Bytes {
    signed(vsa::PREDICATE_TYPE, image, predicate, key)
}

fn signed(predicate_type: &str, image: Digest, predicate: Value, key: &SigningKey) -> Bytes {
    let statement = Statement::new(vec![Subject::sha256("app", image)], predicate_type, predicate);
    Bytes::copy_from_slice(key.sign(&statement).unwrap().bytes())
}

const NOTHING: &str = "";
const NOTE: &str = "{name: image, type: CONTAINER_IMAGE, output: true}, {name: note, type: STRING}";

#[tokio::test]
async fn a_passed_summary_of_the_verifier_satisfies_until_it_is_too_old() {
    let (mut trial, key) = trial(NOTHING).await;
    let app = image("app");
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence));
    trial.registry.attach(app.digest, summary(app.digest, predicate(&trial, &app), &key));
    trial.pass(INTERVAL);
    let verdict = trial.verdict(&app).await;
    assert_eq!(crate::trial::codes(&verdict), None);
    let verified = trial.now - INTERVAL - SignedDuration::from_mins(1);
    assert_eq!(verdict.valid_until, Some(verified + SignedDuration::from_hours(1)));
    assert_eq!(trial.codes(&image("other")).await, only(Code::NoEvidence));
    trial.pass(SignedDuration::from_mins(57));
    assert_eq!(trial.codes(&app).await, None);
    trial.pass(SignedDuration::from_mins(1));
    assert_eq!(trial.codes(&app).await, only(Code::SummaryMissing), "at that second");
}

#[tokio::test]
async fn a_withdrawn_summary_says_nothing() {
    let (trial, key) = trial(NOTHING).await;
    let app = image("app");
    let bundle = summary(app.digest, predicate(&trial, &app), &key);
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!(trial.codes(&app).await, None);
    let named = AttestationName::Id(Digest::of(&bundle));
    let said = Withdrawn { reason: "the verifier was wrong".to_owned(), withdrawn_at: trial.now, by: "t".to_owned() };
    trial.store.withdraw_attestation(&acme(), &named, said, trial.by()).await.unwrap();
    let verdict = trial.verdict(&app).await;
    assert_eq!(crate::trial::codes(&verdict), only(Code::SummaryMissing));
    let told = &verdict.findings[0].message;
    assert!(told.contains("an operator withdrew it: the verifier was wrong"), "{told}");
    trial.store.restore_attestation(&acme(), &named, trial.by()).await.unwrap().unwrap();
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn a_summary_is_asked_for_beside_the_run_and_stands_for_no_material() {
    let (mut trial, key) = trial(NOTE).await;
    let (app, other) = (image("app"), image("other"));
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&app).await, only(Code::SummaryMissing));
    for image in [&app, &other] {
        trial.registry.attach(image.digest, summary(image.digest, predicate(&trial, image), &key));
    }
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, None);
    assert!(trial.codes(&other).await.unwrap().contains(&Code::MaterialMissing));
    // Taken back, it counts no longer.
    trial.registry.detach_all(app.digest);
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, only(Code::SummaryMissing));
}

#[tokio::test]
async fn whatever_is_not_what_the_contract_demands_counts_for_nothing() {
    let (mut trial, key) = trial(NOTE).await;
    let app = image("app");
    trial.push("r1", &app, true).await;
    let stranger = SigningKey::generate_p256().unwrap();
    let with = |pointer: &str, value: Value| {
        let mut predicate = predicate(&trial, &app);
        match predicate.pointer_mut(pointer) {
            Some(there) => *there = value,
            None => panic!("{pointer}"),
        }
        summary(app.digest, predicate, &key)
    };
    let without = |field: &str| {
        let mut predicate = predicate(&trial, &app);
        predicate.as_object_mut().unwrap().remove(field).unwrap();
        summary(app.digest, predicate, &key)
    };
    let good = || predicate(&trial, &app);
    let old = trial.now - SignedDuration::from_hours(2);
    let bad = [
        ("self-signed", summary(app.digest, good(), &stranger), ""),
        ("by a signer of the contract", summary(app.digest, good(), &trial.key), "nobody whom the contract names"),
        (
            "wrong verifier",
            with("/verifier/id", json!("https://verifier.example.org/organizations/acm")),
            "its verifier is",
        ),
        ("no verifier", without("verifier"), "its verifier is ``"),
        ("failed", with("/verificationResult", json!("FAILED")), "its result is `FAILED`"),
        ("passed in other letters", with("/verificationResult", json!("passed")), "its result is"),
        ("no result", without("verificationResult"), "its result is ``"),
        ("both", with("/verifiedLevels", json!(["SLSA_BUILD_LEVEL_3", "FAILED"])), "its result is `FAILED`"),
        ("a lower level", with("/verifiedLevels", json!(["SLSA_BUILD_LEVEL_1"])), "SLSA_BUILD_LEVEL_2"),
        ("another track", with("/verifiedLevels", json!(["SLSA_SOURCE_LEVEL_3"])), "SLSA_BUILD_LEVEL_2"),
        ("no levels", without("verifiedLevels"), "SLSA_BUILD_LEVEL_2"),
        ("another resource", with("/resourceUri", json!("oci://registry.acme.dev/skynet/other")), "its `resourceUri`"),
        ("no resource", without("resourceUri"), "its `resourceUri` is ``"),
        ("another policy", with("/policy/digest/sha256", json!(Digest::of(b"another").hex())), "another policy"),
        ("no policy", without("policy"), "another policy"),
        ("too old", with("/timeVerified", json!(old)), "more than 1h ago"),
        ("no time", without("timeVerified"), "when it was verified"),
        ("no such time", with("/timeVerified", json!("yesterday")), "when it was verified"),
        ("a time to come", with("/timeVerified", json!(trial.now + SignedDuration::from_hours(2))), "yet to come"),
        (
            "another version",
            signed("https://slsa.dev/verification_summary/v0.2", app.digest, good(), &key),
            "not a summary of version 1",
        ),
        ("another claim", signed("https://slsa.dev/provenance/v1", app.digest, good(), &key), ""),
    ];
    for (what, bundle, why) in bad {
        trial.registry.detach_all(app.digest);
        trial.registry.attach(app.digest, bundle);
        // Nothing is remembered of the registry, and what was copied from it before is not looked at.
        let gate = trial.another_gate();
        let verdict = gate.decide(&acme(), &app, trial.now).await.unwrap().verdict().verdict.clone();
        assert_eq!(crate::trial::codes(&verdict), only(Code::SummaryMissing), "{what}");
        let message = &verdict.findings[0].message;
        assert!(message.contains(why), "{what}: {message}");
    }
    // What is dated later than now counts when that has come, and not before.
    trial.registry.detach_all(app.digest);
    trial.registry.attach(app.digest, with("/timeVerified", json!(trial.now + SignedDuration::from_hours(2))));
    let verdict = trial.another_gate().decide(&acme(), &app, trial.now).await.unwrap().verdict().verdict.clone();
    assert_eq!(verdict.valid_until, Some(trial.now + SignedDuration::from_hours(2)));
    // One about another image lies beside this one; and a good one at last.
    trial.registry.detach_all(app.digest);
    trial.registry.attach(app.digest, summary(image("other").digest, good(), &key));
    assert_eq!(trial.codes(&app).await, only(Code::SummaryMissing));
    trial.registry.attach(app.digest, summary(app.digest, predicate(&trial, &app), &key));
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn the_gateways_own_word_never_counts() {
    let (trial, _) = trial(NOTE).await;
    let app = image("app");
    trial.push("r1", &app, true).await;
    ask(&trial, NOTE, own_key()).await;
    trial.registry.attach(app.digest, summary(app.digest, predicate(&trial, &app), own_key()));
    let verdict = trial.verdict(&app).await;
    assert_eq!(crate::trial::codes(&verdict), only(Code::SummaryMissing));
    assert!(verdict.findings[0].message.contains("this gateway's own word"), "{}", verdict.findings[0].message);
}

#[tokio::test]
async fn a_summary_is_no_evidence_where_no_verifier_is_named_nor_of_a_file() {
    let (trial, key) = trial(NOTHING).await;
    let app = image("app");
    trial.registry.attach(app.digest, summary(app.digest, predicate(&trial, &app), &key));
    assert_eq!(trial.codes(&app).await, None);
    let file = Inquiry::artifact(app.digest, [name("release")].into()).unwrap();
    let verdict = trial.gate.check(&acme(), file, trial.now).await.unwrap();
    assert_eq!(crate::trial::codes(&verdict.verdict), only(Code::NoEvidence));
    trial.apply("release", &crate::trial::contract("release", "")).await;
    assert_eq!(trial.codes(&app).await, only(Code::SignerNotAllowed), "a stranger signed it");
}
