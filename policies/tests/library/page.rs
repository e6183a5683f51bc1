//! docs/library.md says what is shipped.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use policies::library;

use crate::shelf;

const HEAD: &str = "\
# The policy library

Policies that are shipped with `sluice`, each with its test cases in
[policies/library](../policies/library). Attach one by name, as its example shows, or print it with
`sluice policy show NAME` and keep it next to the contract. `sluice policy eval NAME` asks one right away.

A policy without `gate: true` only warns.
";

const CATEGORIES: &[(&str, &str)] = &[
    ("sbom", "What is inside: SBOMs"),
    ("vulnerabilities", "Vulnerabilities"),
    ("code", "Code, secrets and tests"),
    ("source", "Source and review"),
    ("images", "Images"),
    ("provenance", "Provenance"),
    ("attestation", "The attestation itself"),
];

#[test]
fn the_page_tells_what_is_shipped() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/library.md");
    let page = page();
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/library.md is not what is shipped: run this test with SLUICE_WRITE_DOCS=1");
}

fn page() -> String {
    let mut by_category: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for shipped in library::ALL {
        let category = shelf::policy(shipped.name, shipped.text).document().annotations["category"].clone();
        by_category.entry(category).or_default().push(section(shipped));
    }
    let mut page = HEAD.to_owned();
    for (category, title) in CATEGORIES {
        let _ = write!(page, "\n## {title}\n");
        by_category.remove(*category).unwrap_or_default().iter().for_each(|section| page.push_str(section));
    }
    assert!(by_category.is_empty(), "categories without a heading: {:?}", by_category.keys());
    page
}

fn section(shipped: &library::Shipped) -> String {
    let policy = shelf::policy(shipped.name, shipped.text);
    let document = policy.document();
    let kinds: Vec<String> = policy.kinds().iter().map(|kind| format!("`{kind}`")).collect();
    let (description, version) = (document.description.clone().unwrap(), &document.annotations["version"]);
    let mut text =
        format!("\n### {}\n\n{description}. Reads {}; version {version}.\n", document.name, kinds.join(", "));
    if !document.inputs.is_empty() {
        text.push_str("\n| Input | | Default |\n| --- | --- | --- |\n");
    }
    for input in &document.inputs {
        let default = match (&input.default, input.required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let about = input.description.clone().unwrap_or_default().replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {about} | {default} |", input.name);
    }
    let on = if kinds.iter().any(|kind| kind == "`ATTESTATION`") { "attestation" } else { "materials" };
    let _ = write!(text, "\n```yaml\npolicies:\n  {on}:\n    - ref: sluice://{}\n      gate: true\n", document.name);
    if let Some(example) = document.annotations.get("example") {
        text.push_str("      with:\n");
        example.lines().for_each(|line| {
            let _ = writeln!(text, "        {line}");
        });
    }
    text.push_str("```\n");
    text
}
