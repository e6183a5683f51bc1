//! The bytes of materials, by digest.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::{api::Role, limits};

use super::digest;
use crate::{
    app::App,
    evidence::Put,
    http::{auth::Caller, body, error::ApiError},
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
    match app.evidence.put(&caller.organization, digest, limits::EVIDENCE_BYTES, body::pieces(body)).await? {
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
    let stored = app.evidence.stored(&caller.organization, digest).await?;
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
