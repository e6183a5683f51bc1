//! Policy groups with their inputs, and the materials that they ask for.

use std::collections::BTreeMap;

use super::{
    arguments::{self, Taker},
    files::Gathered,
};
use crate::{
    Code, Finding,
    contract::{Contract, MaterialClause, PolicyAttachment, PolicyGroupAttachment, Selector},
    digest::shorten,
    policy::{
        GroupMaterial, PolicyGroupDocument, check_name_at,
        template::{self, Bindings},
    },
    yaml::{Issues, Spanned},
};

/// An attached group with its inputs put in.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) attachment: PolicyGroupAttachment,
    pub(super) bindings: Bindings,
    pub(super) materials: Vec<(Option<Selector>, Vec<PolicyAttachment>)>,
    pub(super) attestation: Vec<PolicyAttachment>,
}

/// Puts the inputs of each group into what it says, and the materials that it asks for among the contract's.
pub(super) fn resolve(gathered: &mut Gathered, issues: &mut Issues) -> Vec<Group> {
    let mut groups = Vec::new();
    let Some(contract) = &mut gathered.contract else { return groups };
    for attachment in contract.policy_groups.clone() {
        // When it is not there, that was told when it was looked for.
        let Some(document) = gathered.groups.get(&attachment.file.path) else { continue };
        let bindings = bindings(document, &attachment, issues);
        let mut materials = Vec::new();
        for material in &document.materials {
            let Some(selector) = named(material, &bindings, issues) else { continue };
            if let Some(selector) = &selector {
                ask(contract, document, material, selector, &attachment, issues);
            }
            materials.push((selector, filled(&material.policies, &bindings, issues)));
        }
        groups.push(Group {
            name: document.name.clone(),
            materials,
            attestation: filled(&document.attestation, &bindings, issues),
            attachment,
            bindings,
        });
    }
    groups
}

fn bindings(document: &PolicyGroupDocument, attachment: &PolicyGroupAttachment, issues: &mut Issues) -> Bindings {
    let taker = Taker { what: "policy group", name: &document.name, inputs: &document.inputs };
    let mut bindings = arguments::resolve(&taker, &attachment.with, None, &attachment.origin, issues);
    for input in &document.inputs {
        bindings.entry(input.name.clone()).or_default();
    }
    bindings
}

/// The name of a group's material, if it has one still when the inputs are put in. `None` with an error.
fn named(material: &GroupMaterial, bindings: &Bindings, issues: &mut Issues) -> Option<Option<Selector>> {
    let Some(name) = &material.name else { return Some(None) };
    match template::fill(&name.value, bindings) {
        Ok(text) if text.trim().is_empty() => Some(None),
        Ok(text) => {
            check_name_at(&text, &name.origin, issues);
            Some(Some(Selector { name: text, mode: material.mode, origin: name.origin.clone() }))
        }
        Err(error) => {
            issues.push(Finding::error(Code::DocumentInvalidValue, error.to_string()).at(name.origin.clone()));
            None
        }
    }
}

/// A material with a name is asked for; what the contract says of it itself comes first.
fn ask(
    contract: &mut Contract,
    document: &PolicyGroupDocument,
    material: &GroupMaterial,
    selector: &Selector,
    attachment: &PolicyGroupAttachment,
    issues: &mut Issues,
) {
    let Some(kind) = material.kind else { return };
    if let Some(own) = contract.material(&selector.name) {
        let mut told = None;
        if own.kind != kind {
            told = Some(format!("is of type {} here and of type {kind} in the policy group", own.kind));
        } else if own.optional && !material.optional {
            told = Some("may be missing here, and is required by the policy group".to_owned());
        }
        if let Some(told) = told {
            let message = format!("material `{}` {told} `{}`; the contract counts", own.name, document.name);
            let finding = Finding::warning(Code::DocumentInvalidValue, message).at(own.origin.clone());
            issues.push(finding.mend("say the same in both, or leave the material to the group"));
        }
        return;
    }
    // As published, also where the name is a prefix: the first of a set bears the name that the others begin with.
    contract.materials.push(MaterialClause {
        name: selector.name.clone(),
        kind,
        optional: material.optional,
        output: false,
        skip_upload: false,
        annotations: Vec::new(),
        group: None,
        effective_from: attachment.effective_from,
        schema: None,
        origin: material.origin.clone(),
    });
}

/// The attachments with the inputs put into their arguments.
fn filled(attachments: &[PolicyAttachment], bindings: &Bindings, issues: &mut Issues) -> Vec<PolicyAttachment> {
    let fill = |attachment: &PolicyAttachment| {
        let mut with = BTreeMap::new();
        for (name, value) in &attachment.with {
            match template::fill(&value.value, bindings) {
                Ok(text) => {
                    with.insert(name.clone(), Spanned { value: text, origin: value.origin.clone() });
                }
                Err(error) => {
                    let message = format!("`{}`: {error}", shorten(name));
                    issues.push(Finding::error(Code::DocumentInvalidValue, message).at(value.origin.clone()));
                }
            }
        }
        PolicyAttachment { with, ..attachment.clone() }
    };
    attachments.iter().map(fill).collect()
}
