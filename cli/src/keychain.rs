//! What `docker login` left on this machine: Docker's configuration, else podman's, and their credential helpers.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use contracts::registry_login::{DockerConfig, Found, Login, helper_answer, is_helper};

use crate::files;

const CONFIG_BYTES: usize = 1024 * 1024;
/// How long a helper may take; some ask a service.
const PATIENCE: Duration = Duration::from_secs(30);

/// The login for this host (`host` or `host:port`), if there is one.
pub fn login(host: &str, variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Login>> {
    for path in places(variable) {
        if !path.is_file() {
            continue;
        }
        let bytes = files::read(&path, CONFIG_BYTES)?;
        let config = DockerConfig::parse(&bytes).with_context(|| format!("`{}`", path.display()))?;
        let found = match config.find(host) {
            Some(Found::Login(login)) => Some(login),
            Some(Found::Ask { helper, server }) => ask(&helper, &server)?,
            None => None,
        };
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

/// Asks `docker-credential-NAME get`. That it knows nothing is no error.
fn ask(helper: &str, server: &str) -> anyhow::Result<Option<Login>> {
    if !is_helper(helper) {
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
    let login = helper_answer(&output.stdout);
    login.map(Some).with_context(|| format!("the credential helper `{program}` does not answer as one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_helper_is_asked_as_docker_asks_it() {
        assert!(ask("../evil", "r.dev").is_err());
        assert!(ask("there-is-no-such-helper", "r.dev").is_err());
    }
}
