//! Where errors meet the wire. Each error enum has one exhaustive `match` here that gives its status, its stable
//! code and what to say; what only operators may see goes to the log.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::{
    Code, Diagnostics, Finding,
    api::{ErrorBody, ErrorDetail},
};

use crate::{
    evidence::EvidenceError,
    federation::FederationError,
    gate::GateError,
    http::{auth::AuthError, body::BodyError},
    intake::IntakeError,
    names::NameError,
    store::StoreError,
};

/// A failed API request: what the client is told, and what the log is told beyond that.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    findings: Vec<Finding>,
    log: Option<String>,
}

impl ApiError {
    /// An error with a stable kebab-case code and a sentence that names the place and the mend.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), findings: Vec::new(), log: None }
    }

    /// Something in the request that cannot be read.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", message)
    }

    /// The token does not allow this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// There is no such thing in the caller's organization (or none that the token may see).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// It cannot be answered now; nothing was decided and nothing is remembered.
    pub fn could_not_decide(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "could-not-decide", message)
    }

    /// A mistake of ours; the reason goes to the log alone.
    pub fn internal(log: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong in the gateway: see its log")
            .logged(log)
    }

    /// With the reasons.
    #[must_use]
    pub fn with_findings(self, findings: Vec<Finding>) -> Self {
        Self { findings, ..self }
    }

    /// With what only the log is told.
    #[must_use]
    pub fn logged(self, log: impl Into<String>) -> Self {
        Self { log: Some(log.into()), ..self }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What only the log may have, if there is more than the message.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match (&self.log, self.status.is_server_error()) {
            (Some(log), _) => tracing::error!(code = self.code, reason = %log, "request failed: {}", self.message),
            (None, true) => tracing::warn!(code = self.code, "request failed: {}", self.message),
            // The message may repeat what was sent; it is for the sender alone.
            (None, false) => tracing::debug!(code = self.code, status = self.status.as_u16(), "request refused"),
        }
        let challenge = self.status == StatusCode::UNAUTHORIZED;
        let retry = self.status == StatusCode::SERVICE_UNAVAILABLE;
        let error = ErrorDetail { code: self.code.to_owned(), message: self.message, findings: self.findings };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        if challenge {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sluice\""));
        }
        if retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::Missing => Self::new(StatusCode::UNAUTHORIZED, "token-missing", message),
            AuthError::Malformed => Self::new(StatusCode::UNAUTHORIZED, "token-malformed", message),
            AuthError::Unknown => Self::new(StatusCode::UNAUTHORIZED, "token-unknown", message),
            AuthError::Expired { .. } => Self::new(StatusCode::UNAUTHORIZED, "token-expired", message),
            AuthError::Federation(error) => error.into(),
            AuthError::Store(store) => store.into(),
        }
    }
}

impl From<FederationError> for ApiError {
    fn from(error: FederationError) -> Self {
        let message = error.to_string();
        match error {
            FederationError::Token(error) => Self::new(StatusCode::UNAUTHORIZED, error.code(), message),
            FederationError::Issuer { .. } => Self::new(StatusCode::UNAUTHORIZED, "token-issuer-unknown", message),
            FederationError::NotAllowed { .. } => Self::new(StatusCode::FORBIDDEN, "identity-not-allowed", message),
            FederationError::Unnamed => Self::new(StatusCode::FORBIDDEN, "organization-needed", message),
            FederationError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "issuer-unavailable", message)
            }
            FederationError::Store(store) => store.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let unavailable = |code| {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "the gateway cannot use its state now: try again")
                .logged(error.to_string())
        };
        match &error {
            StoreError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "state-full",
                "the gateway's disk is full: nothing was stored",
            )
            .logged(error.to_string()),
            StoreError::InUse { .. } | StoreError::Layout { .. } | StoreError::Failed { .. } => {
                unavailable("state-unavailable")
            }
            StoreError::Corrupt { .. } => unavailable("state-corrupt"),
        }
    }
}

impl From<EvidenceError> for ApiError {
    fn from(error: EvidenceError) -> Self {
        let message = error.to_string();
        match error {
            EvidenceError::Mismatch { .. } => Self::new(StatusCode::BAD_REQUEST, "digest-mismatch", message),
            EvidenceError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "evidence-too-large", message),
            EvidenceError::Offset { .. } => Self::new(StatusCode::CONFLICT, "upload-offset", message),
            EvidenceError::NotBegun => Self::new(StatusCode::NOT_FOUND, "upload-unknown", message),
            EvidenceError::Busy => Self::new(StatusCode::CONFLICT, "upload-busy", message),
            EvidenceError::TooManyUploads => Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-uploads", message),
            EvidenceError::Incomplete { .. } => Self::new(StatusCode::BAD_REQUEST, "body-incomplete", message),
            EvidenceError::Damaged { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "evidence-damaged", message.clone()).logged(message)
            }
            EvidenceError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "evidence-full",
                "the gateway has no room left for evidence: nothing was stored",
            )
            .logged(message),
            EvidenceError::Disk { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "evidence-unavailable",
                "the gateway cannot use its evidence folder now: try again",
            )
            .logged(message),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        match error {
            BodyError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message),
            BodyError::Incomplete { .. } => Self::new(StatusCode::BAD_REQUEST, "body-incomplete", message),
            BodyError::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", message),
            BodyError::ContentType { .. } => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", message),
            BodyError::Json { .. } => Self::new(StatusCode::BAD_REQUEST, "invalid-json", message),
        }
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Diagnostics> for ApiError {
    fn from(Diagnostics(findings): Diagnostics) -> Self {
        let errors = findings.iter().filter(|f| f.blocks()).count();
        let mistakes = if errors == 1 { "one mistake".to_owned() } else { format!("{errors} mistakes") };
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "contract-invalid",
            format!("the contract has {mistakes}: see the findings"),
        )
        .with_findings(findings)
    }
}

impl From<GateError> for ApiError {
    fn from(error: GateError) -> Self {
        let log = error.to_string();
        let message = match &error {
            // What lies outside the gateway, or in a contract, is told; what lies inside is for the log.
            GateError::Upstream(_)
            | GateError::Contract { .. }
            | GateError::ContractGone { .. }
            | GateError::TooLong { .. } => {
                format!("it could not be decided: {log}: try again")
            }
            GateError::Store(_)
            | GateError::Evidence { .. }
            | GateError::Trust { .. }
            | GateError::Evaluation { .. } => "it could not be decided now: try again".to_owned(),
        };
        Self::could_not_decide(message).logged(log)
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let message = error.to_string();
        match error {
            IntakeError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "attestation-too-large", message),
            IntakeError::Unreadable { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "attestation-unreadable", message)
            }
            IntakeError::UnknownWorkflow { .. } => Self::not_found(message),
            IntakeError::Refused { finding, .. } => {
                Self::new(StatusCode::FORBIDDEN, finding.code.as_str(), message).with_findings(vec![*finding])
            }
            IntakeError::Mismatch { finding } => {
                let status = match finding.code {
                    Code::RunAlreadyUsed => StatusCode::CONFLICT,
                    _ => StatusCode::UNPROCESSABLE_ENTITY,
                };
                Self::new(status, finding.code.as_str(), message).with_findings(vec![*finding])
            }
            IntakeError::CouldNotDecide(error) => error.into(),
        }
    }
}
