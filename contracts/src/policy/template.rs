//! Places in the texts of a policy group where its inputs are put: `{{ inputs.NAME }}`.

use std::collections::BTreeMap;

use crate::digest::shorten;

/// What inputs are: their names with their values, which may be empty.
pub(crate) type Bindings = BTreeMap<String, String>;

/// Puts the inputs in. Other things between braces than the name of an input are an error, not text: the published
/// templates would do something with them.
pub(crate) fn fill(text: &str, bindings: &Bindings) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part? {
            Part::Text(text) => filled.push_str(text),
            Part::Input(name) => match bindings.get(name) {
                Some(value) => filled.push_str(value),
                None => return Err(TemplateError::Unknown { name: shorten(name) }),
            },
        }
    }
    Ok(filled)
}

/// Whether the text can be filled at all.
pub(crate) fn check(text: &str) -> Result<(), TemplateError> {
    parts(text).try_for_each(|part| part.map(|_| ()))
}

/// Whether there is a place for an input.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

enum Part<'t> {
    Text(&'t str),
    Input(&'t str),
}

fn parts(text: &str) -> impl Iterator<Item = Result<Part<'_>, TemplateError>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(begins) = rest.find("{{") else { return Some(Ok(Part::Text(std::mem::take(&mut rest)))) };
        if begins > 0 {
            let (text, after) = rest.split_at(begins);
            rest = after;
            return Some(Ok(Part::Text(text)));
        }
        let place = std::mem::take(&mut rest);
        let Some((inner, after)) = place.get(2..).and_then(|inner| inner.split_once("}}")) else {
            return Some(Err(TemplateError::Open));
        };
        rest = after;
        let name = inner.trim();
        let name = name.strip_prefix('.').unwrap_or(name).strip_prefix("inputs.");
        let word = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        Some(match name.filter(word) {
            Some(name) => Ok(Part::Input(name)),
            None => Err(TemplateError::Other { text: shorten(inner.trim()) }),
        })
    })
}

/// Why inputs cannot be put into a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("`{{{{` has no `}}}}`: write `{{{{ inputs.NAME }}}}`")]
    Open,
    #[error("`{{{{ {text} }}}}` is not an input: only `{{{{ inputs.NAME }}}}` is read between braces")]
    Other { text: String },
    #[error("there is no input `{name}` to put here")]
    Unknown { name: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_put_where_they_are_named_and_nothing_else_is_read() {
        let bindings = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b_2".to_owned(), String::new())]);
        let fill = |text: &str| fill(text, &bindings).map_err(|error| error.to_string());
        for (text, filled) in [
            ("", ""),
            ("plain } text", "plain } text"),
            ("{{inputs.a}}@{{ .inputs.a }}", "1@1"),
            ("x{{ inputs.b_2 }}y", "xy"),
        ] {
            assert_eq!(fill(text), Ok(filled.to_owned()), "{text}");
        }
        for bad in ["{{ a }}", "{{ inputs.c }}", "{{ inputs.a", "{{ if inputs.a }}", "{{ inputs. }}", "{{}}"] {
            assert!(fill(bad).is_err(), "{bad}");
        }
    }

    /// What an input holds is never read as a place for another one.
    #[test]
    fn values_are_not_templates() {
        let bindings =
            BTreeMap::from([("a".to_owned(), "{{ inputs.secret }}".to_owned()), ("secret".to_owned(), "s".to_owned())]);
        assert_eq!(fill("{{ inputs.a }}", &bindings), Ok("{{ inputs.secret }}".to_owned()));
    }
}
