//! What certificates, logs and timestamps prove, and what they must not.
//!
//! The fixtures were made once against loopback stand-ins for Fulcio, a certificate transparency log, Rekor and a
//! timestamp authority (npm `@sigstore/mock`), with the clock set to 2025-06-01: the keyless ones by npm
//! `@sigstore/sign`, `key.json` by cosign 3 with a key of its own. The authorities are gone; nothing else trusts them.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{Bundle, Digest, Envelope, PublicKey, SignerIdentity, TrustRoot, VerifyError};
use jiff::Timestamp;
use serde_json::{Value, json};

const TRUSTED_ROOT: &str = include_str!("keyless/trusted_root.json");
const KEYLESS: &str = include_str!("keyless/keyless.json");
const KEYLESS_TSA: &str = include_str!("keyless/keyless-tsa.json");
const KEY_SIGNED: &str = include_str!("keyless/key.json");
const KEY: &str = include_str!("keyless/key.pub");

const SIGNED_AT: &str = "2025-06-01T12:00:03Z";
const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

fn key() -> PublicKey {
    PublicKey::from_pem(KEY).unwrap()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn trusting(trusted_root: &Value) -> TrustRoot {
    TrustRoot::new(vec![key()], Some(trusted_root.to_string().as_bytes())).unwrap()
}

fn root() -> TrustRoot {
    trusting(&parsed(TRUSTED_ROOT))
}

/// Who signed, and when, as far as proven.
type Proof = (BTreeSet<SignerIdentity>, Option<Timestamp>);

fn verify(root: &TrustRoot, bundle: &Value, now: Timestamp) -> Result<Proof, String> {
    let bundle = Bundle::parse(bundle.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let verified = root.verify(&bundle, now).map_err(|error| error.to_string())?;
    Ok((verified.signers.clone(), verified.signed_at))
}

fn release() -> BTreeSet<SignerIdentity> {
    BTreeSet::from([SignerIdentity::Certificate {
        issuer: "https://token.actions.githubusercontent.com".into(),
        identity: "https://github.com/acme/widget/.github/workflows/release.yml@refs/tags/v1.2.3".into(),
    }])
}

fn remove(value: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    value.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|object| object.shift_remove(name)).unwrap();
}

#[test]
fn genuine_bundles_say_who_signed_and_when() {
    let proven = Ok((release(), Some(at(SIGNED_AT))));
    assert_eq!(verify(&root(), &parsed(KEYLESS), now()), proven);
    assert_eq!(verify(&root(), &parsed(KEYLESS_TSA), now()), proven);

    let bundle = Bundle::parse(KEYLESS.as_bytes()).unwrap();
    let verified = root().verify(&bundle, now()).unwrap();
    assert!(verified.statement.names_sha256(&Digest::of(b"an image")));
    let claims = verified.claims.clone().unwrap();
    assert_eq!(claims.source_repository.as_deref(), Some("https://github.com/acme/widget"));
    assert_eq!(claims.runner_environment.as_deref(), Some("github-hosted"));

    let by_key = BTreeSet::from([SignerIdentity::Key { id: key().id() }]);
    assert_eq!(verify(&root(), &parsed(KEY_SIGNED), now()), Ok((by_key, Some(at("2025-06-01T12:00:04Z")))));
}

/// Changes each text of the bundle in turn. Nothing in a keyless bundle may be changed unnoticed.
#[test]
fn any_change_is_noticed() {
    fn texts(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::String(text) if !text.is_empty() => found.push(path.to_owned()),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| texts(item, &format!("{path}/{n}"), found));
            }
            Value::Object(entries) => {
                entries.iter().for_each(|(name, entry)| texts(entry, &format!("{path}/{name}"), found));
            }
            _ => {}
        }
    }
    let root = root();
    for fixture in [KEYLESS, KEYLESS_TSA] {
        let genuine = parsed(fixture);
        let mut paths = Vec::new();
        texts(&genuine, "", &mut paths);
        assert!(paths.len() > 15, "{paths:?}");
        for path in paths {
            let mut changed = genuine.clone();
            let text = changed.pointer_mut(&path).unwrap();
            let mut characters: Vec<char> = text.as_str().unwrap().chars().collect();
            let middle = characters.len() / 2;
            characters[middle] = match characters[middle] {
                '0'..='8' => '9',
                '9' => '8',
                'A' => 'B',
                _ => 'A',
            };
            *text = characters.into_iter().collect::<String>().into();
            assert!(verify(&root, &changed, now()).is_err(), "{path}");
        }
    }
}

#[test]
fn what_proves_the_entry_and_the_time_cannot_be_left_out() {
    let root = root();
    let demanding = TrustRoot::demanding_inclusion_proof(vec![], TRUSTED_ROOT.as_bytes()).unwrap();
    assert!(verify(&demanding, &parsed(KEYLESS), now()).is_ok());
    for (left_out, promise_is_enough) in [
        (vec!["/verificationMaterial/tlogEntries".to_owned()], false),
        (vec![format!("{ENTRY}/inclusionPromise")], false),
        (vec![format!("{ENTRY}/inclusionProof")], true),
        (vec![format!("{ENTRY}/inclusionProof"), format!("{ENTRY}/inclusionPromise")], false),
    ] {
        let mut bundle = parsed(KEYLESS);
        left_out.iter().for_each(|path| remove(&mut bundle, path));
        for version in ["0.1", "0.2", "0.3"] {
            bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
            let passes = promise_is_enough && version == "0.1";
            assert_eq!(verify(&root, &bundle, now()).is_ok(), passes, "{left_out:?} {version}");
            assert!(verify(&demanding, &bundle, now()).is_err(), "{left_out:?} {version}");
        }
    }
}

#[test]
fn a_genuine_log_entry_of_something_else_is_refused() {
    for (mine, other) in [(KEYLESS, KEYLESS_TSA), (KEYLESS, KEY_SIGNED), (KEY_SIGNED, KEYLESS)] {
        let mut bundle = parsed(mine);
        bundle["verificationMaterial"]["tlogEntries"] = parsed(other)["verificationMaterial"]["tlogEntries"].clone();
        assert!(verify(&root(), &bundle, now()).is_err());
    }
}

#[test]
fn a_certificate_speaks_for_one_signature() {
    let mut bundle = parsed(KEYLESS);
    let own = bundle["dsseEnvelope"]["signatures"][0].clone();
    bundle["dsseEnvelope"]["signatures"] = json!([own, own]);
    assert!(verify(&root(), &bundle, now()).is_err());
    bundle["dsseEnvelope"]["signatures"] = parsed(KEY_SIGNED)["dsseEnvelope"]["signatures"].clone();
    assert!(verify(&root(), &bundle, now()).is_err());
}

#[test]
fn a_chain_is_read_in_every_version() {
    let mut bundle = parsed(KEYLESS);
    let certificate = bundle["verificationMaterial"]["certificate"].clone();
    remove(&mut bundle, "/verificationMaterial/certificate");
    bundle["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": [certificate]});
    for version in ["0.1", "0.2", "0.3"] {
        bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
        assert_eq!(verify(&root(), &bundle, now()), Ok((release(), Some(at(SIGNED_AT)))), "{version}");
    }
}

#[test]
fn a_time_that_has_not_come_is_refused() {
    let bundle = Bundle::parse(KEYLESS.as_bytes()).unwrap();
    assert!(root().verify(&bundle, at("2025-06-01T11:59:03Z")).is_ok(), "within the skew");
    let now = at("2025-06-01T11:59:02Z");
    let refused = VerifyError::FromTheFuture { signed_at: at(SIGNED_AT), now };
    assert_eq!(root().verify(&bundle, now), Err(refused));
    assert!(verify(&root(), &parsed(KEY_SIGNED), now).is_err());
}

#[test]
fn what_the_trusted_root_lists_is_demanded() {
    let past = json!({"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"});
    let other_log = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    for (path, value) in [
        ("/certificateAuthorities", json!([])),
        ("/certificateAuthorities/0/validFor", past.clone()),
        ("/tlogs/0/publicKey/validFor", past.clone()),
        ("/tlogs/0/logId/keyId", other_log.clone()),
        ("/ctlogs/0/publicKey/validFor", past.clone()),
        ("/ctlogs/0/logId/keyId", other_log),
        ("/timestampAuthorities/0/validFor", past),
        ("/timestampAuthorities", json!([])),
    ] {
        let mut changed = parsed(TRUSTED_ROOT);
        *changed.pointer_mut(path).unwrap() = value;
        assert!(verify(&trusting(&changed), &parsed(KEYLESS_TSA), now()).is_err(), "{path}");
    }
}

/// A private trust root without logs relies on its timestamp authority, and on nothing less.
#[test]
fn without_a_log_a_timestamp_is_needed() {
    let mut no_logs = parsed(TRUSTED_ROOT);
    no_logs["tlogs"] = json!([]);
    let mut bundle = parsed(KEYLESS_TSA);
    bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    assert!(verify(&root(), &bundle, now()).is_err(), "the trusted root lists a log");
    assert_eq!(verify(&trusting(&no_logs), &bundle, now()), Ok((release(), Some(at(SIGNED_AT)))));
    remove(&mut bundle, "/verificationMaterial/timestampVerificationData");
    assert!(verify(&trusting(&no_logs), &bundle, now()).is_err());
}

/// The fixture's proofs, written as cosign 2 writes them beside a layer.
#[test]
fn a_layer_of_cosign_2_proves_the_same() {
    let pem = |base64: &Value| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64.as_str().unwrap())
    };
    let fixture = parsed(KEYLESS_TSA);
    let envelope = Envelope::parse(fixture["dsseEnvelope"].to_string().as_bytes()).unwrap();
    let material = &fixture["verificationMaterial"];
    let entry = &material["tlogEntries"][0];
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let log_id = STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap();
    let kept = json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": number(&entry["integratedTime"]),
            "logIndex": number(&entry["logIndex"]),
            "logID": hex::encode(log_id),
        },
    });
    let token = &material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"];
    let ca = &parsed(TRUSTED_ROOT)["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"];
    let annotations = BTreeMap::from([
        ("dev.sigstore.cosign/certificate".to_owned(), pem(&material["certificate"]["rawBytes"])),
        ("dev.sigstore.cosign/chain".to_owned(), pem(ca).repeat(2)),
        ("dev.sigstore.cosign/bundle".to_owned(), kept.to_string()),
        ("dev.sigstore.cosign/rfc3161timestamp".to_owned(), json!({"SignedRFC3161Timestamp": token}).to_string()),
    ]);
    let bundle = Bundle::from_cosign_layer(&envelope, &annotations).unwrap();
    let verified = root().verify(&bundle, now()).unwrap();
    assert_eq!((&verified.signers, verified.signed_at), (&release(), Some(at(SIGNED_AT))));

    for name in annotations.keys() {
        let mut changed = annotations.clone();
        changed.insert(name.clone(), "{\"a\": 1}".to_owned());
        let error = Bundle::from_cosign_layer(&envelope, &changed).unwrap_err();
        assert!(error.to_string().contains(name.as_str()), "{error}");
    }
    for needed in ["dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle"] {
        let mut changed = annotations.clone();
        changed.remove(needed);
        let bundle = Bundle::from_cosign_layer(&envelope, &changed).unwrap();
        assert!(root().verify(&bundle, now()).is_err(), "{needed}");
    }
    let bare = Bundle::from_cosign_layer(&envelope, &BTreeMap::new()).unwrap();
    assert_eq!(bare, Bundle::from_envelope(&envelope, None));
}
