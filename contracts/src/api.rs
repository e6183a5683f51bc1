//! The bodies of the gateway's HTTP API: what the command line and the gateway agree on. All are JSON but for
//! bundles and evidence, which travel as their own bytes. Instants are RFC 3339, digests `sha256:…`.

mod cache;
mod denials;
mod exemptions;
mod pulls;
mod removal;
mod replay;
mod runs;
mod sweep;
mod withdrawals;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{Digest, Finding, Verdict, identity::FederationRule};

pub use self::cache::{CacheStats, PruneCache, PrunedCache};
pub use self::denials::{DenialInfo, NewDenial};
pub use self::exemptions::{ExemptionInfo, ExemptionState, NewEmergency};
pub use self::pulls::{JudgeImages, JudgedImage, PullInfo, PullWay, PulledImage, ToldBy};
pub use self::removal::{ReleasedRepositories, RemovedContract};
pub use self::replay::{Flip, Replayed, Undecided};
pub use self::runs::{EndRun, NewRun, ReceivedAttestation, RunInfo, RunOutcome, RunState, StartedRun};
pub use self::sweep::{SweepEvidence, SweptEvidence};
pub use self::withdrawals::{NewWithdrawal, WithdrawalInfo, Withdrawn};

/// The answer to any request that fails (every status from 400 on, outside `/v2/`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Stable kebab-case code.
    pub code: String,
    /// A sentence that names the place and the mend.
    pub message: String,
    /// The reasons, when there are several (a contract's mistakes, a rejected attestation).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What a token may do. Each includes the ones after it, but `push` and `pull` do not include each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything within the organization.
    Admin,
    /// Start runs, upload evidence, push attestations, read.
    Push,
    /// Pull images through the gateway, ask for verdicts, read.
    Pull,
    /// Read.
    Read,
}

/// `POST /api/v1/tokens`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, shown in lists.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Only for this workflow, `project/workflow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Of the installation's operator too: takes backups, makes organizations. Only such a token makes another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// From then on it is refused; without it, until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The answer to `POST /api/v1/tokens`: the only time the secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedToken {
    /// The token's entry in the list.
    pub token: TokenInfo,
    /// The bearer secret.
    pub secret: String,
}

/// One token in `GET /api/v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Names the token in `DELETE /api/v1/tokens/{id}`.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it is of the installation's operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// The workflow it is bound to, `project/workflow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, cut to the hour; not there when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it ends by itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether it has ended by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// What happens to images that no contract answers for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They are blocked.
    #[default]
    Deny,
    /// They are let through, marked unenforced.
    Allow,
}

/// `GET` and `PUT /api/v1/organization`: the organization that the token belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSettings {
    /// Public keys in PEM that may sign for contracts which name no signers.
    #[serde(default)]
    pub default_signers: Vec<String>,
    /// What happens to images that no contract answers for.
    #[serde(default)]
    pub unmatched: Unmatched,
    /// Who may come without a token of the gateway's, with an identity token of their CI system. The first rule that
    /// lets a token in says what it may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federation: Vec<FederationRule>,
    /// Pipelines that are held to be isolated from what they build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated_builders: Vec<IsolatedBuilder>,
    /// Who may make exceptions, and from what.
    #[serde(default, skip_serializing_if = "ExemptionSettings::is_default")]
    pub exemptions: ExemptionSettings,
}

/// The answer of `PUT /api/v1/organization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedOrganization {
    /// The settings as they are now.
    #[serde(flatten)]
    pub settings: OrganizationSettings,
    /// What in them does nothing, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A pipeline as a certificate names it. Both are compared letter by letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsolatedBuilder {
    /// Who vouches for it: the address of the identity provider.
    pub issuer: String,
    /// Its definition with its version: for GitHub, the reusable workflow's `job_workflow_ref` as an address.
    pub identity: String,
}

/// Who may approve exemptions of an organization, and how far those may go. By default nobody may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExemptionSettings {
    /// Each a public key in PEM, or whom a certificate names.
    pub approvers: Vec<Approver>,
    /// How many distinct approvers must sign, at least 1.
    pub threshold: u32,
    /// How long an exemption may last: `30d`.
    pub longest: String,
    /// Rules, or codes of findings, that are never exempted. Not even in an emergency.
    pub never: Vec<String>,
}

/// Who may approve. In JSON a public key in PEM, or `{"issuer": …, "identity": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Approver {
    /// Whoever holds the private key of this public key in PEM.
    Key(String),
    /// Whom a trusted certificate authority names. Both are compared letter by letter.
    Identity {
        /// Who vouches for it: the address of the identity provider.
        issuer: String,
        /// The e-mail address, or the address of the pipeline's definition.
        identity: String,
    },
}

impl From<String> for Approver {
    fn from(pem: String) -> Self {
        Self::Key(pem)
    }
}

impl<'de> Deserialize<'de> for Approver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            issuer: String,
            identity: String,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Approver;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a public key in PEM, or `issuer` and `identity`")
            }

            fn visit_str<E: de::Error>(self, pem: &str) -> Result<Approver, E> {
                Ok(Approver::Key(pem.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Approver, A::Error> {
                let Named { issuer, identity } = Named::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Approver::Identity { issuer, identity })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Default for ExemptionSettings {
    fn default() -> Self {
        Self { approvers: Vec::new(), threshold: 1, longest: "30d".to_owned(), never: Vec::new() }
    }
}

impl ExemptionSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `POST /api/v1/organizations`: makes another organization; answers with an admin token of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrganization {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
}

/// `POST /api/v1/workflows`: creates a workflow, or changes the team and contract of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWorkflow {
    /// The project, made if it is new.
    pub project: String,
    /// The workflow's name within the project.
    pub name: String,
    /// Who owns it.
    #[serde(default)]
    pub team: String,
    /// The contract's name; it must have been applied.
    pub contract: String,
}

/// One workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowInfo {
    /// The project.
    pub project: String,
    /// The name within the project.
    pub name: String,
    /// Who owns it.
    pub team: String,
    /// The contract's name.
    pub contract: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunInfo>,
}

/// A closed set of files: the contract and all that it refers to. Paths are relative to the contract's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionFiles {
    /// Which of the files is the contract.
    pub contract: String,
    /// Path to content. Contracts, policies and PEM keys are all text.
    pub files: BTreeMap<String, String>,
}

/// The answer to `PUT /api/v1/contracts/{name}` (with `?dry-run=true`: nothing was stored).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedContract {
    /// The contract's name.
    pub name: String,
    /// The revision's number, from 1.
    pub revision: u32,
    /// The digest over all files.
    pub digest: Digest,
    /// False when these exact files were the current revision already.
    pub changed: bool,
    /// How many rules it compiled to.
    pub rules: usize,
    /// Warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// One contract in `GET /api/v1/contracts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractInfo {
    /// The contract's name.
    pub name: String,
    /// The current revision's number.
    pub revision: u32,
    /// The current revision's digest.
    pub digest: Digest,
    /// When the current revision was applied.
    pub applied_at: Timestamp,
    /// The repositories it answers for.
    pub repositories: Vec<String>,
    /// Workflows bound to it, `project/workflow`.
    pub workflows: Vec<String>,
}

/// `GET /api/v1/contracts/{name}` (`?revision=N` for an older one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractBody {
    /// The contract.
    pub info: ContractInfo,
    /// The files of the revision.
    pub files: RevisionFiles,
}

/// `POST /api/v1/check`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The image, as people write it: `repository:tag` or `repository@sha256:…`. Either this or `artifact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The digest of a file or whatever else is no image. Only the contracts that are named answer for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// Contracts by name: for an image beside those that answer for its repository, never instead of them; at most
    /// [`crate::limits::NAMED_CONTRACTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contracts: Vec<String>,
    /// Whether the answer is also wanted as the gateway's signed word (see [`crate::vsa`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vsa: bool,
}

/// The answer to `POST /api/v1/check`: 200 for both decisions, 503 when it could not be decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Names this verdict in logs and in the registry's denials.
    pub key: Digest,
    /// What was decided.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The same as a Verification Summary Attestation, signed by the gateway: a Sigstore bundle. When it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsa: Option<serde_json::Value>,
}

/// `GET /api/v1/keys`: whose signatures are the gateway's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayKeys {
    /// How the gateway names itself. An organization's verifier is this and `/organizations/` and its name.
    pub gateway: String,
    /// The keys, the one that signs now first.
    pub keys: Vec<GatewayKey>,
}

/// A public key of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayKey {
    /// The SHA-256 digest of the key's SubjectPublicKeyInfo.
    pub id: Digest,
    /// The key in PEM.
    pub pem: String,
    /// Whether it signs now.
    pub current: bool,
    /// What was signed before is not its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// What says that it was verified later is not its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One entry of the audit log, oldest first in `GET /api/v1/audit?from=N&limit=N`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, kebab-case.
    pub event: String,
    /// To what.
    pub detail: serde_json::Value,
    /// The digest of the entry before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The digest of this entry.
    pub digest: Digest,
}
