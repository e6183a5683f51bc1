//! Questions about what is no image, and about images with more contracts than answer for them.

use std::collections::BTreeSet;

use contracts::{Code, Decision, Digest, MaterialType, PinnedRef, Verdict, api::Withdrawn};
use jiff::SignedDuration;

use crate::{
    gate::{GateError, Inquiry},
    names::Name,
    store::{AttestationName, Store},
    trial::{Trial, acme, codes, craft, file, image, name, only, text},
};

const BYTES: &[u8] = b"what was built";

/// A contract about a file and a note that answers for no repository.
const FILES: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: files}\nspec:\n  materials:\n    - {name: binary, type: ARTIFACT, output: true}\n    - {name: log, type: ARTIFACT, optional: true}\n    - {name: note, type: STRING}\n";

fn named(names: &[&str]) -> BTreeSet<Name> {
    names.iter().map(|text| name(text)).collect()
}

async fn ask(trial: &Trial, digest: Digest, contracts: &[&str]) -> Verdict {
    let inquiry = Inquiry::artifact(digest, named(contracts)).unwrap();
    trial.gate.check(&acme(), inquiry, trial.now).await.unwrap().verdict.clone()
}

/// With the contract `files`, and `skynet/files` bound to it.
async fn trial() -> Trial {
    let trial = Trial::new().await;
    trial.apply("files", FILES).await;
    trial.bind("skynet/files", "files").await;
    trial.upload(BYTES).await;
    trial
}

/// Pushes a run that built the file, without the note when it is to break its contract.
async fn push(trial: &Trial, run: &str, bytes: &[u8], with_note: bool) {
    let binary = contracts::crafting::CraftedMaterial { output: true, ..file("binary", MaterialType::Artifact, bytes) };
    let others = if with_note { vec![binary, text("note", run)] } else { vec![binary] };
    let mut craft = craft(run, &image("unused"), others, trial.now);
    craft.materials.retain(|material| material.name != "image");
    craft.workflow = "files".to_owned();
    craft.contract_name = "files".to_owned();
    let bundle = trial.sign(&craft.statement());
    trial.intake.receive(&acme(), "skynet/files".parse().unwrap(), bundle, trial.now).await.unwrap();
}

#[tokio::test]
async fn a_file_is_allowed_by_the_contracts_that_are_named_alone() {
    let mut trial = trial().await;
    let digest = Digest::of(BYTES);
    assert_eq!(codes(&ask(&trial, digest, &["files"]).await), only(Code::NoEvidence));
    push(&trial, "f1", BYTES, true).await;
    let allowed = ask(&trial, digest, &["files"]).await;
    assert_eq!((codes(&allowed), allowed.named.as_slice()), (None, &["files".to_owned()][..]));
    assert_eq!(trial.registry.looks(), 0, "no registry is asked about it");
    assert_eq!(codes(&ask(&trial, digest, &["release"]).await), only(Code::NoEvidence), "another contract's evidence");
    assert_eq!(codes(&ask(&trial, digest, &["files", "release"]).await), only(Code::NoEvidence), "all must allow");
    assert_eq!(codes(&ask(&trial, Digest::of(b"other"), &["files"]).await), only(Code::NoEvidence));
    assert!(Inquiry::artifact(digest, BTreeSet::new()).is_none(), "nobody would answer");

    // The newest run decides, at once.
    trial.pass(SignedDuration::from_secs(1));
    push(&trial, "f2", BYTES, false).await;
    assert!(codes(&ask(&trial, digest, &["files"]).await).unwrap().contains(&Code::RunRejected));
    let gone = Inquiry::artifact(digest, named(&["files", "none"])).unwrap();
    assert!(matches!(trial.gate.check(&acme(), gone, trial.now).await, Err(GateError::ContractGone { .. })));
}

#[tokio::test]
async fn what_was_built_as_a_file_is_evidence_of_no_image_and_the_other_way_round() {
    let mut trial = trial().await;
    trial
        .apply(
            "release",
            &format!("{FILES}  admission: {{repositories: [\"registry.acme.dev/skynet/**\"]}}\n")
                .replace("name: files", "name: release"),
        )
        .await;
    trial.bind("skynet/files", "release").await;
    let image = PinnedRef { digest: Digest::of(BYTES), ..image("app") };
    let binary = contracts::crafting::CraftedMaterial { output: true, ..file("binary", MaterialType::Artifact, BYTES) };
    let mut craft = craft("f1", &image, vec![binary, text("note", "n")], trial.now);
    craft.materials.retain(|material| material.name != "image");
    let bundle = trial.sign(&craft.statement());
    trial.receive(bundle).await.unwrap();
    assert_eq!(codes(&ask(&trial, image.digest, &["release"]).await), None);
    assert_eq!(trial.codes(&image).await, only(Code::NoEvidence), "the contract would be satisfied");
    assert!(trial.store.pushed_about(&acme(), &image.clone().into()).await.unwrap().newest.is_empty());

    // A rejected run about the file closes no image, and is not outvoted by one about the image.
    trial.pass(SignedDuration::from_secs(1));
    let mut trial = self::trial().await;
    push(&trial, "f1", BYTES, false).await;
    assert!(trial.gate.rejected_itself(&acme(), &image, trial.now).await.unwrap().is_none());
    trial.pass(SignedDuration::from_secs(1));
    trial.push("r1", &image, true).await;
    assert_eq!(trial.codes(&image).await, None);
    assert!(codes(&ask(&trial, image.digest, &["files"]).await).unwrap().contains(&Code::RunRejected));
    assert_eq!(codes(&ask(&trial, image.digest, &["release"]).await), only(Code::NoEvidence), "an image is no file");
}

#[tokio::test]
async fn only_the_outputs_of_a_run_are_what_it_was_made_for() {
    let trial = trial().await;
    trial.upload(b"a log").await;
    let log = file("log", MaterialType::Artifact, b"a log");
    let binary = contracts::crafting::CraftedMaterial { output: true, ..file("binary", MaterialType::Artifact, BYTES) };
    // The log as an output as well: the contract asks for the binary.
    for (run, output) in [("f1", false), ("f2", true)] {
        let log = contracts::crafting::CraftedMaterial { output, ..log.clone() };
        let mut craft = craft(run, &image("unused"), vec![binary.clone(), log, text("note", run)], trial.now);
        craft.materials.retain(|material| material.name != "image");
        (craft.workflow, craft.contract_name) = ("files".to_owned(), "files".to_owned());
        let bundle = trial.sign(&craft.statement());
        trial.intake.receive(&acme(), "skynet/files".parse().unwrap(), bundle, trial.now).await.unwrap();
        assert_eq!(codes(&ask(&trial, Digest::of(b"a log"), &["files"]).await), only(Code::NoEvidence), "{run}");
    }
    assert_eq!(codes(&ask(&trial, Digest::of(BYTES), &["files"]).await), None);
}

#[tokio::test]
async fn naming_a_contract_makes_an_answer_about_an_image_stricter_and_never_a_pulls() {
    let trial = trial().await;
    let app = image("app");
    let check = async |contracts: &[&str]| {
        let inquiry = Inquiry::image(app.clone(), named(contracts));
        trial.gate.check(&acme(), inquiry, trial.now).await.unwrap()
    };
    trial.push("r1", &app, true).await;
    let answer = check(&["files"]).await;
    assert_eq!(codes(&answer.verdict), only(Code::NoEvidence));
    assert_eq!(answer.verdict.contracts.iter().map(|c| c.contract.as_str()).collect::<Vec<_>>(), ["files", "release"]);
    assert_eq!(trial.codes(&app).await, None, "a pull names none");
    let same = check(&["release"]).await;
    assert_eq!((codes(&same.verdict), same.verdict.contracts.len()), (None, 1));
    let pull = trial.decide(&app).await.unwrap();
    assert_ne!(pull.verdict().key, same.key, "they answer different questions");
    let fresh = trial.another_gate().check(&acme(), Inquiry::image(app.clone(), named(&["release"])), trial.now).await;
    assert_eq!(fresh.unwrap(), same);

    // Where no contract answers, a named one does not take its place.
    let elsewhere = PinnedRef { repository: "registry.acme.dev/other/app".parse().unwrap(), digest: app.digest };
    let inquiry = || Inquiry::image(elsewhere.clone(), named(&["release"]));
    let denied = trial.gate.check(&acme(), inquiry(), trial.now).await.unwrap();
    assert_eq!(codes(&denied.verdict), only(Code::NoContract));
    trial.settings(contracts::api::Unmatched::Allow).await;
    let let_through = trial.gate.check(&acme(), inquiry(), trial.now).await.unwrap();
    assert_eq!((let_through.verdict.decision, let_through.verdict.enforced), (Decision::Allow, false));
    assert_eq!(codes(&let_through.verdict), only(Code::NoContract));
    let inquiry = Inquiry::image(elsewhere.clone(), named(&["files"]));
    let denied = trial.gate.check(&acme(), inquiry, trial.now).await.unwrap();
    assert_eq!((denied.verdict.decision, denied.verdict.enforced), (Decision::Deny, true));
}

#[tokio::test]
async fn a_files_run_is_withdrawn_as_an_images_is() {
    let trial = trial().await;
    let digest = Digest::of(BYTES);
    push(&trial, "f1", BYTES, true).await;
    assert_eq!(codes(&ask(&trial, digest, &["files"]).await), None);
    let run = AttestationName::Run("f1".to_owned());
    let said = Withdrawn { reason: "r".to_owned(), withdrawn_at: trial.now, by: "t".to_owned() };
    trial.store.withdraw_attestation(&acme(), &run, said, trial.by()).await.unwrap();
    assert_eq!(codes(&ask(&trial, digest, &["files"]).await), only(Code::AttestationWithdrawn));
    trial.store.restore_attestation(&acme(), &run, trial.by()).await.unwrap().unwrap();
    assert_eq!(codes(&ask(&trial, digest, &["files"]).await), None);
}
