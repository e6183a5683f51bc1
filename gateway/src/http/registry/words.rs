//! The gateway's own word among what speaks about an image: the verdict that lets it through, signed, as an artifact
//! that refers to the image. It is served by the gateway itself, for as long as it holds.
//!
//! Only passed verdicts are spoken. Tools that look for an attestation of a kind take any that is signed by the right
//! key, whatever it says: a failed one beside an image would pass with them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use contracts::{Digest, PinnedRef, Repository, SignError, VerdictSubject, bundle, vsa};
use jiff::Timestamp;
use moka::{policy::EvictionPolicy, sync::Cache};
use serde_json::json;

use crate::{
    gate::{Permit, Remembered},
    names::Name,
    upstream::{Manifest, OCI_MANIFEST, Referrer},
    word::Word,
};

/// Bytes of words that are kept.
const KEPT: u64 = 16 * 1024 * 1024;
/// The configuration of an artifact that has none (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// The words that were spoken lately. Their signatures differ each time they are made, so each is made once.
#[derive(Clone)]
pub(super) struct Words {
    spoken: Cache<(Name, PinnedRef, Digest, Timestamp), Arc<Spoken>>,
    /// By the digests of what they consist of.
    parts: Cache<(Name, Repository, Digest), Arc<Spoken>>,
}

impl Default for Words {
    fn default() -> Self {
        let weight =
            |spoken: &Arc<Spoken>| u32::try_from(spoken.bundle.len() + spoken.manifest.len() + 512).unwrap_or(u32::MAX);
        // By age alone: what was just spoken is what is asked for next.
        let lru = EvictionPolicy::lru;
        let spoken = Cache::builder().max_capacity(KEPT).weigher(move |_, spoken| weight(spoken));
        let parts = Cache::builder().max_capacity(3 * KEPT).weigher(move |_, spoken| weight(spoken));
        Self { spoken: spoken.eviction_policy(lru()).build(), parts: parts.eviction_policy(lru()).build() }
    }
}

/// One word: a manifest, its one layer, and what they speak of.
pub(super) struct Spoken {
    /// The image.
    pub(super) subject: PinnedRef,
    verdict: Digest,
    valid_until: Option<Timestamp>,
    /// The manifest.
    pub(super) manifest: Bytes,
    /// The manifest's digest.
    digest: Digest,
    bundle: Bytes,
    created: String,
}

/// A part of a word.
pub(super) enum Part {
    Manifest,
    Bundle,
    Empty,
}

impl Words {
    /// The word about an image, when its own verdict passed. `of` is the image's manifest.
    pub(super) fn speak(&self, word: &Word, permit: &Permit, of: &Manifest) -> Result<Option<Arc<Spoken>>, SignError> {
        let made = permit.verdict();
        let own = VerdictSubject::Image(permit.pinned().clone());
        if !vsa::passed(&made.verdict) || made.verdict.subject != own {
            return Ok(None);
        }
        let organization = permit.organization();
        let key = (organization.clone(), permit.pinned().clone(), made.key, made.verdict.evaluated_at);
        if let Some(spoken) = self.spoken.get(&key) {
            return Ok(Some(spoken));
        }
        let bundle = word.summary(organization, made)?;
        let spoken = Arc::new(Spoken::new(made, permit.pinned().clone(), of, Bytes::copy_from_slice(bundle.bytes())));
        self.spoken.insert(key, Arc::clone(&spoken));
        for digest in [spoken.digest, Digest::of(&spoken.bundle), Digest::of(EMPTY)] {
            let part = (organization.clone(), spoken.subject.repository.clone(), digest);
            self.parts.insert(part, Arc::clone(&spoken));
        }
        Ok(Some(spoken))
    }

    /// The word that this is a part of. Whether it holds still is for the gate to say: [`Spoken::holds`].
    pub(super) fn of(&self, organization: &Name, pinned: &PinnedRef) -> Option<(Arc<Spoken>, Part)> {
        let spoken = self.parts.get(&(organization.clone(), pinned.repository.clone(), pinned.digest))?;
        let part = match pinned.digest {
            digest if digest == spoken.digest => Part::Manifest,
            digest if digest == Digest::of(EMPTY) => Part::Empty,
            _ => Part::Bundle,
        };
        Some((spoken, part))
    }
}

impl Spoken {
    fn new(made: &Remembered, subject: PinnedRef, of: &Manifest, bundle: Bytes) -> Self {
        let created = made.verdict.evaluated_at.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": bundle::MEDIA_TYPE,
            "config": {"mediaType": EMPTY_TYPE, "digest": Digest::of(EMPTY), "size": EMPTY.len(), "data": "e30="},
            "layers": [{"mediaType": bundle::MEDIA_TYPE, "digest": Digest::of(&bundle), "size": bundle.len()}],
            "subject": {"mediaType": of.media_type, "digest": of.digest, "size": of.bytes.len()},
            "annotations": BTreeMap::from(annotations(&created)),
        });
        let manifest = Bytes::from(manifest.to_string());
        Self {
            subject,
            verdict: made.key,
            valid_until: made.verdict.valid_until,
            digest: Digest::of(&manifest),
            manifest,
            bundle,
            created,
        }
    }

    /// Whether it says what the gate says now.
    pub(super) fn holds(&self, current: &Remembered, now: Timestamp) -> bool {
        current.key == self.verdict && vsa::passed(&current.verdict) && self.valid_until.is_none_or(|until| now < until)
    }

    /// The bytes of a part.
    pub(super) fn bytes(&self, part: &Part) -> Bytes {
        match part {
            Part::Manifest => self.manifest.clone(),
            Part::Bundle => self.bundle.clone(),
            Part::Empty => Bytes::from_static(EMPTY),
        }
    }

    /// As it is listed.
    pub(super) fn referrer(&self) -> Referrer {
        let annotations = annotations(&self.created);
        Referrer {
            digest: self.digest,
            media_type: OCI_MANIFEST.to_owned(),
            size: self.manifest.len() as u64,
            artifact_type: Some(bundle::MEDIA_TYPE.to_owned()),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            tag: None,
        }
    }
}

/// What cosign writes on the manifests of bundles, so that others can tell them apart without fetching them.
fn annotations(created: &str) -> [(&'static str, &str); 3] {
    [
        ("org.opencontainers.image.created", created),
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", vsa::PREDICATE_TYPE),
    ]
}

#[cfg(test)]
mod tests {
    use contracts::{ContractAnswer, Decision, Enforcement, Verdict};
    use jiff::SignedDuration;

    use super::*;

    /// An allowed image, by this key, until then.
    fn allowed(key: &[u8], until: Option<Timestamp>, decision: Decision) -> Remembered {
        let subject: PinnedRef = format!("registry.test/skynet/app@{}", Digest::of(b"image")).parse().unwrap();
        let verdict = Verdict {
            decision,
            enforced: true,
            exempted: false,
            subject: subject.into(),
            named: Vec::new(),
            contracts: vec![ContractAnswer {
                contract: "release".to_owned(),
                revision: 1,
                digest: Digest::of(b"revision"),
                enforcement: Enforcement::Enforce,
                decision,
            }],
            findings: Vec::new(),
            depends_on: Vec::new(),
            evaluated_at: testdata::noon(),
            valid_until: until,
        };
        Remembered::new(Digest::of(key), verdict)
    }

    /// The same is decided again, with the same key, when a word's time is over; the word still says the old time.
    #[test]
    fn a_word_holds_until_the_instant_that_it_says_whatever_is_decided_then() {
        let (now, end) = (testdata::noon(), testdata::noon() + SignedDuration::from_secs(60));
        let made = allowed(b"key", Some(end), Decision::Allow);
        let VerdictSubject::Image(subject) = made.verdict.subject.clone() else { panic!() };
        let of = Manifest {
            bytes: Bytes::from_static(b"{}"),
            digest: subject.digest,
            media_type: OCI_MANIFEST.to_owned(),
            children: [].into(),
        };
        let spoken = Spoken::new(&made, subject, &of, Bytes::from_static(b"{}"));
        let again = allowed(b"key", Some(end + SignedDuration::from_secs(60)), Decision::Allow);
        assert!(vsa::passed(&again.verdict));
        let before = end - SignedDuration::from_nanos(1);
        assert!(spoken.holds(&again, now) && spoken.holds(&again, before));
        assert!(!spoken.holds(&again, end));
        assert!(!spoken.holds(&allowed(b"other", None, Decision::Allow), now), "something else is decided");
        assert!(!spoken.holds(&allowed(b"key", None, Decision::Deny), now), "it is denied");
    }
}
