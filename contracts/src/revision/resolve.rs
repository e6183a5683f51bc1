//! What spans several documents: policies with their scripts, arguments and materials.

use std::collections::BTreeMap;

use super::{ResolvedAttachment, ResolvedScript, ScriptInput, files::Gathered};
use crate::{
    Code, Finding, MaterialType,
    contract::{Contract, MaterialClause, PolicyAttachment, PolicySource},
    digest::shorten,
    policy::{PolicyDocument, PolicyScript, ScriptKind, ScriptSource},
    yaml::{Issues, nearest},
};

pub(super) fn attachments(gathered: &Gathered, issues: &mut Issues) -> Vec<ResolvedAttachment> {
    let Some(contract) = &gathered.contract else { return Vec::new() };
    let on_materials = contract.policies.materials.iter().map(|attachment| (attachment, true));
    let on_attestation = contract.policies.attestation.iter().map(|attachment| (attachment, false));
    let mut resolved = Vec::new();
    for (attachment, materials) in on_materials.chain(on_attestation).filter(|(attachment, _)| !attachment.disabled) {
        let document = match &attachment.source {
            PolicySource::Embedded(document) => document,
            PolicySource::File { path, .. } => match gathered.policies.get(path) {
                Some(document) => document,
                None => continue,
            },
        };
        let inputs = if materials {
            material_inputs(contract, attachment, document, issues)
        } else {
            attestation_inputs(document)
        };
        if inputs.is_empty() {
            applies_to_nothing(attachment, document, materials, issues);
        }
        let scripts = inputs.into_iter().filter_map(|(script, input)| resolve_script(script, input, gathered));
        resolved.push(ResolvedAttachment {
            attachment: attachment.clone(),
            document: document.clone(),
            arguments: arguments(attachment, document, issues),
            scripts: scripts.collect(),
        });
    }
    resolved
}

fn attestation_inputs(document: &PolicyDocument) -> Vec<(&PolicyScript, ScriptInput)> {
    let applies = |script: &&PolicyScript| matches!(script.kind, ScriptKind::Attestation | ScriptKind::Any);
    document.scripts.iter().filter(applies).map(|script| (script, ScriptInput::Attestation)).collect()
}

/// A policy with typed scripts reads the materials of those types, one without reads what its selector names;
/// a selector narrows both. Scripts without a type go along with typed ones.
fn material_inputs<'d>(
    contract: &Contract,
    attachment: &PolicyAttachment,
    document: &'d PolicyDocument,
    issues: &mut Issues,
) -> Vec<(&'d PolicyScript, ScriptInput)> {
    let typed = document.scripts.iter().any(|script| script.kind != ScriptKind::Any);
    let selected = |material: &&MaterialClause| match &attachment.selector {
        Some(selector) => selector.matches(&material.name),
        None => typed,
    };
    // Another run's attestation can be a material too.
    let of_type = |material: &MaterialClause, script: &PolicyScript| match script.kind {
        ScriptKind::Material(kind) => kind == material.kind,
        ScriptKind::Attestation => material.kind == MaterialType::Attestation,
        ScriptKind::Any => false,
    };
    let read: Vec<&MaterialClause> = contract
        .materials
        .iter()
        .filter(selected)
        .filter(|material| !typed || document.scripts.iter().any(|script| of_type(material, script)))
        .collect();
    // With a selector this was told where the selector is.
    for material in read.iter().filter(|material| material.skip_upload && attachment.selector.is_none()) {
        let message = format!(
            "policy `{}` reads the bytes of material `{}`, which `skipUpload: true` keeps away",
            document.name, material.name
        );
        let mend = "leave out `skipUpload` on the material, or name other materials with a `selector`";
        issues.push(Finding::error(Code::DocumentInvalidValue, message).at(attachment.origin.clone()).mend(mend));
    }
    let mut inputs = Vec::new();
    for script in &document.scripts {
        let names: Vec<String> = read
            .iter()
            .filter(|material| script.kind == ScriptKind::Any || of_type(material, script))
            .map(|material| material.name.clone())
            .collect();
        if !names.is_empty() {
            inputs.push((script, ScriptInput::Materials(names)));
        }
    }
    inputs
}

/// A gate that never runs would pass by being empty; a policy that only informs may be there for later.
fn applies_to_nothing(attachment: &PolicyAttachment, document: &PolicyDocument, materials: bool, issues: &mut Issues) {
    let name = &document.name;
    let (message, mend) = if !materials {
        let message = format!("policy `{name}` has no script for attestations");
        (message, "attach it under `policies.materials`")
    } else if document.scripts.iter().all(|script| script.kind == ScriptKind::Any) && attachment.selector.is_none() {
        (format!("policy `{name}` does not say which materials it reads"), "add a `selector` with a material's name")
    } else {
        (format!("policy `{name}` applies to none of the contract's materials"), "ask for a material of its type")
    };
    let finding = if attachment.gate {
        Finding::error(Code::DocumentInvalidValue, message)
    } else {
        Finding::warning(Code::DocumentInvalidValue, message)
    };
    issues.push(finding.at(attachment.origin.clone()).mend(mend));
}

fn resolve_script(script: &PolicyScript, input: ScriptInput, gathered: &Gathered) -> Option<ResolvedScript> {
    match &script.source {
        ScriptSource::Inline { text, origin } => {
            Some(ResolvedScript { input, source: text.clone(), origin: origin.clone() })
        }
        // When it is not there, that was told when it was looked for.
        ScriptSource::File { path, .. } => {
            let source = gathered.files.get(path)?.clone();
            let origin = crate::Origin { file: path.clone(), line: 1, column: 1 };
            Some(ResolvedScript { input, source, origin })
        }
    }
}

fn arguments(
    attachment: &PolicyAttachment,
    document: &PolicyDocument,
    issues: &mut Issues,
) -> BTreeMap<String, String> {
    let filled = |text: &str| !text.trim().is_empty();
    let mut arguments: BTreeMap<String, String> = attachment
        .with
        .iter()
        .filter(|(_, value)| filled(&value.value))
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect();
    if document.inputs.is_empty() {
        return arguments;
    }
    let names: Vec<&str> = document.inputs.iter().map(|input| input.name.as_str()).collect();
    for (name, value) in attachment.with.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
        let message = format!("policy `{}` takes no argument `{}`", document.name, shorten(name));
        let mend = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it takes {}", names.join(", ")),
        };
        issues.push(Finding::error(Code::DocumentUnknownKey, message).at(value.origin.clone()).mend(mend));
    }
    for input in &document.inputs {
        if arguments.contains_key(&input.name) {
            continue;
        }
        if let Some(default) = input.default.as_deref().filter(|text| filled(text)) {
            arguments.insert(input.name.clone(), default.to_owned());
        } else if input.required {
            let message = format!("policy `{}` needs the argument `{}`", document.name, input.name);
            let mend = format!("give it under `with`, as `{}: …`", input.name);
            let finding = Finding::error(Code::DocumentMissingKey, message);
            issues.push(finding.at(attachment.origin.clone()).mend(mend));
        }
    }
    arguments
}
