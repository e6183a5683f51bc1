//! Paths inside a contract revision: relative, with forward slashes, within the contract's folder.

use crate::{Code, digest::shorten};

/// The path that a reference written in a file means: next to that file, `file://` or not in front.
///
/// # Errors
/// When it is another kind of reference, absolute, or leads out of the contract's folder.
pub(crate) fn resolve(file: &str, reference: &str) -> Result<String, PathError> {
    let shown = || shorten(reference);
    let path = match reference.split_once("://") {
        Some(("file", path)) => path,
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
    Ok(components.join("/"))
}

/// Why a text is not a path inside a contract revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PathError {
    #[error(
        "`{text}` is not a file of the contract: references are `file://` and a path; copy what it names next to the contract"
    )]
    Remote { text: String },
    #[error("`{text}` is an absolute path: write it relative to the file that names it")]
    Absolute { text: String },
    #[error("`{text}` is not the path of a file: write names with `/` between them")]
    Malformed { text: String },
    #[error("`{text}` leads out of the contract's folder: a contract and all that it refers to live in one folder")]
    Outside { text: String },
}

impl PathError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Remote { .. } => Code::DocumentUnsupported,
            Self::Absolute { .. } | Self::Malformed { .. } | Self::Outside { .. } => Code::DocumentReference,
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
            "https://a.dev/x",
            "http://a.dev/x",
            "chainloop://p",
            "FILE://x",
        ] {
            assert!(resolve("c.yaml", bad).is_err(), "{bad}");
        }
        assert!(resolve("policies/p.yaml", "../../x.rego").is_err());
    }
}
