//! What the operator says about one source of images.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use contracts::{Repository, Secret, registry_login::is_helper};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::names::Name;

/// One `[[upstreams]]` table of the settings file: a remote registry (`url`) or an OCI image layout folder
/// (`layout`). Secrets are in files of their own, never here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSettings {
    /// The canonical host, as contracts and people write it: `registry.acme.dev`, `docker.io`.
    pub host: String,
    /// Other hosts that mean this one, in `?ns=` and in the path form.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Only these organizations may use it; empty: all of them.
    #[serde(default)]
    pub organizations: Vec<Name>,
    /// Where the registry answers: `https://host[:port]`. Without it and without `layout`: `https://` and `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// An OCI image layout folder instead of a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<PathBuf>,
    /// The repository path that plain tags of the layout belong to (`skynet/app`). Names in the layout written
    /// `repository:tag` need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The user name at the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file with that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A file with a bearer token that the registry takes as it is, instead of a user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The name of a credential helper: `ecr-login` is the program `docker-credential-ecr-login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_helper: Option<String>,
    /// A configuration of Docker's with the registry's login, or with the helper that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_config: Option<PathBuf>,
    /// A PEM file: the only authorities whose certificates are believed for this upstream. Without it: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Lets `url` (and the realms and redirects it may name) be `http://`: credentials and images in the clear.
    #[serde(default)]
    pub plain_http: bool,
    /// Hosts other than the registry's that may hand out its tokens (`auth.docker.io`). Credentials go there.
    #[serde(default)]
    pub realm_hosts: Vec<String>,
    /// Hosts other than the registry's that it may redirect to (its storage). Credentials never go there.
    #[serde(default)]
    pub redirect_hosts: Vec<String>,
    /// Who follows when it redirects for a blob.
    #[serde(default)]
    pub redirects: Redirects,
    /// Names without a host mean this upstream.
    #[serde(default)]
    pub default: bool,
    /// How long a connection may take to come up.
    #[serde(default = "seconds::<5>")]
    pub connect_timeout: SignedDuration,
    /// How long an answer's head, or the whole of a manifest, may take.
    #[serde(default = "seconds::<15>")]
    pub answer_timeout: SignedDuration,
    /// How long a blob's stream may stand still.
    #[serde(default = "seconds::<30>")]
    pub idle_timeout: SignedDuration,
}

/// What is done with a redirect for a blob. Where it leads must be among the allowed hosts either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirects {
    /// The gateway follows it, and the blob passes through.
    #[default]
    Follow,
    /// The client is told to follow it, and the blob does not pass through.
    Pass,
}

fn seconds<const N: i64>() -> SignedDuration {
    SignedDuration::from_secs(N)
}

/// How the gateway presents itself to a registry.
#[derive(Debug, Clone)]
pub(super) enum Credentials {
    /// Not at all.
    Anonymous,
    /// By user name and password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// By a token of the registry's.
    Token(Secret),
    /// By what this credential helper says.
    Helper(String),
    /// By what this configuration of Docker's says.
    Config(PathBuf),
}

impl UpstreamSettings {
    /// Settings for a host with the defaults of the settings file.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            aliases: Vec::new(),
            organizations: Vec::new(),
            url: None,
            layout: None,
            repository: None,
            username: None,
            password_file: None,
            token_file: None,
            credential_helper: None,
            docker_config: None,
            ca_file: None,
            plain_http: false,
            realm_hosts: Vec::new(),
            redirect_hosts: Vec::new(),
            redirects: Redirects::Follow,
            default: false,
            connect_timeout: seconds::<5>(),
            answer_timeout: seconds::<15>(),
            idle_timeout: seconds::<30>(),
        }
    }

    /// The same with relative paths counted from a folder (the settings file's).
    #[must_use]
    pub fn under(mut self, folder: &Path) -> Self {
        let Self { layout, password_file, token_file, docker_config, ca_file, .. } = &mut self;
        for path in [layout, password_file, token_file, docker_config, ca_file] {
            *path = path.take().map(|path| folder.join(path));
        }
        self
    }

    pub(super) fn credentials(&self) -> Result<Credentials, UpstreamSettingsError> {
        let Self { username, password_file, token_file, credential_helper, docker_config, .. } = self;
        match (username, password_file, token_file, credential_helper, docker_config) {
            (None, None, None, None, None) => Ok(Credentials::Anonymous),
            (Some(username), Some(file), None, None, None) if !username.contains(':') => Ok(Credentials::Password {
                username: username.clone(),
                password: secret(&self.host, "password_file", file)?,
            }),
            (None, None, Some(file), None, None) => {
                Ok(Credentials::Token(secret(&self.host, "token_file", file)?))
            }
            (None, None, None, Some(name), None) if is_helper(name) => Ok(Credentials::Helper(name.clone())),
            (None, None, None, Some(_), None) => Err(self.invalid(
                "`credential_helper` is what follows `docker-credential-` in the program's name: `ecr-login`, `gcloud`",
            )),
            (None, None, None, None, Some(file)) => {
                // Read again when it is needed; a wrong path is told at once.
                let readable = std::fs::read(file).map_err(|error| error.to_string()).and_then(|bytes| {
                    let read = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes);
                    read.map_err(|_| "it is not a configuration of Docker".to_owned())
                });
                readable.map_err(|reason| UpstreamSettingsError::File {
                    host: self.host.clone(),
                    key: "docker_config",
                    path: file.display().to_string(),
                    reason,
                })?;
                Ok(Credentials::Config(file.clone()))
            }
            _ => Err(self.invalid(
                "credentials are `username` (without a colon) with `password_file`, or one of `token_file`, `credential_helper` and `docker_config`",
            )),
        }
    }

    pub(super) fn timeouts(&self) -> Result<Timeouts, UpstreamSettingsError> {
        let positive = |value: SignedDuration, key: &str| match Duration::try_from(value) {
            Ok(duration) if !duration.is_zero() => Ok(duration),
            _ => Err(self.invalid(&format!("`{key}` must be longer than nothing"))),
        };
        Ok(Timeouts {
            connect: positive(self.connect_timeout, "connect_timeout")?,
            answer: positive(self.answer_timeout, "answer_timeout")?,
            idle: positive(self.idle_timeout, "idle_timeout")?,
        })
    }

    pub(super) fn invalid(&self, reason: &str) -> UpstreamSettingsError {
        UpstreamSettingsError::Invalid { host: self.host.clone(), reason: reason.to_owned() }
    }
}

/// The bounds on waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
    pub(super) idle: Duration,
}

/// Reads a host so that `host/path` names a repository on that very host, in its canonical spelling.
pub(super) fn canonical_host(text: &str) -> Option<String> {
    let repository = format!("{text}/library/x").parse::<Repository>().ok()?;
    (repository.path() == "library/x").then(|| repository.host().to_owned())
}

/// Why an upstream's settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamSettingsError {
    /// A value is missing, malformed, or contradicts another one.
    #[error("upstream `{host}`: {reason}")]
    Invalid {
        /// Which upstream.
        host: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// A file that the settings name cannot be used.
    #[error("upstream `{host}`: the file `{path}` under `{key}` cannot be used: {reason}")]
    File {
        /// Which upstream.
        host: String,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// The one line of a file.
fn secret(host: &str, key: &'static str, path: &Path) -> Result<Secret, UpstreamSettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| UpstreamSettingsError::File {
        host: host.to_owned(),
        key,
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let secret = text.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() || secret.contains(['\r', '\n']) {
        return Err(UpstreamSettingsError::File {
            host: host.to_owned(),
            key,
            path: path.display().to_string(),
            reason: "it must hold one line".to_owned(),
        });
    }
    Ok(Secret::new(secret))
}
