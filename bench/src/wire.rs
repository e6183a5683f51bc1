//! Requests as the bytes that go over the wire, made before the clock runs, and answers read without more work than
//! telling where they end. A load generator that shares its processors with what it measures must be cheap.

use std::{io, net::SocketAddr};

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Headers that an answer may have.
const HEADERS: usize = 64;
/// The longest head of an answer.
const HEAD_BYTES: usize = 64 * 1024;

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub struct Request(Bytes);

/// A request that is not complete yet.
#[derive(Debug)]
pub struct Draft {
    head: String,
}

impl Draft {
    /// A request with a token unless that is empty.
    #[must_use]
    pub fn new(method: &Method, path: &str, address: SocketAddr, token: &str) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
        if !token.is_empty() {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        Self { head }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Without a body.
    #[must_use]
    pub fn empty(self) -> Request {
        Request(format!("{}\r\n", self.head).into())
    }

    /// With a body of this type.
    #[must_use]
    pub fn body(self, media_type: &str, body: &[u8]) -> Request {
        let length = body.len();
        let head = format!("{}content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n", self.head);
        Request([head.as_bytes(), body].concat().into())
    }
}

/// An answer whose body was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// A connection that is kept open.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: BytesMut,
}

struct Head {
    status: u16,
    bytes: usize,
    body: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not one with a `content-length`.
    pub async fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        self.stream.write_all(&request.0).await?;
        let head = loop {
            if let Some(head) = head(&self.read)? {
                break head;
            }
            self.more().await?;
        };
        self.read.advance(head.bytes);
        while self.read.len() < head.body {
            self.more().await?;
        }
        Ok(Answer { status: head.status, body: self.read.split_to(head.body).freeze() })
    }

    /// Sends a request, reads the answer and lets its body go. Answers with the status and the body's length.
    ///
    /// # Errors
    /// Those of `ask`.
    pub async fn drain(&mut self, request: &Request) -> anyhow::Result<(u16, usize)> {
        const PIECE: usize = 256 * 1024;
        self.stream.write_all(&request.0).await?;
        let head = loop {
            if let Some(head) = head(&self.read)? {
                break head;
            }
            self.more().await?;
        };
        self.read.advance(head.bytes);
        let mut left = head.body;
        loop {
            let here = self.read.len().min(left);
            self.read.advance(here);
            left -= here;
            if left == 0 {
                return Ok((head.status, head.body));
            }
            self.read.reserve(PIECE);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the answer broke off {left} bytes before its end");
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        self.read.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The head of an answer, once it is all there.
fn head(read: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = answer.parse(read)? else {
        if read.len() > HEAD_BYTES {
            bail!("the answer's head does not end");
        }
        return Ok(None);
    };
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("the answer does not say how long it is")?;
    let body = std::str::from_utf8(length.value)?.trim().parse()?;
    Ok(Some(Head { status: answer.code.unwrap_or_default(), bytes, body }))
}
