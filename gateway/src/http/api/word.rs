//! The gateway's signed word, and the keys to check it with.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::api::{CheckAnswer, Role};

use super::{answer, check, digest};
use crate::{
    app::App,
    gate::Remembered,
    http::{auth::Caller, clock, error::ApiError},
};

/// The type of what is signed.
const BUNDLE: &str = contracts::bundle::MEDIA_TYPE;

/// Shown to anyone: who checks the gateway's word is often not one of its users, and public keys tell of no
/// organization.
pub(super) async fn keys(State(app): State<App>) -> Response {
    answer(StatusCode::OK, &app.word.keys(clock::now()))
}

pub(super) async fn verdict(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let made = remembered(&app, &caller, &key).await?;
    Ok(answer(StatusCode::OK, &CheckAnswer { key: made.key, verdict: made.verdict.clone(), vsa: None }))
}

/// Signs only what holds now: a verdict that was overtaken is shown, but no word is given for it any more.
pub(super) async fn summary(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    check::may_check(&caller)?;
    let made = remembered(&app, &caller, &key).await?;
    let current = app.gate.decide(&caller.organization, &made.verdict.subject, clock::now()).await?;
    if current.verdict().key != made.key {
        let message = format!(
            "the verdict `{}` no longer holds: something that it was made from has changed, and now it is `{}`; ask for that one",
            made.key,
            current.verdict().key
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "verdict-overtaken", message));
    }
    let bundle = app.word.summary(&caller.organization, current.verdict()).map_err(unsigned)?;
    let headers = [(header::CONTENT_TYPE, BUNDLE), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, bundle.bytes().to_vec()).into_response())
}

/// A bundle as it stands within an answer.
pub(super) fn signed(app: &App, caller: &Caller, made: &Remembered) -> Result<serde_json::Value, ApiError> {
    let bundle = app.word.summary(&caller.organization, made).map_err(unsigned)?;
    serde_json::from_slice(bundle.bytes()).map_err(|error| ApiError::internal(error.to_string()))
}

fn unsigned(error: contracts::SignError) -> ApiError {
    ApiError::internal(format!("the gateway's word could not be signed: {error}"))
}

async fn remembered(app: &App, caller: &Caller, key: &str) -> Result<Arc<Remembered>, ApiError> {
    let key = digest(key)?;
    let made = app.gate.remembered(&caller.organization, key).await?;
    made.ok_or_else(|| {
        ApiError::not_found(format!(
            "there is no verdict `{key}`, or it was forgotten: ask again with `POST /api/v1/check`"
        ))
    })
}
