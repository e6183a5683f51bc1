//! Rego: policies, compiled once and run within bounds. The language is OPA's as far as the published policies use
//! it; whatever the engine would do differently than OPA does not compile.

mod answer;
mod boilerplate;
mod builtins;
mod conflicts;
mod costs;
mod counted;
mod defined;
mod expressions;
mod host;
mod interpret;
mod missing;
mod scope;
mod style;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use contracts::{
    Code, Finding, FindingType, Origin,
    limits::{RULE_HOST_CALLS, RULE_INSTRUCTIONS},
};
use regorus::{
    Engine, Value,
    languages::rego::compiler::Compiler,
    rvm::{
        Program, RegoVM,
        vm::{ExecutionMode, VmError},
    },
    utils::limits::ExecutionTimerConfig,
};

use crate::policy::Asked;
pub(crate) use answer::{Answer, Violation, read as read_answer, shorten};
pub(crate) use style::style;

use boilerplate::Syntax;
use builtins::Stopped;
pub(crate) use interpret::{Interpreted, interpret, portable};
use scope::{Edit, Mistake, MistakeKind};

/// Virtual machines kept per script for the next run.
const POOL: usize = 8;
/// Documents above this size are not left lying in a pooled machine.
const POOLED_DOCUMENT_BYTES: usize = 256 * 1024;

/// One Rego script, compiled, with its data.
pub(crate) struct Script {
    program: Arc<Program>,
    entry: String,
    reads_now: bool,
    /// As it was written, for authors.
    source: String,
    origin: Origin,
    data: Value,
    machines: Mutex<Vec<RegoVM>>,
}

/// Why a run gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunError {
    /// It failed.
    #[error("{0}")]
    Error(String),
    /// It took more than a rule may.
    #[error("{0}")]
    Budget(String),
    /// It returned another shape than policies return.
    #[error("{0}")]
    Shape(String),
    /// The wall clock ran out. Says nothing about the policy.
    #[error("it ran out of time")]
    Timeout,
}

/// Compiles one script. `origin` is where its first line is written; `data` is an object, of what it reads as
/// `data.<name>`.
///
/// # Errors
/// Every mistake found, each at its place.
pub(crate) fn compile(source: &str, origin: &Origin, data: &Value) -> Result<Script, Vec<Finding>> {
    let compiled = catch_unwind(AssertUnwindSafe(|| compile_inner(source, origin, data)));
    let compiled = compiled
        .unwrap_or_else(|_| Err(vec![finding(origin, 1, 1, Code::PolicyCompile, "the policy cannot be compiled")]))?;
    Ok(Script { source: source.to_owned(), origin: origin.clone(), ..compiled })
}

/// Policies without `import rego.v1` may be of either syntax. The newer one is tried first: the older one reads some
/// of it as something else. Those that import its keywords one by one keep the older meaning of `rule[x]`.
fn compile_inner(source: &str, origin: &Origin, data: &Value) -> Result<Script, Vec<Finding>> {
    let v0_first = source.contains("import future.keywords");
    let first = match compile_as(source, v0_first, origin, data) {
        Ok(script) => return Ok(script),
        Err(mistakes) => mistakes,
    };
    if source.contains("import rego.v1") {
        return Err(first);
    }
    match compile_as(source, !v0_first, origin, data) {
        Ok(script) => Ok(script),
        // Report the mistakes under the syntax that the author seems to use.
        Err(second) => Err(if v0_first || source.contains(" if ") { first } else { second }),
    }
}

fn compile_as(source: &str, v0: bool, origin: &Origin, data: &Value) -> Result<Script, Vec<Finding>> {
    let mut engine = parse_as(source, v0).map_err(|error| vec![engine_finding(origin, &error)])?;
    let Some(module) = engine.get_modules().first().cloned() else {
        return Err(vec![finding(origin, 1, 1, Code::PolicyCompile, "the policy is empty")]);
    };
    let names = scope::rule_names(&module);
    let found = scope::read(&module, source, &names_of(data), &builtins::is_allowed);
    let mut mistakes: Vec<Finding> =
        found.mistakes.into_iter().map(|mistake| mistake_finding(origin, mistake)).collect();
    if !names.contains_key("result") && !names.contains_key("violations") {
        let message = "the policy defines neither `result` nor `violations`, so it could never fail";
        let mistyped = names.keys().find_map(|name| Some((name, style::meant(name)?)));
        let found = finding(origin, 1, 1, Code::PolicyCompile, message);
        mistakes.push(found.mend(match mistyped {
            Some((name, meant)) => format!("did you mean `{meant}` by `{name}`?"),
            None => "write `violations contains message if { … }`".to_owned(),
        }));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let syntax = if !v0 || module.rego_v1 || uses_keywords(&module) { Syntax::V1 } else { Syntax::V0 };
    let added = boilerplate::missing(&names, syntax);
    let mut edited = edit(source, found.edits);
    // Again, as names may have changed.
    let mut engine = parse_as(&edited, v0).map_err(|error| vec![engine_finding(origin, &error)])?;
    let missing = engine.get_modules().first().map(|module| missing::edits(module, &edited)).unwrap_or_default();
    if !missing.is_empty() {
        edited = edit(&edited, missing);
        engine = parse_as(&edited, v0).map_err(|error| vec![engine_finding(origin, &error)])?;
    }
    if let Some(module) = engine.get_modules().first() {
        edited = edit(&edited, conflicts::edits(module, &edited));
    }
    if edited != source || !added.is_empty() {
        let whole = format!("{edited}\n{added}");
        engine = parse_as(&whole, v0).map_err(|error| vec![engine_finding(origin, &error)])?;
    }
    link(engine, data).map_err(|error| vec![engine_finding(origin, &error)])
}

fn names_of(data: &Value) -> BTreeSet<String> {
    match data {
        Value::Object(fields) => {
            fields.iter().filter_map(|(name, _)| name.as_string().ok().map(ToString::to_string)).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn parse_as(source: &str, v0: bool) -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_rego_v0(v0);
    engine.set_strict_builtin_errors(true);
    match engine.add_policy("policy".to_owned(), source.to_owned()) {
        Ok(_) => Ok(engine),
        Err(error) => Err(error.to_string()),
    }
}

fn uses_keywords(module: &regorus::unstable::Module) -> bool {
    module.imports.iter().any(|import| import.refr.span().text().starts_with("future.keywords"))
}

fn link(mut engine: Engine, data: &Value) -> Result<Script, String> {
    let package = engine.get_packages().map_err(|error| error.to_string())?.into_iter().next().unwrap_or_default();
    let entry = format!("{package}.result");
    let policy = engine.compile_with_entrypoint(&Arc::from(entry.as_str())).map_err(|error| error.to_string())?;
    let program = Compiler::compile_from_policy_with_host_await(&policy, &[entry.as_str()], host::FUNCTIONS)
        .map_err(|error| error.to_string())?;
    let mut program = Arc::try_unwrap(program).unwrap_or_else(|shared| (*shared).clone());
    let reads_now = builtins::reads_now(&program);
    builtins::bind(&mut program)
        .and_then(|()| defined::guard(&mut program))
        .map_err(|why| format!("the policy cannot be run: {why}"))?;
    let script = Script {
        program: Arc::new(program),
        entry,
        reads_now,
        source: String::new(),
        origin: Origin { file: String::new(), line: 1, column: 1 },
        data: data.clone(),
        machines: Mutex::default(),
    };
    // Data with the name of the package would stand in the way of its rules.
    let machine = script.machine().map_err(|_| "the policy's package has the name of one of its files of data")?;
    script.put_back(machine);
    Ok(script)
}

impl Script {
    /// The source, as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Where its first line stands.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) const fn reads_now(&self) -> bool {
        self.reads_now
    }

    pub(crate) const fn data(&self) -> &Value {
        &self.data
    }

    /// Runs the script on an input. `now` is what `time.now_ns()` answers.
    ///
    /// # Errors
    /// When it gave no answer of the right shape within its budget and before the deadline.
    pub(crate) fn run(
        &self,
        asked: Asked<'_>,
        findings: Option<FindingType>,
        deadline: Instant,
    ) -> Result<Answer, RunError> {
        let result = self.result(asked, deadline)?;
        answer::read(&result, findings).map_err(RunError::Shape)
    }

    /// What its rule `result` is, of whatever shape.
    ///
    /// # Errors
    /// When it failed, or was not finished within its budget and before the deadline.
    pub(crate) fn result(&self, asked: Asked<'_>, deadline: Instant) -> Result<Value, RunError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(RunError::Timeout);
        }
        let failed = || RunError::Error("the engine failed".to_owned());
        let mut machine = self.machine().map_err(|_| failed())?;
        let ran = catch_unwind(AssertUnwindSafe(|| {
            builtins::begin(i64::try_from(asked.now.as_nanosecond()).unwrap_or(i64::MAX));
            machine.set_input(asked.input);
            machine.set_execution_timer_config(Some(timer(left)));
            let mut result = machine.execute_entry_point_by_name(&self.entry);
            for _ in 0..RULE_HOST_CALLS {
                // The machine stops wherever something is asked that only the evidence can tell.
                let (Ok(_), Some(argument)) = (&result, machine.get_host_await_argument()) else { break };
                let name = machine.get_host_await_identifier().and_then(|name| name.as_string().ok());
                let answer = host::answer(name.map_or("", |name| name.as_ref()), argument, asked.evidence)?;
                result = machine.resume(Some(answer));
            }
            if result.is_ok() && machine.get_host_await_argument().is_some() {
                return Err(RunError::Budget("it calls functions of the host too often".to_owned()));
            }
            result.map_err(|error| run_error(&error))
        }));
        let result = ran.unwrap_or_else(|_| Err(failed()));
        if result.is_ok() && asked.bytes <= POOLED_DOCUMENT_BYTES {
            machine.set_input(Value::Null);
            self.put_back(machine);
        }
        result
    }

    fn machine(&self) -> Result<RegoVM, VmError> {
        let pooled = self.machines.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(machine) = pooled {
            return Ok(machine);
        }
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&self.program));
        machine.set_data(self.data.clone())?;
        // Any other mode recurses on the thread's stack and can abort the process.
        machine.set_execution_mode(ExecutionMode::Suspendable);
        // Strictness would not end a run, and would take null for false; the bounded functions are strict
        // themselves.
        machine.set_strict_builtin_errors(false);
        machine.set_max_instructions(RULE_INSTRUCTIONS);
        Ok(machine)
    }

    fn put_back(&self, machine: RegoVM) {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if machines.len() < POOL {
            machines.push(machine);
        }
    }
}

fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: NonZeroU32::MIN.saturating_add(31) }
}

fn run_error(error: &VmError) -> RunError {
    match builtins::stopped() {
        Some(Stopped::Budget(why)) => return RunError::Budget(why.to_owned()),
        Some(Stopped::Error(why)) => return RunError::Error(shorten(&why)),
        None => {}
    }
    match error {
        VmError::TimeLimitExceeded { .. } => RunError::Timeout,
        VmError::InstructionLimitExceeded { .. } => RunError::Budget("it takes too many steps".to_owned()),
        VmError::MemoryLimitExceeded { .. } | VmError::MemoryBudgetExceeded { .. } => {
            RunError::Budget("it needs too much memory".to_owned())
        }
        VmError::RegexSizeLimitExceeded { .. } => RunError::Budget("it uses a pattern that is too large".to_owned()),
        VmError::InvalidIteration { .. } => RunError::Error("it goes through what is not a collection".to_owned()),
        // The engine's messages repeat whole values of the input, so they are not passed on.
        _ => RunError::Error("it failed in the engine".to_owned()),
    }
}

fn edit(source: &str, mut edits: Vec<Edit>) -> String {
    // What is put in at a place comes before what replaces it.
    edits.sort_by_key(|edit| (edit.start, edit.end));
    edits.dedup();
    let mut edited = String::with_capacity(source.len());
    let mut at = 0;
    for edit in edits {
        edited.push_str(source.get(at..edit.start).unwrap_or_default());
        edited.push_str(&edit.text);
        at = edit.end;
    }
    edited.push_str(source.get(at..).unwrap_or_default());
    edited
}

fn mistake_finding(origin: &Origin, mistake: Mistake) -> Finding {
    let (code, message) = match mistake.kind {
        MistakeKind::Other(message) => (Code::PolicyCompile, message),
        MistakeKind::Builtin(name) => (
            Code::PolicyBuiltin,
            match name.as_str() {
                "http.send" => {
                    "policies have no network: `http.send` may not be called; put what it fetches into a file under `spec.data` and read `data.<name>`".to_owned()
                }
                "rand.intn" | "uuid.rfc4122" => format!("policies have no randomness: `{name}` may not be called"),
                "opa.runtime" => "policies have no environment: `opa.runtime` may not be called".to_owned(),
                name => format!("`{name}` is not a function that policies may call"),
            },
        ),
    };
    finding(origin, mistake.line, mistake.column, code, message)
}

/// The engine says where in a drawing: `--> file:line:column`, the line, and `error: what`.
fn engine_finding(origin: &Origin, error: &str) -> Finding {
    let place = error.split("--> ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let mut numbers = place.rsplitn(3, ':').map(|part| part.trim().parse().unwrap_or(1));
    let column = numbers.next().unwrap_or(1);
    let line = numbers.next().unwrap_or(1);
    let message = last_line(error);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let message = shorten(message).chars().take(300).collect::<String>();
    let found = finding(origin, line, column, Code::PolicyCompile, message.as_str());
    // What the engine says of `[_]` behind `some … in` names its own parts alone.
    match message.contains("should have been hoisted") {
        true => found.mend(
            "`some … in` cannot go through `x[_].y` here: go through `x` on a line before, as `some run in input.runs`, \
             and then `some result in run.results`",
        ),
        false => found,
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or(text)
}

fn finding(origin: &Origin, line: u32, column: u32, code: Code, message: impl Into<String>) -> Finding {
    let place = Origin {
        file: origin.file.clone(),
        line: origin.line.saturating_add(line.saturating_sub(1)),
        column: origin.column.saturating_add(column.saturating_sub(1)),
    };
    Finding::error(code, message).at(place)
}

/// The arguments as policies see them: text is split at newlines and commas (`\,` is a comma), and what is one value
/// stays a text.
pub(crate) fn arguments(with: &BTreeMap<String, String>) -> Value {
    let mut object = BTreeMap::new();
    for (name, text) in with {
        let mut values: Vec<Value> = text.lines().flat_map(split).map(|value| Value::from(value.as_str())).collect();
        let value = match values.len() {
            0 => continue,
            1 => values.remove(0),
            _ => Value::from(values),
        };
        object.insert(Value::from(name.as_str()), value);
    }
    Value::from(object)
}

fn split(line: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut value = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&',') => {
                characters.next();
                value.push(',');
            }
            ',' => values.push(std::mem::take(&mut value)),
            other => value.push(other),
        }
    }
    values.push(value);
    values.into_iter().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
