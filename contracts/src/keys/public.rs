//! Public keys.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{KeyError, pem};
use crate::{Digest, digest::shorten};

const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// What stands before the key itself in a SubjectPublicKeyInfo (RFC 5280, RFC 8410), and how long the key is. The
/// rest of the DER is fixed, so a key has one encoding and thereby one id.
const P256: (&[u8], usize) = (
    &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ],
    65,
);
const ED25519_SPKI: (&[u8], usize) = (&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], 32);

/// A public key: ECDSA on P-256 with SHA-256, or Ed25519. Two are equal exactly when they are the same key, however
/// they were written. Reads and prints as PEM.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    spki: Vec<u8>,
    id: Digest,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a PEM file with one `PUBLIC KEY`, as cosign and openssl write it.
    ///
    /// # Errors
    /// When it is anything else, a private key or a certificate included.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::decode(text)?;
        if label != PUBLIC_LABEL {
            return Err(KeyError::Label { label: shorten(label), wanted: "public" });
        }
        Self::from_spki_der(&der)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// When it is of another algorithm or curve, has a compressed or impossible point, or is not DER.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let algorithms: [(_, &'static dyn VerificationAlgorithm); 2] =
            [(P256, &ECDSA_P256_SHA256_ASN1), (ED25519_SPKI, &ED25519)];
        for ((prefix, length), algorithm) in algorithms {
            if let Some(key) = der.strip_prefix(prefix).filter(|key| key.len() == length) {
                let parsed = ParsedPublicKey::new(algorithm, key).map_err(|_| KeyError::Algorithm)?;
                return Ok(Self(Arc::new(Inner { spki: der.to_vec(), id: Digest::of(der), parsed })));
            }
        }
        Err(KeyError::Algorithm)
    }

    pub(super) fn from_p256_point(point: &[u8]) -> Result<Self, KeyError> {
        Self::from_spki_der(&[P256.0, point].concat())
    }

    pub(super) fn from_ed25519_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::from_spki_der(&[ED25519_SPKI.0, bytes].concat())
    }

    /// The key as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC_LABEL, &self.0.spki).to_string()
    }

    /// The key as a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn as_spki_der(&self) -> &[u8] {
        &self.0.spki
    }

    /// The key's name: the SHA-256 digest of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.0.id
    }

    /// Whether it is an Ed25519 key; else it is one of ECDSA on P-256.
    pub(crate) fn is_ed25519(&self) -> bool {
        self.0.spki.starts_with(ED25519_SPKI.0)
    }

    /// Whether this key made this signature over these bytes. Only the verifier asks, and only about bytes that say
    /// what they are (DSSE's pre-authentication encoding).
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.parsed.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.0.id)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_pem())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_pem(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
