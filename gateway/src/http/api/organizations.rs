//! The organization's settings, and new organizations.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::api::{CreatedToken, NewOrganization, OrganizationSettings, Role};

use super::{answer, present, tokens};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    names::Name,
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
    let settings: OrganizationSettings = body::json(&headers, body).await?;
    app.store.put_settings(&caller.organization, settings.clone(), clock::now()).await?;
    tracing::info!(
        organization = %caller.organization, token = %caller.token_id, unmatched = ?settings.unmatched,
        default_signers = settings.default_signers.len(), "the organization's settings were changed"
    );
    Ok(answer(StatusCode::OK, &settings))
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
    let (record, secret) = tokens::make(&organization, "first admin".to_owned(), Role::Admin, None, clock::now())?;
    if !app.store.create_organization(&organization, record.clone()).await? {
        let message = format!("there is an organization `{organization}` already: choose another name");
        return Err(ApiError::new(StatusCode::CONFLICT, "organization-exists", message));
    }
    tracing::info!(organization = %organization, token = %caller.token_id, "an organization was made");
    Ok(answer(StatusCode::CREATED, &CreatedToken { token: present::token(record), secret: secret.reveal() }))
}
