//! One decision from its beginning to its end: what is at hand is judged, the registry is asked when that does not
//! satisfy, and the answers of all contracts make one verdict. Of what is no image no registry is asked.

use std::{collections::BTreeSet, sync::Arc};

use contracts::{
    Code, ContractAnswer, Decision, Dependency, Digest, Enforcement, Finding, PinnedRef, Severity, Verdict,
    VerdictSubject, api::Unmatched, limits,
};
use jiff::Timestamp;
use moka::sync::Cache;

use super::{
    GateError, Parts, Remembered,
    denied::{Contents, Within},
    discovery::{AFTER_DENY, Look, Looks},
    exempt::Exemptions,
    gathered::{Gathered, unmatched_key},
    judge::Judgement,
    memory::{Made, Memory, Numbers, Place, PlaceRef, not_from_the_future},
};
use crate::{
    names::Name,
    rules::{CurrentContract, OrganizationRules},
    store::Store,
    trust::Verifications,
};

/// Images of which it is remembered whether anything was pushed about them, or withdrawn.
const OWN: u64 = 100_000;

/// What every decision shares.
pub(super) struct Core {
    pub(super) parts: Parts,
    pub(super) memory: Memory,
    pub(super) looks: Looks,
    pub(super) verifications: Arc<Verifications>,
    /// Whether anything was pushed about an image, or withdrawn, as of a number of the store.
    own: Cache<(Name, Digest), (u64, bool)>,
    /// What images hold.
    pub(super) contents: Contents,
}

/// What is asked, and when.
pub(super) struct Question {
    pub(super) place: Place,
    pub(super) now: Timestamp,
    pub(super) rules: Arc<OrganizationRules>,
    /// What may be excepted.
    pub(super) exemptions: Exemptions,
    /// Whether it is about an image that no contract answers for, which is let through unenforced, and only the
    /// contracts that it names are asked.
    pub(super) unmatched: bool,
}

/// A verdict, and what lies beside it.
struct Decided {
    verdict: Arc<Remembered>,
    /// Whether the registry's attestations played a part.
    beside: bool,
    /// Whether something that is not in its key may change it any moment.
    perishable: bool,
    /// Whether it was computed by evaluating rules just now, so that the store is worth telling.
    evaluated: bool,
}

impl Decided {
    fn satisfied(&self) -> bool {
        let verdict = &self.verdict.verdict;
        verdict.decision == Decision::Allow && verdict.enforced
    }
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let (looks, verifications) = (Looks::new(parts.discovery_interval), Arc::clone(parts.rules.verifications()));
        Self {
            parts,
            memory: Memory::default(),
            looks,
            verifications,
            own: Cache::new(OWN),
            contents: Contents::default(),
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.parts.store.as_ref()
    }

    pub(super) fn allows_from_memory(&self, organization: &Name, pinned: &PinnedRef, now: Timestamp) -> bool {
        let numbers = Numbers::now(&self.parts, organization, &pinned.digest);
        let made = self.memory.get(&PlaceRef::of_pull(organization, pinned));
        made.is_some_and(|made| made.holds(numbers, now) && made.verdict.verdict.decision == Decision::Allow)
    }

    /// Whether anything was pushed about an image, or withdrawn. Read from memory while nothing about it changed.
    pub(super) async fn knows_runs_about(&self, organization: &Name, subject: Digest) -> Result<bool, GateError> {
        // Before the evidence is read.
        let changed = self.store().evidence_changed(organization, &subject);
        let key = (organization.clone(), subject);
        if let Some((_, known)) = self.own.get(&key).filter(|(as_of, _)| *as_of == changed) {
            return Ok(known);
        }
        let store = self.store();
        let known = store.anything_pushed_about(organization, subject).await?
            || !store.withdrawn_about(organization, subject).await?.is_empty();
        self.own.insert(key, (changed, known));
        Ok(known)
    }

    /// Computes an answer within the time that one decision may take, and remembers it.
    pub(super) async fn answer(self: Arc<Self>, place: Place, now: Timestamp) -> Result<Arc<Made>, GateError> {
        let answered = tokio::time::timeout(limits::DECISION_TIME, self.decide(&place, now)).await;
        let seconds = limits::DECISION_TIME.as_secs();
        let made = Arc::new(answered.map_err(|_| GateError::TooLong { seconds })??);
        self.memory.put(place, Arc::clone(&made));
        Ok(made)
    }

    /// What operators deny comes first and last: what they denied is asked no contract, and what contracts allow must
    /// hold nothing that was denied.
    async fn decide(&self, place: &Place, now: Timestamp) -> Result<Made, GateError> {
        let rules = self.parts.rules.current(&place.organization).await?;
        if let Some(denied) = self.denied_itself(place, &rules, now) {
            return Ok(denied);
        }
        let made = self.decide_by_contracts(place, Arc::clone(&rules), now).await?;
        if made.verdict.verdict.decision == Decision::Deny {
            return Ok(made);
        }
        let within = self.denied_within(place, &made.verdict, &rules, now).await?;
        Ok(match within {
            Within::Denied(denied) => *denied,
            Within::Nothing { seen: true } => made,
            Within::Nothing { seen: false } => {
                Made { until: earlier(made.until, now.checked_add(AFTER_DENY).ok()), ..made }
            }
        })
    }

    async fn decide_by_contracts(
        &self,
        place: &Place,
        rules: Arc<OrganizationRules>,
        now: Timestamp,
    ) -> Result<Made, GateError> {
        let exemptions = Exemptions::about(&rules, place, now);
        let mut question = Question { place: place.clone(), now, rules, exemptions, unmatched: false };
        let mut numbers = self.numbers(&question);
        let mut contracts = match &place.subject {
            VerdictSubject::Image(pinned) => {
                let answering = question.rules.answering(&pinned.repository)?;
                // Naming contracts can only make the answer stricter than a pull's.
                question.unmatched = answering.is_empty();
                if answering.is_empty() && (place.named.is_empty() || question.rules.unmatched == Unmatched::Deny) {
                    return Ok(made(Arc::new(unmatched(&question, pinned)), numbers, None));
                }
                answering
            }
            VerdictSubject::Artifact(_) => Vec::new(),
        };
        for name in &place.named {
            let named = question.rules.contract(name)?.cloned();
            let named = named.ok_or_else(|| GateError::ContractGone { contract: name.to_string() })?;
            if !contracts.iter().any(|contract| contract.name == *name) {
                contracts.push(named);
            }
        }
        contracts.sort_by(|one, other| one.name.cmp(&other.name));
        let mut look = self.looks.current(place, question.rules.changed, now);
        let mut decided = self.decide_with(&question, &contracts, look.as_deref()).await?;
        if !decided.satisfied()
            && look.is_none()
            && let Some(pinned) = place.subject.image()
            && let Some(upstream) = (self.parts.locate)(&place.organization, pinned.repository.host())
        {
            match self.look(&question, pinned, &contracts, upstream.as_ref()).await {
                Ok(new) => {
                    // What was found is in the store now, which raised its number.
                    numbers = self.numbers(&question);
                    decided = self.decide_with(&question, &contracts, Some(&new)).await?;
                    look = Some(Arc::new(new));
                }
                // Whatever the registry has, nothing that is enforced stands in the way. Not to be remembered.
                Err(_) if decided.verdict.verdict.decision == Decision::Allow => {
                    return Ok(made(decided.verdict, numbers, Some(now)));
                }
                Err(error) => return Err(error),
            }
        }
        let mut until = decided.verdict.verdict.valid_until;
        if let Some(look) = look.filter(|_| decided.beside || !decided.satisfied()) {
            until = earlier(until, Some(self.looks.keep(place, &look, decided.satisfied()).until()));
        }
        if decided.perishable {
            until = earlier(until, now.checked_add(AFTER_DENY).ok());
        }
        if decided.evaluated && !decided.perishable {
            self.tell_store(place, &decided.verdict);
        }
        Ok(made(decided.verdict, numbers, until))
    }

    /// The store's numbers, to be read before the evidence is. That of the rules was read before they were.
    fn numbers(&self, question: &Question) -> Numbers {
        let Place { organization, subject, .. } = &question.place;
        let rules = question.rules.changed;
        Numbers { rules, evidence: self.store().evidence_changed(organization, subject.digest()) }
    }

    /// Decides with what the store has, and what the look found if there was one.
    async fn decide_with(
        &self,
        question: &Question,
        contracts: &[Arc<CurrentContract>],
        look: Option<&Look>,
    ) -> Result<Decided, GateError> {
        let Place { organization, subject, .. } = &question.place;
        let gathered = Gathered::read(self.store(), organization, subject, look).await?;
        let key = gathered.key(question, contracts);
        if let Some(verdict) = self.store().verdict(organization, key).await?
            && usable(&verdict, question)
        {
            let verdict = Arc::new(Remembered::new(key, verdict));
            return Ok(Decided { verdict, beside: look.is_some(), perishable: false, evaluated: false });
        }
        let mut judgements = Vec::with_capacity(contracts.len());
        for contract in contracts {
            judgements.push(self.judge(question, contract, &gathered).await?);
        }
        let beside = judgements.iter().any(|j| j.beside);
        let perishable = judgements.iter().any(|j| j.perishable);
        let evaluated = judgements.iter().any(|j| j.evaluated);
        let verdict = Arc::new(Remembered::new(key, combine(question, judgements)));
        Ok(Decided { verdict, beside, perishable, evaluated })
    }

    /// Lets the store remember a verdict, without anybody waiting for it.
    fn tell_store(&self, place: &Place, made: &Arc<Remembered>) {
        let (store, organization, made) = (Arc::clone(&self.parts.store), place.organization.clone(), Arc::clone(made));
        tokio::spawn(async move {
            if let Err(error) = store.put_verdict(&organization, made.key, made.verdict.clone()).await {
                tracing::debug!(%organization, %error, "a verdict was not kept");
            }
        });
    }
}

const fn made(verdict: Arc<Remembered>, numbers: Numbers, until: Option<Timestamp>) -> Made {
    Made { verdict, numbers, until }
}

/// The contracts that a question names, as its verdict tells them.
pub(super) fn named(place: &Place) -> Vec<String> {
    place.named.iter().map(ToString::to_string).collect()
}

pub(super) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}

/// Whether a verdict from the store is one of this question's and still stands.
fn usable(verdict: &Verdict, question: &Question) -> bool {
    verdict.subject == question.place.subject
        && verdict.named == named(&question.place)
        && verdict.valid_until.is_none_or(|until| question.now < until)
        && not_from_the_future(verdict, question.now)
        && (verdict.decision == Decision::Allow || verdict.findings.iter().any(Finding::blocks))
}

/// All contracts must allow; what a contract only warns about does not block, but the answer is not enforced then.
fn combine(question: &Question, judgements: Vec<Judgement>) -> Verdict {
    let denied = |j: &Judgement| j.decision == Decision::Deny;
    let blocked = judgements.iter().any(|j| denied(j) && j.enforcement() == Enforcement::Enforce);
    let enforced = !judgements.iter().any(|j| denied(j) && j.enforcement() == Enforcement::Warn);
    let (mut contracts, mut findings) = (Vec::with_capacity(judgements.len()), Vec::new());
    let (mut valid_until, mut depends_on) = (None, BTreeSet::new());
    for judgement in judgements {
        let Judgement { contract, decision, .. } = &judgement;
        let enforcement = judgement.enforcement();
        contracts.push(ContractAnswer {
            contract: contract.name.to_string(),
            revision: contract.revision,
            digest: contract.compiled.revision().digest(),
            enforcement,
            decision: *decision,
        });
        depends_on.insert(Dependency::RuleSet(contract.compiled.rules().digest()));
        depends_on.extend(contract.compiled.trust().map(|trust| Dependency::TrustRoot(trust.digest())));
        depends_on.extend(judgement.attestations.iter().copied().map(Dependency::Attestation));
        valid_until = earlier(valid_until, earlier(judgement.valid_until, judgement.used.until()));
        depends_on.extend(judgement.used.0.keys().copied().map(Dependency::Exemption));
        findings.extend(judgement.findings.into_iter().map(|finding| match enforcement {
            Enforcement::Enforce => finding,
            Enforcement::Warn => Finding { severity: Severity::Warning, ..finding },
        }));
    }
    if question.unmatched {
        findings.extend(question.place.subject.image().map(|pinned| no_contract(question, pinned)));
    }
    let enforced = enforced && !question.unmatched;
    if blocked || !enforced {
        // One that begins may change this.
        valid_until = earlier(valid_until, question.exemptions.next);
    }
    let exempted = !blocked && enforced && findings.iter().any(|finding: &Finding| finding.exempted.is_some());
    // What blocks is read first.
    findings.sort_by_key(|finding| !finding.blocks());
    Verdict {
        decision: if blocked { Decision::Deny } else { Decision::Allow },
        enforced: blocked || enforced,
        exempted,
        subject: question.place.subject.clone(),
        named: named(&question.place),
        contracts,
        findings,
        depends_on: depends_on.into_iter().collect(),
        evaluated_at: question.now,
        valid_until,
    }
}

/// The verdict about an image that no contract answers for.
fn unmatched(question: &Question, pinned: &PinnedRef) -> Remembered {
    let setting = question.rules.unmatched;
    let verdict = Verdict {
        decision: if setting == Unmatched::Allow { Decision::Allow } else { Decision::Deny },
        enforced: setting == Unmatched::Deny,
        exempted: false,
        subject: question.place.subject.clone(),
        named: named(&question.place),
        contracts: Vec::new(),
        findings: vec![no_contract(question, pinned)],
        depends_on: Vec::new(),
        evaluated_at: question.now,
        valid_until: None,
    };
    Remembered::new(unmatched_key(&question.place, setting), verdict)
}

/// That no contract answers for an image's repository, whatever others were named.
fn no_contract(question: &Question, pinned: &PinnedRef) -> Finding {
    let organization = &question.place.organization;
    let message = format!("no contract of `{organization}` answers for `{}`", pinned.repository);
    let finding = match question.rules.unmatched {
        Unmatched::Deny => Finding::error(Code::NoContract, message),
        Unmatched::Allow => Finding::warning(Code::NoContract, message),
    };
    finding.mend(format!(
        "add a pattern that matches `{}` to `admission.repositories` of a contract and apply it, or pull from a repository that a contract answers for",
        pinned.repository
    ))
}
