//! The way in for attestations: verified, judged, and kept with what was found.
//!
//! This module must not contain HTTP, or anything that reads a clock.

use std::sync::Arc;

use bytes::Bytes;
use contracts::{Code, Digest, Finding, api::ReceivedAttestation};
use jiff::Timestamp;

use crate::{
    evidence::EvidenceFolder,
    gate::GateError,
    names::{Name, WorkflowName},
    rules::Rules,
    store::Store,
    workers::Workers,
};

/// Takes attestations. One for the whole gateway.
pub struct Intake {
    store: Arc<dyn Store>,
    evidence: Arc<EvidenceFolder>,
    rules: Arc<Rules>,
    workers: Workers,
}

/// Why an attestation was not taken. Nothing was stored but, for refused signatures, an audit entry.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// More bytes than an attestation may have.
    #[error("the attestation is larger than {limit} bytes, the most that is taken")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Not a Sigstore bundle with an in-toto statement of a run.
    #[error("{message}")]
    Unreadable {
        /// What is wrong and how to mend it.
        message: String,
    },
    /// There is no such workflow.
    #[error(
        "there is no workflow `{workflow}` in `{organization}`: make it with `sluice workflow create`, or correct the name"
    )]
    UnknownWorkflow {
        /// The organization.
        organization: Name,
        /// What was asked for.
        workflow: WorkflowName,
    },
    /// Its signatures do not verify, or are not those of the contract's signers.
    #[error("{}", finding.message)]
    Refused {
        /// Why, with `signature-invalid`, `signer-not-allowed` or `signers-missing`.
        finding: Box<Finding>,
        /// The bundle's digest.
        attestation: Digest,
    },
    /// It speaks of another organization, project, workflow or contract, or of a run that is taken.
    #[error("{}", finding.message)]
    Mismatch {
        /// Why, with `statement-mismatch` or `run-already-used`.
        finding: Box<Finding>,
    },
    /// It could not be judged now.
    #[error(transparent)]
    CouldNotDecide(#[from] GateError),
}

impl IntakeError {
    /// The stable code of the refusal; none when it could not be judged.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { finding, .. } | Self::Mismatch { finding } => Some(finding.code),
            Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::UnknownWorkflow { .. }
            | Self::CouldNotDecide(_) => None,
        }
    }
}

impl Intake {
    /// An intake over the parts of a gateway.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, evidence: Arc<EvidenceFolder>, rules: Arc<Rules>, workers: Workers) -> Self {
        Self { store, evidence, rules, workers }
    }

    /// Verifies an attestation that was pushed for a workflow, judges it by the current revision of the workflow's
    /// contract, and keeps it as an accepted or rejected run. When this returns, that is durable. The same bytes
    /// again get the same answer.
    ///
    /// # Errors
    /// When it is refused or cannot be judged; no run is kept then.
    pub async fn receive(
        &self,
        organization: &Name,
        workflow: WorkflowName,
        bundle: Bytes,
        now: Timestamp,
    ) -> Result<ReceivedAttestation, IntakeError> {
        let _ = (organization, workflow, bundle, now, &self.store, &self.evidence, &self.rules, &self.workers);
        Err(GateError::Evaluation { reason: "intake is not built yet".to_owned() }.into())
    }
}
