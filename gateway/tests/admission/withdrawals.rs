//! What rests on an attestation that an operator withdrew is closed on every way from the next request on, and open again
//! when that is taken back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use contracts::{
    Decision, Digest, SigningKey, Statement, Subject,
    api::{ReceivedAttestation, RunState, StartedRun},
};
use gateway::{app::Gateway, config::Settings, upstream::CacheSettings};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Attached, Image, Index, Material};

use crate::{
    denials::{everything, open},
    site::{HOST, REPOSITORY, Site, site, site_with},
};

/// An allowed index of two images, pulled whole, of which everything is in the cache; and its run.
async fn cached() -> (Site, Index, ReceivedAttestation) {
    let site = site_with(|settings| {
        let folder = settings.evidence.parent().unwrap().join("cache");
        settings.cache = Some(CacheSettings { folder, size: 64 << 20 });
    })
    .await;
    let index = Index::new("web");
    for image in &index.images {
        site.fake.image(REPOSITORY, "part", image);
    }
    site.fake.manifest(REPOSITORY, &index.index, Some("v1"));
    let run = site.release(index.digest(), true).await;
    for _ in 0..2 {
        assert_eq!(open(&site, &index).await, everything(&index));
    }
    (site, index, run)
}

impl Site {
    /// What a cluster is answered about a pod with an image of the repository.
    async fn cluster(&self, digest: Digest) -> (bool, String) {
        let image = format!("{HOST}/{REPOSITORY}@{digest}");
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": image}]}}
        }});
        let answer = self.by(&self.pull, Method::POST, "/k8s/validate").json(&review).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let response = &answer["response"];
        let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
        (response["allowed"].as_bool().unwrap(), message)
    }

    async fn status(&self, path: &str) -> u16 {
        self.by(&self.admin, Method::GET, path).send().await.unwrap().status().as_u16()
    }

    async fn run(&self, id: &str) -> contracts::api::RunInfo {
        let answer = self.by(&self.admin, Method::GET, &format!("/api/v1/runs/{id}")).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn bundle(&self, attestation: Digest) -> Vec<u8> {
        let answer = self.by(&self.admin, Method::GET, &format!("/api/v1/attestations/{attestation}"));
        answer.send().await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn push(&self, bundle: Vec<u8>) -> (u16, Value) {
        let push = self.by(&self.admin, Method::POST, "/api/v1/attestations?project=skynet&workflow=release");
        let answer = push.header("content-type", contracts::bundle::MEDIA_TYPE).body(bundle).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The same state, read by a gateway that starts.
    async fn restarted(self) -> Self {
        let Self { folder, running, fake, admin, pull, client, build } = self;
        running.stop().await;
        let mut settings = Settings::defaults(folder.path());
        settings.listen = "127.0.0.1:0".parse().unwrap();
        settings.upstreams = vec![gateway::upstream::UpstreamSettings {
            url: Some(fake.url()),
            plain_http: true,
            ..gateway::upstream::UpstreamSettings::new(HOST)
        }];
        let running = Gateway::start(settings).await.unwrap();
        Self { folder, running, fake, admin, pull, client, build }
    }
}

#[tokio::test]
async fn every_way_closes_with_the_next_request_and_opens_again() {
    let (site, index, run) = cached().await;
    let (id, digest) = (run.run.id.clone(), index.digest());
    let allowed = site.check(digest).await;
    let (vsa, provenance) = (format!("/api/v1/verdicts/{}/vsa", allowed.key), format!("/api/v1/runs/{id}/provenance"));
    let referrers = format!("referrers/{digest}");
    assert_eq!((site.status(&vsa).await, site.status(&provenance).await), (200, 200));
    let listed = site.pull(Method::GET, &referrers, false).await.json::<Value>().await.unwrap();
    let word = listed["manifests"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&format!("manifests/{word}")).await.0, 200, "the gateway's word about it");

    let begun = Instant::now();
    // By its digest, and by its run.
    for named in [run.attestation.to_string(), id.clone()] {
        let (status, told) = site.withdraw(&named).await;
        assert_eq!((status, &told["run"], &told["attestation"]), (201, &json!(id), &json!(run.attestation)));
        let (status, message) = site.get("manifests/v1").await;
        assert!(begun.elapsed() < Duration::from_secs(1) || named == id);
        assert_eq!(status, 403, "{message}");
        let told = format!("an operator withdrew the attestation of the run `{id}` of `skynet/release`");
        assert!(message.contains(&told) && message.contains("the builder was broken into"), "{message}");
        assert_eq!(open(&site, &index).await, Vec::<String>::new());
        let (taken, message) = site.cluster(digest).await;
        assert!(!taken && message.contains("the builder was broken into"), "{message}");
        let check = site.check(digest).await;
        assert_eq!(check.verdict.decision, Decision::Deny);
        assert_eq!(site.verdict(digest).await, "attestation-withdrawn");

        // What the gateway says of it.
        assert_eq!((site.status(&vsa).await, site.status(&provenance).await), (409, 409));
        let failed = site.by(&site.admin, Method::GET, &format!("/api/v1/verdicts/{}/vsa", check.key)).send().await;
        let bundle: Value = failed.unwrap().json().await.unwrap();
        let payload = contracts::Bundle::parse(bundle.to_string().as_bytes()).unwrap();
        let statement: Value = serde_json::from_slice(&payload.envelope().payload).unwrap();
        assert_eq!(statement["predicate"]["verificationResult"], "FAILED");
        assert_eq!(site.pull(Method::GET, &referrers, false).await.status(), 403);
        assert_eq!(site.get(&format!("manifests/{word}")).await.0, 404, "nor is its word given");

        // What is kept, and what comes again.
        let shown = site.run(&id).await;
        let withdrawn = shown.withdrawn.as_ref().unwrap();
        assert_eq!((shown.state, withdrawn.reason.as_str()), (RunState::Withdrawn, "the builder was broken into"));
        assert_eq!(shown.findings[0].code.as_str(), "attestation-withdrawn");
        let bundle = site.bundle(run.attestation).await;
        assert_eq!(Digest::of(&bundle), run.attestation, "it can be read");
        let (status, again) = site.push(bundle.clone()).await;
        assert_eq!((status, &again["decision"], &again["run"]["state"]), (422, &json!("deny"), &json!("withdrawn")));
        let (status, again) = site.push([bundle, b"\n".to_vec()].concat()).await;
        assert_eq!((status, &again["error"]["code"]), (422, &json!("attestation-withdrawn")), "in other bytes");
        let emergency = json!({"reason": "it must go out", "run": id});
        let (status, told) = site.send(Method::POST, "/api/v1/exemptions/emergency", &emergency).await;
        assert_eq!((status, &told["error"]["code"]), (409, &json!("attestation-withdrawn")));
        assert_eq!(open(&site, &index).await, Vec::<String>::new());
        let (_, list) = site.send(Method::GET, "/api/v1/withdrawals", &json!({})).await;
        assert_eq!((list.as_array().map(Vec::len), &list[0]["run"]), (Some(1), &json!(id)));

        assert_eq!(site.restore(&named).await.0, 200);
        assert_eq!(open(&site, &index).await, everything(&index));
        assert_eq!(site.cluster(digest).await, (true, String::new()));
        assert_eq!(site.run(&id).await, run.run);
        let vsa = format!("/api/v1/verdicts/{}/vsa", site.check(digest).await.key);
        assert_eq!((site.status(&vsa).await, site.status(&provenance).await), (200, 200));
    }
    let events = site.events(&["attestation-withdrawn", "attestation-restored"]).await;
    assert_eq!(events, ["attestation-withdrawn", "attestation-restored"].repeat(2));
}

#[tokio::test]
async fn nothing_that_covers_findings_covers_it() {
    let site = site().await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    site.apply("release", "app/**", "    breakGlass: {callers: [operator], maxDuration: 1h}\n").await;
    let run = site.release(image.digest(), false).await;
    let emergency =
        json!({"reason": "it must go out", "project": "skynet", "workflow": "release", "digest": image.digest()});
    assert_eq!(site.send(Method::POST, "/api/v1/exemptions/emergency", &emergency).await.0, 201);
    assert_eq!(site.get("manifests/v1").await.0, 200);
    assert_eq!(site.withdraw(&run.run.id).await.0, 201);
    assert_eq!(site.verdict(image.digest()).await, "attestation-withdrawn");
    assert_eq!(site.get("manifests/v1").await.0, 403);
    // What a contract only warns about is let through, with the reason.
    site.apply("release", "app/**", "    enforcement: warn\n").await;
    let answer = site.pull(Method::GET, "manifests/v1", false).await;
    let warned: Vec<_> = answer.headers().get_all("warning").iter().map(|warning| warning.to_str().unwrap()).collect();
    assert_eq!(answer.status(), 200);
    assert!(warned.iter().any(|warning| warning.contains("an operator withdrew")), "{warned:?}");
    let check = site.check(image.digest()).await.verdict;
    assert!(!check.enforced);
}

#[tokio::test]
async fn a_part_whose_own_run_is_withdrawn_closes_within_an_allowed_index() {
    let (site, index, _) = cached().await;
    let part = &index.images[1];
    let own = site.release(part.digest(), true).await;
    assert_eq!(open(&site, &index).await, everything(&index));
    assert_eq!(site.withdraw(&own.attestation.to_string()).await.0, 201);
    let still = open(&site, &index).await;
    assert!(!still.contains(&format!("manifests/{}", part.digest())));
    assert!(!still.contains(&format!("blobs/{}", part.config.digest)));
    assert!(still.contains(&format!("manifests/{}", index.images[0].digest())));
    assert!(still.contains(&format!("blobs/{}", index.images[0].config.digest)));
    assert!(!site.cluster(part.digest()).await.0);
    assert_eq!(site.restore(&own.run.id).await.0, 200);
    assert_eq!(open(&site, &index).await, everything(&index));
}

#[tokio::test]
async fn all_images_of_a_run_close_together() {
    let site = site().await;
    let images = [Image::new("web"), Image::new("job"), Image::new("other")];
    for (image, tag) in images.iter().zip(["web", "job", "other"]) {
        site.fake.image(REPOSITORY, tag, image);
    }
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: job, type: CONTAINER_IMAGE, output: true, optional: true}}\n    - {{name: note, type: STRING}}\n  admission:\n    repositories: [\"{HOST}/app/**\"]\n"
    );
    let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}});
    assert_eq!(site.send(Method::PUT, "/api/v1/contracts/release", &files).await.0, 200);
    let begun = site.by(&site.admin, Method::POST, "/api/v1/runs");
    let begun = begun.json(&json!({"project": "skynet", "workflow": "release"})).send().await.unwrap();
    let run: StartedRun = begun.json().await.unwrap();
    let name = format!("{HOST}/{REPOSITORY}");
    let materials = [
        Material::image("image", &name, images[0].digest()),
        Material::image("job", &name, images[1].digest()),
        Material::string("note", "looked at"),
    ];
    assert_eq!(site.push(site.build.attest(&run, &materials).bytes().to_vec()).await.0, 200);
    site.release(images[2].digest(), true).await;
    let statuses = async || {
        let mut all = Vec::new();
        for tag in ["web", "job", "other"] {
            all.push(site.get(&format!("manifests/{tag}")).await.0);
        }
        all
    };
    assert_eq!(statuses().await, [200, 200, 200]);
    assert_eq!(site.withdraw(&run.id).await.0, 201);
    assert_eq!(statuses().await, [403, 403, 200]);
    assert_eq!(site.restore(&run.id).await.0, 200);
    assert_eq!(statuses().await, [200, 200, 200]);
}

#[tokio::test]
async fn what_lies_beside_the_image_in_its_registry_does_not_count_either() {
    let site = site().await;
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: sbom, type: SBOM_CYCLONEDX_JSON}}\n  admission:\n    repositories: [\"{HOST}/app/**\"]\n"
    );
    let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}});
    assert_eq!(site.send(Method::PUT, "/api/v1/contracts/release", &files).await.0, 200);
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    let name = format!("{HOST}/{REPOSITORY}");
    let bundle = site.build.cosign_cyclonedx(&name, image.digest(), &testdata::cyclonedx(2));
    site.fake.attach(REPOSITORY, &Attached::bundles(&image.manifest, &[bundle.bytes()]));
    assert_eq!(site.get("manifests/v1").await.0, 200);
    assert_eq!(site.withdraw(&bundle.id().to_string()).await.0, 201);
    let (status, message) = site.get("manifests/v1").await;
    assert!(status == 403 && message.contains("the builder was broken into"), "{message}");
    assert_eq!(site.get(&format!("blobs/{}", image.config.digest)).await.0, 403);
    // The registry gives it again, in other bytes; the gateway starts anew and looks there.
    let other = [bundle.bytes(), b"\n"].concat();
    site.fake.attach(REPOSITORY, &Attached::bundles(&image.manifest, &[&other]));
    let site = site.restarted().await;
    assert_eq!(site.get("manifests/v1").await.0, 403);
    assert_eq!(site.verdict(image.digest()).await, "attestation-withdrawn");
    assert_eq!(site.restore(&bundle.id().to_string()).await.0, 200);
    assert_eq!(site.get("manifests/v1").await.0, 200);
}

impl Site {
    /// A run about a digest that is signed, and not pushed.
    async fn unpushed(&self, digest: Digest) -> (String, Vec<u8>) {
        let begun = self.by(&self.admin, Method::POST, "/api/v1/runs");
        let begun = begun.json(&json!({"project": "skynet", "workflow": "release"})).send().await.unwrap();
        let run: StartedRun = begun.json().await.unwrap();
        let materials =
            [Material::image("image", &format!("{HOST}/{REPOSITORY}"), digest), Material::string("note", "looked at")];
        let bundle = self.build.attest(&run, &materials).bytes().to_vec();
        (run.id, bundle)
    }
}

#[tokio::test]
async fn no_older_run_takes_the_place_of_one_that_was_found_and_withdrawn() {
    let site = site().await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    let (_, older) = site.unpushed(image.digest()).await;
    let (id, newer) = site.unpushed(image.digest()).await;
    site.fake.attach(REPOSITORY, &Attached::bundles(&image.manifest, &[&older]));
    assert_eq!(site.get("manifests/v1").await.0, 200);
    site.fake.attach(REPOSITORY, &Attached::bundles(&image.manifest, &[&older, &newer]));
    let site = site.restarted().await;
    assert_eq!(site.get("manifests/v1").await.0, 200);
    assert_eq!(site.withdraw(&id).await.0, 201);
    assert_eq!(site.get("manifests/v1").await.0, 403);
    // It is taken from the registry, and the older one is pushed.
    site.fake.attach(REPOSITORY, &Attached::bundles(&image.manifest, &[&older]));
    let site = site.restarted().await;
    assert_eq!(site.get("manifests/v1").await.0, 403);
    assert_eq!(site.push(older).await.0, 200);
    let (status, message) = site.get("manifests/v1").await;
    assert!(status == 403 && message.contains("the builder was broken into"), "{message}");
    assert_eq!(site.verdict(image.digest()).await, "attestation-withdrawn");
    assert!(!site.cluster(image.digest()).await.0);
    assert_eq!(site.restore(&id).await.0, 200);
    assert_eq!(site.get("manifests/v1").await.0, 200);
    assert_eq!(site.withdraw(&id).await.0, 201);
    site.release(image.digest(), true).await;
    assert_eq!(site.get("manifests/v1").await.0, 200, "a newer run");
}

#[tokio::test]
async fn a_part_whose_own_run_was_found_and_withdrawn_closes_within_an_allowed_index() {
    let (site, index, _) = cached().await;
    let part = &index.images[1];
    let (id, own) = site.unpushed(part.digest()).await;
    site.fake.attach(REPOSITORY, &Attached::bundles(&part.manifest, &[&own]));
    assert_eq!(site.verdict(part.digest()).await, "allow");
    assert_eq!(open(&site, &index).await, everything(&index));
    assert_eq!(site.withdraw(&id).await.0, 201);
    site.fake.attach(REPOSITORY, &Attached::bundles(&part.manifest, &[]));
    let site = site.restarted().await;
    let still = open(&site, &index).await;
    assert!(!still.contains(&format!("manifests/{}", part.digest())));
    assert!(!still.contains(&format!("blobs/{}", part.config.digest)));
    assert!(still.contains(&format!("manifests/{}", index.images[0].digest())));
    assert!(still.contains(&format!("blobs/{}", index.images[0].config.digest)));
    assert_eq!(site.restore(&id).await.0, 200);
    assert_eq!(open(&site, &index).await, everything(&index));
}

#[tokio::test]
async fn a_summary_that_only_a_run_brought_is_withdrawn_too() {
    const VERIFIER: &str = "https://verifier.example.org/organizations/acme";
    let (site, verifier) = (site().await, SigningKey::generate_p256().unwrap());
    let contract = format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: vsa, type: EVIDENCE}}\n  admission:\n    repositories: [\"{HOST}/app/**\"]\n    verifiers: [{{id: \"{VERIFIER}\", publicKey: \"file://verifier.pub\"}}]\n"
    );
    let pem = verifier.public().to_pem();
    let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract, "verifier.pub": pem}});
    assert_eq!(site.send(Method::PUT, "/api/v1/contracts/release", &files).await.0, 200);
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    let predicate = json!({
        "verifier": {"id": VERIFIER},
        "timeVerified": gateway::http::clock::now() - jiff::SignedDuration::from_mins(1),
        "resourceUri": format!("oci://{HOST}/{REPOSITORY}"),
        "policy": {"uri": "https://verifier.example.org/policy"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        "slsaVersion": "1.1",
    });
    let subject = vec![Subject::sha256("web", image.digest())];
    let statement = Statement::new(subject, contracts::vsa::PREDICATE_TYPE, predicate);
    let summary = verifier.sign(&statement).unwrap().bytes().to_vec();
    let brings = async |bytes: &[u8]| {
        let path = format!("/api/v1/evidence/{}", Digest::of(bytes));
        let put = site.by(&site.admin, Method::PUT, &path).body(bytes.to_vec()).send().await.unwrap();
        assert!(put.status().is_success());
        let begun = site.by(&site.admin, Method::POST, "/api/v1/runs");
        let begun = begun.json(&json!({"project": "skynet", "workflow": "release"})).send().await.unwrap();
        let run: StartedRun = begun.json().await.unwrap();
        let materials = [
            Material::image("image", &format!("{HOST}/{REPOSITORY}"), image.digest()),
            Material::file("vsa", contracts::MaterialType::Evidence, "vsa.json", bytes),
        ];
        assert_eq!(site.push(site.build.attest(&run, &materials).bytes().to_vec()).await.0, 200);
        site.verdict(image.digest()).await
    };
    assert_eq!(brings(&summary).await, "allow");
    assert_eq!(site.get("manifests/v1").await.0, 200);
    let named = Digest::of(&summary).to_string();
    assert_eq!(site.withdraw(&named).await.0, 201);
    let (status, message) = site.get("manifests/v1").await;
    assert!(status == 403 && message.contains("an operator withdrew it: the builder was broken into"), "{message}");
    for bytes in [summary.clone(), [&summary[..], b"\n"].concat()] {
        assert_eq!(brings(&bytes).await, "summary-missing");
    }
    site.fake.attach(REPOSITORY, &Attached::bundles(&image.manifest, &[&summary]));
    let site = site.restarted().await;
    assert_eq!(site.verdict(image.digest()).await, "summary-missing", "nor beside the image");
    assert_eq!(site.withdraw(&named).await.0, 200, "there is one withdrawal");
    assert_eq!(site.restore(&named).await.0, 200);
    assert_eq!(site.verdict(image.digest()).await, "allow");
    assert_eq!(site.withdraw(&Digest::of(b"not here").to_string()).await.0, 404);
}

#[tokio::test]
async fn a_withdrawal_survives_a_start() {
    let (site, index, run) = cached().await;
    assert_eq!(site.withdraw(&run.run.id).await.0, 201);
    let site = site.restarted().await;
    assert_eq!(open(&site, &index).await, Vec::<String>::new());
    assert_eq!(site.run(&run.run.id).await.state, RunState::Withdrawn);
    assert_eq!(site.restore(&run.attestation.to_string()).await.0, 200);
    let site = site.restarted().await;
    assert_eq!(open(&site, &index).await, everything(&index));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pull_that_begins_after_a_withdrawal_was_answered_is_served() {
    let (site, index, run) = cached().await;
    let site = Arc::new(site);
    // Odd from the answer to a withdrawal until it is taken back.
    let (phase, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (served, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ways = everything(&index);
    let pulls = (0..8).map(|number: usize| {
        let (site, phase, stop, ways) = (Arc::clone(&site), Arc::clone(&phase), Arc::clone(&stop), ways.clone());
        let (served, refused) = (Arc::clone(&served), Arc::clone(&refused));
        tokio::spawn(async move {
            for way in ways.iter().cycle().skip(number) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let begun = phase.load(Ordering::SeqCst);
                let status = site.pull(Method::GET, way, number.is_multiple_of(2)).await.status();
                let withdrawn = begun % 2 == 1 && phase.load(Ordering::SeqCst) == begun;
                assert!(!(withdrawn && status.is_success()), "{way} after it was withdrawn");
                if withdrawn {
                    refused.fetch_add(1, Ordering::SeqCst);
                } else if status.is_success() {
                    served.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    });
    let pulls: Vec<_> = pulls.collect();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(site.withdraw(&run.run.id).await.0, 201);
        phase.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        phase.fetch_add(1, Ordering::SeqCst);
        assert_eq!(site.restore(&run.run.id).await.0, 200);
    }
    stop.store(true, Ordering::SeqCst);
    for pull in pulls {
        pull.await.unwrap();
    }
    let (served, refused) = (served.load(Ordering::SeqCst), refused.load(Ordering::SeqCst));
    assert!(served > 20 && refused > 20, "{served} served, {refused} refused");
    assert_eq!(open(&site, &index).await, everything(&index));
}

#[tokio::test]
async fn who_may_withdraw_and_what_is_refused() {
    let site = site().await;
    let image = Image::new("web");
    let run = site.release(image.digest(), true).await;
    let path = format!("/api/v1/withdrawals/{}", run.attestation);
    for role in ["push", "pull", "read"] {
        let token = site.token(role).await;
        let put = site.by(&token, Method::PUT, &path).json(&json!({"reason": "r"})).send().await.unwrap();
        assert_eq!(put.status(), 403, "{role}");
        assert_eq!(site.by(&token, Method::DELETE, &path).send().await.unwrap().status(), 403);
        assert_eq!(site.by(&token, Method::GET, "/api/v1/withdrawals").send().await.unwrap().status(), 200);
    }
    let mut told = Vec::new();
    for (named, body) in [
        (path.as_str(), json!({"reason": " "})),
        (path.as_str(), json!({"reason": "x".repeat(2001)})),
        (path.as_str(), json!({"reason": "two\nlines"})),
        (path.as_str(), json!({"reason": "r", "until": "2027-01-01T00:00:00Z"})),
        ("/api/v1/withdrawals/no-such-run", json!({"reason": "r"})),
        ("/api/v1/withdrawals/sha256:00", json!({"reason": "r"})),
    ] {
        let (status, body) = site.send(Method::PUT, named, &body).await;
        told.push(format!("{status} {}", body["error"]["message"].as_str().unwrap()));
    }
    let begun = site.by(&site.admin, Method::POST, "/api/v1/runs");
    let begun = begun.json(&json!({"project": "skynet", "workflow": "release"})).send().await.unwrap();
    let unattested: StartedRun = begun.json().await.unwrap();
    let (status, body) = site.withdraw(&unattested.id).await;
    told.push(format!("{status} {}", body["error"]["message"].as_str().unwrap().replace(&unattested.id, "RUN")));
    let (status, body) = site.restore(&run.run.id).await;
    told.push(format!("{status} {}", body["error"]["message"].as_str().unwrap().replace(&run.run.id, "RUN")));
    insta::assert_snapshot!(told.join("\n"));
    // A second one takes the place of the first.
    assert_eq!(site.withdraw(&run.run.id).await.0, 201);
    let (status, told) = site.send(Method::PUT, &path, &json!({"reason": "and another reason"})).await;
    assert_eq!((status, &told["reason"]), (200, &json!("and another reason")));
    assert_eq!(site.run(&run.run.id).await.withdrawn.unwrap().reason, "and another reason");
    assert!(site.check(image.digest()).await.verdict.findings[0].message.contains("and another reason"));
    // Another organization's attestations are its own.
    let made = site.send(Method::POST, "/api/v1/organizations", &json!({"name": "other"})).await.1;
    let other = made["secret"].as_str().unwrap();
    let theirs: Value = site.by(other, Method::GET, "/api/v1/withdrawals").send().await.unwrap().json().await.unwrap();
    assert_eq!(theirs, json!([]));
    assert_eq!(site.by(other, Method::DELETE, &path).send().await.unwrap().status(), 404);
    let put = site.by(other, Method::PUT, &path).json(&json!({"reason": "r"})).send().await.unwrap();
    assert_eq!(put.status(), 404);
}
