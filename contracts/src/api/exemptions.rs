//! Exemptions as they are asked for in an emergency, and told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, SignerIdentity};

/// `POST /api/v1/exemptions/emergency`: what a contract's `admission.breakGlass` lets the caller do on its own. Names
/// either the run that was rejected, or a workflow and an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEmergency {
    /// Why, in words.
    pub reason: String,
    /// The run whose images are let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The project; may be left out with a run, or a token bound to a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The workflow; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The image; with a run, one of its images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// For how long: `1h`. Without it, for as long as the contract allows.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<String>,
}

/// Where an exemption stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExemptionState {
    /// It begins later.
    Pending,
    /// It counts now.
    InForce,
    /// It has ended.
    Over,
    /// It was taken back.
    Withdrawn,
    /// It does not count: what approved it no longer does (see `problem`).
    Void,
}

/// One exemption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExemptionInfo {
    /// Its name.
    pub name: String,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// Where it stands.
    pub state: ExemptionState,
    /// Who asked for it in an emergency; such a one has no approvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    /// Patterns of repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
    /// The rule; in an emergency any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The workflow, `project/workflow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// Why.
    pub reason: String,
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<SignerIdentity>,
    /// When it came.
    pub applied_at: Timestamp,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why it covers nothing, though it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}
