//! Attestations as materials. They are read, not verified: whose they are is for a policy to ask elsewhere.

use base64::{Engine, engine::general_purpose};
use serde_json::Value;

use super::{
    Annotations, MaterialError, documents,
    reading::{Reading, text},
    shape::{
        Shape::{self, Any, Filled, Map, Object, OneOf, Several, Text},
        may, must,
    },
};
use crate::{crafting, digest::shorten};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Another run's attestation, as a Sigstore bundle or a DSSE envelope: policies see the statement in it.
pub(super) fn attestation(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let document = documents::parse(bytes)?;
    let envelope = if document.get("mediaType").is_some() { bundled(&document)? } else { &document };
    let statement = statement(envelope, crafting::PREDICATE_TYPE)?;
    Ok(Reading::json(statement, Annotations::new()))
}

/// SLSA provenance in a Sigstore bundle: policies see the bundle.
pub(super) fn provenance(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let document = documents::parse(bytes)?;
    statement(bundled(&document)?, PROVENANCE)?;
    Ok(Reading::itself(bytes, Annotations::new()))
}

fn bundled(document: &Value) -> Result<&Value, MaterialError> {
    document
        .get("dsseEnvelope")
        .ok_or_else(|| MaterialError::malformed("it has no `dsseEnvelope`, so it is not a bundle with an attestation"))
}

/// The statement in an envelope, which has to have this predicate.
fn statement(envelope: &Value, predicate: &str) -> Result<Vec<u8>, MaterialError> {
    static ENVELOPE: Shape = Object(&[
        must("payloadType", OneOf(&[PAYLOAD_TYPE])),
        must("payload", Filled),
        must("signatures", Several(&Object(&[must("sig", Filled)]))),
    ]);
    static STATEMENT: Shape = Object(&[
        must("_type", Filled),
        must("predicateType", Filled),
        must("subject", Several(&Object(&[must("digest", Map(&Text)), may("name", Text)]))),
        must("predicate", Map(&Any)),
    ]);
    ENVELOPE.check(envelope, 0).map_err(|error| error.about("the envelope"))?;
    let payload = text(envelope, "payload").unwrap_or_default();
    let payload = general_purpose::STANDARD
        .decode(payload)
        .or_else(|_| general_purpose::URL_SAFE.decode(payload))
        .map_err(|_| MaterialError::malformed("the envelope's `payload` is not base64"))?;
    let about = |error: MaterialError| error.about("the statement in the envelope");
    let statement = documents::parse(&payload).map_err(about)?;
    STATEMENT.check(&statement, 0).map_err(about)?;
    match text(&statement, "predicateType") {
        Some(found) if found == predicate => Ok(payload),
        found => {
            let found = shorten(found.unwrap_or_default());
            Err(MaterialError::malformed(format!("its predicate is of type `{found}`; it has to be `{predicate}`")))
        }
    }
}
