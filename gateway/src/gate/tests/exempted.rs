//! Exemptions at the gate: over the real store, and over time.

use std::sync::Arc;

use contracts::{
    Code, Decision, Dependency, SigningKey,
    api::OrganizationSettings,
    exemption::{ApprovalRules, Emergency, RuleNames},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    store::{ExemptionBody, ExemptionPut, ExemptionRecord, Store},
    trial::{Trial, acme, contract, image, only},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A trial with an approver.
async fn trial() -> (Trial, SigningKey) {
    let (trial, ann) = (Trial::new().await, SigningKey::generate_ed25519().unwrap());
    let mut settings =
        OrganizationSettings { default_signers: vec![trial.key.public().to_pem()], ..OrganizationSettings::default() };
    settings.exemptions.approvers = vec![ann.public().to_pem().into()];
    trial.store.put_settings(&acme(), settings, trial.by()).await.unwrap();
    (trial, ann)
}

/// Puts an exemption of a rule for all images from now on; returns when it ends.
async fn exempt(trial: &Trial, ann: &SigningKey, rule: &str, lasting: SignedDuration) -> Timestamp {
    let until = trial.now.checked_add(lasting).unwrap();
    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: {rule}, organization: acme}}\nspec: {{scope: {{rule: {rule}, repositories: [\"**\"]}}, reason: r, from: \"{}\", until: \"{until}\"}}",
        trial.now
    );
    let envelope = ann.approve(document.as_bytes()).unwrap();
    let settings = trial.store.settings(&acme()).await.unwrap();
    let nobody = contracts::TrustRoot::new(Vec::new(), None).unwrap();
    let rules = ApprovalRules::new("acme", &settings.exemptions, &RuleNames::default()).unwrap();
    let approved = rules.approve(&envelope.clone().into(), &nobody, trial.now).unwrap();
    let body = ExemptionBody::Signed(envelope.to_value());
    let (digest, name) = (approved.exemption().digest, rule.to_owned());
    let applied_at = trial.now;
    let record = ExemptionRecord { name, digest, until, body, applied_at, withdrawn_at: None, ended: false };
    assert_eq!(trial.store.put_exemption(&acme(), record, trial.by()).await.unwrap(), ExemptionPut::New);
    until
}

#[tokio::test]
async fn an_accepted_run_that_grew_too_old_is_exempted_until_the_very_instant() {
    let (mut trial, ann) = trial().await;
    trial.apply("release", &contract("release", "    maxAge: 1h\n")).await;
    let app = image("app");
    let run = trial.push("r1", &app, true).await;
    trial.pass(HOUR * 2);
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
    let until = exempt(&trial, &ann, "max-age", HOUR).await;
    for _ in 0..4 {
        let verdict = trial.verdict(&app).await;
        assert_eq!((verdict.decision, verdict.exempted, verdict.valid_until), (Decision::Allow, true, Some(until)));
        assert!(verdict.depends_on.contains(&Dependency::Attestation(run)));
        // Also found again in the store, by a gate that remembers nothing.
        trial.gate = Arc::new(trial.another_gate());
        trial.pass(SignedDuration::from_mins(15) - SignedDuration::from_millis(1));
    }
    trial.pass(SignedDuration::from_millis(4));
    assert_eq!(trial.now, until);
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
    trial.gate = Arc::new(trial.another_gate());
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
}

#[tokio::test]
async fn a_part_of_an_index_is_closed_by_its_broken_run_but_for_an_exemption() {
    let (mut trial, ann) = trial().await;
    let app = image("app");
    trial.push("r1", &app, false).await;
    let closed = async |trial: &Trial| trial.gate.rejected_itself(&acme(), &app, trial.now).await.unwrap().is_some();
    assert!(closed(&trial).await);
    exempt(&trial, &ann, "material-note", HOUR).await;
    assert!(!closed(&trial).await);
    trial.pass(HOUR);
    assert!(closed(&trial).await);
}

#[tokio::test]
async fn a_newer_run_is_judged_by_itself() {
    let (mut trial, ann) = trial().await;
    let app = image("app");
    trial.push("r1", &app, false).await;
    exempt(&trial, &ann, "material-note", HOUR).await;
    assert!(trial.verdict(&app).await.exempted);
    trial.pass(SignedDuration::from_secs(1));
    trial.push("r2", &app, true).await;
    let verdict = trial.verdict(&app).await;
    assert_eq!((verdict.decision, verdict.exempted, verdict.valid_until), (Decision::Allow, false, None));
    assert!(!verdict.depends_on.iter().any(|on| matches!(on, Dependency::Exemption(_))));
}

#[tokio::test]
async fn a_record_that_was_changed_in_the_state_counts_for_nothing() {
    let (trial, _) = trial().await;
    let app = image("app");
    trial.push("r1", &app, false).await;
    // An emergency that no contract allows, and one that nobody signed.
    let until = trial.now.checked_add(HOUR).unwrap();
    let emergency = Emergency {
        name: "emergency-1".to_owned(),
        organization: "acme".to_owned(),
        contract: "release".to_owned(),
        workflow: "skynet/build".to_owned(),
        digests: [app.digest].into(),
        reason: "r".to_owned(),
        from: trial.now,
        until,
        caller: "skynet/build".to_owned(),
    };
    let digest = emergency.exemption().digest;
    let unsigned = serde_json::json!({"payloadType": contracts::exemption::PAYLOAD_TYPE, "payload": "", "signatures": [{"sig": "AA=="}]});
    for (name, body) in
        [("emergency-1", ExemptionBody::Emergency(emergency)), ("unsigned", ExemptionBody::Signed(unsigned))]
    {
        let (name, applied_at) = (name.to_owned(), trial.now);
        let record = ExemptionRecord { name, digest, until, body, applied_at, withdrawn_at: None, ended: false };
        trial.store.put_exemption(&acme(), record, trial.by()).await.unwrap();
        let codes = trial.codes(&app).await.unwrap();
        assert!(codes.contains(&Code::RunRejected), "{codes:?}");
    }
}

#[tokio::test]
async fn what_ended_is_listed_for_a_while_and_then_forgotten() {
    let (mut trial, ann) = trial().await;
    exempt(&trial, &ann, "material-note", HOUR).await;
    let names = async |trial: &Trial| {
        let records = trial.store.exemptions(&acme()).await.unwrap();
        records.into_iter().map(|record| record.name).collect::<Vec<_>>()
    };
    let kept = SignedDuration::try_from(contracts::limits::EXEMPTION_KEPT).unwrap();
    trial.pass(HOUR + kept - SignedDuration::from_secs(1));
    exempt(&trial, &ann, "max-age", HOUR).await;
    assert_eq!(names(&trial).await, ["material-note", "max-age"]);
    trial.pass(SignedDuration::from_secs(2));
    exempt(&trial, &ann, "output-image", HOUR).await;
    assert_eq!(names(&trial).await, ["max-age", "output-image"]);
    let log = trial.store.audit_log(&acme(), 1, 10_000).await.unwrap();
    assert!(log.iter().any(|entry| entry.event == "exemption-applied" && entry.detail["exemption"] == "material-note"));
}
