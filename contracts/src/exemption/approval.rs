//! Who may approve an exemption, and the proof that enough of them did.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    Approvals, Emergency, Exemption, Matter, PAYLOAD_TYPE,
    approvals::approves_of,
    exemptable,
    never::{Never, RuleNames},
};
use crate::{
    AllowedSigner, Bundle, Diagnostics, Digest, Finding, Hasher, PublicKey, SignerIdentity, SignerPolicy, TrustRoot,
    VerifyError,
    api::{Approver, ExemptionSettings},
    contract::BreakGlass,
    duration,
};

/// What an organization's settings say about exemptions, read and checked.
#[derive(Debug, Clone)]
pub struct ApprovalRules {
    organization: String,
    /// With whose keys signatures are checked, and who may sign; `None`: nobody approves.
    approvers: Option<(TrustRoot, SignerPolicy)>,
    longest: SignedDuration,
    never: Arc<Never>,
}

/// An exemption that may be used. Only [`ApprovalRules`] make one:
///
/// ```compile_fail
/// fn forged(exemption: contracts::exemption::Exemption) -> contracts::exemption::Approved {
///     contracts::exemption::Approved { exemption, approvers: Default::default(), emergency: None, never: Default::default(), until: Default::default() }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Approved {
    exemption: Exemption,
    approvers: BTreeSet<SignerIdentity>,
    emergency: Option<String>,
    never: Arc<Never>,
    until: Timestamp,
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
    /// What was signed with a certificate approves of something else, or nothing proves when it was signed.
    #[error("the exemption is not approved: {reason}")]
    Bundle {
        /// What is wrong.
        reason: &'static str,
    },
    /// Too few of those who may approve.
    #[error(
        "{approved} of the organization's approvers signed the exemption, and {threshold} distinct ones must: several signatures of one key or identity count once{}",
        other.as_ref().map(|other| format!(" (one signature counts for nobody: {other})")).unwrap_or_default()
    )]
    TooFew {
        /// How many distinct ones did.
        approved: usize,
        /// How many must.
        threshold: u32,
        /// Why one of the signatures does not count.
        other: Option<Box<Self>>,
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
            Self::NobodyApproves | Self::Signature(_) | Self::Bundle { .. } | Self::TooFew { .. } => {
                "exemption-not-approved"
            }
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
        let (mut keys, mut may) = (Vec::new(), Vec::with_capacity(approvers.len()));
        for (at, approver) in approvers.iter().enumerate() {
            may.push(match approver {
                Approver::Key(pem) => {
                    let key = PublicKey::from_pem(pem);
                    let key =
                        key.map_err(|e| format!("the key number {} under `exemptions.approvers`: {e}", at + 1))?;
                    keys.push(key.clone());
                    AllowedSigner::Key(key)
                }
                Approver::Identity { issuer, identity } => {
                    AllowedSigner::Identity { issuer: issuer.clone(), identity: identity.clone() }
                }
            });
        }
        let longest = duration::parse(longest).map_err(|e| format!("`exemptions.longest`: {e}"))?;
        if never.iter().any(|rule| rule.trim().is_empty()) {
            return Err("`exemptions.never` holds an empty text: name rules, or codes of findings".to_owned());
        }
        let approvers = match (may.is_empty(), *threshold) {
            (true, 1..) => None,
            (_, threshold) => {
                let policy = SignerPolicy::new(threshold, may);
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
    /// more than the organization allows. `authorities` are those who vouch for certificates, and `now` is the latest
    /// time at which something can have been signed. What was signed with a certificate counts only with a proof of when.
    ///
    /// # Errors
    /// When it is not so. Nothing of the document comes back beside an error.
    pub fn approve(
        &self,
        approvals: &Approvals,
        authorities: &TrustRoot,
        now: Timestamp,
    ) -> Result<Approved, ApprovalError> {
        let (root, policy) = self.approvers.as_ref().ok_or(ApprovalError::NobodyApproves)?;
        let may: BTreeSet<SignerIdentity> = policy.allowed().map(AllowedSigner::identity).collect();
        let (mut approvers, mut refused) = (BTreeSet::new(), None);
        if let Some(envelope) = approvals.envelope() {
            match root.verify_document(&envelope, PAYLOAD_TYPE) {
                Ok(signed) => approvers.extend(signed.signers.iter().cloned()),
                Err(error) => refused = Some(ApprovalError::Signature(error)),
            }
        }
        let digest = Digest::of(approvals.document());
        for bundle in approvals.bundles() {
            match certified(bundle, &digest, authorities, now) {
                Ok(signers) => approvers.extend(signers),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let proven = !approvers.is_empty();
        approvers.retain(|signer| may.contains(signer));
        if !policy.satisfied_by(&approvers) {
            let (approved, threshold) = (policy.count(&approvers), policy.threshold());
            return Err(match refused {
                Some(error) if !proven => error,
                other => ApprovalError::TooFew { approved, threshold, other: other.map(Box::new) },
            });
        }
        let keys = approvers.iter().filter(|signer| matches!(signer, SignerIdentity::Key { .. })).cloned().collect();
        // Those whom somebody else vouches for count as long as that one does.
        let ends = authorities.ends().filter(|_| !policy.satisfied_by(&keys));
        let (exemption, _) = Exemption::parse("exemption", approvals.document()).map_err(ApprovalError::Document)?;
        let lasts = exemption.until.duration_since(exemption.from);
        if lasts > self.longest {
            let (lasts, longest) = (words(lasts), words(self.longest));
            return Err(ApprovalError::TooLong { lasts, longest });
        }
        self.taken(exemption, approvers, None, ends)
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
        self.taken(emergency.exemption(), BTreeSet::new(), Some(emergency.caller.clone()), None)
    }

    fn taken(
        &self,
        exemption: Exemption,
        approvers: BTreeSet<SignerIdentity>,
        emergency: Option<String>,
        ends: Option<Timestamp>,
    ) -> Result<Approved, ApprovalError> {
        if exemption.organization != self.organization {
            let (named, organization) = (exemption.organization, self.organization.clone());
            return Err(ApprovalError::Organization { named, organization });
        }
        if let Some(rule) = exemption.scope.rule.as_ref().filter(|rule| self.never.forbids(rule)) {
            return Err(ApprovalError::Never { rule: rule.clone() });
        }
        let until = ends.map_or(exemption.until, |ends| ends.min(exemption.until));
        Ok(Approved { exemption, approvers, emergency, never: Arc::clone(&self.never), until })
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

    /// Until when it counts: its own end, or when those who vouch for its approvers are not believed any more.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
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

/// Whom a certificate names who signed that the document is approved.
fn certified(
    bundle: &Bundle,
    document: &Digest,
    authorities: &TrustRoot,
    now: Timestamp,
) -> Result<BTreeSet<SignerIdentity>, ApprovalError> {
    let verified = authorities.verify(bundle, now).map_err(ApprovalError::Signature)?;
    let wrong = |reason| Err(ApprovalError::Bundle { reason });
    if !approves_of(&verified.statement, document) {
        return wrong("a bundle with it approves of another document, or says something else");
    }
    if verified.signed_at.is_none() {
        return wrong("nothing proves when a bundle with it was signed: a log's entry or a timestamp is needed");
    }
    // Keys sign the document itself.
    let named = verified.signers.iter().filter(|signer| matches!(signer, SignerIdentity::Certificate { .. }));
    Ok(named.cloned().collect())
}

fn words(span: SignedDuration) -> String {
    format!("{span:#}")
}
