//! Reads what a policy returned.

use contracts::{
    FindingDetails, FindingType,
    limits::{RULE_FINDINGS, RULE_MESSAGE_CHARS},
};
use regorus::Value;

/// What a policy answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) violations: Vec<Violation>,
    /// Violations beyond those shown; they count like the others.
    pub(crate) more: usize,
    /// The policy says that it does not apply, and why.
    pub(crate) skipped: Option<String>,
    /// The policy wants its answer to be left out altogether.
    pub(crate) ignore: bool,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) message: String,
    /// The policy knows about it and lets it pass (an accepted vulnerability).
    pub(crate) suppressed: bool,
    /// What the policy tells of it, when it says of what type its findings are.
    pub(crate) details: Option<FindingDetails>,
}

/// Reads `{violations | findings, skipped, skip_reason, ignore}`. Anything of another shape is an error: to read a
/// wrong shape as "no violations" would let everything pass. Of a policy that says of what type its findings are,
/// those that are objects have the fields of that type.
pub(crate) fn read(result: &Value, kind: Option<FindingType>) -> Result<Answer, String> {
    let Value::Object(fields) = result else {
        return Err(match result {
            Value::Undefined => "it has no `result` for this input".to_owned(),
            _ => "its `result` is not an object".to_owned(),
        });
    };
    let field = |name: &str| fields.get(&Value::from(name));
    let flag = |name: &str| match field(name) {
        None | Some(Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(_) => Err(format!("`{name}` in its `result` is neither true nor false")),
    };
    let skipped = flag("skipped")?;
    let ignore = flag("ignore")?;
    let reason = match field("skip_reason") {
        None => String::new(),
        Some(Value::String(reason)) => shorten(reason),
        Some(_) => return Err("`skip_reason` in its `result` is not a text".to_owned()),
    };
    // Objects under `findings` come before `violations`, which older policies have.
    let listed = match (field("findings"), field("violations")) {
        (Some(findings), violations) if !is_empty(findings) || violations.is_none() => Some(("findings", findings)),
        (_, Some(violations)) => Some(("violations", violations)),
        (_, None) => None,
    };
    let (violations, more) = match listed {
        Some((name, list)) => violations(name, list, kind)?,
        None if skipped || ignore => (Vec::new(), 0),
        None => return Err("its `result` has neither `violations` nor `findings`".to_owned()),
    };
    Ok(Answer { violations, more, skipped: skipped.then_some(reason), ignore })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Set(items) => items.is_empty(),
        _ => false,
    }
}

fn violations(name: &str, list: &Value, kind: Option<FindingType>) -> Result<(Vec<Violation>, usize), String> {
    let (items, count): (Box<dyn Iterator<Item = &Value>>, usize) = match list {
        Value::Array(items) => (Box::new(items.iter()), items.len()),
        Value::Set(items) => (Box::new(items.iter_sorted()), items.len()),
        _ => return Err(format!("`{name}` in its `result` is not a list")),
    };
    // Those that count come first, so that none of them is lost among the suppressed.
    let mut blocking = Vec::new();
    let mut suppressed = Vec::new();
    let mut hidden = 0;
    for item in items {
        let violation = violation(item, kind)?;
        let to = if violation.suppressed { &mut suppressed } else { &mut blocking };
        if to.len() < RULE_FINDINGS {
            to.push(violation);
        } else if !violation.suppressed {
            hidden += 1;
        }
    }
    debug_assert!(hidden <= count);
    suppressed.truncate(RULE_FINDINGS.saturating_sub(blocking.len()));
    blocking.append(&mut suppressed);
    Ok((blocking, hidden))
}

fn violation(item: &Value, kind: Option<FindingType>) -> Result<Violation, String> {
    let fields = match item {
        Value::String(message) => {
            return Ok(Violation { message: shorten(message), suppressed: false, details: None });
        }
        Value::Object(fields) => fields,
        _ => return Err("a violation is neither a text nor an object with a `message`".to_owned()),
    };
    let Some(Value::String(message)) = fields.get(&Value::from("message")) else {
        return Err("a violation has no `message`".to_owned());
    };
    let suppressed = matches!(fields.get(&Value::from("suppress")), Some(Value::Bool(true)));
    let field = |name: &str| fields.get(&Value::from(name)).and_then(|value| serde_json::to_value(value).ok());
    let details = kind.map(|kind| FindingDetails::read(kind, &field, &shorten)).transpose()?;
    Ok(Violation { message: shorten(message), suppressed, details })
}

/// One line of bounded length.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(RULE_MESSAGE_CHARS).collect();
    if text.chars().nth(RULE_MESSAGE_CHARS).is_some() {
        short.push('…');
    }
    short
}
