//! A gateway over a fake registry that is `registry.test` for it. Whatever is in `open/…` may be pulled (a contract
//! warns about it only); `skynet/…` needs an SBOM that the minter's key attests.

use contracts::{Digest, api::CreatedToken};
use gateway::{
    app::{Gateway, Running},
    config::Settings,
    upstream::UpstreamSettings,
};
use jiff::SignedDuration;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use testdata::{Attached, Image, Minter};

use crate::fake::Fake;

pub struct Site {
    pub _folder: tempfile::TempDir,
    pub running: Running,
    pub fake: Fake,
    pub admin: String,
    pub pull: String,
    pub client: Client,
    pub minter: Minter,
}

/// The fake registry's settings.
pub fn upstream(fake: &Fake) -> UpstreamSettings {
    UpstreamSettings {
        url: Some(fake.url()),
        plain_http: true,
        connect_timeout: SignedDuration::from_secs(2),
        answer_timeout: SignedDuration::from_secs(2),
        idle_timeout: SignedDuration::from_secs(2),
        ..UpstreamSettings::new("registry.test")
    }
}

pub async fn site() -> Site {
    site_with(|_| {}).await
}

pub async fn site_with(change: impl FnOnce(&mut Settings)) -> Site {
    let fake = Fake::start().await;
    let folder = testdata::scratch();
    let mut settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: vec![upstream(&fake)],
        ..Settings::defaults(folder.path())
    };
    change(&mut settings);
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut site = Site { _folder: folder, running, fake, pull: String::new(), admin, client, minter: Minter::fresh() };
    site.pull = site.token(&site.admin, "pull").await;
    site.contracts(&site.admin).await;
    site
}

impl Site {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    pub fn by(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(token)
    }

    pub async fn token(&self, admin: &str, role: &str) -> String {
        let body = json!({"name": "a test", "role": role});
        let response = self.by(admin, Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap();
        response.json::<CreatedToken>().await.unwrap().secret
    }

    /// An admin token of a new organization with the same contracts.
    pub async fn organization(&self, name: &str) -> String {
        let body = json!({"name": name});
        let made = self.by(&self.admin, Method::POST, "/api/v1/organizations").json(&body).send().await.unwrap();
        let admin = made.json::<CreatedToken>().await.unwrap().secret;
        self.contracts(&admin).await;
        admin
    }

    async fn contracts(&self, admin: &str) {
        self.signed_by(admin, &self.minter.public_pem()).await;
        let open = r#"{repositories: ["registry.test/open/**"], enforcement: warn}"#;
        self.contract(admin, "open", "{name: image, type: CONTAINER_IMAGE}", open).await;
        let skynet = r#"{repositories: ["registry.test/skynet/**"]}"#;
        self.contract(admin, "skynet", "{name: sbom, type: SBOM_CYCLONEDX_JSON}", skynet).await;
    }

    pub async fn signed_by(&self, admin: &str, key: &str) {
        let settings = json!({"default_signers": [key], "unmatched": "deny"});
        let put = self.by(admin, Method::PUT, "/api/v1/organization").json(&settings).send().await.unwrap();
        assert_eq!(put.status(), 200);
    }

    async fn contract(&self, admin: &str, name: &str, material: &str, admission: &str) {
        let contract = format!(
            "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {{name: {name}}}\nspec:\n  materials: [{material}]\n  admission: {admission}\n"
        );
        self.apply(admin, name, &contract, &[]).await;
    }

    /// Applies a contract with the files that it names.
    pub async fn apply(&self, admin: &str, name: &str, contract: &str, beside: &[(&str, String)]) {
        let mut files = json!({"contract.yaml": contract});
        for (name, text) in beside {
            files[*name] = json!(text);
        }
        let files = json!({"contract": "contract.yaml", "files": files});
        let path = format!("/api/v1/contracts/{name}");
        let put = self.by(admin, Method::PUT, &path).json(&files).send().await.unwrap();
        assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    }

    /// Puts an image into the registry, with the attestation that lets it through.
    pub fn attested(&self, repository: &str, tag: &str, image: &Image) -> Attached {
        self.fake.image(repository, tag, image);
        let name = format!("registry.test/{repository}");
        let bundle = self.minter.cosign_cyclonedx(&name, image.digest(), &testdata::cyclonedx(3));
        let attached = Attached::bundles(&image.manifest, &[bundle.bytes()]);
        self.fake.attach(repository, &attached);
        attached
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.by(&self.pull, method, &format!("/v2/{path}"))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).send().await.unwrap()
    }

    pub async fn head(&self, path: &str) -> Response {
        self.ask(Method::HEAD, path).send().await.unwrap()
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }
}

pub fn header_of<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The status, and the code of the error.
pub async fn failed(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty());
    (status, body["errors"][0]["code"].as_str().unwrap().to_owned())
}

pub fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// The digests that an index lists.
pub async fn listed(response: Response) -> Vec<Digest> {
    assert_eq!(response.status(), 200);
    assert_eq!(header_of(&response, "content-type"), Some(testdata::MEDIA_TYPE_INDEX));
    let index: Value = response.json().await.unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    manifests.iter().map(|one| one["digest"].as_str().unwrap().parse().unwrap()).collect()
}
