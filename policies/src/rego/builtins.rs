//! The functions that policies may call, and what each may cost. The engine looks at no limit inside one call, so
//! every function whose result could be much larger than what it was given is checked before it runs, and
//! everything produced is counted. The engine also takes an error inside a rule for "this rule does not apply",
//! which lets a violation go unseen; here every error of a function or of arithmetic ends the run.

use std::cell::{Cell, RefCell};

use contracts::limits::{RULE_NUMBER_BITS, RULE_PRODUCED_BYTES, RULE_RANGE, RULE_TEXT_BYTES};
use regorus::{
    LimitError, Value,
    rvm::{Instruction, Program, instructions::BuiltinCallParams, program::BuiltinInfo},
    unstable::{BUILTINS, BuiltinFcn},
};

/// Why a call ended the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It would cost more than a rule may.
    Budget(&'static str),
    /// It failed.
    Error(String),
}

type Check = fn(&[Value]) -> Result<(), &'static str>;

thread_local! {
    static SPENT: Cell<usize> = const { Cell::new(0) };
    static STOPPED: RefCell<Option<Stopped>> = const { RefCell::new(None) };
    static NOW_NS: Cell<i64> = const { Cell::new(0) };
}

/// Starts counting for a run on this thread. `now_ns` is what `time.now_ns()` answers.
pub(super) fn begin(now_ns: i64) {
    SPENT.set(0);
    STOPPED.take();
    NOW_NS.set(now_ns);
}

/// Why a call ended the run on this thread, if one did.
pub(super) fn stopped() -> Option<Stopped> {
    STOPPED.take()
}

/// Of all errors, only those about limits end a run.
fn stop(why: Stopped) -> LimitError {
    STOPPED.set(Some(why));
    LimitError::MemoryLimitExceeded { usage: 0, limit: 0 }
}

/// Whether policies may call it.
pub(super) fn is_allowed(name: &str) -> bool {
    bounded(name).is_some() || matches!(name, "print" | "set")
}

/// Puts the bounded functions into a compiled program.
pub(super) fn bind(program: &mut Program) -> Result<(), &'static str> {
    for (info, resolved) in program.builtin_info_table.iter().zip(&mut program.resolved_builtins) {
        resolved.0 = bounded(&info.name).ok_or("it calls a function that is not on the list")?.0;
    }
    if program.resolved_builtins.len() != program.builtin_info_table.len() {
        return Err("its functions cannot be bounded");
    }
    bind_arithmetic(program)
}

/// Whether the program asks for the time.
pub(super) fn reads_now(program: &Program) -> bool {
    program.builtin_info_table.iter().any(|info| info.name == "time.now_ns")
}

fn unchecked(_: &[Value]) -> Result<(), &'static str> {
    Ok(())
}

macro_rules! bounded {
    ($($name:literal => $check:expr,)+) => {
        /// The bounded form of a function.
        fn bounded(name: &str) -> Option<BuiltinFcn> {
            match name {
                "time.now_ns" => Some((|_, _, _, _| Ok(Value::from(NOW_NS.get())), 0)),
                $($name => Some((
                    |span, exprs, args, _| {
                        before($check, args)?;
                        match (original($name)?.0)(span, exprs, args, true) {
                            Ok(result) => Ok(after(result)?),
                            Err(error) => Err(failed($name, &error.to_string()).into()),
                        }
                    },
                    0,
                )),)+
                _ => None,
            }
        }
    };
}

bounded! {
    "__builtin_sets.intersection" => unchecked,
    "__builtin_sets.union" => unchecked,
    "abs" => unchecked,
    "array.concat" => unchecked,
    "array.reverse" => unchecked,
    "array.slice" => unchecked,
    "base64.decode" => text,
    "base64.encode" => text,
    "base64.is_valid" => unchecked,
    "base64url.decode" => text,
    "base64url.encode" => text,
    "base64url.encode_no_pad" => text,
    "bits.and" => unchecked,
    "bits.lsh" => shift,
    "bits.negate" => unchecked,
    "bits.or" => unchecked,
    "bits.rsh" => unchecked,
    "bits.xor" => unchecked,
    "ceil" => unchecked,
    "concat" => joined,
    "contains" => unchecked,
    "count" => unchecked,
    "endswith" => unchecked,
    "floor" => unchecked,
    "format_int" => unchecked,
    "glob.match" => pattern,
    "glob.quote_meta" => text,
    "graph.reachable" => unchecked,
    "hex.decode" => text,
    "hex.encode" => text,
    "indexof" => unchecked,
    "indexof_n" => text,
    "intersection" => unchecked,
    "is_array" => unchecked,
    "is_boolean" => unchecked,
    "is_null" => unchecked,
    "is_number" => unchecked,
    "is_object" => unchecked,
    "is_set" => unchecked,
    "is_string" => unchecked,
    "json.filter" => unchecked,
    "json.is_valid" => unchecked,
    "json.marshal" => rendered,
    "json.remove" => unchecked,
    "json.unmarshal" => text,
    "lower" => text,
    "max" => unchecked,
    "min" => unchecked,
    "net.cidr_contains" => unchecked,
    "net.cidr_is_valid" => unchecked,
    "numbers.range" => range,
    "numbers.range_step" => range,
    "object.filter" => unchecked,
    "object.get" => unchecked,
    "object.keys" => unchecked,
    "object.remove" => unchecked,
    "object.subset" => unchecked,
    "object.union" => unchecked,
    "object.union_n" => unchecked,
    "product" => product,
    "regex.find_all_string_submatch_n" => pattern,
    "regex.find_n" => pattern,
    "regex.is_valid" => unchecked,
    "regex.match" => pattern,
    "regex.replace" => regex_replaced,
    "regex.split" => pattern,
    "regex.template_match" => pattern,
    "replace" => replaced,
    "round" => unchecked,
    "semver.compare" => unchecked,
    "semver.is_valid" => unchecked,
    "sort" => unchecked,
    "split" => text,
    "sprintf" => formatted,
    "startswith" => unchecked,
    "strings.any_prefix_match" => pairs,
    "strings.any_suffix_match" => pairs,
    "strings.count" => unchecked,
    "strings.replace_n" => replaced_n,
    "strings.reverse" => text,
    "substring" => text,
    "sum" => unchecked,
    "time.add_date" => zone,
    "time.clock" => zone,
    "time.date" => zone,
    "time.diff" => zone,
    "time.format" => zone,
    "time.parse_duration_ns" => text,
    "time.parse_ns" => text,
    "time.parse_rfc3339_ns" => text,
    "time.weekday" => zone,
    "to_number" => numeral,
    "trim" => trimmed,
    "trim_left" => trimmed,
    "trim_prefix" => text,
    "trim_right" => trimmed,
    "trim_space" => text,
    "trim_suffix" => text,
    "type_name" => unchecked,
    "union" => unchecked,
    "units.parse" => numeral,
    "units.parse_bytes" => numeral,
    "upper" => text,
    "urlquery.decode" => text,
    "urlquery.decode_object" => text,
    "urlquery.encode" => text,
    "urlquery.encode_object" => rendered,
    "uuid.parse" => text,
}

fn original(name: &str) -> Result<BuiltinFcn, LimitError> {
    let missing = || stop(Stopped::Error(format!("`{name}` is not a function of this engine")));
    BUILTINS.get(name).copied().ok_or_else(missing)
}

fn before(check: Check, args: &[Value]) -> Result<(), LimitError> {
    check(args).map_err(|why| stop(Stopped::Budget(why)))
}

fn after(result: Value) -> Result<Value, LimitError> {
    let size = match &result {
        Value::String(text) => text.len().saturating_add(32),
        Value::Array(items) => items.len().saturating_mul(64),
        Value::Set(items) => items.len().saturating_mul(64),
        Value::Object(fields) => fields.len().saturating_mul(96),
        _ => 8,
    };
    let spent = SPENT.get().saturating_add(size);
    SPENT.set(spent);
    if spent > RULE_PRODUCED_BYTES {
        return Err(stop(Stopped::Budget("it produces too much data")));
    }
    Ok(result)
}

fn failed(name: &str, message: &str) -> LimitError {
    // The engine draws the place of the call, which it does not know here.
    let line = message.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    stop(Stopped::Error(format!("`{name}` failed: {}", line.chars().take(300).collect::<String>())))
}

/// What is given is neither long text nor a large pile of texts.
fn text(args: &[Value]) -> Result<(), &'static str> {
    let long = |value: &Value| matches!(value, Value::String(text) if text.len() > RULE_TEXT_BYTES);
    if args.iter().any(long) { Err("it works on a text that is too long") } else { Ok(()) }
}

/// Each character of the text is looked for among those to trim.
fn trimmed(args: &[Value]) -> Result<(), &'static str> {
    text(args)?;
    if length(args.get(1)) > 1024 { Err("it trims too many different characters") } else { Ok(()) }
}

/// Each of the first is tried with each of the second.
fn pairs(args: &[Value]) -> Result<(), &'static str> {
    let size = |value: &Value| match value {
        Value::Array(items) => items.len(),
        Value::Set(items) => items.len(),
        _ => 1,
    };
    let pairs = args.iter().map(size).fold(1, usize::saturating_mul);
    if pairs > 10_000_000 { Err("it compares too many pairs") } else { Ok(()) }
}

fn pattern(args: &[Value]) -> Result<(), &'static str> {
    text(args)?;
    match args.first() {
        Some(Value::String(pattern)) if pattern.len() > 4096 => Err("it uses a pattern that is too long"),
        _ => Ok(()),
    }
}

/// Time zones are those of the time zone database; the machine's own would make answers differ between machines.
fn zone(args: &[Value]) -> Result<(), &'static str> {
    text(args)?;
    let local = |value: &Value| matches!(value, Value::String(name) if name.eq_ignore_ascii_case("local"));
    let names_local = |value: &Value| match value {
        Value::Array(items) => items.iter().any(local),
        other => local(other),
    };
    if args.iter().any(names_local) { Err("it asks for the machine's own time zone") } else { Ok(()) }
}

fn range(args: &[Value]) -> Result<(), &'static str> {
    const TOO_LONG: &str = "it asks for a range of too many numbers";
    let mut bounds = args.iter().take(2).map(|value| value.as_i64().ok());
    match (bounds.next().flatten(), bounds.next().flatten()) {
        (Some(from), Some(to)) if from.abs_diff(to) <= RULE_RANGE => Ok(()),
        (Some(_), Some(_)) => Err(TOO_LONG),
        // Not numbers: the function says so itself. Numbers out of range are too many in any case.
        _ if args.iter().all(|value| matches!(value, Value::Number(_))) => Err(TOO_LONG),
        _ => Ok(()),
    }
}

fn bits(value: &Value) -> u64 {
    match value {
        Value::Number(number) if number.as_i64().is_some() || number.as_u64().is_some() => 64,
        Value::Number(number) if number.is_integer() => number.as_big().map_or(1100, |big| big.bits()),
        _ => 64,
    }
}

const TOO_BIG: &str = "it computes a number that is too large";

fn shift(args: &[Value]) -> Result<(), &'static str> {
    let by = args.get(1).and_then(|value| value.as_i64().ok()).unwrap_or(i64::MAX);
    let size = args.first().map_or(0, bits);
    if by < 0 || size.saturating_add(by.unsigned_abs()) > RULE_NUMBER_BITS { Err(TOO_BIG) } else { Ok(()) }
}

fn product(args: &[Value]) -> Result<(), &'static str> {
    let size = |items: &mut dyn Iterator<Item = &Value>| items.map(bits).fold(0, u64::saturating_add);
    let size = match args.first() {
        Some(Value::Array(items)) => size(&mut items.iter()),
        Some(Value::Set(items)) => size(&mut items.iter()),
        _ => 0,
    };
    if size > RULE_NUMBER_BITS { Err(TOO_BIG) } else { Ok(()) }
}

/// A number as text: its exponent would otherwise buy any number of digits.
fn numeral(args: &[Value]) -> Result<(), &'static str> {
    let Some(Value::String(text)) = args.first() else { return Ok(()) };
    let exponent = text.rsplit_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
    let digits = exponent.bytes().filter(u8::is_ascii_digit).count();
    if text.len() > 400 || digits > 3 { Err(TOO_BIG) } else { Ok(()) }
}

const TOO_LONG: &str = "it makes a text that is too long";

fn at_most(bytes: usize) -> Result<(), &'static str> {
    if bytes > RULE_TEXT_BYTES { Err(TOO_LONG) } else { Ok(()) }
}

fn length(value: Option<&Value>) -> usize {
    match value {
        Some(Value::String(text)) => text.len(),
        _ => 0,
    }
}

fn joined(args: &[Value]) -> Result<(), &'static str> {
    let separator = length(args.first());
    let total = |items: &mut dyn Iterator<Item = &Value>| {
        items.map(|item| length(Some(item)).saturating_add(separator)).fold(0, usize::saturating_add)
    };
    at_most(match args.get(1) {
        Some(Value::Array(items)) => total(&mut items.iter()),
        Some(Value::Set(items)) => total(&mut items.iter()),
        _ => 0,
    })
}

fn grown(text: usize, old: usize, new: usize) -> usize {
    let times = text.checked_div(old).unwrap_or(text).saturating_add(1);
    text.saturating_add(times.saturating_mul(new))
}

fn replaced(args: &[Value]) -> Result<(), &'static str> {
    at_most(grown(length(args.first()), length(args.get(1)), length(args.get(2))))
}

fn replaced_n(args: &[Value]) -> Result<(), &'static str> {
    let Some(Value::Object(patterns)) = args.first() else { return Ok(()) };
    let size = |text, (old, new): (&Value, &Value)| grown(text, length(Some(old)), length(Some(new)));
    at_most(patterns.iter().fold(length(args.get(1)), size))
}

/// Every match may be put in once for each `$` of the replacement.
fn regex_replaced(args: &[Value]) -> Result<(), &'static str> {
    let [text, expression, Value::String(new), ..] = args else { return Ok(()) };
    pattern(std::slice::from_ref(expression))?;
    let text = length(Some(text));
    let references = new.bytes().filter(|byte| *byte == b'$').count();
    at_most(grown(text, 1, new.len()).saturating_add(text.saturating_mul(references)))
}

/// A rendered value is at most so many texts and nodes.
fn rendered(args: &[Value]) -> Result<(), &'static str> {
    let mut left = RULE_TEXT_BYTES;
    for arg in args {
        left = measured(arg, left, 0)?;
    }
    Ok(())
}

/// What is left of `left` after rendering: values share their parts, so a small one may be long when written out.
fn measured(value: &Value, left: usize, depth: usize) -> Result<usize, &'static str> {
    if depth > 200 {
        return Err("it renders a value that is nested too deeply");
    }
    let spend = |left: usize, bytes: usize| left.checked_sub(bytes).ok_or(TOO_LONG);
    let mut left = spend(left, 4)?;
    match value {
        Value::String(text) => left = spend(left, text.len())?,
        Value::Number(_) => left = spend(left, usize::try_from(bits(value) / 3).unwrap_or(usize::MAX))?,
        Value::Array(items) => {
            for item in items.iter() {
                left = measured(item, left, depth + 1)?;
            }
        }
        Value::Set(items) => {
            for item in items.iter() {
                left = measured(item, left, depth + 1)?;
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields.iter() {
                left = measured(field, measured(key, left, depth + 1)?, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(left)
}

/// A width or precision in a format buys as much text as it says.
fn formatted(args: &[Value]) -> Result<(), &'static str> {
    if let Some(Value::String(format)) = args.first() {
        let digits = |run: &str| run.len() > 3;
        let wide = format.split('%').skip(1).any(|verb| {
            let verb: &str = verb.split(|c: char| c.is_alphabetic()).next().unwrap_or_default();
            verb.contains('*') || verb.split(|c: char| !c.is_ascii_digit()).any(digits)
        });
        if wide {
            return Err("it formats a text that is too wide");
        }
        let verbs = format.bytes().filter(|byte| *byte == b'%').count();
        at_most(format.len().saturating_add(verbs.saturating_mul(1000)))?;
    }
    rendered(args)
}

/// The engine's own arithmetic is neither bounded nor does its error end a run, so it becomes calls of these.
const ARITHMETIC: [(&str, BuiltinFcn); 5] = [
    ("+", (|_, _, args, _| Ok(arithmetic('+', args)?), 2)),
    ("-", (|_, _, args, _| Ok(arithmetic('-', args)?), 2)),
    ("*", (|_, _, args, _| Ok(arithmetic('*', args)?), 2)),
    ("/", (|_, _, args, _| Ok(arithmetic('/', args)?), 2)),
    ("%", (|_, _, args, _| Ok(arithmetic('%', args)?), 2)),
];

fn arithmetic(operator: char, args: &[Value]) -> Result<Value, LimitError> {
    let error = |why: &str| stop(Stopped::Error(why.to_owned()));
    match args {
        [Value::Set(left), Value::Set(right)] if operator == '-' => after(Value::from(left.difference(right))),
        [Value::Number(left), Value::Number(right)] => {
            if args.iter().map(bits).fold(0, u64::saturating_add) > RULE_NUMBER_BITS {
                return Err(stop(Stopped::Budget(TOO_BIG)));
            }
            let zero = args.get(1) == Some(&Value::from(0_u64));
            let result = match operator {
                '+' => left.add(right),
                '-' => left.sub(right),
                '*' => left.mul(right),
                '/' | '%' if zero => return Err(error("it divides by zero")),
                '/' => left.clone().divide(right),
                _ if !left.is_integer() || !right.is_integer() => {
                    return Err(error("it takes the remainder of what are not whole numbers"));
                }
                _ => left.clone().modulo(right),
            };
            result.map(Value::from).map_err(|_| error("it computes a number that is too large"))
        }
        _ => Err(error(&format!("it uses `{operator}` on what are not numbers"))),
    }
}

fn bind_arithmetic(program: &mut Program) -> Result<(), &'static str> {
    let mut indices = [None; ARITHMETIC.len()];
    for at in 0..program.instructions.len() {
        let (operator, dest, left, right) = match program.instructions.get(at).copied() {
            Some(Instruction::Add { dest, left, right }) => (0, dest, left, right),
            Some(Instruction::Sub { dest, left, right }) => (1, dest, left, right),
            Some(Instruction::Mul { dest, left, right }) => (2, dest, left, right),
            Some(Instruction::Div { dest, left, right }) => (3, dest, left, right),
            Some(Instruction::Mod { dest, left, right }) => (4, dest, left, right),
            _ => continue,
        };
        if program.instruction_data.builtin_call_params.len() >= usize::from(u16::MAX) {
            return Err("it calculates in too many places");
        }
        let (Some(slot), Some((name, function))) = (indices.get_mut(operator), ARITHMETIC.get(operator)) else {
            return Err("it calculates with an unknown operator");
        };
        let builtin_index = *slot.get_or_insert_with(|| {
            program.resolved_builtins.push(*function);
            program.add_builtin_info(BuiltinInfo { name: (*name).to_owned(), num_args: 2 })
        });
        let args = [left, right, 0, 0, 0, 0, 0, 0];
        let params = BuiltinCallParams { dest, builtin_index, num_args: 2, args };
        let params_index = program.instruction_data.add_builtin_call_params(params);
        if let Some(instruction) = program.instructions.get_mut(at) {
            *instruction = Instruction::BuiltinCall { params_index };
        }
    }
    Ok(())
}
