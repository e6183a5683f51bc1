//! Every shipped policy does what its cases say, and its cases reach every line of it.

use std::collections::BTreeMap;

use contracts::yaml;
use policies::{
    authoring::{Coverage, run_case},
    library,
};

use crate::shelf;

#[test]
fn no_policy_of_the_folder_is_missing_in_the_table_or_lacks_cases() {
    let listed: Vec<&str> = library::ALL.iter().map(|policy| policy.name).collect();
    let cases = shelf::names(".test.yaml");
    let mut lying = shelf::names(".yaml");
    lying.retain(|name| !name.ends_with(".test"));
    assert_eq!(listed, lying, "library.rs lists what lies in library/, in order");
    assert_eq!(listed, cases, "every policy has a file of cases");
}

#[test]
fn every_policy_says_what_it_is_and_how_it_is_attached() {
    for shipped in library::ALL {
        let policy = shelf::policy(shipped.name, shipped.text);
        let document = policy.document();
        assert_eq!(document.name, shipped.name);
        assert!(document.description.as_ref().is_some_and(|text| text.len() > 20), "{}", shipped.name);
        let version = document.annotations.get("version").unwrap_or_else(|| panic!("{}: no version", shipped.name));
        assert_eq!(version.split('.').filter(|part| part.parse::<u16>().is_ok()).count(), 3, "{version}");
        assert!(document.annotations.contains_key("category"), "{}", shipped.name);
        assert!(document.inputs.iter().all(|input| input.description.is_some()), "{}", shipped.name);
        // The example gives what is required and nothing that there is not.
        let example = document.annotations.get("example").map(String::as_str).unwrap_or("{}");
        let node = yaml::parse("example", example.as_bytes()).unwrap();
        let text = |node: &yaml::Node| node.scalar().unwrap().text.clone();
        let with: BTreeMap<String, String> =
            node.entries().unwrap().iter().map(|entry| (entry.key.clone(), text(&entry.value))).collect();
        assert_eq!(with.is_empty(), document.inputs.is_empty(), "{}: an example shows the inputs", shipped.name);
        for kind in policy.kinds() {
            policy.compile(kind, &with).unwrap_or_else(|mistakes| panic!("{}: {mistakes}", shipped.name));
        }
    }
}

#[test]
fn the_cases_of_every_policy_pass_and_reach_each_of_its_lines() {
    let mut wrong = Vec::new();
    for shipped in library::ALL {
        let policy = shelf::policy(shipped.name, shipped.text);
        let mut coverage = Coverage::default();
        let mut decisions = Vec::new();
        for (case, bytes, name) in shelf::cases(shipped) {
            let result = run_case(&policy, &case, &bytes, name.as_deref(), true);
            wrong.extend(result.failures.iter().map(|why| format!("{}: {}: {why}", shipped.name, case.name)));
            if let Some(asked) = &result.asked {
                coverage.add(asked);
                decisions.push(asked.decision);
            }
        }
        for (file, lines) in coverage.files() {
            wrong.extend(lines.missed.iter().map(|line| format!("{file}:{line} is reached by no case")));
        }
        let (reached, _) = coverage.total();
        if reached <= 3 {
            wrong.push(format!("{}: no line was looked at", shipped.name));
        }
        for decision in [contracts::Decision::Allow, contracts::Decision::Deny] {
            if !decisions.contains(&decision) {
                wrong.push(format!("{}: no case with {decision:?}", shipped.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
