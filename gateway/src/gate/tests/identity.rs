//! What was signed is as old as it was first seen, however it is wrapped; and no amount of it hides a run.

use bytes::Bytes;
use contracts::{Code, PinnedRef, Statement, limits};
use jiff::{SignedDuration, Timestamp};
use testdata::Sigstore;

use crate::{
    gate::discovery::AFTER_DENY,
    store::Store,
    trial::{INTERVAL, Trial, contract, craft, foreign, image, only, text},
};

const BILL: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";

/// The same signed content in other bytes.
pub(super) fn wrapped(bundle: &Bytes, spaces: usize) -> Bytes {
    Bytes::from([bundle, " ".repeat(spaces).as_bytes()].concat())
}

fn numbered(image: &PinnedRef, number: usize) -> Statement {
    let mut statement = foreign(image);
    statement.raw["predicate"]["serialNumber"] = number.into();
    statement
}

#[tokio::test]
async fn a_rejected_run_is_not_pushed_out_by_what_lies_beside() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let app = image("app");
    trial.push("r1", &app, false).await;
    let most = limits::ATTESTATIONS_PER_SUBJECT;
    for look in 0..3 {
        trial.registry.detach_all(app.digest);
        for number in 0..most / 2 {
            trial.registry.attach(app.digest, trial.sign(&numbered(&app, look * most + number)));
        }
        trial.pass(AFTER_DENY);
        assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected), "look {look}");
    }
}

#[tokio::test]
async fn a_rejected_run_is_not_pushed_out_by_other_workflows() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    trial.apply("other", &contract("other", "").replace("skynet/**", "elsewhere/**")).await;
    trial.bind("skynet/nightly", "other").await;
    let app = image("app");
    trial.push("r1", &app, false).await;
    trial.registry.attach(app.digest, trial.sign(&foreign(&app)));
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
    for number in 0..=limits::ATTESTATIONS_PER_SUBJECT {
        trial.pass(SignedDuration::from_secs(1));
        let nightly = contracts::crafting::Craft {
            workflow: "nightly".to_owned(),
            contract_name: "other".to_owned(),
            ..craft(&format!("n{number}"), &app, vec![text("note", "n")], trial.now)
        };
        let (flow, bundle) = (crate::trial::workflow("skynet/nightly"), trial.sign(&nightly.statement()));
        trial.intake.receive(&crate::trial::acme(), flow, bundle, trial.now).await.unwrap();
    }
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
}

#[tokio::test]
async fn runs_of_one_microsecond_are_of_one_instant() {
    let mut trial = Trial::new().await;
    let app = image("app");
    trial.pass(SignedDuration::from_nanos(100));
    trial.push("r1", &app, false).await;
    trial.pass(SignedDuration::from_nanos(800));
    trial.push("r2", &app, true).await;
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected), "they cannot be told apart");
    trial.pass(SignedDuration::from_nanos(200));
    trial.push("r3", &app, true).await;
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn another_wrapping_renews_nothing() {
    let mut trial = Trial::new().await;
    trial.apply("release", &format!("{BILL}    maxAge: 1m\n")).await;
    let app = image("app");
    let bundle = trial.sign(&foreign(&app));
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!(trial.codes(&app).await, None);
    trial.pass(SignedDuration::from_secs(61));
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
    for spaces in 1..4 {
        trial.registry.detach_all(app.digest);
        trial.registry.attach(app.digest, wrapped(&bundle, spaces));
        trial.pass(AFTER_DENY);
        assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
    }
}

#[tokio::test]
async fn a_run_that_is_pushed_in_another_wrapping_is_as_old_as_it_was() {
    let mut trial = Trial::new().await;
    trial.apply("release", &contract("release", "    maxAge: 1m\n")).await;
    let app = image("app");
    let bundle = trial.sign(&craft("r1", &app, vec![text("note", "n")], trial.now).statement());
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!(trial.codes(&app).await, None);
    trial.pass(SignedDuration::from_secs(61));
    trial.receive(wrapped(&bundle, 1)).await.unwrap();
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
}

#[tokio::test]
async fn an_older_pass_that_is_pushed_late_does_not_outvote_a_newer_failure() {
    let mut trial = Trial::new().await;
    let app = image("app");
    let older = trial.sign(&craft("r1", &app, vec![text("note", "n")], trial.now).statement());
    trial.registry.attach(app.digest, older.clone());
    assert_eq!(trial.codes(&app).await, None);
    trial.pass(SignedDuration::from_secs(10));
    trial.push("r2", &app, false).await;
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
    trial.pass(SignedDuration::from_secs(10));
    trial.receive(wrapped(&older, 1)).await.unwrap();
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
    trial.push("r3", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "a newer one mends it");
}

/// How many attestations were found in a registry and stored.
async fn stored(trial: &Trial) -> usize {
    let log = trial.store.audit_log(&crate::trial::acme(), 1, 10_000).await.unwrap();
    log.iter().filter(|entry| entry.event == "attestation-discovered").count()
}

#[tokio::test]
async fn wrappings_of_one_content_are_stored_once() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let app = image("app");
    let bundle = trial.sign(&foreign(&app));
    (1..5).for_each(|spaces| trial.registry.attach(app.digest, wrapped(&bundle, spaces)));
    assert_eq!(trial.codes(&app).await, None);
    assert_eq!(stored(&trial).await, 1);
    for spaces in 5..9 {
        trial.registry.detach_all(app.digest);
        trial.registry.attach(app.digest, wrapped(&bundle, spaces));
        trial.pass(INTERVAL);
        assert_eq!(trial.codes(&app).await, None, "what is stored stands for it");
    }
    assert_eq!(stored(&trial).await, 1);
    trial.registry.detach_all(app.digest);
    trial.pass(INTERVAL);
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence), "withdrawn in every wrapping");
}

#[tokio::test]
async fn a_wrapping_that_speaks_for_more_is_another() {
    let mut trial = Trial::new().await;
    trial.apply("release", BILL).await;
    let second = contracts::SigningKey::generate_p256().unwrap();
    let signers = "  signers: {any: [{publicKey: \"file://second.pub\"}]}\n";
    let audit = BILL.replace("name: release", "name: audit") + signers;
    let files = [("contract.yaml".to_owned(), audit), ("second.pub".to_owned(), second.public().to_pem())];
    let files = contracts::api::RevisionFiles { contract: "contract.yaml".to_owned(), files: files.into() };
    trial.apply_files("audit", files).await;

    let app = image("app");
    let statement = foreign(&app);
    let one = trial.sign(&statement);
    trial.registry.attach(app.digest, one.clone());
    assert_eq!(trial.codes(&app).await, only(Code::SignerNotAllowed));

    let mut both: serde_json::Value = serde_json::from_slice(&one).unwrap();
    let other: serde_json::Value = serde_json::from_slice(second.sign(&statement).unwrap().bytes()).unwrap();
    assert_eq!(both["dsseEnvelope"]["payload"], other["dsseEnvelope"]["payload"]);
    let signature = other["dsseEnvelope"]["signatures"][0].clone();
    both["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(signature);
    let both = Bytes::from(both.to_string());
    trial.registry.detach_all(app.digest);
    trial.registry.attach(app.digest, both.clone());
    trial.pass(AFTER_DENY);
    assert_eq!(trial.codes(&app).await, None, "signed by the second one too");
    trial.registry.attach(app.digest, wrapped(&both, 1));
    trial.registry.attach(app.digest, wrapped(&one, 1));
    trial.pass(INTERVAL);
    assert_eq!((trial.codes(&app).await, stored(&trial).await), (None, 2));
}

const ISSUER: &str = "https://issuer.test";
const IDENTITY: &str = "https://forge.test/acme/app";

/// A gateway that believes a log's times, and a contract that this workflow signs for.
async fn logged() -> (Trial, Sigstore) {
    let sigstore = Sigstore::new(testdata::noon());
    let trial = Trial::trusting(Some(Bytes::from(sigstore.trusted_root()))).await;
    let signers = format!("  signers: {{any: [{{issuer: \"{ISSUER}\", identity: \"{IDENTITY}\"}}]}}\n");
    trial.apply("release", &(contract("release", "") + &signers)).await;
    (trial, sigstore)
}

#[tokio::test]
async fn a_run_that_was_withheld_is_as_old_as_its_proven_time() {
    let (mut trial, sigstore) = logged().await;
    let app = image("app");
    let signed = |run: &str, passes: bool, at: Timestamp| {
        let others = if passes { vec![text("note", "n")] } else { Vec::new() };
        let bundle = sigstore.attest(&craft(run, &app, others, at).statement(), IDENTITY, ISSUER, at);
        Bytes::copy_from_slice(bundle.bytes())
    };
    let withheld = signed("r1", true, trial.now);
    trial.pass(SignedDuration::from_secs(60));
    trial.receive(signed("r2", false, trial.now)).await.unwrap();
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));

    trial.pass(SignedDuration::from_secs(10));
    let received = trial.receive(withheld).await.unwrap();
    assert_eq!(received.decision, contracts::Decision::Allow, "by itself");
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected), "it was signed before the rejected one");
    trial.receive(signed("r3", true, trial.now)).await.unwrap();
    assert_eq!(trial.codes(&app).await, None, "a newer one mends it");
}

#[tokio::test]
async fn a_run_id_is_of_the_content_that_is_known_for_longest_wherever_the_registry_lists_it() {
    let (mut trial, sigstore) = logged().await;
    let app = image("app");
    let signed = |passes: bool, at: Timestamp| {
        let others = if passes { vec![text("note", "n")] } else { Vec::new() };
        let bundle = sigstore.attest(&craft("r1", &app, others, at).statement(), IDENTITY, ISSUER, at);
        Bytes::copy_from_slice(bundle.bytes())
    };
    let first = signed(false, trial.now);
    trial.pass(SignedDuration::from_secs(60));
    trial.registry.attach(app.digest, signed(true, trial.now));
    trial.registry.attach(app.digest, first);
    // Both are known before any of them counts.
    trial.bind("skynet/build", "other").await;
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence));
    trial.bind("skynet/build", "release").await;
    assert_eq!(trial.codes(&app).await, only(Code::MaterialMissing));
}

#[tokio::test]
async fn a_time_that_is_proven_later_counts_for_what_is_stored() {
    let (mut trial, sigstore) = logged().await;
    let app = image("app");
    let key = trial.key.public().to_pem();
    let signers = format!(
        "  signers: {{any: [{{publicKey: \"file://key.pub\"}}, {{issuer: \"{ISSUER}\", identity: \"{IDENTITY}\"}}]}}\n"
    );
    let text_of = contract("release", "") + &signers;
    let files = [("contract.yaml".to_owned(), text_of), ("key.pub".to_owned(), key)];
    let files = contracts::api::RevisionFiles { contract: "contract.yaml".to_owned(), files: files.into() };
    trial.apply_files("release", files).await;

    let statement = craft("r1", &app, vec![text("note", "n")], trial.now).statement();
    let proven = Bytes::copy_from_slice(sigstore.attest(&statement, IDENTITY, ISSUER, trial.now).bytes());
    trial.pass(SignedDuration::from_secs(60));
    trial.push("r2", &app, false).await;
    trial.pass(SignedDuration::from_secs(10));
    // Its proof is held back, so it seems to be the newest.
    trial.receive(trial.sign(&statement)).await.unwrap();
    assert_eq!(trial.codes(&app).await, None);
    trial.registry.attach(app.digest, proven);
    trial
        .apply("release", &(contract("release", "") + &signers.replace("{publicKey: \"file://key.pub\"}, ", "")))
        .await;
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected), "it is older than the rejected one");
}
