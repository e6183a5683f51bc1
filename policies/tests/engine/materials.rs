//! Policies of every type of material, on a sample of each.

use std::fmt::Write as _;

use contracts::MaterialType;
use testdata::Material;

use crate::support::*;

/// Tells the keys that it sees, so that it finds something whenever it is evaluated.
const BODY: &str = r#"known := {"args", "chainloop_metadata"}
violations contains concat(" ", sort([key | some key; input[key]; not key in known])) if input.chainloop_metadata"#;

#[test]
fn a_policy_of_each_type_is_evaluated_on_what_materials_of_it_are() {
    let mut all = String::new();
    for kind in MaterialType::ALL {
        let samples = testdata::samples(*kind);
        let Some(sample) = samples.iter().rfind(|sample| sample.is_valid() && !sample.bytes.is_empty()) else {
            writeln!(all, "{kind} has no sample").unwrap();
            continue;
        };
        let material = match (kind, std::str::from_utf8(&sample.bytes)) {
            (MaterialType::String, Ok(text)) => Material::string("it", text),
            _ => Material::file("it", *kind, &sample.name, &sample.bytes),
        };
        let spec = format!(
            "materials: [{{name: it, type: {kind}}}]\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: true}}]}}"
        );
        let text = policy("sees", kind.as_str(), BODY);
        let answer = ask(&rules(&spec, &[("p.yaml", &text)]), &evidence(&[material]));
        let found: Vec<String> = answer.findings.iter().map(|f| format!("{} `{}`", f.code, f.message)).collect();
        writeln!(all, "{kind} {}: {}", sample.name, found.join("; ")).unwrap();
    }
    insta::assert_snapshot!(all);
}
