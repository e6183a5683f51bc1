//! The questions of API servers in `testdata/kubernetes`, with whole answers, and who may ask.

use std::{convert::Infallible, fmt::Write as _, path::Path, time::Duration};

use axum::{body::Body, http::StatusCode, response::IntoResponse};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use contracts::Digest;
use futures::stream;
use gateway::config::{Digests, KubernetesSettings, Settings};
use reqwest::Method;
use serde_json::{Value, json};
use testdata::Image;

use crate::site::{HOST, REPOSITORY, Site, site_with};

/// A gateway for which `1111…` and the tags `v1` and `latest` are allowed, `2222…` and the tag `bad` are not, and
/// `app/down` cannot be asked about.
async fn cluster(change: impl FnOnce(&mut Settings)) -> Site {
    let site = site_with(|settings| {
        settings.external_url = Some("https://sluice.test".to_owned());
        let rollout = ("argoproj.io".to_owned(), "Rollout".to_owned());
        settings.kubernetes.templates.insert(rollout, vec!["/spec/template".to_owned()]);
        change(settings);
    })
    .await;
    site.release(allowed(), true).await;
    let image = Image::new("web");
    site.fake.image(REPOSITORY, "v1", &image);
    site.fake.image(REPOSITORY, "latest", &image);
    site.fake.image(REPOSITORY, "bad", &Image::new("bad"));
    site.release(image.digest(), true).await;
    site.apply("open", "open/**", "    enforcement: warn\n").await;
    site.fake.hook(|asked| asked.path.contains("/app/down/").then(|| StatusCode::SERVICE_UNAVAILABLE.into_response()));
    site
}

fn allowed() -> Digest {
    format!("sha256:{}", "11".repeat(32)).parse().unwrap()
}

fn folder(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/kubernetes").join(name);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
    };
    let mut all: Vec<_> = files.map(read).collect();
    all.sort();
    all
}

impl Site {
    async fn ask(&self, way: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self.by(&self.pull, Method::POST, &format!("/k8s/{way}"));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The answer in a few lines, with what changes from run to run left out.
    async fn told(&self, way: &str, body: Vec<u8>) -> String {
        let uid = serde_json::from_slice::<Value>(&body).ok().map(|review| review["request"]["uid"].clone());
        let (status, answer) = self.ask(way, body).await;
        let mut told = format!("{way}: ");
        if status != 200 {
            write!(told, "HTTP {status} {}", answer["error"]["message"].as_str().unwrap()).unwrap();
            return told;
        }
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        let response = &answer["response"];
        assert_eq!(Some(&response["uid"]), uid.as_ref());
        told.push_str(if response["allowed"].as_bool().unwrap() { "allowed" } else { "refused" });
        let status = &response["status"];
        if !status.is_null() {
            write!(told, " {} {}: {}", status["code"], status["reason"], status["message"].as_str().unwrap()).unwrap();
        }
        for warning in response["warnings"].as_array().into_iter().flatten() {
            write!(told, "\n    warning: {}", warning.as_str().unwrap()).unwrap();
        }
        if let Some(patch) = response["patch"].as_str() {
            assert_eq!(response["patchType"], "JSONPatch");
            let patch = String::from_utf8(STANDARD.decode(patch).unwrap()).unwrap();
            write!(told, "\n    patch: {patch}").unwrap();
        }
        hide(&told)
    }

    async fn corpus(&self, name: &str) -> String {
        let mut told = String::new();
        for (case, body) in folder(name) {
            let (validated, mutated) = (self.told("validate", body.clone()).await, self.told("mutate", body).await);
            writeln!(told, "{case}\n  {validated}\n  {mutated}").unwrap();
        }
        told
    }

    async fn validated(&self, image: &str) -> String {
        self.told("validate", pod(image)).await
    }
}

/// The key of a verdict hangs on a fresh signature.
fn hide(text: &str) -> String {
    let mut hidden = text.to_owned();
    for before in ["verdict sha256:", "verdicts/sha256:"] {
        let mut parts = hidden.split(before);
        let mut shown = parts.next().unwrap().to_owned();
        for part in parts {
            write!(shown, "{before}[…]{}", &part[64..]).unwrap();
        }
        hidden = shown;
    }
    hidden
}

fn pod(image: &str) -> Vec<u8> {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "userInfo": {"username": "ann@acme.dev"}, "namespace": "shop", "name": "web",
        "object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "web", "image": image}]}}
    }});
    review.to_string().into_bytes()
}

#[tokio::test]
async fn what_a_real_api_server_asks_is_answered() {
    let site = cluster(|_| {}).await;
    insta::assert_snapshot!(site.corpus("recorded").await);
}

#[tokio::test]
async fn what_a_current_api_server_asks_is_answered() {
    let site = cluster(|_| {}).await;
    insta::assert_snapshot!(site.corpus("recorded-1.36").await);
}

#[tokio::test]
async fn what_api_servers_may_ask_is_answered() {
    let site = cluster(|_| {}).await;
    insta::assert_snapshot!(site.corpus("made").await);
}

#[tokio::test]
async fn where_the_organization_says_so_tags_are_judged_as_they_point_now() {
    let site = cluster(|settings| settings.kubernetes.digests = Digests::Resolved).await;
    let mut told = String::new();
    for image in ["app/web:v1", "app/web", "app/web:bad", "app/web:none", "app/down:v1"] {
        writeln!(told, "{image}\n  {}", site.validated(&format!("{HOST}/{image}")).await).unwrap();
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn what_mutate_writes_is_what_validate_takes() {
    let site = cluster(|_| {}).await;
    let tagged = pod(&format!("{HOST}/{REPOSITORY}:v1"));
    let (_, answer) = site.ask("mutate", tagged.clone()).await;
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    let mut review: Value = serde_json::from_slice(&tagged).unwrap();
    for change in patch.as_array().unwrap() {
        assert_eq!(change["op"], "replace");
        *review["request"]["object"].pointer_mut(change["path"].as_str().unwrap()).unwrap() = change["value"].clone();
    }
    assert_eq!(site.told("validate", review.to_string().into_bytes()).await, "validate: allowed");
}

#[tokio::test]
async fn who_may_ask() {
    let site = cluster(|_| {}).await;
    let url = format!("http://{}/k8s/validate", site.running.address());
    let body = || pod(&format!("{HOST}/{REPOSITORY}@{}", allowed()));
    let post = || site.client.post(&url).header("content-type", "application/json").body(body());
    assert_eq!(post().send().await.unwrap().status(), 401);
    assert_eq!(post().bearer_auth("sluice_wrong").send().await.unwrap().status(), 401);
    for (role, status) in [("read", 403), ("push", 403), ("pull", 200), ("admin", 200)] {
        let token = site.token(role).await;
        assert_eq!(post().bearer_auth(token).send().await.unwrap().status(), status, "{role}");
    }
    assert_eq!(site.client.get(&url).bearer_auth(&site.pull).send().await.unwrap().status(), 405);

    // Where it is configured, for one organization; a wrong token is a mistake all the same.
    let anonymous = Some("default".parse().unwrap());
    let site = cluster(|settings| settings.kubernetes = KubernetesSettings { anonymous, ..Default::default() }).await;
    let url = format!("http://{}/k8s/validate", site.running.address());
    let post = || site.client.post(&url).header("content-type", "application/json").body(body());
    let answer: Value = post().send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(post().bearer_auth("sluice_wrong").send().await.unwrap().status(), 401);
    // Nothing else is open for it.
    let check = site.client.post(format!("http://{}/api/v1/check", site.running.address()));
    assert_eq!(check.json(&json!({"image": "a"})).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn bodies_are_bounded_and_answers_come_in_time() {
    let site = cluster(|_| {}).await;
    assert_eq!(site.ask("validate", vec![b' '; 9 * 1024 * 1024]).await.0, 413);
    let request = site.by(&site.pull, Method::POST, "/k8s/validate").header("content-type", "text/plain");
    assert_eq!(request.body(pod("a")).send().await.unwrap().status(), 415);
    let deep = format!("{{\"a\":{}", "[".repeat(5000));
    assert_eq!(site.ask("validate", deep.into_bytes()).await.0, 400);

    // A registry that does not answer is no yes, and is said before the API server stops waiting.
    site.fake.hook(|_| Some(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response()));
    let begun = std::time::Instant::now();
    let request = site.by(&site.pull, Method::POST, "/k8s/validate?timeout=2s");
    let images: Vec<Value> =
        (0..120).map(|n| json!({"name": "c", "image": format!("{HOST}/{REPOSITORY}@sha256:{n:064x}")})).collect();
    let mut review: Value = serde_json::from_slice(&pod("a")).unwrap();
    review["request"]["object"]["spec"]["containers"] = json!(images);
    let answer: Value = request.json(&review).send().await.unwrap().json().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let status = &answer["response"]["status"];
    assert_eq!((&answer["response"]["allowed"], &status["code"]), (&json!(false), &json!(503)));
    assert!(status["message"].as_str().unwrap().contains("try again"), "{status}");
}

#[tokio::test]
async fn what_is_not_told_in_time_is_no_yes() {
    // The registry may be waited for longer than the API server waits.
    let site = cluster(|settings| settings.upstreams[0].answer_timeout = jiff::SignedDuration::from_secs(15)).await;
    site.fake.hook(|_| Some(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response()));
    for way in ["validate", "mutate"] {
        let image = if way == "mutate" { ":v1".to_owned() } else { format!("@{}", Digest::of(b"unknown")) };
        let request = site.by(&site.pull, Method::POST, &format!("/k8s/{way}?timeout=2s"));
        let review = pod(&format!("{HOST}/{REPOSITORY}{image}"));
        let begun = std::time::Instant::now();
        let answer = request.header("content-type", "application/json").body(review).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{way}: {:?}", begun.elapsed());
        let response = &answer["response"];
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(503)), "{way}");
    }
}

#[tokio::test]
async fn an_object_is_of_the_kind_and_version_that_is_judged_and_an_id_is_short() {
    let site = cluster(|_| {}).await;
    let good: Value = serde_json::from_slice(&pod(&format!("{HOST}/{REPOSITORY}@{}", allowed()))).unwrap();
    for (pointer, other) in [("/request/object/kind", "Job"), ("/request/object/apiVersion", "batch/v1")] {
        let mut review = good.clone();
        *review.pointer_mut(pointer).unwrap() = json!(other);
        let told = site.told("validate", review.to_string().into_bytes()).await;
        assert!(told.starts_with("validate: refused 403"), "{pointer}: {told}");
    }
    for uid in ["u".repeat(129), "u\n".to_owned()] {
        let mut review = good.clone();
        review["request"]["uid"] = json!(uid);
        assert_eq!(site.ask("validate", review.to_string().into_bytes()).await.0, 400, "{uid:?}");
    }
    assert_eq!(site.told("validate", good.to_string().into_bytes()).await, "validate: allowed");
}

/// A Deployment of one container, which may leave its image to whatever makes its pods, and a volume.
fn deployment(container: &Value, volume: &Value) -> Vec<u8> {
    let spec = json!({"containers": [container], "volumes": [volume]});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": spec}}}
    }});
    review.to_string().into_bytes()
}

#[tokio::test]
async fn an_image_that_is_no_text_is_not_taken_for_none() {
    let site = cluster(|_| {}).await;
    let image = format!("{HOST}/{REPOSITORY}@{}", allowed());
    let (container, volume) = (json!({"name": "c", "image": image}), json!({"name": "v", "emptyDir": {}}));
    for wrong in [json!(7), json!([image]), json!(true)] {
        let (odd_container, odd_volume) = (json!({"name": "c", "image": wrong}), json!({"name": "v", "image": wrong}));
        for review in [deployment(&odd_container, &volume), deployment(&container, &odd_volume)] {
            let told = site.told("validate", review).await;
            assert!(told.starts_with("validate: refused 403"), "{wrong}: {told}");
        }
    }
    assert_eq!(site.told("validate", deployment(&container, &volume)).await, "validate: allowed");
    let reference = json!({"name": "v", "image": {"reference": 7}});
    let told = site.told("validate", deployment(&container, &reference)).await;
    assert!(told.starts_with("validate: refused 403"), "{told}");
}

#[tokio::test]
async fn answers_stay_as_short_as_api_servers_take_them() {
    let site = cluster(|_| {}).await;
    let mut review: Value = serde_json::from_slice(&pod("a")).unwrap();
    let images: Vec<Value> =
        (0..100).map(|n| json!({"name": "c", "image": format!("{HOST}/{REPOSITORY}@sha256:{n:064x}")})).collect();
    review["request"]["object"]["spec"]["containers"] = json!(images);
    let (_, answer) = site.ask("validate", review.to_string().into_bytes()).await;
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert_eq!((&answer["response"]["allowed"], message.chars().count()), (&json!(false), 4096));
    // Unchanged, each of them is a warning.
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = review["request"]["object"].clone();
    let (_, answer) = site.ask("validate", review.to_string().into_bytes()).await;
    let warnings = answer["response"]["warnings"].as_array().unwrap();
    let told: usize = warnings.iter().map(|warning| warning.as_str().unwrap().chars().count()).sum();
    assert!(answer["response"]["allowed"] == true && (1..=4000).contains(&told), "{told} characters");
}

#[tokio::test]
async fn only_a_change_keeps_what_was_there_before() {
    let site = cluster(|_| {}).await;
    let denied = format!("{HOST}/{REPOSITORY}@sha256:{}", "22".repeat(32));
    let mut review: Value = serde_json::from_slice(&pod(&denied)).unwrap();
    review["request"]["oldObject"] = review["request"]["object"].clone();
    let told = site.told("validate", review.to_string().into_bytes()).await;
    assert!(told.starts_with("validate: refused 403"), "it is made anew: {told}");
    review["request"]["operation"] = json!("UPDATE");
    let told = site.told("validate", review.to_string().into_bytes()).await;
    assert!(told.starts_with("validate: allowed") && told.contains("would be refused now"), "{told}");
}

#[tokio::test]
async fn an_operators_denial_closes_the_cluster_at_once() {
    let site = cluster(|_| {}).await;
    let image = format!("{HOST}/{REPOSITORY}@{}", allowed());
    assert_eq!(site.validated(&image).await, "validate: allowed");
    assert_eq!(site.deny(allowed(), json!({})).await.0, 201);
    let told = site.validated(&image).await;
    assert!(told.starts_with("validate: refused 403") && told.contains("it phones home"), "{told}");
    // A tag that points at what holds a denied layer.
    assert_eq!(site.undeny(allowed()).await.0, 200);
    let web = Image::new("web");
    assert_eq!(site.deny(web.layers[0].digest, json!({})).await.0, 201);
    let told = site.validated(&format!("{HOST}/{REPOSITORY}@{}", web.digest())).await;
    assert!(told.contains("it holds") && told.contains("it phones home"), "{told}");
}
