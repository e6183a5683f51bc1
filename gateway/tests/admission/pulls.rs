//! The log of pulls, and what of it would be denied now.

use std::time::Duration;

use contracts::{
    Decision, Digest,
    api::{JudgedImage, PullInfo, PullWay, PulledImage},
    limits,
};
use gateway::{
    app::Gateway,
    config::Settings,
    store::{RedbStore, Store},
};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::{Image, Index};

use crate::site::{HOST, REPOSITORY, Site, site, site_with};

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
    let name = |digest: Digest| digest.to_string();
    let mut expected = vec![
        (PullWay::Pull, name(index.digest()), Some("v1"), None, "pull", Decision::Allow, 2),
        (PullWay::Pull, name(index.images[0].digest()), None, Some(index.digest()), "pull", Decision::Allow, 1),
        (PullWay::Pull, name(denied.digest()), Some("bad"), None, "pull", Decision::Deny, 1),
        (PullWay::Kubernetes, name(index.digest()), None, None, "shop", Decision::Allow, 1),
    ];
    expected.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(told, expected);
    // What a cluster says of its users is told with the token that said so.
    let told_by = |by: &str| pulls.iter().find(|pull| pull.by == by).unwrap().told_by.clone();
    let asking = told_by("ann@acme.dev").unwrap();
    assert_eq!((asking.name.as_str(), told_by(&asking.id)), ("pull", None), "{pulls:?}");
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
    let mut settings = Settings::defaults(folder.path());
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

fn pod(user: &str, images: &[String]) -> Value {
    let containers: Vec<Value> =
        images.iter().enumerate().map(|(n, image)| json!({"name": format!("c{n}"), "image": image})).collect();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop",
        "userInfo": {"username": user},
        "object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}}
    }})
}

#[tokio::test]
async fn who_comes_without_a_token_is_noted_so() {
    let site = site_with(|settings| settings.kubernetes.anonymous = Some("default".parse().unwrap())).await;
    let url = format!("http://{}/k8s/validate", site.running.address());
    let image = format!("elsewhere.test/a@{}", Digest::of(b"x"));
    let review = pod("admin@acme.dev", &[image]);
    assert_eq!(site.client.post(&url).json(&review).send().await.unwrap().status(), 200);
    let pulls = site.pulls_when(1).await;
    assert_eq!((pulls[0].by.as_str(), pulls[0].way), ("admin@acme.dev", PullWay::Kubernetes));
    assert_eq!(pulls[0].told_by.as_ref().unwrap().id, "anonymous");
}

#[tokio::test]
async fn what_starts_in_a_pod_is_noted_and_what_is_not_there_is_not() {
    let site = site().await;
    let (web, other) = (Image::new("web"), Image::new("other"));
    for image in [&web, &other] {
        site.fake.image(REPOSITORY, "v1", image);
        site.release(image.digest(), true).await;
    }
    let named = |image: &Image| format!("{HOST}/{REPOSITORY}@{}", image.digest());
    // A change that leaves the images, as `resize` does, starts nothing; one that brings another image does.
    let mut review = pod("ann", &[named(&web)]);
    let request = review["request"].as_object_mut().unwrap();
    request.insert("operation".to_owned(), json!("UPDATE"));
    request.insert("oldObject".to_owned(), request["object"].clone());
    for (part, image) in [("resize", &web), ("", &other)] {
        review["request"]["subResource"] = json!(part);
        review["request"]["object"]["spec"]["containers"][0]["image"] = json!(named(image));
        let asked = site.by(&site.pull, Method::POST, "/k8s/validate").json(&review).send().await.unwrap();
        assert_eq!(asked.json::<Value>().await.unwrap()["response"]["allowed"], json!(true));
    }
    // Digests that nobody has can be made up without end, also where everything is let through.
    site.settings(json!({"unmatched": "allow"})).await;
    for path in [format!("{REPOSITORY}/manifests/{}", Digest::of(b"1")), format!("x/manifests/{}", Digest::of(b"2"))] {
        let asked = site.by(&site.pull, Method::GET, &format!("/v2/{HOST}/{path}")).send().await.unwrap();
        assert_eq!(asked.status(), 404);
    }
    assert_eq!(site.get(&format!("manifests/{}", web.digest())).await.0, 200);
    let pulls = site.pulls_when(2).await;
    let mut told: Vec<_> = pulls.iter().map(|pull| (pull.way, pull.image.clone())).collect();
    told.sort();
    assert_eq!(told, [(PullWay::Pull, named(&web)), (PullWay::Kubernetes, named(&other))]);
}

/// Stops a gateway, puts entries into its log of pulls, and starts it again.
async fn with_entries(site: Site, entries: impl Iterator<Item = PullInfo>) -> Site {
    let Site { folder, running, fake, admin, pull, client, build } = site;
    running.stop().await;
    let mut settings = Settings::defaults(folder.path());
    let store = RedbStore::open(&settings.state).unwrap();
    let all: Vec<PullInfo> = entries.collect();
    for some in all.chunks(5000) {
        store.put_pulls(&"default".parse().unwrap(), some.to_vec()).await.unwrap();
    }
    drop(store);
    settings.listen = "127.0.0.1:0".parse().unwrap();
    let running = Gateway::start(settings).await.unwrap();
    Site { folder, running, fake, admin, pull, client, build }
}

fn entry(way: PullWay, decision: Decision, image: &str, second: i64) -> PullInfo {
    PullInfo {
        at: jiff::Timestamp::from_second(1_900_000_000 + second).unwrap(),
        way,
        image: image.to_owned(),
        tag: None,
        through: None,
        by: "by".to_owned(),
        name: "name".to_owned(),
        told_by: None,
        decision,
        enforced: true,
        verdict: Digest::of(b"verdict"),
        requests: 1,
    }
}

#[tokio::test]
async fn what_can_be_made_up_does_not_drive_out_what_was_pulled() {
    let kinds = [
        (PullWay::Pull, Decision::Allow),
        (PullWay::Kubernetes, Decision::Allow),
        (PullWay::Pull, Decision::Deny),
        (PullWay::Kubernetes, Decision::Deny),
    ];
    // Of each kind one that is older than everything, and then as many as are kept of all but pulls that were let through.
    let first = kinds.iter().map(|(way, decision)| entry(*way, *decision, &format!("{way:?} {decision:?}"), 0));
    let kept = [1, limits::PULLS_OF_CLUSTERS, limits::PULLS_DENIED, limits::PULLS_DENIED];
    let flood = kinds.iter().zip(kept).flat_map(|((way, decision), kept)| {
        (1..=i64::try_from(kept).unwrap()).map(|second| entry(*way, *decision, "flood", second))
    });
    let site = with_entries(site().await, first.chain(flood)).await;
    let images = site.by(&site.admin, Method::GET, "/api/v1/pulls/images").send().await.unwrap();
    let images: Vec<PulledImage> = images.json().await.unwrap();
    let told: Vec<_> = images.iter().map(|one| (one.image.as_str(), one.way)).collect();
    assert_eq!(told, [("flood", PullWay::Kubernetes), ("Pull Allow", PullWay::Pull)]);
    let one = site.by(&site.admin, Method::GET, "/api/v1/pulls/images?limit=1").send().await.unwrap();
    assert_eq!(one.json::<Vec<PulledImage>>().await.unwrap(), images[..1]);
    // The newest first, of whatever kind.
    let pulls = site.pulls("?limit=1000").await;
    assert!(pulls.len() == 1000 && pulls.is_sorted_by(|a, b| a.at >= b.at));
    assert!(pulls[..].iter().all(|pull| pull.way == PullWay::Kubernetes && pull.decision == Decision::Allow));
}

/// The most memory that this process had at a time, in KiB.
#[cfg(target_os = "linux")]
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn whoever_may_read_the_log_cannot_fill_the_memory_with_it() {
    let long = "l".repeat(2000);
    let many = (0..20_000).map(|second| {
        let by = format!("{long}{second}");
        PullInfo { by, ..entry(PullWay::Pull, Decision::Allow, "registry.test/a", second) }
    });
    let site = with_entries(site().await, many).await;
    let before = most_memory();
    let token = site.token("read").await;
    let ask = || async {
        let asked = site.by(&token, Method::GET, "/api/v1/pulls/images").send().await.unwrap();
        asked.json::<Vec<PulledImage>>().await.unwrap().len()
    };
    let all = futures::future::join_all((0..16).map(|_| ask())).await;
    assert!(all.iter().all(|images| *images == 1));
    // What is decoded of the log is 50 MB for each of them.
    let more = most_memory() - before;
    assert!(more < 350_000, "{more} KiB");
}
