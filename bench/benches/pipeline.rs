//! A release pipeline's own work, as whole processes: five pieces of evidence for one image, attested, stored, and checked
//! against a policy. With `sluice`: init, five adds, push, check. With what others use: `cosign attest` for each piece,
//! `cosign verify-attestation` for each, and `opa eval` over what they say. Both against the same registry on loopback, in
//! turns, with keys of their own and without any log; the time and the most memory that a process took.
//!
//! Needs the released `sluice` (`target/release/sluice`, or `SLUICE`), `docker-registry`, `cosign` and `opa`.
#![expect(clippy::print_stdout, reason = "the table is what this program is run for")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bench::{
    process::find,
    registry::Registry,
    site::{REGISTRY, Site},
};
use contracts::{Digest, keys::SigningKey};
use serde_json::Value;
use tempfile::TempDir;

const ROUNDS: usize = 7;
const PASSWORD: &str = "bench";
const SIGNING_CONFIG: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{"selector":"ANY"}}"#;
const TRUSTED_ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
/// The pieces, each with its file, its type here, and the predicate type for cosign.
const PIECES: [(&str, &str, &str); 5] = [
    ("sbom", "sbom.json", "cyclonedx"),
    ("scan", "scan.json", "https://bench.example/scan"),
    ("tests", "tests.json", "https://bench.example/tests"),
    ("approval", "approval.json", "https://bench.example/approval"),
    ("notes", "notes.json", "https://bench.example/notes"),
];
const REGO: &str = "package gate\nimport rego.v1\ndefault allow := false\nallow if {\n\tcount(banned) == 0\n}\nbanned contains c.name if {\n\tsome c in input.predicate.components\n\tsome l in c.licenses\n\tl.license.id == \"GPL-0.0\"\n}\n";

/// What a chain of processes took.
#[derive(Clone, Copy, Default)]
struct Took {
    wall: Duration,
    memory: Memory,
}

/// The most memory that a process took: all of it, and what is its own (not the pages of the program's file).
#[derive(Clone, Copy, Default)]
struct Memory {
    whole_kib: u64,
    own_kib: u64,
}

impl Memory {
    fn or(self, other: Self) -> Self {
        Self { whole_kib: self.whole_kib.max(other.whole_kib), own_kib: self.own_kib.max(other.own_kib) }
    }
}

impl Took {
    fn and(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, memory: self.memory.or(other.memory) }
    }
}

fn main() -> anyhow::Result<()> {
    let program = |name: &str| find(name).with_context(|| format!("`{name}` is not installed"));
    let sluice = std::env::var_os("SLUICE").map_or_else(|| PathBuf::from("target/release/sluice"), PathBuf::from);
    let sluice = sluice.canonicalize().context("build the released `sluice`, or name it with SLUICE")?;
    let (registry, cosign, opa) = (program("docker-registry")?, program("cosign")?, program("opa")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let registry = runtime.block_on(Registry::start(&registry))?;
    let site = runtime.block_on(Site::start(&sluice, registry.program.address))?;
    let folder = tempfile::tempdir()?;
    let key = SigningKey::generate_p256()?;
    prepare(&folder, &key, &cosign)?;
    runtime.block_on(site.contract("pipeline", contract(&key)))?;

    let mut rows: BTreeMap<&str, (Vec<Took>, Vec<Took>)> = BTreeMap::new();
    for round in 0..ROUNDS {
        // A layer of another length is another image.
        let (image, _) = runtime.block_on(registry.push("bench/app", 1024 + round as u64))?;
        let ours = Ours { sluice: &sluice, folder: folder.path(), site: &site, image };
        let theirs = Theirs {
            cosign: &cosign,
            opa: &opa,
            folder: folder.path(),
            image: format!("{}/bench/app@{image}", registry.program.address),
        };
        let row = rows.entry("attest five pieces and store them").or_default();
        row.0.push(ours.attest()?);
        row.1.push(theirs.attest()?);
        let row = rows.entry("check the image").or_default();
        row.0.push(ours.check()?);
        row.1.push(theirs.check()?);
    }
    println!("| What | sluice ms | others ms | others / sluice | sluice MiB (its own) | others MiB (their own) |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let both: Vec<_> = rows.values().collect();
    if let [attest, check] = both.as_slice() {
        let sum = |a: &[Took], b: &[Took]| a.iter().zip(b).map(|(a, b)| a.and(*b)).collect::<Vec<_>>();
        let whole = (sum(&attest.0, &check.0), sum(&attest.1, &check.1));
        rows.insert("whole: both together", whole);
    }
    for (name, (ours, theirs)) in &rows {
        let (ours, theirs) = (median(ours)?, median(theirs)?);
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} ({:.0}) | {:.0} ({:.0}) |",
            ours.wall.as_secs_f64() * 1e3,
            theirs.wall.as_secs_f64() * 1e3,
            theirs.wall.as_secs_f64() / ours.wall.as_secs_f64(),
            mebibytes(ours.memory.whole_kib),
            mebibytes(ours.memory.own_kib),
            mebibytes(theirs.memory.whole_kib),
            mebibytes(theirs.memory.own_kib),
        );
    }
    runtime.block_on(site.stop())?;
    runtime.block_on(registry.stop())
}

fn mebibytes(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

/// The median time, with the most memory of any round.
fn median(of: &[Took]) -> anyhow::Result<Took> {
    let mut walls: Vec<Duration> = of.iter().map(|took| took.wall).collect();
    walls.sort_unstable();
    let wall = *walls.get(walls.len() / 2).context("nothing was measured")?;
    Ok(Took { wall, memory: of.iter().fold(Memory::default(), |most, took| most.or(took.memory)) })
}

fn prepare(folder: &TempDir, key: &SigningKey, cosign: &Path) -> anyhow::Result<()> {
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
    write("sbom.json", &testdata::cyclonedx_of_size(200 << 10))?;
    write("scan.json", &testdata::sarif(&[("CVE-1", "note")]))?;
    write("tests.json", br#"{"passed": 120, "failed": 0}"#)?;
    write("approval.json", &testdata::approval("ann"))?;
    write("notes.json", br#"{"notes": "the first release"}"#)?;
    write("gate.rego", REGO.as_bytes())?;
    write("release.key", key.to_encrypted_pem(PASSWORD.as_bytes())?.as_bytes())?;
    write("signing-config.json", SIGNING_CONFIG.as_bytes())?;
    write("trusted-root.json", TRUSTED_ROOT.as_bytes())?;
    let mut keys = Command::new(cosign);
    keys.arg("generate-key-pair").env("COSIGN_PASSWORD", PASSWORD);
    run(keys, folder.path()).map(drop)
}

/// The same demand as cosign's and OPA's together: all five pieces, signed by the key, and no banned licence.
fn contract(key: &SigningKey) -> BTreeMap<String, String> {
    let contract = format!(
        "apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {{name: pipeline}}\nspec:\n  materials:\n    - {{name: image, type: CONTAINER_IMAGE, output: true}}\n    - {{name: sbom, type: SBOM_CYCLONEDX_JSON}}\n    - {{name: scan, type: SARIF}}\n    - {{name: tests, type: EVIDENCE}}\n    - {{name: approval, type: EVIDENCE}}\n    - {{name: notes, type: EVIDENCE}}\n  policies:\n    materials: [{{ref: \"file://licence.yaml\", gate: true}}]\n  signers: {{threshold: 1, any: [{{publicKey: \"file://release.pub\"}}]}}\n  admission:\n    repositories: [\"{REGISTRY}/bench/**\"]\n"
    );
    BTreeMap::from([
        ("contract.yaml".to_owned(), contract),
        ("licence.yaml".to_owned(), testdata::policy_banning_licence("GPL-0.0")),
        ("release.pub".to_owned(), key.public().to_pem()),
    ])
}

/// Runs a program to its end; fails unless it succeeds. Its memory is looked at while it runs.
fn run(mut command: Command, folder: &Path) -> anyhow::Result<(Took, Vec<u8>)> {
    let begun = Instant::now();
    let out = fs::File::create(folder.join("out"))?;
    let err = fs::File::create(folder.join("err"))?;
    let mut child = command.current_dir(folder).stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
    let (status, mut memory) = (format!("/proc/{}/status", child.id()), Memory::default());
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let told = fs::read_to_string(&status).unwrap_or_default();
        let kib = |name: &str| {
            let line = told.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
        };
        memory = memory.or(Memory { whole_kib: kib("VmHWM:"), own_kib: kib("RssAnon:") });
        std::thread::sleep(Duration::from_micros(500));
    };
    let wall = begun.elapsed();
    if !ended.success() {
        let said = fs::read_to_string(folder.join("err"))?;
        bail!("{:?} ended with {ended}: {said}", command.get_program());
    }
    Ok((Took { wall, memory }, fs::read(folder.join("out"))?))
}

struct Ours<'r> {
    sluice: &'r Path,
    folder: &'r Path,
    site: &'r Site,
    image: Digest,
}

impl Ours<'_> {
    fn sluice(&self, arguments: &[&str]) -> anyhow::Result<Took> {
        let mut command = Command::new(self.sluice);
        command.args(arguments).env("SLUICE_GATEWAY", format!("http://{}", self.site.program.address));
        command.env("SLUICE_TOKEN", &self.site.token).env("SLUICE_KEY_PASSWORD", PASSWORD);
        Ok(run(command, self.folder)?.0)
    }

    fn attest(&self) -> anyhow::Result<Took> {
        let image = format!("{REGISTRY}/bench/app@{}", self.image);
        let mut took = self.sluice(&["attestation", "init", "--project", "bench", "--workflow", "pipeline"])?;
        took = took.and(self.sluice(&["attestation", "add", "--name", "image", "--value", &image])?);
        for (name, file, _) in PIECES {
            took = took.and(self.sluice(&["attestation", "add", "--name", name, "--value", file])?);
        }
        Ok(took.and(self.sluice(&["attestation", "push", "--key", "release.key"])?))
    }

    fn check(&self) -> anyhow::Result<Took> {
        self.sluice(&["check", &format!("{REGISTRY}/bench/app@{}", self.image)])
    }
}

struct Theirs<'r> {
    cosign: &'r Path,
    opa: &'r Path,
    folder: &'r Path,
    image: String,
}

impl Theirs<'_> {
    fn cosign(&self, arguments: &[&str]) -> anyhow::Result<(Took, Vec<u8>)> {
        let mut command = Command::new(self.cosign);
        command.args(arguments).arg("--allow-http-registry").arg(&self.image).env("COSIGN_PASSWORD", PASSWORD);
        run(command, self.folder)
    }

    fn attest(&self) -> anyhow::Result<Took> {
        let way = ["--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json"];
        let mut took = Took::default();
        for (_, file, kind) in PIECES {
            let what = ["attest", "--yes", "--key", "cosign.key", "--type", kind, "--predicate", file];
            took = took.and(self.cosign(&[&what[..], &way[..]].concat())?.0);
        }
        Ok(took)
    }

    fn check(&self) -> anyhow::Result<Took> {
        let mut took = Took::default();
        for (name, _, kind) in PIECES {
            let what = ["verify-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog", "--type", kind];
            let (one, said) = self.cosign(&what)?;
            took = took.and(one);
            if name == "sbom" {
                took = took.and(self.opa(&said)?);
            }
        }
        Ok(took)
    }

    /// The policy over the statement that cosign verified.
    fn opa(&self, said: &[u8]) -> anyhow::Result<Took> {
        let line = said.split(|byte| *byte == b'\n').find(|line| !line.is_empty()).context("cosign says nothing")?;
        let envelope: Value = serde_json::from_slice(line)?;
        let payload = envelope.get("payload").and_then(Value::as_str).context("no payload")?;
        fs::write(self.folder.join("input.json"), STANDARD.decode(payload)?)?;
        let mut command = Command::new(self.opa);
        command.args(["eval", "--format", "raw", "--data", "gate.rego", "--input", "input.json", "data.gate.allow"]);
        let (took, said) = run(command, self.folder)?;
        ensure!(said.starts_with(b"true"), "OPA answers otherwise: {}", String::from_utf8_lossy(&said));
        Ok(took)
    }
}
