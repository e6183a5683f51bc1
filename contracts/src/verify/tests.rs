//! Key-signed bundles, minted here. What certificates prove needs authorities and logs, and is tested from outside.

use serde_json::{Value, json};

use super::*;
use crate::{
    Envelope, SigningKey, Subject,
    dsse::{EnvelopeSignature, pae},
};

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn statement() -> Statement {
    Statement::new(vec![Subject::sha256("image", Digest::of(b"image"))], "https://example.com/p", json!({"n": 1}))
}

fn keys() -> (SigningKey, SigningKey) {
    (SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap())
}

fn trusting(keys: &[&SigningKey]) -> TrustRoot {
    TrustRoot::new(keys.iter().map(|key| key.public().clone()).collect(), None).unwrap()
}

fn by_key(key: &SigningKey) -> SignerIdentity {
    SignerIdentity::Key { id: key.public().id() }
}

/// An envelope that was never read, as an attacker could write it.
fn bundle(payload_type: &str, payload: &[u8], signatures: Vec<EnvelopeSignature>) -> Bundle {
    let payload_type = payload_type.to_owned();
    Bundle::from_envelope(&Envelope { payload_type, payload: payload.to_vec(), signatures }, None)
}

fn signature(key: &SigningKey, payload_type: &str, payload: &[u8]) -> EnvelopeSignature {
    EnvelopeSignature { keyid: None, sig: key.sign_bytes(&pae(payload_type, payload)).unwrap() }
}

#[test]
fn a_trusted_key_s_statement_verifies_and_says_whose_it_is() {
    let (p256, ed25519) = keys();
    let root = trusting(&[&p256, &ed25519]);
    for key in [&p256, &ed25519] {
        let bundle = key.sign(&statement()).unwrap();
        let bundle = Bundle::parse(bundle.bytes()).unwrap();
        let verified = root.verify(&bundle, now()).unwrap();
        assert_eq!(verified.statement, statement());
        assert_eq!(verified.signers, BTreeSet::from([by_key(key)]));
        assert_eq!((verified.signed_at, verified.attestation), (None, bundle.id()));
    }
}

#[test]
fn what_no_trusted_key_signed_is_refused() {
    let (signer, other) = keys();
    let genuine = signer.sign(&statement()).unwrap();
    let unknown = VerifyError::NoKeyMatches { keys: 1 };
    assert_eq!(trusting(&[&other]).verify(&genuine, now()), Err(unknown.clone()));
    assert_eq!(trusting(&[]).verify(&genuine, now()), Err(VerifyError::NobodyTrusted));

    let root = trusting(&[&signer]);
    let payload = genuine.envelope().payload.clone();
    let sig = genuine.envelope().signatures[0].clone();
    for position in [0, payload.len() / 2, payload.len() - 1] {
        let mut changed = payload.clone();
        changed[position] ^= 1;
        assert_eq!(
            root.verify(&bundle(IN_TOTO_PAYLOAD_TYPE, &changed, vec![sig.clone()]), now()),
            Err(unknown.clone())
        );
    }
    for position in 0..sig.sig.len() {
        let mut changed = sig.clone();
        changed.sig[position] ^= 1;
        assert!(root.verify(&bundle(IN_TOTO_PAYLOAD_TYPE, &payload, vec![changed]), now()).is_err(), "{position}");
    }
    for empty in [vec![], vec![EnvelopeSignature { keyid: None, sig: vec![] }]] {
        assert_eq!(root.verify(&bundle(IN_TOTO_PAYLOAD_TYPE, &payload, empty), now()), Err(unknown.clone()));
    }
    // A signature over the payload alone, without its type and length.
    let bare = EnvelopeSignature { keyid: None, sig: signer.sign_bytes(&payload).unwrap() };
    assert_eq!(root.verify(&bundle(IN_TOTO_PAYLOAD_TYPE, &payload, vec![bare]), now()), Err(unknown));
}

#[test]
fn only_statements_count_however_well_they_are_signed() {
    let (key, _) = keys();
    let root = trusting(&[&key]);
    let signed = |payload_type: &str, payload: &[u8]| {
        root.verify(&bundle(payload_type, payload, vec![signature(&key, payload_type, payload)]), now())
    };
    let good = statement().to_json_bytes();
    assert!(signed(IN_TOTO_PAYLOAD_TYPE, &good).is_ok());
    for other in ["application/json", "application/vnd.in-toto+JSON", "application/vnd.in-toto+json ", ""] {
        assert_eq!(signed(other, &good), Err(VerifyError::PayloadType { found: other.to_owned() }));
    }
    let twice = String::from_utf8(good.clone()).unwrap().replacen('{', r#"{"predicateType":"other","#, 1);
    for bad in [twice.as_bytes(), b"{}", b"", &good[..good.len() - 1]] {
        let error = signed(IN_TOTO_PAYLOAD_TYPE, bad).unwrap_err();
        assert!(matches!(error, VerifyError::Statement(_)), "{error}");
        assert_eq!(error.code(), Code::AttestationMalformed);
    }
}

#[test]
fn one_key_counts_once_under_however_many_names() {
    let (one, two) = keys();
    let root = trusting(&[&one, &two, &one]);
    let payload = statement().to_json_bytes();
    let named = |key: &SigningKey, keyid: &str| EnvelopeSignature {
        keyid: Some(keyid.to_owned()),
        ..signature(key, IN_TOTO_PAYLOAD_TYPE, &payload)
    };
    let both = [&one, &two].map(|key| AllowedSigner::Key(key.public().clone()));
    let policy = SignerPolicy::new(2, both).unwrap();
    let signers = |signatures| {
        root.verify(&bundle(IN_TOTO_PAYLOAD_TYPE, &payload, signatures), now()).unwrap().get().signers.clone()
    };
    let junk = EnvelopeSignature { keyid: Some(two.public().id().to_string()), sig: vec![0; 64] };
    let twice = signers(vec![named(&one, "one"), named(&one, "two"), junk]);
    assert_eq!(twice, BTreeSet::from([by_key(&one)]));
    assert!(!policy.satisfied_by(&twice));
    // The same name for both: names decide nothing.
    assert!(policy.satisfied_by(&signers(vec![named(&one, "x"), named(&two, "x")])));
    let countersigned = two.countersign(&one.sign(&statement()).unwrap()).unwrap();
    assert!(policy.satisfied_by(&root.verify(&countersigned, now()).unwrap().signers));
}

#[test]
fn a_signature_that_was_encoded_twice_is_the_same_signature() {
    let (key, _) = keys();
    let payload = statement().to_json_bytes();
    let mut twice = signature(&key, IN_TOTO_PAYLOAD_TYPE, &payload);
    twice.sig = STANDARD.encode(&twice.sig).into_bytes();
    let bundle = bundle(IN_TOTO_PAYLOAD_TYPE, &payload, vec![twice]);
    assert_eq!(trusting(&[&key]).verify(&bundle, now()).unwrap().signers, BTreeSet::from([by_key(&key)]));
}

/// The bundle says how it wants to be verified. Whatever it says, nothing passes that the trust root does not know.
#[test]
fn a_certificate_in_the_bundle_is_never_passed_over() {
    let (key, _) = keys();
    let genuine = key.sign(&statement()).unwrap();
    let mut value: Value = serde_json::from_slice(genuine.bytes()).unwrap();
    for material in [
        json!({"certificate": {"rawBytes": "AAAA"}}),
        json!({"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}}),
    ] {
        value["verificationMaterial"] = material;
        let bundle = Bundle::parse(value.to_string().as_bytes()).unwrap();
        assert_eq!(trusting(&[&key]).verify(&bundle, now()), Err(VerifyError::NoAuthority));
        let empty = json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}).to_string();
        let root = TrustRoot::new(vec![key.public().clone()], Some(empty.as_bytes())).unwrap();
        let error = root.verify(&bundle, now()).unwrap_err();
        assert!(matches!(error, VerifyError::Sigstore { .. }), "{error}");
    }
}

#[test]
fn a_trust_root_s_digest_covers_all_it_trusts() {
    let (one, two) = keys();
    let file = r#"{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    let public = |keys: &[&SigningKey]| keys.iter().map(|key| key.public().clone()).collect::<Vec<_>>();
    let root = |keys: &[&SigningKey], file: Option<&str>| {
        TrustRoot::new(public(keys), file.map(str::as_bytes)).unwrap().digest()
    };
    let spaced = file.replace(": ", ":");
    let demanding = TrustRoot::demanding_inclusion_proof(public(&[&one]), file.as_bytes()).unwrap().digest();
    let all = [
        root(&[], None),
        root(&[&one], None),
        root(&[&one, &two], None),
        root(&[&one], Some(file)),
        root(&[&one], Some(&spaced)),
        demanding,
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(root(&[&one, &two], None), root(&[&two, &one, &two], None));
    let shared = TrustRoot::new(vec![], Some(file.as_bytes())).unwrap();
    assert_eq!(shared.with_keys(public(&[&one])).unwrap().digest(), root(&[&one], Some(file)));
}

#[test]
fn a_trusted_root_that_cannot_be_used_is_refused() {
    let refused = |text: &str| TrustRoot::new(vec![], Some(text.as_bytes())).unwrap_err();
    assert_eq!(refused(r#"{"mediaType": "application/json"}"#), TrustRootError::NotATrustedRoot);
    assert!(matches!(refused(r#"{"a": 1, "a": 1}"#), TrustRootError::Json(_)));
    let media_type = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
    let no_chain = json!({"mediaType": media_type, "certificateAuthorities": [
        {"uri": "https://ca", "certChain": {"certificates": []}}
    ]});
    assert!(matches!(refused(&no_chain.to_string()), TrustRootError::Sigstore { .. }));
    let keys = (0..=limits::TRUSTED_KEYS).map(|_| keys().1.public().clone()).collect();
    let max = limits::TRUSTED_KEYS;
    assert_eq!(TrustRoot::new(keys, None).unwrap_err(), TrustRootError::TooManyKeys { max });
}
