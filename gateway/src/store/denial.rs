//! What operators deny, as it is kept.

use contracts::{Digest, Hasher};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// That an operator denied a digest. There is one denial of a digest at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialRecord {
    /// What is denied.
    pub digest: Digest,
    /// Why.
    pub reason: String,
    /// Only in these repositories, as patterns; in any when there are none.
    pub repositories: Vec<String>,
    /// From then on it does not deny any more.
    pub until: Option<Timestamp>,
    /// Since when.
    pub denied_at: Timestamp,
    /// The id of the token by which it was asked for.
    pub by: String,
}

impl DenialRecord {
    /// Whether it has not ended at this instant. It begins with its being stored.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The digest over all of it.
    #[must_use]
    pub fn id(&self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update_framed(b"denial");
        hasher.update_framed(&serde_json::to_vec(self).unwrap_or_default());
        hasher.finish()
    }
}

/// What `put_denial` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialPut {
    /// It is stored; nothing with this digest was denied.
    New,
    /// It is stored in the place of this one.
    Replaced(Box<DenialRecord>),
    /// There are as many as there may be ([`contracts::limits::DENIALS`]).
    TooMany,
}
