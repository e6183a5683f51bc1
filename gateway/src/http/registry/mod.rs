//! The OCI distribution API, for pulling: `/v2/…`.
//!
//! Everything here asks the gate first and hands out bytes against a permit only. There is no pushing, no list
//! of repositories, and no compression: clients count and hash the bytes that they are sent.

mod address;
mod answer;
mod conditions;
mod door;
mod exchange;
mod pull;
mod range;
mod referrers;
mod tags;
mod told;
mod words;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderValue, Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};

use self::{
    address::{Address, Asked, Part},
    answer::OciError,
    door::Place,
    exchange::Exchange,
    pull::Pull,
    told::Told,
    words::Words,
};
use crate::{app::App, gate::Remembered, http::clock};

/// What a person is told about a verdict that denies: the rules, what to do, and where to read on.
pub(super) fn denial(verdict: &Remembered, external_url: Option<&str>) -> String {
    OciError::verdict(verdict, external_url).message().to_owned()
}

/// The routes under `/v2/`, and where clients get tokens for them.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v2", any(answer))
        .route("/v2/", any(answer))
        .route("/v2/{*rest}", any(answer))
        .route("/token", get(exchange::token).post(exchange::token))
        .layer(Extension(Door::default()))
        .layer(Extension(Exchange::default()))
}

/// What is remembered between requests.
#[derive(Clone, Default)]
struct Door {
    told: Told,
    words: Words,
}

async fn answer(
    State(app): State<App>,
    Extension(door): Extension<Door>,
    Extension(exchange): Extension<Exchange>,
    parts: Parts,
) -> Response {
    let mut response = match serve(&app, door, &exchange, &parts).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    response.headers_mut().insert(answer::VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn serve(app: &App, door: Door, exchange: &Exchange, parts: &Parts) -> Result<Response, OciError> {
    let Parts { method, uri, headers, .. } = parts;
    if method != Method::GET && method != Method::HEAD {
        return Err(OciError::read_only());
    }
    let (address, place) = (Address::read(uri), Place::of(app, &parts.extensions, uri, headers));
    let name = address.as_ref().ok().and_then(Address::name);
    let caller = door::caller(app, exchange, &place, headers, name).await?;
    let Address { asked, namespace, artifact_type } = address?;
    let (name, part) = match asked {
        Asked::Ping => return Ok((StatusCode::OK, axum::Json(serde_json::json!({}))).into_response()),
        Asked::Of(name, part) => (name, part),
    };
    let repository = place.repository(app, &name, namespace.as_deref())?;
    let Some(upstream) = app.upstreams.locate(&caller.organization, repository.host()) else {
        return Err(OciError::unknown_host(repository.host()));
    };
    let pull = Pull {
        gate: Arc::clone(&app.gate),
        metrics: Arc::clone(&app.metrics),
        organization: caller.organization,
        repository,
        upstream,
        word: Arc::clone(&app.word),
        words: door.words,
        told: door.told,
        external_url: app.settings.external_url.clone(),
        pulls: app.pulls.clone(),
        token: (caller.token_id, caller.token_name),
        denied_head: app.settings.denied_head,
        head: method == Method::HEAD,
        now: clock::now(),
    };
    let mut response = match part {
        Part::Manifest(target) => pull.manifest(target).await?,
        Part::Blob(digest) => pull.blob(digest, headers).await?,
        Part::Referrers(digest) => pull.referrers(digest, artifact_type.as_deref()).await?,
        Part::Tags(page) => pull.tags(&name, namespace.as_deref(), &page).await?,
    };
    response = conditions::unless_known(headers, response);
    if let Some(namespace) = namespace.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(answer::NAMESPACE, namespace);
    }
    Ok(response)
}
