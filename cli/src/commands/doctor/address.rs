//! Hosts as clients write them, and which of them is the gateway.

use anyhow::bail;

/// A host with a port, when it is not the one that the scheme has anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: Option<u16>,
}

impl Address {
    /// Reads `host`, `host:port` or either with `http://`, `https://` before and a path behind. Nothing else is one:
    /// neither user names nor other schemes.
    pub fn parse(text: &str) -> Option<Self> {
        let (usual, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (443, rest),
            (_, Some(rest)) => (80, rest),
            _ => (443, text),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
            _ => (authority, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match bare {
            Some(bare) => bare.chars().all(|c| c.is_ascii_hexdigit() || c == ':'),
            None => host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
        };
        if host.is_empty() || !good {
            return None;
        }
        Some(Self { host: host.to_ascii_lowercase(), port: port.filter(|port| *port != usual) })
    }

    /// Whether it is this machine, where plain HTTP can be read by nobody else.
    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host == "[::1]" || self.host.starts_with("127.")
    }
}

/// The gateway, as clients reach it.
#[derive(Debug, Clone)]
pub struct Gateway {
    address: Address,
    plain: bool,
}

impl Gateway {
    /// Reads `host`, `host:port` or a URL without a path.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim_end_matches('/');
        let rest = text.trim_start_matches("https://").trim_start_matches("http://");
        let Some(address) = Address::parse(text).filter(|_| !rest.contains('/')) else {
            bail!(
                "`{text}` is not a gateway's address: write the host that clients are to ask, as in `sluice.acme.dev`"
            );
        };
        Ok(Self { address, plain: text.starts_with("http://") })
    }

    /// Whether a client that asks this asks the gateway.
    pub fn is(&self, other: &Address) -> bool {
        self.address == *other
    }

    /// `host`, or `host:port`.
    pub fn authority(&self) -> String {
        match (self.address.port, self.plain) {
            (Some(port), _) => format!("{}:{port}", self.address.host),
            // Without a scheme before it, a client takes 443.
            (None, true) => format!("{}:80", self.address.host),
            (None, false) => self.address.host.clone(),
        }
    }

    /// With its scheme.
    pub fn url(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        match self.address.port {
            Some(port) => format!("{scheme}://{}:{port}", self.address.host),
            None => format!("{scheme}://{}", self.address.host),
        }
    }

    /// Whether clients reach it in clear.
    pub fn plain(&self) -> bool {
        self.plain
    }
}

/// What to say of an address that is reached in clear, where others could answer in the gateway's place.
pub fn plain_note(url: &str) -> Option<String> {
    let address = Address::parse(url)?;
    (url.starts_with("http://") && !address.is_loopback())
        .then(|| format!("`{url}` is plain HTTP: whoever is on the way can answer in the gateway's place"))
}

#[cfg(test)]
mod tests {
    use super::{Address, Gateway};

    #[test]
    fn a_host_is_the_gateway_however_it_is_written() {
        let gateway = Gateway::parse("sluice.acme.dev").unwrap();
        for (text, is) in [
            ("https://sluice.acme.dev", true),
            ("https://SLUICE.acme.dev:443/v2", true),
            ("sluice.acme.dev/registry.acme.dev", true),
            ("http://sluice.acme.dev", true),
            ("https://sluice.acme.dev:8443", false),
            ("https://sluice.acme.dev.evil.example", false),
            ("https://evil.example/sluice.acme.dev", false),
        ] {
            assert_eq!(Address::parse(text).is_some_and(|address| gateway.is(&address)), is, "{text}");
        }
        for text in ["https://sluice.acme.dev@evil.example", "httpsluice", "http", "", "https://", "ftp://x", "a:b"] {
            let address = Address::parse(text);
            assert!(!address.is_some_and(|address| gateway.is(&address)), "{text}");
        }
        assert!(Gateway::parse("https://sluice.acme.dev/v2").is_err());
        assert_eq!(Gateway::parse("http://127.0.0.1:5000/").unwrap().authority(), "127.0.0.1:5000");
        assert_eq!(Gateway::parse("http://gw").unwrap().authority(), "gw:80");
    }
}
