//! The command line as it is typed. Nothing here is resolved yet: see [`crate::settings`].

mod attestation;
mod cache;
mod check;
mod contract;
mod deny;
mod doctor;
mod evidence;
mod exemption;
mod key;
mod policy;
mod pulls;
mod token;

use std::path::PathBuf;

pub use attestation::{
    Attestation, AttestationAdd, AttestationInit, AttestationPush, AttestationRemove, AttestationReset,
    AttestationStatus, AttestationVerify, AttestationWithdraw, CraftFormat, Crafting, Registry, Signing, Trigger,
};
pub use cache::Cache;
pub use check::{Check, CheckFormat, SubjectKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use contract::{Contract, ContractReplay, ContractTest, Trusted};
pub use deny::{Deny, DenyCommand, When};
pub use doctor::{CanaryClient, Doctor};
pub use evidence::Evidence;
pub use exemption::Exemption;
pub use key::{Key, Scheme};
pub use policy::{Policy, PolicyEval, PolicyTest};
pub use pulls::Pulls;
pub use token::Token;

/// A verification gateway for the software supply chain.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, long_version = crate::version::LONG.as_str(), max_term_width = 100, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// A family of commands that print a result. (Not all do: `--output` of others names a file.)
#[derive(Debug, Args)]
pub struct Printing<C: Subcommand, F: ValueEnum + Default + Send + Sync + 'static = Format> {
    /// How results are printed
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: F,
    #[command(subcommand)]
    pub command: C,
}

/// How the gateway is reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Gateway")]
pub struct Connection {
    /// The gateway's address [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", env = "SLUICE_GATEWAY")]
    pub gateway: Option<String>,
    /// The token; other users of this machine can see it here, so rather use --token-file or SLUICE_TOKEN
    #[arg(long, short = 't', global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A file with the token; the environment may have it in SLUICE_TOKEN instead, and not in both
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM that may vouch for the gateway, besides those of this machine
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Send the token over plain HTTP to another machine, where anyone on the way can read it
    #[arg(long, global = true)]
    pub plain_http: bool,
    /// The configuration of this command line [default: sluice/config.toml in the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_CONFIG")]
    pub client_config: Option<PathBuf>,
}

/// Where the files of a contract or policy may be fetched from.
#[derive(Debug, Clone, Default, Args)]
pub struct Fetching {
    /// A host that policies and scripts may be fetched from when they are named by `https://`; may be repeated [default:
    /// none]
    #[arg(long = "allow-host", value_name = "HOST", env = "SLUICE_ALLOW_HOSTS", value_delimiter = ',')]
    pub allow_hosts: Vec<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    #[value(alias = "table")]
    Human,
    /// For programs
    Json,
}

/// How results are printed where documents are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LintFormat {
    /// For people
    #[default]
    #[value(alias = "table")]
    Human,
    /// For programs
    Json,
    /// Of `lint`: SARIF, for programs that show findings in code
    Sarif,
    /// Of `lint`: commands that make GitHub's runner show findings in a pull request
    Github,
}

impl From<Format> for LintFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Human => Self::Human,
            Format::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(Serve),
    /// See the main job done for real, on this machine alone
    Quickstart(Quickstart),
    /// Check, read and apply contracts
    Contract(Printing<Contract, LintFormat>),
    /// Write and test policies, without a gateway
    Policy(Printing<Policy, LintFormat>),
    /// Set up workflows and look at them
    Workflow(Printing<Workflow>),
    /// Look at runs
    Run(Printing<Run, CraftFormat>),
    /// Collect what a contract asks for, sign it and push it
    #[command(visible_alias = "att")]
    Attestation(Box<Crafting>),
    /// Ask whether an image may be used: exit 0 yes, 1 no, 2 could not tell
    Check(Check),
    /// Look at the organization's settings and change them
    #[command(visible_alias = "org")]
    Organization(Printing<Organization>),
    /// Approve exceptions from rules, apply and withdraw them
    Exemption(Printing<Exemption, LintFormat>),
    /// Deny a digest whatever its evidence says, from the next request on
    Deny(Deny),
    /// See who pulled what, and what of it would be denied now
    Pulls(Pulls),
    /// See whether clients on this machine can walk around the gateway: exit 0 no, 1 yes, 2 could not tell
    Doctor(Doctor),
    /// Make and revoke tokens
    Token(Printing<Token>),
    /// Make signing keys
    #[command(subcommand)]
    Key(Key),
    /// Look into the gateway's content cache, and make it smaller
    Cache(Printing<Cache>),
    /// Remove evidence that nothing names
    Evidence(Printing<Evidence>),
    /// Copy the gateway's state to a file
    Backup(Backup),
    /// Print the JSON Schema of a kind of document, for editors
    Schema {
        /// The kind of document
        #[arg(value_enum)]
        kind: SchemaKind,
    },
    /// Print a script that completes this program's commands in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write manual pages to a folder
    Man {
        /// The folder, made when it is not there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The gateway's configuration
    #[arg(long, value_name = "FILE", default_value = "sluice.toml")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Quickstart {
    /// The folder to work in, made when it is not there
    #[arg(long, value_name = "FOLDER", default_value = "sluice-quickstart")]
    pub dir: PathBuf,
    /// End when the tour is over instead of staying up
    #[arg(long)]
    pub exit: bool,
    /// Only write the files that one begins with, to type the commands oneself (docs/tutorial.md)
    #[arg(long, conflicts_with = "exit")]
    pub files: bool,
}

/// A kind of document that has a JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// Contracts
    Contract,
    /// Policies
    Policy,
    /// Groups of policies
    PolicyGroup,
    /// Files of test cases
    PolicyTest,
    /// Exemptions
    Exemption,
}

#[derive(Debug, Subcommand)]
pub enum Workflow {
    /// Create a workflow, or change its team or contract
    Create {
        /// The project, made when it is new
        #[arg(long)]
        project: String,
        /// The workflow
        #[arg(long, visible_alias = "workflow")]
        name: String,
        /// Who owns it
        #[arg(long, default_value = "")]
        team: String,
        /// The contract that its runs must satisfy
        #[arg(long)]
        contract: String,
    },
    /// List the workflows
    List,
    /// Print one workflow
    Describe {
        /// The project
        #[arg(long)]
        project: String,
        /// The workflow
        #[arg(long, visible_alias = "workflow")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Organization {
    /// Print the settings
    Describe,
    /// Replace the settings by those of a file, in YAML or JSON as `describe -o json` prints them
    Apply {
        /// The file. In the place of a key may stand `file://` and the path of its PEM file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Run {
    /// List the newest runs
    List {
        /// Only of a workflow of this project
        #[arg(long, requires = "workflow")]
        project: Option<String>,
        /// Only of this workflow: its name with --project, else PROJECT/NAME
        #[arg(long)]
        workflow: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Print one run with what was found
    Describe {
        /// The run's id
        id: String,
    },
    /// Save what a run pushed, for `sluice contract test` and `replay`: the bundle, and the documents that rules read
    Save {
        /// The run's id
        id: String,
        /// The folder, made when it is not there
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        to: PathBuf,
    },
    /// Get what an accepted run built as SLSA Provenance, signed by the gateway in a Sigstore bundle
    Provenance {
        /// The run's id
        id: String,
        /// The file to write it to [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write; it must not be there
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn every_command_is_read_as_it_is_documented() {
        Arguments::command().debug_assert();
        for line in [
            "serve --config sluice.toml",
            "quickstart --dir d --exit",
            "quickstart --files --dir .",
            "contract lint c.yaml --output json",
            "contract compile c.yaml -o json",
            "contract apply c.yaml --name n --dry-run --gateway https://g --plain-http",
            "contract list --token t",
            "contract delete n --dry-run -o json",
            "contract rm n --yes",
            "evidence sweep --older-than 30d --dry-run -o json",
            "policy eval p.yaml --material m --kind SARIF --with a=b --with c= --now 2027-01-01T00:00:00Z --explain",
            "policy eval p.yaml --attestation a.json -o json",
            "policy test",
            "policy test a b.test.yaml --junit r.xml --coverage --min-coverage 100 -o json",
            "policy test --watch",
            "policy list -o json",
            "policy show tests-pass",
            "policy lint policies -o sarif",
            "policy init my-policy --kind SARIF --dir policies",
            "contract lint c.yaml -o github",
            "contract diff a.yaml b.yaml -o json",
            "contract test c.yaml bundles --key k.pub --now 2027-01-01T00:00:00Z",
            "contract replay a.yaml b.yaml bundles --trusted-root r.json",
            "contract replay --revision b.yaml --name n --limit 10",
            "doctor --gateway sluice.acme.dev --root r --registry docker.io --registry quay.io --fix -o json",
            "doctor --gateway sluice.acme.dev --canary registry.acme.dev/canary:v1 --client skopeo",
            "schema policy-test",
            "cache stats -o json",
            "cache prune --keep 10GiB --unused 7d",
            "completions zsh",
            "man pages",
            "workflow create --project p --name w --team t --contract c",
            "workflow describe --project p --workflow w",
            "run list --project p --workflow w",
            "run list --workflow p/w",
            "attestation push --key k --force",
            "attestation push -k env://K --annotation a=b,c=d -o statement -t x",
            "attestation init --project p --workflow w --version 1.0.0 --contract c.yaml --contract-revision 2 --dry-run",
            "att init --org o --workflow w --project p --version v1 --existing-version --release --mark-latest=false --pr",
            "att init --allow-secret-env A,B --allow-secret-env C -f -y --local-state-path /tmp/s.json",
            "attestation status --full --output table",
            "attestation reset --trigger cancellation --reason stopped",
            "attestation reset",
            "attestation init --workflow w --project p --remote-state -o json",
            "attestation add --name n --value v --kind CONTAINER_IMAGE --attestation-id x",
            "attestation add",
            "attestation push --graceful-exit=false",
            "run describe id --output table",
            "run provenance id --to provenance.json",
            "run describe id -o statement",
            "attestation init --workflow w --project p -f",
            "att init --name w --project p",
            "attestation add --name sbom --value f --annotation a=b --annotation c= --kind SARIF",
            "attestation push --key env://K --annotation a=b --bundle b.json",
            "attestation verify b.json --key a.pub --key b.pub",
            "attestation verify b.json --trusted-root r --issuer i --identity s",
            "attestation verify --bundle b.json --trusted-root r --certificate-oidc-issuer i --certificate-identity s",
            "attestation verify r.dev/a@sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 -k k --type cyclonedx --offline",
            "attestation verify b.json --ca-roots c.pem --certificate-identity O=x",
            "attestation verify b.json --ca-roots c.pem --ca-intermediates i.pem --timestamp-certificate-chain t.pem --identity x --issuer i",
            "attestation push --signing-config c.json --rekor-version 2 --timestamp-url https://t --identity-token f",
            "attestation push",
            "check r.dev/a:v1 -o json",
            "check r.dev/a:v1 -o github --wait 5m --explain --vsa v.json --report junit=r.xml --report sarif=r.sarif",
            "check r.dev/a:v1 --vsa verdict.json",
            "check ./dist/app --contract files --contract release --as file",
            "token create --name n --role push --workflow p/w --expires-in 90d",
            "token revoke id",
            "exemption lint a.yaml b.yaml -o sarif",
            "exemption sign a.yaml --key k --to a.signed.json",
            "exemption sign a.signed.json --identity-token t --signing-config c.json",
            "exemption sign a.signed.json --add-bundle b.json",
            "exemption apply a.signed.json",
            "exemption list -o json",
            "organization describe -o json",
            "organization apply organization.yaml",
            "exemption withdraw a",
            "deny sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 --reason r --until 7d",
            "deny r.dev/a@sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 --reason r --until 2027-01-31 --repository r.dev/a/** -o json",
            "deny list -o json",
            "attestation withdraw sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 --reason r -o json",
            "att withdraw r1 --reason r",
            "att restore r1",
            "att withdrawn -o json",
            "deny rm sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "pulls --since 7d --limit 10 -o json",
            "pulls --would-deny --since 2027-01-31",
            "pulls --would-deny --from -",
            "key generate --output keys/build --scheme ed25519",
            "backup --output f --token-file t",
        ] {
            let words = std::iter::once("sluice").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "contract",
            "deny",
            "pulls --from pods.json",
            "pulls --since yesterday",
            "deny sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "deny sha256:00 --reason r --until soon",
            "attestation withdraw r1",
            "attestation withdraw --reason r",
            "run list --project p",
            "policy eval p.yaml",
            "policy eval p.yaml --material m --attestation a",
            "policy eval p.yaml --attestation a --kind SARIF",
            "policy test --min-coverage 90",
            "policy test --watch --junit r.xml",
            "attestation verify b.json",
            "check r.dev/a:v1 --wait 5",
            "contract replay a.yaml b.yaml",
            "contract replay a.yaml b.yaml bundles --revision c.yaml",
            "check r.dev/a:v1 --report junit",
            "check r.dev/a:v1 --report pdf=r.pdf",
            "attestation verify b.json --trusted-root r",
            "attestation verify b.json --trusted-root r --issuer i",
            "attestation verify b.json --key k --identity s",
            "attestation verify b.json --ca-roots c.pem",
            "attestation verify b.json --ca-roots c.pem --key k --identity s",
            "attestation verify b.json --ca-roots c.pem --trusted-root r --issuer i --identity s",
            "attestation verify b.json --trusted-root r --identity s",
            "attestation verify b.json --key k --timestamp-certificate-chain t.pem",
            "attestation add --value f --annotation a",
            "attestation init --workflow w --version 1 --latest-version",
            "attestation reset --trigger whim",
            "attestation add --value f --kind SARFI",
            "token create --name n --role owner",
            "token create --name n --role push --expires-in tomorrow",
            "contract delete",
        ] {
            let words = std::iter::once("sluice").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
