//! An exemption's document with the signatures of those who approve it, as it is kept in files and sent.
//!
//! Whoever has a key signs the document's own bytes, in a DSSE envelope. Whoever signs with a certificate makes a Sigstore
//! bundle with an in-toto statement about the document's digest, as `cosign attest-blob` does: the programs that verify
//! such bundles take no other content. Both stand in one JSON object: the envelope's fields, and `bundles`.

use serde_json::{Map, Value, json};

use super::PAYLOAD_TYPE;
use crate::{
    Bundle, BundleError, Digest, Envelope, EnvelopeError, Statement, Subject, dsse::EnvelopeSignature,
    json::parse_strict, limits,
};

/// The predicate's type of statements that approve of an exemption: the document with the subject's digest.
pub const APPROVAL_PREDICATE_TYPE: &str = "https://sluice.dev/exemption-approval/v1";

/// A document and what was signed about it: unproven, see [`super::ApprovalRules::approve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    payload_type: String,
    document: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
    bundles: Vec<Bundle>,
}

/// Why bytes are not a document with its signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalsError {
    /// The envelope's part.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// One of the bundles.
    #[error("the bundle number {number} cannot be read: {reason}")]
    Bundle {
        /// Which, from 1.
        number: usize,
        /// Why.
        reason: BundleError,
    },
    /// `bundles` is something else.
    #[error("`bundles` is not a list of Sigstore bundles")]
    NotBundles,
    /// More than are looked at.
    #[error("there are more than {max} signatures")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The bundle approves of something else.
    #[error(
        "the bundle does not approve of this document: it is a `{predicate_type}` about other bytes, or about more, and has to be a `{APPROVAL_PREDICATE_TYPE}` whose only subject is `{digest}`"
    )]
    OfAnother {
        /// What it is.
        predicate_type: String,
        /// The document's digest.
        digest: Digest,
    },
}

impl Approvals {
    /// A document that nobody has signed yet.
    #[must_use]
    pub fn none_of(document: Vec<u8>) -> Self {
        Self { payload_type: PAYLOAD_TYPE.to_owned(), document, signatures: Vec::new(), bundles: Vec::new() }
    }

    /// Reads what [`Approvals::to_value`] writes, or a DSSE envelope alone.
    ///
    /// # Errors
    /// When it is longer than [`limits::APPROVALS_BYTES`], not strict JSON, no envelope, carries a bundle that cannot be
    /// read, or more than [`limits::ENVELOPE_SIGNATURES`] signatures or bundles, or none at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApprovalsError> {
        let value = parse_strict(bytes, limits::APPROVALS_BYTES).map_err(EnvelopeError::from)?;
        let Envelope { payload_type, payload, signatures } = Envelope::perhaps_unsigned(&value)?;
        let listed = match value.get("bundles") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(bundles)) => bundles.as_slice(),
            Some(_) => return Err(ApprovalsError::NotBundles),
        };
        if signatures.is_empty() && listed.is_empty() {
            return Err(EnvelopeError::NoSignature.into());
        }
        if listed.len() > limits::ENVELOPE_SIGNATURES {
            return Err(ApprovalsError::TooMany { max: limits::ENVELOPE_SIGNATURES });
        }
        let mut bundles = Vec::with_capacity(listed.len());
        for (at, bundle) in listed.iter().enumerate() {
            let bundle = Bundle::parse(bundle.to_string().as_bytes());
            bundles.push(bundle.map_err(|reason| ApprovalsError::Bundle { number: at + 1, reason })?);
        }
        Ok(Self { payload_type, document: payload, signatures, bundles })
    }

    /// The document's own bytes.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// How many signatures there are, whoever made them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.signatures.len() + self.bundles.len()
    }

    /// What keys signed; `None` when none did.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope> {
        let (payload_type, payload) = (self.payload_type.clone(), self.document.clone());
        (!self.signatures.is_empty()).then(|| Envelope { payload_type, payload, signatures: self.signatures.clone() })
    }

    /// What was signed with certificates.
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// The same with what keys signed put in the place of what they had signed. The document stays.
    #[must_use]
    pub fn with_envelope(self, envelope: Envelope) -> Self {
        Self { payload_type: envelope.payload_type, signatures: envelope.signatures, ..self }
    }

    /// The same with one more bundle. That it verifies is not looked at.
    ///
    /// # Errors
    /// When it approves of something else, or there are too many.
    pub fn with_bundle(mut self, bundle: Bundle) -> Result<Self, ApprovalsError> {
        let digest = Digest::of(&self.document);
        let statement = Statement::parse(&bundle.envelope().payload).ok();
        if !statement.as_ref().is_some_and(|statement| approves_of(statement, &digest)) {
            let predicate_type = statement.map(|statement| statement.predicate_type).unwrap_or_default();
            let predicate_type = crate::digest::shorten(&predicate_type);
            return Err(ApprovalsError::OfAnother { predicate_type, digest });
        }
        if self.bundles.len() >= limits::ENVELOPE_SIGNATURES {
            return Err(ApprovalsError::TooMany { max: limits::ENVELOPE_SIGNATURES });
        }
        self.bundles.push(bundle);
        Ok(self)
    }

    /// The statement that a bundle has to carry.
    #[must_use]
    pub fn statement(&self, name: &str) -> Statement {
        let subject = Subject::sha256(name, Digest::of(&self.document));
        Statement::new(vec![subject], APPROVAL_PREDICATE_TYPE, json!({}))
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let signatures = self.signatures.clone();
        let envelope = Envelope { payload_type: self.payload_type.clone(), payload: self.document.clone(), signatures };
        let mut value = envelope.to_value();
        let bundles: Vec<Value> =
            self.bundles.iter().filter_map(|bundle| serde_json::from_slice(bundle.bytes()).ok()).collect();
        if let Some(fields) = value.as_object_mut().filter(|_: &&mut Map<_, _>| !bundles.is_empty()) {
            fields.insert("bundles".to_owned(), Value::Array(bundles));
        }
        value
    }
}

impl From<Envelope> for Approvals {
    fn from(Envelope { payload_type, payload, signatures }: Envelope) -> Self {
        Self { payload_type, document: payload, signatures, bundles: Vec::new() }
    }
}

/// Whether a statement says that its signer approves of the document with this digest, and speaks of nothing else.
pub(super) fn approves_of(statement: &Statement, document: &Digest) -> bool {
    statement.predicate_type == APPROVAL_PREDICATE_TYPE
        && matches!(statement.subjects.as_slice(), [only] if only.sha256_digest() == Some(*document))
}
