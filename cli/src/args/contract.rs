//! `sluice contract …` as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Fetching;

#[derive(Debug, Subcommand)]
pub enum Contract {
    /// Tell every mistake in contracts and in the files that they refer to: exit 0 none, 1 some
    Lint {
        /// The contracts
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        fetching: Fetching,
    },
    /// Print the rules that a contract compiles to
    Compile {
        /// The contract
        file: PathBuf,
        #[command(flatten)]
        fetching: Fetching,
    },
    /// Tell what a contract asks for that another does not: exit 0 nothing, 1 something
    Diff {
        /// The contract as it is
        old: PathBuf,
        /// The contract as it is to be
        new: PathBuf,
        #[command(flatten)]
        fetching: Fetching,
    },
    /// Hold a contract against bundles whose verdicts are known: exit 0 all are as expected, 1 some are not
    Test(ContractTest),
    /// Tell which verdicts on bundles a change of a contract turns around: exit 0 none, 1 some
    Replay(ContractReplay),
    /// Upload a contract with the files that it refers to; from then on it decides
    Apply {
        /// The contract
        file: PathBuf,
        /// The contract's name [default: its `metadata.name`]
        #[arg(long)]
        name: Option<String>,
        /// Let the gateway check everything and keep nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        fetching: Fetching,
    },
    /// List the contracts
    List,
    /// Print one contract
    Describe {
        /// The contract's name
        name: String,
        /// An older revision, by number
        #[arg(long)]
        revision: Option<u32>,
    },
    /// Remove a contract: from then on it decides nothing. What was judged by it can still be read
    #[command(visible_alias = "rm")]
    Delete {
        /// The contract's name
        name: String,
        /// Only tell what that would change
        #[arg(long)]
        dry_run: bool,
        /// Do not ask, on a terminal
        #[arg(long, short)]
        yes: bool,
    },
}

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
    #[arg(required_unless_present = "revision")]
    pub old: Option<PathBuf>,
    /// The contract as it is to be
    #[arg(required_unless_present = "revision")]
    pub new: Option<PathBuf>,
    /// The folder of bundles; materials lie anywhere in it and are found by their digests
    #[arg(required_unless_present = "revision")]
    pub folder: Option<PathBuf>,
    /// The contract as it is to be, held against what was pushed to the gateway under the current one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["old", "keys", "trusted_root", "now"])]
    pub revision: Option<PathBuf>,
    /// The contract's name at the gateway [default: its `metadata.name`]
    #[arg(long, requires = "revision")]
    pub name: Option<String>,
    /// How many of the newest attestations the gateway judges at most [default: 100]
    #[arg(long, requires = "revision")]
    pub limit: Option<usize>,
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
