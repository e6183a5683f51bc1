//! May this image be used? The same gate that pulls go through.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use contracts::{
    PinnedRef, Reference, Target,
    api::{CheckAnswer, CheckRequest, Role},
    reference::ReferenceError,
};

use super::{NO_STORE, word};
use crate::{
    app::App,
    gate::Remembered,
    http::{auth::Caller, body, clock, error::ApiError},
    metrics::Way,
    upstream::{CanonicalError, UpstreamError},
};

pub(super) async fn check(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    may_check(&caller)?;
    let CheckRequest { image, vsa } = body::json(&headers, body).await?;
    let image: Reference = image.parse().map_err(|e: ReferenceError| ApiError::invalid(e.to_string()))?;
    let decided = decide(&app, &caller, image).await;
    match &decided {
        Ok(made) => app.metrics.verdict(Way::Check, &made.verdict),
        Err(error) if error.status().is_server_error() => app.metrics.could_not_decide(Way::Check),
        Err(_) => {}
    }
    let json = HeaderValue::from_static("application/json");
    let made = decided?;
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

async fn decide(app: &App, caller: &Caller, image: Reference) -> Result<Arc<Remembered>, ApiError> {
    let pinned = pin(app, caller, image).await?;
    Ok(app.gate.decide(&caller.organization, &pinned, clock::now()).await?.shared_verdict())
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
    let repository = match app.upstreams.canonical(&image.repository.to_string(), None) {
        Ok(repository) => repository,
        // A digest can be judged by what was pushed about it, wherever the image lies.
        Err(CanonicalError::Unknown { .. }) if matches!(image.target, Target::Digest(_)) => image.repository,
        Err(error) => return Err(error.into()),
    };
    let digest = match &image.target {
        Target::Digest(digest) => *digest,
        Target::Tag(tag) => {
            let upstream = app
                .upstreams
                .locate(&caller.organization, repository.host())
                .ok_or_else(|| ApiError::from(CanonicalError::Unknown { host: repository.host().to_owned() }))?;
            upstream.resolve(&repository, tag).await?
        }
    };
    Ok(PinnedRef { repository, digest })
}

impl From<CanonicalError> for ApiError {
    fn from(error: CanonicalError) -> Self {
        let message = error.to_string();
        match error {
            CanonicalError::Name(_) | CanonicalError::NoHost { .. } => Self::invalid(message),
            CanonicalError::Unknown { .. } => Self::new(
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
            | UpstreamError::Refused { .. }
            | UpstreamError::Lied { .. }
            | UpstreamError::Range { .. } => {
                Self::could_not_decide(format!("it could not be decided: {message}: try again")).logged(message)
            }
        }
    }
}
