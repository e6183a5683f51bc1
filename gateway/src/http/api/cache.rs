//! The content cache: what is in it, and less of it. It is the installation's, so it is for its operator.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::api::{CacheStats, PruneCache, PrunedCache, Role};

use super::answer;
use crate::{
    app::App,
    http::{auth::Caller, body, error::ApiError},
    upstream::Cache,
};

pub(super) async fn stats(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let cache = of_operator(&app, &caller)?;
    let (contents, counts) = (cache.contents(), app.metrics.cache_counts());
    let stats = CacheStats {
        size: contents.size,
        bytes: contents.bytes,
        blobs: contents.blobs as u64,
        manifests: contents.manifests as u64,
        hits: counts.hits,
        joined: counts.joined,
        misses: counts.misses,
        parts: counts.parts,
        not_kept: counts.not_kept,
        evictions: counts.evictions,
        disk_failures: counts.disk_failures,
    };
    Ok(answer(StatusCode::OK, &stats))
}

pub(super) async fn prune(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let cache = of_operator(&app, &caller)?;
    let PruneCache { keep, unused_seconds } = body::json(&headers, body).await?;
    let unused = unused_seconds.map(Duration::from_secs);
    // What only takes away what is unused leaves the rest.
    let keep = keep.unwrap_or(if unused.is_some() { u64::MAX } else { 0 });
    let pruned = tokio::task::spawn_blocking(move || cache.prune(keep, unused)).await;
    let pruned = pruned.map_err(|stopped| ApiError::internal(stopped.to_string()))?;
    tracing::info!(token = %caller.token_id, removed = pruned.removed, bytes = pruned.bytes, "the cache was pruned");
    Ok(answer(StatusCode::OK, &PrunedCache { removed: pruned.removed as u64, bytes: pruned.bytes }))
}

fn of_operator(app: &App, caller: &Caller) -> Result<Arc<Cache>, ApiError> {
    caller.needs(Role::Admin)?;
    if !caller.operator {
        return Err(ApiError::forbidden("only the token of the installation's operator looks into the cache"));
    }
    let off = || {
        let message = "this gateway caches nothing: give its configuration `[cache]` with a `size`";
        ApiError::new(StatusCode::NOT_FOUND, "cache-off", message)
    };
    app.cache.clone().ok_or_else(off)
}
