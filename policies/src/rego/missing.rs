//! `not f(x)` where `x` is missing. OPA looks up what a call is given before the `not`: a rule with something missing
//! there does not apply. The engine takes the call for undefined and its negation for true, so that
//! `allowed if not input.name in banned` would hold for an input without a name. So what is looked up in a negated call
//! is looked up before it, too.

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleBody, RuleHead};

use super::{expressions::parts, scope::Edit};

/// What to write into the source so that what is missing fails the rule.
pub(super) fn edits(module: &Module, source: &str) -> Vec<Edit> {
    let mut name = "given__".to_owned();
    while source.contains(&name) {
        name.push('_');
    }
    let mut reader = Reader { source, name, edits: Vec::new() };
    for rule in &module.policy {
        match rule.as_ref() {
            Rule::Default { .. } => {}
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { assign, .. } => assign.iter().for_each(|assign| reader.expr(&assign.value)),
                    RuleHead::Set { key, .. } => key.iter().for_each(|key| reader.expr(key)),
                    RuleHead::Func { assign, .. } => assign.iter().for_each(|assign| reader.expr(&assign.value)),
                }
                bodies.iter().for_each(|body| reader.body(body));
            }
        }
    }
    reader.edits
}

struct Reader<'s> {
    source: &'s str,
    name: String,
    edits: Vec<Edit>,
}

impl Reader<'_> {
    fn body(&mut self, body: &RuleBody) {
        body.assign.iter().for_each(|assign| self.expr(&assign.value));
        self.query(&body.query);
    }

    fn query(&mut self, query: &Query) {
        query.stmts.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &LiteralStmt) {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { collection, .. } => self.expr(collection),
            Literal::Expr { expr, .. } => self.expr(expr),
            Literal::NotExpr { span, expr, .. } => {
                self.expr(expr);
                let mut looked_up = Vec::new();
                negated(expr, &mut looked_up);
                let texts: Vec<&str> = looked_up.into_iter().filter_map(|asked| text(self.source, asked)).collect();
                if texts.is_empty() {
                    return;
                }
                let (start, end) = (offset(span.start), past(self.source, offset(span.end)));
                let mut before = "count([1 | ".to_owned();
                for (n, text) in texts.into_iter().enumerate() {
                    // Lines keep their numbers, where no comment ends with them.
                    let text = if text.contains('#') { text.to_owned() } else { text.replace('\n', " ") };
                    before.push_str(&format!("{}{start}_{n} := {text}; ", self.name));
                }
                // In one expression, as a rule may have one only.
                self.edits.push(Edit { start, end: start, text: before });
                self.edits.push(Edit { start: end, end, text: "]) > 0".to_owned() });
            }
            Literal::Every { domain, query, .. } => {
                self.expr(domain);
                self.query(query);
            }
        }
    }

    /// Queries within expressions.
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query);
                self.expr(term);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.query(query);
                self.expr(key);
                self.expr(value);
            }
            Expr::Call { params, .. } => params.iter().for_each(|param| self.expr(param)),
            Expr::RefDot { refr, .. } => self.expr(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr);
                self.expr(index);
            }
            other => parts(other).into_iter().for_each(|part| self.expr(part)),
        }
    }
}

/// What a negated expression looks up before it is asked. `==` compares what is missing like anything else.
fn negated<'e>(expr: &'e Expr, found: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Call { params, .. } => params.iter().for_each(|param| given(param, found)),
        Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).for_each(|part| given(part, found));
        }
        Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
            for side in [lhs, rhs] {
                if !matches!(side.as_ref(), Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                    given(side, found);
                }
            }
        }
        Expr::BoolExpr { lhs, rhs, .. } => [lhs, rhs].into_iter().for_each(|side| given(side, found)),
        _ => {}
    }
}

fn given<'e>(expr: &'e Expr, found: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Var { span, .. } if span.text() == "_" => {}
        Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Call { .. } | Expr::Var { .. } => found.push(expr),
        other => parts(other).into_iter().for_each(|part| given(part, found)),
    }
}

fn text<'s>(source: &'s str, expr: &Expr) -> Option<&'s str> {
    source.get(offset(expr.span().start)..offset(expr.span().end)).filter(|text| !text.is_empty())
}

/// The place of a text is that of what is between its quotes.
fn past(source: &str, end: usize) -> usize {
    if source.get(end..).is_some_and(|rest| rest.starts_with(['"', '`'])) { end + 1 } else { end }
}

fn offset(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
