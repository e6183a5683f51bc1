//! Runs: begun, looked at, ended, and attested.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContractBody, Withdrawn};
use crate::{Decision, Digest, Finding, RunnerIdentity};

/// `POST /api/v1/runs`: a crafting session begins. With `?dry-run=true` it is answered, and nothing is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The project; may be left out with a token bound to a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The workflow; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The contract that the workflow is made with when there is no such workflow yet, which only an admin may. A
    /// workflow that is there keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The revision to craft by, for looking at an older one. The gateway judges by the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_revision: Option<u32>,
    /// The version of the project that is built, as people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The address of the pipeline's run, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The answer to `POST /api/v1/runs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedRun {
    /// The run's id, to be named in the statement. Used once.
    pub id: String,
    /// The organization.
    pub organization: String,
    /// The project.
    pub project: String,
    /// The workflow.
    pub workflow: String,
    /// Who owns the workflow.
    pub team: String,
    /// The contract at its current revision, or the one that was asked for.
    pub contract: ContractBody,
    /// The current revision's number, which the gateway judges by.
    #[serde(default)]
    pub current_revision: u32,
    /// Whether the workflow was made just now.
    #[serde(default)]
    pub created: bool,
}

/// `POST /api/v1/runs/{id}/end`: the pipeline will push nothing for this run. The answer is the [`RunInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRun {
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a run ends that has no attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// The pipeline failed.
    Failed,
    /// Somebody stopped the pipeline.
    Cancelled,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Begun; nothing was pushed yet.
    Started,
    /// Its attestation satisfies the contract.
    Accepted,
    /// Its attestation is genuine but breaks the contract.
    Rejected,
    /// The pipeline failed before it pushed anything.
    Failed,
    /// The pipeline was stopped before it pushed anything.
    Cancelled,
    /// An operator withdrew its attestation, which satisfied the contract or did not: it counts no more.
    Withdrawn,
}

impl RunState {
    /// Whether nothing may be pushed for the run any more.
    #[must_use]
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Started)
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The run's id.
    pub id: String,
    /// The project.
    pub project: String,
    /// The workflow.
    pub workflow: String,
    /// Where it stands.
    pub state: RunState,
    /// When it began, or was first seen.
    pub started_at: Timestamp,
    /// When its attestation was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// Its attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Digest>,
    /// The contract revision that judged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Who was proven to have pushed its attestation (or, before that, to have begun it), when it came with an
    /// identity token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<RunnerIdentity>>,
    /// The version of the project that was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The address of the pipeline's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it failed or was cancelled, when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That its attestation was withdrawn: the state says so too, and the first of the findings says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
}

/// The answer to `POST /api/v1/attestations`: 200 accepted, 422 rejected. The request's body is the bundle;
/// `?project=…&workflow=…` name the workflow when the token is not bound to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedAttestation {
    /// The sha256 of the bundle's bytes.
    pub attestation: Digest,
    /// `Allow` when it satisfies its contract.
    pub decision: Decision,
    /// The run as it stands now.
    pub run: RunInfo,
}
