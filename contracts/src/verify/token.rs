//! Identity tokens: JSON web tokens (RFC 7519) by which an OpenID provider says which job of which pipeline, or which
//! service account, is calling.
//!
//! [`Token::parse`] reads one and believes nothing: it says which issuer and key to look up. [`Token::verify`] holds
//! it against that issuer's keys ([`Jwks`]) and against what is expected of it, and is the only maker of
//! `Verified<Claims>`. Who comes with such claims, and may do what, is decided elsewhere.
//!
//! This is written here and not taken from a library of tokens: those read the clock themselves, take the last of two
//! equal keys in JSON, and leave bounds to their callers. What remains, one call that checks one signature, is
//! aws-lc-rs's.

mod claims;
mod jwks;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

pub use self::{
    claims::Claims,
    jwks::{Algorithm, Jwks, JwksError},
};
use super::Verified;
use crate::{digest::shorten, json::parse_strict, limits};

/// A token as it was read: well-formed, signed with an algorithm that counts, and unproven.
#[derive(Clone)]
pub struct Token {
    algorithm: Algorithm,
    key: String,
    issuer: String,
    claims: Map<String, Value>,
    /// What was signed.
    signed: String,
    signature: Vec<u8>,
}

/// What a token must say of itself.
#[derive(Debug, Clone, Copy)]
pub struct Expectations<'e> {
    /// Who must have made it, to the letter.
    pub issuer: &'e str,
    /// For whom it may have been made: one of these, to the letter. None of them expects nothing and takes nothing.
    pub audiences: &'e [&'e str],
}

impl Token {
    /// Whether a text has the outward shape of a token: three parts between dots.
    #[must_use]
    pub fn is_shaped(text: &str) -> bool {
        text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Reads a token in its compact form.
    ///
    /// # Errors
    /// When it is longer than [`limits::IDENTITY_TOKEN_BYTES`], not three parts of base64 with strict JSON in them,
    /// unsigned, signed with an algorithm that is not among [`Algorithm`], demands extensions (`crit`), is no `JWT`, or
    /// does not name its key and issuer.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > limits::IDENTITY_TOKEN_BYTES {
            return Err(TokenError::TooLarge { max: limits::IDENTITY_TOKEN_BYTES });
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed { what: "form" })?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed { what: "form" })?;
        let header = object(header, "header")?;
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some(none) if none.eq_ignore_ascii_case("none") => return Err(TokenError::Unsigned),
            Some(name) => Algorithm::named(name).ok_or_else(|| TokenError::Algorithm { found: shorten(name) })?,
            None => return Err(TokenError::Malformed { what: "header" }),
        };
        let kind = header.get("typ").map(|kind| kind.as_str().unwrap_or_default());
        if header.contains_key("crit") || kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt")) {
            return Err(TokenError::Malformed { what: "header" });
        }
        if signature.is_empty() {
            return Err(TokenError::Unsigned);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed { what: "signature" })?;
        let claims = object(payload, "payload")?;
        let text = |object: &Map<String, Value>, name: &str| match object.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let key = text(&header, "kid").ok_or(TokenError::Unnamed { field: "kid" })?;
        let issuer = text(&claims, "iss").ok_or(TokenError::Unnamed { field: "iss" })?;
        Ok(Self { algorithm, key, issuer, claims, signed: signed.to_owned(), signature })
    }

    /// Who the token says made it. Only for finding that issuer in a closed table: nothing may be asked of what stands
    /// here.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Which of the issuer's keys the token says it is signed with. Only for finding that key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Holds the token against its issuer's keys and against what is expected. A clock of the issuer's may differ from
    /// ours by [`limits::CLOCK_SKEW`].
    ///
    /// # Errors
    /// When it is another issuer's or for another audience, is not valid now or longer than
    /// [`limits::IDENTITY_TOKEN_LIFE`], or when none of the keys made its signature. Nothing of what it says comes
    /// back beside an error.
    pub fn verify(
        &self,
        keys: &Jwks,
        expected: &Expectations<'_>,
        now: Timestamp,
    ) -> Result<Verified<Claims>, TokenError> {
        if self.issuer != expected.issuer {
            return Err(TokenError::Issuer { found: shorten(&self.issuer) });
        }
        keys.verify(&self.key, self.algorithm, self.signed.as_bytes(), &self.signature)?;
        let claims = Claims::read(&self.claims)?;
        if !claims.audiences().any(|audience| expected.audiences.contains(&audience)) {
            let found: Vec<&str> = claims.audiences().collect();
            return Err(TokenError::Audience { found: shorten(&found.join(", ")) });
        }
        in_time(&claims, now)?;
        Ok(Verified::proven(claims))
    }
}

/// Whether a token is valid now.
fn in_time(claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
    let (earliest, latest) = (
        now.checked_sub(limits::CLOCK_SKEW).unwrap_or(Timestamp::MIN),
        now.checked_add(limits::CLOCK_SKEW).unwrap_or(Timestamp::MAX),
    );
    if claims.expires_at <= earliest {
        return Err(TokenError::Expired { at: claims.expires_at });
    }
    if let Some(from) = claims.valid_from().filter(|from| *from > latest) {
        return Err(TokenError::NotYet { from });
    }
    let life = claims.expires_at.duration_since(claims.issued_at.unwrap_or(now));
    if life > SignedDuration::try_from(limits::IDENTITY_TOKEN_LIFE).unwrap_or(SignedDuration::ZERO) {
        return Err(TokenError::LongLived);
    }
    Ok(())
}

fn object(part: &str, what: &'static str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed { what })?;
    match parse_strict(&bytes, limits::IDENTITY_TOKEN_BYTES) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(TokenError::Malformed { what }),
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever has the text is whom it speaks of, as long as it is valid.
        write!(f, "Token(by {}, …)", self.issuer)
    }
}

/// Why a token says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any that is issued.
    #[error("the identity token is longer than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// Not a token, or one with two meanings.
    #[error("the identity token's {what} cannot be read: send what the CI system issued, unchanged")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// It does not say what is needed to look anything up.
    #[error("the identity token has no usable `{field}`")]
    Unnamed {
        /// The field.
        field: &'static str,
    },
    /// Anybody could have written it.
    #[error("the identity token is not signed")]
    Unsigned,
    /// An algorithm that proves nothing about the issuer, or is not used with its key.
    #[error(
        "the identity token is signed with `{found}`, which does not count here: it must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA, and fit the issuer's key"
    )]
    Algorithm {
        /// The algorithm, shortened.
        found: String,
    },
    /// None of the issuer's keys has this name.
    #[error("the identity token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// Changed, or signed by somebody else.
    #[error("the identity token's signature does not verify")]
    Signature,
    /// Another issuer than the one whose keys were looked up.
    #[error("the identity token is by `{found}`")]
    Issuer {
        /// Who, shortened.
        found: String,
    },
    /// Made for somebody else.
    #[error(
        "the identity token was made for `{found}`, not for this gateway: ask the CI system for one with the audience that the organization's federation rule names"
    )]
    Audience {
        /// For whom, shortened.
        found: String,
    },
    /// Over.
    #[error("the identity token expired at {at}: ask the CI system for a new one")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Early.
    #[error("the identity token is valid only from {from}: one of the clocks is wrong")]
    NotYet {
        /// From when.
        from: Timestamp,
    },
    /// As good as a password.
    #[error("the identity token is valid for more than {} hours, which is too long for one", limits::IDENTITY_TOKEN_LIFE.as_secs() / 3600)]
    LongLived,
}

impl TokenError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::Malformed { .. } | Self::Unnamed { .. } => "token-malformed",
            Self::Unsigned => "token-unsigned",
            Self::Algorithm { .. } => "token-algorithm",
            Self::UnknownKey => "token-key-unknown",
            Self::Signature => "token-signature-invalid",
            Self::Issuer { .. } => "token-issuer-unknown",
            Self::Audience { .. } => "token-audience",
            Self::Expired { .. } => "token-expired",
            Self::NotYet { .. } => "token-not-yet-valid",
            Self::LongLived => "token-long-lived",
        }
    }
}

#[cfg(test)]
mod tests;
