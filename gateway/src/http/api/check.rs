//! May this image be used? The same gate that pulls go through.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::{
    PinnedRef, Reference, Target,
    api::{CheckAnswer, CheckRequest, Role},
    reference::ReferenceError,
};

use super::answer;
use crate::{
    app::App,
    gate::Outcome,
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
    if matches!(caller.role, Role::Read) {
        return Err(ApiError::forbidden("asking for a verdict needs a token of role `pull`, `push` or `admin`"));
    }
    let CheckRequest { image } = body::json(&headers, body).await?;
    let image: Reference = image.parse().map_err(|e: ReferenceError| ApiError::invalid(e.to_string()))?;
    let decided = decide(&app, &caller, image).await;
    match &decided {
        Ok(answer) => app.metrics.decided(Way::Check, answer.verdict.decision, answer.verdict.enforced),
        Err(error) if error.status().is_server_error() => app.metrics.could_not_decide(Way::Check),
        Err(_) => {}
    }
    Ok(answer(StatusCode::OK, &decided?))
}

async fn decide(app: &App, caller: &Caller, image: Reference) -> Result<CheckAnswer, ApiError> {
    let pinned = pin(app, caller, image).await?;
    let remembered = match app.gate.decide(&caller.organization, &pinned, clock::now()).await? {
        Outcome::Permit(permit) => permit.verdict().clone(),
        Outcome::Deny(denied) => (*denied).clone(),
    };
    Ok(CheckAnswer { key: remembered.key, verdict: remembered.verdict })
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
