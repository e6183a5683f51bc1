//! What a registry may do on the wire: be away, reset, break off, stay silent, trickle, flood, or speak something else. In
//! each case it is an error in time for who asked, nothing is kept of it, and nobody else notices.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, future::join_all};
use reqwest::{Client, Response};
use testdata::Image;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::site::{Site, before, failed};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wrong {
    ResetAtOnce,
    ResetInHead,
    ResetInBody,
    ClosedAtOnce,
    ClosedInBody,
    SilentAtOnce,
    SilentInHead,
    SilentInBody,
    TrickledHead,
    TrickledBody,
    HeadWithoutEnd,
    ChunksWithoutEnd,
    Gibberish,
}

impl Wrong {
    const ALL: [Self; 13] = [
        Self::ResetAtOnce,
        Self::ResetInHead,
        Self::ResetInBody,
        Self::ClosedAtOnce,
        Self::ClosedInBody,
        Self::SilentAtOnce,
        Self::SilentInHead,
        Self::SilentInBody,
        Self::TrickledHead,
        Self::TrickledBody,
        Self::HeadWithoutEnd,
        Self::ChunksWithoutEnd,
        Self::Gibberish,
    ];

    /// Whether it answers before it goes wrong.
    fn begins(self) -> bool {
        matches!(self, Self::ResetInBody | Self::ClosedInBody | Self::SilentInBody | Self::TrickledBody)
    }

    /// What a client is told that has had nothing yet. What is longer than it may be is a lie, all else a failure.
    fn status(self) -> u16 {
        if self == Self::ChunksWithoutEnd { 502 } else { 503 }
    }
}

/// What a registry has, by the end of its address, and what goes wrong with it.
#[derive(Default)]
struct Contents {
    files: Mutex<HashMap<String, (&'static str, Bytes)>>,
    wrong: Mutex<HashMap<String, Wrong>>,
    /// Bytes that were sent of what has no end.
    flooded: AtomicU64,
}

/// A registry that is no more than a socket.
struct Wild {
    address: SocketAddr,
    contents: Arc<Contents>,
    listening: JoinHandle<()>,
}

impl Wild {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, contents) = (listener.local_addr().unwrap(), Arc::default());
        Self { address, listening: Self::listen(listener, &contents), contents }
    }

    fn listen(listener: TcpListener, contents: &Arc<Contents>) -> JoinHandle<()> {
        let contents = Arc::clone(contents);
        tokio::spawn(async move {
            // They end with it.
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let contents = Arc::clone(&contents);
                open.spawn(async move { contents.serve(stream).await });
            }
        })
    }

    /// Nobody listens any more, and whatever was open is closed.
    async fn leave(&mut self) {
        self.listening.abort();
        let _gone = (&mut self.listening).await;
    }

    async fn come_back(&mut self) {
        self.listening = Self::listen(TcpListener::bind(self.address).await.unwrap(), &self.contents);
    }

    fn has(&self, image: &Image) {
        let mut files = self.contents.files.lock().unwrap();
        let manifest = Bytes::from(image.manifest.bytes.clone());
        files.insert(manifest_of(image), (testdata::MEDIA_TYPE_MANIFEST, manifest));
        for blob in image.blobs() {
            files.insert(format!("blobs/{}", blob.digest), ("application/octet-stream", blob.bytes.clone().into()));
        }
    }

    fn goes_wrong(&self, what: &str, wrong: Wrong) {
        self.contents.wrong.lock().unwrap().insert(what.to_owned(), wrong);
    }

    fn is_well(&self) {
        self.contents.wrong.lock().unwrap().clear();
    }
}

impl Contents {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if stream.read_line(&mut first).await? == 0 {
                return Ok(());
            }
            let mut line = String::new();
            while stream.read_line(&mut line).await? > 2 {
                line.clear();
            }
            let path = first.split(' ').nth(1).unwrap_or_default();
            let mut parts = path.rsplitn(3, '/');
            let (name, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let what = format!("{kind}/{name}");
            let file = self.files.lock().unwrap().get(&what).cloned();
            let Some((media_type, bytes)) = file else {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
                continue;
            };
            let wrong = self.wrong.lock().unwrap().get(&what).copied();
            if let Some(wrong) = wrong {
                return self.go_wrong(stream.into_inner(), wrong, media_type, &bytes).await;
            }
            stream.write_all(head(media_type, bytes.len()).as_bytes()).await?;
            if !first.starts_with("HEAD") {
                stream.write_all(&bytes).await?;
            }
        }
    }

    async fn go_wrong(
        &self,
        mut stream: TcpStream,
        wrong: Wrong,
        media_type: &str,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        let head = head(media_type, bytes.len());
        let (half_head, half) = (&head.as_bytes()[..20], &bytes[..bytes.len() / 2]);
        match wrong {
            Wrong::ResetInHead | Wrong::SilentInHead => stream.write_all(half_head).await?,
            Wrong::ResetInBody | Wrong::ClosedInBody | Wrong::SilentInBody => {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(half).await?;
            }
            Wrong::TrickledHead => return trickle(&mut stream, head.as_bytes()).await,
            Wrong::TrickledBody => {
                stream.write_all(head.as_bytes()).await?;
                return trickle(&mut stream, bytes).await;
            }
            Wrong::HeadWithoutEnd => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                return self.flood(&mut stream, b"x-more: and more of it\r\n").await;
            }
            Wrong::ChunksWithoutEnd => {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                return self.flood(&mut stream, format!("1000\r\n{}\r\n", " ".repeat(0x1000)).as_bytes()).await;
            }
            Wrong::Gibberish => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\0\0\0\0").await?,
            Wrong::ResetAtOnce | Wrong::ClosedAtOnce | Wrong::SilentAtOnce => {}
        }
        match wrong {
            Wrong::SilentAtOnce | Wrong::SilentInHead | Wrong::SilentInBody => std::future::pending().await,
            Wrong::ResetAtOnce | Wrong::ResetInHead | Wrong::ResetInBody => {
                // What was sent has arrived by then. Closed without lingering, a socket sends RST instead of FIN.
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.set_zero_linger()
            }
            _ => Ok(()),
        }
    }

    async fn flood(&self, stream: &mut TcpStream, piece: &[u8]) -> std::io::Result<()> {
        loop {
            stream.write_all(piece).await?;
            self.flooded.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
}

fn head(media_type: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n")
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn manifest_of(image: &Image) -> String {
    format!("manifests/{}", image.digest())
}

fn layer_of(image: &Image) -> String {
    format!("blobs/{}", image.layers[1].digest)
}

/// Images whose upper layers are of these lengths, so that no two are equal.
fn images(name: &str, lengths: std::ops::Range<usize>) -> Vec<Image> {
    lengths.map(|length| Image::with_payload(&format!("{name}-{length}"), length)).collect()
}

/// A client of its own.
struct Puller<'s> {
    site: &'s Site,
    client: Client,
}

impl<'s> Puller<'s> {
    fn new(site: &'s Site) -> Self {
        Self { site, client: Client::builder().no_proxy().build().unwrap() }
    }

    async fn get(&self, host: &str, what: &str) -> Response {
        self.try_get(host, what).await.unwrap()
    }

    async fn try_get(&self, host: &str, what: &str) -> reqwest::Result<Response> {
        let url = format!("http://{}/v2/{host}/open/app/{what}", self.site.running.address());
        self.client.get(url).bearer_auth(&self.site.admin).send().await
    }

    async fn pull(&self, host: &str, image: &Image) {
        let begun = Instant::now();
        let manifest = self.get(host, &manifest_of(image)).await;
        assert_eq!(manifest.bytes().await.unwrap(), image.manifest.bytes);
        for blob in image.blobs() {
            let answer = self.get(host, &format!("blobs/{}", blob.digest)).await;
            assert_eq!(answer.bytes().await.unwrap(), blob.bytes);
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{host}: {:?}", begun.elapsed());
    }

    /// Pulls from the same registry and from another one until it is over, what is new each time and what is not.
    async fn pull_on(&self, fresh: &[Image], over: &AtomicBool) -> usize {
        let mut pulled = 0;
        for image in fresh.iter().chain(fresh.iter().cycle()) {
            self.pull("wild.test", image).await;
            self.pull("two.test", image).await;
            pulled += 1;
            if over.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pulled
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_on_the_wire_is_an_error_in_time_and_nobody_elses() {
    for cache in [None, Some(64 << 20)] {
        let wild = Wild::start().await;
        let site = before(wild.address, cache).await;
        let of_each = |name, first| images(name, first..first + Wrong::ALL.len());
        let (with_manifest, with_layer) = (of_each("manifest", 100_000), of_each("layer", 110_000));
        let fresh = images("fresh", 120_000..120_008);
        with_manifest.iter().chain(&with_layer).chain(&fresh).for_each(|image| wild.has(image));
        fresh.iter().for_each(|image| site.two.image("open/app", "v1", image));
        let client = Puller::new(&site);
        for image in &with_layer {
            assert_eq!(client.get("wild.test", &manifest_of(image)).await.status(), 200);
        }
        for ((wrong, manifest), layer) in Wrong::ALL.into_iter().zip(&with_manifest).zip(&with_layer) {
            wild.goes_wrong(&manifest_of(manifest), wrong);
            wild.goes_wrong(&layer_of(layer), wrong);
        }

        // All of it at once, each for two clients.
        let clients = [Puller::new(&site), Puller::new(&site)];
        let over = AtomicBool::new(false);
        let manifests = Wrong::ALL.into_iter().zip(&with_manifest).flat_map(|(wrong, image)| {
            clients.iter().map(move |client| async move {
                let begun = Instant::now();
                let answer = client.get("wild.test", &manifest_of(image)).await;
                assert_eq!(failed(answer).await, (wrong.status(), "UNAVAILABLE".to_owned()), "manifest {wrong:?}");
                assert!(begun.elapsed() < Duration::from_secs(5), "manifest {wrong:?}: {:?}", begun.elapsed());
            })
        });
        let layers = Wrong::ALL.into_iter().zip(&with_layer).flat_map(|(wrong, image)| {
            clients.iter().map(move |client| async move {
                let begun = Instant::now();
                let answer = client.try_get("wild.test", &layer_of(image)).await;
                if wrong.begins() {
                    // What breaks off before its head was sent on is a failure, or no answer at all.
                    match answer {
                        Ok(answer) if answer.status() == 200 => {
                            assert!(answer.bytes().await.is_err(), "layer {wrong:?}");
                        }
                        Ok(answer) => {
                            let told = (wrong.status(), "UNAVAILABLE".to_owned());
                            assert_eq!(failed(answer).await, told, "layer {wrong:?}");
                        }
                        Err(_) => {}
                    }
                } else {
                    let told = (wrong.status(), "UNAVAILABLE".to_owned());
                    assert_eq!(failed(answer.unwrap()).await, told, "layer {wrong:?}");
                }
                assert!(begun.elapsed() < Duration::from_secs(6), "layer {wrong:?}: {:?}", begun.elapsed());
            })
        });
        let all = async {
            futures::join!(join_all(manifests), join_all(layers));
            over.store(true, Ordering::Relaxed);
        };
        let ((), pulled) = futures::join!(all, client.pull_on(&fresh, &over));
        assert!(pulled > 2, "others pulled meanwhile: {pulled}");
        // What floods is not read for longer than it may be.
        let flooded = wild.contents.flooded.load(Ordering::Relaxed);
        assert!(flooded < 128 << 20, "{flooded} bytes");
        if cache.is_some() {
            site.rests().await;
            let kept = site.files("content");
            for image in &with_layer {
                assert!(!kept.contains(&image.layers[1].digest.hex()), "half a layer is kept");
            }
        }

        // Nothing of it is remembered.
        wild.is_well();
        for image in with_manifest.iter().chain(&with_layer) {
            client.pull("wild.test", image).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_goes_away_takes_nobody_with_it_and_is_asked_again_once_it_is_back() {
    let mut wild = Wild::start().await;
    let site = before(wild.address, Some(64 << 20)).await;
    let all = images("app", 100_000..100_003);
    let [kept, granted, other] = &all[..] else { panic!("three images") };
    all.iter().for_each(|image| wild.has(image));
    site.two.image("open/app", "v1", kept);
    let (client, second) = (Puller::new(&site), Puller::new(&site));
    client.pull("wild.test", kept).await;
    site.holds(3).await;
    assert_eq!(client.get("wild.test", &manifest_of(granted)).await.status(), 200);

    // It dies in the middle of a layer.
    wild.goes_wrong(&layer_of(granted), Wrong::TrickledBody);
    let streaming = client.get("wild.test", &layer_of(granted)).await;
    assert_eq!(streaming.status(), 200);
    let mut streaming = streaming.bytes_stream();
    assert!(!streaming.next().await.unwrap().unwrap().is_empty());
    wild.leave().await;
    let ended = async { while streaming.next().await.is_some_and(|piece| piece.is_ok()) {} };
    let (ended, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(3), ended), second.pull("two.test", kept));
    ended.unwrap();

    // And nobody listens.
    for what in [manifest_of(other), layer_of(granted), "manifests/v1".to_owned()] {
        let begun = Instant::now();
        let (answer, ()) = tokio::join!(client.get("wild.test", &what), second.pull("two.test", kept));
        assert_eq!(failed(answer).await, (503, "UNAVAILABLE".to_owned()), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{what}: {:?}", begun.elapsed());
    }
    second.pull("wild.test", kept).await;

    wild.is_well();
    wild.come_back().await;
    for image in &all {
        client.pull("wild.test", image).await;
    }
}
