//! Connections to a registry, and to those that it sends to: HTTP/1.1, over TLS unless the settings say otherwise.
//!
//! Every answer on its way has a connection of its own. So a client that does not take what it asked for makes its own
//! registry's connection wait, and nobody else's: over HTTP/2 all answers share one window, which a few such clients
//! would fill. Of a connection only so much is read at a time as its [`Share`] is.

use std::{
    error::Error,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
    time::Duration,
};

use axum::http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, HeaderMap, USER_AGENT},
    response::Parts,
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use http_body_util::{BodyDataStream, BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use reqwest::Url;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take},
    net::TcpStream,
};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};
use tower::Service;

use super::hosts::Resolver;
use crate::upstream::share::{Open, Share};

/// Connections that are kept for the next request, and for how long.
const KEPT: (usize, Duration) = (64, Duration::from_secs(60));

type BoxError = Box<dyn Error + Send + Sync>;

/// The way to one registry.
pub(super) struct Transport {
    client: Client<Within, Full<Bytes>>,
    share: Share,
}

/// The head of an answer, and its body on the way.
pub(super) struct Response {
    url: Url,
    parts: Parts,
    pieces: Pieces,
}

/// A body on its way. It takes its share until this is dropped.
pub(super) struct Pieces {
    body: BodyDataStream<Incoming>,
    _open: Open,
}

/// Why there is no answer, or no more of it: in words, without the address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(String);

impl Transport {
    /// Nothing is dialled yet. Without authorities those of the system are believed.
    pub(super) fn new(
        authorities: Option<Vec<CertificateDer<'static>>>,
        connect: Duration,
        share: Share,
    ) -> Result<Self, String> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let tls = match authorities {
            Some(authorities) => {
                let mut store = RootCertStore::empty();
                for one in authorities {
                    store.add(one).map_err(|error| error.to_string())?;
                }
                tls.with_root_certificates(store)
            }
            None => tls.with_platform_verifier().map_err(|error| error.to_string())?,
        };
        let mut tcp = HttpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Portioning { tcp, share: share.clone() });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(KEPT.0)
            .pool_idle_timeout(KEPT.1)
            .build(Within { https, bound: connect });
        Ok(Self { client, share })
    }

    /// Asks. Redirects are answers.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Broken> {
        let uri = url.as_str().parse::<Uri>().map_err(|_| Broken("the address cannot be asked".to_owned()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let agent = concat!("sluice/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let answer = self.client.request(request).await.map_err(|error| {
            let what = if error.is_connect() { "no connection" } else { "the exchange failed" };
            Broken(format!("{what}: {}", with_causes(&error)))
        })?;
        let (parts, body) = answer.into_parts();
        let pieces = Pieces { body: body.into_data_stream(), _open: self.share.open() };
        Ok(Response { url, parts, pieces })
    }
}

impl Response {
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn status(&self) -> StatusCode {
        self.parts.status
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The body, piece by piece.
    pub(super) fn pieces(self) -> Pieces {
        self.pieces
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(self.body.poll_next_unpin(cx));
        Poll::Ready(piece.map(|piece| piece.map_err(|error| Broken(with_causes(&error)))))
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Connects, TLS included, within a bound.
#[derive(Clone)]
struct Within {
    https: HttpsConnector<Portioning>,
    bound: Duration,
}

impl Service<Uri> for Within {
    type Response = MaybeHttpsStream<TokioIo<Portioned>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, bound) = (self.https.call(uri), self.bound);
        async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("it took longer than {bound:?}"));
            tokio::time::timeout(bound, connecting).await.map_err(late)?
        }
        .boxed()
    }
}

/// Connects over TCP.
#[derive(Clone)]
struct Portioning {
    tcp: HttpConnector<Resolver>,
    share: Share,
}

impl Service<Uri> for Portioning {
    type Response = TokioIo<Portioned>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, share) = (self.tcp.call(uri), self.share.clone());
        async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Portioned { stream: stream.take(0), share }))
        }
        .boxed()
    }
}

/// A connection of which no more is read at a time than its share. Who reads from it makes room for what came the
/// last times, so what is held for it follows.
struct Portioned {
    stream: Take<TcpStream>,
    share: Share,
}

impl AsyncRead for Portioned {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A buffer that is filled is followed by one of twice its length, so the last byte of a power of two is left.
        let power = self.share.piece().checked_ilog2().unwrap_or_default();
        let piece = (1_u64 << power).saturating_sub(1);
        self.stream.set_limit(piece);
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Portioned {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}

impl Connection for Portioned {
    fn connected(&self) -> Connected {
        self.stream.get_ref().connected()
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        async move { Ok(Resolver::addresses(name.as_str()).await?.into_iter()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const BODY: usize = 4 * 1024 * 1024;

    /// The longest piece of an answer.
    async fn longest(transport: &Transport, address: SocketAddr) -> usize {
        let url = Url::parse(&format!("http://{address}/")).unwrap();
        let answer = transport.send(Method::GET, url, HeaderMap::new(), Bytes::new()).await.unwrap();
        let (mut pieces, mut had, mut longest) = (answer.pieces(), 0, 0);
        while let Some(piece) = pieces.next().await {
            let length = piece.unwrap().len();
            (had, longest) = (had + length, longest.max(length));
        }
        assert_eq!(had, BODY);
        longest
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_more_answers_there_are_the_less_is_read_of_each_at_a_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = [0; 1024];
                    while stream.read(&mut asked).await? > 0 {
                        stream
                            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").as_bytes())
                            .await?;
                        stream.write_all(&vec![b' '; BODY]).await?;
                    }
                    io::Result::Ok(())
                });
            }
        });
        let share = Share::new(1 << 20, (16 << 10, 256 << 10));
        let transport = Transport::new(None, Duration::from_secs(5), share.clone()).unwrap();
        let alone = longest(&transport, address).await;
        assert!((32 << 10..256 << 10).contains(&alone), "{alone}");
        let _many: Vec<Open> = (0..100).map(|_| share.open()).collect();
        let among = longest(&transport, address).await;
        assert!(among < 16 << 10, "{among}");
    }
}
