//! Exemptions: approved, scoped and expiring exceptions from a rule.
//!
//! An [`Exemption`] is a document that a person wrote: a claim of nobody. [`Approved`] is the proof that it may be
//! used: only [`ApprovalRules`] make one, from what enough distinct approvers of the organization signed
//! ([`ApprovalRules::approve`]), or from what a contract lets a caller do on its own in an emergency
//! ([`ApprovalRules::emergency`]). The gate takes nothing less, and asks [`Approved::covers`] about each finding that
//! blocks. What is never exempted, whoever approves: see [`exemptable`].
//!
//! This module must not contain a clock or a store: whether an exemption was withdrawn is not known here.

mod approval;
mod approvals;
mod never;
mod read;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    approval::{ApprovalError, ApprovalRules, Approved},
    approvals::{APPROVAL_PREDICATE_TYPE, Approvals, ApprovalsError},
    never::RuleNames,
};
use crate::{Code, Diagnostics, Digest, Finding, Repository, pattern::RepositoryPattern};

/// The type of what approvers sign: the document's own bytes.
pub const PAYLOAD_TYPE: &str = "application/vnd.sluice.exemption.v1+yaml";

/// The values of `apiVersion` under which exemptions are read.
pub const API_VERSIONS: &[&str] = &["sluice.dev/v1"];

/// An exemption as it was written. Nothing in it is approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// The organization that it is for, so that what one organization's approvers signed is nothing in another.
    pub organization: String,
    /// What it covers.
    pub scope: Scope,
    /// Why, in words.
    pub reason: String,
    /// From then on.
    pub from: Timestamp,
    /// Until then, which is later.
    pub until: Timestamp,
    /// SHA-256 of the document's bytes: what approvers sign, and what a withdrawal is remembered by.
    pub digest: Digest,
}

/// What an exemption covers: all that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The image lies in one of these; any, when there are none. What is no image lies in none.
    pub repositories: Vec<RepositoryPattern>,
    /// The image or artifact is one of these; any, when there are none. Never empty together with `repositories`.
    pub digests: BTreeSet<Digest>,
    /// The rule. Only what a gateway made in an emergency covers any rule.
    pub rule: Option<String>,
    /// The workflow whose run is judged, `project/workflow`.
    pub workflow: Option<String>,
    /// The contract that asks.
    pub contract: Option<String>,
}

/// What the gate judges when it asks whether something is exempted.
#[derive(Debug, Clone, Copy)]
pub struct Matter<'m> {
    /// Where the image lies; `None` of an artifact that is no image.
    pub repository: Option<&'m Repository>,
    /// The image or artifact.
    pub digest: &'m Digest,
    /// The contract that asks.
    pub contract: &'m str,
    /// The workflow whose run is judged; `None` where other tools' attestations are.
    pub workflow: Option<&'m str>,
}

/// What a gateway made on its own, as a contract's `breakGlass` allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emergency {
    /// Its name.
    pub name: String,
    /// The organization.
    pub organization: String,
    /// The contract that allows it, and the only one that it exempts from.
    pub contract: String,
    /// The workflow, `project/workflow`.
    pub workflow: String,
    /// The images, at least one.
    pub digests: BTreeSet<Digest>,
    /// Why, in the caller's words.
    pub reason: String,
    /// When it was asked for.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Who asked, as `breakGlass` names callers.
    pub caller: String,
}

/// Whether findings with this code can be exempted at all: those that say that a demand of the contract is not met.
/// Not those that say that nothing is known of the image, that what is known cannot be believed, or that a rule gave
/// no answer: an exception from a demand is no reason to believe a stranger or a broken rule.
#[must_use]
pub const fn exemptable(code: Code) -> bool {
    matches!(
        code,
        Code::MaterialMissing
            | Code::MaterialType
            | Code::MaterialMalformed
            | Code::MaterialSchema
            | Code::MaterialUnknown
            | Code::AnnotationMissing
            | Code::RunnerMismatch
            | Code::EvidenceTooOld
            | Code::PolicyViolation
            | Code::PolicySkipped
            | Code::RuleFailed
    )
}

impl Exemption {
    /// Reads a document, YAML or JSON, with its warnings. The file's name is for the origins.
    ///
    /// # Errors
    /// Every mistake in the document, with line and column.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<(Self, Vec<Finding>), Diagnostics> {
        read::read(file, bytes)
    }

    /// Whether it is in force at this instant, if it is approved.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether it may say anything about an image of a repository, or about an artifact, which is in none.
    #[must_use]
    pub fn concerns(&self, repository: Option<&Repository>, digest: &Digest) -> bool {
        let Scope { repositories, digests, .. } = &self.scope;
        let lies_in = |pattern: &RepositoryPattern| repository.is_some_and(|repository| pattern.matches(repository));
        (repositories.is_empty() || repositories.iter().any(lies_in))
            && (digests.is_empty() || digests.contains(digest))
    }
}

impl Scope {
    fn matches(&self, matter: &Matter<'_>, rule: &str) -> bool {
        let is = |wanted: &Option<String>, there: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| there.is_some_and(|there| there == wanted))
        };
        is(&self.rule, Some(rule)) && is(&self.contract, Some(matter.contract)) && is(&self.workflow, matter.workflow)
    }
}

impl Emergency {
    /// The exemption that it is. Its digest is over all of it.
    #[must_use]
    pub fn exemption(&self) -> Exemption {
        Exemption {
            name: self.name.clone(),
            organization: self.organization.clone(),
            scope: Scope {
                repositories: Vec::new(),
                digests: self.digests.clone(),
                rule: None,
                workflow: Some(self.workflow.clone()),
                contract: Some(self.contract.clone()),
            },
            reason: self.reason.clone(),
            from: self.from,
            until: self.until,
            digest: Digest::of(&serde_json::to_vec(self).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
