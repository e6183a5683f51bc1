//! One blob on its way from its upstream into the folder, for all who want it.
//!
//! The bytes are written to a file that readers follow. They are hashed on the way by the upstream's own stream, which
//! holds the last piece back until the digest is right; what is not whole and right never gets a name in the folder.
//! The fetch goes on while anybody reads, whoever began it, and ends when nobody does.

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use contracts::Digest;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;

use super::{
    Cache, NotKept,
    folder::{Key, Place},
    index::Uses,
};
use crate::upstream::{Asked, Blob, UpstreamError};

/// Pieces that are written at a time, if they are there.
const PIECES: usize = 8;

/// A fetch, shared by its readers.
pub(super) struct Fetch {
    /// For which repository it was begun.
    pub(super) place: Place,
    pub(super) digest: Digest,
    pub(super) uses: Uses,
    progress: watch::Sender<Progress>,
    /// What is left of the stream when it is not kept: whoever is there first takes it.
    rest: Mutex<Option<Rest>>,
}

/// What is left of a stream.
pub(super) type Rest = BoxStream<'static, Result<Bytes, UpstreamError>>;

/// How far a fetch is.
#[derive(Clone)]
pub(super) enum Progress {
    /// The upstream did not answer yet.
    Asking,
    /// So many of the bytes are in the file.
    Growing { total: u64, written: u64, file: Arc<File>, whole: bool },
    /// They cannot be kept. Those that were written before that can be read; from there on goes what is left.
    Passing { total: u64, written: u64, file: Option<Arc<File>> },
    /// The upstream failed, or lied.
    Failed(UpstreamError),
}

impl Fetch {
    pub(super) fn new(place: Place, digest: Digest) -> (Arc<Self>, watch::Receiver<Progress>) {
        let (progress, reader) = watch::channel(Progress::Asking);
        let fetch = Self { place, digest, uses: Uses::default(), progress, rest: Mutex::new(None) };
        (Arc::new(fetch), reader)
    }

    /// Takes part. Under the index's lock: a fetch that is given up is taken out under it.
    pub(super) fn join(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether somebody waits for it.
    pub(super) fn wanted(&self) -> bool {
        self.progress.receiver_count() > 0
    }

    /// What is left of the stream, for one.
    pub(super) fn take_rest(&self) -> Option<Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Carries it out.
    pub(super) async fn run(self: Arc<Self>, cache: Arc<Cache>, ask: Asked<'static, Blob>) {
        let _landing = Landing { cache: Arc::clone(&cache), fetch: Arc::clone(&self) };
        let answered = tokio::select! {
            answered = ask => answered,
            () = self.unwanted(&cache) => return,
        };
        let ended = match answered {
            Ok(blob) => self.receive(&cache, blob).await,
            Err(error) => Some(Progress::Failed(error)),
        };
        cache.land(&self);
        if let Some(progress) = ended {
            self.progress.send_replace(progress);
        }
    }

    /// Writes what comes. What is returned is told once others no longer join.
    async fn receive(&self, cache: &Arc<Cache>, blob: Blob) -> Option<Progress> {
        let Blob { total, body, .. } = blob;
        let partial = match cache.begin(total).await {
            Ok(partial) => partial,
            Err(why) => return Some(self.pass(cache, &why, Vec::new(), body, total, 0, None)),
        };
        let file = Arc::clone(&partial.file);
        let progress = |written, whole| Progress::Growing { total, written, file: Arc::clone(&file), whole };
        self.progress.send_replace(progress(0, false));
        let (mut growing, mut pieces) = (Growing::new(cache), body.ready_chunks(PIECES));
        loop {
            let come = tokio::select! {
                come = pieces.next() => come,
                () = self.unwanted(cache) => return None,
            };
            let Some(come) = come else { break };
            let (mut good, mut failed) = (Vec::with_capacity(come.len()), None);
            for piece in come {
                match piece {
                    Ok(piece) => good.push(piece),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if let Err(why) = growing.write(&file, &good).await {
                let rest = stream::iter(failed.map(Err)).chain(pieces.flat_map(stream::iter)).boxed();
                return Some(self.pass(cache, &why, good, rest, total, growing.written, Some(file)));
            }
            if let Some(error) = failed {
                return Some(Progress::Failed(error));
            }
            self.progress.send_replace(progress(growing.written, false));
        }
        self.progress.send_replace(progress(total, true));
        let key = Key::blob(self.digest);
        cache.settle(partial, key, self.place, total, self.uses.clone()).await;
        drop(growing);
        None
    }

    /// Hands on what cannot be kept.
    #[expect(clippy::too_many_arguments, reason = "the parts of a stream that was stopped")]
    fn pass(
        &self,
        cache: &Cache,
        why: &NotKept,
        pieces: Vec<Bytes>,
        rest: Rest,
        total: u64,
        written: u64,
        file: Option<Arc<File>>,
    ) -> Progress {
        cache.not_kept(why, self.digest, total);
        let rest = stream::iter(pieces.into_iter().map(Ok)).chain(rest).boxed();
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        Progress::Passing { total, written, file }
    }

    /// Returns when nobody wants it and nobody can join any more.
    async fn unwanted(&self, cache: &Cache) {
        loop {
            self.progress.closed().await;
            if cache.give_up(self) {
                return;
            }
        }
    }
}

/// Ends a fetch, however it ends: nobody waits for one that is not run.
struct Landing {
    cache: Arc<Cache>,
    fetch: Arc<Fetch>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.cache.land(&self.fetch);
        self.fetch.progress.send_if_modified(|progress| {
            let open = matches!(progress, Progress::Asking | Progress::Growing { whole: false, .. });
            if open {
                let (host, reason) = ("its registry".to_owned(), "asking it was given up".to_owned());
                *progress = Progress::Failed(UpstreamError::Unavailable { host, reason });
            }
            open
        });
    }
}

/// The bytes of one thing that are counted as on their way. They are counted no more when this is dropped.
pub(super) struct Growing {
    cache: Arc<Cache>,
    written: u64,
}

impl Growing {
    pub(super) fn new(cache: &Arc<Cache>) -> Self {
        Self { cache: Arc::clone(cache), written: 0 }
    }

    /// Writes the next bytes. Nothing of them counts as written when that fails.
    pub(super) async fn write(&mut self, file: &Arc<File>, pieces: &[Bytes]) -> Result<(), NotKept> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        if bytes == 0 {
            return Ok(());
        }
        let (cache, file, pieces) = (Arc::clone(&self.cache), Arc::clone(file), pieces.to_vec());
        let write = move || {
            cache.make_room(bytes)?;
            let written = pieces.iter().try_for_each(|piece| (&*file).write_all(piece));
            written.map_err(|error| {
                cache.release(bytes);
                NotKept::Disk(error.to_string())
            })
        };
        let done = tokio::task::spawn_blocking(write).await;
        done.unwrap_or_else(|stopped| Err(NotKept::Disk(io::Error::other(stopped).to_string())))?;
        self.written += bytes;
        Ok(())
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.cache.release(self.written);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{super::folder::short, *};
    use crate::upstream::CacheSettings;

    #[tokio::test]
    async fn a_fetch_is_given_up_only_when_nobody_wants_it_and_then_joined_by_nobody() {
        let folder = testdata::scratch();
        let settings = CacheSettings { folder: folder.path().to_owned(), size: 1 << 20 };
        let cache = Cache::open(&settings, &Arc::default()).unwrap();
        let (place, digest) = (Place { source: short(["s"]), path: short(["p"]) }, Digest::of(b"x"));
        let silent = || std::future::pending::<Result<Blob, UpstreamError>>().boxed();
        let first = cache.fetch(place, digest, silent).unwrap();
        let second = cache.fetch(place, digest, silent).unwrap();
        assert_eq!((first.began, second.began), (true, false));
        let fetch = Arc::clone(&first.fetch);
        drop(first);
        assert!(!cache.give_up(&fetch), "somebody came");
        assert!(cache.joined(place.source, digest).is_some());
        drop(second);
        assert!(cache.give_up(&fetch) && cache.joined(place.source, digest).is_none());
        // Its end takes nobody out who began anew.
        let third = cache.fetch(place, digest, silent).unwrap();
        assert!(third.began);
        cache.land(&fetch);
        assert!(cache.joined(place.source, digest).is_some());
        // Nor does it when it is given up once more.
        assert!(cache.give_up(&fetch), "nobody wants it");
        assert!(cache.joined(place.source, digest).is_some());
    }
}
