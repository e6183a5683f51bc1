//! Private keys.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{KeyError, PublicKey, encrypted, pem};
use crate::{
    Bundle, Diagnostics, Statement,
    digest::shorten,
    dsse::{Envelope, EnvelopeSignature, IN_TOTO_PAYLOAD_TYPE, pae},
    exemption::{self, Exemption},
    limits,
    statement::StatementError,
};

const PLAIN_LABEL: &str = "PRIVATE KEY";
const SEC1_LABEL: &str = "EC PRIVATE KEY";
const ENCRYPTED_LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
const ENCRYPTED_LABEL_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// A private key that signs: ECDSA on P-256 with SHA-256, or Ed25519. Never printed; its own copies in memory are
/// wiped when it goes.
pub struct SigningKey {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// A new P-256 key, the kind that cosign makes.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn generate_p256() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| KeyError::Cryptography)?;
        Self::from_p256(pair)
    }

    /// A new Ed25519 key.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn generate_ed25519() -> Result<Self, KeyError> {
        Self::from_ed25519(Ed25519KeyPair::generate().map_err(|_| KeyError::Cryptography)?)
    }

    /// Reads a PEM file with one private key: cosign's encrypted form (under its present and its old label), PKCS#8,
    /// or openssl's `EC PRIVATE KEY`. The password is for the encrypted form alone; an empty one is a password.
    ///
    /// # Errors
    /// When the password is needed and missing, or does not open the key, or the file is anything else.
    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        let (label, content) = pem::decode(text)?;
        match label {
            PLAIN_LABEL => Self::from_pkcs8_der(&content),
            SEC1_LABEL => EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &content)
                .map_err(|_| KeyError::Algorithm)
                .and_then(Self::from_p256),
            ENCRYPTED_LABEL | ENCRYPTED_LABEL_OLD => {
                let password = password.ok_or(KeyError::PasswordNeeded)?;
                Self::from_pkcs8_der(&encrypted::decrypt(&content, password)?)
            }
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encryption),
            _ => Err(KeyError::Label { label: shorten(label), wanted: "private" }),
        }
    }

    fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            return Self::from_p256(pair);
        }
        Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Algorithm).and_then(Self::from_ed25519)
    }

    fn from_p256(pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = PublicKey::from_p256_point(pair.public_key().as_ref())?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Cryptography)?;
        Ok(Self { pkcs8: Zeroizing::new(document.as_ref().to_vec()), pair: Pair::P256(pair), public })
    }

    fn from_ed25519(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = PublicKey::from_ed25519_bytes(pair.public_key().as_ref())?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Cryptography)?;
        Ok(Self { pkcs8: Zeroizing::new(document.as_ref().to_vec()), pair: Pair::Ed25519(pair), public })
    }

    /// The key as a PEM file that only the password opens, as `cosign generate-key-pair` writes it.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn to_encrypted_pem(&self, password: &[u8]) -> Result<Zeroizing<String>, KeyError> {
        Ok(pem::encode(ENCRYPTED_LABEL, &encrypted::encrypt(&self.pkcs8, password)?))
    }

    /// The key as a PEM file that anybody can use who reads it (PKCS#8).
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::encode(PLAIN_LABEL, &self.pkcs8)
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a statement: a bundle with one signature and, as its hint, the digest that cosign would give.
    ///
    /// # Errors
    /// When the statement would be refused by whoever reads it, or the cryptography library fails.
    pub fn sign(&self, statement: &Statement) -> Result<Bundle, SignError> {
        let payload = statement.to_json_bytes();
        Statement::parse(&payload)?;
        let sig = self.sign_bytes(&pae(IN_TOTO_PAYLOAD_TYPE, &payload))?;
        let signatures = vec![EnvelopeSignature { keyid: None, sig }];
        let envelope = Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE.to_owned(), payload, signatures };
        Ok(Bundle::from_envelope(&envelope, Some(&STANDARD.encode(self.public.id().as_bytes()))))
    }

    /// Adds this key's signature to an attestation that others signed, for contracts that ask for several signers.
    /// The bundle that comes out is another attestation, with another id. What the others signed is read but their
    /// signatures are not checked.
    ///
    /// # Errors
    /// When what was signed is not a statement, there are [`crate::limits::ENVELOPE_SIGNATURES`] signatures already,
    /// or the cryptography library fails.
    pub fn countersign(&self, bundle: &Bundle) -> Result<Bundle, SignError> {
        let mut envelope = bundle.envelope().clone();
        if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
            return Err(SignError::PayloadType { found: shorten(&envelope.payload_type) });
        }
        if envelope.signatures.len() >= limits::ENVELOPE_SIGNATURES {
            return Err(SignError::TooManySignatures { max: limits::ENVELOPE_SIGNATURES });
        }
        Statement::parse(&envelope.payload)?;
        let sig = self.sign_bytes(&envelope.pae())?;
        envelope.signatures.push(EnvelopeSignature { keyid: None, sig });
        Ok(Bundle::from_envelope(&envelope, None))
    }

    /// Approves an exemption: signs the document's own bytes, as what they are.
    ///
    /// # Errors
    /// When the document would be refused by whoever reads it, or the cryptography library fails.
    pub fn approve(&self, document: &[u8]) -> Result<Envelope, SignError> {
        Exemption::parse("exemption", document).map_err(SignError::Exemption)?;
        let sig = self.sign_bytes(&pae(exemption::PAYLOAD_TYPE, document))?;
        let signatures = vec![EnvelopeSignature { keyid: Some(self.public.id().to_string()), sig }];
        let payload_type = exemption::PAYLOAD_TYPE.to_owned();
        Ok(Envelope { payload_type, payload: document.to_vec(), signatures })
    }

    /// Adds this key's approval to an exemption that others approved. Their signatures are not checked.
    ///
    /// # Errors
    /// As [`SigningKey::approve`], when it is another kind of envelope, or when there are
    /// [`crate::limits::ENVELOPE_SIGNATURES`] signatures already.
    pub fn approve_too(&self, envelope: &Envelope) -> Result<Envelope, SignError> {
        if envelope.payload_type != exemption::PAYLOAD_TYPE {
            return Err(SignError::NotAnExemption { found: shorten(&envelope.payload_type) });
        }
        if envelope.signatures.len() >= limits::ENVELOPE_SIGNATURES {
            return Err(SignError::TooManySignatures { max: limits::ENVELOPE_SIGNATURES });
        }
        let own = self.approve(&envelope.payload)?;
        let signatures = envelope.signatures.iter().cloned().chain(own.signatures).collect();
        Ok(Envelope { signatures, ..own })
    }

    /// Not public: whoever could have any bytes signed could have a statement signed that was never checked.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message),
            Pair::Ed25519(pair) => pair.try_sign(message),
        };
        Ok(signature.map_err(|_| SignError::Cryptography)?.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", self.public.id())
    }
}

/// Why a statement was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Nobody could read it back.
    #[error("the statement would be refused: {0}")]
    Statement(#[from] StatementError),
    /// Something other than a statement.
    #[error("only in-toto statements are signed, and this is `{found}`")]
    PayloadType {
        /// What was read, shortened.
        found: String,
    },
    /// What was to be approved is not an exemption.
    #[error("the exemption would be refused: {0}")]
    Exemption(Diagnostics),
    /// An envelope around something else.
    #[error("only exemptions are approved, and this is `{found}`")]
    NotAnExemption {
        /// What was read, shortened.
        found: String,
    },
    /// Full.
    #[error("it carries {max} signatures already, and more are not looked at")]
    TooManySignatures {
        /// The bound.
        max: usize,
    },
    /// The cryptography library failed.
    #[error("the cryptography library or the system's source of randomness failed")]
    Cryptography,
}
