//! A trust root that a TUF repository hands out (The Update Framework, specification 1.0): which of the repository's files
//! are believed, in which order they are asked for, and until when they count.
//!
//! This module does no I/O. A [`Walk`] says which file it wants next and is given it; what is to be kept for the next start
//! comes out as bytes ([`KnownRepository::kept`]). Signatures, thresholds, versions, lengths and hashes are checked by the
//! crate `sigstore_tuf` (`=0.15.1`); that something expired is checked here, with the `now` of the caller, as the last
//! good files may count for a while longer. Only the top-level targets are looked at: nothing is delegated.

mod error;
mod kept;
mod walk;

use jiff::Timestamp;
use sigstore_tuf::{TrustedMetadataSet, metadata::Role};

use self::kept::{Kept, Whole};
pub use self::{
    error::TufError,
    walk::{Ask, Walk},
};
use super::TrustRoot;
use crate::{Digest, limits};

/// What a Sigstore trust root is called in a repository.
pub const TRUSTED_ROOT: &str = "trusted_root.json";

/// A repository, as far as it is known. What it believes only ever becomes newer.
pub struct KnownRepository {
    target: String,
    /// The newest root, and nothing that it signs for.
    newest: TrustedMetadataSet,
    /// The version of the root that the operator named.
    pinned: u64,
    kept: Kept,
    current: Option<Current>,
}

/// A trust root whose whole chain of metadata was verified.
#[derive(Clone)]
pub struct Current {
    root: TrustRoot,
    target: Digest,
    expires: Timestamp,
    refreshed_at: Timestamp,
    versions: Versions,
}

/// The versions of the four files that bear a trust root out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versions {
    /// Of `root.json`.
    pub root: u64,
    /// Of `timestamp.json`.
    pub timestamp: u64,
    /// Of `snapshot.json`.
    pub snapshot: u64,
    /// Of `targets.json`.
    pub targets: u64,
}

impl Current {
    /// The trust root, which has no end yet: see [`TrustRoot::until`].
    #[must_use]
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// When the first of the files that bear it out expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// When the repository last showed that it is its newest.
    #[must_use]
    pub fn refreshed_at(&self) -> Timestamp {
        self.refreshed_at
    }

    /// Which versions bear it out.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.versions
    }

    /// SHA-256 of the target's bytes.
    #[must_use]
    pub fn target(&self) -> Digest {
        self.target
    }
}

impl KnownRepository {
    /// A repository, known by a root that the operator has from elsewhere. `kept` is what [`KnownRepository::kept`] gave; it is
    /// verified anew from that root on, without regard to what expired. When nothing of it can be used, the reason comes
    /// back beside the repository: then nothing is known of it but the root, an older version is no longer recognized, and
    /// whoever starts must say so.
    ///
    /// # Errors
    /// When the root is not one, is not signed as it demands itself, or the target's name could lead out of a folder.
    pub fn open(root: &[u8], target: &str, kept: Option<&[u8]>) -> Result<(Self, Option<TufError>), TufError> {
        if !is_target_name(target) {
            return Err(TufError::TargetName { name: target.to_owned() });
        }
        if root.len() > limits::TUF_ROOT_BYTES {
            return Err(TufError::TooLong { file: "root.json".to_owned(), max: limits::TUF_ROOT_BYTES });
        }
        let first = TrustedMetadataSet::from_root(root).map_err(|error| TufError::root(&error))?;
        let pinned = first.root().version;
        let mut repository =
            Self { target: target.to_owned(), newest: first, pinned, kept: Kept::default(), current: None };
        let trouble = match kept.map(Kept::parse) {
            None => None,
            Some(Ok(kept)) => repository.resume(kept).err(),
            Some(Err(error)) => Some(error),
        };
        Ok((repository, trouble))
    }

    /// The trust root and what bears it out; `None`: nothing was verified yet, or a newer root disowned it.
    #[must_use]
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// What has to be there at the next start, so that older versions are refused then too.
    #[must_use]
    pub fn kept(&self) -> Vec<u8> {
        self.kept.to_bytes()
    }

    /// Begins to look for what is newest.
    pub fn walk(&mut self, now: Timestamp) -> Walk<'_> {
        Walk::new(self, now)
    }

    fn resume(&mut self, kept: Kept) -> Result<(), TufError> {
        let Kept { roots, whole, seen_timestamp, seen_snapshot, .. } = kept;
        for text in roots {
            let version = kept::version_of(text.as_bytes());
            if version.is_some_and(|version| version <= self.pinned) {
                continue;
            }
            self.newest.update_root(text.as_bytes()).map_err(|error| TufError::kept(&error))?;
            self.kept.roots.push(text);
        }
        self.kept.seen_timestamp = seen_timestamp;
        self.kept.seen_snapshot = seen_snapshot;
        self.kept.whole = whole;
        self.reconsider()
    }

    /// Holds what is current against the newest root, which may have taken a key from those who signed it.
    fn reconsider(&mut self) -> Result<(), TufError> {
        self.current = None;
        let Some(whole) = &self.kept.whole else { return Ok(()) };
        let set = whole.verified(&self.newest)?;
        self.current = Some(current(&set, &self.target, whole)?);
        Ok(())
    }

    /// What was verified before under the newest root, so that older versions are noticed. What that root disowns is
    /// forgotten (section 5.3.11).
    fn with_what_was_seen(&self) -> TrustedMetadataSet {
        let mut set = self.newest.clone();
        let Kept { whole, seen_timestamp, seen_snapshot, .. } = &self.kept;
        if let Some(whole) = whole {
            let _disowned = kept::timestamp(&mut set, &whole.timestamp);
            let _disowned = kept::snapshot(&mut set, &whole.snapshot);
        }
        if let Some(timestamp) = seen_timestamp {
            let _older_or_disowned = kept::timestamp(&mut set, timestamp);
        }
        if let Some(snapshot) = seen_snapshot {
            let _older_or_disowned = kept::snapshot(&mut set, snapshot);
        }
        set
    }
}

/// Reads a whole set: its trust root, and the first of its ends.
fn current(set: &TrustedMetadataSet, target: &str, whole: &Whole) -> Result<Current, TufError> {
    let (Some(timestamp), Some(snapshot), Some(targets)) =
        (set.timestamp(), set.snapshot(), set.targets_role("targets"))
    else {
        return Err(TufError::Kept { reason: "it is not whole".to_owned() });
    };
    let root = set.root();
    let described = targets.target(target).ok_or_else(|| TufError::NoTarget { name: target.to_owned() })?;
    walk::is_described(whole.target.as_bytes(), described, target)?;
    let ends = [root.expires(), timestamp.expires(), snapshot.expires(), targets.expires()].map(|end| end.as_second());
    let expires = ends.into_iter().min().unwrap_or_default();
    Ok(Current {
        root: TrustRoot::new(Vec::new(), Some(whole.target.as_bytes())).map_err(TufError::Target)?,
        target: Digest::of(whole.target.as_bytes()),
        expires: Timestamp::from_second(expires).unwrap_or(Timestamp::MIN),
        refreshed_at: whole.refreshed_at,
        versions: Versions {
            root: root.version,
            timestamp: timestamp.version,
            snapshot: snapshot.version,
            targets: targets.version,
        },
    })
}

/// Whether a target's name is a path below a folder: names of letters, digits, `.`, `-` and `_`, with `/` between them, none
/// of which is `.` or `..`.
#[must_use]
pub fn is_target_name(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    text.len() <= 200 && text.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_name_leads_nowhere_else() {
        for good in ["trusted_root.json", "a/b/trusted-root.v2.json"] {
            assert!(is_target_name(good), "{good}");
        }
        for bad in
            ["", "../../etc/x", "/etc/x", "a/../b", "a//b", "a/", ".hidden", "a\\b", "a%2fb", "a b", "http://x", "a\0"]
        {
            assert!(!is_target_name(bad), "{bad}");
        }
    }
}
