//! Verdicts: what was decided about an image, why, from what, and until when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, Finding, PinnedRef};

/// The two answers. "Could not decide" is an error, never one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// May be used.
    Allow,
    /// May not.
    Deny,
}

/// Whether a contract's answer stands in the way (`admission.enforcement`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// A deny blocks.
    #[default]
    Enforce,
    /// A deny is shown, counted and let through, marked unenforced.
    Warn,
}

/// One contract's part in a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractAnswer {
    /// The contract's name.
    pub contract: String,
    /// Its revision's number.
    pub revision: u32,
    /// Its revision's digest.
    pub digest: Digest,
    /// Whether its answer stands in the way.
    pub enforcement: Enforcement,
    /// What it answered.
    pub decision: Decision,
}

/// Something a verdict was computed from. Changing it changes the verdict's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "digest", rename_all = "kebab-case")]
pub enum Dependency {
    /// The rules of a contract's revision.
    RuleSet(Digest),
    /// An attestation, by id.
    Attestation(Digest),
    /// The organization's trust root.
    TrustRoot(Digest),
    /// An exemption that covers a finding, by its document's digest.
    Exemption(Digest),
}

/// What was decided about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer. `Allow` also when nothing enforced stands in the way; see `enforced`.
    pub decision: Decision,
    /// False when a deny was let through because of `enforcement: warn` or `unmatched: allow`.
    pub enforced: bool,
    /// Whether it allows only because exemptions cover what would otherwise stand in the way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exempted: bool,
    /// What it is about.
    pub subject: PinnedRef,
    /// Each contract that answers for the repository.
    pub contracts: Vec<ContractAnswer>,
    /// Why. Never empty on a deny.
    pub findings: Vec<Finding>,
    /// Everything it was computed from.
    pub depends_on: Vec<Dependency>,
    /// When it was computed.
    pub evaluated_at: Timestamp,
    /// The earliest instant at which something used stops being true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}
