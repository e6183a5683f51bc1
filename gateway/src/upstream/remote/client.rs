//! One request to a registry: its credentials, its redirects, its time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contracts::registry_login::Login;
use futures::StreamExt;
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    auth::{Challenge, Identity, TOKEN_BYTES, basic, challenge},
    hosts::{Hosts, is_forbidden_host},
    patience::Patience,
    transport::{Response, Transport},
};
use crate::upstream::{
    Redirects, UpstreamError, UpstreamSettings, UpstreamSettingsError, canonical_host, settings::Timeouts, share::Share,
};

/// Redirects followed for one request.
const REDIRECTS: usize = 5;

/// A way to one registry.
pub(super) struct Wire {
    transport: Transport,
    /// The registry's name in messages.
    pub(super) host: String,
    base: Url,
    hosts: Hosts,
    identity: Identity,
    redirects: Redirects,
    patience: Patience,
    pub(super) timeouts: Timeouts,
}

/// What becomes of a redirect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redirected {
    Follow,
    Stop,
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// The repository's path, for which access is asked.
    pub(super) repository: &'a str,
    /// What follows the repository in the address: `manifests/…`.
    pub(super) rest: String,
    pub(super) accept: Option<&'static str>,
    pub(super) range: Option<String>,
}

impl Wire {
    pub(super) fn new(settings: &UpstreamSettings, share: Share) -> Result<Self, UpstreamSettingsError> {
        let host = canonical_host(&settings.host).unwrap_or_else(|| settings.host.clone());
        let base = base(settings, &host)?;
        let hosts = Hosts::new(base.clone(), settings.plain_http, &settings.realm_hosts, &settings.redirect_hosts)
            .map_err(|text| settings.invalid(&format!("`{text}` is not a host: write it without scheme and path")))?;
        let timeouts = settings.timeouts()?;
        let mut authorities = None;
        if let Some(file) = &settings.ca_file {
            let unusable = |reason: String| UpstreamSettingsError::File {
                host: host.clone(),
                key: "ca_file",
                path: file.display().to_string(),
                reason,
            };
            let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
            let read = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let certificates = read.map_err(|error| unusable(error.to_string()))?;
            if certificates.is_empty() {
                return Err(unusable("it holds no certificate in PEM".to_owned()));
            }
            authorities = Some(certificates);
        }
        let transport = Transport::new(authorities, timeouts.connect, share);
        let transport = transport.map_err(|reason| settings.invalid(&reason))?;
        let (identity, patience) = (Identity::new(&settings.credentials()?, &host), Patience::default());
        Ok(Self { transport, host, base, hosts, identity, redirects: settings.redirects, patience, timeouts })
    }

    /// Asks, with credentials where the registry wants them, through the redirects that are allowed. The answer is
    /// one of success, or one of the errors that every call has.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Response, UpstreamError> {
        let response = self.answered(ask, Redirected::Follow).await?;
        self.judge(ask, response)
    }

    /// Where the registry sends for what is asked, when clients are to follow: to an allowed host that is not the
    /// registry itself, which would want our credentials.
    pub(super) async fn sent_to(&self, ask: &Ask<'_>) -> Result<Option<String>, UpstreamError> {
        if self.redirects == Redirects::Follow {
            return Ok(None);
        }
        let response = self.answered(ask, Redirected::Stop).await?;
        if !is_redirect(response.status()) {
            return self.judge(ask, response).map(|_| None);
        }
        let target = self.target(&response)?;
        Ok((!self.hosts.is_registry(&target)).then(|| target.to_string()))
    }

    async fn answered(&self, ask: &Ask<'_>, redirected: Redirected) -> Result<Response, UpstreamError> {
        if let Some(left) = self.patience.left() {
            return Err(self.throttled(left));
        }
        let presented = self.identity.present(ask.repository);
        let response = self.follow(ask, presented.clone(), redirected).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        if !self.hosts.is_registry(response.url()) || self.identity.is_fixed() {
            return Err(self.refused());
        }
        self.identity.forget(ask.repository);
        let challenge = challenge(response.headers()).ok_or_else(|| self.refused())?;
        match self.proven(ask, &challenge, redirected).await {
            // What was asked for a while ago may hold no more.
            Err(UpstreamError::Refused { .. }) if self.identity.forget_login().await => {
                self.proven(ask, &challenge, redirected).await
            }
            answer => answer,
        }
    }

    /// Asks again, with what the challenge asks for.
    async fn proven(
        &self,
        ask: &Ask<'_>,
        challenge: &Challenge,
        redirected: Redirected,
    ) -> Result<Response, UpstreamError> {
        let login = self.identity.login().await.map_err(|reason| self.unavailable(reason))?;
        let renewed = match challenge {
            Challenge::Bearer { realm, service } => {
                self.token(realm.clone(), service.as_deref(), ask.repository, login.as_ref()).await?
            }
            Challenge::Basic => login.as_ref().and_then(basic).ok_or_else(|| self.refused())?,
        };
        let response = self.follow(ask, Some(renewed.clone()), redirected).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.identity.forget(ask.repository);
            return Err(self.refused());
        }
        if renewed.as_bytes().starts_with(b"Basic ") {
            self.identity.use_basic(&renewed);
        }
        Ok(response)
    }

    fn judge(&self, ask: &Ask<'_>, response: Response) -> Result<Response, UpstreamError> {
        let encoded = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value != "identity");
        if encoded {
            return Err(self.lied("it encoded what has to come as it is"));
        }
        // What it redirects to speaks for itself alone.
        if self.hosts.is_registry(response.url()) {
            self.heed(&response)?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            StatusCode::NOT_FOUND => Err(UpstreamError::NotFound { what: self.named(ask) }),
            other => Err(self.failed(other)),
        }
    }

    fn named(&self, ask: &Ask<'_>) -> String {
        match ask.rest.strip_prefix("manifests/") {
            Some(digest) if digest.starts_with("sha256:") => format!("{}/{}@{digest}", self.host, ask.repository),
            Some(tag) => format!("{}/{}:{tag}", self.host, ask.repository),
            None => format!("{}/{}/{}", self.host, ask.repository, ask.rest),
        }
    }

    fn failed(&self, status: StatusCode) -> UpstreamError {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.refused(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                self.unavailable(format!("it answered {status}"))
            }
            status if status.is_server_error() => self.unavailable(format!("it answered {status}")),
            status => self.lied(&format!("it answered {status}")),
        }
    }

    async fn follow(
        &self,
        ask: &Ask<'_>,
        authorization: Option<HeaderValue>,
        redirected: Redirected,
    ) -> Result<Response, UpstreamError> {
        let path = format!("/v2/{}/{}", ask.repository, ask.rest);
        let mut url = self.base.join(&path).map_err(|error| self.lied(&error.to_string()))?;
        for _ in 0..=REDIRECTS {
            // Credentials are for the registry itself and nobody else.
            let authorization = authorization.clone().filter(|_| self.hosts.is_registry(&url));
            let response = self.send(ask.method.clone(), url.clone(), ask.headers(authorization), Bytes::new()).await?;
            if !is_redirect(response.status()) || redirected == Redirected::Stop {
                return Ok(response);
            }
            url = self.target(&response)?;
        }
        Err(self.lied(&format!("it redirects more than {REDIRECTS} times")))
    }

    /// Where a redirect leads, which is allowed.
    fn target(&self, response: &Response) -> Result<Url, UpstreamError> {
        let (url, location) = (response.url(), response.headers().get(LOCATION));
        let location = location.and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| url.join(location).ok());
        let Some(target) = target else { return Err(self.lied("it redirects to nowhere")) };
        self.hosts.allows_redirect(&target).map_err(|reason| self.lied(&reason))?;
        if url.scheme() == "https" && target.scheme() != "https" {
            return Err(self.lied("it redirects from https to http"));
        }
        Ok(target)
    }

    async fn token(
        &self,
        mut realm: Url,
        service: Option<&str>,
        repository: &str,
        login: Option<&Login>,
    ) -> Result<HeaderValue, UpstreamError> {
        self.hosts.allows_realm(&realm).map_err(|reason| self.lied(&reason))?;
        let scope = format!("repository:{repository}:pull");
        let response = if let Some(Login::Identity(token)) = login {
            // Never sent: it only puts the form together.
            let mut form = self.base.clone();
            form.query_pairs_mut().extend_pairs([
                ("grant_type", "refresh_token"),
                ("client_id", "sluice"),
                ("service", service.unwrap_or_default()),
                ("scope", scope.as_str()),
                ("refresh_token", token.reveal()),
            ]);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            let form = form.query().unwrap_or_default().to_owned();
            self.send(Method::POST, realm, HeaderMap::from_iter([(CONTENT_TYPE, kind)]), form.into()).await?
        } else {
            if let Some(service) = service {
                realm.query_pairs_mut().append_pair("service", service);
            }
            realm.query_pairs_mut().append_pair("scope", &scope);
            let mut headers = HeaderMap::new();
            headers.extend(login.and_then(basic).map(|basic| (AUTHORIZATION, basic)));
            self.send(Method::GET, realm, headers, Bytes::new()).await?
        };
        match response.status() {
            StatusCode::OK => {}
            status if is_redirect(status) => return Err(self.lied("its token realm redirects")),
            StatusCode::TOO_MANY_REQUESTS => self.heed(&response)?,
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => return Err(self.refused()),
            status => return Err(self.failed(status)),
        }
        let body = self.body(response, TOKEN_BYTES).await?;
        self.identity.take(repository, &body).ok_or_else(|| self.lied("its token realm gave no token"))
    }

    async fn send(&self, method: Method, url: Url, headers: HeaderMap, body: Bytes) -> Result<Response, UpstreamError> {
        let sent = self.transport.send(method, url, headers, body);
        match tokio::time::timeout(self.timeouts.answer, sent).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(broken)) => Err(self.unavailable(broken.to_string())),
            Err(_) => Err(self.unavailable(format!("no answer within {:?}", self.timeouts.answer))),
        }
    }

    /// All of a body that has to be small.
    pub(super) async fn body(&self, response: Response, most: usize) -> Result<Bytes, UpstreamError> {
        let read = async {
            let (mut all, mut pieces) = (BytesMut::new(), response.pieces());
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|broken| self.unavailable(broken.to_string()))?;
                if all.len() + piece.len() > most {
                    return Err(self.lied(&format!("its answer is longer than {most} bytes")));
                }
                all.extend_from_slice(&piece);
            }
            Ok(all.freeze())
        };
        match tokio::time::timeout(self.timeouts.answer, read).await {
            Ok(body) => body,
            Err(_) => Err(self.unavailable(format!("its answer was not complete within {:?}", self.timeouts.answer))),
        }
    }

    pub(super) fn unavailable(&self, reason: String) -> UpstreamError {
        UpstreamError::Unavailable { host: self.host.clone(), reason }
    }

    /// An error when the answer asks for patience.
    fn heed(&self, response: &Response) -> Result<(), UpstreamError> {
        match self.patience.heed(response.status(), response.headers()) {
            Some(wait) => {
                tracing::warn!(
                    host = self.host,
                    seconds = wait.as_secs(),
                    "a registry asks not to be asked for a while"
                );
                Err(self.throttled(wait))
            }
            None => Ok(()),
        }
    }

    fn throttled(&self, left: Duration) -> UpstreamError {
        let seconds = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
        UpstreamError::Throttled { host: self.host.clone(), seconds }
    }

    pub(super) fn lied(&self, reason: &str) -> UpstreamError {
        UpstreamError::Lied { host: self.host.clone(), reason: reason.to_owned() }
    }

    fn refused(&self) -> UpstreamError {
        UpstreamError::Refused { host: self.host.clone() }
    }
}

impl Ask<'_> {
    fn headers(&self, authorization: Option<HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(accept) = self.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(range) = self.range.as_ref().and_then(|range| HeaderValue::from_str(range).ok()) {
            headers.insert(RANGE, range);
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers
    }
}

fn base(settings: &UpstreamSettings, host: &str) -> Result<Url, UpstreamSettingsError> {
    let text = settings.url.clone().unwrap_or_else(|| format!("https://{host}"));
    let bare = |url: &Url| {
        url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    let url = Url::parse(&text).ok().filter(|url| url.has_host() && bare(url));
    let url = url.ok_or_else(|| settings.invalid("`url` is `https://` and a host, without path and user name"))?;
    if is_forbidden_host(&url) {
        return Err(settings.invalid("`url` leads to an address that is never asked"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if settings.plain_http => Ok(url),
        "http" => Err(settings.invalid(
            "`url` is plain HTTP, which shows credentials and images to the network: set `plain_http = true` if that is meant",
        )),
        _ => Err(settings.invalid("`url` begins with `https://`")),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
