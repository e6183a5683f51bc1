//! `/api/v1`: one file per kind of thing. Handlers read the request, check the caller, make one call and present
//! its answer.

mod attestations;
mod cache;
pub(super) mod check;
mod contracts;
mod denials;
mod evidence;
mod exemptions;
mod organizations;
mod page;
mod present;
mod pulls;
mod removal;
mod runs;
mod seen;
mod sessions;
mod state;
mod tokens;
mod withdrawals;
mod word;
mod workflows;

use ::contracts::{Digest, api::Role, limits};
use axum::{
    Router,
    extract::{FromRequestParts, Query},
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    auth::{Caller, authenticate_arrived},
    error::ApiError,
};
use crate::{
    app::App,
    names::{Name, WorkflowName},
};

/// Rows that a list answers with when nothing else is asked for, and at most.
const LISTED: usize = 100;
const MOST_LISTED: usize = 1000;

/// The routes of the API.
pub fn router() -> Router<App> {
    Router::new()
        .route("/api/v1/organization", get(organizations::read).put(organizations::change))
        .route("/api/v1/organizations", post(organizations::create))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::revoke))
        .route("/api/v1/contracts", get(contracts::list))
        .route("/api/v1/contracts/{name}", put(contracts::apply).get(contracts::read).delete(removal::remove))
        .route("/api/v1/contracts/{name}/replay", post(contracts::replay))
        .route("/api/v1/workflows", get(workflows::list).post(workflows::put))
        .route("/api/v1/workflows/{project}/{name}", get(workflows::read))
        .route("/api/v1/runs", get(runs::list).post(runs::start))
        .route("/api/v1/runs/{id}", get(runs::read))
        .route("/api/v1/runs/{id}/provenance", get(word::provenance))
        .route("/api/v1/runs/{id}/end", post(runs::end))
        .route("/api/v1/runs/{id}/state", get(sessions::read).put(sessions::keep))
        .route("/api/v1/evidence/sweep", post(evidence::sweep))
        .route("/api/v1/evidence/{digest}", put(evidence::upload).get(evidence::read))
        .route(
            "/api/v1/evidence/{digest}/upload",
            get(evidence::uploaded).patch(evidence::append).post(evidence::finish).delete(evidence::abandon),
        )
        .route("/api/v1/attestations", post(attestations::receive))
        .route("/api/v1/attestations/{id}", get(attestations::read))
        .route("/api/v1/exemptions", get(exemptions::list))
        .route("/api/v1/exemptions/emergency", post(exemptions::emergency))
        .route("/api/v1/exemptions/{name}", put(exemptions::apply).get(exemptions::read).delete(exemptions::withdraw))
        .route("/api/v1/denials", get(denials::list))
        .route("/api/v1/denials/{digest}", put(denials::put).delete(denials::remove))
        .route("/api/v1/withdrawals", get(withdrawals::list))
        .route("/api/v1/withdrawals/{name}", put(withdrawals::put).delete(withdrawals::remove))
        .route("/api/v1/pulls", get(pulls::list))
        .route("/api/v1/pulls/images", get(pulls::images))
        .route("/api/v1/judge", post(pulls::judge))
        .route("/api/v1/check", post(check::check))
        .route("/api/v1/verdicts/{key}", get(word::verdict))
        .route("/api/v1/verdicts/{key}/vsa", get(word::summary))
        .route("/api/v1/keys", get(word::keys))
        .route("/api/v1/cache", get(cache::stats))
        .route("/api/v1/cache/prune", post(cache::prune))
        .route("/api/v1/audit", get(state::audit))
        .route("/api/v1/backup", get(state::backup))
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        Ok(authenticate_arrived(app, &parts.headers, &parts.extensions).await?)
    }
}

impl Caller {
    /// Refuses the request unless the token's role includes this one.
    fn needs(&self, role: Role) -> Result<(), ApiError> {
        if self.may(role) {
            return Ok(());
        }
        let has = role_name(self.role);
        Err(ApiError::forbidden(format!("this needs a token of role `{}`; yours has `{has}`", role_name(role))))
    }

    /// Refuses the request when the token is bound to a workflow.
    fn needs_whole_organization(&self) -> Result<(), ApiError> {
        match &self.workflow {
            None => Ok(()),
            Some(bound) => Err(ApiError::forbidden(format!("your token may only act on the workflow `{bound}`"))),
        }
    }

    /// The workflow that the request is about: the one it names, or the one that the token is bound to.
    fn workflow_or(&self, project: Option<&str>, workflow: Option<&str>) -> Result<WorkflowName, ApiError> {
        let named = match (project, workflow) {
            (Some(project), Some(workflow)) => {
                Some(WorkflowName { project: project.parse()?, workflow: workflow.parse()? })
            }
            (None, None) => None,
            _ => return Err(ApiError::invalid("name both the project and the workflow, or neither")),
        };
        match (named, &self.workflow) {
            (Some(named), _) if self.may_act_on(&named) => Ok(named),
            (_, Some(bound)) if project.is_some() => {
                Err(ApiError::forbidden(format!("your token may only act on the workflow `{bound}`")))
            }
            (None, Some(bound)) => Ok(bound.clone()),
            _ => Err(ApiError::invalid("name the project and the workflow: your token is not bound to one")),
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Push => "push",
        Role::Pull => "pull",
        Role::Read => "read",
    }
}

/// The query, of which every part must be known: a mistyped option is not ignored.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let Query(query) = Query::try_from_uri(uri).map_err(|error| {
        let text = error.body_text();
        let reason = text.trim_start_matches("Failed to deserialize query string: ");
        ApiError::invalid(format!("the query cannot be read: {reason}"))
    })?;
    Ok(query)
}

/// A digest in a path.
fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|e: ::contracts::digest::DigestError| ApiError::invalid(e.to_string()))
}

/// Why an operator does something, as whoever is denied for it reads it.
fn reason(text: &str) -> Result<String, ApiError> {
    let reason = text.trim();
    if reason.is_empty() || reason.len() > limits::REASON_BYTES {
        let most = limits::REASON_BYTES;
        return Err(ApiError::invalid(format!("say why under `reason`, in at most {most} bytes")));
    }
    if reason.chars().any(char::is_control) {
        return Err(ApiError::invalid("`reason` is one line of text: it has control characters"));
    }
    Ok(reason.to_owned())
}

/// A name in a path.
fn name(text: &str) -> Result<Name, ApiError> {
    Ok(text.parse()?)
}

/// How many rows to answer with.
fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked.unwrap_or(LISTED) {
        n @ 1..=MOST_LISTED => Ok(n),
        other => Err(ApiError::invalid(format!("`limit={other}`: ask for 1 to {MOST_LISTED}"))),
    }
}

/// Answers are for who asked, now: nobody on the way keeps one.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer in JSON.
fn answer<T: Serialize>(status: StatusCode, body: &T) -> Response {
    ([(header::CACHE_CONTROL, NO_STORE)], (status, axum::Json(body))).into_response()
}
