//! `sluice policy …`: what authors see.
#![cfg(test)]

mod program;
mod serve;

use std::path::{Path, PathBuf};

use program::Folder;
use serde_json::{Value, json};

const POLICY: &str = r#"apiVersion: chainloop.dev/v1
kind: Policy
metadata:
  name: approved
  description: Somebody with a name approved it
spec:
  inputs:
    - name: people
      required: true
  policies:
    - kind: EVIDENCE
      embedded: |
        package approved

        import rego.v1

        people := {person | some person in input.args.people}

        violations contains msg if {
          not input.approver in people
          msg := sprintf("%s may not approve", [input.approver])
        }

        violations contains "nobody approved it" if not input.approver
"#;

const CASES: &str = r"tests:
  - name: one who may
    input: data/jo.json
    with: {people: 'jo, ann'}
    expect: {decision: allow, messages: []}
  - name: one who may not
    input: {approver: eve}
    with: {people: 'jo, ann'}
    expect: {decision: deny, codes: [policy-violation], messages: [eve may not approve]}
";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("policies/approved.yaml", POLICY);
    folder.write("policies/approved.test.yaml", CASES);
    folder.write("policies/data/jo.json", r#"{"approver": "jo"}"#);
    folder.write("eve.json", r#"{"approver": "eve"}"#);
    folder
}

#[test]
fn eval_answers_with_the_policys_own_result() {
    let folder = folder();
    let ask = |about: &str, more: &[&str]| {
        let asked = ["policy", "eval", "policies/approved.yaml", "--material", about, "--with", "people=jo,ann"];
        folder.sluice(&[&asked[..], more].concat())
    };
    insta::assert_snapshot!(ask("policies/data/jo.json", &[]));
    insta::assert_snapshot!(ask("eve.json", &["--output", "json"]));
    insta::assert_snapshot!(ask("eve.json", &["--explain", "--now", "2027-01-01T00:00:00Z"]));
}

#[test]
fn eval_tells_mistakes_apart_from_answers() {
    let folder = folder();
    let ask = |arguments: &[&str]| folder.sluice(&[&["policy", "eval"], arguments].concat());
    insta::assert_snapshot!(ask(&["policies/approved.yaml", "--material", "eve.json"]));
    folder.write("policies/broken.yaml", &POLICY.replace("some person", "sum person").replace("inputs:", "input:"));
    insta::assert_snapshot!(ask(&["policies/broken.yaml", "--material", "eve.json"]));
    for (arguments, why) in [
        (&["gone.yaml", "--material", "eve.json"][..], "`gone.yaml` cannot be read"),
        (&["policies/approved.yaml", "--material", "gone.json"], "`gone.json` cannot be read"),
        (
            &["policies/approved.yaml", "--attestation", "eve.json"],
            "the policy reads EVIDENCE, and this is of type ATTESTATION",
        ),
    ] {
        let told = ask(arguments);
        assert_eq!((told.exit, told.stdout.as_str()), (2, ""), "{arguments:?}\n{told}");
        assert!(told.stderr.contains(why), "{why} in\n{told}");
    }
}

#[test]
fn a_statement_may_come_bare_in_an_envelope_or_in_a_bundle() {
    let folder = Folder::new();
    let policy =
        POLICY.replace("kind: EVIDENCE", "kind: ATTESTATION").replace("input.approver", "input.predicate.approver");
    folder.write("approved.yaml", &policy);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.com/approval",
        "subject": [{"name": "app", "digest": {"sha1": "78ac366c9e8a300d51808d581422ca61f7b5b721"}}],
        "predicate": {"approver": "jo"},
    });
    let key = contracts::SigningKey::generate_p256().unwrap();
    let bundle = key.sign(&contracts::Statement::parse(statement.to_string().as_bytes()).unwrap()).unwrap();
    let bundle: Value = serde_json::from_slice(bundle.bytes()).unwrap();
    folder.write("bare.json", &statement.to_string());
    folder.write("bundle.json", &bundle.to_string());
    folder.write("envelope.json", &bundle["dsseEnvelope"].to_string());
    for file in ["bare.json", "bundle.json", "envelope.json"] {
        for (person, exit) in [("jo,ann", 0), ("ann,eve", 1)] {
            let with = format!("people={person}");
            let told = folder.sluice(&["policy", "eval", "approved.yaml", "--attestation", file, "--with", &with]);
            assert_eq!(told.exit, exit, "{file}\n{told}");
        }
    }
}

#[test]
fn test_runs_the_cases_beside_the_policies() {
    let folder = folder();
    insta::assert_snapshot!(folder.sluice(&["policy", "test"]));
    insta::assert_snapshot!(folder.sluice(&[
        "policy",
        "test",
        "policies/approved.yaml",
        "--coverage",
        "--min-coverage",
        "100"
    ]));

    // A case that is wrong, and a file that cannot be read as cases.
    folder.write("policies/tests/approved.yaml", &CASES.replace("eve may", "adam may").replace("data", "../data"));
    folder.write("policies/tests/approved.test.yaml", &CASES.replace("data/jo", "data/gone"));
    folder.write("policies/other.test.yaml", "tests:\n  - {nam: x}\n");
    let told = folder.sluice(&["policy", "test", "--junit", "results.xml"]);
    insta::assert_snapshot!(told);
    let junit = folder.read("results.xml");
    assert!(contracts::materials::validate(contracts::MaterialType::JunitXml, junit.as_bytes()).is_ok(), "{junit}");
    assert!(junit.contains(r#"<testsuites tests="10" failures="2" errors="4">"#), "{junit}");

    let json = folder.sluice(&["policy", "test", "policies/approved.test.yaml", "--output", "json", "--coverage"]);
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.exit, &answer["total"], &answer["failed"]), (0, &json!(2), &json!(0)), "{json}");
    assert!(answer["coverage"]["lines"].as_u64().unwrap() > 3, "{json}");
}

#[test]
fn lines_that_no_case_reaches_are_told_and_can_fail_the_run() {
    let folder = folder();
    let with_more = POLICY.replace(
        "        violations contains \"nobody",
        "        violations contains \"late\" if {\n          input.late\n          input.late > 3\n        }\n\n        violations contains \"nobody",
    );
    folder.write("policies/approved.yaml", &with_more);
    let told = folder.sluice(&["policy", "test", "--coverage", "--min-coverage", "100"]);
    insta::assert_snapshot!(told);
}

#[test]
fn nothing_to_test_is_not_a_pass() {
    let folder = Folder::new();
    let told = folder.sluice(&["policy", "test"]);
    assert_eq!(told.exit, 2, "{told}");
    assert!(told.stderr.contains("there is no test case"), "{told}");
    folder.write("p.yaml", POLICY);
    let told = folder.sluice(&["policy", "test", "p.yaml"]);
    assert!(told.exit == 2 && told.stderr.contains("write them to `p.test.yaml`"), "{told}");
}

#[test]
fn lint_tells_every_mistake_and_what_could_be_clearer() {
    let folder = Folder::new();
    folder.write(
        "policies/unclear.yaml",
        r#"apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: unclear}
spec:
  policies:
    - kind: EVIDENCE
      embedded: |
        package unclear

        violations := [msg |
          some n, person in input.people
          count := 1
          not person.known
          msg := "somebody is not known"
        ]

        left_over if input.old

        skipped if false
"#,
    );
    folder.write("policies/unclear.test.yaml", "tests: []");
    folder
        .write("policies/broken.yaml", &POLICY.replace("sprintf(", "http.send(").replace("some person", "sum person"));
    insta::assert_snapshot!(folder.sluice(&["policy", "lint"]));
    insta::assert_snapshot!(folder.sluice(&["policy", "lint", "policies/unclear.yaml", "--output", "github"]));
    let sarif = folder.sluice(&["policy", "lint", "policies", "-o", "sarif"]);
    assert_eq!(sarif.exit, 1, "{sarif}");
    assert!(contracts::materials::validate(contracts::MaterialType::Sarif, sarif.stdout.as_bytes()).is_ok(), "{sarif}");
    // Only `lint` has findings about documents to write so.
    let told = folder.sluice(&["policy", "list", "-o", "sarif"]);
    assert_eq!((told.exit, told.stdout.as_str()), (2, ""), "{told}");

    folder.write("policies/unclear.yaml", POLICY);
    fs_remove(&folder, "policies/broken.yaml");
    let clean = folder.sluice(&["policy", "lint", "policies"]);
    assert_eq!((clean.exit, clean.stdout.as_str()), (0, "1 policy: 0 mistakes, 0 warnings\n"), "{clean}");
}

/// What the engine says of these is about itself, or makes the next mistake when it is followed to the letter.
#[test]
fn lint_says_how_to_write_what_the_engine_or_the_newer_language_do_not_take() {
    let folder = Folder::new();
    let policy = |rego: &str| {
        let rego: String = rego.lines().map(|line| format!("        {line}\n")).collect();
        format!(
            "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: p}}\nspec:\n  policies:\n    - kind: SARIF\n      embedded: |\n{rego}"
        )
    };
    folder.write(
        "policies/p.yaml",
        &policy("package p\nimport rego.v1\nviolations contains \"x\" if {\n  some r in input.runs[_].results\n  r.level == \"error\"\n}"),
    );
    let told = folder.sluice(&["policy", "lint", "policies", "-o", "github"]);
    assert!(told.exit == 1 && told.stdout.contains("some run in input.runs"), "{told}");
    folder.write("policies/p.yaml", &policy("package p\nviolations[\"x\"] {\n  input.version == \"1\"\n}"));
    let told = folder.sluice(&["policy", "lint", "policies", "-o", "github"]);
    assert!(told.exit == 0 && told.stdout.contains("violations contains message if { … }"), "{told}");
}

const GROUP: &str = r#"apiVersion: chainloop.dev/v1
kind: PolicyGroup
metadata: {name: people}
spec:
  inputs:
    - {name: evidence, required: true}
    - {name: people, required: true}
  policies:
    materials:
      - name: "{{ inputs.evidence }}"
        type: EVIDENCE
        policies:
          - ref: file://approved.yaml
            with: {people: "{{ inputs.people }}"}
    attestation:
      - ref: sluice://signed-commit
"#;

#[test]
fn lint_looks_through_groups_and_what_they_name() {
    let folder = folder();
    folder.write("policies/people.yaml", GROUP);
    let clean = folder.sluice(&["policy", "lint"]);
    insta::assert_snapshot!(clean);
    // Alone as well, and what is wrong with a policy is told once.
    let wrong = GROUP.replace("{people:", "{pepole:").replace("file://app", "file://../policies/app");
    folder.write("policies/people.yaml", &wrong.replace("optional", "optinal"));
    folder.write("policies/approved.yaml", &POLICY.replace("input.approver]", "input.approver"));
    insta::assert_snapshot!(folder.sluice(&["policy", "lint", "policies/people.yaml"]));
    let both = folder.sluice(&["policy", "lint", "-o", "github"]);
    assert_eq!(both.stdout.matches("approved.yaml").count(), 1, "{both}");
    folder.write("policies/people.yaml", &GROUP.replace("file://approved", "file://aproved"));
    let told = folder.sluice(&["policy", "lint", "policies/people.yaml"]);
    assert!(told.exit == 1 && told.stdout.contains("policies/aproved.yaml"), "{told}");
}

/// A policy that never fails looks like one that everything satisfies.
#[test]
fn lint_tells_a_rule_under_a_name_that_nobody_looks_at() {
    let folder = Folder::new();
    let policy = |rego: &str| {
        let head = POLICY.split("        package").next().unwrap();
        let rego: String = rego.lines().map(|line| format!("        {line}\n")).collect();
        format!("{head}{rego}")
    };
    let rule = "contains msg if {\n  input.old\n  msg := \"it is old\"\n}\n";
    let result = "result := {\n  \"skipped\": false,\n  \"violations\": violations,\n}\n";
    folder.write("with-result.yaml", &policy(&format!("package p\nimport rego.v1\n{result}violation {rule}")));
    folder.write("without.yaml", &policy(&format!("package p\nimport rego.v1\ndeny {rule}")));
    insta::assert_snapshot!(folder.sluice(&["policy", "lint"]));
}

fn fs_remove(folder: &Folder, name: &str) {
    std::fs::remove_file(folder.path(name)).unwrap();
}

#[test]
fn what_init_writes_passes_its_own_cases_and_is_clean() {
    let folder = Folder::new();
    for kind in ["SBOM_CYCLONEDX_JSON", "SBOM_SPDX_JSON", "SARIF", "ATTESTATION", "EVIDENCE"] {
        let name = kind.to_lowercase().replace('_', "-");
        let made = folder.sluice(&["policy", "init", &name, "--kind", kind, "--dir", "policies"]);
        assert_eq!(made.exit, 0, "{made}");
    }
    let tested = folder.sluice(&["policy", "test", "--coverage", "--min-coverage", "100"]);
    assert_eq!(tested.exit, 0, "{tested}");
    assert!(tested.stdout.contains("10 cases, 0 failed"), "{tested}");
    let linted = folder.sluice(&["policy", "lint"]);
    assert_eq!(linted.stdout, "5 policies: 0 mistakes, 0 warnings\n", "{linted}");
    // What is there is not replaced, and a name is a name.
    for (name, why) in [("sarif", "is there already"), ("Not A Name", "is not a name"), ("../x", "is not a name")] {
        let told = folder.sluice(&["policy", "init", name, "--dir", "policies"]);
        assert_eq!((told.exit, told.stdout.as_str()), (2, ""), "{told}");
        assert!(told.stderr.contains(why), "{told}");
    }
}

#[test]
fn shipped_policies_are_listed_shown_and_asked_by_name() {
    let folder = Folder::new();
    let list = folder.sluice(&["policy", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&list.stdout).unwrap();
    assert!(listed.as_array().unwrap().len() >= 17, "{list}");
    for policy in listed.as_array().unwrap() {
        let shown = folder.sluice(&["policy", "show", policy["name"].as_str().unwrap()]);
        assert_eq!(shown.exit, 0, "{shown}");
        assert!(shown.stdout.contains(&format!("name: {}\n", policy["name"].as_str().unwrap())), "{shown}");
        assert_ne!(policy["version"], json!(""), "{policy}");
    }
    let human = folder.sluice(&["policy", "list"]);
    assert!(human.stdout.contains("tests-pass") && human.stdout.contains("JUNIT_XML"), "{human}");
    folder.write("tests.xml", "<testsuite name='s'><testcase name='t'><failure/></testcase></testsuite>");
    for name in ["tests-pass", "sluice://tests-pass"] {
        let told = folder.sluice(&["policy", "eval", name, "--material", "tests.xml"]);
        assert_eq!(told.exit, 1, "{told}");
        assert!(told.stdout.starts_with("denied: policy tests-pass on tests.xml (JUNIT_XML)"), "{told}");
    }
    for name in ["tests-pas", "sluice://tests-pas"] {
        let told = folder.sluice(&["policy", "eval", name, "--material", "tests.xml"]);
        assert!(told.exit == 2 && told.stderr.contains("did you mean `tests-pass`?"), "{told}");
    }
    let gone = folder.sluice(&["policy", "show", "no-such-policy"]);
    assert!(gone.exit == 2 && gone.stderr.contains("sluice policy list"), "{gone}");
}

#[test]
fn watched_cases_run_again_when_the_policy_changes() {
    use std::{
        fs::File,
        process::{Command, Stdio},
        thread::sleep,
        time::{Duration, Instant},
    };

    let folder = folder();
    let path = folder.path("out.txt");
    let mut watching = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["policy", "test", "policies", "--watch"])
        .current_dir(folder.path("."))
        .stdout(File::create(&path).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = |part: &str| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if std::fs::read_to_string(&path).unwrap().contains(part) {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    };
    let first = until("2 cases, 0 failed");
    // Longer than before, so that a coarse clock does not hide the change.
    folder.write("policies/approved.yaml", &POLICY.replace("may not approve", "is not one who may approve"));
    let second = until("2 cases, 1 failed");
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(first && second, "{}", folder.read("out.txt"));
}

/// The documents of the languages, through the program itself.
#[test]
fn contracts_that_are_right_pass_and_those_that_are_wrong_do_not() {
    let folder = Folder::new();
    for (kind, exit) in [("valid", 0), ("invalid", 1)] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/language").join(kind);
        let cases = std::fs::read_dir(root).unwrap().map(|case| case.unwrap().path());
        let contracts = cases.flat_map(|case| ["contract.yaml", "contract.json"].map(|name| case.join(name)));
        let contracts: Vec<PathBuf> = contracts.filter(|contract| contract.exists()).collect();
        assert!(contracts.len() > 10);
        for contract in contracts {
            let told = folder.sluice(&["contract", "lint", contract.to_str().unwrap()]);
            assert_eq!(told.exit, exit, "{}\n{told}", contract.display());
        }
    }
}

#[test]
fn a_schema_is_printed_of_each_kind_of_document() {
    let folder = Folder::new();
    for (kind, title) in [
        ("contract", "Contract"),
        ("policy", "Policy"),
        ("policy-group", "PolicyGroup"),
        ("policy-test", "Test cases of a policy"),
    ] {
        let told = folder.sluice(&["schema", kind]);
        let schema: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!((told.exit, &schema["title"]), (0, &json!(title)), "{told}");
        assert_eq!(schema["$id"], json!(format!("https://sluice.dev/schema/{kind}.json")));
    }
}

/// As contracts do: from the hosts that are allowed, and from the shipped library.
#[test]
fn scripts_are_fetched_only_from_hosts_that_are_allowed() {
    let script = POLICY.split("embedded: |\n").nth(1).unwrap();
    let script: String =
        script.lines().map(|line| format!("{}\n", line.strip_prefix("        ").unwrap_or(""))).collect();
    let files = vec![("/approved.rego", "200 OK", &*script.leak())];
    let address = serve::serve(files.leak());
    let folder = folder();
    let head = POLICY.split("embedded: |\n").next().unwrap();
    folder.write("policies/approved.yaml", &format!("{head}ref: http://{address}/approved.rego\n"));
    for command in [
        &["policy", "eval", "policies/approved.yaml", "--material", "policies/data/jo.json", "--with", "people=jo,ann"]
            [..],
        &["policy", "test", "policies/approved.yaml"],
        &["policy", "lint", "policies"],
    ] {
        let refused = folder.sluice(command);
        // `eval` was asked something that it cannot tell.
        let exit = if command[1] == "eval" { 2 } else { 1 };
        assert!(refused.exit == exit && refused.stdout.contains("nothing is fetched from `127.0.0.1`"), "{refused}");
        let allowed = folder.sluice(&[command, &["--allow-host", "127.0.0.1"]].concat());
        assert_eq!(allowed.exit, 0, "{allowed}");
    }
}
