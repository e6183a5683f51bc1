//! A gateway over a registry in memory, whose contract `release` answers for `registry.test/app/**` and asks for a note.

use axum::http::StatusCode;
use contracts::{
    Digest,
    api::{CheckAnswer, CreatedToken, ReceivedAttestation, StartedRun},
};
use gateway::{
    app::{Gateway, Running},
    config::Settings,
    upstream::UpstreamSettings,
};
use jiff::SignedDuration;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use testdata::{Material, Minter};

use crate::fake::Fake;

pub const HOST: &str = "registry.test";
pub const REPOSITORY: &str = "app/web";

pub struct Site {
    pub folder: tempfile::TempDir,
    pub running: Running,
    pub fake: Fake,
    pub admin: String,
    pub pull: String,
    pub client: Client,
    pub build: Minter,
}

pub async fn site() -> Site {
    site_with(|_| {}).await
}

pub async fn site_with(change: impl FnOnce(&mut Settings)) -> Site {
    let fake = Fake::start().await;
    let folder = testdata::scratch();
    let upstream = UpstreamSettings {
        url: Some(fake.url()),
        plain_http: true,
        connect_timeout: SignedDuration::from_millis(500),
        answer_timeout: SignedDuration::from_millis(500),
        idle_timeout: SignedDuration::from_millis(500),
        ..UpstreamSettings::new(HOST)
    };
    let mut settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: vec![upstream],
        ..Settings::defaults(folder.path())
    };
    change(&mut settings);
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    let client = Client::builder().no_proxy().build().unwrap();
    let (build, pull) = (Minter::fresh(), String::new());
    let mut site = Site { folder, running, fake, admin, pull, client, build };
    site.pull = site.token("pull").await;
    site.settings(json!({})).await;
    site.apply("release", "app/**", "").await;
    let workflow = json!({"project": "skynet", "name": "release", "team": "core", "contract": "release"});
    assert_eq!(site.send(Method::POST, "/api/v1/workflows", &workflow).await.0, 201);
    site
}

impl Site {
    pub fn by(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.running.address())).bearer_auth(token)
    }

    pub async fn token(&self, role: &str) -> String {
        let body = json!({"name": role, "role": role});
        let response = self.by(&self.admin, Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap();
        response.json::<CreatedToken>().await.unwrap().secret
    }

    /// As the admin: the status, and the body if it is JSON.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let response = self.by(&self.admin, method, path).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    pub async fn settings(&self, more: Value) {
        let mut settings = json!({"default_signers": [self.build.public_pem()], "unmatched": "deny"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(self.send(Method::PUT, "/api/v1/organization", &settings).await.0, 200);
    }

    /// Applies a contract that asks for the image and a note; `more` goes into its `admission`.
    pub async fn apply(&self, name: &str, repositories: &str, more: &str) {
        let contract = format!(
            "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {name}}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: note, type: STRING}}\n  admission:\n    repositories: [\"{HOST}/{repositories}\"]\n{more}"
        );
        let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}});
        let (status, body) = self.send(Method::PUT, &format!("/api/v1/contracts/{name}"), &files).await;
        assert!(matches!(status, 200 | 201), "{body}");
    }

    /// Pushes a run about a digest: with the note, which is accepted, or without, which is rejected.
    pub async fn release(&self, digest: Digest, complete: bool) -> ReceivedAttestation {
        let run = json!({"project": "skynet", "workflow": "release"});
        let begun = self.by(&self.admin, Method::POST, "/api/v1/runs").json(&run).send().await.unwrap();
        let run: StartedRun = begun.json().await.unwrap();
        let mut materials = vec![Material::image("image", &format!("{HOST}/{REPOSITORY}"), digest)];
        if complete {
            materials.push(Material::string("note", "looked at"));
        }
        let push = self.by(&self.admin, Method::POST, "/api/v1/attestations?project=skynet&workflow=release");
        let push = push.header("content-type", contracts::bundle::MEDIA_TYPE);
        let answer = push.body(self.build.attest(&run, &materials).bytes().to_vec()).send().await.unwrap();
        let expected = if complete { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        assert_eq!(answer.status(), expected);
        answer.json().await.unwrap()
    }

    /// Asks the registry's side of the gateway about something of the repository.
    pub async fn pull(&self, method: Method, what: &str, range: bool) -> Response {
        let request = self.by(&self.pull, method, &format!("/v2/{HOST}/{REPOSITORY}/{what}"));
        let request = if range { request.header("range", "bytes=0-3") } else { request };
        request.send().await.unwrap()
    }

    /// The status of a GET, and the message when it failed.
    pub async fn get(&self, what: &str) -> (u16, String) {
        let answer = self.pull(Method::GET, what, false).await;
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
        (status, body["errors"][0]["message"].as_str().unwrap_or_default().to_owned())
    }

    pub async fn check(&self, digest: Digest) -> CheckAnswer {
        let body = json!({"image": format!("{HOST}/{REPOSITORY}@{digest}")});
        let answer = self.by(&self.pull, Method::POST, "/api/v1/check").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// `allow`, or the codes of what blocks.
    pub async fn verdict(&self, digest: Digest) -> String {
        let findings = self.check(digest).await.verdict.findings;
        let mut codes: Vec<_> = findings.iter().filter(|f| f.blocks()).map(|f| f.code.as_str()).collect();
        codes.dedup();
        if codes.is_empty() { "allow".to_owned() } else { codes.join(" ") }
    }

    /// An operator denies a digest.
    pub async fn deny(&self, digest: Digest, more: Value) -> (u16, Value) {
        let mut body = json!({"reason": "CVE-2031-1: it phones home"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.send(Method::PUT, &format!("/api/v1/denials/{digest}"), &body).await
    }

    pub async fn undeny(&self, digest: Digest) -> (u16, Value) {
        self.send(Method::DELETE, &format!("/api/v1/denials/{digest}"), &json!({})).await
    }

    /// An operator withdraws an attestation, by its digest or its run.
    pub async fn withdraw(&self, named: &str) -> (u16, Value) {
        let body = json!({"reason": "the builder was broken into"});
        self.send(Method::PUT, &format!("/api/v1/withdrawals/{named}"), &body).await
    }

    pub async fn restore(&self, named: &str) -> (u16, Value) {
        self.send(Method::DELETE, &format!("/api/v1/withdrawals/{named}"), &json!({})).await
    }

    /// The audit log, as far as it is of these events.
    pub async fn events(&self, about: &[&str]) -> Vec<String> {
        let log = self.by(&self.admin, Method::GET, "/api/v1/audit?limit=1000").send().await.unwrap();
        let log: Vec<contracts::api::AuditEntry> = log.json().await.unwrap();
        log.into_iter().map(|entry| entry.event).filter(|event| about.contains(&event.as_str())).collect()
    }
}
