//! Attestations that operators withdraw.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::{
    api::{NewWithdrawal, Role, WithdrawalInfo, Withdrawn},
    limits,
};

use super::{answer, digest, reason};
use crate::{
    app::App,
    http::{auth::Caller, body, clock, error::ApiError},
    store::{AttestationName, Withdrawing},
};

pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    caller.needs_whole_organization()?;
    let records = app.store.withdrawals(&caller.organization).await?;
    let mut infos: Vec<WithdrawalInfo> = records.into_iter().map(WithdrawalInfo::from).collect();
    infos.sort_by_key(|info| std::cmp::Reverse(info.withdrawn.withdrawn_at));
    Ok(answer(StatusCode::OK, &infos))
}

pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(named): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let named = name(named)?;
    let NewWithdrawal { reason: said } = body::json(&headers, body).await?;
    let (organization, now) = (&caller.organization, clock::now());
    let withdrawn = Withdrawn { reason: reason(&said)?, withdrawn_at: now, by: caller.token_id.clone() };
    let (status, record) = match app.store.withdraw_attestation(organization, &named, withdrawn, caller.by(now)).await?
    {
        Withdrawing::New(record) => (StatusCode::CREATED, record),
        Withdrawing::Replaced(record) => (StatusCode::OK, record),
        Withdrawing::Unknown => {
            return Err(ApiError::not_found(format!(
                "there is no {named} here, or nothing was attested for it: name the digest of an attestation, as `sluice run describe` or `sluice check --explain` prints it, or a run"
            )));
        }
        Withdrawing::TooMany => {
            let message = format!(
                "{} attestations are withdrawn already: restore some first, or take their signers out of the contracts",
                limits::WITHDRAWALS
            );
            return Err(ApiError::new(StatusCode::CONFLICT, "too-many-withdrawals", message));
        }
    };
    tracing::warn!(
        %organization, attestation = %record.attestation, run = record.run, token = %caller.token_id,
        reason = record.withdrawn.reason, "an operator withdrew an attestation"
    );
    Ok(answer(status, &WithdrawalInfo::from(*record)))
}

pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(named): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let (named, now) = (name(named)?, clock::now());
    let restored = app.store.restore_attestation(&caller.organization, &named, caller.by(now)).await?;
    let record = restored.ok_or_else(|| ApiError::not_found(format!("no {named} is withdrawn")))?;
    tracing::warn!(
        organization = %caller.organization, attestation = %record.attestation, run = record.run,
        token = %caller.token_id, "an attestation was restored"
    );
    Ok(answer(StatusCode::OK, &WithdrawalInfo::from(record)))
}

/// An attestation by its digest or its run. No run has a colon in its id.
fn name(text: String) -> Result<AttestationName, ApiError> {
    if text.contains(':') { digest(&text).map(AttestationName::Id) } else { Ok(AttestationName::Run(text)) }
}
