//! Attestations that operators withdrew, as it is kept.

use contracts::{
    Digest,
    api::{WithdrawalInfo, Withdrawn},
};
use serde::{Deserialize, Serialize};

use crate::names::WorkflowName;

/// How an attestation is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttestationName {
    /// By the digest of its bundle.
    Id(Digest),
    /// By its run.
    Run(String),
}

impl std::fmt::Display for AttestationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "attestation `{id}`"),
            Self::Run(run) => write!(f, "run `{run}`"),
        }
    }
}

/// That what was signed is withdrawn, in whichever bytes it came or comes. There is one withdrawal of it at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalRecord {
    /// One that carries it: the one that was named, or that of the run.
    pub attestation: Digest,
    /// SHA-256 of what was signed.
    pub signed: Digest,
    /// The run that it was pushed for.
    pub run: Option<String>,
    /// Of which workflow.
    pub workflow: Option<WorkflowName>,
    /// Why, since when and by whom.
    pub withdrawn: Withdrawn,
}

impl From<WithdrawalRecord> for WithdrawalInfo {
    fn from(WithdrawalRecord { attestation, signed, run, workflow, withdrawn }: WithdrawalRecord) -> Self {
        Self { attestation, signed, run, workflow: workflow.map(|workflow| workflow.to_string()), withdrawn }
    }
}

/// What `withdraw_attestation` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawing {
    /// It is withdrawn, and was not before.
    New(Box<WithdrawalRecord>),
    /// It was withdrawn before; what is said now takes the place of what was said then.
    Replaced(Box<WithdrawalRecord>),
    /// No such attestation is stored.
    Unknown,
    /// There are as many withdrawals as there may be ([`contracts::limits::WITHDRAWALS`]).
    TooMany,
}
