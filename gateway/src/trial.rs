//! For tests: the inside of a gateway over the real store, with a registry that does what the test says, and time
//! that passes when the test says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use contracts::{
    Code, Decision, Digest, MaterialType, PinnedRef, Repository, SigningKey, Statement, Subject, Tag, Verdict,
    api::{OrganizationSettings, ReceivedAttestation, RevisionFiles, Role, Unmatched},
    crafting::{Craft, CraftedMaterial},
    revision::Revision,
};
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{
    evidence::EvidenceFolder,
    gate::{Gate, GateError, Outcome, Parts, Permit},
    intake::{Intake, IntakeError},
    metrics::Metrics,
    names::{Name, WorkflowName},
    rules::Rules,
    store::{By, RedbStore, Store, TokenRecord, WorkflowRecord},
    upstream::{Asked, Blob, ByteRange, Found, Manifest, Referrer, Upstream, UpstreamError},
    workers::Workers,
};

/// How long a look upstream holds after an allow.
pub(crate) const INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// A registry that has what the test attached.
pub(crate) struct Registry {
    beside: Mutex<BTreeMap<Digest, Vec<Bytes>>>,
    broken: Mutex<bool>,
    /// Taken by every look; the test can hold looks up.
    pub(crate) open: Semaphore,
    pub(crate) looks: AtomicUsize,
}

impl Default for Registry {
    fn default() -> Self {
        let (beside, broken) = (Mutex::default(), Mutex::default());
        Self { beside, broken, open: Semaphore::new(1000), looks: AtomicUsize::new(0) }
    }
}

impl Registry {
    pub(crate) fn attach(&self, image: Digest, bundle: Bytes) {
        self.beside.lock().unwrap().entry(image).or_default().push(bundle);
    }

    pub(crate) fn detach_all(&self, image: Digest) {
        self.beside.lock().unwrap().remove(&image);
    }

    pub(crate) fn breaks(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Upstream for Registry {
    fn resolve<'a>(&'a self, _: &'a Repository, tag: &'a Tag) -> Asked<'a, Digest> {
        Box::pin(async move { Err(UpstreamError::NotFound { what: tag.to_string() }) })
    }

    fn tags<'a>(&'a self, _: &'a Repository) -> Asked<'a, Arc<[String]>> {
        Box::pin(async { Ok(Arc::new([]) as Arc<[String]>) })
    }

    fn has<'a>(&'a self, _: &'a PinnedRef) -> Asked<'a, bool> {
        Box::pin(async { Ok(true) })
    }

    fn manifest<'a>(&'a self, permit: &'a Permit) -> Asked<'a, Manifest> {
        Box::pin(async move { Err(UpstreamError::NotFound { what: permit.pinned().to_string() }) })
    }

    fn blob<'a>(&'a self, _: &'a Permit, _: Option<ByteRange>) -> Asked<'a, Blob> {
        Box::pin(async { Ok(Blob { total: 0, range: None, body: Box::pin(stream::empty()) }) })
    }

    fn blob_length<'a>(&'a self, _: &'a Permit) -> Asked<'a, u64> {
        Box::pin(async { Ok(0) })
    }

    fn discover<'a>(&'a self, subject: &'a PinnedRef, limit: usize) -> Asked<'a, Found> {
        Box::pin(async move {
            self.looks.fetch_add(1, Ordering::SeqCst);
            let _open = self.open.acquire().await;
            if *self.broken.lock().unwrap() {
                return Err(UpstreamError::Unavailable { host: "registry.acme.dev".into(), reason: "503".into() });
            }
            let all = self.beside.lock().unwrap().get(&subject.digest).cloned().unwrap_or_default();
            Ok(Found { complete: all.len() <= limit, bundles: all.into_iter().take(limit).collect() })
        })
    }

    fn referrers<'a>(&'a self, _: &'a PinnedRef, _: usize) -> Asked<'a, Vec<Referrer>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// One organization, `acme`, with the workflow `skynet/build`.
pub(crate) struct Trial {
    folder: TempDir,
    pub(crate) store: Arc<RedbStore>,
    pub(crate) evidence: Arc<EvidenceFolder>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) intake: Intake,
    pub(crate) key: SigningKey,
    pub(crate) now: Timestamp,
    /// Authorities that vouch for signers, when there are any.
    roots: Option<Bytes>,
    /// Until when they count, when somebody keeps them fresh.
    ends: Option<Timestamp>,
}

/// The key with which the gateway signs its own word.
pub(crate) fn own_key() -> &'static SigningKey {
    static KEY: std::sync::LazyLock<SigningKey> = std::sync::LazyLock::new(|| SigningKey::generate_p256().unwrap());
    &KEY
}

pub(crate) fn acme() -> Name {
    "acme".parse().unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn workflow(text: &str) -> WorkflowName {
    text.parse().unwrap()
}

pub(crate) fn image(seed: &str) -> PinnedRef {
    PinnedRef { repository: "registry.acme.dev/skynet/app".parse().unwrap(), digest: Digest::of(seed.as_bytes()) }
}

/// A contract about an image and a note, for `registry.acme.dev/skynet/**`; `more` goes into its `admission`.
pub(crate) fn contract(contract: &str, more: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {contract}}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: note, type: STRING}}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n{more}"
    )
}

pub(crate) fn text(slot: &str, value: &str) -> CraftedMaterial {
    material(slot, MaterialType::String, Digest::of(value.as_bytes()), Some(value))
}

pub(crate) fn file(slot: &str, kind: MaterialType, bytes: &[u8]) -> CraftedMaterial {
    material(slot, kind, Digest::of(bytes), None)
}

fn material(slot: &str, kind: MaterialType, digest: Digest, value: Option<&str>) -> CraftedMaterial {
    CraftedMaterial {
        name: slot.to_owned(),
        kind,
        digest,
        size: None,
        filename: None,
        value: value.map(str::to_owned),
        image: None,
        output: false,
        skip_upload: false,
        annotations: BTreeMap::new(),
    }
}

/// A run that crafted an image and what else is given.
pub(crate) fn craft(run: &str, image: &PinnedRef, others: Vec<CraftedMaterial>, now: Timestamp) -> Craft {
    let built = CraftedMaterial {
        image: Some(contracts::crafting::ImageName { repository: image.repository.clone(), tag: None }),
        output: true,
        ..material("image", MaterialType::ContainerImage, image.digest, None)
    };
    Craft {
        organization: "acme".to_owned(),
        project: "skynet".to_owned(),
        workflow: "build".to_owned(),
        team: "core".to_owned(),
        run_id: run.to_owned(),
        contract_name: "release".to_owned(),
        contract_revision: 1,
        version: None,
        runner: None,
        runner_url: None,
        started_at: now,
        finished_at: now,
        materials: std::iter::once(built).chain(others).collect(),
        annotations: BTreeMap::new(),
        env: BTreeMap::new(),
        git_head: None,
    }
}

fn authorities(roots: Option<&Bytes>, ends: Option<Timestamp>) -> contracts::TrustRoot {
    let roots = contracts::TrustRoot::new(Vec::new(), roots.map(AsRef::as_ref)).unwrap();
    match ends {
        Some(ends) => roots.until(ends, "the mirror does not answer".to_owned()),
        None => roots,
    }
}

impl Trial {
    /// With the contract `release`, and `skynet/build` bound to it; the organization's default signer is `key`.
    pub(crate) async fn new() -> Self {
        Self::trusting(None).await
    }

    /// As [`Trial::new`], with the authorities of a `trusted_root.json`.
    pub(crate) async fn trusting(roots: Option<Bytes>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(&folder.path().join("state.redb")).unwrap());
        let evidence = Arc::new(EvidenceFolder::open(&folder.path().join("evidence")).unwrap());
        let registry = Arc::new(Registry::default());
        let (key, now) = (SigningKey::generate_p256().unwrap(), testdata::noon());
        let token = TokenRecord {
            id: "t".to_owned(),
            organization: acme(),
            name: "t".to_owned(),
            role: Role::Admin,
            workflow: None,
            operator: true,
            secret: Digest::of(b"secret"),
            created_at: now,
            revoked_at: None,
            expires_at: None,
            last_used_at: None,
        };
        assert!(store.create_organization(&acme(), token, By::new("t", now)).await.unwrap());
        let (gate, intake) = Self::parts(&store, &evidence, &registry, authorities(roots.as_ref(), None));
        let gate = Arc::new(gate);
        let trial = Self { folder, store, evidence, registry, gate, intake, key, now, roots, ends: None };
        trial.settings(Unmatched::Deny).await;
        trial.apply("release", &contract("release", "")).await;
        trial.bind("skynet/build", "release").await;
        trial
    }

    fn parts(
        store: &Arc<RedbStore>,
        evidence: &Arc<EvidenceFolder>,
        registry: &Arc<Registry>,
        roots: contracts::TrustRoot,
    ) -> (Gate, Intake) {
        let store: Arc<dyn Store> = Arc::<RedbStore>::clone(store);
        let workers = Workers::new(2);
        let rules = Arc::new(Rules::new(Arc::clone(&store), workers.clone(), roots));
        let registry = Arc::clone(registry);
        let gate = Gate::new(Parts {
            store: Arc::clone(&store),
            evidence: Arc::clone(evidence),
            rules: Arc::clone(&rules),
            locate: Arc::new(move |_, host| {
                (host == "registry.acme.dev").then(|| Arc::<Registry>::clone(&registry) as Arc<dyn Upstream>)
            }),
            workers: workers.clone(),
            metrics: Arc::new(Metrics::default()),
            own_keys: Arc::new(BTreeSet::from([own_key().public().id()])),
            discovery_interval: Duration::from_secs(INTERVAL.as_secs().unsigned_abs()),
        });
        (gate, Intake::new(store, Arc::clone(evidence), rules, workers))
    }

    /// A gate over the same state that remembers nothing in memory.
    pub(crate) fn another_gate(&self) -> Gate {
        Self::parts(&self.store, &self.evidence, &self.registry, authorities(self.roots.as_ref(), self.ends)).0
    }

    /// From now on the authorities count until then, as a gateway begins that keeps them fresh.
    pub(crate) fn ending(&mut self, ends: Timestamp) {
        self.ends = Some(ends);
        self.gate = Arc::new(self.another_gate());
    }

    pub(crate) fn by(&self) -> By {
        By::new("t", self.now)
    }

    pub(crate) async fn settings(&self, unmatched: Unmatched) {
        let default_signers = vec![self.key.public().to_pem()];
        let settings = OrganizationSettings { default_signers, unmatched, ..Default::default() };
        self.store.put_settings(&acme(), settings, self.by()).await.unwrap();
    }

    pub(crate) async fn apply(&self, contract: &str, text: &str) {
        let files = BTreeMap::from([("contract.yaml".to_owned(), text.to_owned())]);
        self.apply_files(contract, RevisionFiles { contract: "contract.yaml".to_owned(), files }).await;
    }

    pub(crate) async fn apply_files(&self, contract: &str, files: RevisionFiles) {
        let (revision, _) = Revision::from_files(&files).unwrap();
        self.store.apply_revision(&acme(), &name(contract), revision.digest(), files, self.by()).await.unwrap();
    }

    pub(crate) async fn bind(&self, flow: &str, contract: &str) {
        let record = WorkflowRecord {
            name: workflow(flow),
            team: "core".to_owned(),
            contract: name(contract),
            created_at: self.now,
        };
        self.store.put_workflow(&acme(), record, self.by()).await.unwrap();
    }

    pub(crate) async fn upload(&self, bytes: &'static [u8]) {
        let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(bytes))]);
        self.evidence.put(&acme(), Digest::of(bytes), 1 << 20, pieces).await.unwrap();
    }

    /// Makes uploaded bytes such that the disk does not give them.
    pub(crate) fn damage(&self, bytes: &[u8]) {
        let path = self.folder.path().join("evidence/acme").join(Digest::of(bytes).hex());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
    }

    pub(crate) fn sign(&self, statement: &Statement) -> Bytes {
        Bytes::copy_from_slice(self.key.sign(statement).unwrap().bytes())
    }

    pub(crate) async fn receive(&self, bundle: Bytes) -> Result<ReceivedAttestation, IntakeError> {
        self.intake.receive(&acme(), workflow("skynet/build"), bundle, self.now).await
    }

    /// Pushes a run about an image, which is accepted when it has the note.
    pub(crate) async fn push(&self, run: &str, image: &PinnedRef, with_note: bool) -> Digest {
        let others = if with_note { vec![text("note", run)] } else { Vec::new() };
        let bundle = self.sign(&craft(run, image, others, self.now).statement());
        let received = self.receive(bundle).await.unwrap();
        let expected = if with_note { Decision::Allow } else { Decision::Deny };
        assert_eq!(received.decision, expected, "{:?}", received.run.findings);
        received.attestation
    }

    pub(crate) async fn decide(&self, image: &PinnedRef) -> Result<Outcome, GateError> {
        self.gate.decide(&acme(), image, self.now).await
    }

    pub(crate) async fn verdict(&self, image: &PinnedRef) -> Verdict {
        self.decide(image).await.unwrap().verdict().verdict.clone()
    }

    /// `None` for an enforced allow, else the codes of what was found, those that block alone on a deny.
    pub(crate) async fn codes(&self, image: &PinnedRef) -> Option<BTreeSet<Code>> {
        codes(&self.verdict(image).await)
    }

    pub(crate) fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap();
    }
}

pub(crate) fn codes(verdict: &Verdict) -> Option<BTreeSet<Code>> {
    let blocking = |f: &&contracts::Finding| f.blocks() == (verdict.decision == Decision::Deny);
    let allowed = verdict.decision == Decision::Allow && verdict.enforced;
    (!allowed).then(|| verdict.findings.iter().filter(blocking).map(|f| f.code).collect())
}

pub(crate) fn only(code: Code) -> Option<BTreeSet<Code>> {
    Some(BTreeSet::from([code]))
}

/// A statement of another tool about an image, with a CycloneDX document.
pub(crate) fn foreign(image: &PinnedRef) -> Statement {
    let predicate = serde_json::from_slice(&testdata::cyclonedx(2)).unwrap();
    let subject = Subject::sha256(image.repository.to_string(), image.digest);
    Statement::new(vec![subject], "https://cyclonedx.org/bom", predicate)
}
