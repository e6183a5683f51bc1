//! Bytes on their way, counted and hashed.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use contracts::{Digest, Hasher};
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::UpstreamError;

/// What a stream must turn out to be.
pub(super) struct Expected {
    /// Whose bytes they are, for messages.
    pub(super) host: String,
    /// Exactly this many.
    pub(super) length: u64,
    /// With this digest, when the whole of something passes.
    pub(super) digest: Option<Digest>,
    /// How long it may stand still.
    pub(super) idle: Duration,
}

/// Slower than that, for as long as a stream may stand still, is as good as standing still. Bytes per second.
const CRAWL: u64 = 1024;

struct Passing<S> {
    source: S,
    pace: Pace,
    expected: Expected,
    hasher: Hasher,
    left: u64,
    done: bool,
}

/// Passes bytes on. The last piece is held back until length and digest are known to be right, so that a reader
/// who counts bytes never takes something else for complete.
pub(super) fn checked<S, E>(source: S, expected: Expected) -> BoxStream<'static, Result<Bytes, UpstreamError>>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error,
{
    let left = expected.length;
    let passing = Passing { source, pace: Pace::default(), expected, hasher: Hasher::default(), left, done: false };
    stream::try_unfold(passing, |mut passing| async move {
        let piece = passing.next().await?;
        Ok(piece.map(|piece| (piece, passing)))
    })
    .boxed()
}

impl<S, E> Passing<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error,
{
    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        if self.done {
            return Ok(None);
        }
        if self.left == 0 {
            return self.finish(None);
        }
        loop {
            let begun = Instant::now();
            let read = tokio::time::timeout(self.expected.idle, self.source.next()).await;
            let piece = match read {
                Err(_) => return Err(self.unavailable("its stream stands still".to_owned())),
                Ok(None) => return Err(self.unavailable(format!("its stream ended {} bytes early", self.left))),
                Ok(Some(Err(error))) => return Err(self.unavailable(error.to_string())),
                Ok(Some(Ok(piece))) => piece,
            };
            let Some(left) = self.left.checked_sub(piece.len() as u64) else {
                return Err(self.lied("it sent more bytes than it announced"));
            };
            self.left = left;
            if left > 0 && self.pace.crawls(begun.elapsed(), piece.len() as u64, self.expected.idle) {
                return Err(self.unavailable(format!("its stream crawls: less than {CRAWL} bytes a second")));
            }
            // A part has no digest of its own.
            if self.expected.digest.is_some() {
                self.hasher.update(&piece);
            }
            if left == 0 {
                return self.finish(Some(piece));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn finish(&mut self, last: Option<Bytes>) -> Result<Option<Bytes>, UpstreamError> {
        self.done = true;
        let digest = std::mem::take(&mut self.hasher).finish();
        match self.expected.digest {
            Some(expected) if expected != digest => {
                Err(self.lied(&format!("the bytes of `{expected}` have the digest `{digest}`")))
            }
            _ => Ok(last),
        }
    }

    fn unavailable(&self, reason: String) -> UpstreamError {
        UpstreamError::Unavailable { host: self.expected.host.clone(), reason }
    }

    fn lied(&self, reason: &str) -> UpstreamError {
        UpstreamError::Lied { host: self.expected.host.clone(), reason: reason.to_owned() }
    }
}

/// How fast a source is, the time not counted in which nobody asks it for more.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Whether too little came over the time that a stream may stand still.
    fn crawls(&mut self, waited: Duration, bytes: u64, idle: Duration) -> bool {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < idle {
            return false;
        }
        let Self { waited, bytes } = std::mem::take(self);
        let least = u128::from(CRAWL).saturating_mul(waited.as_millis()) / 1000;
        u128::from(bytes) < least
    }
}

/// All the bytes of a stream that was opened with a length small enough to hold.
pub(super) async fn collect(
    body: BoxStream<'static, Result<Bytes, UpstreamError>>,
    length: u64,
) -> Result<Bytes, UpstreamError> {
    let capacity = usize::try_from(length).unwrap_or_default();
    let add = |mut all: BytesMut, piece: Bytes| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    };
    Ok(body.try_fold(BytesMut::with_capacity(capacity.min(1 << 20)), add).await?.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(pieces: &[&'static [u8]], length: u64, digest: Option<Digest>) -> (Vec<u8>, Option<UpstreamError>) {
        let source =
            stream::iter(pieces.iter().map(|p| Ok::<_, std::io::Error>(Bytes::from_static(p))).collect::<Vec<_>>());
        let expected = Expected { host: "r.dev".into(), length, digest, idle: Duration::from_secs(1) };
        let mut body = checked(source, expected);
        let mut all = Vec::new();
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => all.extend_from_slice(&piece),
                Err(error) => return (all, Some(error)),
            }
        }
        (all, None)
    }

    #[test]
    fn only_a_source_that_is_waited_for_crawls() {
        let (second, idle) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut pace = Pace::default();
        assert!((0..100).all(|_| !pace.crawls(second, 2 * CRAWL, idle)));
        let mut pace = Pace::default();
        let crawls: Vec<bool> = (0..10).map(|_| pace.crawls(second, CRAWL / 2, idle)).collect();
        assert_eq!(crawls.iter().position(|crawls| *crawls), Some(9));
        // A client that takes one byte a second from a source that has more at once.
        let mut pace = Pace::default();
        assert!((0..1000).all(|_| !pace.crawls(Duration::from_micros(1), 1, idle)));
    }

    #[tokio::test]
    async fn what_is_not_its_digest_never_ends_cleanly_nor_completely() {
        let right = Some(Digest::of(b"abcdef"));
        let (all, error) = pass(&[b"abc", b"", b"def"], 6, right).await;
        assert!(error.is_none());
        assert_eq!(all, b"abcdef");
        assert!(pass(&[], 0, Some(Digest::of(b""))).await.1.is_none());

        let (all, error) = pass(&[b"abc", b"deX"], 6, right).await;
        assert!(matches!(error, Some(UpstreamError::Lied { .. })));
        assert_eq!(all, b"abc", "the last piece is held back");
        assert!(matches!(pass(&[b"abc", b"defg"], 6, right).await.1, Some(UpstreamError::Lied { .. })));
        assert!(matches!(pass(&[b"abc"], 6, right).await.1, Some(UpstreamError::Unavailable { .. })));
        assert!(matches!(pass(&[], 0, right).await.1, Some(UpstreamError::Lied { .. })));
    }
}
