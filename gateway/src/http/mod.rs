//! The HTTP edge: the API, the registry, the page of a verdict, and what operators watch. It reads the clock, turns requests into calls
//! and errors into answers; it must not contain anything that decides.

pub mod api;
mod arrival;
pub mod auth;
pub mod body;
pub mod clock;
pub mod error;
mod kubernetes;
mod naming;
mod observe;
pub mod registry;
pub mod secret;
pub mod verdict_page;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::arrival::Arrival;
use self::{auth::authenticate, error::ApiError};
use crate::app::App;

/// Everything that the gateway answers.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(api::router())
        .merge(registry::router())
        .merge(verdict_page::router())
        .merge(kubernetes::router())
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_that_way)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(axum::middleware::from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

async fn ready(State(app): State<App>) -> Result<String, ApiError> {
    app.store.ready().await?;
    // What rests on keys is decided whatever becomes of it.
    let trust_root = app.trust_root.as_ref().map(|standing| format!("{}\n", standing.line(clock::now())));
    Ok(format!("ready\n{}", trust_root.unwrap_or_default()))
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    if !app.settings.metrics_anonymous {
        authenticate(&app, &headers).await?;
    }
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    Ok((kind, app.metrics.text()).into_response())
}

async fn nothing_here(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(StatusCode::NOT_FOUND, "no-such-route", format!("there is nothing at `{path}`"))
}

async fn not_that_way(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let method: String = method.as_str().chars().take(20).collect();
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("`{path}` does not take `{method}`"))
}
