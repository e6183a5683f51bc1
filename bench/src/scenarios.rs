//! What is measured, each against what a reader would compare it with, in one run on one machine.

use std::{collections::VecDeque, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use contracts::{Digest, bundle, keys::SigningKey};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, header};

use crate::{
    generator::{Measured, Until, load},
    mint::{self, Minted},
    peers,
    registry::Registry,
    rules,
    site::{REGISTRY, Site},
    table::Table,
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
        request(
            Method::POST,
            &format!("/api/v1/attestations?project=bench&workflow={name}"),
            address,
            &token,
            bundle::MEDIA_TYPE,
            body,
        )
    };
    let measured = load(address, CONNECTIONS, Until::Requests(plan.attestations), 200, Arc::new(make)).await?;
    table.load(&format!("durable intake, key-signed, {policies} policies"), &measured);
    Ok(minted)
}

async fn checks(plan: &Plan, site: &Site, minted: &Arc<Vec<Minted>>, table: &mut Table) -> anyhow::Result<()> {
    let (address, token) = (site.program.address, site.token.clone());
    let check = move |digest: Digest| {
        let body = format!("{{\"image\":\"{REGISTRY}/five/app@{digest}\"}}");
        request(Method::POST, "/api/v1/check", address, &token, "application/json", body.into())
    };
    let (cold, images) = (check.clone(), Arc::clone(minted));
    let make = move |n: usize| cold(images.get(n).map_or_else(|| Digest::of(b""), |m| m.image));
    let measured = load(address, CONNECTIONS, Until::Requests(minted.len()), 200, Arc::new(make)).await?;
    table.load("cold check: verify, evaluate 5 policies, remember", &measured);

    let hot = minted.first().context("no attestation")?.image;
    let until = Until::Elapsed(Duration::from_secs(plan.seconds));
    let measured = load(address, CONNECTIONS, until, 200, Arc::new(move |_| check(hot))).await?;
    table.load("hot check: a remembered verdict", &measured);
    Ok(())
}

async fn opa_check(plan: &Plan, opa: &std::path::Path, minted: &[Minted]) -> anyhow::Result<Measured> {
    let server = peers::opa(opa, &rules::opa(5)).await?;
    let statement = &minted.first().context("no attestation")?.statement;
    let body = Bytes::from([b"{\"input\":", statement.as_slice(), b"}"].concat());
    let address = server.program.address;
    peers::answers_true(address, &body).await?;
    let make = move |_| request(Method::POST, "/v1/data/gate/allow", address, "", "application/json", body.clone());
    let until = Until::Elapsed(Duration::from_secs(plan.seconds));
    let measured = load(address, CONNECTIONS, until, 200, Arc::new(make)).await?;
    server.program.stop().await?;
    Ok(measured)
}

/// One connection, the manifest by digest, gateway and registry in turns so that drift hits both.
async fn pulls(plan: &Plan, site: &Site, registry: &Registry, image: Digest, table: &mut Table) -> anyhow::Result<()> {
    let (direct, through) = (registry.program.address, site.program.address);
    let token = site.token.clone();
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let ask_direct: Make = Arc::new(move |_| get(&format!("/v2/five/app/manifests/{image}"), direct, "", accept));
    let ask_through: Make =
        Arc::new(move |_| get(&format!("/v2/{REGISTRY}/five/app/manifests/{image}"), through, &token, accept));
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

type Make = Arc<dyn Fn(usize) -> Request<Full<Bytes>> + Send + Sync>;

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
    let push = request(
        Method::POST,
        "/api/v1/attestations?project=bench&workflow=large",
        fresh.program.address,
        &fresh.token,
        bundle::MEDIA_TYPE,
        body,
    );
    load(fresh.program.address, 1, Until::Requests(1), 200, Arc::new(move |_| push.clone())).await?;
    let manifest =
        get(&format!("/v2/{REGISTRY}/large/app/manifests/{image}"), fresh.program.address, &fresh.token, "*/*");
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
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(hyper_util::rt::TokioIo::new(stream)).await?;
    let task = tokio::spawn(connection);
    let started = std::time::Instant::now();
    let answer = sender.send_request(get(path, address, token, "*/*")).await?;
    anyhow::ensure!(answer.status() == 200, "the blob was answered {}", answer.status());
    let mut body = answer.into_body();
    let mut hasher = contracts::Hasher::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            hasher.update(&data);
        }
    }
    anyhow::ensure!(hasher.finish() == digest, "the blob has another digest");
    let seconds = started.elapsed().as_secs_f64();
    task.abort();
    Ok(seconds)
}

fn get(path: &str, address: SocketAddr, token: &str, accept: &str) -> Request<Full<Bytes>> {
    let mut request = request(Method::GET, path, address, token, "", Bytes::new());
    if let Ok(accept) = accept.parse() {
        request.headers_mut().insert(header::ACCEPT, accept);
    }
    request
}

fn request(
    method: Method,
    path: &str,
    address: SocketAddr,
    token: &str,
    media_type: &str,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    for (name, value) in [
        (header::HOST, address.to_string()),
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::AUTHORIZATION, if token.is_empty() { String::new() } else { format!("Bearer {token}") }),
    ] {
        if let (false, Ok(value)) = (value.is_empty(), value.parse()) {
            headers.insert(name, value);
        }
    }
    request
}
