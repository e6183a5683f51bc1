//! The bytes of a run's materials, fetched from the evidence folder and hashed again, and the rules over them.
//!
//! What the statement says of its bytes being somewhere else counts for nothing: only the contract may say that
//! they need not be here.

use bytes::Bytes;
use contracts::{
    Builder, Code, Decision, Digest, EvidencePlace, Finding, MaterialType, RunnerIdentity, VerdictSubject,
    Verification, Verified,
    contract::Contract,
    crafting::{CraftedRun, DeclaredMaterial, GIT_HEAD},
    identity::contradiction,
    limits,
};
use jiff::Timestamp;
use policies::{Attested, EvaluateError, Evaluation, Evidence, MaterialEvidence, Phase, RuleSet};

use crate::{
    evidence::{EvidenceError, EvidenceFolder},
    names::Name,
};

/// One material's bytes, or why there are none.
enum Fetched {
    /// Here they are.
    Bytes(Bytes),
    /// They are inside the statement.
    Inline,
    /// They are not needed.
    Reference,
    /// They were hashed where they lie: nothing reads them.
    Hashed,
    /// They were never uploaded, or were lost.
    Absent,
    /// They are more than is read.
    TooLarge(usize),
}

/// What was fetched for a run, in the order of its materials.
pub(crate) struct Materials(Vec<Fetched>);

/// Fetches the bytes of a run's materials.
///
/// # Errors
/// When the disk fails. Bytes that are not there are no error.
pub(crate) async fn fetch(
    evidence: &EvidenceFolder,
    organization: &Name,
    run: &CraftedRun,
    contract: &Contract,
) -> Result<Materials, EvidenceError> {
    let mut fetched = Vec::with_capacity(run.materials.len());
    let mut left = limits::MATERIALS_BYTES;
    for material in &run.materials {
        // Before they are read: what is judged now is not swept before the judgement is stored.
        // Where that cannot be noted, a sweep can hardly remove anything.
        if material.inline.is_none()
            && material.image.is_none()
            && let Err(error) = evidence.renew(organization, material.digest).await
        {
            tracing::warn!(%organization, digest = %material.digest, %error, "it could not be noted that evidence is used");
        }
        let elsewhere = contract.material(&material.name).is_some_and(|clause| clause.skip_upload);
        let one = if elsewhere || material.image.is_some() {
            Fetched::Reference
        } else if material.inline.is_some() {
            Fetched::Inline
        } else if material.kind == MaterialType::Artifact {
            // What no rule reads as a document is hashed, however large it is, and never held.
            let intact = evidence.intact(organization, material.digest).await?;
            if intact { Fetched::Hashed } else { Fetched::Absent }
        } else {
            let max = left.min(limits::MATERIAL_DOCUMENT_BYTES);
            read(evidence, organization, material.digest, max).await?
        };
        if let Fetched::Bytes(bytes) = &one {
            left = left.saturating_sub(bytes.len());
        }
        fetched.push(one);
    }
    Ok(Materials(fetched))
}

async fn read(
    evidence: &EvidenceFolder,
    organization: &Name,
    digest: Digest,
    max: usize,
) -> Result<Fetched, EvidenceError> {
    match evidence.read(organization, digest, max as u64).await {
        Ok(Some(bytes)) => Ok(Fetched::Bytes(bytes)),
        Ok(None) | Err(EvidenceError::Damaged { .. }) => Ok(Fetched::Absent),
        Err(EvidenceError::TooLarge { .. }) => Ok(Fetched::TooLarge(max)),
        Err(error) => Err(error),
    }
}

impl Materials {
    /// Whether bytes are missing that may still be uploaded: what is decided without them is not to be kept.
    pub(crate) fn incomplete(&self) -> bool {
        self.0.iter().any(|fetched| matches!(fetched, Fetched::Absent))
    }

    /// The documents of one type that are here, with the names of their materials.
    pub(crate) fn of_type<'m>(
        &'m self,
        run: &'m CraftedRun,
        kind: MaterialType,
    ) -> impl Iterator<Item = (&'m str, &'m [u8])> {
        run.materials.iter().zip(&self.0).filter(move |(declared, _)| declared.kind == kind).filter_map(
            |(declared, fetched)| match fetched {
                Fetched::Bytes(bytes) => Some((declared.name.as_str(), &bytes[..])),
                Fetched::Inline => Some((declared.name.as_str(), declared.inline.as_deref()?)),
                Fetched::Reference | Fetched::Hashed | Fetched::Absent | Fetched::TooLarge(_) => None,
            },
        )
    }

    /// Reads each material as what its type says. What cannot be read is a finding, and stands in the way.
    fn parse(self, run: &CraftedRun) -> (Vec<MaterialEvidence>, Vec<Finding>) {
        let (mut materials, mut findings) = (Vec::with_capacity(self.0.len()), Vec::new());
        for (declared, fetched) in run.materials.iter().zip(self.0) {
            let read = match fetched {
                Fetched::Bytes(bytes) => MaterialEvidence::from_bytes(declared, &bytes),
                Fetched::Inline => {
                    MaterialEvidence::from_bytes(declared, declared.inline.as_deref().unwrap_or_default())
                }
                Fetched::Reference => Ok(MaterialEvidence::reference(declared)),
                Fetched::Hashed => Ok(MaterialEvidence::hashed(declared)),
                Fetched::Absent => Ok(MaterialEvidence::absent(declared)),
                Fetched::TooLarge(max) => Err(too_large(declared, max)),
            };
            match read {
                Ok(material) => materials.push(material),
                Err(finding) => findings.push(finding),
            }
        }
        (materials, findings)
    }
}

/// An attestation of a run that is to be judged.
pub(crate) struct RunEvidence<'r> {
    /// The attestation.
    pub(crate) verified: &'r Verified<Verification>,
    /// When it was first received.
    pub(crate) received_at: Timestamp,
    /// What it says of its run.
    pub(crate) run: &'r CraftedRun,
    /// What was fetched for it.
    pub(crate) materials: Materials,
    /// Who was proven to have pushed it.
    pub(crate) pushed_by: Option<&'r RunnerIdentity>,
    /// The other verifiers that say of what it is about that it passed.
    pub(crate) verifiers: &'r [String],
}

/// Evaluates the rules over one run. A material that cannot be read denies, whatever the rules say.
///
/// # Errors
/// When a rule could not be evaluated to its end for no fault of its own.
pub(crate) fn evaluate(
    rules: &RuleSet,
    of: RunEvidence<'_>,
    subject: Option<&VerdictSubject>,
    phase: Phase,
    now: Timestamp,
) -> Result<Evaluation, EvaluateError> {
    let (materials, mut unreadable) = of.materials.parse(of.run);
    let builder = Builder::of(of.verified, of.pushed_by);
    unreadable.extend(contradiction(of.verified, of.pushed_by));
    // Each of them proves a commit, whichever is believed.
    let proven = builder.as_ref().map(Builder::identity).into_iter().chain(of.pushed_by);
    unreadable.extend(proven.filter_map(|identity| another_commit(identity, of.verified)).next());
    let identity = builder.as_ref().map(Builder::identity);
    let attested = Attested::of_run(of.verified, of.received_at, of.run).built_by(identity);
    let evidence = Evidence::of_run(attested, materials).verified_by(of.verifiers.iter().map(String::as_str));
    let mut evaluation = policies::evaluate(rules, &evidence, subject, phase, now)?;
    if !unreadable.is_empty() {
        evaluation.decision = Decision::Deny;
        // That it is missing would only be said because it could not be read.
        let about = |finding: &Finding| finding.evidence.as_ref().and_then(|place| place.material.clone());
        let told: Vec<_> = unreadable.iter().filter_map(about).collect();
        evaluation.findings.retain(|finding| {
            !matches!(finding.code, Code::MaterialMissing | Code::MaterialBytesAbsent | Code::PolicySkipped)
                || about(finding).is_none_or(|name| !told.contains(&name))
        });
        evaluation.findings.extend(unreadable);
    }
    Ok(evaluation)
}

/// That the statement speaks of another commit than the one that was built.
fn another_commit(identity: &RunnerIdentity, verified: &Verification) -> Option<Finding> {
    let proven = identity.commit.as_ref()?;
    let heads = verified.statement.subjects.iter().filter(|subject| subject.name.as_deref() == Some(GIT_HEAD));
    let named: Vec<&str> = heads.flat_map(|head| head.digest.values()).map(String::as_str).collect();
    if named.iter().all(|commit| commit.eq_ignore_ascii_case(proven)) {
        return None;
    }
    let message = format!(
        "the attestation says that the commit `{}` was built, and {} proves that it was `{proven}`",
        named.join("`, `"),
        identity.provider
    );
    let mend = "check out the commit that the pipeline was started for (on pull requests: the one that CI chose), and attest in that folder";
    Some(Finding::error(Code::CommitMismatch, message).mend(mend))
}

fn too_large(declared: &DeclaredMaterial, max: usize) -> Finding {
    let place = EvidencePlace { attestation: None, material: Some(declared.name.clone()) };
    let message = format!(
        "the material `{}` has more than {max} bytes, the most that is still read of one run's materials",
        declared.name
    );
    Finding::error(Code::LimitReached, message)
        .in_evidence(place)
        .mend("make the document smaller, or record it as an `ARTIFACT`, which is only hashed")
}
