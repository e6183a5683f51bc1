//! A run is evidence of the images that it was made for, not of those that it names.

use bytes::Bytes;
use contracts::{
    Code, MaterialType, PinnedRef,
    crafting::{Craft, CraftedMaterial, ImageName},
    limits,
};
use jiff::SignedDuration;
use serde_json::json;

use crate::{
    gate::GateError,
    store::Store,
    trial::{Trial, acme, contract, craft, file, image, name, only, text, workflow},
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A contract about an image and a report whose bytes are fetched.
const REPORT: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: image, type: CONTAINER_IMAGE, output: true}\n    - {name: report, type: EVIDENCE}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";

fn output(slot: &str, image: &PinnedRef) -> CraftedMaterial {
    CraftedMaterial {
        digest: image.digest,
        image: Some(ImageName { repository: image.repository.clone(), tag: None }),
        output: true,
        ..file(slot, MaterialType::ContainerImage, b"")
    }
}

/// A run that was made for one image and names two more: one as an output that its contract does not ask for, and one
/// as a subject alone.
fn naming(trial: &Trial, run: &str, image: &PinnedRef, named: [&PinnedRef; 2], others: Vec<CraftedMaterial>) -> Bytes {
    let others = others.into_iter().chain([output("also", named[0])]).collect();
    let mut statement = craft(run, image, others, trial.now).statement();
    let bare = json!({"name": "bare", "digest": {"sha256": named[1].digest.hex()}});
    statement.raw["subject"].as_array_mut().unwrap().push(bare);
    trial.sign(&statement)
}

async fn closed(trial: &Trial, image: &PinnedRef) -> bool {
    trial.gate.rejected_itself(&acme(), image, trial.now).await.unwrap().is_some()
}

#[tokio::test]
async fn a_run_for_another_image_hides_no_rejected_run_of_those_that_it_names() {
    let mut trial = Trial::new().await;
    let (app, bare, other) = (image("app"), image("bare"), image("other"));
    for (run, rejected) in [("r1", &app), ("r2", &bare)] {
        trial.push(run, rejected, false).await;
    }
    trial.pass(SECOND);
    trial.receive(naming(&trial, "r3", &other, [&app, &bare], vec![text("note", "n")])).await.unwrap();
    assert_eq!(trial.codes(&other).await, None);
    for named in [&app, &bare] {
        assert!(trial.codes(named).await.unwrap().contains(&Code::RunRejected), "its own run is the newest about it");
        assert!(closed(&trial, named).await);
    }
}

#[tokio::test]
async fn a_rejected_run_for_another_image_closes_none_of_those_that_it_names() {
    let trial = Trial::new().await;
    let (app, bare, other) = (image("app"), image("bare"), image("other"));
    trial.receive(naming(&trial, "r1", &other, [&app, &bare], Vec::new())).await.unwrap();
    assert!(closed(&trial, &other).await);
    for named in [&app, &bare] {
        let verdict = trial.verdict(named).await;
        assert_eq!(crate::trial::codes(&verdict), only(Code::NoEvidence));
        let mend = verdict.findings[0].mend.as_deref().unwrap();
        assert!(mend.contains("push an attestation of the image from the pipeline `skynet/build`"), "{mend}");
        assert!(!closed(&trial, named).await);
    }
}

#[tokio::test]
async fn what_a_contract_comes_to_demand_as_its_output_is_asked_of_older_runs_too() {
    let trial = Trial::new().await;
    let (app, other) = (image("app"), image("other"));
    let without = contract("release", "").replace("    - {name: image, type: CONTAINER_IMAGE, output: true}\n", "");
    trial.apply("release", &without).await;
    trial.receive(naming(&trial, "r1", &other, [&app, &app], vec![text("note", "n")])).await.unwrap();
    assert_eq!(trial.codes(&app).await, None, "one of the outputs that it declares");
    trial.apply("release", &contract("release", "")).await;
    assert_eq!(trial.codes(&app).await, only(Code::SubjectMismatch));
    assert!(!closed(&trial, &app).await, "it says nothing about this image");
}

#[tokio::test]
async fn what_was_found_beside_an_image_that_it_only_names_is_gone_once_it_is_pushed() {
    let trial = Trial::new().await;
    let (app, other) = (image("app"), image("other"));
    let bundle = naming(&trial, "r1", &other, [&app, &app], vec![text("note", "n")]);
    trial.registry.attach(app.digest, bundle.clone());
    assert_eq!(trial.codes(&app).await, only(Code::SubjectMismatch));
    trial.receive(bundle).await.unwrap();
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence), "at once");
}

#[tokio::test]
async fn a_rejected_run_is_not_hidden_behind_a_newer_one_that_is_too_old() {
    let mut trial = Trial::new().await;
    let app = image("app");
    trial.apply("release", &contract("release", "    maxAge: 1m\n")).await;
    trial.bind("skynet/nightly", "release").await;
    trial.push("r1", &app, false).await;
    trial.pass(SECOND);
    let nightly = Craft { workflow: "nightly".to_owned(), ..craft("n1", &app, vec![text("note", "n")], trial.now) };
    let bundle = trial.sign(&nightly.statement());
    trial.intake.receive(&acme(), workflow("skynet/nightly"), bundle, trial.now).await.unwrap();
    assert_eq!(trial.codes(&app).await, None, "one workflow is enough");
    trial.pass(SignedDuration::from_secs(61));
    assert!(trial.codes(&app).await.unwrap().contains(&Code::RunRejected));
    assert!(closed(&trial, &app).await);
}

#[tokio::test]
async fn a_rejected_run_that_is_not_examined_closes_all_the_same() {
    let trial = Trial::new().await;
    let app = image("app");
    for number in 0..limits::WORKFLOWS_PER_SUBJECT {
        let flow = format!("a/w{number}");
        trial.bind(&flow, "release").await;
        let [project, name] = flow.split('/').collect::<Vec<_>>()[..] else { panic!("it has two parts") };
        let craft = Craft {
            project: project.to_owned(),
            workflow: name.to_owned(),
            ..craft(&format!("w{number}"), &app, vec![text("note", "n")], trial.now)
        };
        let bundle = trial.sign(&craft.statement());
        trial.intake.receive(&acme(), workflow(&flow), bundle, trial.now).await.unwrap();
        trial.bind(&flow, "other").await;
    }
    assert_eq!(trial.codes(&app).await, only(Code::NoEvidence), "none of them is bound to the contract now");
    assert!(!closed(&trial, &app).await);
    trial.push("r1", &app, false).await;
    let codes = trial.codes(&app).await.unwrap();
    assert!(codes.contains(&Code::LimitReached) && !codes.contains(&Code::RunRejected), "{codes:?}");
    assert!(closed(&trial, &app).await);
    assert_eq!(trial.store.pushed_about(&acme(), &app.clone().into()).await.unwrap().newest.len(), 256);
    assert!(trial.store.anything_pushed_about(&acme(), app.digest).await.unwrap());
    assert!(!trial.store.anything_pushed_about(&acme(), image("x").digest).await.unwrap());
    assert!(!trial.store.anything_pushed_about(&name("acme-2"), app.digest).await.unwrap());
}

#[tokio::test]
async fn a_workflow_that_could_not_be_judged_stands_in_no_others_way() {
    let mut trial = Trial::new().await;
    let (app, other) = (image("app"), image("other"));
    trial.apply("release", REPORT).await;
    trial.bind("skynet/nightly", "release").await;
    let report = |bytes: &'static [u8]| vec![file("report", MaterialType::Evidence, bytes)];
    trial.upload(b"{\"n\":1}").await;
    trial.upload(b"{\"n\":2}").await;
    trial.receive(trial.sign(&craft("r1", &app, report(b"{\"n\":1}"), trial.now).statement())).await.unwrap();
    trial.pass(SECOND);
    for (run, image) in [("n1", &app), ("n2", &other)] {
        let craft = Craft { workflow: "nightly".to_owned(), ..craft(run, image, report(b"{\"n\":2}"), trial.now) };
        let bundle = trial.sign(&craft.statement());
        trial.intake.receive(&acme(), workflow("skynet/nightly"), bundle, trial.now).await.unwrap();
    }
    trial.damage(b"{\"n\":2}");
    assert_eq!(trial.codes(&app).await, None, "an older run of another workflow satisfies");
    assert!(matches!(trial.decide(&other).await, Err(GateError::Evidence { .. })));

    // What was made for another image is told so before its bytes are fetched.
    let strange = image("strange");
    trial.registry.attach(strange.digest, naming(&trial, "r9", &app, [&strange, &strange], report(b"{\"n\":2}")));
    assert_eq!(trial.codes(&strange).await, only(Code::SubjectMismatch));
}
