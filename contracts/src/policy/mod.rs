//! Policy documents: scripts, what they apply to, and the arguments they take; and groups of policies.
//!
//! The published shape of kind `Policy`, legacy (`spec.type` with one script) and current (`spec.policies`), and of
//! kind `PolicyGroup`. A document only describes; its scripts are compiled elsewhere.

mod group;
mod scripts;
pub(crate) mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use group::{GroupMaterial, PolicyGroupDocument};
pub use scripts::{PolicyScript, ScriptKind, ScriptLanguage, ScriptSource};

pub use crate::paths::FileReference;
use crate::{
    Code, Diagnostics, Finding, FindingType, Origin,
    digest::shorten,
    yaml::{self, Fields, Issues, Node, Place, is_dns_label},
};

/// The values of `apiVersion` under which policies were published.
pub const API_VERSIONS: &[&str] = &["chainloop.dev/v1", "workflowcontract.chainloop.dev/v1", "sluice.dev/v1"];

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// The name: lower-case letters, digits and hyphens.
    pub name: String,
    /// What it is for, in words.
    pub description: Option<String>,
    /// Free annotations of the document.
    pub annotations: BTreeMap<String, String>,
    /// What the policy's findings are about, if it says so: they then have the published shape.
    pub finding_type: Option<FindingType>,
    /// The arguments it takes, no name twice. A policy that declares none is given whatever an attachment passes.
    pub inputs: Vec<PolicyInput>,
    /// The files of data that the scripts read, no name twice.
    pub data: Vec<PolicyData>,
    /// The scripts, at least one.
    pub scripts: Vec<PolicyScript>,
    /// Where the document begins.
    pub origin: Origin,
}

/// An argument that a policy takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInput {
    /// The name: a letter, then letters, digits and underscores.
    pub name: String,
    /// What it is for, in words.
    pub description: Option<String>,
    /// Whether an attachment must give it. Never together with a default.
    pub required: bool,
    /// What it is when an attachment does not give it.
    pub default: Option<String>,
    /// Where it is declared.
    pub origin: Origin,
}

/// A file of data that a policy's scripts read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyData {
    /// Scripts see it as `data.<name>`: a letter, then letters, digits and underscores.
    pub name: String,
    /// The file: JSON or YAML.
    pub file: FileReference,
    /// Where it is named.
    pub origin: Origin,
}

impl PolicyDocument {
    /// Reads a policy document. The file's name is its path from the contract's folder: scripts that it names are
    /// looked for next to it.
    ///
    /// # Errors
    /// Every mistake in the document, with line and column.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        let mut issues = Issues::new(file);
        let document = Self::read_file(bytes, &mut issues);
        let warnings = issues.finish()?;
        document.ok_or(Diagnostics(warnings))
    }

    /// Every file that the document names.
    pub fn references(&self) -> impl Iterator<Item = &FileReference> {
        let scripts = self.scripts.iter().filter_map(|script| match &script.source {
            ScriptSource::File(file) => Some(file),
            ScriptSource::Inline { .. } => None,
        });
        scripts.chain(self.data.iter().map(|data| &data.file))
    }

    /// Reads the issues' current file. `None` comes with an error.
    pub(crate) fn read_file(bytes: &[u8], issues: &mut Issues) -> Option<Self> {
        let node = yaml::parse_into(bytes, issues)?;
        Self::read(&node, issues)
    }

    /// Reads a policy from a node of the issues' current file, a document or one that is embedded in a contract.
    /// What comes with errors may be incomplete; `None` always comes with one.
    pub(crate) fn read(node: &Node, issues: &mut Issues) -> Option<Self> {
        let fields = Fields::read(node, "a policy", &["apiVersion", "kind", "metadata", "spec"], issues)?;
        check_header(&fields, "Policy", API_VERSIONS, issues)?;
        let metadata = fields.need("metadata", issues).and_then(|node| Metadata::read(node, true, issues));
        let spec = fields.need("spec", issues)?;
        const SPEC: &[&str] = &["path", "embedded", "type", "policies", "inputs", "data", "autoMatch"];
        let spec = Fields::read(spec, "the `spec` of a policy", SPEC, issues)?;
        if let Some(node) = spec.get("autoMatch") {
            // It widens what a policy is attached to, never what an attached one judges.
            let message = "`autoMatch` attaches nothing: a contract names the policies that it uses";
            let finding = Finding::warning(Code::DocumentUnsupported, message).at(issues.at(node.place));
            issues.push(finding.mend("attach the policy under `policies` of each contract that needs it"));
        }
        let inputs = read_inputs(&spec, issues);
        let data = read_data(&spec, issues);
        let scripts = scripts::read(&spec, issues);
        let metadata = metadata?;
        Some(Self {
            name: metadata.name,
            description: metadata.description,
            annotations: metadata.annotations,
            finding_type: metadata.finding_type,
            inputs,
            data,
            scripts,
            origin: issues.at(node.place),
        })
    }
}

/// What every document of the published kinds says of itself.
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) organization: Option<String>,
    finding_type: Option<FindingType>,
}

impl Metadata {
    pub(crate) fn read(node: &Node, is_policy: bool, issues: &mut Issues) -> Option<Self> {
        const KNOWN: &[&str] = &["name", "description", "annotations", "organization", "findingType"];
        let fields = Fields::read(node, "`metadata`", KNOWN, issues)?;
        let name = fields.need_text("name", issues).map(|name| {
            check_name(name.value, fields.place_of("name"), issues);
            name.value.to_owned()
        });
        let finding_type = fields.text("findingType", issues).and_then(|text| {
            let kind = text.value.parse().ok();
            if kind.is_none() {
                let message = format!("`{}` is not a finding type", shorten(text.value));
                let mend = "write VULNERABILITY, SAST or LICENSE_VIOLATION";
                issues.error_with(Code::DocumentInvalidValue, fields.place_of("findingType"), message, mend);
            }
            kind
        });
        // Published for every kind of document, and asked of policies alone.
        if let (Some(_), false) = (finding_type, is_policy) {
            let message = "`findingType` says nothing here: it is what a policy's violations are about";
            let finding = Finding::warning(Code::DocumentUnsupported, message);
            issues.push(finding.at(issues.at(fields.place_of("findingType"))).mend("leave it out"));
        }
        let description = fields.text("description", issues).map(|text| text.value.to_owned());
        let annotations = fields.text_map("annotations", issues);
        let organization = fields.text("organization", issues).map(|text| text.value.to_owned());
        Some(Self {
            name: name?,
            description,
            annotations: annotations.into_iter().map(|(name, value)| (name, value.value)).collect(),
            organization,
            finding_type,
        })
    }
}

/// Holds `apiVersion` and `kind` against what they must be. `None`, with an error, when this is a document of another
/// kind, whose other keys need no comment.
pub(crate) fn check_header(fields: &Fields<'_>, kind: &str, versions: &[&str], issues: &mut Issues) -> Option<()> {
    if let Some(version) = fields.need_text("apiVersion", issues)
        && !versions.contains(&version.value)
    {
        let message = format!("`{}` is not a version of this document", shorten(version.value));
        let others = versions.iter().skip(1).map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ");
        let first = versions.first().copied().unwrap_or_default();
        let mend = format!("write `apiVersion: {first}`; also read: {others}");
        issues.error_with(Code::DocumentInvalidValue, fields.place_of("apiVersion"), message, mend);
    }
    if let Some(written) = fields.need_text("kind", issues)
        && written.value != kind
    {
        let place = fields.place_of("kind");
        let article = if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
        let message = format!("this is a `{}`; {article} `{kind}` is needed here", shorten(written.value));
        match (written.value, kind) {
            ("PolicyGroup", "Policy") => {
                issues.error_with(Code::DocumentInvalidValue, place, message, "attach groups under `policyGroups`");
            }
            ("Policy", "PolicyGroup") => {
                issues.error_with(Code::DocumentInvalidValue, place, message, "attach policies under `policies`");
            }
            _ => issues.error(Code::DocumentInvalidValue, place, message),
        }
        return None;
    }
    Some(())
}

/// Names of contracts, policies, materials and rules.
pub(crate) fn check_name(name: &str, place: Place, issues: &mut Issues) {
    let origin = issues.at(place);
    check_name_at(name, &origin, issues);
}

pub(crate) fn check_name_at(name: &str, origin: &Origin, issues: &mut Issues) {
    if !is_dns_label(name) {
        let message = format!("`{}` is not a name", shorten(name));
        let mend = "use lower-case letters, digits and hyphens, with a letter or digit at both ends";
        issues.push(Finding::error(Code::DocumentInvalidValue, message).at(origin.clone()).mend(mend));
    }
}

/// Names that scripts use: of inputs and of data.
fn check_word(what: &str, name: &str, place: Place, issues: &mut Issues) {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) || !name.bytes().all(word) {
        let message = format!("`{}` is not the name of {what}", shorten(name));
        let mend = "start with a letter, then use letters, digits and underscores";
        issues.error_with(Code::DocumentInvalidValue, place, message, mend);
    }
}

fn read_data(spec: &Fields<'_>, issues: &mut Issues) -> Vec<PolicyData> {
    let mut data: Vec<PolicyData> = Vec::new();
    for node in spec.list("data", issues) {
        let Some(fields) = Fields::read(node, "a file of data", &["name", "ref"], issues) else { continue };
        let name = fields.need_text("name", issues);
        let file = scripts::read_file(&fields, "ref", issues);
        let Some(name) = name else { continue };
        let place = fields.place_of("name");
        check_word("a file of data", name.value, place, issues);
        if data.iter().any(|known| known.name == name.value) {
            issues.error(Code::DocumentDuplicate, place, format!("data `{}` is named twice", shorten(name.value)));
            continue;
        }
        let Some(file) = file else { continue };
        data.push(PolicyData { name: name.value.to_owned(), file, origin: issues.at(node.place) });
    }
    data
}

pub(crate) fn read_inputs(spec: &Fields<'_>, issues: &mut Issues) -> Vec<PolicyInput> {
    let mut inputs = Vec::new();
    let mut names = BTreeSet::new();
    for node in spec.list("inputs", issues) {
        let known = &["name", "description", "required", "default"];
        let Some(fields) = Fields::read(node, "an input", known, issues) else { continue };
        let required = fields.boolean("required", issues).unwrap_or(false);
        let default = fields.text("default", issues).map(|text| text.value.to_owned()).filter(|text| !text.is_empty());
        let description = fields.text("description", issues).map(|text| text.value.to_owned());
        let Some(name) = fields.need_text("name", issues) else { continue };
        let place = fields.place_of("name");
        check_word("an input", name.value, place, issues);
        if !names.insert(name.value) {
            issues.error(Code::DocumentDuplicate, place, format!("input `{}` is declared twice", shorten(name.value)));
            continue;
        }
        if required && default.is_some() {
            let message = format!("input `{}` is required, so its default is never used", shorten(name.value));
            let mend = "leave out `required` or `default`";
            issues.error_with(Code::DocumentInvalidValue, fields.place_of("default"), message, mend);
        }
        inputs.push(PolicyInput { name: name.value.to_owned(), description, required, default, origin: name.origin });
    }
    inputs
}
