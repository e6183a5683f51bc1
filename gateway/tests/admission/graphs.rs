//! Over random graphs of indexes, manifests and blobs, with random evidence, denials, withdrawals and exceptions that come
//! and go: the real router gives nothing that no allowed image leads to, and everything that an allowed one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use contracts::Digest;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Blob, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST};

use crate::site::{HOST, REPOSITORY, Site, site};

/// How long what ends by itself lasts, and how long it is not asked about around its end.
const LASTING: Duration = Duration::from_secs(1);
const AROUND: Duration = Duration::from_millis(150);

/// Which blobs each manifest has (the first is its configuration), and which manifests each index lists.
#[derive(Debug, Clone)]
struct Plan {
    manifests: Vec<BTreeSet<usize>>,
    indexes: Vec<BTreeSet<usize>>,
    steps: Vec<Step>,
}

/// Nodes are numbered: indexes, then manifests, then blobs.
#[derive(Debug, Clone)]
enum Step {
    /// A run about an index or manifest, accepted or rejected.
    Push {
        node: usize,
        accepted: bool,
    },
    Deny {
        node: usize,
        short: bool,
    },
    Undeny {
        node: usize,
    },
    /// An emergency for an index or manifest, where a run was rejected.
    Except {
        node: usize,
    },
    /// The newest run about an index or manifest is withdrawn.
    Withdraw {
        node: usize,
    },
    Restore {
        node: usize,
    },
    /// A client pulls everything that it gets.
    Pull,
    Wait,
}

const BLOBS: usize = 5;

fn plan() -> impl Strategy<Value = Plan> {
    let blobs = prop::collection::btree_set(0..BLOBS, 1..4);
    let manifests = prop::collection::vec(blobs, 1..4);
    let node = 0..100_usize;
    let step = prop_oneof![
        6 => (node.clone(), prop::bool::weighted(0.7)).prop_map(|(node, accepted)| Step::Push { node, accepted }),
        4 => (node.clone(), any::<bool>()).prop_map(|(node, short)| Step::Deny { node, short }),
        2 => node.clone().prop_map(|node| Step::Undeny { node }),
        3 => node.clone().prop_map(|node| Step::Withdraw { node }),
        1 => node.clone().prop_map(|node| Step::Restore { node }),
        2 => node.prop_map(|node| Step::Except { node }),
        4 => Just(Step::Pull),
        1 => Just(Step::Wait),
    ];
    (manifests, prop::collection::vec(step, 5..12)).prop_flat_map(|(manifests, steps)| {
        let lists = prop::collection::btree_set(0..manifests.len(), 1..=manifests.len());
        let indexes = prop::collection::vec(lists, 0..3);
        (Just(manifests), indexes, Just(steps)).prop_map(|(manifests, indexes, steps)| Plan {
            manifests,
            indexes,
            steps,
        })
    })
}

#[test]
fn nothing_is_served_without_an_allowed_image_that_leads_to_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 10, failure_persistence: None, ..Config::default() });
    runner.run(&plan(), |plan| runtime.block_on(walk(plan))).unwrap();
}

/// The graph in the registry, and all that is known of it.
struct World {
    site: Site,
    manifests: Vec<Blob>,
    indexes: Vec<Blob>,
    blobs: Vec<Blob>,
    plan: Plan,
    runs: BTreeMap<Digest, bool>,
    /// The newest run about each, and whether it is withdrawn.
    newest: BTreeMap<Digest, (Digest, bool)>,
    /// Until when, if it ends.
    denied: BTreeMap<Digest, Option<Instant>>,
    excepted: BTreeMap<Digest, Instant>,
    /// Of each image that was served, what was served through it: itself and its parts.
    served: BTreeSet<Digest>,
}

async fn walk(plan: Plan) -> Result<(), TestCaseError> {
    let mut world = World::new(plan.clone()).await;
    for step in plan.steps {
        world.take(&step).await;
        world.look().await?;
    }
    Ok(())
}

impl World {
    async fn new(plan: Plan) -> Self {
        let site = site().await;
        site.apply("release", "app/**", "    breakGlass: {callers: [operator], maxDuration: 1h}\n").await;
        let blob = |n: usize| Blob::new("application/octet-stream", format!("blob {n}").into_bytes());
        let blobs: Vec<Blob> = (0..BLOBS).map(blob).collect();
        let mut manifests = Vec::new();
        for (number, of) in plan.manifests.iter().enumerate() {
            let mut parts = of.iter().map(|n| blobs[*n].descriptor());
            let config = parts.next().unwrap();
            let manifest = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_MANIFEST, "config": config, "layers": parts.collect::<Vec<_>>(), "annotations": {"n": number.to_string()}});
            manifests.push(Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest));
        }
        let index = |(number, of): (usize, &BTreeSet<usize>)| {
            let parts: Vec<Value> = of.iter().map(|n| manifests[*n].descriptor()).collect();
            let index = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": parts, "annotations": {"n": number.to_string()}});
            Blob::of_json(MEDIA_TYPE_INDEX, &index)
        };
        let indexes: Vec<Blob> = plan.indexes.iter().enumerate().map(index).collect();
        blobs.iter().for_each(|blob| site.fake.blob(REPOSITORY, blob));
        manifests.iter().chain(&indexes).for_each(|manifest| site.fake.manifest(REPOSITORY, manifest, None));
        let (runs, newest, denied, excepted, served) = Default::default();
        Self { site, manifests, indexes, blobs, plan, runs, newest, denied, excepted, served }
    }

    async fn take(&mut self, step: &Step) {
        let images = self.indexes.len() + self.manifests.len();
        match *step {
            Step::Push { node, accepted } => {
                let digest = self.node(node % images);
                let run = self.site.release(digest, accepted).await.attestation;
                self.runs.insert(digest, accepted);
                self.newest.insert(digest, (run, false));
            }
            Step::Deny { node, short } => {
                let digest = self.node(node % (images + BLOBS));
                let now = gateway::http::clock::now();
                let until = now.checked_add(jiff::SignedDuration::try_from(LASTING).unwrap()).unwrap();
                let more = if short { json!({"until": until}) } else { json!({}) };
                let status = self.site.deny(digest, more).await.0;
                assert!(matches!(status, 200 | 201), "{status}");
                self.denied.insert(digest, short.then(|| Instant::now() + LASTING));
            }
            Step::Undeny { node } => {
                let digest = self.node(node % (images + BLOBS));
                self.site.undeny(digest).await;
                self.denied.remove(&digest);
            }
            Step::Except { node } => {
                let digest = self.node(node % images);
                if self.runs.get(&digest) != Some(&false) {
                    return;
                }
                let emergency =
                    json!({"reason": "r", "project": "skynet", "workflow": "release", "digest": digest, "for": "1s"});
                let (status, body) = self.site.send(Method::POST, "/api/v1/exemptions/emergency", &emergency).await;
                assert_eq!(status, 201, "{body}");
                self.excepted.insert(digest, Instant::now() + LASTING);
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
        self.indexes.iter().chain(&self.manifests).chain(&self.blobs).nth(number).unwrap().digest
    }

    /// Whether something that may end by itself holds now; `None` around its end.
    fn holds(until: Option<&Instant>) -> Option<bool> {
        let now = Instant::now();
        match until {
            None => Some(false),
            Some(end) if now + AROUND < *end => Some(true),
            Some(end) if now > *end + AROUND => Some(false),
            Some(_) => None,
        }
    }

    fn denied(&self, digest: &Digest) -> Option<bool> {
        match self.denied.get(digest) {
            None => Some(false),
            Some(None) => Some(true),
            Some(Some(end)) => Self::holds(Some(end)),
        }
    }

    /// What the image with this number of the indexes and manifests holds, itself first.
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
    fn allowed(&self, digest: &Digest) -> Option<bool> {
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

    fn manifest_open(&self, number: usize) -> Option<bool> {
        let digest = self.manifests[number].digest;
        if self.allowed(&digest)? {
            return Some(true);
        }
        if self.closed(&digest)? {
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
    fn blob_may_be_open(&self, number: usize) -> Option<bool> {
        if self.denied(&self.blobs[number].digest)? {
            return Some(false);
        }
        for (manifest, of) in self.plan.manifests.iter().enumerate() {
            let digest = self.manifests[manifest].digest;
            if of.contains(&number) && self.served.contains(&digest) && self.manifest_open(manifest)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Asks for everything by every way, blobs first: what is served now was opened before.
    async fn look(&mut self) -> Result<(), TestCaseError> {
        for number in 0..BLOBS {
            let what = format!("blobs/{}", self.blobs[number].digest);
            let before = self.blob_may_be_open(number);
            for (method, range) in [(Method::GET, false), (Method::GET, true), (Method::HEAD, false)] {
                let served = self.site.pull(method.clone(), &what, range).await.status().is_success();
                if before == Some(false) && self.blob_may_be_open(number) == before {
                    prop_assert!(!served, "{} of blob {} without a grant", method, number);
                }
            }
        }
        for digest in self.indexes.iter().map(|index| index.digest).collect::<Vec<_>>() {
            self.manifest(digest, |world| world.allowed(&digest)).await?;
        }
        for number in 0..self.manifests.len() {
            let digest = self.manifests[number].digest;
            self.manifest(digest, |world| world.manifest_open(number)).await?;
            // What is open now gives its blobs.
            for blob in self.plan.manifests[number].clone() {
                let before = self.manifest_open(number);
                let served = self.site.get(&format!("blobs/{}", self.blobs[blob].digest)).await.0 == 200;
                if before == Some(true) && self.manifest_open(number) == before {
                    prop_assert!(served, "blob {} of an open manifest", blob);
                }
            }
        }
        Ok(())
    }

    async fn manifest(&mut self, digest: Digest, open: impl Fn(&Self) -> Option<bool>) -> Result<(), TestCaseError> {
        let what = format!("manifests/{digest}");
        let before = open(self);
        let head = self.site.pull(Method::HEAD, &what, false).await;
        let told =
            head.headers().contains_key("docker-content-digest") || head.headers().contains_key("content-length");
        let judged = self.judged(digest).await;
        let get = self.site.pull(Method::GET, &what, false).await;
        let served = get.status() == 200;
        let bytes = get.bytes().await.unwrap();
        prop_assert!(!served || Digest::of(&bytes) == digest);
        if let Some(expected) = before.filter(|_| open(self) == before) {
            prop_assert_eq!((served, told, judged), (expected, expected, expected), "{}", digest);
        }
        if served {
            self.served.insert(digest);
        }
        Ok(())
    }

    /// Whether a cluster may take a pod with it.
    async fn judged(&self, digest: Digest) -> bool {
        let image = format!("{HOST}/{REPOSITORY}@{digest}");
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": image}]}}
        }});
        let answer = self.site.by(&self.site.pull, Method::POST, "/k8s/validate").json(&review).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["response"]["allowed"].as_bool().unwrap()
    }
}
