//! One download for all who ask for one small blob at about the same time, where there is no cache on the disk.
//!
//! Who asks alone has a stream of its own. Whoever asks while another one is being sent the same blob of the same
//! repository shares a download with all that come after: its bytes are in memory once, until the last reader has them.
//! They are held to the digest on their way into it, and its last piece comes when they are right. A reader that does not
//! read keeps bytes in memory, of which there is a bound for all downloads together, and makes nobody wait: what does not
//! fit, or is large, passes to each by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use contracts::Digest;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::upstream::{Blob, UpstreamError};

/// The largest blob that is held, and how much of all blobs.
const LARGEST: u64 = 8 * 1024 * 1024;
const ROOM: u64 = 32 * 1024 * 1024;
/// What room is counted in.
const UNIT: u64 = 64 * 1024;
/// After that, who asks begins another download: the registry is to be asked again whether it still has the blob.
const JOINED: Duration = Duration::from_secs(10);

/// Room for what is held of all upstreams.
#[derive(Clone)]
pub(in crate::upstream) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(ROOM / UNIT).unwrap_or(Semaphore::MAX_PERMITS))))
    }
}

impl Room {
    /// A place for so many bytes, if they may be held now.
    fn place(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok().filter(|_| bytes <= LARGEST)?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
    }
}

type Key = (String, Digest);

/// The blobs of one upstream that are being sent.
pub(super) struct Together {
    room: Room,
    sent: Mutex<HashMap<Key, Sent>>,
}

/// One blob that is being sent.
#[derive(Default)]
struct Sent {
    /// To how many.
    readers: usize,
    download: Option<Arc<Download>>,
}

/// A download that several share.
struct Download {
    begun: Instant,
    state: watch::Sender<State>,
    pieces: Mutex<Vec<Bytes>>,
    /// Kept until the last reader has what it reads.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Clone)]
enum State {
    /// The registry did not answer yet.
    Asking,
    /// It is not held: each for itself.
    Apart,
    /// Whoever asked for all went away before there was an answer, or all did.
    GivenUp,
    /// So many pieces of so many bytes in all are here; `whole`: these are all, and they are right.
    Here { total: u64, pieces: usize, whole: bool },
    /// The registry failed, or lied.
    Failed(UpstreamError),
}

/// What one who asks has to do.
enum Part {
    Alone,
    First(Asking),
    Joined(Arc<Download>, watch::Receiver<State>),
}

impl Together {
    pub(super) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, sent: Mutex::default() })
    }

    /// The blob, by `ask`, which asks the registry for all of it, or from what others are sent at this moment.
    pub(super) async fn blob(
        self: &Arc<Self>,
        path: &str,
        digest: Digest,
        ask: impl Future<Output = Result<Blob, UpstreamError>>,
    ) -> Result<Blob, UpstreamError> {
        loop {
            let (reader, part) = self.part((path.to_owned(), digest));
            let (download, mut state) = match part {
                Part::Alone => return Ok(reader.reads(ask.await?)),
                Part::First(asking) => return Ok(reader.reads(self.first(asking, ask).await?)),
                Part::Joined(download, state) => (download, state),
            };
            let answered = state.wait_for(|state| !matches!(state, State::Asking)).await.map(|state| state.clone());
            match answered {
                Ok(State::Here { total, .. }) => {
                    return Ok(reader.reads(Reading { download, state, next: 0 }.blob(total)));
                }
                Ok(State::Failed(error)) => return Err(error),
                Ok(State::Apart) => return Ok(reader.reads(ask.await?)),
                Ok(State::Asking | State::GivenUp) | Err(_) => {}
            }
        }
    }

    /// Asks for all that wait.
    async fn first(
        &self,
        asking: Asking,
        ask: impl Future<Output = Result<Blob, UpstreamError>>,
    ) -> Result<Blob, UpstreamError> {
        let blob = match ask.await {
            Ok(blob) => blob,
            Err(error) => return Err(asking.failed(error)),
        };
        match self.room.place(blob.total) {
            Some(place) => Ok(asking.download(blob, place)),
            None => {
                asking.0.state.send_replace(State::Apart);
                Ok(blob)
            }
        }
    }

    fn part(self: &Arc<Self>, key: Key) -> (Reader, Part) {
        let mut all = self.sent();
        let sent = all.entry(key.clone()).or_default();
        sent.readers += 1;
        let reader = Reader { together: Arc::clone(self), key };
        if sent.readers == 1 {
            return (reader, Part::Alone);
        }
        let going = sent.download.as_ref().filter(|download| download.begun.elapsed() < JOINED);
        if let Some(download) = going {
            // One that nobody reads is about to end.
            let read = download.state.receiver_count() > 0;
            let state = download.state.subscribe();
            let now = state.borrow().clone();
            match now {
                State::Apart => return (reader, Part::Alone),
                State::Here { .. } if !read => {}
                State::Asking | State::Here { .. } => return (reader, Part::Joined(Arc::clone(download), state)),
                State::GivenUp | State::Failed(_) => {}
            }
        }
        let download = Arc::new(Download::new());
        sent.download = Some(Arc::clone(&download));
        (reader, Part::First(Asking(download)))
    }

    fn sent(&self) -> MutexGuard<'_, HashMap<Key, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody that a blob is being sent to, until this is dropped.
struct Reader {
    together: Arc<Together>,
    key: Key,
}

impl Reader {
    fn reads(self, blob: Blob) -> Blob {
        let body = blob.body.map(move |piece| {
            let _reader = &self;
            piece
        });
        Blob { body: body.boxed(), ..blob }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut all = self.together.sent();
        if let Some(sent) = all.get_mut(&self.key) {
            sent.readers -= 1;
            if sent.readers == 0 {
                all.remove(&self.key);
            }
        }
    }
}

impl Download {
    fn new() -> Self {
        let (state, _) = watch::channel(State::Asking);
        Self { begun: Instant::now(), state, pieces: Mutex::default(), place: Mutex::default() }
    }

    fn pieces(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that comes, whatever pace the readers have, while there are any.
    async fn run(&self, total: u64, mut body: BoxStream<'static, Result<Bytes, UpstreamError>>) {
        loop {
            let piece = tokio::select! {
                piece = body.next() => piece,
                () = self.state.closed() => return,
            };
            let state = match piece {
                Some(Ok(piece)) => {
                    let mut pieces = self.pieces();
                    pieces.push(piece);
                    State::Here { total, pieces: pieces.len(), whole: false }
                }
                Some(Err(error)) => State::Failed(error),
                None => State::Here { total, pieces: self.pieces().len(), whole: true },
            };
            let goes_on = matches!(state, State::Here { whole: false, .. });
            self.state.send_replace(state);
            if !goes_on {
                return;
            }
        }
    }
}

/// A download whose registry is being asked, or that is on its way. Given up, nobody waits for it.
struct Asking(Arc<Download>);

impl Asking {
    fn failed(self, error: UpstreamError) -> UpstreamError {
        self.0.state.send_replace(State::Failed(error.clone()));
        error
    }

    fn download(self, blob: Blob, place: OwnedSemaphorePermit) -> Blob {
        let (total, download, state) = (blob.total, Arc::clone(&self.0), self.0.state.subscribe());
        *download.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        download.state.send_replace(State::Here { total, pieces: 0, whole: false });
        let asking = self;
        tokio::spawn(async move {
            asking.0.run(total, blob.body).await;
            drop(asking);
        });
        Reading { download, state, next: 0 }.blob(total)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            let open = matches!(state, State::Asking | State::Here { whole: false, .. });
            if open {
                *state = State::GivenUp;
            }
            open
        });
    }
}

/// What one reader has of a download.
struct Reading {
    download: Arc<Download>,
    state: watch::Receiver<State>,
    next: usize,
}

impl Reading {
    fn blob(self, total: u64) -> Blob {
        let body = stream::try_unfold(self, |mut reading| async move {
            let piece = reading.piece().await?;
            Ok(piece.map(|piece| (piece, reading)))
        });
        Blob { total, range: None, body: body.boxed() }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let given_up = || UpstreamError::Unavailable {
            host: "its registry".to_owned(),
            reason: "asking it was given up".to_owned(),
        };
        loop {
            let state = self.state.borrow_and_update().clone();
            match state {
                State::Here { pieces, .. } if self.next < pieces => {
                    let piece = self.download.pieces().get(self.next).cloned();
                    self.next += 1;
                    return piece.ok_or_else(given_up).map(Some);
                }
                State::Here { whole: true, .. } => return Ok(None),
                State::Failed(error) => return Err(error),
                State::Apart | State::GivenUp => return Err(given_up()),
                State::Asking | State::Here { .. } => {
                    self.state.changed().await.map_err(|_| given_up())?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{TryStreamExt, future};

    use super::*;
    use crate::upstream::stream::{Expected, checked};

    /// A registry with one blob, which it sends in two halves: the second one once it may.
    struct Registry {
        bytes: Bytes,
        digest: Digest,
        may: Arc<Semaphore>,
        asked: AtomicUsize,
    }

    impl Registry {
        fn new(length: usize) -> Self {
            let bytes: Bytes = (0..length).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
            let digest = Digest::of(&bytes);
            Self { bytes, digest, may: Arc::new(Semaphore::new(0)), asked: AtomicUsize::new(0) }
        }

        /// As [`super::super::Remote`] asks: what comes is held to the digest.
        async fn ask(&self) -> Result<Blob, UpstreamError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let (total, may) = (self.bytes.len() as u64, Arc::clone(&self.may));
            let (first, second) = (self.bytes.slice(..self.bytes.len() / 2), self.bytes.slice(self.bytes.len() / 2..));
            let later = Box::pin(async move {
                may.acquire().await.unwrap().forget();
                Ok::<_, std::io::Error>(second)
            });
            let pieces = stream::iter([Ok(first)]).chain(stream::once(later));
            let expected = Expected {
                host: "r.dev".into(),
                length: total,
                digest: Some(self.digest),
                idle: Duration::from_secs(5),
            };
            Ok(Blob { total, range: None, body: checked(pieces, expected) })
        }

        async fn get(&self, together: &Arc<Together>) -> Result<Blob, UpstreamError> {
            together.blob("skynet/app", self.digest, self.ask()).await
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    async fn all(blob: Blob) -> Result<Vec<u8>, UpstreamError> {
        blob.body.try_fold(Vec::new(), |all, piece| future::ready(Ok([&all[..], &piece[..]].concat()))).await
    }

    #[tokio::test]
    async fn those_who_ask_while_another_is_sent_it_share_a_download() {
        let (together, registry) = (Together::new(Room::default()), Registry::new(300_000));
        let mut blobs = Vec::new();
        for _ in 0..20 {
            blobs.push(registry.get(&together).await.unwrap());
        }
        assert_eq!(registry.asked(), 2, "one for the first alone, one for all others");
        // One that does not read makes nobody wait, and has all of it in the end.
        let slow = blobs.pop().unwrap();
        registry.may.add_permits(2);
        for blob in blobs {
            assert_eq!(all(blob).await.unwrap(), registry.bytes);
        }
        assert_eq!(all(slow).await.unwrap(), registry.bytes);
        assert!(together.sent().is_empty(), "nothing is left of it");
        assert_eq!(together.room.0.available_permits() as u64, ROOM / UNIT);
        // Another repository is another matter.
        let _one = registry.get(&together).await.unwrap();
        let _other = together.blob("other/app", registry.digest, registry.ask()).await.unwrap();
        assert_eq!(registry.asked(), 4);
    }

    #[tokio::test]
    async fn what_is_not_its_digest_is_complete_for_nobody() {
        let (together, right) = (Together::new(Room::default()), Registry::new(300_000));
        let lying = Registry { digest: Digest::of(b"another"), ..right };
        let mut blobs = Vec::new();
        for _ in 0..5 {
            blobs.push(lying.get(&together).await.unwrap());
        }
        lying.may.add_permits(2);
        for blob in blobs {
            let mut had = 0;
            let read = blob.body.try_for_each(|piece| {
                had += piece.len();
                future::ready(Ok(()))
            });
            assert!(matches!(read.await, Err(UpstreamError::Lied { .. })));
            assert!(had < lying.bytes.len(), "{had} bytes");
        }
        // What failed is asked for again.
        let _one = lying.get(&together).await.unwrap();
        let _two = lying.get(&together).await.unwrap();
        assert_eq!(lying.asked(), 4);
    }

    #[tokio::test]
    async fn what_is_large_or_has_no_room_passes_to_each_by_itself() {
        let together = Together::new(Room::default());
        let large = Registry::new(usize::try_from(LARGEST).unwrap() + 1);
        let mut blobs = Vec::new();
        for _ in 0..4 {
            blobs.push(large.get(&together).await.unwrap());
        }
        assert_eq!(large.asked(), 4);
        let small = Registry::new(300_000);
        let taken: Vec<_> = (0..ROOM / LARGEST).map(|_| together.room.place(LARGEST).unwrap()).collect();
        for _ in 0..4 {
            blobs.push(small.get(&together).await.unwrap());
        }
        assert_eq!(small.asked(), 4);
        drop(taken);
        large.may.add_permits(4);
        small.may.add_permits(4);
        for (number, blob) in blobs.into_iter().enumerate() {
            let registry = if number < 4 { &large } else { &small };
            assert!(all(blob).await.unwrap() == registry.bytes);
        }
    }

    #[tokio::test]
    async fn others_go_on_when_the_one_who_asked_for_them_goes_away() {
        let (together, registry) = (Together::new(Room::default()), Registry::new(300_000));
        let alone = registry.get(&together).await.unwrap();
        // It asks, and the registry does not answer.
        let mut first = Box::pin(together.blob("skynet/app", registry.digest, future::pending()));
        assert!(futures::poll!(&mut first).is_pending());
        let mut joined = Box::pin(registry.get(&together));
        assert!(futures::poll!(&mut joined).is_pending());
        drop(first);
        let mut blobs = vec![alone, joined.await.unwrap()];
        for _ in 0..5 {
            blobs.push(registry.get(&together).await.unwrap());
        }
        assert_eq!(registry.asked(), 2, "one of those who waited asks for all");
        // The download goes on without the one who began it.
        drop(blobs.remove(1));
        registry.may.add_permits(2);
        for blob in blobs {
            assert_eq!(all(blob).await.unwrap(), registry.bytes);
        }
        assert!(together.sent().is_empty());
        assert_eq!(together.room.0.available_permits() as u64, ROOM / UNIT);
        // It ends when nobody reads it.
        let other = Registry::new(200_000);
        let (alone, shared) = (other.get(&together).await.unwrap(), other.get(&together).await.unwrap());
        drop((alone, shared));
        tokio::task::yield_now().await;
        assert_eq!(together.room.0.available_permits() as u64, ROOM / UNIT);
    }
}
