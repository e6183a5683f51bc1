//! The registry that the gateway stands before: Debian's `docker-registry`, filled over the distribution API.

use std::{fs, io::Write, net::SocketAddr, path::Path};

use anyhow::{Context, bail};
use contracts::Digest;
use reqwest::{Client, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Program, free_address};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A running registry with its storage.
pub struct Registry {
    folder: TempDir,
    /// The running program.
    pub program: Program,
}

impl Registry {
    /// Starts an empty registry.
    pub async fn start(program: &Path) -> anyhow::Result<Self> {
        Self::configured(program, "").await
    }

    /// Starts a registry that passes on what another one has, and keeps it.
    pub async fn before(program: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        Self::configured(program, &format!("proxy: {{remoteurl: 'http://{upstream}'}}\n")).await
    }

    async fn configured(program: &Path, more: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n{more}",
            folder.path().join("data").display()
        );
        let file = folder.path().join("registry.yml");
        fs::write(&file, settings)?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).stderr(std::process::Stdio::null());
        let program = Program::start(&mut command, address).await?;
        Ok(Self { folder, program })
    }

    /// Pushes an image with one layer of `layer_bytes`; answers with the manifest's digest and the layer's.
    pub async fn push(&self, repository: &str, layer_bytes: u64) -> anyhow::Result<(Digest, Digest)> {
        let layer = self.folder.path().join("layer");
        let digest = write_layer(&layer, layer_bytes)?;
        self.push_blob(repository, digest, reqwest::Body::from(tokio::fs::File::open(&layer).await?)).await?;
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [digest] },
        })
        .to_string();
        self.push_blob(repository, Digest::of(config.as_bytes()), config.clone().into()).await?;
        let manifest = manifest(&config, digest, layer_bytes).to_string();
        let answer = Client::new()
            .put(format!("http://{}/v2/{repository}/manifests/v1", self.program.address))
            .header(header::CONTENT_TYPE, MANIFEST)
            .body(manifest.clone())
            .send()
            .await?;
        if !answer.status().is_success() {
            bail!("the registry answered {} to the manifest", answer.status());
        }
        Ok((Digest::of(manifest.as_bytes()), digest))
    }

    async fn push_blob(&self, repository: &str, digest: Digest, body: reqwest::Body) -> anyhow::Result<()> {
        let client = Client::new();
        let start = format!("http://{}/v2/{repository}/blobs/uploads/", self.program.address);
        let begun = client.post(start).send().await?;
        let location = begun.headers().get(header::LOCATION).context("no upload location")?.to_str()?.to_owned();
        let joint = if location.contains('?') { '&' } else { '?' };
        let answer = client
            .put(format!("{location}{joint}digest={digest}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(body)
            .send()
            .await?;
        if !answer.status().is_success() {
            bail!("the registry answered {} to a blob", answer.status());
        }
        Ok(())
    }

    /// Stops the registry and removes its storage.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.program.stop().await?;
        Ok(self.folder.close()?)
    }
}

fn manifest(config: &str, layer: Digest, layer_bytes: u64) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config.as_bytes()), "size": config.len(),
        },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_bytes }],
    })
}

/// Zeros but for the length at the front, so that layers of different lengths differ early.
fn write_layer(path: &Path, bytes: u64) -> anyhow::Result<Digest> {
    const PIECE: usize = 1024 * 1024;
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    let mut hasher = contracts::Hasher::default();
    let mut left = bytes;
    let zeros = vec![0; PIECE];
    while left > 0 {
        let take = usize::try_from(left.min(PIECE as u64))?;
        let piece = zeros.get(..take).context("a piece")?;
        hasher.update(piece);
        file.write_all(piece)?;
        left -= take as u64;
    }
    file.flush()?;
    Ok(hasher.finish())
}
