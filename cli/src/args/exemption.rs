//! The arguments of `sluice exemption`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Fetching, Signing};

#[derive(Debug, Subcommand)]
pub enum Exemption {
    /// Look through exemptions for mistakes, without a gateway: exit 0 none, 1 some
    Lint {
        /// The documents
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// A contract that they are from: warn of a rule that it does not have; may be repeated
        #[arg(long = "contract", value_name = "FILE")]
        contracts: Vec<PathBuf>,
        #[command(flatten)]
        fetching: Fetching,
    },
    /// Approve an exemption: sign the document, or add a signature to one that others signed. With a key, or without
    /// one: then a certificate says who you are
    Sign {
        /// The document, or what another approver's `sign` wrote
        file: PathBuf,
        /// Add a Sigstore bundle that another program made: `cosign attest-blob` with the type
        /// <https://sluice.dev/exemption-approval/v1>
        #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "identity_token"])]
        add_bundle: Option<PathBuf>,
        #[command(flatten)]
        signing: Box<Signing>,
        /// Where to write it [default: beside the document, ending in .signed.json; what was signed is replaced]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Give the gateway an exemption that enough approvers signed
    Apply {
        /// What `sign` wrote
        file: PathBuf,
    },
    /// List the exemptions with where they stand
    List,
    /// End an exemption at once. The same bytes do not come back
    Withdraw {
        /// Its name
        name: String,
    },
}
