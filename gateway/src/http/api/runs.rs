//! Runs: begun before crafting, ended when the pipeline fails, listed and read.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::{
    api::{EndRun, NewRun, Role, RunInfo, StartedRun},
    limits,
};
use serde::Deserialize;

use super::{answer, contracts::body_of, limit, page, present, query, workflows};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError, secret::random_id},
    names::{Name, WorkflowName},
    store::{Ending, RunRecord, WorkflowRecord},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Starting {
    #[serde(rename = "dry-run", default)]
    dry_run: bool,
}

/// What a run that is not stored is called.
const DRY_RUN: &str = "dry-run";

pub(super) async fn start(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let Starting { dry_run } = query(&uri)?;
    let new: NewRun = body::json(&headers, body).await?;
    let name = caller.workflow_or(new.project.as_deref(), new.workflow.as_deref())?;
    let version = said(new.version, "version", limits::RUN_TEXT_CHARS)?;
    let url = said(new.url, "url", limits::RUN_REASON_CHARS)?;
    let (organization, now) = (&caller.organization, clock::now());
    let (workflow, created) = match app.store.workflow(organization, &name).await? {
        Some(workflow) => (workflow, false),
        None => (make(&app, &caller, name.clone(), new.contract.as_deref(), dry_run).await?, true),
    };
    let missing = |number: Option<u32>| match number {
        Some(number) => ApiError::not_found(format!("there is no revision {number} of `{}`", workflow.contract)),
        None => removed(&name, &workflow.contract),
    };
    let current = app.store.revision(organization, &workflow.contract, None).await?;
    let current = current.ok_or_else(|| missing(None))?;
    let current_revision = current.number;
    let revision = match new.contract_revision.filter(|number| *number != current_revision) {
        Some(number) => app.store.revision(organization, &workflow.contract, Some(number)).await?,
        None => Some(current),
    };
    let contract = body_of(&app, &caller, revision.ok_or_else(|| missing(new.contract_revision))?).await?;

    let id = if dry_run { DRY_RUN.to_owned() } else { run_id()? };
    if !dry_run {
        let identity = caller.identity.as_deref().cloned().map(Box::new);
        let run = RunRecord { version, url, identity, ..RunRecord::begun(id.clone(), name.clone(), now) };
        if !app.store.start_run(organization, run, caller.by(now)).await? {
            return Err(ApiError::internal("a new run's id was taken"));
        }
        tracing::info!(%organization, workflow = %name, run = %id, token = %caller.token_id, "a run began");
    }
    let started = StartedRun {
        id,
        organization: organization.to_string(),
        project: name.project.to_string(),
        workflow: name.workflow.to_string(),
        team: workflow.team,
        contract,
        current_revision,
        created: created && !dry_run,
    };
    Ok(answer(if dry_run { StatusCode::OK } else { StatusCode::CREATED }, &started))
}

/// The workflow's contract was removed.
fn removed(workflow: &WorkflowName, contract: &Name) -> ApiError {
    let message = format!(
        "the contract `{contract}` of the workflow `{workflow}` was removed: have an admin bind the workflow to another one \
         (`sluice workflow create --project {} --name {} --contract NAME`), or apply it again",
        workflow.project, workflow.workflow
    );
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "contract-unknown", message)
}

fn run_id() -> Result<String, ApiError> {
    let no_id = |e: getrandom::Error| ApiError::internal(format!("no randomness: {e}"));
    Ok(format!("{}{}", random_id().map_err(no_id)?, random_id().map_err(no_id)?))
}

/// Makes the workflow that a run is begun for, when the caller names its contract and may make it.
async fn make(
    app: &App,
    caller: &Caller,
    name: WorkflowName,
    contract: Option<&str>,
    dry_run: bool,
) -> Result<WorkflowRecord, ApiError> {
    let Some(contract) = contract else {
        return Err(ApiError::not_found(format!(
            "there is no workflow `{name}`: name the contract that it is made with (`--contract NAME`), or correct the name"
        )));
    };
    if !caller.may(Role::Admin) {
        return Err(ApiError::forbidden(format!(
            "there is no workflow `{name}`, and your token may not make one: ask an admin for `sluice workflow create \
             --project {} --name {} --contract {contract}`",
            name.project, name.workflow
        )));
    }
    let contract: Name = contract.parse()?;
    if app.store.revision(&caller.organization, &contract, None).await?.is_none() {
        return Err(workflows::unknown_contract(&contract));
    }
    let now = clock::now();
    let record = WorkflowRecord { name: name.clone(), team: String::new(), contract, created_at: now };
    if !dry_run {
        app.store.put_workflow(&caller.organization, record.clone(), caller.by(now)).await?;
        tracing::info!(organization = %caller.organization, token = %caller.token_id, workflow = %name, "a workflow was written");
    }
    Ok(record)
}

pub(super) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let EndRun { outcome, reason } = body::json(&headers, body).await?;
    let reason = said(reason, "reason", limits::RUN_REASON_CHARS)?;
    let unknown = || ApiError::not_found("there is no such run");
    let run = app.store.run(&caller.organization, &id).await?;
    run.filter(|r| caller.may_act_on(&r.workflow)).ok_or_else(unknown)?;
    let by = caller.by(clock::now());
    match app.store.end_run(&caller.organization, &id, EndRun { outcome, reason }, by).await? {
        Ending::Ended(run) => {
            tracing::info!(
                organization = %caller.organization, workflow = %run.workflow, run = %id, token = %caller.token_id,
                state = ?run.state, "a run ended without an attestation"
            );
            Ok(answer(StatusCode::OK, &present::run(*run)))
        }
        Ending::Unknown => Err(unknown()),
        Ending::Attested => Err(ApiError::new(
            StatusCode::CONFLICT,
            "run-already-used",
            format!("the run `{id}` has its attestation: it cannot fail or be cancelled any more"),
        )),
    }
}

/// A short text for people.
fn said(text: Option<String>, what: &str, most: usize) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > most || text.chars().any(|c| c.is_control() && c != '\n'))
    {
        return Err(ApiError::invalid(format!("a `{what}` is at most {most} printable characters")));
    }
    Ok(text)
}

/// `?workflow=project/name&limit=…&after=…`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    workflow: Option<String>,
    limit: Option<usize>,
    /// A run: those that follow it in the list.
    after: Option<String>,
}

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let Listing { workflow, limit: asked, after } = query(&uri)?;
    let asked = limit(asked)?;
    let named: Option<WorkflowName> = workflow.map(|w| w.parse()).transpose()?;
    if named.as_ref().is_some_and(|w| !caller.may_act_on(w)) {
        caller.needs_whole_organization()?;
    }
    let workflow = named.or_else(|| caller.workflow.clone());
    let after = match after {
        Some(id) => Some(seen(&app, &caller, &id).await?),
        None => None,
    };
    let page = app.store.runs(&caller.organization, workflow.as_ref(), after.as_ref(), asked).await?;
    let runs: Vec<RunInfo> = page.runs.into_iter().map(present::run).collect();
    let answer = answer(StatusCode::OK, &runs);
    Ok(match runs.last().filter(|_| page.more) {
        Some(last) => page::goes_on(answer, &uri, "after", &last.id),
        None => answer,
    })
}

/// A run that the caller may see.
async fn seen(app: &App, caller: &Caller, id: &str) -> Result<RunRecord, ApiError> {
    let run = app.store.run(&caller.organization, id).await?;
    run.filter(|run| caller.may_act_on(&run.workflow)).ok_or_else(|| ApiError::not_found("there is no such run"))
}

pub(super) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    Ok(answer(StatusCode::OK, &present::run(seen(&app, &caller, &id).await?)))
}
