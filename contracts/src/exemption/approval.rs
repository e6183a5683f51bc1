//! Who may approve an exemption, and the proof that enough of them did.

use std::{collections::BTreeSet, sync::Arc};

use jiff::SignedDuration;

use super::{
    Emergency, Exemption, Matter, PAYLOAD_TYPE, exemptable,
    never::{Never, RuleNames},
};
use crate::{
    AllowedSigner, Diagnostics, Digest, Envelope, Finding, Hasher, PublicKey, SignerIdentity, SignerPolicy, TrustRoot,
    VerifyError, api::ExemptionSettings, contract::BreakGlass, duration,
};

/// What an organization's settings say about exemptions, read and checked.
#[derive(Debug, Clone)]
pub struct ApprovalRules {
    organization: String,
    /// With whose keys signatures are checked; `None`: nobody approves.
    approvers: Option<(TrustRoot, SignerPolicy)>,
    longest: SignedDuration,
    never: Arc<Never>,
}

/// An exemption that may be used. Only [`ApprovalRules`] make one:
///
/// ```compile_fail
/// fn forged(exemption: contracts::exemption::Exemption) -> contracts::exemption::Approved {
///     contracts::exemption::Approved { exemption, approvers: Default::default(), emergency: None, never: Default::default() }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Approved {
    exemption: Exemption,
    approvers: BTreeSet<SignerIdentity>,
    emergency: Option<String>,
    never: Arc<Never>,
}

/// Why an exemption may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    /// The organization has no approvers.
    #[error("nobody may approve exemptions here: name approvers under `exemptions` in the organization's settings")]
    NobodyApproves,
    /// Its signatures prove nothing.
    #[error("the exemption is not approved: {0}")]
    Signature(VerifyError),
    /// Too few of those who may approve.
    #[error(
        "{approved} of the organization's approvers signed the exemption, and {threshold} distinct ones must: several signatures of one key count once"
    )]
    TooFew {
        /// How many distinct ones did.
        approved: usize,
        /// How many must.
        threshold: u32,
    },
    /// What was signed is not an exemption.
    #[error("what was signed is not an exemption: {0}")]
    Document(Diagnostics),
    /// It is for another organization.
    #[error("the exemption is for the organization `{named}`, not for `{organization}`")]
    Organization {
        /// The one that it names.
        named: String,
        /// The one that was asked.
        organization: String,
    },
    /// Longer than the organization allows.
    #[error("the exemption lasts {lasts}, and the organization allows {longest} at most")]
    TooLong {
        /// How long it lasts.
        lasts: String,
        /// How long it may.
        longest: String,
    },
    /// For a rule that is never exempted.
    #[error("the organization never exempts from `{rule}`")]
    Never {
        /// The rule.
        rule: String,
    },
    /// The contract lets nobody through in an emergency.
    #[error("the contract `{contract}` has no `admission.breakGlass`: nobody can exempt from it in an emergency")]
    NoBreakGlass {
        /// The contract.
        contract: String,
    },
    /// Not the callers of the contract.
    #[error("`{caller}` is not among the `callers` of `admission.breakGlass` of the contract `{contract}`")]
    Caller {
        /// Who asked.
        caller: String,
        /// The contract.
        contract: String,
    },
}

impl ApprovalError {
    /// The stable code of the refusal.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NobodyApproves | Self::Signature(_) | Self::TooFew { .. } => "exemption-not-approved",
            Self::Document(_) => "exemption-invalid",
            Self::Organization { .. } => "exemption-of-another-organization",
            Self::TooLong { .. } => "exemption-too-long",
            Self::Never { .. } => "exemption-forbidden",
            Self::NoBreakGlass { .. } | Self::Caller { .. } => "emergency-forbidden",
        }
    }
}

impl ApprovalRules {
    /// Reads an organization's settings, of which what is never exempted is compared with the rules that there are.
    ///
    /// # Errors
    /// What in them cannot be used, in words.
    pub fn new(organization: &str, settings: &ExemptionSettings, rules: &RuleNames) -> Result<Self, String> {
        let ExemptionSettings { approvers, threshold, longest, never } = settings;
        let mut keys = Vec::with_capacity(approvers.len());
        for (at, pem) in approvers.iter().enumerate() {
            let key = PublicKey::from_pem(pem);
            keys.push(key.map_err(|e| format!("the key number {} under `exemptions.approvers`: {e}", at + 1))?);
        }
        let longest = duration::parse(longest).map_err(|e| format!("`exemptions.longest`: {e}"))?;
        if never.iter().any(|rule| rule.trim().is_empty()) {
            return Err("`exemptions.never` holds an empty text: name rules, or codes of findings".to_owned());
        }
        let approvers = match (keys.is_empty(), *threshold) {
            (true, 1..) => None,
            (_, threshold) => {
                let policy = SignerPolicy::new(threshold, keys.iter().cloned().map(AllowedSigner::Key));
                let policy = policy.map_err(|e| format!("`exemptions.threshold`: {e}"))?;
                let root = TrustRoot::new(keys, None).map_err(|e| format!("`exemptions.approvers`: {e}"))?;
                Some((root, policy))
            }
        };
        let never = Arc::new(Never::new(never, rules));
        Ok(Self { organization: organization.to_owned(), approvers, longest, never })
    }

    /// What of the settings protects nothing, each in words.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.never.warnings()
    }

    /// Verifies that enough distinct approvers signed an exemption for this organization, and that it asks for no
    /// more than the organization allows.
    ///
    /// # Errors
    /// When it is not so. Nothing of the document comes back beside an error.
    pub fn approve(&self, envelope: &Envelope) -> Result<Approved, ApprovalError> {
        let (root, policy) = self.approvers.as_ref().ok_or(ApprovalError::NobodyApproves)?;
        let signed = root.verify_document(envelope, PAYLOAD_TYPE).map_err(ApprovalError::Signature)?;
        let approved = policy.count(&signed.signers);
        if !policy.satisfied_by(&signed.signers) {
            return Err(ApprovalError::TooFew { approved, threshold: policy.threshold() });
        }
        let (exemption, _) = Exemption::parse("exemption", &signed.document).map_err(ApprovalError::Document)?;
        let lasts = exemption.until.duration_since(exemption.from);
        if lasts > self.longest {
            let (lasts, longest) = (words(lasts), words(self.longest));
            return Err(ApprovalError::TooLong { lasts, longest });
        }
        self.taken(exemption, signed.signers.clone(), None)
    }

    /// Holds an emergency against what the contract's `breakGlass` allows.
    ///
    /// # Errors
    /// When it does not allow it.
    pub fn emergency(&self, emergency: &Emergency, clause: Option<&BreakGlass>) -> Result<Approved, ApprovalError> {
        let contract = &emergency.contract;
        let clause = clause.ok_or_else(|| ApprovalError::NoBreakGlass { contract: contract.clone() })?;
        if !clause.callers.iter().any(|caller| caller.value == emergency.caller) {
            let (caller, contract) = (emergency.caller.clone(), contract.clone());
            return Err(ApprovalError::Caller { caller, contract });
        }
        let (lasts, longest) = (emergency.until.duration_since(emergency.from), clause.max_duration.value);
        if lasts > longest {
            return Err(ApprovalError::TooLong { lasts: words(lasts), longest: words(longest) });
        }
        self.taken(emergency.exemption(), BTreeSet::new(), Some(emergency.caller.clone()))
    }

    fn taken(
        &self,
        exemption: Exemption,
        approvers: BTreeSet<SignerIdentity>,
        emergency: Option<String>,
    ) -> Result<Approved, ApprovalError> {
        if exemption.organization != self.organization {
            let (named, organization) = (exemption.organization, self.organization.clone());
            return Err(ApprovalError::Organization { named, organization });
        }
        if let Some(rule) = exemption.scope.rule.as_ref().filter(|rule| self.never.forbids(rule)) {
            return Err(ApprovalError::Never { rule: rule.clone() });
        }
        Ok(Approved { exemption, approvers, emergency, never: Arc::clone(&self.never) })
    }
}

impl Approved {
    /// The exemption.
    #[must_use]
    pub fn exemption(&self) -> &Exemption {
        &self.exemption
    }

    /// A digest over all that [`Approved::covers`] answers by: the document, and what the organization never exempts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update_framed(self.exemption.digest.as_bytes());
        hasher.update_framed(self.never.digest().as_bytes());
        hasher.finish()
    }

    /// Who approved it; empty in an emergency.
    #[must_use]
    pub fn approvers(&self) -> &BTreeSet<SignerIdentity> {
        &self.approvers
    }

    /// Who asked for it, when the gateway made it in an emergency.
    #[must_use]
    pub fn emergency(&self) -> Option<&str> {
        self.emergency.as_deref()
    }

    /// Whether it covers a finding that blocks. Whether it is in force is another question
    /// ([`Exemption::in_force`]).
    #[must_use]
    pub fn covers(&self, matter: &Matter<'_>, finding: &Finding) -> bool {
        let Some(rule) = finding.rule.as_deref().filter(|_| finding.blocks() && exemptable(finding.code)) else {
            return false;
        };
        let forbidden = self.never.forbids(rule) || self.never.forbids_code(finding.code);
        !forbidden
            && self.exemption.concerns(matter.repository, matter.digest)
            && self.exemption.scope.matches(matter, rule)
    }
}

fn words(span: SignedDuration) -> String {
    format!("{span:#}")
}
