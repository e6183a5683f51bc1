//! Functions of the host: what policies written for Chainloop may ask of it. The machine stops at each call, and goes
//! on with the answer.

use regorus::Value;

use super::{RunError, builtins};
use crate::{
    discover,
    evidence::{Evidence, object},
};

/// The functions, with how many arguments they take.
pub(super) const FUNCTIONS: &[(&str, usize)] = &[(DISCOVER, 2), (VULNERABILITY, 4)];

const DISCOVER: &str = "chainloop.discover";
const VULNERABILITY: &str = "chainloop.vulnerability";

/// What a call answers. Its arguments come as a list.
pub(super) fn answer(name: &str, arguments: &Value, evidence: &Evidence) -> Result<Value, RunError> {
    let failed = |why: String| RunError::Error(super::shorten(&format!("`{name}` failed: {why}")));
    let Value::Array(arguments) = arguments else { return Err(failed("it has no arguments".to_owned())) };
    if arguments.iter().any(|argument| !matches!(argument, Value::String(_))) {
        return Err(failed("its arguments are texts".to_owned()));
    }
    let answer = match (name, arguments.as_slice()) {
        (DISCOVER, [Value::String(digest), Value::String(kind)]) => {
            discover::discover(evidence, digest, kind).map_err(failed)?
        }
        (VULNERABILITY, [message, id, purl, severity]) => object([
            ("message", message.clone()),
            ("external_id", id.clone()),
            ("package_purl", purl.clone()),
            ("severity", severity.clone()),
        ]),
        _ => return Err(failed("it is not a function of the host".to_owned())),
    };
    builtins::produced(&answer).map_err(RunError::Budget)?;
    Ok(answer)
}

/// Whether it is a function of the host.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}
