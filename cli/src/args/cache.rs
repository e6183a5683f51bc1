use clap::Subcommand;
use jiff::SignedDuration;

#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Print what is in it, and how often it had what was asked for since the gateway was started
    Stats,
    /// Take content out of it: all of it, or what the flags say. What is being read stays
    Prune {
        /// Leave so much of what was used last, such as 10GiB
        #[arg(long, value_name = "SIZE", value_parser = contracts::size::parse)]
        keep: Option<u64>,
        /// Only what was not used for so long, such as 7d
        #[arg(long, value_name = "DURATION", value_parser = contracts::duration::parse)]
        unused: Option<SignedDuration>,
    },
}
