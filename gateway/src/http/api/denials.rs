//! What operators deny by digest.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::{
    api::{DenialInfo, NewDenial, Role},
    limits,
    pattern::{PatternError, RepositoryPattern},
};
use jiff::Timestamp;

use super::{answer, digest, page::Page};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    store::{DenialPut, DenialRecord},
};

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    caller.needs_whole_organization()?;
    let (mut page, now) = (Page::asked(&uri)?, clock::now());
    for record in app.store.denials(&caller.organization).await? {
        page.add(&record.digest.to_string(), &info(record, now))?;
    }
    Ok(page.answer())
}

pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(denied): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let denied = digest(&denied)?;
    let NewDenial { reason, until, repositories } = body::json(&headers, body).await?;
    let (reason, now) = (super::reason(&reason)?, clock::now());
    if let Some(until) = until.filter(|until| *until <= now) {
        let message = format!("the denial would have ended at {until}: name a later instant under `until`");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "denial-over", message));
    }
    if repositories.len() > limits::DENIAL_REPOSITORIES {
        let most = limits::DENIAL_REPOSITORIES;
        return Err(ApiError::invalid(format!("a denial names at most {most} repositories")));
    }
    for pattern in &repositories {
        pattern.parse::<RepositoryPattern>().map_err(|error: PatternError| ApiError::invalid(error.to_string()))?;
    }
    let by = caller.token_id.clone();
    let record = DenialRecord { digest: denied, reason, repositories, until, denied_at: now, by };
    let organization = &caller.organization;
    let status = match app.store.put_denial(organization, record.clone(), caller.by(now)).await? {
        DenialPut::New => StatusCode::CREATED,
        DenialPut::Replaced(_) => StatusCode::OK,
        DenialPut::TooMany => {
            let message = format!("there are {} denials already: remove some first", limits::DENIALS);
            return Err(ApiError::new(StatusCode::CONFLICT, "too-many-denials", message));
        }
    };
    tracing::warn!(
        %organization, digest = %denied, token = %caller.token_id, until = record.until.map(tracing::field::display),
        reason = record.reason, "an operator denied a digest"
    );
    Ok(answer(status, &info(record, now)))
}

pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(denied): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let (denied, now) = (digest(&denied)?, clock::now());
    let removed = app.store.remove_denial(&caller.organization, denied, caller.by(now)).await?;
    let record = removed.ok_or_else(|| ApiError::not_found(format!("`{denied}` is not denied by an operator")))?;
    tracing::warn!(
        organization = %caller.organization, digest = %denied, token = %caller.token_id, "an operator's denial was removed"
    );
    Ok(answer(StatusCode::OK, &DenialInfo { in_force: false, ..info(record, now) }))
}

fn info(record: DenialRecord, now: Timestamp) -> DenialInfo {
    let in_force = record.in_force(now);
    let DenialRecord { digest, reason, repositories, until, denied_at, by } = record;
    DenialInfo { digest, reason, repositories, denied_at, until, by, in_force }
}
