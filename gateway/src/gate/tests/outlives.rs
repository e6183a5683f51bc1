//! No verdict outlives what it was computed from: after any change, and at any instant, a gate that remembers says what
//! a reader of the inputs would say, and so does one that only has the store. `PROPTEST_CASES` says how many walks there
//! are: rare sequences (a run that was found and withdrawn, and then an older one pushed) take hundreds.

use bytes::Bytes;
use contracts::{
    Decision, Digest, PinnedRef, SigningKey, TrustRoot,
    api::{Approver, OrganizationSettings, Withdrawn},
    exemption::{ApprovalRules, RuleNames},
};
use jiff::{SignedDuration, Timestamp};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    store::{AttestationName, DenialRecord, ExemptionBody, ExemptionRecord, Store, Withdrawing},
    trial::{INTERVAL, Trial, acme, contract, craft, image, text},
};

/// Something that changes, or time that passes. Spans are in minutes.
#[derive(Debug, Clone)]
enum Step {
    Push {
        image: usize,
        note: bool,
    },
    Deny {
        image: usize,
        lasting: Option<i64>,
    },
    Undeny {
        image: usize,
    },
    Exempt {
        lasting: i64,
    },
    Withdraw,
    /// A run is attached to the image in its registry, while nothing was pushed about it.
    Attach {
        image: usize,
        note: bool,
    },
    /// All that is attached to it is taken from the registry.
    Detach {
        image: usize,
    },
    /// The oldest that was attached is pushed.
    PushOld {
        image: usize,
    },
    /// The newest run, or the oldest.
    WithdrawRun {
        image: usize,
        oldest: bool,
    },
    RestoreRun {
        image: usize,
        oldest: bool,
    },
    MaxAge(Option<i64>),
    /// Until just before, or to, the instant at which something ends.
    ToNextEnd {
        before: bool,
    },
    Pass(i64),
}

/// A run about an image.
#[derive(Clone)]
struct Run {
    bundle: Bytes,
    note: bool,
    at: Timestamp,
    pushed: bool,
    /// Whether it lies beside the image.
    lies: bool,
    withdrawn: bool,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bundle: _, note, at, pushed, lies, withdrawn } = self;
        write!(f, "run of {at}, note: {note}, pushed: {pushed}, lies: {lies}, withdrawn: {withdrawn}")
    }
}

/// What a reader of the inputs knows.
#[derive(Debug, Default)]
struct Known {
    /// The runs about each image, the newest last.
    runs: [Vec<Run>; 2],
    denied: [Option<Option<Timestamp>>; 2],
    exempted: Option<Timestamp>,
    max_age: Option<SignedDuration>,
}

impl Known {
    fn allows(&self, number: usize, now: Timestamp) -> bool {
        // What is withdrawn keeps its place; what lies beside the image has one while nothing was pushed.
        let pushed = self.pushed(number);
        let newest = self.runs[number].iter().rev().find(|run| run.withdrawn || run.pushed || (run.lies && !pushed));
        let Some(run) = newest else { return false };
        let fresh = self.max_age.is_none_or(|age| now < run.at.checked_add(age).unwrap());
        let exempted = self.exempted.is_some_and(|until| now < until);
        !self.denied(number, now) && !run.withdrawn && fresh && (run.note || exempted)
    }

    fn denied(&self, number: usize, now: Timestamp) -> bool {
        self.denied[number].is_some_and(|until| until.is_none_or(|until| now < until))
    }

    fn pushed(&self, number: usize) -> bool {
        self.runs[number].iter().any(|run| run.pushed)
    }

    fn run(&mut self, number: usize, oldest: bool) -> Option<&mut Run> {
        if oldest { self.runs[number].first_mut() } else { self.runs[number].last_mut() }
    }

    fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let aged = self.runs.iter().flatten().filter_map(|run| Some(run.at.checked_add(self.max_age?).unwrap()));
        let all = self.denied.iter().flatten().flatten().copied().chain(self.exempted).chain(aged);
        all.filter(|end| *end > now).min()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..2_usize, any::<bool>()).prop_map(|(image, note)| Step::Push { image, note }),
        3 => (0..2_usize, prop::option::of(1..90_i64)).prop_map(|(image, lasting)| Step::Deny { image, lasting }),
        1 => (0..2_usize).prop_map(|image| Step::Undeny { image }),
        2 => (1..90_i64).prop_map(|lasting| Step::Exempt { lasting }),
        1 => Just(Step::Withdraw),
        4 => (0..2_usize, any::<bool>()).prop_map(|(image, note)| Step::Attach { image, note }),
        2 => (0..2_usize).prop_map(|image| Step::Detach { image }),
        2 => (0..2_usize).prop_map(|image| Step::PushOld { image }),
        3 => (0..2_usize, any::<bool>()).prop_map(|(image, oldest)| Step::WithdrawRun { image, oldest }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(image, oldest)| Step::RestoreRun { image, oldest }),
        1 => prop::option::of(10..120_i64).prop_map(Step::MaxAge),
        4 => any::<bool>().prop_map(|before| Step::ToNextEnd { before }),
        1 => (1..60_i64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 4..16)
}

fn minutes(span: i64) -> SignedDuration {
    SignedDuration::from_mins(span)
}

#[test]
fn no_verdict_outlives_any_of_its_inputs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases = std::env::var("PROPTEST_CASES").map_or(32, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner.run(&steps(), |steps| runtime.block_on(walk(steps))).unwrap();
}

async fn walk(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut trial, ann) = (Trial::new().await, SigningKey::generate_ed25519().unwrap());
    let mut settings =
        OrganizationSettings { default_signers: vec![trial.key.public().to_pem()], ..OrganizationSettings::default() };
    settings.exemptions.approvers = vec![Approver::Key(ann.public().to_pem())];
    trial.store.put_settings(&acme(), settings, trial.by()).await.unwrap();
    let images = [image("one"), image("two")];
    let mut known = Known::default();
    for (number, step) in steps.iter().enumerate() {
        // No two things are of one instant.
        trial.pass(SignedDuration::from_secs(1));
        take(&mut trial, &ann, &images, &mut known, number, step).await;
        for (n, image) in images.iter().enumerate() {
            let expected = known.allows(n, trial.now);
            let remembering = trial.verdict(image).await;
            let fresh = trial.another_gate().decide(&acme(), image, trial.now).await.unwrap();
            let fresh = fresh.verdict().verdict.decision == Decision::Allow;
            let remembered = remembering.decision == Decision::Allow;
            prop_assert_eq!((remembered, fresh), (expected, expected), "image {} after {:?}: {:?}", n, step, known);
            prop_assert!(remembering.valid_until.is_none_or(|until| until > trial.now));
        }
    }
    Ok(())
}

async fn take(
    trial: &mut Trial,
    ann: &SigningKey,
    images: &[PinnedRef; 2],
    known: &mut Known,
    number: usize,
    step: &Step,
) {
    match step {
        Step::Push { image, note } => {
            let id = trial.push(&format!("run-{number}"), &images[*image], *note).await;
            let bundle = trial.store.attestation(&acme(), id).await.unwrap().unwrap().bundle;
            let run = Run { bundle, note: *note, at: trial.now, pushed: true, lies: false, withdrawn: false };
            known.runs[*image].push(run);
        }
        Step::Attach { image, note } => {
            // The registry is looked at again then.
            trial.pass(INTERVAL);
            if known.pushed(*image) || known.denied(*image, trial.now) {
                return;
            }
            let others = if *note { vec![text("note", "n")] } else { Vec::new() };
            let craft = craft(&format!("run-{number}"), &images[*image], others, trial.now);
            let bundle = trial.sign(&craft.statement());
            trial.registry.attach(images[*image].digest, bundle.clone());
            let run = Run { bundle, note: *note, at: trial.now, pushed: false, lies: true, withdrawn: false };
            known.runs[*image].push(run);
        }
        Step::Detach { image } => {
            trial.pass(INTERVAL);
            trial.registry.detach_all(images[*image].digest);
            known.runs[*image].iter_mut().for_each(|run| run.lies = false);
        }
        Step::PushOld { image } => {
            let Some(run) = known.runs[*image].iter_mut().find(|run| !run.pushed) else { return };
            let taken = trial.receive(run.bundle.clone()).await;
            assert_eq!(taken.is_ok(), !run.withdrawn, "{taken:?}");
            run.pushed = !run.withdrawn;
        }
        Step::Deny { image, lasting } => {
            let until = lasting.map(|lasting| trial.now.checked_add(minutes(lasting)).unwrap());
            let record = DenialRecord {
                digest: images[*image].digest,
                reason: "r".to_owned(),
                repositories: Vec::new(),
                until,
                denied_at: trial.now,
                by: "t".to_owned(),
            };
            trial.store.put_denial(&acme(), record, trial.by()).await.unwrap();
            known.denied[*image] = Some(until);
        }
        Step::Undeny { image } => {
            trial.store.remove_denial(&acme(), images[*image].digest, trial.by()).await.unwrap();
            known.denied[*image] = None;
        }
        Step::Exempt { lasting } => {
            let until = trial.now.checked_add(minutes(*lasting)).unwrap();
            exempt(trial, ann, until).await;
            known.exempted = Some(until);
        }
        Step::Withdraw => {
            trial.store.withdraw_exemption(&acme(), "note", trial.by()).await.unwrap();
            known.exempted = None;
        }
        Step::WithdrawRun { image, oldest } => {
            let Some(run) = known.run(*image, *oldest) else { return };
            let named = AttestationName::Id(Digest::of(&run.bundle));
            let said = Withdrawn { reason: "r".to_owned(), withdrawn_at: trial.now, by: "t".to_owned() };
            let done = trial.store.withdraw_attestation(&acme(), &named, said, trial.by()).await.unwrap();
            assert!(!matches!(done, Withdrawing::Unknown));
            run.withdrawn = true;
        }
        Step::RestoreRun { image, oldest } => {
            let Some(run) = known.run(*image, *oldest) else { return };
            let named = AttestationName::Id(Digest::of(&run.bundle));
            let restored = trial.store.restore_attestation(&acme(), &named, trial.by()).await;
            assert_eq!(restored.unwrap().is_some(), run.withdrawn);
            run.withdrawn = false;
        }
        Step::MaxAge(age) => {
            let clause = age.map(|age| format!("    maxAge: {age}m\n")).unwrap_or_default();
            trial.apply("release", &contract("release", &clause)).await;
            known.max_age = age.map(minutes);
        }
        Step::ToNextEnd { before } => {
            let Some(end) = known.ends(trial.now) else { return };
            let instant = if *before { end - SignedDuration::from_nanos(1) } else { end };
            if instant > trial.now {
                trial.now = instant;
            }
        }
        Step::Pass(span) => trial.pass(minutes(*span)),
    }
}

/// Puts the exemption `note` in the place of the one that is there.
async fn exempt(trial: &Trial, ann: &SigningKey, until: Timestamp) {
    let document = format!(
        "apiVersion: sluice.dev/v1\nkind: Exemption\nmetadata: {{name: note, organization: acme}}\nspec: {{scope: {{rule: material-note, repositories: [\"**\"]}}, reason: r, from: \"{}\", until: \"{until}\"}}",
        trial.now
    );
    let envelope = ann.approve(document.as_bytes()).unwrap();
    let settings = trial.store.settings(&acme()).await.unwrap();
    let nobody = TrustRoot::new(Vec::new(), None).unwrap();
    let rules = ApprovalRules::new("acme", &settings.exemptions, &RuleNames::default()).unwrap();
    let approved = rules.approve(&envelope.clone().into(), &nobody, trial.now).unwrap();
    let record = ExemptionRecord {
        name: "note".to_owned(),
        digest: approved.exemption().digest,
        until,
        body: ExemptionBody::Signed(envelope.to_value()),
        applied_at: trial.now,
        withdrawn_at: None,
        ended: false,
    };
    trial.store.put_exemption(&acme(), record, trial.by()).await.unwrap();
}
