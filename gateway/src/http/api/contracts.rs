//! Contracts: applied, tried, listed and read.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::api::{ContractBody, ContractInfo, RevisionFiles, Role};
use serde::Deserialize;

use super::{answer, name, query};
use crate::{
    app::App,
    http::{auth::Caller, body, error::ApiError},
    names::Name,
    store::RevisionRecord,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Applying {
    #[serde(rename = "dry-run", default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    revision: Option<u32>,
}

pub(super) async fn apply(
    State(_app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Applying { dry_run } = query(&uri)?;
    caller.needs_whole_organization()?;
    caller.needs(if dry_run { Role::Push } else { Role::Admin })?;
    let _contract = name(&text)?;
    let _files: RevisionFiles = body::json(&headers, body).await?;
    Err(ApiError::could_not_decide("the compiler is not part of this build"))
}

pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let bound = bound_contract(&app, &caller).await?;
    let mut contracts: Vec<ContractInfo> = Vec::new();
    for (contract, revision) in app.store.contracts(&caller.organization).await? {
        if bound.as_ref().is_none_or(|b| *b == contract) {
            contracts.push(info(&app, &caller, &revision).await?);
        }
    }
    Ok(answer(StatusCode::OK, &contracts))
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let Reading { revision } = query(&uri)?;
    let contract = name(&text)?;
    let missing = || match revision {
        Some(number) => ApiError::not_found(format!("there is no revision {number} of a contract `{contract}`")),
        None => ApiError::not_found(format!("there is no contract `{contract}`")),
    };
    if bound_contract(&app, &caller).await?.is_some_and(|b| b != contract) {
        return Err(missing());
    }
    let revision = app.store.revision(&caller.organization, &contract, revision).await?.ok_or_else(missing)?;
    Ok(answer(StatusCode::OK, &body_of(&app, &caller, revision).await?))
}

/// A revision with all its files.
pub(super) async fn body_of(app: &App, caller: &Caller, revision: RevisionRecord) -> Result<ContractBody, ApiError> {
    let info = info(app, caller, &revision).await?;
    Ok(ContractBody { info, files: revision.files })
}

async fn info(app: &App, caller: &Caller, revision: &RevisionRecord) -> Result<ContractInfo, ApiError> {
    let workflows = app.store.workflows(&caller.organization).await?;
    Ok(ContractInfo {
        name: revision.contract.to_string(),
        revision: revision.number,
        digest: revision.digest,
        applied_at: revision.applied_at,
        repositories: Vec::new(),
        workflows: workflows
            .iter()
            .filter(|w| w.contract == revision.contract && caller.may_act_on(&w.name))
            .map(|w| w.name.to_string())
            .collect(),
    })
}

/// The only contract that a token bound to a workflow may see.
async fn bound_contract(app: &App, caller: &Caller) -> Result<Option<Name>, ApiError> {
    let Some(workflow) = &caller.workflow else { return Ok(None) };
    let workflow = app.store.workflow(&caller.organization, workflow).await?;
    let workflow = workflow.ok_or_else(|| ApiError::not_found("the workflow of your token is gone"))?;
    Ok(Some(workflow.contract))
}
