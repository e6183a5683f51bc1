//! `AdmissionReview`, as it is sent.

use contracts::json::{self, JsonError};
use contracts::limits::REVIEW_BYTES;
use serde_json::{Map, Value};

/// The only version that is spoken. Its predecessor has another meaning of what is left out.
pub(super) const VERSION: &str = "admission.k8s.io/v1";
/// Bytes of the id of a review, which is repeated in the answer.
const UID_BYTES: usize = 128;

/// A question of the API server's.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    /// Names the question in the answer.
    pub uid: String,
    /// What is to be done.
    pub operation: Operation,
    /// What kind of object `object` is.
    pub kind: Kind,
    /// The part of the object that is written, such as `ephemeralcontainers`; empty for the object itself.
    pub sub_resource: String,
    /// Where.
    pub namespace: String,
    /// Its name; empty when the API server makes it.
    pub name: String,
    /// Who asked the API server.
    pub user: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The object as it would be stored.
    pub object: Option<Map<String, Value>>,
    /// The object as it is stored.
    pub old: Option<Map<String, Value>>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Something new.
    Create,
    /// A change.
    Update,
    /// Removal.
    Delete,
    /// `exec`, `attach`, `port-forward`, `proxy`.
    Connect,
}

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// `apps`; empty for the oldest.
    pub group: String,
    /// `v1`
    pub version: String,
    /// `Deployment`
    pub kind: String,
}

impl Kind {
    /// As an object says it: `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether what it names runs by it: a pod. Other kinds have pods made, which are asked about when they are.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.group.is_empty() && matches!(self.kind.as_str(), "Pod" | "EphemeralContainers")
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.kind, self.api_version())
    }
}

/// Why a body is no question that can be answered.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// Not JSON, or too much of it, or a key twice.
    #[error("the review cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Another version, or another kind of document.
    #[error(
        "this is not an AdmissionReview of {VERSION}, but `{found}`: name `v1`, and no other, under `admissionReviewVersions` of the webhook"
    )]
    Version {
        /// What it says it is.
        found: String,
    },
    /// Something is missing or of another type.
    #[error("the review has no usable `{field}`")]
    Field {
        /// Where.
        field: &'static str,
    },
}

impl Review {
    /// Reads a question. Fields that are not known are left alone: the API server adds some with each version.
    ///
    /// # Errors
    /// When it cannot be answered. There is no id to answer under then, so what is sent back is no review.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReviewError> {
        let Value::Object(mut review) = json::parse_unverified(bytes, REVIEW_BYTES)? else {
            return Err(ReviewError::Field { field: "request" });
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text(review.get("apiVersion")), text(review.get("kind")));
        if version != VERSION || kind != "AdmissionReview" {
            let found: String = format!("{kind} of {version}").chars().take(100).collect();
            return Err(ReviewError::Version { found });
        }
        let Some(Value::Object(mut request)) = review.remove("request") else {
            return Err(ReviewError::Field { field: "request" });
        };
        let uid = needed(&request, "uid", "request.uid")?;
        if uid.len() > UID_BYTES || uid.chars().any(char::is_control) {
            return Err(ReviewError::Field { field: "request.uid" });
        }
        let operation = match needed(&request, "operation", "request.operation")?.as_str() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            "CONNECT" => Operation::Connect,
            _ => return Err(ReviewError::Field { field: "request.operation" }),
        };
        let dry_run = match request.get("dryRun") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(dry)) => *dry,
            Some(_) => return Err(ReviewError::Field { field: "request.dryRun" }),
        };
        let user = request.get("userInfo").and_then(|user| user.get("username"));
        let user = user.and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self {
            uid,
            operation,
            kind: kind_of(&request)?,
            sub_resource: optional(&request, "subResource", "request.subResource")?,
            namespace: optional(&request, "namespace", "request.namespace")?,
            name: optional(&request, "name", "request.name")?,
            user,
            dry_run,
            object: object(&mut request, "object", "request.object")?,
            old: object(&mut request, "oldObject", "request.oldObject")?,
        })
    }
}

fn kind_of(request: &Map<String, Value>) -> Result<Kind, ReviewError> {
    let Some(Value::Object(kind)) = request.get("kind") else {
        return Err(ReviewError::Field { field: "request.kind" });
    };
    Ok(Kind {
        group: optional(kind, "group", "request.kind.group")?,
        version: needed(kind, "version", "request.kind.version")?,
        kind: needed(kind, "kind", "request.kind.kind")?,
    })
}

fn needed(map: &Map<String, Value>, key: &str, field: &'static str) -> Result<String, ReviewError> {
    let text = optional(map, key, field)?;
    if text.is_empty() { Err(ReviewError::Field { field }) } else { Ok(text) }
}

fn optional(map: &Map<String, Value>, key: &str, field: &'static str) -> Result<String, ReviewError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(ReviewError::Field { field }),
    }
}

fn object(
    request: &mut Map<String, Value>,
    key: &str,
    field: &'static str,
) -> Result<Option<Map<String, Value>>, ReviewError> {
    match request.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(ReviewError::Field { field }),
    }
}
