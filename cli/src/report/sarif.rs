//! Findings about documents for the programs that show them in code: SARIF, and the commands of GitHub's runner.

use std::{collections::BTreeSet, fmt::Write as _};

use contracts::{Code, Finding, Severity};
use serde_json::{Value, json};

/// A SARIF 2.1.0 log.
pub fn log(findings: &[Finding]) -> Value {
    let codes: BTreeSet<Code> = findings.iter().map(|finding| finding.code).collect();
    let rules = Code::ALL
        .iter()
        .filter(|(code, ..)| codes.contains(code))
        .map(|(_, text, doc)| json!({"id": text, "shortDescription": {"text": doc.trim()}}));
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "sluice", "version": env!("CARGO_PKG_VERSION"), "rules": rules.collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let locations: Vec<Value> = finding
        .origin
        .iter()
        .map(|origin| {
            json!({"physicalLocation": {
                "artifactLocation": {"uri": origin.file.replace('%', "%25").replace(' ', "%20")},
                "region": {"startLine": origin.line.max(1), "startColumn": origin.column.max(1)},
            }})
        })
        .collect();
    json!({"ruleId": finding.code, "level": level, "message": {"text": told(finding)}, "locations": locations})
}

fn told(finding: &Finding) -> String {
    match &finding.mend {
        Some(mend) => format!("{}: {mend}", finding.message),
        None => finding.message.clone(),
    }
}

/// Commands that make GitHub's runner show findings in the lines of a pull request, one a line.
pub fn commands(findings: &[Finding]) -> String {
    let mut lines = String::new();
    for finding in findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = write!(lines, "::{command} title={}", property(finding.code.as_str()));
        if let Some(origin) = &finding.origin {
            let _ = write!(lines, ",file={},line={},col={}", property(&origin.file), origin.line, origin.column);
        }
        let _ = writeln!(lines, "::{}", data(&told(finding)));
    }
    lines
}

/// One such command that is about no finding.
pub fn command(level: &str, title: &str, text: &str) -> String {
    format!("::{level} title={}::{}\n", property(title), data(text))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use contracts::Origin;

    use super::*;

    #[test]
    fn a_finding_ends_with_its_line_whatever_it_says() {
        let origin = Origin { file: "a,b:c.yaml".into(), line: 3, column: 7 };
        let finding = Finding::error(Code::PolicyCompile, "50%\n::error::forged").at(origin).mend("mend it");
        let other = Finding::warning(Code::PolicyAdvisory, "it only warns");
        let shown = commands(&[finding.clone(), other.clone()]);
        assert_eq!(
            shown,
            "::error title=policy-compile,file=a%2Cb%3Ac.yaml,line=3,col=7::50%25%0A::error::forged: mend it\n\
             ::warning title=policy-advisory::it only warns\n"
        );
        let log = log(&[finding, other]);
        assert!(
            contracts::materials::validate(contracts::MaterialType::Sarif, log.to_string().as_bytes()).is_ok(),
            "{log}"
        );
        assert_eq!(log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 3);
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"].as_array().map(Vec::len), Some(2));
    }
}
