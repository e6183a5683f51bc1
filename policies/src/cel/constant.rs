//! Rules that always come out the same, whatever the evidence: they were meant to say something.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::check::Mistake;

/// Why the expression is constant, if it is. `false` alone is what somebody writes who means it: nothing passes.
pub(super) fn mistake(expression: &IdedExpr) -> Option<Mistake> {
    if matches!(&expression.expr, Expr::Literal(LiteralValue::Boolean(value)) if !*value.inner()) {
        return None;
    }
    let message = match truth(expression) {
        Some(true) => "the rule always comes out true, so it never stops anything",
        Some(false) => "the rule never comes out true, so it stops everything",
        None if !looks(expression) => "the rule looks at nothing, so it always comes out the same",
        None => return None,
    };
    Some(Mistake { node: expression.id, message: message.to_owned() })
}

/// Whether it is true or false for certain.
fn truth(expression: &IdedExpr) -> Option<bool> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(value)) => Some(*value.inner()),
        Expr::Call(call) => {
            let argument = |n: usize| call.args.get(n).and_then(truth);
            match call.func_name.as_str() {
                operators::LOGICAL_NOT => argument(0).map(|value| !value),
                operators::LOGICAL_AND => match (argument(0), argument(1)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                },
                operators::LOGICAL_OR => match (argument(0), argument(1)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                },
                operators::CONDITIONAL => match argument(0) {
                    Some(true) => argument(1),
                    Some(false) => argument(2),
                    None => argument(1).filter(|_| argument(1) == argument(2)),
                },
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether it refers to anything but what it brings itself.
fn looks(expression: &IdedExpr) -> bool {
    names(expression, &mut Vec::new())
}

fn names<'e>(expression: &'e IdedExpr, locals: &mut Vec<&'e str>) -> bool {
    match &expression.expr {
        Expr::Ident(name) => {
            let name = name.strip_prefix('.').unwrap_or(name);
            !locals.contains(&name) && !super::check::is_type(name)
        }
        Expr::Select(select) => names(&select.operand, locals),
        Expr::Call(call) => {
            // What the compiler lets a function look at is not among its arguments.
            call.func_name == "schema_errors"
                || call.target.as_ref().is_some_and(|target| names(target, locals))
                || call.args.iter().any(|argument| names(argument, locals))
        }
        Expr::List(list) => list.elements.iter().any(|element| names(element, locals)),
        Expr::Comprehension(comprehension) => {
            let outer = locals.len();
            let looks = names(&comprehension.iter_range, locals) || names(&comprehension.accu_init, locals);
            locals.push(&comprehension.iter_var);
            locals.extend(comprehension.iter_var2.as_deref());
            locals.push(&comprehension.accu_var);
            let looks = looks
                || [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result]
                    .into_iter()
                    .any(|part| names(part, locals));
            locals.truncate(outer);
            looks
        }
        Expr::Literal(_) => false,
        // Maps and whatever else: not worth the walk.
        _ => true,
    }
}
