//! The files of a contract or policy: from its folder, from the shipped library, and from the hosts that the user allows.
//!
//! Only this program fetches. What it hands to the gateway is closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use contracts::{Diagnostics, api::RevisionFiles, limits, revision};
use reqwest::{Url, redirect};

use crate::files;

const CONNECT_TIME: Duration = Duration::from_secs(10);
const WHOLE_TIME: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 5;

/// A contract with all that it refers to, or what is wrong with them.
pub struct Gathered {
    /// The closed set.
    pub files: Result<RevisionFiles, Diagnostics>,
    /// The text of everything that was read, by what it is called in the set.
    pub sources: BTreeMap<String, String>,
}

/// Reads a contract and everything that it refers to. A contract that is not there is an error; a document with
/// mistakes is an answer.
pub async fn gather(contract: &Path, hosts: &[String]) -> anyhow::Result<Gathered> {
    files::read(contract, limits::REVISION_FILE_BYTES)?;
    let name = contract.file_name().and_then(|name| name.to_str()).context("the file's name is not text")?;
    let mut fetching = Fetching::from(hosts);
    let (files, sources) =
        fetching.collect(files::folder_of(contract), &mut |load| revision::collect(name, load)).await;
    Ok(Gathered { files, sources })
}

/// Answers with a file's bytes, by what it is called, or why it cannot be read.
pub type Load<'l> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'l;

/// What was fetched, each address once, and from where more may be.
pub struct Fetching {
    hosts: Vec<String>,
    fetched: BTreeMap<String, Result<Vec<u8>, String>>,
}

impl Fetching {
    /// Nothing yet, and only these hosts.
    pub fn from(hosts: &[String]) -> Self {
        Self { hosts: hosts.to_vec(), fetched: BTreeMap::new() }
    }

    /// Calls `collect` with a way to read files of a folder, of the shipped library and of the hosts, until it has asked
    /// for nothing that is yet to be fetched. Answers with what it answered, and the text of everything that it read.
    pub async fn collect<T>(
        &mut self,
        folder: &Path,
        collect: &mut dyn FnMut(&mut Load<'_>) -> T,
    ) -> (T, BTreeMap<String, String>) {
        let mut more = 0;
        loop {
            let (mut sources, mut wanted) = (BTreeMap::new(), BTreeSet::new());
            let collected = collect(&mut |called: &str| {
                let bytes = match called.split_once("://") {
                    None => files::read(&folder.join(called), limits::REVISION_FILE_BYTES)
                        .map_err(|error| unreadable(called, &error))?,
                    Some(("sluice", _)) => policies::library::resolve(called)?.as_bytes().to_vec(),
                    Some(_) => match self.fetched.get(called) {
                        Some(result) => result.clone()?,
                        None => {
                            wanted.insert(called.to_owned());
                            return Err("it is not fetched yet".to_owned());
                        }
                    },
                };
                sources.insert(called.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
                Ok(bytes)
            });
            // What was fetched may name more.
            if wanted.is_empty() || more >= limits::REVISION_FILES {
                return (collected, sources);
            }
            for address in wanted {
                let result = fetch(&address, &self.hosts).await;
                self.fetched.insert(address, result);
                more += 1;
            }
        }
    }
}

/// Why a file of the contract's folder cannot be read. A public key that is not there is mostly one that was not made yet.
fn unreadable(called: &str, error: &anyhow::Error) -> String {
    let cause = error.root_cause();
    let missing = cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
    match called.strip_suffix(".pub").filter(|_| missing) {
        Some(prefix) => format!("there is no such file; `sluice key generate --output {prefix}` makes a pair of keys"),
        None => cause.to_string(),
    }
}

/// Fetches one file.
async fn fetch(address: &str, hosts: &[String]) -> Result<Vec<u8>, String> {
    let url: Url = address.parse().map_err(|_| "it is not an address".to_owned())?;
    if !allowed(&url, hosts) {
        let host = url.host_str().unwrap_or_default();
        return Err(format!("nothing is fetched from `{host}`: allow it with --allow-host {host}"));
    }
    let to = hosts.to_vec();
    let redirects = redirect::Policy::custom(move |attempt| {
        let secure = attempt.url().scheme() == "https" || attempt.previous().iter().all(|url| url.scheme() == "http");
        if attempt.previous().len() > REDIRECTS || !secure || !allowed(attempt.url(), &to) {
            return attempt.stop();
        }
        attempt.follow()
    });
    let http = reqwest::Client::builder()
        .redirect(redirects)
        .connect_timeout(CONNECT_TIME)
        .timeout(WHOLE_TIME)
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())?;
    let unreachable = |error: reqwest::Error| format!("it cannot be fetched: {}", error.without_url());
    let mut answer = http.get(url).send().await.map_err(unreachable)?;
    if answer.status().is_redirection() {
        return Err("it is somewhere else now, on a host that is not allowed".to_owned());
    }
    if !answer.status().is_success() {
        return Err(format!("it answered with HTTP {}", answer.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > limits::REVISION_FILE_BYTES {
            return Err(format!("it is larger than {} bytes", limits::REVISION_FILE_BYTES));
        }
    }
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Err("it is a web page, not a file: use the address of the file itself (on GitHub, `Raw`)".to_owned());
    }
    Ok(bytes)
}

/// Whether a host is on the list, as `host` for any port or as `host:port`.
fn allowed(url: &Url, hosts: &[String]) -> bool {
    let Some(host) = url.host_str() else { return false };
    let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
    let same = |allowed: &&String| allowed.eq_ignore_ascii_case(host) || with_port.as_ref() == Some(*allowed);
    hosts.iter().any(|allowed| same(&allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_on_the_list_are_asked() {
        let hosts = ["acme.dev".to_owned(), "127.0.0.1:8000".to_owned()];
        for (address, expected) in [
            ("https://acme.dev/p.yaml", true),
            ("https://ACME.dev:8443/p.yaml", true),
            ("https://acme.dev.evil.example/p.yaml", false),
            ("https://sub.acme.dev/p.yaml", false),
            ("http://127.0.0.1:8000/p.yaml", true),
            ("http://127.0.0.1:8001/p.yaml", false),
        ] {
            assert_eq!(allowed(&address.parse().unwrap(), &hosts), expected, "{address}");
        }
    }
}
