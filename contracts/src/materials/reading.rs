//! What reading a material gives: its JSON for policies, what it says of itself, or why it is not what its type says.

use std::{borrow::Cow, collections::BTreeMap, io};

use serde::Serialize;

use crate::{Code, Finding, digest::shorten, limits};

/// What was read of a material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<'b> {
    /// What policies see.
    pub projection: Projection<'b>,
    /// What it says of itself, as annotations with the names that published policies read: the tool that made it, what
    /// an SBOM is about, and so on. It is what the document claims; nothing was checked.
    pub annotations: BTreeMap<String, String>,
}

/// What policies see of a material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection<'b> {
    /// A well-formed JSON text without duplicate keys, within [`limits::DOCUMENT_DEPTH`].
    Json(Cow<'b, [u8]>),
    /// The bytes are not read: only the digest, the name and the annotations say something.
    Opaque,
}

/// Annotations while they are collected.
pub(super) type Annotations = BTreeMap<String, String>;

/// A JSON text.
pub(super) type Json = Vec<u8>;

impl<'b> Reading<'b> {
    /// A document that policies see as it is.
    pub(super) fn itself(bytes: &'b [u8], annotations: Annotations) -> Self {
        Self { projection: Projection::Json(Cow::Borrowed(bytes)), annotations }
    }

    /// A document that policies see as this JSON.
    pub(super) fn json(json: Json, annotations: Annotations) -> Self {
        Self { projection: Projection::Json(Cow::Owned(json)), annotations }
    }

    /// What policies see nothing of but its annotations.
    pub(super) fn opaque(annotations: Annotations) -> Self {
        Self { projection: Projection::Opaque, annotations }
    }
}

/// Why bytes are not a material of their type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterialError {
    /// The finding's code.
    pub code: Code,
    /// What is wrong and where, for a person.
    pub message: String,
    /// What to do about it, if that is known.
    pub mend: Option<String>,
}

impl std::fmt::Display for MaterialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.mend {
            Some(mend) => write!(f, " ({mend})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MaterialError {}

impl MaterialError {
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self { code: Code::MaterialMalformed, message: message.into(), mend: None }
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self { code: Code::DocumentTooLarge, message: message.into(), mend: None }
    }

    /// With what to do about it, unless that was said.
    pub(super) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend.get_or_insert_with(|| mend.into());
        self
    }

    /// With what it is about, before the message.
    #[must_use]
    pub fn about(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The finding that says so.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let finding = Finding::error(self.code, self.message.clone());
        match &self.mend {
            Some(mend) => finding.mend(mend.clone()),
            None => finding,
        }
    }
}

/// The value as JSON, at most [`limits::PROJECTION_BYTES`] of it.
pub(super) fn to_json(value: &impl Serialize) -> Result<Json, MaterialError> {
    let mut bounded = Bounded(Vec::new());
    match serde_json::to_writer(&mut bounded, value) {
        Ok(()) => Ok(bounded.0),
        Err(error) if error.is_io() => Err(MaterialError::too_large(format!(
            "it becomes more than {} bytes of JSON for policies",
            limits::PROJECTION_BYTES
        ))),
        Err(error) => {
            Err(MaterialError::malformed(format!("it does not fit into JSON: {}", shorten(&error.to_string()))))
        }
    }
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > limits::PROJECTION_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) const TOOL_NAME: &str = "chainloop.material.tool.name";
pub(super) const TOOL_VERSION: &str = "chainloop.material.tool.version";
pub(super) const TOOLS: &str = "chainloop.material.tools";
pub(super) const SCAN_TYPES: &str = "chainloop.material.scan.types";

/// Adds an annotation, unless there is nothing to say. What is too long is cut.
pub(super) fn note(annotations: &mut Annotations, key: &str, value: Option<&str>) {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return };
    let end = (0..=limits::ANNOTATION_BYTES.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
    annotations.insert(key.to_owned(), value.get(..end.unwrap_or(0)).unwrap_or_default().to_owned());
}

/// The tool that made it.
pub(super) fn made_by(name: &str, version: Option<&str>) -> Annotations {
    let mut annotations = Annotations::new();
    note(&mut annotations, TOOL_NAME, Some(name));
    note(&mut annotations, TOOL_VERSION, version);
    annotations
}

/// The tools that made it, with their versions: the first one alone, and all.
pub(super) fn note_tools(annotations: &mut Annotations, tools: &[(String, String)]) {
    /// Tools of one document that are named.
    const MOST: usize = 32;
    let Some((name, version)) = tools.first() else { return };
    note(annotations, TOOL_NAME, Some(name));
    note(annotations, TOOL_VERSION, Some(version));
    let all: Vec<String> = tools
        .iter()
        .take(MOST)
        .map(|(name, version)| if version.is_empty() { name.clone() } else { format!("{name}@{version}") })
        .collect();
    note(annotations, TOOLS, Some(&serde_json::Value::from(all).to_string()));
}

/// A text in an object.
pub(super) fn text<'v>(value: &'v serde_json::Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}
