//! Contracts: applied, tried, listed and read.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::{
    AllowedSigner, Code, Diagnostics, Finding,
    api::{AppliedContract, ContractBody, ContractInfo, OrganizationSettings, RevisionFiles, Role},
    contract::Contract,
    pattern::RepositoryPattern,
    revision::Revision,
    yaml,
};
use serde::Deserialize;

use super::{answer, limit, name, page::Page, query, removal};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    names::Name,
    store::RevisionRecord,
    trust::Trust,
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
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Applying { dry_run } = query(&uri)?;
    caller.needs_whole_organization()?;
    caller.needs(if dry_run { Role::Push } else { Role::Admin })?;
    let organization = &caller.organization;
    let contract = name(&text)?;
    let files: RevisionFiles = body::documents(&headers, body).await?;
    let compiled = app.workers.run(move || compile(&files)).await.map_err(|e| ApiError::internal(e.to_string()))??;
    let settings = app.store.settings(organization).await?;
    fits(&compiled.revision, &contract, &caller, &settings)?;

    let digest = compiled.revision.digest();
    let (revision, changed) = if dry_run {
        match app.store.revision(organization, &contract, None).await? {
            Some(current) if current.digest == digest => (current.number, false),
            Some(current) => (current.number.saturating_add(1), true),
            // Of one that was removed the numbers go on.
            None => (app.store.last_number(organization, &contract).await?.saturating_add(1), true),
        }
    } else {
        let (files, by) = (compiled.revision.files().clone(), caller.by(clock::now()));
        let (record, new) = app.store.apply_revision(organization, &contract, digest, files, by).await?;
        tracing::info!(
            %organization, %contract, revision = record.number, %digest, changed = new, rules = compiled.rules,
            token = %caller.token_id, "a contract was applied"
        );
        (record.number, new)
    };
    let status = if changed && !dry_run && revision == 1 { StatusCode::CREATED } else { StatusCode::OK };
    let applied = AppliedContract {
        name: contract.to_string(),
        revision,
        digest,
        changed,
        rules: compiled.rules,
        findings: compiled
            .warnings
            .into_iter()
            .chain(unprovable(&compiled.revision, &app))
            .chain(unreachable(&compiled.revision, &app, organization))
            .collect(),
    };
    Ok(answer(status, &applied))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replaying {
    limit: Option<usize>,
}

/// A proposed revision over what was pushed under the current one.
pub(super) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Replaying { limit: asked } = query(&uri)?;
    caller.needs_whole_organization()?;
    caller.needs(Role::Push)?;
    let (contract, most) = (name(&text)?, limit(asked)?);
    let files: RevisionFiles = body::documents(&headers, body).await?;
    let _slot = app.slots.replay.acquire().await.map_err(|error| ApiError::internal(error.to_string()))?;
    let proposed = app.rules.tried(&caller.organization, &contract, files).await??;
    let settings = app.store.settings(&caller.organization).await?;
    fits(proposed.compiled.revision(), &contract, &caller, &settings)?;
    let replayed = app.intake.replay(&caller.organization, &proposed, most, clock::now()).await?;
    Ok(answer(StatusCode::OK, &replayed))
}

struct Compiled {
    revision: Revision,
    rules: usize,
    warnings: Vec<Finding>,
}

fn compile(files: &RevisionFiles) -> Result<Compiled, Diagnostics> {
    let (revision, warnings) = Revision::from_files(files)?;
    let rules = policies::compile(&revision)?;
    Ok(Compiled { rules: rules.rules().len(), revision, warnings })
}

/// Warns of signers by certificate where the gateway knows no authority of certificates, so that they prove nothing.
fn unprovable(revision: &Revision, app: &App) -> Option<Finding> {
    let signers =
        revision.signer_policy().filter(|_| app.settings.trusted_root.is_none() && app.settings.tuf.is_none())?;
    let identities = signers.allowed().filter(|signer| matches!(signer, AllowedSigner::Identity { .. })).count();
    let contract = revision.contract();
    let origin = contract.signers.as_ref().map_or(&contract.origin, |clause| &clause.origin);
    (identities > 0).then(|| {
        let message = match signers.keys().count() {
            0 => "this gateway has no `trusted_root` that tells who vouches for these signers: nothing can satisfy the contract",
            _ => "this gateway has no `trusted_root` that tells who vouches for the signers with an identity: only keys count",
        };
        let finding = Finding::warning(Code::SignersMissing, message).at(origin.clone());
        finding.mend("have the operator name a `trusted_root` or `[tuf]` in sluice.toml, or name public keys here")
    })
}

/// Warns of patterns under `admission` whose registry is none of those that this gateway pulls from. One that pulls from
/// none is there for images that are named by their digests.
fn unreachable(revision: &Revision, app: &App, organization: &Name) -> Vec<Finding> {
    let hosts = app.upstreams.hosts_of(organization);
    let patterns = revision.contract().admission.iter().flat_map(|admission| &admission.repositories);
    let beyond = patterns.filter_map(|pattern| {
        let host = pattern
            .value
            .host()
            .filter(|_| !hosts.is_empty() && !hosts.iter().any(|known| pattern.value.matches_host(known)))?;
        let message = format!("this gateway has no upstream `{host}`, so nothing is pulled from there through it");
        let known: Vec<&str> = hosts.iter().copied().collect();
        let mend = match (app.upstreams.alias_of(host), yaml::nearest(host, &known)) {
            (Some(canonical), _) => format!("`{host}` is another name of `{canonical}`: write that"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => "have the operator name it under `[[upstreams]]` in sluice.toml".to_owned(),
        };
        Some(Finding::warning(Code::DocumentReference, message).at(pattern.origin.clone()).mend(mend))
    });
    beyond.collect()
}

/// Refuses a revision that is right in itself but not here: under another name, for another organization, or
/// signed by nobody, or by more than are tried.
fn fits(revision: &Revision, name: &Name, caller: &Caller, settings: &OrganizationSettings) -> Result<(), Diagnostics> {
    let contract = revision.contract();
    let mut findings = Vec::new();
    if let Some(own) = contract.name.as_ref().filter(|own| *own != name.as_str()) {
        let message = format!("the contract calls itself `{own}`, but is applied as `{name}`");
        let finding = Finding::error(Code::DocumentInvalidValue, message).at(contract.origin.clone());
        findings.push(finding.mend("apply it under its own name, or change `metadata.name`"));
    }
    if let Some(own) = contract.organization.as_ref().filter(|own| *own != caller.organization.as_str()) {
        let message = format!("the contract is for the organization `{own}`, your token for `{}`", caller.organization);
        findings.push(Finding::error(Code::DocumentInvalidValue, message).at(contract.origin.clone()));
    }
    if let Err(reason) = Trust::usable(revision, settings) {
        let message = format!("those who may sign for this contract cannot be used: {reason}");
        let finding = Finding::error(Code::DocumentInvalidValue, message).at(contract.origin.clone());
        findings.push(finding.mend("name fewer keys, or certificate identities, which are not bounded by it"));
    }
    if contract.signers.is_none() && settings.default_signers.is_empty() {
        let message = "nobody is named who may sign for this contract";
        let finding = Finding::error(Code::SignersMissing, message).at(contract.origin.clone());
        findings.push(finding.mend("name them under `spec.signers`, or give the organization `default_signers`"));
    }
    if findings.is_empty() { Ok(()) } else { Err(Diagnostics(findings)) }
}

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let mut page = Page::asked(&uri)?;
    let bound = bound_contract(&app, &caller).await?;
    for (contract, revision) in app.store.contracts(&caller.organization).await? {
        if bound.as_ref().is_none_or(|b| *b == contract) && page.wants(contract.as_str()) {
            page.add(contract.as_str(), &info(&app, &caller, &revision).await?)?;
        }
    }
    Ok(page.answer())
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
    if bound_contract(&app, &caller).await?.is_some_and(|b| b != contract) {
        return Err(ApiError::not_found(format!("there is no contract `{contract}`")));
    }
    let found = app.store.revision(&caller.organization, &contract, revision).await?;
    match (found, revision) {
        (Some(found), _) => Ok(answer(StatusCode::OK, &body_of(&app, &caller, found).await?)),
        (None, Some(number)) => {
            Err(ApiError::not_found(format!("there is no revision {number} of a contract `{contract}`")))
        }
        (None, None) => Err(removal::missing(&app, &caller.organization, &contract).await?),
    }
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
        repositories: repositories(&revision.files).iter().map(ToString::to_string).collect(),
        workflows: workflows
            .iter()
            .filter(|w| w.contract == revision.contract && caller.may_act_on(&w.name))
            .map(|w| w.name.to_string())
            .collect(),
    })
}

/// The patterns that an applied contract answers for; none when it is for intake alone (or was applied by a
/// version that read more than this one does).
pub(super) fn repositories(files: &RevisionFiles) -> Vec<RepositoryPattern> {
    let text = files.files.get(&files.contract).map(String::as_bytes).unwrap_or_default();
    let admission = Contract::parse(&files.contract, text).ok().and_then(|(contract, _)| contract.admission);
    admission.into_iter().flat_map(|admission| admission.repositories).map(|pattern| pattern.value).collect()
}

/// The only contract that a token bound to a workflow may see.
async fn bound_contract(app: &App, caller: &Caller) -> Result<Option<Name>, ApiError> {
    let Some(workflow) = &caller.workflow else { return Ok(None) };
    let workflow = app.store.workflow(&caller.organization, workflow).await?;
    let workflow = workflow.ok_or_else(|| ApiError::not_found("the workflow of your token is gone"))?;
    Ok(Some(workflow.contract))
}
