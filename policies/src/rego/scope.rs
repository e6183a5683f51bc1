//! Reads a parsed module the way OPA's compiler does: which names are rules, which are local, what is called.
//! The engine's own compiler misses some of what is found here, so nothing that a policy could mean differently
//! elsewhere gets past it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleBody, RuleHead, Span};

use super::{
    conflicts,
    expressions::{head_ref, is_constant, parts, path, printing, root, steps},
};

/// A mistake at a place in the source, lines and columns from 1.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) kind: MistakeKind,
}

#[derive(Debug)]
pub(super) enum MistakeKind {
    /// Calls something that policies may not call.
    Builtin(String),
    /// Anything else that does not compile.
    Other(String),
}

/// Replace the bytes `start..end` of the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

/// What was found in a module.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<Mistake>,
    /// Mend what the engine does not take although it means something (see `Scope::declare`).
    pub(super) edits: Vec<Edit>,
}

/// The last component of a rule's path, and whether it is a default, for every rule.
pub(super) fn rule_names(module: &Module) -> BTreeMap<String, bool> {
    let mut names = BTreeMap::new();
    for rule in &module.policy {
        let (refr, default) = match rule.as_ref() {
            Rule::Spec { head, .. } => (head_ref(head), false),
            Rule::Default { refr, .. } => (refr, true),
        };
        if let Some(name) = root(refr) {
            *names.entry(name.to_owned()).or_insert(false) |= default;
        }
    }
    names
}

/// Walks the module. `data` names what it may read of `data` besides its own rules.
pub(super) fn read(module: &Module, source: &str, data: &BTreeSet<String>, allowed: &dyn Fn(&str) -> bool) -> Findings {
    // What is added to the module later are its rules, too.
    let mut rules: HashSet<String> = rule_names(module).into_keys().collect();
    rules.extend(super::boilerplate::NAMES.iter().map(|name| (*name).to_owned()));
    let package = path(&module.package.refr).unwrap_or_default();
    let mut reader = Reader {
        source,
        rules,
        package,
        data,
        allowed,
        found: Findings::default(),
        functions: module.policy.iter().filter_map(|rule| function(rule)).collect(),
        calls: BTreeMap::new(),
        current: String::new(),
    };
    let first = reader.package.split('.').next().unwrap_or_default().to_owned();
    if data.contains(&first) {
        let message = format!("`data.{first}` is the policy's own package: give the file of data another name");
        reader.refuse(module.package.refr.span(), message);
    }
    reader.imports(module);
    for rule in &module.policy {
        reader.rule(rule);
    }
    reader.recursion(module);
    reader.found
}

/// A function's name and how many arguments it takes.
fn function(rule: &Rule) -> Option<(String, usize)> {
    match rule {
        Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => Some((path(refr)?, args.len())),
        _ => None,
    }
}

struct Reader<'a> {
    source: &'a str,
    rules: HashSet<String>,
    package: String,
    data: &'a BTreeSet<String>,
    allowed: &'a dyn Fn(&str) -> bool,
    found: Findings,
    /// Function to how many arguments it takes.
    functions: BTreeMap<String, usize>,
    /// Rule to the rules it refers to.
    calls: BTreeMap<String, BTreeSet<String>>,
    current: String,
}

/// The local names in sight, innermost last, each with what it is to be called instead.
#[derive(Clone, Default)]
struct Scope(Vec<(String, Option<String>)>);

impl Scope {
    fn find(&self, name: &str) -> Option<Option<&str>> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, to)| to.as_deref())
    }
}

impl Reader<'_> {
    fn mistake(&mut self, span: &Span, kind: MistakeKind) {
        self.found.mistakes.push(Mistake { line: span.line, column: span.col, kind });
    }

    fn refuse(&mut self, span: &Span, message: impl Into<String>) {
        self.mistake(span, MistakeKind::Other(message.into()));
    }

    fn imports(&mut self, module: &Module) {
        for import in &module.imports {
            let name = path(&import.refr).unwrap_or_default();
            let known = name == "rego.v1"
                || name == "future.keywords"
                || name.starts_with("future.keywords.")
                || name == "input"
                || name.starts_with("input.");
            let of_data = name.strip_prefix("data.").map(|rest| rest.split('.').next().unwrap_or(rest));
            if !known && !of_data.is_some_and(|file| self.data.contains(file)) {
                let message = match of_data {
                    Some(file) => format!(
                        "policies stand alone: `import {name}` has nothing to import from, unless `{file}` is under `spec.data`"
                    ),
                    None => format!("policies stand alone: `import {name}` has nothing to import from"),
                };
                self.refuse(&import.span, message);
            }
        }
    }

    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Default { span, refr, args, value, .. } => {
                if !args.is_empty() {
                    self.refuse(
                        span,
                        "a default for a function is not supported: write the function so that it is total",
                    );
                }
                if !is_constant(value) {
                    self.refuse(value.span(), "the value of a default must be a constant");
                }
                root(refr).unwrap_or_default().clone_into(&mut self.current);
            }
            Rule::Spec { head, bodies, .. } => {
                root(head_ref(head)).unwrap_or_default().clone_into(&mut self.current);
                let most = if matches!(head, RuleHead::Compr { .. }) { 1 } else { 0 };
                if steps(head_ref(head)) > most {
                    let name = self.current.clone();
                    let message = format!(
                        "a rule's name of several parts is not supported: give `{name}` one value, elements (`{name} contains …`) or entries (`{name}[key] := …`)"
                    );
                    self.refuse(head_ref(head).span(), message);
                }
                self.spec(head, bodies);
            }
        }
    }

    fn spec(&mut self, head: &RuleHead, bodies: &[RuleBody]) {
        let mut outer = Scope::default();
        if let RuleHead::Func { args, .. } = head {
            for arg in args {
                self.pattern(arg, &mut outer);
            }
        }
        // The head is evaluated in the scope of the first body; `else` and further bodies bring their own value.
        let mut head_scope = outer.clone();
        for (n, body) in bodies.iter().enumerate() {
            let mut scope = outer.clone();
            self.query(&body.query, &mut scope);
            if let Some(assign) = &body.assign {
                self.expr(&assign.value, &mut scope.clone());
            }
            if n == 0 {
                head_scope = scope;
            }
        }
        self.head_path(head_ref(head), &mut head_scope);
        match head {
            RuleHead::Set { key: Some(key), .. } => self.expr(key, &mut head_scope),
            RuleHead::Set { key: None, .. } => {}
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                if let Some(assign) = assign {
                    self.expr(&assign.value, &mut head_scope);
                }
            }
        }
    }

    /// The brackets of a rule's own name: `counts[name] := …`
    fn head_path(&mut self, refr: &Expr, scope: &mut Scope) {
        match refr {
            Expr::RefDot { refr, .. } => self.head_path(refr, scope),
            Expr::RefBrack { refr, index, .. } => {
                self.head_path(refr, scope);
                self.expr(index, scope);
            }
            _ => {}
        }
    }

    fn query(&mut self, query: &Query, scope: &mut Scope) {
        for statement in &query.stmts {
            self.statement(statement, scope);
        }
    }

    fn statement(&mut self, statement: &LiteralStmt, scope: &mut Scope) {
        if let Some(with) = statement.with_mods.first() {
            self.refuse(&with.span, "`with` is not supported");
        }
        match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                for var in vars {
                    self.declare(var, scope);
                }
            }
            Literal::SomeIn { key, value, collection, .. } => {
                self.expr(collection, scope);
                for part in key.iter().chain([value]) {
                    self.pattern(part, scope);
                }
            }
            Literal::Expr { expr, .. } => {
                if let Some(span) = printing(expr) {
                    // Printing is for authors; on a server it has nowhere to go.
                    self.found.edits.push(Edit {
                        start: span.start as usize,
                        end: span.end as usize,
                        text: "true".to_owned(),
                    });
                } else {
                    self.expr(expr, scope);
                }
            }
            Literal::NotExpr { expr, .. } => self.expr(expr, &mut scope.clone()),
            Literal::Every { key, value, domain, query, .. } => {
                self.expr(domain, scope);
                let mut inner = scope.clone();
                for var in key.iter().chain([value]) {
                    self.declare(var, &mut inner);
                }
                self.query(query, &mut inner);
            }
        }
    }

    /// Everything that a pattern (left of `:=`, a function's argument, after `some`) names becomes local.
    fn pattern(&mut self, expr: &Expr, scope: &mut Scope) {
        match expr {
            Expr::Var { span, .. } => self.declare(span, scope),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                for item in items {
                    self.pattern(item, scope);
                }
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key, scope);
                    self.pattern(value, scope);
                }
            }
            other => self.expr(other, scope),
        }
    }

    /// A local variable. One that has the name of a rule is renamed: it is what the author means, and the engine
    /// cannot tell the two apart.
    fn declare(&mut self, span: &Span, scope: &mut Scope) {
        let name = span.text();
        if name == "_" || scope.find(name).is_some() {
            return;
        }
        let renamed = self.rules.contains(name).then(|| {
            let mut new = format!("{name}__local");
            while self.source.contains(&new) {
                new.push('_');
            }
            new
        });
        if let Some(new) = &renamed {
            self.rename(span, new.clone());
        }
        scope.0.push((name.to_owned(), renamed));
    }

    fn rename(&mut self, span: &Span, text: String) {
        self.found.edits.push(Edit { start: span.start as usize, end: span.end as usize, text });
    }

    fn expr(&mut self, expr: &Expr, scope: &mut Scope) {
        match expr {
            Expr::Var { span, .. } => self.name(span, scope),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr, scope),
            Expr::Call { fcn, params, .. } => {
                self.call(fcn, scope);
                let called = path(fcn).unwrap_or_default();
                let called = called.strip_prefix(&format!("data.{}.", self.package)).unwrap_or(&called);
                if let Some(takes) = self.functions.get(called).copied().filter(|takes| *takes != params.len()) {
                    let message = format!("`{called}` takes {takes} arguments, and is given {}", params.len());
                    self.refuse(fcn.span(), message);
                }
                for param in params {
                    self.expr(param, scope);
                }
            }
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
                self.expr(rhs, scope);
                self.pattern(lhs, scope);
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                let mut inner = scope.clone();
                self.query(query, &mut inner);
                self.expr(term, &mut inner);
            }
            Expr::ObjectCompr { span, key, value, query, .. } => {
                match conflicts::comprehension(span, (key, value, query), self.source) {
                    Some(edits) => self.found.edits.extend(edits),
                    None => self.refuse(span, "the object's comprehension cannot be read"),
                }
                let mut inner = scope.clone();
                self.query(query, &mut inner);
                self.expr(key, &mut inner);
                self.expr(value, &mut inner);
            }
            other => {
                for part in parts(other) {
                    self.expr(part, scope);
                }
            }
        }
    }

    fn name(&mut self, span: &Span, scope: &Scope) {
        let name = span.text();
        match scope.find(name) {
            Some(Some(new)) => self.rename(span, new.to_owned()),
            Some(None) => {}
            None => {
                if name == "data" {
                    let package = self.package_path();
                    let message = if self.data.is_empty() {
                        format!(
                            "`data` may only be used as `{package}.<rule>`: the policy has no files under `spec.data`"
                        )
                    } else {
                        let names: Vec<&str> = self.data.iter().map(String::as_str).collect();
                        format!(
                            "`data` may only be used as `{package}.<rule>` or `data.<name>`, of `{}`",
                            names.join("`, `")
                        )
                    };
                    self.refuse(span, message);
                } else if self.rules.contains(name) {
                    self.refers_to(name.to_owned());
                }
            }
        }
    }

    fn reference(&mut self, expr: &Expr, scope: &mut Scope) {
        let of_data = root(expr) == Some("data") && scope.find("data").is_none();
        let rule = of_data.then(|| self.own_rule(expr)).flatten();
        self.chain(expr, rule.is_some() || of_data && self.is_file_of_data(expr), scope);
        if let Some(rule) = rule {
            self.refers_to(rule);
        }
    }

    fn chain(&mut self, expr: &Expr, skip_root: bool, scope: &mut Scope) {
        match expr {
            Expr::RefDot { refr, .. } => self.chain(refr, skip_root, scope),
            Expr::RefBrack { refr, index, .. } => {
                self.chain(refr, skip_root, scope);
                self.expr(index, scope);
            }
            Expr::Var { .. } if skip_root => {}
            other => self.expr(other, scope),
        }
    }

    /// `data.<this package>.<rule>` is a rule of this module; `name` refuses any other use of `data`.
    fn own_rule(&self, expr: &Expr) -> Option<String> {
        let prefix = format!("{}.", self.package_path());
        let mut chain = Some(expr);
        while let Some(expr) = chain {
            let rule = path(expr).and_then(|path| path.strip_prefix(&prefix).map(str::to_owned));
            if let Some(rule) = rule.filter(|rule| self.rules.contains(rule)) {
                return Some(rule);
            }
            chain = match expr {
                Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => Some(refr),
                _ => None,
            };
        }
        None
    }

    /// Whether a chain begins with `data.<name>` of a file that the policy declares.
    fn is_file_of_data(&self, expr: &Expr) -> bool {
        let mut chain = Some(expr);
        while let Some(expr) = chain {
            if path(expr).and_then(|path| path.strip_prefix("data.").map(|name| self.data.contains(name))) == Some(true)
            {
                return true;
            }
            chain = match expr {
                Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => Some(refr),
                _ => None,
            };
        }
        false
    }

    fn package_path(&self) -> String {
        format!("data.{}", self.package)
    }

    fn refers_to(&mut self, rule: String) {
        self.calls.entry(self.current.clone()).or_default().insert(rule);
    }

    fn call(&mut self, fcn: &Expr, scope: &mut Scope) {
        let Some(name) = path(fcn) else {
            self.refuse(fcn.span(), "only functions can be called");
            return;
        };
        if self.rules.contains(&name) {
            self.refers_to(name);
        } else if name.starts_with("data.") {
            self.reference(fcn, scope);
        } else if !(self.allowed)(&name) {
            self.mistake(fcn.span(), MistakeKind::Builtin(name));
        }
    }

    /// Rego has no recursion; the engine finds it only when it runs.
    fn recursion(&mut self, module: &Module) {
        for rule in &module.policy {
            let (span, refr) = match rule.as_ref() {
                Rule::Spec { span, head, .. } => (span, head_ref(head)),
                Rule::Default { span, refr, .. } => (span, refr),
            };
            let Some(name) = root(refr).map(str::to_owned) else { continue };
            if self.reaches(&name) {
                self.refuse(span, format!("rule `{name}` refers to itself"));
                self.calls.remove(&name);
            }
        }
    }

    fn reaches(&self, start: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![start];
        while let Some(rule) = todo.pop() {
            for next in self.calls.get(rule).into_iter().flatten() {
                if next == start {
                    return true;
                }
                if seen.insert(next.as_str()) {
                    todo.push(next);
                }
            }
        }
        false
    }
}
