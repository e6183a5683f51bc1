//! `sluice attestation …` as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use contracts::MaterialType;

use super::key_value;

#[derive(Debug, Subcommand)]
pub enum Attestation {
    /// Begin: ask the gateway for a run and for what the contract wants
    Init {
        /// The project; may be left out with a token that is bound to a workflow
        #[arg(long)]
        project: Option<String>,
        /// The workflow; likewise
        #[arg(long, alias = "name", alias = "workflow-name")]
        workflow: Option<String>,
        /// Drop a session that was begun in this folder and not pushed
        #[arg(long, short = 'f')]
        replace: bool,
    },
    /// Add a material
    Add(AttestationAdd),
    /// Show what was added and what is missing
    Status,
    /// Sign what was added and push it: exit 0 accepted, 4 blocked or incomplete
    Push(AttestationPush),
    /// Drop the session of this folder
    Reset,
    /// Verify a bundle against keys or identities, without the gateway: exit 0 genuine, 1 not
    Verify(AttestationVerify),
}

#[derive(Debug, Args)]
pub struct AttestationAdd {
    /// The material's name in the contract [default: the one slot that fits what the value is]
    #[arg(long)]
    pub name: Option<String>,
    /// A file, an image (`registry/repository:tag` or `…@sha256:…`), a chart (`oci://…`) or a text, by the material's type
    #[arg(long)]
    pub value: String,
    /// The material's type [default: the contract's, or recognised]
    #[arg(long, value_name = "TYPE")]
    pub kind: Option<MaterialType>,
    /// An annotation of the material
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    pub annotations: Vec<(String, String)>,
    #[command(flatten)]
    pub registry: Registry,
}

/// How registries are reached when a tag has to be resolved.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry")]
pub struct Registry {
    /// The user at the image's registry [default: what `docker login` left, if anything]
    #[arg(long, env = "SLUICE_REGISTRY_USERNAME", value_name = "NAME")]
    pub registry_username: Option<String>,
    /// A file with that user's password; SLUICE_REGISTRY_PASSWORD is read as well
    #[arg(long, value_name = "FILE", requires = "registry_username")]
    pub registry_password_file: Option<PathBuf>,
    /// A registry (`host[:port]`) that is reached over plain HTTP, where anyone on the way can change the answer
    #[arg(long, value_name = "HOST")]
    pub insecure_registry_http: Vec<String>,
}

#[derive(Debug, Args)]
pub struct AttestationPush {
    #[command(flatten)]
    pub signing: Signing,
    /// An annotation of the attestation
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    pub annotations: Vec<(String, String)>,
    /// Push without materials that the contract requires: the gateway will judge it, and the run is used
    #[arg(long)]
    pub force: bool,
    /// In an emergency: when the run is rejected, let its images through for a while all the same, for this reason, where
    /// the contract's `breakGlass` says that the caller may
    #[arg(long, value_name = "REASON")]
    pub emergency: Option<String>,
    /// Also write the bundle to this file
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

/// How the attestation is signed: with a key, or keyless with an identity token.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct Signing {
    /// The private key: a file, or env://NAME for a variable that holds the PEM. Its password is read from
    /// SLUICE_KEY_PASSWORD, COSIGN_PASSWORD or CHAINLOOP_SIGNING_PASSWORD [default: keyless]
    #[arg(long, short, value_name = "KEY")]
    pub key: Option<String>,
    /// A file with the identity token to sign with [default: the CI system's, or what is in SIGSTORE_ID_TOKEN]
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub identity_token: Option<String>,
    /// A Sigstore `signing_config.json`: which certificate authority, logs and timestamp authorities to use
    #[arg(long, value_name = "FILE", env = "SLUICE_SIGNING_CONFIG")]
    pub signing_config: Option<PathBuf>,
    /// The certificate authority (Fulcio) of keyless signatures
    #[arg(long, value_name = "URL", env = "SLUICE_FULCIO_URL")]
    pub fulcio_url: Option<String>,
    /// The transparency log (Rekor); what is signed becomes public there
    #[arg(long, value_name = "URL", env = "SLUICE_REKOR_URL")]
    pub rekor_url: Option<String>,
    /// The version of the log's API
    #[arg(long, value_name = "1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub rekor_version: u8,
    /// A timestamp authority (RFC 3161); may be repeated
    #[arg(
        long = "timestamp-url",
        alias = "timestamp-server-url",
        value_name = "URL",
        env = "SLUICE_TIMESTAMP_URLS",
        value_delimiter = ','
    )]
    pub timestamp_urls: Vec<String>,
    /// A Sigstore `trusted_root.json` to verify the signature with before it is sent
    #[arg(long, value_name = "FILE")]
    pub trusted_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("trusted").required(true).multiple(true).args(["keys", "trusted_root"]))]
pub struct AttestationVerify {
    /// The bundle
    pub bundle: PathBuf,
    /// A public key in PEM; repeated: any of them
    #[arg(long = "key", short, value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// A Sigstore `trusted_root.json`, for keyless signatures
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub trusted_root: Option<PathBuf>,
    /// Who vouched for the signer, exactly
    #[arg(long, value_name = "URL", requires = "trusted_root")]
    pub issuer: Option<String>,
    /// The signer's identity, exactly
    #[arg(long, value_name = "TEXT", requires = "issuer")]
    pub identity: Option<String>,
    /// The artifact that it must speak of
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<contracts::Digest>,
}
