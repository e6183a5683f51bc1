//! The two spellings of a bundle's fields: protobuf's JSON is read with `mediaType` and with `media_type`, and some tools
//! write the second.

use serde_json::Value;

use super::BundleError;
use crate::{json::parse_unverified, limits};

/// The fields of a bundle whose spellings differ.
const FIELDS: [(&str, &str); 23] = [
    ("media_type", "mediaType"),
    ("verification_material", "verificationMaterial"),
    ("dsse_envelope", "dsseEnvelope"),
    ("message_signature", "messageSignature"),
    ("public_key", "publicKey"),
    ("x509_certificate_chain", "x509CertificateChain"),
    ("raw_bytes", "rawBytes"),
    ("tlog_entries", "tlogEntries"),
    ("log_index", "logIndex"),
    ("log_id", "logId"),
    ("key_id", "keyId"),
    ("kind_version", "kindVersion"),
    ("integrated_time", "integratedTime"),
    ("inclusion_promise", "inclusionPromise"),
    ("signed_entry_timestamp", "signedEntryTimestamp"),
    ("inclusion_proof", "inclusionProof"),
    ("root_hash", "rootHash"),
    ("tree_size", "treeSize"),
    ("canonicalized_body", "canonicalizedBody"),
    ("timestamp_verification_data", "timestampVerificationData"),
    ("rfc3161_timestamps", "rfc3161Timestamps"),
    ("signed_timestamp", "signedTimestamp"),
    ("payload_type", "payloadType"),
];

/// Reads a bundle's JSON with every field in its first spelling. A field that is there in both is two fields of one
/// meaning, and refused.
pub(super) fn read(bytes: &[u8]) -> Result<Value, BundleError> {
    let mut value = parse_unverified(bytes, limits::BUNDLE_BYTES)?;
    let begins = FIELDS.iter().take(4).any(|(other, _)| value.get(*other).is_some());
    if begins {
        respell(&mut value)?;
    }
    Ok(value)
}

/// The depth is bounded by the reader.
fn respell(value: &mut Value) -> Result<(), BundleError> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(respell),
        Value::Object(fields) => {
            for (other, first) in FIELDS {
                let Some(inner) = fields.remove(other) else { continue };
                if fields.insert(first.to_owned(), inner).is_some() {
                    return Err(BundleError::Spelling { field: first });
                }
            }
            fields.values_mut().try_for_each(respell)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Bundle, SigningKey, Statement, Subject, TrustRoot, bundle::MEDIA_TYPE};

    #[test]
    fn either_spelling_is_the_same_bundle_and_both_are_none() {
        let key = SigningKey::generate_p256().unwrap();
        let digest = crate::Digest::of(b"image");
        let statement = Statement::new(vec![Subject::sha256("image", digest)], "https://example.com/p", json!({}));
        let bundle: Value = serde_json::from_slice(key.sign(&statement).unwrap().bytes()).unwrap();
        let envelope = &bundle["dsseEnvelope"];
        let mut snake = json!({
            "media_type": MEDIA_TYPE,
            "verification_material": {"public_key": {"hint": "h"}},
            "dsse_envelope": {"payload": envelope["payload"], "payload_type": envelope["payloadType"], "signatures": envelope["signatures"]},
        });
        let root = TrustRoot::new(vec![key.public().clone()], None).unwrap();
        let read = Bundle::parse(snake.to_string().as_bytes()).unwrap();
        assert_eq!(read.key_hint(), Some("h"));
        assert!(root.verify(&read, jiff::Timestamp::UNIX_EPOCH).is_ok());
        snake["verificationMaterial"] = json!({});
        let twice = Bundle::parse(snake.to_string().as_bytes());
        assert_eq!(twice, Err(BundleError::Spelling { field: "verificationMaterial" }));
        let mut smuggled = bundle;
        smuggled["message_signature"] = json!({});
        assert_eq!(Bundle::parse(smuggled.to_string().as_bytes()), Err(BundleError::MessageSignature));
    }
}
