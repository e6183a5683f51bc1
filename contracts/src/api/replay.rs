//! A contract that is proposed, over what was pushed under the current one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Decision, Digest, Finding};

/// The answer to `POST /api/v1/contracts/{name}/replay`, whose body is that of an apply. Nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// How many attestations were judged, the newest first.
    pub judged: usize,
    /// Those whose verdict changes.
    pub flips: Vec<Flip>,
    /// Runs of which it could not be told, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<Undecided>,
}

/// An attestation whose verdict changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// The run's id.
    pub run: String,
    /// `project/workflow`.
    pub workflow: String,
    /// The attestation.
    pub attestation: Digest,
    /// When it was received.
    pub received_at: Option<Timestamp>,
    /// What the current revision says of it now.
    pub before: Decision,
    /// What the proposed one says.
    pub after: Decision,
    /// Why it is denied, by the one that denies it.
    pub findings: Vec<Finding>,
}

/// A run of which it could not be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// The run's id.
    pub run: String,
    /// Why.
    pub reason: String,
}
