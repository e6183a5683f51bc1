//! What a CEL rule may be. CEL has no limits of its own when it runs, so that a rule can only be expensive in
//! proportion to the documents it looks at is decided here.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};
use contracts::limits::CEL_NODES;

/// Nesting of an expression.
const DEPTH: usize = 100;
/// Comprehensions of one expression.
const COMPREHENSIONS: usize = 8;
/// Comprehensions inside of one another.
const NESTED: usize = 2;
/// Additions of one expression: text grows by them.
const ADDITIONS: usize = 16;

/// Functions that rules may call, besides operators.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek",
    "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "hasValue",
    "int", "matches", "optional.none", "optional.of", "optional.ofNonZeroValue", "or", "orValue", "schema_errors",
    "size", "startsWith", "string", "timestamp", "type", "uint", "value",
];

/// Names of types, for `type(x) == list`.
const TYPES: &[&str] = &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Whether it is the name of a type.
pub(super) fn is_type(name: &str) -> bool {
    TYPES.contains(&name)
}

/// A mistake, and the node it is at.
pub(super) struct Mistake {
    pub(super) node: u64,
    pub(super) message: String,
}

/// What an expression refers to.
#[derive(Default)]
pub(super) struct Found {
    pub(super) variables: Vec<String>,
    pub(super) mistakes: Vec<Mistake>,
    nodes: usize,
    comprehensions: usize,
    additions: usize,
    locals: Vec<String>,
}

/// Walks the expression. `generated` ones are written by the compiler and may have more nodes.
pub(super) fn inspect(expression: &IdedExpr, known: &[&str], generated: bool) -> Found {
    let mut found = Found::default();
    let mut walk = Walk { known, found: &mut found, nesting: 0, growing: false };
    walk.expr(expression, 0);
    let most = if generated { CEL_NODES * 32 } else { CEL_NODES };
    let over = [
        (found.nodes > most, "the rule is too long"),
        (found.comprehensions > COMPREHENSIONS, "the rule has too many `exists`, `all`, `filter` or `map`"),
        (found.additions > ADDITIONS, "the rule has too many `+`"),
    ];
    for (_, message) in over.into_iter().filter(|(over, _)| *over) {
        found.mistakes.push(Mistake { node: expression.id, message: message.to_owned() });
    }
    found
}

struct Walk<'a> {
    known: &'a [&'a str],
    found: &'a mut Found,
    nesting: usize,
    /// Inside of something that is kept for each element.
    growing: bool,
}

impl Walk<'_> {
    fn mistake(&mut self, node: u64, message: impl Into<String>) {
        self.found.mistakes.push(Mistake { node, message: message.into() });
    }

    fn expr(&mut self, expression: &IdedExpr, depth: usize) {
        self.found.nodes += 1;
        if depth > DEPTH {
            if self.found.mistakes.is_empty() {
                self.mistake(expression.id, "the rule is nested too deeply");
            }
            return;
        }
        let depth = depth + 1;
        match &expression.expr {
            Expr::Ident(name) => self.name(expression.id, name),
            Expr::Select(select) => self.expr(&select.operand, depth),
            Expr::Call(call) => self.call(expression.id, call, depth),
            Expr::List(list) => list.elements.iter().for_each(|element| self.expr(element, depth)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expr(&entry.key, depth);
                        self.expr(&entry.value, depth);
                    }
                }
            }
            Expr::Struct(_) => self.mistake(expression.id, "rules cannot make messages"),
            Expr::Comprehension(comprehension) => self.comprehension(expression.id, comprehension, depth),
            _ => {}
        }
    }

    fn name(&mut self, node: u64, name: &str) {
        let name = name.strip_prefix('.').unwrap_or(name);
        if self.found.locals.iter().any(|local| local == name) || TYPES.contains(&name) {
            return;
        }
        if self.known.contains(&name) {
            self.found.variables.push(name.to_owned());
        } else {
            let names = self.known.join("`, `");
            self.mistake(node, format!("`{name}` is not known: rules can use `{names}`"));
        }
    }

    fn call(&mut self, node: u64, call: &CallExpr, depth: usize) {
        let name = call.func_name.as_str();
        // `optional.of(x)` is a call on the name `optional`.
        let namespaced = call.target.as_ref().is_some_and(
            |target| matches!(&target.expr, Expr::Ident(ident) if ident == "optional" && !self.known.contains(&"optional")),
        );
        let full = if namespaced { format!("optional.{name}") } else { name.to_owned() };
        let operator = name.starts_with(['_', '!', '-', '@']);
        if !operator && !FUNCTIONS.contains(&full.as_str()) {
            self.mistake(node, format!("`{full}` is not a function that rules may call"));
        }
        if name == operators::ADD {
            self.found.additions += 1;
            if self.growing || self.nesting > 1 {
                self.mistake(node, "`+` may not be used inside `map`, or inside two of `exists`, `all` and the like");
            }
        }
        if let Some(target) = call.target.as_ref().filter(|_| !namespaced) {
            self.expr(target, depth);
        }
        call.args.iter().for_each(|argument| self.expr(argument, depth));
    }

    fn comprehension(&mut self, node: u64, comprehension: &ComprehensionExpr, depth: usize) {
        self.found.comprehensions += 1;
        self.expr(&comprehension.iter_range, depth);
        self.expr(&comprehension.accu_init, depth);
        if self.nesting >= NESTED {
            self.mistake(node, "`exists`, `all`, `filter` and `map` may be nested once only");
            return;
        }
        let outer_locals = self.found.locals.len();
        let outer_growing = self.growing;
        self.found.locals.push(comprehension.iter_var.clone());
        self.found.locals.extend(comprehension.iter_var2.clone());
        self.found.locals.push(comprehension.accu_var.clone());
        self.nesting += 1;
        self.growing |= matches!(&comprehension.accu_init.expr, Expr::List(_));
        self.expr(&comprehension.loop_cond, depth);
        self.step(&comprehension.loop_step, &comprehension.accu_var, depth);
        self.expr(&comprehension.result, depth);
        self.nesting -= 1;
        self.growing = outer_growing;
        self.found.locals.truncate(outer_locals);
    }

    /// The step of a macro adds to its result; that `+` is not the author's.
    fn step(&mut self, step: &IdedExpr, result: &str, depth: usize) {
        let Expr::Call(call) = &step.expr else { return self.expr(step, depth) };
        let adds_to_result =
            matches!(call.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name == result);
        if call.func_name == operators::CONDITIONAL {
            self.found.nodes += 1;
            call.args.iter().for_each(|argument| self.step(argument, result, depth + 1));
        } else if call.func_name == operators::ADD && adds_to_result {
            self.found.nodes += 1;
            call.args.iter().for_each(|argument| self.expr(argument, depth + 1));
        } else {
            self.expr(step, depth);
        }
    }
}
