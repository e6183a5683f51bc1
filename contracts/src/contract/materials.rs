//! The `materials` and `annotations` of a contract.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{AnnotationClause, MaterialClause, compile_schema};
use crate::{
    Code, Finding,
    digest::shorten,
    materials::MaterialType,
    policy::check_name,
    yaml::{Fields, Issues, Place, Spanned},
};

pub(super) fn read(fields: &Fields<'_>, issues: &mut Issues) -> Vec<MaterialClause> {
    let mut clauses: Vec<MaterialClause> = Vec::new();
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    for node in fields.list("materials", issues) {
        const KNOWN: &[&str] =
            &["name", "type", "optional", "output", "skipUpload", "annotations", "group", "effectiveFrom", "schema"];
        let Some(material) = Fields::read(node, "a material", KNOWN, issues) else { continue };
        let name = material.need_text("name", issues);
        let kind = read_kind(&material, issues);
        let optional = material.boolean("optional", issues).unwrap_or(false);
        let output = material.boolean("output", issues).unwrap_or(false);
        let skip_upload = material.boolean("skipUpload", issues).unwrap_or(false);
        let annotations = read_annotations(&material, issues);
        let group = read_group(&material, optional, issues);
        let effective_from = read_effective_from(&material, issues);
        let schema = read_schema(&material, kind, skip_upload, issues);
        let Some(name) = name else { continue };
        let place = material.place_of("name");
        check_name(name.value, place, issues);
        if let Some(line) = first.get(name.value) {
            let message = format!("material `{}` appears twice, first on line {line}", shorten(name.value));
            issues.error(Code::DocumentDuplicate, place, message);
            continue;
        }
        first.insert(name.value, place.line);
        let Some(kind) = kind else { continue };
        clauses.push(MaterialClause {
            name: name.value.to_owned(),
            kind,
            optional,
            output,
            skip_upload,
            annotations,
            group,
            effective_from,
            schema,
            origin: issues.at(node.place),
        });
    }
    check_groups(&clauses, issues);
    clauses
}

fn read_kind(material: &Fields<'_>, issues: &mut Issues) -> Option<MaterialType> {
    let text = material.need_text("type", issues)?;
    match text.value.parse::<MaterialType>() {
        Ok(kind) => Some(kind),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, material.place_of("type"), error.to_string());
            None
        }
    }
}

/// The name of a set of materials of which at least one must be there.
fn read_group(material: &Fields<'_>, optional: bool, issues: &mut Issues) -> Option<Spanned<String>> {
    let group = material.text("group", issues).filter(|group| !group.value.is_empty())?;
    check_name(group.value, material.place_of("group"), issues);
    if optional {
        let message = "`optional` says nothing here: one material of the `group` must be there, whichever it is";
        let finding = Finding::warning(Code::DocumentInvalidValue, message);
        issues.push(finding.at(issues.at(material.place_of("optional"))).mend("leave out `optional`, or `group`"));
    }
    Some(Spanned { value: group.value.to_owned(), origin: group.origin })
}

/// A set of one is a misspelt set of two, or a material that is simply required.
fn check_groups(clauses: &[MaterialClause], issues: &mut Issues) {
    for clause in clauses {
        let Some(group) = &clause.group else { continue };
        let members = clauses.iter().filter(|other| other.group.as_ref().is_some_and(|g| g.value == group.value));
        if members.count() == 1 {
            let message = format!("the group `{}` has one material, so it must be there", shorten(&group.value));
            let finding = Finding::warning(Code::DocumentInvalidValue, message).at(group.origin.clone());
            issues.push(finding.mend("give other materials the same `group`, or leave it out"));
        }
    }
}

/// A list of `{name, value}` under `annotations`.
pub(super) fn read_annotations(fields: &Fields<'_>, issues: &mut Issues) -> Vec<AnnotationClause> {
    let mut clauses: Vec<AnnotationClause> = Vec::new();
    for node in fields.list("annotations", issues) {
        let Some(annotation) = Fields::read(node, "an annotation", &["name", "value"], issues) else { continue };
        let value = annotation.text("value", issues).map(|text| text.value.to_owned()).filter(|text| !text.is_empty());
        let Some(name) = annotation.need_text("name", issues) else { continue };
        let place = annotation.place_of("name");
        if !name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("`{}` is not the name of an annotation", shorten(name.value));
            issues.error_with(Code::DocumentInvalidValue, place, message, "use letters, digits and underscores");
        }
        if clauses.iter().any(|clause| clause.name == name.value) {
            let message = format!("annotation `{}` appears twice", shorten(name.value));
            issues.error(Code::DocumentDuplicate, place, message);
            continue;
        }
        clauses.push(AnnotationClause { name: name.value.to_owned(), value, origin: issues.at(node.place) });
    }
    clauses
}

/// A date, which begins at midnight UTC, or an instant with its offset.
pub(super) fn read_effective_from(material: &Fields<'_>, issues: &mut Issues) -> Option<Timestamp> {
    material.entry("effectiveFrom")?;
    let text = material.need_text("effectiveFrom", issues)?;
    let written = text.value;
    let day = written.len() == "2027-01-01".len();
    let instant: Option<Timestamp> = if day { format!("{written}T00:00:00Z").parse() } else { written.parse() }.ok();
    if instant.is_none() {
        let message = format!("`{}` is not a date", shorten(text.value));
        let mend = "write a date such as 2027-01-01 (midnight UTC), or an instant such as 2027-01-01T09:00:00Z";
        issues.error_with(Code::DocumentInvalidValue, material.place_of("effectiveFrom"), message, mend);
    }
    instant
}

fn read_schema(
    material: &Fields<'_>,
    kind: Option<MaterialType>,
    skip_upload: bool,
    issues: &mut Issues,
) -> Option<Json> {
    material.entry("schema")?;
    let node = material.need("schema", issues)?;
    let place = material.place_of("schema");
    if kind.is_some_and(|kind| kind != MaterialType::Evidence) {
        let message = "only materials of type EVIDENCE have a `schema`";
        issues.error_with(Code::DocumentInvalidValue, place, message, "leave it out, or use type EVIDENCE");
    }
    if skip_upload {
        refuse_unread(issues, place, "a `schema`");
    }
    let schema = match node.to_json() {
        Ok(schema) => schema,
        Err((place, text)) => {
            issues.error(Code::DocumentInvalidValue, place, format!("`{}` is not a JSON number", shorten(&text)));
            return None;
        }
    };
    if let Err(error) = compile_schema(&schema) {
        issues.error(Code::DocumentInvalidValue, place, error.to_string());
        return None;
    }
    Some(schema)
}

/// What reads a material's bytes is not for a material whose bytes are never seen.
fn refuse_unread(issues: &mut Issues, place: Place, what: &str) {
    let message = format!("{what} reads the material's bytes, which `skipUpload: true` keeps away");
    issues.error_with(Code::DocumentInvalidValue, place, message, "leave out `skipUpload`");
}
