//! Policy documents: Rego scripts, what they apply to, and the arguments they take.
//!
//! The published shape of kind `Policy`, legacy (`spec.type` with one script) and current (`spec.policies`). A
//! document only describes; its scripts are compiled elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Code, Diagnostics, Origin,
    digest::shorten,
    materials::MaterialType,
    paths,
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
    /// What shape the policy's violations have (`VULNERABILITY`, `SAST`, `LICENSE_VIOLATION`), if it says so.
    pub finding_type: Option<String>,
    /// The arguments it takes, no name twice. A policy that declares none is given whatever an attachment passes.
    pub inputs: Vec<PolicyInput>,
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

/// One script of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyScript {
    /// What its input is.
    pub kind: ScriptKind,
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
    /// In a file.
    File {
        /// The file, relative to the contract's folder (to the policy's own when it was parsed alone).
        path: String,
        /// Where it is named.
        origin: Origin,
    },
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
        const SPEC: &[&str] = &["path", "embedded", "type", "policies", "inputs", "autoMatch"];
        let spec = Fields::read(spec, "the `spec` of a policy", SPEC, issues)?;
        if let Some(node) = spec.get("autoMatch") {
            let message = "`autoMatch` is not supported: a contract names the policies that it uses";
            issues.error_with(Code::DocumentUnsupported, node.place, message, "leave it out");
        }
        let inputs = read_inputs(&spec, issues);
        let scripts = read_scripts(&spec, issues);
        let metadata = metadata?;
        Some(Self {
            name: metadata.name,
            description: metadata.description,
            annotations: metadata.annotations,
            finding_type: metadata.finding_type,
            inputs,
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
    finding_type: Option<String>,
}

impl Metadata {
    pub(crate) fn read(node: &Node, is_policy: bool, issues: &mut Issues) -> Option<Self> {
        const OF_CONTRACT: &[&str] = &["name", "description", "annotations", "organization"];
        const OF_POLICY: &[&str] = &["name", "description", "annotations", "organization", "findingType"];
        let fields = Fields::read(node, "`metadata`", if is_policy { OF_POLICY } else { OF_CONTRACT }, issues)?;
        let name = fields.need_text("name", issues).map(|name| {
            check_name(name.value, fields.place_of("name"), issues);
            name.value.to_owned()
        });
        let finding_type = fields.text("findingType", issues).map(|text| text.value.to_owned());
        if let Some(text) = &finding_type
            && !matches!(text.as_str(), "VULNERABILITY" | "SAST" | "LICENSE_VIOLATION")
        {
            let message = format!("`{}` is not a finding type", shorten(text));
            let mend = "write VULNERABILITY, SAST or LICENSE_VIOLATION";
            issues.error_with(Code::DocumentInvalidValue, fields.place_of("findingType"), message, mend);
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
        let mend = format!("write `apiVersion: {}`", versions.first().copied().unwrap_or_default());
        issues.error_with(Code::DocumentInvalidValue, fields.place_of("apiVersion"), message, mend);
    }
    if let Some(written) = fields.need_text("kind", issues)
        && written.value != kind
    {
        let place = fields.place_of("kind");
        if written.value == "PolicyGroup" {
            let message = "policy groups are not supported";
            let mend = "attach the group's policies one by one under `policies`";
            issues.error_with(Code::DocumentUnsupported, place, message, mend);
        } else {
            let message = format!("this is a `{}`; a `{kind}` is needed here", shorten(written.value));
            issues.error(Code::DocumentInvalidValue, place, message);
        }
        return None;
    }
    Some(())
}

/// Names of contracts, policies, materials and rules.
pub(crate) fn check_name(name: &str, place: Place, issues: &mut Issues) {
    if !is_dns_label(name) {
        let message = format!("`{}` is not a name", shorten(name));
        let mend = "use lower-case letters, digits and hyphens, with a letter or digit at both ends";
        issues.error_with(Code::DocumentInvalidValue, place, message, mend);
    }
}

fn read_inputs(spec: &Fields<'_>, issues: &mut Issues) -> Vec<PolicyInput> {
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
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !name.value.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) || !name.value.bytes().all(word) {
            let message = format!("`{}` is not the name of an input", shorten(name.value));
            let mend = "start with a letter, then use letters, digits and underscores";
            issues.error_with(Code::DocumentInvalidValue, place, message, mend);
        }
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

fn read_scripts(spec: &Fields<'_>, issues: &mut Issues) -> Vec<PolicyScript> {
    let legacy = ["path", "embedded", "type"].iter().filter_map(|key| spec.entry(key)).next();
    if let (Some(entry), true) = (legacy, spec.get("policies").is_some()) {
        let message = format!("`{}` and `policies` are two ways to give the same", entry.key);
        issues.error_with(Code::DocumentDuplicate, entry.place, message, "keep `policies`");
        return Vec::new();
    }
    if legacy.is_some() {
        let kind = read_kind(spec, "type", issues);
        return read_source(spec, &["path", "embedded"], issues)
            .map(|source| PolicyScript { kind, source, origin: issues.at(spec.place) })
            .into_iter()
            .collect();
    }
    let mut scripts = Vec::new();
    for node in spec.list("policies", issues) {
        const KNOWN: &[&str] = &["path", "embedded", "ref", "kind", "attestationPhases"];
        let Some(fields) = Fields::read(node, "a script of a policy", KNOWN, issues) else { continue };
        let kind = read_kind(&fields, "kind", issues);
        check_phases(&fields, kind, issues);
        if let Some(source) = read_source(&fields, &["path", "embedded", "ref"], issues) {
            scripts.push(PolicyScript { kind, source, origin: issues.at(node.place) });
        }
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
            issues.error(Code::DocumentInvalidValue, place, message);
        }
    }
    if !phases.is_empty() && matches!(kind, ScriptKind::Material(_)) {
        let message = "`attestationPhases` is for scripts of kind ATTESTATION";
        issues.error_with(Code::DocumentInvalidValue, place, message, "leave it out");
    } else if !phases.is_empty() && phases.iter().all(|phase| phase.value == "INIT") {
        let message =
            "a script that runs only at the start of an attestation is not supported: what is pushed is judged";
        issues.error_with(Code::DocumentUnsupported, place, message, "add PUSH, or leave `attestationPhases` out");
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
    let text = fields.need_text(key, issues)?;
    let place = fields.place_of(key);
    if key == "embedded" {
        let begins = fields.get(key).and_then(Node::scalar).map_or(place, |scalar| scalar.begins);
        return Some(ScriptSource::Inline { text: text.value.to_owned(), origin: issues.at(begins) });
    }
    match paths::resolve(issues.file(), text.value) {
        Ok(path) if path.ends_with(".wasm") => {
            let message = "WebAssembly policies are not supported";
            issues.error_with(Code::DocumentUnsupported, place, message, "write the policy in Rego");
            None
        }
        Ok(path) => Some(ScriptSource::File { path, origin: text.origin }),
        Err(error) => {
            issues.error(error.code(), place, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match PolicyDocument::parse("policies/p.yaml", text.as_bytes()) {
            Ok(document) => format!("READ {document:?}"),
            Err(diagnostics) => diagnostics
                .0
                .iter()
                .map(|f| {
                    let origin = f.origin.as_ref().map(|o| format!("{}:{}", o.line, o.column)).unwrap_or_default();
                    format!("{origin} {} {}; {}\n", f.code, f.message, f.mend.as_deref().unwrap_or("-"))
                })
                .collect(),
        }
    }

    #[test]
    fn both_shapes_are_read() {
        let legacy = "apiVersion: workflowcontract.chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  type: SARIF\n  embedded: |\n    package main\n";
        let current = "api_version: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  policies:\n    - kind: SARIF\n      embedded: |\n        package main\n";
        let legacy = PolicyDocument::parse("policies/p.yaml", legacy.as_bytes()).unwrap();
        let current = PolicyDocument::parse("policies/p.yaml", current.as_bytes()).unwrap();
        let source = |document: &PolicyDocument| match &document.scripts[0] {
            PolicyScript {
                kind: ScriptKind::Material(MaterialType::Sarif),
                source: ScriptSource::Inline { text, origin },
                ..
            } => (text.clone(), origin.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(source(&legacy), ("package main\n".to_owned(), "policies/p.yaml:7:5".to_owned()));
        assert_eq!(source(&current), ("package main\n".to_owned(), "policies/p.yaml:8:9".to_owned()));
    }

    #[test]
    fn scripts_are_looked_for_next_to_the_policy() {
        let text = "apiVersion: sluice.dev/v1\nkind: Policy\nmetadata: {name: p, findingType: SAST}\nspec:\n  policies:\n    - {kind: ATTESTATION, path: rego/x.rego, attestation_phases: [PUSH]}\n    - {ref: file://../y.rego}\n";
        let document = PolicyDocument::parse("policies/p.yaml", text.as_bytes()).unwrap();
        let found: Vec<_> = document
            .scripts
            .iter()
            .map(|script| match &script.source {
                ScriptSource::File { path, .. } => (script.kind, path.as_str()),
                ScriptSource::Inline { .. } => panic!("not inline"),
            })
            .collect();
        assert_eq!(found, [(ScriptKind::Attestation, "policies/rego/x.rego"), (ScriptKind::Any, "y.rego")]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let text = "\
apiVersion: chainloop.dev/v2
kind: Policy
metadata:
  name: Not A Name
  finding_type: WRONG
spec:
  autoMatch: {embedded: x}
  inputs:
    - {name: 1st}
    - {name: days, required: true, default: 3}
    - {name: days}
    - {nam: x}
  policies:
    - {kind: SBOM_CYCLONE, embedded: x}
    - {kind: SARIF}
    - {kind: SARIF, embedded: x, path: y}
    - {kind: SARIF, path: /etc/passwd}
    - {kind: SARIF, path: ../../x.rego}
    - {kind: SARIF, ref: 'https://acme.dev/x.rego'}
    - {kind: SARIF, path: x.wasm}
    - {kind: SARIF, embedded: x, attestation_phases: [PUSH]}
    - {kind: ATTESTATION, embedded: x, attestation_phases: [INIT]}
    - {kind: ATTESTATION, embedded: x, attestationPhases: [LATER, PUSH]}
";
        insta::assert_snapshot!(show(text), @"
        1:13 document-invalid-value `chainloop.dev/v2` is not a version of this document; write `apiVersion: chainloop.dev/v1`
        4:9 document-invalid-value `Not A Name` is not a name; use lower-case letters, digits and hyphens, with a letter or digit at both ends
        5:17 document-invalid-value `WRONG` is not a finding type; write VULNERABILITY, SAST or LICENSE_VIOLATION
        7:14 document-unsupported `autoMatch` is not supported: a contract names the policies that it uses; leave it out
        9:14 document-invalid-value `1st` is not the name of an input; start with a letter, then use letters, digits and underscores
        10:45 document-invalid-value input `days` is required, so its default is never used; leave out `required` or `default`
        11:14 document-duplicate input `days` is declared twice; -
        12:7 document-missing-key an input needs `name`; -
        12:8 document-unknown-key an input has no key `nam`; did you mean `name`?
        14:14 document-invalid-value `SBOM_CYCLONE` is not a material type: did you mean `SBOM_CYCLONEDX_JSON`?; -
        15:7 document-missing-key a script needs one of `path`, `embedded`, `ref`; -
        16:31 document-duplicate `path` and `embedded` are two ways to give the same; keep one of `path`, `embedded`, `ref`
        17:27 document-reference `/etc/passwd` is an absolute path: write it relative to the file that names it; -
        18:27 document-reference `../../x.rego` leads out of the contract's folder: a contract and all that it refers to live in one folder; -
        19:26 document-unsupported `https://acme.dev/x.rego` is not a file of the contract: references are `file://` and a path; copy what it names next to the contract; -
        20:27 document-unsupported WebAssembly policies are not supported; write the policy in Rego
        21:54 document-invalid-value `attestationPhases` is for scripts of kind ATTESTATION; leave it out
        22:60 document-unsupported a script that runs only at the start of an attestation is not supported: what is pushed is judged; add PUSH, or leave `attestationPhases` out
        23:59 document-invalid-value `LATER` is not a phase: write INIT or PUSH; -
        ");
        let text = "kind: PolicyGroup\nmetadata: {}\nspec: {path: x.rego, policies: [{path: y.rego}]}";
        insta::assert_snapshot!(show(text), @"
        1:1 document-missing-key a policy needs `apiVersion`; -
        1:7 document-unsupported policy groups are not supported; attach the group's policies one by one under `policies`
        ");
        let text = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec: {policies: []}";
        insta::assert_snapshot!(show(text), @"4:7 document-missing-key the policy has no script; give `policies:` with a `kind` and an `embedded` or `path` script");
    }
}
