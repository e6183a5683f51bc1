//! Connections: accepted, bounded in number, spoken TLS to, served, and let finish when the gateway stops.
//!
//! TLS clients choose HTTP/1.1 or HTTP/2; plain connections speak HTTP/1.1, so that nothing waits for a client to
//! say which one it speaks.

mod sending;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::Request, response::Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use self::sending::Sending;
use crate::{http::Arrival, metrics::Metrics, tls::Tls};

/// How long a client may take over a TLS handshake, or to send a request's head, the wait for it included.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request's head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Headers of a request.
const HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 100;
/// How often a silent HTTP/2 client is asked whether it is there.
const ALIVE: Duration = Duration::from_secs(30);

/// What to serve and within which bounds.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) max_connections: usize,
    pub(crate) drain: Duration,
    /// How long a client may take nothing of what it is sent.
    pub(crate) send_timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
}

impl Server {
    /// Serves until told to stop (or until nobody can tell any more), then lets open requests finish.
    pub(crate) async fn run(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let server = Arc::new(self);
        let room = Arc::new(Semaphore::new(server.max_connections));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        // Ends with this function.
        let mut watching = JoinSet::new();
        if let Some(tls) = &server.tls {
            watching.spawn(Arc::clone(tls).watch());
        }
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let (server, watcher) = (Arc::clone(&server), graceful.watcher());
                    connections.spawn(async move {
                        server.connection(stream, peer, watcher).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        if tokio::time::timeout(server.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
        connections.shutdown().await;
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _open = self.metrics.connected();
        let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
            Ok(local) => local,
            Err(error) => {
                tracing::debug!(%error, "a connection was closed before it began");
                return;
            }
        };
        let stream = Sending::new(stream, self.send_timeout);
        let plain = Arrival { peer, local, tls: false, server_name: None, client: None };
        let Some(tls) = &self.tls else { return self.serve(stream, plain, false, watcher).await };
        match tokio::time::timeout(PATIENCE, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let h2 = session.alpn_protocol() == Some(b"h2");
                let (server_name, client) =
                    (session.server_name().map(Arc::from), tls.client(session.peer_certificates()));
                let arrival = Arrival { tls: true, server_name, client, ..plain };
                self.serve(stream, arrival, h2, watcher).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve<S>(&self, stream: S, arrival: Arrival, h2: bool, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(ALIVE)
            .keep_alive_timeout(PATIENCE)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX));
        let builder = if h2 { builder.http2_only() } else { builder.http1_only() };
        let bound = self.send_timeout;
        let service = self
            .router
            .clone()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(arrival.clone());
                request
            })
            .map_response(move |answer: Response| if h2 { sending::on_a_stream(answer, bound) } else { answer });
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}
