//! The reader of exemptions.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{API_VERSIONS, Exemption, Scope};
use crate::{
    Code, Diagnostics, Digest, Finding,
    digest::shorten,
    limits,
    pattern::RepositoryPattern,
    policy::{Metadata, check_header, check_name},
    yaml::{self, Fields, Issues, is_dns_label},
};

const SPEC: &[&str] = &["scope", "reason", "from", "until"];
const SCOPE: &[&str] = &["repositories", "digest", "rule", "workflow", "contract"];

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<(Exemption, Vec<Finding>), Diagnostics> {
    let mut issues = Issues::new(file);
    let exemption = read_document(bytes, &mut issues);
    let warnings = issues.finish()?;
    match exemption {
        Some(exemption) => Ok((exemption, warnings)),
        None => Err(Diagnostics(warnings)),
    }
}

fn read_document(bytes: &[u8], issues: &mut Issues) -> Option<Exemption> {
    let node = yaml::parse_into(bytes, issues)?;
    const KNOWN: &[&str] = &["apiVersion", "kind", "metadata", "spec"];
    let fields = Fields::read_with_inner(&node, "an exemption", KNOWN, ("spec", SPEC), issues)?;
    check_header(&fields, "Exemption", API_VERSIONS, issues)?;
    let metadata = fields.need("metadata", issues).and_then(|node| {
        let metadata = Metadata::read(node, false, issues);
        if metadata.as_ref().is_some_and(|metadata| metadata.organization.is_none()) {
            let message = "`metadata` needs `organization`";
            let mend = "name the organization whose approvers sign it: it counts in that one alone";
            issues.error_with(Code::DocumentMissingKey, node.place, message, mend);
        }
        if metadata.as_ref().is_some_and(|m| m.name == "emergency" || m.name.starts_with("emergency-")) {
            let message = "names that begin with `emergency` are for those that a gateway makes itself";
            issues.error_with(Code::DocumentInvalidValue, node.place, message, "choose another name");
        }
        metadata
    });
    let spec = fields.need("spec", issues)?;
    let spec = Fields::read_with_inner(spec, "the `spec` of an exemption", SPEC, ("scope", SCOPE), issues)?;
    let scope = read_scope(&spec, issues);
    let reason = read_reason(&spec, issues);
    let (from, until) = (read_instant(&spec, "from", issues), read_instant(&spec, "until", issues));
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        let message = format!("it ends at {until}, which is not after its begin, {from}");
        issues.error(Code::DocumentInvalidValue, spec.place_of("until"), message);
    }
    let metadata = metadata?;
    Some(Exemption {
        name: metadata.name,
        organization: metadata.organization?,
        scope: scope?,
        reason: reason?,
        from: from?,
        until: until?,
        digest: Digest::of(bytes),
    })
}

fn read_scope(spec: &Fields<'_>, issues: &mut Issues) -> Option<Scope> {
    let scope = Fields::read(spec.need("scope", issues)?, "`scope`", SCOPE, issues)?;
    if scope.get("repositories").is_none() && scope.get("digest").is_none() {
        let message = "`scope` names no image, so it would exempt every image";
        let mend = "add `repositories`, or the `digest` of one image, or both";
        issues.error_with(Code::DocumentMissingKey, scope.place, message, mend);
    }
    let repositories = read_repositories(&scope, issues);
    let digest = scope.text("digest", issues).and_then(|text| match text.value.parse::<Digest>() {
        Ok(digest) => Some(digest),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, scope.place_of("digest"), error.to_string());
            None
        }
    });
    let rule = scope.need_text("rule", issues).map(|rule| rule.value.to_owned());
    let contract = scope.text("contract", issues).map(|name| {
        check_name(name.value, scope.place_of("contract"), issues);
        name.value.to_owned()
    });
    let workflow = scope.text("workflow", issues).map(|name| {
        let parts = name.value.split_once('/');
        if !parts.is_some_and(|(project, workflow)| is_dns_label(project) && is_dns_label(workflow)) {
            let message = format!("`{}` does not name a workflow: write `project/workflow`", shorten(name.value));
            issues.error(Code::DocumentInvalidValue, scope.place_of("workflow"), message);
        }
        name.value.to_owned()
    });
    let digests = BTreeSet::from_iter(digest);
    Some(Scope { repositories, digests, rule: Some(rule?), workflow, contract })
}

fn read_repositories(scope: &Fields<'_>, issues: &mut Issues) -> Vec<RepositoryPattern> {
    if scope.get("repositories").is_some_and(|node| node.items().is_some_and(<[_]>::is_empty)) {
        let message = "`repositories` is empty, which would exempt every repository";
        issues.error_with(
            Code::DocumentInvalidValue,
            scope.place_of("repositories"),
            message,
            "name one, or leave it out",
        );
    }
    let mut patterns = Vec::new();
    for text in scope.texts("repositories", issues) {
        match text.value.parse::<RepositoryPattern>() {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => issues.push(Finding::error(error.code(), error.to_string()).at(text.origin)),
        }
    }
    patterns
}

fn read_reason(spec: &Fields<'_>, issues: &mut Issues) -> Option<String> {
    let reason = spec.need_text("reason", issues)?;
    let text = reason.value.trim();
    if text.is_empty() {
        let mend = "say why, for whoever reads the audit log in a year";
        issues.error_with(Code::DocumentInvalidValue, spec.place_of("reason"), "`reason` is empty", mend);
        return None;
    }
    if text.len() > limits::REASON_BYTES {
        let message = format!("`reason` has {} bytes; at most {} are read", text.len(), limits::REASON_BYTES);
        issues.error(Code::DocumentTooLarge, spec.place_of("reason"), message);
        return None;
    }
    Some(text.to_owned())
}

/// A date, which begins at midnight UTC, or an instant with its offset.
fn read_instant(spec: &Fields<'_>, key: &str, issues: &mut Issues) -> Option<Timestamp> {
    let text = spec.need_text(key, issues)?;
    let written = text.value;
    let day = written.len() == "2027-01-01".len();
    let instant: Option<Timestamp> = if day { format!("{written}T00:00:00Z").parse() } else { written.parse() }.ok();
    if instant.is_none() {
        let message = format!("`{}` is not a date", shorten(written));
        let mend = "write a date such as 2027-01-01 (midnight UTC), or an instant such as 2027-01-01T09:00:00Z";
        issues.error_with(Code::DocumentInvalidValue, spec.place_of(key), message, mend);
    }
    instant
}
