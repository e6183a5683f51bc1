//! Who pulled what, and what of it would be denied now.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::{
    PinnedRef, Reference, Target,
    api::{JudgeImages, JudgedImage, Role},
    limits,
    reference::ReferenceError,
};
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;

use super::{answer, check::may_check, limit, query};
use crate::{
    app::App,
    gate::Outcome,
    http::{auth::Caller, body, clock, error::ApiError, naming, registry},
    store::StoreError,
};

/// Images that are told of at most.
const IMAGES: usize = 10_000;
/// Images of one request that are judged at once.
const JUDGED_AT_ONCE: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    since: Option<Timestamp>,
    limit: Option<usize>,
}

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    caller.needs_whole_organization()?;
    let Since { since, limit: wanted } = query(&uri)?;
    let (store, most) = (Arc::clone(&app.store), limit(wanted)?);
    let pulls = read(&app, async move { store.pulls(&caller.organization, since, most).await }).await?;
    Ok(answer(StatusCode::OK, &pulls))
}

/// The images that were let through, each once.
pub(super) async fn images(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    caller.needs_whole_organization()?;
    let Since { since, limit: wanted } = query(&uri)?;
    let (store, most) = (Arc::clone(&app.store), wanted.unwrap_or(IMAGES).min(IMAGES));
    let images = read(&app, async move { store.pulled_images(&caller.organization, since, most).await }).await?;
    Ok(answer(StatusCode::OK, &images))
}

/// Reads the log when it is its turn. Who leaves while waiting is forgotten; what is begun keeps its place until it is over.
async fn read<T: Send + 'static>(
    app: &App,
    reading: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, ApiError> {
    let internal = |error: String| ApiError::internal(error);
    let slot = Arc::clone(&app.slots.pulls).acquire_owned().await.map_err(|error| internal(error.to_string()))?;
    let read = tokio::spawn(async move {
        let read = reading.await;
        drop(slot);
        read
    });
    Ok(read.await.map_err(|error| internal(error.to_string()))??)
}

pub(super) async fn judge(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    may_check(&caller)?;
    let JudgeImages { images } = body::json(&headers, body).await?;
    if images.len() > limits::JUDGED_IMAGES {
        let most = limits::JUDGED_IMAGES;
        return Err(ApiError::invalid(format!("ask about at most {most} images at a time")));
    }
    let now = clock::now();
    let mut judging = Vec::with_capacity(images.len());
    for image in images {
        judging.push(one(&app, &caller, image, now).boxed());
    }
    let judged: Vec<JudgedImage> = stream::iter(judging).buffered(JUDGED_AT_ONCE).collect().await;
    Ok(answer(StatusCode::OK, &judged))
}

async fn one(app: &App, caller: &Caller, image: String, now: Timestamp) -> JudgedImage {
    let unclear =
        |image: String, reason: String| JudgedImage { image, decision: None, enforced: true, reason, verdict: None };
    let PinnedRef { repository, digest } = match image.parse() {
        Ok(pinned) => pinned,
        Err(error) => {
            let error: ReferenceError = error;
            return unclear(image, error.to_string());
        }
    };
    let named = Reference { repository, target: Target::Digest(digest) };
    let pinned = match naming::written(app, &caller.organization, &named) {
        Ok(repository) => PinnedRef { repository, digest },
        Err(error) => return unclear(image, error.to_string()),
    };
    match app.gate.admit(&caller.organization, &pinned, now).await {
        Err(error) => unclear(image, ApiError::from(error).message().to_owned()),
        Ok(outcome) => {
            let reason = match &outcome {
                Outcome::Deny(verdict) => registry::denial(verdict, app.settings.external_url.as_deref()),
                Outcome::Permit(_) => String::new(),
            };
            let made = outcome.verdict();
            let (decision, enforced) = (Some(made.verdict.decision), made.verdict.enforced);
            JudgedImage { image, decision, enforced, reason, verdict: Some(made.key) }
        }
    }
}
