//! Looking for attestations beside an image in its registry.
//!
//! What does not verify is ignored and counted; what does is copied into the own store, where its first receipt
//! is kept. A look is taken as current for seconds after a deny and for the configured interval after an allow,
//! which bounds how late a withdrawal is noticed. A look that failed is not one.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use contracts::{Bundle, Digest, Hasher, PinnedRef, Verification, Verified, limits};
use jiff::{SignedDuration, Timestamp};
use moka::sync::Cache;

use super::{
    GateError,
    decide::{Core, Question},
    memory::Place,
};
use crate::{
    names::Name,
    places::Places,
    rules::CurrentContract,
    store::{AttestationFacts, AttestationRecord, Discovery, Source},
    trust::{Trust, Verifications},
    upstream::{Found, Upstream, UpstreamError},
};

/// How long a look is current after a deny: the wait between attaching an attestation and being let through.
pub(super) const AFTER_DENY: SignedDuration = SignedDuration::from_secs(5);
/// Looks that are remembered.
const LOOKS: u64 = 50_000;

/// What a registry had beside an image.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The attestations that verified, in the order of the registry.
    pub(super) ids: Vec<Digest>,
    /// Whether there were no more than were examined.
    pub(super) complete: bool,
    /// How many did not verify.
    pub(super) ignored: usize,
    /// The store's number of the rules whose signers they were verified against.
    rules: u64,
    at: Timestamp,
    until: Timestamp,
}

impl Look {
    /// Until when it is current.
    pub(super) fn until(&self) -> Timestamp {
        self.until
    }
}

pub(super) struct Looks {
    memory: Cache<Place, Arc<Look>>,
    /// Places for looks: what each holds until it is verified and stored is bounded, so their number is too.
    places: Places,
    after_allow: SignedDuration,
}

impl Looks {
    pub(super) fn new(after_allow: Duration) -> Self {
        let after_allow = SignedDuration::try_from(after_allow).unwrap_or(AFTER_DENY);
        Self {
            memory: Cache::new(LOOKS),
            places: Places::new(limits::LOOKS_AT_ONCE, limits::LOOKS_AT_ONE_REGISTRY),
            after_allow,
        }
    }

    /// The last look, while it is current.
    pub(super) fn current(&self, place: &Place, rules: u64, now: Timestamp) -> Option<Arc<Look>> {
        self.memory.get(place).filter(|look| look.rules == rules && look.at <= now && now < look.until)
    }

    /// Keeps a look for as long as what was decided with it lets it be current.
    pub(super) fn keep(&self, place: &Place, look: &Look, allowed: bool) -> Arc<Look> {
        let lasts = if allowed { self.after_allow } else { AFTER_DENY.min(self.after_allow) };
        let until = look.at.saturating_add(lasts).unwrap_or(look.at);
        let look = Arc::new(Look { until, ..look.clone() });
        self.memory.insert(place.clone(), Arc::clone(&look));
        look
    }
}

impl Core {
    /// Asks the registry what it has beside the image, and keeps what verifies.
    pub(super) async fn look(
        &self,
        question: &Question,
        pinned: &PinnedRef,
        contracts: &[Arc<CurrentContract>],
        upstream: &dyn Upstream,
    ) -> Result<Look, GateError> {
        let Question { place, now, rules, .. } = question;
        let held = self.looks.places.take(pinned.repository.host()).await;
        let _held = held.ok_or_else(|| GateError::Evaluation { reason: "there are no looks any more".to_owned() })?;
        let room = limits::ATTESTATIONS_PER_SUBJECT;
        let found = match upstream.discover(pinned, room).await {
            Ok(found) => found,
            Err(UpstreamError::NotFound { .. }) => Found { bundles: Vec::new(), complete: true },
            Err(error) => return Err(error.into()),
        };
        let complete = found.complete && found.bundles.len() <= room;
        let (mut ids, mut unknown, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for bytes in found.bundles.into_iter().take(room) {
            let id = Digest::of(&bytes);
            if !seen.insert(id) {
                continue;
            }
            match self.parts.store.attestation_facts(&place.organization, id).await? {
                Some(_) => ids.push(id),
                None => unknown.push(bytes),
            }
        }
        let examined = unknown.len();
        let mut verified = self.verify_found(question, pinned, contracts, unknown).await?;
        let ignored = examined.saturating_sub(verified.len());
        if ignored > 0 {
            self.parts.metrics.ignored(ignored);
            tracing::debug!(
                organization = %place.organization, image = %pinned, ignored,
                "ignored attestations beside an image that do not verify"
            );
        }
        // Of several wrappings, the one that proves the most stands for the others, wherever the registry lists it.
        verified.sort_by_key(|Discovery { record, .. }| (record.facts.signed_at.is_none(), record.facts.signed_at));
        let mut new = Vec::new();
        for discovery in verified {
            match self.stands_for(&place.organization, &discovery).await? {
                Some(first) => ids.push(first),
                None => new.push(discovery),
            }
        }
        if !new.is_empty() {
            ids.extend(self.parts.store.discovered(&place.organization, new).await?);
        }
        // Several may be wrappings of one.
        let mut once = BTreeSet::new();
        ids.retain(|id| once.insert(*id));
        Ok(Look { ids, complete, ignored, rules: rules.changed, at: *now, until: *now })
    }

    /// The stored wrapping that stands for one that was found, when this one proves nothing more.
    async fn stands_for(
        &self,
        organization: &Name,
        Discovery { record, speaks_for }: &Discovery,
    ) -> Result<Option<Digest>, GateError> {
        let (store, found) = (self.store(), &record.facts);
        let Some(first) = store.wrapping(organization, found.signed, *speaks_for).await? else { return Ok(None) };
        let known = store.attestation_facts(organization, first).await?.and_then(|facts| facts.signed_at);
        let earlier = found.signed_at.is_some_and(|proven| known.is_none_or(|known| proven < known));
        Ok((!earlier).then_some(first))
    }

    /// Those that name the image and speak for one of the contracts, as records, with all whom they speak for.
    async fn verify_found(
        &self,
        question: &Question,
        pinned: &PinnedRef,
        contracts: &[Arc<CurrentContract>],
        found: Vec<Bytes>,
    ) -> Result<Vec<Discovery>, GateError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let (contracts, verifications) = (contracts.to_vec(), Arc::clone(&self.verifications));
        let (pinned, now) = (pinned.clone(), question.now);
        let work = move || {
            let source = Source::Discovered { repository: pinned.repository.clone() };
            let check = |bytes: &[u8]| genuine(bytes, &contracts, &verifications, pinned.digest, now);
            let records =
                those_that_pass(found, check).into_iter().map(|(bundle, Genuine { verified, speaks_for })| {
                    let id = Digest::of(&bundle);
                    let facts = AttestationFacts {
                        id,
                        signed: verified.signed,
                        subjects: verified.statement.image_digests().into_iter().collect(),
                        received_at: now,
                        signed_at: verified.signed_at,
                        source: source.clone(),
                        withdrawn: None,
                    };
                    Discovery { record: AttestationRecord { facts, bundle }, speaks_for }
                });
            records.collect()
        };
        Ok(self.parts.workers.run(work).await?)
    }
}

/// Those of which the check says something. One at which it panics does not verify; the others are not its hostages.
fn those_that_pass<T>(found: Vec<Bytes>, check: impl Fn(&[u8]) -> Option<T>) -> Vec<(Bytes, T)> {
    let checked = found.into_iter().filter_map(|bytes| {
        // What the check shares are caches, which a panic leaves whole.
        let said = panic::catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        let said = said.unwrap_or_else(|_| {
            tracing::error!(attestation = %Digest::of(&bytes), "verifying an attestation beside an image panicked");
            None
        });
        said.map(|said| (bytes, said))
    });
    checked.collect()
}

/// What an attestation beside an image proved.
struct Genuine {
    verified: Arc<Verified<Verification>>,
    speaks_for: Digest,
}

/// Holds an attestation against the trust of every contract, and of every verifier that one asks. Whom it speaks for is a digest over those that it speaks
/// for and the signers that each of them sees: there are only so many, however many wrappings somebody makes.
fn genuine(
    bytes: &[u8],
    contracts: &[Arc<CurrentContract>],
    verifications: &Verifications,
    subject: Digest,
    now: Timestamp,
) -> Option<Genuine> {
    let bundle = Bundle::parse(bytes).ok()?;
    let trusts: BTreeMap<Digest, &Trust> = contracts
        .iter()
        .flat_map(|contract| {
            let verifiers = contract.compiled.verifiers().iter().map(|verifier| &verifier.trust);
            contract.compiled.trust().into_iter().chain(verifiers)
        })
        .map(|trust| (trust.digest(), trust))
        .collect();
    let (mut first, mut speaks_for) = (None, Hasher::default());
    for (digest, trust) in trusts {
        let Ok(verified) = verifications.of_bundle(trust, &bundle, now) else { continue };
        speaks_for.update_framed(digest.as_bytes());
        speaks_for.update_framed(&verified.signers.len().to_be_bytes());
        for signer in &verified.signers {
            speaks_for.update_framed(signer.to_string().as_bytes());
        }
        first.get_or_insert(verified);
    }
    let verified = first?;
    verified.statement.names_sha256(&subject).then(|| Genuine { verified, speaks_for: speaks_for.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::Store,
        trial::{Trial, acme, image},
    };

    #[tokio::test]
    async fn a_wrapping_that_proves_an_earlier_time_is_told_to_the_store() {
        let trial = Trial::new().await;
        let found = |bundle: &'static [u8], signed_at: Option<i64>| {
            let facts = AttestationFacts {
                id: Digest::of(bundle),
                signed: Digest::of(b"signed"),
                subjects: vec![image("app").digest],
                received_at: trial.now,
                signed_at: signed_at.map(|second| Timestamp::from_second(second).unwrap()),
                source: Source::Discovered { repository: image("app").repository },
                withdrawn: None,
            };
            let bundle = Bytes::from_static(bundle);
            Discovery { record: AttestationRecord { facts, bundle }, speaks_for: Digest::of(b"t") }
        };
        let core = &trial.gate.core;
        let stands_for = async |found: &Discovery| core.stands_for(&acme(), found).await.unwrap();
        let (stripped, proven) = (found(b"one", None), found(b"two", Some(5)));
        assert_eq!(stands_for(&stripped).await, None);
        trial.store.discovered(&acme(), vec![stripped.clone()]).await.unwrap();
        assert_eq!(stands_for(&stripped).await, Some(Digest::of(b"one")));
        assert_eq!(stands_for(&proven).await, None);
        trial.store.discovered(&acme(), vec![proven.clone()]).await.unwrap();
        for (other, known) in [(proven, true), (found(b"three", Some(6)), true), (found(b"four", Some(4)), false)] {
            assert_eq!(stands_for(&other).await.is_some(), known);
        }
    }

    #[test]
    fn a_panic_over_one_attestation_costs_that_one_alone() {
        let found = ["good", "panics", "bad", "fine"].map(|text| Bytes::from_static(text.as_bytes())).to_vec();
        let check = |bytes: &[u8]| match bytes {
            b"panics" => panic!("a parser"),
            b"bad" => None,
            other => Some(other.len()),
        };
        let passed: Vec<_> = those_that_pass(found, check).into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(passed, ["good", "fine"].map(|text| Bytes::from_static(text.as_bytes())));
    }
}
