//! What the operator says about one issuer of identity tokens.

use std::path::{Path, PathBuf};

use contracts::Provider;
use serde::{Deserialize, Serialize};

use crate::names::Name;

/// One `[[issuers]]` table of the settings file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// As tokens name it, to the letter: `https://token.actions.githubusercontent.com`.
    pub issuer: String,
    /// How its claims are read. Without it: by the issuer's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Where its keys are. Without it: where `/.well-known/openid-configuration` below the issuer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Hosts other than the issuer's at which that document may say that the keys are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwks_hosts: Vec<String>,
    /// Only these organizations may have rules for it; empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<Name>,
    /// A PEM file: the only authorities whose certificates are believed for it. Without it: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Lets the issuer be `http://`: whoever is on the way can then be anybody.
    #[serde(default)]
    pub plain_http: bool,
}

impl IssuerSettings {
    /// Settings for an issuer with the defaults of the settings file.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            provider: None,
            jwks_uri: None,
            jwks_hosts: Vec::new(),
            organizations: Vec::new(),
            ca_file: None,
            plain_http: false,
        }
    }

    /// The same with relative paths counted from a folder (the settings file's).
    #[must_use]
    pub fn under(mut self, folder: &Path) -> Self {
        self.ca_file = self.ca_file.take().map(|path| folder.join(path));
        self
    }

    pub(super) fn invalid(&self, reason: &str) -> IssuerSettingsError {
        IssuerSettingsError { issuer: self.issuer.clone(), reason: reason.to_owned() }
    }
}

/// Why an issuer's settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issuer `{issuer}`: {reason}")]
pub struct IssuerSettingsError {
    /// Which issuer.
    pub issuer: String,
    /// What is wrong, and what to write.
    pub reason: String,
}
