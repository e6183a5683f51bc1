//! Signing with what Sigstore's services vouch for: a certificate for one signature (Fulcio), a log's entry (Rekor) and
//! timestamps (RFC 3161), put together as a bundle of version 0.3.
//!
//! Nothing here sends anything: each step gives the bytes of a request and takes the bytes of its answer. A [`Draft`]
//! holds a signature that was made by this process; an answer that is not about that signature is refused as far as it
//! can be told without trusting anybody. Whether the whole verifies is for [`crate::TrustRoot::verify`] to say.
//!
//! This is written here and not taken from a signing library, which brings its own way of sending, its own bounds and
//! its own clock; the formats are small JSON, and other programs' verifiers are held against what comes out.

mod config;
mod log;
mod timestamp;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};

pub use self::{
    config::{Services, SigningConfigError, Transparency},
    log::LogVersion,
};
use crate::{
    Bundle, KeyError, PublicKey, SigningKey, Statement,
    bundle::MEDIA_TYPE,
    dsse::{Envelope, EnvelopeSignature, IN_TOTO_PAYLOAD_TYPE, pae},
    json::parse_strict,
    keys::SignError,
    limits,
};

/// A key that exists for one signature, and the signature. The private key is never written down and goes with it.
pub struct Ephemeral {
    key: SigningKey,
    envelope: Envelope,
}

/// A signature and what was gathered so far to vouch for it.
#[derive(Debug, Clone)]
pub struct Draft {
    envelope: Envelope,
    verifier: Verifier,
    entries: Vec<Value>,
    timestamps: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Verifier {
    Certificate(Vec<u8>),
    Key(PublicKey),
}

impl Ephemeral {
    /// Signs a statement with a new key (P-256).
    ///
    /// # Errors
    /// When the statement would be refused by whoever reads it, or the cryptography library fails.
    pub fn sign(statement: &Statement) -> Result<Self, SigningError> {
        let key = SigningKey::generate_p256()?;
        let envelope = envelope(&key, statement)?;
        Ok(Self { key, envelope })
    }

    /// What to send to Fulcio (`POST /api/v2/signingCert`): the token, the public key, and its signature over the token's
    /// subject, which shows that the private key is here.
    ///
    /// # Errors
    /// When the token says of nobody whose it is.
    pub fn certificate_request(&self, identity_token: &str) -> Result<Value, SigningError> {
        let subject = subject(identity_token).ok_or(SigningError::Token)?;
        let possession = self.key.sign_bytes(subject.as_bytes())?;
        Ok(json!({
            "credentials": {"oidcIdentityToken": identity_token},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "ECDSA", "content": self.key.public().to_pem()},
                "proofOfPossession": STANDARD.encode(possession),
            },
        }))
    }

    /// Takes Fulcio's answer.
    ///
    /// # Errors
    /// When it holds no certificate for this key.
    pub fn certified(self, answer: &[u8]) -> Result<Draft, SigningError> {
        let refused = |reason| SigningError::Answer { service: "the certificate authority", reason };
        let answer = parse_strict(answer, limits::SIGSTORE_ANSWER_BYTES).map_err(|error| refused(error.to_string()))?;
        let chain = answer.pointer("/signedCertificateEmbeddedSct/chain/certificates");
        // Its promise to log a certificate may come beside it, which a bundle has no place for.
        let leaf = chain.and_then(|chain| chain.get(0)).and_then(Value::as_str);
        let leaf = leaf.ok_or_else(|| refused("it holds no certificate with its log's promise inside".to_owned()))?;
        let certificate = certificate(leaf).ok_or_else(|| refused("its certificate is not one in PEM".to_owned()))?;
        let ours = self.key.public().as_spki_der();
        if !certificate.windows(ours.len()).any(|window| window == ours) {
            return Err(refused("its certificate is for another key".to_owned()));
        }
        Ok(Draft {
            envelope: self.envelope,
            verifier: Verifier::Certificate(certificate),
            ..Draft::empty(self.key.public())
        })
    }
}

impl Draft {
    /// A signature by a key that its owner keeps.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn by_key(key: &SigningKey, statement: &Statement) -> Result<Self, SigningError> {
        Ok(Self { envelope: envelope(key, statement)?, ..Self::empty(key.public()) })
    }

    fn empty(key: &PublicKey) -> Self {
        let envelope = Envelope { payload_type: String::new(), payload: Vec::new(), signatures: Vec::new() };
        Self { envelope, verifier: Verifier::Key(key.clone()), entries: Vec::new(), timestamps: Vec::new() }
    }

    /// What to send to a timestamp authority, in DER (RFC 3161, section 2.4.1).
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn timestamp_request(&self) -> Result<Vec<u8>, SigningError> {
        let signature = self.envelope.signatures.first().map(|signature| signature.sig.as_slice()).unwrap_or_default();
        timestamp::request(signature).map_err(|_| SigningError::Key(KeyError::Cryptography))
    }

    /// Takes its answer.
    ///
    /// # Errors
    /// When it did not grant a timestamp.
    pub fn timestamped(&mut self, answer: &[u8]) -> Result<(), SigningError> {
        let refused =
            |reason: &str| SigningError::Answer { service: "the timestamp authority", reason: reason.to_owned() };
        if answer.len() > limits::SIGSTORE_ANSWER_BYTES || !timestamp::granted(answer) {
            return Err(refused("it grants no timestamp"));
        }
        self.timestamps.push(answer.to_vec());
        Ok(())
    }

    /// What to send to a transparency log, and where below its address.
    ///
    /// # Errors
    /// When the log takes no signatures by such a key.
    pub fn log_request(&self, version: LogVersion) -> Result<(&'static str, Value), SigningError> {
        version.request(&self.envelope, &self.verifier).ok_or(SigningError::Log)
    }

    /// Takes its answer.
    ///
    /// # Errors
    /// When it holds no entry with its proof.
    pub fn logged(&mut self, version: LogVersion, answer: &[u8]) -> Result<(), SigningError> {
        let refused = |reason| SigningError::Answer { service: "the transparency log", reason };
        let answer = parse_strict(answer, limits::SIGSTORE_ANSWER_BYTES).map_err(|error| refused(error.to_string()))?;
        let entry = version.entry(&answer).ok_or_else(|| refused("it holds no entry with its proof".to_owned()))?;
        self.entries.push(entry);
        Ok(())
    }

    /// The bundle. The certificate alone is in it, as bundles of version 0.3 want it: whoever verifies has the chain.
    ///
    /// # Errors
    /// When what was gathered makes no bundle that is read here.
    pub fn bundle(&self) -> Result<Bundle, SigningError> {
        let mut material = Map::new();
        match &self.verifier {
            Verifier::Certificate(der) => {
                material.insert("certificate".to_owned(), json!({"rawBytes": STANDARD.encode(der)}))
            }
            Verifier::Key(key) => {
                material.insert("publicKey".to_owned(), json!({"hint": STANDARD.encode(key.id().as_bytes())}))
            }
        };
        if !self.entries.is_empty() {
            material.insert("tlogEntries".to_owned(), json!(self.entries));
        }
        if !self.timestamps.is_empty() {
            let tokens = self.timestamps.iter().map(|token| json!({"signedTimestamp": STANDARD.encode(token)}));
            let tokens = json!({"rfc3161Timestamps": tokens.collect::<Vec<_>>()});
            material.insert("timestampVerificationData".to_owned(), tokens);
        }
        let bundle = json!({
            "mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": self.envelope.to_value(),
        });
        Bundle::parse(bundle.to_string().as_bytes())
            .map_err(|error| SigningError::Answer { service: "Sigstore", reason: error.to_string() })
    }
}

fn envelope(key: &SigningKey, statement: &Statement) -> Result<Envelope, SigningError> {
    let payload = statement.to_json_bytes();
    Statement::parse(&payload).map_err(SignError::from)?;
    let sig = key.sign_bytes(&pae(IN_TOTO_PAYLOAD_TYPE, &payload))?;
    let signatures = vec![EnvelopeSignature { keyid: None, sig }];
    Ok(Envelope { payload_type: IN_TOTO_PAYLOAD_TYPE.to_owned(), payload, signatures })
}

/// Whom a token speaks of, as Fulcio names them: by e-mail address, else by subject. The token is not verified: it is
/// ours to show, and Fulcio's to believe.
fn subject(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = parse_strict(&payload, limits::IDENTITY_TOKEN_BYTES).ok()?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("email").or_else(|| text("sub")).map(str::to_owned)
}

/// The content of one PEM certificate.
fn certificate(pem: &str) -> Option<Vec<u8>> {
    let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?.split_once("-----END CERTIFICATE-----")?.0;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

/// A certificate as PEM.
fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Why a statement could not be signed with what the services answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The identity token cannot be read.
    #[error("the identity token cannot be read: it is not one, or says of nobody whose it is")]
    Token,
    /// The log and the key do not go together.
    #[error("logs of version 2 take no signatures by Ed25519 keys: use an ECDSA P-256 key, or a log of version 1")]
    Log,
    /// A service answered something else.
    #[error("the answer of {service} cannot be used: {reason}")]
    Answer {
        /// Which.
        service: &'static str,
        /// What is wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
