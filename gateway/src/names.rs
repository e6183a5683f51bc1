//! The names a tenancy is built from. Nothing crosses an organization: every store call takes its name first.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name as people give it to organizations, projects, workflows and contracts: 1 to 63 lower-case letters,
/// digits and hyphens, beginning and ending with a letter or digit (RFC 1123 label).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It breaks the grammar of names.
    #[error(
        "`{text}` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends"
    )]
    Name {
        /// What was read, shortened.
        text: String,
    },
    /// It does not name a project and a workflow.
    #[error("`{text}` does not name a workflow: write `project/workflow`")]
    Workflow {
        /// What was read, shortened.
        text: String,
    },
}

impl Name {
    /// The name of the organization that an installation begins with when its configuration gives none.
    #[must_use]
    pub fn first_organization() -> Self {
        Self("default".to_owned())
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
        if ends && text.len() <= 63 && text.bytes().all(|b| plain(b) || b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Name { text: text.chars().take(80).collect() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest id of a run.
pub const RUN_ID_BYTES: usize = 128;

/// Whether a text can be the id of a run: letters, digits, `-`, `_` and `.`, at least one and not too many.
#[must_use]
pub fn is_run_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=RUN_ID_BYTES).contains(&id.len()) && id.bytes().all(plain)
}

/// A workflow within an organization, written `project/workflow`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct WorkflowName {
    /// The project.
    pub project: Name,
    /// The workflow within it.
    pub workflow: Name,
}

impl FromStr for WorkflowName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (project, workflow) =
            text.split_once('/').ok_or_else(|| NameError::Workflow { text: text.chars().take(80).collect() })?;
        Ok(Self { project: project.parse()?, workflow: workflow.parse()? })
    }
}

impl fmt::Display for WorkflowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.workflow)
    }
}
