//! A gateway before two registries, `one.test` and `two.test`, and where a test says so a third, `wild.test`. Whatever is
//! in `open/…` may be pulled from each (a contract warns about it only), nothing else may.

use std::{net::SocketAddr, path::Path};

use contracts::{Digest, api::CreatedToken};
use gateway::{
    app::{Gateway, Running},
    config::Settings,
    upstream::{CacheSettings, UpstreamSettings},
};
use jiff::SignedDuration;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use testdata::{Image, Minter};

use crate::fake::Fake;

pub struct Site {
    pub folder: tempfile::TempDir,
    pub running: Running,
    pub one: Fake,
    pub two: Fake,
    pub admin: String,
    pub client: Client,
    /// How the client reaches the gateway.
    pub base: String,
}

/// One whose cache takes so many bytes.
pub async fn caching(size: u64) -> Site {
    let folder = testdata::scratch();
    let settings = Some(CacheSettings { folder: folder.path().join("cache"), size });
    site(folder, settings).await
}

/// The same with other settings.
pub async fn changed(size: u64, change: impl FnOnce(&mut Settings)) -> Site {
    let folder = testdata::scratch();
    let cache = Some(CacheSettings { folder: folder.path().join("cache"), size });
    site_with(folder, cache, change).await
}

/// One that keeps nothing.
pub async fn passing() -> Site {
    changed_passing(|_| {}).await
}

/// The same with other settings.
pub async fn changed_passing(change: impl FnOnce(&mut Settings)) -> Site {
    site_with(testdata::scratch(), None, change).await
}

/// One that has a registry of the test's own before it, as `wild.test`, and keeps so much, if anything.
pub async fn before(wild: SocketAddr, cache: Option<u64>) -> Site {
    let folder = testdata::scratch();
    let cache = cache.map(|size| CacheSettings { folder: folder.path().join("cache"), size });
    site_with(folder, cache, |settings| {
        let upstream = UpstreamSettings {
            host: "wild.test".to_owned(),
            url: Some(format!("http://{wild}")),
            ..settings.upstreams[0].clone()
        };
        settings.upstreams.push(upstream);
    })
    .await
}

async fn site(folder: tempfile::TempDir, cache: Option<CacheSettings>) -> Site {
    site_with(folder, cache, |_| {}).await
}

async fn site_with(
    folder: tempfile::TempDir,
    cache: Option<CacheSettings>,
    change: impl FnOnce(&mut Settings),
) -> Site {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let mut settings = settings(folder.path(), cache, &one, &two);
    change(&mut settings);
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    let client = Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", running.address());
    let site = Site { folder, running, one, two, admin, client, base };
    site.open(&site.admin).await;
    site
}

/// The two registries.
pub fn upstreams(one: &Fake, two: &Fake) -> Vec<UpstreamSettings> {
    let upstream = |fake: &Fake, host: &str| UpstreamSettings {
        url: Some(fake.url()),
        plain_http: true,
        connect_timeout: SignedDuration::from_millis(500),
        answer_timeout: SignedDuration::from_millis(500),
        idle_timeout: SignedDuration::from_secs(1),
        ..UpstreamSettings::new(host)
    };
    vec![upstream(one, "one.test"), upstream(two, "two.test")]
}

fn settings(folder: &Path, cache: Option<CacheSettings>, one: &Fake, two: &Fake) -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: upstreams(one, two),
        cache,
        ..Settings::defaults(folder)
    }
}

impl Site {
    pub fn api(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(token)
    }

    /// Applies the contract that only warns about `open/…`.
    pub async fn open(&self, admin: &str) {
        let key = Minter::fresh().public_pem();
        let settings = json!({"default_signers": [key], "unmatched": "deny"});
        let put = self.api(admin, Method::PUT, "/api/v1/organization").json(&settings).send().await.unwrap();
        assert_eq!(put.status(), 200);
        let contract = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: open}\nspec:\n  materials: [{name: image, type: CONTAINER_IMAGE}]\n  admission: {repositories: [\"one.test/open/**\", \"two.test/open/**\", \"wild.test/open/**\", \"shared.test/open/**\"], enforcement: warn}\n";
        let files = json!({"contract": "contract.yaml", "files": {"contract.yaml": contract}});
        let put = self.api(admin, Method::PUT, "/api/v1/contracts/open").json(&files).send().await.unwrap();
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
    }

    /// The admin of a new organization that may pull the same.
    pub async fn organization(&self, name: &str) -> String {
        let body = json!({"name": name});
        let made = self.api(&self.admin, Method::POST, "/api/v1/organizations").json(&body).send().await.unwrap();
        let admin = made.json::<CreatedToken>().await.unwrap().secret;
        self.open(&admin).await;
        admin
    }

    /// Stops the gateway as `kill -9` would leave it, and starts another one on the same folders.
    pub async fn again(self) -> Self {
        let Self { folder, running, one, two, admin, client, .. } = self;
        running.stop().await;
        let cache = CacheSettings { folder: folder.path().join("cache"), size: 64 << 20 };
        let running = Gateway::start(settings(folder.path(), Some(cache), &one, &two)).await.unwrap();
        let base = format!("http://{}", running.address());
        Self { folder, running, one, two, admin, client, base }
    }

    pub fn ask(&self, path: &str) -> RequestBuilder {
        self.api(&self.admin, Method::GET, &format!("/v2/{path}"))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.ask(path).send().await.unwrap()
    }

    /// Puts an image into a registry and pulls its manifest, so that its blobs are granted.
    pub async fn grant(&self, host: &str, repository: &str, image: &Image) {
        let fake = if host == "one.test" { &self.one } else { &self.two };
        fake.image(repository, "v1", image);
        let answer = self.get(&format!("{host}/{repository}/manifests/{}", image.digest())).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// What the cache counted.
    pub async fn stats(&self) -> Value {
        self.api(&self.admin, Method::GET, "/api/v1/cache").send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the cache holds so many blobs. They are put in place after their last byte was sent.
    pub async fn holds(&self, blobs: u64) {
        for _ in 0..200 {
            if self.stats().await["blobs"] == blobs {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{blobs} blobs were expected: {}", self.stats().await);
    }

    /// Waits until nothing is on its way into the cache. Manifests are put there after they were sent.
    pub async fn rests(&self) {
        for _ in 0..400 {
            if self.files("partial").is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("something is left: {:?}", self.files("partial"));
    }

    /// The names of the files that the cache has of content: digests.
    pub fn files(&self, part: &str) -> Vec<String> {
        let folder = self.folder.path().join("cache").join(part);
        let names = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

pub fn blob(host: &str, repository: &str, digest: Digest) -> String {
    format!("{host}/{repository}/blobs/{digest}")
}

/// The status, and the code of the error.
pub async fn failed(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
}

pub fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
