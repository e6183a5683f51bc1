//! The keys that an issuer publishes (RFC 7517).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::TokenError;
use crate::{
    json::{JsonError, parse_strict},
    limits,
};

/// The signatures that count: by a private key that the issuer alone has. None of them can be made with what an issuer
/// publishes, so neither `none` nor any HMAC is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 10] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::EdDsa),
    ];

    /// By its registered name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, algorithm)| algorithm)
    }

    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(name, _)| name)
    }
}

/// The keys of one issuer that can verify its tokens. Keys for anything else, of kinds that are not used here, and damaged
/// ones are passed over: one key that its issuer wrote wrongly must not take away the others. Two sets that say the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Jwks {
    keys: Vec<Key>,
    damaged: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: String,
    /// The only algorithm that it is used with, when the issuer says so.
    only: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Jwks {
    /// Reads a key set.
    ///
    /// # Errors
    /// When it is longer than [`limits::JWKS_BYTES`], not strict JSON, or no list of at most [`limits::JWKS_KEYS`]
    /// keys, or all of the keys that would be used are damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        let value = parse_strict(bytes, limits::JWKS_BYTES)?;
        let listed = value.get("keys").and_then(Value::as_array).ok_or(JwksError::NotAKeySet)?;
        if listed.len() > limits::JWKS_KEYS {
            return Err(JwksError::TooMany { max: limits::JWKS_KEYS });
        }
        let (mut keys, mut damaged) = (Vec::with_capacity(listed.len()), 0_usize);
        for key in listed {
            match Key::read(key) {
                Some(usable) => keys.extend(usable),
                None => damaged = damaged.saturating_add(1),
            }
        }
        if keys.is_empty() && damaged > 0 {
            return Err(JwksError::Damaged { damaged });
        }
        Ok(Self { keys, damaged })
    }

    /// How many keys that would be used are damaged.
    #[must_use]
    pub const fn damaged(&self) -> usize {
        self.damaged
    }

    /// Whether a key with this name is among them.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    pub(super) fn verify(
        &self,
        id: &str,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let mut refused = TokenError::UnknownKey;
        for key in self.keys.iter().filter(|key| key.id == id) {
            match key.verifies(algorithm, message, signature) {
                Some(true) => return Ok(()),
                Some(false) => refused = TokenError::Signature,
                None if refused == TokenError::UnknownKey => {
                    refused = TokenError::Algorithm { found: algorithm.name().to_owned() };
                }
                None => {}
            }
        }
        Err(refused)
    }
}

impl Key {
    /// `Some(None)`: not one to verify tokens with. `None`: damaged.
    #[expect(clippy::option_option, reason = "damaged and not meant for this are told apart once, by the caller")]
    fn read(value: &Value) -> Option<Option<Self>> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if !value.is_object() {
            return None;
        }
        let Some(id) = text("kid").filter(|id| !id.is_empty()) else { return Some(None) };
        if text("use").is_some_and(|usage| usage != "sig") {
            return Some(None);
        }
        let number = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let material = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => Material::Rsa { modulus: unsigned(number("n")?)?, exponent: unsigned(number("e")?)? },
            (Some("EC"), Some("P-256")) => Material::P256(point(number("x")?, number("y")?, 32)?),
            (Some("EC"), Some("P-384")) => Material::P384(point(number("x")?, number("y")?, 48)?),
            (Some("EC"), Some("P-521")) => Material::P521(point(number("x")?, number("y")?, 66)?),
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(number("x").filter(|x| x.len() == 32)?),
            _ => return Some(None),
        };
        Some(Some(Self { id: id.to_owned(), only: text("alg").map(str::to_owned), material }))
    }

    /// Whether this key made the signature; `None`: it is not used with that algorithm.
    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<bool> {
        if self.only.as_ref().is_some_and(|only| only != algorithm.name()) {
            return None;
        }
        let raw = |with: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(with, key).verify(message, signature).is_ok()
        };
        let rsa: &RsaParameters = match (&self.material, algorithm) {
            (Material::Rsa { .. }, Algorithm::Rs256) => &RSA_PKCS1_2048_8192_SHA256,
            (Material::Rsa { .. }, Algorithm::Rs384) => &RSA_PKCS1_2048_8192_SHA384,
            (Material::Rsa { .. }, Algorithm::Rs512) => &RSA_PKCS1_2048_8192_SHA512,
            (Material::Rsa { .. }, Algorithm::Ps256) => &RSA_PSS_2048_8192_SHA256,
            (Material::Rsa { .. }, Algorithm::Ps384) => &RSA_PSS_2048_8192_SHA384,
            (Material::Rsa { .. }, Algorithm::Ps512) => &RSA_PSS_2048_8192_SHA512,
            (Material::P256(point), Algorithm::Es256) => return Some(raw(&ECDSA_P256_SHA256_FIXED, point)),
            (Material::P384(point), Algorithm::Es384) => return Some(raw(&ECDSA_P384_SHA384_FIXED, point)),
            (Material::P521(point), Algorithm::Es512) => return Some(raw(&ECDSA_P521_SHA512_FIXED, point)),
            (Material::Ed25519(key), Algorithm::EdDsa) => return Some(raw(&ED25519, key)),
            _ => return None,
        };
        let Material::Rsa { modulus, exponent } = &self.material else { return None };
        Some(RsaPublicKeyComponents { n: modulus, e: exponent }.verify(rsa, message, signature).is_ok())
    }
}

/// A number without zeros before it; at least one byte.
fn unsigned(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(first..).map(<[u8]>::to_vec)
}

/// A point in its uncompressed form (SEC 1, section 2.3.3).
fn point(x: Vec<u8>, y: Vec<u8>, length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [vec![4], x, y].concat())
}

/// Why bytes are not the keys of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// Not JSON with one meaning.
    #[error("the key set cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Another document.
    #[error("this is not a key set: it has no list `keys`")]
    NotAKeySet,
    /// More keys than are looked at.
    #[error("the key set has more than {max} keys")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// None that can be used.
    #[error("none of the keys can be used, and {damaged} of them are damaged")]
    Damaged {
        /// How many.
        damaged: usize,
    },
}
