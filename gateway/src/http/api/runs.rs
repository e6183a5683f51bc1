//! Runs: begun before crafting, listed and read.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::api::{NewRun, Role, RunInfo, RunState, StartedRun};

use super::{Listing, answer, contracts::body_of, limit, present, query};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError, secret::random_id},
    names::WorkflowName,
    store::RunRecord,
};

pub(super) async fn start(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let NewRun { project, workflow } = body::json(&headers, body).await?;
    let name = caller.workflow_or(project.as_deref(), workflow.as_deref())?;
    let organization = &caller.organization;
    let workflow = app.store.workflow(organization, &name).await?;
    let workflow = workflow.ok_or_else(|| ApiError::not_found(format!("there is no workflow `{name}`")))?;
    let revision = app.store.revision(organization, &workflow.contract, None).await?;
    let revision = revision
        .ok_or_else(|| ApiError::internal(format!("the contract `{}` of `{name}` is missing", workflow.contract)))?;
    let contract = body_of(&app, &caller, revision).await?;

    let no_id = |e: getrandom::Error| ApiError::internal(format!("no randomness: {e}"));
    let id = format!("{}{}", random_id().map_err(no_id)?, random_id().map_err(no_id)?);
    let now = clock::now();
    let run = RunRecord {
        id: id.clone(),
        workflow: name.clone(),
        state: RunState::Started,
        started_at: now,
        received_at: None,
        attestation: None,
        revision: None,
        findings: Vec::new(),
        identity: caller.identity.as_deref().cloned().map(Box::new),
    };
    if !app.store.start_run(organization, run, caller.by(now)).await? {
        return Err(ApiError::internal("a new run's id was taken"));
    }
    tracing::info!(%organization, workflow = %name, run = %id, token = %caller.token_id, "a run began");
    let started = StartedRun {
        id,
        organization: organization.to_string(),
        project: name.project.to_string(),
        workflow: name.workflow.to_string(),
        team: workflow.team,
        contract,
    };
    Ok(answer(StatusCode::CREATED, &started))
}

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let Listing { workflow, limit: asked } = query(&uri)?;
    let asked = limit(asked)?;
    let named: Option<WorkflowName> = workflow.map(|w| w.parse()).transpose()?;
    if named.as_ref().is_some_and(|w| !caller.may_act_on(w)) {
        caller.needs_whole_organization()?;
    }
    let workflow = named.or_else(|| caller.workflow.clone());
    let runs = app.store.runs(&caller.organization, workflow.as_ref(), asked).await?;
    let runs: Vec<RunInfo> = runs.into_iter().map(present::run).collect();
    Ok(answer(StatusCode::OK, &runs))
}

pub(super) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let run = app.store.run(&caller.organization, &id).await?;
    let run =
        run.filter(|r| caller.may_act_on(&r.workflow)).ok_or_else(|| ApiError::not_found("there is no such run"))?;
    Ok(answer(StatusCode::OK, &present::run(run)))
}
