//! Contracts with all that they refer to, as people write them, and everything that is told about each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use contracts::{Diagnostics, Finding, api::RevisionFiles, revision};
use policies::{RuleSet, compile};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/language")
}

/// The folders of a kind of cases, by name.
fn cases(kind: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(root().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Reads, resolves and compiles a case, as the command line does.
fn open(case: &Path) -> Result<(RuleSet, Vec<Finding>), Diagnostics> {
    let contract = if case.join("contract.json").exists() { "contract.json" } else { "contract.yaml" };
    let files = revision::collect(contract, &mut |called| match called.split_once("://") {
        None => fs::read(case.join(called)).map_err(|_| "there is no such file".to_owned()),
        Some(("sluice", _)) => policies::library::resolve(called).map(|text| text.as_bytes().to_vec()),
        Some(_) => Err("nothing is fetched here".to_owned()),
    })?;
    assert!(files.files.len() <= fs::read_dir(case).unwrap().count() + 16, "a closed set");
    let (revision, warnings) = revision::Revision::from_files(&files)?;
    Ok((compile(&revision)?, warnings))
}

fn lines(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let origin = finding.origin.as_ref().map(|origin| format!("{origin} ")).unwrap_or_default();
        let warning = if finding.blocks() { "" } else { "warning " };
        let mend = finding.mend.as_deref().map(|mend| format!("; {mend}")).unwrap_or_default();
        format!("{origin}{warning}{} {}{mend}\n", finding.code, finding.message)
    };
    findings.iter().map(line).collect()
}

fn report(case: &Path) -> String {
    match open(case) {
        Err(Diagnostics(mistakes)) => lines(&mistakes),
        Ok((rules, warnings)) => {
            let rule = |rule: &policies::Rule| {
                let gate = if rule.gate { "blocks" } else { "warns" };
                let from = rule.effective_from.map(|from| format!(" from {from}")).unwrap_or_default();
                format!("{} {:?} {gate}{from} @{}\n", rule.id, rule.engine, rule.origin)
            };
            let rules: String = rules.rules().iter().map(rule).collect();
            format!("{}{rules}", lines(&warnings))
        }
    }
}

#[test]
fn what_is_right_compiles() {
    let mut all = String::new();
    for case in cases("valid") {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let compiled = open(&case);
        assert!(compiled.is_ok(), "{name}: {}", compiled.unwrap_err());
        all += &format!("== {name}\n{}\n", report(&case));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let mut all = String::new();
    for case in cases("invalid") {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        assert!(open(&case).is_err(), "{name}");
        all += &format!("== {name}\n{}\n", report(&case));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn compiling_is_deterministic() {
    for case in cases("valid") {
        let printed = || serde_json::to_string(open(&case).unwrap().0.rules()).unwrap();
        assert_eq!(printed(), printed());
        assert_eq!(open(&case).unwrap().0.digest(), open(&case).unwrap().0.digest());
    }
}

/// What the rule set's digest covers: the rules. Where and how a clause is written is not among it.
#[test]
fn the_digest_changes_exactly_when_a_rule_does() {
    const CONTRACT: &str = include_str!("../../../testdata/language/valid/clauses/contract.yaml");
    const POLICY: &str = include_str!("../../../testdata/language/valid/clauses/approver.yaml");
    let digest = |contract: &str, policy: &str| {
        let files = BTreeMap::from([
            ("contract.yaml".to_owned(), contract.to_owned()),
            ("approver.yaml".to_owned(), policy.to_owned()),
        ]);
        let files = RevisionFiles { contract: "contract.yaml".to_owned(), files };
        compile(&revision::Revision::from_files(&files).unwrap().0).unwrap().digest()
    };
    let first = digest(CONTRACT, POLICY);
    // A comment or an empty line anywhere between the lines of the contract.
    for at in 0..CONTRACT.lines().count() {
        for line in ["# a comment", ""] {
            let mut lines: Vec<&str> = CONTRACT.lines().collect();
            lines.insert(at, line);
            assert_eq!(digest(&lines.join("\n"), POLICY), first, "line {at}");
        }
    }
    let described = CONTRACT.replace("  name: clauses\n", "  name: clauses\n  description: for people\n");
    assert_eq!(digest(&described, POLICY), first);
    let annotated = POLICY.replace("  name: approver\n", "  name: approver\n  annotations: {owner: security}\n");
    assert_eq!(digest(CONTRACT, &annotated), first);

    let mut seen = std::collections::BTreeSet::from([first]);
    for (from, to) in [
        ("TEKTON_PIPELINE", "JENKINS_JOB"),
        ("value: stable", "value: beta"),
        ("    - name: version\n", ""),
        ("value: api", "value: web"),
        ("      optional: true\n", ""),
        ("2027-06-01", "2027-06-02"),
        ("[approver]", "[approver, at]"),
        ("gate: true", "gate: false"),
        ("2027-03-01T09:00:00+01:00", "2027-03-01T09:00:00Z"),
        ("name: appr\n", "name: app\n"),
        ("name: appr\n          matchMode: PREFIX", "name: approval"),
    ] {
        assert!(CONTRACT.contains(from), "{from}");
        assert!(seen.insert(digest(&CONTRACT.replace(from, to), POLICY)), "{from} to {to}");
    }
    // The source of a script is printed as it runs, comments and all, and a description is what a policy is said to
    // check: both are part of what is told, and count.
    for (from, to) in [
        ("nobody approved", "no approval"),
        ("input.approver == \"\"", "input.approver == \"x\""),
        ("import rego.v1\n", "import rego.v1\n\n        # a comment\n"),
        ("Somebody else approved", "Somebody approved"),
        ("name: approver", "name: approved"),
    ] {
        assert!(POLICY.contains(from), "{from}");
        assert!(seen.insert(digest(CONTRACT, &POLICY.replace(from, to))), "{from} to {to}");
    }
}
