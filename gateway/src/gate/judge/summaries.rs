//! What other verifiers say of a subject (SLSA Verification Summary Attestations), as a contract asks for it.
//!
//! A summary counts when it is signed by whom the contract names for its verifier, and is all that the contract demands of
//! it ([`contracts::vsa::VerifierDemand`]). The gateway's own word never does, whatever a contract names.

mod brought;

use std::{collections::BTreeSet, sync::Arc};

use contracts::{
    Bundle, Code, Digest, Finding, SignerIdentity, Statement, VerdictSubject, Verification, Verified, vsa,
};
use jiff::Timestamp;

use super::{GateError, Gathered, Judging, VERDICT_PREDICATES};
use crate::{
    rules::TrustedVerifier,
    store::AttestationFacts,
    trust::{Untrusted, Verifications},
};

/// Reasons that are told.
const TOLD: usize = 3;

/// The summaries beside an image, held against what one contract demands.
#[derive(Default)]
pub(super) struct Summaries {
    counting: Vec<Counting>,
    /// Why others do not count.
    refused: Vec<String>,
    /// When the first of those may begin to count that say that they were made later than now.
    begins: Option<Timestamp>,
}

struct Counting {
    verifier: String,
    attestation: Digest,
    verified: Arc<Verified<Verification>>,
    known_since: Timestamp,
    until: Option<Timestamp>,
}

enum Held {
    Counts(Box<Counting>),
    Refused(String),
    /// Not yet.
    Later(Timestamp, String),
    /// It is no summary.
    Other,
}

impl Summaries {
    /// Whether there was one to look at.
    pub(super) fn any(&self) -> bool {
        self.counts() || !self.refused.is_empty()
    }

    pub(super) fn counts(&self) -> bool {
        !self.counting.is_empty()
    }

    /// The verifiers that say that the subject passed.
    pub(super) fn ids(&self) -> Vec<String> {
        let ids: BTreeSet<&String> = self.counting.iter().map(|counting| &counting.verifier).collect();
        ids.into_iter().cloned().collect()
    }

    pub(super) fn attestations(&self) -> Vec<(Arc<Verified<Verification>>, Timestamp)> {
        self.counting.iter().map(|counting| (Arc::clone(&counting.verified), counting.known_since)).collect()
    }

    pub(super) fn judged(&self) -> impl Iterator<Item = Digest> {
        self.counting.iter().map(|counting| counting.attestation)
    }

    /// When one of those that count ends, or one that does not may begin.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.counting.iter().filter_map(|counting| counting.until).chain(self.begins).min()
    }

    /// Says in a finding that none counts why those that are there do not.
    pub(super) fn explain(&self, finding: &mut Finding) {
        if finding.code == Code::SummaryMissing && !self.refused.is_empty() {
            let told = self.refused.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ");
            finding.message = format!("{}: {told}", finding.message);
        }
    }
}

impl Judging<'_> {
    /// Looks at what the registry has beside the image for what the contract's verifiers say.
    pub(super) async fn summaries(&self, gathered: &Gathered) -> Result<Summaries, GateError> {
        if self.contract.compiled.verifiers().is_empty() || gathered.beside.is_empty() {
            return Ok(Summaries::default());
        }
        let records: Vec<_> = gathered
            .beside
            .iter()
            .map(|record| {
                let AttestationFacts { id, withdrawn, .. } = &record.facts;
                let withdrawn = withdrawn.as_ref().map(|withdrawn| withdrawn.reason.clone());
                (*id, record.bundle.clone(), record.facts.known_since(), withdrawn)
            })
            .collect();
        let (contract, verifications) = (Arc::clone(self.contract), Arc::clone(&self.core.verifications));
        let (subject, now) = (self.question.place.subject.clone(), self.question.now);
        let own = Arc::clone(&self.core.parts.own_keys);
        let work = move || {
            let asked = Asked { verifications: &verifications, subject: &subject, own: &own, now };
            let mut summaries = Summaries::default();
            for (id, bytes, known_since, withdrawn) in records {
                let held = match (asked.hold(contract.compiled.verifiers(), id, &bytes, known_since), withdrawn) {
                    (Held::Other, _) => Held::Other,
                    (_, Some(reason)) => Held::Refused(format!("an operator withdrew it: {reason}")),
                    (held, None) => held,
                };
                match held {
                    Held::Counts(counting) => summaries.counting.push(*counting),
                    Held::Refused(reason) => summaries.refused.push(format!("of the summary {id}: {reason}")),
                    Held::Later(begins, reason) => {
                        summaries.refused.push(format!("of the summary {id}: {reason}"));
                        summaries.begins = summaries.begins.into_iter().chain([begins]).min();
                    }
                    Held::Other => {}
                }
            }
            summaries
        };
        Ok(self.core.parts.workers.run(work).await?)
    }
}

/// What attestations are held against.
struct Asked<'a> {
    verifications: &'a Verifications,
    subject: &'a VerdictSubject,
    own: &'a BTreeSet<Digest>,
    now: Timestamp,
}

impl Asked<'_> {
    /// What counts for one of several verifiers counts.
    fn hold(&self, verifiers: &[TrustedVerifier], id: Digest, bytes: &[u8], known_since: Timestamp) -> Held {
        let mut held = None;
        for verifier in verifiers {
            let verified = match self.verifications.of_bytes(&verifier.trust, id, bytes, self.now) {
                Ok(verified) => verified,
                Err(Untrusted::Signature(error)) if error.code() == Code::TrustRootTooOld => {
                    held = held.or(Some(Held::Refused(error.to_string())));
                    continue;
                }
                Err(_) => continue,
            };
            match self.of(verifier, verified, id, known_since) {
                counts @ Held::Counts(_) => return counts,
                other => held = held.or(Some(other)),
            }
        }
        held.unwrap_or_else(|| stranger(bytes))
    }

    fn of(
        &self,
        verifier: &TrustedVerifier,
        verified: Arc<Verified<Verification>>,
        attestation: Digest,
        known_since: Timestamp,
    ) -> Held {
        if !verified.statement.predicate_type.starts_with(VERDICT_PREDICATES) {
            return Held::Other;
        }
        let own = |signer: &SignerIdentity| matches!(signer, SignerIdentity::Key { id } if self.own.contains(id));
        if verified.signers.iter().any(own) {
            return Held::Refused("it is this gateway's own word".to_owned());
        }
        match verifier.demand.holds(&verified, self.subject, known_since, self.now) {
            Ok(until) => {
                let until = until.into_iter().chain(verifier.trust.ends(&verified)).min();
                let verifier = verifier.demand.id.clone();
                Held::Counts(Box::new(Counting { verifier, attestation, verified, known_since, until }))
            }
            Err(reason @ vsa::Rejected::Future(at)) => Held::Later(at, reason.to_string()),
            Err(reason) => Held::Refused(reason.to_string()),
        }
    }
}

/// A summary that a signer of the contract made, who is none of its verifiers.
fn stranger(bytes: &[u8]) -> Held {
    let statement = Bundle::parse(bytes).ok().and_then(|bundle| Statement::parse(&bundle.envelope().payload).ok());
    match statement {
        Some(statement) if statement.predicate_type == vsa::PREDICATE_TYPE => {
            Held::Refused("it is signed by nobody whom the contract names as a verifier".to_owned())
        }
        _ => Held::Other,
    }
}
