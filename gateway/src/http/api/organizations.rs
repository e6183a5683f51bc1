//! The organization's settings, and new organizations.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::{
    TrustRoot,
    api::{ChangedOrganization, CreatedToken, IsolatedBuilder, NewOrganization, OrganizationSettings, Role},
    contract::Contract,
    exemption::ApprovalRules,
    keys::PublicKey,
    limits,
};

use super::{answer, present, tokens};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    names::{Name, NameError, WorkflowName},
};

pub(super) async fn read(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    Ok(answer(StatusCode::OK, &app.store.settings(&caller.organization).await?))
}

pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let settings: OrganizationSettings = body::documents(&headers, body).await?;
    let invalid = |message| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "default-signers-invalid", message);
    let mut keys = Vec::with_capacity(settings.default_signers.len());
    for (at, key) in settings.default_signers.iter().enumerate() {
        let key = PublicKey::from_pem(key);
        keys.push(
            key.map_err(|e| invalid(format!("the key number {} under `default_signers` cannot be used: {e}", at + 1)))?,
        );
    }
    TrustRoot::new(keys, None).map_err(|e| invalid(format!("`default_signers` cannot be used: {e}")))?;
    check_federation(&app, &caller, &settings).await?;
    let rules = app.rules.current(&caller.organization).await?;
    let approval = ApprovalRules::new(caller.organization.as_str(), &settings.exemptions, &rules.rule_names())
        .map_err(|reason| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "exemption-settings-invalid", reason))?;
    for IsolatedBuilder { issuer, identity } in &settings.isolated_builders {
        if !issuer.starts_with("https://") || identity.trim().is_empty() || identity.contains(['*', '?', '^', '$']) {
            let message = format!(
                "`isolated_builders` names `{identity}` by `{issuer}`: write the issuer's https address and the whole identity, which are compared letter by letter"
            );
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "isolated-builders-invalid", message));
        }
    }
    if settings.default_signers.is_empty() {
        keep_signers(&app, &caller).await?;
    }
    app.store.put_settings(&caller.organization, settings.clone(), caller.by(clock::now())).await?;
    tracing::info!(
        organization = %caller.organization, token = %caller.token_id, unmatched = ?settings.unmatched,
        default_signers = settings.default_signers.len(), federation = settings.federation.len(),
        "the organization's settings were changed"
    );
    Ok(answer(StatusCode::OK, &ChangedOrganization { settings, warnings: approval.warnings() }))
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    if !caller.operator {
        return Err(ApiError::forbidden("only the token of the installation's operator makes organizations"));
    }
    let NewOrganization { name } = body::json(&headers, body).await?;
    let organization: Name = name.parse()?;
    let now = clock::now();
    let (record, secret) = tokens::make(&organization, "first admin".to_owned(), Role::Admin, None, now)?;
    if !app.store.create_organization(&organization, record.clone(), caller.by(now)).await? {
        let message = format!("there is an organization `{organization}` already: choose another name");
        return Err(ApiError::new(StatusCode::CONFLICT, "organization-exists", message));
    }
    tracing::info!(organization = %organization, token = %caller.token_id, "an organization was made");
    Ok(answer(StatusCode::CREATED, &CreatedToken { token: present::token(record, now), secret: secret.reveal() }))
}

/// Refuses rules that would let in strangers, or nobody.
async fn check_federation(app: &App, caller: &Caller, settings: &OrganizationSettings) -> Result<(), ApiError> {
    let invalid = |message| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "federation-invalid", message);
    if settings.federation.len() > limits::FEDERATION_RULES {
        return Err(invalid(format!("there are more than {} federation rules", limits::FEDERATION_RULES)));
    }
    for (at, rule) in settings.federation.iter().enumerate() {
        let wrong =
            |why: String| invalid(format!("the rule number {} under `federation` cannot be used: {why}", at + 1));
        let Some(provider) = app.federation.provider(&caller.organization, &rule.issuer) else {
            let why = format!("the gateway's operator does not list `{}` under `issuers`", rule.issuer);
            return Err(wrong(why));
        };
        rule.check(provider).map_err(|error| wrong(error.to_string()))?;
        if let Some(workflow) = &rule.workflow {
            let name: WorkflowName = workflow.parse().map_err(|error: NameError| wrong(error.to_string()))?;
            if app.store.workflow(&caller.organization, &name).await?.is_none() {
                return Err(wrong(format!("there is no workflow `{name}`: create it first")));
            }
        }
    }
    Ok(())
}

/// Refuses to take away the last default signer while contracts rely on there being one.
async fn keep_signers(app: &App, caller: &Caller) -> Result<(), ApiError> {
    let current = app.store.contracts(&caller.organization).await?;
    let relying: Vec<String> = current
        .into_iter()
        .filter(|(_, revision)| {
            let text = revision.files.files.get(&revision.files.contract).map(String::as_bytes).unwrap_or_default();
            Contract::parse(&revision.files.contract, text).is_ok_and(|(contract, _)| contract.signers.is_none())
        })
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if relying.is_empty() {
        return Ok(());
    }
    let message = format!(
        "these contracts name no signers and need a default one: {}: give them `spec.signers` first",
        relying.join(", ")
    );
    Err(ApiError::new(StatusCode::CONFLICT, "default-signers-needed", message))
}
