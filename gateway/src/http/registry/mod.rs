//! The OCI distribution API, for pulling: `/v2/…`.
//!
//! Everything here asks the gate first and hands out bytes against a permit only. There is no pushing, no listing,
//! and no compression: clients count and hash the bytes that they are sent.

mod address;
mod answer;
mod pull;
mod range;
mod told;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use contracts::api::Role;

use self::{
    address::{Address, Asked, Part},
    answer::OciError,
    pull::Pull,
    told::Told,
};
use crate::{
    app::App,
    http::{auth::authenticate, clock},
};

/// The routes under `/v2/`.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v2", any(answer))
        .route("/v2/", any(answer))
        .route("/v2/{*rest}", any(answer))
        .layer(Extension(Told::default()))
}

async fn answer(
    State(app): State<App>,
    Extension(told): Extension<Told>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut response = match serve(&app, told, &method, &uri, &headers).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    response.headers_mut().insert(answer::VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn serve(app: &App, told: Told, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Response, OciError> {
    if method != Method::GET && method != Method::HEAD {
        return Err(OciError::read_only());
    }
    let caller = authenticate(app, headers).await?;
    if !caller.may(Role::Pull) {
        return Err(OciError::denied("this token may not pull: use one with the role `pull`"));
    }
    let Address { asked, namespace } = Address::read(uri)?;
    let (name, part) = match asked {
        Asked::Ping => return Ok((StatusCode::OK, axum::Json(serde_json::json!({}))).into_response()),
        Asked::Of(name, part) => (name, part),
    };
    let repository = app.upstreams.canonical(&name, namespace.as_deref())?;
    let Some(upstream) = app.upstreams.locate(&caller.organization, repository.host()) else {
        return Err(OciError::unknown_host(repository.host()));
    };
    let pull = Pull {
        gate: Arc::clone(&app.gate),
        metrics: Arc::clone(&app.metrics),
        organization: caller.organization,
        repository,
        upstream,
        told,
        external_url: app.settings.external_url.clone(),
        head: method == Method::HEAD,
        now: clock::now(),
    };
    let mut response = match part {
        Part::Manifest(target) => pull.manifest(target).await?,
        Part::Blob(digest) => pull.blob(digest, range::asked(headers, digest)).await?,
        Part::Referrers(digest) => pull.referrers(digest).await?,
    };
    if let Some(namespace) = namespace.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(answer::NAMESPACE, namespace);
    }
    Ok(response)
}
