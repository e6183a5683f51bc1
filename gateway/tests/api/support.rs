//! A gateway in a folder of its own, and answers as texts that do not change from run to run.

use std::fmt::Write as _;

use contracts::{api::CreatedToken, keys::SigningKey};
use gateway::{
    app::{Gateway, Running},
    config::Settings,
};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Site {
    pub folder: TempDir,
    pub running: Running,
    pub admin: String,
    pub client: Client,
}

/// An empty gateway, and the operator's token.
pub async fn site() -> Site {
    site_with(|_| {}).await
}

pub async fn site_with(change: impl FnOnce(&mut Settings)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    change(&mut settings);
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    Site { folder, running, admin, client: Client::new() }
}

pub fn settings(folder: &TempDir) -> Settings {
    Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::defaults(folder.path()) }
}

impl Site {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    /// A request with a token.
    pub fn by(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(token)
    }

    pub async fn get(&self, token: &str, path: &str) -> String {
        show(self.by(token, Method::GET, path).send().await.unwrap()).await
    }

    pub async fn send(&self, token: &str, method: Method, path: &str, body: &Value) -> String {
        show(self.by(token, method, path).json(body).send().await.unwrap()).await
    }

    /// The same gateway, stopped and started again.
    pub async fn restarted(self) -> Self {
        let Self { folder, running, admin, client } = self;
        running.stop().await;
        let running = Gateway::start(settings(&folder)).await.unwrap();
        Self { folder, running, admin, client }
    }

    /// A new token of the admin's organization.
    pub async fn token(&self, role: &str, workflow: Option<&str>) -> CreatedToken {
        let body = json!({"name": "a test", "role": role, "workflow": workflow});
        let response = self.by(&self.admin, Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// An admin token of a new organization.
    pub async fn organization(&self, name: &str) -> String {
        let body = json!({"name": name});
        let response = self.by(&self.admin, Method::POST, "/api/v1/organizations").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 201);
        response.json::<CreatedToken>().await.unwrap().secret
    }

    /// Applies a small contract that needs no policies, for which the organization's default key signs.
    pub async fn contract(&self, name: &str) {
        let key = SigningKey::generate_p256().unwrap().public().to_pem();
        let settings = json!({"default_signers": [key], "unmatched": "deny"});
        let put = self.send(&self.admin, Method::PUT, "/api/v1/organization", &settings).await;
        assert!(put.starts_with("200"), "{put}");
        let path = format!("/api/v1/contracts/{name}");
        let applied = self.send(&self.admin, Method::PUT, &path, &files(&contract(name, "image"))).await;
        assert!(applied.starts_with("201"), "{applied}");
    }

    pub async fn workflow(&self, project: &str, name: &str, contract: &str) {
        let body = json!({"project": project, "name": name, "team": "core", "contract": contract});
        let put = self.send(&self.admin, Method::POST, "/api/v1/workflows", &body).await;
        assert!(put.starts_with("201"), "{put}");
    }
}

pub fn contract(name: &str, material: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {name}}}\nspec:\n  materials:\n    - {{name: {material}, type: CONTAINER_IMAGE}}\n  admission:\n    repositories: [\"registry.acme.dev/skynet/**\"]\n"
    )
}

pub fn files(contract: &str) -> Value {
    json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}})
}

/// Status, the headers that matter, and the body, with what changes from run to run named instead.
pub async fn show(response: Response) -> String {
    let mut text = response.status().to_string();
    for name in ["www-authenticate", "content-type", "content-length", "allow", "retry-after"] {
        let telling = name != "content-type" || response.headers().get(name).is_some_and(|v| v != "application/json");
        let telling = telling && (name != "content-length" || response.status() == 200);
        if let Some(value) = response.headers().get(name).filter(|_| telling && !is_json(&response, name)) {
            write!(text, "\n{name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    let body = response.text().await.unwrap();
    match serde_json::from_str::<Value>(&body) {
        Ok(mut value) => {
            redact(&mut value);
            write!(text, "\n{}", serde_json::to_string_pretty(&value).unwrap()).unwrap();
        }
        Err(_) if body.is_empty() => {}
        Err(_) => write!(text, "\n{body}").unwrap(),
    }
    text
}

fn is_json(response: &Response, header: &str) -> bool {
    header == "content-length" && response.headers().get("content-type").is_some_and(|v| v == "application/json")
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(redact),
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => {
            let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
            if text.parse::<jiff::Timestamp>().is_ok() {
                "[instant]".clone_into(text);
            } else if text.starts_with("sluice_") {
                "[secret]".clone_into(text);
            } else if hex && matches!(text.len(), 16 | 32) {
                "[id]".clone_into(text);
            }
        }
        _ => {}
    }
}
