//! One issuer: what is asked of it, and where.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use contracts::{Provider, json::parse_strict, limits, verify::token::Jwks};
use reqwest::Url;
use serde_json::Value;

use super::{
    keys::Keys,
    settings::{IssuerSettings, IssuerSettingsError},
};
use crate::{
    documents::{Answer, Reader, allowed},
    names::Name,
};

/// How long it may take to tell its keys, the document that says where they are included.
const ANSWER: Duration = Duration::from_secs(10);

/// An issuer in the operator's table.
pub(super) struct Issuer {
    name: String,
    pub(super) provider: Provider,
    organizations: Vec<Name>,
    source: Arc<Source>,
    keys: Arc<Keys>,
}

/// Where the keys come from.
struct Source {
    reader: Reader,
    issuer: String,
    /// The issuer's own address: nothing else is dialled but what is listed here.
    base: Url,
    jwks_uri: Option<Url>,
    jwks_hosts: Vec<String>,
    plain_http: bool,
}

/// The keys of an issuer cannot be told now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of `{issuer}` cannot be told now: {reason}: try again")]
pub struct IssuerUnavailable {
    /// Which issuer.
    pub issuer: String,
    /// Why.
    pub reason: String,
}

impl Issuer {
    pub(super) fn new(settings: &IssuerSettings) -> Result<Self, IssuerSettingsError> {
        let address = |text: &str, key: &str| {
            let url = Url::parse(text).map_err(|_| settings.invalid(&format!("`{key}` is not an address")))?;
            allowed(&url, settings.plain_http).map_err(|reason| settings.invalid(&format!("`{key}` {reason}")))?;
            Ok(url)
        };
        let base = address(&settings.issuer, "issuer")?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(settings.invalid("`issuer` must not hold `?` or `#`"));
        }
        let jwks_uri = settings.jwks_uri.as_deref().map(|text| address(text, "jwks_uri")).transpose()?;
        let provider = settings.provider.unwrap_or_else(|| Provider::of_issuer(&settings.issuer));
        let mut jwks_hosts = settings.jwks_hosts.clone();
        if settings.issuer == GOOGLE {
            jwks_hosts.push(GOOGLE_KEYS.to_owned());
        }
        if let Some(bad) = jwks_hosts.iter().find(|host| !is_host(host)) {
            return Err(settings.invalid(&format!("`{bad}` is not a host: write it without scheme and path")));
        }
        let source = Source {
            reader: Reader::new(settings.ca_file.as_deref()).map_err(|reason| settings.invalid(&reason))?,
            issuer: settings.issuer.clone(),
            base,
            jwks_uri,
            jwks_hosts,
            plain_http: settings.plain_http,
        };
        let organizations = settings.organizations.clone();
        Ok(Self {
            name: settings.issuer.clone(),
            provider,
            organizations,
            source: Arc::new(source),
            keys: Arc::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The only organization that may have rules for it, when the operator named one.
    pub(super) fn only(&self) -> Option<&Name> {
        match self.organizations.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether this organization may have rules for it.
    pub(super) fn serves(&self, organization: &Name) -> bool {
        self.organizations.is_empty() || self.organizations.contains(organization)
    }

    /// Its keys, among them the one of this name if it has published it by now.
    pub(super) async fn keys(&self, wanted: &str) -> Result<Arc<Jwks>, IssuerUnavailable> {
        let fetch = || {
            let source = Arc::clone(&self.source);
            async move { source.fetch().await }
        };
        let asked = self.keys.with(wanted, fetch).await;
        asked.map_err(|reason| IssuerUnavailable { issuer: self.name.clone(), reason })
    }
}

/// Google's keys are on another host than the issuer's.
const GOOGLE: &str = "https://accounts.google.com";
const GOOGLE_KEYS: &str = "www.googleapis.com";

impl Source {
    /// Asks for the keys.
    async fn fetch(&self) -> Result<Jwks, String> {
        let asked = tokio::time::timeout(ANSWER, self.ask()).await;
        let keys = asked.map_err(|_| format!("it took longer than {} s", ANSWER.as_secs())).flatten();
        match &keys {
            Ok(keys) => tracing::info!(
                issuer = %self.issuer, damaged = keys.damaged(),
                "the keys of an issuer of identity tokens were read; damaged ones were passed over"
            ),
            Err(reason) => tracing::warn!(issuer = %self.issuer, %reason, "the keys of an issuer cannot be read"),
        }
        keys
    }

    async fn ask(&self) -> Result<Jwks, String> {
        let uri = match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => self.discover().await?,
        };
        let bytes = self.get(uri, "the keys").await?;
        Jwks::parse(&bytes).map_err(|error| error.to_string())
    }

    /// Where the issuer says its keys are (OpenID Connect Discovery 1.0, section 4).
    async fn discover(&self) -> Result<Url, String> {
        let text = format!("{}/.well-known/openid-configuration", self.base.as_str().trim_end_matches('/'));
        let uri = Url::parse(&text).map_err(|error| error.to_string())?;
        let bytes = self.get(uri, "what it says about itself").await?;
        let document = parse_strict(&bytes, limits::JWKS_BYTES).map_err(|error| error.to_string())?;
        let said = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        if said("issuer") != self.issuer {
            return Err("it says about itself that it is another issuer".to_owned());
        }
        let uri = Url::parse(said("jwks_uri")).map_err(|_| "it does not say where its keys are".to_owned())?;
        allowed(&uri, self.plain_http).map_err(|reason| format!("the address of its keys {reason}"))?;
        let host = uri.host_str().unwrap_or_default();
        let listed = uri.port().is_none() && self.jwks_hosts.iter().any(|one| one == host);
        if uri.origin() != self.base.origin() && !listed {
            return Err(format!("it says that its keys are at `{host}`, which is not among `jwks_hosts`"));
        }
        Ok(uri)
    }

    async fn get(&self, uri: Url, what: &str) -> Result<BytesMut, String> {
        match self.reader.get(uri, limits::JWKS_BYTES).await? {
            Answer::Document(body) => Ok(body),
            Answer::Status(status) => Err(format!("asked for {what}, it answers with HTTP {}", status.as_u16())),
            Answer::TooLong => Err(format!("asked for {what}, it answers with more than {} bytes", limits::JWKS_BYTES)),
        }
    }
}

fn is_host(text: &str) -> bool {
    Url::parse(&format!("https://{text}/")).is_ok_and(|url| url.host_str() == Some(text) && url.path() == "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(change: impl FnOnce(&mut IssuerSettings)) -> Option<String> {
        let mut settings = IssuerSettings::new("https://ci.acme.dev");
        change(&mut settings);
        Issuer::new(&settings).err().map(|error| error.to_string())
    }

    #[test]
    fn issuers_are_addresses_that_may_be_asked() {
        assert_eq!(mistake(|_| ()), None);
        assert_eq!(mistake(|s| s.issuer = "https://ci.acme.dev/org/7".into()), None);
        assert_eq!(mistake(|s| s.jwks_hosts = vec!["keys.acme.dev".into()]), None);
        let http = |s: &mut IssuerSettings| s.issuer = "http://127.0.0.1:9".into();
        assert!(mistake(http).is_some());
        assert_eq!(
            mistake(|s| {
                http(s);
                s.plain_http = true;
            }),
            None
        );
        for bad in
            ["ci.acme.dev", "https://169.254.169.254", "https://u@ci.acme.dev", "https://ci.acme.dev?x", "file:///x"]
        {
            assert!(mistake(|s| s.issuer = bad.into()).is_some(), "{bad}");
            assert!(bad.ends_with('x') || mistake(|s| s.jwks_uri = Some(bad.into())).is_some(), "{bad}");
        }
        for bad in ["https://keys.acme.dev", "keys.acme.dev/x", "*.acme.dev:x", ""] {
            assert!(mistake(|s| s.jwks_hosts = vec![bad.into()]).is_some(), "{bad}");
        }
    }
}
