//! The gate through the front door: a real server, the real store, an image layout folder as its registry.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use contracts::{
    Bundle, Code, Decision, Digest, MaterialType,
    api::{CheckAnswer, CreatedToken, ErrorBody, ReceivedAttestation, Replayed, RevisionFiles, RunState, StartedRun},
};
use gateway::{
    app::{Gateway, Running},
    config::Settings,
    upstream::UpstreamSettings,
};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use testdata::{Attached, Image, Layout, Material, Minter, endless_policy};

const HOST: &str = "registry.acme.dev";
const REPOSITORY: &str = "registry.acme.dev/skynet/app";

const MATERIALS: &str =
    "    - {name: image, type: CONTAINER_IMAGE, output: true}\n    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n";

struct Site {
    running: Running,
    client: Client,
    admin: String,
    build: Minter,
    layout: Layout,
    image: Image,
    _folder: TempDir,
}

/// A gateway with the contract `release`, the workflow `skynet/release` bound to it, and one image in its registry.
async fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path().join("layout"));
    let image = Image::new("app");
    layout.add("v1", &image);
    let upstream = UpstreamSettings {
        layout: Some(layout.folder().to_owned()),
        repository: Some("skynet/app".to_owned()),
        ..UpstreamSettings::new(HOST)
    };
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: vec![upstream],
        discovery_interval: Duration::from_secs(1),
        ..Settings::defaults(folder.path())
    };
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    let site = Site { running, client: Client::new(), admin, build: Minter::fresh(), layout, image, _folder: folder };
    let settings = json!({"default_signers": [site.build.public_pem()], "unmatched": "deny"});
    assert!(site.send(Method::PUT, "/api/v1/organization", &settings).await.status().is_success());
    site.apply(MATERIALS, "", "GPL-0.0").await;
    let workflow = json!({"project": "skynet", "name": "release", "team": "core", "contract": "release"});
    assert!(site.send(Method::POST, "/api/v1/workflows", &workflow).await.status().is_success());
    site
}

impl Site {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    async fn send(&self, method: Method, path: &str, body: &serde_json::Value) -> Response {
        self.client.request(method, self.url(path)).bearer_auth(&self.admin).json(body).send().await.unwrap()
    }

    /// Applies the contract with a policy that bans a licence.
    async fn apply(&self, materials: &str, admission: &str, licence: &str) {
        let files = Self::files(materials, admission, licence);
        let applied = self.send(Method::PUT, "/api/v1/contracts/release", &files).await;
        let status = applied.status();
        assert!(status.is_success(), "{}", applied.text().await.unwrap());
    }

    fn files(materials: &str, admission: &str, licence: &str) -> serde_json::Value {
        let contract = format!(
            "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n{materials}  policies:\n    materials: [{{ref: \"file://licences.yaml\", gate: true}}]\n  admission:\n    repositories: [\"{HOST}/skynet/**\"]\n{admission}"
        );
        let files = BTreeMap::from([
            ("contract.yaml".to_owned(), contract),
            ("licences.yaml".to_owned(), testdata::policy_banning_licence(licence)),
        ]);
        json!(RevisionFiles { contract: "contract.yaml".to_owned(), files })
    }

    async fn begin(&self) -> StartedRun {
        let run = json!({"project": "skynet", "workflow": "release"});
        self.send(Method::POST, "/api/v1/runs", &run).await.json().await.unwrap()
    }

    async fn push(&self, bundle: &Bundle) -> Response {
        let url = self.url("/api/v1/attestations?project=skynet&workflow=release");
        let push = self.client.post(url).bearer_auth(&self.admin);
        let push = push.header("content-type", "application/vnd.dev.sigstore.bundle.v0.3+json");
        push.body(bundle.bytes().to_vec()).send().await.unwrap()
    }

    /// Builds the image once more: with its bill of materials, or without.
    async fn release(&self, complete: bool) -> Bundle {
        let run = self.begin().await;
        let mut materials = vec![Material::image("image", REPOSITORY, self.image.digest())];
        if complete {
            let sbom = Material::cyclonedx("sbom", &testdata::cyclonedx(3));
            let bytes = sbom.bytes.clone().unwrap();
            let url = self.url(&format!("/api/v1/evidence/{}", Digest::of(&bytes)));
            let upload = self.client.put(url).bearer_auth(&self.admin).body(bytes);
            assert!(upload.send().await.unwrap().status().is_success());
            materials.push(sbom);
        }
        let bundle = self.build.attest(&run, &materials);
        let answer = self.push(&bundle).await;
        let (status, state) = match complete {
            true => (StatusCode::OK, RunState::Accepted),
            false => (StatusCode::UNPROCESSABLE_ENTITY, RunState::Rejected),
        };
        assert_eq!(answer.status(), status);
        let received: ReceivedAttestation = answer.json().await.unwrap();
        assert_eq!((received.attestation, received.run.state), (bundle.id(), state));
        bundle
    }

    async fn check_as(&self, token: &str, image: &str) -> Response {
        let check = self.client.post(self.url("/api/v1/check")).bearer_auth(token);
        check.json(&json!({"image": image})).send().await.unwrap()
    }

    /// `allow`, or the codes of what blocks.
    async fn check(&self) -> String {
        let answer = self.check_as(&self.admin, &format!("{REPOSITORY}:v1")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let CheckAnswer { verdict, .. } = answer.json().await.unwrap();
        assert_eq!(*verdict.subject.digest(), self.image.digest());
        if verdict.decision == Decision::Allow {
            return "allow".to_owned();
        }
        let blocking: Vec<_> = verdict.findings.iter().filter(|f| f.blocks()).collect();
        assert!(!blocking.is_empty() && blocking.iter().all(|f| f.mend.is_some()), "{blocking:?}");
        let mut codes: Vec<_> = blocking.iter().map(|f| f.code.as_str()).collect();
        codes.dedup();
        codes.join(" ")
    }
}

#[tokio::test]
async fn every_change_is_in_the_next_answer() {
    let site = site().await;
    assert_eq!(site.check().await, "no-evidence");
    site.release(true).await;
    assert_eq!(site.check().await, "allow");

    site.apply(MATERIALS, "", "MIT").await;
    assert_eq!(site.check().await, "policy-violation");
    site.apply(MATERIALS, "", "GPL-0.0").await;
    assert_eq!(site.check().await, "allow");

    site.release(false).await;
    assert_eq!(site.check().await, "run-rejected material-missing policy-skipped");
    site.release(true).await;
    assert_eq!(site.check().await, "allow");

    site.apply(MATERIALS, "    maxAge: 2s\n", "GPL-0.0").await;
    site.release(true).await;
    assert_eq!(site.check().await, "allow");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(site.check().await, "evidence-too-old");

    let token = json!({"name": "cluster", "role": "pull"});
    let token: CreatedToken = site.send(Method::POST, "/api/v1/tokens", &token).await.json().await.unwrap();
    let image = format!("{REPOSITORY}:v1");
    assert_eq!(site.check_as(&token.secret, &image).await.status(), StatusCode::OK);
    let path = format!("/api/v1/tokens/{}", token.token.id);
    assert!(site.send(Method::DELETE, &path, &json!(null)).await.status().is_success());
    assert_eq!(site.check_as(&token.secret, &image).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_proposed_contract_is_told_with_what_it_would_decide_otherwise() {
    let site = site().await;
    let accepted = site.release(true).await;
    let rejected = site.release(false).await;
    let replay = async |files: &serde_json::Value| -> Replayed {
        let answer = site.send(Method::POST, "/api/v1/contracts/release/replay?limit=10", files).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    };
    let told = |replayed: &Replayed| {
        let flips = replayed.flips.iter().map(|flip| {
            let codes: Vec<_> = flip.findings.iter().map(|finding| finding.code).collect();
            (flip.attestation, flip.before, flip.after, codes)
        });
        (replayed.judged, flips.collect::<Vec<_>>(), replayed.undecided.len())
    };
    let same = replay(&Site::files(MATERIALS, "", "GPL-0.0")).await;
    assert_eq!(told(&same), (2, Vec::new(), 0));
    let stricter = replay(&Site::files(MATERIALS, "", "MIT")).await;
    let denied = (accepted.id(), Decision::Allow, Decision::Deny, vec![Code::PolicyViolation]);
    assert_eq!(told(&stricter), (2, vec![denied], 0));
    // What the gate asks at admission is asked here too.
    let rule = "    rules: [{name: never, cel: \"size(attestation.subject) > 100\"}]\n";
    let admission = replay(&Site::files(MATERIALS, rule, "GPL-0.0")).await;
    let denied = (accepted.id(), Decision::Allow, Decision::Deny, vec![Code::RuleFailed]);
    assert_eq!(told(&admission), (2, vec![denied], 0));
    let image = "    - {name: image, type: CONTAINER_IMAGE, output: true}\n";
    let laxer = Site::files(image, "", "GPL-0.0").to_string().replace("gate: true", "gate: false");
    let laxer = replay(&serde_json::from_str(&laxer).unwrap()).await;
    let allowed = (rejected.id(), Decision::Deny, Decision::Allow, vec![Code::MaterialMissing, Code::PolicySkipped]);
    assert_eq!(told(&laxer), (2, vec![allowed], 0));

    // Nothing of it counts.
    assert_eq!(site.check().await, "run-rejected material-missing policy-skipped");
    let mistake = json!({"contract": "contract.yaml", "files": {"contract.yaml": "kind: Nothing"}});
    let answer = site.send(Method::POST, "/api/v1/contracts/release/replay", &mistake).await;
    assert!(answer.status().is_client_error());
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_without_end_do_not_keep_others_from_their_answers() {
    let site = site().await;
    let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: endless}\nspec:\n  materials: [{name: word, type: STRING}]\n  policies: {materials: [{ref: \"file://endless.yaml\", gate: true}]}\n";
    let endless = endless_policy("STRING");
    let files = BTreeMap::from([("contract.yaml", contract), ("endless.yaml", &*endless)]);
    let files = json!({"contract": "contract.yaml", "files": files});
    assert!(site.send(Method::PUT, "/api/v1/contracts/endless", &files).await.status().is_success());
    let workflow = json!({"project": "skynet", "name": "endless", "team": "core", "contract": "endless"});
    assert!(site.send(Method::POST, "/api/v1/workflows", &workflow).await.status().is_success());

    let over = AtomicBool::new(false);
    let endless = async || {
        let mut ended = 0;
        while !over.load(Ordering::Relaxed) {
            let run = json!({"project": "skynet", "workflow": "endless"});
            let run: StartedRun = site.send(Method::POST, "/api/v1/runs", &run).await.json().await.unwrap();
            let bundle = site.build.attest(&run, &[Material::string("word", "x")]);
            let url = site.url("/api/v1/attestations?project=skynet&workflow=endless");
            let push = site.client.post(url).bearer_auth(&site.admin);
            let push = push.header("content-type", "application/vnd.dev.sigstore.bundle.v0.3+json");
            let answer = push.body(bundle.bytes().to_vec()).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
            let received: ReceivedAttestation = answer.json().await.unwrap();
            let codes: Vec<_> = received.run.findings.iter().filter(|f| f.blocks()).map(|f| f.code).collect();
            assert_eq!(codes, [Code::RuleBudget]);
            ended += 1;
        }
        ended
    };
    let others = async {
        site.release(true).await;
        assert_eq!(site.check().await, "allow");
        site.apply(MATERIALS, "", "MIT").await;
        assert_eq!(site.check().await, "policy-violation");
        over.store(true, Ordering::Relaxed);
    };
    // More of them at any time than there are places to run them.
    let endless = (0..processors() * 3).map(|_| endless());
    let (ended, ()) = futures::join!(futures::future::join_all(endless), others);
    assert!(ended.iter().all(|count| *count > 0), "{ended:?}");
}

#[tokio::test]
async fn what_is_attached_to_the_image_in_its_registry_counts() {
    let mut site = site().await;
    let stranger = Minter::fresh().cosign_cyclonedx(REPOSITORY, site.image.digest(), &testdata::cyclonedx(3));
    let good = site.build.cosign_cyclonedx(REPOSITORY, site.image.digest(), &testdata::cyclonedx(3));
    site.apply("    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n", "", "GPL-0.0").await;
    let subject = site.image.manifest.clone();
    site.layout.attach(&Attached::bundles(&subject, &[stranger.bytes()]));
    assert_eq!(site.check().await, "signer-not-allowed");
    site.layout.attach(&Attached::bundles(&subject, &[stranger.bytes(), good.bytes()]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(site.check().await, "allow");
    site.apply("    - {name: sbom, type: SBOM_CYCLONEDX_JSON}\n", "", "MIT").await;
    assert_eq!(site.check().await, "policy-violation");

    // What the gateway itself was given about the image speaks before that.
    site.apply(MATERIALS, "", "GPL-0.0").await;
    site.release(false).await;
    assert_eq!(site.check().await, "run-rejected material-missing policy-skipped");
}

#[tokio::test]
async fn an_attestation_made_for_one_image_counts_for_no_other_that_it_names() {
    let site = site().await;
    let run = site.begin().await;
    let sbom = Material::cyclonedx("sbom", &testdata::cyclonedx(3));
    let bytes = sbom.bytes.clone().unwrap();
    let url = site.url(&format!("/api/v1/evidence/{}", Digest::of(&bytes)));
    assert!(site.client.put(url).bearer_auth(&site.admin).body(bytes).send().await.unwrap().status().is_success());
    let made = Material::image("image", REPOSITORY, Digest::of(b"what was built"));
    let named = Material::image("also", REPOSITORY, site.image.digest());
    let bundle = site.build.attest(&run, &[made, named, sbom]);
    assert_eq!(site.push(&bundle).await.status(), StatusCode::OK);
    assert_eq!(site.check().await, "no-evidence");
}

#[tokio::test]
async fn what_is_refused_at_intake_leaves_no_run() {
    let site = site().await;
    let run = site.begin().await;
    let image = Material::image("image", REPOSITORY, site.image.digest());
    let answer = site.push(&Minter::fresh().attest(&run, std::slice::from_ref(&image))).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let body: ErrorBody = answer.json().await.unwrap();
    assert_eq!(body.error.code, "signer-not-allowed");

    let note = Material::file("note", MaterialType::Evidence, "note.json", b"{}");
    let elsewhere = StartedRun { project: "other".to_owned(), ..run.clone() };
    let answer = site.push(&site.build.attest(&elsewhere, &[image, note])).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let body: ErrorBody = answer.json().await.unwrap();
    assert_eq!(body.error.code, "statement-mismatch");

    let url = format!("/api/v1/runs/{}", run.id);
    let state = site.client.get(site.url(&url)).bearer_auth(&site.admin).send().await.unwrap();
    let state: serde_json::Value = state.json().await.unwrap();
    assert_eq!(state["state"], "started");
}

#[tokio::test]
async fn a_pull_is_open_for_as_long_as_its_exemption() {
    let site = site().await;
    site.release(false).await;
    let ask = async |path: &str| {
        let url = site.url(&format!("/v2/{REPOSITORY}/{path}"));
        site.client.get(url).bearer_auth(&site.admin).send().await.unwrap().status()
    };
    let blob = format!("blobs/{}", site.image.blobs().next().unwrap().digest);
    assert_eq!(ask("manifests/v1").await, StatusCode::FORBIDDEN);
    let ann = contracts::SigningKey::generate_ed25519().unwrap();
    let settings = json!({
        "default_signers": [site.build.public_pem()], "exemptions": {"approvers": [ann.public().to_pem()]},
    });
    assert!(site.send(Method::PUT, "/api/v1/organization", &settings).await.status().is_success());
    // From the material, and from the policy that would have judged it.
    for (name, rule) in [("sbom", "material-sbom"), ("licences", "policy-banned-licence-sbom")] {
        assert_eq!(ask("manifests/v1").await, StatusCode::FORBIDDEN);
        let document = json!({
            "apiVersion": "sluice.dev/v1", "kind": "Exemption", "metadata": {"name": name, "organization": "default"},
            "spec": {
                "scope": {"rule": rule, "digest": site.image.digest()}, "reason": "it comes on Monday",
                "from": now(), "until": now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap(),
            },
        });
        let envelope = ann.approve(document.to_string().as_bytes()).unwrap().to_value();
        let applied = site.send(Method::PUT, &format!("/api/v1/exemptions/{name}"), &envelope).await;
        assert_eq!(applied.status(), StatusCode::CREATED, "{}", applied.text().await.unwrap());
    }
    assert_eq!((ask("manifests/v1").await, ask(&blob).await), (StatusCode::OK, StatusCode::OK));
    assert!(site.send(Method::DELETE, "/api/v1/exemptions/sbom", &json!(null)).await.status().is_success());
    assert_eq!((ask("manifests/v1").await, ask(&blob).await), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
}

fn now() -> jiff::Timestamp {
    gateway::http::clock::now()
}
