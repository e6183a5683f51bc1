//! Other verifiers' summaries that a run brings among its materials: about files, and about images.

use std::collections::BTreeMap;

use contracts::{
    Code, Decision, Digest, MaterialType, SigningKey, Statement, Subject, Verdict,
    api::{RevisionFiles, Withdrawn},
    crafting::CraftedMaterial,
    vsa,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    gate::Inquiry,
    store::{AttestationName, Store},
    trial::{Trial, acme, codes, craft, file, image, name, only, own_key},
};

const VERIFIER: &str = "https://verifier.example.org/organizations/acme";
const BYTES: &[u8] = b"what was built";

/// A trial whose contract `files` asks this verifier about what its workflow built.
async fn trial() -> (Trial, SigningKey) {
    let (trial, key) = (Trial::new().await, SigningKey::generate_p256().unwrap());
    apply(&trial, "files", "{name: binary, type: ARTIFACT, output: true}", &key).await;
    trial.bind("skynet/files", "files").await;
    trial.upload(BYTES).await;
    (trial, key)
}

async fn apply(trial: &Trial, contract: &str, output: &str, key: &SigningKey) {
    apply_with(trial, contract, output, key, "").await;
}

async fn apply_with(trial: &Trial, contract: &str, output: &str, key: &SigningKey, demands: &str) {
    let text = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {contract}}}\nspec:\n  materials:\n    - {output}\n    - {{name: vsa, type: EVIDENCE, optional: true}}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n    verifiers:\n      - {{id: \"{VERIFIER}\", publicKey: \"file://verifier.pub\", {demands}levels: [SLSA_BUILD_LEVEL_2], maxAge: 1h}}\n"
    );
    let files =
        BTreeMap::from([("contract.yaml".to_owned(), text), ("verifier.pub".to_owned(), key.public().to_pem())]);
    trial.apply_files(contract, RevisionFiles { contract: "contract.yaml".to_owned(), files }).await;
}

fn predicate(trial: &Trial, resource: &str) -> Value {
    json!({
        "verifier": {"id": VERIFIER},
        "timeVerified": trial.now - SignedDuration::from_mins(1),
        "resourceUri": resource,
        "policy": {"uri": "https://verifier.example.org/policy"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        "slsaVersion": "1.1",
    })
}

/// A summary, uploaded.
async fn summary(trial: &Trial, digest: Digest, predicate: Value, key: &SigningKey) -> &'static [u8] {
    let statement = Statement::new(vec![Subject::sha256("app", digest)], vsa::PREDICATE_TYPE, predicate);
    let bytes: &'static [u8] = Box::leak(key.sign(&statement).unwrap().bytes().to_vec().into_boxed_slice());
    trial.upload(bytes).await;
    bytes
}

/// Pushes a run that built the file, with what else it brings.
async fn push(trial: &mut Trial, run: &str, brings: Vec<CraftedMaterial>) {
    // The newest run decides.
    trial.pass(SignedDuration::from_secs(1));
    let binary = CraftedMaterial { output: true, ..file("binary", MaterialType::Artifact, BYTES) };
    let mut craft = craft(run, &image("unused"), [vec![binary], brings].concat(), trial.now);
    craft.materials.retain(|material| material.name != "image");
    (craft.workflow, craft.contract_name) = ("files".to_owned(), "files".to_owned());
    let bundle = trial.sign(&craft.statement());
    trial.intake.receive(&acme(), "skynet/files".parse().unwrap(), bundle, trial.now).await.unwrap();
}

async fn ask(trial: &Trial) -> Verdict {
    let inquiry = Inquiry::artifact(Digest::of(BYTES), [name("files")].into()).unwrap();
    trial.gate.check(&acme(), inquiry, trial.now).await.unwrap().verdict.clone()
}

fn vsa(bytes: &[u8]) -> Vec<CraftedMaterial> {
    vec![file("vsa", MaterialType::Evidence, bytes)]
}

#[tokio::test]
async fn a_run_brings_the_summary_of_a_file_which_counts_until_it_is_too_old() {
    let (mut trial, key) = trial().await;
    let digest = Digest::of(BYTES);
    push(&mut trial, "f1", Vec::new()).await;
    let verdict = ask(&trial).await;
    assert_eq!(codes(&verdict), only(Code::SummaryMissing));
    let mend = verdict.findings[0].mend.as_deref().unwrap();
    assert!(mend.contains("as a material of the type `EVIDENCE`"), "{mend}");

    let good = predicate(&trial, &digest.to_string());
    let bytes = summary(&trial, digest, good, &key).await;
    push(&mut trial, "f2", vsa(bytes)).await;
    let verdict = ask(&trial).await;
    assert_eq!(codes(&verdict), None, "{:?}", verdict.findings);
    let verified = trial.now - SignedDuration::from_secs(1) - SignedDuration::from_mins(1);
    assert_eq!(verdict.valid_until, Some(verified + SignedDuration::from_hours(1)));
    trial.pass(SignedDuration::from_mins(59));
    let verdict = ask(&trial).await;
    assert_eq!(codes(&verdict), only(Code::SummaryMissing));
    assert!(verdict.findings[0].message.contains("more than 1h ago"), "{:?}", verdict.findings);
    assert_eq!(trial.registry.looks(), 0, "no registry is asked about it");
}

#[tokio::test]
async fn what_a_run_brings_is_held_against_all_that_the_contract_demands() {
    let (mut trial, key) = trial().await;
    let (digest, stranger) = (Digest::of(BYTES), SigningKey::generate_p256().unwrap());
    let resource = digest.to_string();
    let with = |pointer: &str, value: Value| {
        let mut predicate = predicate(&trial, &resource);
        *predicate.pointer_mut(pointer).unwrap() = value;
        predicate
    };
    let good = || predicate(&trial, &resource);
    let old = trial.now - SignedDuration::from_hours(2);
    let cases = [
        ("self-signed", good(), digest, &stranger, "nobody whom the contract names as a verifier"),
        ("by who pushes", good(), digest, &trial.key, "nobody whom the contract names as a verifier"),
        ("about another", good(), Digest::of(b"other"), &key, "does not speak of"),
        ("another place", with("/resourceUri", json!("https://acme.dev/app")), digest, &key, "its `resourceUri`"),
        (
            "an image",
            with("/resourceUri", json!("oci://registry.acme.dev/skynet/app")),
            digest,
            &key,
            "its `resourceUri`",
        ),
        ("failed", with("/verificationResult", json!("FAILED")), digest, &key, "its result is `FAILED`"),
        ("another verifier", with("/verifier/id", json!("https://evil.example")), digest, &key, "its verifier is"),
        ("too little", with("/verifiedLevels", json!(["SLSA_BUILD_LEVEL_1"])), digest, &key, "SLSA_BUILD_LEVEL_2"),
        ("too old", with("/timeVerified", json!(old)), digest, &key, "more than 1h ago"),
        (
            "to come",
            with("/timeVerified", json!(trial.now + SignedDuration::from_hours(2))),
            digest,
            &key,
            "yet to come",
        ),
    ];
    let mut made = Vec::new();
    for (what, predicate, digest, key, why) in cases {
        made.push((what, summary(&trial, digest, predicate, key).await, why));
    }
    let counts = summary(&trial, digest, good(), &key).await;
    for (what, bytes, why) in made {
        push(&mut trial, &what.replace(' ', "-"), vsa(bytes)).await;
        let verdict = ask(&trial).await;
        assert_eq!(codes(&verdict), only(Code::SummaryMissing), "{what}");
        let message = &verdict.findings[0].message;
        assert!(message.contains("of the summary in the material `vsa`") && message.contains(why), "{what}: {message}");
    }
    // Only as what it is, and only when it is there.
    push(&mut trial, "as-a-file", vec![file("text", MaterialType::Artifact, counts)]).await;
    assert_eq!(codes(&ask(&trial).await), only(Code::SummaryMissing));
    let absent =
        Statement::new(vec![Subject::sha256("app", digest)], vsa::PREDICATE_TYPE, predicate(&trial, &resource));
    let absent = key.sign(&absent).unwrap();
    push(&mut trial, "absent", vsa(absent.bytes())).await;
    assert!(codes(&ask(&trial).await).unwrap().contains(&Code::MaterialBytesAbsent));
    push(&mut trial, "good", vsa(counts)).await;
    assert_eq!(codes(&ask(&trial).await), None);
}

#[tokio::test]
async fn what_the_contract_calls_a_file_counts_in_the_place_of_its_digest() {
    let (mut trial, key) = trial().await;
    let digest = Digest::of(BYTES);
    let (named, other) = ("https://acme.dev/releases/app", "https://acme.dev/releases/app2");
    let mut made = Vec::new();
    for resource in [named, other, &digest.to_string()] {
        let predicate = predicate(&trial, resource);
        made.push(summary(&trial, digest, predicate, &key).await);
    }
    push(&mut trial, "f1", vsa(made[0])).await;
    assert_eq!(codes(&ask(&trial).await), only(Code::SummaryMissing), "nobody calls it so");
    let output = "{name: binary, type: ARTIFACT, output: true}";
    apply_with(&trial, "files", output, &key, &format!("resources: [\"{named}\"], ")).await;
    assert_eq!(codes(&ask(&trial).await), None);
    for (run, bytes) in [("f2", made[1]), ("f3", made[2])] {
        push(&mut trial, run, vsa(bytes)).await;
        let verdict = ask(&trial).await;
        assert_eq!(codes(&verdict), only(Code::SummaryMissing), "{run}");
        assert!(verdict.findings[0].message.contains("its `resourceUri`"), "{:?}", verdict.findings);
    }
}

#[tokio::test]
async fn the_gateways_own_word_does_not_count_as_a_material_either() {
    let (mut trial, _) = trial().await;
    apply(&trial, "files", "{name: binary, type: ARTIFACT, output: true}", own_key()).await;
    let good = predicate(&trial, &Digest::of(BYTES).to_string());
    let own = summary(&trial, Digest::of(BYTES), good, own_key()).await;
    push(&mut trial, "f1", vsa(own)).await;
    let verdict = ask(&trial).await;
    assert_eq!(codes(&verdict), only(Code::SummaryMissing));
    assert!(verdict.findings[0].message.contains("this gateway's own word"), "{:?}", verdict.findings);
}

#[tokio::test]
async fn a_run_brings_the_summary_of_an_image_too() {
    let (trial, key) = (Trial::new().await, SigningKey::generate_p256().unwrap());
    apply(&trial, "release", "{name: image, type: CONTAINER_IMAGE, output: true}", &key).await;
    let (app, other) = (image("app"), image("other"));
    let good = predicate(&trial, &format!("oci://{}", app.repository));
    let bytes = summary(&trial, app.digest, good, &key).await;
    for (run, image) in [("r1", &app), ("r2", &other)] {
        let bundle = trial.sign(&craft(run, image, vsa(bytes), trial.now).statement());
        let received = trial.receive(bundle).await.unwrap();
        assert_eq!(received.decision, Decision::Allow, "{:?}", received.run.findings);
    }
    let verdict = trial.verdict(&app).await;
    assert_eq!(codes(&verdict), None, "{verdict:?}");
    assert_eq!(trial.codes(&other).await, only(Code::SummaryMissing), "it is about another");
}

#[tokio::test]
async fn a_withdrawn_summary_does_not_count_as_a_material_either() {
    let (mut trial, key) = (Trial::new().await, SigningKey::generate_p256().unwrap());
    apply(&trial, "release", "{name: image, type: CONTAINER_IMAGE, output: true}", &key).await;
    let app = image("app");
    let good = predicate(&trial, &format!("oci://{}", app.repository));
    let bytes = summary(&trial, app.digest, good, &key).await;
    let again: &'static [u8] = Box::leak([bytes, b"\n"].concat().into_boxed_slice());
    trial.upload(again).await;
    trial.registry.attach(app.digest, bytes::Bytes::from_static(bytes));
    let mut number = 0;
    let mut brings = async |trial: &mut Trial, bytes: &[u8]| {
        number += 1;
        trial.pass(SignedDuration::from_secs(1));
        let craft = craft(&format!("r{number}"), &app, vsa(bytes), trial.now);
        trial.receive(trial.sign(&craft.statement())).await.unwrap();
        trial.verdict(&app).await
    };
    trial.push("r0", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "beside the image");
    assert_eq!(codes(&brings(&mut trial, bytes).await), None);

    let named = AttestationName::Id(Digest::of(bytes));
    let said = Withdrawn { reason: "the verifier was wrong".to_owned(), withdrawn_at: trial.now, by: "t".to_owned() };
    trial.store.withdraw_attestation(&acme(), &named, said, trial.by()).await.unwrap();
    assert_eq!(trial.codes(&app).await, only(Code::SummaryMissing), "of a run that brought it before, at once");
    for (bytes, attached) in [(bytes, true), (again, true), (bytes, false), (again, false)] {
        if !attached {
            trial.registry.detach_all(app.digest);
        }
        let verdict = brings(&mut trial, bytes).await;
        assert_eq!(codes(&verdict), only(Code::SummaryMissing));
        let message = &verdict.findings[0].message;
        let told = "of the summary in the material `vsa`: an operator withdrew it: the verifier was wrong";
        assert!(message.contains(told), "{message}");
    }
    trial.store.restore_attestation(&acme(), &named, trial.by()).await.unwrap().unwrap();
    assert_eq!(trial.codes(&app).await, None);
}
