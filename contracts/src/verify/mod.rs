//! Verification: from a bundle that anybody may have sent to a statement and those who signed it.
//!
//! This module must not contain authorization. It says who signed; [`SignerPolicy`] is a list that the caller holds
//! the answer against, and what a contract asks for is decided elsewhere.

mod keyless;
mod own_ca;
mod signer;
pub mod token;
pub mod tuf;
mod verified;

use std::{collections::BTreeSet, fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::keyless::Keyless;
pub use self::{
    own_ca::{OwnAuthority, OwnAuthorityError},
    signer::{AllowedSigner, SignerIdentity, SignerPolicy, SignerPolicyError},
    verified::Verified,
};
use crate::{
    Bundle, Code, Digest, Hasher, PublicKey, Statement,
    bundle::Material,
    digest::shorten,
    dsse::{Envelope, IN_TOTO_PAYLOAD_TYPE},
    json::JsonError,
    limits,
    statement::StatementError,
};

/// Whom signatures are checked against: public keys, and the authorities of a Sigstore `trusted_root.json`. Without
/// either, everything is refused. Cloning is cheap.
#[derive(Clone)]
pub struct TrustRoot {
    /// In the order of their ids, each once.
    keys: Arc<[PublicKey]>,
    keyless: Option<Arc<Keyless>>,
    /// How long the authorities count, when somebody keeps them fresh.
    fresh: Option<Arc<Fresh>>,
    digest: Digest,
}

/// How long authorities count that somebody keeps fresh.
#[derive(Debug, PartialEq, Eq)]
struct Fresh {
    /// From then on they do not; `None`: there are none yet.
    until: Option<Timestamp>,
    /// Who keeps them, and when that was last heard of, in words.
    told: String,
}

/// What a verified bundle proved.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// What was signed.
    pub statement: Statement,
    /// Who signed it, each once however often they did. Never empty. Whether they may is not decided here.
    pub signers: BTreeSet<SignerIdentity>,
    /// The earliest time that a transparency log or timestamp authority proves for the signature. Never what the
    /// statement says of itself.
    pub signed_at: Option<Timestamp>,
    /// What the certificate says about the build that asked for it.
    pub claims: Option<BuildClaims>,
    /// The bundle's id: a name for its bytes, of which only a part is signed.
    pub attestation: Digest,
    /// SHA-256 of what was signed, the payload and its type. Whatever is put around it, this stays.
    pub signed: Digest,
}

/// What a verified envelope proved that holds another document than a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// The document's own bytes.
    pub document: Vec<u8>,
    /// Who signed them, each once however often they did. Never empty. Whether they may is not decided here.
    pub signers: BTreeSet<SignerIdentity>,
}

/// What a certificate authority wrote into a certificate about the pipeline that it gave it to, as the identity
/// provider told it. The build itself cannot choose these. Which are there depends on the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct BuildClaims {
    /// The repository that was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<String>,
    /// The branch or tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<String>,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// The definition of the pipeline that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_config: Option<String>,
    /// The event that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Whether the provider's own machines ran it (`github-hosted`) or somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_environment: Option<String>,
    /// The run's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl TrustRoot {
    /// A trust root of these keys and, when given, the content of a `trusted_root.json`. Prepares everything that can
    /// be prepared, so build one and keep it.
    ///
    /// # Errors
    /// When there are more than [`limits::TRUSTED_KEYS`] different keys, or the file is longer than
    /// [`limits::TRUSTED_ROOT_BYTES`] or anything in it cannot be used.
    pub fn new(keys: Vec<PublicKey>, sigstore: Option<&[u8]>) -> Result<Self, TrustRootError> {
        let keyless = sigstore.map(|bytes| Keyless::new(bytes, false)).transpose()?;
        Self::of(keys, keyless.map(Arc::new), None)
    }

    /// Like [`TrustRoot::new`], but certificates count only with a log's proof of inclusion. Without this, bundles of
    /// version 0.1 pass with the log's signed promise, as that version allows; and its number is not signed.
    ///
    /// # Errors
    /// As [`TrustRoot::new`].
    pub fn demanding_inclusion_proof(keys: Vec<PublicKey>, sigstore: &[u8]) -> Result<Self, TrustRootError> {
        Self::of(keys, Some(Arc::new(Keyless::new(sigstore, true)?)), None)
    }

    /// Other keys beside the same authorities, which need not be prepared again.
    ///
    /// # Errors
    /// When there are more than [`limits::TRUSTED_KEYS`] different keys.
    pub fn with_keys(&self, keys: Vec<PublicKey>) -> Result<Self, TrustRootError> {
        Self::of(keys, self.keyless.clone(), self.fresh.clone())
    }

    /// The same, whose certificates are believed until then: at that very instant none is any more, whatever was proven of
    /// it before. `told` says in words who keeps the authorities fresh and what was last heard of that, for those who are
    /// refused then. Keys are not affected.
    #[must_use]
    pub fn until(self, until: Timestamp, told: String) -> Self {
        Self { fresh: Some(Arc::new(Fresh { until: Some(until), told })), ..self }
    }

    /// Nobody yet: no certificate is believed while the authorities are awaited. `told` says in words from whom.
    #[must_use]
    pub fn awaited(told: String) -> Self {
        Self::made(BTreeSet::new(), None, Some(Arc::new(Fresh { until: None, told })))
    }

    /// When certificates stop to be believed; `None`: they do not stop, or were not believed at all.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.fresh.as_ref().and_then(|fresh| fresh.until)
    }

    /// Why no certificate is believed now, although there is somebody who keeps the authorities fresh; `None`: they are
    /// believed, or never were to be.
    #[must_use]
    pub fn unbelieved(&self, now: Timestamp) -> Option<VerifyError> {
        let fresh = self.fresh.as_ref()?;
        let told = fresh.told.clone();
        match fresh.until {
            None => Some(VerifyError::AuthorityAwaited { told }),
            Some(until) if now >= until => Some(VerifyError::AuthorityTooOld { until, told }),
            Some(_) => None,
        }
    }

    fn of(
        keys: Vec<PublicKey>,
        keyless: Option<Arc<Keyless>>,
        fresh: Option<Arc<Fresh>>,
    ) -> Result<Self, TrustRootError> {
        let keys: BTreeSet<PublicKey> = keys.into_iter().collect();
        if keys.len() > limits::TRUSTED_KEYS {
            return Err(TrustRootError::TooManyKeys { max: limits::TRUSTED_KEYS });
        }
        Ok(Self::made(keys, keyless, fresh))
    }

    fn made(keys: BTreeSet<PublicKey>, keyless: Option<Arc<Keyless>>, fresh: Option<Arc<Fresh>>) -> Self {
        let mut hasher = Hasher::default();
        hasher.update_framed(b"sluice trust root 1");
        for key in &keys {
            hasher.update_framed(key.id().as_bytes());
        }
        if let Some(keyless) = &keyless {
            hasher.update_framed(keyless.kind());
            hasher.update_framed(keyless.digest().as_bytes());
        }
        Self { keys: keys.into_iter().collect(), keyless, fresh, digest: hasher.finish() }
    }

    /// A digest over all keys and the trusted root's bytes: two trust roots with the same digest verify the same, but for
    /// when they end.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Verifies a bundle: the payload is an in-toto statement, and every signer that comes back signed these very
    /// bytes. A bundle with a certificate passes when the certificate authority, the logs and the timestamps of the
    /// trusted root bear it out; one without when at least one trusted key signed it. Key names inside the bundle are
    /// hints that nothing depends on.
    ///
    /// # Errors
    /// When nothing trusted signed it, a proof that it carries does not hold, or a proven time lies more than
    /// [`limits::CLOCK_SKEW`] after `now`. Nothing of the payload comes back beside an error.
    pub fn verify(&self, bundle: &Bundle, now: Timestamp) -> Result<Verified<Verification>, VerifyError> {
        let envelope = bundle.envelope();
        if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
            return Err(VerifyError::PayloadType { found: shorten(&envelope.payload_type) });
        }
        if self.keys.is_empty() && self.keyless.is_none() && self.fresh.is_none() {
            return Err(VerifyError::NobodyTrusted);
        }
        let (statement, signers, claims, times) = match bundle.material() {
            Material::Certificate => {
                if let Some(error) = self.unbelieved(now) {
                    return Err(error);
                }
                let keyless = self.keyless.as_ref().ok_or(VerifyError::NoAuthority)?;
                let statement = Statement::parse(&envelope.payload)?;
                let signed = keyless.verify(bundle, &statement)?;
                (statement, BTreeSet::from([signed.signer]), Some(signed.claims), signed.times)
            }
            Material::Key => {
                let keys = self.keys_that_signed(envelope);
                let first = *keys.first().ok_or(VerifyError::NoKeyMatches { keys: self.keys.len() })?;
                let statement = Statement::parse(&envelope.payload)?;
                let times = match &self.keyless {
                    Some(keyless) => keyless.key_signature_times(bundle, &statement, first)?,
                    None => Vec::new(),
                };
                let signers = keys.iter().map(|key| SignerIdentity::Key { id: key.id() }).collect();
                (statement, signers, None, times)
            }
        };
        if let Some(late) = times.iter().find(|time| **time > latest(now)) {
            return Err(VerifyError::FromTheFuture { signed_at: *late, now });
        }
        let signed_at = times.into_iter().min();
        let (attestation, signed) = (bundle.id(), Digest::of(&envelope.pae()));
        Ok(Verified::proven(Verification { statement, signers, signed_at, claims, attestation, signed }))
    }

    /// Verifies a document that is not a statement, of a type of its own: every signer that comes back signed these
    /// very bytes as that type. Keys alone count.
    ///
    /// # Errors
    /// When it is of another type, or no trusted key signed it. Nothing of the document comes back beside an error.
    pub fn verify_document(
        &self,
        envelope: &Envelope,
        payload_type: &str,
    ) -> Result<Verified<SignedDocument>, VerifyError> {
        if envelope.payload_type != payload_type || payload_type == IN_TOTO_PAYLOAD_TYPE {
            return Err(VerifyError::DocumentType { found: shorten(&envelope.payload_type) });
        }
        let signed = self.keys_that_signed(envelope);
        if signed.is_empty() {
            return Err(VerifyError::NoKeyMatches { keys: self.keys.len() });
        }
        let signers = signed.iter().map(|key| SignerIdentity::Key { id: key.id() }).collect();
        Ok(Verified::proven(SignedDocument { document: envelope.payload.clone(), signers }))
    }

    /// Every trusted key with a signature in the envelope, each once.
    fn keys_that_signed(&self, envelope: &Envelope) -> Vec<&PublicKey> {
        let message = envelope.pae();
        let signed = |key: &PublicKey| {
            envelope.signatures.iter().any(|signature| {
                let sig = signature.sig.as_slice();
                // Older releases of Chainloop encoded signatures twice. A signature is never base64 by itself.
                key.signed(&message, sig) || STANDARD.decode(sig).is_ok_and(|inner| key.signed(&message, &inner))
            })
        };
        self.keys.iter().filter(|key| signed(key)).collect()
    }
}

fn latest(now: Timestamp) -> Timestamp {
    now.checked_add(limits::CLOCK_SKEW).unwrap_or(Timestamp::MAX)
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sigstore = self.keyless.as_ref().map(|keyless| keyless.digest());
        f.debug_struct("TrustRoot").field("keys", &self.keys).field("sigstore", &sigstore).finish()
    }
}

/// Why a trust root cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRootError {
    /// More keys than are tried.
    #[error("more than {max} different public keys are trusted at once")]
    TooManyKeys {
        /// The bound.
        max: usize,
    },
    /// Not JSON with one meaning.
    #[error("the trusted root cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Another file.
    #[error("this is not a Sigstore trusted root: its `mediaType` is missing or another")]
    NotATrustedRoot,
    /// Something in it cannot be used.
    #[error("the trusted root cannot be used: {reason}")]
    Sigstore {
        /// What the Sigstore library says, shortened.
        reason: String,
    },
}

/// Why a bundle proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// What was signed is not a statement.
    #[error("what was signed is `{found}`, not an in-toto statement (`application/vnd.in-toto+json`)")]
    PayloadType {
        /// What was read, shortened.
        found: String,
    },
    /// What was signed is another kind of document than was asked for.
    #[error("what was signed is `{found}`, which is another kind of document")]
    DocumentType {
        /// What was read, shortened.
        found: String,
    },
    /// What was signed calls itself a statement and is none.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Nobody could have signed it.
    #[error("no key and no certificate authority is trusted, so no signature can count")]
    NobodyTrusted,
    /// Somebody else signed it, or it was changed afterwards.
    #[error("no signature is by a trusted key (of {keys}): another key signed this, or it was changed afterwards")]
    NoKeyMatches {
        /// How many keys were tried.
        keys: usize,
    },
    /// A certificate where only keys are trusted.
    #[error("it is signed with a certificate, and no certificate authority is trusted: a trusted root is needed")]
    NoAuthority,
    /// A certificate, and the authorities that would vouch for it are not there yet.
    #[error("it is signed with a certificate, and there is no trust root yet that could bear it out: {told}")]
    AuthorityAwaited {
        /// Who keeps the trust root, and what was last heard of that.
        told: String,
    },
    /// A certificate, and the authorities were not renewed.
    #[error("it is signed with a certificate, and since {until} the trust root is too old to bear it out: {told}")]
    AuthorityTooOld {
        /// Since when.
        until: Timestamp,
        /// Who keeps the trust root, and what was last heard of that.
        told: String,
    },
    /// The certificate, the log, the timestamp or the signature does not hold.
    #[error("the signature does not verify: {reason}")]
    Sigstore {
        /// What the Sigstore library says, shortened.
        reason: String,
    },
    /// The certificate does not say whose it is.
    #[error(
        "the certificate names no identity, or no issuer that vouches for it, as those of an authority of one's own: `sluice attestation verify --ca-roots` checks such a one"
    )]
    Nameless,
    /// Nothing that could be looked up.
    #[error("the statement names nothing by its sha256 digest")]
    NoSha256Subject,
    /// A proven time that has not come yet.
    #[error("it is proven to be signed at {signed_at}, but now is {now}: one of the clocks is wrong")]
    FromTheFuture {
        /// The proven time.
        signed_at: Timestamp,
        /// Our own time.
        now: Timestamp,
    },
}

impl VerifyError {
    /// The code for findings and answers.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::PayloadType { .. } | Self::DocumentType { .. } | Self::Statement(_) | Self::NoSha256Subject => {
                Code::AttestationMalformed
            }
            Self::AuthorityAwaited { .. } | Self::AuthorityTooOld { .. } => Code::TrustRootTooOld,
            Self::NobodyTrusted
            | Self::NoKeyMatches { .. }
            | Self::NoAuthority
            | Self::Sigstore { .. }
            | Self::Nameless
            | Self::FromTheFuture { .. } => Code::SignatureInvalid,
        }
    }
}

#[cfg(test)]
mod tests;
