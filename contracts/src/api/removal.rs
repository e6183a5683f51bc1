//! What removing a contract changes.

use serde::{Deserialize, Serialize};

use super::Unmatched;
use crate::Digest;

/// The answer to `DELETE /api/v1/contracts/{name}` (with `?dry-run=true`: nothing was removed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedContract {
    /// The contract's name.
    pub name: String,
    /// Its last revision, which can still be read by its number. What is applied under the name again gets the next one.
    pub revision: u32,
    /// The digest of that revision.
    pub digest: Digest,
    /// The repositories that it answered for.
    #[serde(default)]
    pub repositories: Vec<ReleasedRepositories>,
    /// What happens to images that no contract answers for.
    pub unmatched: Unmatched,
    /// Workflows bound to it, `project/workflow`. Nothing is taken for them until they are bound to another contract.
    #[serde(default)]
    pub workflows: Vec<String>,
}

/// Repositories that a contract no longer answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedRepositories {
    /// The pattern.
    pub pattern: String,
    /// Other contracts that answer for all of them.
    #[serde(default)]
    pub contracts: Vec<String>,
    /// Other contracts that are known to answer for some of them.
    #[serde(default)]
    pub partly: Vec<String>,
}
