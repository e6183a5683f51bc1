//! The arguments of `sluice exemption`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Exemption {
    /// Look through exemptions for mistakes, without a gateway: exit 0 none, 1 some
    Lint {
        /// The documents
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Approve an exemption: sign the document, or add a signature to one that others signed
    Sign {
        /// The document, or what another approver's `sign` wrote
        file: PathBuf,
        /// The private key: a file, or env://NAME for a variable that holds the PEM. Its password is read from
        /// SLUICE_KEY_PASSWORD, COSIGN_PASSWORD or CHAINLOOP_SIGNING_PASSWORD
        #[arg(long, short, value_name = "KEY")]
        key: String,
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
