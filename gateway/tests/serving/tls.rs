//! TLS by files that change, and clients that need a certificate of their own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::config::{ClientSettings, TlsSettings};
use jiff::Timestamp;
use reqwest::{Certificate, Client, Identity, Version};
use testdata::{Authority, TlsServer};

use crate::site::{Site, header_of, site_with};

struct Files(tempfile::TempDir);

impl Files {
    fn new(server: &TlsServer) -> Self {
        let files = Self(testdata::scratch());
        files.put(server);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, server: &TlsServer) {
        std::fs::write(self.path("tls.key"), &server.key_pem).unwrap();
        std::fs::write(self.path("tls.pem"), &server.certificate_pem).unwrap();
    }

    fn settings(&self, client_ca: Option<&Path>) -> TlsSettings {
        TlsSettings {
            certificate: self.path("tls.pem"),
            key: self.path("tls.key"),
            client_ca: client_ca.map(Path::to_owned),
        }
    }
}

fn client(authority: &Authority, identity: Option<&TlsServer>) -> Client {
    let root = Certificate::from_pem(authority.root_pem().as_bytes()).unwrap();
    let mut builder = Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only([root]);
    if let Some(one) = identity {
        let pem = format!("{}{}", one.certificate_pem, one.key_pem);
        builder = builder.identity(Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

async fn reaches(site: &Site, client: &Client) -> bool {
    client.get(url(site)).send().await.is_ok()
}

fn url(site: &Site) -> String {
    format!("https://localhost:{}/healthz", site.running.address().port())
}

/// Waits until it does, for no longer than a test may.
async fn comes_to_reach(site: &Site, client: &Client) -> bool {
    for _ in 0..100 {
        if reaches(site, client).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// A gateway that speaks TLS cannot be set up over plain HTTP, so only what needs no token is asked.
async fn bare(tls: TlsSettings) -> Site {
    knowing(tls, Vec::new()).await
}

/// The same, with clients that need no token.
async fn knowing(tls: TlsSettings, clients: Vec<ClientSettings>) -> Site {
    let plain = site_with(|_| {}).await;
    let folder = testdata::scratch();
    let settings = gateway::config::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: Some(tls),
        clients,
        ..gateway::config::Settings::defaults(folder.path())
    };
    let running = gateway::Gateway::start(settings).await.unwrap();
    Site { _folder: folder, running, ..plain }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let now: Timestamp = gateway::http::clock::now();
    let (first, second) = (Authority::new("first", now), Authority::new("second", now));
    let files = Files::new(&first.tls_server(&["localhost"], now));
    let site = bare(files.settings(None)).await;
    let (old, new) = (client(&first, None), client(&second, None));
    assert!(reaches(&site, &old).await && !reaches(&site, &new).await);

    // Half of a renewal, and nonsense: what was there stays.
    let renewed = second.tls_server(&["localhost"], now);
    std::fs::write(files.path("tls.key"), &renewed.key_pem).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(reaches(&site, &old).await);
    std::fs::write(files.path("tls.pem"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(reaches(&site, &old).await);

    files.put(&renewed);
    assert!(comes_to_reach(&site, &new).await);
    assert!(!reaches(&site, &old).await);
}

#[tokio::test]
async fn where_clients_need_a_certificate_others_are_not_spoken_to() {
    let now: Timestamp = gateway::http::clock::now();
    let (server, clients) = (Authority::new("server", now), Authority::new("clients", now));
    let files = Files::new(&server.tls_server(&["localhost"], now));
    let ca = files.path("clients.pem");
    std::fs::write(&ca, clients.root_pem()).unwrap();
    let site = bare(files.settings(Some(&ca))).await;
    let known = client(&server, Some(&clients.tls_client("node-1", now)));
    let answer = known.get(url(&site)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    assert!(!reaches(&site, &client(&server, None)).await);
    let stranger = client(&server, Some(&Authority::new("other", now).tls_client("node-1", now)));
    assert!(!reaches(&site, &stranger).await);

    // A certificate is needed beside a token, and is none. The name that TLS was asked for is where tokens are.
    let port = site.running.address().port();
    let ping = known.get(format!("https://localhost:{port}/v2/")).send().await.unwrap();
    let realm = format!("Bearer realm=\"https://localhost:{port}/token\",service=\"localhost:{port}\"");
    assert_eq!((ping.status().as_u16(), header_of(&ping, "www-authenticate")), (401, Some(realm.as_str())));

    // Another authority takes the place of the first.
    let next = Authority::new("next", now);
    std::fs::write(&ca, next.root_pem()).unwrap();
    assert!(comes_to_reach(&site, &client(&server, Some(&next.tls_client("node-1", now)))).await);
    assert!(!reaches(&site, &client(&server, Some(&clients.tls_client("node-1", now)))).await);
}

#[tokio::test]
async fn a_client_that_is_known_by_its_certificate_may_pull_without_a_token() {
    let now: Timestamp = gateway::http::clock::now();
    let (server, clients) = (Authority::new("server", now), Authority::new("clients", now));
    let files = Files::new(&server.tls_server(&["localhost"], now));
    let ca = files.path("clients.pem");
    std::fs::write(&ca, clients.root_pem()).unwrap();
    let organization = "default".parse::<gateway::names::Name>().unwrap();
    let known =
        |certificate: &str| ClientSettings { certificate: certificate.to_owned(), organization: organization.clone() };
    let listed = vec![known("node-1.acme.dev"), known("spiffe://acme.dev/node/2"), known("node-9")];
    let site = knowing(files.settings(Some(&ca)), listed).await;
    let root = format!("https://localhost:{}", site.running.address().port());
    let review = serde_json::json!({"kind": "AdmissionReview"}).to_string();
    let ask = async |name: &str, token: Option<&str>| {
        let client = client(&server, Some(&clients.tls_client(name, now)));
        let mut told = Vec::new();
        for (method, path) in [
            ("GET", "/v2/"),
            ("GET", "/v2/registry.test/app/web/manifests/v1"),
            ("POST", "/k8s/validate"),
            ("GET", "/api/v1/runs"),
            ("POST", "/api/v1/workflows"),
            ("GET", "/metrics"),
        ] {
            let mut asked = client.request(method.parse().unwrap(), format!("{root}{path}"));
            if method == "POST" {
                asked = asked.header("content-type", "application/json").body(review.clone());
            }
            if let Some(token) = token {
                asked = asked.bearer_auth(token);
            }
            told.push(asked.send().await.unwrap().status().as_u16());
        }
        told
    };
    // Nothing lies behind that name, which only those are told who may pull; and what is posted is no review.
    let may_pull = [200, 404, 400, 200, 403, 401];
    for name in ["node-1.acme.dev", "NODE-1.acme.dev", "spiffe://acme.dev/node/2"] {
        assert_eq!(ask(name, None).await, may_pull, "{name}");
    }
    for name in ["node-2.acme.dev", "spiffe://acme.dev/node/22", "spiffe://acme.dev/NODE/2", "sub.node-1.acme.dev"] {
        assert_eq!(ask(name, None).await, [401; 6], "{name}");
    }
    assert_eq!(ask("node-1.acme.dev", Some("sluice_wrong")).await, [401; 6], "a token counts alone");
    // Its name in the common name alone, or beside that of another one.
    for (common, names) in [("node-9", vec![]), ("node", vec!["node-1.acme.dev", "node-9"])] {
        let shown = clients.tls_client_of(common, &names, now);
        let asked = client(&server, Some(&shown)).get(format!("{root}/v2/")).send().await.unwrap();
        assert_eq!(asked.status(), 401, "{common} {names:?}");
    }
}
