//! The `policies` of a contract.

use super::{MatchMode, Policies, PolicyAttachment, PolicySource, Selector, materials::Materials};
use crate::{
    Code, Digest, Finding,
    digest::shorten,
    paths,
    policy::PolicyDocument,
    yaml::{Fields, Issues, Node},
};

pub(super) fn read(fields: &Fields<'_>, materials: &Materials, issues: &mut Issues) -> Policies {
    let Some(node) = fields.get("policies") else { return Policies::default() };
    let Some(policies) = Fields::read(node, "`policies`", &["materials", "attestation"], issues) else {
        return Policies::default();
    };
    let mut read = |key: &str, on: Option<&Materials>| {
        let nodes = policies.list(key, issues);
        nodes.iter().filter_map(|node| read_attachment(node, on, issues)).collect()
    };
    Policies { materials: read("materials", Some(materials)), attestation: read("attestation", None) }
}

/// One attachment, to these materials or to the attestation.
fn read_attachment(node: &Node, materials: Option<&Materials>, issues: &mut Issues) -> Option<PolicyAttachment> {
    const KNOWN: &[&str] = &["ref", "embedded", "selector", "disabled", "with", "requirements", "gate"];
    let fields = Fields::read(node, "an attached policy", KNOWN, issues)?;
    let source = read_source(&fields, issues);
    let selector = read_selector(&fields, materials, issues);
    let disabled = fields.boolean("disabled", issues).unwrap_or(false);
    let with = fields.text_map("with", issues);
    let requirements = fields.texts("requirements", issues);
    for requirement in requirements.iter().filter(|text| !is_requirement(&text.value)) {
        let message = format!("`{}` is not a requirement", shorten(&requirement.value));
        let mend = "write framework/requirement, with organization/ in front or @version behind if you need them";
        let finding = Finding::error(Code::DocumentInvalidValue, message).mend(mend);
        issues.push(finding.at(requirement.origin.clone()));
    }
    let gate = fields.boolean("gate", issues);
    if gate.is_none() && fields.get("gate").is_none() && !disabled {
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
        gate: gate.unwrap_or(false),
        origin: issues.at(node.place),
    })
}

fn read_source(fields: &Fields<'_>, issues: &mut Issues) -> Option<PolicySource> {
    match (fields.get("ref"), fields.get("embedded")) {
        (Some(_), None) => read_reference(fields, issues),
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

fn read_reference(fields: &Fields<'_>, issues: &mut Issues) -> Option<PolicySource> {
    let text = fields.need_text("ref", issues)?;
    let place = fields.place_of("ref");
    if !text.value.starts_with("file://") {
        let message = format!("policy `{}` is not a file, and only files are read", shorten(text.value));
        let mend = "copy the policy next to the contract and write `file://` and its path";
        issues.error_with(Code::DocumentUnsupported, place, message, mend);
        return None;
    }
    let (path, digest) = match text.value.split_once("@sha256:") {
        None => (text.value, None),
        Some((path, hex)) => match Digest::from_hex(hex) {
            Ok(digest) => (path, Some(digest)),
            Err(error) => {
                issues.error(Code::DocumentInvalidValue, place, error.to_string());
                return None;
            }
        },
    };
    match paths::resolve(issues.file(), path) {
        Ok(path) => Some(PolicySource::File { path, digest }),
        Err(error) => {
            issues.error(error.code(), place, error.to_string());
            None
        }
    }
}

fn read_selector(fields: &Fields<'_>, materials: Option<&Materials>, issues: &mut Issues) -> Option<Selector> {
    let node = fields.get("selector")?;
    let selector = Fields::read(node, "a selector", &["name", "matchMode"], issues)?;
    let mode = selector.text("matchMode", issues).map_or(MatchMode::Exact, |mode| match mode.value {
        "EXACT" | "UNSPECIFIED" => MatchMode::Exact,
        "PREFIX" => MatchMode::Prefix,
        other => {
            let message = format!("`{}` is not a way to match: write EXACT or PREFIX", shorten(other));
            issues.error(Code::DocumentInvalidValue, selector.place_of("matchMode"), message);
            MatchMode::Exact
        }
    });
    let name = selector.need_text("name", issues)?;
    let selected = Selector { name: name.value.to_owned(), mode, origin: name.origin };
    let place = selector.place_of("name");
    let Some(materials) = materials else {
        let message = "a policy on the attestation selects no material";
        let mend = "leave out `selector`, or attach the policy under `policies.materials`";
        issues.error_with(Code::DocumentInvalidValue, node.place, message, mend);
        return None;
    };
    if !materials.names.iter().any(|name| selected.matches(name)) {
        let message = match mode {
            MatchMode::Exact => format!("the contract asks for no material `{}`", shorten(&selected.name)),
            MatchMode::Prefix => {
                format!("the contract asks for no material whose name begins with `{}`", shorten(&selected.name))
            }
        };
        let names: Vec<&str> = materials.names.iter().map(String::as_str).collect();
        let mend = match crate::yaml::nearest(&selected.name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a material of the contract".to_owned(),
        };
        issues.error_with(Code::DocumentInvalidValue, place, message, mend);
    }
    for clause in materials.clauses.iter().filter(|clause| clause.skip_upload && selected.matches(&clause.name)) {
        refuse_skipped(&clause.name, place, issues);
    }
    Some(selected)
}

/// A policy cannot read bytes that never arrive.
fn refuse_skipped(material: &str, place: crate::yaml::Place, issues: &mut Issues) {
    let message = format!("a policy reads the bytes of material `{material}`, which `skipUpload: true` keeps away");
    issues.error_with(Code::DocumentInvalidValue, place, message, "leave out `skipUpload` on the material");
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
