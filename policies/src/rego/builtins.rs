//! The functions that policies may call, bound to checked forms. The engine looks at no limit inside one call, so every
//! function whose result could be much larger than what it was given is checked before it runs (`costs`), and everything
//! produced is counted. The engine also takes an error inside a rule for "this rule does not apply", which lets a
//! violation go unseen; here every error of a function or of arithmetic ends the run.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use contracts::limits::{RULE_NUMBER_BITS, RULE_PRODUCED_BYTES};
use regorus::{
    LimitError, Value,
    rvm::{Instruction, Program, instructions::BuiltinCallParams, program::BuiltinInfo},
    unstable::{BUILTINS, BuiltinFcn},
};

use super::{
    conflicts::{AGREE, PAIRS},
    costs::{
        TOO_BIG, bits, formatted, joined, numeral, pairs, pattern, product, range, regex_replaced, rendered, replaced,
        replaced_n, shift, text, trimmed, unchecked, zone,
    },
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
    /// What each rule with several definitions was found to be, and for which arguments.
    static FOUND: RefCell<BTreeMap<Value, (Value, Value)>> = const { RefCell::new(BTreeMap::new()) };
}

/// Starts counting for a run on this thread. `now_ns` is what `time.now_ns()` answers.
pub(super) fn begin(now_ns: i64) {
    SPENT.set(0);
    STOPPED.take();
    FOUND.take();
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
    bounded(name).is_some() || matches!(name, "print" | "set") || super::host::is_function(name)
}

/// Counts what the host answered. The reason, when it is too much.
pub(super) fn produced(answer: &Value) -> Result<(), String> {
    // A list within an object is counted, too: it is what may be long.
    let parts = match answer {
        Value::Object(fields) => {
            fields.iter().map(|(_, value)| if let Value::Array(items) = value { items.len() } else { 1 }).sum::<usize>()
        }
        _ => 1,
    };
    match spend(parts.saturating_mul(1024)) {
        Ok(()) => Ok(()),
        Err(_) => match stopped() {
            Some(Stopped::Budget(why)) => Err(why.to_owned()),
            _ => Err(TOO_BIG.to_owned()),
        },
    }
}

/// Puts the bounded functions into a compiled program.
pub(super) fn bind(program: &mut Program) -> Result<(), &'static str> {
    for (info, resolved) in program.builtin_info_table.iter().zip(&mut program.resolved_builtins) {
        resolved.0 = match info.name.as_str() {
            AGREE => |_, _, args, _| Ok(agree(args)?),
            name => bounded(name).ok_or("it calls a function that is not on the list")?.0,
        };
    }
    if program.resolved_builtins.len() != program.builtin_info_table.len() {
        return Err("its functions cannot be bounded");
    }
    bind_arithmetic(program)
}

/// Compares the values of one rule, of one key of an object (`[name, "key", key]`), or of one call of a function
/// (`[name, "call", arguments…]`; as nothing is recursive, a function is asked for one set of arguments at a time).
fn agree(args: &[Value]) -> Result<Value, LimitError> {
    let [key, value] = args else { return Err(stop(Stopped::Error("a rule has no value".to_owned()))) };
    let (name, kind) = match key {
        Value::Array(parts) => (parts.first().unwrap_or(key), parts.get(1)),
        _ => (key, None),
    };
    if kind.is_some_and(|kind| *kind == Value::from(PAIRS)) {
        return object(value);
    }
    let of_call = kind.is_some_and(|kind| *kind == Value::from("call"));
    let place = if of_call { name } else { key };
    let found = FOUND
        .with_borrow(|found| found.get(place).filter(|(asked, _)| asked == key).map(|(_, before)| before == value));
    match found {
        Some(true) => Ok(value.clone()),
        Some(false) => {
            let name = name.as_string().map(ToString::to_string).unwrap_or_default();
            Err(stop(Stopped::Error(format!("its rule `{name}` has two values at once"))))
        }
        None => {
            FOUND.with_borrow_mut(|found| found.insert(place.clone(), (key.clone(), value.clone())));
            if of_call { Ok(value.clone()) } else { spend(160).map(|()| value.clone()) }
        }
    }
}

/// The object of which these are the pairs.
fn object(pairs: &Value) -> Result<Value, LimitError> {
    let refuse = |why: &str| Err(stop(Stopped::Error(why.to_owned())));
    let Value::Set(pairs) = pairs else { return refuse("an object's comprehension gives no pairs") };
    let mut object = BTreeMap::new();
    for pair in pairs.iter() {
        let Value::Array(pair) = pair else { return refuse("an object's comprehension gives no pairs") };
        let [key, value] = pair.as_slice() else { return refuse("an object's comprehension gives no pairs") };
        if object.insert(key.clone(), value.clone()).is_some() {
            return refuse("an object's comprehension gives one key two values");
        }
    }
    spend(object.len().saturating_mul(160))?;
    Ok(Value::from(object))
}

/// Whether the program asks for the time.
pub(super) fn reads_now(program: &Program) -> bool {
    program.builtin_info_table.iter().any(|info| info.name == "time.now_ns")
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
                            Ok(result) if is_new_throughout($name) => {
                                spend(whole(&result))?;
                                Ok(result)
                            }
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

/// Functions whose results share no part with what they were given.
fn is_new_throughout(name: &str) -> bool {
    matches!(name, "json.unmarshal" | "json.filter" | "json.remove" | "regex.find_all_string_submatch_n")
}

/// What a value takes with all its parts. Its depth is bounded where text becomes a value.
fn whole(value: &Value) -> usize {
    let parts: usize = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(whole).fold(0, usize::saturating_add),
        Value::Set(items) => items.iter().map(whole).fold(0, usize::saturating_add),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| whole(key).saturating_add(whole(value))).fold(0, usize::saturating_add)
        }
        _ => 0,
    };
    parts.saturating_add(64)
}

fn after(result: Value) -> Result<Value, LimitError> {
    let size = match &result {
        Value::String(text) => text.len().saturating_add(32),
        Value::Array(items) => items.len().saturating_mul(64),
        Value::Set(items) => items.len().saturating_mul(64),
        Value::Object(fields) => fields.len().saturating_mul(96),
        _ => 0,
    };
    // However little it makes, a call takes as long as dozens of steps.
    spend(size.max(256)).map(|()| result)
}

fn spend(bytes: usize) -> Result<(), LimitError> {
    let spent = SPENT.get().saturating_add(bytes);
    SPENT.set(spent);
    if spent > RULE_PRODUCED_BYTES { Err(stop(Stopped::Budget("it produces too much data"))) } else { Ok(()) }
}

/// Counts a collection that was just made.
pub(super) const MADE: BuiltinFcn = (
    |_, _, args, _| {
        let value = args.first().cloned().unwrap_or(Value::Undefined);
        // What each takes in memory, which for small ones is mostly the frame around their parts.
        spend(match &value {
            Value::Array(items) => items.len().saturating_mul(16).saturating_add(56),
            Value::Set(items) => items.len().saturating_mul(40).saturating_add(200),
            Value::Object(fields) => fields.len().saturating_mul(64).saturating_add(400),
            _ => 8,
        })?;
        Ok(value)
    },
    1,
);

/// Counts a place in a collection.
pub(super) const KEPT: BuiltinFcn = (
    |_, _, args, _| {
        spend(128)?;
        Ok(args.first().cloned().unwrap_or(Value::Undefined))
    },
    1,
);

/// Counts a call of one of the policy's own functions.
pub(super) const CALLED: BuiltinFcn = (
    |_, _, args, _| {
        spend(256)?;
        Ok(args.first().cloned().unwrap_or(Value::Undefined))
    },
    1,
);

fn failed(name: &str, message: &str) -> LimitError {
    // The engine draws the place of the call, which it does not know here.
    let line = message.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    stop(Stopped::Error(format!("`{name}` failed: {}", line.chars().take(300).collect::<String>())))
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
    spend(24)?;
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
