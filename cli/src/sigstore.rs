//! Sigstore's services over HTTP: what is asked and taken is [`contracts::signing`]'s; here it is only sent.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use anyhow::{Context, bail};
use contracts::{
    Secret, limits,
    signing::{Draft, Ephemeral, LogVersion, Services},
};
use reqwest::{Client, StatusCode, Url, header};

const PATIENCE: Duration = Duration::from_secs(30);
/// How often a service is asked that does not answer or is overloaded.
const ATTEMPTS: u32 = 3;
/// How much of a service's reason is shown.
const REASON: usize = 300;

/// The services, ready to be asked.
pub struct Sigstore {
    http: Client,
    services: Services,
}

impl Sigstore {
    /// Prepares; sends nothing. Redirects are not followed.
    ///
    /// # Errors
    /// When an address is not one that may be asked.
    pub fn new(services: Services) -> anyhow::Result<Self> {
        let logs = services.logs.iter().map(|log| &log.url);
        for url in services.authority.iter().chain(logs).chain(&services.timestamps) {
            address(url, "")?;
        }
        let timeless = services.authority.is_some() && services.timestamps.is_empty();
        if timeless && !services.logs.iter().any(|log| log.version == LogVersion::V1) {
            bail!(
                "nothing would prove when it was signed, so nobody could verify it once its certificate is over: name a \
                 timestamp authority (--timestamp-url), or a log that tells the time (--rekor-url)"
            );
        }
        let http = Client::builder()
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .context("TLS cannot be set up")?;
        Ok(Self { http, services })
    }

    /// Has the signature's key certified for whom the token speaks of.
    ///
    /// # Errors
    /// When there is no certificate.
    pub async fn certify(&self, ephemeral: Ephemeral, token: &Secret) -> anyhow::Result<Draft> {
        let authority = self.services.authority.as_deref().context(
            "keyless signing needs a certificate authority: name one with --signing-config FILE or --fulcio-url URL",
        )?;
        let request = ephemeral.certificate_request(token.reveal())?;
        let answer = self
            .ask(address(authority, "api/v2/signingCert")?, "application/json", request.to_string().into_bytes())
            .await
            .with_context(|| format!("the certificate authority `{authority}` gives no certificate"))?;
        Ok(ephemeral.certified(&answer)?)
    }

    /// Gathers timestamps and log entries.
    ///
    /// # Errors
    /// When one of the services does not vouch for the signature.
    pub async fn vouch(&self, draft: &mut Draft) -> anyhow::Result<()> {
        for url in &self.services.timestamps {
            let request = draft.timestamp_request()?;
            let answer = self
                .ask(address(url, "")?, "application/timestamp-query", request)
                .await
                .with_context(|| format!("the timestamp authority `{url}` gives no timestamp"))?;
            draft.timestamped(&answer)?;
        }
        for log in &self.services.logs {
            let (path, request) = draft.log_request(log.version)?;
            let answer = self
                .ask(address(&log.url, path)?, "application/json", request.to_string().into_bytes())
                .await
                .with_context(|| format!("the transparency log `{}` takes no entry", log.url))?;
            draft.logged(log.version, &answer)?;
        }
        Ok(())
    }

    async fn ask(&self, url: Url, kind: &'static str, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let mut attempt = 1;
        loop {
            let sent = self.http.post(url.clone()).header(header::CONTENT_TYPE, kind).body(body.clone()).send().await;
            let passing = match &sent {
                Ok(answer) => answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS,
                Err(_) => true,
            };
            if passing && attempt < ATTEMPTS {
                tokio::time::sleep(Duration::from_secs(attempt.into())).await;
                attempt += 1;
                continue;
            }
            return read(sent?).await;
        }
    }
}

async fn read(mut answer: reqwest::Response) -> anyhow::Result<Vec<u8>> {
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > limits::SIGSTORE_ANSWER_BYTES {
            bail!("its answer is longer than {} bytes", limits::SIGSTORE_ANSWER_BYTES);
        }
    }
    if status.is_success() {
        return Ok(body);
    }
    let mut reason = format!("HTTP {}", status.as_u16());
    let said: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(REASON).collect();
    if !said.trim().is_empty() {
        write!(reason, ": {}", said.trim())?;
    }
    bail!(reason)
}

/// An address below a service's own. What is sent there proves who we are, so it is never sent in the clear.
fn address(service: &str, path: &str) -> anyhow::Result<Url> {
    let joined = if path.is_empty() { service.to_owned() } else { format!("{}/{path}", service.trim_end_matches('/')) };
    let url: Url = joined.parse().with_context(|| format!("`{service}` is not an address"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        bail!("`{service}` is not https");
    }
    Ok(url)
}
