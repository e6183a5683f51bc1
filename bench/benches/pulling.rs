//! Pulling through the gateway beside asking the registry directly, and beside the pull-through proxy of the registry's
//! own program: large blobs, hot manifests, cached content, and a thousand pulls at once. All on loopback, in turns, with
//! the load generator on the same processors.
//!
//! Needs the released `sluice` (`target/release/sluice`, or `SLUICE`), `docker-registry`, and room for open files
//! (`ulimit -n 16384`). `SLUICE_LAYER_MIB` is the length of the large layer.
#![expect(clippy::print_stdout, reason = "the tables are what this program is run for")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bench::{
    generator::{Measured, Until, load},
    mint,
    process::{Program, find},
    registry::Registry,
    rules,
    site::{REGISTRY, Site},
    wire::{Connection, Draft, Request},
};
use contracts::{Digest, Hasher, bundle, keys::SigningKey};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MIB: u64 = 1024 * 1024;
const ROUNDS: usize = 7;
/// Pulls at once in the last table.
const CROWD: usize = 1000;
const CROWD_LAYER: u64 = 4 * MIB;
/// A network of 1 Gbit/s and one of 2.5 Gbit/s, in bytes per second.
const LINKS: [(&str, u64); 2] = [("1 Gbit/s", 125_000_000), ("2.5 Gbit/s", 312_500_000)];

/// Somebody who serves images.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    token: String,
    /// What stands before a repository's name.
    prefix: String,
}

impl Server {
    fn of_site(site: &Site) -> Self {
        Self { address: site.program.address, token: site.token.clone(), prefix: format!("{REGISTRY}/") }
    }

    fn of_registry(address: SocketAddr) -> Self {
        Self { address, token: String::new(), prefix: String::new() }
    }

    fn get(&self, rest: &str) -> Request {
        let path = format!("/v2/{}{rest}", self.prefix);
        let accept = "application/vnd.oci.image.manifest.v1+json";
        Draft::new(&Method::GET, &path, self.address, &self.token).header("accept", accept).empty()
    }

    fn manifest(&self, image: &Pushed) -> Request {
        self.get(&format!("{}/manifests/{}", image.repository, image.manifest))
    }

    fn layer(&self, image: &Pushed) -> Request {
        self.get(&format!("{}/blobs/{}", image.repository, image.layer))
    }
}

/// An image in the registry.
#[derive(Clone)]
struct Pushed {
    repository: &'static str,
    manifest: Digest,
    layer: Digest,
    bytes: u64,
}

/// The registry, its images and the key that attests them.
struct Origin {
    registry: Registry,
    key: SigningKey,
    images: Vec<Pushed>,
}

impl Origin {
    async fn push(&mut self, repository: &'static str, bytes: u64) -> anyhow::Result<Pushed> {
        let (manifest, layer) = self.registry.push(repository, bytes).await?;
        let pushed = Pushed { repository, manifest, layer, bytes };
        self.images.push(pushed.clone());
        Ok(pushed)
    }

    /// Attests every image to a gateway, each under a contract of its own, and asks for the manifests once.
    async fn attest(&self, site: &Site) -> anyhow::Result<Server> {
        let server = Server::of_site(site);
        for image in &self.images {
            let name = image.repository.split('/').next().unwrap_or_default();
            site.contract(name, rules::contract(name, 1, &self.key.public().to_pem())).await?;
            let minted = mint::attestations(&self.key, name, image.manifest, 1)?;
            let body = &minted.first().context("no attestation")?.bundle;
            let path = format!("/api/v1/attestations?project=bench&workflow={name}");
            let push = Draft::new(&Method::POST, &path, server.address, &server.token).body(bundle::MEDIA_TYPE, body);
            let answer = Connection::open(server.address).await?.ask(&push).await?;
            ensure!(answer.status == 200, "the attestation was answered {}", answer.status);
            let answer = Connection::open(server.address).await?.ask(&server.manifest(image)).await?;
            ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
        }
        Ok(server)
    }
}

fn main() -> anyhow::Result<()> {
    let sluice = std::env::var_os("SLUICE").map_or_else(|| PathBuf::from("target/release/sluice"), PathBuf::from);
    let sluice = sluice.canonicalize().context("build the released `sluice`, or name it with SLUICE")?;
    let registry = find("docker-registry").context("`docker-registry` is not installed")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&sluice, &registry))
}

async fn run(sluice: &Path, docker_registry: &Path) -> anyhow::Result<()> {
    let layer = std::env::var("SLUICE_LAYER_MIB").ok().map_or(Ok(512), |text| text.parse::<u64>())?;
    let registry = Registry::start(docker_registry).await?;
    let mut origin = Origin { registry, key: SigningKey::generate_p256()?, images: Vec::new() };
    let large = origin.push("large/app", layer * MIB).await?;
    let small = origin.push("small/app", 64 * 1024).await?;
    let middle = origin.push("middle/app", 8 * MIB).await?;
    let crowd = origin.push("crowd/app", CROWD_LAYER).await?;

    let address = origin.registry.program.address;
    let direct = Server::of_registry(address);
    let proxy = Registry::before(docker_registry, address).await?;
    let proxied = Server::of_registry(proxy.program.address);
    let (passing_site, caching_site) = (Site::start(sluice, address).await?, Site::caching(sluice, address).await?);
    let passing = origin.attest(&passing_site).await?;
    let caching = origin.attest(&caching_site).await?;

    println!("### Large blobs ({layer} MiB, one connection)\n");
    println!("| Way | MB/s | of direct |\n| --- | ---: | ---: |");
    warm(&[&proxied, &caching], &large).await?;
    let bare = Server::of_registry(forwarder(address, false).await?);
    let hashing = Server::of_registry(forwarder(address, true).await?);
    let ways = [
        ("the registry directly", &direct),
        ("a bare forwarder", &bare),
        ("a bare forwarder that hashes", &hashing),
        ("the gateway, nothing cached", &passing),
        ("the gateway, cached", &caching),
        ("docker-registry's proxy, cached", &proxied),
    ];
    blobs(&ways, &large).await?;
    for (name, link) in LINKS {
        let slow = limited(address, link).await?;
        let site = Site::start(sluice, slow).await?;
        let through = origin.attest(&site).await?;
        let (one, two) = (format!("the registry directly, over {name}"), format!("the gateway, over {name}"));
        blobs(&[(one.as_str(), &Server::of_registry(slow)), (two.as_str(), &through)], &large).await?;
        site.stop().await?;
    }

    println!("\n### Hot manifests and cached content\n");
    println!("| What | requests | per second | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: | ---: |");
    let all = [("directly", &direct), ("gateway", &passing)];
    loads("hot manifest, 1 connection", 1, &all, |server| server.manifest(&small)).await?;
    let cached = [("gateway", &caching), ("docker-registry's proxy", &proxied), ("the registry directly", &direct)];
    for image in [&small, &middle] {
        warm(&[&proxied, &caching], image).await?;
    }
    loads("cached manifest, 16 connections", 16, &cached, |server| server.manifest(&small)).await?;
    loads("cached blob of 64 KiB, 16 connections", 16, &cached, |server| server.layer(&small)).await?;
    loads("cached blob of 8 MiB, 16 connections", 16, &cached, |server| server.layer(&middle)).await?;
    println!(
        "\nResident memory after that: {}",
        memory(&[
            ("gateway without a cache", &passing_site.program),
            ("gateway with one", &caching_site.program),
            ("docker-registry's proxy", &proxy.program),
        ])?
    );

    println!("\n### {CROWD} pulls at once of one image ({} MiB), cold\n", CROWD_LAYER / MIB);
    println!("| Way | seconds | peak MiB |\n| --- | ---: | ---: |");
    for (name, site) in [
        ("gateway, cached", Site::caching(sluice, address).await?),
        ("gateway, nothing cached", Site::start(sluice, address).await?),
    ] {
        let server = origin.attest(&site).await?;
        let seconds = pulls(&server, &crowd).await?;
        println!("| {name} | {seconds:.2} | {} |", site.program.peak_resident_kib()? / 1024);
        site.stop().await?;
    }
    let fresh = Registry::before(docker_registry, address).await?;
    let seconds = pulls(&Server::of_registry(fresh.program.address), &crowd).await?;
    println!("| docker-registry's proxy | {seconds:.2} | {} |", fresh.program.peak_resident_kib()? / 1024);
    fresh.stop().await?;
    passing_site.stop().await?;
    caching_site.stop().await?;
    proxy.stop().await?;
    origin.registry.stop().await
}

fn memory(programs: &[(&str, &Program)]) -> anyhow::Result<String> {
    let told = programs.iter().map(|(name, program)| {
        Ok(format!("{name} {} MiB (peak {})", program.resident_kib()? / 1024, program.peak_resident_kib()? / 1024))
    });
    Ok(told.collect::<anyhow::Result<Vec<_>>>()?.join(", "))
}

/// Lets each have an image, and waits until it was put in its place.
async fn warm(servers: &[&Server], image: &Pushed) -> anyhow::Result<()> {
    for server in servers {
        for request in [server.manifest(image), server.layer(image), server.layer(image)] {
            let (status, _) = Connection::open(server.address).await?.drain(&request).await?;
            ensure!(status == 200, "{status} from {}", server.address);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

/// The median time of a blob over each way, in turns, as MB/s; the first way is what the others are held against.
async fn blobs(ways: &[(&str, &Server)], image: &Pushed) -> anyhow::Result<()> {
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, server), times) in ways.iter().zip(&mut times) {
            let request = server.layer(image);
            let mut connection = Connection::open(server.address).await?;
            let begun = Instant::now();
            let (status, length) = connection.drain(&request).await?;
            ensure!(status == 200 && length as u64 == image.bytes, "{status}, {length} bytes");
            times.push(begun.elapsed());
        }
    }
    let mut first = None;
    for ((name, _), mut times) in ways.iter().zip(times) {
        times.sort_unstable();
        let median = times.get(times.len() / 2).context("no round")?.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate that is shown")]
        let rate = image.bytes as f64 / median / 1e6;
        let of = rate / *first.get_or_insert(rate) * 100.0;
        println!("| {name} | {rate:.0} | {of:.0} % |");
    }
    Ok(())
}

/// The same load on each server, in turns; the round with the middle median of each.
async fn loads(
    what: &str,
    connections: usize,
    servers: &[(&str, &Server)],
    request: impl Fn(&Server) -> Request,
) -> anyhow::Result<()> {
    let mut rounds = vec![Vec::<Measured>::new(); servers.len()];
    for _ in 0..ROUNDS {
        for ((_, server), rounds) in servers.iter().zip(&mut rounds) {
            let ask = request(server);
            let until = Until::Elapsed(Duration::from_millis(700));
            rounds.push(load(server.address, connections, until, 200, Arc::new(move |_| ask.clone())).await?);
        }
    }
    for ((name, _), mut rounds) in servers.iter().zip(rounds) {
        rounds.sort_by_key(|round| round.percentile(0.5));
        let middle = rounds.get(rounds.len() / 2).context("no round")?;
        let ms = |share| middle.percentile(share).as_secs_f64() * 1e3;
        let (count, rate) = (middle.requests(), middle.per_second);
        println!("| {what}: {name} | {count} | {rate:.0} | {:.3} | {:.3} |", ms(0.5), ms(0.99));
    }
    Ok(())
}

/// A crowd pulls one image: the manifest, then the layer. Answers with the seconds until all have it.
async fn pulls(server: &Server, image: &Pushed) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..CROWD {
        let (server, image) = (server.clone(), image.clone());
        crowd.spawn(async move {
            let mut connection = Connection::open(server.address).await?;
            for request in [server.manifest(&image), server.layer(&image)] {
                let (status, _) = connection.drain(&request).await?;
                ensure!(status == 200, "answered {status}");
            }
            anyhow::Ok(())
        });
    }
    let mut failed = Vec::new();
    while let Some(pulled) = crowd.join_next().await {
        failed.extend(pulled?.err());
    }
    match failed.first() {
        Some(error) => bail!("{} of {CROWD} pulls failed: {error}", failed.len()),
        None => Ok(begun.elapsed().as_secs_f64()),
    }
}

/// A way to a server that reads and writes and knows nothing else, or hashes what passes too: what can be had with a
/// process between on these processors, and what with one that verifies.
async fn forwarder(server: SocketAddr, hashes: bool) -> anyhow::Result<SocketAddr> {
    const PIECE: usize = 256 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let upstream = TcpStream::connect(server).await?;
                let ((mut asked, mut client), (mut answered, mut upstream)) =
                    (client.into_split(), upstream.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut asked, &mut upstream).await });
                let (mut piece, mut hasher) = (vec![0; PIECE], Hasher::default());
                loop {
                    let read = answered.read(&mut piece).await?;
                    let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                    if hashes {
                        hasher.update(bytes);
                    }
                    client.write_all(bytes).await?;
                }
                std::hint::black_box(hasher.finish());
                client.shutdown().await
            });
        }
    });
    Ok(address)
}

/// A way to a server over which so many bytes come per second, all connections together.
async fn limited(server: SocketAddr, per_second: u64) -> anyhow::Result<SocketAddr> {
    const PIECE: usize = 64 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let free_at = Arc::new(tokio::sync::Mutex::new(Instant::now()));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let free_at = Arc::clone(&free_at);
            tokio::spawn(async move {
                let upstream = TcpStream::connect(server).await?;
                let ((mut asked, mut client), (mut answered, mut upstream)) =
                    (client.into_split(), upstream.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut asked, &mut upstream).await });
                let mut piece = vec![0; PIECE];
                loop {
                    let read = answered.read(&mut piece).await?;
                    let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                    let taken = Duration::from_nanos((read as u64).saturating_mul(1_000_000_000) / per_second);
                    let mut free = free_at.lock().await;
                    let at = (*free).max(Instant::now());
                    *free = at + taken;
                    drop(free);
                    // What is a little early may go: timers are coarse.
                    if at.saturating_duration_since(Instant::now()) > Duration::from_millis(2) {
                        tokio::time::sleep_until(at.into()).await;
                    }
                    client.write_all(bytes).await?;
                }
                client.shutdown().await
            });
        }
    });
    Ok(address)
}
