//! `sluice token`

use clap::{Subcommand, ValueEnum};
use contracts::api::Role;
use jiff::SignedDuration;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; its secret is printed this once
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: RoleName,
        /// Only for this workflow
        #[arg(long, value_name = "PROJECT/WORKFLOW")]
        workflow: Option<String>,
        /// For the installation's operator too: takes backups, makes organizations. Only such a token makes another
        #[arg(long)]
        operator: bool,
        /// How long it is good for: 90d, 12h, 30m [default: until it is revoked]
        #[arg(long, value_name = "DURATION", value_parser = contracts::duration::parse)]
        expires_in: Option<SignedDuration>,
    },
    /// List the tokens
    List,
    /// End a token at once
    Revoke {
        /// Its id, as `token list` shows it
        id: String,
    },
}

/// A role, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Everything within the organization
    Admin,
    /// Start runs, upload evidence, push attestations, read
    Push,
    /// Pull images, ask for verdicts, read
    Pull,
    /// Read
    Read,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Push => Self::Push,
            RoleName::Pull => Self::Pull,
            RoleName::Read => Self::Read,
        }
    }
}
