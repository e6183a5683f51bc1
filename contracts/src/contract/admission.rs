//! The `admission` of a contract.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Admission, AdmissionRule};
use crate::{
    Code, Enforcement, Finding,
    digest::shorten,
    duration, limits,
    pattern::RepositoryPattern,
    policy::check_name,
    yaml::{Fields, Issues, Node, Spanned},
};

pub(super) fn read(spec: &Fields<'_>, issues: &mut Issues) -> Option<Admission> {
    // Written but empty is a mistake: the contract would answer for nothing in silence.
    spec.entry("admission")?;
    let node = spec.need("admission", issues)?;
    const KNOWN: &[&str] = &["repositories", "enforcement", "maxAge", "rules"];
    let admission = Fields::read(node, "`admission`", KNOWN, issues)?;
    Some(Admission {
        repositories: read_repositories(&admission, issues),
        enforcement: read_enforcement(&admission, issues),
        max_age: read_max_age(&admission, issues),
        rules: read_rules(&admission, issues),
        origin: issues.at(node.place),
    })
}

fn read_repositories(admission: &Fields<'_>, issues: &mut Issues) -> Vec<Spanned<RepositoryPattern>> {
    let mut patterns: Vec<Spanned<RepositoryPattern>> = Vec::new();
    let nodes = admission.list("repositories", issues);
    if nodes.is_empty() && admission.get("repositories").is_none_or(|node| node.items().is_some()) {
        let message = "`admission` names no repository, so it would answer for nothing";
        let mend = "list patterns under `repositories`, for example registry.acme.dev/skynet/**";
        issues.error_with(Code::DocumentMissingKey, admission.place_of("repositories"), message, mend);
    }
    for node in nodes {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            let message = format!("a pattern of repositories is one text, not {}", node.kind_name());
            issues.error(Code::DocumentInvalidValue, node.place, message);
            continue;
        };
        match scalar.text.parse::<RepositoryPattern>() {
            Ok(pattern) if patterns.iter().any(|known| known.value == pattern) => {
                issues.error(Code::DocumentDuplicate, node.place, format!("`{pattern}` appears twice"));
            }
            Ok(pattern) => patterns.push(Spanned { value: pattern, origin: issues.at(node.place) }),
            Err(error) => issues.error(error.code(), node.place, error.to_string()),
        }
    }
    for narrow in &patterns {
        let wide = patterns.iter().find(|wide| wide.value != narrow.value && wide.value.covers(&narrow.value));
        if let Some(wide) = wide {
            let message = format!("`{}` says nothing: `{}` covers it", narrow.value, wide.value);
            let finding = Finding::warning(Code::PatternShadowed, message).at(narrow.origin.clone());
            issues.push(finding.mend("leave it out, or make the other one narrower"));
        }
    }
    patterns
}

fn read_enforcement(admission: &Fields<'_>, issues: &mut Issues) -> Enforcement {
    if admission.entry("enforcement").is_none() {
        return Enforcement::Enforce;
    }
    let text = admission.need_text("enforcement", issues);
    match text.as_ref().map(|text| text.value) {
        Some("enforce") | None => Enforcement::Enforce,
        Some("warn") => Enforcement::Warn,
        Some(other) => {
            let message = format!("`{}` is not an enforcement: write enforce or warn", shorten(other));
            issues.error(Code::DocumentInvalidValue, admission.place_of("enforcement"), message);
            Enforcement::Enforce
        }
    }
}

fn read_max_age(admission: &Fields<'_>, issues: &mut Issues) -> Option<Spanned<SignedDuration>> {
    admission.entry("maxAge")?;
    let text = admission.need_text("maxAge", issues)?;
    match duration::parse(text.value) {
        Ok(value) => Some(Spanned { value, origin: text.origin }),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, admission.place_of("maxAge"), error.to_string());
            None
        }
    }
}

fn read_rules(admission: &Fields<'_>, issues: &mut Issues) -> Vec<AdmissionRule> {
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for node in admission.list("rules", issues) {
        let Some(rule) = Fields::read(node, "a rule", &["name", "cel", "message"], issues) else { continue };
        let name = rule.need_text("name", issues);
        let cel = rule.need_text("cel", issues);
        let message = rule.text("message", issues).map(|text| text.value.to_owned());
        if let Some(cel) = &cel
            && cel.value.len() > limits::CEL_SOURCE_BYTES
        {
            let message =
                format!("the condition has {} bytes; at most {} are read", cel.value.len(), limits::CEL_SOURCE_BYTES);
            issues.error_with(Code::DocumentTooLarge, rule.place_of("cel"), message, "make several rules of it");
        }
        let Some(name) = name else { continue };
        check_name(name.value, rule.place_of("name"), issues);
        if !names.insert(name.value) {
            let message = format!("rule `{}` appears twice", shorten(name.value));
            issues.error(Code::DocumentDuplicate, rule.place_of("name"), message);
            continue;
        }
        let Some(cel) = cel else { continue };
        let begins = rule.get("cel").and_then(Node::scalar).map_or(rule.place_of("cel"), |scalar| scalar.begins);
        let message = message
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| format!("admission rule `{}` is not satisfied", name.value));
        rules.push(AdmissionRule {
            name: name.value.to_owned(),
            cel: Spanned { value: cel.value.to_owned(), origin: issues.at(begins) },
            message,
            origin: issues.at(node.place),
        });
    }
    rules
}
