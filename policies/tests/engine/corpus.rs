//! Documents with all that they refer to, as people write them, and everything that is told about each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use contracts::{
    Diagnostics, Finding,
    api::RevisionFiles,
    cases::PolicyCases,
    revision,
    yaml::{self, Node},
};
use policies::{
    RuleSet,
    authoring::{self, PolicyFiles},
    compile,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/language")
}

/// The folders of a kind of cases, by name.
pub fn cases(kind: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(root().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

pub fn name(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

/// The documents that are looked at: the case's contract, or else each document of its folder on its own.
pub fn entries(case: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(case)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| name(&path))
        .collect();
    names.sort();
    match names.iter().find(|name| ["contract.yaml", "contract.json"].contains(&name.as_str())) {
        Some(contract) => vec![contract.clone()],
        None => names.into_iter().filter(|name| kind_of(case, name).is_some()).collect(),
    }
}

/// The kind of document that a file says it is; or else is called like, when what it says is wrong.
pub fn kind_of(case: &Path, name: &str) -> Option<&'static str> {
    if name.ends_with(".test.yaml") {
        return Some("policy-test");
    }
    if !name.ends_with(".yaml") && !name.ends_with(".json") {
        return None;
    }
    let node = document(case, name)?;
    let said = node.get("kind").and_then(Node::scalar).map(|scalar| scalar.text.as_str());
    let called = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
    match said {
        Some("Contract") => Some("contract"),
        Some("Policy") => Some("policy"),
        Some("PolicyGroup") => Some("policy-group"),
        _ if node.get("schemaVersion").or(node.get("schema_version")).is_some() => Some("contract"),
        _ => [("contract", "contract"), ("policy", "policy"), ("group", "policy-group")]
            .into_iter()
            .find(|(beginning, _)| called.starts_with(beginning))
            .map(|(_, kind)| kind),
    }
}

/// A file of a case, read as YAML or JSON.
pub fn document(case: &Path, name: &str) -> Option<Node> {
    yaml::parse(name, &fs::read(case.join(name)).unwrap()).ok()
}

fn load(case: &Path, called: &str) -> Result<Vec<u8>, String> {
    match called.split_once("://") {
        None => fs::read(case.join(called)).map_err(|_| "there is no such file".to_owned()),
        Some(("sluice", _)) => policies::library::resolve(called).map(|text| text.as_bytes().to_vec()),
        Some(_) => Err("nothing is fetched here".to_owned()),
    }
}

/// Reads, resolves and compiles a contract, as the command line does.
fn open(case: &Path, contract: &str) -> Result<(RuleSet, Vec<Finding>), Diagnostics> {
    let files = revision::collect(contract, &mut |called| load(case, called))?;
    assert!(files.files.len() <= fs::read_dir(case).unwrap().count() + 16, "a closed set");
    let (revision, warnings) = revision::Revision::from_files(&files)?;
    Ok((compile(&revision)?, warnings))
}

/// What is told about a document, as the command line does; and its rules, of a contract that is right.
pub fn lint(case: &Path, name: &str) -> (Vec<Finding>, Option<RuleSet>) {
    let kind = kind_of(case, name).unwrap();
    let told = match kind {
        "contract" => match open(case, name) {
            Ok((rules, warnings)) => return (warnings, Some(rules)),
            Err(Diagnostics(mistakes)) => Err(mistakes),
        },
        "policy" => PolicyFiles::collect(name, &mut |called| load(case, called))
            .map(|policy| authoring::lint(&policy))
            .map_err(|Diagnostics(mistakes)| mistakes),
        "policy-test" => PolicyCases::parse(name, &fs::read(case.join(name)).unwrap())
            .map(|_| Vec::new())
            .map_err(|Diagnostics(mistakes)| mistakes),
        other => panic!("{}: a {other} is looked at with the contract that attaches it", case.display()),
    };
    (told.unwrap_or_else(|mistakes| mistakes), None)
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

/// All that is told about a case, and whether each of its documents is right, and each wrong.
fn report(case: &Path) -> (String, bool, bool) {
    let (mut all, mut right, mut wrong) = (String::new(), true, true);
    let entries = entries(case);
    assert!(!entries.is_empty(), "{} has no document", case.display());
    for entry in &entries {
        let (findings, rules) = lint(case, entry);
        let blocked = findings.iter().any(Finding::blocks);
        (right, wrong) = (right && !blocked, wrong && blocked);
        if entries.len() > 1 {
            all += &format!("== {entry}\n");
        }
        all += &lines(&findings);
        for rule in rules.iter().flat_map(RuleSet::rules) {
            let gate = if rule.gate { "blocks" } else { "warns" };
            let from = rule.effective_from.map(|from| format!(" from {from}")).unwrap_or_default();
            all += &format!("{} {:?} {gate}{from} @{}\n", rule.id, rule.engine, rule.origin);
        }
    }
    (all, right, wrong)
}

#[test]
fn what_is_right_compiles() {
    for case in cases("valid") {
        let (all, right, _) = report(&case);
        assert!(right, "{}:\n{all}", case.display());
        insta::assert_snapshot!(format!("valid-{}", name(&case)), all);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for case in cases("invalid") {
        let (all, _, wrong) = report(&case);
        assert!(wrong, "{}:\n{all}", case.display());
        insta::assert_snapshot!(format!("invalid-{}", name(&case)), all);
    }
}

/// A report of a case that is gone would look like one that is held.
#[test]
fn every_report_is_of_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/snapshots");
    let mut held: BTreeSet<String> = fs::read_dir(folder).unwrap().map(|entry| name(&entry.unwrap().path())).collect();
    held.retain(|name| name.starts_with("engine__corpus__") && name.ends_with(".snap"));
    let of = |kind: &str| {
        cases(kind).iter().map(|case| format!("engine__corpus__{kind}-{}.snap", name(case))).collect::<BTreeSet<_>>()
    };
    assert_eq!(held, of("valid").union(&of("invalid")).cloned().collect());
}

#[test]
fn compiling_is_deterministic() {
    for case in cases("valid") {
        for contract in entries(&case).iter().filter(|entry| kind_of(&case, entry) == Some("contract")) {
            let open = || open(&case, contract).unwrap().0;
            let printed = || serde_json::to_string(open().rules()).unwrap();
            assert_eq!(printed(), printed());
            assert_eq!(open().digest(), open().digest());
        }
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

    let mut seen = BTreeSet::from([first]);
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
