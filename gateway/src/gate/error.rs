//! Why the gate could not decide. None of these is a verdict, and none is remembered.

use contracts::Diagnostics;

use crate::{evidence::EvidenceError, store::StoreError, upstream::UpstreamError, workers::WorkError};

/// The gate could not decide: the answer is neither yes nor no, and asking again may give one.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes of a material cannot be read.
    #[error("the stored evidence cannot be read: {reason}")]
    Evidence {
        /// What happened.
        reason: String,
    },
    /// What the gateway has itself does not satisfy, and the registry could not be asked for more.
    #[error("the attestations beside the image could not be looked at: {0}")]
    Upstream(#[from] UpstreamError),
    /// A contract that was applied by another version of the gateway cannot be read by this one.
    #[error("revision {revision} of the contract `{contract}` cannot be used by this version of the gateway: {reason}")]
    Contract {
        /// The contract.
        contract: String,
        /// Its current revision.
        revision: u32,
        /// What is wrong with it.
        reason: Diagnostics,
    },
    /// A contract that the question names is not there any more.
    #[error("there is no contract `{contract}`")]
    ContractGone {
        /// Its name.
        contract: String,
    },
    /// The keys or roots that signatures are checked against cannot be used.
    #[error("signatures cannot be checked: {reason}")]
    Trust {
        /// What is wrong with them.
        reason: String,
    },
    /// A rule could not be evaluated to its end, for no fault of its own.
    #[error("the rules could not be evaluated: {reason}")]
    Evaluation {
        /// What happened.
        reason: String,
    },
    /// It took longer than one decision may.
    #[error("deciding took longer than {seconds} seconds")]
    TooLong {
        /// The bound.
        seconds: u64,
    },
}

impl From<EvidenceError> for GateError {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence { reason: error.to_string() }
    }
}

impl From<WorkError> for GateError {
    fn from(error: WorkError) -> Self {
        Self::Evaluation { reason: error.to_string() }
    }
}

impl From<policies::EvaluateError> for GateError {
    fn from(error: policies::EvaluateError) -> Self {
        Self::Evaluation { reason: error.to_string() }
    }
}
