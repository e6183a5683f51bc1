//! What the gate's decision looks like to the rest of the gateway.

use std::sync::Arc;

use contracts::{Decision, Digest, PinnedRef, Verdict};

use crate::names::Name;

/// A verdict with the key under which it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The digest over everything the verdict was computed from.
    pub key: Digest,
    /// The verdict.
    pub verdict: Verdict,
}

/// The proof that these bytes may be served to this organization. Only the gate makes one; an upstream's
/// manifest and blob calls ask for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    organization: Name,
    pinned: PinnedRef,
    verdict: Arc<Remembered>,
}

impl Permit {
    /// For what a verdict allows: `pinned` is the verdict's own subject, or reachable from it. `None` when the
    /// verdict does not allow.
    pub(in crate::gate) fn new(organization: Name, pinned: PinnedRef, verdict: Arc<Remembered>) -> Option<Self> {
        match verdict.verdict.decision {
            Decision::Allow => Some(Self(Arc::new(Inner { organization, pinned, verdict }))),
            Decision::Deny => None,
        }
    }

    /// Whose request it was.
    #[must_use]
    pub fn organization(&self) -> &Name {
        &self.0.organization
    }

    /// What may be served.
    #[must_use]
    pub fn pinned(&self) -> &PinnedRef {
        &self.0.pinned
    }

    /// The image whose verdict lets it through.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.0.verdict.verdict.subject.digest
    }

    /// That verdict.
    #[must_use]
    pub fn verdict(&self) -> &Remembered {
        &self.0.verdict
    }

    pub(in crate::gate) fn shared_verdict(&self) -> Arc<Remembered> {
        Arc::clone(&self.0.verdict)
    }
}

/// The gate's two answers. Could-not-decide is an error, not one of these.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// May be served (see `Verdict::enforced`).
    Permit(Permit),
    /// May not.
    Deny(Arc<Remembered>),
}

impl Outcome {
    /// The answer that a verdict stands for.
    pub(in crate::gate) fn new(organization: Name, verdict: Arc<Remembered>) -> Self {
        let pinned = verdict.verdict.subject.clone();
        match Permit::new(organization, pinned, Arc::clone(&verdict)) {
            Some(permit) => Self::Permit(permit),
            None => Self::Deny(verdict),
        }
    }

    /// The verdict, whichever it is.
    #[must_use]
    pub fn verdict(&self) -> &Remembered {
        match self {
            Self::Permit(permit) => permit.verdict(),
            Self::Deny(verdict) => verdict,
        }
    }
}
