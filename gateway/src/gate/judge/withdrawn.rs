//! What an operator withdrew: it counts for nothing, and a run keeps its place in the order of its workflow's runs. So a
//! withdrawal closes and never opens: no older run, and nothing beside the image, takes the place of what is withdrawn.

use contracts::{Code, EvidencePlace, Finding};

use super::Judging;
use crate::{
    names::WorkflowName,
    store::{AttestationFacts, Source},
};

impl Judging<'_> {
    /// That an attestation was withdrawn, if it was: that of a run of this workflow, or another tool's.
    pub(super) fn withdrawn(&self, facts: &AttestationFacts, workflow: Option<&WorkflowName>) -> Option<Finding> {
        let withdrawn = facts.withdrawn.as_ref()?;
        let noun = self.question.place.subject.noun();
        let what = match (&facts.source, workflow) {
            (Source::Pushed { run, .. }, Some(workflow)) => {
                format!("the attestation of the run `{run}` of `{workflow}`, the newest about this {noun}")
            }
            (Source::Discovered { .. }, Some(workflow)) => {
                format!("the attestation {} of a run of `{workflow}`, the newest beside this {noun}", facts.id)
            }
            (_, None) => format!("the attestation {} of this {noun}", facts.id),
        };
        let place = EvidencePlace { attestation: Some(facts.id), material: None };
        let message = format!("an operator withdrew {what}: {}", withdrawn.reason);
        Some(Finding::error(Code::AttestationWithdrawn, message).in_evidence(place))
    }
}
