//! Runs as they are kept, and what the store says of them.

use bytes::Bytes;
use contracts::{
    Code, Digest, EvidencePlace, Finding, RunnerIdentity,
    api::{RunInfo, RunState, Withdrawn},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::WorkflowName;

/// A run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Unique within the organization.
    pub id: String,
    /// Of which workflow.
    pub workflow: WorkflowName,
    /// Where it stands.
    pub state: RunState,
    /// When it began or was first seen.
    pub started_at: Timestamp,
    /// When its attestation was received.
    pub received_at: Option<Timestamp>,
    /// Its attestation.
    pub attestation: Option<Digest>,
    /// The revision that judged it.
    pub revision: Option<u32>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Who was proven to have pushed the attestation; before that, who began the run.
    #[serde(default)]
    pub identity: Option<Box<RunnerIdentity>>,
    /// The version of the project that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The address of the pipeline's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That an operator withdrew its attestation. The state stays what was found of it when it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Box<Withdrawn>>,
}

impl RunRecord {
    /// A run at its beginning.
    #[must_use]
    pub fn begun(id: impl Into<String>, workflow: WorkflowName, at: Timestamp) -> Self {
        Self {
            id: id.into(),
            workflow,
            state: RunState::Started,
            started_at: at,
            received_at: None,
            attestation: None,
            revision: None,
            findings: Vec::new(),
            version: None,
            url: None,
            reason: None,
            identity: None,
            withdrawn: None,
        }
    }
}

/// Some runs of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunRecord>,
    /// Whether the list goes on after them.
    pub more: bool,
}

impl From<RunRecord> for RunInfo {
    /// What was withdrawn is told as such before all that was found of it.
    fn from(record: RunRecord) -> Self {
        let told = record.withdrawn.as_ref().map(|withdrawn| {
            let message =
                format!("an operator withdrew the attestation of the run `{}`: {}", record.id, withdrawn.reason);
            let place = EvidencePlace { attestation: record.attestation, material: None };
            Finding::error(Code::AttestationWithdrawn, message)
                .in_evidence(place)
                .mend("begin a new run with `sluice attestation init`, or ask who keeps this gateway")
        });
        Self {
            id: record.id,
            project: record.workflow.project.to_string(),
            workflow: record.workflow.workflow.to_string(),
            state: if record.withdrawn.is_some() { RunState::Withdrawn } else { record.state },
            started_at: record.started_at,
            received_at: record.received_at,
            attestation: record.attestation,
            revision: record.revision,
            findings: told.into_iter().chain(record.findings).collect(),
            identity: record.identity,
            version: record.version,
            url: record.url,
            reason: record.reason,
            withdrawn: record.withdrawn.map(|withdrawn| *withdrawn),
        }
    }
}

/// What is kept of a run's session: bytes that the gateway does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSession {
    /// SHA-256 of the bytes: tells states apart.
    pub mark: Digest,
    /// The bytes.
    pub bytes: Bytes,
}

/// What `keep_session` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKept {
    /// It is kept, with this mark.
    Kept(Digest),
    /// What is there is not what the caller has read.
    Changed,
    /// The run has ended, and its session with it.
    Ended,
    /// There is no such run.
    Unknown,
    /// The organization has as many as it may.
    TooMany,
}

/// What `end_run` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The run failed or was cancelled, now or since before.
    Ended(Box<RunRecord>),
    /// There is no such run of the workflow.
    Unknown,
    /// Its attestation was received; nothing changed.
    Attested,
}
