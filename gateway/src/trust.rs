//! Whom signatures are checked against: each contract's signers, else the organization's default ones.
//!
//! This module must not check a signature itself: `contracts::verify` does.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{
    AllowedSigner, Bundle, Code, Digest, Finding, Hasher, PublicKey, SignerIdentity, SignerPolicy, TrustRoot,
    Verification, Verified, VerifyError, api::OrganizationSettings, bundle::BundleError, revision::Revision,
};
use jiff::Timestamp;
use moka::sync::Cache;

/// Memory for verified attestations, in bytes of their bundles.
const VERIFIED_BYTES: u64 = 32 * 1024 * 1024;

/// What to do where certificates are not believed.
const UNBELIEVED: &str = "have the operator see to the mirror under `[tuf]` in sluice.toml (`/metrics` and the log say how it answers); what was signed counts again once the trust root is fresh. What is signed with a key is not affected";

/// Who may speak for one contract, or for one of the other verifiers that it asks.
#[derive(Debug)]
pub struct Trust {
    root: TrustRoot,
    signers: SignerPolicy,
    digest: Digest,
}

/// Why an attestation does not speak for a contract.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It is not a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its signatures do not verify.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// None is by one of the signers, and none claims to be.
    #[error("the attestation is not signed by any of those whom the contract names: by another key, as it seems")]
    Stranger,
    /// They do, but are not those of enough of the signers.
    #[error("the attestation is signed by {signed}, and not by {threshold} of the signers that the contract names")]
    Signers {
        /// Who signed.
        signed: String,
        /// How many distinct signers it takes.
        threshold: u32,
    },
}

impl Untrusted {
    /// The reason as a finding.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let code = match self {
            Self::Bundle(_) => Code::AttestationMalformed,
            Self::Signature(error) => error.code(),
            Self::Stranger | Self::Signers { .. } => Code::SignerNotAllowed,
        };
        let mend = match code {
            Code::TrustRootTooOld => UNBELIEVED,
            Code::SignerNotAllowed => {
                "sign with a key or identity that the contract names under `signers` (without it: one of the organization's default signers)"
            }
            _ => "sign the attestation again and push what the signing tool wrote, unchanged",
        };
        Finding::error(code, self.to_string()).mend(mend)
    }
}

impl Trust {
    /// The signers of a revision, else the organization's default ones, vouched for by the authorities of `roots`.
    /// `None`: neither names anybody, so nobody can speak for the contract.
    ///
    /// # Errors
    /// When a default signer is not a key, or there are more keys than are tried.
    pub fn of(revision: &Revision, settings: &OrganizationSettings, roots: &TrustRoot) -> Result<Option<Self>, String> {
        let signers = match revision.signer_policy() {
            Some(signers) => signers.clone(),
            None => {
                let mut keys = Vec::new();
                for pem in &settings.default_signers {
                    let key =
                        PublicKey::from_pem(pem).map_err(|e| format!("a default signer of the organization: {e}"))?;
                    keys.push(AllowedSigner::Key(key));
                }
                if keys.is_empty() {
                    return Ok(None);
                }
                SignerPolicy::new(1, keys).map_err(|e| e.to_string())?
            }
        };
        Self::by(signers, roots).map(Some)
    }

    /// These signers, vouched for by the authorities of `roots`.
    ///
    /// # Errors
    /// When there are more keys than are tried.
    pub fn by(signers: SignerPolicy, roots: &TrustRoot) -> Result<Self, String> {
        let root = roots.with_keys(signers.keys().cloned().collect()).map_err(|e| e.to_string())?;
        let mut hasher = Hasher::default();
        hasher.update_framed(root.digest().as_bytes());
        hasher.update_framed(&signers.threshold().to_be_bytes());
        for signer in signers.allowed() {
            hasher.update_framed(signer.identity().to_string().as_bytes());
        }
        Ok(Self { root, signers, digest: hasher.finish() })
    }

    /// Whether [`Trust::of`] would take the signers, whatever the authorities.
    ///
    /// # Errors
    /// As [`Trust::of`].
    pub fn usable(revision: &Revision, settings: &OrganizationSettings) -> Result<(), String> {
        let roots = TrustRoot::new(Vec::new(), None).map_err(|e| e.to_string())?;
        Self::of(revision, settings, &roots).map(drop)
    }

    /// Over the keys, the roots, the signers and the threshold.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What a verdict of this trust has in its key: the digest; when the authorities end, as a verdict from when they
    /// did not, or later, would outlive them; and why no certificate is believed, while that is so, as what is denied
    /// then is not denied afterwards.
    #[must_use]
    pub fn key(&self, now: Timestamp) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update_framed(self.digest.as_bytes());
        hasher.update_framed(format!("{:?}", self.root.ends()).as_bytes());
        if let Some(reason) = self.root.unbelieved(now) {
            hasher.update_framed(reason.to_string().as_bytes());
        }
        hasher.finish()
    }

    /// Why nobody whom the contract names by identity is believed now; `None`: it names none, or they are.
    #[must_use]
    pub fn unbelieved(&self, now: Timestamp) -> Option<Finding> {
        let reason = self.root.unbelieved(now).filter(|_| self.names_identities())?;
        Some(Untrusted::from(reason).finding())
    }

    /// When what was proven of these signers stops to count: what a key signed does not.
    #[must_use]
    pub fn ends(&self, verified: &Verification) -> Option<Timestamp> {
        self.root.ends().filter(|_| verified.signers.iter().any(is_certificate))
    }

    fn names_identities(&self) -> bool {
        self.signers.allowed().any(|signer| matches!(signer, AllowedSigner::Identity { .. }))
    }

    /// That what was verified before is believed still.
    fn believes(&self, verified: &Verification, now: Timestamp) -> Result<(), Untrusted> {
        match self.root.unbelieved(now) {
            Some(reason) if verified.signers.iter().any(is_certificate) => Err(reason.into()),
            _ => Ok(()),
        }
    }

    /// How many keys a signature may be tried with.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.signers.keys().count()
    }

    /// Verifies that an attestation speaks for the contract.
    ///
    /// # Errors
    /// When its signatures do not verify, or are not those of enough of the signers.
    pub fn verify(&self, bundle: &Bundle, now: Timestamp) -> Result<Verified<Verification>, Untrusted> {
        let verified = self.root.verify(bundle, now).map_err(|error| match error {
            // Whether another key signed or the content was changed cannot be told, but for what the bundle claims.
            VerifyError::NoKeyMatches { .. } if !self.claimed(bundle) => Untrusted::Stranger,
            VerifyError::NoAuthority | VerifyError::AuthorityAwaited { .. } | VerifyError::AuthorityTooOld { .. }
                if !self.names_identities() =>
            {
                Untrusted::Stranger
            }
            other => other.into(),
        })?;
        self.allows(&verified)?;
        Ok(verified)
    }

    /// Whether the bundle says that one of the contract's keys signed it.
    fn claimed(&self, bundle: &Bundle) -> bool {
        let signatures = bundle.envelope().signatures.iter().filter_map(|signature| signature.keyid.as_deref());
        let claims: Vec<&str> = bundle.key_hint().into_iter().chain(signatures).collect();
        self.signers.keys().any(|key| {
            let id = key.id();
            let names = [id.to_string(), id.hex(), STANDARD.encode(id.as_bytes())];
            names.iter().any(|name| claims.contains(&name.as_str()))
        })
    }

    fn allows(&self, verified: &Verified<Verification>) -> Result<(), Untrusted> {
        if self.signers.satisfied_by(&verified.signers) {
            return Ok(());
        }
        let signed: Vec<String> = verified.signers.iter().map(ToString::to_string).collect();
        Err(Untrusted::Signers { signed: signed.join(", "), threshold: self.signers.threshold() })
    }
}

fn is_certificate(signer: &SignerIdentity) -> bool {
    matches!(signer, SignerIdentity::Certificate { .. })
}

/// Attestations that were verified, by bundle and trust. Only successes are remembered: they stay true, as what is
/// proven of a signature does not change while the trust is the same. Whether the authorities are believed still is looked
/// at each time.
pub struct Verifications {
    memory: Cache<(Digest, Digest), Known>,
}

#[derive(Clone)]
struct Known {
    bytes: u32,
    verified: Arc<Verified<Verification>>,
}

impl Default for Verifications {
    fn default() -> Self {
        let weigher = |_: &(Digest, Digest), known: &Known| known.bytes.saturating_mul(4);
        Self { memory: Cache::builder().max_capacity(VERIFIED_BYTES).weigher(weigher).build() }
    }
}

impl Verifications {
    /// Verifies that stored bytes speak for a contract.
    ///
    /// # Errors
    /// When they are not a bundle, or do not speak for it.
    pub fn of_bytes(
        &self,
        trust: &Trust,
        id: Digest,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Arc<Verified<Verification>>, Untrusted> {
        match self.memory.get(&(id, trust.digest)) {
            Some(known) => trust.believes(&known.verified, now).map(|()| known.verified),
            None => self.of_bundle(trust, &Bundle::parse(bytes)?, now),
        }
    }

    /// Verifies that a bundle speaks for a contract.
    ///
    /// # Errors
    /// When it does not.
    pub fn of_bundle(
        &self,
        trust: &Trust,
        bundle: &Bundle,
        now: Timestamp,
    ) -> Result<Arc<Verified<Verification>>, Untrusted> {
        let key = (bundle.id(), trust.digest);
        if let Some(known) = self.memory.get(&key) {
            trust.believes(&known.verified, now)?;
            return Ok(known.verified);
        }
        let verified = Arc::new(trust.verify(bundle, now)?);
        let bytes = u32::try_from(bundle.bytes().len()).unwrap_or(u32::MAX);
        self.memory.insert(key, Known { bytes, verified: Arc::clone(&verified) });
        Ok(verified)
    }
}
