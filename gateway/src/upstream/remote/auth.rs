//! How the gateway proves itself to a registry: Basic, or a token from the realm that the registry names.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts::{Secret, registry_login::Login};
use moka::sync::Cache;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::keychain::Keychain;
use crate::upstream::settings::Credentials;

/// A token realm's answer.
pub(super) const TOKEN_BYTES: usize = 256 * 1024;
/// How long a token is used when its realm does not say (the distribution specification's default).
const UNSAID: u64 = 60;
/// No token is remembered for longer.
const LONGEST: u64 = 3600;
/// How much earlier than told a token is renewed.
const MARGIN: Duration = Duration::from_secs(5);

/// What a registry asks for with a 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from this realm. The scope it names is not read: it is always ours.
    Bearer {
        /// Where.
        realm: Url,
        /// For whom.
        service: Option<String>,
    },
    /// The user name and password.
    Basic,
}

/// The challenge that we answer: Bearer before Basic.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<_> = texts.filter_map(parse).collect();
    all.iter().find(|one| matches!(one, Challenge::Bearer { .. })).or(all.first()).cloned()
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" if realm.is_none() => realm = Some(Url::parse(value).ok()?),
            "service" if service.is_none() => service = Some(value.to_owned()),
            "realm" | "service" => return None,
            _ => {}
        }
        rest = after;
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// A token with the instant until which it is used.
#[derive(Clone)]
struct Remembered {
    header: HeaderValue,
    until: Instant,
}

/// What the gateway presents, and what it was given for it.
pub(super) struct Identity {
    /// Sent as it is, whatever the registry asks for.
    fixed: Option<Secret>,
    keychain: Keychain,
    /// By repository path; the empty path holds what is presented for all of them.
    tokens: Cache<String, Remembered>,
}

#[derive(Deserialize)]
struct TokenBody {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Identity {
    /// `host` is the registry that the credentials are for.
    pub(super) fn new(credentials: &Credentials, host: &str) -> Self {
        let fixed = if let Credentials::Token(token) = credentials { Some(token.clone()) } else { None };
        Self { fixed, keychain: Keychain::new(credentials, host), tokens: Cache::new(4096) }
    }

    /// What to send at once, without waiting for a challenge.
    pub(super) fn present(&self, path: &str) -> Option<HeaderValue> {
        if let Some(token) = &self.fixed {
            return sensitive(&format!("Bearer {}", token.reveal()));
        }
        let used = |key: &str| self.tokens.get(key).filter(|token| Instant::now() < token.until);
        used(path).or_else(|| used("")).map(|token| token.header)
    }

    /// Who we are. The reason why that cannot be had now is a sentence.
    pub(super) async fn login(&self) -> Result<Option<Login>, String> {
        self.keychain.login().await
    }

    /// Whether a 401 is the last word.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// From now on Basic goes with every request.
    pub(super) fn use_basic(&self, header: &HeaderValue) {
        let until = Instant::now() + Duration::from_secs(LONGEST);
        self.tokens.insert(String::new(), Remembered { header: header.clone(), until });
    }

    /// Takes a realm's answer for a repository. `None`: it holds no token.
    pub(super) fn take(&self, path: &str, body: &[u8]) -> Option<HeaderValue> {
        let body: TokenBody = serde_json::from_slice(body).ok()?;
        let token = body.token.or(body.access_token).filter(|token| !token.is_empty())?;
        let header = sensitive(&format!("Bearer {token}"))?;
        let life = Duration::from_secs(body.expires_in.unwrap_or(UNSAID).min(LONGEST));
        if let Some(life) = life.checked_sub(MARGIN) {
            let until = Instant::now() + life;
            self.tokens.insert(path.to_owned(), Remembered { header: header.clone(), until });
        }
        Some(header)
    }

    /// Forgets what a registry no longer takes.
    pub(super) fn forget(&self, path: &str) {
        self.tokens.invalidate(path);
        self.tokens.invalidate("");
    }

    /// Forgets who we are. Whether it makes sense to ask again.
    pub(super) async fn forget_login(&self) -> bool {
        self.keychain.forget().await
    }
}

/// A user name and password as a header; an identity token is none.
pub(super) fn basic(login: &Login) -> Option<HeaderValue> {
    let Login::Password { user, password } = login else { return None };
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal()))))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_challenges_that_registries_send() {
        let read = |texts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(text));
            }
            challenge(&headers)
        };
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: Url::parse(realm).unwrap(), service: service.map(str::to_owned) })
        };
        assert_eq!(
            read(&[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#
            ]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(read(&["bearer service=x, realm=https://a.dev/t"]), bearer("https://a.dev/t", Some("x")));
        assert_eq!(read(&["Basic realm=\"x\"", "Bearer realm=\"https://a.dev/t\""]), bearer("https://a.dev/t", None));
        assert_eq!(read(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        for bad in ["Bearer", "Bearer realm=\"/token\"", "Bearer realm=\"https://a.dev", "Negotiate"] {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(bad).unwrap());
            assert_eq!(challenge(&headers), None, "{bad}");
        }
    }
}
