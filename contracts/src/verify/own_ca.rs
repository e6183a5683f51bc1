//! Signatures with certificates of an authority of somebody's own, which no log and often no timestamp vouches for: those
//! that a Chainloop server gives out from its file or EJBCA authority.
//!
//! Such a certificate lives for minutes. Without a proof of when it was used, a signature counts only while the certificate
//! is valid: a stolen key would count for ever else. With a timestamp (RFC 3161) of an authority that is trusted, the
//! certificate has to be valid at that time. Whom it names may be its subject alone (`O=…`, the organization on that
//! server), as it need not have an address or an issuer that vouches for one; who asks says whom they expect.
//!
//! This is for people who verify a bundle in their hands. The gateway does not take such signatures: it verifies again long
//! after the certificate is over, and a contract's signers are named by who vouches for them.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde_json::Value;
use sigstore_crypto::WEBPKI_VERIFICATION_ALGS;
use sigstore_types::{DerCertificate, SignatureBytes, TimestampToken, TsaAuthority};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

use super::{SignerIdentity, Verification, Verified, VerifyError, latest};
use crate::{
    Bundle, Digest, PublicKey, Statement,
    digest::{shorten, shorten_to},
    dsse::IN_TOTO_PAYLOAD_TYPE,
    limits,
};

/// `id-kp-codeSigning` (RFC 5280, section 4.2.1.12): 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// Certificates read from one file.
const CERTIFICATES: usize = 32;
const REASON: usize = 300;

/// The authorities that somebody trusts.
pub struct OwnAuthority {
    roots: Vec<Root>,
    intermediates: Vec<CertificateDer<'static>>,
    timestamps: Option<TsaAuthority>,
}

struct Root {
    anchor: TrustAnchor<'static>,
    from: u64,
    until: u64,
}

/// Why files hold no authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnAuthorityError {
    /// No certificate in it, or something else.
    #[error("there is no certificate in PEM in it, or something else beside")]
    NoCertificate,
    /// More certificates than are read.
    #[error("there are more than {max} certificates in it")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// One of them cannot be used.
    #[error("the certificate number {number} in it cannot be used: {reason}")]
    Certificate {
        /// Which, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// A timestamp authority signs with a certificate that another one issued.
    #[error("a timestamp authority needs the certificate that signs first, and those that issued it after it")]
    NoChain,
}

impl OwnAuthority {
    /// Reads PEM files: the roots, the certificates between them and signers, and the chain of a timestamp authority, the
    /// certificate that signs first and its root last.
    ///
    /// # Errors
    /// When one of them is something else.
    pub fn new(
        roots: &str,
        intermediates: Option<&str>,
        timestamps: Option<&str>,
    ) -> Result<Self, (&'static str, OwnAuthorityError)> {
        let roots = certificates(roots).and_then(|ders| {
            ders.into_iter().enumerate().map(|(at, der)| Root::read(at + 1, &der)).collect::<Result<Vec<_>, _>>()
        });
        let roots = roots.map_err(|error| ("roots", error))?;
        let intermediates = intermediates.map(certificates).transpose().map_err(|error| ("intermediates", error))?;
        let timestamps = timestamps.map(timestamp_authority).transpose().map_err(|error| ("timestamps", error))?;
        let intermediates = intermediates.unwrap_or_default().into_iter().map(CertificateDer::from).collect();
        Ok(Self { roots, intermediates, timestamps })
    }

    /// Verifies a bundle that carries its certificate. The certificate has to be for signing code, issued by one of the
    /// authorities, and valid at each time that a timestamp proves; without a timestamp that can be checked, at `now`.
    ///
    /// # Errors
    /// When any of it does not hold. Nothing of the payload comes back beside an error.
    pub fn verify(&self, bundle: &Bundle, now: Timestamp) -> Result<Verified<Verification>, VerifyError> {
        let envelope = bundle.envelope();
        if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
            return Err(VerifyError::PayloadType { found: shorten(&envelope.payload_type) });
        }
        let value = bundle.to_value().map_err(|error| refused(&error))?;
        let material = value.get("verificationMaterial").unwrap_or(&Value::Null);
        let (leaf, between) = carried(material)?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(refused(&"a certificate speaks for one signature, and the envelope has another number"));
        };
        let certificate = Certificate::from_der(&leaf).map_err(|error| refused(&error))?;
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|error| refused(&error))?;
        let key = PublicKey::from_spki_der(&spki).map_err(|error| refused(&error))?;
        let message = envelope.pae();
        // Older releases of Chainloop encoded signatures twice. A signature is never base64 by itself.
        let spellings = [Some(signature.sig.clone()), STANDARD.decode(&signature.sig).ok()];
        let signed = spellings.into_iter().flatten().find(|sig| key.signed(&message, sig));
        let sig =
            signed.ok_or_else(|| refused(&"the key of its certificate did not sign it, or it was changed since"))?;
        let statement = Statement::parse(&envelope.payload)?;
        let times = self.times(material, &sig)?;
        if let Some(late) = times.iter().find(|time| **time > latest(now)) {
            return Err(VerifyError::FromTheFuture { signed_at: *late, now });
        }
        for at in if times.is_empty() { vec![now] } else { times.clone() } {
            self.issued(&leaf, &between, at).map_err(|reason| refused(&self.explained(&reason, material, &times)))?;
        }
        let signers = [named(&leaf, &certificate)?].into();
        let (attestation, signed) = (bundle.id(), Digest::of(&message));
        let signed_at = times.into_iter().min();
        Ok(Verified::proven(Verification { statement, signers, signed_at, claims: None, attestation, signed }))
    }

    /// The times that timestamps prove. Without an authority for them they prove nothing.
    fn times(&self, material: &Value, signature: &[u8]) -> Result<Vec<Timestamp>, VerifyError> {
        let Some(authority) = &self.timestamps else { return Ok(Vec::new()) };
        let signature = SignatureBytes::from_bytes(signature);
        let mut times = Vec::new();
        for token in tokens(material) {
            let der = token.get("signedTimestamp").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
            let der = der.ok_or_else(|| refused(&"one of its timestamps cannot be read"))?;
            let time = sigstore_tsa::verify_timestamp_for_authority(&TimestampToken::new(der), &signature, authority);
            let time = time.map_err(|error| refused(&format!("its timestamp does not verify: {error}")))?;
            times.push(Timestamp::new(time.as_second(), time.subsec_nanosecond()).map_err(|error| refused(&error))?);
        }
        Ok(times)
    }

    /// Whether an authority that is valid then issued the certificate, and it was valid then.
    fn issued(&self, leaf: &[u8], between: &[CertificateDer<'static>], at: Timestamp) -> Result<(), webpki::Error> {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let valid = |root: &&Root| root.from <= seconds && seconds <= root.until;
        let anchors: Vec<TrustAnchor<'static>> =
            self.roots.iter().filter(valid).map(|root| root.anchor.clone()).collect();
        let intermediates: Vec<CertificateDer<'static>> = between.iter().chain(&self.intermediates).cloned().collect();
        let der = CertificateDer::from(leaf);
        EndEntityCert::try_from(&der)?.verify_for_usage(
            WEBPKI_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
            KeyUsage::required(CODE_SIGNING),
            None,
            None,
        )?;
        Ok(())
    }

    fn explained(&self, reason: &webpki::Error, material: &Value, times: &[Timestamp]) -> String {
        match reason {
            webpki::Error::CertExpired { .. } if times.is_empty() => {
                let mend = match (tokens(material).is_empty(), &self.timestamps) {
                    (false, None) => "it carries a timestamp: name its authority with --timestamp-certificate-chain",
                    _ => "only a timestamp could prove that it was signed before, and it carries none",
                };
                format!("its certificate is over, and nothing proves when it was used; {mend}")
            }
            webpki::Error::UnknownIssuer => {
                "its certificate was issued by none of the authorities that are valid then".to_owned()
            }
            other => format!("its certificate does not hold: {other}"),
        }
    }
}

impl Root {
    fn read(number: usize, der: &[u8]) -> Result<Self, OwnAuthorityError> {
        let wrong = |reason: &dyn std::fmt::Display| OwnAuthorityError::Certificate {
            number,
            reason: shorten_to(&reason.to_string(), REASON),
        };
        let validity = Certificate::from_der(der).map_err(|error| wrong(&error))?.tbs_certificate.validity;
        let (from, until) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let der = CertificateDer::from(der);
        let anchor = anchor_from_trusted_cert(&der).map_err(|error| wrong(&error))?.to_owned();
        Ok(Self { anchor, from: from.as_secs(), until: until.as_secs() })
    }
}

fn timestamp_authority(pem: &str) -> Result<TsaAuthority, OwnAuthorityError> {
    let ders: Vec<DerCertificate> = certificates(pem)?.into_iter().map(DerCertificate::new).collect();
    match ders.as_slice() {
        [leaf, between @ .., root] => Ok(TsaAuthority::new(leaf.clone(), between.to_vec(), root.clone(), None)),
        _ => Err(OwnAuthorityError::NoChain),
    }
}

/// The certificates of a PEM file, in order.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, OwnAuthorityError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let mut ders = Vec::new();
    let mut rest = pem;
    while let Some((before, from)) = rest.split_once(BEGIN) {
        let (body, after) = from.split_once("-----END CERTIFICATE-----").ok_or(OwnAuthorityError::NoCertificate)?;
        if before.contains("-----BEGIN") {
            return Err(OwnAuthorityError::NoCertificate);
        }
        let der = STANDARD.decode(body.split_ascii_whitespace().collect::<String>());
        ders.push(der.map_err(|_| OwnAuthorityError::NoCertificate)?);
        if ders.len() > CERTIFICATES {
            return Err(OwnAuthorityError::TooMany { max: CERTIFICATES });
        }
        rest = after;
    }
    if ders.is_empty() || rest.contains("-----BEGIN") { Err(OwnAuthorityError::NoCertificate) } else { Ok(ders) }
}

/// The certificate that a bundle carries, and those beside it, which prove nothing by being there.
fn carried(material: &Value) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), VerifyError> {
    let single = material.get("certificate").into_iter();
    let chain = material.pointer("/x509CertificateChain/certificates").and_then(Value::as_array);
    let mut ders = Vec::new();
    for one in single.chain(chain.into_iter().flatten()).take(limits::BUNDLE_PROOFS) {
        let text = one.get("rawBytes").and_then(Value::as_str).unwrap_or_default();
        ders.push(STANDARD.decode(text).map_err(|_| refused(&"its certificate cannot be read"))?);
    }
    let mut ders = ders.into_iter();
    let leaf = ders.next().ok_or_else(|| refused(&"it carries no certificate"))?;
    Ok((leaf, ders.map(CertificateDer::from).collect()))
}

fn tokens(material: &Value) -> &[Value] {
    let tokens = material.pointer("/timestampVerificationData/rfc3161Timestamps").and_then(Value::as_array);
    tokens.map(Vec::as_slice).unwrap_or_default()
}

/// Whom the certificate names: as those of Fulcio do, else by its subject.
fn named(der: &[u8], certificate: &Certificate) -> Result<SignerIdentity, VerifyError> {
    let info =
        sigstore_crypto::parse_certificate_info(&DerCertificate::new(der.to_vec())).map_err(|error| refused(&error))?;
    let authority = || certificate.tbs_certificate.issuer.to_string();
    let (issuer, identity) = match (info.issuer, info.identity) {
        (Some(issuer), Some(identity)) => (issuer, identity.to_string()),
        (None, Some(identity)) => (authority(), identity.to_string()),
        (_, None) => (authority(), certificate.tbs_certificate.subject.to_string()),
    };
    if identity.is_empty() {
        return Err(VerifyError::Nameless);
    }
    Ok(SignerIdentity::Certificate { issuer, identity })
}

fn refused(reason: &dyn std::fmt::Display) -> VerifyError {
    VerifyError::Sigstore { reason: shorten_to(&reason.to_string(), REASON) }
}
