//! The content cache of the real program: killed while it works, with a disk that is full, and with a registry that sends
//! more than anyone can hold.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use contracts::Digest;
use reqwest::{Client, Response};
use testdata::Image;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::scene::Scene;

const CONTRACT: &str = "apiVersion: sluice.dev/v1\nkind: Contract\nmetadata: {name: release}\nspec:\n  materials: [{name: image, type: CONTAINER_IMAGE}]\n  signers: {threshold: 1, any: [{publicKey: \"file://keys/release.pub\"}]}\n  admission: {repositories: [\"registry.test/open/**\"], enforcement: warn}\n";

/// A registry: what it has, and what it sends instead of the rest.
struct Registry {
    address: SocketAddr,
    downloads: Arc<AtomicUsize>,
}

impl Registry {
    async fn start(images: &[Image]) -> Self {
        let mut files = HashMap::new();
        for image in images {
            files.insert(format!("manifests/{}", image.digest()), image.manifest.bytes.clone());
            files.extend(image.blobs().map(|blob| (format!("blobs/{}", blob.digest), blob.bytes.clone())));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, files, downloads) =
            (listener.local_addr().unwrap(), Arc::new(files), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&downloads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (files, downloads) = (Arc::clone(&files), Arc::clone(&counted));
                tokio::spawn(async move { answer(stream, &files, &downloads).await });
            }
        });
        Self { address, downloads }
    }

    fn settings(&self, cache: &str) -> String {
        format!(
            "{cache}\n[[upstreams]]\nhost = \"registry.test\"\nurl = \"http://{}\"\nplain_http = true\nanswer_timeout = \"5s\"\n",
            self.address
        )
    }
}

/// One connection. What is not there is a flood: a manifest without end, or a blob of a hundred gigabytes.
async fn answer(stream: TcpStream, files: &HashMap<String, Vec<u8>>, downloads: &AtomicUsize) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    loop {
        let Some(first) = lines.next_line().await? else { return Ok(()) };
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        let path = first.split(' ').nth(1).unwrap_or_default();
        let name = path.rsplitn(3, '/').take(2).collect::<Vec<_>>();
        let name = name.into_iter().rev().collect::<Vec<_>>().join("/");
        let kind =
            if name.starts_with("manifests") { testdata::MEDIA_TYPE_MANIFEST } else { "application/octet-stream" };
        if path.contains("/open/junk/referrers/") {
            let junk = junk();
            let kind = testdata::MEDIA_TYPE_INDEX;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", junk.len());
            writing.write_all(head.as_bytes()).await?;
            writing.write_all(junk.as_bytes()).await?;
            continue;
        }
        if ["/referrers/", "/manifests/sha256-", "/open/junk/"].iter().any(|part| path.contains(part)) {
            writing.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        }
        let Some(bytes) = files.get(&name) else {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 107374182400\r\n\r\n");
            writing.write_all(head.as_bytes()).await?;
            let piece = vec![b' '; 256 * 1024];
            loop {
                writing.write_all(&piece).await?;
            }
        };
        downloads.fetch_add(usize::from(name.starts_with("blobs") && first.starts_with("GET")), Ordering::Relaxed);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", bytes.len());
        writing.write_all(head.as_bytes()).await?;
        if !first.starts_with("HEAD") {
            for piece in bytes.chunks(64 * 1024) {
                writing.write_all(piece).await?;
            }
        }
    }
}

/// A list of ten thousand that speak about an image, each of which is said to be a bundle.
fn junk() -> &'static str {
    static JUNK: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let one = |n: usize| {
            serde_json::json!({"mediaType": testdata::MEDIA_TYPE_MANIFEST, "digest": Digest::of(&n.to_be_bytes()), "size": 500,
                "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"})
        };
        let all: Vec<_> = (0..10_000).map(one).collect();
        serde_json::json!({"schemaVersion": 2, "mediaType": testdata::MEDIA_TYPE_INDEX, "manifests": all}).to_string()
    });
    &JUNK
}

struct Puller<'s> {
    scene: &'s Scene,
    client: Client,
    token: String,
}

impl<'s> Puller<'s> {
    fn new(scene: &'s Scene) -> Self {
        scene.sluice(&["contract", "apply", "contract.yaml"], 0);
        Self { scene, client: Client::builder().no_proxy().build().unwrap(), token: scene.token() }
    }

    async fn get(&self, rest: &str) -> reqwest::Result<Response> {
        self.get_of("open/app", rest).await
    }

    async fn get_of(&self, repository: &str, rest: &str) -> reqwest::Result<Response> {
        let url = format!("{}/v2/registry.test/{repository}/{rest}", self.scene.url());
        self.client.get(url).bearer_auth(&self.token).send().await
    }

    /// The layer, if it comes whole.
    async fn pull(&self, image: &Image) -> Option<Vec<u8>> {
        let manifest = self.get(&format!("manifests/{}", image.digest())).await.ok()?;
        assert_eq!(manifest.status(), 200, "{}", self.scene.log());
        let layer = self.get(&format!("blobs/{}", image.layers[1].digest)).await.ok()?;
        assert_eq!(layer.status(), 200, "{}", self.scene.log());
        Some(layer.bytes().await.ok()?.to_vec())
    }

    async fn metric(&self, name: &str) -> u64 {
        let answer = self.client.get(format!("{}/metrics", self.scene.url())).bearer_auth(&self.token).send();
        let text = answer.await.unwrap().text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn peak_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cached_is_right_after_every_kill_and_is_not_fetched_again() {
    let rounds = std::env::var("SLUICE_KILL_ROUNDS").map_or(5, |text| text.parse::<usize>().unwrap().min(20));
    let images: Vec<Image> = (0..rounds).map(|n| Image::with_payload(&format!("app-{n}"), 3_000_000 + n)).collect();
    let registry = Registry::start(&images).await;
    let scene = Scene::new(&registry.settings("[cache]\nfolder = \"cache\"\nsize = \"256MiB\"\n"), CONTRACT);
    let mut serving = scene.serve();
    let puller = Puller::new(&scene);
    for (round, image) in images.iter().enumerate() {
        let pulling = async { puller.pull(image).await };
        let killing = async {
            tokio::time::sleep(Duration::from_micros(round as u64 * 3_137 % 40_000)).await;
        };
        tokio::select! {
            _ = pulling => {}
            () = killing => {}
        }
        serving.kill();
        // Whatever has a name is what it is named.
        for file in fs::read_dir(scene.path("cache/content")).unwrap().map(|file| file.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            if !name.contains('@') {
                let digest = Digest::of(&fs::read(file.path()).unwrap()).hex();
                assert_eq!(name.split('.').next(), Some(digest.as_str()));
            }
        }
        serving = scene.serve();
        assert_eq!(fs::read_dir(scene.path("cache/partial")).unwrap().count(), 0, "what was half is swept");
        assert_eq!(puller.pull(image).await.as_deref(), Some(&image.layers[1].bytes[..]));
        let begun = Instant::now();
        while !scene.path("cache/content").join(image.layers[1].digest.hex()).is_file() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it was not kept:\n{}", scene.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let before = registry.downloads.load(Ordering::Relaxed);
    serving.kill();
    let _serving = scene.serve();
    for image in &images {
        assert_eq!(puller.pull(image).await.as_deref(), Some(&image.layers[1].bytes[..]));
    }
    assert_eq!(registry.downloads.load(Ordering::Relaxed), before, "nothing was lost");
    let stats = scene.sluice(&["cache", "stats", "-o", "json"], 0);
    let stats: contracts::api::CacheStats = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats.blobs, rounds as u64);
    let pruned = scene.sluice(&["cache", "prune", "--unused", "7d"], 0);
    assert_eq!(pruned.trim_end(), "took 0 blobs and manifests away, 0 bytes");
    scene.sluice(&["cache", "prune"], 0);
    assert_eq!(fs::read_dir(scene.path("cache/content")).unwrap().count(), 0);
    assert_eq!(puller.pull(&images[0]).await.as_deref(), Some(&images[0].layers[1].bytes[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_keeps_nobody_from_what_passes() {
    let images: Vec<Image> = (0..2).map(|n| Image::with_payload(&format!("app-{n}"), 24_000_000 + n)).collect();
    let registry = Registry::start(&images).await;
    let scene = Scene::new(&registry.settings("[cache]\nfolder = \"cache\"\nsize = \"256MiB\"\n"), CONTRACT);
    // No file grows beyond 16 MiB: as with a full disk, the middle of a layer cannot be written.
    let _serving = scene.serve_by(&["sh", "-c", "trap '' XFSZ; ulimit -f 32768; exec \"$0\" \"$@\""]);
    let puller = Puller::new(&scene);
    for image in &images {
        assert!(puller.pull(image).await.is_some_and(|bytes| bytes == image.layers[1].bytes), "{}", scene.log());
    }
    assert_eq!(puller.metric("sluice_cache_disk_failures_total").await, 1, "after that it is left alone for a while");
    assert!(puller.metric("sluice_cache_not_kept_total").await >= 2);
    assert!(scene.log().contains("not cached: the disk of the cache failed"), "{}", scene.log());
    assert_eq!(fs::read_dir(scene.path("cache/partial")).unwrap().count(), 0);
    assert!(!scene.path("cache/content").join(images[0].layers[1].digest.hex()).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_sends_a_hundred_gigabytes_fills_neither_memory_nor_disk() {
    const CLIENTS: usize = 30;
    let flooding = Image::with_payload("flood", 10_000);
    let good = Image::with_payload("good", 1_000_000);
    for cache in ["", "[cache]\nfolder = \"cache\"\nsize = \"64MiB\"\n"] {
        // It has the manifest of the one that floods, and another's layers.
        let listed = Image { manifest: flooding.manifest.clone(), ..good.clone() };
        let registry = Registry::start(&[good.clone(), listed]).await;
        let scene = Scene::new(&registry.settings(cache), CONTRACT);
        let serving = scene.serve();
        let puller = Puller::new(&scene);
        let before = peak_mib(serving.id());
        // Manifests without end.
        let unknown = (0..CLIENTS).map(|n| puller.get_owned(format!("manifests/{}", Digest::of(&n.to_be_bytes()))));
        for answer in futures::future::join_all(unknown).await {
            assert_eq!(answer.unwrap().status(), 502);
        }
        // The same with a long list of what speaks about each.
        let digests: Vec<String> = (0..CLIENTS).map(|n| format!("manifests/{}", Digest::of(&[n as u8]))).collect();
        let junk = digests.iter().map(|what| puller.get_of("open/junk", what));
        for answer in futures::future::join_all(junk).await {
            assert_eq!(answer.unwrap().status(), 404);
        }
        // Blobs without end, read as fast as they come and then not at all.
        let manifest = puller.get(&format!("manifests/{}", flooding.digest())).await.unwrap();
        assert_eq!(manifest.status(), 200);
        let floods = (0..CLIENTS).map(|_| puller.get_owned(format!("blobs/{}", flooding.layers[1].digest)));
        let mut floods = futures::future::join_all(floods).await;
        let begun = Instant::now();
        let mut received = 0;
        while begun.elapsed() < Duration::from_secs(4) {
            for flood in floods.iter_mut().take(CLIENTS / 2) {
                let piece = flood.as_mut().unwrap().chunk().await.unwrap();
                received += piece.map_or(0, |piece| piece.len());
            }
        }
        assert!(received > 10_000_000, "{received} bytes");
        assert!(puller.pull(&good).await.is_some_and(|bytes| bytes == good.layers[1].bytes), "others are served");
        let peak = peak_mib(serving.id());
        println!("{CLIENTS} floods, {} MB read: from {before} to {peak} MiB at most", received / 1_000_000);
        // Each manifest is read up to the most that one may have, 4 MiB, and each stream has buffers.
        assert!(peak < before + 200, "from {before} to {peak} MiB");
        if !cache.is_empty() {
            let files = |part: &str| {
                fs::read_dir(scene.path("cache").join(part)).unwrap().map(|one| one.unwrap().metadata().unwrap().len())
            };
            let bytes: u64 = files("content").chain(files("partial")).sum();
            assert!(bytes <= 64 << 20, "{bytes} bytes on the disk");
        }
    }
}

impl Puller<'_> {
    async fn get_owned(&self, rest: String) -> reqwest::Result<Response> {
        self.get(&rest).await
    }
}
