//! Every comparison of every shipped policy matters: change one, and a case fails.

use contracts::Decision;
use policies::{authoring::run_case, library};

use crate::shelf;

/// What each comparison becomes.
const CHANGES: &[(&str, &[&str])] = &[
    (" == ", &[" != "]),
    (" != ", &[" == "]),
    (" <= ", &[" < ", " > "]),
    (" >= ", &[" > ", " < "]),
    (" < ", &[" <= ", " > "]),
    (" > ", &[" >= ", " < "]),
];

/// A policy with one thing changed.
struct Mutant {
    line: usize,
    was: String,
    text: String,
}

#[test]
fn changing_any_comparison_of_a_shipped_policy_fails_a_case() {
    let mut survived = Vec::new();
    let mut count = 0;
    for shipped in library::ALL {
        let cases = shelf::cases(shipped);
        for mutant in mutants(shipped.text) {
            count += 1;
            let policy = shelf::policy(shipped.name, &mutant.text);
            let noticed = cases
                .iter()
                .any(|(case, bytes, name)| !run_case(&policy, case, bytes, name.as_deref(), false).passes());
            if !noticed {
                survived.push(format!("{}.yaml:{}: {}", shipped.name, mutant.line, mutant.was));
            }
        }
    }
    assert!(count > 100, "only {count} comparisons were found");
    assert!(survived.is_empty(), "no case notices that these are changed:\n{}", survived.join("\n"));
}

#[test]
fn what_is_changed_is_changed() {
    let text =
        "x\n        a if b == 1\n        not c in d\n        # a == b\n        m := \"a == b\"\n        some x in y\n";
    let changed: Vec<String> =
        mutants(text).into_iter().map(|m| m.text.lines().nth(m.line - 1).unwrap().trim().to_owned()).collect();
    assert_eq!(changed, ["a if b != 1", "c in d"]);
    assert_ne!(Decision::Allow, Decision::Deny);
}

fn mutants(text: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut at = 0;
    for (n, line) in text.split_inclusive('\n').enumerate() {
        for (from, to, with) in changes(line) {
            let mut changed = text.to_owned();
            changed.replace_range(at + from..at + to, &with);
            let was = format!("`{}` with `{}` for `{}`", line.trim(), with.trim(), line[from..to].trim());
            mutants.push(Mutant { line: n + 1, was, text: changed });
        }
        at += line.len();
    }
    mutants
}

/// The changes within a line of Rego: what to replace, and with what.
fn changes(line: &str) -> Vec<(usize, usize, String)> {
    let mut changes = Vec::new();
    if line.trim_start().starts_with('#') || !line.starts_with("        ") {
        return changes;
    }
    let code = without_texts(line);
    for (operator, others) in CHANGES {
        for (at, _) in code.match_indices(operator) {
            changes.extend(others.iter().map(|other| (at, at + operator.len(), (*other).to_owned())));
        }
    }
    for (at, _) in code.match_indices("not ").filter(|(at, _)| code[..*at].ends_with([' ', '{', ';'])) {
        changes.push((at, at + "not ".len(), String::new()));
    }
    // `x in y`, where it asks; not where `some` goes through a collection. What `not` stands before was changed.
    for (at, _) in code.match_indices(" in ") {
        let begins = code[..at].rfind([';', '|', '{']).map_or(0, |at| at + 1);
        let before = code[begins..at].trim_start();
        let asked = before.rsplit(" if ").next().unwrap_or(before);
        if !before.starts_with("some ") && !asked.starts_with("some ") && !asked.starts_with("not ") {
            let start = at - asked.len();
            changes.push((start, start, "not ".to_owned()));
        }
    }
    changes
}

/// The line with blanks in place of texts, of the same length.
fn without_texts(line: &str) -> String {
    let mut quote = None;
    let blank = |c: char| {
        let was = quote;
        match (quote, c) {
            (None, '"' | '`') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        if was.is_some() && c.is_ascii() { '_' } else { c }
    };
    line.chars().map(blank).collect()
}
