//! What a token says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::TokenError;
use crate::limits;

/// What an identity token says of who holds it. Inside a [`crate::Verified`] its issuer vouches for all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// Who made the token.
    pub issuer: String,
    /// Of whom it speaks.
    pub subject: String,
    /// Until when it is valid.
    pub expires_at: Timestamp,
    /// When it was made, if it says so.
    pub issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    audiences: BTreeSet<String>,
    all: Map<String, Value>,
}

impl Claims {
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, TokenError> {
        let malformed = TokenError::Malformed { what: "payload" };
        let text = |field: &'static str| match claims.get(field) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(TokenError::Unnamed { field }),
        };
        let time = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => instant(value).map(Some).ok_or(malformed.clone()),
        };
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => BTreeSet::from([one.clone()]),
            Some(Value::Array(several)) if several.len() <= limits::IDENTITY_TOKEN_AUDIENCES => {
                let texts = several.iter().map(|one| one.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or(malformed.clone())?
            }
            Some(_) => return Err(malformed),
            None => BTreeSet::new(),
        };
        Ok(Self {
            issuer: text("iss")?,
            subject: text("sub")?,
            expires_at: time("exp")?.ok_or(TokenError::Unnamed { field: "exp" })?,
            issued_at: time("iat")?,
            not_before: time("nbf")?,
            audiences,
            all: claims.clone(),
        })
    }

    /// For whom the token was made.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.audiences.iter().map(String::as_str)
    }

    /// From when the token is valid: it was not made later.
    #[must_use]
    pub(super) fn valid_from(&self) -> Option<Timestamp> {
        self.issued_at.max(self.not_before)
    }

    /// A claim by its name; one inside another by a JSON pointer (RFC 6901), which begins with `/`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        match name.strip_prefix('/') {
            None => self.all.get(name),
            Some(path) => {
                let mut steps = path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
                let first = self.all.get(&steps.next()?)?;
                steps.try_fold(first, |value, step| value.get(step))
            }
        }
    }

    /// A claim that is text and not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// Seconds since 1970, with or without a fraction (RFC 7519, section 2).
fn instant(value: &Value) -> Option<Timestamp> {
    let seconds = match value.as_i64() {
        Some(whole) => whole,
        None => {
            let seconds = value.as_f64().filter(|seconds| (0.0..=253_402_300_799.0).contains(seconds))?;
            #[expect(clippy::cast_possible_truncation, reason = "the fraction is cut, and the range was looked at")]
            let whole = seconds as i64;
            whole
        }
    };
    Timestamp::from_second(seconds).ok()
}
