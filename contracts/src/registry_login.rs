//! What `docker login` left: users and passwords of registries in Docker's configuration (podman's `auth.json` is the
//! same document), and how credential helpers are asked. Bytes in, values out: who reads files and runs helpers calls this.
//!
//! Only the host that is asked is looked up; what is found is for that host alone.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::secret::Secret;

const HUB: &str = "https://index.docker.io/v1/";
/// The user that helpers name when they have an identity token.
const TOKEN_USER: &str = "<token>";

/// Who somebody is to a registry.
#[derive(Debug, Clone)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An identity token, which a token realm takes as `refresh_token`.
    Identity(Secret),
}

/// What a configuration says about a host.
#[derive(Debug)]
pub enum Found {
    /// The login itself.
    Login(Login),
    /// A helper knows: `docker-credential-HELPER get`, with the server on its input.
    Ask {
        /// Which helper; a text of the file, so see [`is_helper`].
        helper: String,
        /// What it is asked for.
        server: String,
    },
}

/// Docker's configuration, as far as it is about logins.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

/// The bytes are no configuration of Docker. The reader's own words are left out: they could repeat what is secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a configuration of Docker")]
pub struct NotDockerConfig;

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default, rename = "identitytoken")]
    identity: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: Secret,
}

impl DockerConfig {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotDockerConfig> {
        serde_json::from_slice(bytes).map_err(|_| NotDockerConfig)
    }

    /// What it says about this host (`host` or `host:port`). The helper of a host comes before what is listed, and that
    /// before the general helper, as with Docker.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<Found> {
        let keys = keys(host);
        let ask = |helper: &String, server: &String| Found::Ask { helper: helper.clone(), server: server.clone() };
        if let Some((server, helper)) = keys.iter().find_map(|key| self.cred_helpers.get_key_value(key)) {
            return Some(ask(helper, server));
        }
        let mut listed = self.auths.iter().filter(|(key, _)| keys.iter().any(|wanted| same_host(key, wanted)));
        if let Some(login) = listed.find_map(|(_, auth)| auth.login()) {
            return Some(Found::Login(login));
        }
        Some(ask(self.creds_store.as_ref()?, keys.first()?))
    }
}

impl Auth {
    fn login(&self) -> Option<Login> {
        if let Some(token) = self.identity.as_ref().filter(|token| !token.reveal().is_empty()) {
            return Some(Login::Identity(token.clone()));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Some(Login::Password { user: user.clone(), password: password.clone() });
        }
        let text = Secret::new(String::from_utf8(STANDARD.decode(self.auth.as_ref()?.reveal()).ok()?).ok()?);
        let (user, password) = text.reveal().split_once(':')?;
        // Some write a zero byte behind it.
        let password = Secret::new(password.trim_end_matches('\0').to_owned());
        (!user.is_empty()).then(|| Login::Password { user: user.to_owned(), password })
    }
}

/// What a helper is asked for when the login at this host is wanted.
#[must_use]
pub fn server(host: &str) -> String {
    if is_hub(host) { HUB.to_owned() } else { host.to_owned() }
}

/// Whether a text can be the name of a helper, and not of a program elsewhere.
#[must_use]
pub fn is_helper(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// What a helper answered; `None` when it does not answer as one.
#[must_use]
pub fn helper_answer(bytes: &[u8]) -> Option<Login> {
    let Helped { username, secret } = serde_json::from_slice(bytes).ok()?;
    Some(if username == TOKEN_USER {
        Login::Identity(secret)
    } else {
        Login::Password { user: username, password: secret }
    })
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// How a host is written in configurations.
fn keys(host: &str) -> Vec<String> {
    if is_hub(host) {
        vec![HUB.to_owned(), "index.docker.io".to_owned(), "docker.io".to_owned()]
    } else {
        vec![host.to_owned(), format!("https://{host}")]
    }
}

/// Whether a key is this one, written with or without its scheme and the API's path.
fn same_host(key: &str, wanted: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim_start_matches("https://").trim_start_matches("http://");
        let text = text.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        text.to_ascii_lowercase()
    };
    bare(key) == bare(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(login: Login) -> String {
        match login {
            Login::Password { user, password } => format!("{user} {}", password.reveal()),
            Login::Identity(token) => format!("token {}", token.reveal()),
        }
    }

    fn found(config: &str, host: &str) -> Option<String> {
        Some(match DockerConfig::parse(config.as_bytes()).unwrap().find(host)? {
            Found::Login(login) => shown(login),
            Found::Ask { helper, server } => format!("ask {helper} for {server}"),
        })
    }

    #[test]
    fn logins_are_for_their_host_alone() {
        let config = r#"{"auths":{"registry.acme.dev":{"auth":"am86c2VjOnJldA=="},"https://index.docker.io/v1/":{},
            "https://other.dev/v2/":{"username":"a","password":"b"},"acr.dev":{"identitytoken":"t","auth":"am86eA=="}}}"#;
        for (host, login) in [("registry.acme.dev", "jo sec:ret"), ("other.dev", "a b"), ("acr.dev", "token t")] {
            assert_eq!(found(config, host).as_deref(), Some(login));
        }
        for other in ["acme.dev", "registry.acme.dev:5000", "docker.io", "", "dev"] {
            assert_eq!(found(config, other), None, "{other}");
        }
        let hub = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"am86eA=="}}}"#;
        assert_eq!(found(hub, "docker.io").as_deref(), Some("jo x"));
    }

    #[test]
    fn a_helper_of_the_host_comes_before_the_general_one() {
        let config = r#"{"credsStore":"desktop","credHelpers":{"gcr.io":"gcloud"},
            "auths":{"plain.dev":{"auth":"am86eA=="},"gcr.io":{"auth":"am86eA=="}}}"#;
        assert_eq!(found(config, "gcr.io").as_deref(), Some("ask gcloud for gcr.io"));
        assert_eq!(found(config, "plain.dev").as_deref(), Some("jo x"));
        assert_eq!(found(config, "ecr.dev").as_deref(), Some("ask desktop for ecr.dev"));
        assert_eq!(found(config, "docker.io").as_deref(), Some("ask desktop for https://index.docker.io/v1/"));
    }

    #[test]
    fn helpers_are_named_plainly_and_answer_with_a_login() {
        for (name, is) in [("ecr-login", true), ("", false), ("../evil", false), ("a b", false), ("a/b", false)] {
            assert_eq!(is_helper(name), is, "{name}");
        }
        let told = |text: &str| helper_answer(text.as_bytes()).map(shown);
        assert_eq!(told(r#"{"ServerURL":"r.dev","Username":"jo","Secret":"x"}"#).as_deref(), Some("jo x"));
        assert_eq!(told(r#"{"Username":"<token>","Secret":"x"}"#).as_deref(), Some("token x"));
        assert_eq!(told("credentials not found"), None);
        assert_eq!((server("docker.io").as_str(), server("r.dev").as_str()), (HUB, "r.dev"));
    }
}
