//! `sluice contract diff`: what one contract asks for that another does not, by the rules that they compile to.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;
use contracts::Enforcement;
use policies::Rule;
use serde_json::{Value, json};

use super::{Opened, open};
use crate::{
    exit::Exit,
    report::{Report, plain},
};

/// Compares two contracts: exit 0 they ask for the same, 1 they do not.
pub async fn run(old: &Path, new: &Path, hosts: &[String]) -> anyhow::Result<Report> {
    let old = match open(old, hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => return mistakes.report(),
    };
    let new = match open(new, hosts).await? {
        Ok(opened) => opened,
        Err(mistakes) => return mistakes.report(),
    };
    let find = |opened: &'_ Opened, id: &str| opened.rules.rules().iter().find(|rule| rule.id == id).cloned();
    let added: Vec<Rule> = new.rules.rules().iter().filter(|rule| find(&old, &rule.id).is_none()).cloned().collect();
    let removed: Vec<Rule> = old.rules.rules().iter().filter(|rule| find(&new, &rule.id).is_none()).cloned().collect();
    let mut changed = Vec::new();
    for rule in new.rules.rules() {
        let Some(before) = find(&old, &rule.id) else { continue };
        let words = changes(&before, rule);
        if !words.is_empty() {
            changed.push((rule.clone(), words));
        }
    }
    let admission = admission(&old, &new);
    let same = added.is_empty() && removed.is_empty() && changed.is_empty() && admission.is_empty();

    let mut text = String::new();
    let mut section = |title: &str, mark: char, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}\n"));
            lines.iter().for_each(|line| text.push_str(&format!("  {mark} {line}\n")));
        }
    };
    section("asked for now, and not before:", '+', added.iter().map(asks).collect());
    section("no longer asked for:", '-', removed.iter().map(asks).collect());
    let words = |(rule, words): &(Rule, Vec<String>)| format!("{}: {}", asks(rule), words.join("; "));
    section("asked for otherwise:", '~', changed.iter().map(words).collect());
    section("which pulls it answers for:", '~', admission.clone());
    if same {
        text.push_str("both ask for the same");
    }
    let rule = |rule: &Rule| json!({"id": rule.id, "gate": rule.gate, "message": rule.message, "origin": rule.origin});
    let changed: Vec<Value> =
        changed.iter().map(|(rule, words)| json!({"id": rule.id, "message": rule.message, "changes": words})).collect();
    let data = json!({
        "same": same,
        "added": added.iter().map(rule).collect::<Vec<_>>(),
        "removed": removed.iter().map(rule).collect::<Vec<_>>(),
        "changed": changed,
        "admission": admission,
    });
    Report::new(if same { Exit::Yes } else { Exit::No }, &data, plain(&text)).context("the comparison")
}

/// The rule in words.
fn asks(rule: &Rule) -> String {
    let gate = if rule.gate { "" } else { " (only warns)" };
    format!("{}{gate} [{}]", rule.message, rule.id)
}

/// What is different between two rules of one name.
fn changes(old: &Rule, new: &Rule) -> Vec<String> {
    let mut words = Vec::new();
    match (old.gate, new.gate) {
        (false, true) => words.push("it blocks now, and only warned".to_owned()),
        (true, false) => words.push("it only warns now, and blocked".to_owned()),
        _ => {}
    }
    if old.effective_from != new.effective_from {
        let from =
            |rule: &Rule| rule.effective_from.map_or_else(|| "at once".to_owned(), |from| format!("from {from}"));
        words.push(format!("it holds {} instead of {}", from(new), from(old)));
    }
    if old.source != new.source {
        words.push(match new.engine {
            policies::Engine::Cel => format!("`{}` instead of `{}`", new.source.trim(), old.source.trim()),
            _ => "its policy's script is another".to_owned(),
        });
    }
    if old.arguments() != new.arguments() {
        let (old, new) = (old.arguments().unwrap_or_default(), new.arguments().unwrap_or_default());
        words.push(format!("its arguments are {new} instead of {old}"));
    }
    if words.is_empty() && old.message != new.message {
        words.push(format!("it says `{}` instead of `{}`", new.message, old.message));
    }
    words
}

/// What is different about which pulls a contract answers for.
fn admission(old: &Opened, new: &Opened) -> Vec<String> {
    let repositories = |opened: &Opened| -> BTreeSet<String> {
        let admission = opened.revision.contract().admission.as_ref();
        admission.iter().flat_map(|a| &a.repositories).map(|pattern| pattern.value.to_string()).collect()
    };
    let (before, after) = (repositories(old), repositories(new));
    let mut words: Vec<String> = after.difference(&before).map(|r| format!("it answers for `{r}` now")).collect();
    words.extend(before.difference(&after).map(|r| format!("it no longer answers for `{r}`")));
    match (old.rules.enforcement(), new.rules.enforcement()) {
        (Enforcement::Enforce, Enforcement::Warn) => words.push("a deny is only shown now, and blocked".to_owned()),
        (Enforcement::Warn, Enforcement::Enforce) => words.push("a deny blocks now, and was only shown".to_owned()),
        _ => {}
    }
    match (in_an_emergency(old), in_an_emergency(new)) {
        (before, after) if before == after => {}
        (_, Some(who)) => words.push(format!("in an emergency {who} may let an image through")),
        (_, None) => words.push("nobody may let an image through in an emergency any more".to_owned()),
    }
    words
}

/// Who may let an image through in an emergency, and for how long.
fn in_an_emergency(opened: &Opened) -> Option<String> {
    let glass = opened.revision.contract().admission.as_ref()?.break_glass.as_ref()?;
    let callers: Vec<String> = glass.callers.iter().map(|caller| format!("`{}`", caller.value)).collect();
    Some(format!("{} (for {:#} at most)", callers.join(", "), glass.max_duration.value))
}
