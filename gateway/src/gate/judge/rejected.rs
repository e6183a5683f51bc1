//! Runs that were rejected when they were pushed: they stay so, and count only by exemption.

use contracts::{Code, EvidencePlace, Finding};

use super::{Answer, Candidate, Judging};
use crate::gate::{error::GateError, gathered::Pushed};

impl Judging<'_> {
    /// What is held against a rejected run. Its own reasons, as they were found when it was rejected; once exemptions
    /// cover them all, what is found now as well, as the contract may ask for more by now.
    pub(super) async fn rejected(&mut self, candidate: &Candidate<'_>, pushed: &Pushed) -> Result<Answer, GateError> {
        let mut reasons = self.reasons(pushed).await?;
        let mut exempted = match self.exempt(Err(reasons.clone()), Some(&candidate.workflow)) {
            Err(_) => return Ok(Err(reasons)),
            Ok(exempted) => exempted,
        };
        match self.pushed(candidate, pushed).await? {
            Ok(warnings) => {
                exempted.extend(warnings);
                Ok(Ok(exempted))
            }
            Err(findings) => {
                let told = findings.iter().any(Finding::blocks);
                let same = |old: &Finding, new: &Finding| {
                    (old.code, &old.rule, &old.message) == (new.code, &new.rule, &new.message)
                };
                let known = |new: &Finding| reasons.iter().any(|old| same(old, new));
                let mut more: Vec<Finding> = findings.into_iter().filter(|finding| !known(finding)).collect();
                if !told {
                    let message = format!("the contract `{}` is not satisfied", self.contract.name);
                    more.push(Finding::error(Code::RuleError, message));
                }
                reasons.extend(more);
                Ok(Err(reasons))
            }
        }
    }

    /// Why a run was rejected.
    async fn reasons(&self, pushed: &Pushed) -> Result<Vec<Finding>, GateError> {
        let Pushed { run: id, workflow, facts, .. } = pushed;
        let noun = self.question.place.subject.noun();
        let message = format!("run `{id}` of `{workflow}`, the newest about this {noun}, broke its contract");
        let place = EvidencePlace { attestation: Some(facts.id), material: None };
        let mut findings = vec![Finding::error(Code::RunRejected, message).in_evidence(place)];
        let run = self.core.store().run(&self.question.place.organization, id).await?;
        findings.extend(run.into_iter().flat_map(|run| run.findings).filter(Finding::blocks));
        Ok(findings)
    }
}
