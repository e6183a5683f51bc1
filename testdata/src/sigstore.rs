//! A Sigstore of the test's own: an authority that issues certificates to workflows, and a transparency log. What it
//! signs verifies against its trusted root, as keyless signatures do against the public one; no service runs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts::{Bundle, Digest, Statement, dsse::Envelope, keys::SigningKey};
use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use crate::{Authority, CodeSigning};

const LOG_NAME: &str = "log.example.test";

/// The authority and the log.
pub struct Sigstore {
    authority: Authority,
    log: KeyPair,
}

impl Sigstore {
    /// A fresh authority and a fresh log, valid for years around `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let log = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair");
        Self { authority: Authority::new("sigstore testdata", now), log }
    }

    /// The `trusted_root.json` of this Sigstore. It names no certificate log: its certificates carry no proof of
    /// having been logged.
    #[must_use]
    pub fn trusted_root(&self) -> Vec<u8> {
        let validity = json!({"start": "2020-01-01T00:00:00Z"});
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [{
                "baseUrl": format!("https://{LOG_NAME}"),
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(self.log.subject_public_key_info()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": validity,
                },
                "logId": {"keyId": STANDARD.encode(self.log_id().as_bytes())},
            }],
            "certificateAuthorities": [{
                "subject": {"organization": "sluice testdata", "commonName": "sigstore testdata"},
                "uri": "https://ca.example.test",
                "certChain": {"certificates": [{"rawBytes": STANDARD.encode(self.authority.root_der())}]},
                "validFor": validity,
            }],
            "ctlogs": [],
            "timestampAuthorities": [],
        })
        .to_string()
        .into_bytes()
    }

    /// Signs a statement as the workflow with this identity, which this issuer vouched for, and logs it at `at`. The
    /// certificate is valid for ten minutes around it.
    #[must_use]
    pub fn attest(&self, statement: &Statement, identity: &str, issuer: &str, at: Timestamp) -> Bundle {
        self.attest_build(statement, identity, issuer, &[], at)
    }

    /// The same with what the issuer told the authority about the build, by the numbers of
    /// [`Authority::code_signing_of`].
    #[must_use]
    pub fn attest_build(
        &self,
        statement: &Statement,
        identity: &str,
        issuer: &str,
        build: &[(u64, &str)],
        at: Timestamp,
    ) -> Bundle {
        self.logged(statement, self.authority.code_signing_of(identity, issuer, build, at), at)
    }

    /// As [`Self::attest`], but logged at another time than the certificate was made.
    #[must_use]
    pub fn attest_logged(
        &self,
        statement: &Statement,
        identity: &str,
        issuer: &str,
        (certified, logged): (Timestamp, Timestamp),
    ) -> Bundle {
        self.logged(statement, self.authority.code_signing_of(identity, issuer, &[], certified), logged)
    }

    /// As [`Self::attest`], with an answer of a timestamp authority over the signature in place of a log's entry.
    #[must_use]
    pub fn attest_stamped(
        &self,
        statement: &Statement,
        identity: &str,
        issuer: &str,
        at: Timestamp,
        stamp: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Bundle {
        let leaf = self.authority.code_signing_of(identity, issuer, &[], at);
        let envelope = signed(statement, &leaf);
        let answer = stamp(envelope.signatures.first().map_or(&[], |one| &one.sig));
        let bundle = json!({
            "mediaType": contracts::bundle::MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": STANDARD.encode(&leaf.certificate_der)},
                "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": STANDARD.encode(answer)}]},
            },
            "dsseEnvelope": envelope.to_value(),
        });
        Bundle::parse(bundle.to_string().as_bytes()).expect("a bundle")
    }

    fn logged(&self, statement: &Statement, leaf: CodeSigning, at: Timestamp) -> Bundle {
        let envelope = signed(statement, &leaf);
        let signature = envelope.signatures.first().map(|one| STANDARD.encode(&one.sig)).unwrap_or_default();
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": Digest::of(envelope.to_value().to_string().as_bytes()).hex()},
                "payloadHash": {"algorithm": "sha256", "value": Digest::of(&envelope.payload).hex()},
                "signatures": [{"signature": signature, "verifier": STANDARD.encode(leaf.certificate_pem)}],
            },
        });
        let bundle = json!({
            "mediaType": contracts::bundle::MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": STANDARD.encode(&leaf.certificate_der)},
                "tlogEntries": [self.entry(body.to_string().as_bytes(), at)],
            },
            "dsseEnvelope": envelope.to_value(),
        });
        Bundle::parse(bundle.to_string().as_bytes()).expect("a bundle")
    }

    /// A log of this one entry, with its promise and its proof (RFC 6962, C2SP signed notes).
    fn entry(&self, body: &[u8], at: Timestamp) -> Value {
        let body_text = STANDARD.encode(body);
        let promised = format!(
            r#"{{"body":"{body_text}","integratedTime":{},"logID":"{}","logIndex":0}}"#,
            at.as_second(),
            self.log_id().hex()
        );
        let root = Digest::of(&[&[0], body].concat());
        let root_text = STANDARD.encode(root.as_bytes());
        let note = format!("{LOG_NAME}\n1\n{root_text}\n");
        let hint: Vec<u8> = self.log_id().as_bytes().iter().take(4).copied().collect();
        let signature = STANDARD.encode([hint, self.sign(note.as_bytes())].concat());
        json!({
            "logIndex": "0",
            "logId": {"keyId": STANDARD.encode(self.log_id().as_bytes())},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": at.as_second().to_string(),
            "inclusionPromise": {"signedEntryTimestamp": STANDARD.encode(self.sign(promised.as_bytes()))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": root_text,
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": format!("{note}\n— {LOG_NAME} {signature}\n")},
            },
            "canonicalizedBody": body_text,
        })
    }

    fn log_id(&self) -> Digest {
        Digest::of(&self.log.subject_public_key_info())
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.log.sign(bytes).expect("a signature of the log")
    }
}

fn signed(statement: &Statement, leaf: &CodeSigning) -> Envelope {
    let key = SigningKey::from_pem(&leaf.key_pem, None).expect("the leaf's key");
    key.sign(statement).expect("a signature").envelope().clone()
}

#[cfg(test)]
mod tests {
    use contracts::{SignerIdentity, statement::Subject, verify::TrustRoot};
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_keyless_signature_verifies_against_its_own_root_alone() {
        let at = crate::noon() - SignedDuration::from_hours(24);
        let (ours, strangers) = (Sigstore::new(at), Sigstore::new(at));
        let subject = Subject::sha256("app", Digest::of(b"app"));
        let statement = Statement::new(vec![subject], "https://example.test/claim/v1", json!({}));
        let bundle = ours.attest(&statement, "https://forge.test/acme/app", "https://issuer.test", at);

        let verify = |sigstore: &Sigstore| {
            let root = TrustRoot::new(Vec::new(), Some(&sigstore.trusted_root())).unwrap();
            root.verify(&bundle, crate::noon())
        };
        let verified = verify(&ours).unwrap();
        let (issuer, identity) = ("https://issuer.test".to_owned(), "https://forge.test/acme/app".to_owned());
        assert!(verified.get().signers.contains(&SignerIdentity::Certificate { issuer, identity }));
        assert_eq!(verified.get().signed_at, Some(at));
        assert!(verify(&strangers).is_err());

        let tampered = String::from_utf8(bundle.bytes().to_vec()).unwrap();
        let logged = at.as_second().to_string();
        let earlier = (at.as_second() - 1).to_string();
        let tampered = Bundle::parse(tampered.replace(&logged, &earlier).as_bytes()).unwrap();
        let root = TrustRoot::new(Vec::new(), Some(&ours.trusted_root())).unwrap();
        assert!(root.verify(&tampered, crate::noon()).is_err(), "the log did not promise that time");
    }
}
