//! Logins at a registry that change: what `docker login` left in a configuration of Docker's, and what a credential
//! helper (`docker-credential-NAME`) says. Asked when a registry wants to know who we are, and again when it no longer
//! takes what it was told. What is found goes to the registry and its token realms alone, as every login does.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use contracts::registry_login::{DockerConfig, Found, Login, helper_answer, is_helper, server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Mutex,
};

use crate::upstream::settings::Credentials;

/// How long a login is used before it is asked for again. Those of clouds hold for hours.
const HELD: Duration = Duration::from_secs(600);
/// A login that is younger was given for this very request.
const FRESH: Duration = Duration::from_secs(2);
/// How long a helper may take; some ask a service.
const PATIENCE: Duration = Duration::from_secs(30);
/// A configuration of Docker, or what a helper says.
const BYTES: u64 = 1024 * 1024;

/// Where the login at one registry comes from. Reading it never waits for another registry.
pub(super) struct Keychain {
    source: Source,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    login: Option<(Login, Instant)>,
    /// Why there was none the last time, and when that was known.
    failed: Option<(String, Instant)>,
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
                Source::Fixed(Login::Password { user: username.clone(), password: password.clone() })
            }
            Credentials::Helper(name) => Source::Helper { name: name.clone(), server: server(host) },
            Credentials::Config(path) => Source::Config { path: path.clone(), host: host.to_owned() },
        };
        Self { source, held: Mutex::default() }
    }

    /// The login, if there is one. The reason why it cannot be had is a sentence.
    pub(super) async fn login(&self) -> Result<Option<Login>, String> {
        match &self.source {
            Source::Nobody => return Ok(None),
            Source::Fixed(login) => return Ok(Some(login.clone())),
            Source::Helper { .. } | Source::Config { .. } => {}
        }
        self.shared(async || match &self.source {
            Source::Helper { name, server } => ask(name, server).await,
            Source::Config { path, host } => configured(path, host).await,
            Source::Nobody | Source::Fixed(_) => Err("there is nobody to ask".to_owned()),
        })
        .await
        .map(Some)
    }

    /// What is held, or what is asked for now. Whoever comes meanwhile waits for the one answer, and gets it also when it is
    /// that there is none: otherwise each would wait for as long as a helper may take, one after the other.
    async fn shared(&self, asked: impl AsyncFnOnce() -> Result<Login, String>) -> Result<Login, String> {
        let came = Instant::now();
        let mut held = self.held.lock().await;
        if let Some((login, _)) = held.login.as_ref().filter(|(_, since)| since.elapsed() < HELD) {
            return Ok(login.clone());
        }
        if let Some((reason, _)) = held.failed.as_ref().filter(|(_, at)| *at >= came) {
            return Err(reason.clone());
        }
        let answer = asked().await;
        match &answer {
            Ok(login) => *held = Held { login: Some((login.clone(), Instant::now())), failed: None },
            Err(reason) => held.failed = Some((reason.clone(), Instant::now())),
        }
        answer
    }

    /// The registry does not take it. Whether another one may be had: what was asked for just now is not asked again.
    pub(super) async fn forget(&self) -> bool {
        let held = self.held.lock().await.login.take();
        held.is_some_and(|(_, since)| since.elapsed() > FRESH)
    }
}

async fn configured(path: &Path, host: &str) -> Result<Login, String> {
    let shown = path.display();
    let bytes = tokio::fs::read(path).await.map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    if bytes.len() as u64 > BYTES {
        return Err(format!("`{shown}` is longer than {BYTES} bytes"));
    }
    match DockerConfig::parse(&bytes).map_err(|error| format!("`{shown}`: {error}"))?.find(host) {
        Some(Found::Login(login)) => Ok(login),
        Some(Found::Ask { helper, server }) => ask(&helper, &server).await,
        None => Err(format!("`{shown}` has no login for `{host}`")),
    }
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
    helper_answer(&told).ok_or_else(|| format!("the credential helper `{program}` does not answer as one"))
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

    #[tokio::test]
    async fn what_is_no_helper_is_not_run() {
        assert!(ask("../evil", "r.dev").await.unwrap_err().contains("is not the name"));
        assert!(ask("there-is-no-such-helper", "r.dev").await.unwrap_err().contains("cannot be run"));
    }

    /// One that hangs is waited for once, by all who came meanwhile.
    #[tokio::test]
    async fn those_who_wait_share_an_answer_that_there_is_none() {
        let keychain = Keychain::new(&Credentials::Helper("hangs".to_owned()), "r.dev");
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let hangs = async || {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err("it takes too long".to_owned())
        };
        let login = || keychain.shared(&hangs);
        let all = futures::future::join_all([login(), login(), login(), login()]).await;
        assert!(all.iter().all(|answer| answer.as_ref().is_err_and(|reason| reason == "it takes too long")));
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
        // Whoever comes later asks again.
        let login = Login::Password { user: "jo".to_owned(), password: contracts::Secret::new("s".to_owned()) };
        assert!(keychain.shared(async || Ok(login)).await.is_ok());
    }
}
