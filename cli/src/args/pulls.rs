//! The arguments of `sluice pulls`.

use std::path::PathBuf;

use clap::Args;

use super::{
    Format,
    deny::{When, when},
};

/// Asks who pulled what.
#[derive(Debug, Args)]
pub struct Pulls {
    /// Since when: 2027-01-31, 2027-01-31T12:00:00Z, or 24h or 7d ago
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<When>,
    /// How many entries at most, the newest first
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// Ask which of the images that were let through would be denied now: exit 0 none, 1 some, 2 could not tell
    #[arg(long, conflicts_with = "limit")]
    pub would_deny: bool,
    /// With --would-deny: ask about the images in this file instead, - for standard input: a list, one reference with a digest to
    /// a line, or what `kubectl get pods -A -o json` prints
    #[arg(long, value_name = "FILE", requires = "would_deny", conflicts_with = "since")]
    pub from: Option<PathBuf>,
    /// How results are printed
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}
