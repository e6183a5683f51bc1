//! What the name of a repository means. Pulls, checks and clusters read names here and nowhere else, so that one name means
//! one repository whoever asks.

use contracts::{Reference, Repository, Target};

use crate::{
    app::App,
    config::{HostSettings, Settings},
    http::arrival::without_port,
    names::Name,
    upstream::{CanonicalError, Upstreams},
};

/// Why a name means no repository for whoever uses it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misnamed {
    /// It means none here.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// It means two at once.
    #[error("`{host}` stands for one registry and `ns` says another, `{namespace}`")]
    TwoRegistries {
        /// The gateway's name.
        host: String,
        /// What `ns` says, shortened.
        namespace: String,
    },
    /// The gateway's name is for another organization.
    #[error("`{host}` is a name of this gateway that serves another organization")]
    OtherOrganization {
        /// The gateway's name.
        host: String,
    },
}

/// The repository that a name in an address means at a name of the gateway's (`None`: one of which the configuration says
/// nothing more). See [`Upstreams::canonical`] for names under hosts that mean no upstream of their own.
pub(super) fn asked(
    upstreams: &Upstreams,
    host: Option<&HostSettings>,
    name: &str,
    namespace: Option<&str>,
) -> Result<Repository, Misnamed> {
    let Some(host) = host else { return Ok(upstreams.canonical(name, namespace)?) };
    // A client that names this very host means nothing more by it.
    let namespace = namespace.filter(|namespace| !namespace.eq_ignore_ascii_case(&host.name));
    let Some(upstream) = &host.upstream else { return Ok(upstreams.canonical(name, namespace)?) };
    let repository = upstreams.canonical(name, Some(upstream))?;
    match namespace {
        Some(said) if upstreams.canonical(name, Some(said))? != repository => {
            let namespace = said.chars().take(80).collect();
            Err(Misnamed::TwoRegistries { host: host.name.clone(), namespace })
        }
        _ => Ok(repository),
    }
}

/// The repository of an image as it is written for whoever pulls it. One that goes by way of this gateway means what a pull of
/// it gets. Another one of a registry that is not known here is itself when it names a digest: what was pushed about that
/// decides.
pub(super) fn written(app: &App, organization: &Name, image: &Reference) -> Result<Repository, Misnamed> {
    let repository = &image.repository;
    if let Some(host) = own(&app.settings, &app.upstreams, repository) {
        if !serves(host, organization) {
            return Err(Misnamed::OtherOrganization { host: repository.host().to_owned() });
        }
        return asked(&app.upstreams, host, repository.path(), None);
    }
    match app.upstreams.canonical(&repository.to_string(), None) {
        Err(CanonicalError::Unknown { .. }) if matches!(image.target, Target::Digest(_)) => Ok(repository.clone()),
        canonical => Ok(canonical?),
    }
}

/// Whether a name of the gateway's is there for an organization.
pub(super) fn serves(host: Option<&HostSettings>, organization: &Name) -> bool {
    host.and_then(|host| host.organization.as_ref()).is_none_or(|only| only == organization)
}

/// What the configuration says of the host of a name, when that is this gateway.
fn own<'a>(settings: &'a Settings, upstreams: &Upstreams, repository: &Repository) -> Option<Option<&'a HostSettings>> {
    let host = repository.host();
    let name = without_port(host);
    let listed = settings.hosts.iter().find(|listed| listed.name == name);
    if settings.external_url.as_deref().is_some_and(|url| is_at(url, host)) {
        return Some(listed);
    }
    // `[[hosts]]` are without port, as `Host` is read. A registry beside the gateway that is named with its port is not it.
    let beside = name != host && upstreams.canonical(&repository.to_string(), None).is_ok();
    listed.filter(|_| !beside).map(Some)
}

/// Whether clients that are told this host go to this address.
fn is_at(url: &str, host: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let plain = |text: &str| text.strip_suffix(usual).unwrap_or(text).to_owned();
    plain(&authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::upstream::UpstreamSettings;

    #[test]
    fn the_gateway_knows_its_own_names() {
        let mut settings = Settings::defaults(Path::new("/"));
        settings.external_url = Some("https://Sluice.acme.dev/".to_owned());
        settings.hosts = vec![HostSettings {
            name: "hub.acme.dev".to_owned(),
            upstream: None,
            organization: None,
            anonymous_pull: false,
        }];
        let upstreams = Upstreams::new(&[UpstreamSettings::new("hub.acme.dev:5000")]).unwrap();
        let is_own = |settings: &Settings, host: &str| {
            own(settings, &upstreams, &format!("{host}/a/b").parse().unwrap()).is_some()
        };
        for host in ["sluice.acme.dev", "SLUICE.acme.dev:443", "hub.acme.dev", "Hub.acme.dev:8443"] {
            assert!(is_own(&settings, host), "{host}");
        }
        for host in ["sluice.acme.dev:8443", "hub.acme.dev:5000", "x.hub.acme.dev", "acme.dev", "docker.io"] {
            assert!(!is_own(&settings, host), "{host}");
        }
        settings.external_url = Some("http://127.0.0.1:8080".to_owned());
        assert!(is_own(&settings, "127.0.0.1:8080") && !is_own(&settings, "127.0.0.1:5000"));
        settings.external_url = Some("http://gw.acme.dev:80/x".to_owned());
        assert!(is_own(&settings, "gw.acme.dev") && !is_own(&settings, "gw.acme.dev:443"));
    }
}
