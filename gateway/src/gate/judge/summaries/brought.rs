//! Summaries that a run brings among its materials of the type `EVIDENCE`. What is no image lies in no registry, so there is
//! no other way for it.
//!
//! Who brings one does not matter: its verifier signed it, and it is held against the same demands as one in a registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use contracts::{Digest, MaterialType, VerdictSubject, crafting::CraftedRun, limits};
use jiff::Timestamp;

use super::{Asked, Held, Judging, Summaries};
use crate::{materials::Materials, rules::CurrentContract, trust::Verifications};

/// What the summaries of a run are held against.
pub(in super::super) struct Asking {
    contract: Arc<CurrentContract>,
    verifications: Arc<Verifications>,
    subject: VerdictSubject,
    own: Arc<BTreeSet<Digest>>,
    /// What was withdrawn, by what was signed, and why.
    withdrawn: Arc<BTreeMap<Digest, String>>,
    now: Timestamp,
}

impl Judging<'_> {
    /// What is asked of a run's summaries.
    pub(in super::super) fn asking(&self) -> Asking {
        Asking {
            contract: Arc::clone(self.contract),
            verifications: Arc::clone(&self.core.verifications),
            subject: self.question.place.subject.clone(),
            own: Arc::clone(&self.core.parts.own_keys),
            withdrawn: Arc::clone(&self.withdrawn),
            now: self.question.now,
        }
    }
}

impl Asking {
    /// Looks at what a run brings, that was known to exist since then.
    pub(in super::super) fn brought(
        &self,
        run: &CraftedRun,
        materials: &Materials,
        known_since: Timestamp,
    ) -> Summaries {
        let Self { contract, verifications, subject, own, withdrawn, now } = self;
        let verifiers = contract.compiled.verifiers();
        let mut summaries = Summaries::default();
        if verifiers.is_empty() {
            return summaries;
        }
        let asked = Asked { verifications, subject, own, now: *now };
        let documents = materials.of_type(run, MaterialType::Evidence).take(limits::ATTESTATIONS_PER_SUBJECT);
        for (name, bytes) in documents {
            let told = |reason: String| format!("of the summary in the material `{name}`: {reason}");
            match asked.hold(verifiers, Digest::of(bytes), bytes, known_since) {
                // In whichever bytes it comes, by whichever way.
                Held::Counts(counting) => match withdrawn.get(&counting.verified.signed) {
                    Some(reason) => summaries.refused.push(told(format!("an operator withdrew it: {reason}"))),
                    None => summaries.counting.push(*counting),
                },
                Held::Refused(reason) => summaries.refused.push(told(reason)),
                Held::Later(begins, reason) => {
                    summaries.refused.push(told(reason));
                    summaries.begins = summaries.begins.into_iter().chain([begins]).min();
                }
                Held::Other => {}
            }
        }
        summaries
    }
}
