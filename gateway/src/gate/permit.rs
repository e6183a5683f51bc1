//! What the gate's decision looks like to the rest of the gateway.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use contracts::{Decision, Digest, PinnedRef, Verdict, VerdictSubject};

use crate::names::Name;

/// A verdict with the key under which it is remembered.
#[derive(Debug)]
pub struct Remembered {
    /// The digest over everything the verdict was computed from.
    pub key: Digest,
    /// The verdict.
    pub verdict: Verdict,
    written: OnceLock<Bytes>,
}

impl Remembered {
    /// A verdict under its key. The gate's alone: what it is given out for is the gateway's word.
    #[must_use]
    pub(crate) fn new(key: Digest, verdict: Verdict) -> Self {
        Self { key, verdict, written: OnceLock::new() }
    }

    /// The verdict as it goes over the wire. It never changes, so it is written once and then shared by all who ask.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn written<E>(&self, write: impl FnOnce(&Self) -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(written) = self.written.get() {
            return Ok(written.clone());
        }
        let written = write(self)?;
        Ok(self.written.get_or_init(|| written).clone())
    }
}

impl PartialEq for Remembered {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.verdict == other.verdict
    }
}

impl Eq for Remembered {}

/// The proof that these bytes may be served to this organization. Only the gate makes one; an upstream's
/// manifest and blob calls ask for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    organization: Name,
    pinned: PinnedRef,
    root: Digest,
    verdict: Arc<Remembered>,
}

impl Permit {
    /// For what a verdict allows: `pinned` is the verdict's own subject, or reachable from it. `None` when the
    /// verdict does not allow, is about no image, or answers another question than a pull's.
    pub(in crate::gate) fn new(organization: Name, pinned: PinnedRef, verdict: Arc<Remembered>) -> Option<Self> {
        let Verdict { decision, subject, named, .. } = &verdict.verdict;
        match (decision, subject) {
            (Decision::Allow, VerdictSubject::Image(image)) if named.is_empty() => {
                let root = image.digest;
                Some(Self(Arc::new(Inner { organization, pinned, root, verdict })))
            }
            _ => None,
        }
    }

    /// For the gate's own look at what an image holds, whatever question it was asked. It never leaves the gate, and nothing
    /// that is read with it is served.
    pub(in crate::gate) fn to_look(organization: Name, pinned: PinnedRef, verdict: Arc<Remembered>) -> Self {
        let root = pinned.digest;
        Self(Arc::new(Inner { organization, pinned, root, verdict }))
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
        self.0.root
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
    /// The answer to a pull of an image that a verdict stands for.
    pub(in crate::gate) fn new(organization: Name, pinned: PinnedRef, verdict: Arc<Remembered>) -> Self {
        match Permit::new(organization, pinned, Arc::clone(&verdict)) {
            Some(permit) => Self::Permit(permit),
            None => Self::Deny(verdict),
        }
    }

    /// The verdict, whichever it is, to be kept.
    #[must_use]
    pub fn shared_verdict(&self) -> Arc<Remembered> {
        match self {
            Self::Permit(permit) => permit.shared_verdict(),
            Self::Deny(verdict) => Arc::clone(verdict),
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
