//! One contract's answer about one image or another artifact: which attestations count for it, and whether they satisfy it.
//!
//! The newest run of each workflow decides for that workflow; one that satisfies is enough. Without any pushed run,
//! what the registry has beside the image may satisfy: a run's attestation alone, or other tools' together.

mod against;
mod made_for;
mod newest;
mod nothing;
mod rejected;
mod summaries;
mod withdrawn;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use contracts::{
    Code, Decision, Digest, Enforcement, EvidencePlace, Finding, Severity, VerdictSubject, Verification, Verified,
    crafting::{self, CraftedRun},
    exemption::Matter,
};
use jiff::Timestamp;
use policies::{Attested, Evaluation, Evidence, Phase};

use against::Against;
use newest::newest;
use summaries::Summaries;

use super::{
    decide::{Core, Question},
    error::GateError,
    exempt::Used,
    gathered::{Gathered, Pushed},
    mend,
};
use crate::{
    materials::{self, RunEvidence},
    names::{WorkflowName, is_run_id},
    rules::{Compiled, CurrentContract},
    store::{AttestationFacts, AttestationRecord, Source},
    trust::Verifications,
};

/// Predicates of verdicts about images. What another gateway decided is no evidence here.
const VERDICT_PREDICATES: &str = "https://slsa.dev/verification_summary/";

/// A contract's answer.
pub(super) struct Judgement {
    pub(super) contract: Arc<CurrentContract>,
    pub(super) decision: Decision,
    /// With one that blocks on a deny, with none on an allow.
    pub(super) findings: Vec<Finding>,
    pub(super) valid_until: Option<Timestamp>,
    /// What was looked at.
    pub(super) attestations: BTreeSet<Digest>,
    /// Whether rules were evaluated.
    pub(super) evaluated: bool,
    /// Whether the registry's attestations played a part.
    pub(super) beside: bool,
    /// Whether bytes were missing that may be uploaded any moment.
    pub(super) perishable: bool,
    /// The exemptions that covered something.
    pub(super) used: Used,
}

impl Judgement {
    pub(super) fn enforcement(&self) -> Enforcement {
        self.contract.compiled.enforcement()
    }
}

/// A run's attestation that could count.
struct Candidate<'g> {
    facts: &'g AttestationFacts,
    workflow: WorkflowName,
    kind: Kind<'g>,
}

enum Kind<'g> {
    /// Pushed; not verified again yet.
    Pushed(&'g Pushed),
    /// Found beside the image and verified.
    Beside(Arc<Verified<Verification>>, Box<CraftedRun>),
    /// Found beside the image before it was withdrawn.
    Withdrawn,
}

/// What the registry has beside the image that speaks for a contract.
#[derive(Default)]
struct Beside<'g> {
    runs: Vec<Candidate<'g>>,
    foreign: Vec<(&'g AttestationRecord, Arc<Verified<Verification>>)>,
    /// Other tools' attestations that would count, and that an operator withdrew.
    withdrawn: Vec<&'g AttestationFacts>,
    /// How many were signed by others than the contract's signers.
    untrusted: usize,
    /// Whether one of them was believed once, and cannot be told now: no certificate is believed.
    unbelieved: bool,
}

type Read = (Arc<Verified<Verification>>, Option<CraftedRun>);

/// The answer as it grows.
struct Judging<'q> {
    core: &'q Core,
    question: &'q Question,
    contract: &'q Arc<CurrentContract>,
    /// What other verifiers say of the subject.
    summaries: Summaries,
    /// What was withdrawn and names the subject, by what was signed, and why.
    withdrawn: Arc<BTreeMap<Digest, String>>,
    judgement: Judgement,
}

impl Core {
    /// Asks one contract about an image.
    ///
    /// # Errors
    /// When it could not be told; never because of what the evidence says.
    pub(super) async fn judge(
        &self,
        question: &Question,
        contract: &Arc<CurrentContract>,
        gathered: &Gathered,
    ) -> Result<Judgement, GateError> {
        let judgement = Judgement {
            contract: Arc::clone(contract),
            decision: Decision::Deny,
            findings: Vec::new(),
            valid_until: None,
            attestations: BTreeSet::new(),
            evaluated: false,
            beside: false,
            perishable: false,
            used: Used::default(),
        };
        let summaries = Summaries::default();
        let why = |facts: &AttestationFacts| facts.withdrawn.as_ref().map(|said| (facts.signed, said.reason.clone()));
        let withdrawn = Arc::new(gathered.withdrawn.iter().filter_map(why).collect());
        let mut judging = Judging { core: self, question, contract, summaries, withdrawn, judgement };
        let answer = match contract.compiled.trust() {
            None => Err(vec![contract.compiled.nobody_may_sign()]),
            Some(_) => judging.answer(gathered).await?,
        };
        Ok(judging.finish(answer, gathered))
    }
}

/// The warnings of an allow, or the findings of a deny.
type Answer = Result<Vec<Finding>, Vec<Finding>>;

impl Judging<'_> {
    async fn answer(&mut self, gathered: &Gathered) -> Result<Answer, GateError> {
        self.summaries = self.summaries(gathered).await?;
        self.judgement.beside |= self.summaries.any();
        let (held_among_pushed, held_beside) = self.held(gathered).await?;
        let pushed = self.newest_pushed(gathered, held_among_pushed);
        let mut against = Against::default();
        for run in &pushed {
            match self.workflow(run).await {
                Ok(Ok(warnings)) => return Ok(Ok(warnings)),
                other => against.take(other),
            }
        }
        if gathered.crowded {
            return against.answer(|| self.nothing(&Beside::default(), gathered));
        }
        let mut beside = self.beside(gathered).await?;
        self.judgement.beside |= gathered.looked;
        // It may be what forbids: nothing else that lies there counts without it.
        if beside.unbelieved {
            return against.answer(|| self.nothing(&beside, gathered));
        }
        let runs = newest(held_beside.into_iter().chain(std::mem::take(&mut beside.runs)).collect());
        // A workflow whose newest run is withdrawn has nothing that counts.
        let held = runs.iter().flatten().any(|candidate| matches!(candidate.kind, Kind::Withdrawn));
        for run in runs {
            match self.workflow(&run).await {
                Ok(Ok(warnings)) => return Ok(Ok(warnings)),
                other => against.take(other),
            }
        }
        // A run that was pushed and failed is not outvoted by what lies in the registry, nor is one that was withdrawn.
        if pushed.is_empty() && !held && (!beside.foreign.is_empty() || self.summaries.counts()) {
            let answer = self.foreign(&beside.foreign).await?;
            return match self.exempt(answer, None) {
                Ok(warnings) => Ok(Ok(warnings)),
                Err(findings) => {
                    // Perhaps it is one of these that is missing: that is read first.
                    let withdrawn = beside.withdrawn.iter().filter_map(|facts| self.withdrawn(facts, None));
                    against.foreign(withdrawn.chain(findings).collect())
                }
            };
        }
        against.answer(|| self.nothing(&beside, gathered))
    }

    /// The newest pushed run of each workflow that is bound to the contract, the newest of all first, those among them
    /// that were found and withdrawn. Several of one workflow when they are of the same instant.
    fn newest_pushed<'g>(&self, gathered: &'g Gathered, held: Vec<Candidate<'g>>) -> Vec<Vec<Candidate<'g>>> {
        let name = &self.contract.name;
        let counts = |p: &&Pushed| p.contract == *name && self.question.rules.bound(&p.workflow, name);
        let candidates = gathered.pushed.iter().filter(counts).map(|pushed| Candidate {
            facts: &pushed.facts,
            workflow: pushed.workflow.clone(),
            kind: Kind::Pushed(pushed),
        });
        newest(held.into_iter().chain(candidates).collect())
    }

    /// What lies beside the image and speaks for the contract.
    async fn beside<'g>(&self, gathered: &'g Gathered) -> Result<Beside<'g>, GateError> {
        let mut beside = Beside::default();
        if gathered.beside.is_empty() {
            return Ok(beside);
        }
        for (record, read) in gathered.beside.iter().zip(self.verify(gathered.beside.iter()).await?) {
            match read {
                // It keeps its place whether it lies here or not ([`Judging::held`]).
                Ok((_, Some(_))) if record.facts.withdrawn.is_some() => {}
                Ok((verified, Some(run))) => {
                    if let Some(workflow) = self.run_beside(record, &run, gathered).await? {
                        let kind = Kind::Beside(verified, Box::new(run));
                        beside.runs.push(Candidate { facts: &record.facts, workflow, kind });
                    }
                }
                Ok((verified, None)) if !verified.statement.predicate_type.starts_with(VERDICT_PREDICATES) => {
                    match record.facts.withdrawn {
                        None => beside.foreign.push((record, verified)),
                        Some(_) => beside.withdrawn.push(&record.facts),
                    }
                }
                Ok((_, None)) => {}
                Err(finding) => {
                    beside.untrusted += 1;
                    beside.unbelieved |= finding.code == Code::TrustRootTooOld;
                }
            }
        }
        Ok(beside)
    }

    /// The workflow for whose run an attestation from the registry can stand: one that is bound to the contract, of
    /// which nothing was pushed about the image, and whose run id is not another's or stands for something else.
    async fn run_beside(
        &self,
        record: &AttestationRecord,
        run: &CraftedRun,
        gathered: &Gathered,
    ) -> Result<Option<WorkflowName>, GateError> {
        let Some(workflow) = self.bound_workflow(run) else { return Ok(None) };
        if gathered.pushed.iter().any(|pushed| pushed.workflow == workflow) {
            return Ok(None);
        }
        // Last: what would not count claims nothing. Whose a run id is never changes, so a verdict may hang on it.
        let organization = &self.question.place.organization;
        let claimed = self.core.store().claim_run(organization, &run.run_id, &workflow, record.facts.signed).await?;
        Ok(claimed.then_some(workflow))
    }

    /// The workflow that a run names, if that is one of the organization's that is bound to the contract.
    fn bound_workflow(&self, run: &CraftedRun) -> Option<WorkflowName> {
        let workflow = format!("{}/{}", run.project, run.workflow).parse::<WorkflowName>().ok()?;
        let named = run.organization == self.question.place.organization.as_str()
            && run.contract_name.as_deref().is_none_or(|name| name == self.contract.name.as_str())
            && is_run_id(&run.run_id);
        (named && self.question.rules.bound(&workflow, &self.contract.name)).then_some(workflow)
    }

    /// Verifies that records speak for the contract about the image, and reads them.
    async fn verify(
        &self,
        records: impl Iterator<Item = &AttestationRecord>,
    ) -> Result<Vec<Result<Read, Box<Finding>>>, GateError> {
        let records: Vec<_> = records.map(|record| (record.facts.id, record.bundle.clone())).collect();
        let (contract, verifications) = (Arc::clone(self.contract), Arc::clone(&self.core.verifications));
        let (subject, now) = (self.question.place.subject.clone(), self.question.now);
        let work = move || {
            let all = records.iter().map(|(id, bytes)| {
                let place = EvidencePlace { attestation: Some(*id), material: None };
                let read = read(&contract.compiled, &verifications, (*id, bytes), &subject, now);
                read.map_err(|finding| Box::new(finding.in_evidence(place)))
            });
            all.collect()
        };
        Ok(self.core.parts.workers.run(work).await?)
    }

    /// Judges the newest attestations of one workflow, all of which must satisfy.
    async fn workflow(&mut self, newest: &[Candidate<'_>]) -> Result<Answer, GateError> {
        let mut warnings = Vec::new();
        for candidate in newest {
            // Also one that turns out not to count was looked at.
            self.judgement.attestations.insert(candidate.facts.id);
            // Not to be exempted, as nothing that it says can be believed.
            if let Some(finding) = self.withdrawn(candidate.facts, Some(&candidate.workflow)) {
                return Ok(Err(vec![finding]));
            }
            let answer = match &candidate.kind {
                Kind::Beside(verified, run) => self.run(candidate, Arc::clone(verified), (**run).clone()).await?,
                Kind::Pushed(pushed) if !pushed.accepted => self.rejected(candidate, pushed).await?,
                Kind::Pushed(pushed) => self.pushed(candidate, pushed).await?,
                // Told already.
                Kind::Withdrawn => Err(Vec::new()),
            };
            match self.exempt(answer, Some(&candidate.workflow)) {
                Ok(more) => warnings.extend(more),
                Err(findings) => return Ok(Err(findings)),
            }
        }
        Ok(if newest.is_empty() { Err(Vec::new()) } else { Ok(warnings) })
    }

    /// Applies the exemptions in force to what one workflow's run, or other tools' attestations, came out as.
    fn exempt(&mut self, answer: Answer, workflow: Option<&WorkflowName>) -> Answer {
        let workflow = workflow.map(ToString::to_string);
        let subject = &self.question.place.subject;
        let repository = subject.image().map(|image| &image.repository);
        let contract = self.contract.name.as_str();
        let matter = Matter { repository, digest: subject.digest(), contract, workflow: workflow.as_deref() };
        self.question.exemptions.apply(&matter, answer, &mut self.judgement.used)
    }

    /// Reads a pushed attestation and judges it.
    async fn pushed(&mut self, candidate: &Candidate<'_>, pushed: &Pushed) -> Result<Answer, GateError> {
        let id = pushed.facts.id;
        let known = self.core.store().attestation(&self.question.place.organization, id).await?;
        match self.verify(known.iter()).await?.pop() {
            Some(Ok((verified, Some(run)))) => self.run(candidate, verified, run).await,
            Some(Err(finding)) => Ok(Err(vec![*finding])),
            Some(Ok((_, None))) | None => {
                let message = format!("the attestation {id} of a run is not one of a crafted run");
                Ok(Err(vec![Finding::error(Code::StatementMismatch, message)]))
            }
        }
    }

    /// Evaluates the rules over one run.
    async fn run(
        &mut self,
        candidate: &Candidate<'_>,
        verified: Arc<Verified<Verification>>,
        run: CraftedRun,
    ) -> Result<Answer, GateError> {
        let organization = &self.question.place.organization;
        let told = (run.organization.as_str(), run.project.as_str(), run.workflow.as_str());
        let workflow = &candidate.workflow;
        let is = (organization.as_str(), workflow.project.as_str(), workflow.workflow.as_str());
        let contract = run.contract_name.as_deref().unwrap_or(self.contract.name.as_str());
        if told != is || contract != self.contract.name.as_str() {
            let message = format!(
                "the attestation speaks of `{}/{}/{}` and contract `{contract}`, not of `{organization}/{workflow}` and `{}`",
                told.0, told.1, told.2, self.contract.name
            );
            return Ok(Err(vec![Finding::error(Code::StatementMismatch, message)]));
        }
        self.rests_on(&verified);
        // Before its bytes are fetched: what was made for another image must not cost more than this.
        if let Some(finding) = self.made_for_another(candidate, &verified, &run) {
            return Ok(Err(vec![finding]));
        }
        let compiled = Arc::clone(&self.contract.compiled);
        // The place is taken before the bytes are read, so that waiting decisions hold none.
        let place = self.core.parts.workers.place().await?;
        let evidence = &self.core.parts.evidence;
        let fetched = materials::fetch(evidence, organization, &run, compiled.revision().contract()).await?;
        self.judgement.perishable |= fetched.incomplete();
        let received_at = candidate.facts.known_since();
        let pushed_by = match &candidate.facts.source {
            Source::Pushed { identity, .. } => identity.clone(),
            Source::Discovered { .. } | Source::Material => None,
        };
        let (subject, now) = (self.question.place.subject.clone(), self.question.now);
        let (asking, beside) = (self.asking(), self.summaries.ids());
        let work = move || {
            let pushed_by = pushed_by.as_deref();
            let brought = asking.brought(&run, &fetched, received_at);
            let verifiers: BTreeSet<String> = beside.into_iter().chain(brought.ids()).collect();
            let verifiers: Vec<String> = verifiers.into_iter().collect();
            let (verified, run, materials) = (&verified, &run, fetched);
            let of = RunEvidence { verified, received_at, run, materials, pushed_by, verifiers: &verifiers };
            let evaluation = materials::evaluate(compiled.rules(), of, Some(&subject), Phase::Admission, now);
            evaluation.map(|evaluation| (evaluation, brought))
        };
        let (mut evaluation, brought) = place.run(work).await??;
        self.judgement.evaluated = true;
        evaluation.valid_until = evaluation.valid_until.into_iter().chain(brought.until()).min();
        for finding in &mut evaluation.findings {
            brought.explain(finding);
        }
        Ok(self.take(evaluation, Some(candidate.facts.id)))
    }

    /// Evaluates the rules over other tools' attestations together.
    async fn foreign(
        &mut self,
        attestations: &[(&AttestationRecord, Arc<Verified<Verification>>)],
    ) -> Result<Answer, GateError> {
        self.judgement.attestations.extend(attestations.iter().map(|(record, _)| record.facts.id));
        self.judgement.evaluated = true;
        for (_, verified) in attestations {
            self.rests_on(verified);
        }
        let mut attestations: Vec<_> =
            attestations.iter().map(|(record, verified)| (Arc::clone(verified), record.facts.known_since())).collect();
        // Where other tools say nothing, another verifier's word stands for itself. Beside theirs it is what they are
        // held against, and no attestation whose statement rules read.
        if attestations.is_empty() {
            attestations = self.summaries.attestations();
        }
        let verifiers = self.summaries.ids();
        let compiled = Arc::clone(&self.contract.compiled);
        let (subject, now) = (self.question.place.subject.clone(), self.question.now);
        let work = move || {
            let attested = attestations.iter().map(|(verified, received_at)| Attested::new(verified, *received_at));
            let evidence = Evidence::of_foreign(attested.collect(), compiled.rules())
                .verified_by(verifiers.iter().map(String::as_str));
            policies::evaluate(compiled.rules(), &evidence, Some(&subject), Phase::Admission, now)
        };
        let evaluation = self.core.parts.workers.run(work).await??;
        Ok(self.take(evaluation, None))
    }

    /// What hangs on who vouches for a certificate ends with them.
    fn rests_on(&mut self, verified: &Verification) {
        let ends = self.contract.compiled.trust().and_then(|trust| trust.ends(verified));
        let known = &mut self.judgement.valid_until;
        *known = known.iter().copied().chain(ends).min();
    }

    /// Takes an evaluation into the answer.
    fn take(&mut self, evaluation: Evaluation, attestation: Option<Digest>) -> Answer {
        let Evaluation { decision, mut findings, valid_until, .. } = evaluation;
        let known = &mut self.judgement.valid_until;
        *known = known.iter().copied().chain(valid_until).min();
        for finding in &mut findings {
            self.summaries.explain(finding);
            let place = finding.evidence.get_or_insert_default();
            place.attestation = place.attestation.or(attestation);
        }
        if decision == Decision::Allow { Ok(findings) } else { Err(findings) }
    }

    fn finish(self, answer: Answer, gathered: &Gathered) -> Judgement {
        let Self { question, contract, summaries, mut judgement, .. } = self;
        judgement.valid_until = judgement.valid_until.into_iter().chain(summaries.until()).min();
        judgement.attestations.extend(summaries.judged());
        judgement.decision = if answer.is_ok() { Decision::Allow } else { Decision::Deny };
        judgement.findings = match answer {
            Ok(warnings) => {
                warnings.into_iter().map(|finding| Finding { severity: Severity::Warning, ..finding }).collect()
            }
            Err(mut findings) => {
                if !findings.iter().any(Finding::blocks) {
                    let message = format!("the contract `{}` is not satisfied", contract.name);
                    findings.push(Finding::error(Code::RuleError, message));
                }
                if !gathered.complete {
                    findings.push(mend::limit_reached(gathered.crowded, question.place.subject.noun()));
                }
                findings
            }
        };
        for finding in &mut judgement.findings {
            mend::complete(finding, &question.rules, contract, Some(&question.place.subject));
        }
        judgement
    }
}

/// Verifies that stored bytes speak for a contract about an image, and reads what they say of a run.
fn read(
    compiled: &Compiled,
    verifications: &Verifications,
    (id, bytes): (Digest, &[u8]),
    subject: &VerdictSubject,
    now: Timestamp,
) -> Result<Read, Box<Finding>> {
    let trust = compiled.trust().ok_or_else(|| compiled.nobody_may_sign())?;
    let verified = verifications.of_bytes(trust, id, bytes, now).map_err(|untrusted| untrusted.finding())?;
    if !verified.statement.names_sha256(subject.digest()) {
        let message = format!("the attestation does not name the {} {}", subject.noun(), subject.digest());
        return Err(Box::new(Finding::error(Code::StatementMismatch, message)));
    }
    let run = crafting::read(&verified.statement).map_err(|e| Finding::error(e.code(), e.to_string()))?;
    Ok((verified, run))
}
