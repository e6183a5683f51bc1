//! What the documentation shows runs.

use contracts::Code;
use testdata::Material;

use crate::support::*;

const PAGE: &str = include_str!("../../../docs/contract.md");
const POLICIES: &str = include_str!("../../../docs/policy.md");

fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let opens = format!("```{language}\n");
    page.split(opens.as_str()).skip(1).filter_map(|block| block.split("```").next()).collect()
}

#[test]
fn its_conditions_compile_and_those_it_calls_hopeless_do_not() {
    let spec = |cel: &str| {
        format!(
            "admission:\n  repositories: ['r.dev/**']\n  rules:\n  - name: mine\n    message: m\n    cel: |\n      {cel}"
        )
    };
    let conditions: Vec<&str> = blocks(PAGE, "cel").into_iter().flat_map(str::lines).collect();
    assert!(conditions.len() >= 6, "{conditions:?}");
    for cel in conditions {
        rules(&spec(cel), &[]);
    }
    for cel in ["1 + 1", "age < 5", "subject.nope == 1", "1 == 1"] {
        assert!(PAGE.contains(&format!("`{cel}`")) && compiled(&spec(cel), &[]).is_err(), "{cel}");
    }
}

#[test]
fn its_script_finds_what_it_names() {
    let scripts = blocks(POLICIES, "rego");
    assert_eq!(scripts.len(), 1);
    let file = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec: {policies: [{kind: SBOM_CYCLONEDX_JSON, path: p.rego}]}";
    let material = Material::cyclonedx("sbom", &testdata::cyclonedx(3));
    for (names, expected) in [
        ("library-2", denied(Code::PolicyViolation)),
        ("other, library-2", denied(Code::PolicyViolation)),
        ("other, another", allowed()),
    ] {
        let spec = format!(
            "materials: [{{name: sbom, type: SBOM_CYCLONEDX_JSON}}]\npolicies: {{materials: [{{ref: 'file://p.yaml', gate: true, with: {{names: '{names}'}}}}]}}"
        );
        let rules = rules(&spec, &[("p.yaml", file), ("p.rego", scripts[0])]);
        assert_eq!(told(&ask(&rules, &evidence(std::slice::from_ref(&material)))), expected, "{names}");
    }
}
