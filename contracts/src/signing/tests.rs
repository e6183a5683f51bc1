use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{Digest, Subject, TrustRoot};

fn statement() -> Statement {
    Statement::new(vec![Subject::sha256("image", Digest::of(b"image"))], "https://example.com/p", json!({"a": 1}))
}

fn token(claims: &Value) -> String {
    format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn a_certificate_is_asked_for_with_the_token_and_a_proof_of_the_key() {
    let ephemeral = Ephemeral::sign(&statement()).unwrap();
    let request = ephemeral.certificate_request(&token(&json!({"sub": "repo:acme/app"}))).unwrap();
    let pem = request.pointer("/publicKeyRequest/publicKey/content").and_then(Value::as_str).unwrap();
    let key = PublicKey::from_pem(pem).unwrap();
    let possession = request.pointer("/publicKeyRequest/proofOfPossession").and_then(Value::as_str).unwrap();
    assert!(key.signed(b"repo:acme/app", &STANDARD.decode(possession).unwrap()));
    let mail = token(&json!({"sub": "1", "email": "jo@acme.dev"}));
    let request = ephemeral.certificate_request(&mail).unwrap();
    let possession = request.pointer("/publicKeyRequest/proofOfPossession").and_then(Value::as_str).unwrap();
    assert!(key.signed(b"jo@acme.dev", &STANDARD.decode(possession).unwrap()));
    for bad in ["", "a.b", "e30.e30.x", &token(&json!({"sub": ""}))] {
        assert_eq!(ephemeral.certificate_request(bad), Err(SigningError::Token), "{bad}");
    }
}

#[test]
fn answers_about_something_else_are_refused() {
    let certified = |answer: &Value| {
        Ephemeral::sign(&statement()).unwrap().certified(answer.to_string().as_bytes()).unwrap_err().to_string()
    };
    let chain = |pem: &str| json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": [pem]}}});
    assert!(certified(&json!({})).contains("holds no certificate"));
    assert!(certified(&json!({"signedCertificateDetachedSct": {"chain": {"certificates": ["x"]}}})).contains("inside"));
    assert!(certified(&chain("x")).contains("not one in PEM"));
    assert!(certified(&chain(&pem(b"another key's"))).contains("for another key"));

    let mut draft = Draft::by_key(&SigningKey::generate_p256().unwrap(), &statement()).unwrap();
    for version in [LogVersion::V1, LogVersion::V2] {
        for answer in ["{}", "[]", r#"{"a":{}}"#, r#"{"a":{},"b":{}}"#, "no"] {
            assert!(draft.logged(version, answer.as_bytes()).is_err(), "{answer}");
        }
    }
    assert!(draft.timestamped(b"no").is_err());
}

#[test]
fn a_key_s_draft_verifies_as_what_the_key_signs_does() {
    let key = SigningKey::generate_ed25519().unwrap();
    let draft = Draft::by_key(&key, &statement()).unwrap();
    let root = TrustRoot::new(vec![key.public().clone()], None).unwrap();
    assert!(root.verify(&draft.bundle().unwrap(), Timestamp::UNIX_EPOCH).is_ok());
    let (path, request) = draft.log_request(LogVersion::V1).unwrap();
    assert_eq!(path, "api/v1/log/entries");
    let envelope = request.pointer("/spec/proposedContent/envelope").and_then(Value::as_str).unwrap();
    assert_eq!(Envelope::parse(envelope.as_bytes()).unwrap(), *draft.bundle().unwrap().envelope());
    assert_eq!(draft.log_request(LogVersion::V2), Err(SigningError::Log));
    let key = SigningKey::generate_p256().unwrap();
    let draft = Draft::by_key(&key, &statement()).unwrap();
    let (path, request) = draft.log_request(LogVersion::V2).unwrap();
    assert_eq!(path, "api/v2/log/entries");
    let digest = request.pointer("/hashedRekordRequestV002/digest").and_then(Value::as_str).unwrap();
    assert_eq!(digest, STANDARD.encode(Digest::of(&draft.bundle().unwrap().envelope().pae()).as_bytes()));
}

#[test]
fn services_are_chosen_as_the_configuration_says() {
    let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    let service = |url: &str, version: u64, operator: &str, end: &str| {
        json!({"url": url, "majorApiVersion": version, "operator": operator,
            "validFor": {"start": "2025-01-01T00:00:00Z", "end": end}})
    };
    let (later, past) = ("2027-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    let config = |selector: Value| {
        json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service("https://old", 1, "a", past), service("https://ca", 1, "a", later), service("https://next", 2, "a", later)],
            "rekorTlogUrls": [service("https://r1", 1, "a", later), service("https://r2", 2, "a", later), service("https://r2b", 2, "a", later), service("https://r2c", 2, "b", later)],
            "tsaUrls": [service("https://t1", 1, "a", later), service("https://t2", 1, "b", later)],
            "rekorTlogConfig": selector, "tsaConfig": {"selector": "ALL"},
        })
    };
    let parse = |selector: Value| Services::parse(config(selector).to_string().as_bytes(), now);
    let any = parse(json!({"selector": "ANY"})).unwrap();
    assert_eq!(any.authority.as_deref(), Some("https://ca"));
    assert_eq!(any.logs, [Transparency { url: "https://r2".into(), version: LogVersion::V2 }]);
    assert_eq!(any.timestamps, ["https://t1", "https://t2"]);
    let exact = parse(json!({"selector": "EXACT", "count": 2})).unwrap();
    assert_eq!(exact.logs.iter().map(|log| log.url.as_str()).collect::<Vec<_>>(), ["https://r2", "https://r2c"]);
    let too_many = parse(json!({"selector": "EXACT", "count": 3}));
    assert_eq!(too_many, Err(SigningConfigError::TooFew { list: "rekorTlogUrls", wanted: 3, valid: 2 }));
    assert!(parse(json!({"selector": "EXACT"})).is_err());
    let first = json!({"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.1+json", "caUrl": "https://ca",
        "tlogUrls": ["https://r"], "tsaUrls": ["https://t"]});
    let first = Services::parse(first.to_string().as_bytes(), now).unwrap();
    assert_eq!((first.logs.len(), first.timestamps.len()), (1, 1));
    assert_eq!(Services::parse(b"{}", now), Err(SigningConfigError::NotASigningConfig));
}
