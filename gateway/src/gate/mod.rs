//! The gate: decides about a [`PinnedRef`] and hands out the [`Permit`] without which nothing is served. Asked about
//! something else ([`Gate::check`]), it answers with a verdict alone.
//!
//! A decision is a pure function of what is asked about, the rules, the verified evidence, who is trusted, and `now`. What
//! is remembered of it is never used once one of these has changed.
//!
//! This module must not contain HTTP, or anything that reads a clock.

mod admit;
mod decide;
mod denied;
mod discovery;
mod error;
mod exempt;
mod gathered;
mod grants;
mod inquiry;
mod judge;
mod memory;
pub(crate) mod mend;
mod parts;
mod permit;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use contracts::{Code, Decision, Digest, Finding, PinnedRef, VerdictSubject};
use futures::FutureExt;
use jiff::Timestamp;

pub use error::GateError;
pub use inquiry::Inquiry;
pub use permit::{Outcome, Permit, Remembered};

use self::{
    decide::Core,
    grants::Grants,
    memory::{Flights, Made, Numbers, Place, PlaceRef},
};
use crate::{
    evidence::EvidenceFolder,
    metrics::Metrics,
    names::Name,
    rules::Rules,
    store::{Source, Store, Via},
    upstream::Upstream,
    workers::Workers,
};

/// How often a caller waits for an answer that others asked for before it asks on its own.
const JOINS: usize = 3;

/// Finds the upstream that an organization uses for a registry host, if there is one (`Upstreams::locate`).
pub type Locate = Arc<dyn Fn(&Name, &str) -> Option<Arc<dyn Upstream>> + Send + Sync>;

/// What a gate is made of.
#[derive(Clone)]
pub struct Parts {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The bytes of materials.
    pub evidence: Arc<EvidenceFolder>,
    /// Every organization's contracts, compiled.
    pub rules: Arc<Rules>,
    /// Where attestations beside an image are looked for.
    pub locate: Locate,
    /// Where verifying and evaluating runs.
    pub workers: Workers,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The ids of the keys that the gateway signs with or did: what they signed is no evidence.
    pub own_keys: Arc<BTreeSet<Digest>>,
    /// How long a look at an upstream's attestations of an allowed image is taken as current.
    pub discovery_interval: Duration,
}

/// Decides. One for the whole gateway.
pub struct Gate {
    core: Arc<Core>,
    flights: Arc<Flights>,
    grants: Grants,
}

impl Gate {
    /// A gate that remembers nothing yet but what the store does.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let grants = Grants::new(Arc::clone(&parts.store));
        Self { core: Arc::new(Core::new(parts)), flights: Arc::default(), grants }
    }

    /// Decides about an image for an organization. The same question gets a remembered answer for as long as
    /// nothing that it was computed from has changed; a change that was acknowledged before the call counts.
    ///
    /// # Errors
    /// When it cannot be decided now. Nothing is remembered then.
    pub async fn decide(&self, organization: &Name, pinned: &PinnedRef, now: Timestamp) -> Result<Outcome, GateError> {
        self.decide_for(organization, pinned, now, For::Manifest).await
    }

    async fn decide_for(
        &self,
        organization: &Name,
        pinned: &PinnedRef,
        now: Timestamp,
        asked: For,
    ) -> Result<Outcome, GateError> {
        // Before anything is copied: most are remembered.
        let numbers = Numbers::now(&self.core.parts, organization, &pinned.digest);
        let known = self.core.memory.get(&PlaceRef::of_pull(organization, pinned));
        let verdict = match known.filter(|made| made.holds(numbers, now)) {
            Some(made) => told(&made, organization, true, asked),
            None => self.verdict(Place::of_pull(organization, pinned), now, asked).await?,
        };
        Ok(Outcome::new(organization.clone(), pinned.clone(), verdict))
    }

    /// Answers a question that opens nothing, whatever the answer: about an artifact that is no image, or about an image
    /// with contracts that were named beside those that answer for it. It is decided and remembered as by
    /// [`Gate::decide`].
    ///
    /// # Errors
    /// When it cannot be decided now. Nothing is remembered then.
    pub async fn check(
        &self,
        organization: &Name,
        inquiry: Inquiry,
        now: Timestamp,
    ) -> Result<Arc<Remembered>, GateError> {
        let (subject, named) = inquiry.into_parts();
        self.verdict(Place { organization: organization.clone(), subject, named }, now, For::Manifest).await
    }

    async fn verdict(&self, place: Place, now: Timestamp, asked: For) -> Result<Arc<Remembered>, GateError> {
        let organization = &place.organization;
        for _ in 0..JOINS {
            let numbers = Numbers::now(&self.core.parts, organization, place.subject.digest());
            if let Some(made) = self.core.memory.get(&place.borrowed()).filter(|made| made.holds(numbers, now)) {
                return Ok(told(&made, organization, true, asked));
            }
            let waiting =
                self.flights.join(&place, numbers, || Arc::clone(&self.core).answer(place.clone(), now).boxed());
            let made = waiting.answer.await.inspect_err(|error| {
                tracing::warn!(%organization, subject = %place.subject, %error, "could not decide");
            })?;
            // Begun for another caller a moment ago, it may be over for this one.
            if waiting.own || made.lasts(now) {
                return Ok(told(&made, organization, !waiting.own, asked));
            }
        }
        let made = Arc::clone(&self.core).answer(place.clone(), now).await?;
        Ok(told(&made, organization, false, asked))
    }

    /// A verdict by its key, as it was decided for this organization. Whether it holds still is not told.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn remembered(&self, organization: &Name, key: Digest) -> Result<Option<Arc<Remembered>>, GateError> {
        if let Some(made) = self.core.memory.named(organization, key) {
            return Ok(Some(made));
        }
        let stored = self.core.store().verdict(organization, key).await?;
        Ok(stored.map(|verdict| Arc::new(Remembered::new(key, verdict))))
    }

    /// The verdict that an image has of its own, when that is a deny because a run that was pushed about it was rejected
    /// or withdrawn, or breaks its contract now, or that more workflows pushed about it than are examined. What is known of the
    /// image itself counts for more than that an index lists it.
    /// The same for a run that was found beside it and withdrawn, whether it lies there still or not.
    /// `None` for all else, a run that no longer counts or was made for another image among it; where nothing was
    /// pushed or withdrawn, the registry is not asked.
    ///
    /// # Errors
    /// When something was pushed about it, or withdrawn, and it cannot be decided now.
    pub async fn rejected_itself(
        &self,
        organization: &Name,
        pinned: &PinnedRef,
        now: Timestamp,
    ) -> Result<Option<Arc<Remembered>>, GateError> {
        if !self.core.knows_runs_about(organization, pinned.digest).await? {
            return Ok(None);
        }
        let Outcome::Deny(verdict) = self.decide(organization, pinned, now).await? else { return Ok(None) };
        // One that was not examined can have been rejected.
        let limit = |finding: &Finding| finding.blocks() && finding.code == Code::LimitReached;
        if verdict.verdict.findings.iter().any(limit)
            && !self.core.store().pushed_about(organization, &pinned.clone().into()).await?.complete
        {
            return Ok(Some(verdict));
        }
        for run in broken_runs(&verdict.verdict.findings) {
            let Some(facts) = self.core.store().attestation_facts(organization, run).await? else { continue };
            let pushed = matches!(facts.source, Source::Pushed { .. });
            if pushed || (facts.withdrawn.is_some() && self.core.is_run(organization, run).await?) {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    /// Remembers what a manifest that is about to be served refers to, so that it may be served too while the
    /// image may. Call it before the manifest's first byte is sent.
    ///
    /// # Errors
    /// When it cannot be remembered: the manifest must not be served then.
    pub async fn grant(&self, permit: &Permit, children: &[Digest]) -> Result<(), GateError> {
        let PinnedRef { repository, digest: parent } = permit.pinned();
        let via = Via { root: permit.root(), parent: *parent };
        Ok(self.grants.put(permit.organization(), repository, via, children).await?)
    }
}

/// The attestations that findings hold something against, of which an image was made, or that an operator withdrew. That
/// one is too old, is signed by nobody who is trusted now, or was made for another image leaves nothing known of this one.
/// Where nobody can tell now who signed it, what it held against the image holds.
fn broken_runs(findings: &[Finding]) -> BTreeSet<Digest> {
    let about = |finding: &Finding| finding.evidence.as_ref().and_then(|place| place.attestation);
    let blocking = || findings.iter().filter(|finding| finding.blocks());
    let made_for_others: BTreeSet<Digest> =
        blocking().filter(|finding| finding.code == Code::SubjectMismatch).filter_map(about).collect();
    let void = [
        Code::EvidenceTooOld,
        Code::SignerNotAllowed,
        Code::SignatureInvalid,
        Code::StatementMismatch,
        Code::AttestationMalformed,
        Code::SubjectMismatch,
    ];
    let broken = blocking().filter(|finding| !void.contains(&finding.code)).filter_map(about);
    broken.filter(|run| !made_for_others.contains(run)).collect()
}

/// What a decision was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Manifest,
    /// One of the many that follow on a manifest.
    Blob,
}

/// The verdict, after the one event of a decision.
fn told(made: &Made, organization: &Name, remembered: bool, asked: For) -> Arc<Remembered> {
    tell(&made.verdict, organization, remembered, asked);
    Arc::clone(&made.verdict)
}

fn tell(made: &Remembered, organization: &Name, remembered: bool, asked: For) {
    let verdict = &made.verdict;
    if let VerdictSubject::Artifact(digest) = &verdict.subject {
        tracing::info!(
            %organization, artifact = %digest, contracts = verdict.named.join(" "), verdict = %made.key, remembered,
            decision = ?verdict.decision, enforced = verdict.enforced, exempted = verdict.exempted,
            "decided about an artifact"
        );
        return;
    }
    let codes = || {
        let codes: Vec<&str> = verdict.findings.iter().filter(|f| f.blocks()).map(|f| f.code.as_str()).collect();
        codes.join(" ")
    };
    match (verdict.decision, verdict.enforced) {
        (Decision::Allow, true) if remembered => {
            tracing::debug!(%organization, image = %verdict.subject, verdict = %made.key, remembered, "allowed an image");
        }
        (Decision::Allow, true) => {
            tracing::info!(
                %organization, image = %verdict.subject, verdict = %made.key, remembered, exempted = verdict.exempted,
                "allowed an image"
            );
        }
        (Decision::Allow, false) if asked == For::Blob => {
            tracing::debug!(
                %organization, image = %verdict.subject, verdict = %made.key, remembered,
                "let a part of an image through unenforced"
            );
        }
        (Decision::Allow, false) => {
            tracing::warn!(
                %organization, image = %verdict.subject, verdict = %made.key, remembered,
                findings = verdict.findings.len(), "let an image through unenforced"
            );
        }
        (Decision::Deny, _) => {
            tracing::info!(
                %organization, image = %verdict.subject, verdict = %made.key, remembered, codes = codes(),
                "denied an image"
            );
        }
    }
}
