//! An issuer of identity tokens, as CI systems have one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey};
use serde_json::{Value, json};

/// An issuer with one key (P-256).
pub struct TokenIssuer {
    /// As tokens name it.
    pub issuer: String,
    key: KeyPair,
    id: String,
}

impl TokenIssuer {
    /// An issuer with a key of its own.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let id = URL_SAFE_NO_PAD.encode(key.der_bytes().get(1..9).expect("a public key"));
        Self { issuer: issuer.into(), key, id }
    }

    /// The name of its key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// The public key, as a point.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        self.key.der_bytes()
    }

    /// What it publishes.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let (x, y) = self.point().get(1..).expect("a public key").split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"keys": [{"kid": self.id, "kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256"}]})
    }

    /// A token for an audience, valid for five minutes, that says these claims as well.
    #[must_use]
    pub fn token(&self, audience: &str, now: Timestamp, claims: &Value) -> String {
        let now = now.as_second();
        let mut all = json!({"iss": self.issuer, "aud": audience, "iat": now, "nbf": now, "exp": now + 300});
        for (name, value) in claims.as_object().expect("claims") {
            all.as_object_mut().expect("claims").insert(name.clone(), value.clone());
        }
        self.sign(&json!({"alg": "ES256", "typ": "JWT", "kid": self.id}), &all)
    }

    /// Signs any header and any claims with its key, whatever the header says.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let der = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw(&der)))
    }
}

/// An ECDSA signature in DER as the two numbers of 32 bytes that tokens carry.
fn raw(der: &[u8]) -> [u8; 64] {
    let mut raw = [0; 64];
    let mut rest = der.get(2..).expect("a sequence");
    for half in raw.chunks_exact_mut(32) {
        let length = usize::from(*rest.get(1).expect("a number"));
        let (number, after) = rest.get(2..).expect("a number").split_at(length);
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let at = half.len() - digits.len();
        half.get_mut(at..).expect("32 bytes").copy_from_slice(&digits);
        rest = after;
    }
    raw
}

/// What GitHub Actions says of a job.
#[must_use]
pub fn github_claims() -> Value {
    json!({
        "sub": "repo:acme/skynet:ref:refs/heads/main",
        "repository": "acme/skynet",
        "repository_id": "1000",
        "repository_owner": "acme",
        "repository_owner_id": "10",
        "repository_visibility": "private",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "sha": "78ac366c9e8a300d51808d581422ca61f7b5b721",
        "workflow": "release",
        "workflow_ref": "acme/skynet/.github/workflows/release.yml@refs/heads/main",
        "workflow_sha": "78ac366c9e8a300d51808d581422ca61f7b5b721",
        "job_workflow_ref": "acme/skynet/.github/workflows/release.yml@refs/heads/main",
        "job_workflow_sha": "78ac366c9e8a300d51808d581422ca61f7b5b721",
        "event_name": "push",
        "environment": "production",
        "run_id": "4711",
        "run_number": "7",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
        "actor": "jo",
    })
}
