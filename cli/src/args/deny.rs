//! The arguments of `sluice deny`.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::Format;

/// Denies, or says what is denied.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Deny {
    #[command(subcommand)]
    pub command: Option<DenyCommand>,
    /// The digest of an index, an image, a configuration or a layer: sha256:…, or REPOSITORY@sha256:… of which the digest
    /// counts alone
    #[arg(required = true)]
    pub digest: Option<String>,
    /// Why; whoever is denied reads it
    #[arg(long, required = true)]
    pub reason: Option<String>,
    /// When the denial ends by itself: 2027-01-31, 2027-01-31T12:00:00Z, or 24h or 7d from now [default: when it is removed]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub until: Option<When>,
    /// Only in repositories that match this pattern; may be repeated [default: in all]
    #[arg(long = "repository", value_name = "PATTERN")]
    pub repositories: Vec<String>,
    /// How results are printed
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub enum DenyCommand {
    /// List what is denied
    List,
    /// End a denial at once
    #[command(visible_alias = "rm")]
    Remove {
        /// The digest
        digest: String,
    },
}

/// An instant, or how far it is from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Timestamp),
    Away(SignedDuration),
}

pub fn when(text: &str) -> Result<When, String> {
    if let Ok(at) = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()) {
        return Ok(When::At(at));
    }
    contracts::duration::parse(text).map(When::Away).map_err(|_| {
        "write an instant, such as `2027-01-31` or `2027-01-31T12:00:00Z`, or how far away, such as `24h`".to_owned()
    })
}
