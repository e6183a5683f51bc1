//! The way in for attestations: verified, judged, and kept with what was found.
//!
//! This module must not contain HTTP, or anything that reads a clock.

mod replay;

use std::sync::Arc;

use bytes::Bytes;
use contracts::{
    Bundle, Code, Decision, Digest, Finding, RunnerIdentity, Severity, Verification, Verified,
    api::{ReceivedAttestation, RunInfo, RunState},
    crafting::{self, CraftedRun},
    limits,
};
use jiff::Timestamp;
use policies::{Evaluation, Phase};

use crate::{
    evidence::EvidenceFolder,
    gate::{GateError, mend},
    materials::{self, RunEvidence},
    names::{Name, RUN_ID_BYTES, WorkflowName, is_run_id},
    outputs,
    rules::{CurrentContract, OrganizationRules, Rules},
    store::{AttestationFacts, AttestationRecord, Receipt, RunRecord, Source, Store, StoreError},
    trust::{Trust, Verifications},
    workers::{WorkError, Workers},
};

/// Bundles up to this size are verified where the request runs: that takes less than handing them to a thread.
const INLINE_BYTES: usize = 32 * 1024;
/// Signatures times the keys that each may be tried with, up to which bundles are verified there.
const INLINE_CHECKS: usize = 8;

/// Takes attestations. One for the whole gateway.
pub struct Intake {
    store: Arc<dyn Store>,
    evidence: Arc<EvidenceFolder>,
    rules: Arc<Rules>,
    workers: Workers,
}

/// Why an attestation was not taken. Nothing was stored but, for refused signatures, an audit entry.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// More bytes than an attestation may have.
    #[error("the attestation is larger than {limit} bytes, the most that is taken")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Not a Sigstore bundle with an in-toto statement of a run.
    #[error("{message}")]
    Unreadable {
        /// What is wrong and how to mend it.
        message: String,
    },
    /// There is no such workflow.
    #[error(
        "there is no workflow `{workflow}` in `{organization}`: make it with `sluice workflow create`, or correct the name"
    )]
    UnknownWorkflow {
        /// The organization.
        organization: Name,
        /// What was asked for.
        workflow: WorkflowName,
    },
    /// Its signatures do not verify, or are not those of the contract's signers.
    #[error("{}", finding.message)]
    Refused {
        /// Why, with `signature-invalid`, `signer-not-allowed` or `signers-missing`.
        finding: Box<Finding>,
        /// The bundle's digest.
        attestation: Digest,
    },
    /// It speaks of another organization, project, workflow or contract, or of a run that is taken.
    #[error("{}", finding.message)]
    Mismatch {
        /// Why, with `statement-mismatch`, `run-already-used` or `attestation-withdrawn`.
        finding: Box<Finding>,
    },
    /// It could not be judged now.
    #[error(transparent)]
    CouldNotDecide(#[from] GateError),
}

impl IntakeError {
    /// The stable code of the refusal; none when it could not be judged.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { finding, .. } | Self::Mismatch { finding } => Some(finding.code),
            Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::UnknownWorkflow { .. }
            | Self::CouldNotDecide(_) => None,
        }
    }
}

impl From<WorkError> for IntakeError {
    fn from(error: WorkError) -> Self {
        Self::CouldNotDecide(error.into())
    }
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        Self::CouldNotDecide(error.into())
    }
}

/// An attestation for a run of a workflow.
struct Push<'p> {
    organization: &'p Name,
    workflow: WorkflowName,
    bundle: Bytes,
    id: Digest,
    /// Who was proven to push it.
    identity: Option<&'p RunnerIdentity>,
    now: Timestamp,
}

/// An attestation that speaks for the contract, and what it says.
struct Read {
    verified: Arc<Verified<Verification>>,
    run: CraftedRun,
}

impl Intake {
    /// An intake over the parts of a gateway.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, evidence: Arc<EvidenceFolder>, rules: Arc<Rules>, workers: Workers) -> Self {
        Self { store, evidence, rules, workers }
    }

    /// As [`Intake::receive_from`], from a caller of whom nothing more is known than the token.
    ///
    /// # Errors
    /// As there.
    pub async fn receive(
        &self,
        organization: &Name,
        workflow: WorkflowName,
        bundle: Bytes,
        now: Timestamp,
    ) -> Result<ReceivedAttestation, IntakeError> {
        self.receive_from(None, organization, workflow, bundle, now).await
    }

    /// Verifies an attestation that was pushed for a workflow, judges it by the current revision of the workflow's
    /// contract, and keeps it as an accepted or rejected run. When this returns, that is durable. The same bytes
    /// again get the same answer.
    ///
    /// # Errors
    /// When it is refused or cannot be judged; no run is kept then.
    pub async fn receive_from(
        &self,
        identity: Option<&RunnerIdentity>,
        organization: &Name,
        workflow: WorkflowName,
        bundle: Bytes,
        now: Timestamp,
    ) -> Result<ReceivedAttestation, IntakeError> {
        if bundle.len() > limits::BUNDLE_BYTES {
            return Err(IntakeError::TooLarge { limit: limits::BUNDLE_BYTES });
        }
        let push = Push { organization, workflow, id: Digest::of(&bundle), bundle, identity, now };
        let seconds = limits::DECISION_TIME.as_secs();
        let answered = tokio::time::timeout(limits::DECISION_TIME, self.take(&push)).await;
        let refused = match answered.map_err(|_| GateError::TooLong { seconds })? {
            Ok(run) => return Ok(tell(&push, run)),
            Err(could_not @ IntakeError::CouldNotDecide(_)) => return Err(could_not),
            Err(refused) => refused,
        };
        // Refused now, but taken before: what was answered then stands.
        if let Some(run) = self.same(&push).await? {
            return Ok(tell(&push, run));
        }
        self.refuse(&push, refused).await
    }

    async fn take(&self, push: &Push<'_>) -> Result<RunRecord, IntakeError> {
        let rules = self.rules.current(push.organization).await?;
        let contract = contract(&rules, push)?;
        let Read { verified, run } = self.read(push, contract).await?;
        let run_id = named(push, contract, &run)?;
        let made_for = outputs::made_for(contract.compiled.revision().contract(), &run, &verified.statement);
        let evaluation = self.judge(push, contract, &verified, run).await?;
        let accepted = evaluation.decision == Decision::Allow;
        let findings = findings(evaluation, push, &rules, contract);
        let facts = AttestationFacts {
            id: push.id,
            signed: verified.signed,
            subjects: verified.statement.image_digests().into_iter().collect(),
            received_at: push.now,
            signed_at: verified.signed_at,
            source: Source::Pushed {
                workflow: push.workflow.clone(),
                run: run_id.clone(),
                contract: contract.name.clone(),
                revision: contract.revision,
                accepted,
                made_for: made_for.images.into_iter().collect(),
                artifacts: made_for.artifacts.into_iter().collect(),
                identity: push.identity.cloned().map(Box::new),
            },
            withdrawn: None,
        };
        let record = AttestationRecord { facts, bundle: push.bundle.clone() };
        let run = RunRecord {
            state: if accepted { RunState::Accepted } else { RunState::Rejected },
            received_at: Some(push.now),
            attestation: Some(push.id),
            revision: Some(contract.revision),
            findings,
            identity: push.identity.cloned().map(Box::new),
            ..RunRecord::begun(run_id, push.workflow.clone(), push.now)
        };
        match self.store.receive(push.organization, record, run.clone()).await? {
            Receipt::Stored => Ok(self.store.run(push.organization, &run.id).await?.unwrap_or(run)),
            Receipt::Same(first) => Ok(*first),
            Receipt::RunUsed => {
                let message = format!("the run `{}` was attested already, or belongs to another workflow", run.id);
                let finding = Finding::error(Code::RunAlreadyUsed, message)
                    .mend("begin a new run with `sluice attestation init` for every attestation");
                Err(IntakeError::Mismatch { finding: Box::new(finding) })
            }
            Receipt::Withdrawn(withdrawn) => {
                let message = format!("an operator withdrew what is signed here: {}", withdrawn.reason);
                let finding = Finding::error(Code::AttestationWithdrawn, message)
                    .mend("begin a new run with `sluice attestation init`, or ask who keeps this gateway");
                Err(IntakeError::Mismatch { finding: Box::new(finding) })
            }
            Receipt::RunEnded => {
                let message =
                    format!("the run `{}` was reported as failed or cancelled: nothing is taken for it", run.id);
                let finding = Finding::error(Code::RunAlreadyUsed, message)
                    .mend("begin a new run with `sluice attestation init`");
                Err(IntakeError::Mismatch { finding: Box::new(finding) })
            }
        }
    }

    /// Verifies that the bundle speaks for the contract, and reads its statement.
    async fn read(&self, push: &Push<'_>, contract: &Arc<CurrentContract>) -> Result<Read, IntakeError> {
        if push.bundle.len() <= INLINE_BYTES {
            let bundle = parsed(&push.bundle)?;
            if light(&bundle, contract) {
                return read(&bundle, contract, self.rules.verifications(), push.now);
            }
        }
        let (bundle, contract, now) = (push.bundle.clone(), Arc::clone(contract), push.now);
        let verifications = Arc::clone(self.rules.verifications());
        self.workers.run(move || read(&parsed(&bundle)?, &contract, &verifications, now)).await?
    }

    async fn judge(
        &self,
        push: &Push<'_>,
        contract: &CurrentContract,
        verified: &Arc<Verified<Verification>>,
        run: CraftedRun,
    ) -> Result<Evaluation, IntakeError> {
        let (compiled, verified, now) = (Arc::clone(&contract.compiled), Arc::clone(verified), push.now);
        let pushed_by = push.identity.cloned();
        // The place is taken before the bytes are read, so that waiting pushes hold none.
        let place = self.workers.place().await?;
        let document = compiled.revision().contract();
        let fetched = materials::fetch(&self.evidence, push.organization, &run, document).await;
        let fetched = fetched.map_err(GateError::from)?;
        let work = move || {
            let pushed_by = pushed_by.as_ref();
            // Which subject is asked about is not known yet, and what other verifiers say of it even less.
            let (verified, run, materials) = (&verified, &run, fetched);
            let of = RunEvidence { verified, received_at: now, run, materials, pushed_by, verifiers: &[] };
            materials::evaluate(compiled.rules(), of, None, Phase::Intake, now)
        };
        Ok(place.run(work).await?.map_err(GateError::from)?)
    }

    /// The run that these very bytes were taken for.
    async fn same(&self, push: &Push<'_>) -> Result<Option<RunRecord>, IntakeError> {
        let known = self.store.attestation_facts(push.organization, push.id).await?;
        match known.map(|facts| facts.source) {
            Some(Source::Pushed { workflow, run, .. }) if workflow == push.workflow => {
                Ok(self.store.run(push.organization, &run).await?)
            }
            _ => Ok(None),
        }
    }

    async fn refuse<T>(&self, push: &Push<'_>, refused: IntakeError) -> Result<T, IntakeError> {
        let code = refused.code().map_or("unreadable", Code::as_str);
        tracing::info!(
            organization = %push.organization, workflow = %push.workflow, attestation = %push.id, code,
            reason = %refused, "refused an attestation"
        );
        if let IntakeError::Refused { .. } = refused {
            let detail = serde_json::json!({
                "attestation": push.id, "workflow": push.workflow.to_string(), "code": code,
                "reason": refused.to_string(),
            });
            self.store.audit(push.organization, "attestation-refused", detail, push.now).await?;
        }
        Err(refused)
    }
}

/// The contract that judges the push.
fn contract<'r>(rules: &'r OrganizationRules, push: &Push<'_>) -> Result<&'r Arc<CurrentContract>, IntakeError> {
    let unknown =
        || IntakeError::UnknownWorkflow { organization: push.organization.clone(), workflow: push.workflow.clone() };
    let name = rules.workflows.get(&push.workflow).ok_or_else(unknown)?;
    rules.contract(name)?.ok_or_else(|| {
        let message =
            format!("the contract `{name}` of the workflow `{}` was never applied, or was removed", push.workflow);
        let finding = Finding::error(Code::NoContract, message).mend(
            "apply it with `sluice contract apply`, or bind the workflow to another with `sluice workflow create`",
        );
        IntakeError::Mismatch { finding: Box::new(finding) }
    })
}

fn unreadable(message: String) -> IntakeError {
    IntakeError::Unreadable { message }
}

fn parsed(bytes: &[u8]) -> Result<Bundle, IntakeError> {
    Bundle::parse(bytes).map_err(|e| unreadable(e.to_string()))
}

/// Whether verifying takes less than handing the bundle to a thread.
fn light(bundle: &Bundle, contract: &CurrentContract) -> bool {
    let keys = contract.compiled.trust().map_or(0, Trust::keys).max(1);
    bundle.envelope().signatures.len().saturating_mul(keys) <= INLINE_CHECKS
}

fn read(
    bundle: &Bundle,
    contract: &CurrentContract,
    verifications: &Verifications,
    now: Timestamp,
) -> Result<Read, IntakeError> {
    let refused = |finding| IntakeError::Refused { finding: Box::new(finding), attestation: bundle.id() };
    let trust = contract.compiled.trust().ok_or_else(|| refused(contract.compiled.nobody_may_sign()))?;
    let verified = verifications.of_bundle(trust, bundle, now).map_err(|untrusted| {
        let finding = untrusted.finding();
        match finding.code {
            Code::AttestationMalformed => unreadable(finding.message),
            _ => refused(finding),
        }
    })?;
    let kind = &verified.statement.predicate_type;
    match crafting::read(&verified.statement) {
        Ok(Some(run)) => Ok(Read { verified, run }),
        Ok(None) => Err(unreadable(format!(
            "the attestation says `{kind}`, and a run's says `{}`: attach it to the image in its registry, where it is found, or add it to a run as a material",
            crafting::PREDICATE_TYPE
        ))),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Holds what the statement names against what it was pushed for; answers with the run's id.
fn named(push: &Push<'_>, contract: &CurrentContract, run: &CraftedRun) -> Result<String, IntakeError> {
    let mismatch = |what: &str, told: &str, is: &str| {
        let message = format!("the attestation names the {what} `{told}`, but was pushed for `{is}`");
        let finding = Finding::error(Code::StatementMismatch, message).mend(
            "push with the token of the workflow that was attested, or attest again with `sluice attestation init`",
        );
        Err(IntakeError::Mismatch { finding: Box::new(finding) })
    };
    let WorkflowName { project, workflow } = &push.workflow;
    let contract_name = run.contract_name.as_deref().unwrap_or(contract.name.as_str());
    for (what, told, is) in [
        ("organization", run.organization.as_str(), push.organization.as_str()),
        ("project", run.project.as_str(), project.as_str()),
        ("workflow", run.workflow.as_str(), workflow.as_str()),
        ("contract", contract_name, contract.name.as_str()),
    ] {
        if told != is {
            return mismatch(what, told, is);
        }
    }
    let id = &run.run_id;
    if !is_run_id(id) {
        let message =
            format!("the attestation's run id is not one: up to {RUN_ID_BYTES} letters, digits, `-`, `_`, `.`");
        return Err(IntakeError::Unreadable { message });
    }
    Ok(id.clone())
}

/// What was found, in the shape that a run keeps: never empty on a deny, with a mend where something blocks.
fn findings(
    evaluation: Evaluation,
    push: &Push<'_>,
    rules: &OrganizationRules,
    contract: &CurrentContract,
) -> Vec<Finding> {
    let denied = evaluation.decision == Decision::Deny;
    let mut findings = evaluation.findings;
    if denied && !findings.iter().any(Finding::blocks) {
        let message = format!("the contract `{}` is not satisfied", contract.name);
        findings.push(Finding::error(Code::RuleError, message));
    }
    for finding in &mut findings {
        let place = finding.evidence.get_or_insert_default();
        place.attestation = place.attestation.or(Some(push.id));
        if !denied {
            finding.severity = Severity::Warning;
        }
        mend::complete(finding, rules, contract, None);
    }
    findings.sort_by_key(|finding| !finding.blocks());
    findings
}

/// The answer, and the one event about it.
fn tell(push: &Push<'_>, run: RunRecord) -> ReceivedAttestation {
    let run = RunInfo::from(run);
    let decision = if run.state == RunState::Accepted { Decision::Allow } else { Decision::Deny };
    let codes: Vec<&str> = run.findings.iter().filter(|f| f.blocks()).map(|f| f.code.as_str()).collect();
    tracing::info!(
        organization = %push.organization, workflow = %push.workflow, run = %run.id, attestation = %push.id,
        revision = run.revision, accepted = decision == Decision::Allow, codes = codes.join(" "),
        "took an attestation"
    );
    ReceivedAttestation { attestation: push.id, decision, run }
}

#[cfg(test)]
mod tests;
