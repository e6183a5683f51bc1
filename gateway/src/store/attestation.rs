//! Attestations as they are kept, and what the store says of them.

use bytes::Bytes;
use contracts::{Digest, api::Withdrawn};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Source;

/// An attestation whose signature was verified when it came. Verified again whenever it is used as evidence
/// under another trust root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationRecord {
    /// What is known of it.
    pub facts: AttestationFacts,
    /// The bundle's own bytes.
    pub bundle: Bytes,
}

/// What is known of an attestation, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationFacts {
    /// SHA-256 of the bundle.
    pub id: Digest,
    /// SHA-256 of what was signed: the payload and its type, in DSSE's encoding. The bytes around them are
    /// nobody's word, so the same statement in another wrapping keeps its first receipt.
    pub signed: Digest,
    /// The sha256 subjects it names.
    pub subjects: Vec<Digest>,
    /// When what was signed first came, in whichever wrapping. Never renewed.
    pub received_at: Timestamp,
    /// The earliest time that was proven for a signature of it, in whichever wrapping has come by now.
    pub signed_at: Option<Timestamp>,
    /// How it came.
    pub source: Source,
    /// That an operator withdrew what was signed. The store's own: what is given to be stored is marked by what it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Box<Withdrawn>>,
}

impl AttestationFacts {
    /// Since when what was signed is known to exist: whichever is earlier of the proven time and the first receipt.
    #[must_use]
    pub fn known_since(&self) -> Timestamp {
        self.signed_at.map_or(self.received_at, |proven| proven.min(self.received_at))
    }

    /// Its place in the order of runs: [`Self::known_since`] in microseconds, which is what the store orders by, so
    /// that one instant is the same everywhere.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        let since = self.known_since();
        Timestamp::from_microsecond(since.as_microsecond()).unwrap_or(since)
    }
}

/// An attestation that was found beside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The attestation.
    pub record: AttestationRecord,
    /// A digest over all whom it speaks for: the trusts that it verifies against and who signed it for them. Found
    /// again in other bytes, the same signed content that speaks for the same is the same attestation.
    pub speaks_for: Digest,
}

/// The runs that were pushed for an image or another artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedAbout {
    /// Of each workflow under each contract the newest ([`AttestationFacts::at`]), by names. Several when they are of
    /// the same instant, at most [`contracts::limits::RUNS_OF_ONE_INSTANT`], those that were rejected first.
    pub newest: Vec<AttestationFacts>,
    /// Whether that is all: no more than [`contracts::limits::WORKFLOWS_PER_SUBJECT`] have pushed about it.
    pub complete: bool,
}
