//! Who pulled what, and what of it would be denied now.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Decision, Digest};

/// By which way something was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullWay {
    /// A client pulled it.
    #[default]
    Pull,
    /// A cluster took a pod with it.
    Kubernetes,
}

/// A token that says who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldBy {
    /// Its id; `anonymous` where none is asked for.
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// One entry of the log of pulls, newest first in `GET /api/v1/pulls[?since=INSTANT][&limit=N]`. Equal ones of one second
/// are one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullInfo {
    /// When the first of them was.
    pub at: Timestamp,
    /// By which way.
    pub way: PullWay,
    /// What was asked for, `repository@sha256:…`.
    pub image: String,
    /// The tag, when it was asked for by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The index or image through which it was let through, when that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Digest>,
    /// Who: a token's id; of a cluster, the user that it named, which nothing proves.
    pub by: String,
    /// What the token is called; of a cluster, the namespace that it named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whose word that is: the token with which a cluster's question came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<ToldBy>,
    /// What was decided.
    pub decision: Decision,
    /// False when a deny was let through.
    pub enforced: bool,
    /// The verdict.
    pub verdict: Digest,
    /// How many requests it was.
    pub requests: u32,
}

/// An image that was let through, in `GET /api/v1/pulls/images[?since=INSTANT]`, the one pulled last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledImage {
    /// `repository@sha256:…`
    pub image: String,
    /// When it was pulled last.
    pub last: Timestamp,
    /// By which way.
    #[serde(default)]
    pub way: PullWay,
    /// Who pulled it last, as in [`PullInfo`].
    pub by: String,
    /// What that token is called, as in [`PullInfo`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whose word that is, as in [`PullInfo`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<ToldBy>,
}

/// `POST /api/v1/judge`: may these be used now? As a pull would be answered, parts of an index too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeImages {
    /// Each `repository@sha256:…`, at most 100.
    pub images: Vec<String>,
}

/// One image of the answer, in the order of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedImage {
    /// As it was asked.
    pub image: String,
    /// What was decided; none when it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// False when a deny is let through.
    pub enforced: bool,
    /// Why it is denied, or why it could not be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Digest>,
}
