//! Groups of policies: documents of kind `PolicyGroup`.

use std::collections::BTreeMap;

use super::{API_VERSIONS, Metadata, PolicyInput, check_header, read_inputs, template};
use crate::{
    Code, Diagnostics, Origin,
    contract::{MatchMode, PolicyAttachment, PolicySource, read_attachment, read_match_mode},
    materials::MaterialType,
    yaml::{self, Fields, Issues, Spanned},
};

/// A group of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyGroupDocument {
    /// The name: lower-case letters, digits and hyphens.
    pub name: String,
    /// What it is for, in words.
    pub description: Option<String>,
    /// Free annotations of the document.
    pub annotations: BTreeMap<String, String>,
    /// The arguments it takes, no name twice, for `{{ inputs.NAME }}` in what it says.
    pub inputs: Vec<PolicyInput>,
    /// Materials with their policies.
    pub materials: Vec<GroupMaterial>,
    /// Policies that read the whole statement.
    pub attestation: Vec<PolicyAttachment>,
    /// Where the document begins.
    pub origin: Origin,
}

/// Materials that a group has policies for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMaterial {
    /// Its type; there when it has a name.
    pub kind: Option<MaterialType>,
    /// The name, in which inputs may be put. One with a name is asked for; without, the policies read whatever is of
    /// a type that they are for.
    pub name: Option<Spanned<String>>,
    /// How the name is held against the names of materials.
    pub mode: MatchMode,
    /// Whether an attestation may do without it.
    pub optional: bool,
    /// The policies. Their `selector`s say nothing here.
    pub policies: Vec<PolicyAttachment>,
    /// Where it is written.
    pub origin: Origin,
}

impl PolicyGroupDocument {
    /// Reads a group. The file's name is its path from the contract's folder: policies that it names are looked for
    /// next to it, and then in the contract's folder.
    ///
    /// # Errors
    /// Every mistake in the document, with line and column.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        let mut issues = Issues::new(file);
        let document = Self::read_file(bytes, &mut issues);
        let warnings = issues.finish()?;
        document.ok_or(Diagnostics(warnings))
    }

    /// All attached policies: those on materials, then those on the attestation.
    pub fn attachments(&self) -> impl Iterator<Item = &PolicyAttachment> {
        self.materials.iter().flat_map(|material| &material.policies).chain(&self.attestation)
    }

    /// Reads the issues' current file. `None` comes with an error.
    pub(crate) fn read_file(bytes: &[u8], issues: &mut Issues) -> Option<Self> {
        let node = yaml::parse_into(bytes, issues)?;
        let fields = Fields::read(&node, "a policy group", &["apiVersion", "kind", "metadata", "spec"], issues)?;
        check_header(&fields, "PolicyGroup", API_VERSIONS, issues)?;
        let metadata = fields.need("metadata", issues).and_then(|node| Metadata::read(node, false, issues));
        let spec = fields.need("spec", issues)?;
        let spec = Fields::read(spec, "the `spec` of a policy group", &["policies", "inputs"], issues)?;
        let inputs = read_inputs(&spec, issues);
        let (mut materials, mut attestation) = (Vec::new(), Vec::new());
        let policies = spec.get("policies");
        if let Some(policies) =
            policies.and_then(|node| Fields::read(node, "`policies`", &["materials", "attestation"], issues))
        {
            materials = read_materials(&policies, issues);
            attestation = read_policies(&policies, "attestation", issues);
        }
        let nothing = materials.iter().all(|material| material.policies.is_empty() && material.name.is_none());
        if nothing && attestation.is_empty() {
            let message = "the group has neither policies nor materials, so it asks for nothing";
            let mend = "attach policies under `policies.materials` or `policies.attestation`";
            issues.error_with(Code::DocumentMissingKey, spec.place_of("policies"), message, mend);
        }
        let metadata = metadata?;
        Some(Self {
            name: metadata.name,
            description: metadata.description,
            annotations: metadata.annotations,
            inputs,
            materials,
            attestation,
            origin: issues.at(node.place),
        })
    }
}

fn read_materials(policies: &Fields<'_>, issues: &mut Issues) -> Vec<GroupMaterial> {
    let mut materials = Vec::new();
    for node in policies.list("materials", issues) {
        const KNOWN: &[&str] = &["type", "name", "optional", "matchMode", "policies"];
        let Some(material) = Fields::read(node, "a material of a group", KNOWN, issues) else { continue };
        let kind = read_kind(&material, issues);
        let name = material.text("name", issues).filter(|name| !name.value.is_empty());
        let name = name.map(|name| Spanned { value: name.value.to_owned(), origin: name.origin });
        if let Some(name) = &name {
            check_template(&name.value, &material, "name", issues);
        }
        if name.is_some() && material.get("type").is_none() {
            let message = "a material with a name needs a `type`";
            let mend = "write the type that the contract is to ask for, or leave out `name`";
            issues.error_with(Code::DocumentMissingKey, material.place, message, mend);
        }
        materials.push(GroupMaterial {
            kind,
            name,
            mode: read_match_mode(&material, issues),
            optional: material.boolean("optional", issues).unwrap_or(false),
            policies: read_policies(&material, "policies", issues),
            origin: issues.at(node.place),
        });
    }
    materials
}

fn read_kind(material: &Fields<'_>, issues: &mut Issues) -> Option<MaterialType> {
    let text = material.text("type", issues)?;
    match text.value.parse() {
        Ok(kind) => Some(kind),
        Err(_) if text.value == "MATERIAL_TYPE_UNSPECIFIED" => None,
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, material.place_of("type"), error.to_string());
            None
        }
    }
}

fn check_template(text: &str, fields: &Fields<'_>, key: &str, issues: &mut Issues) {
    if let Err(error) = template::check(text) {
        issues.error(Code::DocumentInvalidValue, fields.place_of(key), error.to_string());
    }
}

fn read_policies(fields: &Fields<'_>, key: &str, issues: &mut Issues) -> Vec<PolicyAttachment> {
    let folder = issues.file().contains('/') && !crate::paths::is_address(issues.file());
    let mut policies = Vec::new();
    for node in fields.list(key, issues) {
        let Some(mut attachment) = read_attachment(node, None, issues) else { continue };
        if let PolicySource::File(file) = &mut attachment.source
            && folder
        {
            file.otherwise = crate::paths::resolve("", &file.reference).ok().filter(|path| *path != file.path);
        }
        if let Some(selector) = attachment.selector.take() {
            let message = "a `selector` says nothing in a group: its policies read what the group's material names";
            let mend = "leave it out, and give the group's material a `name`";
            let finding = crate::Finding::warning(Code::DocumentUnsupported, message).at(selector.origin);
            issues.push(finding.mend(mend));
        }
        policies.push(attachment);
    }
    policies
}
