//! TLS by files that change, and clients that need a certificate of their own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::config::TlsSettings;
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
    let plain = site_with(|_| {}).await;
    let folder = testdata::scratch();
    let settings = gateway::config::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: Some(tls),
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
