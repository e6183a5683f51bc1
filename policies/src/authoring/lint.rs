//! Every mistake in a policy at once, and what it says less clearly than it could.

use std::collections::BTreeMap;

use contracts::{
    Diagnostics, Finding, MaterialType, Origin,
    policy::{PolicyInput, ScriptLanguage, ScriptSource},
};

use super::files::PolicyFiles;
use crate::rego;

/// What is wrong with a policy (errors: it does not compile) and what could be clearer (warnings), in the order of the
/// lines.
#[must_use]
pub fn lint(policy: &PolicyFiles) -> Vec<Finding> {
    let document = policy.document();
    // Whatever is required is there, as it would be where the policy is attached.
    let required = |input: &&PolicyInput| input.required;
    let with: BTreeMap<String, String> =
        document.inputs.iter().filter(required).map(|input| (input.name.clone(), "x".to_owned())).collect();
    let mut kinds = policy.kinds();
    if kinds.is_empty() {
        kinds.push(MaterialType::Evidence);
    }
    let mut findings: Vec<Finding> = Vec::new();
    for kind in kinds {
        if let Err(Diagnostics(found)) = policy.compile(kind, &with) {
            findings.extend(found);
        }
    }
    for script in document.scripts.iter().filter(|script| script.language == ScriptLanguage::Rego) {
        let (source, origin) = match &script.source {
            ScriptSource::Inline { text, origin } => (text.as_str(), origin.clone()),
            ScriptSource::File(file) => {
                let Some(text) = policy.files().get(&file.path) else { continue };
                (text.as_str(), Origin { file: file.path.clone(), line: 1, column: 1 })
            }
        };
        findings.extend(rego::style(source, &origin));
    }
    findings.sort_by(|a, b| a.origin.cmp(&b.origin));
    findings.dedup();
    findings
}
