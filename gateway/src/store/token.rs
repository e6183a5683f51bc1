//! Tokens as they are kept.

use contracts::{Digest, api::Role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{Name, WorkflowName};

/// Uses of a token are noted once in so many seconds.
const USED_SECONDS: i64 = 3600;

/// A bearer token as it is kept: never the secret, only its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names the token in lists and logs.
    pub id: String,
    /// Whose it is.
    pub organization: Name,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Only for this workflow.
    pub workflow: Option<WorkflowName>,
    /// Is of the installation's operator: may take backups, make other organizations and other tokens like it. The first
    /// token of an installation has this, and those that such a token made.
    pub operator: bool,
    /// SHA-256 of the secret.
    pub secret: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// From then on it is refused; without it, until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, cut to the hour. A crash may lose the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

impl TokenRecord {
    /// Whether it has ended by itself.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether it is good until somebody revokes it, however long nobody does anything.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none()
    }

    /// The instant under which a use is noted: it is the same for all uses within the hour.
    #[must_use]
    pub fn used(now: Timestamp) -> Timestamp {
        let hour = now.as_second().div_euclid(USED_SECONDS).saturating_mul(USED_SECONDS);
        Timestamp::from_second(hour).unwrap_or(now)
    }
}

/// What `revoke_token` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// The token is revoked, now or since before.
    Revoked(Box<TokenRecord>),
    /// There is no such token.
    Unknown,
    /// Nobody could administer the organization without it, at the latest when the others have expired; nothing changed.
    LastAdmin,
    /// Nobody could take backups or make organizations without it, likewise; nothing changed.
    LastOperator,
}
