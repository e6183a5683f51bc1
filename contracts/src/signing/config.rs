//! Which services to sign with: Sigstore's `signing_config.json`, versions 0.1 and 0.2.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::LogVersion;
use crate::{
    json::{JsonError, parse_strict},
    limits,
};

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.";

/// The services that vouch for a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// Where certificates are to be had; none: only keys can sign.
    pub authority: Option<String>,
    /// The logs that entries are made in, all of them.
    pub logs: Vec<Transparency>,
    /// The authorities that timestamps are taken from, all of them.
    pub timestamps: Vec<String>,
}

/// A transparency log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transparency {
    /// Its address.
    pub url: String,
    /// How it is spoken to.
    pub version: LogVersion,
}

/// One service that a configuration lists.
struct Listed {
    url: String,
    version: u64,
    operator: String,
}

impl Services {
    /// Reads a configuration, and chooses among what it lists as it says: of the services that are valid now, those of
    /// the newest version that is spoken here, one of each operator.
    ///
    /// # Errors
    /// When it is longer than [`limits::TRUSTED_ROOT_BYTES`], not strict JSON, another document, or asks for more than it
    /// lists.
    pub fn parse(bytes: &[u8], now: Timestamp) -> Result<Self, SigningConfigError> {
        let value = parse_strict(bytes, limits::TRUSTED_ROOT_BYTES)?;
        let kind = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        if !kind.starts_with(MEDIA_TYPE) {
            return Err(SigningConfigError::NotASigningConfig);
        }
        let authority = chosen(&value, "caUrls", None, &[1], now)?.into_iter().next().map(|listed| listed.url);
        let authority = authority.or_else(|| value.get("caUrl").and_then(Value::as_str).map(str::to_owned));
        let log = |listed: Listed| Transparency {
            version: if listed.version == 2 { LogVersion::V2 } else { LogVersion::V1 },
            url: listed.url,
        };
        let mut logs: Vec<_> =
            chosen(&value, "rekorTlogUrls", Some("rekorTlogConfig"), &[2, 1], now)?.into_iter().map(log).collect();
        logs.extend(chosen(&value, "tlogUrls", None, &[1], now)?.into_iter().take(1).map(log));
        let timestamps = chosen(&value, "tsaUrls", Some("tsaConfig"), &[1], now)?;
        Ok(Self { authority, logs, timestamps: timestamps.into_iter().map(|listed| listed.url).collect() })
    }
}

fn chosen(
    config: &Value,
    list: &'static str,
    selection: Option<&str>,
    spoken: &[u64],
    now: Timestamp,
) -> Result<Vec<Listed>, SigningConfigError> {
    let services = match config.get(list) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(services)) => services,
        Some(_) => return Err(SigningConfigError::List { list }),
    };
    let mut valid = Vec::new();
    for service in services {
        valid.extend(listed(service, now).ok_or(SigningConfigError::List { list })?);
    }
    // Older versions only where there is nothing newer, as for an upgrade of the services.
    let of = |version: u64| valid.iter().any(|one| one.version == version);
    let version = spoken.iter().copied().find(|version| of(*version));
    let mut operators = BTreeSet::new();
    valid.retain(|one| Some(one.version) == version && operators.insert(one.operator.clone()));
    let selection = selection.and_then(|name| config.get(name));
    let wanted = match selection.and_then(|selection| selection.get("selector")).and_then(Value::as_str) {
        Some("ALL") => valid.len(),
        Some("EXACT") => {
            let count = selection.and_then(|selection| selection.get("count")).and_then(Value::as_u64);
            let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
            count.ok_or(SigningConfigError::List { list })?
        }
        _ => valid.len().min(1),
    };
    if wanted > valid.len() || wanted > limits::BUNDLE_PROOFS {
        return Err(SigningConfigError::TooFew { list, wanted, valid: valid.len() });
    }
    valid.truncate(wanted);
    Ok(valid)
}

/// A service, when it is valid now; `None`: it cannot be read.
#[expect(clippy::option_option, reason = "what cannot be read and what is not valid now are told apart once")]
fn listed(service: &Value, now: Timestamp) -> Option<Option<Listed>> {
    if let Some(url) = service.as_str() {
        return Some(Some(Listed { url: url.to_owned(), version: 1, operator: url.to_owned() }));
    }
    let url = service.get("url")?.as_str()?.to_owned();
    let at = |name: &str| match service.pointer(&format!("/validFor/{name}")) {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_str()?.parse::<Timestamp>().ok().map(Some),
    };
    let (start, end) = (at("start")?, at("end")?);
    if start.is_some_and(|start| now < start) || end.is_some_and(|end| now >= end) {
        return Some(None);
    }
    let operator = service.get("operator").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(&url);
    let version = service.get("majorApiVersion").and_then(Value::as_u64).unwrap_or(1);
    Some(Some(Listed { version, operator: operator.to_owned(), url }))
}

/// Why a configuration does not say what to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningConfigError {
    /// Not JSON with one meaning.
    #[error("the signing configuration cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Another file.
    #[error("this is not a Sigstore signing configuration: its `mediaType` is missing or another")]
    NotASigningConfig,
    /// A list that cannot be read.
    #[error("`{list}` of the signing configuration cannot be read")]
    List {
        /// Which.
        list: &'static str,
    },
    /// It asks for more than there is.
    #[error("the signing configuration asks for {wanted} of `{list}`, and {valid} are valid now")]
    TooFew {
        /// Which.
        list: &'static str,
        /// How many it asks for.
        wanted: usize,
        /// How many there are.
        valid: usize,
    },
}
