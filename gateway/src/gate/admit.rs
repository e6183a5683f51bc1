//! Whether a manifest may be used, by whatever opens it: an image that leads to it, or its own verdict.

use std::sync::Arc;

use contracts::{Code, Digest, PinnedRef, Repository, api::Unmatched};
use jiff::Timestamp;

use super::{
    Gate, GateError, Outcome, Permit, Remembered,
    memory::{Made, Place},
};
use crate::names::Name;

/// Images that lead to a manifest, asked whether an operator's denial of them is why it is closed.
const ROOTS_ASKED: usize = 8;

impl Gate {
    /// Whether anything of a repository can be let through for an organization: a contract answers for it, or what no
    /// contract answers for is let through.
    ///
    /// # Errors
    /// When the rules cannot be read, or a contract that may answer for it cannot be used.
    pub async fn opens(&self, organization: &Name, repository: &Repository) -> Result<bool, GateError> {
        let rules = self.core.parts.rules.current(organization).await?;
        Ok(rules.unmatched == Unmatched::Allow || !rules.answering(repository)?.is_empty())
    }

    /// May this manifest be used: because an allowed image leads to it, or because it is allowed itself. The first is asked
    /// first: the parts of an index need no decision, and no look at what is beside them, of their own. But no index
    /// opens what was rejected itself, nor what only such parts lead to, nor what an operator denied.
    ///
    /// # Errors
    /// When it cannot be decided now. Nothing is remembered then.
    pub async fn admit(&self, organization: &Name, pinned: &PinnedRef, now: Timestamp) -> Result<Outcome, GateError> {
        let child = self.permit_child(organization, pinned, now).await;
        if let Ok(Some(permit)) = child {
            return Ok(Outcome::Permit(permit));
        }
        match self.decide(organization, pinned, now).await? {
            Outcome::Permit(permit) => Ok(Outcome::Permit(permit)),
            // When it is not known whether an image that leads to it is allowed, this is not yet a denial.
            Outcome::Deny(verdict) => {
                child?;
                // Closed because of the image that it belongs to: that is the reason to tell.
                let above = self.denied_above(organization, pinned, now).await?;
                Ok(Outcome::Deny(above.unwrap_or(verdict)))
            }
        }
    }

    /// The verdict about a digest of a repository, when an operator denied that very digest. A blob's too.
    ///
    /// # Errors
    /// When what operators deny cannot be read.
    pub async fn denied_by_operator(
        &self,
        organization: &Name,
        pinned: &PinnedRef,
        now: Timestamp,
    ) -> Result<Option<Arc<Remembered>>, GateError> {
        let rules = self.core.parts.rules.current(organization).await?;
        if rules.denials.of(&pinned.repository, &pinned.digest, now).is_none() {
            return Ok(None);
        }
        let place = Place::of_pull(organization, pinned);
        Ok(self.core.denied_itself(&place, &rules, now).map(|made| self.keep(place, made)))
    }

    /// The verdict about a manifest that is about to be served and refers to what an operator denied. That an image
    /// holds it can have been hidden when it was decided about: its registry did not have the manifest then.
    ///
    /// # Errors
    /// When what operators deny cannot be read.
    pub async fn denied_among(
        &self,
        permit: &Permit,
        children: &[Digest],
        now: Timestamp,
    ) -> Result<Option<Arc<Remembered>>, GateError> {
        let rules = self.core.parts.rules.current(permit.organization()).await?;
        let made = self.core.denied_among(permit, children, &rules, now);
        Ok(made.map(|made| self.keep(Place::of_pull(permit.organization(), permit.pinned()), made)))
    }

    /// Remembers a denial as the answer to its question, so that it is found by its key too.
    fn keep(&self, place: Place, made: Made) -> Arc<Remembered> {
        let verdict = Arc::clone(&made.verdict);
        self.core.memory.put(place, Arc::new(made));
        verdict
    }

    async fn denied_above(
        &self,
        organization: &Name,
        pinned: &PinnedRef,
        now: Timestamp,
    ) -> Result<Option<Arc<Remembered>>, GateError> {
        if self.core.parts.rules.current(organization).await?.denials.none_at(now) {
            return Ok(None);
        }
        let mut roots: Vec<Digest> = self.grants.ways(organization, pinned).await?.iter().map(|via| via.root).collect();
        roots.dedup();
        for digest in roots.into_iter().take(ROOTS_ASKED) {
            let root = PinnedRef { repository: pinned.repository.clone(), digest };
            if let Outcome::Deny(verdict) = self.decide(organization, &root, now).await?
                && verdict.verdict.findings.iter().any(|finding| finding.code == Code::DeniedByOperator)
            {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }
}
