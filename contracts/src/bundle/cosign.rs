//! What cosign 2 keeps in `.att` tags: a bare envelope as a layer, and what it takes to verify it as the layer's
//! annotations.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Bundle, BundleError, MEDIA_TYPES};
use crate::{dsse::Envelope, json::parse_unverified, limits};

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

impl Bundle {
    /// Wraps a layer of a cosign 2 `.att` manifest: signed with the certificate that its annotations carry, else by a
    /// key. The log's promise and the timestamp that are there come along. Such a layer has no proof of inclusion, so
    /// with a certificate it becomes a bundle of version 0.1.
    ///
    /// # Errors
    /// When an annotation is not what cosign writes, or the whole would be refused by [`Bundle::parse`].
    pub fn from_cosign_layer(envelope: &Envelope, annotations: &BTreeMap<String, String>) -> Result<Self, BundleError> {
        let annotation = |name: &'static str| annotations.get(name).filter(|text| !text.trim().is_empty());
        if [CERTIFICATE, LOG_ENTRY, TIMESTAMP].into_iter().all(|name| annotation(name).is_none()) {
            return Ok(Self::from_envelope(envelope, None));
        }
        let mut material = Map::new();
        match annotation(CERTIFICATE) {
            None => material.insert("publicKey".to_owned(), json!({"hint": ""})),
            Some(leaf) => {
                let mut chain = certificates(leaf, CERTIFICATE)?;
                if let Some(rest) = annotation(CHAIN) {
                    chain.extend(certificates(rest, CHAIN)?);
                }
                material.insert("x509CertificateChain".to_owned(), json!({"certificates": chain}))
            }
        };
        if let Some(entry) = annotation(LOG_ENTRY) {
            let entry = log_entry(entry).ok_or(BundleError::Annotation(LOG_ENTRY))?;
            material.insert("tlogEntries".to_owned(), json!([entry]));
        }
        if let Some(timestamp) = annotation(TIMESTAMP) {
            let token = object(timestamp).and_then(|object| object.get("SignedRFC3161Timestamp").cloned());
            let token = token.filter(Value::is_string).ok_or(BundleError::Annotation(TIMESTAMP))?;
            let data = json!({"rfc3161Timestamps": [{"signedTimestamp": token}]});
            material.insert("timestampVerificationData".to_owned(), data);
        }
        let [v0_1, ..] = MEDIA_TYPES;
        let bundle = json!({
            "mediaType": v0_1,
            "verificationMaterial": material,
            "dsseEnvelope": envelope.to_value(),
        });
        Self::parse(bundle.to_string().as_bytes())
    }
}

/// The certificates of a PEM text, as bundles write them.
fn certificates(pem: &str, annotation: &'static str) -> Result<Vec<Value>, BundleError> {
    let mut found = Vec::new();
    let mut rest = pem.trim();
    while !rest.is_empty() {
        let block = rest
            .strip_prefix("-----BEGIN CERTIFICATE-----")
            .and_then(|rest| rest.split_once("-----END CERTIFICATE-----"));
        let (body, after) = block.ok_or(BundleError::Annotation(annotation))?;
        if found.len() >= limits::BUNDLE_PROOFS {
            return Err(BundleError::TooManyProofs { max: limits::BUNDLE_PROOFS });
        }
        found.push(json!({"rawBytes": body.split_ascii_whitespace().collect::<String>()}));
        rest = after.trim_start();
    }
    Ok(found)
}

/// Rekor's answer as cosign keeps it, in the words of a bundle. What kind of entry it is stands in the entry itself.
fn log_entry(annotation: &str) -> Option<Value> {
    let kept = object(annotation)?;
    let payload = kept.get("Payload")?;
    let body = payload.get("body")?.as_str()?;
    let entry = parse_unverified(&STANDARD.decode(body).ok()?, limits::BUNDLE_BYTES).ok()?;
    Some(json!({
        "logIndex": payload.get("logIndex")?.as_u64()?.to_string(),
        "logId": {"keyId": STANDARD.encode(hex::decode(payload.get("logID")?.as_str()?).ok()?)},
        "kindVersion": {"kind": entry.get("kind")?.as_str()?, "version": entry.get("apiVersion")?.as_str()?},
        "integratedTime": payload.get("integratedTime")?.as_u64()?.to_string(),
        "inclusionPromise": {"signedEntryTimestamp": kept.get("SignedEntryTimestamp")?.as_str()?},
        "canonicalizedBody": body,
    }))
}

fn object(text: &str) -> Option<Value> {
    parse_unverified(text.as_bytes(), limits::BUNDLE_BYTES).ok().filter(Value::is_object)
}
