//! The gate by itself, over the real store, without HTTP: an answer for which everything is read, verified and
//! evaluated, and one that is remembered.
#![expect(clippy::expect_used, reason = "a benchmark without its fixture has nothing to measure")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bench::{
    mint::{self, Minted},
    rules,
    site::REGISTRY,
};
use contracts::{Decision, PinnedRef, TrustRoot, api::RevisionFiles, keys::SigningKey, revision::Revision};
use criterion::{Criterion, criterion_group, criterion_main};
use gateway::{
    evidence::EvidenceFolder,
    gate::{Gate, Parts},
    intake::Intake,
    metrics::Metrics,
    names::{Name, WorkflowName},
    rules::Rules,
    store::{By, RedbStore, Store, WorkflowRecord},
    workers::Workers,
};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Images with an attestation.
const IMAGES: usize = 2000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Fixture {
    _folder: TempDir,
    parts: Parts,
    organization: Name,
    minted: Vec<Minted>,
    now: Timestamp,
}

impl Fixture {
    /// A store with one contract of five policies and an accepted run about each image.
    async fn new() -> Outcome<Self> {
        let (now, organization): (_, Name) = (testdata::noon(), mint::ORGANIZATION.parse()?);
        let folder = tempfile::tempdir()?;
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&folder.path().join("state.redb"))?);
        let evidence = Arc::new(EvidenceFolder::open(&folder.path().join("evidence"))?);
        let key = SigningKey::generate_p256()?;
        let contract: Name = "five".parse()?;
        let files = rules::contract("five", 5, &key.public().to_pem());
        let files = RevisionFiles { contract: "contract.yaml".to_owned(), files };
        let digest = Revision::from_files(&files)?.0.digest();
        store.apply_revision(&organization, &contract, digest, files, By::new("bench", now)).await?;
        let workflow = WorkflowName { project: "bench".parse()?, workflow: "five".parse()? };
        let record = WorkflowRecord { name: workflow.clone(), team: String::new(), contract, created_at: now };
        store.put_workflow(&organization, record, By::new("bench", now)).await?;
        let parts = Parts {
            store: Arc::clone(&store),
            evidence: Arc::clone(&evidence),
            rules: Arc::new(Rules::new(Arc::clone(&store), Workers::default(), TrustRoot::new(Vec::new(), None)?)),
            locate: Arc::new(|_, _| None),
            workers: Workers::default(),
            metrics: Arc::new(Metrics::default()),
            own_keys: Arc::default(),
            discovery_interval: Duration::from_secs(60),
        };
        let intake = Intake::new(store, evidence, Arc::clone(&parts.rules), Workers::default());
        let minted = mint::attestations(&key, "five", contracts::Digest::of(b"image"), IMAGES)?;
        for one in &minted {
            intake.receive(&organization, workflow.clone(), one.bundle.clone(), now).await?;
        }
        Ok(Self { _folder: folder, parts, organization, minted, now })
    }

    /// The image of the `n`th question. No question is asked twice: after the last image, each is asked about in
    /// another repository.
    fn image(&self, n: usize) -> PinnedRef {
        let digest = self.minted.get(n % IMAGES).map_or_else(|| contracts::Digest::of(b""), |one| one.image);
        let repository = format!("{REGISTRY}/five/app{}", n / IMAGES);
        PinnedRef { repository: repository.parse().expect("a repository"), digest }
    }

    /// A gate that remembers nothing and has verified nothing, but has its rules compiled.
    async fn gate(&self) -> Gate {
        let nobody = TrustRoot::new(Vec::new(), None).expect("a trust root");
        let rules = Rules::new(Arc::clone(&self.parts.store), Workers::default(), nobody);
        rules.current(&self.organization).await.expect("rules");
        Gate::new(Parts { rules: Arc::new(rules), ..self.parts.clone() })
    }

    async fn decide(&self, gate: &Gate, pinned: &PinnedRef) {
        let outcome = gate.decide(&self.organization, black_box(pinned), self.now).await.expect("an answer");
        assert_eq!(outcome.verdict().verdict.decision, Decision::Allow);
    }

    /// The time of `times` answers that are asked for the first time, from `next` on.
    async fn first_answers(&self, gate: &mut Gate, next: &mut usize, times: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..times {
            if next.is_multiple_of(IMAGES) {
                *gate = self.gate().await;
            }
            let pinned = self.image(*next);
            let begun = Instant::now();
            self.decide(gate, &pinned).await;
            took += begun.elapsed();
            *next += 1;
        }
        took
    }
}

fn decide(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let fixture = runtime.block_on(Fixture::new()).expect("a fixture");
    let mut group = c.benchmark_group("decide");
    let (mut gate, mut next) = (runtime.block_on(fixture.gate()), 0);
    group.bench_function("cold: read, verify, evaluate 5 policies", |b| {
        b.iter_custom(|times| runtime.block_on(fixture.first_answers(&mut gate, &mut next, times)));
    });
    let pinned = fixture.image(0);
    group.bench_function("hot: remembered", |b| b.to_async(&runtime).iter(|| fixture.decide(&gate, &pinned)));
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
