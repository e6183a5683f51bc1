//! The closed table of upstreams: which hosts there are, under which names, and for whom.
//!
//! A name that a client sends is looked up here and nowhere else. It never becomes an address to dial.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use contracts::{Repository, reference::ReferenceError};

use super::{
    Upstream,
    cache::{Cache, Cached},
    layout::Layout,
    memory::Memory,
    remote::Remote,
    settings::{UpstreamSettings, UpstreamSettingsError, canonical_host},
};
use crate::names::Name;

/// All upstreams of an installation.
pub struct Upstreams {
    entries: Vec<Entry>,
    /// Every host and alias, to the canonical host.
    hosts: BTreeMap<String, String>,
    default: Option<String>,
}

struct Entry {
    host: String,
    organizations: Vec<Name>,
    upstream: Arc<dyn Upstream>,
}

impl Upstreams {
    /// Reads the settings, their secrets and certificates. Nothing is dialled.
    ///
    /// # Errors
    /// When a setting is malformed, or two of them contradict each other: one alias for two hosts, two defaults,
    /// the same host twice for one organization.
    pub fn new(settings: &[UpstreamSettings]) -> Result<Self, UpstreamSettingsError> {
        Self::with_cache(settings, None)
    }

    /// The same, with a cache before what is not on this machine's disk already.
    ///
    /// # Errors
    /// Those of `new`.
    pub fn with_cache(
        settings: &[UpstreamSettings],
        cache: Option<&Arc<Cache>>,
    ) -> Result<Self, UpstreamSettingsError> {
        let memory = Memory::default();
        let mut table = Self { entries: Vec::new(), hosts: BTreeMap::new(), default: None };
        for (number, one) in settings.iter().enumerate() {
            table.add(one, memory.scoped(number), cache)?;
        }
        Ok(table)
    }

    /// What is wrong with each upstream, by its number. Secrets and certificates are read, nothing is dialled.
    pub(crate) fn mistakes(settings: &[UpstreamSettings]) -> Vec<(usize, UpstreamSettingsError)> {
        let memory = Memory::default();
        let mut table = Self { entries: Vec::new(), hosts: BTreeMap::new(), default: None };
        let each = settings.iter().enumerate();
        each.filter_map(|(number, one)| {
            let there = one
                .layout
                .as_deref()
                .filter(|_| one.url.is_none())
                .map_or(Ok(()), |folder| layout_is_there(one, folder));
            there.and_then(|()| table.add(one, memory.scoped(number), None)).err().map(|error| (number, error))
        })
        .collect()
    }

    fn add(
        &mut self,
        one: &UpstreamSettings,
        memory: Memory,
        cache: Option<&Arc<Cache>>,
    ) -> Result<(), UpstreamSettingsError> {
        let not_host = |text: &str| {
            one.invalid(&format!("`{text}` is not a registry host: write it with a dot or a port, as in image names"))
        };
        let host = canonical_host(&one.host).ok_or_else(|| not_host(&one.host))?;
        for text in one.aliases.iter().chain([&one.host]) {
            let alias = canonical_host(text).ok_or_else(|| not_host(text))?;
            match self.hosts.insert(alias, host.clone()) {
                Some(other) if other != host => {
                    return Err(one.invalid(&format!("`{text}` stands for `{other}` already")));
                }
                _ => {}
            }
        }
        let contested = |entry: &&Entry| {
            entry.host == host
                && (entry.organizations == one.organizations
                    || entry.organizations.iter().any(|o| one.organizations.contains(o)))
        };
        if self.entries.iter().find(contested).is_some() {
            return Err(one.invalid("there is this host for the same organization already"));
        }
        if one.default {
            match self.default.replace(host.clone()) {
                Some(other) if other != host => {
                    return Err(one.invalid(&format!("`{other}` is the default already")));
                }
                _ => {}
            }
        }
        let upstream: Arc<dyn Upstream> = match (&one.url, &one.layout) {
            (Some(_), Some(_)) => return Err(one.invalid("name `url` or `layout`, not both")),
            (None, Some(folder)) => Arc::new(Layout::new(one, folder, memory)?),
            (_, None) => {
                let remote = Arc::new(Remote::new(one, memory.clone())?);
                match cache {
                    Some(cache) => Arc::new(Cached::new(remote, memory, cache, one)),
                    None => remote,
                }
            }
        };
        self.entries.push(Entry { host, organizations: one.organizations.clone(), upstream });
        Ok(())
    }

    /// The upstream that this organization uses for a canonical host: its own before one that is for all.
    #[must_use]
    pub fn locate(&self, organization: &Name, host: &str) -> Option<Arc<dyn Upstream>> {
        let of_host = || self.entries.iter().filter(|entry| entry.host == host);
        of_host()
            .find(|entry| entry.organizations.contains(organization))
            .or_else(|| of_host().find(|entry| entry.organizations.is_empty()))
            .map(|entry| Arc::clone(&entry.upstream))
    }

    /// The canonical hosts that this organization has an upstream for, each once.
    #[must_use]
    pub fn hosts_of(&self, organization: &Name) -> BTreeSet<&str> {
        let of = |entry: &&Entry| entry.organizations.is_empty() || entry.organizations.contains(organization);
        self.entries.iter().filter(of).map(|entry| entry.host.as_str()).collect()
    }

    /// The canonical host that this is another name of.
    #[must_use]
    pub fn alias_of(&self, host: &str) -> Option<&str> {
        self.hosts.get(host).map(String::as_str).filter(|canonical| *canonical != host)
    }

    /// The canonical repository for a name as clients send it: `HOST/REPOSITORY` in the path, or `REPOSITORY` with
    /// `?ns=HOST`, or `REPOSITORY` alone where there is a default. A first component with a dot or a colon is a
    /// host, always.
    ///
    /// # Errors
    /// [`CanonicalError::Unknown`] when the host is not in the table, [`CanonicalError::Name`] when the name breaks
    /// the grammar.
    pub fn canonical(&self, name: &str, namespace: Option<&str>) -> Result<Repository, CanonicalError> {
        let (host, path) = match (namespace, name.split_once('/')) {
            (Some(host), _) => (host, name),
            (None, Some((host, path))) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            (None, _) => {
                let path = Repository::new("localhost", name)?;
                let Some(host) = &self.default else {
                    return Err(CanonicalError::NoHost { name: path.path().to_owned() });
                };
                return Ok(spelled_out(host, name)?);
            }
        };
        // The path is checked before the host is looked up, so that a malformed name is one whatever its host.
        let path = Repository::new("localhost", path)?;
        if namespace.is_none() {
            Repository::new(host, path.path())?;
        }
        let known = canonical_host(host).and_then(|host| self.hosts.get(&host));
        let Some(host) = known else {
            return Err(CanonicalError::Unknown { host: host.chars().take(80).collect() });
        };
        Ok(spelled_out(host, path.path())?)
    }
}

fn layout_is_there(one: &UpstreamSettings, folder: &Path) -> Result<(), UpstreamSettingsError> {
    if folder.join("oci-layout").is_file() {
        return Ok(());
    }
    Err(UpstreamSettingsError::File {
        host: one.host.clone(),
        key: "layout",
        path: folder.display().to_string(),
        reason: "it is not an OCI image layout: there is no file `oci-layout` in it".to_owned(),
    })
}

/// `docker.io` and `alpine` are `docker.io/library/alpine`.
fn spelled_out(host: &str, path: &str) -> Result<Repository, ReferenceError> {
    format!("{host}/{path}").parse()
}

/// Why a name means no repository here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The name breaks the grammar.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// Its host is not in the table.
    #[error("this gateway has no upstream `{host}`")]
    Unknown {
        /// What was asked for.
        host: String,
    },
    /// It names no host, and there is no default.
    #[error("`{name}` names no registry: write `HOST/{name}`")]
    NoHost {
        /// What was asked for.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(host: &str) -> UpstreamSettings {
        UpstreamSettings::new(host)
    }

    #[test]
    fn every_name_form_means_one_repository_and_unknown_hosts_mean_none() {
        let table = Upstreams::new(&[
            UpstreamSettings { aliases: vec!["mirror.acme.dev".into()], default: true, ..remote("registry.acme.dev") },
            remote("docker.io"),
            remote("localhost:5000"),
        ])
        .unwrap();
        for (name, namespace, canonical) in [
            ("registry.acme.dev/skynet/app", None, "registry.acme.dev/skynet/app"),
            ("mirror.acme.dev/skynet/app", None, "registry.acme.dev/skynet/app"),
            ("skynet/app", Some("Registry.acme.dev"), "registry.acme.dev/skynet/app"),
            ("skynet/app", Some("mirror.acme.dev"), "registry.acme.dev/skynet/app"),
            ("skynet/app", None, "registry.acme.dev/skynet/app"),
            ("docker.io/alpine", None, "docker.io/library/alpine"),
            ("library/alpine", Some("docker.io"), "docker.io/library/alpine"),
            ("alpine", Some("index.docker.io"), "docker.io/library/alpine"),
            ("localhost:5000/a", None, "localhost:5000/a"),
        ] {
            let found = table.canonical(name, namespace).unwrap();
            assert_eq!(found.to_string(), canonical, "{name} {namespace:?}");
        }
        for (name, namespace) in [
            ("elsewhere.dev/a", None),
            ("a", Some("169.254.169.254")),
            ("a", Some("elsewhere.dev")),
            ("a", Some("")),
            ("a", Some("registry.acme.dev/x")),
            ("a", Some("http://registry.acme.dev")),
            ("localhost/a", None),
        ] {
            let answer = table.canonical(name, namespace);
            assert!(matches!(answer, Err(CanonicalError::Unknown { .. })), "{name} {namespace:?}: {answer:?}");
        }
        for name in ["registry.acme.dev/a/../b", "../a", "a//b", "registry.acme.dev/", "registry.acme.dev/A", "a%2fb"] {
            let answer = table.canonical(name, None);
            assert!(matches!(answer, Err(CanonicalError::Name(_))), "{name}: {answer:?}");
        }
    }

    #[test]
    fn an_organization_gets_its_own_upstream_or_the_common_one() {
        let acme: Name = "acme".parse().unwrap();
        let other: Name = "other".parse().unwrap();
        let table = Upstreams::new(&[
            UpstreamSettings { organizations: vec![acme.clone()], ..remote("one.dev") },
            remote("one.dev"),
            UpstreamSettings { organizations: vec![acme.clone()], ..remote("two.dev") },
        ])
        .unwrap();
        let own = table.locate(&acme, "one.dev").unwrap();
        let common = table.locate(&other, "one.dev").unwrap();
        assert!(!Arc::ptr_eq(&own, &common));
        assert!(table.locate(&acme, "two.dev").is_some());
        assert!(table.locate(&other, "two.dev").is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        let both = UpstreamSettings { url: Some("https://a.dev".into()), layout: Some("x".into()), ..remote("a.dev") };
        let name_only = UpstreamSettings { username: Some("me".into()), ..remote("a.dev") };
        let default = |host| UpstreamSettings { default: true, ..remote(host) };
        let plain = UpstreamSettings { url: Some("http://a.dev".into()), ..remote("a.dev") };
        let metadata =
            UpstreamSettings { url: Some("http://169.254.169.254".into()), plain_http: true, ..remote("a.dev") };
        let user_info = UpstreamSettings { url: Some("https://me:secret@a.dev".into()), ..remote("a.dev") };
        let alias = UpstreamSettings { aliases: vec!["a.dev".into()], ..remote("b.dev") };
        for (what, settings) in [
            ("url and layout", vec![both]),
            ("half a credential", vec![name_only]),
            ("two defaults", vec![default("a.dev"), default("b.dev")]),
            ("twice", vec![remote("a.dev"), remote("a.dev")]),
            ("an alias of two", vec![remote("a.dev"), alias]),
            ("no host", vec![remote("registry")]),
            ("plain, not said", vec![plain]),
            ("metadata address", vec![metadata]),
            ("secret in the url", vec![user_info]),
        ] {
            assert!(Upstreams::new(&settings).is_err(), "{what}");
        }
    }
}
