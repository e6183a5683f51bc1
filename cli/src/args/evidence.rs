//! `sluice evidence`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// Remove what was uploaded long ago and no attestation names. Look with --dry-run first
    Sweep {
        /// Only what was uploaded, or asked for by a pipeline, so long ago; at least 7d
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = checked)]
        older_than: String,
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Do not ask, on a terminal
        #[arg(long, short)]
        yes: bool,
    },
}

fn checked(text: &str) -> Result<String, String> {
    contracts::duration::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
