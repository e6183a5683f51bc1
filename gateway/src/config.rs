//! The gateway's configuration file. Relative paths count from the folder of the file. Unknown keys are mistakes.

mod cache;
mod clients;
mod hosts;
mod kubernetes;
mod mistakes;
mod reading;
mod signing;
#[cfg(test)]
mod tests;
mod tuf;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use self::{
    cache::RawCache,
    clients::RawClient,
    hosts::RawHost,
    kubernetes::RawKubernetes,
    mistakes::{line_in_list, line_of, unknown_keys},
    reading::Reading,
    signing::RawSigning,
    tuf::RawTuf,
};
pub use self::{
    clients::ClientSettings,
    hosts::{HostSettings, Network},
    kubernetes::{Digests, KubernetesSettings},
    mistakes::{ConfigError, Mistake},
    signing::{PreviousKey, SigningSettings},
};
use crate::{
    federation::{Federation, IssuerSettings},
    names::Name,
    tuf::TufSettings,
    upstream::{CacheSettings, UpstreamSettings, UpstreamSettingsError, Upstreams},
};

/// A configuration, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The state file, made when it is not there.
    pub state: PathBuf,
    /// The folder of the evidence, made when it is not there.
    pub evidence: PathBuf,
    /// Where the first admin token of an empty state is written. The file must not be there then.
    pub admin_token_file: PathBuf,
    /// The name of the first organization of an empty state.
    pub organization: Name,
    /// How clients reach the gateway, for links in messages; without it there are none.
    pub external_url: Option<String>,
    /// Whether plain HTTP may be spoken on addresses other than loopback.
    pub plain_http: bool,
    /// The certificate and key to speak TLS with.
    pub tls: Option<TlsSettings>,
    /// Clients that need no token, as their certificates tell them.
    pub clients: Vec<ClientSettings>,
    /// Names by which clients reach the gateway that mean more than itself.
    pub hosts: Vec<HostSettings>,
    /// Whose `X-Forwarded-Host` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<Network>,
    /// A Sigstore `trusted_root.json`, for keyless signatures.
    pub trusted_root: Option<PathBuf>,
    /// Where the same comes from, and is kept fresh. One of the two at most.
    pub tuf: Option<TufSettings>,
    /// What the gateway's own word is signed with.
    pub signing: SigningSettings,
    /// Where content that was served is kept, if it is.
    pub cache: Option<CacheSettings>,
    /// Where images come from.
    pub upstreams: Vec<UpstreamSettings>,
    /// Who makes the identity tokens that callers may come with.
    pub issuers: Vec<IssuerSettings>,
    /// How long a look at an upstream's attestations of an allowed image is taken as current.
    pub discovery_interval: Duration,
    /// Whether `/metrics` is shown without a token.
    pub metrics_anonymous: bool,
    /// What a denied `HEAD` of a manifest tells.
    pub denied_head: DeniedHead,
    /// Connections held open at once; more wait.
    pub max_connections: usize,
    /// How long open requests may take to finish once the gateway is told to stop.
    pub drain: Duration,
    /// How long a client may take nothing of what it is sent, before its connection, or with HTTP/2 the one answer, is
    /// given up.
    pub send_timeout: Duration,
    /// What a cluster's API server may ask.
    pub kubernetes: KubernetesSettings,
    /// What is logged and how.
    pub log: LogSettings,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain in PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Authorities in PEM: only clients with a certificate of one of them are spoken to, whatever token they have.
    pub client_ca: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged: a level, or `tracing` directives such as `info,gateway=debug`.
    pub level: Option<String>,
}

/// What a denied `HEAD` of a manifest tells: it is answered 200 either way, and the `GET` after it 403.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeniedHead {
    /// Nothing of the manifest. A client that has the content cannot go on with it.
    #[default]
    WithoutDigest,
    /// The digest. A client that has the content goes on with it: nothing is stopped that is on the machine.
    WithDigest,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    listen: Option<Spanned<String>>,
    state: Option<Spanned<PathBuf>>,
    evidence: Option<Spanned<PathBuf>>,
    admin_token_file: Option<Spanned<PathBuf>>,
    organization: Option<Spanned<String>>,
    external_url: Option<Spanned<String>>,
    #[serde(default)]
    plain_http: bool,
    tls: Option<RawTls>,
    #[serde(default)]
    clients: Vec<RawClient>,
    #[serde(default)]
    hosts: Vec<RawHost>,
    #[serde(default)]
    trusted_proxies: Vec<Spanned<String>>,
    trusted_root: Option<Spanned<PathBuf>>,
    tuf: Option<RawTuf>,
    discovery_interval: Option<Spanned<String>>,
    #[serde(default)]
    metrics_anonymous: bool,
    #[serde(default)]
    denied_head: DeniedHead,
    max_connections: Option<Spanned<i64>>,
    drain: Option<Spanned<String>>,
    send_timeout: Option<Spanned<String>>,
    #[serde(default)]
    log: LogSettings,
    #[serde(default)]
    kubernetes: RawKubernetes,
    #[serde(default)]
    signing: RawSigning,
    cache: Option<RawCache>,
    #[serde(default)]
    upstreams: Vec<UpstreamSettings>,
    #[serde(default)]
    issuers: Vec<IssuerSettings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: Spanned<PathBuf>,
    key: Spanned<PathBuf>,
    client_ca: Option<Spanned<PathBuf>>,
}

/// An empty file is a configuration, and none is a mistake: of the path, or of the folder that one is in.
fn unread(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "it is not there: name another with --config, or make it (an empty file is a configuration, and `sluice \
             quickstart --files` writes one to begin with)"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

impl Settings {
    /// The settings of a file that says nothing, with relative paths under `folder`.
    #[must_use]
    pub fn defaults(folder: &Path) -> Self {
        let (settings, _no_mistakes) =
            Reading { text: "", folder, mistakes: Vec::new() }.settings(RawSettings::empty());
        settings
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// With every mistake, each with its line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { path: name.clone(), reason: unread(&e) })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let settings = Self::parse(&name, &text, folder)?;
        // What an upstream names is there and does not contradict another one; nothing is dialled.
        let mut mistakes: Vec<Mistake> = Upstreams::mistakes(&settings.upstreams)
            .into_iter()
            .map(|(number, error)| {
                let key = if let UpstreamSettingsError::File { key, .. } = &error { *key } else { "host" };
                Mistake { line: line_in_list(&text, "upstreams", number, key), message: error.to_string() }
            })
            .collect();
        if let Err(error) = Federation::new(&settings.issuers) {
            let named = |one: &IssuerSettings| one.issuer == error.issuer;
            let number = settings.issuers.iter().rposition(named).unwrap_or_default();
            mistakes
                .push(Mistake { line: line_in_list(&text, "issuers", number, "issuer"), message: error.to_string() });
        }
        if mistakes.is_empty() { Ok(settings) } else { Err(ConfigError::Mistakes { path: name, mistakes }) }
    }

    /// Reads a configuration's text; `name` is for messages, relative paths count from `folder`.
    ///
    /// # Errors
    /// With every mistake, each with its line.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let unknown = unknown_keys(text);
        if !unknown.is_empty() {
            return Err(ConfigError::Mistakes { path: name.to_owned(), mistakes: unknown });
        }
        let raw: RawSettings = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, &span));
            let message = error.message().trim_end().replace('\n', ", ");
            // A list of tables, such as the upstreams, was begun as one table.
            let message = match message.contains("invalid type: map, expected a sequence") {
                true => "a list stands here: a table of it has its name in two brackets, as `[[upstreams]]`".to_owned(),
                false => message,
            };
            ConfigError::Mistakes { path: name.to_owned(), mistakes: vec![Mistake { line, message }] }
        })?;
        let (settings, mistakes) = Reading { text, folder, mistakes: Vec::new() }.settings(raw);
        if mistakes.is_empty() { Ok(settings) } else { Err(ConfigError::Mistakes { path: name.to_owned(), mistakes }) }
    }

    /// Whether what is sent to the gateway could be read on the way: no TLS, and not on loopback.
    #[must_use]
    pub fn exposes_secrets(&self) -> bool {
        self.tls.is_none() && !self.listen.ip().is_loopback()
    }
}

impl RawSettings {
    fn empty() -> Self {
        Self {
            listen: None,
            state: None,
            evidence: None,
            admin_token_file: None,
            organization: None,
            external_url: None,
            plain_http: false,
            tls: None,
            clients: Vec::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            trusted_root: None,
            tuf: None,
            discovery_interval: None,
            metrics_anonymous: false,
            denied_head: DeniedHead::default(),
            max_connections: None,
            drain: None,
            send_timeout: None,
            log: LogSettings::default(),
            kubernetes: RawKubernetes::default(),
            signing: RawSigning::default(),
            cache: None,
            upstreams: Vec::new(),
            issuers: Vec::new(),
        }
    }
}
