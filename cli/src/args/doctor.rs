//! The arguments of `sluice doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Format;

/// Whether clients can walk around the gateway. --gateway says which host it is to them.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The folder that stands for the machine's `/`
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    pub root: PathBuf,
    /// A registry that must be pulled through the gateway, by its host; may be repeated [default: all that the files name]
    #[arg(long = "registry", value_name = "HOST")]
    pub registries: Vec<String>,
    /// Other spellings of a registry's name (capitals, `:443`) lead nowhere: the network or admission sees to that
    #[arg(long)]
    pub spellings_closed: bool,
    /// Write the corrected files, and keep what was there beside them
    #[arg(long)]
    pub fix: bool,
    /// Also pull this image, which must be denied, with a client and the files, and see whether it arrives
    #[arg(long, value_name = "IMAGE", requires = "client")]
    pub canary: Option<String>,
    /// The client that pulls it
    #[arg(long, value_enum, requires = "canary")]
    pub client: Option<CanaryClient>,
    /// How the answer is printed
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// A client that pulls an image to see whether it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CanaryClient {
    /// skopeo, which reads what CRI-O reads
    Skopeo,
    /// podman
    Podman,
    /// buildah
    Buildah,
    /// containerd, by `ctr`; CONTAINERD_ADDRESS says where it listens
    Containerd,
    /// what the kubelet asks (containerd, CRI-O), by `crictl`; CONTAINER_RUNTIME_ENDPOINT says where it listens, and it pulls with
    /// the files that it was started with
    Crictl,
    /// Docker; DOCKER_HOST says where it listens, and it pulls with the files that it was started with
    Docker,
}
