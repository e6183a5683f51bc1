//! CEL: expressions that must be true, compiled once and run within bounds.

mod check;
mod constant;
mod document;
mod policy;
mod shape;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    time::Instant,
};

use cel::{
    Context, Env, ExecutionError, Program,
    common::{
        types::{CelDuration, CelList, CelNull, CelString, CelTimestamp, STRING_TYPE},
        value::{CowVal, Val},
    },
};
use contracts::{
    Code, Finding, Origin,
    limits::{CEL_GENERATED_BYTES, CEL_SOURCE_BYTES},
};
use jiff::{SignedDuration, Timestamp};
use regorus::Value;

pub(crate) use self::policy::Script;
use crate::rego::{RunError, shorten};
use document::Over;

/// What rules may refer to.
pub(crate) const VARIABLES: &[&str] =
    &["attestation", "materials", "subject", "signers", "verifiers", "run", "signed_at", "now", "age"];

/// One environment for all rules; it never changes.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // The name is not taken, so that this cannot fail; if it did, rules that call it would fail.
    let _ = env.add_overload("schema_errors", "schema_errors_string", vec![STRING_TYPE.to_owned()], schema_errors);
    Arc::new(env)
});

thread_local! {
    /// What breaks the schema of each material that has one, for the run on this thread.
    static SCHEMA_ERRORS: RefCell<BTreeMap<String, Vec<String>>> = const { RefCell::new(BTreeMap::new()) };
}

fn schema_errors<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let name = args.first().and_then(|name| name.downcast_ref::<CelString<'_>>()).map(|name| name.inner().to_owned());
    let errors = name.and_then(|name| SCHEMA_ERRORS.with_borrow(|all| all.get(&name).cloned()));
    let errors = errors.ok_or_else(|| ExecutionError::function_error("schema_errors", "there is no such schema"))?;
    let errors: Vec<Box<dyn Val + 'v>> =
        errors.into_iter().map(|error| Box::new(CelString::from(error)) as Box<dyn Val + 'v>).collect();
    Ok(CowVal::owned(CelList::from(errors)))
}

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Expression {
    program: Program,
    variables: Vec<String>,
    /// What else distinguishes it from another with the same source.
    salt: String,
}

impl Expression {
    /// Whether its answer may change as time goes by.
    pub(crate) fn reads_now(&self) -> bool {
        self.refers_to(&["now", "age"])
    }

    /// Whether its answer may differ between the attestations of one image.
    pub(crate) fn reads_attestation(&self) -> bool {
        self.refers_to(&["attestation", "signers", "signed_at", "age"])
    }

    fn refers_to(&self, names: &[&str]) -> bool {
        self.variables.iter().any(|variable| names.contains(&variable.as_str()))
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.salt.clone()
    }
}

/// Compiles a rule that a person wrote.
///
/// # Errors
/// Every mistake, each at its place.
pub(crate) fn compile(source: &str, origin: &Origin) -> Result<Expression, Vec<Finding>> {
    compile_within(source, origin, Written::Rule, String::new())
}

/// Compiles a rule that the compiler wrote for a clause.
pub(crate) fn compile_generated(source: &str, origin: &Origin, salt: String) -> Result<Expression, Vec<Finding>> {
    compile_within(source, origin, Written::Clause, salt)
}

/// What an expression is written as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// A rule of a person: a condition.
    Rule,
    /// By the compiler, for a clause.
    Clause,
    /// A script of a policy: a condition, or a list of violations.
    Policy,
}

fn compile_within(source: &str, origin: &Origin, written: Written, salt: String) -> Result<Expression, Vec<Finding>> {
    let generated = written == Written::Clause;
    let most = if generated { CEL_GENERATED_BYTES } else { CEL_SOURCE_BYTES };
    if source.len() > most {
        let message = format!("the rule is longer than {most} bytes");
        return Err(vec![Finding::error(Code::PolicyCompile, message).at(origin.clone())]);
    }
    let parsed = catch_unwind(AssertUnwindSafe(|| ENV.compile(source)));
    let Ok(parsed) = parsed else {
        let message = "the rule cannot be compiled";
        return Err(vec![Finding::error(Code::PolicyCompile, message).at(origin.clone())]);
    };
    let program = parsed.map_err(|errors| {
        let mistakes = errors.errors.iter().map(|error| {
            let message = shorten(error.msg.lines().next().unwrap_or_default());
            let (line, column) = (u32::try_from(error.pos.0).unwrap_or(1), u32::try_from(error.pos.1).unwrap_or(1));
            Finding::error(Code::PolicyCompile, message).at(place(origin, line, column))
        });
        mistakes.collect::<Vec<_>>()
    })?;
    let variables = if written == Written::Policy { policy::VARIABLES } else { VARIABLES };
    let mut found = check::inspect(program.expression(), variables, generated);
    let (mut code, mut mend) = (Code::PolicyCompile, None);
    if found.mistakes.is_empty() {
        found.mistakes = shape::mistakes(program.expression(), written == Written::Policy);
        mend = Some("write a condition that can come out true, such as `age < duration('24h')`");
    }
    if found.mistakes.is_empty()
        && !generated
        && let Some(mistake) = constant::mistake(program.expression())
    {
        found.mistakes.push(mistake);
        (code, mend) = (Code::RuleConstant, Some("let it look at something, or leave it out"));
    }
    if !found.mistakes.is_empty() {
        let mistakes = found.mistakes.into_iter().map(|mistake| {
            let offset = program.source_info().offset_for(mistake.node).map_or(0, |(start, _)| start);
            let (line, column) = position(source, usize::try_from(offset).unwrap_or(0));
            let finding = Finding::error(code, mistake.message).at(place(origin, line, column));
            mend.map_or_else(|| finding.clone(), |mend| finding.clone().mend(mend))
        });
        return Err(mistakes.collect());
    }
    Ok(Expression { program, variables: found.variables, salt })
}

fn position(source: &str, offset: usize) -> (u32, u32) {
    let before: String = source.chars().take(offset).collect();
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (u32::try_from(line + 1).unwrap_or(1), u32::try_from(column + 1).unwrap_or(1))
}

fn place(origin: &Origin, line: u32, column: u32) -> Origin {
    Origin {
        file: origin.file.clone(),
        line: origin.line.saturating_add(line.saturating_sub(1)),
        column: origin.column.saturating_add(column.saturating_sub(1)),
    }
}

/// What rules look at, all borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'d> {
    pub(crate) attestation: &'d Value,
    pub(crate) materials: &'d Value,
    pub(crate) subject: &'d Value,
    pub(crate) signers: &'d Value,
    pub(crate) verifiers: &'d Value,
    pub(crate) run: &'d Value,
    pub(crate) signed_at: Timestamp,
}

/// Everything bound, for many rules. `now` is bound as given: cut it for rules that read it.
pub(crate) struct Bound<'d>(Context<'d, 'd>);

impl<'d> Facts<'d> {
    pub(crate) fn bind(self, now: Timestamp) -> Bound<'d> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for (name, value) in [
            ("attestation", self.attestation),
            ("materials", self.materials),
            ("subject", self.subject),
            ("signers", self.signers),
            ("verifiers", self.verifiers),
            ("run", self.run),
        ] {
            context.add_variable_as_val(name, document::view(value));
        }
        context.add_variable_as_val("signed_at", timestamp(self.signed_at));
        context.add_variable_as_val("now", timestamp(now));
        context.add_variable_as_val("age", duration(now.duration_since(self.signed_at)));
        Bound(context)
    }
}

fn timestamp<'v>(at: Timestamp) -> Box<dyn Val + 'v> {
    let nanoseconds = u32::try_from(at.subsec_nanosecond().max(0)).unwrap_or(0);
    match chrono::DateTime::from_timestamp(at.as_second(), nanoseconds) {
        Some(at) => Box::new(CelTimestamp::from(at.fixed_offset())),
        None => Box::new(CelNull),
    }
}

fn duration<'v>(length: SignedDuration) -> Box<dyn Val + 'v> {
    let whole = chrono::TimeDelta::try_seconds(length.as_secs());
    let rest = chrono::TimeDelta::nanoseconds(i64::from(length.subsec_nanos()));
    match whole.and_then(|whole| whole.checked_add(&rest)) {
        Some(length) => Box::new(CelDuration::from(length)),
        None => Box::new(CelNull),
    }
}

impl Expression {
    /// Whether the rule is satisfied. `schema_errors` is what the function of that name answers.
    ///
    /// # Errors
    /// When it is neither true nor false, or costs more than a rule may.
    pub(crate) fn run(
        &self,
        bound: &Bound<'_>,
        schema_errors: BTreeMap<String, Vec<String>>,
        deadline: Instant,
    ) -> Result<bool, RunError> {
        SCHEMA_ERRORS.set(schema_errors);
        let answer = self.answer(&bound.0, deadline, |value| match value {
            cel::Value::Bool(answer) => Ok(*answer),
            _ => Err(RunError::Shape("it is neither true nor false".to_owned())),
        });
        SCHEMA_ERRORS.take();
        answer
    }

    /// Runs it, and reads what comes out while looks are still counted.
    fn answer<T>(
        &self,
        context: &Context<'_, '_>,
        deadline: Instant,
        read: impl Fn(&cel::Value) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        if Instant::now() >= deadline {
            return Err(RunError::Timeout);
        }
        document::begin(deadline);
        let ran = catch_unwind(AssertUnwindSafe(|| match self.program.execute(context) {
            Ok(value) => read(&value),
            Err(error) => Err(RunError::Error(describe(&error))),
        }));
        match document::end() {
            Some(Over::Steps) => Err(RunError::Budget("it looks at too many values".to_owned())),
            Some(Over::Time) => Err(RunError::Timeout),
            None => ran.unwrap_or_else(|_| Err(RunError::Error("it failed in the engine".to_owned()))),
        }
    }
}

/// The engine's errors repeat values of any size; these say only what kind of thing went wrong.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{}`", shorten(key)),
        ExecutionError::NoSuchOverload(overload) => shorten(&overload.to_string()),
        ExecutionError::UndeclaredReference(name) => format!("`{}` is not known", shorten(name)),
        ExecutionError::UnexpectedType { got, want } => {
            format!("it finds a `{}` where a `{}` is needed", shorten(got), shorten(want))
        }
        ExecutionError::FunctionError { function, message } => {
            format!("`{}` failed: {}", shorten(function), shorten(message).chars().take(200).collect::<String>())
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero".to_owned(),
        ExecutionError::Overflow(..) => "it computes a number that is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "it looks beyond the end of a list".to_owned(),
        ExecutionError::ValuesNotComparable(..) => "it compares values of different types".to_owned(),
        _ => "it applies an operator to values that it does not take".to_owned(),
    }
}
