//! Why a repository's files are not believed.

use jiff::Timestamp;
use sigstore_tuf::Error;

use crate::{digest::shorten_to, verify::TrustRootError};

/// How much of the library's explanation is repeated.
const REASON: usize = 300;

/// Why a repository, or one of its files, is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TufError {
    /// The operator's root.
    #[error("the root cannot be used: {reason}: name the `root.json` that whoever keeps the repository gave you")]
    Root {
        /// Why.
        reason: String,
    },
    /// A name that could lead elsewhere.
    #[error("`{name}` is no name of a target: write a path without `..`, such as `trusted_root.json`")]
    TargetName {
        /// The name.
        name: String,
    },
    /// What was kept.
    #[error("what was kept of the repository cannot be used: {reason}")]
    Kept {
        /// Why.
        reason: String,
    },
    /// More bytes than are read.
    #[error("`{file}` is longer than {max} bytes")]
    TooLong {
        /// Which file.
        file: String,
        /// The bound.
        max: usize,
    },
    /// A file that has to be there.
    #[error("`{file}` is not there")]
    Missing {
        /// Which file.
        file: String,
    },
    /// An older version than one that was seen before.
    #[error("`{file}` shows {what} at version {shown}, and version {known} was seen before: an older one is not taken")]
    Older {
        /// Which file.
        file: String,
        /// Of what it is the version.
        what: String,
        /// The version that was offered.
        shown: u64,
        /// The version that is known.
        known: u64,
    },
    /// Too few of those who must sign.
    #[error("`{file}` is signed by {signed} of the {threshold} keys that must sign it")]
    Unsigned {
        /// Which file.
        file: String,
        /// How many of the right keys did.
        signed: usize,
        /// How many must.
        threshold: usize,
    },
    /// It is not what it has to be.
    #[error("`{file}` is not believed: {reason}")]
    Refused {
        /// Which file.
        file: String,
        /// Why.
        reason: String,
    },
    /// It expired.
    #[error("`{file}` expired at {at}, and nothing newer is there")]
    Expired {
        /// Which file.
        file: String,
        /// When.
        at: Timestamp,
    },
    /// More new roots at once than are walked through.
    #[error("there are more than {max} new roots: name a newer root of the repository")]
    TooManyRoots {
        /// The bound.
        max: usize,
    },
    /// The repository does not list the target.
    #[error("the repository's own targets do not list `{name}`: name another under `target`")]
    NoTarget {
        /// The target's name.
        name: String,
    },
    /// The target is listed and signed for, and is no trust root.
    #[error("the repository's trust root cannot be used: {0}")]
    Target(TrustRootError),
}

impl TufError {
    pub(super) fn root(error: &Error) -> Self {
        Self::Root { reason: reason(error) }
    }

    pub(super) fn kept(error: &Error) -> Self {
        Self::Kept { reason: reason(error) }
    }

    pub(super) fn file(file: &str, error: Error) -> Self {
        let file = file.to_owned();
        match error {
            Error::Rollback { role, trusted, new } => Self::Older { file, what: role, shown: new, known: trusted },
            Error::ThresholdNotMet { found, threshold, .. } => Self::Unsigned { file, signed: found, threshold },
            other => Self::Refused { file, reason: reason(&other) },
        }
    }

    /// Whether somebody shows something that the repository's keys did not sign, or signed once and replaced: to be looked
    /// at, other than a file that is not there or was not renewed.
    #[must_use]
    pub fn is_alarming(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. } | Self::Older { .. } | Self::Unsigned { .. } | Self::Refused { .. } | Self::Target(_)
        )
    }
}

fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    shorten_to(&text, REASON)
}
