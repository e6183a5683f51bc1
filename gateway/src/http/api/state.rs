//! The audit log, and a copy of the whole state.

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use contracts::api::{AuditEntry, Role};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::{answer, limit, page, query};
use crate::{
    app::App,
    http::{auth::Caller, error::ApiError},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    from: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn audit(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let From { from, limit: asked } = query(&uri)?;
    let most = limit(asked)?;
    let entries = app.store.audit_log(&caller.organization, from.unwrap_or(1), most).await?;
    let entries: Vec<AuditEntry> = entries
        .into_iter()
        .map(|e| AuditEntry {
            number: e.number,
            at: e.at,
            event: e.event,
            detail: e.detail,
            previous: e.previous,
            digest: e.digest,
        })
        .collect();
    let answer = answer(StatusCode::OK, &entries);
    let Some(next) = entries.last().and_then(|last| last.number.checked_add(1)) else { return Ok(answer) };
    // A page that is not full ended where the log does, or where its entries took too much.
    let more = !app.store.audit_log(&caller.organization, next, 1).await?.is_empty();
    Ok(if more { page::goes_on(answer, &uri, "from", &next.to_string()) } else { answer })
}

/// Streams a consistent copy of the state of all organizations. The copy lies beside the state file until it is
/// opened, and nowhere after that.
pub(super) async fn backup(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    if !caller.operator {
        return Err(ApiError::forbidden("only the token of the installation's operator takes backups"));
    }
    let Ok(_only_one) = app.slots.backup.try_acquire() else {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "backup-running",
            "a backup is being taken already: try again",
        ));
    };
    let beside = app.settings.state.parent().filter(|p| !p.as_os_str().is_empty()).map(ToOwned::to_owned);
    let unwritten = |e: std::io::Error| {
        ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "backup-failed",
            "the backup could not be written beside the state file",
        )
        .logged(e.to_string())
    };
    let folder = tempfile::Builder::new()
        .prefix(".backup-")
        .tempdir_in(beside.unwrap_or_else(|| ".".into()))
        .map_err(unwritten)?;
    let copy = folder.path().join("sluice.redb");
    app.store.backup(&copy).await?;
    let file = tokio::fs::File::open(&copy).await.map_err(unwritten)?;
    let length = file.metadata().await.map_err(unwritten)?.len();
    drop(folder);
    tracing::info!(token = %caller.token_id, bytes = length, "a backup was taken");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"sluice.redb\"".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(file, 256 * 1024))).into_response())
}
