//! Policies in CEL. One expression: a condition that must come out true, or a list of violations, as texts or as maps
//! with a `message`, as policies in Rego return them.

use std::{sync::Arc, time::Instant};

use cel::Context;
use contracts::{Finding, FindingType, Origin};
use regorus::Value;

use super::{ENV, Expression, Written, compile_within, document, timestamp};
use crate::{
    evidence::{object, value_from},
    policy::{Answer, Asked, RunError},
    rego::{Violation, read_answer, shorten},
};

/// What the expression may refer to.
pub(super) const VARIABLES: &[&str] = &["input", "data", "now"];

/// One CEL script, compiled, with its data.
#[derive(Debug)]
pub(crate) struct Script {
    expression: Expression,
    data: Value,
    message: Option<String>,
    origin: Origin,
}

impl Script {
    /// Compiles a script. `data` is an object, of what it reads as `data.<name>`; `message` is what to say when its
    /// condition is not true.
    ///
    /// # Errors
    /// Every mistake, each at its place.
    pub(crate) fn compile(
        source: &str,
        origin: &Origin,
        data: &Value,
        message: Option<&str>,
    ) -> Result<Self, Vec<Finding>> {
        let expression = compile_within(source, origin, Written::Policy, String::new())?;
        Ok(Self { expression, data: data.clone(), message: message.map(str::to_owned), origin: origin.clone() })
    }

    pub(crate) fn reads_now(&self) -> bool {
        self.expression.refers_to(&["now"])
    }

    /// Where its first line stands.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) const fn data(&self) -> &Value {
        &self.data
    }

    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Runs the script of a policy of this name.
    ///
    /// # Errors
    /// When it gave no answer of the right shape within its budget and before the deadline.
    pub(crate) fn run(
        &self,
        asked: &Asked<'_>,
        policy: &str,
        findings: Option<FindingType>,
        deadline: Instant,
    ) -> Result<Answer, RunError> {
        self.answer(asked, deadline, |value| match value {
            cel::Value::Bool(true) => Ok(Answer { violations: Vec::new(), more: 0, skipped: None, ignore: false }),
            cel::Value::Bool(false) => {
                let message = match &self.message {
                    Some(message) => shorten(message),
                    None => format!("policy `{policy}` is not satisfied"),
                };
                let violation = Violation { message, suppressed: false, details: None };
                Ok(Answer { violations: vec![violation], more: 0, skipped: None, ignore: false })
            }
            cel::Value::List(_) => {
                let shape = || RunError::Shape("its list has something in it that is no violation".to_owned());
                let listed = value_from(&value.json().map_err(|_| shape())?);
                read_answer(&object([("violations", listed)]), findings).map_err(RunError::Shape)
            }
            _ => Err(RunError::Shape("it is neither true, false nor a list of violations".to_owned())),
        })
    }

    /// What the expression comes out as.
    ///
    /// # Errors
    /// When it failed, or was not finished within its budget and before the deadline.
    pub(crate) fn result(&self, asked: &Asked<'_>, deadline: Instant) -> Result<Value, RunError> {
        self.answer(asked, deadline, |value| {
            let json = value.json().map_err(|_| RunError::Shape("it comes out as no JSON".to_owned()))?;
            Ok(value_from(&json))
        })
    }

    fn answer<T>(
        &self,
        asked: &Asked<'_>,
        deadline: Instant,
        read: impl Fn(&cel::Value) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_as_val("input", document::view(&asked.input));
        context.add_variable_as_val("data", document::view(&self.data));
        context.add_variable_as_val("now", timestamp(asked.now));
        self.expression.answer(&context, deadline, read)
    }
}
