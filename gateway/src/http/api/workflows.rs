//! Workflows: who owns them and which contract judges them.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::api::{NewWorkflow, Role, WorkflowInfo};

use super::{answer, name, page::Page, present};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    names::{Name, WorkflowName},
    store::WorkflowRecord,
};

/// The longest name of a team, in characters.
const TEAM: usize = 100;

pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let new: NewWorkflow = body::json(&headers, body).await?;
    let workflow = WorkflowName { project: name(&new.project)?, workflow: name(&new.name)? };
    let contract = name(&new.contract)?;
    if new.team.chars().count() > TEAM || new.team.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("a `team` is at most {TEAM} printable characters")));
    }
    if app.store.revision(&caller.organization, &contract, None).await?.is_none() {
        return Err(unknown_contract(&contract));
    }
    let now = clock::now();
    let known = app.store.workflow(&caller.organization, &workflow).await?.is_some();
    let record = WorkflowRecord { name: workflow.clone(), team: new.team, contract, created_at: now };
    app.store.put_workflow(&caller.organization, record, caller.by(now)).await?;
    tracing::info!(organization = %caller.organization, token = %caller.token_id, %workflow, "a workflow was written");
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer(status, &info(&app, &caller, &workflow).await?))
}

pub(super) fn unknown_contract(contract: &Name) -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "contract-unknown",
        format!("there is no contract `{contract}`: apply it first"),
    )
}

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let mut page = Page::asked(&uri)?;
    for record in app.store.workflows(&caller.organization).await? {
        // Sorts as they come: a space is before all that names are made of.
        let key = format!("{} {}", record.name.project, record.name.workflow);
        if caller.may_act_on(&record.name) && page.wants(&key) {
            let newest = app.store.runs(&caller.organization, Some(&record.name), None, 1).await?;
            page.add(&key, &present::workflow(record, newest.runs.into_iter().next()))?;
        }
    }
    Ok(page.answer())
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((project, workflow)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let workflow = WorkflowName { project: name(&project)?, workflow: name(&workflow)? };
    Ok(answer(StatusCode::OK, &info(&app, &caller, &workflow).await?))
}

async fn info(app: &App, caller: &Caller, workflow: &WorkflowName) -> Result<WorkflowInfo, ApiError> {
    let record = app.store.workflow(&caller.organization, workflow).await?;
    let record = record
        .filter(|r| caller.may_act_on(&r.name))
        .ok_or_else(|| ApiError::not_found(format!("there is no workflow `{workflow}`")))?;
    let newest = app.store.runs(&caller.organization, Some(workflow), None, 1).await?;
    Ok(present::workflow(record, newest.runs.into_iter().next()))
}
