//! Attestations that operators withdraw.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use contracts::{
    Bundle, Digest, Statement,
    api::{NewWithdrawal, Role, WithdrawalInfo, Withdrawn},
    limits,
};
use jiff::Timestamp;

use super::{answer, digest, page::Page, reason};
use crate::{
    app::App,
    evidence::EvidenceError,
    http::{auth::Caller, body, clock, error::ApiError},
    names::Name,
    store::{AttestationFacts, AttestationName, AttestationRecord, Discovery, Source, Withdrawing},
};

pub(super) async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    caller.needs_whole_organization()?;
    let mut page = Page::asked(&uri)?;
    let records = app.store.withdrawals(&caller.organization).await?;
    let infos = records.into_iter().map(WithdrawalInfo::from);
    // The newest first.
    let keyed = |info: WithdrawalInfo| {
        let before = i64::MAX.saturating_sub(info.withdrawn.withdrawn_at.as_microsecond());
        (format!("{before:020} {}", info.attestation), info)
    };
    let mut infos: Vec<(String, WithdrawalInfo)> = infos.map(keyed).collect();
    infos.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (key, info) in infos {
        page.add(&key, &info)?;
    }
    Ok(page.answer())
}

pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(named): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let mut named = name(named)?;
    let NewWithdrawal { reason: said } = body::json(&headers, body).await?;
    let (organization, now) = (&caller.organization, clock::now());
    let withdrawn = Withdrawn { reason: reason(&said)?, withdrawn_at: now, by: caller.token_id.clone() };
    if let AttestationName::Id(id) = named
        && let Some(taken_in) = take_in(&app, organization, id, now).await?
    {
        named = AttestationName::Id(taken_in);
    }
    let (status, record) = match app.store.withdraw_attestation(organization, &named, withdrawn, caller.by(now)).await?
    {
        Withdrawing::New(record) => (StatusCode::CREATED, record),
        Withdrawing::Replaced(record) => (StatusCode::OK, record),
        Withdrawing::Unknown => {
            return Err(ApiError::not_found(format!(
                "there is no {named} here, or nothing was attested for it: name the digest of an attestation, as `sluice run describe` or `sluice check --explain` prints it, of a material that is one, or a run"
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

/// Keeps an attestation that only came as a material, so that it can be withdrawn; answers with the one that stands for it.
/// `None`: it is kept already, or the evidence has no such attestation. It counts nowhere by this: what is used is verified.
async fn take_in(app: &App, organization: &Name, id: Digest, now: Timestamp) -> Result<Option<Digest>, ApiError> {
    if app.store.attestation_facts(organization, id).await?.is_some() {
        return Ok(None);
    }
    let bundle = match app.evidence.read(organization, id, limits::BUNDLE_BYTES as u64).await {
        Ok(Some(bundle)) => bundle,
        Ok(None) | Err(EvidenceError::Damaged { .. } | EvidenceError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let read = move || {
        let parsed = Bundle::parse(&bundle).ok()?;
        let statement = Statement::parse(&parsed.envelope().payload).ok()?;
        let facts = AttestationFacts {
            id,
            signed: Digest::of(&parsed.envelope().pae()),
            subjects: statement.image_digests().into_iter().collect(),
            received_at: now,
            signed_at: None,
            source: Source::Material,
            withdrawn: None,
        };
        // Nobody was asked for whom it speaks.
        let speaks_for = Digest::of(b"");
        Some(Discovery { record: AttestationRecord { facts, bundle }, speaks_for })
    };
    let read = app.workers.run(read).await.map_err(|error| ApiError::internal(error.to_string()))?;
    let Some(discovery) = read else { return Ok(None) };
    Ok(app.store.discovered(organization, vec![discovery]).await?.first().copied())
}

/// An attestation by its digest or its run. No run has a colon in its id.
fn name(text: String) -> Result<AttestationName, ApiError> {
    if text.contains(':') { digest(&text).map(AttestationName::Id) } else { Ok(AttestationName::Run(text)) }
}
