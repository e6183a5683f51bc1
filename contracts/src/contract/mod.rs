//! Contracts: what must be attested about an artifact, who may sign for it, and which pulls it answers for.
//!
//! Both published shapes are read, legacy (`schemaVersion: v1`) and current (`kind: Contract`), to the same
//! [`Contract`]. A contract only describes: nothing is looked up, compiled or decided here.

mod admission;
mod materials;
mod policies;
mod schema;
mod signers;
mod verifiers;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

pub(crate) use policies::{read_attachment, read_match_mode};
pub use schema::{SchemaError, compile_schema};

use crate::{
    Code, Diagnostics, Digest, Enforcement, Finding, Origin,
    digest::shorten,
    materials::MaterialType,
    pattern::RepositoryPattern,
    policy::{FileReference, Metadata, PolicyDocument, check_header},
    runners::Runner,
    yaml::{self, Fields, Issues, Kind, Node, Spanned},
};

/// The values of `apiVersion` under which contracts are read.
pub const API_VERSIONS: &[&str] = &["chainloop.dev/v1", "sluice.dev/v1"];

/// A contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The name, when the document gives one; legacy documents do not.
    pub name: Option<String>,
    /// What it is for, in words.
    pub description: Option<String>,
    /// Free annotations of the document itself (`metadata.annotations`).
    pub labels: BTreeMap<String, String>,
    /// The organization that the document says it is for.
    pub organization: Option<String>,
    /// The materials it asks for, no name twice.
    pub materials: Vec<MaterialClause>,
    /// The annotations it asks attestations for, no name twice.
    pub annotations: Vec<AnnotationClause>,
    /// The kind of runner it asks for.
    pub runner: Option<Spanned<Runner>>,
    /// Environment variables that an attestation records.
    pub env_allow_list: Vec<String>,
    /// The policies attached to it.
    pub policies: Policies,
    /// The policy groups attached to it. In a [revision](crate::revision::Revision) the materials that they name are
    /// among the contract's.
    pub policy_groups: Vec<PolicyGroupAttachment>,
    /// Who may sign; `None` means the organization's default signers.
    pub signers: Option<SignersClause>,
    /// Which pulls and checks it answers for; `None` means none.
    pub admission: Option<Admission>,
    /// Where the document begins.
    pub origin: Origin,
}

/// A material that a contract asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterialClause {
    /// The name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Its type.
    pub kind: MaterialType,
    /// Whether an attestation may do without it.
    pub optional: bool,
    /// Whether it becomes a subject of the attestation.
    pub output: bool,
    /// Whether only its digest is recorded and its bytes stay where they are. No policy is attached to such a
    /// material, and it has no schema.
    pub skip_upload: bool,
    /// Annotations of the material.
    pub annotations: Vec<AnnotationClause>,
    /// The set that it belongs to: of the materials of one set at least one must be there, and none in particular.
    pub group: Option<Spanned<String>>,
    /// Until then its absence is only a warning.
    pub effective_from: Option<Timestamp>,
    /// The JSON Schema of custom evidence; always one that [`compile_schema`] takes.
    pub schema: Option<Json>,
    /// Where it is asked for.
    pub origin: Origin,
}

/// An annotation that a contract asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationClause {
    /// The name: letters, digits and underscores.
    pub name: String,
    /// The value it has; `None` means that the run must give one.
    pub value: Option<String>,
    /// Where it is asked for.
    pub origin: Origin,
}

/// The policies attached to a contract.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// Those that read materials.
    pub materials: Vec<PolicyAttachment>,
    /// Those that read the whole statement.
    pub attestation: Vec<PolicyAttachment>,
}

/// A policy attached to a contract, or within a policy group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyAttachment {
    /// Which policy.
    pub source: PolicySource,
    /// Which materials, by name. `None` on attestation policies and in groups.
    pub selector: Option<Selector>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// The arguments, as they were written.
    pub with: BTreeMap<String, Spanned<String>>,
    /// Requirements of frameworks that it contributes to; for reports only.
    pub requirements: Vec<String>,
    /// Whether a violation blocks, if it is said.
    pub gate: Option<bool>,
    /// Until then it only warns.
    pub effective_from: Option<Timestamp>,
    /// Where it is attached.
    pub origin: Origin,
}

/// A policy group attached to a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyGroupAttachment {
    /// The group's document.
    pub file: FileReference,
    /// The arguments, as they were written.
    pub with: BTreeMap<String, Spanned<String>>,
    /// The names of policies that are left out.
    pub skip: Vec<Spanned<String>>,
    /// Whether violations of the group's policies block, whatever the group says; `None` leaves it to the group.
    pub gate: Option<bool>,
    /// Until then it only warns.
    pub effective_from: Option<Timestamp>,
    /// Where it is attached.
    pub origin: Origin,
}

/// Where an attached policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// In a file of the revision.
    File(FileReference),
    /// In the document that attaches it.
    Embedded(Box<PolicyDocument>),
}

/// Which materials a policy reads, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The name, or what it begins with.
    pub name: String,
    /// How it is held against names.
    pub mode: MatchMode,
    /// Where it is written.
    pub origin: Origin,
}

impl Selector {
    /// Whether a material's name is selected.
    #[must_use]
    pub fn matches(&self, material: &str) -> bool {
        match self.mode {
            MatchMode::Exact => material == self.name,
            MatchMode::Prefix => material.starts_with(&self.name),
        }
    }
}

/// How a selector's name is held against a material's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MatchMode {
    /// They are the same.
    #[default]
    Exact,
    /// The material's begins with the selector's.
    Prefix,
}

/// Who may sign for a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignersClause {
    /// How many distinct ones must have signed, from 1 to their number.
    pub threshold: u32,
    /// The signers, at least one, none twice.
    pub any: Vec<SignerClause>,
    /// Where they are named.
    pub origin: Origin,
}

/// One signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerClause {
    /// The holder of a key.
    Key {
        /// The file of the public key in PEM, relative to the contract's folder.
        path: String,
        /// Where it is named.
        origin: Origin,
    },
    /// An identity that an issuer vouches for in a certificate. Both are compared letter by letter.
    Identity {
        /// The issuer's address.
        issuer: String,
        /// The identity: an address or an e-mail.
        identity: String,
        /// Where it is named.
        origin: Origin,
    },
}

/// Which pulls and checks a contract answers for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The repositories, at least one pattern.
    pub repositories: Vec<Spanned<RepositoryPattern>>,
    /// Whether a deny blocks.
    pub enforcement: Enforcement,
    /// How old evidence may be.
    pub max_age: Option<Spanned<SignedDuration>>,
    /// Rules of the contract's own, no name twice.
    pub rules: Vec<AdmissionRule>,
    /// Other verifiers, of whom one must have said that the image passed; nobody is asked when there are none.
    pub verifiers: Vec<VerifierClause>,
    /// Who may let an image through on their own in an emergency; `None` means nobody.
    pub break_glass: Option<BreakGlass>,
    /// Where it is written.
    pub origin: Origin,
}

/// Another verifier, whose Verification Summary Attestations count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierClause {
    /// How it names itself (`verifier.id`), compared letter by letter.
    pub id: String,
    /// Who signs for it.
    pub signer: SignerClause,
    /// What it must have verified, each of these or a higher level of the same track.
    pub levels: Vec<String>,
    /// What it must call the subject, one of these; when there is none, its digest or the image's repository.
    pub resources: Vec<String>,
    /// The digest of the policy that it must have verified by.
    pub policy: Option<Digest>,
    /// How long ago it may have done so.
    pub max_age: Option<SignedDuration>,
    /// Where it is named.
    pub origin: Origin,
}

/// Who may let an image through on their own in an emergency, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// Workflows (`project/workflow`) whose tokens may, and names of tokens that may; at least one, none twice.
    pub callers: Vec<Spanned<String>>,
    /// How long that lasts at most.
    pub max_duration: Spanned<SignedDuration>,
    /// Where it is written.
    pub origin: Origin,
}

/// A rule of a contract's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRule {
    /// The name: lower-case letters, digits and hyphens.
    pub name: String,
    /// The condition in CEL, which must come out true.
    pub cel: Spanned<String>,
    /// What to say when it does not.
    pub message: String,
    /// Where the rule is written.
    pub origin: Origin,
}

impl Contract {
    /// Reads a contract in either shape, YAML or JSON, with its warnings. The file's name is for the origins.
    ///
    /// # Errors
    /// Every mistake in the document, with line and column, and the warnings among them. What is published but not
    /// evaluated by this version (policies kept by a Chainloop server) is an error, never ignored.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<(Self, Vec<Finding>), Diagnostics> {
        let mut issues = Issues::new(file);
        let contract = Self::read_file(bytes, &mut issues);
        let warnings = issues.finish()?;
        match contract {
            Some(contract) => Ok((contract, warnings)),
            None => Err(Diagnostics(warnings)),
        }
    }

    /// The clause of a material, by name.
    #[must_use]
    pub fn material(&self, name: &str) -> Option<&MaterialClause> {
        self.materials.iter().find(|material| material.name == name)
    }

    /// Reads the issues' current file. What comes with errors may be incomplete; `None` always comes with one.
    pub(crate) fn read_file(bytes: &[u8], issues: &mut Issues) -> Option<Self> {
        let node = yaml::parse_into(bytes, issues)?;
        let legacy = node.get("schemaVersion").or_else(|| node.get("schema_version"));
        let current = ["apiVersion", "api_version", "kind", "spec"].iter().find(|key| node.get(key).is_some());
        match (legacy, current) {
            (Some(_), None) => Self::read_legacy(&node, issues),
            (Some(version), Some(other)) => {
                let message = format!("`schemaVersion` and `{other}` belong to two shapes of contract");
                let mend = "keep `apiVersion`, `kind`, `metadata` and `spec`";
                issues.error_with(Code::DocumentDuplicate, version.place, message, mend);
                None
            }
            (None, Some(_)) => Self::read_current(&node, issues),
            (None, None) => {
                let message = "the document does not say what it is";
                let mend = "begin it with `apiVersion: chainloop.dev/v1` and `kind: Contract`";
                issues.error_with(Code::DocumentMissingKey, node.place, message, mend);
                None
            }
        }
    }

    fn read_current(node: &Node, issues: &mut Issues) -> Option<Self> {
        const SPEC: &[&str] =
            &["materials", "envAllowList", "runner", "policies", "policyGroups", "annotations", "signers", "admission"];
        const KNOWN: &[&str] = &["apiVersion", "kind", "metadata", "spec"];
        let fields = Fields::read_with_inner(node, "a contract", KNOWN, ("spec", SPEC), issues)?;
        check_header(&fields, "Contract", API_VERSIONS, issues)?;
        let metadata = fields.need("metadata", issues).and_then(|node| Metadata::read(node, false, issues));
        // A contract that asks for nothing is published with an empty `spec`.
        let nothing = Node { place: fields.place_of("spec"), kind: Kind::Map(Vec::new()) };
        let written = fields.entry("spec").map(|entry| if entry.value.is_null() { &nothing } else { &entry.value });
        let spec = written.or_else(|| fields.need("spec", issues))?;
        let spec = Fields::read(spec, "the `spec` of a contract", SPEC, issues)?;
        let contract = Self::read_spec(&spec, node, issues);
        let signers = signers::read(&spec, issues);
        let admission = admission::read(&spec, issues);
        let metadata = metadata?;
        Some(Self {
            name: Some(metadata.name),
            description: metadata.description,
            labels: metadata.annotations,
            organization: metadata.organization,
            signers,
            admission,
            ..contract
        })
    }

    fn read_legacy(node: &Node, issues: &mut Issues) -> Option<Self> {
        const KNOWN: &[&str] = &[
            "schemaVersion",
            "materials",
            "envAllowList",
            "runner",
            "annotations",
            "policies",
            "policyGroups",
            "signers",
            "admission",
        ];
        let fields = Fields::read(node, "a contract", KNOWN, issues)?;
        if let Some(version) = fields.need_text("schemaVersion", issues)
            && version.value != "v1"
        {
            let message = format!("`{}` is not a version of this document: write `v1`", shorten(version.value));
            issues.error(Code::DocumentInvalidValue, fields.place_of("schemaVersion"), message);
        }
        for key in ["signers", "admission"] {
            if let Some(entry) = fields.entry(key) {
                let message = format!("a contract of the legacy shape has no `{key}`");
                let mend = "write it with `apiVersion: chainloop.dev/v1`, `kind: Contract`, `metadata` and `spec`";
                issues.error_with(Code::DocumentUnknownKey, entry.place, message, mend);
            }
        }
        Some(Self::read_spec(&fields, node, issues))
    }

    /// What both shapes have.
    fn read_spec(fields: &Fields<'_>, node: &Node, issues: &mut Issues) -> Self {
        Self {
            name: None,
            description: None,
            labels: BTreeMap::new(),
            organization: None,
            materials: materials::read(fields, issues),
            annotations: materials::read_annotations(fields, issues),
            runner: read_runner(fields, issues),
            env_allow_list: fields.texts("envAllowList", issues).into_iter().map(|name| name.value).collect(),
            policies: policies::read(fields, issues),
            policy_groups: policies::read_groups(fields, issues),
            signers: None,
            admission: None,
            origin: issues.at(node.place),
        }
    }
}

fn read_runner(fields: &Fields<'_>, issues: &mut Issues) -> Option<Spanned<Runner>> {
    let runner = Fields::read(fields.get("runner")?, "`runner`", &["type"], issues)?;
    let text = runner.need_text("type", issues)?;
    match text.value.parse::<Runner>() {
        Ok(value) => Some(Spanned { value, origin: text.origin }),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, runner.place_of("type"), error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests;
