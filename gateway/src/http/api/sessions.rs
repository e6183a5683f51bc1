//! The sessions of runs: what the jobs of one pipeline share while they craft one attestation. The gateway keeps the bytes
//! and reads nothing of them; no verdict depends on them.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::{Digest, api::Role, limits};

use super::NO_STORE;
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    store::SessionKept,
};

pub(super) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    seen(&app, &caller, &id).await?;
    let session = app.store.session(&caller.organization, &id).await?;
    let session = session.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "run-state-unknown", format!("no session is kept for the run `{id}`"))
    })?;
    let headers = [(header::ETAG, tag(session.mark)), (header::CONTENT_TYPE, "application/json".to_owned())];
    Ok((headers, [(header::CACHE_CONTROL, NO_STORE)], session.bytes).into_response())
}

pub(super) async fn keep(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    seen(&app, &caller, &id).await?;
    let before = before(&headers)?;
    body::content_type(&headers, Some("application/json"), &["application/json"], "`application/json`")?;
    let bytes = body::whole(body, limits::RUN_STATE_BYTES).await?;
    let refused = |status, code, message: String| Err(ApiError::new(status, code, message));
    match app.store.keep_session(&caller.organization, &id, bytes, before, clock::now()).await? {
        SessionKept::Kept(mark) => Ok((StatusCode::NO_CONTENT, [(header::ETAG, tag(mark))]).into_response()),
        SessionKept::Changed => {
            let message = format!("the session of the run `{id}` was changed since you read it: read it again");
            refused(StatusCode::PRECONDITION_FAILED, "run-state-changed", message)
        }
        SessionKept::Ended => refused(
            StatusCode::CONFLICT,
            "run-already-used",
            format!("the run `{id}` has ended, and its session with it"),
        ),
        SessionKept::Unknown => Err(unknown()),
        SessionKept::TooMany => {
            let message = format!("the organization has {} sessions open: push or reset some", limits::RUN_STATES);
            refused(StatusCode::TOO_MANY_REQUESTS, "too-many-run-states", message)
        }
    }
}

/// Sessions hold what a pipeline knows: only those who may push for the workflow see them.
async fn seen(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    caller.needs(Role::Push)?;
    let run = app.store.run(&caller.organization, id).await?;
    run.filter(|run| caller.may_act_on(&run.workflow)).map(drop).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such run")
}

fn tag(mark: Digest) -> String {
    format!("\"{}\"", mark.hex())
}

/// The state that the caller has read; none when he has read that there is none. One of both must be said, so that nobody
/// overwrites what he has not seen.
fn before(headers: &HeaderMap) -> Result<Option<Digest>, ApiError> {
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (said(header::IF_MATCH), said(header::IF_NONE_MATCH)) {
        (Some(tag), None) => {
            let hex = tag.trim_matches('"');
            let mark =
                Digest::from_hex(hex).map_err(|_| ApiError::invalid("`If-Match` is not an `ETag` of this gateway"))?;
            Ok(Some(mark))
        }
        (None, Some("*")) => Ok(None),
        _ => Err(ApiError::new(
            StatusCode::PRECONDITION_REQUIRED,
            "precondition-required",
            "say which state you have read: `If-Match` with its `ETag`, or `If-None-Match: *` for the first",
        )),
    }
}
