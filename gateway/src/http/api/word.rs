//! The gateway's signed word, and the keys to check it with.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::{
    Builder,
    api::{CheckAnswer, Role, RunState},
    crafting,
    provenance::BuiltRun,
};

use super::{answer, check, digest, seen};
use crate::{
    app::App,
    gate::Remembered,
    http::{auth::Caller, clock, error::ApiError},
    store::Source,
};

/// The type of what is signed.
const BUNDLE: &str = contracts::bundle::MEDIA_TYPE;

/// Shown to anyone: who checks the gateway's word is often not one of its users, and public keys tell of no
/// organization.
pub(super) async fn keys(State(app): State<App>) -> Response {
    answer(StatusCode::OK, &app.word.keys(clock::now()))
}

pub(super) async fn verdict(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let made = seen::by(&app, &caller, remembered(&app, &caller, &key).await?).await?;
    Ok(answer(StatusCode::OK, &CheckAnswer { key: made.key, verdict: made.verdict.clone(), vsa: None }))
}

/// Signs only what holds now: a verdict that was overtaken is shown, but no word is given for it any more.
pub(super) async fn summary(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    check::may_check(&caller)?;
    let made = remembered(&app, &caller, &key).await?;
    let current = app.gate.check(&caller.organization, check::same_question(&made.verdict)?, clock::now()).await?;
    if current.key != made.key {
        let message = format!(
            "the verdict `{}` no longer holds: something that it was made from has changed, and now it is `{}`; ask for that one",
            made.key, current.key
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "verdict-overtaken", message));
    }
    let current = seen::by(&app, &caller, current).await?;
    let bundle = app.word.summary(&caller.organization, &current).map_err(unsigned)?;
    let headers = [(header::CONTENT_TYPE, BUNDLE), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, bundle.bytes().to_vec()).into_response())
}

/// Of runs that were accepted, and whose attestation is trusted still and was not withdrawn.
pub(super) async fn provenance(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let organization = &caller.organization;
    let run = app.store.run(organization, &id).await?.filter(|run| caller.may_act_on(&run.workflow));
    let run = run.ok_or_else(|| ApiError::not_found("there is no such run"))?;
    let conflict = |message| ApiError::new(StatusCode::CONFLICT, "no-provenance", message);
    let (RunState::Accepted, Some(id)) = (run.state, run.attestation) else {
        return Err(conflict("there is provenance of accepted runs alone".to_owned()));
    };
    if let Some(withdrawn) = &run.withdrawn {
        let reason = &withdrawn.reason;
        return Err(conflict(format!(
            "an operator withdrew the run's attestation, so there is no provenance of it: {reason}"
        )));
    }
    let record = app.store.attestation(organization, id).await?;
    let record = record.ok_or_else(|| ApiError::internal(format!("the attestation {id} of a run is not there")))?;
    let Source::Pushed { contract, revision, identity, .. } = &record.facts.source else {
        return Err(ApiError::internal(format!("the attestation {id} of a run was not pushed")));
    };
    let judged = app.store.revision(organization, contract, Some(*revision)).await?;
    let rules = app.rules.current(organization).await?;
    let removed =
        || conflict(format!("the run's contract `{contract}` was removed, so nobody says who may sign for it"));
    let current = rules.contract(contract)?.ok_or_else(removed)?;
    let untrusted = |reason: String| conflict(format!("the run's attestation is not trusted any more: {reason}"));
    let trust = current.compiled.trust().ok_or_else(|| untrusted(current.compiled.nobody_may_sign().message))?;
    let verified = app.rules.verifications().of_bytes(trust, id, &record.bundle, clock::now());
    let verified = verified.map_err(|error| untrusted(error.to_string()))?;
    let crafted = crafting::read(&verified.statement).map_err(|error| ApiError::internal(error.to_string()))?;
    let crafted = crafted.ok_or_else(|| ApiError::internal("a run's attestation is not one of a run"))?;
    let built = BuiltRun {
        run: &crafted,
        contract: contract.as_str(),
        revision: *revision,
        revision_digest: judged.map(|judged| judged.digest),
        attestation: id,
        started_on: run.started_at,
        finished_on: run.received_at.unwrap_or(record.facts.received_at),
        builder: Builder::of(&verified, identity.as_deref()),
    };
    let settings = app.store.settings(organization).await?;
    let signed = app.word.provenance(organization, &built, &settings.isolated_builders).map_err(unsigned)?;
    let bundle = signed.ok_or_else(|| conflict("the run says that it built nothing: no output material".to_owned()))?;
    let headers = [(header::CONTENT_TYPE, BUNDLE), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, bundle.bytes().to_vec()).into_response())
}

/// A bundle as it stands within an answer.
pub(super) fn signed(app: &App, caller: &Caller, made: &Remembered) -> Result<serde_json::Value, ApiError> {
    let bundle = app.word.summary(&caller.organization, made).map_err(unsigned)?;
    serde_json::from_slice(bundle.bytes()).map_err(|error| ApiError::internal(error.to_string()))
}

fn unsigned(error: contracts::SignError) -> ApiError {
    ApiError::internal(format!("the gateway's word could not be signed: {error}"))
}

async fn remembered(app: &App, caller: &Caller, key: &str) -> Result<Arc<Remembered>, ApiError> {
    let key = digest(key)?;
    let made = match app.gate.remembered(&caller.organization, key).await? {
        Some(made) if check::may_see(app, caller, &made.verdict).await? => Some(made),
        _ => None,
    };
    made.ok_or_else(|| {
        ApiError::not_found(format!(
            "there is no verdict `{key}`, or it was forgotten: ask again with `POST /api/v1/check`"
        ))
    })
}
