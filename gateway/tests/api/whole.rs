//! The gateway as a whole: its start, its state, its end.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use contracts::Digest;
use gateway::{
    app::{Gateway, StartError},
    config::{Settings, TlsSettings},
    store::{RedbStore, Store, StoreError},
};
use insta::assert_snapshot;
use reqwest::{Body, Client, Method, Version};
use serde_json::json;

use crate::support::{Site, settings, site, site_with};

#[tokio::test]
async fn a_new_state_hands_over_one_token_in_a_file_of_its_own() {
    let site = site().await;
    let file = site.running.admin_token_file().unwrap().clone();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(site.admin.len(), "sluice_".len() + 64);
    let state = site.folder.path().join("state/sluice.redb");
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o600);
    let Site { folder, running, admin, client } = site;
    running.stop().await;
    assert!(!std::fs::read(&state).unwrap().windows(admin.len()).any(|w| w == admin.as_bytes()));

    let running = Gateway::start(settings(&folder)).await.unwrap();
    assert_eq!(running.admin_token_file(), None);
    let url = format!("http://{}/api/v1/tokens", running.address());
    assert_eq!(client.get(url).bearer_auth(&admin).send().await.unwrap().status(), 200);
    running.stop().await;

    let used = tempfile::tempdir().unwrap();
    std::fs::create_dir(used.path().join("state")).unwrap();
    std::fs::write(used.path().join("state/admin-token"), "mine").unwrap();
    let error = Gateway::start(settings(&used)).await.err().unwrap().to_string();
    assert!(error.contains("it is there already"), "{error}");
    assert_eq!(std::fs::read_to_string(used.path().join("state/admin-token")).unwrap(), "mine");
}

#[tokio::test]
async fn starts_that_are_refused() {
    let site = site().await;
    let second = Gateway::start(settings(&site.folder)).await;
    assert!(matches!(second, Err(StartError::State(StoreError::InUse { .. }))));
    let folder = tempfile::tempdir().unwrap();
    let taken = Settings { listen: site.running.address(), ..settings(&folder) };
    assert!(matches!(Gateway::start(taken).await, Err(StartError::Listen { .. })));
    assert!(!folder.path().join("state/admin-token").exists());
    let exposed = Settings { listen: "0.0.0.0:0".parse().unwrap(), ..settings(&folder) };
    assert!(matches!(Gateway::start(exposed).await, Err(StartError::PlainHttp { .. })));
    let keyless =
        TlsSettings { certificate: folder.path().join("no.pem"), key: folder.path().join("no.key"), client_ca: None };
    let keyless = Settings { tls: Some(keyless), ..settings(&folder) };
    assert!(matches!(Gateway::start(keyless).await, Err(StartError::Tls(_))));
}

#[tokio::test]
async fn a_backup_is_a_state_that_a_gateway_starts_from() {
    let site = site().await;
    site.organization("acme").await;
    let copy = site.by(&site.admin, Method::GET, "/api/v1/backup").send().await.unwrap();
    assert_eq!(copy.status(), 200);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("copy.redb"), copy.bytes().await.unwrap()).unwrap();
    let store = RedbStore::open(&folder.path().join("copy.redb")).unwrap();
    let token = store.token_by_secret(Digest::of(site.admin.as_bytes())).await.unwrap();
    assert!(token.unwrap().operator);
    let left = std::fs::read_dir(site.folder.path().join("state")).unwrap();
    let left: Vec<_> = left.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|f| f.starts_with(".backup")), "{left:?}");
}

#[tokio::test]
async fn changes_are_in_the_audit_log() {
    let site = site().await;
    let settings = json!({"unmatched": "allow"});
    site.send(&site.admin, Method::PUT, "/api/v1/organization", &settings).await;
    let log = site.by(&site.admin, Method::GET, "/api/v1/audit").send().await.unwrap();
    let log: Vec<contracts::api::AuditEntry> = log.json().await.unwrap();
    let events: Vec<_> = log.iter().map(|e| (e.number, e.event.as_str())).collect();
    assert_eq!(events, [(1, "organization-created"), (2, "token-created"), (3, "settings-changed")]);
    assert_eq!(log[2].previous, Some(log[1].digest));
    let mine = site.by(&site.admin, Method::GET, "/api/v1/tokens").send().await.unwrap();
    let mine: Vec<contracts::api::TokenInfo> = mine.json().await.unwrap();
    let detail = json!({"by": mine[0].id, "settings": {"default_signers": [], "unmatched": "allow"}});
    assert_eq!(log[2].detail, detail);
    assert_snapshot!(site.get(&site.admin, "/api/v1/audit?from=9").await, @r#"
    200 OK
    []
    "#);
}

#[tokio::test]
async fn open_requests_finish_when_the_gateway_stops() {
    let site = site().await;
    let (first, second) = (vec![1; 1000], vec![2; 1000]);
    let digest = Digest::of(&[first.clone(), second.clone()].concat());
    let path = format!("/api/v1/evidence/{digest}");
    let (send, pieces) = futures::channel::mpsc::unbounded::<Result<Vec<u8>, std::io::Error>>();
    send.unbounded_send(Ok(first)).unwrap();
    let upload = site.by(&site.admin, Method::PUT, &path).body(Body::wrap_stream(pieces)).send();
    let upload = tokio::spawn(upload);
    // The upload has begun once its partial file is there.
    let folder = site.folder.path().join("state/evidence/default");
    while !folder.is_dir() || std::fs::read_dir(&folder).unwrap().next().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = site.running.address();
    let stopping = tokio::spawn(site.running.stop());
    while Client::new().get(format!("http://{address}/healthz")).send().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!stopping.is_finished());
    send.unbounded_send(Ok(second)).unwrap();
    drop(send);
    assert_eq!(upload.await.unwrap().unwrap().status(), 201);
    stopping.await.unwrap();
    assert!(folder.join(digest.hex()).exists());
}

#[tokio::test]
async fn speaks_tls_and_http_2_with_its_certificate() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let (certificate, key) = (keys.path().join("c.pem"), keys.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let site = site_with(|s| s.tls = Some(TlsSettings { certificate, key, client_ca: None })).await;
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([root]).build().unwrap();
    let url = format!("https://localhost:{}/healthz", site.running.address().port());
    let response = client.get(&url).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert!(site.client.get(site.url("/healthz")).send().await.is_err());
    assert!(Client::new().get(&url).send().await.is_err());
}
