//! The answer to a review.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::review::VERSION;

/// Characters of a message: API servers show it whole, and keep it in events.
const MESSAGE: usize = 4096;
/// Characters of one warning, and of all of them: when they are more than 4096 together, API servers cut each to 256.
const WARNING: usize = 1000;
const WARNINGS: usize = 4000;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The object may be stored, with these changes.
    Allow {
        /// Shown to whoever asked.
        warnings: Vec<String>,
        /// Changes; none for most.
        patch: Vec<Patch>,
    },
    /// It may not.
    Deny {
        /// The reasons.
        message: String,
        /// Shown besides.
        warnings: Vec<String>,
    },
    /// It could not be told, so it may not now.
    CouldNotTell {
        /// What happened.
        message: String,
    },
}

/// One change: the text at this pointer becomes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Where.
    pub pointer: String,
    /// What stands there then.
    pub value: String,
}

impl Answer {
    /// An allow that says nothing.
    #[must_use]
    pub const fn allow() -> Self {
        Self::Allow { warnings: Vec::new(), patch: Vec::new() }
    }

    /// The answer as it is sent.
    #[must_use]
    pub fn review(&self, uid: &str) -> Value {
        let refused = |code: u16, reason: &str, message: &str| {
            let message: String = message.chars().take(MESSAGE).collect();
            json!({"uid": uid, "allowed": false, "status": {"code": code, "reason": reason, "message": message}})
        };
        let (mut response, warnings) = match self {
            Self::Allow { warnings, .. } => (json!({"uid": uid, "allowed": true}), warnings.as_slice()),
            Self::Deny { message, warnings } => (refused(403, "Forbidden", message), warnings.as_slice()),
            Self::CouldNotTell { message } => (refused(503, "ServiceUnavailable", message), [].as_slice()),
        };
        if let Some(fields) = response.as_object_mut() {
            if !warnings.is_empty() {
                fields.insert("warnings".to_owned(), json!(bounded(warnings)));
            }
            if let Self::Allow { patch, .. } = self
                && !patch.is_empty()
            {
                let operation = |one: &Patch| json!({"op": "replace", "path": one.pointer, "value": one.value});
                let patch = Value::Array(patch.iter().map(operation).collect()).to_string();
                fields.insert("patchType".to_owned(), json!("JSONPatch"));
                fields.insert("patch".to_owned(), json!(STANDARD.encode(patch)));
            }
        }
        json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})
    }
}

fn bounded(warnings: &[String]) -> Vec<String> {
    let mut left = WARNINGS;
    let mut told = Vec::new();
    for warning in warnings {
        let warning: String = warning.chars().filter(|c| !c.is_control()).take(WARNING).collect();
        let Some(rest) = left.checked_sub(warning.chars().count()) else { break };
        left = rest;
        told.push(warning);
    }
    told
}
