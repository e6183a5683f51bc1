//! The `policies` and `policyGroups` of a contract.

use std::collections::BTreeMap;

use super::{MatchMode, Policies, PolicyAttachment, PolicyGroupAttachment, PolicySource, Selector, materials};
use crate::{
    Code, Finding,
    digest::shorten,
    policy::{FileReference, PolicyDocument},
    yaml::{Fields, Issues, Node, Spanned},
};

pub(super) fn read(fields: &Fields<'_>, issues: &mut Issues) -> Policies {
    let Some(node) = fields.get("policies") else { return Policies::default() };
    let Some(policies) = Fields::read(node, "`policies`", &["materials", "attestation"], issues) else {
        return Policies::default();
    };
    let mut read = |key: &str| -> Vec<PolicyAttachment> {
        let nodes = policies.list(key, issues);
        nodes.iter().filter_map(|node| read_attachment(node, Some(key == "materials"), issues)).collect()
    };
    Policies { materials: read("materials"), attestation: read("attestation") }
}

pub(super) fn read_groups(fields: &Fields<'_>, issues: &mut Issues) -> Vec<PolicyGroupAttachment> {
    let mut groups = Vec::new();
    for node in fields.list("policyGroups", issues) {
        const KNOWN: &[&str] = &["ref", "with", "skip", "gate", "effectiveFrom"];
        let Some(group) = Fields::read(node, "an attached policy group", KNOWN, issues) else { continue };
        let file = read_reference(&group, issues);
        let attachment = PolicyGroupAttachment {
            with: group.text_map("with", issues),
            skip: group.texts("skip", issues),
            gate: group.boolean("gate", issues),
            effective_from: materials::read_effective_from(&group, issues),
            origin: issues.at(node.place),
            file: match file {
                Some(file) => file,
                None => continue,
            },
        };
        refuse_templates(&attachment.with, issues);
        groups.push(attachment);
    }
    groups
}

/// One attachment: of a contract, to materials or to the attestation; or (`None`) of a group.
pub(crate) fn read_attachment(node: &Node, on: Option<bool>, issues: &mut Issues) -> Option<PolicyAttachment> {
    const KNOWN: &[&str] =
        &["ref", "embedded", "selector", "disabled", "with", "requirements", "gate", "effectiveFrom"];
    let fields = Fields::read(node, "an attached policy", KNOWN, issues)?;
    let source = read_source(&fields, issues);
    let selector = read_selector(&fields, on, issues);
    let disabled = fields.boolean("disabled", issues).unwrap_or(false);
    let with = fields.text_map("with", issues);
    if on.is_some() {
        refuse_templates(&with, issues);
    }
    let requirements = fields.texts("requirements", issues);
    for requirement in requirements.iter().filter(|text| !is_requirement(&text.value)) {
        let message = format!("`{}` is not a requirement", shorten(&requirement.value));
        let mend = "write framework/requirement, with organization/ in front or @version behind if you need them";
        let finding = Finding::error(Code::DocumentInvalidValue, message).mend(mend);
        issues.push(finding.at(requirement.origin.clone()));
    }
    let gate = fields.boolean("gate", issues);
    let effective_from = materials::read_effective_from(&fields, issues);
    // Of a group's policies the contract that attaches the group may say it.
    if gate.is_none() && fields.get("gate").is_none() && !disabled && on.is_some() {
        let message = "the policy does not block: its violations are only shown";
        let mend = "add gate: true to block, or gate: false to keep it so";
        issues.push(Finding::warning(Code::PolicyAdvisory, message).at(issues.at(node.place)).mend(mend));
    }
    Some(PolicyAttachment {
        source: source?,
        selector,
        disabled,
        with,
        requirements: requirements.into_iter().map(|text| text.value).collect(),
        gate,
        effective_from,
        origin: issues.at(node.place),
    })
}

/// Outside of a group there is nothing to put into a template, and published ones would come out empty.
fn refuse_templates(with: &BTreeMap<String, Spanned<String>>, issues: &mut Issues) {
    for (name, value) in with.iter().filter(|(_, value)| crate::policy::template::is_template(&value.value)) {
        let message = format!(
            "`{}` has `{{{{` in it, and only the texts of policy groups have inputs to put there",
            shorten(name)
        );
        let finding = Finding::error(Code::DocumentInvalidValue, message).at(value.origin.clone());
        issues.push(finding.mend("write the value itself"));
    }
}

fn read_source(fields: &Fields<'_>, issues: &mut Issues) -> Option<PolicySource> {
    match (fields.get("ref"), fields.get("embedded")) {
        (Some(_), None) => read_reference(fields, issues).map(PolicySource::File),
        (None, Some(node)) => PolicyDocument::read(node, issues).map(|p| PolicySource::Embedded(Box::new(p))),
        (Some(_), Some(embedded)) => {
            let message = "`ref` and `embedded` are two ways to give the same";
            issues.error_with(Code::DocumentDuplicate, embedded.place, message, "keep one of the two");
            None
        }
        (None, None) => {
            let message = "an attached policy needs `ref` or `embedded`";
            let mend = "write `ref: file://` and the policy's file";
            issues.error_with(Code::DocumentMissingKey, fields.place, message, mend);
            None
        }
    }
}

fn read_reference(fields: &Fields<'_>, issues: &mut Issues) -> Option<FileReference> {
    let text = fields.need_text("ref", issues)?;
    let place = fields.place_of("ref");
    if !text.value.contains("://") {
        let name = text.value.split('@').next().unwrap_or_default();
        let message =
            format!("`{}` is the name of a policy on a Chainloop server, and only files are read", shorten(text.value));
        let mend = format!(
            "copy the policy next to the contract and write `file://` and its path, or `sluice://{}` if the shipped library has it",
            shorten(name)
        );
        issues.error_with(Code::DocumentUnsupported, place, message, mend);
        return None;
    }
    match FileReference::read(text) {
        Ok(file) => Some(file),
        Err(error) => {
            issues.error(error.code(), place, error.to_string());
            None
        }
    }
}

pub(crate) fn read_match_mode(fields: &Fields<'_>, issues: &mut Issues) -> MatchMode {
    fields.text("matchMode", issues).map_or(MatchMode::Exact, |mode| match mode.value {
        "EXACT" | "UNSPECIFIED" => MatchMode::Exact,
        "PREFIX" => MatchMode::Prefix,
        other => {
            let message = format!("`{}` is not a way to match: write EXACT or PREFIX", shorten(other));
            issues.error(Code::DocumentInvalidValue, fields.place_of("matchMode"), message);
            MatchMode::Exact
        }
    })
}

fn read_selector(fields: &Fields<'_>, on: Option<bool>, issues: &mut Issues) -> Option<Selector> {
    let node = fields.get("selector")?;
    let selector = Fields::read(node, "a selector", &["name", "matchMode"], issues)?;
    let mode = read_match_mode(&selector, issues);
    let name = selector.need_text("name", issues)?;
    if on == Some(false) {
        let message = "a policy on the attestation selects no material";
        let mend = "leave out `selector`, or attach the policy under `policies.materials`";
        issues.error_with(Code::DocumentInvalidValue, node.place, message, mend);
        return None;
    }
    Some(Selector { name: name.value.to_owned(), mode, origin: name.origin })
}

/// `[organization/]framework/requirement[@version]`
fn is_requirement(text: &str) -> bool {
    let (path, version) = match text.split_once('@') {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let word = |part: &&str| !part.is_empty() && !part.contains(char::is_whitespace);
    let version_fits = version.is_none_or(|v| !v.is_empty() && !v.contains(['@']) && !v.contains(char::is_whitespace));
    (2..=3).contains(&parts.len()) && parts.iter().all(word) && version_fits
}
