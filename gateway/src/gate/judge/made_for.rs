//! Whether a run was made for what is asked about.

use contracts::{Code, EvidencePlace, Finding, VerdictSubject, Verification, Verified, crafting::CraftedRun};

use super::{Candidate, Judging};
use crate::outputs;

impl Judging<'_> {
    /// That a run was made for another image than the one that is asked about, as the contract tells it. Until it
    /// demands an output image, its rules say it as a warning. The same for another artifact, of which no rule says
    /// anything.
    pub(super) fn made_for_another(
        &self,
        candidate: &Candidate<'_>,
        verified: &Verified<Verification>,
        run: &CraftedRun,
    ) -> Option<Finding> {
        let compiled = &self.contract.compiled;
        let made_for = outputs::made_for(compiled.revision().contract(), run, &verified.statement);
        let place = EvidencePlace { attestation: Some(candidate.facts.id), material: None };
        let digest = match &self.question.place.subject {
            VerdictSubject::Image(pinned) => pinned.digest,
            VerdictSubject::Artifact(digest) if made_for.artifacts.contains(digest) => return None,
            VerdictSubject::Artifact(_) => {
                let message = "the attestation was made for another artifact: this one is none of its outputs";
                return Some(Finding::error(Code::SubjectMismatch, message).in_evidence(place));
            }
        };
        let rule = compiled.rules().rules().iter().find(|rule| rule.code == Code::SubjectMismatch);
        if self.outputs_are_demanded_later() || made_for.images.contains(&digest) {
            return None;
        }
        let message = "the attestation was made for another image: this one is none of its output images";
        let finding = match rule {
            None => Finding::error(Code::SubjectMismatch, message),
            Some(rule) => Finding {
                mend: rule.mend.clone(),
                ..Finding::error(rule.code, &rule.message).by_rule(&rule.id).at(rule.origin.clone())
            },
        };
        Some(finding.in_evidence(place))
    }

    /// Whether the contract does not demand an output image yet: then every run that names an image counts for it.
    pub(super) fn outputs_are_demanded_later(&self) -> bool {
        let rules = self.contract.compiled.rules().rules();
        let rule = rules.iter().find(|rule| rule.code == Code::SubjectMismatch);
        rule.and_then(|rule| rule.effective_from).is_some_and(|from| self.question.now < from)
    }
}
