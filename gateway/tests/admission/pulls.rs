//! The log of pulls, and what of it would be denied now.

use std::time::Duration;

use contracts::{
    Decision,
    api::{JudgedImage, PullInfo, PullWay, PulledImage},
};
use gateway::app::Gateway;
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Image, Index};

use crate::site::{HOST, REPOSITORY, Site, site};

impl Site {
    async fn pulls(&self, query: &str) -> Vec<PullInfo> {
        self.by(&self.admin, Method::GET, &format!("/api/v1/pulls{query}")).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until as many entries are there.
    async fn pulls_when(&self, count: usize) -> Vec<PullInfo> {
        for _ in 0..100 {
            let pulls = self.pulls("").await;
            if pulls.len() >= count {
                return pulls;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", self.pulls("").await)
    }

    async fn judge(&self, images: &[String]) -> Vec<JudgedImage> {
        let body = json!({"images": images});
        self.by(&self.pull, Method::POST, "/api/v1/judge").json(&body).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn who_pulled_what_is_kept_and_asked_about_again() {
    let site = site().await;
    let index = Index::new("web");
    for image in &index.images {
        site.fake.image(REPOSITORY, "part", image);
    }
    site.fake.manifest(REPOSITORY, &index.index, Some("v1"));
    site.release(index.digest(), true).await;
    let denied = Image::new("bad");
    site.fake.image(REPOSITORY, "bad", &denied);
    // As a client pulls: the tag by HEAD, the digest, the part for its platform, the blobs.
    site.pull(Method::HEAD, "manifests/v1", false).await;
    for what in [format!("manifests/{}", index.digest()), format!("manifests/{}", index.images[0].digest())] {
        assert_eq!(site.get(&what).await.0, 200);
    }
    for blob in index.images[0].blobs() {
        assert_eq!(site.get(&format!("blobs/{}", blob.digest)).await.0, 200);
    }
    assert_eq!(site.get("manifests/bad").await.0, 403);
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop",
        "userInfo": {"username": "ann@acme.dev"},
        "object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": format!("{HOST}/{REPOSITORY}@{}", index.digest())}]}}
    }});
    // As the webhooks' `sideEffects` say: of these only the last is noted.
    let mut dry = review.clone();
    dry["request"]["dryRun"] = json!(true);
    for (way, review) in [("validate", &dry), ("mutate", &dry), ("mutate", &review), ("validate", &review)] {
        let asked = site.by(&site.pull, Method::POST, &format!("/k8s/{way}")).json(review).send().await.unwrap();
        assert_eq!(asked.status(), 200);
    }
    let pulls = site.pulls_when(4).await;
    let mut told: Vec<_> = pulls
        .iter()
        .map(|pull| {
            let image = pull.image.strip_prefix(&format!("{HOST}/{REPOSITORY}@")).unwrap().to_owned();
            (pull.way, image, pull.tag.as_deref(), pull.through, pull.name.as_str(), pull.decision, pull.requests)
        })
        .collect();
    told.sort_by_key(|row| format!("{row:?}"));
    let name = |digest: contracts::Digest| digest.to_string();
    let mut expected = vec![
        (PullWay::Pull, name(index.digest()), Some("v1"), None, "pull", Decision::Allow, 2),
        (PullWay::Pull, name(index.images[0].digest()), None, Some(index.digest()), "pull", Decision::Allow, 1),
        (PullWay::Pull, name(denied.digest()), Some("bad"), None, "pull", Decision::Deny, 1),
        (PullWay::Kubernetes, name(index.digest()), None, None, "shop", Decision::Allow, 1),
    ];
    expected.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(told, expected);
    assert!(pulls.iter().any(|pull| pull.by == "ann@acme.dev"));
    assert_eq!(site.pulls("?limit=1").await, pulls[..1]);
    assert_eq!(site.pulls("?since=2100-01-01T00:00:00Z").await, []);

    // What was let through, each once; then what of it would be denied now.
    let images = site.by(&site.admin, Method::GET, "/api/v1/pulls/images").send().await.unwrap();
    let images: Vec<PulledImage> = images.json().await.unwrap();
    let mut names: Vec<String> = images.iter().map(|image| image.image.clone()).collect();
    names.sort();
    let mut expected: Vec<String> =
        [index.digest(), index.images[0].digest()].iter().map(|d| format!("{HOST}/{REPOSITORY}@{d}")).collect();
    expected.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(names, expected);
    let judged = site.judge(&names).await;
    assert!(judged.iter().all(|one| one.decision == Some(Decision::Allow) && one.reason.is_empty()), "{judged:?}");
    assert_eq!(site.deny(index.images[0].config.digest, json!({})).await.0, 201);
    names.push("registry.test/app/web:v1".to_owned());
    let judged = site.judge(&names).await;
    assert_eq!(judged[0].decision, Some(Decision::Deny));
    assert!(judged[1].reason.contains("it phones home"), "{judged:?}");
    assert_eq!((judged[2].decision, judged[2].reason.contains("names no digest")), (None, true), "{judged:?}");

    // It survives an orderly end, what waited to be written too.
    assert_eq!(site.get("manifests/bad").await.0, 403);
    let Site { folder, running, fake, admin, pull, client, build } = site;
    running.stop().await;
    let mut settings = gateway::config::Settings::defaults(folder.path());
    settings.listen = "127.0.0.1:0".parse().unwrap();
    let running = Gateway::start(settings).await.unwrap();
    let site = Site { folder, running, fake, admin, pull, client, build };
    assert_eq!(site.pulls("").await.len(), 5);
}

#[tokio::test]
async fn who_may_read_the_log_and_ask() {
    let site = site().await;
    for (role, read, judge) in [("push", 200, 200), ("pull", 200, 200), ("read", 200, 403)] {
        let token = site.token(role).await;
        assert_eq!(site.by(&token, Method::GET, "/api/v1/pulls").send().await.unwrap().status(), read);
        assert_eq!(site.by(&token, Method::GET, "/api/v1/pulls/images").send().await.unwrap().status(), read);
        let asked = site.by(&token, Method::POST, "/api/v1/judge").json(&json!({"images": []})).send().await.unwrap();
        assert_eq!(asked.status(), judge, "{role}");
    }
    let bound = json!({"name": "bound", "role": "push", "workflow": "skynet/release"});
    let made: Value = site.send(Method::POST, "/api/v1/tokens", &bound).await.1;
    let bound = made["secret"].as_str().unwrap();
    assert_eq!(site.by(bound, Method::GET, "/api/v1/pulls").send().await.unwrap().status(), 403);
    let many = json!({"images": vec!["a"; 101]});
    assert_eq!(site.send(Method::POST, "/api/v1/judge", &many).await.0, 400);
    assert_eq!(site.by(&site.admin, Method::GET, "/api/v1/pulls?sinse=1").send().await.unwrap().status(), 400);
}
