//! Runs that were found beside an image and withdrawn keep their places, whoever may push or write to the registry.

use bytes::Bytes;
use contracts::{
    Code, Decision, Digest, PinnedRef, SigningKey,
    api::{OrganizationSettings, Withdrawn},
};
use jiff::SignedDuration;

use crate::{
    store::{AttestationName, Store},
    trial::{INTERVAL, Trial, acme, craft, foreign, image, only, text},
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const WITHDRAWN: Code = Code::AttestationWithdrawn;
/// What another tool's attestation satisfies.
const BILL: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";

async fn withdraw(trial: &Trial, of: Digest) {
    let said = Withdrawn { reason: "the builder was broken into".to_owned(), withdrawn_at: trial.now, by: "t".into() };
    trial.store.withdraw_attestation(&acme(), &AttestationName::Id(of), said, trial.by()).await.unwrap();
}

async fn restore(trial: &Trial, of: Digest) {
    trial.store.restore_attestation(&acme(), &AttestationName::Id(of), trial.by()).await.unwrap().unwrap();
}

/// What a gate says that remembers, and one that only has the store: the same.
async fn codes(trial: &Trial, image: &PinnedRef) -> Option<std::collections::BTreeSet<Code>> {
    let codes = trial.codes(image).await;
    let fresh = trial.another_gate().decide(&acme(), image, trial.now).await.unwrap();
    assert_eq!(crate::trial::codes(&fresh.verdict().verdict), codes);
    codes
}

/// Signs a run about an image, with its note, and attaches it; it is found.
async fn found(trial: &mut Trial, run: &str, image: &PinnedRef) -> Bytes {
    trial.pass(INTERVAL);
    let bundle = trial.sign(&craft(run, image, vec![text("note", run)], trial.now).statement());
    trial.registry.attach(image.digest, bundle.clone());
    assert_eq!(trial.codes(image).await, None);
    bundle
}

/// Two runs that were found beside an image, of which the newer is withdrawn.
async fn two() -> (Trial, PinnedRef, Bytes, Bytes) {
    let (mut trial, app) = (Trial::new().await, image("app"));
    let older = found(&mut trial, "r0", &app).await;
    let newer = found(&mut trial, "r1", &app).await;
    withdraw(&trial, Digest::of(&newer)).await;
    assert_eq!(codes(&trial, &app).await, only(WITHDRAWN));
    (trial, app, older, newer)
}

#[tokio::test]
async fn to_push_an_older_run_does_not_take_the_place_of_one_that_was_found_and_withdrawn() {
    let (mut trial, app, older, newer) = two().await;
    assert_eq!(trial.receive(older).await.unwrap().decision, Decision::Allow, "the push itself breaks no contract");
    let verdict = trial.verdict(&app).await;
    assert_eq!(codes(&trial, &app).await, only(WITHDRAWN));
    assert!(verdict.findings[0].message.contains("of a run of `skynet/build`, the newest about this image"));
    trial.registry.detach_all(app.digest);
    trial.pass(INTERVAL);
    assert_eq!(codes(&trial, &app).await, only(WITHDRAWN));
    trial.push("r2", &app, true).await;
    assert_eq!(codes(&trial, &app).await, None, "a newer one does");
    trial.pass(SECOND);
    trial.push("r3", &app, false).await;
    assert!(codes(&trial, &app).await.unwrap().contains(&Code::RunRejected), "and is the one that decides");
    restore(&trial, Digest::of(&newer)).await;
    assert!(codes(&trial, &app).await.unwrap().contains(&Code::RunRejected));
}

#[tokio::test]
async fn what_is_withdrawn_keeps_its_place_when_it_is_taken_from_the_registry_or_buried() {
    let (mut trial, app, older, newer) = two().await;
    let junk = |number: usize| Bytes::from(format!("{{\"junk\": {number}}}"));
    for (buried, attached) in [(0, vec![older.clone()]), (63, vec![older.clone(), newer.clone()]), (0, Vec::new())] {
        trial.registry.detach_all(app.digest);
        (0..buried).map(junk).chain(attached).for_each(|bundle| trial.registry.attach(app.digest, bundle));
        trial.pass(INTERVAL);
        assert!(codes(&trial, &app).await.unwrap().contains(&WITHDRAWN), "{buried}");
    }
    trial.registry.detach_all(app.digest);
    trial.registry.attach(app.digest, older.clone());
    found(&mut trial, "r2", &app).await;
    assert_eq!(codes(&trial, &app).await, None, "a newer one beside it mends it");
    trial.registry.detach_all(app.digest);
    trial.registry.attach(app.digest, older);
    trial.pass(INTERVAL);
    assert_eq!(codes(&trial, &app).await, only(WITHDRAWN));
    restore(&trial, Digest::of(&newer)).await;
    assert_eq!(codes(&trial, &app).await, None);
}

#[tokio::test]
async fn what_is_withdrawn_keeps_its_place_when_its_signer_is_not_trusted_any_more() {
    let (mut trial, app, second) = (Trial::new().await, image("app"), SigningKey::generate_p256().unwrap());
    let trusted = |keys: &[&SigningKey]| OrganizationSettings {
        default_signers: keys.iter().map(|key| key.public().to_pem()).collect(),
        ..Default::default()
    };
    trial.store.put_settings(&acme(), trusted(&[&trial.key, &second]), trial.by()).await.unwrap();
    let older = second.sign(&craft("r0", &app, vec![text("note", "o")], trial.now).statement()).unwrap();
    trial.registry.attach(app.digest, Bytes::copy_from_slice(older.bytes()));
    assert_eq!(trial.codes(&app).await, None);
    let newer = found(&mut trial, "r1", &app).await;
    withdraw(&trial, Digest::of(&newer)).await;
    trial.store.put_settings(&acme(), trusted(&[&second]), trial.by()).await.unwrap();
    assert_eq!(codes(&trial, &app).await, only(WITHDRAWN));
    restore(&trial, Digest::of(&newer)).await;
    assert_eq!(codes(&trial, &app).await, None);
}

#[tokio::test]
async fn other_tools_attestations_do_not_stand_in_for_a_withdrawn_run() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let app = image("app");
    trial.registry.attach(app.digest, trial.sign(&foreign(&app)));
    let run = found(&mut trial, "r1", &app).await;
    withdraw(&trial, Digest::of(&run)).await;
    assert_eq!(codes(&trial, &app).await, only(WITHDRAWN));
    restore(&trial, Digest::of(&run)).await;
    assert_eq!(codes(&trial, &app).await, None);
    withdraw(&trial, Digest::of(&run)).await;
    // A newer run that does not satisfy leaves things as they would be without the older one.
    found(&mut trial, "r2", &app).await;
    assert_eq!(codes(&trial, &app).await, None);
}

#[tokio::test]
async fn what_a_withdrawn_run_only_names_is_not_closed() {
    let trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let (app, base) = (image("app"), image("base"));
    trial.registry.attach(base.digest, trial.sign(&foreign(&base)));
    trial.registry.attach(app.digest, trial.sign(&foreign(&app)));
    let mut statement = craft("r1", &app, Vec::new(), trial.now).statement();
    let named = serde_json::json!({"name": "base", "digest": {"sha256": base.digest.hex()}});
    statement.raw["subject"].as_array_mut().unwrap().push(named);
    let bundle = trial.sign(&statement);
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!((codes(&trial, &app).await, codes(&trial, &base).await), (None, None));
    withdraw(&trial, Digest::of(&bundle)).await;
    assert!(!trial.store.withdrawn_about(&acme(), base.digest).await.unwrap().is_empty());
    assert_eq!((codes(&trial, &app).await, codes(&trial, &base).await), (only(WITHDRAWN), None));
}

#[tokio::test]
async fn the_part_of_an_index_whose_own_run_was_found_and_withdrawn_is_closed() {
    let (mut trial, part, older, newer) = two().await;
    let closed = async |trial: &Trial| {
        let one = trial.gate.rejected_itself(&acme(), &part, trial.now).await.unwrap().is_some();
        let fresh = trial.another_gate().rejected_itself(&acme(), &part, trial.now).await.unwrap().is_some();
        assert_eq!(one, fresh);
        one
    };
    assert!(closed(&trial).await);
    trial.registry.detach_all(part.digest);
    trial.pass(INTERVAL);
    assert!(closed(&trial).await);
    restore(&trial, Digest::of(&newer)).await;
    assert!(!closed(&trial).await, "nothing was pushed about it");
    withdraw(&trial, Digest::of(&newer)).await;
    trial.receive(older).await.unwrap();
    assert!(closed(&trial).await);
}

#[tokio::test]
async fn a_part_of_which_only_another_tools_attestation_was_withdrawn_is_not_closed() {
    let (trial, part) = (Trial::new().await, image("part"));
    let bundle = trial.sign(&foreign(&part));
    trial.registry.attach(part.digest, bundle.clone());
    assert!(trial.codes(&part).await.is_some());
    withdraw(&trial, Digest::of(&bundle)).await;
    assert!(codes(&trial, &part).await.unwrap().contains(&WITHDRAWN));
    assert!(trial.gate.rejected_itself(&acme(), &part, trial.now).await.unwrap().is_none());
}
