//! What is taken, what is rejected, and what is refused.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use contracts::{
    Code, Decision, MaterialType, SigningKey,
    api::RunState,
    crafting::{Craft, CraftedMaterial, ImageName},
};

use super::IntakeError;
use crate::{
    store::Store,
    trial::{Trial, acme, craft, file, foreign, image, text, workflow},
};

fn good(trial: &Trial, run: &str) -> Craft {
    craft(run, &image("app"), vec![text("note", "n")], trial.now)
}

#[tokio::test]
async fn the_same_bytes_get_the_same_answer() {
    let mut trial = Trial::new().await;
    let (accepted, rejected) =
        (good(&trial, "r1").statement(), craft("r2", &image("app"), Vec::new(), trial.now).statement());
    for (statement, state) in [(accepted, RunState::Accepted), (rejected, RunState::Rejected)] {
        let bundle = trial.sign(&statement);
        let first = trial.receive(bundle.clone()).await.unwrap();
        assert_eq!(first.run.state, state);
        assert_eq!(first.run.findings.iter().any(|f| f.blocks() && f.mend.is_some()), state == RunState::Rejected);
        trial.pass(jiff::SignedDuration::from_secs(10));
        trial.apply("release", &crate::trial::contract("release", "    maxAge: 1h\n")).await;
        assert_eq!(trial.receive(bundle.clone()).await.unwrap(), first);
        // Also when they would be refused by now.
        let key = std::mem::replace(&mut trial.key, SigningKey::generate_p256().unwrap());
        trial.settings(contracts::api::Unmatched::Deny).await;
        assert_eq!(trial.receive(bundle).await.unwrap(), first);
        trial.key = key;
        trial.settings(contracts::api::Unmatched::Deny).await;
    }
}

#[tokio::test]
async fn a_statement_must_be_about_what_it_is_pushed_for() {
    let trial = Trial::new().await;
    let base = good(&trial, "r1");
    let s = str::to_owned;
    for craft in [
        Craft { organization: s("beta"), ..base.clone() },
        Craft { project: s("other"), ..base.clone() },
        Craft { workflow: s("other"), ..base.clone() },
        Craft { contract_name: s("other"), ..base.clone() },
    ] {
        let refused = trial.receive(trial.sign(&craft.statement())).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::StatementMismatch), "{refused}");
    }
    trial.receive(trial.sign(&base.statement())).await.unwrap();
    let again = Craft { materials: vec![text("note", "other")], ..base };
    let refused = trial.receive(trial.sign(&again.statement())).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::RunAlreadyUsed));

    let unknown = trial.intake.receive(&acme(), workflow("skynet/none"), Bytes::new(), trial.now).await;
    assert!(matches!(unknown, Err(IntakeError::UnknownWorkflow { .. })));
    for bytes in [Bytes::from_static(b"{"), trial.sign(&foreign(&image("app")))] {
        assert!(matches!(trial.receive(bytes).await, Err(IntakeError::Unreadable { .. })));
    }
    let large = Bytes::from(vec![b' '; contracts::limits::BUNDLE_BYTES + 1]);
    assert!(matches!(trial.receive(large).await, Err(IntakeError::TooLarge { .. })));
}

#[tokio::test]
async fn a_strangers_signature_leaves_an_audit_entry_and_nothing_else() {
    let trial = Trial::new().await;
    let before = trial.store.audit_log(&acme(), 1, 100).await.unwrap().len();
    let stranger = SigningKey::generate_p256().unwrap();
    let bundle = stranger.sign(&good(&trial, "r1").statement()).unwrap();
    let refused = trial.receive(Bytes::copy_from_slice(bundle.bytes())).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::SignerNotAllowed), "{refused}");
    let genuine = String::from_utf8(trial.sign(&good(&trial, "r1").statement()).to_vec()).unwrap();
    let payload = good(&trial, "r2").statement().to_json_bytes();
    let mut changed: serde_json::Value = serde_json::from_str(&genuine).unwrap();
    changed["dsseEnvelope"]["payload"] = STANDARD.encode(payload).into();
    let refused = trial.receive(changed.to_string().into()).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::SignatureInvalid), "{refused}");
    assert!(trial.store.attestation(&acme(), bundle.id()).await.unwrap().is_none());
    assert!(trial.store.run(&acme(), "r1").await.unwrap().is_none());
    let log = trial.store.audit_log(&acme(), 1, 100).await.unwrap();
    assert_eq!((log.len(), log.last().unwrap().event.as_str()), (before + 2, "attestation-refused"));
    assert_eq!(trial.receive(trial.sign(&good(&trial, "r1").statement())).await.unwrap().decision, Decision::Allow);
}

const FILES: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n    - {name: logs, type: ARTIFACT, optional: true}\n    - {name: video, type: ARTIFACT, optional: true, skipUpload: true}\n";

#[tokio::test]
async fn bytes_are_fetched_hashed_and_read_whatever_the_statement_says_of_them() {
    let trial = Trial::new().await;
    trial.apply("release", FILES).await;
    let bill: &'static [u8] = testdata::cyclonedx(3).leak();
    let (sbom, logs) =
        (file("sbom", MaterialType::SbomCyclonedxJson, bill), file("logs", MaterialType::Artifact, b"l"));
    let video = CraftedMaterial { skip_upload: true, ..file("video", MaterialType::Artifact, b"v") };
    let skipped = CraftedMaterial { skip_upload: true, ..sbom.clone() };
    let broken = file("sbom", MaterialType::SbomCyclonedxJson, b"not a bill");
    let mislabelled = file("sbom", MaterialType::Artifact, b"l");
    let name = ImageName { repository: image("app").repository, tag: None };
    let no_bytes = CraftedMaterial { kind: MaterialType::ContainerImage, image: Some(name), ..sbom.clone() };
    let mut push = 0;
    let mut codes = async |materials: Vec<CraftedMaterial>| {
        push += 1;
        let craft = Craft { materials, ..good(&trial, &format!("r{push}")) };
        let received = trial.receive(trial.sign(&craft.statement())).await.unwrap();
        let mut codes: Vec<Code> = received.run.findings.iter().filter(|f| f.blocks()).map(|f| f.code).collect();
        codes.dedup();
        codes
    };
    assert_eq!(codes(vec![sbom.clone()]).await, [Code::MaterialBytesAbsent], "never uploaded");
    trial.upload(b"l").await;
    trial.upload(b"not a bill").await;
    assert_eq!(codes(vec![skipped.clone()]).await, [Code::MaterialBytesAbsent], "the build says it may skip");
    assert_eq!(codes(vec![broken]).await, [Code::MaterialMalformed]);
    assert_eq!(codes(vec![mislabelled]).await, [Code::MaterialType], "another type");
    assert_eq!(codes(vec![no_bytes]).await, [Code::MaterialType], "a type that has no bytes");
    trial.upload(bill).await;
    assert_eq!(codes(vec![sbom.clone()]).await, []);
    assert_eq!(codes(vec![skipped]).await, [], "they are there all the same");
    assert_eq!(codes(vec![sbom.clone(), logs, video]).await, [], "the contract says that one may be skipped");
    let lost = file("logs", MaterialType::Artifact, b"lost");
    assert_eq!(codes(vec![sbom, lost]).await, [Code::MaterialBytesAbsent], "an artifact that is not there");
}

#[tokio::test]
async fn many_signatures_times_keys_are_not_checked_where_requests_run() {
    let trial = Trial::new().await;
    let held = (trial.intake.workers.place().await.unwrap(), trial.intake.workers.place().await.unwrap());
    let (bundle, acme) = (trial.sign(&good(&trial, "r1").statement()), acme());
    let mut read = Vec::new();
    for keys in [1, super::INLINE_CHECKS, super::INLINE_CHECKS + 1] {
        let mut pems = vec![trial.key.public().to_pem()];
        pems.extend((1..keys).map(|_| SigningKey::generate_p256().unwrap().public().to_pem()));
        let settings = contracts::api::OrganizationSettings { default_signers: pems, ..Default::default() };
        trial.store.put_settings(&acme, settings, trial.by()).await.unwrap();
        // Compiling takes a place of its own; what is compiled is remembered.
        let contract = {
            let record = trial.store.contracts(&acme).await.unwrap().pop_first().unwrap().1;
            let settings = trial.store.settings(&acme).await.unwrap();
            let roots = contracts::TrustRoot::new(Vec::new(), None).unwrap();
            let compiled = crate::rules::Compiled::new(&record.files, &settings, &roots).unwrap();
            let (name, revision) = (record.contract, record.number);
            std::sync::Arc::new(crate::rules::CurrentContract { name, revision, compiled: compiled.into() })
        };
        let push = super::Push {
            organization: &acme,
            workflow: workflow("skynet/build"),
            id: contracts::Digest::of(&bundle),
            bundle: bundle.clone(),
            identity: None,
            now: trial.now,
        };
        let inline = tokio::time::timeout(std::time::Duration::from_millis(300), trial.intake.read(&push, &contract));
        read.push(inline.await.is_ok());
    }
    assert_eq!(read, [true, true, false], "with every place taken");
    drop(held);
}
