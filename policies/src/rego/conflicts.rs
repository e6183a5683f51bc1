//! One rule has one value. Where two definitions of a rule apply and disagree, or one does for two elements of a
//! collection, OPA fails; the engine takes the rule for undefined, which whoever chooses the input could use to make a
//! violation go away. So the values of such rules pass through a function that compares them.

use std::collections::BTreeMap;

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Rule, RuleAssign, RuleBody, RuleHead, Span};

use super::{
    expressions::{parts, path},
    scope::Edit,
};

/// The function that compares: one that policies themselves may not call, bound to another meaning.
pub(super) const AGREE: &str = "json.patch";

/// What it is called with for an object's pairs.
pub(super) const PAIRS: &str = "pairs";

/// What to write into the source so that disagreement is noticed.
pub(super) fn edits(module: &Module, source: &str) -> Vec<Edit> {
    let mut definitions: BTreeMap<String, u32> = BTreeMap::new();
    for head in module.policy.iter().filter_map(|rule| spec(rule)).map(|(head, _)| head) {
        if let Some(name) = single(head) {
            *definitions.entry(name).or_default() += 1;
        }
    }
    let mut edits = Vec::new();
    for (head, bodies) in module.policy.iter().filter_map(|rule| spec(rule)) {
        if let Some((name, index)) = entry(head) {
            object(&name, index, head, bodies, source, &mut edits);
        }
        let Some(name) = single(head) else { continue };
        let several = definitions.get(&name).is_some_and(|count| *count > 1);
        if several || bodies.iter().any(|body| iterates(&body.query)) || value(head).is_some_and(walks) {
            definition(&name, head, bodies, source, &mut edits);
        }
    }
    edits
}

fn spec(rule: &Rule) -> Option<(&RuleHead, &[RuleBody])> {
    match rule {
        Rule::Spec { head, bodies, .. } => Some((head, bodies)),
        Rule::Default { .. } => None,
    }
}

/// The name of a rule that has a single value, or of a function.
fn single(head: &RuleHead) -> Option<String> {
    match head {
        RuleHead::Compr { refr, .. } | RuleHead::Func { refr, .. } => path(refr),
        RuleHead::Set { .. } => None,
    }
}

/// The name and the key of a rule that makes an object: `name[key] := value`.
fn entry(head: &RuleHead) -> Option<(String, &Expr)> {
    match head {
        RuleHead::Compr { refr, .. } if path(refr).is_none() => match refr.as_ref() {
            Expr::RefBrack { refr, index, .. } => Some((path(refr)?, index)),
            _ => None,
        },
        _ => None,
    }
}

/// Each key of an object has one value.
fn object(name: &str, index: &Expr, head: &RuleHead, bodies: &[RuleBody], source: &str, edits: &mut Vec<Edit>) {
    let RuleHead::Compr { assign: Some(assign), .. } = head else { return };
    let index = source.get(offset(index.span().start)..offset(index.span().end)).unwrap_or_default();
    let key = format!("[\"{name}\", \"key\", {index}]");
    for assign in [assign].into_iter().chain(bodies.iter().filter_map(|body| body.assign.as_ref())) {
        wrap(&key, assign, source, edits);
    }
}

/// Each key of an object that a comprehension makes has one value, where the engine would take any: written as the set
/// of its pairs, of which the function makes the object. `None` when it is not written as such.
pub(super) fn comprehension(
    span: &Span,
    (key, value, query): (&Expr, &Expr, &Query),
    source: &str,
) -> Option<[Edit; 4]> {
    let find = |from: u32, to: u32, wanted: char| {
        let from = offset(from);
        source.get(from..offset(to))?.find(wanted).map(|at| from + at)
    };
    let open = find(span.start, key.span().start, '{')?;
    let colon = find(key.span().end, value.span().start, ':')?;
    // The query's place begins at the bar itself.
    let bar = find(value.span().end, query.span.end, '|')?;
    let close = source.get(..offset(span.end))?.rfind('}')?;
    let replace = |at: usize, text: &str| Edit { start: at, end: at + 1, text: text.to_owned() };
    let begin = format!("{AGREE}([\"a comprehension\", \"{PAIRS}\"], {{[");
    Some([replace(open, &begin), replace(colon, ","), replace(bar, "] |"), replace(close, "})")])
}

fn value(head: &RuleHead) -> Option<&Expr> {
    match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => Some(assign.as_ref()?.value.as_ref()),
        RuleHead::Set { .. } => None,
    }
}

/// Whether a body may apply more than once.
fn iterates(query: &Query) -> bool {
    query.stmts.iter().any(|statement| match &statement.literal {
        Literal::SomeIn { .. } | Literal::SomeVars { .. } => true,
        Literal::Expr { expr, .. } => walks(expr),
        Literal::NotExpr { .. } | Literal::Every { .. } => false,
    })
}

/// Whether an expression may have several values: an index may be a variable that takes all of them.
fn walks(expr: &Expr) -> bool {
    match expr {
        Expr::RefBrack { refr, index, .. } => {
            !matches!(index.as_ref(), Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. }) || walks(refr)
        }
        Expr::RefDot { refr, .. } => walks(refr),
        Expr::Call { params, .. } => params.iter().any(|param| walks(param)),
        other => parts(other).into_iter().any(walks),
    }
}

fn definition(name: &str, head: &RuleHead, bodies: &[RuleBody], source: &str, edits: &mut Vec<Edit>) {
    let (refr, args, assign) = match head {
        RuleHead::Compr { refr, assign, .. } => (refr, None, assign),
        RuleHead::Func { refr, args, assign, .. } => (refr, Some(args), assign),
        RuleHead::Set { .. } => return,
    };
    let mut key = format!("\"{name}\"");
    let mut end_of_head = offset(refr.span().end);
    if let Some(args) = args {
        let mut texts = vec!["\"call\"".to_owned()];
        for arg in args {
            let (mut start, end) = (offset(arg.span().start), past(source, offset(arg.span().end)));
            if matches!(arg.as_ref(), Expr::String { .. } | Expr::RawString { .. }) {
                start = start.saturating_sub(1);
            }
            texts.push(named(arg, source, start..end, edits));
            end_of_head = end;
        }
        key = format!("[{key}, {}]", texts.join(", "));
        // Past the closing parenthesis of the arguments.
        let rest = source.get(end_of_head..).unwrap_or_default();
        end_of_head += rest.find(')').map_or(0, |at| at + 1);
    }
    match assign {
        Some(assign) => wrap(&key, assign, source, edits),
        None => edits.push(insert(end_of_head, format!(" := {AGREE}({key}, true)"))),
    }
    for body in bodies.iter().filter(|body| body.is_else) {
        match &body.assign {
            Some(assign) => wrap(&key, assign, source, edits),
            None => edits.push(insert(offset(body.span.start) + "else".len(), format!(" := {AGREE}({key}, true)"))),
        }
    }
}

fn wrap(key: &str, assign: &RuleAssign, source: &str, edits: &mut Vec<Edit>) {
    let operator = if assign.op == AssignOp::ColEq { ":=".len() } else { "=".len() };
    edits.push(insert(offset(assign.span.start) + operator, format!(" {AGREE}({key}, (")));
    edits.push(insert(past(source, offset(assign.span.end)), "))".to_owned()));
}

/// The place of a text is that of what is between its quotes.
fn past(source: &str, end: usize) -> usize {
    if source.get(end..).is_some_and(|rest| rest.starts_with(['"', '`'])) { end + 1 } else { end }
}

fn insert(at: usize, text: String) -> Edit {
    Edit { start: at, end: at, text }
}

fn offset(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The text of a function's argument as an expression: each `_` gets a name, in the head as well.
fn named(arg: &Expr, source: &str, range: std::ops::Range<usize>, edits: &mut Vec<Edit>) -> String {
    let mut blanks = Vec::new();
    find_blanks(arg, &mut blanks);
    let mut text = String::new();
    let mut at = range.start;
    for blank in blanks {
        let name = format!("any__{blank}");
        text.push_str(source.get(at..blank).unwrap_or_default());
        text.push_str(&name);
        at = blank + 1;
        edits.push(Edit { start: blank, end: blank + 1, text: name });
    }
    text.push_str(source.get(at..range.end).unwrap_or_default());
    text
}

fn find_blanks(pattern: &Expr, blanks: &mut Vec<usize>) {
    match pattern {
        Expr::Var { span, .. } if span.text() == "_" => blanks.push(offset(span.start)),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| find_blanks(item, blanks)),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| find_blanks(value, blanks)),
        _ => {}
    }
}
