//! Test cases of policies: what a policy said held against what it must say.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{
    Code, Decision,
    cases::{Expected, PolicyCase},
};
use serde::Serialize;

use super::{
    ask::{AskError, Asked, Input, Trace, ask},
    files::PolicyFiles,
};

/// What became of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseResult {
    /// What is not as expected, each in a sentence. None when the case passes.
    pub failures: Vec<String>,
    /// What the policy said, when it could be asked.
    pub asked: Option<Asked>,
}

impl CaseResult {
    /// Whether everything is as expected.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.failures.is_empty()
    }

    fn failed(why: String) -> Self {
        Self { failures: vec![why], asked: None }
    }
}

/// Asks the policy what the case says, and compares. `bytes` are those of the case's input. With `trace` the scripts
/// are interpreted as well, and a result that is not the machine's fails the case.
///
/// A case of a policy that reads the time must say what time it is, so that it says the same tomorrow.
#[must_use]
pub fn run_case(
    policy: &PolicyFiles,
    case: &PolicyCase,
    bytes: &[u8],
    filename: Option<&str>,
    trace: bool,
) -> CaseResult {
    let filename = case.filename.as_deref().or(filename);
    let kind = match case.kind.map_or_else(|| policy.kind_of(bytes), Ok) {
        Ok(kind) => kind,
        Err(why) => return CaseResult::failed(why),
    };
    let input = Input {
        kind,
        bytes: bytes.to_vec(),
        filename: filename.map(ToOwned::to_owned),
        annotations: case.annotations.clone(),
    };
    let asked = match ask(policy, &input, &case.with, case.now.unwrap_or_default(), trace) {
        Ok(asked) => asked,
        Err(AskError::Policy(mistakes)) => {
            return CaseResult::failed(format!("the policy cannot be asked: {mistakes}"));
        }
        Err(error) => return CaseResult::failed(format!("the policy cannot be asked: {error}")),
    };
    let mut failures = compare(&case.expect, &asked);
    if asked.reads_now && case.now.is_none() {
        failures.push("the policy reads the time: say what time it is with `now`".to_owned());
    }
    for differs in asked.scripts.iter().filter_map(|script| script.trace.as_ref()?.differs.as_ref()) {
        failures.push(format!("the two ways of running the script disagree: {differs}"));
    }
    CaseResult { failures, asked: Some(asked) }
}

fn compare(expected: &Expected, asked: &Asked) -> Vec<String> {
    let mut failures = Vec::new();
    let said = || {
        let messages: Vec<String> = asked.findings.iter().map(|f| format!("{} ({})", f.message, f.code)).collect();
        if messages.is_empty() { "it found nothing".to_owned() } else { format!("it found: {}", messages.join("; ")) }
    };
    if expected.decision != asked.decision {
        let word = |decision| if decision == Decision::Allow { "allow" } else { "deny" };
        failures.push(format!(
            "decision: expected {}, got {}; {}",
            word(expected.decision),
            word(asked.decision),
            said()
        ));
    }
    if let Some(codes) = &expected.codes {
        let expected: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        let got: Vec<&str> = asked.findings.iter().map(|finding| finding.code.as_str()).collect();
        failures.extend(different("codes", expected, got));
    }
    if let Some(messages) = &expected.messages {
        let expected: Vec<&str> = messages.iter().map(String::as_str).collect();
        let got: Vec<&str> = asked.findings.iter().map(|finding| finding.message.as_str()).collect();
        failures.extend(different("messages", expected, got));
    }
    for part in &expected.contains {
        if !asked.findings.iter().any(|finding| finding.message.contains(part)) {
            failures.push(format!("no message contains `{part}`; {}", said()));
        }
    }
    if let Some(skip) = expected.skip {
        let skipped = asked.findings.iter().any(|finding| finding.code == Code::PolicySkipped);
        match (skip, skipped) {
            (true, false) => failures.push(format!("it was expected to skip, and judged; {}", said())),
            (false, true) => failures.push(format!("it was expected to judge, and skipped; {}", said())),
            _ => {}
        }
    }
    failures
}

/// What is in one list and not in the other, in whatever order.
fn different(what: &str, mut expected: Vec<&str>, mut got: Vec<&str>) -> Option<String> {
    expected.sort_unstable();
    got.sort_unstable();
    if expected == got {
        return None;
    }
    let mut unexpected = got.clone();
    let mut missing = Vec::new();
    for text in expected {
        match unexpected.iter().position(|other| *other == text) {
            Some(at) => drop(unexpected.remove(at)),
            None => missing.push(text),
        }
    }
    let list = |texts: &[&str]| texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("missing {}", list(&missing)));
    }
    if !unexpected.is_empty() {
        parts.push(format!("not expected {}", list(&unexpected)));
    }
    Some(format!("{what}: {}", parts.join("; ")))
}

/// Which lines of a policy's files its cases reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, Lines>);

/// Lines of one file, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Those that some case reaches.
    pub reached: BTreeSet<u32>,
    /// Those that a case could reach, and none does.
    pub missed: BTreeSet<u32>,
}

impl Coverage {
    /// Adds what was looked at for one answer.
    pub fn add(&mut self, asked: &Asked) {
        for script in &asked.scripts {
            let Some(Trace { reached, missed, .. }) = &script.trace else { continue };
            let lines = self.0.entry(script.origin.file.clone()).or_default();
            // Lines of the script become lines of the file that it stands in.
            let in_file = |line: &u32| script.origin.line.saturating_add(line.saturating_sub(1));
            lines.reached.extend(reached.iter().map(in_file));
            lines.missed.extend(missed.iter().map(in_file));
        }
        for lines in self.0.values_mut() {
            let Lines { reached, missed } = lines;
            missed.retain(|line| !reached.contains(line));
        }
    }

    /// The files with their lines.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, Lines> {
        &self.0
    }

    /// How many lines are reached, and how many there are to reach.
    #[must_use]
    pub fn total(&self) -> (usize, usize) {
        let reached: usize = self.0.values().map(|lines| lines.reached.len()).sum();
        let missed: usize = self.0.values().map(|lines| lines.missed.len()).sum();
        (reached, reached + missed)
    }
}
