//! The public conformance cases of Rego, run through the engine as policies are: the same checks, the same bounded
//! functions, the same machine. What is not passed is listed with its reason in `tests/conformance/`.
//!
//! The cases are OPA's own and are not kept here: `SLUICE_OPA_CASES` names the folder `v1/test/cases/testdata/v1` of
//! its source. With `SLUICE_OPA_CASES_WRITE` the list is written anew instead of compared.

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path};

use contracts::yaml;
use serde_json::Value as Json;

use super::*;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/opa-1.4.2.txt");

/// What the list begins with.
const HEAD: &str = "\
# The public conformance cases of Rego (those of OPA 1.4.2, v1/test/cases/testdata/v1) that are not passed, by reason.
# `refused` and `does not compile` are told to the author, with the place. What gives another answer or none reads a
# whole package, one of several, as a document, or an object of `data` by a number: policies are one package each.
# Written by the test `conformance`: see CONTRIBUTING.md.
";

/// Case by case, why it is not passed.
type Reasons = BTreeMap<String, String>;

#[test]
fn the_public_cases_that_are_not_passed_are_those_of_the_list() {
    let Some(folder) = env::var_os("SLUICE_OPA_CASES") else { return };
    let (mut reasons, mut passed) = (Reasons::new(), 0_usize);
    for file in files(Path::new(&folder)) {
        for case in cases(&file) {
            let note = case["note"].as_str().unwrap().trim().to_owned();
            match run_case(&case) {
                Ok(()) => passed += 1,
                // Some notes are given twice.
                Err(reason) => drop(reasons.entry(note).or_insert(reason)),
            }
        }
    }
    assert!(passed > 1000, "{passed} passed");
    let text = written(&reasons);
    if env::var_os("SLUICE_OPA_CASES_WRITE").is_some() {
        fs::write(LIST, &text).unwrap();
    }
    let listed = fs::read_to_string(LIST).unwrap_or_default();
    let new: Vec<_> = text.lines().filter(|line| !listed.lines().any(|known| known == *line)).collect();
    let gone: Vec<_> = listed.lines().filter(|line| !text.lines().any(|now| now == *line)).collect();
    assert!(new.is_empty() && gone.is_empty(), "not on the list: {new:#?}\non the list only: {gone:#?}");
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.extension().is_some_and(|extension| extension == "yaml") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// The cases of a file, which may be several documents.
fn cases(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap();
    let mut documents = vec![String::new()];
    for line in text.lines() {
        match line.trim_end() {
            "---" => documents.push(String::new()),
            _ => documents.last_mut().unwrap().push_str(&format!("{line}\n")),
        }
    }
    let mut cases = Vec::new();
    for document in documents.iter().filter(|document| !document.trim().is_empty()) {
        let name = path.display().to_string();
        let node = yaml::parse(&name, document.as_bytes()).unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"));
        let mut json = node.to_json().unwrap_or_else(|(place, why)| panic!("{name}: {place:?}: {why}"));
        cases.extend(json["cases"].as_array_mut().map(std::mem::take).unwrap_or_default());
    }
    cases
}

/// Runs one case.
fn run_case(case: &Json) -> Result<(), String> {
    let query = case["query"].as_str().unwrap_or_default().trim();
    let entry = entry(query).ok_or("its query is not one rule")?;
    let wants_error = case.get("want_error").is_some() || case.get("want_error_code").is_some();
    let input = match case.get("input_term").and_then(Json::as_str) {
        Some(term) => Value::from_json_str(term).map_err(|_| "its input is not JSON")?,
        None => value(case.get("input")),
    };
    let ran = catch_unwind(AssertUnwindSafe(|| answer(case, entry, input)));
    let ran = ran.unwrap_or_else(|_| Err("the engine panics".to_owned()));
    if wants_error {
        return ran.err().map(drop).ok_or_else(|| "it gives an answer where an error is expected".to_owned());
    }
    let got = ran?;
    let wanted = case["want_result"].as_array().and_then(|rows| rows.first()).and_then(|row| row.get("x"));
    let got = if matches!(got, Value::Undefined) { None } else { Some(serde_json::to_value(&got).unwrap()) };
    match (wanted, got) {
        (None, None) => Ok(()),
        (Some(wanted), Some(got)) if alike(wanted, &got) => Ok(()),
        (None, Some(_)) => Err("it gives an answer where none is expected".to_owned()),
        (Some(_), None) => Err("it gives no answer".to_owned()),
        (Some(_), Some(_)) => Err("it gives another answer".to_owned()),
    }
}

fn entry(query: &str) -> Option<&str> {
    let rule = query.strip_suffix("= x").or_else(|| query.strip_prefix("x ="))?.trim();
    let plain = rule.split('.').all(|part| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    (plain && rule.starts_with("data.")).then_some(rule)
}

/// As `compile_as` and `link` do, but for several modules, base documents and any rule.
fn answer(case: &Json, entry: &str, input: Value) -> Result<Value, String> {
    let modules: Vec<&str> = case["modules"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let data = value(case.get("data"));
    let data = if matches!(data, Value::Object(_)) { data } else { Value::new_object() };
    let (names, mut edited) = (names_of(&data), Vec::new());
    for source in modules {
        let mut engine = parse_as(source, false).map_err(|error| told(&error))?;
        let Some(module) = engine.get_modules().first().cloned() else { continue };
        let found = scope::read(&module, source, &names, &builtins::is_allowed);
        let messages = found.mistakes.into_iter().map(|mistake| mistake_finding(&origin(), mistake).message);
        // That policies are not given documents is no matter of the language; these cases are.
        if let Some(message) = messages.into_iter().find(|message| !message.starts_with("`data` may only be used")) {
            return Err(format!("refused: {message}"));
        }
        let once = edit(source, found.edits);
        let mut engine = parse_as(&once, false).map_err(|error| told(&error))?;
        let conflicts = engine.get_modules().first().map(|module| conflicts::edits(module, &once));
        edited.push(edit(&once, conflicts.unwrap_or_default()));
    }
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    for (n, source) in edited.iter().enumerate() {
        engine.add_policy(format!("policy{n}"), source.clone()).map_err(|error| told(&error.to_string()))?;
    }
    engine.add_data(data.clone()).map_err(|error| told(&error.to_string()))?;
    let policy = engine.compile_with_entrypoint(&Arc::from(entry)).map_err(|error| told(&error.to_string()))?;
    let program = Compiler::compile_from_policy_with_host_await(&policy, &[entry], host::FUNCTIONS)
        .map_err(|error| told(&error.to_string()))?;
    let mut program = Arc::try_unwrap(program).unwrap_or_else(|shared| (*shared).clone());
    builtins::bind(&mut program)
        .and_then(|()| defined::guard(&mut program))
        .map_err(|why| format!("refused: {why}"))?;
    let mut machine = RegoVM::new();
    machine.load_program(Arc::new(program));
    machine.set_execution_mode(ExecutionMode::Suspendable);
    machine.set_strict_builtin_errors(false);
    machine.set_max_instructions(RULE_INSTRUCTIONS);
    machine.set_data(data).map_err(|error| format!("its data is refused: {error}"))?;
    machine.set_input(input);
    machine.set_execution_timer_config(Some(timer(Duration::from_secs(5))));
    builtins::begin(1_600_000_000_000_000_000);
    machine.execute_entry_point_by_name(entry).map_err(|error| run_error(&error).to_string())
}

fn origin() -> Origin {
    Origin { file: "case".to_owned(), line: 1, column: 1 }
}

fn told(error: &str) -> String {
    let line = last_line(error);
    format!("it does not compile: {}", line.strip_prefix("error: ").unwrap_or(line))
}

fn value(json: Option<&Json>) -> Value {
    json.map_or(Value::Undefined, |json| Value::from_json_str(&json.to_string()).unwrap())
}

/// Sets are lists in the cases, in any order; numbers are equal by value.
fn alike(one: &Json, other: &Json) -> bool {
    sorted(one) == sorted(other)
}

fn sorted(json: &Json) -> Json {
    match json {
        Json::Array(items) => {
            let mut items: Vec<Json> = items.iter().map(sorted).collect();
            items.sort_by_key(Json::to_string);
            items.into()
        }
        Json::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect(),
        Json::Number(number) => number.as_f64().map_or_else(|| json.clone(), Json::from),
        other => other.clone(),
    }
}

fn written(reasons: &Reasons) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (note, reason) in reasons {
        by_reason.entry(reason).or_default().push(note);
    }
    let mut text = HEAD.to_owned();
    for (reason, notes) in by_reason {
        writeln!(text, "{reason}").unwrap();
        for note in notes {
            writeln!(text, "    {note}").unwrap();
        }
    }
    text
}
