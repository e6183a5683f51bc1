//! Evidence that nothing names.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// `POST /api/v1/evidence/sweep`: removes evidence of the organization that nothing names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepEvidence {
    /// Only what was uploaded, or asked for by a pipeline, so long ago: `30d`. At least
    /// [`crate::limits::EVIDENCE_RESTED`].
    pub older_than: String,
    /// Only tell what would be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The answer to `POST /api/v1/evidence/sweep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptEvidence {
    /// How many files there are that old.
    pub old: u64,
    /// How many of them something names: they stay.
    pub named: u64,
    /// How many were removed; of a dry run, would be.
    pub removed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Some of them: at most [`crate::limits::SWEPT_TOLD`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digest>,
}
