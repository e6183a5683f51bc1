//! Verdicts: what was decided about an image or another artifact, why, from what, and until when.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Digest, Finding, PinnedRef, reference::ReferenceError};

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
    /// What an operator denied: the digest over the denial.
    Denial(Digest),
}

/// What a verdict is about. An image's contracts are found by its repository, and it can be pulled. Any other artifact is
/// only a digest: the contracts that answer for it were named, and no verdict about it ever opens a pull, whatever image
/// has the same digest. Reads and prints as `repository@sha256:…` or as a bare `sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerdictSubject {
    /// An image of a repository.
    Image(PinnedRef),
    /// A file, a package, or whatever else has these bytes.
    Artifact(Digest),
}

impl VerdictSubject {
    /// The bytes that it is about.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Image(pinned) => &pinned.digest,
            Self::Artifact(digest) => digest,
        }
    }

    /// The image, if it is one.
    #[must_use]
    pub const fn image(&self) -> Option<&PinnedRef> {
        match self {
            Self::Image(pinned) => Some(pinned),
            Self::Artifact(_) => None,
        }
    }

    /// What sentences call it.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Artifact(_) => "artifact",
        }
    }
}

impl From<PinnedRef> for VerdictSubject {
    fn from(pinned: PinnedRef) -> Self {
        Self::Image(pinned)
    }
}

impl fmt::Display for VerdictSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(pinned) => pinned.fmt(f),
            Self::Artifact(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for VerdictSubject {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains('@') { Ok(Self::Image(text.parse()?)) } else { Ok(Self::Artifact(text.parse()?)) }
    }
}

impl Serialize for VerdictSubject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerdictSubject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What was decided about an image or another artifact.
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
    pub subject: VerdictSubject,
    /// The contracts that the question named, by name. For an image they come to those that answer for its repository;
    /// for an artifact they are all. What was asked with any of them opens no pull.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
    /// Each contract that answered.
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
