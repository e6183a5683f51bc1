//! The arguments of policies and of policy groups.

use std::collections::BTreeMap;

use crate::{
    Code, Finding, Origin,
    digest::shorten,
    policy::{
        PolicyInput,
        template::{self, Bindings},
    },
    yaml::{Issues, Spanned, nearest},
};

/// What takes arguments.
pub(super) struct Taker<'t> {
    /// `policy` or `policy group`.
    pub(super) what: &'static str,
    pub(super) name: &'t str,
    pub(super) inputs: &'t [PolicyInput],
}

/// The arguments: what is given, and else the defaults, none empty. In a group its inputs are put in.
pub(super) fn resolve(
    taker: &Taker<'_>,
    with: &BTreeMap<String, Spanned<String>>,
    bindings: Option<&Bindings>,
    origin: &Origin,
    issues: &mut Issues,
) -> BTreeMap<String, String> {
    let filled = |text: &str| !text.trim().is_empty();
    let mut arguments: BTreeMap<String, String> = with
        .iter()
        .filter(|(_, value)| filled(&value.value))
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect();
    if taker.inputs.is_empty() {
        return arguments;
    }
    let Taker { what, name: taker_name, inputs } = taker;
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    for (name, value) in with.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
        let message = format!("{what} `{taker_name}` takes no argument `{}`", shorten(name));
        let mend = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it takes {}", names.join(", ")),
        };
        issues.push(Finding::error(Code::DocumentUnknownKey, message).at(value.origin.clone()).mend(mend));
    }
    for input in inputs.iter() {
        if arguments.contains_key(&input.name) {
            continue;
        }
        let mut needed = input.required;
        if let Some(default) = input.default.as_deref().filter(|text| filled(text)) {
            match bindings.map(|bindings| template::fill(default, bindings)) {
                Some(Ok(text)) if filled(&text) => {
                    arguments.insert(input.name.clone(), text);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    issues.push(Finding::error(Code::DocumentInvalidValue, error.to_string()).at(input.origin.clone()));
                }
                // What only a group could put there is not there.
                None if template::is_template(default) => needed = true,
                None => {
                    arguments.insert(input.name.clone(), default.to_owned());
                }
            }
        }
        if needed {
            let message = format!("{what} `{taker_name}` needs the argument `{}`", input.name);
            let mend = format!("give it under `with`, as `{}: …`", input.name);
            issues.push(Finding::error(Code::DocumentMissingKey, message).at(origin.clone()).mend(mend));
        }
    }
    arguments
}
