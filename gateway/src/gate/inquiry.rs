//! Questions whose answers open nothing.

use std::collections::BTreeSet;

use contracts::{Digest, PinnedRef, VerdictSubject};

use crate::names::Name;

/// A question to the gate that is no pull: [`super::Gate::check`] answers it with a verdict and never with a permit.
/// Whether the caller may name these contracts is for whoever makes one to have found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    subject: VerdictSubject,
    named: BTreeSet<Name>,
}

impl Inquiry {
    /// About an image: the contracts that answer for its repository are asked, and those that are named as well.
    #[must_use]
    pub const fn image(pinned: PinnedRef, named: BTreeSet<Name>) -> Self {
        Self { subject: VerdictSubject::Image(pinned), named }
    }

    /// About what has these bytes and is no image: the contracts that are named are asked, and nobody else. `None` when
    /// none is named, as there is nobody to answer then.
    #[must_use]
    pub fn artifact(digest: Digest, named: BTreeSet<Name>) -> Option<Self> {
        (!named.is_empty()).then_some(Self { subject: VerdictSubject::Artifact(digest), named })
    }

    pub(super) fn into_parts(self) -> (VerdictSubject, BTreeSet<Name>) {
        (self.subject, self.named)
    }
}
