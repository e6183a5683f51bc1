//! How a request came, and by which name its client reached the gateway.

use std::{net::SocketAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderName, Uri, header};

use crate::config::{ClientSettings, Settings};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The connection of a request. The server alone makes one; a request says nothing of it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who connected.
    pub(crate) peer: SocketAddr,
    /// Where to.
    pub(crate) local: SocketAddr,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// The name that the client asked TLS for, which the certificate had to hold for.
    pub(crate) server_name: Option<Arc<str>>,
    /// Who the client was verified to be by its certificate, when it needs no token.
    pub(crate) client: Option<Arc<ClientSettings>>,
}

impl Arrival {
    /// The name by which the client asked, in lower case and without port. A claim of the client's, or of a proxy that
    /// is trusted: it is looked up in a table, and nothing else.
    pub(crate) fn asked_for(&self, settings: &Settings, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let forwarded = self.forwarded(settings, headers, &FORWARDED_HOST);
        let text = match (forwarded, uri.authority()) {
            (Some(host), _) => host.to_owned(),
            (None, Some(authority)) => authority.as_str().to_owned(),
            (None, None) => only(headers, &header::HOST)?.to_owned(),
        };
        let name = without_port(&text).to_ascii_lowercase();
        (!name.is_empty()).then_some(name)
    }

    /// The address under which this client can reach the gateway: the configured one, else what a trusted proxy says,
    /// else where it connected to. What the client says has no part in it.
    pub(crate) fn address(&self, settings: &Settings, headers: &HeaderMap) -> String {
        if let Some(configured) = &settings.external_url {
            return configured.clone();
        }
        let scheme = if self.tls { "https" } else { "http" };
        if let Some(host) = self.forwarded(settings, headers, &FORWARDED_HOST) {
            let said = self.forwarded(settings, headers, &FORWARDED_PROTO);
            return format!("{}://{host}", said.filter(|said| matches!(*said, "http" | "https")).unwrap_or(scheme));
        }
        match &self.server_name {
            Some(name) => format!("{scheme}://{name}:{}", self.local.port()),
            None => format!("{scheme}://{}", self.local),
        }
    }

    /// What a proxy says, when it is one that is trusted and says one thing.
    fn forwarded<'h>(&self, settings: &Settings, headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
        let trusted = settings.trusted_proxies.iter().any(|network| network.contains(self.peer.ip()));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        only(headers, name).filter(|text| trusted && !text.is_empty() && text.chars().all(plain))
    }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(one), None) => one.to_str().ok(),
        _ => None,
    }
}

/// The name in `NAME:PORT`.
pub(super) fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Network;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (name, value) in pairs {
            all.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        all
    }

    #[test]
    fn only_the_configuration_trusted_proxies_and_the_connection_say_where_the_gateway_is() {
        let mut settings = Settings::defaults(Path::new("/"));
        let arrival = |peer: &str, tls, name: Option<&str>| Arrival {
            peer: peer.parse().unwrap(),
            local: "10.1.1.1:8443".parse().unwrap(),
            tls,
            server_name: name.map(Arc::from),
            client: None,
        };
        let forged =
            headers(&[("host", "Evil.dev:1"), ("x-forwarded-host", "evil.dev"), ("x-forwarded-proto", "http")]);
        let uri = Uri::from_static("/v2/");
        let (direct, proxied) = (arrival("10.9.9.9:1", true, Some("gw.acme.dev")), arrival("10.0.0.7:1", false, None));
        assert_eq!(direct.address(&settings, &forged), "https://gw.acme.dev:8443");
        assert_eq!(proxied.address(&settings, &forged), "http://10.1.1.1:8443");
        assert_eq!(direct.asked_for(&settings, &uri, &forged).as_deref(), Some("evil.dev"));

        settings.trusted_proxies = vec![Network::parse("10.0.0.0/24").unwrap()];
        let said = headers(&[("host", "inner"), ("x-forwarded-host", "gw.acme.dev"), ("x-forwarded-proto", "https")]);
        assert_eq!(proxied.address(&settings, &said), "https://gw.acme.dev");
        assert_eq!(proxied.asked_for(&settings, &uri, &said).as_deref(), Some("gw.acme.dev"));
        assert_eq!(direct.address(&settings, &said), "https://gw.acme.dev:8443");
        assert_eq!(direct.asked_for(&settings, &uri, &said).as_deref(), Some("inner"));
        for twofold in [
            headers(&[("x-forwarded-host", "a.dev"), ("x-forwarded-host", "b.dev")]),
            headers(&[("x-forwarded-host", "a.dev, b.dev")]),
            headers(&[("x-forwarded-host", "a.dev/x?")]),
        ] {
            assert_eq!(proxied.address(&settings, &twofold), "http://10.1.1.1:8443");
        }
        let two = headers(&[("host", "a.dev"), ("host", "b.dev")]);
        assert_eq!(direct.asked_for(&settings, &uri, &two), None);

        settings.external_url = Some("https://sluice.acme.dev".to_owned());
        assert_eq!(proxied.address(&settings, &said), "https://sluice.acme.dev");
    }
}
