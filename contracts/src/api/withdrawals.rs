//! Attestations that operators withdraw: they stay where they are, and count no more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// `PUT /api/v1/withdrawals/{attestation or run}`: from the next request on it counts for no verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWithdrawal {
    /// Why, in words: whoever is denied for it reads it.
    pub reason: String,
}

/// That an operator withdrew an attestation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Why.
    pub reason: String,
    /// Since when.
    pub withdrawn_at: Timestamp,
    /// The token by which it was asked for, by id.
    pub by: String,
}

/// One withdrawal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalInfo {
    /// The attestation, as it is stored. Other bytes with the same signed content are withdrawn with it.
    pub attestation: Digest,
    /// SHA-256 of what was signed: the payload and its type, in DSSE's encoding.
    pub signed: Digest,
    /// The run that it was pushed for; none when it was found beside an image, or among the materials of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// `project/workflow` of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Why, since when and by whom.
    #[serde(flatten)]
    pub withdrawn: Withdrawn,
}
