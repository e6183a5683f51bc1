//! What a script says less clearly than it could. Nothing here keeps it from compiling.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Code, Finding, Origin, yaml};
use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Rule, RuleBody, RuleHead, Span};

use super::{
    builtins,
    expressions::{head_ref, parts, path, root},
    finding, parse_as,
};

/// The names that whoever runs a script looks at; everything else is there for one of these.
const ANSWERS: [&str; 7] = ["result", "violations", "findings", "skipped", "skip_reason", "ignore", "valid_input"];

/// What every script is about.
const VIOLATIONS: &str = "violations";
/// What other programs call it.
const ELSEWHERE: [&str; 2] = ["deny", "warn"];

/// Warnings about a script; none for one that cannot be parsed, as that is told elsewhere.
pub(crate) fn style(source: &str, origin: &Origin) -> Vec<Finding> {
    let v0_first = source.contains("import future.keywords");
    let parsed = [v0_first, !v0_first].into_iter().find_map(|v0| parse_as(source, v0).ok());
    let Some(module) = parsed.and_then(|mut engine| engine.get_modules().first().cloned()) else { return Vec::new() };
    let mut told = Told { origin, findings: Vec::new() };
    if !module.imports.iter().any(|import| path(&import.refr).as_deref() == Some("rego.v1")) {
        let message = "the script does not say that it is written in today's Rego";
        let old = parse_as(source, false).is_err();
        let mend = match old {
            true => {
                "write `import rego.v1` below the package, and every rule as it wants them: \
                 `violations contains message if { … }` in place of `violations[message] { … }`"
            }
            false => "write `import rego.v1` below the package",
        };
        told.at(1, 1, Code::PolicyImport, message, mend);
    }
    let mut uses = Vec::new();
    let gives = module.policy.iter().any(|rule| rule_name(rule).as_deref() == Some(VIOLATIONS));
    for rule in &module.policy {
        let mut read = Names::default();
        read.rule(rule);
        told.rule(rule, &read);
        if !gives && read.all.contains_key(VIOLATIONS) && !read.declared.contains_key(VIOLATIONS) {
            told.never_any(rule);
        }
        uses.push((rule_name(rule), read.all.into_keys().chain(read.fields).collect::<BTreeSet<_>>()));
    }
    told.unreachable(&module, &uses);
    told.findings.sort_by(|a, b| a.origin.cmp(&b.origin));
    told.findings
}

struct Told<'o> {
    origin: &'o Origin,
    findings: Vec<Finding>,
}

impl Told<'_> {
    fn at(&mut self, line: u32, column: u32, code: Code, message: impl Into<String>, mend: impl Into<String>) {
        let found = finding(self.origin, line, column, code, message);
        self.findings.push(Finding { severity: contracts::Severity::Warning, ..found }.mend(mend));
    }

    fn rule(&mut self, rule: &Rule, read: &Names) {
        for (name, span) in &read.declared {
            if read.all.get(name) == Some(&1) && !name.starts_with('_') {
                let message = format!("`{name}` is set and never used");
                self.at(span.line, span.col, Code::PolicyUnused, message, "leave it out, or write `_` in its place");
            }
            self.shadowed(name, span);
        }
        for span in &read.never {
            let message = "this is never true, so what it belongs to never applies";
            self.at(span.line, span.col, Code::PolicyUnreachable, message, "leave it out");
        }
        let Rule::Spec { head, span, .. } = rule else { return };
        if let Some(name) = rule_name(rule) {
            self.shadowed(&name, span);
        }
        if let RuleHead::Compr { refr, .. } = head
            && path(refr).as_deref() == Some("violations")
        {
            let message = "`violations` is one value here, so that a second rule for it would contradict this one";
            self.at(span.line, span.col, Code::PolicyOneValue, message, "write `violations contains message if { … }`");
        }
    }

    /// A rule reads `violations`, and none gives any. They are none then, as in Chainloop.
    fn never_any(&mut self, rule: &Rule) {
        let (Rule::Spec { span, .. } | Rule::Default { span, .. }) = rule;
        let message =
            "`violations` is read here and no rule gives any, so there never is one: the policy could never fail";
        self.at(span.line, span.col, Code::PolicyUnreachable, message, "write `violations contains message if { … }`");
    }

    fn shadowed(&mut self, name: &str, span: &Span) {
        if builtins::is_allowed(name) && name != "set" {
            let message = format!("`{name}` is also a function of Rego, which is out of reach where this is in sight");
            self.at(span.line, span.col, Code::PolicyShadows, message, "call it something else");
        }
    }

    fn unreachable(&mut self, module: &Module, uses: &[(Option<String>, BTreeSet<String>)]) {
        let mut reached: BTreeSet<&str> = ANSWERS.into_iter().collect();
        loop {
            let before = reached.len();
            for (name, used) in uses {
                if name.as_deref().is_some_and(|name| reached.contains(name)) {
                    reached.extend(used.iter().map(String::as_str));
                }
            }
            if reached.len() == before {
                break;
            }
        }
        let mut told = BTreeSet::new();
        for (rule, (name, _)) in module.policy.iter().zip(uses) {
            let Some(name) = name.as_deref().filter(|name| !reached.contains(name)) else { continue };
            if told.insert(name) {
                let (Rule::Spec { span, .. } | Rule::Default { span, .. }) = rule.as_ref();
                let message = format!("nothing that is answered depends on `{name}`");
                let mend = match meant(name) {
                    Some(meant) => format!("did you mean `{meant}`? Else use it, or leave it out"),
                    None => "use it, or leave it out".to_owned(),
                };
                self.at(span.line, span.col, Code::PolicyUnreachable, message, mend);
            }
        }
    }
}

/// The name that is looked at which was meant by one that is not.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    if ELSEWHERE.contains(&name) { Some(VIOLATIONS) } else { yaml::nearest(name, &ANSWERS) }
}

fn rule_name(rule: &Rule) -> Option<String> {
    let refr = match rule {
        Rule::Spec { head, .. } => head_ref(head),
        Rule::Default { refr, .. } => refr,
    };
    root(refr).map(ToOwned::to_owned)
}

/// The names that a rule writes.
#[derive(Default)]
struct Names {
    /// How often each is written, where it is set included. The rule's own name is not counted.
    all: BTreeMap<String, usize>,
    /// The fields that are looked up: `data.package.rule` names a rule.
    fields: BTreeSet<String>,
    /// Those set by `:=` or `some`, each where it is first.
    declared: BTreeMap<String, Span>,
    /// Conditions that are written as `false`.
    never: Vec<Span>,
}

impl Names {
    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Default { value, .. } => self.expr(value),
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        self.brackets(refr);
                        assign.iter().for_each(|assign| self.expr(&assign.value));
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.brackets(refr);
                        key.iter().for_each(|key| self.expr(key));
                    }
                    RuleHead::Func { args, assign, .. } => {
                        args.iter().for_each(|arg| self.expr(arg));
                        assign.iter().for_each(|assign| self.expr(&assign.value));
                    }
                }
                bodies.iter().for_each(|body| self.body(body));
            }
        }
    }

    /// The brackets of the rule's own name.
    fn brackets(&mut self, refr: &Expr) {
        match refr {
            Expr::RefDot { refr, .. } => self.brackets(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.brackets(refr);
                self.expr(index);
            }
            _ => {}
        }
    }

    fn body(&mut self, body: &RuleBody) {
        body.assign.iter().for_each(|assign| self.expr(&assign.value));
        self.query(&body.query);
    }

    fn query(&mut self, query: &Query) {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { vars, .. } => vars.iter().for_each(|var| self.declare(var)),
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().chain([value]).for_each(|part| self.pattern(part));
                    self.expr(collection);
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                    if let (Expr::Bool { span, .. }, Literal::Expr { .. }) = (expr.as_ref(), &statement.literal)
                        && span.text() == "false"
                    {
                        self.never.push(span.clone());
                    }
                    self.expr(expr);
                }
                Literal::Every { key, value, domain, query, .. } => {
                    key.iter().chain([value]).for_each(|var| self.declare(var));
                    self.expr(domain);
                    self.query(query);
                }
            }
        }
    }

    fn declare(&mut self, span: &Span) {
        let name = span.text().to_owned();
        *self.all.entry(name.clone()).or_default() += 1;
        self.declared.entry(name).or_insert_with(|| span.clone());
    }

    fn pattern(&mut self, expr: &Expr) {
        match expr {
            Expr::Var { span, .. } => self.declare(span),
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.pattern(item)),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.pattern(value);
                }
            }
            other => self.expr(other),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Var { span, .. } => *self.all.entry(span.text().to_owned()).or_default() += 1,
            Expr::RefDot { refr, field, .. } => {
                self.fields.insert(field.0.text().to_owned());
                self.expr(refr);
            }
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr);
                self.expr(index);
            }
            Expr::Call { fcn, params, .. } => {
                self.expr(fcn);
                params.iter().for_each(|param| self.expr(param));
            }
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
                self.pattern(lhs);
                self.expr(rhs);
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query);
                self.expr(term);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.query(query);
                self.expr(key);
                self.expr(value);
            }
            other => parts(other).into_iter().for_each(|part| self.expr(part)),
        }
    }
}
