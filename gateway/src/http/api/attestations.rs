//! Intake, and attestations as they were received.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use contracts::{Decision, api::Role, limits};
use serde::Deserialize;

use super::{answer, digest, query};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    intake::IntakeError,
    metrics::Way,
    store::Source,
};

/// What a bundle may be sent as.
const BUNDLE_TYPES: &[&str] = &[
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    // With `;version=0.1`, `;version=0.2` or `;version=0.3`.
    "application/vnd.dev.sigstore.bundle+json",
    "application/json",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pushed {
    project: Option<String>,
    workflow: Option<String>,
}

pub(super) async fn receive(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let Pushed { project, workflow } = query(&uri)?;
    let workflow = caller.workflow_or(project.as_deref(), workflow.as_deref())?;
    body::content_type(&headers, None, BUNDLE_TYPES, "`application/vnd.dev.sigstore.bundle.v0.3+json`")?;
    let bundle = body::whole(body, limits::BUNDLE_BYTES).await?;
    let received =
        app.intake.receive_from(caller.identity.as_deref(), &caller.organization, workflow, bundle, clock::now());
    let received = received.await;
    let received = received.inspect_err(|error| {
        if let IntakeError::CouldNotDecide(_) = error {
            app.metrics.could_not_decide(Way::Intake);
        }
    })?;
    app.metrics.decided(Way::Intake, received.decision, true);
    let status = match received.decision {
        Decision::Allow => StatusCode::OK,
        Decision::Deny => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(answer(status, &received))
}

pub(super) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let id = digest(&id)?;
    let found = app.store.attestation(&caller.organization, id).await?;
    let found = found
        .filter(|a| match (&a.facts.source, &caller.workflow) {
            (_, None) => true,
            (Source::Pushed { workflow, .. }, Some(bound)) => workflow == bound,
            (Source::Discovered { .. } | Source::Material, Some(_)) => false,
        })
        .ok_or_else(|| ApiError::not_found(format!("there is no attestation `{id}`")))?;
    let kind = [(header::CONTENT_TYPE, "application/vnd.dev.sigstore.bundle.v0.3+json")];
    Ok((StatusCode::OK, kind, found.bundle).into_response())
}
