//! A gateway under measurement: the released binary in a folder of its own, set up through its API as an
//! administrator would.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use anyhow::{Context, bail};
use contracts::api::{NewWorkflow, RevisionFiles};
use reqwest::{Client, Method};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Program, free_address};

/// The registry's name in every reference of the benchmark.
pub const REGISTRY: &str = "registry.bench.example";

/// The gateway, its folder and its first token.
pub struct Site {
    folder: TempDir,
    /// The running gateway.
    pub program: Program,
    /// The administrator's token.
    pub token: String,
}

impl Site {
    /// Starts `sluice serve` in front of the registry at `upstream` (plain HTTP on loopback).
    pub async fn start(sluice: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        Self::configured(sluice, upstream, "").await
    }

    /// The same, with a cache of 8 GiB.
    pub async fn caching(sluice: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        Self::configured(sluice, upstream, "[cache]\nfolder = \"cache\"\nsize = \"8GiB\"\n\n").await
    }

    async fn configured(sluice: &Path, upstream: SocketAddr, more: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let settings = format!(
            "listen = \"{address}\"\nstate = \"sluice.redb\"\nevidence = \"evidence\"\nadmin_token_file = \"admin.token\"\n\n\
             max_connections = 4096\n\n{more}[log]\nlevel = \"error\"\n\n\
             [[upstreams]]\nhost = \"{REGISTRY}\"\nurl = \"http://{upstream}\"\nplain_http = true\n"
        );
        let file = folder.path().join("sluice.toml");
        fs::write(&file, settings)?;
        let program = Program::start(Command::new(sluice).arg("serve").arg("--config").arg(&file), address).await?;
        let token = fs::read_to_string(folder.path().join("admin.token"))?.trim().to_owned();
        Ok(Self { folder, program, token })
    }

    /// Applies a contract and binds the workflow `bench/<name>` to it.
    pub async fn contract(&self, name: &str, files: BTreeMap<String, String>) -> anyhow::Result<()> {
        let upload = RevisionFiles { contract: "contract.yaml".to_owned(), files };
        self.send(Method::PUT, &format!("/api/v1/contracts/{name}"), &upload).await?;
        let workflow = NewWorkflow {
            project: "bench".to_owned(),
            name: name.to_owned(),
            team: String::new(),
            contract: name.to_owned(),
        };
        self.send(Method::POST, "/api/v1/workflows", &workflow).await?;
        Ok(())
    }

    /// A JSON request to the API.
    pub async fn send(&self, method: Method, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        let url = format!("http://{}{path}", self.program.address);
        let answer = Client::new().request(method, &url).bearer_auth(&self.token).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{url} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{url} answered with something else than JSON"))
    }

    /// Stops the gateway and removes its folder.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.program.stop().await?;
        Ok(self.folder.close()?)
    }
}
