//! The authorities that vouch for certificates end: with them what hangs on them, and nothing opens for that.

use bytes::Bytes;
use contracts::{Code, api::RevisionFiles};
use jiff::SignedDuration;
use testdata::Sigstore;

use crate::trial::{INTERVAL, Trial, contract, craft, image, only, text};

const IDENTITY: &str = "https://forge.test/acme/app";
const ISSUER: &str = "https://issuer.test";

/// With a contract that takes a key or an identity.
async fn mixed() -> (Trial, Sigstore) {
    let sigstore = Sigstore::new(testdata::noon());
    let trial = Trial::trusting(Some(Bytes::from(sigstore.trusted_root()))).await;
    let signers = format!(
        "  signers: {{any: [{{publicKey: \"file://key.pub\"}}, {{issuer: \"{ISSUER}\", identity: \"{IDENTITY}\"}}]}}\n"
    );
    let files = [
        ("contract.yaml".to_owned(), contract("release", "") + &signers),
        ("key.pub".to_owned(), trial.key.public().to_pem()),
    ];
    let files = RevisionFiles { contract: "contract.yaml".to_owned(), files: files.into() };
    trial.apply_files("release", files).await;
    (trial, sigstore)
}

fn run(trial: &Trial, run: &str, passes: bool) -> contracts::Statement {
    let others = if passes { vec![text("note", "n")] } else { Vec::new() };
    craft(run, &image("app"), others, trial.now).statement()
}

fn certified(trial: &Trial, sigstore: &Sigstore, name: &str, passes: bool) -> Bytes {
    let bundle = sigstore.attest(&run(trial, name, passes), IDENTITY, ISSUER, trial.now);
    Bytes::copy_from_slice(bundle.bytes())
}

#[tokio::test]
async fn a_kept_verdict_ends_with_the_authorities_although_nothing_ended_when_it_was_made() {
    let (mut trial, sigstore) = mixed().await;
    let app = image("app");
    trial.receive(certified(&trial, &sigstore, "r1", true)).await.unwrap();
    let made = trial.verdict(&app).await;
    assert_eq!((contracts::Decision::Allow, None), (made.decision, made.valid_until));
    // The store is told without anybody waiting for it.
    for _ in 0..50 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Later ends, earlier ends: each verdict ends with those that are known when it is asked for.
    for hours in [72, 6] {
        let ends = trial.now + SignedDuration::from_hours(hours);
        trial.ending(ends);
        assert_eq!(trial.verdict(&app).await.valid_until, Some(ends));
    }
    trial.pass(SignedDuration::from_hours(6) - SignedDuration::from_nanos(1));
    assert_eq!(trial.codes(&app).await, None);
    trial.pass(SignedDuration::from_nanos(1));
    assert_eq!(trial.codes(&app).await, only(Code::TrustRootTooOld));
}

#[tokio::test]
async fn an_older_run_does_not_take_the_place_of_a_newer_one_that_nobody_can_tell_any_more() {
    let (mut trial, sigstore) = mixed().await;
    let app = image("app");
    let ends = trial.now + SignedDuration::from_hours(6);
    trial.ending(ends);
    trial.registry.attach(app.digest, trial.sign(&run(&trial, "r1", true)));
    trial.pass(SignedDuration::from_secs(60));
    trial.registry.attach(app.digest, certified(&trial, &sigstore, "r2", false));
    assert_eq!(trial.codes(&app).await, only(Code::MaterialMissing));
    // Found anew or remembered.
    for _ in 0..2 {
        trial.now = trial.now.max(ends) + INTERVAL;
        assert_eq!(trial.codes(&app).await, only(Code::TrustRootTooOld));
    }
    // What a stranger attaches meanwhile closes nothing: it was never believed.
    let (mut trial, sigstore) = mixed().await;
    trial.registry.attach(app.digest, trial.sign(&run(&trial, "r1", true)));
    trial.ending(trial.now);
    trial.pass(SignedDuration::from_secs(60));
    trial.registry.attach(app.digest, certified(&trial, &sigstore, "r2", false));
    assert_eq!(trial.codes(&app).await, None);
}
