//! Patterns of repositories: which pulls a contract answers for.

use std::{fmt, str::FromStr};

use crate::{Code, Repository, digest::shorten};

/// A pattern over canonical repository names, such as `registry.acme.dev/skynet/**`.
///
/// The host is exact, port included, or `*.` before at least two labels: `*.acme.dev` is every host below `acme.dev`.
/// In the path `*` stands for any characters
/// within one component and `**` for any number of components: at the end for one or more, elsewhere for none or
/// more. `**` alone is every repository there is. A pattern matches the whole name or not at all.
///
/// Refused: hosts with other wildcards, which would capture registries that nobody thought of; short names without a
/// host; upper case; `**` next to other characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryPattern {
    text: String,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Shape {
    Everything,
    Within { host: Host, path: Vec<Part> },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Host {
    Exactly(String),
    /// Ends with this, the dot included.
    Below(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    /// One component, with `*` in it or not.
    One(String),
    /// Any number of components.
    Any,
}

impl Host {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exactly(host) => host == name,
            Self::Below(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|below| !below.is_empty()),
        }
    }
}

/// The longest pattern that is read, as long as the longest repository.
const PATTERN_BYTES: usize = 255;

impl RepositoryPattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host as it was written, wildcard included; none of the pattern for every repository.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self.shape {
            Shape::Everything => None,
            Shape::Within { .. } => self.text.split_once('/').map(|(host, _)| host),
        }
    }

    /// Whether it may stand for a repository of this host.
    #[must_use]
    pub fn matches_host(&self, host: &str) -> bool {
        match &self.shape {
            Shape::Everything => true,
            Shape::Within { host: own, .. } => own.matches(host),
        }
    }

    /// Whether a repository is one of those that the pattern stands for.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        let Shape::Within { host, path } = &self.shape else { return true };
        let components: Vec<&str> = repository.path().split('/').collect();
        host.matches(repository.host()) && path_matches(path, &components)
    }
}

impl RepositoryPattern {
    /// Whether it certainly stands for every repository that another pattern stands for. Of patterns with wildcards
    /// this is said only where it is plain to see.
    #[must_use]
    pub fn covers(&self, narrow: &Self) -> bool {
        if let Ok(repository) = narrow.text.parse::<Repository>()
            && repository.to_string() == narrow.text
        {
            return self.matches(&repository);
        }
        let folder = self.text.strip_suffix("**").filter(|folder| !folder.contains('*'));
        folder.is_some_and(|folder| narrow.text.starts_with(folder))
    }
}

/// Holds the parts against the components with one row of a table: `reached[i]` says whether the parts so far can
/// stand for the first `i` components. Never more than parts times components steps.
fn path_matches(parts: &[Part], components: &[&str]) -> bool {
    let mut reached = vec![false; components.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for (position, part) in parts.iter().enumerate() {
        let mut next = Vec::with_capacity(reached.len());
        match part {
            Part::One(glob) => {
                next.push(false);
                next.extend(
                    reached.iter().zip(components).map(|(before, component)| *before && glob_matches(glob, component)),
                );
            }
            Part::Any => {
                let last = position + 1 == parts.len();
                let mut any = false;
                for before in &reached {
                    next.push(if last { any } else { any || *before });
                    any = any || *before;
                }
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Whether `*` in the glob can be filled so that it reads as the text.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut pieces = glob.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl FromStr for RepositoryPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let shown = || shorten(text);
        if text.is_empty() || text.len() > PATTERN_BYTES {
            return Err(PatternError::Length { text: shown() });
        }
        if text == "**" {
            return Ok(Self { text: text.to_owned(), shape: Shape::Everything });
        }
        let Some((host, path)) = text.split_once('/') else {
            return Err(if text.contains('*') {
                PatternError::HostTooWide { host: shown() }
            } else {
                PatternError::NoHost { text: shown() }
            });
        };
        let host = parse_host(host, path)?;
        let parts: Vec<Part> = path.split('/').map(parse_part).collect::<Result<_, _>>()?;
        // Two neighbouring `**` say nothing more than one, but at the end they would ask for one component less.
        if parts.windows(2).any(|pair| matches!(pair, [Part::Any, Part::Any])) {
            return Err(PatternError::Component { component: "**/**".to_owned() });
        }
        Ok(Self { text: text.to_owned(), shape: Shape::Within { host, path: parts } })
    }
}

fn parse_host(host: &str, path: &str) -> Result<Host, PatternError> {
    let (below, name) = match host.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, host),
    };
    let too_wide = || PatternError::HostTooWide { host: shorten(host) };
    if name.contains('*') || (below && !name.contains('.')) {
        return Err(too_wide());
    }
    let named = name.contains(['.', ':']) || name == "localhost";
    if !named {
        return Err(PatternError::NoHost { text: shorten(&format!("{host}/{path}")) });
    }
    // The canonical spelling is what is matched, so the pattern must be in it.
    let repository = Repository::new(name, "x").map_err(|_| PatternError::Host { host: shorten(host) })?;
    if repository.host() != name {
        return Err(PatternError::NotCanonical { text: shorten(host), canonical: repository.host().to_owned() });
    }
    if name == "docker.io" && !path.contains('/') && !path.contains("**") {
        let canonical = format!("docker.io/library/{path}");
        return Err(PatternError::NotCanonical { text: shorten(&format!("{host}/{path}")), canonical });
    }
    Ok(if below { Host::Below(format!(".{name}")) } else { Host::Exactly(name.to_owned()) })
}

fn parse_part(component: &str) -> Result<Part, PatternError> {
    if component == "**" {
        return Ok(Part::Any);
    }
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'*');
    let refused = component.is_empty()
        || component.contains("**")
        || matches!(component, "." | "..")
        || !component.bytes().all(known);
    if refused {
        return Err(PatternError::Component { component: shorten(component) });
    }
    Ok(Part::One(component.to_owned()))
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a pattern of repositories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Empty, or longer than any repository.
    #[error("`{text}` is not a pattern of repositories: it is empty or longer than {PATTERN_BYTES} bytes")]
    Length {
        /// What was read, shortened.
        text: String,
    },
    /// No registry in front.
    #[error("`{text}` names no registry: write the host too, for example `registry.acme.dev/{text}`")]
    NoHost {
        /// What was read, shortened.
        text: String,
    },
    /// The registry's name breaks its grammar.
    #[error("`{host}` is not a registry host")]
    Host {
        /// What was read, shortened.
        host: String,
    },
    /// A wildcard in the host lets in registries that nobody thought of.
    #[error(
        "`{host}` would match registries that are not yours: name the host, or write `*.` and a domain in front of the path"
    )]
    HostTooWide {
        /// What was read, shortened.
        host: String,
    },
    /// Another spelling of a name that has one.
    #[error("`{text}` is matched as `{canonical}`: write that")]
    NotCanonical {
        /// What was read, shortened.
        text: String,
        /// The canonical spelling.
        canonical: String,
    },
    /// A path component that no repository has.
    #[error(
        "`{component}` is not part of a repository's name: use lower-case letters, digits, `.`, `_`, `-`, and `*` or a lone `**`"
    )]
    Component {
        /// What was read, shortened.
        component: String,
    },
}

impl PatternError {
    /// The code of a finding about this mistake.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::HostTooWide { .. } => Code::PatternTooWide,
            _ => Code::DocumentInvalidValue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, yes, no) in [
            (
                "registry.acme.dev/skynet/**",
                &["registry.acme.dev/skynet/app", "registry.acme.dev/skynet/a/b"][..],
                &[
                    "registry.acme.dev/skynet",
                    "registry.acme.dev/skynet-evil/app",
                    "evil.dev/skynet/app",
                    "registry.acme.dev:5000/skynet/app",
                ][..],
            ),
            ("r.dev/a/*", &["r.dev/a/b"], &["r.dev/a", "r.dev/a/b/c", "r.dev/b/a"]),
            (
                "r.dev/app-*-x*/y",
                &["r.dev/app-1-x/y", "r.dev/app-a-xx/y"],
                &["r.dev/app-1/y", "r.dev/app-x/y", "r.dev/app-1-x/y/z"],
            ),
            (
                "r.dev/**/release/*",
                &["r.dev/release/a", "r.dev/t/u/release/a"],
                &["r.dev/release", "r.dev/t/release/a/b"],
            ),
            (
                "*.acme.dev/**",
                &["r.acme.dev/a", "a.b.acme.dev/a/b"],
                &["acme.dev/a", "xacme.dev/a", "acme.dev.evil.dev/a", "r.acme.dev:99/a"],
            ),
            ("docker.io/library/alpine", &["alpine"], &["docker.io/acme/alpine"]),
            ("docker.io/**", &["alpine", "acme/app"], &["r.dev/a"]),
            ("localhost:5000/a", &["localhost:5000/a"], &["localhost:5001/a"]),
            ("**", &["alpine", "r.dev:99/a/b/c"], &[]),
        ] {
            let compiled: RepositoryPattern = pattern.parse().unwrap();
            for name in yes {
                assert!(compiled.matches(&name.parse().unwrap()), "{pattern} {name}");
            }
            for name in no {
                assert!(!compiled.matches(&name.parse().unwrap()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn refuses_patterns_that_let_in_more_than_they_seem_to() {
        for wide in
            ["*", "*/**", "**/app", "registry.*/app", "*.dev/app", "**.acme.dev/a", "r*.acme.dev/a", "*acme.dev/**"]
        {
            assert_eq!(wide.parse::<RepositoryPattern>().map_err(|e| e.code()), Err(Code::PatternTooWide), "{wide}");
        }
        for bad in [
            "",
            "alpine",
            "skynet/**",
            "r.dev/",
            "r.dev//a",
            "r.dev/a/",
            "r.dev/A",
            "R.dev/a",
            "r.dev/a**",
            "r.dev/**/**",
            "r.dev/../a",
            "r.dev/a:v1",
            "index.docker.io/a/b",
            "docker.io/alpine",
            "https://r.dev/a",
            "r.dev/a?",
            "r.dev/[ab]",
            "r.dev/a b",
        ] {
            let error = bad.parse::<RepositoryPattern>().map_err(|e| e.code());
            assert_eq!(error, Err(Code::DocumentInvalidValue), "{bad}");
        }
    }

    #[test]
    fn what_is_covered_is_plain_to_see() {
        let pattern = |text: &str| text.parse::<RepositoryPattern>().unwrap();
        for (wide, narrow, covers) in [
            ("**", "r.dev/**", true),
            ("r.dev/**", "r.dev/a/**", true),
            ("r.dev/**", "r.dev/*", true),
            ("r.dev/a/**", "r.dev/a/b", true),
            ("r.dev/*", "r.dev/a", true),
            ("*.acme.dev/**", "r.acme.dev/a", true),
            ("r.dev/a/**", "r.dev/a", false),
            ("r.dev/a/**", "r.dev/ab/**", false),
            ("r.dev/*", "r.dev/**", false),
            ("r.dev/a", "r.dev/**", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }
}
