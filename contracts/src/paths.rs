//! What a revision's files are called: by a path relative to the contract's folder, with forward slashes and within
//! that folder; by the web address that they were fetched from; or by their name in the library that is shipped.

use crate::{
    Code, Digest, Origin,
    digest::{DigestError, shorten},
    yaml::Spanned,
};

/// A file that a document refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// What was written, without a pin.
    pub reference: String,
    /// What the file is called in the revision.
    pub path: String,
    /// What it is called when the revision has no such file: published groups name their policies from the contract's
    /// folder instead of from their own.
    pub otherwise: Option<String>,
    /// The digest that is pinned (`file://x.yaml@sha256:…`). It covers the file and all that it refers to.
    pub digest: Option<Digest>,
    /// Where it is written.
    pub origin: Origin,
}

impl FileReference {
    /// Reads a reference that is written in this file.
    pub(crate) fn read(written: Spanned<&str>) -> Result<Self, PathError> {
        let Spanned { value: written, origin } = written;
        let (reference, digest) = match written.split_once("@sha256:") {
            None => (written, None),
            Some((reference, hex)) => (reference, Some(Digest::from_hex(hex)?)),
        };
        let path = resolve(&origin.file, reference)?;
        Ok(Self { reference: reference.to_owned(), path, otherwise: None, digest, origin })
    }
}

/// Whether a file of a revision came from elsewhere than the contract's folder.
pub(crate) fn is_address(path: &str) -> bool {
    path.contains("://")
}

/// What the file is called that a reference means: next to the file that the reference is written in, `file://` or
/// not in front; or wherever an address says.
///
/// # Errors
/// When it is another kind of reference, absolute, or leads out of the folder.
pub(crate) fn resolve(file: &str, reference: &str) -> Result<String, PathError> {
    let shown = || shorten(reference);
    let path = match reference.split_once("://") {
        Some(("file", _)) if is_address(file) => return Err(PathError::Local { text: shown() }),
        Some(("file", path)) => path,
        Some((scheme @ ("https" | "http"), rest)) => return address(scheme, rest, reference),
        Some(("sluice", name)) => return library(name, reference),
        Some(("chainloop", name)) => return Err(PathError::Provider { text: shown(), name: shorten(name) }),
        Some(_) => return Err(PathError::Remote { text: shown() }),
        None => reference,
    };
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if path.starts_with('/') || drive {
        return Err(PathError::Absolute { text: shown() });
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\\') || path.chars().any(char::is_control) {
        return Err(PathError::Malformed { text: shown() });
    }
    // The folder of an address begins behind its host.
    let (root, file) = match file.split_once("://") {
        Some(("sluice", name)) => ("sluice://".to_owned(), name),
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            (format!("{scheme}://{host}/"), path.split_once('?').map_or(path, |(path, _)| path))
        }
        None => (String::new(), file),
    };
    let mut components: Vec<&str> = match file.rsplit_once('/') {
        Some((folder, _)) => folder.split('/').collect(),
        None => Vec::new(),
    };
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                if components.pop().is_none() {
                    return Err(PathError::Outside { text: shown() });
                }
            }
            name => components.push(name),
        }
    }
    if components.is_empty() || path.ends_with("/.") || path.ends_with("/..") {
        return Err(PathError::Malformed { text: shown() });
    }
    Ok(format!("{root}{}", components.join("/")))
}

/// An address on the web, spelled in one way. Without TLS only on this machine: whoever is on the way could put
/// another policy in its place.
fn address(scheme: &str, rest: &str, reference: &str) -> Result<String, PathError> {
    // Who could use the name and password of an address is not to read them in a message.
    let shown = match rest.split_once('/').unwrap_or((rest, "")) {
        (host, path) if host.contains('@') => {
            format!("{scheme}://…@{}/{path}", host.rsplit('@').next().unwrap_or_default())
        }
        _ => reference.to_owned(),
    };
    let malformed = || PathError::Address { text: shorten(&shown) };
    let (host, path) = rest.split_once('/').ok_or_else(malformed)?;
    let host = host.to_ascii_lowercase();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host.as_str(), None),
    };
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_host = bracketed.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()) || is_name(name);
    let is_path = !path.is_empty()
        && path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#' | b'"' | b'<' | b'>'))
        && !path.split(['/', '?']).any(|component| matches!(component, "." | ".."));
    if !is_host || !is_path || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(malformed());
    }
    let loopback =
        name == "localhost" || bracketed.unwrap_or(name).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if scheme == "http" && !loopback {
        return Err(PathError::Plain { text: shorten(reference) });
    }
    Ok(format!("{scheme}://{host}/{path}"))
}

/// A name in the shipped library, and the version that it must have.
fn library(name: &str, reference: &str) -> Result<String, PathError> {
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let (path, version) = match name.split_once('@') {
        Some((path, version)) => (path, Some(version)),
        None => (name, None),
    };
    if !path.split('/').all(word) || version.is_some_and(|version| !word(version)) {
        return Err(PathError::Library { text: shorten(reference) });
    }
    Ok(format!("sluice://{name}"))
}

/// Why a text is not a reference to a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PathError {
    #[error("`{text}` is not a file of the contract: references begin with `file://`, `https://` or `sluice://`")]
    Remote { text: String },
    #[error(
        "`{text}` is kept by a Chainloop server, which the contract cannot be read without: copy the policy next to the contract and write `file://` and its path, or use `sluice://{name}` if the shipped library has it"
    )]
    Provider { text: String, name: String },
    #[error("`{text}` is a file of this machine, which what was fetched from elsewhere may not name")]
    Local { text: String },
    #[error("`{text}` is not an address: write `https://host/path`, without user, `#` and `..`")]
    Address { text: String },
    #[error(
        "`{text}` would be fetched without TLS, so anyone on the way could put another policy in its place: write `https://`"
    )]
    Plain { text: String },
    #[error("`{text}` is not a name of the library: write `sluice://NAME`, or `sluice://NAME@VERSION`")]
    Library { text: String },
    #[error("`{text}` is an absolute path: write it relative to the file that names it")]
    Absolute { text: String },
    #[error("`{text}` is not the path of a file: write names with `/` between them")]
    Malformed { text: String },
    #[error("`{text}` leads out of the contract's folder: a contract and all that it refers to live in one folder")]
    Outside { text: String },
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl PathError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Remote { .. } | Self::Provider { .. } => Code::DocumentUnsupported,
            Self::Digest(_) => Code::DocumentInvalidValue,
            Self::Local { .. }
            | Self::Address { .. }
            | Self::Plain { .. }
            | Self::Library { .. }
            | Self::Absolute { .. }
            | Self::Malformed { .. }
            | Self::Outside { .. } => Code::DocumentReference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_relative_to_the_file_that_names_them() {
        for (file, reference, path) in [
            ("c.yaml", "file://policies/x.yaml", "policies/x.yaml"),
            ("c.yaml", "./x.rego", "x.rego"),
            ("policies/p.yaml", "x.rego", "policies/x.rego"),
            ("policies/p.yaml", "../shared//./x.rego", "shared/x.rego"),
            ("a/b/p.yaml", "../../x.rego", "x.rego"),
        ] {
            assert_eq!(resolve(file, reference), Ok(path.to_owned()), "{reference}");
        }
    }

    #[test]
    fn nothing_outside_the_folder_can_be_named() {
        for bad in [
            "",
            "..",
            ".",
            "a/..",
            "a/.",
            "a/",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "file:///etc/passwd",
            "C:/x",
            "c:x",
            "a\\..\\x",
            "a\0b",
            "http://a.dev/x",
            "https://a.dev",
            "https://u:p@a.dev/x",
            "https://a.dev/x#y",
            "https://a.dev/a/../x",
            "https://a.dev:99999/x",
            "https:///x",
            "chainloop://p",
            "sluice://../p",
            "sluice://",
            "sluice://p@",
            "FILE://x",
        ] {
            assert!(resolve("c.yaml", bad).is_err(), "{bad}");
        }
        assert!(resolve("policies/p.yaml", "../../x.rego").is_err());
        for (file, bad) in
            [("https://a.dev/p/p.yaml", "../../x"), ("https://a.dev/p.yaml", "file://x"), ("sluice://p", "file://x")]
        {
            assert!(resolve(file, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_elsewhere_has_an_address_of_one_spelling() {
        for (file, reference, path) in [
            ("c.yaml", "https://Acme.dev/a/p.yaml", "https://acme.dev/a/p.yaml"),
            ("c.yaml", "http://127.0.0.1:8000/p.yaml", "http://127.0.0.1:8000/p.yaml"),
            ("c.yaml", "http://[::1]/p.yaml?ref=1", "http://[::1]/p.yaml?ref=1"),
            ("https://acme.dev/a/p.yaml?ref=1", "../x.rego", "https://acme.dev/x.rego"),
            ("https://acme.dev/a/p.yaml", "https://other.dev/x.rego", "https://other.dev/x.rego"),
            ("c.yaml", "sluice://banned-licenses@1.0", "sluice://banned-licenses@1.0"),
            ("sluice://a/p", "x.rego", "sluice://a/x.rego"),
        ] {
            assert_eq!(resolve(file, reference), Ok(path.to_owned()), "{reference}");
            assert_eq!(resolve("", path), Ok(path.to_owned()), "{path}");
        }
    }
}
