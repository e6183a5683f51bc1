//! `[[hosts]]`: the names by which clients reach the gateway, where one of them means more than the gateway itself.
//! And `trusted_proxies`, who may say by which name a client came.

use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use super::reading::Reading;
use crate::names::{Name, NameError};

/// `[[hosts]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// What clients send as `Host`, without port, in lower case.
    pub name: String,
    /// The upstream that all names under this host mean; without it, names say which.
    pub upstream: Option<String>,
    /// The only organization that is served under this host.
    pub organization: Option<Name>,
    /// Whether its images may be pulled without a token here.
    pub anonymous_pull: bool,
}

/// Addresses that begin alike: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `ADDRESS` or `ADDRESS/BITS`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok()).filter(|bits| *bits <= most)?;
        Some(Self { address, bits })
    }

    /// Whether an address is one of them. An IPv4 address written as IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(one)) => {
                alike(network.to_bits().into(), one.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(one)) => alike(network.to_bits(), one.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

/// Whether two numbers of so many bits begin with the same ones.
fn alike(a: u128, b: u128, width: u8, bits: u8) -> bool {
    (a ^ b).checked_shr(u32::from(width - bits)).unwrap_or(0) == 0
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHost {
    name: Spanned<String>,
    upstream: Option<Spanned<String>>,
    organization: Option<Spanned<String>>,
    #[serde(default)]
    anonymous_pull: bool,
}

pub(super) const HOST: &[&str] = &["name", "upstream", "organization", "anonymous_pull"];

impl Reading<'_> {
    /// `upstreams` are the hosts and aliases that there are.
    pub(super) fn hosts(&mut self, raw: Vec<RawHost>, upstreams: &[String]) -> Vec<HostSettings> {
        let mut hosts: Vec<HostSettings> = Vec::with_capacity(raw.len());
        for one in raw {
            let host = self.host(&one, upstreams);
            if hosts.iter().any(|other| other.name == host.name) {
                self.wrong(&one.name.span(), format!("there is `{}` already", host.name));
            }
            hosts.push(host);
        }
        hosts
    }

    fn host(&mut self, raw: &RawHost, upstreams: &[String]) -> HostSettings {
        let name = raw.name.get_ref().to_ascii_lowercase();
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if name.is_empty() || name.len() > 253 || !name.chars().all(letters) {
            let message = format!("`{name}` is not the name of a host: write it without scheme, port and path");
            self.wrong(&raw.name.span(), message);
        }
        if let Some(upstream) = raw.upstream.as_ref().filter(|upstream| !upstreams.contains(upstream.get_ref())) {
            let message = format!("there is no upstream `{}` under `[[upstreams]]`", upstream.get_ref());
            self.wrong(&upstream.span(), message);
        }
        let organization = raw.organization.as_ref().and_then(|given| match given.get_ref().parse::<Name>() {
            Ok(name) => Some(name),
            Err(error) => {
                let error: NameError = error;
                self.wrong(&given.span(), error.to_string());
                None
            }
        });
        if raw.anonymous_pull && raw.organization.is_none() {
            let message = "`anonymous_pull` needs `organization`: whose images may be pulled without a token";
            self.wrong(&raw.name.span(), message.to_owned());
        }
        let upstream = raw.upstream.as_ref().map(|upstream| upstream.get_ref().clone());
        HostSettings { name, upstream, organization, anonymous_pull: raw.anonymous_pull }
    }

    pub(super) fn proxies(&mut self, raw: Vec<Spanned<String>>) -> Vec<Network> {
        let mut proxies = Vec::with_capacity(raw.len());
        for given in raw {
            match Network::parse(given.get_ref()) {
                Some(network) => proxies.push(network),
                None => {
                    let message = format!("`{}` is no network: write `10.0.0.0/8` or one address", given.get_ref());
                    self.wrong(&given.span(), message);
                }
            }
        }
        proxies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_begins_alike() {
        let holds = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1") && holds("0.0.0.0/0", "8.8.8.8"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1") && holds("::/0", "::1"));
        assert!(!holds("::/0", "10.0.0.1"));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "a.dev"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
