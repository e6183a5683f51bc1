//! What operators deny, whatever the evidence says: an image is denied when its digest is, or when anything that it holds
//! is. So is an artifact about an image, and not the image with it, as it does not hold it.
//!
//! That a digest is denied is known from the organization's rules. What an image holds is read from its registry, the
//! manifests of an index too, and remembered: it never changes. This is only done while something is denied.

use std::sync::Arc;

use contracts::{Code, Decision, Dependency, Digest, Finding, PinnedRef, Verdict, VerdictSubject, limits};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use moka::sync::Cache;

use super::{
    GateError, Permit, Remembered,
    decide::{Core, earlier, named},
    gathered::denied_key,
    memory::{Made, Numbers, Place},
};
use crate::{
    denials::Denial,
    names::Name,
    rules::OrganizationRules,
    upstream::{Manifest, Upstream, UpstreamError, is_index},
};

/// Memory for what manifests hold, in bytes as they are guessed.
const HOLDS_BYTES: u64 = 16 * 1024 * 1024;
/// Manifests of an index that are read at once.
const READ_AT_ONCE: usize = 8;

/// What manifests hold, by their digests. The same bytes hold the same everywhere.
pub(super) struct Contents(Cache<Digest, Arc<Held>>);

/// What one manifest refers to.
struct Held {
    index: bool,
    children: Arc<[Digest]>,
}

/// What an image holds, as far as can be read.
enum Holds {
    /// All of it, as far as the registry has it now, and whether it has all.
    All(Vec<Digest>, bool),
    /// Its registry does not have it, or is none of the organization's: only what was served of it is known.
    Served,
    /// It is an index of a shape that is not looked through, and why.
    Unclear(String),
}

/// What is denied of what a manifest holds, as far as can be told.
struct Looked<'r> {
    found: Vec<&'r Denial>,
    /// Why it is not looked through.
    unclear: Option<String>,
    /// Whether all of it could be looked at.
    seen: bool,
}

/// What was found within an image.
pub(super) enum Within {
    Denied(Box<Made>),
    Nothing { seen: bool },
}

impl Default for Contents {
    fn default() -> Self {
        let weigher = |_: &Digest, held: &Arc<Held>| {
            u32::try_from(held.children.len().saturating_mul(32).saturating_add(128)).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(HOLDS_BYTES).weigher(weigher).build())
    }
}

impl Core {
    /// The verdict about what is denied by its own digest. Of an artifact it is not known in which repository it lies.
    pub(super) fn denied_itself(&self, place: &Place, rules: &OrganizationRules, now: Timestamp) -> Option<Made> {
        let denial = match &place.subject {
            VerdictSubject::Image(PinnedRef { repository, digest }) => rules.denials.of(repository, digest, now),
            VerdictSubject::Artifact(digest) => rules.denials.anywhere(digest, now),
        };
        Some(self.denied(place, rules, now, &[denial?], Vec::new()))
    }

    /// The verdict about an image that is otherwise allowed and holds what is denied. Else whether all of it could be looked
    /// at: what its registry does not have now may be there again any moment.
    ///
    /// # Errors
    /// When it could not be read what the image holds.
    pub(super) async fn denied_within(
        &self,
        place: &Place,
        allowed: &Arc<Remembered>,
        rules: &OrganizationRules,
        now: Timestamp,
    ) -> Result<Within, GateError> {
        let VerdictSubject::Image(image) = &place.subject else { return Ok(Within::Nothing { seen: true }) };
        let Looked { mut found, unclear, seen } =
            self.look_within(&place.organization, image, allowed, rules, now).await?;
        found.sort_by_key(|denial| denial.digest());
        found.dedup_by_key(|denial| denial.digest());
        if found.is_empty() && unclear.is_none() {
            return Ok(Within::Nothing { seen });
        }
        let more = unclear.map(|why| {
            let message = format!("operators denied something, and {why}: it may hold it");
            Finding::error(Code::LimitReached, message).mend("use an image or a smaller index")
        });
        Ok(Within::Denied(Box::new(self.denied(place, rules, now, &found, more.into_iter().collect()))))
    }

    /// Whether a manifest that lies between an image and what it leads to holds what is denied, or may hold it.
    ///
    /// # Errors
    /// When it could not be read what it holds.
    pub(super) async fn is_denied_within(
        &self,
        organization: &Name,
        manifest: &PinnedRef,
        allowed: &Arc<Remembered>,
        rules: &OrganizationRules,
        now: Timestamp,
    ) -> Result<bool, GateError> {
        let Looked { found, unclear, .. } = self.look_within(organization, manifest, allowed, rules, now).await?;
        Ok(!found.is_empty() || unclear.is_some())
    }

    /// What is denied of what a manifest holds.
    async fn look_within<'r>(
        &self,
        organization: &Name,
        manifest: &'r PinnedRef,
        allowed: &Arc<Remembered>,
        rules: &'r OrganizationRules,
        now: Timestamp,
    ) -> Result<Looked<'r>, GateError> {
        if rules.denials.none_at(now) {
            return Ok(Looked { found: Vec::new(), unclear: None, seen: true });
        }
        let PinnedRef { repository, digest } = manifest;
        match self.holds(organization, manifest, allowed).await? {
            Holds::All(all, seen) => {
                let found = all.iter().filter_map(|digest| rules.denials.of(repository, digest, now)).collect();
                Ok(Looked { found, unclear: None, seen })
            }
            Holds::Served => {
                let mut found = Vec::new();
                for denial in rules.denials.in_force(repository, now) {
                    let ways = self.store().ways(organization, repository, denial.digest()).await?;
                    if ways.iter().any(|way| way.root == *digest || way.parent == *digest) {
                        found.push(denial);
                    }
                }
                Ok(Looked { found, unclear: None, seen: false })
            }
            Holds::Unclear(why) => Ok(Looked { found: Vec::new(), unclear: Some(why), seen: true }),
        }
    }

    /// The verdict about a manifest that is about to be served and refers to what is denied.
    pub(super) fn denied_among(
        &self,
        permit: &Permit,
        children: &[Digest],
        rules: &OrganizationRules,
        now: Timestamp,
    ) -> Option<Made> {
        let PinnedRef { repository, .. } = permit.pinned();
        let found: Vec<&Denial> =
            children.iter().filter_map(|child| rules.denials.of(repository, child, now)).collect();
        let place = Place::of_pull(permit.organization(), permit.pinned());
        (!found.is_empty()).then(|| self.denied(&place, rules, now, &found, Vec::new()))
    }

    /// Everything that an image holds: of an index, all that its manifests hold too.
    async fn holds(
        &self,
        organization: &Name,
        image: &PinnedRef,
        allowed: &Arc<Remembered>,
    ) -> Result<Holds, GateError> {
        let Some(upstream) = (self.parts.locate)(organization, image.repository.host()) else {
            return Ok(Holds::Served);
        };
        let to_look = |digest: Digest| {
            let pinned = PinnedRef { repository: image.repository.clone(), digest };
            Permit::to_look(organization.clone(), pinned, Arc::clone(allowed))
        };
        let root = self.held(upstream.as_ref(), &to_look(image.digest)).await?;
        let Some(root) = root else { return Ok(Holds::Served) };
        let mut all = root.children.to_vec();
        if !root.index {
            return Ok(Holds::All(all, true));
        }
        if root.children.len() > limits::INDEX_MANIFESTS {
            let most = limits::INDEX_MANIFESTS;
            return Ok(Holds::Unclear(format!("the index lists more than {most} manifests")));
        }
        let mut reads = Vec::with_capacity(root.children.len());
        for digest in root.children.iter() {
            let (part, upstream) = (to_look(*digest), Arc::clone(&upstream));
            reads.push(async move { self.held(upstream.as_ref(), &part).await }.boxed());
        }
        let within: Vec<Option<Arc<Held>>> = stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_collect().await?;
        for held in within.iter().flatten() {
            if held.index {
                // Nobody makes one, and how deep it goes is not known.
                return Ok(Holds::Unclear("the index lists another index".to_owned()));
            }
            all.extend(held.children.iter());
        }
        Ok(Holds::All(all, within.iter().all(Option::is_some)))
    }

    /// What one manifest refers to. `None`: the registry does not have it, or it is nothing that is served.
    async fn held(&self, upstream: &dyn Upstream, permit: &Permit) -> Result<Option<Arc<Held>>, GateError> {
        let digest = permit.pinned().digest;
        if let Some(held) = self.contents.0.get(&digest) {
            return Ok(Some(held));
        }
        match upstream.manifest(permit).await {
            Ok(Manifest { media_type, children, .. }) => {
                let held = Arc::new(Held { index: is_index(&media_type), children });
                self.contents.0.insert(digest, Arc::clone(&held));
                Ok(Some(held))
            }
            Err(UpstreamError::NotFound { .. } | UpstreamError::Lied { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn denied(
        &self,
        place: &Place,
        rules: &OrganizationRules,
        now: Timestamp,
        denials: &[&Denial],
        more: Vec<Finding>,
    ) -> Made {
        let Place { organization, subject, .. } = place;
        let key = denied_key(place, denials);
        let findings = denials.iter().map(|denial| denial.finding(subject.digest())).chain(more).collect();
        let until = denials.iter().fold(None, |until, denial| earlier(until, denial.until()));
        let verdict = Verdict {
            decision: Decision::Deny,
            enforced: true,
            exempted: false,
            subject: subject.clone(),
            named: named(place),
            contracts: Vec::new(),
            findings,
            depends_on: denials.iter().map(|denial| Dependency::Denial(denial.id())).collect(),
            evaluated_at: now,
            valid_until: until,
        };
        let evidence = self.store().evidence_changed(organization, subject.digest());
        let numbers = Numbers { rules: rules.changed, evidence };
        Made { verdict: Arc::new(Remembered::new(key, verdict)), numbers, until }
    }
}
