//! The `admission` of a contract.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Admission, AdmissionRule, BreakGlass, verifiers};
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
    const KNOWN: &[&str] = &["repositories", "enforcement", "maxAge", "rules", "verifiers", "breakGlass"];
    let admission = Fields::read(node, "`admission`", KNOWN, issues)?;
    Some(Admission {
        repositories: read_repositories(&admission, issues),
        enforcement: read_enforcement(&admission, issues),
        max_age: read_max_age(&admission, issues),
        rules: read_rules(&admission, issues),
        verifiers: verifiers::read(&admission, issues),
        break_glass: read_break_glass(&admission, issues),
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

/// How long an emergency lasts at most. What takes longer is for approvers.
const LONGEST_EMERGENCY: SignedDuration = SignedDuration::from_hours(24);

fn read_break_glass(admission: &Fields<'_>, issues: &mut Issues) -> Option<BreakGlass> {
    admission.entry("breakGlass")?;
    let node = admission.need("breakGlass", issues)?;
    let clause = Fields::read(node, "`breakGlass`", &["callers", "maxDuration"], issues)?;
    let mut callers: Vec<Spanned<String>> = Vec::new();
    for caller in clause.texts("callers", issues) {
        if callers.iter().any(|known| known.value == caller.value) {
            let message = format!("`{}` appears twice", shorten(&caller.value));
            issues.push(Finding::error(Code::DocumentDuplicate, message).at(caller.origin));
        } else if caller.value.contains('*') {
            let message =
                format!("`{}` has a wildcard, but callers are compared letter by letter", shorten(&caller.value));
            issues.push(Finding::error(Code::PatternTooWide, message).at(caller.origin));
        } else {
            callers.push(caller);
        }
    }
    if callers.is_empty() && clause.get("callers").is_none_or(|node| node.items().is_some_and(<[_]>::is_empty)) {
        let message = "`breakGlass` names no caller, so nobody could use it";
        let mend = "list workflows (`project/workflow`) or names of tokens under `callers`";
        issues.error_with(Code::DocumentMissingKey, clause.place_of("callers"), message, mend);
    }
    let text = clause.need_text("maxDuration", issues)?;
    let place = clause.place_of("maxDuration");
    match duration::parse(text.value) {
        Ok(value) if value > LONGEST_EMERGENCY => {
            let message = format!("`{}` is longer than 24h, the most that an emergency lasts", shorten(text.value));
            issues.error_with(Code::DocumentInvalidValue, place, message, "let approvers sign an exemption instead");
            None
        }
        Ok(value) => {
            let max_duration = Spanned { value, origin: text.origin };
            Some(BreakGlass { callers, max_duration, origin: issues.at(node.place) })
        }
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, place, error.to_string());
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
