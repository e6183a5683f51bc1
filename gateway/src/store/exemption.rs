//! Exemptions as they are kept.

use contracts::{Digest, exemption::Emergency};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An exemption as it was applied, or made in an emergency. Whether it counts is for whoever reads it to find out anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExemptionRecord {
    /// Its name.
    pub name: String,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// Until when it says that it holds.
    pub until: Timestamp,
    /// What it is.
    pub body: ExemptionBody,
    /// When it came.
    pub applied_at: Timestamp,
    /// When it was taken back.
    pub withdrawn_at: Option<Timestamp>,
    /// Whether it was found to be over, so that nobody need look at it again.
    pub ended: bool,
}

/// What an exemption is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExemptionBody {
    /// The envelope with the document and its signatures.
    Signed(serde_json::Value),
    /// What the gateway made on its own.
    Emergency(Emergency),
}

/// What `put_exemption` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExemptionPut {
    /// It is stored, in the place of another one of that name if there was one.
    New,
    /// The same document was there; signatures that came with it are stored.
    Same,
    /// These bytes were withdrawn or replaced; nothing changed.
    Withdrawn,
    /// There are as many as there may be ([`contracts::limits::EXEMPTIONS`]).
    TooMany,
}
