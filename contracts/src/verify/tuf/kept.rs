//! What is kept of a repository between two starts: one document with the texts of the files, which are verified anew when
//! it is read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sigstore_tuf::{Error, TrustedMetadataSet};

use super::TufError;
use crate::limits;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The version of this document's form.
    form: u32,
    /// The roots after the operator's, in order.
    pub(super) roots: Vec<String>,
    /// The last set of files that was whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) whole: Option<Whole>,
    /// A newer timestamp than that of the set, whose other files were not had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen_timestamp: Option<String>,
    /// Likewise a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen_snapshot: Option<String>,
}

/// Files that belong together.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whole {
    pub(super) refreshed_at: Timestamp,
    pub(super) timestamp: String,
    pub(super) snapshot: String,
    pub(super) targets: String,
    pub(super) target: String,
}

impl Kept {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TufError> {
        let unusable = |reason: String| TufError::Kept { reason };
        if bytes.len() > limits::TUF_KEPT_BYTES {
            return Err(unusable(format!("it is longer than {} bytes", limits::TUF_KEPT_BYTES)));
        }
        let kept: Self = serde_json::from_slice(bytes).map_err(|error| unusable(error.to_string()))?;
        if kept.form > 0 {
            return Err(unusable("another version of this program wrote it".to_owned()));
        }
        Ok(kept)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Texts and a time: there is nothing that JSON does not hold.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Whole {
    /// Verifies that the files belong together and are signed by those whom this root names, whatever expired.
    pub(super) fn verified(&self, root: &TrustedMetadataSet) -> Result<TrustedMetadataSet, TufError> {
        let mut set = root.clone();
        timestamp(&mut set, &self.timestamp)?;
        snapshot(&mut set, &self.snapshot)?;
        targets(&mut set, &self.targets)?;
        Ok(set)
    }
}

/// Before anything that could have expired.
const PAST: &str = "0001-01-01T00:00:00Z";

/// What the library would check with a clock, which is checked elsewhere: see the module above.
macro_rules! whenever {
    ($set:ident . $update:ident ( $text:expr )) => {{
        // The library's time is of another version of `jiff`, which nothing else here names.
        let past = PAST.parse().map_err(|_| Error::Malformed("there is no past".to_owned()));
        past.and_then(|past| $set.$update($text, past).map(drop))
    }};
}

pub(super) fn try_timestamp(set: &mut TrustedMetadataSet, bytes: &[u8]) -> Result<(), Error> {
    whenever!(set.update_timestamp(bytes))
}

pub(super) fn timestamp(set: &mut TrustedMetadataSet, text: &str) -> Result<(), TufError> {
    try_timestamp(set, text.as_bytes()).map_err(|error| TufError::file("timestamp.json", error))
}

pub(super) fn snapshot(set: &mut TrustedMetadataSet, text: &str) -> Result<(), TufError> {
    whenever!(set.update_snapshot(text.as_bytes())).map_err(|error| TufError::file("snapshot.json", error))
}

pub(super) fn targets(set: &mut TrustedMetadataSet, text: &str) -> Result<(), TufError> {
    whenever!(set.update_targets(text.as_bytes())).map_err(|error| TufError::file("targets.json", error))
}

/// The version that a file says it has.
pub(super) fn version_of(bytes: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value.pointer("/signed/version")?.as_u64()
}
