//! Permits for what an image leads to: the manifests that an index lists, configurations, layers.
//!
//! A part is permitted while an image that leads to it is allowed, by manifests none of which was rejected itself or holds
//! what an operator denied.

use std::collections::BTreeMap;

use contracts::{Digest, PinnedRef};
use jiff::Timestamp;

use super::{For, Gate, GateError, Outcome, Permit};
use crate::{names::Name, store::Via};

/// Images that are asked the gate about for one part, when none of them was allowed lately.
const ROOTS_ASKED: usize = 32;
/// Manifests that are looked at between one image and a part.
const BETWEEN_ASKED: usize = 64;

/// What is asked for a part, of whom and when.
struct Part<'p> {
    organization: &'p Name,
    pinned: &'p PinnedRef,
    now: Timestamp,
}

impl Part<'_> {
    /// Another manifest of its repository.
    fn beside(&self, digest: Digest) -> PinnedRef {
        PinnedRef { repository: self.pinned.repository.clone(), digest }
    }
}

impl Gate {
    /// The permit for a child manifest, through an image that it was found reachable from and that is allowed now.
    /// `None`: there is no such image, or the child or what leads to it was rejected itself
    /// ([`Gate::rejected_itself`]), or an operator denied it.
    ///
    /// # Errors
    /// When nothing permits it and about something that could, it could not be decided.
    pub async fn permit_child(
        &self,
        organization: &Name,
        child: &PinnedRef,
        now: Timestamp,
    ) -> Result<Option<Permit>, GateError> {
        self.permit_through(&Part { organization, pinned: child, now }, For::Manifest).await
    }

    /// The same for a blob. Nothing is logged about it above debug: its manifest was.
    ///
    /// # Errors
    /// When nothing permits it and about something that could, it could not be decided.
    pub async fn permit_blob(
        &self,
        organization: &Name,
        blob: &PinnedRef,
        now: Timestamp,
    ) -> Result<Option<Permit>, GateError> {
        self.permit_through(&Part { organization, pinned: blob, now }, For::Blob).await
    }

    async fn permit_through(&self, part: &Part<'_>, asked: For) -> Result<Option<Permit>, GateError> {
        let Part { organization, pinned, now } = *part;
        if self.closed(part, pinned.digest).await? {
            return Ok(None);
        }
        let permit = |root: &Permit| Permit::new(organization.clone(), pinned.clone(), root.shared_verdict());
        if let Some((root, between)) = self.grants.last(organization, pinned)
            && let Ok(Outcome::Permit(root)) = self.decide_for(organization, &part.beside(root), now, asked).await
            && self.are_open(part, &root, &between).await
        {
            return Ok(permit(&root));
        }
        let ways = self.grants.ways(organization, pinned).await?;
        let mut roots: Vec<Digest> = ways.iter().map(|via| via.root).collect();
        roots.dedup();
        // Those that are allowed by what is remembered come first: a layer can be part of very many images.
        roots.sort_by_cached_key(|root| !self.core.allows_from_memory(organization, &part.beside(*root), now));
        let mut could_not = None;
        for root in roots.into_iter().take(ROOTS_ASKED) {
            let allowed = match self.decide_for(organization, &part.beside(root), now, asked).await {
                Ok(Outcome::Permit(allowed)) => allowed,
                Ok(Outcome::Deny(_)) => continue,
                Err(error) => {
                    could_not = Some(error);
                    continue;
                }
            };
            match self.leads_to(part, &allowed).await {
                Ok(true) => return Ok(permit(&allowed)),
                Ok(false) => {}
                Err(error) => could_not = Some(error),
            }
        }
        could_not.map_or(Ok(None), Err)
    }

    /// Whether all that lies between an image and the part is known to be open still.
    async fn are_open(&self, part: &Part<'_>, root: &Permit, between: &[Digest]) -> bool {
        for manifest in between {
            if !matches!(self.closed_between(part, root, *manifest).await, Ok(false)) {
                return false;
            }
        }
        true
    }

    /// Whether an allowed image leads to the part by manifests that are open, and if so remembers by which. Goes up from
    /// the part, as the store knows it.
    async fn leads_to(&self, part: &Part<'_>, allowed: &Permit) -> Result<bool, GateError> {
        let (child, root) = (part.pinned.digest, allowed.root());
        // Of each manifest that was looked at, what it leads to on the way to the part.
        let mut below = BTreeMap::from([(child, child)]);
        let (mut next, mut could_not) = (vec![child], None);
        while let Some(at) = next.pop() {
            for via in self.grants.ways(part.organization, &part.beside(at)).await? {
                if via.root != root {
                    continue;
                }
                if via.parent == root {
                    self.remember(part, via, at, &below);
                    return Ok(true);
                }
                if below.contains_key(&via.parent) || below.len() > BETWEEN_ASKED {
                    continue;
                }
                below.insert(via.parent, at);
                match self.closed_between(part, allowed, via.parent).await {
                    Ok(false) => next.push(via.parent),
                    Ok(true) => {}
                    Err(error) => could_not = Some(error),
                }
            }
        }
        could_not.map_or(Ok(false), Err)
    }

    /// Remembers the way down from an image to the part.
    fn remember(&self, part: &Part<'_>, first: Via, at: Digest, below: &BTreeMap<Digest, Digest>) {
        let Via { root, mut parent } = first;
        let mut at = at;
        loop {
            self.grants.permitted(part.organization, &part.beside(at), Via { root, parent });
            match below.get(&at) {
                Some(next) if *next != at => (parent, at) = (at, *next),
                _ => return,
            }
        }
    }

    /// Whether a manifest leads nowhere, though the image does that leads to it: it is closed itself, or would not be
    /// served for what it holds. An image holds the manifests of an index and not the artifacts about it, so for these it
    /// is not decided with the image.
    async fn closed_between(&self, part: &Part<'_>, root: &Permit, manifest: Digest) -> Result<bool, GateError> {
        if self.closed(part, manifest).await? {
            return Ok(true);
        }
        let rules = self.core.parts.rules.current(part.organization).await?;
        let (manifest, allowed) = (part.beside(manifest), root.shared_verdict());
        self.core.is_denied_within(part.organization, &manifest, &allowed, &rules, part.now).await
    }

    async fn closed(&self, part: &Part<'_>, digest: Digest) -> Result<bool, GateError> {
        let beside = part.beside(digest);
        if self.denied_by_operator(part.organization, &beside, part.now).await?.is_some() {
            return Ok(true);
        }
        let rejected = self.rejected_itself(part.organization, &beside, part.now).await?;
        Ok(rejected.is_some())
    }
}
