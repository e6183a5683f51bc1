//! What a call of a function would cost, seen from its arguments.

use contracts::limits::{RULE_NUMBER_BITS, RULE_RANGE, RULE_TEXT_BYTES};
use regorus::Value;

pub(super) fn unchecked(_: &[Value]) -> Result<(), &'static str> {
    Ok(())
}

/// What is given is neither long text nor a large pile of texts.
pub(super) fn text(args: &[Value]) -> Result<(), &'static str> {
    let long = |value: &Value| matches!(value, Value::String(text) if text.len() > RULE_TEXT_BYTES);
    if args.iter().any(long) { Err("it works on a text that is too long") } else { Ok(()) }
}

/// Each character of the text is looked for among those to trim.
pub(super) fn trimmed(args: &[Value]) -> Result<(), &'static str> {
    text(args)?;
    if length(args.get(1)) > 1024 { Err("it trims too many different characters") } else { Ok(()) }
}

/// Each of the first is tried with each of the second.
pub(super) fn pairs(args: &[Value]) -> Result<(), &'static str> {
    let size = |value: &Value| match value {
        Value::Array(items) => items.len(),
        Value::Set(items) => items.len(),
        _ => 1,
    };
    let pairs = args.iter().map(size).fold(1, usize::saturating_mul);
    if pairs > 10_000_000 { Err("it compares too many pairs") } else { Ok(()) }
}

pub(super) fn pattern(args: &[Value]) -> Result<(), &'static str> {
    text(args)?;
    match args.first() {
        Some(Value::String(pattern)) if pattern.len() > 4096 => Err("it uses a pattern that is too long"),
        _ => Ok(()),
    }
}

/// Time zones are those of the time zone database; the machine's own would make answers differ between machines.
pub(super) fn zone(args: &[Value]) -> Result<(), &'static str> {
    text(args)?;
    let local = |value: &Value| matches!(value, Value::String(name) if name.eq_ignore_ascii_case("local"));
    let names_local = |value: &Value| match value {
        Value::Array(items) => items.iter().any(local),
        other => local(other),
    };
    if args.iter().any(names_local) { Err("it asks for the machine's own time zone") } else { Ok(()) }
}

pub(super) fn range(args: &[Value]) -> Result<(), &'static str> {
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

pub(super) fn bits(value: &Value) -> u64 {
    match value {
        Value::Number(number) if number.as_i64().is_some() || number.as_u64().is_some() => 64,
        Value::Number(number) if number.is_integer() => number.as_big().map_or(1100, |big| big.bits()),
        _ => 64,
    }
}

pub(super) const TOO_BIG: &str = "it computes a number that is too large";

pub(super) fn shift(args: &[Value]) -> Result<(), &'static str> {
    let by = args.get(1).and_then(|value| value.as_i64().ok()).unwrap_or(i64::MAX);
    let size = args.first().map_or(0, bits);
    if by < 0 || size.saturating_add(by.unsigned_abs()) > RULE_NUMBER_BITS { Err(TOO_BIG) } else { Ok(()) }
}

pub(super) fn product(args: &[Value]) -> Result<(), &'static str> {
    let size = |items: &mut dyn Iterator<Item = &Value>| items.map(bits).fold(0, u64::saturating_add);
    let size = match args.first() {
        Some(Value::Array(items)) => size(&mut items.iter()),
        Some(Value::Set(items)) => size(&mut items.iter()),
        _ => 0,
    };
    if size > RULE_NUMBER_BITS { Err(TOO_BIG) } else { Ok(()) }
}

/// A number as text: its exponent would otherwise buy any number of digits.
pub(super) fn numeral(args: &[Value]) -> Result<(), &'static str> {
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

pub(super) fn joined(args: &[Value]) -> Result<(), &'static str> {
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

pub(super) fn replaced(args: &[Value]) -> Result<(), &'static str> {
    at_most(grown(length(args.first()), length(args.get(1)), length(args.get(2))))
}

pub(super) fn replaced_n(args: &[Value]) -> Result<(), &'static str> {
    let Some(Value::Object(patterns)) = args.first() else { return Ok(()) };
    let size = |text, (old, new): (&Value, &Value)| grown(text, length(Some(old)), length(Some(new)));
    at_most(patterns.iter().fold(length(args.get(1)), size))
}

/// Every match may be put in once for each `$` of the replacement.
pub(super) fn regex_replaced(args: &[Value]) -> Result<(), &'static str> {
    let [text, expression, Value::String(new), ..] = args else { return Ok(()) };
    pattern(std::slice::from_ref(expression))?;
    let text = length(Some(text));
    let references = new.bytes().filter(|byte| *byte == b'$').count();
    at_most(grown(text, 1, new.len()).saturating_add(text.saturating_mul(references)))
}

/// A rendered value is at most so many texts and nodes.
pub(super) fn rendered(args: &[Value]) -> Result<(), &'static str> {
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
pub(super) fn formatted(args: &[Value]) -> Result<(), &'static str> {
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
