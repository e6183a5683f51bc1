//! Certificates of an authority of one's own, as Chainloop servers give them out.
#![cfg(test)]

use std::{fs, path::Path};

use contracts::{
    Bundle, Digest, SignerIdentity, Statement, Subject,
    keys::SigningKey,
    verify::{OwnAuthority, TrustRoot},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testdata::{Authority, CodeSigning};

const ORGANIZATION: &str = "18c3f782-4936-4630-ab8d-20b511366699";

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/own-ca").join(name)).unwrap()
}

fn bundle(name: &str) -> Bundle {
    Bundle::parse(file(name).as_bytes()).unwrap()
}

fn reason<T>(result: Result<T, contracts::VerifyError>) -> String {
    result.err().expect("it does not verify").to_string()
}

/// Long after the certificate is over.
fn later() -> Timestamp {
    "2027-06-01T00:00:00Z".parse().unwrap()
}

#[test]
fn a_timestamp_proves_when_a_certificate_that_is_over_was_used() {
    let (roots, timestamps) = (file("ca.pem"), file("tsa-chain.pem"));
    let own = OwnAuthority::new(&roots, None, Some(&timestamps)).unwrap();
    for name in ["timestamped.json", "timestamped-twice.json"] {
        let verified = own.verify(&bundle(name), later()).unwrap();
        assert!(verified.statement.names_sha256(&Digest::of(b"image")));
        let at = verified.signed_at.unwrap();
        assert!(at.to_string().starts_with("2026-11-26T02:5"), "{at}");
        let [SignerIdentity::Certificate { issuer, identity }] = verified.signers.iter().collect::<Vec<_>>()[..] else {
            panic!("one certificate")
        };
        assert_eq!(identity, &format!("O={ORGANIZATION}"));
        assert!(issuer.contains("acme own ca"), "{issuer}");
    }
    let told = reason(own.verify(&bundle("expired.json"), later()));
    assert!(told.contains("is over") && told.contains("carries none"), "{told}");
    // Whose timestamps are not trusted prove nothing.
    let timeless = OwnAuthority::new(&roots, None, None).unwrap();
    let told = reason(timeless.verify(&bundle("timestamped.json"), later()));
    assert!(told.contains("--timestamp-certificate-chain"), "{told}");
    let other = OwnAuthority::new(&roots, None, Some(&format!("{roots}{roots}"))).unwrap();
    assert!(reason(other.verify(&bundle("timestamped.json"), later())).contains("timestamp does not verify"));
    // A time that is yet to come is none.
    let before = "2026-11-01T00:00:00Z".parse().unwrap();
    assert!(reason(own.verify(&bundle("timestamped.json"), before)).contains("one of the clocks is wrong"));
    // The gateway's trust takes none of it.
    let root = TrustRoot::new(vec![SigningKey::generate_p256().unwrap().public().clone()], None).unwrap();
    assert!(root.verify(&bundle("timestamped.json"), later()).is_err());
}

#[test]
fn a_changed_bundle_does_not_verify() {
    let own = OwnAuthority::new(&file("ca.pem"), None, Some(&file("tsa-chain.pem"))).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&file("timestamped.json")).unwrap();
        change(&mut value);
        Bundle::parse(value.to_string().as_bytes()).unwrap()
    };
    for (what, bundle) in [
        ("payload", changed(&|value| value["dsseEnvelope"]["payload"] = json!("e30="))),
        ("signature", changed(&|value| value["dsseEnvelope"]["signatures"][0]["sig"] = json!("AAAA"))),
        ("no certificate", changed(&|value| value["verificationMaterial"]["certificate"] = Value::Null)),
        (
            "two signatures",
            changed(&|value| {
                let one = value["dsseEnvelope"]["signatures"][0].clone();
                value["dsseEnvelope"]["signatures"] = json!([one, one]);
            }),
        ),
        (
            "timestamp",
            changed(&|value| {
                value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
                    json!("MAA=");
            }),
        ),
        ("type", changed(&|value| value["dsseEnvelope"]["payloadType"] = json!("text/plain"))),
    ] {
        assert!(own.verify(&bundle, later()).is_err(), "{what}");
    }
}

/// A bundle by a fresh leaf of this authority.
fn minted(leaf: &CodeSigning) -> Bundle {
    let key = SigningKey::from_pem(&leaf.key_pem, None).unwrap();
    let subject = Subject::sha256("app", Digest::of(b"app"));
    let signed = key.sign(&Statement::new(vec![subject], "https://example.test/claim/v1", json!({}))).unwrap();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let value = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.3",
        "verificationMaterial": {"certificate": {"rawBytes": STANDARD.encode(&leaf.certificate_der)}},
        "dsseEnvelope": signed.envelope().to_value(),
    });
    Bundle::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn without_a_timestamp_a_certificate_counts_while_it_is_valid() {
    let now = testdata::noon();
    let (ours, theirs) = (Authority::new("our ca", now), Authority::new("our ca", now));
    let own = OwnAuthority::new(&ours.root_pem(), None, None).unwrap();
    let bundle = minted(&ours.of_organization(ORGANIZATION, now));
    let verified = own.verify(&bundle, now).unwrap();
    assert_eq!(verified.signed_at, None, "nothing proves a time");
    let minutes = |n| now + SignedDuration::from_mins(n);
    assert!(own.verify(&bundle, minutes(4)).is_ok());
    assert!(reason(own.verify(&bundle, minutes(6))).contains("is over"));
    assert!(own.verify(&bundle, minutes(-6)).is_err());
    assert!(own.verify(&minted(&theirs.of_organization(ORGANIZATION, now)), now).is_err(), "of the same name");
    // A server's certificate signs no code; and one that names an address is named by it.
    let server = ours.tls_server(&["acme.dev"], now);
    let pem = server.certificate_pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let certificate_der = STANDARD.decode(pem).unwrap();
    let leaf = CodeSigning { certificate_der, certificate_pem: server.certificate_pem, key_pem: server.key_pem };
    assert!(own.verify(&minted(&leaf), now).is_err());
    let fulcio = ours.code_signing("https://acme.dev/build", "https://issuer.acme.dev", now);
    let verified = own.verify(&minted(&fulcio), now).unwrap();
    let signer = SignerIdentity::Certificate {
        issuer: "https://issuer.acme.dev".to_owned(),
        identity: "https://acme.dev/build".to_owned(),
    };
    assert!(verified.signers.contains(&signer));
}

#[test]
fn what_is_no_authority_is_refused() {
    let root = Authority::new("our ca", testdata::noon()).root_pem();
    for (roots, timestamps) in [
        ("", None),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", None),
        (root.as_str(), Some(root.as_str())),
    ] {
        assert!(OwnAuthority::new(roots, None, timestamps).is_err(), "{roots}");
    }
    let key = SigningKey::generate_p256().unwrap().public().to_pem();
    assert!(OwnAuthority::new(&format!("{root}{key}"), None, None).is_err());
}
