//! What is measured, each against what a reader would compare it with, in one run on one machine.

use std::{collections::VecDeque, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use contracts::{Digest, bundle, keys::SigningKey};
use reqwest::Method;

use crate::{
    generator::{Measured, Until, load},
    mint::{self, Minted},
    peers,
    registry::Registry,
    rules,
    site::{REGISTRY, Site},
    table::Table,
    wire::{Draft, Request},
};

/// Which programs to measure, and for how long.
pub struct Plan {
    /// The released `sluice`.
    pub sluice: PathBuf,
    /// `docker-registry`.
    pub registry: PathBuf,
    /// `opa`, when it is installed.
    pub opa: Option<PathBuf>,
    /// Seconds of each timed load.
    pub seconds: u64,
    /// Attestations pushed, and images checked cold.
    pub attestations: usize,
    /// The layer of the streaming measurement, in MiB.
    pub layer_mib: u64,
}

const CONNECTIONS: usize = 64;

/// Runs everything and fills the table.
pub async fn run(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    let registry = Registry::start(&plan.registry).await?;
    let site = Site::start(&plan.sluice, registry.program.address).await?;
    let key = SigningKey::generate_p256()?;
    let (image, _) = registry.push("five/app", 1024).await?;

    let five = intake(plan, &site, &key, "five", 5, image, table).await?;
    intake(plan, &site, &key, "fifty", 50, image, table).await?;
    checks(plan, &site, &five, table).await?;
    if let Some(opa) = &plan.opa {
        let measured = opa_check(plan, opa, &five).await?;
        table.load("hot check: OPA server, an evaluation each time", &measured);
    } else {
        table.remark("OPA is not installed: no figure beside the hot check");
    }
    pulls(plan, &site, &registry, image, table).await?;
    stream(plan, &site, &registry, &key, table).await?;
    table.remark(&format!(
        "peak resident memory of the gateway over all of this: {} MiB",
        site.program.peak_resident_kib()? / 1024
    ));
    site.stop().await?;
    registry.stop().await
}

/// Pushes signed attestations under a contract with that many policies; each is durable before it is answered.
async fn intake(
    plan: &Plan,
    site: &Site,
    key: &SigningKey,
    name: &'static str,
    policies: usize,
    first: Digest,
    table: &mut Table,
) -> anyhow::Result<Arc<Vec<Minted>>> {
    site.contract(name, rules::contract(name, policies, &key.public().to_pem())).await?;
    let minted = Arc::new(mint::attestations(key, name, first, plan.attestations)?);
    let (address, token) = (site.program.address, site.token.clone());
    let bundles = Arc::clone(&minted);
    let make = move |n: usize| {
        let body = bundles.get(n).map(|m| m.bundle.clone()).unwrap_or_default();
        let path = format!("/api/v1/attestations?project=bench&workflow={name}");
        Draft::new(&Method::POST, &path, address, &token).body(bundle::MEDIA_TYPE, &body)
    };
    let measured = load(address, CONNECTIONS, Until::Requests(plan.attestations), 200, Arc::new(make)).await?;
    table.load(&format!("durable intake, key-signed, {policies} policies"), &measured);
    Ok(minted)
}

async fn checks(plan: &Plan, site: &Site, minted: &Arc<Vec<Minted>>, table: &mut Table) -> anyhow::Result<()> {
    let (address, token) = (site.program.address, site.token.clone());
    let check = move |digest: Digest| {
        let body = format!("{{\"image\":\"{REGISTRY}/five/app@{digest}\"}}");
        Draft::new(&Method::POST, "/api/v1/check", address, &token).body("application/json", body.as_bytes())
    };
    let (cold, images) = (check.clone(), Arc::clone(minted));
    let make = move |n: usize| cold(images.get(n).map_or_else(|| Digest::of(b""), |m| m.image));
    let measured = load(address, CONNECTIONS, Until::Requests(minted.len()), 200, Arc::new(make)).await?;
    table.load("cold check: verify, evaluate 5 policies, remember", &measured);

    let hot = minted.first().context("no attestation")?.image;
    let until = Until::Elapsed(Duration::from_secs(plan.seconds));
    let ask = check(hot);
    let measured = load(address, CONNECTIONS, until, 200, Arc::new(move |_| ask.clone())).await?;
    table.load("hot check: a remembered verdict", &measured);
    Ok(())
}

async fn opa_check(plan: &Plan, opa: &std::path::Path, minted: &[Minted]) -> anyhow::Result<Measured> {
    let server = peers::opa(opa, &rules::opa(5)).await?;
    let statement = &minted.first().context("no attestation")?.statement;
    let body = Bytes::from([b"{\"input\":", statement.as_slice(), b"}"].concat());
    let address = server.program.address;
    peers::answers_true(address, &body).await?;
    let ask = Draft::new(&Method::POST, "/v1/data/gate/allow", address, "").body("application/json", &body);
    let until = Until::Elapsed(Duration::from_secs(plan.seconds));
    let measured = load(address, CONNECTIONS, until, 200, Arc::new(move |_| ask.clone())).await?;
    server.program.stop().await?;
    Ok(measured)
}

/// One connection, the manifest by digest, gateway and registry in turns so that drift hits both.
async fn pulls(plan: &Plan, site: &Site, registry: &Registry, image: Digest, table: &mut Table) -> anyhow::Result<()> {
    let (direct, through) = (registry.program.address, site.program.address);
    let token = site.token.clone();
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let get = |address: SocketAddr, repository: String, token: &str| {
        let path = format!("/v2/{repository}/manifests/{image}");
        let ask = Draft::new(&Method::GET, &path, address, token).header("accept", accept).empty();
        let make: Make = Arc::new(move |_| ask.clone());
        make
    };
    let ask_direct = get(direct, "five/app".to_owned(), "");
    let ask_through = get(through, format!("{REGISTRY}/five/app"), &token);
    let mut rounds = (VecDeque::new(), VecDeque::new());
    for _ in 0..plan.seconds.max(3) {
        let until = Until::Elapsed(Duration::from_millis(500));
        rounds.0.push_back(load(direct, 1, until, 200, Arc::clone(&ask_direct)).await?);
        rounds.1.push_back(load(through, 1, until, 200, Arc::clone(&ask_through)).await?);
    }
    let (direct, through) = (median_round(rounds.0)?, median_round(rounds.1)?);
    table.load("manifest by digest, the registry directly, 1 connection", &direct);
    table.load("manifest by digest, through the gateway, 1 connection", &through);
    let added = through.percentile(0.5).as_secs_f64() - direct.percentile(0.5).as_secs_f64();
    table.remark(&format!("the gateway adds {:.3} ms at the median to a hot manifest pull", added * 1e3));
    Ok(())
}

type Make = Arc<dyn Fn(usize) -> Request + Send + Sync>;

fn median_round(rounds: VecDeque<Measured>) -> anyhow::Result<Measured> {
    let mut rounds: Vec<_> = rounds.into();
    rounds.sort_by_key(|m| m.percentile(0.5));
    let middle = rounds.len() / 2;
    rounds.into_iter().nth(middle).context("no round")
}

/// A large layer through a gateway of its own, whose memory is then looked at.
async fn stream(
    plan: &Plan,
    site: &Site,
    registry: &Registry,
    key: &SigningKey,
    table: &mut Table,
) -> anyhow::Result<()> {
    let before = site.program.peak_resident_kib()?;
    let fresh = Site::start(&plan.sluice, registry.program.address).await?;
    fresh.contract("large", rules::contract("large", 1, &key.public().to_pem())).await?;
    let (image, layer) = registry.push("large/app", plan.layer_mib * 1024 * 1024).await?;
    let minted = mint::attestations(key, "large", image, 1)?;
    let body = minted.first().context("no attestation")?.bundle.clone();
    let path = "/api/v1/attestations?project=bench&workflow=large";
    let push = Draft::new(&Method::POST, path, fresh.program.address, &fresh.token).body(bundle::MEDIA_TYPE, &body);
    load(fresh.program.address, 1, Until::Requests(1), 200, Arc::new(move |_| push.clone())).await?;
    let path = format!("/v2/{REGISTRY}/large/app/manifests/{image}");
    let manifest = Draft::new(&Method::GET, &path, fresh.program.address, &fresh.token);
    let manifest = manifest.header("accept", "*/*").empty();
    load(fresh.program.address, 1, Until::Requests(1), 200, Arc::new(move |_| manifest.clone())).await?;
    let seconds =
        drain(fresh.program.address, &fresh.token, &format!("/v2/{REGISTRY}/large/app/blobs/{layer}"), layer).await?;
    let direct = drain(registry.program.address, "", &format!("/v2/large/app/blobs/{layer}"), layer).await?;
    let resident = fresh.program.peak_resident_kib()? / 1024;
    table.remark(&format!(
        "a blob of {} MiB: {seconds:.2} s through the gateway, {direct:.2} s from the registry; the gateway's peak resident memory {resident} MiB",
        plan.layer_mib
    ));
    table.remark(&format!("the loaded gateway's peak before that: {} MiB", before / 1024));
    fresh.stop().await
}

/// Reads a blob to its end, checks its digest, and answers with the seconds it took.
async fn drain(address: SocketAddr, token: &str, path: &str, digest: Digest) -> anyhow::Result<f64> {
    let started = std::time::Instant::now();
    let mut request = reqwest::Client::new().get(format!("http://{address}{path}"));
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let mut answer = request.send().await?.error_for_status()?;
    let mut hasher = contracts::Hasher::default();
    while let Some(piece) = answer.chunk().await? {
        hasher.update(&piece);
    }
    anyhow::ensure!(hasher.finish() == digest, "the blob has another digest");
    Ok(started.elapsed().as_secs_f64())
}
