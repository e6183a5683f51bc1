//! What `docker login` left: users and passwords of registries, in Docker's configuration or with its credential helpers.
//! Podman's `auth.json` is the same document.
//!
//! Only the host that is asked is looked up, and what is found goes to that host alone.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{files, secret::Secret};

const CONFIG_BYTES: usize = 1024 * 1024;
/// How long a helper may take; some ask a service.
const PATIENCE: Duration = Duration::from_secs(30);
const HUB: &str = "https://index.docker.io/v1/";

/// A user of a registry.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// The login for this host (`host` or `host:port`), if there is one.
pub fn login(host: &str, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Login>> {
    for path in places(variable) {
        if !path.is_file() {
            continue;
        }
        let broken = || format!("`{}` is not a configuration of Docker", path.display());
        let config: Config = serde_json::from_slice(&files::read(&path, CONFIG_BYTES)?).with_context(broken)?;
        let found = config.login(host, &|helper, server| ask(helper, server))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The files that are looked at, first Docker's.
fn places(variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    let podman = set("REGISTRY_AUTH_FILE").or_else(|| Some(set("XDG_RUNTIME_DIR")?.join("containers/auth.json")));
    docker.into_iter().chain(podman).collect()
}

impl Config {
    fn login(
        &self,
        host: &str,
        ask: &dyn Fn(&str, &str) -> anyhow::Result<Option<Login>>,
    ) -> anyhow::Result<Option<Login>> {
        let keys = keys(host);
        if let Some((server, helper)) = keys.iter().find_map(|key| self.cred_helpers.get_key_value(key)) {
            return ask(helper, server);
        }
        let listed = self.auths.iter().find(|(key, _)| keys.iter().any(|wanted| same_host(key, wanted)));
        if let Some(found) = listed.and_then(|(_, auth)| auth.login()) {
            return Ok(Some(found));
        }
        match (&self.creds_store, keys.first()) {
            (Some(helper), Some(server)) => ask(helper, server),
            _ => Ok(None),
        }
    }
}

impl Auth {
    fn login(&self) -> Option<Login> {
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Some(Login { user: user.clone(), password: Secret::new(password.clone()) });
        }
        let text = String::from_utf8(STANDARD.decode(self.auth.as_ref()?).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        // Some write a zero byte behind it.
        let password = password.trim_end_matches('\0');
        (!user.is_empty()).then(|| Login { user: user.to_owned(), password: Secret::new(password.to_owned()) })
    }
}

/// How a host is written in configurations.
fn keys(host: &str) -> Vec<String> {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec![HUB.to_owned(), "index.docker.io".to_owned(), "docker.io".to_owned()]
        }
        other => vec![other.to_owned(), format!("https://{other}")],
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

/// Asks `docker-credential-NAME get`. That it knows nothing is no error.
fn ask(helper: &str, server: &str) -> anyhow::Result<Option<Login>> {
    if helper.is_empty() || !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        bail!("`{helper}` is not the name of a credential helper");
    }
    let program = format!("docker-credential-{helper}");
    let failed = || format!("the credential helper `{program}` cannot be run");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read has said all it wanted to.
        let _ended = input.write_all(server.as_bytes());
    }
    let begun = Instant::now();
    while child.try_wait().with_context(failed)?.is_none() {
        if begun.elapsed() > PATIENCE {
            let _gone = child.kill();
            let _status = child.wait();
            bail!("the credential helper `{program}` takes too long");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().with_context(failed)?;
    if !output.status.success() || output.stdout.len() > CONFIG_BYTES {
        return Ok(None);
    }
    let told: Helped = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the credential helper `{program}` does not answer as one"))?;
    if told.username == "<token>" {
        bail!(
            "the credential helper `{program}` has an identity token for `{server}`, which is not taken here: log in with a password or an access token"
        );
    }
    Ok(Some(Login { user: told.username, password: Secret::new(told.secret) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, host: &str) -> Option<String> {
        let config: Config = serde_json::from_str(config).unwrap();
        let ask = |helper: &str, server: &str| {
            let password = Secret::new("helped".to_owned());
            Ok((helper != "empty").then(|| Login { user: format!("{helper} for {server}"), password }))
        };
        let login = config.login(host, &ask).unwrap()?;
        Some(format!("{} {}", login.user, login.password.reveal()))
    }

    #[test]
    fn credentials_are_for_their_host_alone() {
        let config = r#"{"auths":{"registry.acme.dev":{"auth":"am86c2VjOnJldA=="},"https://index.docker.io/v1/":{},
            "https://other.dev/v2/":{"username":"a","password":"b"}}}"#;
        assert_eq!(found(config, "registry.acme.dev").as_deref(), Some("jo sec:ret"));
        assert_eq!(found(config, "other.dev").as_deref(), Some("a b"));
        for other in ["acme.dev", "registry.acme.dev:5000", "docker.io", "", "dev"] {
            assert_eq!(found(config, other), None, "{other}");
        }
        let hub = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"am86eA=="}}}"#;
        assert_eq!(found(hub, "docker.io").as_deref(), Some("jo x"));
    }

    #[test]
    fn a_helper_of_the_host_comes_before_the_general_one() {
        let config = r#"{"credsStore":"desktop","credHelpers":{"gcr.io":"gcloud","quay.io":"empty"},
            "auths":{"plain.dev":{"auth":"am86eA=="}}}"#;
        assert_eq!(found(config, "gcr.io").as_deref(), Some("gcloud for gcr.io helped"));
        assert_eq!(found(config, "quay.io"), None);
        assert_eq!(found(config, "plain.dev").as_deref(), Some("jo x"));
        assert_eq!(found(config, "ecr.dev").as_deref(), Some("desktop for ecr.dev helped"));
        assert_eq!(found(config, "docker.io").as_deref(), Some("desktop for https://index.docker.io/v1/ helped"));
    }

    #[cfg(unix)]
    #[test]
    fn a_helper_is_asked_as_docker_asks_it() {
        assert!(ask("../evil", "r.dev").is_err());
        assert!(ask("there-is-no-such-helper", "r.dev").is_err());
    }
}
