//! The proof: an image that must be denied is pulled with the client itself.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use serde::Serialize;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::{address::Gateway, tree::Tree};
use crate::{
    args::{self, CanaryClient, Doctor},
    client::Client,
    commands,
};

/// How long a pull may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How much of what a client says is told.
const SAID: usize = 600;
/// What a client says of a denial. Docker with its images in containerd prints the message of the gateway alone.
const REFUSED: [&str; 3] = ["denied", "403", "what to do: "];
/// Pulls of others are not seen in this namespace, nor this one by them.
const NAMESPACE: &str = "sluice-doctor";

/// What became of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was denied, and did not arrive.
    Refused,
    /// It arrived.
    Arrived,
    /// It did not arrive, but nobody denied it.
    Failed,
}

/// A pull that was tried.
#[derive(Debug, Serialize)]
pub struct Canary {
    /// The image.
    pub image: String,
    /// The client.
    pub client: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// The end of what the client said.
    pub said: String,
    /// Whether the gateway tells the digest of what it denies; nothing when it was not asked, or did not deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_told: Option<bool>,
}

/// Asks the gateway itself whether it tells the digest of what it denies. Without a token it would not answer.
pub async fn digest_told(connection: &args::Connection, gateway: &Gateway, image: &str) -> Option<bool> {
    let connection = args::Connection { gateway: Some(gateway.url()), ..connection.clone() };
    // What cannot be asked is not told.
    let client = commands::connect(&connection).ok().filter(Client::has_credentials)?;
    let (registry, rest) = image.split_once('/')?;
    let (name, reference) = rest.split_once('@').or_else(|| rest.rsplit_once(':')).unwrap_or((rest, "latest"));
    client.tells_what_it_denies(registry, name, reference).await.ok().flatten()
}

/// The registry of an image, which must be written out: a client may add another.
pub fn registry(image: &str) -> anyhow::Result<&str> {
    match image.split_once('/') {
        Some((host, rest)) if !rest.is_empty() && (host.contains(['.', ':']) || host == "localhost") => Ok(host),
        _ => bail!("`{image}` is not an image with its registry: write it as in `registry.acme.dev/canary/denied:v1`"),
    }
}

/// Pulls the image with the configuration in the tree.
pub async fn pull(tree: &Tree, args: &Doctor, image: &str, folders: &[String]) -> anyhow::Result<Canary> {
    let scratch = tempfile::tempdir().context("a scratch folder cannot be made")?;
    let client = args.client.context("which client is to pull it? say --client")?;
    let (name, mut command) = match client {
        CanaryClient::Skopeo => ("skopeo", skopeo(image, &scratch)),
        CanaryClient::Podman => ("podman", podman("podman", image, &scratch)),
        CanaryClient::Buildah => ("buildah", podman("buildah", image, &scratch)),
        CanaryClient::Containerd => ("containerd", ctr(tree, image, folders)?),
        CanaryClient::Crictl => ("crictl", node("crictl", &["inspecti"], &["pull"], image).await?),
        CanaryClient::Docker => ("docker", node("docker", &["image", "inspect"], &["pull", "--quiet"], image).await?),
    };
    let of_containers = matches!(client, CanaryClient::Skopeo | CanaryClient::Podman | CanaryClient::Buildah);
    if of_containers && !tree.is_machine() {
        command.env("HOME", home(tree, &scratch)?).env_remove("XDG_CONFIG_HOME");
    }
    let (worked, said) = finish(command, name).await?;
    let remove = match client {
        CanaryClient::Containerd => Some(("ctr", &["--namespace", NAMESPACE, "images", "rm", "--sync"][..])),
        CanaryClient::Crictl => Some(("crictl", &["rmi"][..])),
        CanaryClient::Docker => Some(("docker", &["image", "rm"][..])),
        _ => None,
    };
    if let Some((program, arguments)) = remove.filter(|_| worked) {
        // Fails when it is gone already, which is as good.
        let mut remove = Command::new(program);
        remove.args(arguments).arg(image);
        let _ = finish(remove, name).await;
    }
    let outcome = match worked {
        true => Outcome::Arrived,
        false if REFUSED.iter().any(|sign| said.contains(sign)) => Outcome::Refused,
        false => Outcome::Failed,
    };
    Ok(Canary { image: image.to_owned(), client: name, outcome, said: last(&said), digest_told: None })
}

/// Which signatures count is not what is asked here.
fn skopeo(image: &str, scratch: &TempDir) -> Command {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--quiet"]).arg(format!("docker://{image}"));
    command.arg(format!("dir:{}", scratch.path().join("image").display()));
    command
}

/// Storage of its own, so that nothing is there already and nothing stays.
fn podman(program: &str, image: &str, scratch: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(scratch.path().join("root")).arg("--runroot").arg(scratch.path().join("run"));
    command.args(["--storage-driver", "vfs", "pull", "--quiet", image]);
    command
}

/// A daemon pulls, with what it has read. What it has already is left alone.
async fn node(program: &str, inspect: &[&str], pull: &[&str], image: &str) -> anyhow::Result<Command> {
    let mut asked = Command::new(program);
    asked.args(inspect).arg(image);
    let (there, _) = finish(asked, program).await?;
    if there {
        bail!(
            "`{program}` finds `{image}` on the machine already, so pulling it would prove nothing: remove it, or take another"
        );
    }
    let mut command = Command::new(program);
    command.args(pull).arg(image);
    Ok(command)
}

fn ctr(tree: &Tree, image: &str, folders: &[String]) -> anyhow::Result<Command> {
    let folder = folders
        .first()
        .context("containerd is not told where its `hosts.toml` files lie, so there is nothing to try")?;
    // Fetched and not unpacked: how to unpack differs between versions, and is not what is asked.
    let mut command = Command::new("ctr");
    command.args(["--namespace", NAMESPACE, "content", "fetch", "--hosts-dir"]);
    command.arg(tree.target(folder)?);
    let host = registry(image)?;
    if host.starts_with("127.") || host.starts_with("localhost") {
        command.arg("--plain-http");
    }
    command.arg(image);
    Ok(command)
}

/// A home with the tree's files, which stand in for this machine's.
fn home(tree: &Tree, scratch: &TempDir) -> anyhow::Result<std::path::PathBuf> {
    const MAIN: &str = "/etc/containers/registries.conf";
    let home = scratch.path().join("home");
    let folder = home.join(".config/containers/registries.conf.d");
    fs::create_dir_all(&folder)?;
    fs::write(home.join(".config/containers/registries.conf"), tree.read(MAIN)?.unwrap_or_default())?;
    for name in tree.list(&format!("{MAIN}.d"))? {
        if let Some(text) = tree.read(&format!("{MAIN}.d/{name}"))? {
            fs::write(folder.join(&name), text)?;
        }
    }
    Ok(home)
}

async fn finish(mut command: Command, name: &str) -> anyhow::Result<(bool, String)> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let run = timeout(PATIENCE, command.output()).await;
    let output = run.with_context(|| format!("{name} was still pulling after {} s", PATIENCE.as_secs()))?;
    let output = output.with_context(|| format!("`{program}` cannot be run"))?;
    let said = [output.stdout, b"\n".to_vec(), output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).trim().to_owned()))
}

fn last(said: &str) -> String {
    let skip = said.chars().count().saturating_sub(SAID);
    said.chars().skip(skip).collect()
}
