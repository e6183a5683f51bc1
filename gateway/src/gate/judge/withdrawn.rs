//! What an operator withdrew: it counts for nothing, and a run keeps its place in the order of its workflow's runs. So a
//! withdrawal closes and never opens: no older run, and nothing beside the image, takes the place of what is withdrawn,
//! whichever way it came, and whether it lies in the registry still or not.

use std::sync::Arc;

use contracts::{
    Bundle, Code, Digest, EvidencePlace, Finding, Statement,
    crafting::{self, CraftedRun},
};

use super::{Candidate, GateError, Gathered, Judging, Kind, read};
use crate::{
    gate::decide::Core,
    names::{Name, WorkflowName},
    outputs,
    store::{AttestationFacts, AttestationRecord, Source},
};

/// A withdrawn run, read anew.
struct Reread {
    run: CraftedRun,
    /// Whether it would speak for the contract now.
    trusted: bool,
    made_for: bool,
}

impl Judging<'_> {
    /// That an attestation was withdrawn, if it was: that of a run of this workflow, or another tool's.
    pub(super) fn withdrawn(&self, facts: &AttestationFacts, workflow: Option<&WorkflowName>) -> Option<Finding> {
        let withdrawn = facts.withdrawn.as_ref()?;
        let noun = self.question.place.subject.noun();
        let what = match (&facts.source, workflow) {
            (Source::Pushed { run, .. }, Some(workflow)) => {
                format!("the attestation of the run `{run}` of `{workflow}`, the newest about this {noun}")
            }
            (Source::Discovered { .. } | Source::Material, Some(workflow)) => {
                format!("the attestation {} of a run of `{workflow}`, the newest about this {noun}", facts.id)
            }
            (_, None) => format!("the attestation {} of this {noun}", facts.id),
        };
        let place = EvidencePlace { attestation: Some(facts.id), material: None };
        let message = format!("an operator withdrew {what}: {}", withdrawn.reason);
        Some(Finding::error(Code::AttestationWithdrawn, message).in_evidence(place))
    }

    /// The withdrawn runs that were found beside an image and keep their places: first those of workflows that pushed
    /// about it, among whose runs they stand, then those of others, which stand among what lies beside the image.
    ///
    /// A run has a place when it was made for the image, or lies beside it. It has it for good when it once had it: also
    /// when nobody who signed it is trusted any more, as then an older one by somebody else would open.
    pub(super) async fn held<'g>(
        &self,
        gathered: &'g Gathered,
    ) -> Result<(Vec<Candidate<'g>>, Vec<Candidate<'g>>), GateError> {
        let (mut among_pushed, mut beside) = (Vec::new(), Vec::new());
        // Of what is no image no registry was asked: none of these ever had a place.
        if self.question.place.subject.image().is_none() {
            return Ok((among_pushed, beside));
        }
        let (store, organization) = (self.core.store(), &self.question.place.organization);
        for facts in &gathered.withdrawn {
            let Some(record) = store.attestation(organization, facts.id).await? else { continue };
            let Some(Reread { run, trusted, made_for }) = self.reread(record).await? else { continue };
            let Some(workflow) = self.bound_workflow(&run) else { continue };
            let pushed = gathered.pushed.iter().any(|pushed| pushed.workflow == workflow);
            let lies_there = || gathered.beside.iter().any(|record| record.facts.id == facts.id);
            // Nothing that lies there counts once the workflow pushed.
            if !made_for && (pushed || !lies_there()) {
                continue;
            }
            // Only what counted claimed its run.
            if !trusted && !store.run_claimed(organization, &run.run_id, &workflow, facts.signed).await? {
                continue;
            }
            let held = if pushed { &mut among_pushed } else { &mut beside };
            held.push(Candidate { facts, workflow, kind: Kind::Withdrawn });
        }
        Ok((among_pushed, beside))
    }

    /// Reads what a withdrawn attestation says of its run. `None`: it is none of a run.
    async fn reread(
        &self,
        AttestationRecord { facts, bundle }: AttestationRecord,
    ) -> Result<Option<Reread>, GateError> {
        let (contract, verifications) = (Arc::clone(self.contract), Arc::clone(&self.core.verifications));
        let (subject, now) = (self.question.place.subject.clone(), self.question.now);
        let later = self.outputs_are_demanded_later();
        let work = move || {
            let of_run = |statement: &Statement, run: CraftedRun, trusted: bool| {
                let made_for = outputs::made_for(contract.compiled.revision().contract(), &run, statement);
                Reread { made_for: later || made_for.images.contains(subject.digest()), run, trusted }
            };
            match read(&contract.compiled, &verifications, (facts.id, &bundle), &subject, now) {
                Ok((verified, run)) => run.map(|run| of_run(&verified.statement, run, true)),
                Err(_) => {
                    let (statement, run) = statement_of_run(&bundle)?;
                    Some(of_run(&statement, run, false))
                }
            }
        };
        Ok(self.core.parts.workers.run(work).await?)
    }
}

impl Core {
    /// Whether a stored attestation is one of a run.
    pub(in crate::gate) async fn is_run(&self, organization: &Name, id: Digest) -> Result<bool, GateError> {
        let Some(record) = self.store().attestation(organization, id).await? else { return Ok(false) };
        Ok(self.parts.workers.run(move || statement_of_run(&record.bundle).is_some()).await?)
    }
}

/// What stored bytes say of a run, by whomever they are signed.
fn statement_of_run(bundle: &[u8]) -> Option<(Statement, CraftedRun)> {
    let statement = Statement::parse(&Bundle::parse(bundle).ok()?.envelope().payload).ok()?;
    let run = crafting::read(&statement).ok().flatten()?;
    Some((statement, run))
}
