//! `sluice policy …` as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use contracts::MaterialType;
use jiff::Timestamp;

use super::{Fetching, key_value};

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Ask one policy about one file: exit 0 it lets it pass, 1 it does not
    Eval(PolicyEval),
    /// Run the test cases of policies: exit 0 all pass, 1 some do not
    Test(PolicyTest),
    /// Tell every mistake in policies, and what they could say more clearly: exit 0 no mistake, 1 some
    Lint {
        /// Policies and groups of policies, or folders with some
        #[arg(value_name = "PATH", default_value = ".")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        fetching: Fetching,
    },
    /// Write a policy and its test cases, to begin with
    Init {
        /// The policy's name
        name: String,
        /// What it reads
        #[arg(long, value_name = "TYPE", default_value = "SBOM_CYCLONEDX_JSON")]
        kind: MaterialType,
        /// The folder that they are written to
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
    },
    /// List the policies that are shipped
    List,
    /// Print a policy that is shipped
    Show {
        /// Its name, as `policy list` shows it
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("about").required(true).args(["material", "attestation"]))]
pub struct PolicyEval {
    /// The policy: a file, or the name of one that is shipped
    pub policy: PathBuf,
    /// The material that it is asked about
    #[arg(long, value_name = "FILE")]
    pub material: Option<PathBuf>,
    /// The statement that it is asked about: bare, in an envelope or in a bundle; signatures are not looked at
    #[arg(long, value_name = "FILE", conflicts_with = "kind")]
    pub attestation: Option<PathBuf>,
    /// The material's type [default: what the policy reads, or recognised]
    #[arg(long, value_name = "TYPE")]
    pub kind: Option<MaterialType>,
    /// An argument of the policy
    #[arg(long = "with", value_name = "KEY=VALUE", value_parser = key_value)]
    pub with: Vec<(String, String)>,
    /// An annotation of the material
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    pub annotations: Vec<(String, String)>,
    /// The time that the policy is told [default: now]
    #[arg(long, value_name = "INSTANT")]
    pub now: Option<Timestamp>,
    /// Show which lines of the policy were looked at, and what it printed
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub fetching: Fetching,
}

#[derive(Debug, Args)]
pub struct PolicyTest {
    /// Folders, policies or files of test cases (NAME.test.yaml, or those in a folder `tests`)
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// Also write the results to this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Tell which lines of the policies no case reaches
    #[arg(long)]
    pub coverage: bool,
    /// Fail when fewer of the lines are reached, in percent
    #[arg(long, value_name = "PERCENT", requires = "coverage", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_coverage: Option<u8>,
    /// Run them again whenever a file changes, until interrupted
    #[arg(long, conflicts_with = "junit")]
    pub watch: bool,
    #[command(flatten)]
    pub fetching: Fetching,
}
