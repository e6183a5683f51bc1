//! The other way to run a script: the engine's interpreter, which tells which lines it went through. For authors
//! alone. It has no budget and does otherwise than OPA in places that the machine is guarded against, so nothing is
//! decided by it; what it answers is only ever held against the machine's answer.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use jiff::Timestamp;
use regorus::{Engine, Value};

use super::{Script, boilerplate, compile_as, edit, host, last_line, missing, parse_as, scope, timer, uses_keywords};
use crate::policy::Asked;
use boilerplate::Syntax;

/// What the interpreter did.
#[derive(Debug)]
pub(crate) struct Interpreted {
    /// Its `result`, or why there is none.
    pub(crate) result: Result<Value, String>,
    /// The lines of the script that were looked at, from 1.
    pub(crate) reached: BTreeSet<u32>,
    /// The lines of the script that could have been and were not.
    pub(crate) missed: BTreeSet<u32>,
    /// What it printed.
    pub(crate) prints: Vec<String>,
}

/// A script as any engine of Rego reads it.
pub(crate) struct Portable {
    pub(crate) module: String,
    pub(crate) old_syntax: bool,
    pub(crate) query: String,
}

/// A script that compiles with the rules that are added to it, and with the time written into it; `None` for one that
/// does not compile.
pub(crate) fn portable(script: &Script, now: Timestamp) -> Option<Portable> {
    // The same order as when it is compiled.
    let source = script.source();
    let v0_first = source.contains("import future.keywords");
    let compiles = |v0: &bool| compile_as(source, *v0, script.origin(), script.data()).is_ok();
    let v0 = [v0_first, !v0_first].into_iter().find(compiles)?;
    let timed = source.replace("time.now_ns()", &now.as_nanosecond().to_string());
    let mut engine = parse_as(&timed, v0).ok()?;
    let package = engine.get_packages().ok()?.into_iter().next()?;
    let module = engine.get_modules().first().cloned()?;
    let syntax = if !v0 || module.rego_v1 || uses_keywords(&module) { Syntax::V1 } else { Syntax::V0 };
    let added = boilerplate::missing(&scope::rule_names(&module), syntax);
    Some(Portable { module: format!("{timed}\n{added}"), old_syntax: v0, query: format!("{package}.result") })
}

/// Interprets a script that compiles; `None` for one that does not.
pub(crate) fn interpret(script: &Script, asked: Asked<'_>, deadline: Instant) -> Option<Interpreted> {
    // The interpreter's clock is the machine's, and cannot be given another.
    let portable = portable(script, asked.now)?;
    let lines = u32::try_from(script.source().lines().count()).unwrap_or(u32::MAX);
    let ran = catch_unwind(AssertUnwindSafe(|| run(portable, lines, script.data(), asked, deadline)));
    ran.unwrap_or_else(|_| Err("the interpreter failed".to_owned())).ok()
}

fn run(
    portable: Portable,
    lines: u32,
    data: &Value,
    asked: Asked<'_>,
    deadline: Instant,
) -> Result<Interpreted, String> {
    let mut engine = parse_as(&portable.module, portable.old_syntax)?;
    // The interpreter takes what is missing otherwise than OPA as well.
    let edits = engine.get_modules().first().map(|module| missing::edits(module, &portable.module));
    if let Some(edits) = edits.filter(|edits| !edits.is_empty()) {
        engine = parse_as(&edit(&portable.module, edits), portable.old_syntax)?;
    }
    engine.set_gather_prints(true);
    engine.set_enable_coverage(true);
    engine.set_execution_timer_config(timer(deadline.saturating_duration_since(Instant::now())));
    engine.add_data(data.clone()).map_err(|error| error.to_string())?;
    for (name, arguments) in host::FUNCTIONS {
        let evidence = asked.evidence.clone();
        let answer = move |given: Vec<Value>| {
            host::answer(name, &Value::from(given), &evidence)
                .map_err(|error| std::io::Error::other(error.to_string()).into())
        };
        let arguments = u8::try_from(*arguments).unwrap_or(u8::MAX);
        engine.add_extension((*name).to_owned(), arguments, Box::new(answer)).map_err(|error| error.to_string())?;
    }
    engine.set_input(asked.input);
    let result = engine.eval_rule(portable.query).map_err(|error| {
        let error = error.to_string();
        let line = last_line(&error);
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    });
    let (reached, missed) = covered(&engine, lines)?;
    Ok(Interpreted { result, reached, missed, prints: engine.take_prints().unwrap_or_default() })
}

/// The lines reached and not reached; what was added behind the script's last line does not count.
fn covered(engine: &Engine, lines: u32) -> Result<(BTreeSet<u32>, BTreeSet<u32>), String> {
    let report = engine.get_coverage_report().map_err(|error| error.to_string())?;
    let own = |set: &BTreeSet<u32>| set.iter().copied().filter(|line| *line <= lines).collect();
    Ok(report.files.first().map(|file| (own(&file.covered), own(&file.not_covered))).unwrap_or_default())
}
