//! What is remembered never outlives what it was computed from, and equal questions are computed once.

use std::{sync::Arc, time::Duration};

use contracts::{Code, Digest, PinnedRef};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::{
    gate::{
        Outcome, Remembered,
        discovery::AFTER_DENY,
        memory::{Made, Numbers},
    },
    store::Store,
    trial::{INTERVAL, Trial, acme, codes, contract, craft, image, only, text},
};

#[tokio::test]
async fn equal_questions_are_computed_once_and_outlive_the_first_caller() {
    let trial = Trial::new().await;
    let app = image("app");
    trial.registry.attach(app.digest, trial.sign(&craft("r1", &app, vec![text("note", "n")], trial.now).statement()));
    let held = trial.registry.open.acquire_many(1000).await.unwrap();
    let ask = || {
        let (gate, app, now) = (Arc::clone(&trial.gate), app.clone(), trial.now);
        tokio::spawn(async move { gate.decide(&acme(), &app, now).await })
    };
    let first = ask();
    while trial.registry.looks() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let others: Vec<_> = (0..20).map(|_| ask()).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    drop(held);
    for other in others {
        assert!(matches!(other.await.unwrap(), Ok(Outcome::Permit(_))));
    }
    assert_eq!(trial.registry.looks(), 1);
    assert_eq!(trial.gate.flights.count(), 0);
}

#[tokio::test]
async fn a_change_is_not_answered_by_what_was_begun_before_it() {
    let trial = Trial::new().await;
    let app = image("app");
    let held = trial.registry.open.acquire_many(1000).await.unwrap();
    let before = {
        let (gate, app, now) = (Arc::clone(&trial.gate), app.clone(), trial.now);
        tokio::spawn(async move { gate.decide(&acme(), &app, now).await })
    };
    while trial.registry.looks() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    trial.push("r1", &app, true).await;
    assert_eq!(trial.codes(&app).await, None, "while the older question still waits");
    drop(held);
    before.await.unwrap().unwrap();
    assert_eq!(trial.codes(&app).await, None);
}

#[tokio::test]
async fn the_store_remembers_across_a_restart_and_only_under_the_whole_key() {
    let trial = Trial::new().await;
    let app = image("app");
    trial.apply("release", &contract("release", "    maxAge: 1h\n")).await;
    trial.push("r1", &app, true).await;
    let first = trial.decide(&app).await.unwrap().shared_verdict();
    let kept = async || trial.store.verdict(&acme(), first.key).await.unwrap();
    while kept().await.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let later = trial.now.checked_add(SignedDuration::from_secs(1)).unwrap();
    let second = trial.another_gate().decide(&acme(), &app, later).await.unwrap().shared_verdict();
    assert_eq!(second, first, "taken from the store, and not evaluated again");

    let old = trial.now.checked_add(SignedDuration::from_secs(3601)).unwrap();
    let expired = trial.another_gate().decide(&acme(), &app, old).await.unwrap();
    assert_eq!(codes(&expired.verdict().verdict), only(Code::EvidenceTooOld), "what is kept ends as well");

    trial.push("r2", &image("other"), true).await;
    let third = trial.another_gate().decide(&acme(), &app, later).await.unwrap().shared_verdict();
    assert_eq!(third.key, first.key, "what is about other images does not matter");
    trial.push("r3", &app, true).await;
    let fourth = trial.another_gate().decide(&acme(), &app, later).await.unwrap().shared_verdict();
    assert_ne!(fourth.key, first.key);
}

#[tokio::test]
async fn what_is_reachable_closes_with_its_image() {
    let mut trial = Trial::new().await;
    let (app, other) = (image("app"), image("other"));
    let layer = |seed: &str| PinnedRef { digest: Digest::of(seed.as_bytes()), ..app.clone() };
    trial.push("r1", &app, true).await;
    let Outcome::Permit(permit) = trial.decide(&app).await.unwrap() else { panic!("it is allowed") };
    assert!(trial.gate.permit_child(&acme(), &layer("l1"), trial.now).await.unwrap().is_none());
    trial.gate.grant(&permit, &[layer("l1").digest, layer("l2").digest]).await.unwrap();
    for gate in [Arc::clone(&trial.gate), Arc::new(trial.another_gate())] {
        let child = gate.permit_child(&acme(), &layer("l1"), trial.now).await.unwrap().unwrap();
        assert_eq!((child.pinned(), child.root()), (&layer("l1"), app.digest));
        assert!(gate.permit_child(&acme(), &layer("l3"), trial.now).await.unwrap().is_none());
        let beta = "beta".parse().unwrap();
        assert!(gate.permit_child(&beta, &layer("l1"), trial.now).await.unwrap().is_none(), "another tenant's");
        let elsewhere = PinnedRef { repository: "registry.acme.dev/skynet/other".parse().unwrap(), ..layer("l1") };
        assert!(gate.permit_child(&acme(), &elsewhere, trial.now).await.unwrap().is_none(), "another repository's");
    }
    trial.pass(SignedDuration::from_secs(1));
    trial.push("r2", &app, false).await;
    assert!(trial.gate.permit_child(&acme(), &layer("l1"), trial.now).await.unwrap().is_none());

    // The same layer in an image that is allowed.
    trial.push("r3", &other, true).await;
    let Outcome::Permit(permit) = trial.decide(&other).await.unwrap() else { panic!("it is allowed") };
    trial.gate.grant(&permit, &[layer("l1").digest]).await.unwrap();
    assert!(trial.gate.permit_child(&acme(), &layer("l1"), trial.now).await.unwrap().is_some());
}

#[tokio::test]
async fn what_only_rejected_parts_lead_to_closes_with_them() {
    let mut trial = Trial::new().await;
    let (index, inner, one, two) = (image("index"), image("inner"), image("one"), image("two"));
    let (layer, shared) = (image("layer"), image("shared"));
    trial.push("r1", &index, true).await;
    let Outcome::Permit(root) = trial.decide(&index).await.unwrap() else { panic!("it is allowed") };
    // The index lists another one and a manifest; the inner one lists a manifest; the manifests share a layer.
    let leads = async |from: &crate::gate::Permit, to: &[&PinnedRef]| {
        let digests: Vec<_> = to.iter().map(|one| one.digest).collect();
        trial.gate.grant(from, &digests).await.unwrap();
    };
    leads(&root, &[&inner, &two]).await;
    for (from, to) in [(&inner, vec![&one]), (&one, vec![&layer, &shared]), (&two, vec![&shared])] {
        let permit = trial.gate.permit_child(&acme(), from, trial.now).await.unwrap().unwrap();
        leads(&permit, &to).await;
    }
    // What is open of `inner`, `one`, `two`, `layer` and `shared`.
    let open = async |trial: &Trial| {
        let mut open = Vec::new();
        // One that remembers, and one that does not.
        for gate in [Arc::clone(&trial.gate), Arc::new(trial.another_gate())] {
            for part in [&inner, &one, &two] {
                open.push(gate.permit_child(&acme(), part, trial.now).await.unwrap().is_some());
            }
            for part in [&layer, &shared, &layer, &shared] {
                open.push(gate.permit_blob(&acme(), part, trial.now).await.unwrap().is_some());
            }
        }
        let (first, second) = open.split_at(7);
        assert_eq!(first, second);
        assert_eq!(first[3..5], first[5..], "asked twice");
        <[bool; 5]>::try_from(&first[..5]).unwrap()
    };
    assert_eq!(open(&trial).await, [true; 5]);
    let mut push = async |run: &str, image: &PinnedRef, passes: bool| {
        trial.pass(SignedDuration::from_secs(1));
        trial.push(run, image, passes).await;
        open(&trial).await
    };
    assert_eq!(push("r2", &one, false).await, [true, false, true, false, true], "by `two`");
    assert_eq!(push("r3", &two, false).await, [true, false, false, false, false]);
    assert_eq!(push("r4", &one, true).await, [true, true, false, true, true], "by `one`");
    assert_eq!(push("r5", &inner, false).await, [false; 5]);
    assert_eq!(push("r6", &inner, true).await, [true, true, false, true, true]);
    assert_eq!(push("r7", &layer, false).await, [true, true, false, false, true], "a run about the layer");
}

#[tokio::test]
async fn bytes_that_are_missing_are_looked_for_again() {
    let mut trial = Trial::new().await;
    let app = image("app");
    let bill = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials:\n    - {name: image, type: CONTAINER_IMAGE, output: true}\n    - {name: report, type: EVIDENCE}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n";
    trial.apply("release", bill).await;
    let report = crate::trial::file("report", contracts::MaterialType::Evidence, b"{\"ok\":true}");
    let statement = craft("r1", &app, vec![report], trial.now).statement();
    trial.registry.attach(app.digest, trial.sign(&statement));
    assert_eq!(trial.codes(&app).await, only(Code::MaterialBytesAbsent));
    trial.upload(b"{\"ok\":true}").await;
    trial.pass(AFTER_DENY);
    assert_eq!(trial.codes(&app).await, None);
}

#[derive(Debug, Clone)]
enum Step {
    Push(bool),
    Apply(usize),
    Attach,
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<bool>().prop_map(Step::Push),
        (0..3usize).prop_map(Step::Apply),
        Just(Step::Attach),
        (1..400i64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens, a gate that remembers answers as one that never saw anything before.
    #[test]
    fn remembered_and_computed_answers_are_equal(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut trial = Trial::new().await;
            let app = image("app");
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(with_note) => {
                        let others = if with_note { vec![text("note", "n")] } else { Vec::new() };
                        let statement = craft(&format!("r{number}"), &app, others, trial.now).statement();
                        trial.receive(trial.sign(&statement)).await.unwrap();
                    }
                    Step::Apply(which) => {
                        let more = ["", "    maxAge: 5m\n", "    enforcement: warn\n"][which];
                        trial.apply("release", &contract("release", more)).await;
                    }
                    Step::Attach => {
                        let others = vec![text("note", "beside")];
                        let statement = craft(&format!("b{number}"), &app, others, trial.now).statement();
                        trial.registry.attach(app.digest, trial.sign(&statement));
                        // Until the next look the two may differ, by design.
                        trial.pass(INTERVAL);
                    }
                    Step::Pass(seconds) => trial.pass(SignedDuration::from_secs(seconds)),
                }
                let remembered = trial.verdict(&app).await;
                let fresh = trial.another_gate().decide(&acme(), &app, trial.now).await.unwrap();
                assert_eq!(codes(&remembered), codes(&fresh.verdict().verdict));
                assert_eq!(trial.verdict(&app).await, remembered, "asked twice");
            }
        });
    }
}

#[tokio::test]
async fn what_a_verdict_says_weighs_twice_what_it_is_long() {
    let trial = Trial::new().await;
    let verdict = trial.verdict(&image("app")).await;
    let weight = |length: usize| {
        let mut verdict = verdict.clone();
        verdict.findings[0].message = "m".repeat(length);
        verdict.findings[0].mend = Some("m".repeat(length));
        let verdict = Arc::new(Remembered::new(Digest::of(b"key"), verdict));
        Made { verdict, numbers: Numbers { rules: 0, evidence: 0 }, until: None }.weight()
    };
    assert_eq!(weight(10_001) - weight(1), 4 * 10_000);
}

#[tokio::test]
async fn what_is_unenforced_is_a_warning_for_manifests_and_not_for_each_blob() {
    let trial = Trial::new().await;
    trial.apply("release", &contract("release", "    enforcement: warn\n")).await;
    let app = image("app");
    let blob = PinnedRef { digest: Digest::of(b"l1"), ..app.clone() };
    let log = tempfile::NamedTempFile::new().unwrap();
    let to = Arc::new(log.reopen().unwrap());
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(to).finish();
    let _logging = tracing::subscriber::set_default(lines);
    // While there is only one, tracing asks the thread that comes by a log line first whether anybody listens: it
    // can be another test's, where nobody does.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let warnings = || std::fs::read_to_string(log.path()).unwrap().matches("unenforced").count();

    let Outcome::Permit(permit) = trial.decide(&app).await.unwrap() else { panic!("it is let through") };
    trial.gate.grant(&permit, &[blob.digest]).await.unwrap();
    assert_eq!(warnings(), 1);
    for _ in 0..3 {
        assert!(trial.gate.permit_blob(&acme(), &blob, trial.now).await.unwrap().is_some());
    }
    assert_eq!(warnings(), 1, "blobs");
    assert!(trial.gate.permit_child(&acme(), &blob, trial.now).await.unwrap().is_some());
    assert_eq!(warnings(), 2, "a manifest below it");
}

#[tokio::test]
async fn a_run_of_its_own_that_breaks_a_newer_contract_closes_what_an_index_opens() {
    let mut trial = Trial::new().await;
    let app = image("app");
    let closed = async |trial: &Trial| trial.gate.rejected_itself(&acme(), &app, trial.now).await.unwrap().is_some();
    trial.push("r1", &app, true).await;
    assert!(!closed(&trial).await);
    trial.apply("release", &contract("release", "    maxAge: 1m\n")).await;
    trial.pass(SignedDuration::from_secs(61));
    assert_eq!(trial.codes(&app).await, only(Code::EvidenceTooOld));
    assert!(!closed(&trial).await, "whoever attests the index anew vouches for its parts");
    let rule = "    rules:\n      - {name: strict, cel: \"run.team == 'sec'\", message: ask them}\n";
    trial.apply("release", &contract("release", rule)).await;
    assert!(closed(&trial).await);
}

#[tokio::test]
async fn only_a_rejected_run_of_its_own_closes_what_an_index_opens() {
    let mut trial = Trial::new().await;
    let app = image("app");
    assert!(trial.gate.rejected_itself(&acme(), &app, trial.now).await.unwrap().is_none());
    assert_eq!(trial.registry.looks(), 0, "nothing of its own: nobody is asked");
    trial.push("r1", &app, false).await;
    assert!(trial.gate.rejected_itself(&acme(), &app, trial.now).await.unwrap().is_some(), "at once");
    trial.pass(SignedDuration::from_secs(1));
    trial.push("r2", &app, true).await;
    assert!(trial.gate.rejected_itself(&acme(), &app, trial.now).await.unwrap().is_none(), "the newest decides");
}
