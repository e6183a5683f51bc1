//! An answer in the forms that people and CI systems read. Every form also has a way to say that it could not be told, so
//! that nobody takes silence for a yes.

use std::fmt::Write as _;

use contracts::{Code, Decision, Digest, Enforcement, Finding, Severity, api::CheckAnswer};
use serde_json::{Value, json};

use crate::{
    args::CheckFormat,
    report::{plain, sarif, table, xml::escape},
};

/// What came of asking.
pub enum Told<'a> {
    /// The gateway's answer.
    Answer {
        /// What it said.
        answer: &'a CheckAnswer,
        /// The file that was asked about, when it was one.
        file: Option<&'a str>,
    },
    /// There is none.
    Unknown {
        /// What was asked about, as it was typed.
        subject: &'a str,
        /// Why.
        reason: String,
    },
}

impl Told<'_> {
    /// What was asked about: a file by its name and its digest.
    fn subject(&self) -> String {
        match self {
            Self::Answer { answer, file } => named(answer, *file),
            Self::Unknown { subject, .. } => plain(subject),
        }
    }

    fn findings(&self) -> &[Finding] {
        match self {
            Self::Answer { answer, .. } => &answer.verdict.findings,
            Self::Unknown { .. } => &[],
        }
    }

    /// In a word or two.
    fn decision(&self) -> &'static str {
        match self {
            Self::Answer { answer, .. } => match (answer.verdict.decision, answer.verdict.enforced) {
                (Decision::Allow, true) if answer.verdict.exempted => "allowed, by exemption alone",
                (Decision::Allow, true) => "allowed",
                (Decision::Allow, false) => "let through, although nothing says that it may be (not enforced)",
                (Decision::Deny, _) => "denied",
            },
            Self::Unknown { .. } => "could not be told",
        }
    }
}

/// The answer in a form.
pub fn written(told: &Told<'_>, form: CheckFormat) -> anyhow::Result<String> {
    Ok(match form {
        CheckFormat::Human => human(told),
        CheckFormat::Json => format!("{:#}\n", json(told)?),
        CheckFormat::Sarif => format!("{:#}\n", in_sarif(told)),
        CheckFormat::Junit => junit(told),
        CheckFormat::Github => github(told),
        CheckFormat::Gitlab => format!("{:#}\n", gitlab(told)),
        CheckFormat::Markdown => markdown(told),
    })
}

fn human(told: &Told<'_>) -> String {
    match told {
        Told::Answer { answer, file } if answer.verdict.findings.is_empty() => head(answer, *file),
        Told::Answer { answer, file } => {
            let mut text = format!("{}\n{}", head(answer, *file), table::findings(&answer.verdict.findings));
            if answer.verdict.decision == Decision::Deny {
                let contracts: String = answer.verdict.named.iter().map(|name| format!(" --contract {name}")).collect();
                let _ = write!(text, "\nrule by rule: sluice check {}{contracts} --explain", answer.verdict.subject);
            }
            text
        }
        Told::Unknown { reason, .. } => format!("{}: could not be told: {}", told.subject(), plain(reason)),
    }
}

fn named(answer: &CheckAnswer, file: Option<&str>) -> String {
    let subject = answer.verdict.subject.to_string();
    file.map_or_else(|| subject.clone(), |file| format!("{} ({subject})", plain(file)))
}

/// What was decided and by whom, without the reasons.
pub fn head(answer: &CheckAnswer, file: Option<&str>) -> String {
    let verdict = &answer.verdict;
    let mut text = format!("{}: {}", named(answer, file), Told::Answer { answer, file }.decision());
    if let Some(until) = verdict.valid_until {
        let _ = write!(text, "\nuntil {}, if nothing changes before", table::moment(until));
    }
    for contract in &verdict.contracts {
        let answered = match contract.decision {
            Decision::Allow => "allows",
            Decision::Deny => "denies",
        };
        let _ = write!(text, "\ncontract {} revision {}: {answered}", contract.contract, contract.revision);
    }
    text
}

fn json(told: &Told<'_>) -> anyhow::Result<Value> {
    Ok(match told {
        Told::Answer { answer, .. } => serde_json::to_value(answer)?,
        Told::Unknown { subject, reason } => json!({"subject": subject, "decision": null, "error": reason}),
    })
}

/// Findings without the lines that asked for them, as text: those are in the contract's repository, and a file of the same
/// name may be in the one that is looked at.
fn elsewhere(findings: &[Finding]) -> Vec<Finding> {
    let told = |finding: &Finding| {
        let asked = finding.origin.as_ref().map(|origin| format!("{} (asked for by {origin})", finding.message));
        Finding { message: asked.unwrap_or_else(|| finding.message.clone()), origin: None, ..finding.clone() }
    };
    findings.iter().map(told).collect()
}

fn in_sarif(told: &Told<'_>) -> Value {
    let mut log = sarif::log(&elsewhere(told.findings()));
    if let Some(run) = log.pointer_mut("/runs/0").and_then(Value::as_object_mut) {
        let mut invocation = json!({"executionSuccessful": matches!(told, Told::Answer { .. })});
        if let (Told::Unknown { reason, .. }, Some(fields)) = (told, invocation.as_object_mut()) {
            let note = json!([{"level": "error", "message": {"text": plain(reason)}}]);
            fields.insert("toolExecutionNotifications".to_owned(), note);
        }
        run.insert("invocations".to_owned(), json!([invocation]));
        let subject = told.subject();
        for result in run.get_mut("results").and_then(Value::as_array_mut).into_iter().flatten() {
            // A place is what viewers list a finding by.
            let place = json!([{"logicalLocations": [{"fullyQualifiedName": subject, "kind": "resource"}]}]);
            if let Some(fields) = result.as_object_mut() {
                fields.insert("locations".to_owned(), place);
            }
        }
    }
    log
}

fn github(told: &Told<'_>) -> String {
    let mut text = sarif::commands(&elsewhere(told.findings()));
    let level = match told {
        Told::Answer { answer, .. } if answer.verdict.decision == Decision::Allow => "notice",
        _ => "error",
    };
    let why = match told {
        Told::Unknown { reason, .. } => format!(": {}", plain(reason)),
        Told::Answer { .. } => String::new(),
    };
    text.push_str(&sarif::command(level, "sluice", &format!("{}: {}{why}", told.subject(), told.decision())));
    text
}

/// One case for each contract, and one for what no contract asks.
fn junit(told: &Told<'_>) -> String {
    let subject = escape(&told.subject());
    let mut cases = Vec::new();
    match told {
        Told::Unknown { reason, .. } => {
            let reason = escape(&plain(reason));
            cases.push(("error", "could not be told".to_owned(), format!("<error message=\"{reason}\"/>")));
        }
        Told::Answer { answer, .. } => {
            let verdict = &answer.verdict;
            let text: Vec<String> = verdict.findings.iter().map(told_of).collect();
            let first = verdict.findings.iter().find(|finding| finding.blocks());
            let message = escape(&plain(first.map_or("", |finding| &finding.message)));
            let failure = format!("<failure message=\"{message}\">{}</failure>", escape(&plain(&text.join("\n"))));
            let denies = |decision| decision == Decision::Deny;
            for contract in &verdict.contracts {
                let name = format!("contract {} revision {}", contract.contract, contract.revision);
                // A contract that only warns does not fail the image.
                let fails = denies(contract.decision) && contract.enforcement == Enforcement::Enforce;
                cases.push(if fails { ("failure", name, failure.clone()) } else { ("", name, String::new()) });
            }
            if denies(verdict.decision) && !cases.iter().any(|(kind, ..)| *kind == "failure") {
                cases.push(("failure", "a contract answers for the image".to_owned(), failure));
            }
            if cases.is_empty() {
                cases.push(("", "a contract answers for the image".to_owned(), String::new()));
            }
        }
    }
    let count = |of: &str| cases.iter().filter(|(kind, ..)| *kind == of).count();
    let (tests, failures, errors) = (cases.len(), count("failure"), count("error"));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, r#"<testsuites tests="{tests}" failures="{failures}" errors="{errors}">"#);
    let _ = writeln!(
        xml,
        r#"  <testsuite name="sluice check {subject}" tests="{tests}" failures="{failures}" errors="{errors}">"#
    );
    for (kind, name, inner) in &cases {
        let _ = write!(xml, r#"    <testcase name="{}" classname="{subject}""#, escape(name));
        let _ = if kind.is_empty() { writeln!(xml, "/>") } else { writeln!(xml, ">\n      {inner}\n    </testcase>") };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// A Code Quality report: GitLab shows it beside the merge request, and wants a path of everything.
fn gitlab(told: &Told<'_>) -> Value {
    let entry = |code: &str, severity: &str, text: String, path: String, line: u32| {
        let print = Digest::of(format!("{code}\n{text}\n{path}").as_bytes()).hex();
        json!({
            "description": text, "check_name": code, "fingerprint": print, "severity": severity,
            "location": {"path": path, "lines": {"begin": line.max(1)}},
        })
    };
    let unknown = match told {
        Told::Unknown { reason, .. } => {
            let text = format!("{}: could not be told: {}", told.subject(), plain(reason));
            Some(entry("could-not-decide", "blocker", text, told.subject(), 1))
        }
        Told::Answer { .. } => None,
    };
    let findings = told.findings().iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => "blocker",
            Severity::Warning => "minor",
        };
        let (path, line) = finding.origin.as_ref().map_or((told.subject(), 1), |at| (plain(&at.file), at.line));
        entry(finding.code.as_str(), severity, plain(&told_of(finding)), path, line)
    });
    Value::from(unknown.into_iter().chain(findings).collect::<Vec<_>>())
}

fn told_of(finding: &Finding) -> String {
    let mend = finding.mend.as_ref().map(|mend| format!(": {mend}")).unwrap_or_default();
    format!("{} ({}){mend}", finding.message, finding.code)
}

fn markdown(told: &Told<'_>) -> String {
    let mark = match told {
        Told::Answer { answer, .. } if answer.verdict.decision == Decision::Allow => "✅",
        Told::Answer { .. } => "⛔",
        Told::Unknown { .. } => "❔",
    };
    let mut text = format!("### {mark} Sluice: {}\n\n`{}`\n\n", told.decision(), told.subject());
    match told {
        Told::Unknown { reason, .. } => {
            let _ = writeln!(text, "{}\n", cell(reason));
        }
        Told::Answer { answer, .. } => {
            for contract in &answer.verdict.contracts {
                let answered = if contract.decision == Decision::Allow { "allows" } else { "denies" };
                let _ = writeln!(text, "- contract `{}` revision {}: {answered}", contract.contract, contract.revision);
            }
            if !answer.verdict.findings.is_empty() {
                text.push_str("\n| | what is wrong | what to do | code |\n| --- | --- | --- | --- |\n");
            }
            let mut sorted: Vec<&Finding> = answer.verdict.findings.iter().collect();
            sorted.sort_by_key(|finding| !finding.blocks());
            for finding in sorted {
                let level = if finding.blocks() { "blocks" } else { "warning" };
                let mend = finding.mend.as_deref().unwrap_or_default();
                let (message, code): (_, Code) = (cell(&finding.message), finding.code);
                let _ = writeln!(text, "| {level} | {message} | {} | `{code}` |", cell(mend));
            }
            if let Some(until) = answer.verdict.valid_until {
                let _ = writeln!(text, "\nUntil {until}, if nothing changes before.");
            }
        }
    }
    text.push('\n');
    text
}

/// Text from outside within a table of Markdown: it makes no row, no tag and no link.
fn cell(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '\n' => told.push(' '),
            '&' => told.push_str("&amp;"),
            '<' => told.push_str("&lt;"),
            '|' | '[' | ']' | '!' | '*' | '_' | '\\' | '#' => {
                told.push('\\');
                told.push(c);
            }
            c => told.push(c),
        }
    }
    told
}
