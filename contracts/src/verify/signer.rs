//! Who signed, and who may.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{Digest, PublicKey};

/// Who a signature proved it was. Two are the same signer exactly when they are equal. In JSON `{"key": "sha256:…"}`
/// or `{"issuer": …, "identity": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum SignerIdentity {
    /// Whoever holds the private key of this public key.
    Key {
        /// The digest of the public key (see [`PublicKey::id`]).
        #[serde(rename = "key")]
        id: Digest,
    },
    /// Whom a trusted certificate authority named in the certificate.
    Certificate {
        /// Who told the authority so: the address of the identity provider.
        issuer: String,
        /// The e-mail address, or the address of the pipeline's definition.
        identity: String,
    },
}

impl fmt::Display for SignerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { id } => write!(f, "key {id}"),
            Self::Certificate { issuer, identity } => write!(f, "{identity} (by {issuer})"),
        }
    }
}

/// One signer that a contract names. Compared as it is: there are no patterns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AllowedSigner {
    /// Whoever holds the private key.
    Key(PublicKey),
    /// Whom a certificate names.
    Identity {
        /// The identity provider's address, exactly.
        issuer: String,
        /// The identity, exactly.
        identity: String,
    },
}

impl AllowedSigner {
    /// Who a signature has to prove itself to be, for this entry to count.
    #[must_use]
    pub fn identity(&self) -> SignerIdentity {
        match self {
            Self::Key(key) => SignerIdentity::Key { id: key.id() },
            Self::Identity { issuer, identity } => {
                SignerIdentity::Certificate { issuer: issuer.clone(), identity: identity.clone() }
            }
        }
    }
}

/// Who may speak for a contract, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerPolicy {
    threshold: u32,
    any: BTreeSet<AllowedSigner>,
}

impl SignerPolicy {
    /// A policy that asks for `threshold` distinct signers out of `any`. The same signer given twice is one.
    ///
    /// # Errors
    /// When it could be satisfied by nobody's signature or by no set of signers at all, or names a signer that seems
    /// to be a pattern.
    pub fn new(threshold: u32, any: impl IntoIterator<Item = AllowedSigner>) -> Result<Self, SignerPolicyError> {
        let any: BTreeSet<AllowedSigner> = any.into_iter().collect();
        if threshold == 0 {
            return Err(SignerPolicyError::ThresholdZero);
        }
        for signer in &any {
            if let AllowedSigner::Identity { issuer, identity } = signer {
                for (field, text) in [("issuer", issuer), ("identity", identity)] {
                    if text.trim().is_empty() {
                        return Err(SignerPolicyError::Empty { field });
                    }
                    if text.contains('*') {
                        return Err(SignerPolicyError::Pattern { field, text: crate::digest::shorten(text) });
                    }
                }
            }
        }
        if any.len() < usize::try_from(threshold).unwrap_or(usize::MAX) {
            return Err(SignerPolicyError::ThresholdTooHigh { threshold, distinct: any.len() });
        }
        Ok(Self { threshold, any })
    }

    /// How many distinct signers must have signed, at least 1.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Who may sign, in a fixed order.
    pub fn allowed(&self) -> impl Iterator<Item = &AllowedSigner> {
        self.any.iter()
    }

    /// The public keys among those who may sign: what a trust root must hold to recognise them.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.any.iter().filter_map(|signer| match signer {
            AllowedSigner::Key(key) => Some(key),
            AllowedSigner::Identity { .. } => None,
        })
    }

    /// How many distinct allowed signers are among these.
    #[must_use]
    pub fn count(&self, signers: &BTreeSet<SignerIdentity>) -> usize {
        self.any.iter().filter(|allowed| signers.contains(&allowed.identity())).count()
    }

    /// Whether enough distinct allowed signers are among these.
    #[must_use]
    pub fn satisfied_by(&self, signers: &BTreeSet<SignerIdentity>) -> bool {
        usize::try_from(self.threshold).is_ok_and(|threshold| threshold > 0 && self.count(signers) >= threshold)
    }
}

/// Why nobody can be held to a list of signers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerPolicyError {
    /// Nobody would have to sign.
    #[error("the threshold is 0, so nobody would have to sign: ask for at least 1")]
    ThresholdZero,
    /// Nobody could.
    #[error("the threshold is {threshold}, but only {distinct} different signers are named")]
    ThresholdTooHigh {
        /// The number asked for.
        threshold: u32,
        /// How many different signers there are.
        distinct: usize,
    },
    /// Nothing to compare with.
    #[error("the signer's `{field}` is empty")]
    Empty {
        /// `issuer` or `identity`.
        field: &'static str,
    },
    /// It would never match what its author meant.
    #[error("the signer's `{field}` `{text}` looks like a pattern, but is compared exactly: write it out")]
    Pattern {
        /// `issuer` or `identity`.
        field: &'static str,
        /// What was read, shortened.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn identity(issuer: &str, identity: &str) -> AllowedSigner {
        AllowedSigner::Identity { issuer: issuer.into(), identity: identity.into() }
    }

    #[test]
    fn identities_have_one_json_form_each() {
        let key = SignerIdentity::Key { id: Digest::of(b"k") };
        let certificate = SignerIdentity::Certificate { issuer: "i".into(), identity: "n".into() };
        for (signer, text) in [
            (key, format!(r#"{{"key":"{}"}}"#, Digest::of(b"k"))),
            (certificate, r#"{"issuer":"i","identity":"n"}"#.to_owned()),
        ] {
            assert_eq!(serde_json::to_string(&signer).unwrap(), text);
            assert_eq!(serde_json::from_str::<SignerIdentity>(&text).unwrap(), signer);
        }
        let both = format!(r#"{{"key":"{}","issuer":"i","identity":"n"}}"#, Digest::of(b"k"));
        assert!(serde_json::from_str::<SignerIdentity>(&both).is_err());
    }

    #[test]
    fn policies_that_hold_nobody_are_refused() {
        let one = || identity("https://i", "https://n");
        for (threshold, any, expected) in [
            (0, vec![one()], SignerPolicyError::ThresholdZero),
            (1, vec![], SignerPolicyError::ThresholdTooHigh { threshold: 1, distinct: 0 }),
            (2, vec![one(), one()], SignerPolicyError::ThresholdTooHigh { threshold: 2, distinct: 1 }),
            (1, vec![identity("", "n")], SignerPolicyError::Empty { field: "issuer" }),
            (1, vec![identity("i", " ")], SignerPolicyError::Empty { field: "identity" }),
            (1, vec![identity("*", "n")], SignerPolicyError::Pattern { field: "issuer", text: "*".into() }),
        ] {
            assert_eq!(SignerPolicy::new(threshold, any), Err(expected));
        }
    }

    #[test]
    fn distinct_allowed_signers_are_counted_exactly() {
        let key = SigningKey::generate_p256().unwrap().public().clone();
        let workflow = identity("https://i", "https://github.com/org/repo/release.yml");
        let policy = SignerPolicy::new(2, [AllowedSigner::Key(key.clone()), workflow.clone()]).unwrap();
        let key_id = SignerIdentity::Key { id: key.id() };
        let near = identity("https://i", "https://github.com/org/repo/release.yml.evil").identity();
        let other_issuer = identity("https://j", "https://github.com/org/repo/release.yml").identity();
        let stranger = SignerIdentity::Key { id: Digest::of(b"stranger") };
        assert!(!policy.satisfied_by(&BTreeSet::new()));
        assert!(!policy.satisfied_by(&BTreeSet::from([key_id.clone(), near, other_issuer, stranger])));
        assert!(policy.satisfied_by(&BTreeSet::from([key_id, workflow.identity()])));
    }
}
