//! Every Rego policy that is shipped, and those of the examples, answers as it does in Open Policy Agent, on every
//! input of the test cases. Runs where `SLUICE_OPA` is set and the program `opa` is there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use contracts::{MaterialType, cases::PolicyCase};
use jiff::Timestamp;
use policies::{
    authoring::{Exported, Input, PolicyFiles, export},
    library,
};
use serde_json::Value;

use crate::shelf;

/// One question, and whom it is put to.
struct Question {
    what: String,
    asked: Exported,
}

#[test]
fn policies_answer_as_in_open_policy_agent() {
    if std::env::var_os("SLUICE_OPA").is_none() {
        return;
    }
    let mut questions = Vec::new();
    let mut inputs: Vec<(Input, Option<Timestamp>)> = Vec::new();
    for shipped in library::ALL {
        let policy = shelf::policy(shipped.name, shipped.text);
        for (case, bytes, name) in shelf::cases(shipped) {
            let input = input(&policy, &case, bytes, name);
            let now = case.now.unwrap_or_default();
            let exported = export(&policy, &input, &case.with, now).unwrap();
            let what = format!("{}: {}", shipped.name, case.name);
            questions.extend(exported.into_iter().map(|asked| Question { what: what.clone(), asked }));
            inputs.push((input, case.now));
        }
    }
    assert!(questions.len() > 100, "only {} questions", questions.len());
    let shipped = questions.len();
    for (name, policy) in examples() {
        for (input, now) in inputs.iter().filter(|(input, _)| policy.kinds().contains(&input.kind)) {
            let with = policy.document().inputs.iter().map(|input| (input.name.clone(), "AGPL-3.0-only".to_owned()));
            let Ok(exported) = export(&policy, input, &with.collect(), now.unwrap_or_default()) else { continue };
            let what = format!("{name} on {}", input.filename.as_deref().unwrap_or("an input"));
            // The functions of the host are nobody else's.
            let exported = exported.into_iter().filter(|asked| !calls_the_host(&asked.module));
            questions.extend(exported.map(|asked| Question { what: what.clone(), asked }));
        }
    }
    assert!(questions.len() > shipped + 100, "the examples were asked {} questions", questions.len() - shipped);

    let folder = tempfile_folder();
    let different: Vec<String> = questions
        .iter()
        .filter_map(|question| {
            let theirs = opa(&folder, &question.asked);
            let same = match (&question.asked.result, &theirs) {
                // That there is no answer is all that both say alike.
                (Err(_), Err(_)) => true,
                (ours, theirs) => ours == theirs,
            };
            (!same).then(|| format!("{}\n  here: {:?}\n  opa:  {theirs:?}", question.what, question.asked.result))
        })
        .collect();
    fs::remove_dir_all(&folder).unwrap();
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), questions.len(), different.join("\n"));
}

fn input(policy: &PolicyFiles, case: &PolicyCase, bytes: Vec<u8>, name: Option<String>) -> Input {
    let filename = case.filename.clone().or(name);
    let kind: MaterialType = case.kind.unwrap_or_else(|| policy.kind_of(&bytes).unwrap());
    Input { kind, bytes, filename, annotations: case.annotations.clone() }
}

/// The policies beside the example contracts, and those that show the language.
fn examples() -> Vec<(String, PolicyFiles)> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let shown = fs::read_dir(testdata.join("language/valid")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for base in shown.chain([testdata.join("contracts")]) {
        let mut load = |asked: &str| fs::read(base.join(asked)).map_err(|error| error.to_string());
        for path in files(&base) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if !text.lines().any(|line| line == "kind: Policy") {
                continue;
            }
            let name = path.strip_prefix(&base).unwrap().to_str().unwrap();
            let policy = PolicyFiles::collect(name, &mut load);
            let policy = policy.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.push((path.display().to_string(), policy));
        }
    }
    found
}

fn calls_the_host(module: &str) -> bool {
    ["chainloop.vulnerability(", "chainloop.discover("].iter().any(|call| module.contains(call))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What `opa eval` answers: `None` when it is undefined.
fn opa(folder: &Path, asked: &Exported) -> Result<Option<Value>, String> {
    let (module, input, data) = (folder.join("policy.rego"), folder.join("input.json"), folder.join("data.json"));
    fs::write(&data, if asked.data.is_object() { asked.data.to_string() } else { "{}".to_owned() }).unwrap();
    fs::write(&module, &asked.module).unwrap();
    fs::write(&input, asked.input.to_string()).unwrap();
    let mut command = Command::new("opa");
    command.args(["eval", "--format", "json", "--strict-builtin-errors", "--input"]).arg(&input);
    command.arg("--data").arg(&module).arg("--data").arg(&data).arg(&asked.query);
    if asked.old_syntax {
        command.arg("--v0-compatible");
    }
    let output = command.output().expect("the program `opa`");
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("opa said: {}", String::from_utf8_lossy(&output.stderr)));
    if let Some(errors) = answer.get("errors") {
        return Err(errors.to_string());
    }
    Ok(answer.pointer("/result/0/expressions/0/value").cloned())
}

fn tempfile_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sluice-opa-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
