//! What the gate's decision looks like to the rest of the gateway.

use std::sync::Arc;

use contracts::{Digest, PinnedRef, Verdict};

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
/// manifest and blob calls ask for it.
#[derive(Debug, Clone)]
pub struct Permit {
    organization: Name,
    pinned: PinnedRef,
    root: Digest,
    verdict: Arc<Remembered>,
}

impl Permit {
    /// For what a verdict allows: `pinned` is the verdict's own subject, or reachable from it.
    pub(in crate::gate) fn new(organization: Name, pinned: PinnedRef, verdict: Arc<Remembered>) -> Self {
        Self { organization, pinned, root: verdict.verdict.subject.digest, verdict }
    }

    /// Whose request it was.
    #[must_use]
    pub fn organization(&self) -> &Name {
        &self.organization
    }

    /// What may be served.
    #[must_use]
    pub fn pinned(&self) -> &PinnedRef {
        &self.pinned
    }

    /// The image whose verdict lets it through.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// That verdict.
    #[must_use]
    pub fn verdict(&self) -> &Remembered {
        &self.verdict
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
