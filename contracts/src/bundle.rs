//! Sigstore bundles: an envelope together with what is needed to verify it
//! (<https://docs.sigstore.dev/about/bundle/>), versions 0.1 to 0.3.

mod beside;
mod cosign;
mod spelling;

pub use beside::{AttestationLayer, attestation_tag, referrers_tag};

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    Digest,
    digest::shorten,
    dsse::{Envelope, EnvelopeError},
    json::JsonError,
    limits,
};

/// The media type of what is written here.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The media types that are read, oldest first. The last two say the same.
pub const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    MEDIA_TYPE,
];

/// A bundle with a DSSE envelope, well-formed but unproven: see [`crate::TrustRoot::verify`]. Its id is the digest
/// of its bytes as they came, so the same attestation written differently is another bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    id: Digest,
    bytes: Arc<[u8]>,
    envelope: Envelope,
    material: Material,
    key_hint: Option<String>,
}

/// How a bundle says its signature is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Material {
    /// With a key that the verifier must know already. The hint is the bundle's own claim and chooses nothing.
    Key,
    /// With the certificate inside it, which a certificate authority must vouch for.
    Certificate,
}

impl Bundle {
    /// Reads a bundle in JSON, of the versions in [`MEDIA_TYPES`], with its fields spelled in either way that protobuf's
    /// JSON has (`mediaType`, `media_type`). One without verification material is read as
    /// signed by a key, as older tools wrote it.
    ///
    /// # Errors
    /// When it is longer than [`limits::BUNDLE_BYTES`], not strict JSON, of another media type, carries no DSSE
    /// envelope or something beside it, names both a key and a certificate, or carries more than
    /// [`limits::BUNDLE_PROOFS`] log entries, timestamps or certificates.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let value = spelling::read(bytes)?;
        let media_type = value.get("mediaType").and_then(Value::as_str).ok_or(BundleError::NotABundle)?;
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(BundleError::MediaType { found: shorten(media_type) });
        }
        if value.get("messageSignature").is_some_and(|other| !other.is_null()) {
            return Err(BundleError::MessageSignature);
        }
        let envelope = Envelope::from_value(value.get("dsseEnvelope").ok_or(BundleError::NoEnvelope)?)?;
        let material = Material::read(value.get("verificationMaterial").unwrap_or(&Value::Null))?;
        let hint = value.pointer("/verificationMaterial/publicKey/hint").and_then(Value::as_str);
        let key_hint = hint.filter(|hint| !hint.is_empty()).map(str::to_owned);
        Ok(Self { id: Digest::of(bytes), bytes: bytes.into(), envelope, material, key_hint })
    }

    /// Wraps a bare envelope as signed by a key. The hint is for people and
    /// other tools; verification tries every trusted key.
    #[must_use]
    pub fn from_envelope(envelope: &Envelope, key_hint: Option<&str>) -> Self {
        let bytes = json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_hint.unwrap_or_default()}},
            "dsseEnvelope": envelope.to_value(),
        })
        .to_string()
        .into_bytes();
        let key_hint = key_hint.filter(|hint| !hint.is_empty()).map(str::to_owned);
        Self {
            id: Digest::of(&bytes),
            bytes: bytes.into(),
            envelope: envelope.clone(),
            material: Material::Key,
            key_hint,
        }
    }

    /// The attestation's id: the SHA-256 digest of the bytes.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was signed, and the signatures: unproven.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Which key is said to have signed, as the tool that signed wrote it. A claim of nobody: it helps people to see
    /// what went wrong and must never choose whom to believe.
    #[must_use]
    pub fn key_hint(&self) -> Option<&str> {
        self.key_hint.as_deref()
    }

    /// The same bytes as JSON with one spelling of its fields, for whoever reads them once more.
    pub(crate) fn to_value(&self) -> Result<Value, BundleError> {
        spelling::read(&self.bytes)
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }
}

impl Material {
    fn read(value: &Value) -> Result<Self, BundleError> {
        let present = |name: &str| value.get(name).filter(|inner| !inner.is_null());
        let bounded = |list: Option<&Value>| {
            let count = list.and_then(Value::as_array).map_or(0, Vec::len);
            if count > limits::BUNDLE_PROOFS {
                return Err(BundleError::TooManyProofs { max: limits::BUNDLE_PROOFS });
            }
            Ok(())
        };
        bounded(value.get("tlogEntries"))?;
        bounded(value.get("timestampVerificationData").and_then(|data| data.get("rfc3161Timestamps")))?;
        let chain = present("x509CertificateChain");
        bounded(chain.and_then(|chain| chain.get("certificates")))?;
        match (present("publicKey"), present("certificate"), chain) {
            (_, None, None) => Ok(Self::Key),
            (None, Some(_), None) | (None, None, Some(_)) => Ok(Self::Certificate),
            _ => Err(BundleError::TwoMaterials),
        }
    }
}

/// Why bytes are not a bundle that can be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not JSON with one meaning.
    #[error("the bundle cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A field in two spellings.
    #[error("the bundle gives `{field}` twice, in two spellings")]
    Spelling {
        /// Which.
        field: &'static str,
    },
    /// No media type.
    #[error("this is not a Sigstore bundle: it has no `mediaType`")]
    NotABundle,
    /// Another version or kind.
    #[error("`{found}` is not a Sigstore bundle of a version that is read (0.1, 0.2, 0.3)")]
    MediaType {
        /// What was read, shortened.
        found: String,
    },
    /// A signature over a file rather than an attestation.
    #[error("the bundle signs a file, not an attestation: sign an in-toto statement instead")]
    MessageSignature,
    /// Nothing signed.
    #[error("the bundle carries no signed envelope")]
    NoEnvelope,
    /// The envelope is malformed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A key and a certificate, or two kinds of certificates.
    #[error("the bundle names more than one kind of signer: a key or a certificate, not both")]
    TwoMaterials,
    /// An annotation of a cosign layer.
    #[error("the annotation `{0}` is not what cosign writes")]
    Annotation(&'static str),
    /// More proofs than are looked at.
    #[error("the bundle carries more than {max} log entries, timestamps or certificates")]
    TooManyProofs {
        /// The bound.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsse::EnvelopeSignature;

    fn envelope() -> Envelope {
        let signatures = vec![EnvelopeSignature { keyid: None, sig: vec![1] }];
        Envelope { payload_type: "t".into(), payload: b"p".to_vec(), signatures }
    }

    #[test]
    fn a_wrapped_envelope_reads_back_as_itself() {
        let bundle = Bundle::from_envelope(&envelope(), Some("hint"));
        assert_eq!(Bundle::parse(bundle.bytes()), Ok(bundle.clone()));
        assert_eq!(bundle.id(), Digest::of(bundle.bytes()));
    }

    #[test]
    fn only_bundles_of_one_meaning_are_read() {
        let good = json!({"mediaType": MEDIA_TYPE, "dsseEnvelope": envelope().to_value()});
        let with = |changes: &[(&str, Value)]| {
            let mut value = good.clone();
            for (name, change) in changes {
                value[name] = change.clone();
            }
            Bundle::parse(value.to_string().as_bytes()).map(|bundle| bundle.material)
        };
        let material = |value: Value| with(&[("verificationMaterial", value)]);
        let proofs = vec![json!({}); limits::BUNDLE_PROOFS + 1];

        for media_type in MEDIA_TYPES {
            assert_eq!(with(&[("mediaType", json!(media_type))]), Ok(Material::Key));
        }
        assert_eq!(material(json!({"certificate": {}})), Ok(Material::Certificate));
        assert_eq!(material(json!({"x509CertificateChain": {"certificates": []}})), Ok(Material::Certificate));

        let found = MEDIA_TYPE.replace("0.3", "0.4");
        let refused = [
            (with(&[("mediaType", json!(found))]), BundleError::MediaType { found }),
            (with(&[("mediaType", Value::Null)]), BundleError::NotABundle),
            (with(&[("messageSignature", json!({}))]), BundleError::MessageSignature),
            (with(&[("dsseEnvelope", Value::Null)]), BundleError::Envelope(EnvelopeError::Field("payloadType"))),
            (material(json!({"publicKey": {}, "certificate": {}})), BundleError::TwoMaterials),
            (material(json!({"x509CertificateChain": {}, "certificate": {}})), BundleError::TwoMaterials),
            (material(json!({"tlogEntries": proofs})), BundleError::TooManyProofs { max: limits::BUNDLE_PROOFS }),
        ];
        for (result, expected) in refused {
            assert_eq!(result, Err(expected));
        }
        let long = vec![b' '; limits::BUNDLE_BYTES + 1];
        let too_long = BundleError::Json(JsonError::TooLarge { max: limits::BUNDLE_BYTES });
        assert_eq!(Bundle::parse(&long), Err(too_long));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in any::<Vec<u8>>()) {
            let _ = Bundle::parse(&bytes);
        }
    }
}
