//! Logins at a registry that change: what `docker login` left in a configuration of Docker's, and what a credential
//! helper (`docker-credential-NAME`) says. Asked when a registry wants to know who we are, and again when it no longer
//! takes what it was told. What is found goes to the registry and its token realms alone, as every login does.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Mutex,
};

use crate::upstream::settings::{Credentials, Secret};

/// How long a login is used before it is asked for again. Those of clouds hold for hours.
const HELD: Duration = Duration::from_secs(600);
/// A login that is younger was given for this very request.
const FRESH: Duration = Duration::from_secs(2);
/// How long a helper may take; some ask a service.
const PATIENCE: Duration = Duration::from_secs(30);
/// A configuration of Docker, or what a helper says.
const BYTES: u64 = 1024 * 1024;
const HUB: &str = "https://index.docker.io/v1/";
/// The user that helpers name when they have an identity token.
const TOKEN_USER: &str = "<token>";

/// Who we are to a registry.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// A user and a password.
    Password(String, Secret),
    /// An identity token, which a token realm takes as `refresh_token`.
    Identity(Secret),
}

/// Where logins come from. Reading one never waits for another registry.
pub(super) struct Keychain {
    source: Source,
    held: Mutex<Option<(Login, Instant)>>,
}

enum Source {
    Nobody,
    Fixed(Login),
    Helper { name: String, server: String },
    Config { path: PathBuf, host: String },
}

impl Keychain {
    pub(super) fn new(credentials: &Credentials, host: &str) -> Self {
        let source = match credentials {
            Credentials::Anonymous | Credentials::Token(_) => Source::Nobody,
            Credentials::Password { username, password } => {
                Source::Fixed(Login::Password(username.clone(), password.clone()))
            }
            Credentials::Helper(name) => {
                let server = keys(host).into_iter().next().unwrap_or_else(|| host.to_owned());
                Source::Helper { name: name.clone(), server }
            }
            Credentials::Config(path) => Source::Config { path: path.clone(), host: host.to_owned() },
        };
        Self { source, held: Mutex::new(None) }
    }

    /// The login, if there is one. The reason why it cannot be had is a sentence.
    pub(super) async fn login(&self) -> Result<Option<Login>, String> {
        match &self.source {
            Source::Nobody => return Ok(None),
            Source::Fixed(login) => return Ok(Some(login.clone())),
            Source::Helper { .. } | Source::Config { .. } => {}
        }
        // Whoever comes meanwhile waits for the one answer.
        let mut held = self.held.lock().await;
        if let Some((login, _)) = held.as_ref().filter(|(_, since)| since.elapsed() < HELD) {
            return Ok(Some(login.clone()));
        }
        let login = match &self.source {
            Source::Helper { name, server } => ask(name, server).await?,
            Source::Config { path, host } => configured(path, host).await?,
            Source::Nobody | Source::Fixed(_) => return Ok(None),
        };
        *held = Some((login.clone(), Instant::now()));
        Ok(Some(login))
    }

    /// The registry does not take it. Whether another one may be had: what was asked for just now is not asked again.
    pub(super) async fn forget(&self) -> bool {
        let held = self.held.lock().await.take();
        held.is_some_and(|(_, since)| since.elapsed() > FRESH)
    }
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

/// What a configuration says about a host.
enum Found {
    Login(Login),
    Ask { helper: String, server: String },
}

async fn configured(path: &Path, host: &str) -> Result<Login, String> {
    let shown = path.display();
    let bytes = tokio::fs::read(path).await.map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    if bytes.len() as u64 > BYTES {
        return Err(format!("`{shown}` is longer than {BYTES} bytes"));
    }
    // The reader's words could repeat what is secret.
    let config: Config =
        serde_json::from_slice(&bytes).map_err(|_| format!("`{shown}` is not a configuration of Docker"))?;
    match config.find(host) {
        Some(Found::Login(login)) => Ok(login),
        Some(Found::Ask { helper, server }) => ask(&helper, &server).await,
        None => Err(format!("`{shown}` has no login for `{host}`")),
    }
}

impl Config {
    fn find(&self, host: &str) -> Option<Found> {
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
        if let Some(token) = self.identity.as_ref().filter(|token| !token.expose().is_empty()) {
            return Some(Login::Identity(token.clone()));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Some(Login::Password(user.clone(), password.clone()));
        }
        let text = String::from_utf8(STANDARD.decode(self.auth.as_ref()?).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        // Some write a zero byte behind it.
        let password = Secret::new(password.trim_end_matches('\0').to_owned());
        (!user.is_empty()).then(|| Login::Password(user.to_owned(), password))
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

/// Whether a text can be the name of a helper, and not of a program elsewhere.
pub(in crate::upstream) fn is_helper(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Asks `docker-credential-NAME get`, as Docker does.
async fn ask(helper: &str, server: &str) -> Result<Login, String> {
    if !is_helper(helper) {
        return Err(format!("`{helper}` is not the name of a credential helper"));
    }
    let program = format!("docker-credential-{helper}");
    let answered = tokio::time::timeout(PATIENCE, run(&program, server)).await;
    let told = answered.map_err(|_| format!("the credential helper `{program}` takes too long"))?;
    let told = told.map_err(|error| format!("the credential helper `{program}` cannot be run: {error}"))?;
    let Some(told) = told else {
        return Err(format!("the credential helper `{program}` has no login for `{server}`"));
    };
    let Helped { username, secret } = serde_json::from_slice(&told)
        .map_err(|_| format!("the credential helper `{program}` does not answer as one"))?;
    if username == TOKEN_USER { Ok(Login::Identity(secret)) } else { Ok(Login::Password(username, secret)) }
}

/// What the program says; `None` when it fails.
async fn run(program: &str, server: &str) -> std::io::Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read has said all it wanted to.
        let _ended = input.write_all(server.as_bytes()).await;
    }
    let mut told = zeroize::Zeroizing::new(Vec::new());
    if let Some(output) = child.stdout.take() {
        output.take(BYTES).read_to_end(&mut told).await?;
    }
    Ok(child.wait().await?.success().then_some(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, host: &str) -> Option<String> {
        let config: Config = serde_json::from_str(config).unwrap();
        Some(match config.find(host)? {
            Found::Login(Login::Password(user, password)) => format!("{user} {}", password.expose()),
            Found::Login(Login::Identity(token)) => format!("token {}", token.expose()),
            Found::Ask { helper, server } => format!("ask {helper} for {server}"),
        })
    }

    #[test]
    fn logins_are_for_their_host_alone_and_its_helper_comes_first() {
        let config = r#"{"auths":{"registry.acme.dev":{"auth":"am86c2VjOnJldA=="},"https://index.docker.io/v1/":{},
            "https://other.dev/v2/":{"username":"a","password":"b"},"acr.dev":{"identitytoken":"t","auth":"am86eA=="}},
            "credHelpers":{"gcr.io":"gcloud"}}"#;
        for (host, login) in [
            ("registry.acme.dev", "jo sec:ret"),
            ("other.dev", "a b"),
            ("acr.dev", "token t"),
            ("gcr.io", "ask gcloud for gcr.io"),
        ] {
            assert_eq!(found(config, host).as_deref(), Some(login));
        }
        for other in ["acme.dev", "registry.acme.dev:5000", "docker.io", "", "dev"] {
            assert_eq!(found(config, other), None, "{other}");
        }
        let store = r#"{"credsStore":"desktop"}"#;
        assert_eq!(found(store, "docker.io").as_deref(), Some("ask desktop for https://index.docker.io/v1/"));
    }

    #[tokio::test]
    async fn what_is_no_helper_is_not_run() {
        assert!(ask("../evil", "r.dev").await.unwrap_err().contains("is not the name"));
        assert!(ask("there-is-no-such-helper", "r.dev").await.unwrap_err().contains("cannot be run"));
    }
}
