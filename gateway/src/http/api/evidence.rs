//! The bytes of materials, by digest: in one request, or in pieces that may be days and restarts apart.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use contracts::{
    Digest,
    api::{Role, SweepEvidence, SweptEvidence},
    duration, limits,
};
use serde::Deserialize;

use super::{answer, digest, query};
use crate::{
    app::App,
    evidence::{Put, sweep::Swept, uploads::Upload},
    http::{auth::Caller, body, clock, error::ApiError},
};

pub(super) async fn upload(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    caller.needs(Role::Push)?;
    let digest = digest(&text)?;
    // Told before the bytes are sent, when the sender says how many there are.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|l| l > limits::EVIDENCE_BYTES) {
        return Err(crate::evidence::EvidenceError::TooLarge { limit: limits::EVIDENCE_BYTES }.into());
    }
    let put = app.evidence.put(&caller.organization, digest, limits::EVIDENCE_BYTES, body::pieces(body)).await?;
    stored(&caller, digest, put)
}

/// How far an upload came.
const UPLOAD_OFFSET: &str = "upload-offset";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Appending {
    offset: u64,
}

/// What a caller uploads: as the workflow that its token is bound to, else as the token.
fn upload_of<'c>(caller: &'c Caller, uploader: &'c str, digest: Digest) -> Upload<'c> {
    Upload { organization: &caller.organization, uploader, digest }
}

fn uploader(caller: &Caller) -> String {
    match &caller.workflow {
        Some(workflow) => format!("workflow {workflow}"),
        None => format!("token {}", caller.token_id),
    }
}

fn stands_at(offset: u64) -> Response {
    (StatusCode::OK, [(UPLOAD_OFFSET, offset.to_string()), ("cache-control", "no-store".to_owned())]).into_response()
}

/// Answers `HEAD`, too, which is how clients ask.
pub(super) async fn uploaded(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let uploader = uploader(&caller);
    Ok(stands_at(app.evidence.uploaded(upload_of(&caller, &uploader, digest(&text)?)).await?))
}

pub(super) async fn append(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Push)?;
    let Appending { offset } = query(&uri)?;
    let uploader = uploader(&caller);
    let upload = upload_of(&caller, &uploader, digest(&text)?);
    Ok(stands_at(app.evidence.append(upload, offset, limits::EVIDENCE_BYTES, body::pieces(body)).await?))
}

pub(super) async fn finish(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.needs(Role::Push)?;
    let (digest, uploader) = (digest(&text)?, uploader(&caller));
    stored(&caller, digest, app.evidence.finish(upload_of(&caller, &uploader, digest)).await?)
}

pub(super) async fn abandon(
    State(app): State<App>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.needs(Role::Push)?;
    let uploader = uploader(&caller);
    app.evidence.abandon(upload_of(&caller, &uploader, digest(&text)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn stored(caller: &Caller, digest: Digest, put: Put) -> Result<StatusCode, ApiError> {
    match put {
        Put::Added => {
            tracing::info!(organization = %caller.organization, %digest, token = %caller.token_id, "evidence was stored");
            Ok(StatusCode::CREATED)
        }
        Put::Present => Ok(StatusCode::OK),
    }
}

/// Answers `HEAD` too. Which workflow a material belongs to is not known of its bytes, so who may see one workflow
/// alone, or pull images alone, may not read them. Before it uploads, a pipeline asks whether the bytes are there;
/// a token that is bound to a workflow is told that and nothing else. It can so learn, as it could by uploading,
/// that the organization has bytes whose digest it knows already, and neither their length nor whose they are.
pub(super) async fn read(
    State(app): State<App>,
    method: Method,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Role::Read)?;
    let pushing = method == Method::HEAD && caller.may(Role::Push);
    if !pushing {
        caller.needs_whole_organization()?;
        if caller.role == Role::Pull {
            return Err(ApiError::forbidden(
                "a token of role `pull` may not read evidence: use one of role `read`, bound to no workflow",
            ));
        }
    }
    let digest = digest(&text)?;
    if pushing {
        // Whoever is told that the bytes are here does not send them.
        app.evidence.renew(&caller.organization, digest).await?;
    }
    let spared = !pushing || app.evidence.spares_upload(&caller.organization, digest).await?;
    let stored = app.evidence.stored(&caller.organization, digest).await?.filter(|_| spared);
    let stored = stored.ok_or_else(|| ApiError::not_found(format!("there is no evidence `{digest}`")))?;
    if caller.workflow.is_some() {
        // A stream of unknown length: the server would tell that of a body it knows.
        let unknown = futures::stream::empty::<Result<bytes::Bytes, std::convert::Infallible>>();
        return Ok(Body::from_stream(unknown).into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, stored.length.to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
    ];
    Ok((headers, Body::from_stream(stored.into_stream())).into_response())
}

/// Removes what rests and nothing names, or tells what that is. Never on its own: an attestation that lies in a registry and
/// was not seen yet may name evidence that was uploaded long ago.
pub(super) async fn sweep(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.needs(Role::Admin)?;
    let SweepEvidence { older_than, dry_run } = body::json(&headers, body).await?;
    let long = duration::parse(&older_than).map_err(|error| ApiError::invalid(format!("`older_than`: {error}")))?;
    let long = std::time::Duration::try_from(long).map_err(|error| ApiError::invalid(error.to_string()))?;
    if long < limits::EVIDENCE_RESTED {
        let days = limits::EVIDENCE_RESTED.as_secs() / (24 * 60 * 60);
        return Err(ApiError::invalid(format!(
            "`older_than` is at least {days}d: a pipeline may still be on its way to attest what it uploaded"
        )));
    }
    let Ok(_only_one) = app.slots.sweep.try_acquire() else {
        return Err(ApiError::new(StatusCode::CONFLICT, "sweep-running", "a sweep is going on already: try again"));
    };
    let organization = &caller.organization;
    // In this order: what is named by what came after the look at the folder was renewed when it came.
    let resting = app.evidence.resting(organization, long).await?;
    let digests: BTreeSet<Digest> = resting.iter().map(|(digest, _)| *digest).collect();
    let named = app.store.named(organization, digests).await?;
    let unnamed: Vec<(Digest, u64)> = resting.iter().filter(|(digest, _)| !named.contains(digest)).copied().collect();
    let swept = if dry_run {
        let bytes = unnamed.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
        Swept { digests: unnamed.into_iter().map(|(digest, _)| digest).collect(), bytes }
    } else {
        let unnamed = unnamed.into_iter().map(|(digest, _)| digest).collect();
        app.evidence.sweep(organization, unnamed, long).await?
    };
    if !dry_run && !swept.digests.is_empty() {
        let now = clock::now();
        let detail = serde_json::json!({
            "by": caller.token_id, "older_than": older_than, "removed": swept.digests.len(), "bytes": swept.bytes,
        });
        app.store.audit(organization, "evidence-swept", detail, now).await?;
        tracing::warn!(
            %organization, token = %caller.token_id, older_than, removed = swept.digests.len(), bytes = swept.bytes,
            "evidence that nothing names was removed"
        );
    }
    let told = SweptEvidence {
        old: resting.len() as u64,
        named: named.len() as u64,
        removed: swept.digests.len() as u64,
        bytes: swept.bytes,
        digests: swept.digests.into_iter().take(limits::SWEPT_TOLD).collect(),
    };
    Ok(answer(StatusCode::OK, &told))
}
