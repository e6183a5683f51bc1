//! The content cache: what was served once is served from the disk, to whoever may have it.
//!
//! The gate comes first, always: every way in here asks for its [`Permit`](crate::gate::Permit). Bytes are shared between repositories and
//! organizations; that somebody's manifest names them is no reason to hand them out. They go to a repository that its
//! upstream was seen to have them in: it served them itself, or, where another repository of the same upstream did, it
//! said so when it was asked.
//!
//! What is kept was hashed when it was written, and is hashed once more before it is first served after a start. The
//! folder is all there is ([`folder`]); what is in memory is read from it.

mod fetch;
mod folder;
mod index;
mod read;
mod upstream;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use contracts::{Digest, limits::MANIFEST_BYTES};
use tokio::sync::watch;

pub(super) use self::upstream::Cached;
use self::{
    fetch::{Fetch, Growing, Progress},
    folder::{Folder, Key, Kind, Media, Partial, Place, Short},
    index::{Gone, Held, Index, Looked, Uses},
    read::Readers,
};
use super::{Asked, Blob, Manifest};
use crate::{evidence::hash_file, metrics::Metrics};

/// No blob may take more than this share of the cache.
const SHARE: u64 = 2;
/// How long nothing is kept after the disk failed.
const PAUSE: Duration = Duration::from_secs(30);

/// `[cache]`: where content is kept, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// The folder, made when it is not there. Nobody else may use it.
    pub folder: PathBuf,
    /// Bytes kept at most, as they take of the disk.
    pub size: u64,
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder cannot be used.
    #[error("the cache's folder `{path}` cannot be used: {reason}")]
    Folder {
        /// Where.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Another process has it.
    #[error("the cache's folder `{path}` is in use by another gateway: give each a folder of its own")]
    Taken {
        /// Where.
        path: String,
    },
}

/// What is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Bytes kept at most.
    pub(crate) size: u64,
    /// Bytes kept.
    pub(crate) bytes: u64,
    pub(crate) blobs: usize,
    pub(crate) manifests: usize,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) removed: usize,
    pub(crate) bytes: u64,
}

/// The cache of an installation.
pub struct Cache {
    folder: Folder,
    index: Mutex<Index>,
    /// Held while something gets its name in the folder or loses it, so that both agree with the index.
    naming: Mutex<()>,
    paused: Mutex<Option<Instant>>,
    readers: Readers,
    metrics: Arc<Metrics>,
}

/// A part in a fetch.
struct Joined {
    fetch: Arc<Fetch>,
    progress: watch::Receiver<Progress>,
    began: bool,
}

/// What came of opening something.
enum Opened {
    File(Arc<std::fs::File>),
    /// It is not there any more.
    Damaged,
}

/// Why something is not kept. It passes on all the same.
enum NotKept {
    /// It is larger than the cache's share for one.
    TooLarge,
    /// All that is there is in use.
    NoRoom,
    /// The disk failed a moment ago.
    Paused,
    /// The disk fails.
    Disk(String),
}

impl Cache {
    /// Opens the folder, and removes what was left unfinished or is too much.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it.
    pub fn open(settings: &CacheSettings, metrics: &Arc<Metrics>) -> Result<Arc<Self>, CacheError> {
        let (folder, found) = Folder::open(&settings.folder)?;
        let cache = Self {
            folder,
            index: Mutex::new(Index::new(settings.size, found)),
            naming: Mutex::new(()),
            paused: Mutex::new(None),
            readers: Readers::default(),
            metrics: Arc::clone(metrics),
        };
        cache.take_away(|index, gone| {
            index.shrink(index.limit(), gone);
        });
        let Contents { bytes, blobs, manifests, .. } = cache.contents();
        tracing::info!(folder = %settings.folder.display(), bytes, blobs, manifests, "content is cached");
        Ok(Arc::new(cache))
    }

    pub(crate) fn contents(&self) -> Contents {
        let index = self.index();
        let (blobs, manifests, bytes) = index.count();
        Contents { size: index.limit(), bytes, blobs, manifests }
    }

    /// Takes away what was not used for so long, and then what was not used for longest until no more than so many bytes
    /// are left. What is being read stays. Blocks on the disk.
    pub(crate) fn prune(&self, keep: u64, unused: Option<Duration>) -> Pruned {
        let now = self.folder.now();
        let before = unused.and_then(|unused| now.checked_sub(unused));
        let had = self.index().bytes();
        let removed = self.take_away(|index, gone| {
            if let Some(before) = before {
                index.unused(before, gone);
            }
            index.shrink(keep, gone);
        });
        Pruned { removed, bytes: had.saturating_sub(self.index().bytes()) }
    }

    /// Takes out of the index what `choose` says, and then out of the folder.
    fn take_away(&self, choose: impl FnOnce(&mut Index, &mut Gone)) -> usize {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Gone::new();
        choose(&mut self.index(), &mut gone);
        self.metrics.cache_evicted(gone.len());
        let removed = gone.len();
        gone.into_iter().for_each(|(key, places)| self.folder.remove(key, places));
        self.measured();
        removed
    }

    fn measured(&self) {
        self.metrics.cache_holds(self.index().bytes());
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up, and takes that as a use of it.
    fn look(self: &Arc<Self>, key: Key, place: Place) -> Looked {
        let (looked, used) = self.index().look(key, place, self.folder.now());
        if let Some(at) = used {
            let cache = Arc::clone(self);
            tokio::task::spawn_blocking(move || cache.folder.used(key, at));
        }
        looked
    }

    /// Opens what is there. The first time after a start it is hashed; what is damaged is taken away.
    async fn open_file(self: &Arc<Self>, key: Key, held: &Held) -> io::Result<Opened> {
        let mut intact = held.intact.lock().await;
        let (cache, known, length) = (Arc::clone(self), *intact, held.length);
        let open = move || {
            let file = match cache.folder.open_content(key) {
                Ok(file) if file.metadata()?.len() == length && (known || hash_file(&file)? == key.digest) => file,
                Ok(_) => return Ok(cache.damaged(key)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(cache.damaged(key)),
                Err(error) => return Err(error),
            };
            Ok(Opened::File(Arc::new(file)))
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
        *intact = matches!(opened, Opened::File(_));
        Ok(opened)
    }

    /// All of a manifest that is there.
    async fn read_manifest(self: &Arc<Self>, key: Key) -> io::Result<Option<Bytes>> {
        let cache = Arc::clone(self);
        let read = move || {
            let mut bytes = Vec::new();
            let file = cache.folder.open_content(key)?;
            io::Read::read_to_end(&mut io::Read::take(file, MANIFEST_BYTES as u64), &mut bytes)?;
            if Digest::of(&bytes) != key.digest {
                cache.damaged(key);
                return Ok(None);
            }
            Ok(Some(bytes.into()))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    /// Takes away what is not what it should be. Blocks on the disk.
    fn damaged(&self, key: Key) -> Opened {
        tracing::warn!(digest = %key.digest, "took something out of the cache whose bytes are damaged or gone");
        self.take_away(|index, gone| gone.extend(index.take(key).map(|places| (key, places))));
        Opened::Damaged
    }

    /// Notes that a repository has something that is there.
    fn mark(self: &Arc<Self>, key: Key, place: Place) {
        let cache = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _naming = cache.naming.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.index().mark(key, place)
                && let Err(error) = cache.folder.mark(key, place)
            {
                tracing::debug!(%error, digest = %key.digest, "where it is could not be written down");
            }
        });
    }

    /// Joins the fetch of a blob that is on its way from this upstream, or begins one. `None`: it has come meanwhile.
    fn fetch(
        self: &Arc<Self>,
        place: Place,
        digest: Digest,
        ask: impl FnOnce() -> Asked<'static, Blob>,
    ) -> Option<Joined> {
        let mut index = self.index();
        if index.length(Key::blob(digest), place).is_some() {
            return None;
        }
        if let Some(fetch) = index.fetches.get(&(place.source, digest)) {
            return Some(Joined { fetch: Arc::clone(fetch), progress: fetch.join(), began: false });
        }
        let (fetch, progress) = Fetch::new(place, digest);
        index.fetches.insert((place.source, digest), Arc::clone(&fetch));
        drop(index);
        tokio::spawn(Arc::clone(&fetch).run(Arc::clone(self), ask()));
        Some(Joined { fetch, progress, began: true })
    }

    /// The fetch of a blob from this upstream, if one is on its way.
    fn joined(&self, source: Short, digest: Digest) -> Option<Joined> {
        let index = self.index();
        let join = |fetch: &Arc<Fetch>| Joined { fetch: Arc::clone(fetch), progress: fetch.join(), began: false };
        index.fetches.get(&(source, digest)).map(join)
    }

    /// Nobody joins this fetch any more.
    fn land(&self, fetch: &Fetch) {
        self.index().take_out(fetch);
    }

    /// The same, if nobody waits for it.
    fn give_up(&self, fetch: &Fetch) -> bool {
        let mut index = self.index();
        if fetch.wanted() {
            return false;
        }
        index.take_out(fetch);
        true
    }

    /// A file for a blob of this length.
    async fn begin(self: &Arc<Self>, length: u64) -> Result<Partial, NotKept> {
        if length > self.index().limit() / SHARE {
            return Err(NotKept::TooLarge);
        }
        let paused =
            self.paused.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until);
        if paused {
            return Err(NotKept::Paused);
        }
        let cache = Arc::clone(self);
        let begun = tokio::task::spawn_blocking(move || cache.folder.begin()).await;
        begun.map_err(io::Error::other).and_then(|begun| begun).map_err(|error| NotKept::Disk(error.to_string()))
    }

    /// Counts bytes as on their way. Blocks on the disk.
    fn make_room(&self, bytes: u64) -> Result<(), NotKept> {
        if self.index().grow(bytes) {
            return Ok(());
        }
        let mut room = false;
        self.take_away(|index, gone| room = index.make_room(bytes, gone));
        if room { Ok(()) } else { Err(NotKept::NoRoom) }
    }

    /// These bytes are no longer on their way.
    fn release(&self, bytes: u64) {
        self.index().grown(bytes);
    }

    /// Keeps what is whole and has its digest.
    async fn settle(self: &Arc<Self>, partial: Partial, key: Key, place: Place, length: u64, uses: Uses) {
        let cache = Arc::clone(self);
        let settle = move || {
            partial.file.sync_all()?;
            let _naming = cache.naming.lock().unwrap_or_else(PoisonError::into_inner);
            cache.folder.settle(partial, key, place)?;
            cache.index().put(key, length, uses, true, [place], cache.folder.now());
            cache.measured();
            Ok(())
        };
        let settled = tokio::task::spawn_blocking(settle).await.map_err(io::Error::other).and_then(|settled| settled);
        if let Err(error) = settled {
            self.not_kept(&NotKept::Disk(error.to_string()), key.digest, length);
        }
    }

    /// Says that something passes without being kept.
    fn not_kept(&self, why: &NotKept, digest: Digest, length: u64) {
        match why {
            NotKept::TooLarge => tracing::debug!(%digest, length, "not cached: it is larger than half the cache"),
            NotKept::NoRoom => tracing::warn!(%digest, length, "not cached: all of the cache is in use"),
            NotKept::Paused => tracing::debug!(%digest, length, "not cached: the disk failed a moment ago"),
            NotKept::Disk(reason) => {
                *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(PAUSE);
                self.metrics.cache_failed();
                tracing::warn!(
                    %digest, length, reason,
                    "not cached: the disk of the cache failed, nothing is cached for {} s", PAUSE.as_secs()
                );
            }
        }
        self.metrics.cache_not_kept();
    }

    /// Keeps a manifest, without anybody waiting for it.
    async fn put_manifest(self: Arc<Self>, manifest: Manifest, place: Place) {
        let Some(media) = Media::of(&manifest.media_type) else { return };
        let key = Key { digest: manifest.digest, kind: Kind::Manifest(media) };
        let length = manifest.bytes.len() as u64;
        let mut growing = Growing::new(&self);
        let written = async {
            let partial = self.begin(length).await?;
            growing.write(&partial.file, &[manifest.bytes]).await?;
            Ok(partial)
        };
        match written.await {
            Ok(partial) => self.settle(partial, key, place, length, Uses::default()).await,
            Err(why) => self.not_kept(&why, key.digest, length),
        }
    }
}
