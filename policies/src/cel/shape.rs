//! What an expression is, as far as that can be told without evidence. What a person attests has any shape; what the
//! gateway says has one. A rule that cannot come out true is refused here rather than at every pull.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::check::Mistake;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// It cannot be told.
    Any,
    Bool,
    Number,
    Text,
    Bytes,
    Null,
    Instant,
    Span,
    List(&'static Shape),
    /// With keys of any name.
    Map(&'static Shape),
    /// With these fields and no others.
    Record(&'static [(&'static str, Shape)]),
}

use Shape::{Any, Bool, Bytes, Instant, List, Map, Null, Number, Record, Span, Text};

const SUBJECT: &[(&str, Shape)] = &[("repository", Text), ("digest", Text)];
const SIGNER: &[(&str, Shape)] = &[("key", Text), ("issuer", Text), ("identity", Text)];
const RUN: &[(&str, Shape)] = &[
    ("organization", Text),
    ("project", Text),
    ("workflow", Text),
    ("team", Text),
    ("id", Text),
    ("contract", Text),
    ("revision", Text),
    ("runner", Text),
    ("annotations", Map(&Text)),
    ("authenticated", Bool),
    ("identity", Record(IDENTITY)),
];
const IDENTITY: &[(&str, Shape)] = &[
    ("provider", Text),
    ("issuer", Text),
    ("subject", Text),
    ("repository", Text),
    ("workflow", Text),
    ("commit", Text),
    ("ref", Text),
    ("environment", Text),
    ("trigger", Text),
    ("run_id", Text),
    ("run_url", Text),
    ("runner_environment", Text),
];
const MATERIAL: &[(&str, Shape)] = &[
    ("name", Text),
    ("type", Text),
    ("digest", Text),
    ("filename", Any),
    ("present", Bool),
    ("output", Bool),
    ("annotations", Map(&Any)),
    ("document", Any),
];

/// What each variable is.
fn variable(name: &str) -> Shape {
    match name {
        "materials" => Map(&Record(MATERIAL)),
        "subject" => Record(SUBJECT),
        "signers" => List(&Record(SIGNER)),
        "verifiers" => List(&Text),
        "run" => Record(RUN),
        "signed_at" | "now" => Instant,
        "age" => Span,
        _ => Any,
    }
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Any => "anything",
            Bool => "true or false",
            Number => "a number",
            Text => "a text",
            Bytes => "bytes",
            Null => "null",
            Instant => "an instant",
            Span => "a span of time",
            List(_) => "a list",
            Map(_) | Record(_) => "a map",
        }
    }

    const fn is_any(self) -> bool {
        matches!(self, Any)
    }
}

/// What in the expression can never work, whatever the evidence. A policy may also come out as a list.
pub(super) fn mistakes(expression: &IdedExpr, policy: bool) -> Vec<Mistake> {
    let mut reader = Reader { locals: Vec::new(), mistakes: Vec::new() };
    let whole = reader.expr(expression);
    let fits = matches!(whole, Any | Bool) || policy && matches!(whole, List(_));
    if reader.mistakes.is_empty() && !fits {
        let what = if policy { "true, false or a list of violations" } else { "true or false" };
        reader.mistake(expression.id, format!("the rule comes out as {}, and must come out {what}", whole.name()));
    }
    reader.mistakes
}

struct Reader<'e> {
    locals: Vec<(&'e str, Shape)>,
    mistakes: Vec<Mistake>,
}

impl<'e> Reader<'e> {
    fn mistake(&mut self, node: u64, message: String) {
        self.mistakes.push(Mistake { node, message });
    }

    fn expr(&mut self, expression: &'e IdedExpr) -> Shape {
        match &expression.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Bool,
                LiteralValue::Bytes(_) => Bytes,
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Number,
                LiteralValue::Null => Null,
                LiteralValue::String(_) => Text,
            },
            Expr::Ident(name) => {
                let name = name.strip_prefix('.').unwrap_or(name);
                let local = self.locals.iter().rev().find(|(local, _)| *local == name);
                local.map_or_else(|| variable(name), |(_, shape)| *shape)
            }
            Expr::Select(select) => self.select(expression.id, select),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => {
                list.elements.iter().for_each(|element| {
                    self.expr(element);
                });
                List(&Any)
            }
            Expr::Map(_) => Map(&Any),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            _ => Any,
        }
    }

    fn select(&mut self, node: u64, select: &'e SelectExpr) -> Shape {
        let field = self.field(node, &select.operand, &select.field);
        if select.test { Bool } else { field }
    }

    fn field(&mut self, node: u64, of: &'e IdedExpr, name: &str) -> Shape {
        match self.expr(of) {
            Any => Any,
            Map(values) => *values,
            Record(fields) => match fields.iter().find(|(known, _)| *known == name) {
                Some((_, shape)) => *shape,
                None => {
                    let known: Vec<&str> = fields.iter().map(|(known, _)| *known).collect();
                    self.mistake(node, format!("there is no `{name}` here, only `{}`", known.join("`, `")));
                    Any
                }
            },
            other => {
                let hint = if matches!(other, List(_)) { ": ask with `exists(s, …)` or `all(s, …)`" } else { "" };
                self.mistake(node, format!("`.{name}` is asked of {}, which has no fields{hint}", other.name()));
                Any
            }
        }
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr) -> Shape {
        let outer = self.locals.len();
        let range = self.expr(&comprehension.iter_range);
        let start = self.expr(&comprehension.accu_init);
        let element = match range {
            List(element) if comprehension.iter_var2.is_none() => *element,
            _ => Any,
        };
        self.locals.push((&comprehension.iter_var, element));
        if let Some(second) = &comprehension.iter_var2 {
            self.locals.push((second, Any));
        }
        // What is collected is of the kind that it begins as, for what is true or false and for lists.
        let collected = if matches!(start, Bool | List(_)) { start } else { Any };
        self.locals.push((&comprehension.accu_var, collected));
        self.expr(&comprehension.loop_step);
        let result = self.expr(&comprehension.result);
        self.locals.truncate(outer);
        result
    }

    fn call(&mut self, node: u64, call: &'e CallExpr) -> Shape {
        let name = call.func_name.as_str();
        if name == operators::INDEX
            && let [of, index] = call.args.as_slice()
            && let Expr::Literal(LiteralValue::String(key)) = &index.expr
        {
            return self.field(node, of, key);
        }
        let target = call.target.as_ref().map(|target| self.expr(target));
        let arguments: Vec<Shape> = call.args.iter().map(|argument| self.expr(argument)).collect();
        let first = target.or_else(|| arguments.first().copied()).unwrap_or(Any);
        match (name, arguments.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, operands) => {
                if let Some(wrong) = operands.iter().find(|shape| !matches!(shape, Any | Bool)) {
                    self.mistake(node, format!("`&&`, `||` and `!` take what is true or false, not {}", wrong.name()));
                }
                Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                self.ordered(node, *left, *right);
                Bool
            }
            (operators::EQUALS | operators::NOT_EQUALS | operators::IN, _) => Bool,
            (operators::ADD | operators::SUBSTRACT, [left, right]) => {
                self.sum(node, name == operators::ADD, *left, *right)
            }
            (operators::CONDITIONAL, [_, left, right]) if left == right => *left,
            (operators::INDEX, [List(element), _]) => **element,
            (operators::INDEX, [Map(values), _]) => **values,
            ("startsWith" | "endsWith" | "matches", _) => {
                if !matches!(first, Any | Text | Bytes) {
                    self.mistake(node, format!("`{name}` takes a text, not {}", first.name()));
                }
                Bool
            }
            ("contains" | "hasValue" | "bool", _) => Bool,
            ("size", _) => {
                if matches!(first, Bool | Number | Null | Instant | Span) {
                    self.mistake(node, format!("`size` takes a text, a list or a map, not {}", first.name()));
                }
                Number
            }
            ("int" | "uint" | "double", _) => Number,
            ("string", _) => Text,
            ("bytes", _) => Bytes,
            ("duration", _) => Span,
            ("timestamp", _) => Instant,
            ("schema_errors", _) => List(&Text),
            (get, _) if get.starts_with("get") => {
                if !matches!(first, Any | Instant | Span) {
                    self.mistake(node, format!("`{get}` takes an instant or a span of time, not {}", first.name()));
                }
                Number
            }
            _ => Any,
        }
    }

    fn ordered(&mut self, node: u64, left: Shape, right: Shape) {
        let orderable = |shape| matches!(shape, Any | Bool | Number | Text | Bytes | Instant | Span);
        if left.is_any() && orderable(right) || right.is_any() && orderable(left) {
            return;
        }
        if left != right || !orderable(left) {
            let hint = match (left, right) {
                (Span, Number) | (Number, Span) => ": write a span as `duration('24h')`",
                (Instant, _) | (_, Instant) => ": write an instant as `timestamp('2027-01-01T00:00:00Z')`",
                _ => "",
            };
            self.mistake(node, format!("{} is not compared with {}{hint}", left.name(), right.name()));
        }
    }

    fn sum(&mut self, node: u64, add: bool, left: Shape, right: Shape) -> Shape {
        match (left, right) {
            (Any, _) | (_, Any) => Any,
            (Number, Number) => Number,
            (Text, Text) if add => Text,
            (Bytes, Bytes) if add => Bytes,
            (List(_), List(_)) if add => List(&Any),
            (Span, Span) => Span,
            (Instant, Span) => Instant,
            (Span, Instant) if add => Instant,
            (Instant, Instant) if !add => Span,
            _ => {
                let operator = if add { '+' } else { '-' };
                let message = format!("`{operator}` does not take {} and {}", left.name(), right.name());
                self.mistake(node, message);
                Any
            }
        }
    }
}
