//! What `sluice contract test` and `sluice contract replay` take.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::Fetching;

#[derive(Debug, Args)]
pub struct ContractTest {
    /// The contract
    pub file: PathBuf,
    /// The folder: bundles in `allow/` must be allowed, those in `deny/` (or `deny/CODE/`) denied; materials lie
    /// anywhere in it and are found by their digests
    pub folder: PathBuf,
    #[command(flatten)]
    pub trusted: Trusted,
    #[command(flatten)]
    pub fetching: Fetching,
}

#[derive(Debug, Args)]
pub struct ContractReplay {
    /// The contract as it is
    pub old: PathBuf,
    /// The contract as it is to be
    pub new: PathBuf,
    /// The folder of bundles; materials lie anywhere in it and are found by their digests
    pub folder: PathBuf,
    #[command(flatten)]
    pub trusted: Trusted,
    #[command(flatten)]
    pub fetching: Fetching,
}

/// Whose signatures count, and when.
#[derive(Debug, Args)]
pub struct Trusted {
    /// A public key in PEM, besides those that the contract names
    #[arg(long = "key", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// A Sigstore `trusted_root.json`, for keyless signatures
    #[arg(long, value_name = "FILE")]
    pub trusted_root: Option<PathBuf>,
    /// The time at which the bundles are judged, and arrive when no log proves an earlier one [default: now]
    #[arg(long, value_name = "INSTANT")]
    pub now: Option<Timestamp>,
}
