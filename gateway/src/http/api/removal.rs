//! Contracts are removed: they decide nothing from the next request on.

use axum::{
    extract::{Path, State},
    http::{StatusCode, Uri},
    response::Response,
};
use contracts::{
    api::{ReleasedRepositories, RemovedContract, Role},
    pattern::RepositoryPattern,
};
use serde::Deserialize;

use super::{answer, contracts::repositories, name, query};
use crate::{
    app::App,
    http::{auth::Caller, clock, error::ApiError},
    names::Name,
    store::{Removal, Said},
};

/// `?dry-run=true&revision=N`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removing {
    #[serde(rename = "dry-run", default)]
    dry_run: bool,
    /// Only when this is the current one.
    revision: Option<u32>,
}

/// Removes a contract and answers with what that changes, or says so beforehand. Other contracts, and what happens where
/// none answers, take over; the revisions stay, so that what was judged by them can be read.
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    caller.needs_whole_organization()?;
    let Removing { dry_run, revision: expected } = query(&uri)?;
    let (organization, contract) = (&caller.organization, name(&text)?);
    let said = app.store.said(organization).await?;
    let Some(told) = told(&said, &contract) else { return Err(missing(&app, organization, &contract).await?) };
    if let Some(expected) = expected.filter(|number| *number != told.revision) {
        return Err(changed(&contract, expected, told.revision));
    }
    if !dry_run {
        let by = caller.by(clock::now());
        match app.store.remove_contract(organization, &contract, told.revision, by).await? {
            Removal::Removed => {}
            Removal::Unknown => return Err(missing(&app, organization, &contract).await?),
            Removal::Changed(current) => return Err(changed(&contract, told.revision, current)),
        }
        tracing::warn!(
            %organization, %contract, revision = told.revision, token = %caller.token_id,
            workflows = told.workflows.len(), "a contract was removed"
        );
    }
    Ok(answer(StatusCode::OK, &told))
}

/// That there is no such contract, or not any more.
pub(super) async fn missing(app: &App, organization: &Name, contract: &Name) -> Result<ApiError, ApiError> {
    Ok(ApiError::not_found(match app.store.last_number(organization, contract).await? {
        0 => format!("there is no contract `{contract}`"),
        last => format!(
            "the contract `{contract}` was removed: its revisions, up to {last}, can be read by their numbers, and applied \
             again it becomes the next one"
        ),
    }))
}

fn changed(contract: &Name, expected: u32, current: u32) -> ApiError {
    let message = format!(
        "the contract `{contract}` is at revision {current}, not {expected}: somebody applied another one; look at it and ask again"
    );
    ApiError::new(StatusCode::CONFLICT, "contract-changed", message)
}

/// What removing a contract changes; `None`: there is none.
fn told(said: &Said, contract: &Name) -> Option<RemovedContract> {
    let revision = said.contracts.get(contract)?;
    let others: Vec<(&Name, Vec<RepositoryPattern>)> = said
        .contracts
        .iter()
        .filter(|(name, _)| *name != contract)
        .map(|(name, other)| (name, repositories(&other.files)))
        .collect();
    let answering = |fits: &dyn Fn(&RepositoryPattern) -> bool| -> Vec<String> {
        let fitting = others.iter().filter(|(_, patterns)| patterns.iter().any(fits));
        fitting.map(|(name, _)| name.to_string()).collect()
    };
    let released = repositories(&revision.files).into_iter().map(|pattern| {
        let contracts = answering(&|other| other.covers(&pattern));
        let mut partly = answering(&|other| pattern.covers(other));
        partly.retain(|name| !contracts.contains(name));
        ReleasedRepositories { pattern: pattern.to_string(), contracts, partly }
    });
    let bound = said.workflows.iter().filter(|workflow| workflow.contract == *contract);
    Some(RemovedContract {
        name: contract.to_string(),
        revision: revision.number,
        digest: revision.digest,
        repositories: released.collect(),
        unmatched: said.settings.unmatched,
        workflows: bound.map(|workflow| workflow.name.to_string()).collect(),
    })
}
