//! Shows a command as a person would type it, runs it, and holds it to the exit code that it should end with.

use std::path::PathBuf;

use anyhow::{Context, bail};
use contracts::Digest;
use serde_json::Value;

use crate::report;

/// What the commands run with.
pub struct Shell {
    /// Their working folder.
    pub folder: PathBuf,
    /// The gateway's address.
    pub gateway: String,
    /// The administrator's token.
    pub token: String,
}

impl Shell {
    /// A headline.
    pub fn say(&self, text: &str) {
        report::line(&format!("\n── {text} ──"));
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        report::line(&format!("   {text}"));
    }

    /// Runs `sluice` with these arguments and shows what it prints. Ending otherwise than with `expected` is an
    /// error.
    pub async fn run(&self, arguments: &[&str], expected: i32) -> anyhow::Result<()> {
        self.run_any(arguments, &[expected]).await
    }

    /// The same, when any of several exit codes will do.
    pub async fn run_any(&self, arguments: &[&str], expected: &[i32]) -> anyhow::Result<()> {
        let shown: Vec<String> = arguments.iter().map(|a| shown(a)).collect();
        report::line(&format!("\n$ sluice {}", shown.join(" ")));
        let status = tokio::process::Command::new(std::env::current_exe()?)
            .args(arguments)
            .current_dir(&self.folder)
            .env("SLUICE_GATEWAY", &self.gateway)
            .env("SLUICE_TOKEN", &self.token)
            .env("SLUICE_KEY_PASSWORD", "quickstart")
            .status()
            .await
            .context("the command could not be started")?;
        let code = status.code().unwrap_or(-1);
        if expected != [0] {
            report::line(&format!("(exit {code})"));
        }
        if !expected.contains(&code) {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            bail!("`sluice {}` ended with {status}, not with {}", shown.join(" "), expected.join(" or "));
        }
        Ok(())
    }

    /// Pulls an image through the gateway as a container runtime does, and holds the answer to `expected`.
    pub async fn pull(&self, repository: &str, tag: &str, expected: u16) -> anyhow::Result<()> {
        let base = format!("{}/v2/{repository}", self.gateway);
        let manifest = format!("{base}/manifests/{tag}");
        report::line(&format!("\n$ curl -u token:$SLUICE_TOKEN {manifest}"));
        let (status, body) = self.get(&manifest).await?;
        report::line(&format!("HTTP {status}\n{}", String::from_utf8_lossy(&body)));
        if status != expected {
            bail!("the gateway answered {status}, not {expected}");
        }
        if status == 200 {
            let manifest: Value = serde_json::from_slice(&body)?;
            let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
            for descriptor in manifest.get("config").into_iter().chain(layers) {
                self.pull_blob(&base, descriptor).await?;
            }
        }
        Ok(())
    }

    async fn pull_blob(&self, base: &str, descriptor: &Value) -> anyhow::Result<()> {
        let digest: Digest = descriptor.get("digest").and_then(Value::as_str).context("no digest")?.parse()?;
        let (status, body) = self.get(&format!("{base}/blobs/{digest}")).await?;
        if status != 200 || Digest::of(&body) != digest {
            bail!("the blob `{digest}` did not come through: HTTP {status}");
        }
        report::line(&format!("blob {digest}: {} bytes, digest right", body.len()));
        Ok(())
    }

    async fn get(&self, url: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let answer = reqwest::Client::new().get(url).basic_auth("token", Some(&self.token)).send().await?;
        Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
    }
}

/// As a shell would have to be given it.
fn shown(argument: &str) -> String {
    if argument.contains([' ', '\'', '"', '$', '*']) { format!("'{argument}'") } else { argument.to_owned() }
}
