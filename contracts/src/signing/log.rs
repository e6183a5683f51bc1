//! What transparency logs are asked, and their entries in the words of a bundle.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Verifier, pem};
use crate::{Digest, dsse::Envelope};

/// A version of Rekor's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogVersion {
    /// Entries carry the log's own time and promise.
    V1,
    /// Tiles. Its entries are of the signature over the envelope's encoding, and prove no time: a timestamp is needed
    /// beside them.
    V2,
}

impl LogVersion {
    /// `None`: the log takes no signatures by such a key.
    pub(super) fn request(self, envelope: &Envelope, verifier: &Verifier) -> Option<(&'static str, Value)> {
        match self {
            Self::V1 => {
                let verifier = match verifier {
                    Verifier::Certificate(der) => pem(der),
                    Verifier::Key(key) => key.to_pem(),
                };
                let content = json!({
                    "envelope": envelope.to_value().to_string(),
                    "verifiers": [STANDARD.encode(verifier)],
                });
                let entry = json!({"kind": "dsse", "apiVersion": "0.0.1", "spec": {"proposedContent": content}});
                Some(("api/v1/log/entries", entry))
            }
            Self::V2 => {
                let mut verifier = match verifier {
                    Verifier::Certificate(der) => json!({"x509Certificate": {"rawBytes": STANDARD.encode(der)}}),
                    // It wants hashes only, and Ed25519 as it is used here signs the whole.
                    Verifier::Key(key) if key.is_ed25519() => return None,
                    Verifier::Key(key) => json!({"publicKey": {"rawBytes": STANDARD.encode(key.as_spki_der())}}),
                };
                if let Some(verifier) = verifier.as_object_mut() {
                    verifier.insert("keyDetails".to_owned(), json!("PKIX_ECDSA_P256_SHA_256"));
                }
                let signature = envelope.signatures.first()?;
                let request = json!({
                    "digest": STANDARD.encode(Digest::of(&envelope.pae()).as_bytes()),
                    "signature": {"content": STANDARD.encode(&signature.sig), "verifier": verifier},
                });
                Some(("api/v2/log/entries", json!({"hashedRekordRequestV002": request})))
            }
        }
    }

    pub(super) fn entry(self, answer: &Value) -> Option<Value> {
        match self {
            Self::V1 => entry_v1(answer),
            // Already in the words of a bundle.
            Self::V2 => {
                answer.pointer("/inclusionProof/checkpoint/envelope")?.as_str()?;
                answer.get("canonicalizedBody")?.as_str()?;
                Some(answer.clone())
            }
        }
    }
}

/// The one entry of an answer of Rekor v1.
fn entry_v1(answer: &Value) -> Option<Value> {
    let (_, entry) = answer.as_object().filter(|entries| entries.len() == 1)?.iter().next()?;
    let number = |value: &Value, name: &str| value.get(name)?.as_u64().map(|number| number.to_string());
    let base64 = |value: &Value| Some(STANDARD.encode(hex::decode(value.as_str()?).ok()?));
    let body = entry.get("body")?.as_str()?;
    let decoded: Value = serde_json::from_slice(&STANDARD.decode(body).ok()?).ok()?;
    let proof = entry.pointer("/verification/inclusionProof")?;
    let hashes: Vec<String> = proof.get("hashes")?.as_array()?.iter().map(base64).collect::<Option<_>>()?;
    Some(json!({
        "logIndex": number(entry, "logIndex")?,
        "logId": {"keyId": base64(entry.get("logID")?)?},
        "kindVersion": {"kind": decoded.get("kind")?.as_str()?, "version": decoded.get("apiVersion")?.as_str()?},
        "integratedTime": number(entry, "integratedTime")?,
        "inclusionPromise": {"signedEntryTimestamp": entry.pointer("/verification/signedEntryTimestamp")?.as_str()?},
        "inclusionProof": {
            "logIndex": number(proof, "logIndex")?,
            "rootHash": base64(proof.get("rootHash")?)?,
            "treeSize": number(proof, "treeSize")?,
            "hashes": hashes,
            "checkpoint": {"envelope": proof.get("checkpoint")?.as_str()?},
        },
        "canonicalizedBody": body,
    }))
}
