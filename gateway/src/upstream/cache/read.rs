//! Bytes from the folder to a client: of what is there, or of what is on its way, as it comes.

use std::{fs::File, io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
};

use super::{
    fetch::{Fetch, Progress, Rest},
    index::Uses,
};
use crate::upstream::{
    Asked, Blob, UpstreamError,
    share::{Open, Share},
};

/// What all readers together may hold of files, about.
const HELD: u64 = 24 * 1024 * 1024;
/// One read, at least and at most.
const PIECE: (u64, u64) = (16 * 1024, 256 * 1024);
/// Reads of at least so much are begun while what comes before them is sent.
const AHEAD: u64 = 64 * 1024;
/// Reads at a time. Each takes a thread.
const READS: usize = 16;

/// Readers at the moment: the more there are, the less each holds.
#[derive(Clone)]
pub(super) struct Readers {
    share: Share,
    places: Arc<Semaphore>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { share: Share::new(HELD, PIECE), places: Arc::new(Semaphore::new(READS)) }
    }
}

/// Where the bytes are.
pub(super) enum Source {
    /// In a file that has all of them.
    File(Arc<File>),
    /// In one that grows.
    Fetch(Arc<Fetch>, watch::Receiver<Progress>),
    /// In none: what is left of a stream goes to this reader, but for so many bytes that it has already.
    Rest(Rest, u64),
}

/// Asks the upstream for all of the blob, for one reader alone.
pub(super) type Again = Box<dyn Fn() -> Asked<'static, Blob> + Send>;

/// A part of a blob being read.
pub(super) struct Reading {
    pub(super) source: Source,
    /// The next byte.
    pub(super) at: u64,
    /// The byte after the last.
    pub(super) end: u64,
    /// The upstream's name, for messages.
    pub(super) host: Arc<str>,
    /// How to go on when what others fetch cannot be kept.
    pub(super) again: Option<Again>,
    /// Keeps the content from being taken away.
    pub(super) uses: Option<Uses>,
    reader: Reader,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

/// One of the readers, until it is dropped.
struct Reader {
    open: Open,
    places: Arc<Semaphore>,
}

impl Reading {
    pub(super) fn new(readers: &Readers, source: Source, (at, end): (u64, u64), host: &Arc<str>) -> Self {
        let reader = Reader { open: readers.share.open(), places: Arc::clone(&readers.places) };
        Self { source, at, end, host: Arc::clone(host), again: None, uses: None, reader, ahead: None }
    }

    /// The bytes. They end with an error when they cannot be had all, or are not what they should be.
    pub(super) fn stream(self) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
        stream::try_unfold(self, |mut reading| async move {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            match &mut self.source {
                Source::File(file) => {
                    let file = Arc::clone(file);
                    return if self.at < self.end { self.read(file, self.end).await.map(Some) } else { Ok(None) };
                }
                Source::Fetch(fetch, progress) => {
                    let now = progress.borrow_and_update().clone();
                    match now {
                        Progress::Failed(error) => return Err(error),
                        Progress::Growing { written, file, .. } if self.at < written.min(self.end) => {
                            return self.read(file, written.min(self.end)).await.map(Some);
                        }
                        // The end of all is told once it is known to be right.
                        Progress::Growing { total, whole, .. }
                            if self.at >= self.end && (whole || self.end < total) =>
                        {
                            return Ok(None);
                        }
                        Progress::Passing { written, file: Some(file), .. } if self.at < written.min(self.end) => {
                            return self.read(file, written.min(self.end)).await.map(Some);
                        }
                        Progress::Passing { .. } if self.at >= self.end => return Ok(None),
                        Progress::Passing { total, written, .. } => {
                            let rest = if self.at == written { fetch.take_rest() } else { None };
                            self.source = match rest {
                                Some(rest) => Source::Rest(rest, 0),
                                None => self.anew(total).await?,
                            };
                        }
                        Progress::Asking | Progress::Growing { .. } => {
                            if progress.changed().await.is_err() {
                                return Err(self.unavailable("asking it was given up"));
                            }
                        }
                    }
                }
                Source::Rest(rest, had) => {
                    // It is checked on its way here: it ends well only when it is whole.
                    let Some(mut piece) = rest.next().await.transpose()? else { return Ok(None) };
                    let skip = piece.len().min(usize::try_from(*had).unwrap_or(usize::MAX));
                    *had = had.saturating_sub(skip as u64);
                    piece.advance(skip);
                    if piece.is_empty() && self.at < self.end {
                        continue;
                    }
                    piece.truncate(usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX));
                    self.at = self.at.saturating_add(piece.len() as u64);
                    return Ok((!piece.is_empty()).then_some(piece));
                }
            }
        }
    }

    /// The stream of this reader alone, when another one took what was left of the common one. It comes from the
    /// beginning, so that all of it is hashed.
    async fn anew(&mut self, total: u64) -> Result<Source, UpstreamError> {
        let again = self.again.as_ref().ok_or_else(|| self.unavailable("the gateway's disk has no room for it"))?;
        let blob = again().await?;
        if blob.total != total {
            let reason = "it tells two lengths of one blob".to_owned();
            return Err(UpstreamError::Lied { host: self.host.to_string(), reason });
        }
        Ok(Source::Rest(blob.body, self.at))
    }

    /// The next bytes before `limit`, of which the file has all. While they are sent, those after them are read.
    async fn read(&mut self, file: Arc<File>, limit: u64) -> Result<Bytes, UpstreamError> {
        let places = &self.reader.places;
        let reading = match self.ahead.take() {
            Some(reading) => reading,
            None => {
                let place = Arc::clone(places).acquire_owned().await.ok();
                read_at(&file, self.at, self.reader.open.piece().min(limit - self.at), place)
            }
        };
        let read = reading.await.map_err(io::Error::other).and_then(|read| read);
        let piece = read.map_err(|error| self.unavailable(&format!("the gateway's disk: {error}")))?;
        self.at += piece.len() as u64;
        let next = self.reader.open.piece().min(limit.saturating_sub(self.at));
        if next >= AHEAD
            && let Ok(place) = Arc::clone(&self.reader.places).try_acquire_owned()
        {
            self.ahead = Some(read_at(&file, self.at, next, Some(place)));
        }
        Ok(piece)
    }

    fn unavailable(&self, reason: &str) -> UpstreamError {
        UpstreamError::Unavailable { host: self.host.to_string(), reason: reason.to_owned() }
    }
}

/// Begins a read. What it reads into is made here and not on its thread, of which there are many: each would keep memory
/// for the next time.
fn read_at(
    file: &Arc<File>,
    at: u64,
    length: u64,
    place: Option<OwnedSemaphorePermit>,
) -> JoinHandle<io::Result<Bytes>> {
    let file = Arc::clone(file);
    let mut bytes = BytesMut::zeroed(usize::try_from(length).unwrap_or_default());
    tokio::task::spawn_blocking(move || {
        let _place = place;
        fill(&file, &mut bytes, at)?;
        Ok(bytes.freeze())
    })
}

/// Reads exactly these bytes, wherever other readers of the same file are.
#[cfg(unix)]
fn fill(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn fill(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = bytes.get_mut(read..).unwrap_or_default();
        at += read as u64;
    }
    Ok(())
}
