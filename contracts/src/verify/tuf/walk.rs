//! The way from the newest root that is known to the newest trust root: the client workflow of section 5.

use std::mem;

use aws_lc_rs::digest::{SHA512, digest};
use jiff::Timestamp;
use sigstore_tuf::{
    Error, TrustedMetadataSet,
    metadata::{Role, TargetFile},
};

use super::{KnownRepository, TufError, Whole, current, kept};
use crate::{Digest, limits};

/// A file that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its path below the repository's address.
    pub path: String,
    /// How long it may be. What is longer is not to be read further.
    pub max: usize,
    /// Whether it need not be there.
    pub optional: bool,
}

/// One look for what is newest. What it verifies is the repository's from then on, also when it ends early; what is
/// current changes only when all is had that belongs together.
pub struct Walk<'r> {
    repository: &'r mut KnownRepository,
    now: Timestamp,
    set: TrustedMetadataSet,
    step: Step,
    roots: usize,
    timestamp: String,
    snapshot: String,
    targets: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Step {
    Root(u64),
    Timestamp,
    Snapshot(u64),
    Targets(u64),
    Target(String, usize),
    Done,
}

impl<'r> Walk<'r> {
    pub(super) fn new(repository: &'r mut KnownRepository, now: Timestamp) -> Self {
        let set = repository.newest.clone();
        let step = Step::Root(set.root().version.saturating_add(1));
        let (timestamp, snapshot, targets) = Default::default();
        Self { repository, now, set, step, roots: 0, timestamp, snapshot, targets }
    }

    /// Which file is wanted next; `None`: all are had.
    #[must_use]
    pub fn ask(&self) -> Option<Ask> {
        let consistent = self.set.root().consistent_snapshot;
        let numbered = |version: &u64, name: &str| match consistent {
            true => format!("{version}.{name}"),
            false => name.to_owned(),
        };
        let (path, max) = match &self.step {
            Step::Root(version) => (format!("{version}.root.json"), limits::TUF_ROOT_BYTES),
            Step::Timestamp => ("timestamp.json".to_owned(), limits::TUF_TIMESTAMP_BYTES),
            Step::Snapshot(version) => (numbered(version, "snapshot.json"), limits::TUF_SNAPSHOT_BYTES),
            Step::Targets(version) => (numbered(version, "targets.json"), limits::TUF_TARGETS_BYTES),
            Step::Target(path, length) => (path.clone(), *length),
            Step::Done => return None,
        };
        Some(Ask { path, max, optional: matches!(self.step, Step::Root(_)) })
    }

    /// Takes the file that was asked for; `None`: it is not there.
    ///
    /// # Errors
    /// When it is not believed. The walk is over then.
    pub fn answer(&mut self, bytes: Option<&[u8]>) -> Result<(), TufError> {
        let Some(Ask { path, max, .. }) = self.ask() else { return Ok(()) };
        if bytes.is_some_and(|bytes| bytes.len() > max) {
            return Err(TufError::TooLong { file: path, max });
        }
        let step = mem::replace(&mut self.step, Step::Done);
        let bytes = match (bytes, &step) {
            (Some(bytes), _) => bytes,
            (None, Step::Root(_)) => return self.after_roots(),
            (None, _) => return Err(TufError::Missing { file: path }),
        };
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| TufError::Refused { file: path.clone(), reason: "it is not text".to_owned() })?;
        match step {
            Step::Root(version) => self.root(&path, version, text),
            Step::Timestamp => self.timestamp(text),
            Step::Snapshot(_) => {
                kept::snapshot(&mut self.set, text)?;
                text.clone_into(&mut self.snapshot);
                self.after_snapshot()
            }
            Step::Targets(_) => {
                kept::targets(&mut self.set, text)?;
                text.clone_into(&mut self.targets);
                self.after_targets()
            }
            Step::Target(..) => self.target(text),
            Step::Done => Ok(()),
        }
    }

    fn root(&mut self, path: &str, version: u64, text: &str) -> Result<(), TufError> {
        if self.roots == limits::TUF_ROOTS {
            return Err(TufError::TooManyRoots { max: limits::TUF_ROOTS });
        }
        self.roots += 1;
        self.set.update_root(text.as_bytes()).map_err(|error| TufError::file(path, error))?;
        self.repository.newest = self.set.clone();
        self.repository.kept.roots.push(text.to_owned());
        // What it disowns ends now, whatever comes after.
        let _disowned = self.repository.reconsider();
        self.step = Step::Root(version.saturating_add(1));
        Ok(())
    }

    fn after_roots(&mut self) -> Result<(), TufError> {
        self.lives("root.json", self.set.root())?;
        self.set = self.repository.with_what_was_seen();
        self.step = Step::Timestamp;
        Ok(())
    }

    fn timestamp(&mut self, text: &str) -> Result<(), TufError> {
        let known = self.set.timestamp().map(|timestamp| timestamp.version);
        match kept::try_timestamp(&mut self.set, text.as_bytes()) {
            Ok(()) => text.clone_into(&mut self.timestamp),
            // What is known stays: the same version says the same.
            Err(Error::EqualVersion { .. }) => {
                let kept = &self.repository.kept;
                let whole = kept.whole.as_ref().map(|whole| &whole.timestamp);
                let is_it = |text: &&String| kept::version_of(text.as_bytes()) == known;
                self.timestamp = kept.seen_timestamp.iter().chain(whole).find(is_it).cloned().unwrap_or_default();
            }
            Err(error) => return Err(TufError::file("timestamp.json", error)),
        }
        if let Some(timestamp) = self.set.timestamp() {
            self.lives("timestamp.json", timestamp)?;
        }
        self.repository.kept.seen_timestamp = Some(self.timestamp.clone());
        let pinned = self.set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let no_snapshot = || TufError::Refused {
            file: "timestamp.json".to_owned(),
            reason: "it does not say which snapshot is the newest".to_owned(),
        };
        let version = pinned.ok_or_else(no_snapshot)?.version;
        let whole = self.repository.kept.whole.as_ref().map(|whole| whole.snapshot.clone());
        for known in self.repository.kept.seen_snapshot.clone().into_iter().chain(whole) {
            if kept::snapshot(&mut self.set, &known).is_ok() {
                self.snapshot = known;
                return self.after_snapshot();
            }
        }
        self.step = Step::Snapshot(version);
        Ok(())
    }

    fn after_snapshot(&mut self) -> Result<(), TufError> {
        let refused = || TufError::Refused {
            file: "snapshot.json".to_owned(),
            reason: "it does not say which targets are the newest".to_owned(),
        };
        let snapshot = self.set.snapshot().ok_or_else(refused)?;
        self.lives("snapshot.json", snapshot)?;
        let version = snapshot.meta.get("targets.json").ok_or_else(refused)?.version;
        self.repository.kept.seen_snapshot = Some(self.snapshot.clone());
        if let Some(whole) = self.repository.kept.whole.as_ref().map(|whole| whole.targets.clone())
            && kept::targets(&mut self.set, &whole).is_ok()
        {
            self.targets = whole;
            return self.after_targets();
        }
        self.step = Step::Targets(version);
        Ok(())
    }

    fn after_targets(&mut self) -> Result<(), TufError> {
        let name = self.repository.target.clone();
        let missing = || TufError::NoTarget { name: name.clone() };
        let targets = self.set.targets_role("targets").ok_or_else(missing)?;
        self.lives("targets.json", targets)?;
        let described = targets.target(&name).ok_or_else(missing)?;
        if let Some(whole) = self.repository.kept.whole.as_ref().map(|whole| whole.target.clone())
            && is_described(whole.as_bytes(), described, &name).is_ok()
        {
            return self.target(&whole);
        }
        let length = usize::try_from(described.length).unwrap_or(usize::MAX);
        if length > limits::TRUSTED_ROOT_BYTES {
            return Err(TufError::TooLong { file: name, max: limits::TRUSTED_ROOT_BYTES });
        }
        let path = if self.set.root().consistent_snapshot {
            let hash = described.hashes.get("sha256").or_else(|| described.hashes.get("sha512"));
            let hash = hash.filter(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit()));
            let hash = hash.ok_or_else(|| unhashed(&name))?;
            match name.rsplit_once('/') {
                Some((folder, file)) => format!("targets/{folder}/{hash}.{file}"),
                None => format!("targets/{hash}.{name}"),
            }
        } else {
            format!("targets/{name}")
        };
        self.step = Step::Target(path, length);
        Ok(())
    }

    fn target(&mut self, text: &str) -> Result<(), TufError> {
        let whole = Whole {
            refreshed_at: self.now,
            timestamp: mem::take(&mut self.timestamp),
            snapshot: mem::take(&mut self.snapshot),
            targets: mem::take(&mut self.targets),
            target: text.to_owned(),
        };
        let current = current(&self.set, &self.repository.target, &whole)?;
        let repository = &mut *self.repository;
        repository.current = Some(current);
        repository.kept.whole = Some(whole);
        repository.kept.seen_timestamp = None;
        repository.kept.seen_snapshot = None;
        Ok(())
    }

    fn lives<R: Role>(&self, file: &str, role: &R) -> Result<(), TufError> {
        let at = Timestamp::from_second(role.expires().as_second()).unwrap_or(Timestamp::MIN);
        if self.now >= at { Err(TufError::Expired { file: file.to_owned(), at }) } else { Ok(()) }
    }
}

/// Whether a target's bytes are those that the targets describe.
pub(super) fn is_described(bytes: &[u8], described: &TargetFile, name: &str) -> Result<(), TufError> {
    let refused = |reason: &str| TufError::Refused { file: name.to_owned(), reason: reason.to_owned() };
    if u64::try_from(bytes.len()).ok() != Some(described.length) {
        return Err(refused("it has another length than the targets say"));
    }
    let mut hashed = false;
    for (algorithm, expected) in &described.hashes {
        let found = match algorithm.as_str() {
            "sha256" => Digest::of(bytes).hex(),
            "sha512" => hex::encode(digest(&SHA512, bytes)),
            _ => continue,
        };
        if !found.eq_ignore_ascii_case(expected) {
            return Err(refused("it has another digest than the targets say"));
        }
        hashed = true;
    }
    if hashed { Ok(()) } else { Err(unhashed(name)) }
}

fn unhashed(name: &str) -> TufError {
    let reason = "the targets give no sha256 or sha512 of it".to_owned();
    TufError::Refused { file: name.to_owned(), reason }
}
