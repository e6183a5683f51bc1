//! What is wrong in a configuration, and on which line.

use std::{fmt, ops::Range};

use toml::de::{DeTable, DeValue};

use super::{cache, clients, hosts, kubernetes, signing, tuf};

/// Why a configuration is not one. Mistakes of one kind are named together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened.
    #[error("the configuration `{path}` cannot be read: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file says something that is not a configuration.
    #[error("the configuration `{path}` is not right:{}", bullets(mistakes))]
    Mistakes {
        /// Which file.
        path: String,
        /// What is wrong.
        mistakes: Vec<Mistake>,
    },
}

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; none when something is missing.
    pub line: Option<usize>,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn bullets(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("\n  {m}")).collect()
}

/// The keys of each section.
const TOP: &[&str] = &[
    "listen",
    "state",
    "evidence",
    "admin_token_file",
    "organization",
    "external_url",
    "plain_http",
    "tls",
    "clients",
    "hosts",
    "trusted_proxies",
    "trusted_root",
    "tuf",
    "discovery_interval",
    "metrics_anonymous",
    "denied_head",
    "max_connections",
    "drain",
    "send_timeout",
    "kubernetes",
    "log",
    "signing",
    "cache",
    "upstreams",
    "issuers",
];
const TLS: &[&str] = &["certificate", "key", "client_ca"];
const LOG: &[&str] = &["format", "level"];
const ISSUER: &[&str] = &["issuer", "provider", "jwks_uri", "jwks_hosts", "organizations", "ca_file", "plain_http"];
const UPSTREAM: &[&str] = &[
    "host",
    "aliases",
    "organizations",
    "url",
    "layout",
    "repository",
    "username",
    "password_file",
    "token_file",
    "credential_helper",
    "docker_config",
    "ca_file",
    "plain_http",
    "realm_hosts",
    "redirect_hosts",
    "redirects",
    "default",
    "connect_timeout",
    "answer_timeout",
    "idle_timeout",
];

/// Every key that is not a setting; none when the text is not TOML, which is told otherwise.
pub(super) fn unknown_keys(text: &str) -> Vec<Mistake> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let mut mistakes = Vec::new();
    unknown_in(text, table.get_ref(), TOP, &mut mistakes);
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("tls", DeValue::Table(section)) => unknown_in(text, section, TLS, &mut mistakes),
            ("log", DeValue::Table(section)) => unknown_in(text, section, LOG, &mut mistakes),
            ("cache", DeValue::Table(section)) => unknown_in(text, section, cache::CACHE, &mut mistakes),
            ("tuf", DeValue::Table(section)) => unknown_in(text, section, tuf::TUF, &mut mistakes),
            ("kubernetes", DeValue::Table(section)) => kubernetes::unknown(text, section, &mut mistakes),
            ("signing", DeValue::Table(section)) => signing::unknown(text, section, &mut mistakes),
            (list @ ("upstreams" | "issuers" | "hosts" | "clients"), DeValue::Array(sections)) => {
                let known = match list {
                    "issuers" => ISSUER,
                    "hosts" => hosts::HOST,
                    "clients" => clients::CLIENT,
                    _ => UPSTREAM,
                };
                for section in sections.iter() {
                    if let DeValue::Table(section) = section.get_ref() {
                        unknown_in(text, section, known, &mut mistakes);
                    }
                }
            }
            _ => {}
        }
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes
}

pub(super) fn unknown_in(text: &str, table: &DeTable<'_>, known: &[&str], mistakes: &mut Vec<Mistake>) {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            let message = format!("`{name}` is not a setting here; there are `{}`", known.join("`, `"));
            mistakes.push(Mistake { line: Some(line_of(text, &key.span())), message });
        }
    }
}

/// Where a key of one section of a list is written.
pub(super) fn line_in_list(text: &str, list: &str, number: usize, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let DeValue::Array(sections) = table.get_ref().get(list)?.get_ref() else { return None };
    let DeValue::Table(section) = sections.get(number)?.get_ref() else { return None };
    let found = section.keys().find(|name| name.get_ref().as_ref() == key)?;
    Some(line_of(text, &found.span()))
}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1
}
