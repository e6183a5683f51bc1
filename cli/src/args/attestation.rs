//! `sluice attestation …` as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use contracts::MaterialType;

/// `sluice attestation`: what all of its commands take.
#[derive(Debug, Args)]
pub struct Crafting {
    /// How results are printed
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: CraftFormat,
    /// The organization; the token says it already, so this only holds the two against each other
    #[arg(long, short = 'n', global = true, value_name = "NAME")]
    pub org: Option<String>,
    /// Keep the session in this file [default: .sluice/run.json in this folder, or in one above it within the repository]
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_LOCAL_STATE_PATH")]
    pub local_state_path: Option<PathBuf>,
    /// The attestation that is kept at the gateway, as `init --remote-state` printed it; several jobs may work on one
    #[arg(long, global = true, value_name = "ID")]
    pub attestation_id: Option<String>,
    /// Keep the session at the gateway, so that several jobs add to one attestation (said at `init`)
    #[arg(long, global = true)]
    pub remote_state: bool,
    /// Exit with 0 where the command could not be done; a blocked push still exits with 4
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub graceful_exit: Option<bool>,
    /// Taken, for scripts that say it: nothing is asked here
    #[arg(long, short = 'y', global = true, hide = true)]
    pub yes: bool,
    /// Taken, for scripts that say it
    #[arg(long, global = true, hide = true)]
    pub debug: bool,
    #[command(subcommand)]
    pub command: Attestation,
}

/// How the results of crafting are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CraftFormat {
    /// For people
    #[default]
    #[value(alias = "table")]
    Human,
    /// For programs
    Json,
    /// Of `status` and `push`: the in-toto statement
    Statement,
    /// Of `push`: the signed bundle
    Attestation,
}

#[derive(Debug, Subcommand)]
pub enum Attestation {
    /// Begin: ask the gateway for a run and for what the contract wants
    // The version is the project's here.
    #[command(disable_version_flag = true)]
    Init(AttestationInit),
    /// Add a material
    Add(AttestationAdd),
    /// Take a material out again that was added by mistake
    #[command(visible_alias = "rm")]
    Remove(AttestationRemove),
    /// Show what was added, what is missing and what would be denied
    Status(AttestationStatus),
    /// Sign what was added and push it: exit 0 accepted, 4 blocked or incomplete
    Push(AttestationPush),
    /// End the run without an attestation, and drop the session
    Reset(AttestationReset),
    /// Verify a bundle against keys or identities, without the gateway: exit 0 genuine, 1 not
    Verify(AttestationVerify),
    /// As an operator: let an attestation count no more, from the next request on; nothing is deleted
    Withdraw(AttestationWithdraw),
    /// As an operator: let a withdrawn attestation count again
    Restore {
        /// The digest of the attestation, or the id of its run
        #[arg(value_name = "ATTESTATION|RUN")]
        attestation: String,
    },
    /// List the attestations that operators withdrew
    Withdrawn,
}

#[derive(Debug, Args)]
pub struct AttestationWithdraw {
    /// The digest of the attestation, as `sluice run describe` prints it, or the id of its run. What was signed is withdrawn,
    /// in whichever bundle it comes again
    #[arg(value_name = "ATTESTATION|RUN")]
    pub attestation: String,
    /// Why; whoever is denied for it reads it
    #[arg(long)]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct AttestationInit {
    /// The project; may be left out with a token that is bound to a workflow
    #[arg(long)]
    pub project: Option<String>,
    /// The workflow; likewise
    #[arg(long, alias = "name", alias = "workflow-name")]
    pub workflow: Option<String>,
    /// The contract that the workflow is made with when there is none of this name yet: a contract's name, or its file.
    /// A workflow that is there keeps its own
    #[arg(long, value_name = "NAME|FILE")]
    pub contract: Option<String>,
    /// The revision of the contract to craft by [default: the current one, which the gateway judges by]
    #[arg(long, value_name = "NUMBER")]
    pub contract_revision: Option<u32>,
    /// The version of the project [default: `projectVersion` of .sluice.yml or .chainloop.yml]
    #[arg(long = "version", value_name = "VERSION", conflicts_with = "latest_version")]
    pub project_version: Option<String>,
    /// The version of the project's newest run
    #[arg(long)]
    pub latest_version: bool,
    /// Refuse a version that no run of the project had before
    #[arg(long)]
    pub existing_version: bool,
    /// The version is released with this
    #[arg(long)]
    pub release: bool,
    /// Taken, for scripts that say it: the newest run of a version is found by its time
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub mark_latest: Option<bool>,
    /// Try it without storing anything at the gateway, and wherever the pipeline runs
    #[arg(long)]
    pub dry_run: bool,
    /// Drop a session that was begun in this folder and not pushed
    #[arg(long, short = 'f')]
    pub replace: bool,
    /// Whether this builds a pull or merge request [default: what the runner says]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub pr: Option<bool>,
    /// Record this environment variable although its value looks like a secret; may be repeated
    #[arg(long = "allow-secret-env", value_name = "NAME", value_delimiter = ',')]
    pub allow_secret_env: Vec<String>,
    /// Taken, for scripts that say it: pull requests are always collected, nothing else is
    #[arg(long, value_delimiter = ',', hide = true)]
    pub collectors: Vec<String>,
}

#[derive(Debug, Args)]
pub struct AttestationStatus {
    /// Everything that is recorded, with digests and variables
    #[arg(long)]
    pub full: bool,
}

#[derive(Debug, Args)]
pub struct AttestationReset {
    /// What happened to the pipeline
    #[arg(long, value_enum, default_value_t)]
    pub trigger: Trigger,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Why a run ends without an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Trigger {
    /// The pipeline failed
    #[default]
    Failure,
    /// Somebody stopped it
    Cancellation,
}

#[derive(Debug, Args)]
pub struct AttestationAdd {
    /// The material's name in the contract [default: the one slot that fits what the value is]
    #[arg(long)]
    pub name: Option<String>,
    /// A file, a pattern of files (`reports/*.xml`), an image (`registry/repository:tag` or `…@sha256:…`, or a folder of
    /// the OCI layout), a chart (`oci://…`) or a text, by the material's type [default: all that `.sluice.yml` names]
    #[arg(long)]
    pub value: Option<String>,
    /// The material's type [default: the contract's, or recognised]
    #[arg(long, value_name = "TYPE")]
    pub kind: Option<MaterialType>,
    /// An annotation of the material; several may be given, or several in one, with commas between
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_values)]
    pub annotations: Vec<Pairs>,
    /// Taken, for scripts that say it: documents are held to what their format requires, not to every rule of its schema
    #[arg(long, hide = true)]
    pub no_strict_validation: bool,
    #[command(flatten)]
    pub registry: Registry,
}

#[derive(Debug, Args)]
pub struct AttestationRemove {
    /// The material's name, as `status` prints it; may be repeated
    #[arg(long = "name", value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// How registries are reached when a tag has to be resolved.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry")]
pub struct Registry {
    /// The registry that the user below is for [default: whichever the image names]
    #[arg(long, value_name = "HOST")]
    pub registry_server: Option<String>,
    /// The user at the image's registry; SLUICE_REGISTRY_USERNAME and CHAINLOOP_REGISTRY_USERNAME are read as well
    /// [default: what `docker login` left, or Docker's credential helpers know]
    #[arg(long, value_name = "NAME")]
    pub registry_username: Option<String>,
    /// That user's password; other users of this machine can see it here, so rather use --registry-password-file,
    /// SLUICE_REGISTRY_PASSWORD or CHAINLOOP_REGISTRY_PASSWORD
    #[arg(long, value_name = "PASSWORD", hide = true)]
    pub registry_password: Option<String>,
    /// A file with that user's password; SLUICE_REGISTRY_PASSWORD and CHAINLOOP_REGISTRY_PASSWORD are read as well
    #[arg(long, value_name = "FILE")]
    pub registry_password_file: Option<PathBuf>,
    /// A registry (`host[:port]`) that is reached over plain HTTP, where anyone on the way can change the answer
    #[arg(long, value_name = "HOST")]
    pub insecure_registry_http: Vec<String>,
}

#[derive(Debug, Args)]
pub struct AttestationPush {
    #[command(flatten)]
    pub signing: Signing,
    /// An annotation of the attestation; several may be given, or several in one, with commas between
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_values)]
    pub annotations: Vec<Pairs>,
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
    /// Taken, for scripts that say it: nothing is reported but what is printed
    #[arg(long, hide = true)]
    pub deactivate_ci_report: bool,
}

/// How the attestation is signed: with a key, or keyless with an identity token.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct Signing {
    /// The private key: a file, or env://NAME for a variable that holds the PEM. Its password is read from
    /// SLUICE_KEY_PASSWORD, COSIGN_PASSWORD or CHAINLOOP_SIGNING_PASSWORD [default: what SLUICE_SIGNING_KEY_PATH or
    /// CHAINLOOP_SIGNING_KEY_PATH says, else keyless]
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
#[command(group = clap::ArgGroup::new("trusted").required(true).multiple(true).args(["keys", "trusted_root", "ca_roots"]))]
#[command(group = clap::ArgGroup::new("authorities").multiple(true).args(["trusted_root", "ca_roots"]))]
#[command(group = clap::ArgGroup::new("vouching").multiple(true).args(["issuer", "ca_roots"]))]
pub struct AttestationVerify {
    /// A file with the bundle, or an image whose attestations are looked for beside it in its registry
    #[arg(value_name = "BUNDLE|IMAGE", required_unless_present = "bundle")]
    pub target: Option<String>,
    /// A file with the bundle
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub bundle: Option<PathBuf>,
    /// A public key in PEM: a file, or env://NAME; repeated: any of them
    #[arg(long = "key", short, value_name = "KEY")]
    pub keys: Vec<String>,
    /// A Sigstore `trusted_root.json`, for keyless signatures
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub trusted_root: Option<PathBuf>,
    /// The certificates, in PEM, of authorities of one's own, for signatures that no log and perhaps no timestamp vouches
    /// for. Without a timestamp, one counts only while its certificate is valid
    #[arg(long, value_name = "FILE", requires = "identity", conflicts_with_all = ["trusted_root", "keys"])]
    pub ca_roots: Option<PathBuf>,
    /// The certificates between those and signers
    #[arg(long, value_name = "FILE", requires = "ca_roots")]
    pub ca_intermediates: Option<PathBuf>,
    /// The certificates of a timestamp authority: the one that signs first, its root last
    #[arg(long, value_name = "FILE", requires = "ca_roots")]
    pub timestamp_certificate_chain: Option<PathBuf>,
    /// Who vouched for the signer, exactly
    #[arg(
        long = "certificate-oidc-issuer",
        aliases = ["issuer", "cert-oidc-issuer"],
        value_name = "URL",
        requires = "authorities"
    )]
    pub issuer: Option<String>,
    /// The signer's identity, exactly. Of a certificate that names none, its subject: O=ORGANIZATION
    #[arg(
        long = "certificate-identity",
        aliases = ["identity", "cert-identity"],
        value_name = "TEXT",
        requires = "vouching"
    )]
    pub identity: Option<String>,
    /// The artifact that it must speak of
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<contracts::Digest>,
    /// The predicate that it must have: its type, or cosign's short name for it
    #[arg(long = "type", value_name = "TYPE")]
    pub predicate: Option<String>,
    /// Ask nobody. A bundle in a file is verified without asking anybody anyway
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub registry: Registry,
}

/// Annotations that were given in one argument.
pub type Pairs = Vec<(String, String)>;

/// `a=b`, or `a=b,c=d`. What follows a comma and is no pair belongs to the value before it.
fn key_values(text: &str) -> Result<Pairs, String> {
    let mut pairs: Pairs = Vec::new();
    for piece in text.split(',') {
        match (piece.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) if !key.is_empty() => pairs.push((key.trim().to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            _ => return Err("write it as key=value, or as key=value,key=value".to_owned()),
        }
    }
    Ok(pairs)
}
