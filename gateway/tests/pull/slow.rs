//! Clients that do not take what they asked for, and the others beside them.

use std::{sync::Arc, time::Duration};

use gateway::{Gateway, config::Settings, upstream::UpstreamSettings};
use jiff::{SignedDuration, Timestamp};
use testdata::{Authority, Image};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    fake::Fake,
    site::{Site, blob, passing},
};

/// More than what fits between a registry and a client that reads nothing.
const LAYER: usize = 12 * 1024 * 1024;
const STALLED: usize = 12;

/// Asks for a blob and takes only the head of the answer.
async fn stalled(site: &Site, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(site.running.address()).await.unwrap();
    let request = format!("GET /v2/{path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\r\n", site.admin);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

/// Whoever reads gets what there is, however many there are that do not. Those get the rest once they read.
async fn nobody_waits_for_others(site: Site, registry: &str) {
    let image = Image::with_payload("app", LAYER);
    site.grant("one.test", "open/app", &image).await;
    let layer = &image.layers[1];
    let path = blob("one.test", "open/app", layer.digest);
    let mut silent = Vec::new();
    for _ in 0..STALLED {
        silent.push(stalled(&site, &path).await);
    }
    // Until what is between them is full.
    tokio::time::sleep(Duration::from_millis(700)).await;
    for _ in 0..3 {
        let pulled = async { site.get(&path).await.bytes().await };
        let pulled = tokio::time::timeout(Duration::from_secs(20), pulled).await;
        let bytes = pulled.unwrap_or_else(|_| panic!("{registry}: nothing comes beside {STALLED} clients that wait"));
        assert_eq!(bytes.unwrap(), layer.bytes, "{registry}");
    }
    let mut awake = silent.pop().unwrap();
    let mut read = Vec::new();
    while !read.ends_with(&layer.bytes[LAYER - 64..]) {
        assert_ne!(awake.read_buf(&mut read).await.unwrap(), 0, "{registry}: it broke off");
    }
    assert!(read.ends_with(&layer.bytes), "{registry}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_nothing_keep_nobody_waiting() {
    nobody_waits_for_others(passing().await, "plain").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_nothing_keep_nobody_waiting_at_a_registry_that_speaks_http_2() {
    nobody_waits_for_others(over_tls().await, "TLS").await;
}

/// A gateway that reaches `one.test` over TLS, where HTTP/2 is spoken with who wants to.
async fn over_tls() -> Site {
    let site = passing().await;
    let authority = Authority::new("registries", now());
    let ca_file = site.folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.root_pem()).unwrap();
    let url = format!("https://localhost:{}", before(&site.one, &authority).await);
    let folder = site.folder.path().join("tls");
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: vec![UpstreamSettings {
            url: Some(url),
            ca_file: Some(ca_file),
            idle_timeout: SignedDuration::from_secs(60),
            ..UpstreamSettings::new("one.test")
        }],
        ..Settings::defaults(&folder)
    };
    std::fs::create_dir(&folder).unwrap();
    let running = Gateway::start(settings).await.unwrap();
    let admin = std::fs::read_to_string(running.admin_token_file().unwrap()).unwrap().trim().to_owned();
    let base = format!("http://{}", running.address());
    let site = Site { running, admin, base, ..site };
    site.open(&site.admin).await;
    site
}

/// The port on which a registry speaks TLS.
async fn before(registry: &Fake, authority: &Authority) -> u16 {
    let server = authority.tls_server(&["localhost"], now());
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(server.certificate_pem.as_bytes()).flatten().collect();
    let key = PrivateKeyDer::from_pem_slice(server.key_pem.as_bytes()).unwrap();
    let mut settings = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, registry) = (listener.local_addr().unwrap().port(), registry.address);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outside = acceptor.accept(stream).await?;
                // The registry tells by the first bytes which one is spoken.
                let mut inside = TcpStream::connect(registry).await?;
                copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    port
}

#[expect(clippy::disallowed_methods, reason = "certificates are held against the machine's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}
