//! A proposed contract over what was pushed under the current one: what would be decided otherwise. Decides nothing that
//! counts, and keeps nothing.

use std::sync::Arc;

use contracts::{
    Code, Decision, Finding, PinnedRef, VerdictSubject,
    api::{Flip, Replayed, Undecided},
};
use jiff::Timestamp;
use policies::Phase;

use super::{Intake, IntakeError, Push, Read, findings, named};
use crate::{
    gate::GateError,
    materials::{self, RunEvidence},
    names::Name,
    outputs,
    rules::{CurrentContract, OrganizationRules},
    store::{AttestationRecord, RunPage, RunRecord, Source, Store},
};

/// Runs that are looked at for those of the contract's workflows.
const LOOKED_THROUGH: usize = 5_000;
/// Runs that are read together.
const PAGE: usize = 500;

/// What one revision says of an attestation.
struct Judged {
    decision: Decision,
    findings: Vec<Finding>,
}

/// The newest runs, one after the other, read as they are needed.
#[derive(Default)]
struct Newest {
    page: std::vec::IntoIter<RunRecord>,
    last: Option<RunRecord>,
    seen: usize,
    ended: bool,
}

impl Newest {
    async fn next(&mut self, store: &dyn Store, organization: &Name) -> Result<Option<RunRecord>, GateError> {
        if self.page.len() == 0 && !self.ended && self.seen < LOOKED_THROUGH {
            let RunPage { runs, more } = store.runs(organization, None, self.last.as_ref(), PAGE).await?;
            self.last = runs.last().cloned();
            self.seen = self.seen.saturating_add(runs.len());
            self.ended = !more;
            self.page = runs.into_iter();
        }
        Ok(self.page.next())
    }
}

impl Intake {
    /// Judges the newest attestations that were pushed by the workflows of a contract, at most so many, by its current
    /// revision and by a proposed one, with the evidence that is there now. Where there is no current one, what was kept
    /// when they came stands for it.
    ///
    /// # Errors
    /// When the store cannot be read. Of a run of which it cannot be told, that is in the answer.
    pub async fn replay(
        &self,
        organization: &Name,
        proposed: &Arc<CurrentContract>,
        most: usize,
        now: Timestamp,
    ) -> Result<Replayed, GateError> {
        let rules = self.rules.current(organization).await?;
        let current = rules.contract(&proposed.name)?;
        let mut replayed = Replayed { judged: 0, flips: Vec::new(), undecided: Vec::new() };
        let mut newest = Newest::default();
        while let Some(run) = newest.next(&*self.store, organization).await? {
            // What was withdrawn counts under no contract.
            let counts = run.withdrawn.is_none() && rules.bound(&run.workflow, &proposed.name);
            let Some(id) = run.attestation.filter(|_| counts) else { continue };
            if replayed.judged + replayed.undecided.len() >= most {
                break;
            }
            let Some(record) = self.store.attestation(organization, id).await? else { continue };
            let asked = Asked { organization, rules: &rules, run: &run, record: &record, now };
            let before = match current {
                Some(current) => self.say(&asked, current).await,
                None => Ok(kept(&run)),
            };
            match (before, self.say(&asked, proposed).await) {
                (Ok(before), Ok(after)) => {
                    replayed.judged += 1;
                    replayed.flips.extend(flip(&run, &record, before, after));
                }
                (Err(error), _) | (_, Err(error)) => {
                    replayed.undecided.push(Undecided { run: run.id, reason: error.to_string() });
                }
            }
        }
        Ok(replayed)
    }

    /// What a revision says of an attestation, as at the gate where it is known about which image to ask.
    async fn say(&self, asked: &Asked<'_>, contract: &Arc<CurrentContract>) -> Result<Judged, GateError> {
        let facts = &asked.record.facts;
        let identity = match &facts.source {
            Source::Pushed { identity, .. } => identity.as_deref(),
            Source::Discovered { .. } | Source::Material => None,
        };
        let push = Push {
            organization: asked.organization,
            workflow: asked.run.workflow.clone(),
            id: facts.id,
            bundle: asked.record.bundle.clone(),
            identity,
            now: asked.now,
        };
        let refused = match self.judged_again(&push, asked, contract).await {
            Ok(judged) => return Ok(judged),
            Err(IntakeError::CouldNotDecide(error)) => return Err(error),
            Err(IntakeError::Refused { finding, .. } | IntakeError::Mismatch { finding }) => *finding,
            Err(other) => Finding::error(Code::AttestationMalformed, other.to_string()),
        };
        Ok(Judged { decision: Decision::Deny, findings: vec![refused] })
    }

    async fn judged_again(
        &self,
        push: &Push<'_>,
        asked: &Asked<'_>,
        contract: &Arc<CurrentContract>,
    ) -> Result<Judged, IntakeError> {
        let Read { verified, run } = self.read(push, contract).await?;
        named(push, contract, &run)?;
        let compiled = Arc::clone(&contract.compiled);
        let document = compiled.revision().contract();
        let made_for = outputs::made_for(document, &run, &verified.statement).images;
        let pinned = run.materials.iter().find(|material| made_for.contains(&material.digest)).and_then(|material| {
            let repository = material.image.as_ref()?.repository.clone();
            Some(VerdictSubject::Image(PinnedRef { repository, digest: material.digest }))
        });
        let place = self.workers.place().await?;
        let fetched = materials::fetch(&self.evidence, push.organization, &run, document).await;
        let fetched = fetched.map_err(GateError::from)?;
        let (received_at, now, identity) = (asked.record.facts.known_since(), asked.now, push.identity.cloned());
        let work = move || {
            let of = RunEvidence {
                verified: &verified,
                received_at,
                run: &run,
                materials: fetched,
                pushed_by: identity.as_ref(),
                verifiers: &[],
            };
            let phase = if pinned.is_some() { Phase::Admission } else { Phase::Intake };
            materials::evaluate(compiled.rules(), of, pinned.as_ref(), phase, now)
        };
        let evaluation = place.run(work).await?.map_err(GateError::from)?;
        let decision = evaluation.decision;
        Ok(Judged { decision, findings: findings(evaluation, push, asked.rules, contract) })
    }
}

/// An attestation, and when it is asked about.
struct Asked<'a> {
    organization: &'a Name,
    rules: &'a OrganizationRules,
    run: &'a RunRecord,
    record: &'a AttestationRecord,
    now: Timestamp,
}

fn kept(run: &RunRecord) -> Judged {
    let accepted = run.state == contracts::api::RunState::Accepted;
    Judged { decision: if accepted { Decision::Allow } else { Decision::Deny }, findings: run.findings.clone() }
}

fn flip(run: &RunRecord, record: &AttestationRecord, before: Judged, after: Judged) -> Option<Flip> {
    if before.decision == after.decision {
        return None;
    }
    let denying = if after.decision == Decision::Deny { &after } else { &before };
    Some(Flip {
        run: run.id.clone(),
        workflow: run.workflow.to_string(),
        attestation: record.facts.id,
        received_at: run.received_at,
        before: before.decision,
        after: after.decision,
        findings: denying.findings.iter().filter(|finding| finding.blocks()).cloned().collect(),
    })
}
