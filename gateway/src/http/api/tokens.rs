//! Tokens: made, listed, revoked. A revoked token is refused from the next request on.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::api::{CreatedToken, NewToken, Role};
use jiff::Timestamp;

use super::{answer, page::Page, present};
use crate::{
    app::App,
    http::{
        auth::Caller,
        body, clock,
        error::ApiError,
        secret::{Secret, random_id},
    },
    names::{Name, WorkflowName},
    store::{Revocation, TokenRecord},
};

/// The longest name of a token, in characters.
const NAME: usize = 100;

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let mut page = Page::asked(&uri)?;
    let (tokens, now) = (app.store.tokens(&caller.organization).await?, clock::now());
    for token in tokens {
        // By age, as they come.
        let key = format!("{:020} {}", token.created_at.as_microsecond(), token.id);
        page.add(&key, &present::token(token, now))?;
    }
    Ok(page.answer())
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let NewToken { name, role, workflow, operator, expires_at } = body::json(&headers, body).await?;
    if name.trim().is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "a token's `name` is 1 to {NAME} printable characters: say what it is for"
        )));
    }
    let workflow: Option<WorkflowName> = workflow.map(|w| w.parse()).transpose()?;
    if let Some(workflow) = &workflow {
        if matches!(role, Role::Admin | Role::Pull) {
            return Err(ApiError::invalid("only tokens of role `push` or `read` can be bound to a workflow"));
        }
        if app.store.workflow(&caller.organization, workflow).await?.is_none() {
            return Err(ApiError::not_found(format!("there is no workflow `{workflow}`: create it first")));
        }
    }
    if operator && !caller.operator {
        return Err(ApiError::forbidden("only a token of the installation's operator makes another one"));
    }
    if operator && role != Role::Admin {
        return Err(ApiError::invalid("a token of the operator has the role `admin`"));
    }
    let now = clock::now();
    if let Some(past) = expires_at.filter(|at| *at <= now) {
        return Err(ApiError::invalid(format!(
            "the token would have expired at {past}: name a later instant under `expires_at`"
        )));
    }
    let (record, secret) = make(&caller.organization, name, role, workflow, now)?;
    let record = TokenRecord { operator, expires_at, ..record };
    app.store.add_token(record.clone(), caller.by(now)).await?;
    tracing::info!(organization = %caller.organization, by = %caller.token_id, token = %record.id, role = ?role, operator, "a token was made");
    Ok(answer(StatusCode::CREATED, &CreatedToken { token: present::token(record, now), secret: secret.reveal() }))
}

pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let now = clock::now();
    let revoked = app.store.revoke_token(&caller.organization, &id, caller.by(now)).await?;
    let revoked = match revoked {
        Revocation::Revoked(revoked) => *revoked,
        Revocation::Unknown => return Err(ApiError::not_found("there is no such token")),
        Revocation::LastAdmin => {
            let message = "this is the organization's last admin token that does not expire: make another one with \
                           `sluice token create --role admin`, without `--expires-in`, first";
            return Err(ApiError::new(StatusCode::CONFLICT, "last-admin-token", message));
        }
        Revocation::LastOperator => {
            let message = "this is the last token of the installation's operator that does not expire, and nothing else could take \
                           backups or make organizations in the end: make another one with `sluice token create --operator \
                           --role admin`, without `--expires-in`, and this token first";
            return Err(ApiError::new(StatusCode::CONFLICT, "last-operator-token", message));
        }
    };
    tracing::info!(organization = %caller.organization, by = %caller.token_id, token = %revoked.id, "a token was revoked");
    Ok(answer(StatusCode::OK, &present::token(revoked, now)))
}

/// A token that is not stored yet, and its secret.
pub(super) fn make(
    organization: &Name,
    name: String,
    role: Role,
    workflow: Option<WorkflowName>,
    now: Timestamp,
) -> Result<(TokenRecord, Secret), ApiError> {
    let made = Secret::generate().and_then(|secret| Ok((secret, random_id()?)));
    let (secret, id) = made.map_err(|e| ApiError::internal(format!("no randomness: {e}")))?;
    let record = TokenRecord {
        id,
        organization: organization.clone(),
        name,
        role,
        workflow,
        operator: false,
        secret: secret.digest(),
        created_at: now,
        revoked_at: None,
        expires_at: None,
        last_used_at: None,
    };
    Ok((record, secret))
}
