//! What an operator withdrew counts no more, on no way that leads to a verdict, and a withdrawal opens nothing.

use bytes::Bytes;
use contracts::{Code, Decision, Digest, PinnedRef, SigningKey, Statement, api::Withdrawn};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::identity::wrapped;
use crate::{
    intake::IntakeError,
    store::{AttestationName, Receipt, Store, WithdrawalRecord, Withdrawing},
    trial::{INTERVAL, Trial, acme, craft, foreign, image, only, text, workflow},
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const BILL: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";

async fn withdraw(trial: &Trial, name: &AttestationName) -> Withdrawing {
    let withdrawn =
        Withdrawn { reason: "the builder was broken into".to_owned(), withdrawn_at: trial.now, by: "t".into() };
    trial.store.withdraw_attestation(&acme(), name, withdrawn, trial.by()).await.unwrap()
}

async fn restore(trial: &Trial, name: &AttestationName) -> Option<WithdrawalRecord> {
    trial.store.restore_attestation(&acme(), name, trial.by()).await.unwrap()
}

/// Another document about an image.
fn another(image: &PinnedRef, key: &str, value: Value) -> Statement {
    let mut statement = foreign(image);
    statement.raw["predicate"][key] = value;
    statement
}

fn id(of: Digest) -> AttestationName {
    AttestationName::Id(of)
}

fn run(id: &str) -> AttestationName {
    AttestationName::Run(id.to_owned())
}

const WITHDRAWN: Code = Code::AttestationWithdrawn;

#[tokio::test]
async fn a_withdrawn_run_keeps_its_place_and_only_a_newer_one_mends_it() {
    let mut trial = Trial::new().await;
    let app = image("app");
    trial.push("r1", &app, true).await;
    trial.pass(SECOND);
    let second = trial.push("r2", &app, true).await;
    assert_eq!(trial.codes(&app).await, None);

    assert!(matches!(withdraw(&trial, &run("r2")).await, Withdrawing::New(record) if record.attestation == second));
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN), "the older pass does not take its place");
    let verdict = trial.verdict(&app).await;
    assert!(verdict.findings[0].message.contains("`r2` of `skynet/build`"), "{:?}", verdict.findings);
    assert!(verdict.findings[0].message.contains("the builder was broken into"));
    assert!(verdict.findings[0].mend.as_ref().is_some_and(|mend| mend.contains("`skynet/build`")));
    let fresh = trial.another_gate().decide(&acme(), &app, trial.now).await.unwrap();
    assert_eq!(fresh.verdict().verdict.decision, Decision::Deny, "nor for one that has only the store");

    // Nor does a copy beside the image, in whichever bytes.
    let bundle = trial.store.attestation(&acme(), second).await.unwrap().unwrap().bundle;
    trial.registry.attach(app.digest, wrapped(&bundle, 2));
    trial.registry.attach(app.digest, bundle);
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN));

    trial.push("r3", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "a newer run");
    assert!(restore(&trial, &id(second)).await.is_some());
    assert!(restore(&trial, &id(second)).await.is_none());
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn to_withdraw_a_failure_opens_nothing_and_to_restore_it_changes_nothing() {
    let mut trial = Trial::new().await;
    let app = image("app");
    trial.push("r1", &app, true).await;
    trial.pass(SECOND);
    let failed = trial.push("r2", &app, false).await;
    let rejected = trial.codes(&app).await.unwrap();
    assert!(rejected.contains(&Code::RunRejected));
    withdraw(&trial, &id(failed)).await;
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN));
    restore(&trial, &run("r2")).await.unwrap();
    assert_eq!(trial.codes(&app).await, Some(rejected));
}

#[tokio::test]
async fn another_workflows_run_satisfies_all_the_same() {
    let trial = Trial::new().await;
    let app = image("app");
    trial.bind("skynet/nightly", "release").await;
    trial.push("r1", &app, true).await;
    let nightly = contracts::crafting::Craft {
        workflow: "nightly".to_owned(),
        ..craft("n1", &app, vec![text("note", "n")], trial.now)
    };
    let bundle = trial.sign(&nightly.statement());
    trial.intake.receive(&acme(), workflow("skynet/nightly"), bundle, trial.now).await.unwrap();
    withdraw(&trial, &run("r1")).await;
    assert_eq!(trial.codes(&app).await, None);
    withdraw(&trial, &run("n1")).await;
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN));
}

#[tokio::test]
async fn what_was_signed_is_withdrawn_in_whichever_bytes_it_comes() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let app = image("app");
    let bundle = trial.sign(&foreign(&app));
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!(trial.codes(&app).await, None);
    let named = id(Digest::of(&bundle));
    withdraw(&trial, &named).await;
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN), "at once, whenever the registry was looked at");
    for spaces in 1..3 {
        trial.registry.detach_all(app.digest);
        trial.registry.attach(app.digest, wrapped(&bundle, spaces));
        trial.pass(INTERVAL);
        assert_eq!(trial.codes(&app).await, only(WITHDRAWN));
    }
    // Others are judged without it: one that does not satisfy, and one that does.
    let other = trial.sign(&another(&app, "serialNumber", json!(7)));
    trial.registry.attach(app.digest, other);
    trial.pass(INTERVAL);
    let codes: Vec<Code> = trial.verdict(&app).await.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [WITHDRAWN, Code::MaterialMissing], "that it was withdrawn is read first");
    let other = trial.sign(&another(&app, "version", json!(7)));
    trial.registry.attach(app.digest, other.clone());
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, None);
    withdraw(&trial, &id(Digest::of(&other))).await;
    assert!(trial.codes(&app).await.unwrap().contains(&WITHDRAWN));
    restore(&trial, &named).await.unwrap();
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn a_wrapping_that_comes_later_and_speaks_for_more_is_withdrawn_too() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let app = image("app");
    let one = trial.sign(&foreign(&app));
    trial.registry.attach(app.digest, one.clone());
    assert_eq!(trial.codes(&app).await, None);
    withdraw(&trial, &id(Digest::of(&one))).await;
    // Signed by the same and by another whom the organization trusts from now on.
    let second = SigningKey::generate_p256().unwrap();
    let settings = contracts::api::OrganizationSettings {
        default_signers: vec![trial.key.public().to_pem(), second.public().to_pem()],
        ..Default::default()
    };
    trial.store.put_settings(&acme(), settings, trial.by()).await.unwrap();
    let again = Bytes::copy_from_slice(second.sign(&foreign(&app)).unwrap().bytes());
    trial.registry.detach_all(app.digest);
    trial.registry.attach(app.digest, again.clone());
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN));
    let stored = trial.store.attestation(&acme(), Digest::of(&again)).await.unwrap().unwrap();
    assert!(stored.facts.withdrawn.is_some(), "it is another record, and marked");
    restore(&trial, &id(Digest::of(&again))).await.unwrap();
    assert_eq!(trial.codes(&app).await, None, "and restored by that name");
}

#[tokio::test]
async fn a_run_beside_an_image_is_withdrawn_by_its_run_and_is_not_taken_when_it_is_pushed() {
    let mut trial = Trial::new().await;
    let app = image("app");
    let older = trial.sign(&craft("r0", &app, vec![text("note", "o")], trial.now).statement());
    trial.registry.attach(app.digest, older.clone());
    assert_eq!(trial.codes(&app).await, None);
    trial.pass(INTERVAL);
    let bundle = trial.sign(&craft("r1", &app, vec![text("note", "n")], trial.now).statement());
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!(trial.codes(&app).await, None);
    assert!(matches!(withdraw(&trial, &run("r1")).await, Withdrawing::New(_)));
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN), "the older one beside it does not take its place");

    for bytes in [bundle.clone(), wrapped(&bundle, 1)] {
        let Err(refused @ IntakeError::Mismatch { .. }) = trial.receive(bytes).await else { panic!("it is taken") };
        assert_eq!(refused.code(), Some(WITHDRAWN));
        assert!(refused.to_string().contains("the builder was broken into"), "{refused}");
    }
    assert!(trial.store.run(&acme(), "r1").await.unwrap().is_none());
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN));
    restore(&trial, &run("r1")).await.unwrap();
    assert_eq!(trial.receive(bundle).await.unwrap().decision, Decision::Allow);
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn the_same_bytes_pushed_again_are_answered_as_withdrawn() {
    let trial = Trial::new().await;
    let app = image("app");
    let bundle = trial.sign(&craft("r1", &app, vec![text("note", "n")], trial.now).statement());
    let first = trial.receive(bundle.clone()).await.unwrap();
    withdraw(&trial, &run("r1")).await;
    let again = trial.receive(bundle.clone()).await.unwrap();
    assert_eq!((again.decision, again.run.state), (Decision::Deny, contracts::api::RunState::Withdrawn));
    assert_eq!(again.run.findings.iter().map(|f| f.code).collect::<Vec<_>>(), [WITHDRAWN]);
    assert_eq!(trial.codes(&app).await, only(WITHDRAWN));
    let facts = trial.store.attestation_facts(&acme(), Digest::of(&bundle)).await.unwrap().unwrap();
    let record = crate::store::AttestationRecord { facts, bundle: bundle.clone() };
    let stored = trial.store.run(&acme(), "r1").await.unwrap().unwrap();
    assert!(matches!(trial.store.receive(&acme(), record, stored).await.unwrap(), Receipt::Same(_)));
    restore(&trial, &run("r1")).await.unwrap();
    assert_eq!(trial.receive(bundle).await.unwrap(), first);
}

#[tokio::test]
async fn all_images_of_a_run_close_and_nothing_else_does() {
    let trial = Trial::new().await;
    let (one, two, other) = (image("one"), image("two"), image("other"));
    let mut both = craft("r1", &one, vec![text("note", "n")], trial.now);
    let second = craft("r1", &two, Vec::new(), trial.now).materials.remove(0);
    both.materials.push(contracts::crafting::CraftedMaterial { name: "image-2".to_owned(), ..second });
    trial
        .apply(
            "release",
            &crate::trial::contract("release", "").replace(
                "    - {name: note",
                "    - {name: image-2, type: CONTAINER_IMAGE, output: true, optional: true}\n    - {name: note",
            ),
        )
        .await;
    trial.receive(trial.sign(&both.statement())).await.unwrap();
    trial.push("r2", &other, true).await;
    for image in [&one, &two, &other] {
        assert_eq!(trial.codes(image).await, None, "{image}");
    }
    withdraw(&trial, &run("r1")).await;
    assert_eq!(trial.codes(&one).await, only(WITHDRAWN));
    assert_eq!(trial.codes(&two).await, only(WITHDRAWN));
    assert_eq!(trial.codes(&other).await, None);
}
