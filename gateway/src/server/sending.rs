//! What is sent to clients that may stop taking it. Nothing that the gateway holds for one of them is held for longer
//! than a bound: the connection to a registry, room in memory, the place of a connection.
//!
//! Two things can stand still. A connection does when the client's system takes no more of it: then it is closed, with
//! all that is on it. An HTTP/2 stream does when the client gives it no room, while its connection goes on: then its
//! answer is given up, and the others stay. Whoever is slow and takes something now and then is waited for.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    response::Response,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::AbortHandle,
    time::{Instant, Sleep},
};

/// How often within the bound it is looked whether a connection moved after all.
const LOOKS: u32 = 8;
/// What is handed to an HTTP/2 stream at a time, at most: a frame.
const PIECE: usize = 16 * 1024;

/// A connection to a client, which is an error when it takes nothing of what is written for as long as the bound.
pub(super) struct Sending {
    stream: TcpStream,
    bound: Duration,
    full: Option<Full>,
}

/// Nothing could be written since.
struct Full {
    since: Instant,
    look: Pin<Box<Sleep>>,
}

impl Sending {
    pub(super) fn new(stream: TcpStream, bound: Duration) -> Self {
        Self { stream, bound, full: None }
    }

    /// What came of a write, or of writing `again` now and then: the system tells of room only once there is a lot of it,
    /// a third of its buffer, for which a client that is slow takes long. It takes what it has room for, told or not.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        again: impl Fn(&SockRef<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.full = None;
            return written;
        }
        let pause = self.bound / LOOKS;
        let full =
            self.full.get_or_insert_with(|| Full { since: Instant::now(), look: Box::pin(tokio::time::sleep(pause)) });
        while full.look.as_mut().poll(cx).is_ready() {
            match again(&SockRef::from(&self.stream)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                written => {
                    self.full = None;
                    return Poll::Ready(written);
                }
            }
            if full.since.elapsed() >= self.bound {
                let message = format!("the client took nothing of what it was sent for {:?}", self.bound);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
            }
            full.look.as_mut().reset(Instant::now() + pause);
        }
        Poll::Pending
    }
}

impl AsyncRead for Sending {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Sending {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written, |socket| socket.send(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(cx, written, |socket| socket.send_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The answer on an HTTP/2 stream, given up when nothing of it is taken for as long as the bound. What fits into one
/// frame is handed over whole.
pub(super) fn on_a_stream(response: Response, bound: Duration) -> Response {
    let small = |body: &Body| body.size_hint().upper().is_some_and(|all| all <= PIECE as u64);
    response.map(|body| if small(&body) { body } else { Body::new(Answer::new(body, bound)) })
}

/// The client did not take more of it in time.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of it for {0:?}")]
struct GivenUp(Duration);

/// A body that somebody takes piece by piece, or that is dropped meanwhile.
struct Answer {
    left: Arc<Mutex<Left>>,
    bound: Duration,
    watch: AbortHandle,
}

/// What is not taken yet.
struct Left {
    body: Option<Body>,
    piece: Bytes,
    /// Since when the client is to take more. None while its source is waited for.
    since: Option<Instant>,
}

impl Answer {
    fn new(body: Body, bound: Duration) -> Self {
        let left = Left { body: Some(body), piece: Bytes::new(), since: Some(Instant::now()) };
        let left = Arc::new(Mutex::new(left));
        let watch = tokio::spawn(give_up(Arc::downgrade(&left), bound)).abort_handle();
        Self { left, bound, watch }
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Drops what is left once nobody took of it for too long.
async fn give_up(left: Weak<Mutex<Left>>, bound: Duration) {
    loop {
        let pause = {
            let Some(left) = left.upgrade() else { return };
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            let stood = left.since.map(|since| since.elapsed()).unwrap_or_default();
            if stood >= bound {
                tracing::debug!("a client took nothing of an answer for {bound:?}: it is given up");
                *left = Left { body: None, piece: Bytes::new(), since: None };
                return;
            }
            bound - stood
        };
        tokio::time::sleep(pause).await;
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut left = self.left();
        let Left { body, piece, since } = &mut *left;
        let Some(body) = body else { return Poll::Ready(Some(Err(GivenUp(self.bound).into()))) };
        if piece.is_empty() {
            *since = None;
            match ready!(Pin::new(body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => *piece = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        *since = Some(Instant::now());
        let next = piece.split_to(piece.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        let left = self.left();
        left.piece.is_empty() && left.body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left();
        let (hint, here) = (left.body.as_ref().map(HttpBody::size_hint).unwrap_or_default(), left.piece.len() as u64);
        let mut all = SizeHint::new();
        all.set_lower(hint.lower().saturating_add(here));
        if let Some(upper) = hint.upper() {
            all.set_upper(upper.saturating_add(here));
        }
        all
    }
}
