//! What was signed is as old as it was first seen, however it is wrapped; and no amount of it hides a run.

use bytes::Bytes;
use contracts::{Code, PinnedRef, Statement, limits};
use jiff::SignedDuration;

use crate::{
    gate::discovery::AFTER_DENY,
    trial::{Trial, contract, craft, foreign, image, only, text},
};

const BILL: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";

/// The same signed content in other bytes.
fn wrapped(bundle: &Bytes, spaces: usize) -> Bytes {
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
