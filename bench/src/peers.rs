//! Programs that others would use for a part of this, measured in the same run.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::bail;
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Program, free_address};

/// An OPA server with its policies.
pub struct Opa {
    _folder: TempDir,
    /// The running server.
    pub program: Program,
}

/// Starts `opa run --server` with these modules. OPA prepares and keeps the query of a path that was asked
/// once, so from then on each request costs an evaluation, not a compilation.
pub async fn opa(program: &Path, modules: &BTreeMap<String, String>) -> anyhow::Result<Opa> {
    let folder = tempfile::tempdir()?;
    for (name, text) in modules {
        fs::write(folder.path().join(name), text)?;
    }
    let address = free_address()?;
    let mut command = Command::new(program);
    command
        .args(["run", "--server", "--disable-telemetry", "--log-level", "error", "--addr", &address.to_string()])
        .arg(folder.path())
        .stderr(std::process::Stdio::null());
    let program = Program::start(&mut command, address).await?;
    Ok(Opa { _folder: folder, program })
}

/// Holds OPA to the answer that the gateway gave: a fast "undefined" is not a result.
pub async fn answers_true(address: SocketAddr, body: &Bytes) -> anyhow::Result<()> {
    let url = format!("http://{address}/v1/data/gate/allow");
    for _ in 0..20 {
        let answer = reqwest::Client::new().post(&url).body(body.clone()).send().await?;
        let value: Value = answer.json().await?;
        if value.get("result") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("OPA does not allow what the gateway allows")
}
