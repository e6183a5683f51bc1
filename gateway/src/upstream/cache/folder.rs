//! The cache's folder, which is all there is to know of it: what lies in `content/` under a digest is that content,
//! whole; what lies in `partial/` is nobody's.
//!
//! ```text
//! content/HEX                  a blob
//! content/HEX.oci-index        a manifest, its media type in the ending
//! content/HEX…@SOURCE-PATH     an empty file: this repository of this upstream has it
//! partial/NAME                 on its way, removed at the next start
//! lock                         held by the process that uses the folder
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use contracts::{Digest, Hasher};

use super::CacheError;
use crate::{
    evidence::sync_folder,
    upstream::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};

/// What something in the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Blob,
    Manifest(Media),
}

/// The media types of manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Media {
    OciIndex,
    OciManifest,
    DockerList,
    DockerManifest,
}

/// What something in the cache is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) digest: Digest,
    pub(super) kind: Kind,
}

/// A repository of an upstream, as digests: whoever can name something may not have it, so the upstream has to have said
/// that this repository does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(super) source: Short,
    pub(super) path: Short,
}

/// The first half of a digest.
pub(crate) type Short = [u8; 16];

/// The first half of the digest of some texts.
pub(super) fn short<'t>(texts: impl IntoIterator<Item = &'t str>) -> Short {
    let mut hasher = Hasher::default();
    texts.into_iter().for_each(|text| hasher.update_framed(text.as_bytes()));
    let mut short = Short::default();
    short.iter_mut().zip(hasher.finish().as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

impl Media {
    pub(super) const ALL: [Self; 4] = [Self::OciManifest, Self::OciIndex, Self::DockerManifest, Self::DockerList];

    pub(super) fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media| media.media_type() == media_type)
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::OciIndex => OCI_INDEX,
            Self::OciManifest => OCI_MANIFEST,
            Self::DockerList => DOCKER_LIST,
            Self::DockerManifest => DOCKER_MANIFEST,
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::OciIndex => "oci-index",
            Self::OciManifest => "oci-manifest",
            Self::DockerList => "docker-list",
            Self::DockerManifest => "docker-manifest",
        }
    }
}

impl Key {
    pub(super) fn blob(digest: Digest) -> Self {
        Self { digest, kind: Kind::Blob }
    }

    fn name(self) -> String {
        match self.kind {
            Kind::Blob => self.digest.hex(),
            Kind::Manifest(media) => format!("{}.{}", self.digest.hex(), media.ending()),
        }
    }

    fn read(name: &str) -> Option<Self> {
        let (hex, kind) = match name.split_once('.') {
            None => (name, Kind::Blob),
            Some((hex, ending)) => {
                (hex, Kind::Manifest(Media::ALL.into_iter().find(|media| media.ending() == ending)?))
            }
        };
        Some(Self { digest: Digest::from_hex(hex).ok()?, kind })
    }
}

impl Place {
    fn name(self, key: Key) -> String {
        format!("{}@{}-{}", key.name(), hex::encode(self.source), hex::encode(self.path))
    }

    fn read(text: &str) -> Option<Self> {
        let (source, path) = text.split_once('-')?;
        let mut place = Self { source: Short::default(), path: Short::default() };
        hex::decode_to_slice(source, &mut place.source).ok()?;
        hex::decode_to_slice(path, &mut place.path).ok()?;
        Some(place)
    }
}

/// Something that was found in the folder at the start.
pub(super) struct FoundContent {
    pub(super) key: Key,
    pub(super) length: u64,
    pub(super) used: SystemTime,
    pub(super) places: Vec<Place>,
}

/// The folder, held by this process alone.
pub(super) struct Folder {
    root: PathBuf,
    _lock: File,
    /// The file system's time when it was opened, and ours: together they tell its time later.
    opened: (SystemTime, Instant),
}

impl Folder {
    /// Opens the folder, makes it if it is not there, and removes what was left unfinished.
    pub(super) fn open(root: &Path) -> Result<(Self, Vec<FoundContent>), CacheError> {
        let unusable =
            |error: io::Error| CacheError::Folder { path: root.display().to_string(), reason: error.to_string() };
        for folder in [root.to_owned(), root.join("content"), root.join("partial")] {
            private_folder(&folder).map_err(unusable)?;
        }
        let mut lock = private(fs::OpenOptions::new().write(true).create(true).truncate(true))
            .open(root.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CacheError::Taken { path: root.display().to_string() }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        let now = lock.metadata().and_then(|found| found.modified()).map_err(unusable)?;
        let folder = Self { root: root.to_owned(), _lock: lock, opened: (now, Instant::now()) };
        for left in fs::read_dir(folder.root.join("partial")).map_err(unusable)? {
            fs::remove_file(left.map_err(unusable)?.path()).map_err(unusable)?;
        }
        let found = folder.found().map_err(unusable)?;
        Ok((folder, found))
    }

    /// What is there, the longest unused first.
    fn found(&self) -> io::Result<Vec<FoundContent>> {
        let (mut found, mut places) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(self.content())? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match name.split_once('@') {
                Some((of, place)) => match Key::read(of).zip(Place::read(place)) {
                    Some(known) => places.push(known),
                    None => stranger(&entry.path()),
                },
                None => match Key::read(&name) {
                    Some(key) => {
                        let metadata = entry.metadata()?;
                        let (length, used) = (metadata.len(), metadata.modified()?);
                        found.push(FoundContent { key, length, used, places: Vec::new() });
                    }
                    None => stranger(&entry.path()),
                },
            }
        }
        let by_key: std::collections::HashMap<Key, usize> =
            found.iter().enumerate().map(|(at, one)| (one.key, at)).collect();
        for (key, place) in places {
            match by_key.get(&key).and_then(|at| found.get_mut(*at)) {
                Some(one) => one.places.push(place),
                None => self.unmark(key, place),
            }
        }
        found.sort_by_key(|one| one.used);
        Ok(found)
    }

    /// The file system's time.
    pub(super) fn now(&self) -> SystemTime {
        self.opened.0.checked_add(self.opened.1.elapsed()).unwrap_or(self.opened.0)
    }

    /// A file for what is on its way. Dropped, it is gone.
    pub(super) fn begin(&self) -> io::Result<Partial> {
        let made = tempfile::Builder::new().prefix("").tempfile_in(self.root.join("partial"))?;
        let (file, path) = made.into_parts();
        Ok(Partial { file: std::sync::Arc::new(file), path })
    }

    /// Moves what is whole and synced to its place, for good, with the repository that it is of.
    pub(super) fn settle(&self, partial: Partial, key: Key, place: Place) -> io::Result<()> {
        self.mark(key, place)?;
        partial.path.persist(self.file(key)).map_err(|failed| failed.error)?;
        sync_folder(&self.content())
    }

    /// Notes that a repository has it.
    pub(super) fn mark(&self, key: Key, place: Place) -> io::Result<()> {
        private(fs::OpenOptions::new().write(true).create(true)).open(self.content().join(place.name(key))).map(drop)
    }

    /// Opens what is there.
    pub(super) fn open_content(&self, key: Key) -> io::Result<File> {
        File::open(self.file(key))
    }

    /// Writes down when something was used.
    pub(super) fn used(&self, key: Key, at: SystemTime) {
        let touched = File::open(self.file(key)).and_then(|file| file.set_modified(at));
        if let Err(error) = touched {
            tracing::debug!(%error, digest = %key.digest, "when it was used could not be written down");
        }
    }

    /// Takes something away with all that is noted of it.
    pub(super) fn remove(&self, key: Key, places: impl IntoIterator<Item = Place>) {
        if let Err(error) = fs::remove_file(self.file(key)) {
            tracing::warn!(%error, digest = %key.digest, "something could not be removed from the cache");
        }
        places.into_iter().for_each(|place| self.unmark(key, place));
    }

    fn unmark(&self, key: Key, place: Place) {
        // Nothing can be had by a note alone; what stays is removed at the next start.
        let _left = fs::remove_file(self.content().join(place.name(key)));
    }

    fn content(&self) -> PathBuf {
        self.root.join("content")
    }

    fn file(&self, key: Key) -> PathBuf {
        self.content().join(key.name())
    }
}

/// On its way.
pub(super) struct Partial {
    pub(super) file: std::sync::Arc<File>,
    path: tempfile::TempPath,
}

/// How long ago that was, at most.
pub(super) fn since(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

fn stranger(path: &Path) {
    tracing::warn!(path = %path.display(), "left alone what is not the cache's");
}

fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let digest = Digest::of(b"x");
        let kinds = Media::ALL.into_iter().map(Kind::Manifest).chain([Kind::Blob]);
        for key in kinds.map(|kind| Key { digest, kind }) {
            assert_eq!(Key::read(&key.name()), Some(key));
            let place = Place { source: short(["a"]), path: short(["b", "c"]) };
            let name = place.name(key);
            let (of, at) = name.split_once('@').unwrap();
            assert_eq!((Key::read(of), Place::read(at)), (Some(key), Some(place)));
        }
        for other in ["", "x", "README.md", &digest.hex()[1..], &format!("{}.exe", digest.hex())] {
            assert_eq!(Key::read(other), None, "{other}");
        }
        assert_ne!(short(["ab", "c"]), short(["a", "bc"]));
    }
}
