//! The gateway's configuration file. Relative paths count from the folder of the file. Unknown keys are mistakes.

// Over 500 lines: the settings, how they are read and their mistakes are told are one table; each is a few lines.

mod cache;
mod hosts;
mod kubernetes;
mod signing;

use std::{
    fmt,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::SignedDuration;
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use self::{cache::RawCache, hosts::RawHost, kubernetes::RawKubernetes, signing::RawSigning};
pub use self::{
    hosts::{HostSettings, Network},
    kubernetes::{Digests, KubernetesSettings},
    signing::{PreviousKey, SigningSettings},
};
use crate::{
    federation::{Federation, IssuerSettings},
    names::{Name, NameError},
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
    /// Names by which clients reach the gateway that mean more than itself.
    pub hosts: Vec<HostSettings>,
    /// Whose `X-Forwarded-Host` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<Network>,
    /// A Sigstore `trusted_root.json`, for keyless signatures.
    pub trusted_root: Option<PathBuf>,
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

/// Why a configuration is not one. Mistakes of one kind are named together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened.
    #[error("the configuration `{path}` cannot be read: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file says something that is not a configuration.
    #[error("the configuration `{path}` is not right:{}", bullets(mistakes))]
    Mistakes {
        /// Which file.
        path: String,
        /// What is wrong.
        mistakes: Vec<Mistake>,
    },
}

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; none when something is missing.
    pub line: Option<usize>,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn bullets(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("\n  {m}")).collect()
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
    hosts: Vec<RawHost>,
    #[serde(default)]
    trusted_proxies: Vec<Spanned<String>>,
    trusted_root: Option<Spanned<PathBuf>>,
    discovery_interval: Option<Spanned<String>>,
    #[serde(default)]
    metrics_anonymous: bool,
    #[serde(default)]
    denied_head: DeniedHead,
    max_connections: Option<Spanned<i64>>,
    drain: Option<Spanned<String>>,
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
            .map_err(|e| ConfigError::Unreadable { path: name.clone(), reason: e.to_string() })?;
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
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            trusted_root: None,
            discovery_interval: None,
            metrics_anonymous: false,
            denied_head: DeniedHead::default(),
            max_connections: None,
            drain: None,
            log: LogSettings::default(),
            kubernetes: RawKubernetes::default(),
            signing: RawSigning::default(),
            cache: None,
            upstreams: Vec::new(),
            issuers: Vec::new(),
        }
    }
}

/// Where `listen` points when it is not given.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

struct Reading<'a> {
    text: &'a str,
    folder: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn settings(mut self, raw: RawSettings) -> (Settings, Vec<Mistake>) {
        let state = self.path(raw.state, "state/sluice.redb");
        let beside_state = state.parent().unwrap_or(self.folder).to_owned();
        let admin_token_file = match raw.admin_token_file {
            Some(given) => self.path(Some(given), ""),
            None => beside_state.join("admin-token"),
        };
        let organization = self.organization(raw.organization.as_ref());
        let upstreams = raw.upstreams.iter().flat_map(|one| one.aliases.iter().chain([&one.host])).cloned();
        let upstreams: Vec<String> = upstreams.collect();
        let settings = Settings {
            listen: self.address(raw.listen.as_ref()),
            evidence: self.path(raw.evidence, "state/evidence"),
            state,
            admin_token_file,
            organization,
            external_url: raw.external_url.map(|given| self.url(&given)),
            plain_http: raw.plain_http,
            tls: raw.tls.map(|tls| TlsSettings {
                certificate: self.path(Some(tls.certificate), ""),
                key: self.path(Some(tls.key), ""),
                client_ca: tls.client_ca.map(|given| self.path(Some(given), "")),
            }),
            hosts: self.hosts(raw.hosts, &upstreams),
            trusted_proxies: self.proxies(raw.trusted_proxies),
            trusted_root: raw.trusted_root.map(|given| self.path(Some(given), "")),
            signing: self.signing(raw.signing, &beside_state),
            cache: raw.cache.map(|cache| self.cache(cache, &beside_state)),
            discovery_interval: self.duration(raw.discovery_interval.as_ref(), Duration::from_secs(60)),
            metrics_anonymous: raw.metrics_anonymous,
            denied_head: raw.denied_head,
            max_connections: self.connections(raw.max_connections.as_ref()),
            drain: self.duration(raw.drain.as_ref(), Duration::from_secs(25)),
            kubernetes: self.kubernetes(raw.kubernetes),
            log: raw.log,
            upstreams: raw.upstreams.into_iter().map(|u| u.under(self.folder)).collect(),
            issuers: raw.issuers.into_iter().map(|i| i.under(self.folder)).collect(),
        };
        if settings.exposes_secrets() && !settings.plain_http {
            let line = raw.listen.as_ref().map(|l| line_of(self.text, &l.span()));
            let message = format!(
                "`listen = \"{}\"` would send tokens over plain HTTP: give `[tls]` a certificate and key, listen on 127.0.0.1, or set `plain_http = true` when something in front speaks TLS",
                settings.listen
            );
            self.mistakes.push(Mistake { line, message });
        }
        self.mistakes.sort_by_key(|m| m.line);
        (settings, self.mistakes)
    }

    fn wrong(&mut self, span: &Range<usize>, message: String) {
        let line = Some(line_of(self.text, span));
        self.mistakes.push(Mistake { line, message });
    }

    fn path(&mut self, given: Option<Spanned<PathBuf>>, default: &str) -> PathBuf {
        if let Some(empty) = given.as_ref().filter(|g| g.get_ref().as_os_str().is_empty()) {
            self.wrong(&empty.span(), "a path cannot be empty".to_owned());
        }
        self.folder.join(given.map_or_else(|| PathBuf::from(default), Spanned::into_inner))
    }

    fn address(&mut self, given: Option<&Spanned<String>>) -> SocketAddr {
        let Some(given) = given else { return LISTEN };
        given.get_ref().parse().unwrap_or_else(|_| {
            let message = format!(
                "`{}` is not an address: write an IP address and a port, such as `127.0.0.1:8080` or `[::]:443`",
                given.get_ref()
            );
            self.wrong(&given.span(), message);
            LISTEN
        })
    }

    fn organization(&mut self, given: Option<&Spanned<String>>) -> Name {
        let Some(given) = given else { return Name::first_organization() };
        given.get_ref().parse().unwrap_or_else(|error: NameError| {
            self.wrong(&given.span(), error.to_string());
            Name::first_organization()
        })
    }

    fn url(&mut self, given: &Spanned<String>) -> String {
        let text = given.get_ref().trim_end_matches('/');
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        if !host.is_some_and(|h| !h.is_empty() && !h.contains(['?', '#', '@', ' '])) {
            let message = format!("`{text}` is not the address of a gateway: write `https://` and its host");
            self.wrong(&given.span(), message);
        }
        text.to_owned()
    }

    fn duration(&mut self, given: Option<&Spanned<String>>, default: Duration) -> Duration {
        let Some(given) = given else { return default };
        let parsed = given.get_ref().parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
        match parsed {
            Some(d) if (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&d) => d,
            _ => {
                let message =
                    format!("`{}` is not a duration from 1s to 24h: write it as `60s` or `5m`", given.get_ref());
                self.wrong(&given.span(), message);
                default
            }
        }
    }

    fn connections(&mut self, given: Option<&Spanned<i64>>) -> usize {
        const DEFAULT: usize = 1024;
        let Some(given) = given else { return DEFAULT };
        match usize::try_from(*given.get_ref()) {
            Ok(n) if (1..=65_536).contains(&n) => n,
            _ => {
                self.wrong(
                    &given.span(),
                    format!("`{}` is not a number of connections from 1 to 65536", given.get_ref()),
                );
                DEFAULT
            }
        }
    }
}

/// The keys of each section.
const TOP: &[&str] = &[
    "listen",
    "state",
    "evidence",
    "admin_token_file",
    "organization",
    "external_url",
    "plain_http",
    "tls",
    "hosts",
    "trusted_proxies",
    "trusted_root",
    "discovery_interval",
    "metrics_anonymous",
    "denied_head",
    "max_connections",
    "drain",
    "kubernetes",
    "log",
    "signing",
    "cache",
    "upstreams",
    "issuers",
];
const TLS: &[&str] = &["certificate", "key", "client_ca"];
const LOG: &[&str] = &["format", "level"];
const ISSUER: &[&str] = &["issuer", "provider", "jwks_uri", "jwks_hosts", "organizations", "ca_file", "plain_http"];
const UPSTREAM: &[&str] = &[
    "host",
    "aliases",
    "organizations",
    "url",
    "layout",
    "repository",
    "username",
    "password_file",
    "token_file",
    "credential_helper",
    "docker_config",
    "ca_file",
    "plain_http",
    "realm_hosts",
    "redirect_hosts",
    "redirects",
    "default",
    "connect_timeout",
    "answer_timeout",
    "idle_timeout",
];

/// Every key that is not a setting; none when the text is not TOML, which is told otherwise.
fn unknown_keys(text: &str) -> Vec<Mistake> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let mut mistakes = Vec::new();
    unknown_in(text, table.get_ref(), TOP, &mut mistakes);
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("tls", DeValue::Table(section)) => unknown_in(text, section, TLS, &mut mistakes),
            ("log", DeValue::Table(section)) => unknown_in(text, section, LOG, &mut mistakes),
            ("cache", DeValue::Table(section)) => unknown_in(text, section, cache::CACHE, &mut mistakes),
            ("kubernetes", DeValue::Table(section)) => kubernetes::unknown(text, section, &mut mistakes),
            ("signing", DeValue::Table(section)) => signing::unknown(text, section, &mut mistakes),
            (list @ ("upstreams" | "issuers" | "hosts"), DeValue::Array(sections)) => {
                let known = match list {
                    "issuers" => ISSUER,
                    "hosts" => hosts::HOST,
                    _ => UPSTREAM,
                };
                for section in sections.iter() {
                    if let DeValue::Table(section) = section.get_ref() {
                        unknown_in(text, section, known, &mut mistakes);
                    }
                }
            }
            _ => {}
        }
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes
}

fn unknown_in(text: &str, table: &DeTable<'_>, known: &[&str], mistakes: &mut Vec<Mistake>) {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            let message = format!("`{name}` is not a setting here; there are `{}`", known.join("`, `"));
            mistakes.push(Mistake { line: Some(line_of(text, &key.span())), message });
        }
    }
}

/// Where a key of one section of a list is written.
fn line_in_list(text: &str, list: &str, number: usize, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let DeValue::Array(sections) = table.get_ref().get(list)?.get_ref() else { return None };
    let DeValue::Table(section) = sections.get(number)?.get_ref() else { return None };
    let found = section.keys().find(|name| name.get_ref().as_ref() == key)?;
    Some(line_of(text, &found.span()))
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        match Settings::parse("sluice.toml", text, Path::new("/etc/sluice")) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Mistakes { mistakes, .. }) => mistakes.iter().map(ToString::to_string).collect(),
            Err(other) => vec![other.to_string()],
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let folder = Path::new("/etc/sluice");
        let read = Settings::parse("sluice.toml", "", folder).unwrap();
        assert_eq!(read, Settings::defaults(folder));
        assert_eq!(read.state, Path::new("/etc/sluice/state/sluice.redb"));
        assert_eq!(read.admin_token_file, Path::new("/etc/sluice/state/admin-token"));
        assert_eq!((read.listen, read.plain_http, read.metrics_anonymous), (LISTEN, false, false));
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "listen = \"localhost\"\n\ndiscovery_interval = \"0s\"\nexternal_url = \"gw.acme.dev\"\nmax_connections = 0\norganization = \"Acme\"\n";
        insta::assert_snapshot!(mistakes(text).join("\n"), @r#"
        line 1: `localhost` is not an address: write an IP address and a port, such as `127.0.0.1:8080` or `[::]:443`
        line 3: `0s` is not a duration from 1s to 24h: write it as `60s` or `5m`
        line 4: `gw.acme.dev` is not the address of a gateway: write `https://` and its host
        line 5: `0` is not a number of connections from 1 to 65536
        line 6: `Acme` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends
        "#);
    }

    #[test]
    fn what_is_not_a_setting_is_not_ignored() {
        let unknown = mistakes("state = \"x\"\nplain-http = true\n[log]\ncolour = 1\n");
        assert_eq!(unknown.len(), 2, "{unknown:?}");
        assert!(
            unknown[0].starts_with("line 2: `plain-http` is not a setting here; there are `listen`"),
            "{unknown:?}"
        );
        assert_eq!(unknown[1], "line 4: `colour` is not a setting here; there are `format`, `level`");
        insta::assert_snapshot!(mistakes("[log]\nformat = \"xml\"\n").join("\n"), @"line 2: unknown variant `xml`, expected `human` or `json`");
        insta::assert_snapshot!(mistakes("listen = \"0.0.0.0:80\n").join("\n"), @r#"line 1: invalid basic string, expected `"`"#);
    }

    #[test]
    fn upstreams_are_read_with_their_paths_beside_the_file() {
        let text = "[[upstreams]]\nhost = \"registry.acme.dev\"\nlayout = \"images\"\n";
        let read = Settings::parse("sluice.toml", text, Path::new("/etc/sluice")).unwrap();
        assert_eq!(read.upstreams[0].layout.as_deref(), Some(Path::new("/etc/sluice/images")));
        let secret = "[[upstreams]]\nhost = \"registry.acme.dev\"\npassword = \"x\"\n";
        assert!(mistakes(secret).concat().starts_with("line 3: `password` is not a setting"));
    }

    #[test]
    fn upstreams_that_cannot_be_used_are_named_with_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sluice.toml");
        std::fs::write(&file, "[[upstreams]]\nhost = \"a.dev\"\nlayout = \"images\"\n\n[[upstreams]]\nhost = \"b.dev\"\nurl = \"https://b.dev\"\nlayout = \"x\"\n").unwrap();
        let told = Settings::load(&file).unwrap_err().to_string();
        assert!(told.contains("line 3: upstream `a.dev`") && told.contains("under `layout`"), "{told}");
        assert!(told.contains("line 6: upstream `b.dev`: name `url` or `layout`, not both"), "{told}");
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("images/oci-layout"), "{}").unwrap();
        std::fs::write(&file, "[[upstreams]]\nhost = \"a.dev\"\nlayout = \"images\"\n").unwrap();
        assert!(Settings::load(&file).is_ok());
    }

    #[test]
    fn the_signing_key_lies_beside_the_state_unless_another_is_named() {
        let folder = Path::new("/etc/sluice");
        let read = |text: &str| Settings::parse("sluice.toml", text, folder).unwrap().signing;
        let default = read("state = \"/var/lib/sluice/s.redb\"");
        assert_eq!((default.key.as_path(), default.make), (Path::new("/var/lib/sluice/signing.key"), true));
        let text = "[signing]\nkey = \"a.key\"\nverifier = \"https://sluice.acme.dev/\"\n[[signing.previous]]\nkey = \"b.pub\"\nfrom = \"2026-01-01\"\nuntil = \"2027-01-01T12:00:00Z\"\n";
        let named = read(text);
        assert_eq!((named.key.as_path(), named.make), (Path::new("/etc/sluice/a.key"), false));
        assert_eq!(named.verifier.as_deref(), Some("https://sluice.acme.dev"));
        assert_eq!(named.previous[0].from, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let wrong = "[signing]\nverifier = \"sluice\"\n[[signing.previous]]\nkey = \"b.pub\"\nfrom = \"2027-01-01\"\nuntil = \"soon\"\n[[signing.previous]]\nkey = \"c.pub\"\nfrom = \"2027-01-01\"\nuntil = \"2026-01-01\"\n";
        insta::assert_snapshot!(mistakes(wrong).join("\n"), @r#"
        line 2: `sluice` is not a URI: write the gateway's address, or a name such as `urn:acme:sluice`
        line 6: `soon` is not an instant: write `2027-01-31`, or `2027-01-31T12:00:00Z`
        line 10: `until` is 2026-01-01T00:00:00Z, which is not after `from`, 2027-01-01T00:00:00Z
        "#);
        insta::assert_snapshot!(mistakes("[[signing.previous]]\nkey = \"a\"\nto = \"b\"\n").join("\n"), @"line 3: `to` is not a setting here; there are `key`, `from`, `until`");
    }

    #[test]
    fn hosts_name_upstreams_that_are_there_and_whose_images_are_open() {
        let upstream = "[[upstreams]]\nhost = \"docker.io\"\naliases = [\"hub.acme.dev\"]\n";
        let read = |text: &str| mistakes(&format!("{upstream}{text}")).join("\n");
        let good = "[[hosts]]\nname = \"Docker.acme.dev\"\nupstream = \"hub.acme.dev\"\norganization = \"acme\"\nanonymous_pull = true\n";
        assert_eq!(read(good), "");
        let settings = Settings::parse("sluice.toml", &format!("{upstream}{good}"), Path::new("/")).unwrap();
        assert_eq!(settings.hosts[0].name, "docker.acme.dev");
        insta::assert_snapshot!(read("[[hosts]]\nname = \"https://a.dev\"\n[[hosts]]\nname = \"b.dev\"\nupstream = \"quay.io\"\nanonymous_pull = true\n[[hosts]]\nname = \"B.dev\"\norganization = \"A\"\nport = 1\n"), @"line 13: `port` is not a setting here; there are `name`, `upstream`, `organization`, `anonymous_pull`");
        insta::assert_snapshot!(read("[[hosts]]\nname = \"https://a.dev\"\n[[hosts]]\nname = \"b.dev\"\nupstream = \"quay.io\"\nanonymous_pull = true\n[[hosts]]\nname = \"B.dev\"\norganization = \"A\"\n"), @r"
        line 5: `https://a.dev` is not the name of a host: write it without scheme, port and path
        line 7: `anonymous_pull` needs `organization`: whose images may be pulled without a token
        line 8: there is no upstream `quay.io` under `[[upstreams]]`
        line 11: there is `b.dev` already
        line 12: `A` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends
        ");
        insta::assert_snapshot!(mistakes("trusted_proxies = [\"10.0.0.0/8\", \"proxy.acme.dev\"]").join("\n"), @"line 1: `proxy.acme.dev` is no network: write `10.0.0.0/8` or one address");
    }

    #[test]
    fn a_cache_lies_beside_the_state_and_is_told_its_size() {
        let folder = Path::new("/etc/sluice");
        let read = |text: &str| Settings::parse("sluice.toml", text, folder).unwrap().cache;
        assert_eq!(read(""), None);
        let cache = read("state = \"/var/lib/sluice/s.redb\"\n[cache]\nsize = \"50GiB\"").unwrap();
        assert_eq!((cache.folder.as_path(), cache.size), (Path::new("/var/lib/sluice/cache"), 50 << 30));
        let named = read("[cache]\nfolder = \"c\"\nsize = \"1TB\"").unwrap();
        assert_eq!(named.folder, Path::new("/etc/sluice/c"));
        insta::assert_snapshot!(mistakes("[cache]\nsize = \"50\"\n").join("\n"), @"line 2: `50` is not a size: write a whole number and a unit, such as `50GiB` or `500MB`");
        insta::assert_snapshot!(mistakes("[cache]\nsize = \"1MiB\"\n").join("\n"), @"line 2: `1MiB` is too little: give the cache at least `64MiB`");
        insta::assert_snapshot!(mistakes("[cache]\npath = \"c\"\n").join("\n"), @"line 2: `path` is not a setting here; there are `folder`, `size`");
    }

    #[test]
    fn plain_http_off_loopback_is_refused_unless_it_is_asked_for() {
        insta::assert_snapshot!(mistakes("\nlisten = \"0.0.0.0:80\"").join("\n"), @r#"line 2: `listen = "0.0.0.0:80"` would send tokens over plain HTTP: give `[tls]` a certificate and key, listen on 127.0.0.1, or set `plain_http = true` when something in front speaks TLS"#);
        for fine in [
            "listen = \"0.0.0.0:80\"\nplain_http = true",
            "listen = \"[::1]:80\"",
            "listen = \"0.0.0.0:443\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
        ] {
            assert_eq!(mistakes(fine), Vec::<String>::new(), "{fine}");
        }
    }
}
