//! `sluice key`

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key pair: PREFIX.key, encrypted with the password in SLUICE_KEY_PASSWORD, and PREFIX.pub
    Generate {
        /// The files' path without its ending
        #[arg(long, alias = "output-key-prefix", value_name = "PREFIX", default_value = "sluice")]
        output: PathBuf,
        /// The signature scheme
        #[arg(long, value_enum, default_value_t)]
        scheme: Scheme,
    },
}

/// A signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Scheme {
    /// ECDSA over P-256, which every tool knows
    #[default]
    EcdsaP256,
    /// Ed25519
    Ed25519,
}
