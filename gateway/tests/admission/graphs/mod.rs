//! Random graphs of indexes, manifests, blobs and what speaks about them, with random verdicts, denials, withdrawals and exceptions
//! that come and go, with a cache and without: the real router gives nothing that no allowed image leads to, and everything that
//! an allowed one does.
//!
//! Which graphs are tried hangs on `SLUICE_GRAPH_SEED` alone, and how many on `SLUICE_GRAPH_CASES`.

mod plan;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use contracts::Digest;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use reqwest::{Method, header};
use serde_json::{Value, json};

use self::{
    plan::{BLOBS, DOCUMENTS, Place, Plan, plan},
    world::World,
};
use crate::site::{HOST, REPOSITORY};

fn set<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn nothing_is_served_without_an_allowed_image_that_leads_to_it() {
    let seed: u64 = set("SLUICE_GRAPH_SEED", 1);
    let cases = set("SLUICE_GRAPH_CASES", 10);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let seen = Seen::default();
    let ran = runner.run(&plan(), |plan| runtime.block_on(walk(plan, &seen)));
    ran.unwrap_or_else(|error| panic!("with SLUICE_GRAPH_SEED={seed} SLUICE_GRAPH_CASES={cases}: {error}"));
    println!("{seen:?}");
    // A law about nothing would hold too.
    for count in [&seen.images, &seen.closed, &seen.artifacts, &seen.documents, &seen.words, &seen.hits] {
        assert!(count.load(Ordering::Relaxed) > 0 || cases < 10, "with SLUICE_GRAPH_SEED={seed}: {seen:?}");
    }
}

/// How often something came about.
#[derive(Debug, Default)]
struct Seen {
    /// Images that were served.
    images: AtomicUsize,
    /// Manifests that were refused after they had been served.
    closed: AtomicUsize,
    artifacts: AtomicUsize,
    documents: AtomicUsize,
    words: AtomicUsize,
    /// What the cache had.
    hits: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn walk(plan: Plan, seen: &Seen) -> Result<(), TestCaseError> {
    let mut world = World::new(plan.clone()).await;
    for step in plan.steps {
        world.take(&step).await;
        world.look(seen).await?;
    }
    world.look_from_elsewhere().await?;
    if plan.cached {
        let (_, stats) = world.site.send(Method::GET, "/api/v1/cache", &json!(null)).await;
        seen.hits.fetch_add(stats["hits"].as_u64().unwrap() as usize, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether something was had by any way of asking, and by every.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Had {
    any: bool,
    all: bool,
}

impl World {
    /// Asks for everything by every way, blobs first: what is served now was opened before.
    async fn look(&mut self, seen: &Seen) -> Result<(), TestCaseError> {
        for number in 0..BLOBS {
            self.closed_unless(self.blobs[number].digest, |world| world.blob_open(number)).await?;
        }
        for number in 0..DOCUMENTS {
            self.closed_unless(self.documents[number].digest, |world| world.document_open(number)).await?;
        }
        self.look_at_words().await?;
        for digest in self.indexes.iter().map(|index| index.digest).collect::<Vec<_>>() {
            self.manifest(digest, seen, |world| world.allowed(&digest)).await?;
        }
        for number in 0..self.manifests.len() {
            let digest = self.manifests[number].digest;
            self.manifest(digest, seen, |world| world.open(&digest)).await?;
            // What is open now gives its blobs.
            for blob in self.plan.manifests[number].clone() {
                self.opens(self.blobs[blob].digest, |world| world.open(&digest)).await?;
            }
        }
        for image in self.images().map(|image| image.digest).collect::<Vec<_>>() {
            self.list(image, seen).await?;
        }
        for number in 0..self.artifacts.len() {
            self.artifact(number, seen).await?;
        }
        Ok(())
    }

    /// Every way to a blob: all of it, a part, only its length, and whether it is the one that the client has.
    async fn had(&self, digest: Digest) -> Result<Had, TestCaseError> {
        let what = format!("blobs/{digest}");
        let whole = self.site.pull(Method::GET, &what, false).await;
        let whole = if whole.status() == 200 {
            prop_assert_eq!(Digest::of(&whole.bytes().await.unwrap()), digest);
            true
        } else {
            whole.status().is_success()
        };
        let part = self.site.pull(Method::GET, &what, true).await.status().is_success();
        let length = self.site.pull(Method::HEAD, &what, false).await.status().is_success();
        let known = self.known(Method::GET, &what, digest).await;
        let ways = [whole, part, length, known];
        Ok(Had { any: ways.contains(&true), all: !ways.contains(&false) })
    }

    /// Whether a client is told that what it has is the right one.
    async fn known(&self, method: Method, what: &str, digest: Digest) -> bool {
        let asked = self.site.by(&self.site.pull, method, &format!("/v2/{HOST}/{REPOSITORY}/{what}"));
        let answer = asked.header(header::IF_NONE_MATCH, format!("\"{digest}\"")).send().await.unwrap();
        answer.status() == 304 || answer.headers().contains_key("docker-content-digest")
    }

    async fn closed_unless(&self, digest: Digest, may: impl Fn(&Self) -> Option<bool>) -> Result<(), TestCaseError> {
        let before = may(self);
        let had = self.had(digest).await?;
        if before == Some(false) && may(self) == before {
            prop_assert!(!had.any, "{} without a grant", digest);
        }
        Ok(())
    }

    async fn opens(&self, digest: Digest, open: impl Fn(&Self) -> Option<bool>) -> Result<(), TestCaseError> {
        let before = open(self);
        let had = self.had(digest).await?;
        if before == Some(true) && open(self) == before {
            prop_assert!(had.all, "{} of what is open", digest);
        }
        Ok(())
    }

    async fn manifest(
        &mut self,
        digest: Digest,
        seen: &Seen,
        open: impl Fn(&Self) -> Option<bool>,
    ) -> Result<(), TestCaseError> {
        let before = open(self);
        let (served, told, known) = self.asked_for(digest).await?;
        let judged = self.judged(digest).await;
        if let Some(expected) = before.filter(|_| open(self) == before) {
            prop_assert_eq!((served, told, known, judged), (expected, expected, expected, expected), "{}", digest);
            if !expected && self.served.contains(&digest) {
                count(&seen.closed);
            }
        }
        if served {
            count(&seen.images);
            self.served.insert(digest);
        }
        Ok(())
    }

    /// Whether a manifest is served, a HEAD tells of it, and a client that has it is told so.
    async fn asked_for(&self, digest: Digest) -> Result<(bool, bool, bool), TestCaseError> {
        let what = format!("manifests/{digest}");
        let head = self.site.pull(Method::HEAD, &what, false).await;
        let told =
            head.headers().contains_key("docker-content-digest") || head.headers().contains_key("content-length");
        let known = self.known(Method::GET, &what, digest).await || self.known(Method::HEAD, &what, digest).await;
        let get = self.site.pull(Method::GET, &what, false).await;
        let served = get.status() == 200;
        let bytes = get.bytes().await.unwrap();
        prop_assert!(!served || Digest::of(&bytes) == digest);
        Ok((served, told && head.status() == 200, known))
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

    /// Asks what speaks about an image, in all three ways.
    async fn list(&mut self, about: Digest, seen: &Seen) -> Result<(), TestCaseError> {
        let before = self.open(&about);
        let answer = self.site.pull(Method::GET, &format!("referrers/{about}"), false).await;
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        let by_tag = self.site.get(&format!("manifests/sha256-{}", about.hex())).await.0;
        let mut tags = Vec::new();
        for ending in [".att", ".sig", ".sbom"] {
            tags.push((ending, self.site.get(&format!("manifests/sha256-{}{ending}", about.hex())).await.0));
        }
        let listed: Vec<Digest> = body["manifests"].as_array().into_iter().flatten().map(digest_in).collect();
        let speaks = |number: &usize| self.artifacts[*number].about == about;
        let speaking: Vec<usize> = (0..self.artifacts.len()).filter(speaks).collect();
        let Some(open) = before.filter(|_| self.open(&about) == before) else { return Ok(()) };
        if !open {
            prop_assert_eq!((status, by_tag), (403, 403), "of {}", about);
            prop_assert!(tags.iter().all(|(_, status)| *status == 403), "of {}: {:?}", about, tags);
            return Ok(());
        }
        prop_assert_eq!(status, 200, "of {}: {}", about, body);
        prop_assert_eq!(by_tag, if listed.is_empty() { 404 } else { 200 });
        for number in speaking {
            let artifact = &self.artifacts[number];
            let digest = artifact.manifest.digest;
            match artifact.place {
                Place::Referrer => prop_assert_eq!(listed.contains(&digest), artifact.evidence, "{}", digest),
                Place::Tag(ending) => {
                    let status = tags.iter().find(|(tag, _)| *tag == ending).unwrap().1;
                    let expected = self.artifact_open(number);
                    if let Some(expected) = expected {
                        prop_assert_eq!(status == 200, expected, "{} under {}", digest, ending);
                    }
                }
            }
        }
        self.hear(about, &listed, seen).await
    }

    /// What is listed and is none of the registry's is the gateway's own word: it is about an image that is allowed itself.
    async fn hear(&mut self, about: Digest, listed: &[Digest], seen: &Seen) -> Result<(), TestCaseError> {
        let own = |digest: &&Digest| self.artifacts.iter().all(|artifact| artifact.manifest.digest != **digest);
        let words: Vec<Digest> = listed.iter().filter(own).copied().collect();
        prop_assert!(words.len() <= 1, "{:?}", words);
        for word in words {
            prop_assert!(self.allowed(&about) != Some(false), "a word about {}", about);
            let answer = self.site.pull(Method::GET, &format!("manifests/{word}"), false).await;
            if answer.status() != 200 {
                prop_assert!(self.allowed(&about) != Some(true), "no word about {}", about);
                continue;
            }
            let manifest: Value = answer.json().await.unwrap();
            prop_assert_eq!(digest_in(&manifest["subject"]), about);
            count(&seen.words);
            self.words.extend([word, digest_in(&manifest["layers"][0])].map(|part| (part, about)));
        }
        Ok(())
    }

    /// What the gateway said before is had only while it says so still.
    async fn look_at_words(&self) -> Result<(), TestCaseError> {
        for (part, about) in &self.words {
            let before = self.allowed(about);
            let manifest = self.site.pull(Method::GET, &format!("manifests/{part}"), false).await.status();
            let had = self.had(*part).await?;
            if before == Some(false) && self.allowed(about) == before {
                prop_assert!(!manifest.is_success() && !had.any, "the word {} about {}", part, about);
            }
        }
        // One part is the same in all of them.
        let any = |world: &Self| world.images().any(|image| world.allowed(&image.digest) != Some(false));
        let before = any(self);
        let empty = self.had(Digest::of(b"{}")).await?;
        prop_assert!(!empty.any || before || any(self), "a part of a word about nothing");
        Ok(())
    }

    async fn artifact(&mut self, number: usize, seen: &Seen) -> Result<(), TestCaseError> {
        let digest = self.artifacts[number].manifest.digest;
        let before = self.artifact_open(number);
        let (served, told, known) = self.asked_for(digest).await?;
        let judged = self.judged(digest).await;
        if let Some(expected) = before.filter(|_| self.artifact_open(number) == before) {
            prop_assert_eq!((served, told, known), (expected, expected, expected), "artifact {}", digest);
            prop_assert!(!judged || self.open(&self.artifacts[number].about) != Some(false));
        }
        if served {
            count(&seen.artifacts);
            self.served.insert(digest);
            for document in self.artifacts[number].documents.clone() {
                count(&seen.documents);
                self.opens(document, |world| world.artifact_open(number)).await?;
            }
        }
        Ok(())
    }

    /// Neither another organization nor another repository has anything of it, though its registry would give it.
    async fn look_from_elsewhere(&self) -> Result<(), TestCaseError> {
        let site = &self.site;
        let made = site.send(Method::POST, "/api/v1/organizations", &json!({"name": "other"})).await.1;
        let theirs = made["secret"].as_str().unwrap();
        let artifacts = self.artifacts.iter().map(|artifact| &artifact.manifest);
        let manifests: Vec<_> = self.indexes.iter().chain(&self.manifests).chain(artifacts).collect();
        let blobs: Vec<_> = self.blobs.iter().chain(&self.documents).collect();
        blobs.iter().for_each(|blob| site.fake.blob("app/elsewhere", blob));
        let mut asked = Vec::new();
        for blob in &blobs {
            asked.push((theirs, format!("{REPOSITORY}/blobs/{}", blob.digest)));
            asked.push((&site.pull, format!("app/elsewhere/blobs/{}", blob.digest)));
        }
        asked.extend(manifests.iter().map(|manifest| (theirs, format!("{REPOSITORY}/manifests/{}", manifest.digest))));
        for (token, what) in asked {
            for range in [None, Some("bytes=0-3")] {
                for method in [Method::GET, Method::HEAD] {
                    let request = site.by(token, method, &format!("/v2/{HOST}/{what}"));
                    let request = range.into_iter().fold(request, |asked, range| asked.header(header::RANGE, range));
                    let answer = request.send().await.unwrap();
                    let had = answer.status().is_success() && answer.headers().contains_key("docker-content-digest");
                    prop_assert!(!had, "{} from elsewhere", what);
                }
            }
        }
        Ok(())
    }
}

fn digest_in(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}
