use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaKeyPair,
    },
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::JsonError;

const ISSUER: &str = "https://ci.example";
const NOW: i64 = 1_795_521_600;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn good() -> Value {
    json!({"iss": ISSUER, "sub": "repo:acme/app", "aud": "sluice", "iat": NOW - 5, "nbf": NOW - 5, "exp": NOW + 300, "repository": "acme/app"})
}

/// An issuer with one key of each kind.
struct Issuer {
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self {
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    fn jwks_json(&self) -> Value {
        let point = self.p256.public_key().as_ref();
        let rsa = self.rsa.public_key();
        let rsa = (rsa.modulus().big_endian_without_leading_zero(), rsa.exponent().big_endian_without_leading_zero());
        json!({"keys": [
            {"kid": "p256", "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]), "use": "sig", "alg": "ES256"},
            {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": b64(self.ed25519.public_key())},
            {"kid": "rsa", "kty": "RSA", "n": b64(rsa.0), "e": b64(rsa.1), "use": "sig"},
            {"kid": "rsa-only-256", "kty": "RSA", "n": b64(rsa.0), "e": b64(rsa.1), "alg": "RS256"},
            {"kid": "encrypts", "kty": "RSA", "n": b64(rsa.0), "e": b64(rsa.1), "use": "enc"},
            {"kid": "shared", "kty": "oct", "k": b64(b"secret")},
            {"kty": "RSA", "n": b64(rsa.0), "e": b64(rsa.1)},
        ]})
    }

    fn jwks(&self) -> Jwks {
        Jwks::parse(self.jwks_json().to_string().as_bytes()).unwrap()
    }

    fn sign(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims));
        let random = SystemRandom::new();
        let rsa = |with| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(with, &random, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        let signature = match header["alg"].as_str().unwrap() {
            "ES256" => self.p256.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
            "PS256" => rsa(&RSA_PSS_SHA256),
            _ => rsa(&RSA_PKCS1_SHA256),
        };
        format!("{signed}.{}", b64(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "typ": "JWT", "kid": "p256"}), &claims.to_string())
    }
}

fn verify(text: &str, keys: &Jwks) -> Result<Verified<Claims>, TokenError> {
    Token::parse(text)?.verify(keys, &Expectations { issuer: ISSUER, audiences: &["other", "sluice"] }, now())
}

fn code(result: Result<Verified<Claims>, TokenError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "verified")
}

#[test]
fn what_an_issuer_signed_for_us_is_believed_whatever_its_key_is() {
    let issuer = Issuer::new();
    let keys = issuer.jwks();
    for (alg, kid) in
        [("ES256", "p256"), ("EdDSA", "ed"), ("RS256", "rsa"), ("PS256", "rsa"), ("RS256", "rsa-only-256")]
    {
        let token = issuer.sign(&json!({"alg": alg, "kid": kid}), &good().to_string());
        let claims = verify(&token, &keys).unwrap();
        assert_eq!((claims.issuer.as_str(), claims.subject.as_str()), (ISSUER, "repo:acme/app"), "{alg}");
        assert_eq!((claims.text("repository"), claims.text("absent")), (Some("acme/app"), None));
    }
    for (alg, kid) in [("ES256", "rsa"), ("RS256", "p256"), ("PS256", "rsa-only-256"), ("EdDSA", "p256")] {
        let token = issuer.sign(&json!({"alg": alg, "kid": kid}), &good().to_string());
        assert_eq!(code(verify(&token, &keys)), "token-algorithm", "{alg} with {kid}");
    }
    for kid in ["encrypts", "shared", "nobody", ""] {
        let token = issuer.sign(&json!({"alg": "RS256", "kid": kid}), &good().to_string());
        assert_ne!(code(verify(&token, &keys)), "verified", "{kid}");
    }
    assert!(keys.knows("rsa") && !keys.knows("encrypts") && !keys.knows("shared"));
}

#[test]
fn every_claim_is_held_against_what_is_expected() {
    let issuer = Issuer::new();
    let keys = issuer.jwks();
    let with = |name: &str, value: Value| {
        let mut claims = good();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        code(verify(&issuer.token(&claims), &keys))
    };
    for (name, value, expected) in [
        ("aud", json!(["else", "sluice"]), "verified"),
        ("exp", json!(NOW - 59), "verified"),
        ("exp", json!(NOW as f64 + 0.5), "verified"),
        ("nbf", json!(NOW + 60), "verified"),
        ("nbf", json!(null), "verified"),
        ("iat", json!(null), "verified"),
        ("iss", json!("https://ci.example/"), "token-issuer-unknown"),
        ("iss", json!("https://ci.example.evil.dev"), "token-issuer-unknown"),
        ("iss", json!(null), "token-malformed"),
        ("iss", json!([ISSUER]), "token-malformed"),
        ("sub", json!(null), "token-malformed"),
        ("aud", json!("Sluice"), "token-audience"),
        ("aud", json!("sluice2"), "token-audience"),
        ("aud", json!([]), "token-audience"),
        ("aud", json!(null), "token-audience"),
        ("aud", json!(["sluice", 1]), "token-malformed"),
        ("aud", json!({"sluice": true}), "token-malformed"),
        ("aud", json!(vec!["sluice"; limits::IDENTITY_TOKEN_AUDIENCES + 1]), "token-malformed"),
        ("exp", json!(NOW - 60), "token-expired"),
        ("exp", json!(null), "token-malformed"),
        ("exp", json!((NOW + 300).to_string()), "token-malformed"),
        ("exp", json!(1e300), "token-malformed"),
        ("exp", json!(-1), "token-expired"),
        ("exp", json!(NOW + 86_400), "token-long-lived"),
        ("nbf", json!(NOW + 61), "token-not-yet-valid"),
        ("iat", json!(NOW + 61), "token-not-yet-valid"),
        ("iat", json!("now"), "token-malformed"),
    ] {
        assert_eq!(with(name, value.clone()), expected, "{name}: {value}");
    }
    let nothing = Token::parse(&issuer.token(&good())).unwrap();
    let nothing = nothing.verify(&keys, &Expectations { issuer: ISSUER, audiences: &[] }, now());
    assert_eq!(code(nothing), "token-audience");
}

#[test]
fn what_anybody_could_have_made_is_refused() {
    let issuer = Issuer::new();
    let keys = issuer.jwks();
    let token = issuer.token(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let header = |value: Value| b64(value.to_string());
    let other = Issuer::new().token(&good());
    let nbsp = format!("{} ", parts[2]);
    // The published key as the secret of an HMAC.
    let hmac_signed = format!("{}.{}", header(json!({"alg": "HS256", "kid": "p256"})), parts[1]);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, issuer.p256.public_key().as_ref());
    let hmac = format!("{hmac_signed}.{}", b64(aws_lc_rs::hmac::sign(&key, hmac_signed.as_bytes())));
    let mut forged = good();
    forged["repository"] = json!("evil/app");
    for (text, expected) in [
        (format!("{}.{}.", parts[0], parts[1]), "token-unsigned"),
        (format!("{}.{}.", header(json!({"alg": "none", "kid": "p256"})), parts[1]), "token-unsigned"),
        (format!("{}.{}.{}", header(json!({"alg": "nOnE", "kid": "p256"})), parts[1], parts[2]), "token-unsigned"),
        (hmac, "token-algorithm"),
        (format!("{}.{}.{}", header(json!({"alg": "es256", "kid": "p256"})), parts[1], parts[2]), "token-algorithm"),
        (format!("{}.{}.{}", parts[0], b64(forged.to_string()), parts[2]), "token-signature-invalid"),
        (other, "token-signature-invalid"),
        (format!("{}.{}.{}", parts[0], parts[1], b64([0; 64])), "token-signature-invalid"),
        (format!("{}.{}.{nbsp}", parts[0], parts[1]), "token-malformed"),
        (format!("{}.{}", parts[0], parts[1]), "token-malformed"),
        (format!("{token}.{}", parts[2]), "token-malformed"),
        (
            format!("{}.{}.{}", header(json!({"alg": "ES256", "kid": "p256", "crit": ["b64"]})), parts[1], parts[2]),
            "token-malformed",
        ),
        (
            format!(
                "{}.{}.{}",
                header(json!({"alg": "ES256", "kid": "p256", "typ": "logout+jwt"})),
                parts[1],
                parts[2]
            ),
            "token-malformed",
        ),
        (format!("{}.{}.{}", header(json!({"alg": "ES256"})), parts[1], parts[2]), "token-malformed"),
        ("x".repeat(limits::IDENTITY_TOKEN_BYTES + 1), "token-malformed"),
        (String::new(), "token-malformed"),
    ] {
        assert_eq!(code(verify(&text, &keys)), expected, "{text}");
    }
    // Signed, and with two meanings.
    let twice = good().to_string().replace(r#""aud":"sluice""#, r#""aud":"else","aud":"sluice""#);
    let twice = issuer.sign(&json!({"alg": "ES256", "kid": "p256"}), &twice);
    assert_eq!(code(verify(&twice, &keys)), "token-malformed");
    assert!(Token::is_shaped(&token) && !Token::is_shaped("sluice_abc") && !Token::is_shaped("a.b.c"));
    let shown = format!("{:?}", Token::parse(&token).unwrap());
    assert!(!shown.contains(parts[2]), "{shown}");
}

#[test]
fn key_sets_of_which_nothing_can_be_used_are_refused() {
    let good = Issuer::new().jwks_json();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut keys = good.clone();
        change(&mut keys);
        Jwks::parse(keys.to_string().as_bytes())
    };
    assert!(with(&|_| ()).is_ok());
    assert_eq!(with(&|keys| keys["keys"] = json!({})), Err(JwksError::NotAKeySet));
    // A damaged one takes nothing away from the others, and is counted.
    let all = ["p256", "ed", "rsa", "rsa-only-256"];
    let damage: [&dyn Fn(&mut Value); 4] = [
        &|keys| keys["keys"][0]["x"] = json!("AA"),
        &|keys| keys["keys"][1]["x"] = json!("AA"),
        &|keys| keys["keys"][2]["n"] = json!(""),
        &|keys| keys["keys"][2]["e"] = json!("%"),
    ];
    for (change, at) in damage.iter().zip([0, 1, 2, 2]) {
        let keys = with(change).unwrap();
        let known: Vec<bool> = all.iter().map(|id| keys.knows(id)).collect();
        let expected: Vec<bool> = (0..all.len()).map(|other| other != at).collect();
        assert_eq!((known, keys.damaged()), (expected, 1));
    }
    assert_eq!(with(&|keys| keys["keys"][0] = json!(1)).unwrap().damaged(), 1);
    assert_eq!(with(&|keys| keys["keys"] = json!([1, {"kid": "x"}])), Err(JwksError::Damaged { damaged: 1 }));
    let many = json!({"keys": vec![json!({}); limits::JWKS_KEYS + 1]}).to_string();
    assert_eq!(Jwks::parse(many.as_bytes()), Err(JwksError::TooMany { max: limits::JWKS_KEYS }));
    let twice = br#"{"keys":[],"keys":[]}"#;
    assert!(matches!(Jwks::parse(twice), Err(JwksError::Json(JsonError::DuplicateKey { .. }))));
    assert_eq!(Jwks::parse(br#"{"keys":[]}"#), Ok(Jwks::default()));
}

#[test]
fn claims_inside_others_are_found_by_pointer() {
    let issuer = Issuer::new();
    let mut claims = good();
    claims["google"] = json!({"compute_engine": {"project_id": "acme"}});
    claims["oidc.circleci.com/project-id"] = json!("p1");
    let claims = verify(&issuer.token(&claims), &issuer.jwks()).unwrap();
    assert_eq!(claims.text("/google/compute_engine/project_id"), Some("acme"));
    assert_eq!(claims.text("oidc.circleci.com/project-id"), Some("p1"));
    assert_eq!(claims.text("/oidc.circleci.com~1project-id"), Some("p1"));
    assert_eq!((claims.claim("/"), claims.claim("/google/x"), claims.text("google")), (None, None, None));
}

proptest! {
    #[test]
    fn reading_never_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _ = Token::parse(&text);
        let _ = Jwks::parse(&bytes);
    }
}
