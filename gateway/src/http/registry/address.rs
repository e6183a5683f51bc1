//! What a registry address asks for. The path is read as it was sent: nothing is decoded, so nothing can hide.

use axum::{extract::Query, http::Uri};
use contracts::{Digest, Target};

use super::answer::OciError;

/// An address, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) asked: Asked,
    /// `?ns=`: the registry that the client means, when it treats us as a mirror.
    pub(super) namespace: Option<String>,
    /// `?artifactType=`: the only kind of referrer that is wanted.
    pub(super) artifact_type: Option<String>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether this is a registry, and whether the token is good.
    Ping,
    /// Something of the repository that this name means.
    Of(String, Part),
}

/// What of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A manifest or index.
    Manifest(Target),
    /// A configuration or layer.
    Blob(Digest),
    /// What speaks about a manifest.
    Referrers(Digest),
    /// The names of its tags.
    Tags(Page),
}

/// Which part of a list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// `?n=`: at most so many.
    pub(super) most: Option<usize>,
    /// `?last=`: those after this one.
    pub(super) after: Option<String>,
}

impl Address {
    pub(super) fn read(uri: &Uri) -> Result<Self, OciError> {
        let [namespace, artifact_type, most, after] = parameters(uri, ["ns", "artifactType", "n", "last"])?;
        let rest = uri.path().strip_prefix("/v2").unwrap_or_default();
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Ok(Self { asked: Asked::Ping, namespace, artifact_type });
        }
        let mut parts = rest.rsplitn(3, '/');
        let (last, kind, name) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let part = match (kind, last) {
            (None, "_catalog") => return Err(OciError::unlisted()),
            (Some("tags"), "list") => {
                let most = most.map(|text| text.parse().map_err(|_| OciError::not_a_number(&text))).transpose()?;
                Part::Tags(Page { most, after })
            }
            (Some("manifests"), last) => Part::Manifest(target(last)?),
            (Some("blobs"), last) => Part::Blob(digest(last)?),
            (Some("referrers"), last) => Part::Referrers(digest(last)?),
            _ => return Err(OciError::not_an_address()),
        };
        match name {
            Some(name) if !name.is_empty() => {
                Ok(Self { asked: Asked::Of(name.to_owned(), part), namespace, artifact_type })
            }
            _ => Err(OciError::invalid_name("the address names no repository")),
        }
    }
}

impl Address {
    /// The name of the repository that is asked for, as it was sent.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.asked {
            Asked::Of(name, _) => Some(name),
            Asked::Ping => None,
        }
    }
}

/// Some clients escape the colon of a digest; nothing else here is ever escaped.
fn target(text: &str) -> Result<Target, OciError> {
    Ok(text.replacen("%3A", ":", 1).parse::<Target>()?)
}

fn digest(text: &str) -> Result<Digest, OciError> {
    text.replacen("%3A", ":", 1).parse().map_err(|error| OciError::invalid_digest(&error))
}

/// What the query says under these names; more than once is refused.
fn parameters<const N: usize>(uri: &Uri, names: [&str; N]) -> Result<[Option<String>; N], OciError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| OciError::invalid_name("the address has a query that cannot be read"))?;
    let twice = |name: &&&str| pairs.0.iter().filter(|(key, _)| key == **name).count() > 1;
    if let Some(name) = names.iter().find(twice) {
        return Err(OciError::invalid_name(format!("the address has `{name}` twice")));
    }
    Ok(names.map(|name| pairs.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, u16> {
        Address::read(&text.parse().unwrap()).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn addresses_are_what_the_specification_says() {
        let digest = Digest::of(b"x");
        let plain = |asked| Ok(Address { asked, namespace: None, artifact_type: None });
        let of = |name: &str, part| plain(Asked::Of(name.to_owned(), part));
        let tag = |text: &str| Part::Manifest(Target::Tag(text.parse().unwrap()));
        for ping in ["/v2", "/v2/"] {
            assert_eq!(read(ping), plain(Asked::Ping));
        }
        assert_eq!(read("/v2/r.dev/a/b/manifests/v1"), of("r.dev/a/b", tag("v1")));
        assert_eq!(read("/v2/a/manifests/b/manifests/v1"), of("a/manifests/b", tag("v1")));
        assert_eq!(read(&format!("/v2/a/blobs/{digest}")), of("a", Part::Blob(digest)));
        assert_eq!(read(&format!("/v2/a/blobs/sha256%3A{}", digest.hex())), of("a", Part::Blob(digest)));
        assert_eq!(read(&format!("/v2/a/referrers/{digest}")), of("a", Part::Referrers(digest)));
        let mirrored = read("/v2/a/manifests/v1?x=1&ns=r.dev%3A5000").unwrap();
        assert_eq!(mirrored.namespace.as_deref(), Some("r.dev:5000"));
        let page = |most, after: Option<&str>| Part::Tags(Page { most, after: after.map(str::to_owned) });
        assert_eq!(read("/v2/r.dev/a/tags/list"), of("r.dev/a", page(None, None)));
        assert_eq!(read("/v2/a/tags/list?n=2&last=v1"), of("a", page(Some(2), Some("v1"))));
        let filtered = read(&format!("/v2/a/referrers/{digest}?artifactType=a%2Fb")).unwrap();
        assert_eq!((filtered.artifact_type.as_deref(), filtered.namespace), (Some("a/b"), None));
    }

    #[test]
    fn other_addresses_are_refused() {
        for (text, status) in [
            ("/v2/a/manifests/v1?ns=r.dev&ns=r.dev", 400),
            ("/v2/a/referrers/sha256:0?artifactType=a&artifactType=b", 400),
            ("/v2/a/manifests/..", 400),
            ("/v2/a/manifests/%2e%2e", 400),
            ("/v2/a/manifests/sha512:00", 400),
            ("/v2/a/blobs/v1", 400),
            ("/v2/a/blobs/uploads", 400),
            ("/v2//manifests/v1", 400),
            ("/v2/manifests/v1", 400),
            ("/v2/_catalog", 404),
            ("/v2/a/tags/list?n=-1", 400),
            ("/v2/a/tags/list?n=1&n=2", 400),
            ("/v2/tags/list", 400),
            ("/v2/a/anything/else", 404),
            ("/v2/a", 404),
        ] {
            assert_eq!(read(text), Err(status), "{text}");
        }
    }
}
