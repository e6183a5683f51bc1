//! The `materials` and `annotations` of a contract.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value as Json;

use super::{AnnotationClause, MaterialClause, compile_schema};
use crate::{
    Code,
    digest::shorten,
    materials::MaterialType,
    policy::check_name,
    yaml::{Fields, Issues, Place},
};

/// The materials that could be read, and the names of all, so that one mistake is not told as two.
pub(super) struct Materials {
    pub(super) clauses: Vec<MaterialClause>,
    pub(super) names: BTreeSet<String>,
}

pub(super) fn read(fields: &Fields<'_>, issues: &mut Issues) -> Materials {
    let mut materials = Materials { clauses: Vec::new(), names: BTreeSet::new() };
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    for node in fields.list("materials", issues) {
        const KNOWN: &[&str] =
            &["name", "type", "optional", "output", "skipUpload", "annotations", "group", "effectiveFrom", "schema"];
        let Some(material) = Fields::read(node, "a material", KNOWN, issues) else { continue };
        let name = material.need_text("name", issues);
        let kind = read_kind(&material, issues);
        if let Some(group) = material.get("group").filter(|node| node.scalar().is_none_or(|s| !s.text.is_empty())) {
            let message = "material groups (`group`) are not supported";
            let mend = "leave it out, and set `optional: true` on the materials that may be missing";
            issues.error_with(Code::DocumentUnsupported, group.place, message, mend);
        }
        let optional = material.boolean("optional", issues).unwrap_or(false);
        let output = material.boolean("output", issues).unwrap_or(false);
        let skip_upload = material.boolean("skipUpload", issues).unwrap_or(false);
        let annotations = read_annotations(&material, issues);
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
        materials.names.insert(name.value.to_owned());
        let Some(kind) = kind else { continue };
        materials.clauses.push(MaterialClause {
            name: name.value.to_owned(),
            kind,
            optional,
            output,
            skip_upload,
            annotations,
            effective_from,
            schema,
            origin: issues.at(node.place),
        });
    }
    materials
}

fn read_kind(material: &Fields<'_>, issues: &mut Issues) -> Option<MaterialType> {
    let text = material.need_text("type", issues)?;
    let place = material.place_of("type");
    match text.value.parse::<MaterialType>() {
        Ok(kind) => Some(kind),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, place, error.to_string());
            None
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
fn read_effective_from(material: &Fields<'_>, issues: &mut Issues) -> Option<Timestamp> {
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
