//! Clients that stop taking what they asked for are let go of after a while, with all that is held for them. Slow ones
//! are not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{body::Body, http::header, response::IntoResponse};
use bytes::Bytes;
use contracts::Digest;
use futures::{StreamExt, stream};
use gateway::{
    Gateway,
    config::{Settings, TlsSettings},
};
use jiff::SignedDuration;
use reqwest::{Certificate, Client, Method, Version};
use serde_json::{Value, json};
use testdata::{Authority, Image};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    cache::MIB,
    fake::{Asked, Fake},
    site::{Site, blob, changed, changed_passing},
};

const BOUND: Duration = Duration::from_secs(1);
/// More than what fits between a registry and a client that reads nothing.
const LAYER: usize = 16 << 20;

fn bounded(settings: &mut Settings) {
    settings.send_timeout = BOUND;
}

/// Asks for something and takes only the head of the answer.
async fn stalled(site: &Site, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(site.running.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\r\n", site.admin);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

/// Counts the answers with blobs that are on their way from a registry.
fn on_their_way(fake: &Fake, image: &Image) -> Arc<AtomicUsize> {
    struct Open(Arc<AtomicUsize>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, layer) = (Arc::clone(&count), Bytes::from(image.layers[1].bytes.clone()));
    let path = format!("/blobs/{}", image.layers[1].digest);
    fake.hook(move |asked: &Asked| {
        if asked.method != Method::GET || !asked.path.ends_with(&path) {
            return None;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&counted));
        let pieces = (0..layer.len()).step_by(64 << 10).map(|at| layer.slice(at..layer.len().min(at + (64 << 10))));
        let pieces = stream::iter(pieces.collect::<Vec<_>>()).map(move |piece| {
            let _open = &open;
            Ok::<_, std::io::Error>(piece)
        });
        Some(([(header::CONTENT_LENGTH, layer.len().to_string())], Body::from_stream(pieces)).into_response())
    });
    count
}

/// Waits until it is so, for not much longer than the bound.
async fn comes_to(what: &str, is: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < 6 * BOUND, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Its connection is closed: what was on its way arrives, and no more, however long it reads now.
async fn is_cut(mut silent: TcpStream) {
    let mut read = Vec::new();
    let _reset = silent.read_to_end(&mut read).await;
    assert!(read.len() < LAYER, "{} bytes", read.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_is_let_go_of_with_the_connection_to_the_registry() {
    let site = changed_passing(bounded).await;
    let image = Image::with_payload("app", LAYER);
    site.grant("one.test", "open/app", &image).await;
    let open = on_their_way(&site.one, &image);
    let path = format!("/v2/{}", blob("one.test", "open/app", image.layers[1].digest));
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(stalled(&site, &path).await);
    }
    assert_eq!(open.load(Ordering::SeqCst), 3);
    comes_to("the registry still sends", async || open.load(Ordering::SeqCst) == 0).await;
    for one in silent {
        is_cut(one).await;
    }
    // Others are served as before.
    assert_eq!(site.get(path.trim_start_matches("/v2/")).await.bytes().await.unwrap(), image.layers[1].bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_keeps_nothing_in_the_cache() {
    let site = changed(64 * MIB, bounded).await;
    let image = Image::with_payload("app", LAYER);
    site.grant("one.test", "open/app", &image).await;
    let path = blob("one.test", "open/app", image.layers[1].digest);
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), image.layers[1].bytes);
    site.holds(1).await;
    let silent = stalled(&site, &format!("/v2/{path}")).await;
    let prune = async || {
        let asked = site.api(&site.admin, Method::POST, "/api/v1/cache/prune").json(&json!({"keep": 0}));
        asked.send().await.unwrap().bytes().await.unwrap();
        site.stats().await["blobs"] == 0
    };
    assert!(!prune().await, "what is being read stays");
    comes_to("it is still being read", prune).await;
    is_cut(silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_an_answer_of_the_api_is_let_go_of_too() {
    let site = changed_passing(bounded).await;
    let bytes = vec![7; LAYER];
    let path = format!("/api/v1/evidence/{}", Digest::of(&bytes));
    let put = site.api(&site.admin, Method::PUT, &path).body(bytes).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let silent = stalled(&site, &path).await;
    tokio::time::sleep(2 * BOUND).await;
    is_cut(silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_gets_all_of_it() {
    let site = changed_passing(bounded).await;
    let image = Image::with_payload("app", LAYER);
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let mut slow = stalled(&site, &format!("/v2/{}", blob("one.test", "open/app", layer.digest))).await;
    // So little at first that the system does not tell of room for many times the bound.
    let (mut read, mut piece, begun) = (Vec::new(), vec![0; 8192], Instant::now());
    while begun.elapsed() < 6 * BOUND {
        tokio::time::sleep(BOUND / 8).await;
        let had = slow.read(&mut piece).await.unwrap();
        read.extend_from_slice(&piece[..had]);
    }
    assert!(read.len() < 1 << 20, "{}", read.len());
    while !read.ends_with(&layer.bytes[LAYER - 64..]) {
        assert_ne!(slow.read_buf(&mut read).await.unwrap(), 0, "it broke off after {} bytes", read.len());
    }
    assert!(read.ends_with(&layer.bytes));
}

/// A gateway that speaks TLS with who trusts its authority, and a client that speaks HTTP/2 with it and gives each
/// answer no more room than it must.
async fn over_tls() -> Site {
    let site = changed_passing(|_| {}).await;
    let authority = Authority::new("gateways", gateway::http::clock::now());
    let server = authority.tls_server(&["localhost"], gateway::http::clock::now());
    let (certificate, key) = (site.folder.path().join("tls.pem"), site.folder.path().join("tls.key"));
    std::fs::write(&certificate, server.certificate_pem).unwrap();
    std::fs::write(&key, server.key_pem).unwrap();
    let state = site.folder.path().join("tls");
    std::fs::create_dir(&state).unwrap();
    // The registries may take longer than the client.
    let mut upstreams = crate::site::upstreams(&site.one, &site.two);
    upstreams.iter_mut().for_each(|one| one.idle_timeout = SignedDuration::from_secs(60));
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: Some(TlsSettings { certificate, key, client_ca: None }),
        upstreams,
        send_timeout: BOUND,
        ..Settings::defaults(&state)
    };
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    let root = Certificate::from_pem(authority.root_pem().as_bytes()).unwrap();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .http2_initial_stream_window_size(65_535)
        .http2_initial_connection_window_size(8 << 20)
        .build()
        .unwrap();
    let base = format!("https://localhost:{}", running.address().port());
    let site = Site { running, admin, client, base, ..site };
    site.open(&site.admin).await;
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_connection_with_many_answers_only_those_are_given_up_that_stand_still() {
    let site = over_tls().await;
    let image = Image::with_payload("app", LAYER);
    let layer = &image.layers[1];
    site.grant("one.test", "open/app", &image).await;
    let open = on_their_way(&site.one, &image);
    let path = blob("one.test", "open/app", layer.digest);
    let mut silent = Vec::new();
    for _ in 0..20 {
        let answer = site.get(&path).await;
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
        silent.push(answer);
    }
    let mut slow = site.get(&path).await.bytes_stream();
    assert_eq!(open.load(Ordering::SeqCst), 21);
    let (mut read, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < 3 * BOUND {
        tokio::time::sleep(BOUND / 4).await;
        read.extend_from_slice(&slow.next().await.unwrap().unwrap());
    }
    assert_eq!(open.load(Ordering::SeqCst), 1, "answers on their way from the registry");
    while let Some(piece) = slow.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read == layer.bytes, "{} bytes", read.len());
    // Those that were given up end with an error, and others begin on the same connection.
    assert!(silent.pop().unwrap().bytes().await.is_err());
    assert_eq!(site.get(&path).await.bytes().await.unwrap(), layer.bytes);
    let metrics = site.api(&site.admin, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sluice_connections 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_registry_is_not_taken_for_a_client_that_stands_still() {
    let site = over_tls().await;
    let image = Image::with_payload("app", 300_000);
    let layer = Bytes::from(image.layers[1].bytes.clone());
    site.grant("one.test", "open/app", &image).await;
    let (send, _asked) = crate::cache::by_hand(&site.one, layer.len());
    let answer = tokio::spawn(site.ask(&blob("one.test", "open/app", image.layers[1].digest)).send());
    send.send(Ok(layer.slice(..100_000))).await.unwrap();
    let answer = answer.await.unwrap().unwrap();
    let read = tokio::spawn(answer.bytes());
    tokio::time::sleep(2 * BOUND).await;
    send.send(Ok(layer.slice(100_000..))).await.unwrap();
    assert_eq!(read.await.unwrap().unwrap(), layer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_the_api_on_a_connection_with_many_are_given_up_too() {
    let site = over_tls().await;
    let bytes = vec![7; LAYER];
    let path = format!("/api/v1/evidence/{}", Digest::of(&bytes));
    let put = site.api(&site.admin, Method::PUT, &path).body(bytes.clone()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let silent = site.api(&site.admin, Method::GET, &path).send().await.unwrap();
    let backup = site.api(&site.admin, Method::GET, "/api/v1/backup").send().await.unwrap();
    assert_eq!(backup.status(), 200);
    tokio::time::sleep(3 * BOUND).await;
    assert!(silent.bytes().await.is_err());
    assert_eq!(site.api(&site.admin, Method::GET, &path).send().await.unwrap().bytes().await.unwrap(), bytes);
    let organization: Value =
        site.api(&site.admin, Method::GET, "/api/v1/organization").send().await.unwrap().json().await.unwrap();
    assert_eq!(organization["unmatched"], "deny");
    // A copy of the state is larger than a window, so it stood still as well.
    assert!(backup.bytes().await.is_err());
}
