//! What operators deny by digest, whatever is known of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// `PUT /api/v1/denials/{digest}`: from the next request on nothing with this digest is let through, nor what holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDenial {
    /// Why, in words: whoever is denied reads it.
    pub reason: String,
    /// Until then; without it until the denial is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only in these repositories, patterns as in a contract's `admission`; in any when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

/// One denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialInfo {
    /// What is denied: an index, a manifest, a configuration or a layer.
    pub digest: Digest,
    /// Why.
    pub reason: String,
    /// Only in these repositories; in any when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Since when.
    pub denied_at: Timestamp,
    /// Until when, if it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The token by which it was asked for, by id.
    pub by: String,
    /// Whether it denies now: it has not ended.
    pub in_force: bool,
}
