//! The scripts of a policy.

use super::FileReference;
use crate::{
    Code, Finding, Origin,
    digest::shorten,
    materials::MaterialType,
    yaml::{Fields, Issues, Node},
};

/// One script of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyScript {
    /// What its input is.
    pub kind: ScriptKind,
    /// What it is written in.
    pub language: ScriptLanguage,
    /// Its source.
    pub source: ScriptSource,
    /// Where it is named.
    pub origin: Origin,
}

/// What a script's input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScriptKind {
    /// The statement of an attestation.
    Attestation,
    /// A material of this type.
    Material(MaterialType),
    /// Not said: whatever the attachment selects, the statement or materials by name.
    Any,
}

impl ScriptKind {
    /// The type of material that it reads where it is attached to materials: of a script for statements, the
    /// attestation of another run. `None` is whichever is selected.
    #[must_use]
    pub const fn material(self) -> Option<MaterialType> {
        match self {
            Self::Attestation => Some(MaterialType::Attestation),
            Self::Material(kind) => Some(kind),
            Self::Any => None,
        }
    }
}

/// What a script is written in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScriptLanguage {
    /// One Rego module.
    Rego,
    /// One CEL expression: a condition that must be true, or a list of violations.
    Cel {
        /// What to say when the condition is not true.
        message: Option<String>,
    },
}

/// A script's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptSource {
    /// In the document itself.
    Inline {
        /// The source.
        text: String,
        /// Where its first line stands, for adding to the lines that a compiler reports.
        origin: Origin,
    },
    /// In a file. What it is called when the document was parsed alone counts from the document's own folder.
    File(FileReference),
}

pub(super) fn read(spec: &Fields<'_>, issues: &mut Issues) -> Vec<PolicyScript> {
    let legacy = ["path", "embedded", "type"].iter().filter_map(|key| spec.entry(key)).next();
    if let (Some(entry), true) = (legacy, spec.get("policies").is_some()) {
        let message = format!("`{}` and `policies` are two ways to give the same", entry.key);
        issues.error_with(Code::DocumentDuplicate, entry.place, message, "keep `policies`");
        return Vec::new();
    }
    if legacy.is_some() {
        let kind = read_kind(spec, "type", issues);
        return read_source(spec, &["path", "embedded"], issues)
            .map(|source| PolicyScript { kind, language: ScriptLanguage::Rego, source, origin: issues.at(spec.place) })
            .into_iter()
            .collect();
    }
    let mut scripts = Vec::new();
    for node in spec.list("policies", issues) {
        const KNOWN: &[&str] = &["path", "embedded", "ref", "cel", "message", "kind", "attestationPhases"];
        let Some(fields) = Fields::read(node, "a script of a policy", KNOWN, issues) else { continue };
        let kind = read_kind(&fields, "kind", issues);
        check_phases(&fields, kind, issues);
        let Some(source) = read_source(&fields, &["path", "embedded", "ref", "cel"], issues) else { continue };
        let language = read_language(&fields, &source, issues);
        scripts.push(PolicyScript { kind, language, source, origin: issues.at(node.place) });
    }
    if spec.get("policies").is_none_or(|node| node.items().is_some_and(<[Node]>::is_empty)) {
        let message = "the policy has no script";
        let mend = "give `policies:` with a `kind` and an `embedded` or `path` script";
        issues.error_with(Code::DocumentMissingKey, spec.place, message, mend);
    }
    scripts
}

fn read_kind(fields: &Fields<'_>, key: &str, issues: &mut Issues) -> ScriptKind {
    let Some(text) = fields.text(key, issues) else { return ScriptKind::Any };
    match text.value.parse::<MaterialType>() {
        Ok(MaterialType::Attestation) => ScriptKind::Attestation,
        Ok(kind) => ScriptKind::Material(kind),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, fields.place_of(key), error.to_string());
            ScriptKind::Any
        }
    }
}

fn check_phases(fields: &Fields<'_>, kind: ScriptKind, issues: &mut Issues) {
    let phases = fields.texts("attestationPhases", issues);
    let place = fields.place_of("attestationPhases");
    for phase in &phases {
        if !matches!(phase.value.as_str(), "INIT" | "PUSH") {
            let message = format!("`{}` is not a phase: write INIT or PUSH", shorten(&phase.value));
            issues.push(Finding::error(Code::DocumentInvalidValue, message).at(phase.origin.clone()));
        }
    }
    if !phases.is_empty() && matches!(kind, ScriptKind::Material(_)) {
        let message = "`attestationPhases` is for scripts of kind ATTESTATION";
        issues.error_with(Code::DocumentInvalidValue, place, message, "leave it out");
    } else if !phases.is_empty() && phases.iter().all(|phase| phase.value == "INIT") {
        let message = "the script is for the start of an attestation; it judges what is pushed, as all scripts do";
        let finding = Finding::warning(Code::PolicyPhase, message).at(issues.at(place));
        issues.push(finding.mend("add PUSH to say so, or leave `attestationPhases` out"));
    }
}

/// Exactly one of the keys that give a script.
fn read_source(fields: &Fields<'_>, keys: &[&str], issues: &mut Issues) -> Option<ScriptSource> {
    let mut given = keys.iter().copied().filter(|key| fields.get(key).is_some());
    let choices = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let Some(key) = given.next() else {
        let message = format!("a script needs one of {choices}");
        issues.error(Code::DocumentMissingKey, fields.place, message);
        return None;
    };
    if let Some(other) = given.next() {
        let message = format!("`{key}` and `{other}` are two ways to give the same");
        issues.error_with(Code::DocumentDuplicate, fields.place_of(other), message, format!("keep one of {choices}"));
        return None;
    }
    if !matches!(key, "embedded" | "cel") {
        let file = read_file(fields, key, issues)?;
        if file.path.ends_with(".wasm") {
            refuse_wasm(fields, key, issues);
            return None;
        }
        return Some(ScriptSource::File(file));
    }
    let text = fields.need_text(key, issues)?;
    // The magic number of WebAssembly in Base64.
    if text.value.trim_start().starts_with("AGFzbQ") {
        refuse_wasm(fields, key, issues);
        return None;
    }
    let begins = fields.get(key).and_then(Node::scalar).map_or(fields.place_of(key), |scalar| scalar.begins);
    Some(ScriptSource::Inline { text: text.value.to_owned(), origin: issues.at(begins) })
}

fn refuse_wasm(fields: &Fields<'_>, key: &str, issues: &mut Issues) {
    let message = "WebAssembly policies are not supported";
    issues.error_with(Code::DocumentUnsupported, fields.place_of(key), message, "write the policy in Rego or CEL");
}

fn read_language(fields: &Fields<'_>, source: &ScriptSource, issues: &mut Issues) -> ScriptLanguage {
    let message = fields.text("message", issues).map(|text| text.value.to_owned());
    let in_cel = match source {
        ScriptSource::Inline { .. } => fields.get("cel").is_some(),
        ScriptSource::File(file) => file.path.ends_with(".cel"),
    };
    if in_cel {
        return ScriptLanguage::Cel { message };
    }
    if message.is_some() {
        let place = fields.place_of("message");
        let told = "`message` is for conditions in CEL: scripts in Rego say what they find themselves";
        issues.error_with(Code::DocumentInvalidValue, place, told, "leave it out");
    }
    ScriptLanguage::Rego
}

/// A reference to a file.
pub(super) fn read_file(fields: &Fields<'_>, key: &str, issues: &mut Issues) -> Option<FileReference> {
    let text = fields.need_text(key, issues)?;
    match FileReference::read(text) {
        Ok(file) => Some(file),
        Err(error) => {
            issues.error(error.code(), fields.place_of(key), error.to_string());
            None
        }
    }
}
