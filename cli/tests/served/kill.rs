//! `kill -9` while attestations are pushed: what was acknowledged is there afterwards, byte for byte, and verdicts are
//! what they were. `SLUICE_KILL_ROUNDS` says how often the gateway is killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::scene::Scene;
use contracts::{
    Digest,
    api::{NewRun, ReceivedAttestation, StartedRun},
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use testdata::{Image, Material, Minter};
use tokio::task::JoinHandle;

const REPOSITORY: &str = "registry.shop.example/shop/app";
const UPSTREAM: &str = "[[upstreams]]\nhost = \"registry.shop.example\"\nlayout = \"images\"\n";
const PUSHERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("SLUICE_KILL_ROUNDS").map_or(5, |text| text.parse().unwrap());
    let scene = Scene::new(UPSTREAM, &testdata::contract("registry.shop.example/shop/**"));
    testdata::Layout::create(scene.path("images"));
    let mut serving = scene.serve();
    scene.apply();
    let gateway = Arc::new(Gateway::of(&scene));

    let mut all = Vec::new();
    for round in 0..rounds {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let name = format!("{round}-{pusher}");
                tokio::spawn(push_until_killed(Arc::clone(&gateway), name, Arc::clone(&acknowledged)))
            })
            .collect();
        // Another moment each round: between 1 and 12 acknowledgements, and somewhere within the next request.
        while acknowledged.load(Ordering::Relaxed) < 1 + round * 7 % 12 {
            assert!(!pushers.iter().any(JoinHandle::is_finished), "a pusher gave up:\n{}", scene.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(u64::try_from(round).unwrap() * 1_373 % 9_000)).await;
        serving.kill();

        let mut pushed = Vec::new();
        for pusher in pushers {
            pushed.push(pusher.await.unwrap());
        }
        serving = scene.serve();
        for (acknowledged, cut_short) in pushed {
            for one in &acknowledged {
                gateway.holds(one).await;
            }
            all.extend(acknowledged);
            if let Some(bundle) = cut_short {
                // Whether it was kept is open; pushing it again must be safe, and count once.
                let again = gateway.push(&bundle).await.unwrap();
                assert_eq!(again.attestation, Digest::of(&bundle));
            }
        }
    }

    assert!(all.len() >= rounds, "each round acknowledged something");
    for one in &all {
        gateway.holds(one).await;
    }
    println!("{rounds} kills, {} acknowledged attestations, none lost", all.len());
}

/// An attestation that the gateway said it accepted.
struct Acknowledged {
    image: Digest,
    bundle: Vec<u8>,
    evidence: Vec<u8>,
    /// What the gateway said of the image while it still ran.
    verdict: Option<Value>,
}

/// Attests one image after the other until the gateway is gone. Returns what was acknowledged, and the bundle that was
/// on its way then.
async fn push_until_killed(
    gateway: Arc<Gateway>,
    name: String,
    acknowledged: Arc<AtomicUsize>,
) -> (Vec<Acknowledged>, Option<Vec<u8>>) {
    let mut done = Vec::new();
    loop {
        let image = Image::new(&format!("{name}-{}", done.len()));
        // Its own evidence each time: evidence that is there already would not be written again.
        let evidence = testdata::cyclonedx_named(&image.digest().hex(), 3);
        let Some(bundle) = gateway.craft(&image, &evidence).await else { return (done, None) };
        if gateway.push(&bundle).await.is_none() {
            return (done, Some(bundle));
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        let verdict = gateway.check(image.digest()).await;
        done.push(Acknowledged { image: image.digest(), bundle, evidence, verdict });
    }
}

/// The gateway's API as a build uses it. `None` is a gateway that is gone; any refusal fails the test.
struct Gateway {
    url: String,
    token: String,
    minter: Minter,
    client: Client,
}

impl Gateway {
    fn of(scene: &Scene) -> Self {
        let minter = Minter::new(scene.signing_key());
        Self { url: scene.url(), token: scene.token(), minter, client: Client::new() }
    }

    async fn craft(&self, image: &Image, evidence: &[u8]) -> Option<Vec<u8>> {
        let run =
            NewRun { project: Some("shop".to_owned()), workflow: Some("release".to_owned()), ..NewRun::default() };
        let started = self.client.post(self.at("runs")).bearer_auth(&self.token).json(&run).send().await.ok()?;
        let started: StartedRun = expect(started, StatusCode::CREATED).await?;
        let upload = self.client.put(self.at(&format!("evidence/{}", Digest::of(evidence)))).bearer_auth(&self.token);
        let uploaded = upload.body(evidence.to_vec()).send().await.ok()?;
        assert!(uploaded.status().is_success(), "evidence was refused: {}", uploaded.text().await.unwrap_or_default());
        let image = Material::image("image", REPOSITORY, image.digest());
        Some(self.minter.attest(&started, &[image, Material::cyclonedx("sbom", evidence)]).bytes().to_vec())
    }

    async fn push(&self, bundle: &[u8]) -> Option<ReceivedAttestation> {
        let address = self.at("attestations?project=shop&workflow=release");
        let request = self.client.post(address).bearer_auth(&self.token);
        let request = request.header("content-type", contracts::bundle::MEDIA_TYPE).body(bundle.to_vec());
        expect(request.send().await.ok()?, StatusCode::OK).await
    }

    /// The verdict without the instant at which it was made.
    async fn check(&self, image: Digest) -> Option<Value> {
        let body = json!({"image": format!("{REPOSITORY}@{image}")});
        let answer = self.client.post(self.at("check")).bearer_auth(&self.token).json(&body).send().await.ok()?;
        let mut verdict: Value = expect(answer, StatusCode::OK).await?;
        verdict.as_object_mut().unwrap().remove("evaluated_at").unwrap();
        assert_eq!(verdict["decision"], "allow", "{verdict}");
        Some(verdict)
    }

    /// Fails unless the gateway still has this, and still says what it said.
    async fn holds(&self, one: &Acknowledged) {
        let attestation = self.bytes(&format!("attestations/{}", Digest::of(&one.bundle))).await;
        assert!(attestation == one.bundle, "an acknowledged attestation was lost or changed");
        let evidence = self.bytes(&format!("evidence/{}", Digest::of(&one.evidence))).await;
        assert!(evidence == one.evidence, "the evidence of an acknowledged attestation was lost or changed");
        let verdict = self.check(one.image).await.unwrap();
        if let Some(before) = &one.verdict {
            assert_eq!(&verdict, before, "the verdict changed");
        }
    }

    async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.client.get(self.at(path)).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.url)
    }
}

async fn expect<T: serde::de::DeserializeOwned>(answer: Response, status: StatusCode) -> Option<T> {
    let got = answer.status();
    let body = answer.bytes().await.ok()?;
    assert_eq!(got, status, "{}", String::from_utf8_lossy(&body));
    Some(serde_json::from_slice(&body).unwrap())
}
