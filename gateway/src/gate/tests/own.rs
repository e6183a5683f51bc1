//! What counts of the attestations that were pushed, and what changes the answer.

use contracts::{Code, Decision, SigningKey, api::Unmatched};
use jiff::SignedDuration;

use crate::{
    gate::GateError,
    trial::{Trial, codes, contract, craft, image, only, text},
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[tokio::test]
async fn every_change_changes_the_very_next_answer() {
    let mut trial = Trial::new().await;
    let app = image("app");
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence));
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "a new attestation");

    trial.pass(SECOND);
    trial.push("r2", &app, false).await;
    let rejected = trial.codes(&app).await.unwrap();
    assert!(rejected.contains(&Code::RunRejected), "a newer failing run: {rejected:?}");
    assert!(rejected.contains(&Code::MaterialMissing), "it says what was wrong with it: {rejected:?}");
    trial.pass(SECOND);
    trial.push("r3", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "a newer run that is right");

    let strict = "    rules:\n      - {name: never, cel: \"false\", message: nothing is released today}\n";
    trial.apply("release", &contract("release", strict)).await;
    assert_eq!(trial.codes(&app).await, only(Code::RuleFailed), "a contract's new revision");
    trial.apply("release", &contract("release", "    maxAge: 1h\n")).await;
    assert_eq!(trial.codes(&app).await, None, "another one");

    trial.pass(SignedDuration::from_secs(3599));
    assert_eq!(trial.codes(&app).await, None, "just young enough");
    trial.pass(SECOND * 2);
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld), "maxAge passing");

    trial.push("r4", &app, true).await;
    assert_eq!(trial.codes(&app).await, None);
    trial.bind("skynet/build", "other").await;
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence), "the workflow bound to another contract");
    trial.bind("skynet/build", "release").await;
    assert_eq!(trial.codes(&app).await, None);

    trial.key = SigningKey::generate_p256().unwrap();
    trial.settings(Unmatched::Deny).await;
    assert_eq!(trial.codes(&app).await, only(Code::SignerNotAllowed), "other default signers");
}

#[tokio::test]
async fn a_run_speaks_for_its_image_and_its_contract_alone() {
    let trial = Trial::new().await;
    let (app, other) = (image("app"), image("other"));
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&other).await, only(Code::NoEvidence));

    // A second contract for the same repositories must be satisfied too, by runs of its own.
    trial.apply("audit", &contract("audit", "")).await;
    let verdict = trial.verdict(&app).await;
    assert_eq!(codes(&verdict), only(Code::NoEvidence));
    let answers: Vec<_> = verdict.contracts.iter().map(|c| (c.contract.as_str(), c.decision)).collect();
    assert_eq!(answers, [("audit", Decision::Deny), ("release", Decision::Allow)]);

    trial.bind("skynet/audit", "audit").await;
    let craft = contracts::crafting::Craft {
        workflow: "audit".to_owned(),
        contract_name: "audit".to_owned(),
        ..craft("r2", &app, vec![text("note", "n")], trial.now)
    };
    let bundle = trial.sign(&craft.statement());
    let audit = crate::trial::workflow("skynet/audit");
    let received = trial.intake.receive(&crate::trial::acme(), audit, bundle, trial.now).await.unwrap();
    assert_eq!(received.decision, Decision::Allow);
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn a_run_that_was_judged_by_one_contract_counts_for_no_other_after_its_workflow_moves() {
    let trial = Trial::new().await;
    let app = image("app");
    let nameless = contracts::crafting::Craft {
        contract_name: String::new(),
        ..craft("r1", &app, vec![text("note", "n")], trial.now)
    };
    trial.receive(trial.sign(&nameless.statement())).await.unwrap();
    assert_eq!(trial.codes(&app).await, None);
    trial.apply("audit", &contract("audit", "")).await;
    trial.apply("release", &contract("release", "").replace("skynet/**", "elsewhere/**")).await;
    trial.bind("skynet/build", "audit").await;
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence));
}

#[tokio::test]
async fn one_passing_workflow_is_enough_and_runs_of_one_instant_must_all_pass() {
    let trial = Trial::new().await;
    let app = image("app");
    trial.bind("skynet/nightly", "release").await;
    let nightly =
        contracts::crafting::Craft { workflow: "nightly".to_owned(), ..craft("n1", &app, Vec::new(), trial.now) };
    let bundle = trial.sign(&nightly.statement());
    let flow = crate::trial::workflow("skynet/nightly");
    trial.intake.receive(&crate::trial::acme(), flow, bundle, trial.now).await.unwrap();
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "another workflow's run passes");
    trial.push("r2", &app, false).await;
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected), "received at the same instant as `r1`");
}

#[tokio::test]
async fn what_no_contract_answers_for_follows_the_setting() {
    let trial = Trial::new().await;
    let outside = contracts::PinnedRef { repository: "docker.io/library/alpine".parse().unwrap(), ..image("app") };
    let verdict = trial.verdict(&outside).await;
    assert_eq!(codes(&verdict), only(Code::NoContract));
    assert!(verdict.findings.iter().all(|f| f.mend.is_some()));
    trial.settings(Unmatched::Allow).await;
    let verdict = trial.verdict(&outside).await;
    assert_eq!((verdict.decision, verdict.enforced), (Decision::Allow, false));
    assert_eq!(codes(&verdict), only(Code::NoContract), "kept as a warning");
    trial.apply("all", &contract("all", "").replace("registry.acme.dev/skynet/**", "**")).await;
    assert_eq!(trial.codes(&outside).await, only(Code::NoEvidence));
}

#[tokio::test]
async fn a_contract_that_only_warns_lets_through_what_it_denies_unenforced() {
    let trial = Trial::new().await;
    let app = image("app");
    trial.apply("release", &contract("release", "    enforcement: warn\n")).await;
    let verdict = trial.verdict(&app).await;
    assert_eq!((verdict.decision, verdict.enforced), (Decision::Allow, false));
    assert_eq!(codes(&verdict), only(Code::NoEvidence));
    assert!(verdict.findings.iter().all(|f| !f.blocks()));
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "enforced once it is satisfied");

    // Another contract that enforces is not weakened by it.
    trial.apply("audit", &contract("audit", "")).await;
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence));
}

#[tokio::test]
async fn nobody_may_sign_means_nothing_is_allowed() {
    let trial = Trial::new().await;
    let app = image("app");
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&app).await, None);
    let settings = contracts::api::OrganizationSettings::default();
    crate::store::Store::put_settings(trial.store.as_ref(), &crate::trial::acme(), settings, trial.by()).await.unwrap();
    assert_eq!(trial.codes(&app).await, only(Code::SignersMissing));
}

#[tokio::test]
async fn a_deny_always_says_why_and_what_to_do() {
    let mut trial = Trial::new().await;
    let app = image("app");
    let mut verdicts = vec![trial.verdict(&app).await];
    trial.push("r1", &app, false).await;
    verdicts.push(trial.verdict(&app).await);
    trial.apply("release", &contract("release", "    maxAge: 1s\n")).await;
    trial.pass(SECOND);
    trial.push("r2", &app, true).await;
    trial.pass(SECOND * 2);
    verdicts.push(trial.verdict(&app).await);
    for verdict in verdicts {
        let blocking: Vec<_> = verdict.findings.iter().filter(|f| f.blocks()).collect();
        assert!(!blocking.is_empty() && blocking.iter().all(|f| f.mend.is_some()), "{blocking:?}");
    }
}

#[tokio::test]
async fn a_contract_that_cannot_be_used_stops_only_what_it_answers_for() {
    let trial = Trial::new().await;
    let app = image("app");
    let elsewhere = contracts::PinnedRef { repository: "registry.acme.dev/other/app".parse().unwrap(), ..app.clone() };
    trial.push("r1", &app, true).await;
    trial.bind("skynet/other", "other").await;
    let apply = async |text: &str| {
        let files = std::collections::BTreeMap::from([("contract.yaml".to_owned(), text.to_owned())]);
        let files = contracts::api::RevisionFiles { contract: "contract.yaml".to_owned(), files };
        let digest = contracts::Digest::of(text.as_bytes());
        let (acme, other) = (crate::trial::acme(), crate::trial::name("other"));
        crate::store::Store::apply_revision(trial.store.as_ref(), &acme, &other, digest, files, trial.by())
            .await
            .unwrap();
    };
    // As one that another version of the gateway took.
    let rules = "    rules:\n      - {name: odd, cel: \"nonsense(((\", message: m}\n";
    apply(&contract("other", rules).replace("/skynet/**", "/other/**")).await;
    assert!(matches!(trial.decide(&elsewhere).await, Err(GateError::Contract { .. })));
    assert_eq!(trial.codes(&app).await, None);
    let other = crate::trial::workflow("skynet/other");
    let pushed = trial.intake.receive(&crate::trial::acme(), other, bytes::Bytes::from_static(b"{}"), trial.now).await;
    assert!(matches!(pushed, Err(crate::intake::IntakeError::CouldNotDecide(GateError::Contract { .. }))));
    trial.push("r2", &app, true).await;

    // What it answers for cannot be told: then it may be anything.
    apply("[").await;
    assert!(matches!(trial.decide(&app).await, Err(GateError::Contract { .. })));
    trial.push("r3", &app, true).await;
}
