//! Evaluation: the rules held against the evidence.

mod told;

use std::{collections::BTreeMap, time::Instant};

use contracts::{Code, Decision, EvidencePlace, Finding, Severity, VerdictSubject, limits::RULES_TIME};
use jiff::{SignedDuration, Timestamp};
use regorus::Value;

use crate::{
    cel::{Bound, Expression, Facts},
    evidence::{Attested, Evidence, Piece, object, text},
    policy::{Answer, Asked, Policy, RunError},
    rule::{Phase, Program, Rule, RuleInput, RuleSet},
};
use told::Told;

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// `Deny` when anything blocks, or nothing was there to judge.
    pub decision: Decision,
    /// Why, in the order of the rules. Never empty on a deny.
    pub findings: Vec<Finding>,
    /// The earliest instant at which this may stop being true.
    pub valid_until: Option<Timestamp>,
}

/// Why there is no answer. Never a verdict, and never to be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The wall clock ran out, which says nothing about the evidence.
    #[error("rule `{rule}` was not finished in time")]
    Timeout {
        /// The rule's id.
        rule: String,
    },
}

/// Holds the rules against the evidence. Rules of [`Phase::Intake`] are asked in both phases, those of
/// [`Phase::Admission`] only there. The answer is a function of the arguments alone.
///
/// A rule that fails in itself, goes over its budget or returns another shape than rules return denies like one that is
/// not satisfied, if it is a gate. A policy that is a gate denies also when it says that it does not apply: a gate
/// opens only to a policy that judged.
///
/// # Errors
/// When the wall clock ran out before a rule that blocks had answered.
pub fn evaluate(
    rules: &RuleSet,
    evidence: &Evidence,
    subject: Option<&VerdictSubject>,
    phase: Phase,
    now: Timestamp,
) -> Result<Evaluation, EvaluateError> {
    // What is no image lies in no repository.
    let artifact = subject.is_some_and(|subject| subject.image().is_none());
    let subject = subject.map_or(Value::Null, |subject| {
        let repository = subject.image().map(|image| image.repository.to_string()).unwrap_or_default();
        object([("repository", text(&repository)), ("digest", text(&subject.digest().to_string()))])
    });
    let minute = minute_of(now);
    let mut run = Run {
        rules,
        evidence,
        subject: &subject,
        now,
        minute,
        deadline: deadline(),
        bound: BTreeMap::new(),
        told: Told::default(),
        valid_until: None,
    };
    if evidence.attested.is_empty() {
        let message = "nothing that speaks of this image counts as evidence for the contract";
        run.told.take(Finding::error(Code::NoEvidence, message));
    } else {
        let asked = |rule: &&Rule| {
            (phase == Phase::Admission || rule.phase == Phase::Intake) && !(artifact && rule.asks_for_output_image())
        };
        for rule in rules.rules().iter().filter(asked) {
            run.rule(rule)?;
        }
    }
    let findings = run.told.all();
    let decision = if findings.iter().any(Finding::blocks) { Decision::Deny } else { Decision::Allow };
    Ok(Evaluation { decision, findings, valid_until: run.valid_until })
}

/// The monotonic clock bounds how long evaluating may take; no answer depends on it.
pub(crate) fn deadline() -> Instant {
    Instant::now() + RULES_TIME
}

/// Rules that read the time are told the minute, so that their answers can be kept for one.
pub(crate) fn minute_of(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(60).saturating_mul(60)).unwrap_or(now)
}

struct Run<'e> {
    rules: &'e RuleSet,
    evidence: &'e Evidence,
    subject: &'e Value,
    now: Timestamp,
    minute: Timestamp,
    deadline: Instant,
    /// What CEL rules look at, by attestation and whether the time is cut.
    bound: BTreeMap<(usize, bool), Bound<'e>>,
    told: Told,
    valid_until: Option<Timestamp>,
}

impl<'e> Run<'e> {
    fn rule(&mut self, rule: &Rule) -> Result<(), EvaluateError> {
        if let Some(from) = rule.effective_from.filter(|from| *from > self.now) {
            self.until(from);
        }
        match &rule.program {
            Program::Cel(expression) => self.cel(rule, expression),
            Program::Policy(policy) => self.policies(rule, policy),
        }
    }

    fn until(&mut self, at: Timestamp) {
        self.valid_until = Some(self.valid_until.map_or(at, |until| until.min(at)));
    }

    fn until_next_minute(&mut self) {
        self.until(self.minute.checked_add(SignedDuration::from_mins(1)).unwrap_or(Timestamp::MAX));
    }

    /// Rules that only warn leave time for those that block.
    fn deadline_of(&self, rule: &Rule) -> Instant {
        if self.blocks(rule) {
            return self.deadline;
        }
        let now = Instant::now();
        now + self.deadline.saturating_duration_since(now) / 2
    }

    fn blocks(&self, rule: &Rule) -> bool {
        rule.gate && rule.effective_from.is_none_or(|from| self.now >= from)
    }

    fn cel(&mut self, rule: &Rule, expression: &Expression) -> Result<(), EvaluateError> {
        let evidence = self.evidence;
        // Rules that do not look at an attestation have one answer for all of them.
        let asked = if expression.reads_attestation() { evidence.attested.len() } else { 1 };
        // `maxAge` is exact: its horizon is known.
        let cut = expression.reads_now() && rule.max_age.is_none();
        if cut {
            self.until_next_minute();
        }
        let deadline = self.deadline_of(rule);
        let errors = rule.schema.as_ref().map(|schema| schema.errors(evidence)).unwrap_or_default();
        let schema_errors: BTreeMap<String, Vec<String>> =
            rule.schema.iter().map(|schema| (schema.material.clone(), errors.clone())).collect();
        for (n, attested) in evidence.attested.iter().enumerate().take(asked) {
            let now = if cut { self.minute } else { self.now };
            let bound = self.bound.entry((n, cut)).or_insert_with(|| facts(evidence, attested, self.subject).bind(now));
            let material = match &rule.input {
                RuleInput::Material { name } => Some(name.as_str()),
                RuleInput::Attestation | RuleInput::OtherMaterials { .. } => None,
            };
            let about = About { attested: expression.reads_attestation().then_some(attested), material };
            match expression.run(bound, schema_errors.clone(), deadline) {
                Ok(true) => {
                    if let Some(until) = rule.max_age.and_then(|age| attested.signed_at.checked_add(age).ok()) {
                        self.until(until);
                    }
                }
                Ok(false) => {
                    let message = match errors.first() {
                        Some(first) => format!("{}: {first}", rule.message),
                        None => rule.message.clone(),
                    };
                    self.report(rule, about, rule.code, message, self.severity(rule));
                }
                Err(error) => self.failed(rule, about, &error)?,
            }
        }
        Ok(())
    }

    fn policies(&mut self, rule: &Rule, policy: &Policy) -> Result<(), EvaluateError> {
        let evidence = self.evidence;
        match &rule.input {
            RuleInput::Attestation => {
                for attested in &evidence.attested {
                    let about = About { attested: Some(attested), material: None };
                    self.policy(rule, policy, &attested.input, attested.bytes(), about)?;
                }
            }
            RuleInput::Material { name } => {
                let piece = evidence.materials.get(name);
                match piece.filter(|piece| rule.kind == Some(piece.material.kind)) {
                    Some(piece) if piece.material.present => self.material(rule, policy, name, piece)?,
                    // That its bytes are absent is for the rule of its clause to say, and is never exempted.
                    Some(_) => {}
                    None => self.unasked(rule, policy, name, piece),
                }
            }
            RuleInput::OtherMaterials { selector } => {
                let rules = self.rules;
                let asked_for = |name: &str| rules.slots().iter().any(|slot| slot.name == name);
                for (name, piece) in evidence.materials.iter().filter(|(name, _)| !asked_for(name)) {
                    let of_kind = rule.kind.is_none_or(|kind| kind == piece.material.kind);
                    if !of_kind || !selector.as_ref().is_none_or(|selector| selector.matches(name)) {
                        continue;
                    }
                    if piece.material.present {
                        self.material(rule, policy, name, piece)?;
                    } else {
                        let about = About { attested: None, material: Some(name) };
                        let message = format!("the bytes of the material `{name}` were never uploaded, or were lost");
                        self.report(rule, about, Code::MaterialBytesAbsent, message, self.severity(rule));
                    }
                }
            }
        }
        Ok(())
    }

    /// That a material which must be there is missing, or is of another type, is for the rules of its clause to say, and
    /// can be exempted. The policy has not judged all the same, so that it has a finding of its own: whoever exempts from
    /// the material has not exempted from what would have been held against it.
    fn unasked(&mut self, rule: &Rule, policy: &Policy, name: &str, piece: Option<&Piece>) {
        let there = |name: &str| self.evidence.materials.contains_key(name);
        if !self.blocks(rule) || (piece.is_none() && !self.rules.demands(name, there)) {
            return;
        }
        let about = About { attested: None, material: Some(name) };
        let why = piece.map_or("it is missing".to_owned(), |piece| format!("it is of type {}", piece.material.kind));
        let message = format!("policy `{}` could not judge material `{name}`: {why}", policy.name);
        let finding = self.finding(rule, about, Code::PolicySkipped, message, self.severity(rule));
        self.told.take(finding.mend("add the material; an exemption from it does not cover the policy"));
    }

    fn material(&mut self, rule: &Rule, policy: &Policy, name: &str, piece: &Piece) -> Result<(), EvaluateError> {
        let about = About { attested: None, material: Some(name) };
        // Where there should be a document and none was read, a policy would see what the build says of it alone.
        if piece.material.kind.is_judged_by_content() && piece.material.document.is_none() {
            let message =
                format!("policy `{}` did not judge material `{name}`: it is no document that is read", policy.name);
            self.report(rule, about, Code::PolicySkipped, message, self.severity(rule));
            return Ok(());
        }
        let bytes = piece.material.document.as_ref().map_or(0, |document| document.bytes());
        self.policy(rule, policy, &piece.input, bytes, about)
    }

    fn policy(
        &mut self,
        rule: &Rule,
        policy: &Policy,
        input: &Value,
        bytes: usize,
        about: About<'_>,
    ) -> Result<(), EvaluateError> {
        let now = if policy.reads_now() {
            self.until_next_minute();
            self.minute
        } else {
            self.now
        };
        let deadline = self.deadline_of(rule);
        let input = with_arguments(input, &policy.arguments);
        let mut answers = Vec::with_capacity(policy.scripts.len());
        for script in &policy.scripts {
            let asked = Asked { input: input.clone(), bytes, now, evidence: self.evidence };
            match policy.run(script, asked, deadline) {
                Ok(answer) => answers.push(answer),
                Err(error) => return self.failed(rule, about, &error),
            }
        }
        self.answers(rule, policy, about, answers);
        Ok(())
    }

    /// The scripts of a policy speak together: it is skipped when all of them are.
    fn answers(&mut self, rule: &Rule, policy: &Policy, about: About<'_>, answers: Vec<Answer>) {
        let judged = answers.iter().any(|answer| !answer.ignore && answer.skipped.is_none());
        let mut reasons = Vec::new();
        for answer in answers {
            if let Some(reason) = answer.skipped.filter(|reason| !reason.is_empty() && !reasons.contains(reason)) {
                reasons.push(reason);
            }
            if answer.ignore {
                continue;
            }
            for violation in answer.violations {
                let severity = if violation.suppressed { Severity::Warning } else { self.severity(rule) };
                let finding = self.finding(rule, about, rule.code, violation.message, severity);
                self.told.take(Finding { details: violation.details.map(Box::new), ..finding });
            }
            if answer.more > 0 {
                let message = format!("and {} more violations of policy `{}`", answer.more, policy.name);
                self.report(rule, about, rule.code, message, self.severity(rule));
            }
        }
        if !judged {
            let what = about.material.map_or("the attestation".to_owned(), |name| format!("material `{name}`"));
            let mut message = format!("policy `{}` did not judge {what}", policy.name);
            if !reasons.is_empty() {
                message = format!("{message}: {}", reasons.join("; "));
            }
            self.report(rule, about, Code::PolicySkipped, message, self.severity(rule));
        }
    }

    fn failed(&mut self, rule: &Rule, about: About<'_>, error: &RunError) -> Result<(), EvaluateError> {
        let code = match error {
            RunError::Timeout if self.blocks(rule) => return Err(EvaluateError::Timeout { rule: rule.id.clone() }),
            RunError::Timeout | RunError::Budget(_) => Code::RuleBudget,
            RunError::Error(_) => Code::RuleError,
            RunError::Shape(_) => Code::RuleResultShape,
        };
        let message = format!("rule `{}` gave no answer: {error}", rule.id);
        self.report(rule, about, code, message, self.severity(rule));
        Ok(())
    }

    fn severity(&self, rule: &Rule) -> Severity {
        if self.blocks(rule) { Severity::Error } else { Severity::Warning }
    }

    fn report(&mut self, rule: &Rule, about: About<'_>, code: Code, message: String, severity: Severity) {
        let finding = self.finding(rule, about, code, message, severity);
        self.told.take(finding);
    }

    fn finding(&self, rule: &Rule, about: About<'_>, code: Code, message: String, severity: Severity) -> Finding {
        let place = EvidencePlace {
            attestation: about.attested.map(|attested| attested.id),
            material: about.material.map(str::to_owned),
        };
        let finding = Finding::error(code, message).by_rule(&rule.id).in_evidence(place).at(rule.origin.clone());
        let mend = rule.mend.clone().filter(|_| code == rule.code);
        Finding { severity, mend, ..finding }
    }
}

/// What of the evidence a finding is about.
#[derive(Clone, Copy)]
struct About<'a> {
    attested: Option<&'a Attested>,
    material: Option<&'a str>,
}

fn facts<'e>(evidence: &'e Evidence, attested: &'e Attested, subject: &'e Value) -> Facts<'e> {
    Facts {
        attestation: &attested.attestation,
        materials: &evidence.facts,
        subject,
        signers: &attested.signers,
        verifiers: &evidence.verifiers,
        run: &attested.run,
        signed_at: attested.signed_at,
    }
}

/// The shared input with the arguments of one policy. `args` is there already, so that this copies the top level only.
pub(crate) fn with_arguments(input: &Value, arguments: &Value) -> Value {
    if matches!(arguments, Value::Object(fields) if fields.is_empty()) {
        return input.clone();
    }
    let mut input = input.clone();
    if let Ok(fields) = input.as_object_mut() {
        fields.insert(Value::from("args"), arguments.clone());
    }
    input
}
