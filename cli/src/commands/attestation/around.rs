//! What surrounds a run: the runner, and the environment variables that are recorded of it.
//!
//! A statement is read by many. Variables whose values look like secrets are not recorded: one that the contract asks
//! for stops `init` until somebody says that it is meant; one that the runner sets is left out.

use std::{collections::BTreeMap, path::Path};

use contracts::{Runner, contract::Contract, runners::Surroundings};

use crate::commands::variable;

/// This machine.
pub fn here() -> Surroundings<'static> {
    Surroundings { variable: &variable, exists: &|path| Path::new(path).exists() }
}

/// What is recorded of the environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Variables with their values.
    pub recorded: BTreeMap<String, String>,
    /// Variables that the contract asks for and that are not set.
    pub unset: Vec<String>,
    /// Variables that the contract asks for and whose values look like secrets, with what they look like.
    pub secret: Vec<(String, &'static str)>,
    /// Variables of the runner that are left out, with what they look like.
    pub left_out: Vec<(String, &'static str)>,
}

impl Environment {
    /// What the runner tells of the run, and what the contract asks to keep. Those in `meant` are recorded whatever they
    /// look like.
    pub fn of(around: Surroundings<'_>, runner: Option<Runner>, contract: &Contract, meant: &[String]) -> Self {
        let mut environment = Self::default();
        for name in runner.map_or(&[][..], Runner::variables) {
            if let Some(value) = around.set(name) {
                environment.take(name, value, meant, false);
            }
        }
        for name in &contract.env_allow_list {
            match around.set(name) {
                Some(value) => environment.take(name, value, meant, true),
                None => environment.unset.push(name.clone()),
            }
        }
        environment
    }

    fn take(&mut self, name: &str, value: String, meant: &[String], asked: bool) {
        match looks_secret(&value).filter(|_| !meant.iter().any(|meant| meant == name)) {
            None => drop(self.recorded.insert(name.to_owned(), value)),
            Some(kind) if asked => self.secret.push((name.to_owned(), kind)),
            Some(kind) => self.left_out.push((name.to_owned(), kind)),
        }
    }
}

/// What known tokens begin with, and how long what follows is at least.
const PREFIXES: [(&str, usize, &str); 37] = [
    ("ghp_", 30, "a token of GitHub"),
    ("gho_", 30, "a token of GitHub"),
    ("ghu_", 30, "a token of GitHub"),
    ("ghs_", 30, "a token of GitHub"),
    ("ghr_", 30, "a token of GitHub"),
    ("github_pat_", 20, "a token of GitHub"),
    ("glpat-", 16, "a token of GitLab"),
    ("gldt-", 16, "a token of GitLab"),
    ("glrt-", 16, "a token of GitLab"),
    ("glcbt-", 16, "a token of GitLab"),
    ("glptt-", 16, "a token of GitLab"),
    ("AKIA", 16, "a key of AWS"),
    ("ASIA", 16, "a key of AWS"),
    ("xoxb-", 10, "a token of Slack"),
    ("xoxp-", 10, "a token of Slack"),
    ("xoxa-", 10, "a token of Slack"),
    ("xapp-", 10, "a token of Slack"),
    ("https://hooks.slack.com/services/", 10, "a web hook of Slack"),
    ("sk_live_", 10, "a key of Stripe"),
    ("rk_live_", 10, "a key of Stripe"),
    ("sk-ant-", 20, "a key of Anthropic"),
    ("sk-proj-", 20, "a key of OpenAI"),
    ("npm_", 30, "a token of npm"),
    ("pypi-", 30, "a token of PyPI"),
    ("dckr_pat_", 16, "a token of Docker"),
    ("hvs.", 20, "a token of Vault"),
    ("hvb.", 20, "a token of Vault"),
    ("AIza", 30, "a key of Google"),
    ("ya29.", 20, "a token of Google"),
    ("GOCSPX-", 20, "a secret of Google"),
    ("SG.", 40, "a key of SendGrid"),
    ("shpat_", 20, "a token of Shopify"),
    ("dop_v1_", 30, "a token of DigitalOcean"),
    ("sonar_", 30, "a token of Sonar"),
    ("sqp_", 30, "a token of Sonar"),
    ("bkua_", 20, "a token of Buildkite"),
    ("sluice_", 20, "a token of Sluice"),
];

/// What a value looks like that should not be shown.
pub fn looks_secret(value: &str) -> Option<&'static str> {
    if value.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let mut words = value.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '=' | '(' | ')'));
    words.find_map(word_looks_secret)
}

fn word_looks_secret(word: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    for (prefix, least, kind) in PREFIXES {
        if let Some(rest) = word.strip_prefix(prefix)
            && rest.len() >= least
            && rest.chars().all(plain)
        {
            return Some(kind);
        }
    }
    // Header and payload of a JSON Web Token are JSON objects in base64.
    let mut parts = word.split('.');
    if let (Some(header), Some(payload), Some(_)) = (parts.next(), parts.next(), parts.next())
        && header.starts_with("eyJ")
        && payload.starts_with("eyJ")
    {
        return Some("a signed token (JWT)");
    }
    let (_, rest) = word.split_once("://")?;
    let (user, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    let password = user.split_once(':').is_some_and(|(_, password)| !password.is_empty());
    password.then_some("an address with a password")
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn secrets_are_told_from_what_only_resembles_them() {
        let long = "A1b2".repeat(12);
        for secret in [
            format!("ghp_{long}"),
            format!("token={long} glpat-{long}"),
            format!("AKIA{}", &long[..16]),
            "-----BEGIN EC PRIVATE KEY-----\nMHc".to_owned(),
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln".to_owned(),
            "https://jo:s3cret@git.acme.dev/a.git".to_owned(),
            "postgres://app:pw@db/app?x=1".to_owned(),
        ] {
            assert!(looks_secret(&secret).is_some(), "{secret}");
        }
        for harmless in [
            "main",
            "https://git.acme.dev/a.git",
            "ssh://git@git.acme.dev/a.git",
            "https://git.acme.dev/a@v1:x",
            "ghp_short",
            "AKIAH",
            "eyJ.eyJ",
            "78ac366c9e8a300d51808d581422ca61f7b5b721",
            "refs/heads/pypi-upload",
        ] {
            assert_eq!(looks_secret(harmless), None, "{harmless}");
        }
    }
}
