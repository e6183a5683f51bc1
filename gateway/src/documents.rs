//! Small documents that others publish: an issuer's keys, the files of a TUF repository. Each is read up to a bound, over
//! HTTPS unless the settings say otherwise, from the very address that was asked: redirects are answers, not followed, and
//! no address is dialled that is never asked.

use std::{error::Error as _, path::Path, time::Duration};

use bytes::BytesMut;
use reqwest::{Client, StatusCode, Url, header::ACCEPT, redirect::Policy};

use crate::upstream::{Resolver, is_forbidden_host};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// What asks. It keeps its connections.
pub(crate) struct Reader(Client);

/// What came of it.
pub(crate) enum Answer {
    /// The document.
    Document(BytesMut),
    /// Another status than 200.
    Status(StatusCode),
    /// More bytes than are read.
    TooLong,
}

impl Reader {
    /// Believes the authorities in this file, or those of the system.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .dns_resolver(Resolver)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = ca_file {
            let unusable = |why: String| format!("the file `{}` under `ca_file`: {why}", file.display());
            let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(reason(&error)))?;
            if certificates.is_empty() {
                return Err(unusable("it holds no certificate in PEM".to_owned()));
            }
            client = client.tls_certs_only(certificates);
        }
        client.build().map(Self).map_err(|error| reason(&error))
    }

    /// Asks for a document of at most `max` bytes. How long that may take is the caller's to say.
    ///
    /// # Errors
    /// When there is no answer, in words.
    pub(crate) async fn get(&self, uri: Url, max: usize) -> Result<Answer, String> {
        let sent = self.0.get(uri).header(ACCEPT, "application/json").send().await;
        let mut response = sent.map_err(|error| reason(&error))?;
        if response.status() != StatusCode::OK {
            return Ok(Answer::Status(response.status()));
        }
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|error| reason(&error))? {
            if body.len() + piece.len() > max {
                return Ok(Answer::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer::Document(body))
    }
}

/// Whether an address may be asked; the error says what is wrong with it.
pub(crate) fn allowed(url: &Url, plain_http: bool) -> Result<(), &'static str> {
    if url.scheme() != "https" && !(plain_http && url.scheme() == "http") {
        return Err("is not https (`plain_http = true` lets it be http, and whoever is on the way be anybody)");
    }
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() {
        return Err("is not one of a host alone");
    }
    if is_forbidden_host(url) { Err("is one that is never asked") } else { Ok(()) }
}

fn reason(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.source().is_none() { "it cannot be asked".to_owned() } else { deepest.to_string() }
}
