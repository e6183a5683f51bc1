//! What counts of that which a registry has beside an image.

use bytes::Bytes;
use contracts::{Code, Decision, SigningKey, limits};
use jiff::SignedDuration;

use crate::{
    gate::{GateError, discovery::AFTER_DENY},
    store::{Source, Store},
    trial::{INTERVAL, Trial, acme, craft, foreign, image, only, text},
};

/// A contract that other tools' attestations can satisfy.
const BILL: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";

async fn with_bill() -> Trial {
    let trial = Trial::new().await;
    trial.apply("release", BILL).await;
    trial
}

#[tokio::test]
async fn what_verifies_counts_and_is_kept_and_what_does_not_is_ignored() {
    let mut trial = with_bill().await;
    let app = image("app");
    let stranger = SigningKey::generate_p256().unwrap();
    let strange = Bytes::copy_from_slice(stranger.sign(&foreign(&app)).unwrap().bytes());
    let elsewhere = trial.sign(&foreign(&image("other")));
    for junk in [strange.clone(), elsewhere, Bytes::from_static(b"{}"), Bytes::from_static(b"\xff")] {
        trial.registry.attach(app.digest, junk);
    }
    assert_eq!(trial.codes(&app).await, only(Code::SignerNotAllowed));

    let good = trial.sign(&foreign(&app));
    trial.registry.attach(app.digest, good.clone());
    assert_eq!(trial.codes(&app).await, only(Code::SignerNotAllowed), "the last look is seconds old");
    trial.pass(AFTER_DENY);
    assert_eq!(trial.codes(&app).await, None);
    let kept = trial.store.attestation(&acme(), contracts::Digest::of(&good)).await.unwrap().unwrap();
    assert_eq!((kept.bundle, kept.facts.received_at), (good, trial.now));
    assert!(matches!(kept.facts.source, Source::Discovered { .. }));

    assert!(trial.store.pushed_about(&acme(), &image("other").into()).await.unwrap().newest.is_empty());

    let (looks, made) = (trial.registry.looks(), trial.verdict(&app).await);
    trial.pass(INTERVAL - SignedDuration::from_secs(1));
    assert_eq!((trial.verdict(&app).await, trial.registry.looks()), (made, looks), "remembered within the interval");
    trial.registry.detach_all(app.digest);
    trial.pass(SignedDuration::from_secs(1));
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence), "withdrawn, and noticed after the interval");
    assert_eq!(trial.registry.looks(), looks + 1);
}

#[tokio::test]
async fn a_registry_that_fails_is_no_verdict() {
    let mut trial = with_bill().await;
    let app = image("app");
    trial.registry.breaks(true);
    for _ in 0..2 {
        assert!(matches!(trial.decide(&app).await, Err(GateError::Upstream(_))));
    }
    assert_eq!(trial.registry.looks(), 2, "nothing was remembered");
    trial.registry.breaks(false);
    trial.registry.attach(app.digest, trial.sign(&foreign(&app)));
    assert_eq!(trial.codes(&app).await, None, "at once");

    trial.registry.breaks(true);
    trial.pass(INTERVAL);
    assert!(trial.decide(&app).await.is_err(), "whether it was withdrawn cannot be told");

    // What was pushed needs no registry.
    let trial = Trial::new().await;
    trial.registry.breaks(true);
    trial.push("r1", &app, true).await;
    assert_eq!((trial.codes(&app).await, trial.registry.looks()), (None, 0));

    // A contract that only warns does not come to block because a registry is down.
    trial.apply("release", &BILL.replace("  admission:\n", "  admission:\n    enforcement: warn\n")).await;
    for _ in 0..2 {
        let verdict = trial.verdict(&image("other")).await;
        assert_eq!((verdict.decision, verdict.enforced), (Decision::Allow, false));
    }
    assert_eq!(trial.registry.looks(), 2, "nothing was remembered");
}

#[tokio::test]
async fn a_run_beside_the_image_counts_unless_the_gateway_knows_better() {
    let mut trial = Trial::new().await;
    let good = |run: &str, seed: &str| craft(run, &image(seed), vec![text("note", "n")], trial.now).statement();
    let (lone, known, again, strange, taken) =
        (good("r1", "lone"), good("r2", "known"), good("r3", "again"), good("r4", "strange"), good("r9", "taken"));
    trial.registry.attach(image("lone").digest, trial.sign(&lone));
    assert_eq!(trial.codes(&image("lone")).await, None);

    // The workflow's newest pushed run failed: an older one beside the image does not outvote it.
    trial.push("r20", &image("known"), false).await;
    trial.registry.attach(image("known").digest, trial.sign(&known));
    assert!(trial.codes(&image("known")).await.unwrap().contains(&Code::RunRejected));

    // What was rejected stays so when it is found again.
    let bundle = trial.sign(&craft("r30", &image("again"), Vec::new(), trial.now).statement());
    trial.receive(bundle.clone()).await.unwrap();
    trial.registry.attach(image("again").digest, bundle);
    trial.apply("release", "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: image, type: CONTAINER_IMAGE}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n").await;
    assert!(trial.codes(&image("again")).await.unwrap().contains(&Code::RunRejected));
    trial.registry.attach(image("again").digest, trial.sign(&again));
    trial.pass(AFTER_DENY);
    assert!(trial.codes(&image("again")).await.unwrap().contains(&Code::RunRejected));

    // A run of a workflow that is bound elsewhere, and one whose id belongs to another attestation.
    trial.bind("skynet/build", "other").await;
    trial.registry.attach(image("strange").digest, trial.sign(&strange));
    assert_eq!(trial.codes(&image("strange")).await, only(Code::NoEvidence));
    trial.bind("skynet/build", "release").await;
    trial.push("r9", &image("elsewhere"), true).await;
    trial.registry.attach(image("taken").digest, trial.sign(&taken));
    assert_eq!(trial.codes(&image("taken")).await, only(Code::NoEvidence));
}

#[tokio::test]
async fn a_run_id_is_whose_it_was_first() {
    let trial = Trial::new().await;
    let (app, elsewhere) = (image("app"), image("elsewhere"));
    let found = trial.sign(&craft("r1", &app, vec![text("note", "n")], trial.now).statement());
    trial.registry.attach(app.digest, found.clone());
    assert_eq!(trial.codes(&app).await, None);

    // Nobody else can have the run afterwards, so that what was allowed with it stays true.
    let other = trial.sign(&craft("r1", &elsewhere, vec![text("note", "n")], trial.now).statement());
    let refused = trial.receive(other).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::RunAlreadyUsed), "{refused}");
    let run = |flow: &str| crate::store::RunRecord::begun("r1", crate::trial::workflow(flow), trial.now);
    assert!(!trial.store.start_run(&acme(), run("skynet/other"), trial.by()).await.unwrap());
    assert!(trial.store.start_run(&acme(), run("skynet/build"), trial.by()).await.unwrap());
    let fresh = trial.another_gate().decide(&acme(), &app, trial.now).await.unwrap();
    assert_eq!(trial.codes(&app).await, None);
    assert_eq!(crate::trial::codes(&fresh.verdict().verdict), None, "one that remembers nothing says the same");

    // The same content in other bytes is the same run.
    let wrapped = Bytes::from([&found[..], b" "].concat());
    assert_eq!(trial.receive(wrapped).await.unwrap().decision, Decision::Allow);
    let (second, both) = (image("second"), image("both"));
    let mut statement = craft("r2", &second, vec![text("note", "n")], trial.now).statement();
    trial.receive(trial.sign(&statement)).await.unwrap();
    statement.raw["subject"] = craft("r2", &both, Vec::new(), trial.now).statement().raw["subject"].clone();
    trial.registry.attach(both.digest, trial.sign(&statement));
    assert_eq!(trial.codes(&both).await, only(Code::NoEvidence), "other content of a run that was pushed");
}

#[tokio::test]
async fn a_pushed_failure_is_not_mended_by_other_tools() {
    let trial = with_bill().await;
    let app = image("app");
    trial.registry.attach(app.digest, trial.sign(&foreign(&app)));
    assert_eq!(trial.codes(&app).await, None);
    trial.push("r1", &app, false).await;
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
}

#[tokio::test]
async fn a_flood_denies_only_what_is_not_satisfied_otherwise() {
    let trial = with_bill().await;
    let (flooded, own) = (image("flooded"), image("own"));
    let stranger = SigningKey::generate_ed25519().unwrap();
    for app in [&flooded, &own] {
        for number in 0..=limits::ATTESTATIONS_PER_SUBJECT {
            let mut statement = foreign(app);
            statement.raw["predicate"]["serialNumber"] = number.into();
            trial.registry.attach(app.digest, Bytes::copy_from_slice(stranger.sign(&statement).unwrap().bytes()));
        }
    }
    let found = trial.codes(&flooded).await.unwrap();
    assert!(found.contains(&Code::LimitReached) && found.contains(&Code::SignerNotAllowed), "{found:?}");

    trial.apply("release", &crate::trial::contract("release", "")).await;
    trial.push("r1", &own, true).await;
    assert_eq!(trial.codes(&own).await, None);
}

#[tokio::test]
async fn no_more_looks_are_under_way_than_may_be() {
    let trial = Trial::new().await;
    let held = trial.registry.open.acquire_many(1000).await.unwrap();
    let ask = |number: usize| {
        let (gate, app, now) = (std::sync::Arc::clone(&trial.gate), image(&format!("app-{number}")), trial.now);
        tokio::spawn(async move { gate.decide(&acme(), &app, now).await })
    };
    let asked: Vec<_> = (0..=limits::LOOKS_AT_ONE_REGISTRY).map(ask).collect();
    while trial.registry.looks() < limits::LOOKS_AT_ONE_REGISTRY {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(trial.registry.looks(), limits::LOOKS_AT_ONE_REGISTRY);
    drop(held);
    for one in asked {
        one.await.unwrap().unwrap();
    }
    assert_eq!(trial.registry.looks(), limits::LOOKS_AT_ONE_REGISTRY + 1, "the last had to wait");
}
