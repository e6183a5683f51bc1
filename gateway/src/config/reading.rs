//! From what a file says to settings: paths beside the file, defaults, and every mistake with its line.

use std::{
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::SignedDuration;
use toml::Spanned;

use super::{
    RawSettings, Settings, TlsSettings,
    mistakes::{Mistake, line_of},
};
use crate::names::{Name, NameError};

/// Where `listen` points when it is not given.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) folder: &'a Path,
    pub(super) mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    pub(super) fn settings(mut self, raw: RawSettings) -> (Settings, Vec<Mistake>) {
        let state = self.path(raw.state, "state/sluice.redb");
        let beside_state = state.parent().unwrap_or(self.folder).to_owned();
        let admin_token_file = match raw.admin_token_file {
            Some(given) => self.path(Some(given), ""),
            None => beside_state.join("admin-token"),
        };
        let organization = self.organization(raw.organization.as_ref());
        let upstreams = raw.upstreams.iter().flat_map(|one| one.aliases.iter().chain([&one.host])).cloned();
        let upstreams: Vec<String> = upstreams.collect();
        let asked = raw.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let clients = self.clients(raw.clients, asked);
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
            clients,
            hosts: self.hosts(raw.hosts, &upstreams),
            trusted_proxies: self.proxies(raw.trusted_proxies),
            tuf: raw.tuf.map(|tuf| self.tuf(tuf, &beside_state, raw.trusted_root.is_some())),
            trusted_root: raw.trusted_root.map(|given| self.path(Some(given), "")),
            signing: self.signing(raw.signing, &beside_state),
            cache: raw.cache.map(|cache| self.cache(cache, &beside_state)),
            discovery_interval: self.duration(raw.discovery_interval.as_ref(), Duration::from_secs(60)),
            metrics_anonymous: raw.metrics_anonymous,
            denied_head: raw.denied_head,
            max_connections: self.connections(raw.max_connections.as_ref()),
            drain: self.duration(raw.drain.as_ref(), Duration::from_secs(25)),
            send_timeout: self.duration(raw.send_timeout.as_ref(), Duration::from_secs(60)),
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

    pub(super) fn wrong(&mut self, span: &Range<usize>, message: String) {
        let line = Some(line_of(self.text, span));
        self.mistakes.push(Mistake { line, message });
    }

    pub(super) fn path(&mut self, given: Option<Spanned<PathBuf>>, default: &str) -> PathBuf {
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

    pub(super) fn url(&mut self, given: &Spanned<String>) -> String {
        let text = given.get_ref().trim_end_matches('/');
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        if !host.is_some_and(|h| !h.is_empty() && !h.contains(['?', '#', '@', ' '])) {
            let message = format!("`{text}` is not the address of a gateway: write `https://` and its host");
            self.wrong(&given.span(), message);
        }
        text.to_owned()
    }

    pub(super) fn duration(&mut self, given: Option<&Spanned<String>>, default: Duration) -> Duration {
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
