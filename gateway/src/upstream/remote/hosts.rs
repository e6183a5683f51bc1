//! Where an upstream may send us: its own host, and those that the settings name. Never where machines keep their
//! secrets, whoever says so.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// A host, with the port that was written, if one was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    host: String,
    port: Option<u16>,
}

/// The hosts that an upstream may involve.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    registry: Url,
    plain_http: bool,
    realms: Vec<Listed>,
    redirects: Vec<Listed>,
}

impl Hosts {
    /// The settings' hosts. The error names the text that is not one.
    pub(super) fn new(
        registry: Url,
        plain_http: bool,
        realms: &[String],
        redirects: &[String],
    ) -> Result<Self, String> {
        let read = |texts: &[String]| {
            texts.iter().map(|text| Listed::parse(text).ok_or_else(|| text.clone())).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { registry, plain_http, realms: read(realms)?, redirects: read(redirects)? })
    }

    /// Whether credentials may go there for a token.
    pub(super) fn allows_realm(&self, url: &Url) -> Result<(), String> {
        self.allows(url, &self.realms, "token realm", "realm_hosts")
    }

    /// Whether a request may be redirected there.
    pub(super) fn allows_redirect(&self, url: &Url) -> Result<(), String> {
        self.allows(url, &self.redirects, "redirect", "redirect_hosts")
    }

    /// Whether a request there is still one to the registry itself, so that its credentials go along.
    pub(super) fn is_registry(&self, url: &Url) -> bool {
        url.origin() == self.registry.origin()
    }

    fn allows(&self, url: &Url, listed: &[Listed], what: &str, key: &str) -> Result<(), String> {
        let plain = url.scheme() == "http" && self.plain_http;
        if url.scheme() != "https" && !plain {
            return Err(format!("its {what} is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("its {what} carries a user name"));
        }
        let host = url.host_str().unwrap_or_default();
        if is_forbidden_host(url) {
            return Err(format!("its {what} leads to `{host}`, an address that is never asked"));
        }
        if self.is_registry(url) || listed.iter().any(|one| one.host == host && one.port == url.port()) {
            return Ok(());
        }
        Err(format!("its {what} leads to `{host}`, which is not among `{key}`"))
    }
}

impl Listed {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(&format!("https://{text}/")).ok()?;
        let host = url.host_str()?.to_owned();
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        (plain && !text.contains(['/', '*'])).then_some(Self { host, port: url.port() })
    }
}

/// Whether a URL's host is written as an address that is never asked.
pub(crate) fn is_forbidden_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok_and(is_forbidden)
}

/// Link-local addresses, the metadata services of clouds, and what is no host's address at all.
fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_forbidden_v4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            let [gh, gl] = g.to_be_bytes();
            let [hh, hl] = h.to_be_bytes();
            // NAT64 (RFC 6052) reaches the IPv4 address at its end.
            let translated = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
            v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6 == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)
                || v6 == Ipv6Addr::new(0xfd20, 0x0ce, 0, 0, 0, 0, 0, 0x254)
                || (translated && is_forbidden_v4(Ipv4Addr::new(gh, gl, hh, hl)))
        }
    }
}

fn is_forbidden_v4(v4: Ipv4Addr) -> bool {
    const METADATA: [Ipv4Addr; 3] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
    v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || METADATA.contains(&v4)
}

/// Resolves names, and drops the addresses that are never asked: a name that an attacker controls may point there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver;

impl Resolver {
    /// The addresses of a name that may be asked: at least one.
    pub(super) async fn addresses(name: &str) -> Result<Vec<SocketAddr>, BoxError> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        let allowed: Vec<_> = found.filter(|address| !is_forbidden(address.ip())).collect();
        if allowed.is_empty() {
            return Err(format!("`{name}` has no address that may be asked").into());
        }
        Ok(allowed)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(Box::new(Self::addresses(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_registry_and_what_is_listed() {
        let registry = Url::parse("https://registry.acme.dev").unwrap();
        let listed = ["auth.acme.dev".to_owned(), "cdn.acme.dev:8443".to_owned(), "169.254.169.254".to_owned()];
        let hosts = Hosts::new(registry, false, &listed, &listed).unwrap();
        for good in ["https://registry.acme.dev/token", "https://auth.acme.dev:443/t", "https://cdn.acme.dev:8443/x"] {
            let url = Url::parse(good).unwrap();
            assert_eq!((hosts.allows_realm(&url), hosts.allows_redirect(&url)), (Ok(()), Ok(())), "{good}");
        }
        for bad in [
            "http://registry.acme.dev/token",
            "https://registry.acme.dev:444/",
            "https://registry.acme.dev.evil.dev/",
            "https://cdn.acme.dev/",
            "https://me@auth.acme.dev/",
            "https://169.254.169.254/latest",
            "https://0xa9fea9fe/latest",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1]/",
            "ftp://auth.acme.dev/",
        ] {
            let url = Url::parse(bad).unwrap();
            assert!(hosts.allows_realm(&url).is_err() && hosts.allows_redirect(&url).is_err(), "{bad}");
        }
        for text in ["*.acme.dev", "https://acme.dev", "acme.dev/x", "me@acme.dev", ""] {
            assert_eq!(Listed::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_where_nobody_is_asked_has_no_address() {
        for (name, asked) in [("127.0.0.1", true), ("169.254.169.254", false), ("0.0.0.0", false), ("fe80::1", false)] {
            let found = Resolver.resolve(name.parse().unwrap()).await;
            assert_eq!(found.is_ok_and(|mut all| all.next().is_some()), asked, "{name}");
        }
    }

    #[test]
    fn forbidden_addresses_are_so_in_every_spelling() {
        for bad in
            ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "fd00:ec2::254", "0.0.0.0"]
        {
            assert!(is_forbidden(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.1", "::1", "203.0.113.5"] {
            assert!(!is_forbidden(good.parse().unwrap()), "{good}");
        }
    }
}
