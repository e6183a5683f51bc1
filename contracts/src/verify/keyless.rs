//! Keyless signatures: certificates of Fulcio, entries of Rekor, timestamps of RFC 3161 authorities.
//!
//! This is the one module that names the sigstore crates (`=0.15.1`; their API still moves). **They read the clock
//! behind our back**: `sigstore_verify` compares times with `Timestamp::now()`, and takes no other. Its answers
//! therefore depend on the machine's clock as well as on `now`; the caller refuses every proven time later than its
//! own `now` plus skew, and remembers only successes.
//!
//! Preparing a verifier parses and checks every certificate and key of the trusted root, which costs more than
//! verifying with it. So it is done once for a [`Keyless`], which trust roots share by `Arc`.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::Value;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Artifact, DerPublicKey, Sha256Hash, SignatureContent};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier};

use super::{BuildClaims, SignerIdentity, TrustRootError, VerifyError};
use crate::{
    Bundle, Digest, PublicKey, Statement,
    bundle::{MEDIA_TYPE, MEDIA_TYPES},
    digest::shorten_to,
    json::parse_strict,
    limits,
};

/// How much of the library's explanation is repeated.
const REASON: usize = 300;
const TRUSTED_ROOT_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// A trusted root, ready to verify with.
pub(super) struct Keyless {
    verifier: Verifier,
    policy: VerificationPolicy,
    /// Key ids of the transparency logs, in base64 as bundles name them.
    logs: Vec<String>,
    demand_proof: bool,
    digest: Digest,
}

/// What a certificate's signature proved.
pub(super) struct Signed {
    pub signer: SignerIdentity,
    pub claims: BuildClaims,
    pub times: Vec<Timestamp>,
}

impl Keyless {
    /// Reads a `trusted_root.json`. What it lists is demanded of every signature: an entry in a transparency log when
    /// it lists logs, a signed certificate timestamp when it lists certificate transparency logs. A private trust
    /// root that has neither relies on its timestamp authority alone, as its owner chose.
    pub fn new(trusted_root: &[u8], demand_proof: bool) -> Result<Self, TrustRootError> {
        let value = parse_strict(trusted_root, limits::TRUSTED_ROOT_BYTES)?;
        if !value.get("mediaType").and_then(Value::as_str).is_some_and(|text| text.starts_with(TRUSTED_ROOT_MEDIA_TYPE))
        {
            return Err(TrustRootError::NotATrustedRoot);
        }
        let refused =
            |error: &dyn std::fmt::Display| TrustRootError::Sigstore { reason: shorten_to(&error.to_string(), REASON) };
        let root: TrustedRoot = serde_json::from_value(value).map_err(|error| refused(&error))?;
        let verifier = Verifier::new(&root).map_err(|error| refused(&error))?;
        let mut policy = VerificationPolicy::any_identity();
        if root.tlogs.is_empty() {
            policy = policy.skip_tlog_unsafe();
        }
        if root.ctlogs.is_empty() {
            policy = policy.skip_sct();
        }
        let logs = root.tlogs.iter().map(|log| log.log_id.key_id.to_string()).collect();
        Ok(Self { verifier, policy, logs, demand_proof, digest: Digest::of(trusted_root) })
    }

    /// The digest of the file's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What is demanded beside what the file demands.
    pub fn kind(&self) -> &'static [u8] {
        if self.demand_proof { b"sigstore, inclusion proof" } else { b"sigstore" }
    }

    /// Verifies a bundle that carries its certificate. Any identity that the certificate authority vouches for
    /// passes: who may sign what is the caller's to decide, from the signer that comes back.
    pub fn verify(&self, bundle: &Bundle, statement: &Statement) -> Result<Signed, VerifyError> {
        let sigstore = Foreign::read(bundle)?;
        if self.demand_proof && self.policy.verifies_tlog() && !sigstore.every_entry_has_a_proof() {
            return Err(refused(&"a log entry comes without its proof of inclusion"));
        }
        let result = self
            .verifier
            .verify(artifact(statement)?, &sigstore.bundle, &self.policy)
            .map_err(|error| refused(&error))?;
        let certificate = result
            .certificate()
            .filter(|_| result.certificate_verified())
            .ok_or_else(|| refused(&"the certificate was not verified"))?;
        let (Some(issuer), Some(identity)) = (&certificate.issuer, &certificate.identity) else {
            return Err(VerifyError::Nameless);
        };
        let signer = SignerIdentity::Certificate { issuer: issuer.clone(), identity: identity.to_string() };
        let ci = &certificate.ci_claims;
        let claims = BuildClaims {
            source_repository: ci.source_repository_uri.clone(),
            source_ref: ci.source_repository_ref.clone(),
            source_digest: ci.source_repository_digest.clone(),
            build_config: ci.build_config_uri.clone(),
            trigger: ci.build_trigger.clone(),
            runner_environment: ci.runner_environment.clone(),
            run: ci.run_invocation_uri.clone(),
        };
        Ok(Signed { signer, claims, times: times(&result)? })
    }

    /// When a signature by this key was made, as far as logs and timestamp authorities of the trusted root prove it.
    /// Such proof is not asked of keys, so what strangers certify, or what cannot be read, is passed over; but an
    /// entry that claims to be from a trusted log must verify.
    pub fn key_signature_times(
        &self,
        bundle: &Bundle,
        statement: &Statement,
        key: &PublicKey,
    ) -> Result<Vec<Timestamp>, VerifyError> {
        let Ok(sigstore) = Foreign::read(bundle) else { return Ok(Vec::new()) };
        let material = &sigstore.bundle.verification_material;
        if material.tlog_entries.is_empty() && material.timestamp_verification_data.rfc3161_timestamps.is_empty() {
            return Ok(Vec::new());
        }
        let mut policy = PublicKeyVerificationPolicy::new(DerPublicKey::new(key.as_spki_der().to_vec()));
        if material.tlog_entries.is_empty() {
            policy = policy.skip_tlog_unsafe();
        }
        let known_log = material.tlog_entries.iter().any(|entry| self.logs.contains(&entry.log_id.key_id.to_string()));
        match artifact(statement).map(|artifact| self.verifier.verify(artifact, &sigstore.bundle, &policy))? {
            Ok(result) => times(&result),
            Err(error) if known_log => Err(refused(&error)),
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// A bundle as the sigstore crates read it.
struct Foreign {
    bundle: sigstore_types::Bundle,
}

impl Foreign {
    /// Reads the same bytes once more, and makes sure that both readers found the same envelope.
    fn read(bundle: &Bundle) -> Result<Self, VerifyError> {
        let mut value = bundle.to_value().map_err(|error| refused(&error))?;
        accept_chain(&mut value);
        pass_over_fractional_times(&mut value);
        let foreign: sigstore_types::Bundle = serde_json::from_value(value).map_err(|error| refused(&error))?;
        let ours = bundle.envelope();
        match (&foreign.content, ours.signatures.as_slice()) {
            (SignatureContent::DsseEnvelope(theirs), [signature])
                if theirs.payload_type == ours.payload_type
                    && theirs.payload.as_bytes() == ours.payload
                    && theirs.signature.sig.as_bytes() == signature.sig =>
            {
                Ok(Self { bundle: foreign })
            }
            _ => Err(refused(&"a certificate speaks for one signature, and the envelope has another number")),
        }
    }

    fn every_entry_has_a_proof(&self) -> bool {
        self.bundle.verification_material.tlog_entries.iter().all(|entry| entry.inclusion_proof.is_some())
    }
}

/// Some tools write a certificate chain into bundles of version 0.3, which knows single certificates only. Version
/// 0.2 knows chains and demands the same proofs, so such a bundle is read as that.
fn accept_chain(value: &mut Value) {
    let [_, v0_2, v0_3_old, _] = MEDIA_TYPES;
    let chain = value.pointer("/verificationMaterial/x509CertificateChain").is_some_and(|chain| !chain.is_null());
    if let Some(media_type) = value.get_mut("mediaType").filter(|_| chain)
        && (media_type == MEDIA_TYPE || media_type == v0_3_old)
    {
        *media_type = Value::from(v0_2);
    }
}

/// RFC 3161 lets a timestamp say fractions of a second, and some authorities do; the crate reads whole seconds only and
/// refuses the bundle for it. Where a log entry can prove the time instead, such a timestamp is passed over. That gives
/// nothing to an attacker, who could leave the timestamp out. Without a log entry, the crate's refusal stands.
fn pass_over_fractional_times(value: &mut Value) {
    let Some(material) = value.get_mut("verificationMaterial") else { return };
    if material.get("tlogEntries").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return;
    }
    let Some(Value::Array(tokens)) = material.pointer_mut("/timestampVerificationData/rfc3161Timestamps") else {
        return;
    };
    tokens.retain(|token| {
        let text = token.get("signedTimestamp").and_then(Value::as_str).unwrap_or_default();
        !STANDARD.decode(text).is_ok_and(|der| says_a_fraction(&der))
    });
}

/// Whether a GeneralizedTime with a fraction of a second stands anywhere in this DER.
fn says_a_fraction(der: &[u8]) -> bool {
    const GENERALIZED_TIME: u8 = 0x18;
    der.iter().enumerate().any(|(at, tag)| {
        let rest = der.get(at + 1..).unwrap_or_default();
        let Some((length, content)) = rest.split_first().filter(|_| *tag == GENERALIZED_TIME) else { return false };
        let Some(text) = content.get(..usize::from(*length)).and_then(|text| text.strip_suffix(b"Z")) else {
            return false;
        };
        match text.split_at_checked(14) {
            Some((seconds, [b'.', fraction @ ..])) if !fraction.is_empty() => {
                seconds.iter().chain(fraction).all(u8::is_ascii_digit)
            }
            _ => false,
        }
    })
}

/// The crate verifies a bundle about an artifact. Which artifact is wanted is decided later, from the statement; so
/// it is asked about the first one that the statement names.
fn artifact(statement: &Statement) -> Result<Artifact<'static>, VerifyError> {
    let digest = statement.image_digests().first().copied().ok_or(VerifyError::NoSha256Subject)?;
    Ok(Artifact::from_digest(Sha256Hash::new(*digest.as_bytes())))
}

/// The crate's timestamps are of another version of `jiff`.
fn times(result: &VerificationResult) -> Result<Vec<Timestamp>, VerifyError> {
    let all = result.verified_timestamps().iter().copied().chain(result.integrated_time());
    all.map(|time| Timestamp::new(time.as_second(), time.subsec_nanosecond()).map_err(|error| refused(&error)))
        .collect()
}

fn refused(reason: &dyn std::fmt::Display) -> VerifyError {
    VerifyError::Sigstore { reason: shorten_to(&reason.to_string(), REASON) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_timestamp_with_a_fraction_is_passed_over_only_beside_a_log_entry() {
        let token = |time: &[u8]| {
            let der = [&[0x30, 0x22, 0x18, u8::try_from(time.len()).unwrap()], time, &[0x30, 0x00]].concat();
            json!({"signedTimestamp": STANDARD.encode(der)})
        };
        let fractional = token(b"20261122191145.057Z");
        let others = ["20261122191145Z", "20261122191145.Z", "20261122191145.x1Z", "20261122191145.057", "2026.1Z"];
        let mut tokens: Vec<Value> = others.iter().map(|time| token(time.as_bytes())).collect();
        tokens.push(json!({"signedTimestamp": 1}));
        let whole = tokens.clone();
        tokens.insert(1, fractional);
        let material = |entries: &[Value]| {
            let data = json!({"rfc3161Timestamps": tokens});
            let mut value =
                json!({"verificationMaterial": {"tlogEntries": entries, "timestampVerificationData": data}});
            pass_over_fractional_times(&mut value);
            value.pointer("/verificationMaterial/timestampVerificationData/rfc3161Timestamps").cloned()
        };
        assert_eq!(material(&[json!({})]), Some(json!(whole)));
        assert_eq!(material(&[]), Some(json!(tokens)));
    }

    #[test]
    fn a_chain_does_not_loosen_what_a_bundle_must_carry() {
        let [v0_1, v0_2, v0_3_old, v0_3] = MEDIA_TYPES;
        let read_as = |media_type: &str, material: Value| {
            let mut value = json!({"mediaType": media_type, "verificationMaterial": material});
            accept_chain(&mut value);
            value["mediaType"].as_str().unwrap().to_owned()
        };
        let chain = json!({"x509CertificateChain": {"certificates": []}});
        for (media_type, expected) in [(v0_1, v0_1), (v0_2, v0_2), (v0_3_old, v0_2), (v0_3, v0_2)] {
            assert_eq!(read_as(media_type, chain.clone()), expected);
            assert_eq!(read_as(media_type, json!({"certificate": {}})), media_type);
        }
    }
}
