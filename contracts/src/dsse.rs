//! DSSE envelopes: a payload, its type, and signatures over both
//! (<https://github.com/secure-systems-lab/dsse>, v1.0.2).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    json::{JsonError, parse_unverified},
    limits,
};

/// The payload type of in-toto statements, the only one that is verified here.
pub const IN_TOTO_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An envelope as it was read. Nothing in it is proven: see [`crate::TrustRoot::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload's own bytes, the ones that were signed.
    pub payload: Vec<u8>,
    /// The signatures: from 1 to [`limits::ENVELOPE_SIGNATURES`], none of them empty.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// What the signer says which key it was. Not signed, so never believed: one key under two names is one key.
    pub keyid: Option<String>,
    /// The signature's bytes.
    pub sig: Vec<u8>,
}

/// The bytes that a DSSE signature is made over: type and payload with their lengths, so that neither can run
/// into the other.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Reads an envelope in JSON. Fields that the specification does not know are ignored, as it asks.
    ///
    /// # Errors
    /// When it is longer than [`limits::BUNDLE_BYTES`], not strict JSON, lacks a field, has base64 other than the
    /// standard alphabet with padding, no signature, an empty one, or more than [`limits::ENVELOPE_SIGNATURES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::from_value(&parse_unverified(bytes, limits::BUNDLE_BYTES)?)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, EnvelopeError> {
        let envelope = Self::perhaps_unsigned(value)?;
        if envelope.signatures.is_empty() {
            return Err(EnvelopeError::NoSignature);
        }
        Ok(envelope)
    }

    /// The same for what may be signed by something beside the envelope alone.
    pub(crate) fn perhaps_unsigned(value: &Value) -> Result<Self, EnvelopeError> {
        let payload_type = text(value, "payloadType")?.to_owned();
        let payload = base64(text(value, "payload")?, "payload")?;
        let list = value.get("signatures").and_then(Value::as_array).ok_or(EnvelopeError::Field("signatures"))?;
        if list.len() > limits::ENVELOPE_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { max: limits::ENVELOPE_SIGNATURES });
        }
        let signatures = list.iter().map(EnvelopeSignature::from_value).collect::<Result<_, _>>()?;
        Ok(Self { payload_type, payload, signatures })
    }

    /// The envelope as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let signatures: Vec<Value> = self.signatures.iter().map(EnvelopeSignature::to_value).collect();
        json!({
            "payload": STANDARD.encode(&self.payload),
            "payloadType": self.payload_type,
            "signatures": signatures,
        })
    }

    /// The bytes that its signatures are made over.
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }
}

impl EnvelopeSignature {
    fn from_value(value: &Value) -> Result<Self, EnvelopeError> {
        let keyid = match value.get("keyid") {
            None | Some(Value::Null) => None,
            Some(Value::String(keyid)) if keyid.is_empty() => None,
            Some(Value::String(keyid)) => Some(keyid.clone()),
            Some(_) => return Err(EnvelopeError::Field("keyid")),
        };
        let sig = base64(text(value, "sig")?, "sig")?;
        if sig.is_empty() {
            return Err(EnvelopeError::NoSignature);
        }
        Ok(Self { keyid, sig })
    }

    fn to_value(&self) -> Value {
        match &self.keyid {
            Some(keyid) => json!({"keyid": keyid, "sig": STANDARD.encode(&self.sig)}),
            None => json!({"sig": STANDARD.encode(&self.sig)}),
        }
    }
}

fn text<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, EnvelopeError> {
    value.get(name).and_then(Value::as_str).ok_or(EnvelopeError::Field(name))
}

fn base64(text: &str, name: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| EnvelopeError::Base64(name))
}

/// Why bytes are not a DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not JSON with one meaning.
    #[error("the signed envelope cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A field is missing or of another kind.
    #[error("the signed envelope has no usable `{0}`")]
    Field(&'static str),
    /// A field is not base64.
    #[error("`{0}` of the signed envelope is not standard base64 with padding")]
    Base64(&'static str),
    /// No signatures at all, or an empty one.
    #[error("the signed envelope carries no signature, or an empty one")]
    NoSignature,
    /// More signatures than are looked at.
    #[error("the signed envelope carries more than {max} signatures")]
    TooManySignatures {
        /// The bound.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pae_is_the_specification_s() {
        assert_eq!(pae("application/example", b"hello world"), b"DSSEv1 19 application/example 11 hello world");
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn envelopes_that_prove_nothing_are_refused() {
        let with = |payload: &str, signatures: &str| {
            format!(r#"{{"payloadType":"t","payload":"{payload}","signatures":{signatures}}}"#)
        };
        assert!(Envelope::parse(with("aGk=", r#"[{"sig":"AA==","keyid":""}]"#).as_bytes()).is_ok());
        let many = format!("[{}]", [r#"{"sig":"AA=="}"#; limits::ENVELOPE_SIGNATURES + 1].join(","));
        for (envelope, expected) in [
            (with("aGk=", "[]"), EnvelopeError::NoSignature),
            (with("aGk=", r#"[{"sig":""}]"#), EnvelopeError::NoSignature),
            (with("aGk=", r#"[{"sig":"AA=="},{"sig":""}]"#), EnvelopeError::NoSignature),
            (with("aGk=", r#"[{"keyid":"k"}]"#), EnvelopeError::Field("sig")),
            (with("aGk=", r#"[{"sig":"AA==","keyid":1}]"#), EnvelopeError::Field("keyid")),
            (with("aGk=", r#"[{"sig":"-_8="}]"#), EnvelopeError::Base64("sig")),
            (with("aGk", r#"[{"sig":"AA=="}]"#), EnvelopeError::Base64("payload")),
            (with("aG k=", r#"[{"sig":"AA=="}]"#), EnvelopeError::Base64("payload")),
            (with("aGk=", &many), EnvelopeError::TooManySignatures { max: limits::ENVELOPE_SIGNATURES }),
            (r#"{"payload":"","signatures":[]}"#.to_owned(), EnvelopeError::Field("payloadType")),
            ("[]".to_owned(), EnvelopeError::Field("payloadType")),
        ] {
            assert_eq!(Envelope::parse(envelope.as_bytes()), Err(expected), "{envelope}");
        }
    }

    proptest! {
        /// No two pairs of type and payload share the bytes that are signed.
        #[test]
        fn pae_is_injective(a in "[ 0-9a-z]{0,6}", b in "[ 0-9a-z]{0,6}", c in "[ 0-9a-z]{0,6}", d in "[ 0-9a-z]{0,6}") {
            prop_assert_eq!(pae(&a, b.as_bytes()) == pae(&c, d.as_bytes()), a == c && b == d);
        }

        #[test]
        fn reads_what_it_writes(
            payload_type in any::<String>(),
            payload in any::<Vec<u8>>(),
            signatures in prop::collection::vec((prop::option::of(".+"), prop::collection::vec(any::<u8>(), 1..80)), 1..5),
        ) {
            let signatures = signatures.into_iter().map(|(keyid, sig)| EnvelopeSignature { keyid, sig }).collect();
            let envelope = Envelope { payload_type, payload, signatures };
            prop_assert_eq!(Envelope::parse(envelope.to_value().to_string().as_bytes()), Ok(envelope));
        }

        #[test]
        fn reading_never_panics(bytes in any::<Vec<u8>>()) {
            let _ = Envelope::parse(&bytes);
        }
    }
}
