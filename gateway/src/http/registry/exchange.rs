//! Tokens for registry clients: a Sluice token, or an identity token, against a bearer token that lives for minutes and
//! pulls from the repositories that it was asked for
//! (<https://distribution.github.io/distribution/spec/auth/token/> and `…/oauth/`).
//!
//! A bearer token is random and says nothing; what it stands for stays here. It is as good as what it was given for is at
//! the moment it is used: a token that is revoked, or an identity that is not let in any more, takes its bearer tokens
//! with it. No state is kept: after a restart clients ask again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use contracts::{Digest, api::Role, limits};
use moka::{policy::EvictionPolicy, sync::Cache};
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::{
    answer::OciError,
    door::{self, Place},
};
use crate::{
    app::App,
    http::{
        auth::{self, Caller, Proof},
        body, clock,
        secret::random_id,
    },
    names::Name,
};

/// How long a bearer token lives.
const LIFE: Duration = Duration::from_secs(300);
/// Bytes of bearer tokens that are remembered.
const KEPT: u64 = 32 * 1024 * 1024;
/// What they begin with, so that leaked ones can be found by scanners.
const PREFIX: &str = "sluice_bearer_";
/// Repositories of one bearer token.
const SCOPES: usize = 16;
/// Characters of a repository's name, host included.
const NAME: usize = 512;
/// The body of a request for a token.
const FORM_BYTES: usize = 2 * limits::IDENTITY_TOKEN_BYTES;

/// Bytes of bearer tokens that are remembered of one caller. Whoever asks for more takes them from nobody else: the
/// oldest of their own end. Ordinary ones are of some hundred bytes.
const KEPT_OF_ONE: u32 = 4 * 1024 * 1024;
/// Callers who are told apart.
const CALLERS: u64 = 100_000;

/// The bearer tokens that were given out, by the digests of their secrets.
#[derive(Clone)]
pub(super) struct Exchange {
    issued: Cache<Digest, Arc<Issued>>,
    /// What each caller has, by organization and token.
    of: Cache<(Name, String), Arc<Mutex<Owned>>>,
}

/// The bearer tokens of one caller, the oldest first, each with its weight.
#[derive(Default)]
struct Owned {
    tokens: VecDeque<(Digest, u32)>,
    weight: u32,
}

/// What a bearer token stands for.
pub(super) struct Issued {
    pub(super) proof: Proof,
    /// The names of repositories as clients write them in addresses.
    repositories: Vec<String>,
}

impl Default for Exchange {
    fn default() -> Self {
        let weight = |_: &Digest, issued: &Arc<Issued>| issued.weight();
        // By age alone: how often a token was used must not keep a new one out.
        let issued = Cache::builder().max_capacity(KEPT).weigher(weight).time_to_live(LIFE);
        let issued = issued.eviction_policy(EvictionPolicy::lru()).build();
        Self { issued, of: Cache::builder().max_capacity(CALLERS).time_to_idle(LIFE).build() }
    }
}

impl Exchange {
    /// What a secret stands for, when it is a bearer token's that lives.
    pub(super) fn redeem(&self, secret: &str) -> Option<Arc<Issued>> {
        self.issued.get(&Digest::of(secret.as_bytes()))
    }

    fn issue(&self, caller: &Caller, proof: Proof, repositories: Vec<String>) -> Result<String, OciError> {
        let halves = [random_id(), random_id(), random_id(), random_id()];
        let random: Result<Vec<String>, _> = halves.into_iter().collect();
        let secret = format!("{PREFIX}{}", random.map_err(OciError::no_token)?.concat());
        let (digest, issued) = (Digest::of(secret.as_bytes()), Arc::new(Issued { proof, repositories }));
        let of = (caller.organization.clone(), caller.token_id.clone());
        let owned = self.of.get_with(of, Arc::default);
        for ended in owned.lock().unwrap_or_else(PoisonError::into_inner).take(digest, issued.weight()) {
            self.issued.invalidate(&ended);
        }
        self.issued.insert(digest, issued);
        Ok(secret)
    }
}

/// Whether a secret is shaped as bearer tokens are.
pub(super) fn is_bearer(secret: &str) -> bool {
    secret.starts_with(PREFIX)
}

impl Owned {
    /// Takes one more, and tells which of the oldest end for it.
    fn take(&mut self, digest: Digest, weight: u32) -> Vec<Digest> {
        self.tokens.push_back((digest, weight));
        self.weight = self.weight.saturating_add(weight);
        let mut ended = Vec::new();
        while self.weight > KEPT_OF_ONE && self.tokens.len() > 1 {
            let Some((oldest, weight)) = self.tokens.pop_front() else { break };
            self.weight = self.weight.saturating_sub(weight);
            ended.push(oldest);
        }
        ended
    }
}

impl Issued {
    fn weight(&self) -> u32 {
        let names: usize = self.repositories.iter().map(|name| name.len() + 24).sum();
        u32::try_from(self.proof.weight() + names + 128).unwrap_or(u32::MAX)
    }

    /// Whether it pulls from a repository of this name.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.repositories.iter().any(|one| one == name)
    }
}

/// `GET /token?service=…&scope=…` with `Authorization`, and `POST /token` with a form.
pub(super) async fn token(
    State(app): State<App>,
    Extension(exchange): Extension<Exchange>,
    parts: Parts,
    body: Body,
) -> Response {
    match give(&app, &exchange, &parts, body).await {
        Ok(response) => response,
        // Told to a person by `docker login`. There is nowhere else to get a token from.
        Err(error) => error
            .log_in(Place::of(&app, &parts.extensions, &parts.uri, &parts.headers).name())
            .challenged(|| "Basic realm=\"sluice\"".to_owned())
            .into_response(),
    }
}

async fn give(app: &App, exchange: &Exchange, parts: &Parts, body: Body) -> Result<Response, OciError> {
    let asked = match parts.method {
        Method::GET => Asked::read(parts.uri.query().unwrap_or_default())?,
        _ => {
            let form = body::whole(body, FORM_BYTES).await;
            let form = form.map_err(|error| OciError::not_asked_right(error.to_string()))?;
            Asked::read(std::str::from_utf8(&form).unwrap_or_default())?
        }
    };
    let proof = match (&parts.method, asked.secret()?) {
        (&Method::POST, Some(secret)) => Proof::of_login(&asked.user, secret)?,
        (&Method::POST, None) => return Err(OciError::not_asked_right("the form has no `password`")),
        _ => Proof::of(&parts.headers)?,
    };
    let caller = auth::caller(app, &proof).await?;
    let place = Place::of(app, &parts.extensions, &parts.uri, &parts.headers);
    door::may_enter(&caller, &place)?;
    if !caller.may(Role::Pull) {
        return Err(door::may_not_pull());
    }
    let scope = asked.repositories.iter().map(|name| format!("repository:{name}:pull")).collect::<Vec<_>>().join(" ");
    let secret = exchange.issue(&caller, proof, asked.repositories)?;
    tracing::debug!(organization = %caller.organization, token = %caller.token_id, scope, "gave out a bearer token");
    let mut answer: Map<String, Value> = Map::new();
    answer.insert("token".to_owned(), json!(secret));
    answer.insert("access_token".to_owned(), json!(secret));
    answer.insert("expires_in".to_owned(), json!(LIFE.as_secs()));
    answer.insert("issued_at".to_owned(), json!(clock::now()));
    if parts.method == Method::POST {
        answer.insert("token_type".to_owned(), json!("Bearer"));
        answer.insert("scope".to_owned(), json!(scope));
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::OK, headers, Value::Object(answer).to_string()).into_response())
}

/// A request for a token, read.
#[derive(Default)]
struct Asked {
    grant: Option<String>,
    user: String,
    password: Option<zeroize::Zeroizing<String>>,
    refresh: Option<zeroize::Zeroizing<String>>,
    repositories: Vec<String>,
}

impl Asked {
    /// Reads pairs as forms and queries are written.
    fn read(pairs: &str) -> Result<Self, OciError> {
        let unreadable = || OciError::not_asked_right("the request for a token cannot be read");
        // Never asked: it only takes the pairs apart.
        let mut url = Url::parse("http://token.invalid/").map_err(|_| unreadable())?;
        url.set_query(Some(pairs));
        let mut asked = Self::default();
        for (key, value) in url.query_pairs() {
            let once = |slot: &mut Option<zeroize::Zeroizing<String>>| match slot.replace(value.to_string().into()) {
                Some(_) => Err(OciError::not_asked_right(format!("`{key}` is there twice"))),
                None => Ok(()),
            };
            match &*key {
                "grant_type" => asked.grant = Some(value.to_string()),
                "username" => asked.user = value.to_string(),
                "password" => once(&mut asked.password)?,
                "refresh_token" => once(&mut asked.refresh)?,
                "scope" => asked.repositories.extend(value.split(' ').filter_map(pulled)),
                _ => {}
            }
        }
        asked.repositories.sort();
        asked.repositories.dedup();
        if asked.repositories.len() > SCOPES || asked.repositories.iter().any(|name| name.len() > NAME) {
            return Err(OciError::not_asked_right(format!("a token is for at most {SCOPES} repositories")));
        }
        Ok(asked)
    }

    /// What a form proves who one is with. Docker and containerd call a token that is kept a refresh token.
    fn secret(&self) -> Result<Option<&str>, OciError> {
        match self.grant.as_deref() {
            None | Some("password") => Ok(self.password.as_ref().map(|secret| secret.as_str())),
            Some("refresh_token") => Ok(self.refresh.as_ref().map(|secret| secret.as_str())),
            Some(_) => Err(OciError::not_asked_right("`grant_type` is `password` or `refresh_token`")),
        }
    }
}

/// The repository of a scope that asks for pulling: `repository:NAME:ACTIONS`. Other scopes are granted to nobody, so
/// they are left out.
fn pulled(scope: &str) -> Option<String> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
    let asks = actions.split(',').any(|action| matches!(action, "pull" | "*"));
    (kind == "repository" && asks && !name.is_empty()).then(|| name.to_owned())
}

/// The challenge of a request without a good token: where to get one, and for what.
pub(super) fn challenge(address: Option<&str>, name: Option<&str>, why: Option<&str>) -> String {
    let Some(address) = address else { return "Basic realm=\"sluice\"".to_owned() };
    let service = address.split_once("://").map_or(address, |(_, host)| host);
    let mut text = format!("Bearer realm=\"{address}/token\",service=\"{service}\"");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
    if let Some(name) = name.filter(|name| name.len() <= NAME && name.chars().all(plain)) {
        text.push_str(&format!(",scope=\"repository:{name}:pull\""));
    }
    if let Some(why) = why {
        text.push_str(&format!(",error=\"{why}\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_clients_write_them() {
        for (scope, name) in [
            ("repository:library/alpine:pull", Some("library/alpine")),
            ("repository:localhost:5000/a/b:pull,push", Some("localhost:5000/a/b")),
            ("repository(plugin):a:*", Some("a")),
            ("repository:a:push", None),
            ("registry:catalog:*", None),
            ("repository::pull", None),
            ("a", None),
        ] {
            assert_eq!(pulled(scope).as_deref(), name, "{scope}");
        }
        let read = |text: &str| Asked::read(text).map(|asked| asked.repositories).ok();
        let two = read("service=x&scope=repository%3Ab%3Apull+repository:a:pull&scope=repository:a:pull");
        assert_eq!(two, Some(vec!["a".to_owned(), "b".to_owned()]));
        let many: Vec<String> = (0..17).map(|n| format!("scope=repository:r{n}:pull")).collect();
        assert_eq!(read(&many.join("&")), None);
        assert_eq!(read("password=a&password=b"), None);
    }

    #[test]
    fn who_asks_for_many_tokens_takes_them_from_nobody_else() {
        let caller = |id: &str| Caller {
            organization: "acme".parse().unwrap(),
            role: Role::Pull,
            workflow: None,
            token_id: id.to_owned(),
            token_name: id.to_owned(),
            operator: false,
            identity: None,
        };
        let exchange = Exchange::default();
        let issue = |id: &str, names: usize| {
            let repositories = (0..names).map(|n| format!("{n}{}", "x".repeat(NAME - 2))).collect();
            exchange.issue(&caller(id), Proof::of_login("robot", "sluice_x").unwrap(), repositories).unwrap()
        };
        let other = issue("other", 1);
        let greedy: Vec<String> = (0..600).map(|_| issue("greedy", SCOPES)).collect();
        assert!(exchange.redeem(&other).is_some());
        let alive = greedy.iter().filter(|token| exchange.redeem(token).is_some()).count();
        assert!((300..600).contains(&alive), "{alive}");
        assert!(exchange.redeem(&greedy[0]).is_none() && exchange.redeem(&greedy[599]).is_some());
    }

    #[test]
    fn a_challenge_names_nothing_that_could_break_out_of_it() {
        let text = challenge(Some("https://gw.acme.dev"), Some("docker.io/library/alpine"), Some("invalid_token"));
        assert_eq!(
            text,
            "Bearer realm=\"https://gw.acme.dev/token\",service=\"gw.acme.dev\",scope=\"repository:docker.io/library/alpine:pull\",error=\"invalid_token\""
        );
        assert!(!challenge(Some("https://gw.acme.dev"), Some("a\",x=\""), None).contains("scope"));
    }
}
