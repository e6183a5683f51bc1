//! Image references: repositories, tags, and what the gate decides about.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::{Digest, DigestError, shorten};

/// A repository on a registry, in its canonical spelling `host[:port]/path`, for example
/// `registry.acme.dev/skynet/app`. Docker's short names are spelled out (`alpine` is
/// `docker.io/library/alpine`), so that one repository has one name. The grammar is the OCI distribution
/// specification's; `..`, empty components and upper case in the path are refused.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// A repository from its two parts.
    ///
    /// # Errors
    /// When either part breaks the grammar.
    pub fn new(host: &str, path: &str) -> Result<Self, ReferenceError> {
        let host = if host == "index.docker.io" || host == "registry-1.docker.io" { "docker.io" } else { host };
        if !is_host(host) {
            return Err(ReferenceError::Host { text: shorten(host) });
        }
        if host.len() + path.len() > 255 || !path.split('/').all(is_component) {
            return Err(ReferenceError::Path { text: shorten(path) });
        }
        Ok(Self { host: host.to_ascii_lowercase(), path: path.to_owned() })
    }

    /// The registry's host, with a port if one was named.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name on that registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => match host {
                "docker.io" | "index.docker.io" if !path.contains('/') => Self::new(host, &format!("library/{path}")),
                _ => Self::new(host, path),
            },
            Some(_) => Self::new("docker.io", text),
            None => Self::new("docker.io", &format!("library/{text}")),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tag: a name that may point elsewhere tomorrow. Never decided about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(word);
        if first && text.len() <= 128 && bytes.all(|b| word(b) || b == b'.' || b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::Tag { text: shorten(text) })
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person writes for an image: a repository with a tag, a digest or both (the digest then decides).
/// Without either the tag is `latest`, as everywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    /// Where the image is.
    pub repository: Repository,
    /// Which one.
    pub target: Target,
}

/// The part of a reference after the repository.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// Whatever the tag points at now.
    Tag(Tag),
    /// Exactly these bytes.
    Digest(Digest),
}

impl FromStr for Target {
    type Err = ReferenceError;

    /// Reads the last path component of a registry's manifest address: a digest or a tag.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl Reference {
    /// The pinned form, when this reference names a digest.
    #[must_use]
    pub fn pinned(&self) -> Option<PinnedRef> {
        match &self.target {
            Target::Digest(digest) => Some(PinnedRef { repository: self.repository.clone(), digest: *digest }),
            Target::Tag(_) => None,
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.parse::<Tag>()?)),
            _ => (name, None),
        };
        let repository = repository.parse()?;
        let target = match (digest, tag) {
            (Some(digest), _) => Target::Digest(digest),
            (None, Some(tag)) => Target::Tag(tag),
            (None, None) => Target::Tag(Tag("latest".to_owned())),
        };
        Ok(Self { repository, target })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Target::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// A repository and a digest: the only thing the gate decides about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PinnedRef {
    /// Where the image is.
    pub repository: Repository,
    /// Exactly which bytes.
    pub digest: Digest,
}

impl FromStr for PinnedRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        text.parse::<Reference>()?.pinned().ok_or_else(|| ReferenceError::NotPinned { text: shorten(text) })
    }
}

impl fmt::Display for PinnedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
as_text!(Repository, Tag, Reference, PinnedRef);

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The registry's name breaks the grammar.
    #[error("`{text}` is not a registry host")]
    Host {
        /// What was read, shortened.
        text: String,
    },
    /// The path breaks the grammar.
    #[error("`{text}` is not a repository name: use lower-case letters, digits, `.`, `_`, `-` between slashes")]
    Path {
        /// What was read, shortened.
        text: String,
    },
    /// The tag breaks the grammar.
    #[error("`{text}` is not a tag: use up to 128 letters, digits, `_`, `.`, `-`")]
    Tag {
        /// What was read, shortened.
        text: String,
    },
    /// A digest was needed and a tag given.
    #[error("`{text}` names no digest: write `repository@sha256:…`")]
    NotPinned {
        /// What was read, shortened.
        text: String,
    },
    /// The digest breaks its grammar.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(|p| !p.starts_with('0') && p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).filter(|s| !s.is_empty());
    text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().last().is_some_and(alphanumeric)
        && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_name() {
        for (written, canonical) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("acme/app:v1", "docker.io/acme/app:v1"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("Registry.acme.dev:5000/a/b__c/d-e", "registry.acme.dev:5000/a/b__c/d-e:latest"),
            ("localhost/x:1", "localhost/x:1"),
            ("127.0.0.1:5010/demo/app:v1", "127.0.0.1:5010/demo/app:v1"),
        ] {
            assert_eq!(written.parse::<Reference>().map(|r| r.to_string()), Ok(canonical.to_owned()));
        }
        let digest = Digest::of(b"x");
        let both = format!("r.dev/a:v1@{digest}").parse::<Reference>().ok().and_then(|r| r.pinned());
        assert_eq!(both.map(|p| p.to_string()), Some(format!("r.dev/a@{digest}")));
    }

    #[test]
    fn refuses_what_could_name_two_things() {
        for bad in [
            "",
            "/",
            "r.dev/",
            "r.dev/a/../b",
            "r.dev/a//b",
            "r.dev/A",
            "r.dev/a:",
            "r.dev/a@sha256:00",
            "r.dev/.a",
            "r.dev/a%2fb",
            "r.dev/a_-b",
            "r.dev:99999/a",
            "r_x.dev/a",
            "r.dev/a:-x",
            "r.dev/a b",
            "r.dev/a___b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
