//! What registry clients are answered: the headers they look for, and errors as they show them. Of an error's body,
//! most show only `message`.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use contracts::{Digest, Finding, Repository, SignError, digest::DigestError, reference::ReferenceError};
use serde_json::{Value, json};

use crate::{
    federation::FederationError,
    gate::{GateError, Remembered},
    http::{auth::AuthError, naming::Misnamed, verdict_page},
    upstream::{CanonicalError, OCI_MANIFEST, UpstreamError},
};

/// `registry/2.0`, on every answer.
pub(super) const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The registry that a mirror's answer is about.
pub(super) const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// The digest of what is answered.
pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Findings named in one message; the others are counted.
const NAMED: usize = 5;
/// Characters of one message.
const MESSAGE: usize = 4 * 1024;
/// Characters of a message that the reasons of a denial may take; the rest is for where to read on.
const REASONS: usize = MESSAGE - 512;
/// Seconds after which to try again what could not be told, when nothing better is known.
const RETRY_AFTER: u64 = 5;

/// A digest as an entity tag.
pub(super) fn etag(digest: Digest) -> String {
    format!("\"{digest}\"")
}

/// An error of the distribution API.
#[derive(Debug, Clone)]
pub(super) struct OciError {
    status: StatusCode,
    code: &'static str,
    message: String,
    detail: Option<Box<Value>>,
    /// The length of the blob, when a range lies outside it.
    total: Option<u64>,
    /// How to prove who one is.
    challenge: Option<String>,
    /// After how many seconds to try again, when that is known.
    retry_after: Option<u64>,
}

impl OciError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            status,
            code,
            message: message.chars().take(MESSAGE).collect(),
            detail: None,
            total: None,
            challenge: None,
            retry_after: None,
        }
    }

    /// Says how to prove who one is, where that is missing.
    pub(super) fn challenged(self, challenge: impl FnOnce() -> String) -> Self {
        match self.status {
            StatusCode::UNAUTHORIZED => Self { challenge: Some(challenge()), ..self },
            _ => self,
        }
    }

    /// Says what a person types who has not proven who they are. `host` is what the client calls the gateway.
    pub(super) fn log_in(self, host: Option<&str>) -> Self {
        let host: String = host.unwrap_or("HOST").chars().take(256).collect();
        let message = format!("{}; log in with `docker login {host}`: any user, the token as password", self.message);
        match self.status {
            StatusCode::UNAUTHORIZED => Self { message, ..self },
            _ => self,
        }
    }

    /// The token is good, but not for this repository.
    pub(super) fn out_of_scope(name: &str) -> Self {
        let name: String = name.chars().take(80).collect();
        let message = format!("this token was asked for other repositories than `{name}`: ask for one again");
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    /// A request for a token that cannot be read.
    pub(super) fn not_asked_right(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)
    }

    /// The gateway cannot make a token now.
    pub(super) fn no_token(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "no token could be made");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the gateway cannot make a token now")
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    pub(super) fn read_only() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "images are pulled here: push them to their registry")
    }

    pub(super) fn unlisted() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "repositories are not listed here")
    }

    pub(super) fn unlisted_repository(repository: &Repository) -> Self {
        Self::denied(format!(
            "the tags of `{repository}` are not listed, as nothing of it may be pulled: no contract answers for it"
        ))
    }

    pub(super) fn not_a_number(text: &str) -> Self {
        let message = format!("`n={text}` is not a number of tags");
        Self::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", message)
    }

    pub(super) fn not_an_address() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is nothing at this address")
    }

    pub(super) fn invalid_name(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", message)
    }

    pub(super) fn invalid_digest(error: &DigestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", error.to_string())
    }

    pub(super) fn unknown_host(host: &str) -> Self {
        let message = format!("this gateway has no upstream `{host}`");
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }

    pub(super) fn unknown_manifest(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", format!("`{what}` is not there"))
    }

    /// No allowed image is known to lead to this blob.
    pub(super) fn no_grant(repository: &Repository, digest: Digest) -> Self {
        Self::denied(format!(
            "no image that you may pull from `{repository}` is known to contain `{digest}`: pull the image's manifest first"
        ))
    }

    /// A verdict that denies, with what to do about it, and where to read on. What is beside the message stays short:
    /// crane and oras print it after the message, word for word.
    pub(super) fn verdict(remembered: &Remembered, external_url: Option<&str>) -> Self {
        let (verdict, key) = (&remembered.verdict, remembered.key);
        let blocking: Vec<&Finding> = verdict.findings.iter().filter(|finding| finding.blocks()).collect();
        let mut reasons: Vec<String> = blocking.iter().take(NAMED).map(|finding| reason(finding)).collect();
        if blocking.len() > NAMED {
            reasons.push(format!("and {} more", blocking.len() - NAMED));
        }
        let reasons: String = reasons.join("; ").chars().take(REASONS).collect();
        let message = match external_url {
            Some(url) => format!("{reasons} ({})", verdict_page::address(url, key)),
            None => format!("{reasons} (verdict {key}; `sluice check {}` shows it)", verdict.subject),
        };
        Self { detail: Some(Box::new(json!({"verdict": key}))), ..Self::denied(message) }
    }

    /// A registry sends to an address that cannot be told.
    pub(super) fn unsendable() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "UNAVAILABLE", "the registry redirects to what is no address")
    }

    /// The gateway's word could not be given.
    pub(super) fn unsigned(error: &SignError) -> Self {
        tracing::error!(%error, "a verdict could not be signed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the gateway's word could not be signed")
    }

    /// Without what is beside the message.
    pub(super) fn brief(&self) -> Self {
        Self { detail: None, ..self.clone() }
    }

    /// The body that is sent.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(detail), Some(fields)) = (&self.detail, error.as_object_mut()) {
            fields.insert("detail".to_owned(), Value::clone(detail));
        }
        json!({"errors": [error]}).to_string().into_bytes()
    }

    /// What an upstream's failure is for a client; `unknown` is the code for what is not there.
    pub(super) fn upstream(error: &UpstreamError, unknown: &'static str) -> Self {
        let new = |status, code| Self::new(status, code, error.to_string());
        match error {
            UpstreamError::NotFound { .. } => new(StatusCode::NOT_FOUND, unknown),
            UpstreamError::Unavailable { .. } => new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            // Not 429: containerd would repeat the request at once, several times, which can only fail.
            UpstreamError::Throttled { seconds, .. } => {
                Self { retry_after: Some(*seconds), ..new(StatusCode::SERVICE_UNAVAILABLE, "TOOMANYREQUESTS") }
            }
            UpstreamError::Refused { .. } | UpstreamError::Lied { .. } => new(StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
            UpstreamError::Outdated { .. } => new(StatusCode::FORBIDDEN, "DENIED"),
            UpstreamError::Range { total } => {
                Self { total: Some(*total), ..new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID") }
            }
        }
    }
}

/// `rule: what is wrong, what to do: the mend`
pub(super) fn reason(finding: &Finding) -> String {
    let rule = finding.rule.as_deref().unwrap_or(finding.code.as_str());
    match &finding.mend {
        Some(mend) => format!("{rule}: {}, what to do: {mend}", finding.message),
        None => format!("{rule}: {}", finding.message),
    }
}

impl IntoResponse for OciError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(code = self.code, status = self.status.as_u16(), "pull failed: {}", self.message);
        }
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (self.status, kind, self.body()).into_response();
        let headers = response.headers_mut();
        let more = match self.status {
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, "GET, HEAD")),
            _ => None,
        };
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, self.retry_after.unwrap_or(RETRY_AFTER).into());
        }
        headers.extend(more.map(|(name, value)| (name, HeaderValue::from_static(value))));
        let challenge = self.challenge.unwrap_or_else(|| "Basic realm=\"sluice\"".to_owned());
        if self.status == StatusCode::UNAUTHORIZED {
            let value = HeaderValue::from_str(&challenge).ok();
            headers.extend(value.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
        }
        let range = self.total.and_then(|total| HeaderValue::from_str(&format!("bytes */{total}")).ok());
        headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
        response
    }
}

impl From<AuthError> for OciError {
    fn from(error: AuthError) -> Self {
        match error {
            // Nobody types headers for a registry's client.
            AuthError::Missing => Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "this needs a token"),
            AuthError::Malformed | AuthError::Unknown | AuthError::Expired { .. } => {
                Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", error.to_string())
            }
            AuthError::Federation(FederationError::NotAllowed { .. } | FederationError::Unnamed) => {
                Self::new(StatusCode::FORBIDDEN, "DENIED", error.to_string())
            }
            AuthError::Federation(FederationError::Token(_) | FederationError::Issuer { .. }) => {
                Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", error.to_string())
            }
            AuthError::Federation(FederationError::Unavailable(_)) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", error.to_string())
            }
            AuthError::Federation(FederationError::Store(error)) | AuthError::Store(error) => {
                tracing::error!(%error, "tokens cannot be read");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the gateway cannot use its state now")
            }
        }
    }
}

impl From<Misnamed> for OciError {
    fn from(error: Misnamed) -> Self {
        let message = error.to_string();
        match error {
            Misnamed::Canonical(CanonicalError::Name(_)) | Misnamed::TwoRegistries { .. } => {
                Self::invalid_name(message)
            }
            Misnamed::Canonical(CanonicalError::Unknown { .. } | CanonicalError::NoHost { .. }) => {
                Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
            }
            Misnamed::OtherOrganization { .. } => Self::denied(message),
        }
    }
}

impl From<ReferenceError> for OciError {
    fn from(error: ReferenceError) -> Self {
        match &error {
            ReferenceError::Digest(digest) => Self::invalid_digest(digest),
            _ => Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", error.to_string()),
        }
    }
}

impl From<GateError> for OciError {
    fn from(error: GateError) -> Self {
        let message = format!("it could not be decided whether this may be pulled, try again: {error}");
        let new = Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
        match error {
            GateError::Upstream(UpstreamError::Throttled { seconds, .. }) => {
                Self { code: "TOOMANYREQUESTS", retry_after: Some(seconds), ..new }
            }
            _ => new,
        }
    }
}

/// A denied HEAD. It has neither digest nor length, so clients go on to the GET, which has the reason; a refusal here
/// would send some of them to another registry, and hide the reason from the others.
pub(super) fn denied_head() -> Response {
    // A body of unknown length: of an empty one the length 0 would be told.
    let nothing = futures::stream::empty::<Result<Bytes, Infallible>>();
    (StatusCode::OK, Body::from_stream(nothing)).into_response()
}

/// A denied HEAD with the digest, for who chose that. Clients take nothing for a manifest that has no type, so it has
/// one; the length is that of the denial, which is what the GET answers.
pub(super) fn denied_head_of(digest: Digest, denial: &OciError) -> Response {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_str(&digest.to_string()).ok().map(|value| (DIGEST, value)));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_MANIFEST));
    headers.insert(header::CONTENT_LENGTH, denial.body().len().into());
    (StatusCode::OK, headers).into_response()
}

#[cfg(test)]
mod tests {
    use contracts::{Code, Decision, Verdict};
    use http_body_util::BodyExt;

    use super::*;

    fn denied(findings: Vec<Finding>) -> Remembered {
        let verdict = Verdict {
            decision: Decision::Deny,
            enforced: true,
            exempted: false,
            subject: format!("registry.test/skynet/app@{}", Digest::of(b"x")).parse().unwrap(),
            named: Vec::new(),
            contracts: Vec::new(),
            findings,
            depends_on: Vec::new(),
            evaluated_at: testdata::noon(),
            valid_until: None,
        };
        Remembered::new(Digest::of(b"key"), verdict)
    }

    #[tokio::test]
    async fn a_denial_says_what_to_do_and_stays_short() {
        let finding = Finding::error(Code::NoEvidence, "nothing attests this image").mend("attest it");
        let shown = Finding::warning(Code::PolicyAdvisory, "shown only");
        let (key, image) = (Digest::of(b"key"), Digest::of(b"x"));
        assert_eq!(
            OciError::verdict(&denied(vec![finding, shown]), None).message,
            format!(
                "no-evidence: nothing attests this image, what to do: attest it (verdict {key}; `sluice check registry.test/skynet/app@{image}` shows it)"
            )
        );

        let long = |n: usize| {
            Finding::error(Code::MaterialMissing, format!("`sbom-{n}` {}", "is missing ".repeat(200))).by_rule("sbom")
        };
        let many = OciError::verdict(&denied((0..900).map(long).collect()), Some("https://gw.test")).into_response();
        assert_eq!(many.status(), StatusCode::FORBIDDEN);
        let body = many.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() < 8_000, "{}", body.len());
        assert!(String::from_utf8_lossy(&body).contains(&format!("(https://gw.test/verdicts/{key})")));
    }
}
