//! May this image, or this artifact, be used? The same gate that pulls go through. What is asked with named contracts, and
//! whatever is asked about an artifact, opens no pull.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use contracts::{
    PinnedRef, Reference, Target, Verdict, VerdictSubject,
    api::{CheckAnswer, CheckRequest, Role},
    limits,
    reference::ReferenceError,
};

use super::{NO_STORE, seen, word};
use crate::{
    app::App,
    gate::{Inquiry, Remembered},
    http::{
        auth::Caller,
        body, clock,
        error::ApiError,
        naming::{self, Misnamed},
    },
    metrics::Way,
    names::Name,
    upstream::{CanonicalError, UpstreamError},
};

/// Contracts that an error lists.
const LISTED: usize = 12;

pub(super) async fn check(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    may_check(&caller)?;
    let request: CheckRequest = body::json(&headers, body).await?;
    let vsa = request.vsa;
    let decided = decide(&app, &caller, request).await;
    match &decided {
        Ok(made) => app.metrics.verdict(Way::Check, &made.verdict),
        Err(error) if error.status().is_server_error() => app.metrics.could_not_decide(Way::Check),
        Err(_) => {}
    }
    let json = HeaderValue::from_static("application/json");
    let made = seen::by(&app, &caller, decided?).await?;
    let written = if vsa { write_with_word(&app, &caller, &made)? } else { write(&made)? };
    let mut response = Response::new(Body::from(written));
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Refuses whoever may not ask for verdicts.
pub(super) fn may_check(caller: &Caller) -> Result<(), ApiError> {
    if matches!(caller.role, Role::Read) {
        return Err(ApiError::forbidden("asking for a verdict needs a token of role `pull`, `push` or `admin`"));
    }
    Ok(())
}

async fn decide(app: &App, caller: &Caller, request: CheckRequest) -> Result<Arc<Remembered>, ApiError> {
    let CheckRequest { image, artifact, contracts, vsa: _ } = request;
    let organization = &caller.organization;
    let inquiry = match (image, artifact) {
        (Some(image), None) => {
            let image: Reference = image.parse().map_err(|e: ReferenceError| ApiError::invalid(e.to_string()))?;
            if contracts.is_empty() {
                let pinned = pin(app, caller, image).await?;
                return Ok(app.gate.decide(organization, &pinned, clock::now()).await?.shared_verdict());
            }
            let named = named(&contracts, &nameable(app, caller).await?)?;
            Inquiry::image(pin(app, caller, image).await?, named)
        }
        (None, Some(digest)) => {
            let nameable = nameable(app, caller).await?;
            Inquiry::artifact(digest, named(&contracts, &nameable)?).ok_or_else(|| {
                let message = format!(
                    "no repository tells which contracts answer for an artifact: name those that must allow it (`sluice check --contract NAME`); {}",
                    listed(&nameable)
                );
                ApiError::new(StatusCode::BAD_REQUEST, "contract-missing", message)
            })?
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(ApiError::invalid("give either `image`, or `artifact` and `contracts`"));
        }
    };
    Ok(app.gate.check(organization, inquiry, clock::now()).await?)
}

/// The question that a verdict answers.
pub(super) fn same_question(verdict: &Verdict) -> Result<Inquiry, ApiError> {
    let named = verdict.named.iter().map(|name| name.parse()).collect::<Result<BTreeSet<Name>, _>>()?;
    let inquiry = match &verdict.subject {
        VerdictSubject::Image(pinned) => Some(Inquiry::image(pinned.clone(), named)),
        VerdictSubject::Artifact(digest) => Inquiry::artifact(*digest, named),
    };
    inquiry.ok_or_else(|| ApiError::internal("a verdict about an artifact names no contract"))
}

/// Whether a caller may see a verdict: a question that it may not ask has no answer for it either.
pub(in crate::http) async fn may_see(app: &App, caller: &Caller, verdict: &Verdict) -> Result<bool, ApiError> {
    if verdict.named.is_empty() {
        return Ok(true);
    }
    let nameable = nameable(app, caller).await?;
    Ok(verdict.named.iter().all(|name| nameable.iter().any(|may| may.as_str() == name)))
}

/// The contracts that a caller may name: the one of the workflow that the token is bound to, else all of the
/// organization.
async fn nameable(app: &App, caller: &Caller) -> Result<BTreeSet<Name>, ApiError> {
    let rules = app.rules.current(&caller.organization).await?;
    Ok(match &caller.workflow {
        Some(bound) => rules.workflows.get(bound).cloned().into_iter().collect(),
        None => rules.contracts.keys().chain(rules.unusable.keys()).cloned().collect(),
    })
}

/// One that is not there and one that the caller may not name are told in the same words.
fn named(contracts: &[String], nameable: &BTreeSet<Name>) -> Result<BTreeSet<Name>, ApiError> {
    if contracts.len() > limits::NAMED_CONTRACTS {
        return Err(ApiError::invalid(format!("name at most {} contracts", limits::NAMED_CONTRACTS)));
    }
    let known = |text: &String| {
        text.parse::<Name>().ok().filter(|name| nameable.contains(name)).ok_or_else(|| {
            let text: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
            let message = format!("there is no contract `{text}` that you may name; {}", listed(nameable));
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "contract-unknown", message)
        })
    };
    contracts.iter().map(known).collect()
}

/// What the caller may name, in words.
fn listed(nameable: &BTreeSet<Name>) -> String {
    let shown: Vec<String> = nameable.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    match nameable.len().saturating_sub(LISTED) {
        _ if shown.is_empty() => "there is none yet: make one with `sluice contract apply`".to_owned(),
        0 => format!("your token may name {}", shown.join(", ")),
        more => format!("your token may name {} and {more} more", shown.join(", ")),
    }
}

/// The answer in JSON, written when it is asked for the first time.
fn write(made: &Remembered) -> Result<Bytes, ApiError> {
    made.written(|made| json_bytes(&CheckAnswer { key: made.key, verdict: made.verdict.clone(), vsa: None }))
}

/// The same with the gateway's signature over it.
fn write_with_word(app: &App, caller: &Caller, made: &Remembered) -> Result<Bytes, ApiError> {
    let vsa = Some(word::signed(app, caller, made)?);
    json_bytes(&CheckAnswer { key: made.key, verdict: made.verdict.clone(), vsa })
}

fn json_bytes(answer: &CheckAnswer) -> Result<Bytes, ApiError> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| ApiError::internal(error.to_string()))
}

/// The image under its canonical repository, with the tag, if there is one, resolved this once.
async fn pin(app: &App, caller: &Caller, image: Reference) -> Result<PinnedRef, ApiError> {
    let repository = naming::written(app, &caller.organization, &image)?;
    let digest = match &image.target {
        Target::Digest(digest) => *digest,
        Target::Tag(tag) => {
            let upstream = app
                .upstreams
                .locate(&caller.organization, repository.host())
                .ok_or_else(|| Misnamed::from(CanonicalError::Unknown { host: repository.host().to_owned() }))?;
            upstream.resolve(&repository, tag).await?
        }
    };
    Ok(PinnedRef { repository, digest })
}

impl From<Misnamed> for ApiError {
    fn from(error: Misnamed) -> Self {
        let message = error.to_string();
        match error {
            Misnamed::Canonical(CanonicalError::Name(_) | CanonicalError::NoHost { .. })
            | Misnamed::TwoRegistries { .. } => Self::invalid(message),
            Misnamed::OtherOrganization { .. } => Self::forbidden(message),
            Misnamed::Canonical(CanonicalError::Unknown { .. }) => Self::new(
                StatusCode::NOT_FOUND,
                "upstream-unknown",
                format!("{message}: name the image by its digest, or configure the registry under `[[upstreams]]`"),
            ),
        }
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        let message = error.to_string();
        match error {
            UpstreamError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "image-not-found", message),
            UpstreamError::Unavailable { .. }
            | UpstreamError::Throttled { .. }
            | UpstreamError::Refused { .. }
            | UpstreamError::Lied { .. }
            | UpstreamError::Outdated { .. }
            | UpstreamError::Range { .. } => {
                Self::could_not_decide(format!("it could not be decided: {message}: try again")).logged(message)
            }
        }
    }
}
