//! The graph in the registry, and all that is known of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use contracts::Digest;
use gateway::upstream::CacheSettings;
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Attached, Blob, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST};

use super::plan::{BLOBS, Besides, DOCUMENTS, Place, Plan, Step};
use crate::site::{REPOSITORY, Site, site_with};

/// How long what ends by itself lasts, and how long it is not asked about around its end.
const LASTING: Duration = Duration::from_secs(1);
const AROUND: Duration = Duration::from_millis(150);

pub struct World {
    pub site: Site,
    pub indexes: Vec<Blob>,
    pub manifests: Vec<Blob>,
    pub blobs: Vec<Blob>,
    pub artifacts: Vec<Artifact>,
    pub documents: Vec<Blob>,
    pub plan: Plan,
    runs: BTreeMap<Digest, bool>,
    /// The newest run about each, and whether it is withdrawn.
    newest: BTreeMap<Digest, (Digest, bool)>,
    /// Until when, if it ends.
    denied: BTreeMap<Digest, Option<End>>,
    excepted: BTreeMap<Digest, End>,
    /// The manifests that were served.
    pub served: BTreeSet<Digest>,
    /// The parts of what the gateway said itself, and of which image.
    pub words: BTreeMap<Digest, Digest>,
    _cache: tempfile::TempDir,
}

/// When something ends, which begins while it is asked for.
#[derive(Debug, Clone, Copy)]
struct End {
    earliest: Instant,
    latest: Instant,
}

/// Something that speaks about an image.
pub struct Artifact {
    pub manifest: Blob,
    pub about: Digest,
    pub place: Place,
    pub documents: Vec<Digest>,
    /// Whether it carries documents alone.
    pub evidence: bool,
}

impl World {
    pub async fn new(plan: Plan) -> Self {
        let cache = testdata::scratch();
        let folder = cache.path().join("cache");
        let settings = plan.cached.then_some(CacheSettings { folder, size: 64 << 20 });
        let site = site_with(|all| all.cache = settings).await;
        site.apply("release", "app/**", "    breakGlass: {callers: [operator], maxDuration: 1h}\n").await;
        let blob = |n: usize| Blob::new("application/octet-stream", format!("blob {n}").into_bytes());
        let document = |n: usize| Blob::new("application/json", json!({"document": n}).to_string().into_bytes());
        let (runs, newest, denied, excepted, served, words) = Default::default();
        let mut world = Self {
            site,
            indexes: Vec::new(),
            manifests: Vec::new(),
            blobs: (0..BLOBS).map(blob).collect(),
            artifacts: Vec::new(),
            documents: (0..DOCUMENTS).map(document).collect(),
            plan,
            runs,
            newest,
            denied,
            excepted,
            served,
            words,
            _cache: cache,
        };
        world.manifests = world.plan.manifests.iter().enumerate().map(|(n, of)| world.made(n, of)).collect();
        world.indexes = world.plan.indexes.iter().enumerate().map(|(n, of)| world.listing(n, of)).collect();
        world.artifacts = world.speaking();
        world.fill();
        world
    }

    fn made(&self, number: usize, of: &BTreeSet<usize>) -> Blob {
        let mut parts = of.iter().map(|n| self.blobs[*n].descriptor());
        let config = parts.next().unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_MANIFEST, "config": config, "layers": parts.collect::<Vec<_>>(), "annotations": {"n": number.to_string()}});
        Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest)
    }

    fn listing(&self, number: usize, of: &BTreeSet<usize>) -> Blob {
        let parts: Vec<Value> = of.iter().map(|n| self.manifests[*n].descriptor()).collect();
        let index = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": parts, "annotations": {"n": number.to_string()}});
        Blob::of_json(MEDIA_TYPE_INDEX, &index)
    }

    pub fn images(&self) -> impl Iterator<Item = &Blob> {
        self.indexes.iter().chain(&self.manifests)
    }

    fn speaking(&self) -> Vec<Artifact> {
        let images: Vec<&Blob> = self.images().collect();
        let mut tags = BTreeSet::new();
        let mut all = Vec::new();
        for (number, plan) in self.plan.artifacts.iter().enumerate() {
            let about = images[plan.about % images.len()];
            // A tag points at one thing.
            if matches!(plan.place, Place::Tag(ending) if !tags.insert((about.digest, ending))) {
                continue;
            }
            let documents: Vec<&Blob> = plan.documents.iter().map(|n| &self.documents[*n]).collect();
            let mut layers: Vec<Value> = documents.iter().skip(1).map(|document| document.descriptor()).collect();
            layers.extend(match plan.besides {
                Besides::Nothing => None,
                Besides::Blob(n) => Some(self.blobs[n].descriptor()),
                Besides::Manifest(n) => Some(images[n % images.len()].descriptor()),
            });
            let mut manifest = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_MANIFEST, "artifactType": "application/vnd.test", "config": documents[0].descriptor(), "layers": layers, "annotations": {"n": number.to_string()}});
            if plan.place == Place::Referrer {
                manifest["subject"] = about.descriptor();
            }
            all.push(Artifact {
                manifest: Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest),
                about: about.digest,
                place: plan.place,
                documents: documents.iter().map(|document| document.digest).collect(),
                evidence: plan.besides == Besides::Nothing,
            });
        }
        all
    }

    /// Puts all of it into the registry; the manifests among its blobs, too.
    fn fill(&self) {
        let fake = &self.site.fake;
        self.blobs.iter().chain(&self.documents).chain(self.images()).for_each(|blob| fake.blob(REPOSITORY, blob));
        self.images().for_each(|image| fake.manifest(REPOSITORY, image, None));
        let hex = |artifact: &Artifact| artifact.about.hex();
        for artifact in &self.artifacts {
            let tag = match artifact.place {
                Place::Referrer => None,
                Place::Tag(ending) => Some(format!("sha256-{}{ending}", hex(artifact))),
            };
            fake.manifest(REPOSITORY, &artifact.manifest, tag.as_deref());
        }
        for about in self.images() {
            let referring =
                self.artifacts.iter().filter(|one| one.about == about.digest && one.place == Place::Referrer);
            let entries: Vec<Value> = referring.map(|one| one.manifest.descriptor()).collect();
            let index = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": entries});
            let tagged = Blob::of_json(MEDIA_TYPE_INDEX, &index);
            let tag = format!("sha256-{}", about.digest.hex());
            if self.plan.api {
                let list = Attached { blobs: Vec::new(), manifest: about.clone(), tag, tagged };
                fake.refer(REPOSITORY, about.digest, &list);
            } else if !entries.is_empty() {
                fake.manifest(REPOSITORY, &tagged, Some(&tag));
            }
        }
    }

    pub async fn take(&mut self, step: &Step) {
        let images = self.images().count();
        match *step {
            Step::Push { node, accepted } => {
                let digest = self.node(node % images);
                let run = self.site.release(digest, accepted).await.attestation;
                self.runs.insert(digest, accepted);
                self.newest.insert(digest, (run, false));
            }
            Step::Deny { node, short } => {
                let (digest, earliest) = (self.node(node), Instant::now() + LASTING);
                let now = gateway::http::clock::now();
                let until = now.checked_add(jiff::SignedDuration::try_from(LASTING).unwrap()).unwrap();
                let more = if short { json!({"until": until}) } else { json!({}) };
                let status = self.site.deny(digest, more).await.0;
                assert!(matches!(status, 200 | 201), "{status}");
                let end = End { earliest, latest: Instant::now() + LASTING };
                self.denied.insert(digest, short.then_some(end));
            }
            Step::Undeny { node } => {
                let digest = self.node(node);
                self.site.undeny(digest).await;
                self.denied.remove(&digest);
            }
            Step::Except { node } => {
                let digest = self.node(node % images);
                if self.runs.get(&digest) != Some(&false) {
                    return;
                }
                let earliest = Instant::now() + LASTING;
                let emergency =
                    json!({"reason": "r", "project": "skynet", "workflow": "release", "digest": digest, "for": "1s"});
                let (status, body) = self.site.send(Method::POST, "/api/v1/exemptions/emergency", &emergency).await;
                assert_eq!(status, 201, "{body}");
                self.excepted.insert(digest, End { earliest, latest: Instant::now() + LASTING });
            }
            Step::Withdraw { node } => {
                let digest = self.node(node % images);
                let Some((run, withdrawn)) = self.newest.get_mut(&digest) else { return };
                let status = self.site.withdraw(&run.to_string()).await.0;
                assert_eq!(status, if *withdrawn { 200 } else { 201 });
                *withdrawn = true;
            }
            Step::Restore { node } => {
                let digest = self.node(node % images);
                let Some((run, withdrawn)) = self.newest.get_mut(&digest) else { return };
                let status = self.site.restore(&run.to_string()).await.0;
                assert_eq!(status, if *withdrawn { 200 } else { 404 });
                *withdrawn = false;
            }
            Step::Pull => {}
            Step::Wait => tokio::time::sleep(LASTING + AROUND).await,
        }
    }

    fn node(&self, number: usize) -> Digest {
        let artifacts = self.artifacts.iter().map(|artifact| &artifact.manifest);
        let all: Vec<&Blob> = self.images().chain(&self.blobs).chain(artifacts).chain(&self.documents).collect();
        all[number % all.len()].digest
    }

    /// Whether something that may end by itself holds now; `None` around its end.
    fn holds(until: Option<&End>) -> Option<bool> {
        let now = Instant::now();
        match until {
            None => Some(false),
            Some(end) if now + AROUND < end.earliest => Some(true),
            Some(end) if now > end.latest + AROUND => Some(false),
            Some(_) => None,
        }
    }

    pub fn denied(&self, digest: &Digest) -> Option<bool> {
        match self.denied.get(digest) {
            None => Some(false),
            Some(None) => Some(true),
            Some(Some(end)) => Self::holds(Some(end)),
        }
    }

    /// What an index or manifest holds, itself first.
    fn tree(&self, digest: &Digest) -> Vec<Digest> {
        let of = |number: usize| {
            let blobs = self.plan.manifests[number].iter().map(|blob| self.blobs[*blob].digest);
            std::iter::once(self.manifests[number].digest).chain(blobs)
        };
        if let Some(number) = self.indexes.iter().position(|index| index.digest == *digest) {
            return std::iter::once(*digest).chain(self.plan.indexes[number].iter().copied().flat_map(of)).collect();
        }
        let number = self.manifests.iter().position(|manifest| manifest.digest == *digest).unwrap();
        of(number).collect()
    }

    /// Whether an index or manifest is allowed by what is known of it and what it holds; `None` around an end.
    pub fn allowed(&self, digest: &Digest) -> Option<bool> {
        for part in self.tree(digest) {
            if self.denied(&part)? {
                return Some(false);
            }
        }
        match self.runs.get(digest) {
            None => Some(false),
            Some(_) if self.withdrawn(digest) => Some(false),
            Some(true) => Some(true),
            Some(false) => Self::holds(self.excepted.get(digest)),
        }
    }

    fn withdrawn(&self, digest: &Digest) -> bool {
        self.newest.get(digest).is_some_and(|(_, withdrawn)| *withdrawn)
    }

    /// Whether an index does not open it, whatever its verdict.
    fn closed(&self, digest: &Digest) -> Option<bool> {
        let rejected = self.runs.get(digest) == Some(&false) && !Self::holds(self.excepted.get(digest))?;
        Some(self.denied(digest)? || rejected || self.withdrawn(digest))
    }

    /// Whether an index or manifest is to be served: by itself, or by an index that was.
    pub fn open(&self, digest: &Digest) -> Option<bool> {
        if self.allowed(digest)? {
            return Some(true);
        }
        let Some(number) = self.manifests.iter().position(|manifest| manifest.digest == *digest) else {
            return Some(false);
        };
        if self.closed(digest)? {
            return Some(false);
        }
        for (index, of) in self.plan.indexes.iter().enumerate() {
            let index = self.indexes[index].digest;
            if of.contains(&number) && self.served.contains(&index) && self.allowed(&index)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Whether a blob may be served at all: by a manifest that was served and is open.
    pub fn blob_open(&self, number: usize) -> Option<bool> {
        if self.denied(&self.blobs[number].digest)? {
            return Some(false);
        }
        for (manifest, of) in self.plan.manifests.iter().enumerate() {
            let digest = self.manifests[manifest].digest;
            if of.contains(&number) && self.served.contains(&digest) && self.open(&digest)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Whether an artifact is to be served: with what it speaks about, if it is evidence, and nobody denied any of it.
    pub fn artifact_open(&self, number: usize) -> Option<bool> {
        let artifact = &self.artifacts[number];
        for document in &artifact.documents {
            if self.denied(document)? {
                return Some(false);
            }
        }
        self.artifact_holds(artifact)
    }

    fn artifact_holds(&self, artifact: &Artifact) -> Option<bool> {
        if !artifact.evidence || self.denied(&artifact.manifest.digest)? {
            return Some(false);
        }
        self.open(&artifact.about)
    }

    /// Whether a document may be served at all: by an artifact that was served and holds still. That another document of
    /// it was denied closes the artifact, and not the documents that were had of it.
    pub fn document_open(&self, number: usize) -> Option<bool> {
        let document = self.documents[number].digest;
        if self.denied(&document)? {
            return Some(false);
        }
        for artifact in self.artifacts.iter().filter(|artifact| artifact.documents.contains(&document)) {
            if self.served.contains(&artifact.manifest.digest) && self.artifact_holds(artifact)? {
                return Some(true);
            }
        }
        Some(false)
    }
}
