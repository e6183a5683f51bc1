//! The JSON Schemas for editors take what the readers take, and notice what a schema can.

use std::{fs, path::Path};

use contracts::{schema, yaml};
use jsonschema::Validator;
use policies::library;
use serde_json::Value;

use crate::shelf;

fn validator(schema: &str) -> Validator {
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

fn json(text: &str) -> Value {
    yaml::parse("document", text.as_bytes()).unwrap().to_json().unwrap()
}

fn mistakes(validator: &Validator, text: &str) -> Vec<String> {
    validator.iter_errors(&json(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn shipped_policies_and_their_cases_fit() {
    let (policies, cases) = (validator(schema::POLICY), validator(schema::POLICY_TEST));
    for shipped in library::ALL {
        assert_eq!(mistakes(&policies, shipped.text), [""; 0], "{}", shipped.name);
        let text = fs::read_to_string(shelf::folder().join(format!("{}.test.yaml", shipped.name))).unwrap();
        assert_eq!(mistakes(&cases, &text), [""; 0], "{}", shipped.name);
    }
    let first = library::ALL[0].text;
    for (right, wrong) in [("kind: Policy", "kind: Polic"), ("metadata:", "metadata1:"), ("  policies:", "  polices:")]
    {
        assert_ne!(mistakes(&policies, &first.replace(right, wrong)), [""; 0], "{wrong}");
    }
    assert_ne!(mistakes(&cases, "tests: [{name: a, input: {}, expect: {decision: pass}}]"), [""; 0]);
}

#[test]
fn example_contracts_fit() {
    let contracts = validator(schema::CONTRACT);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/contracts");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(mistakes(&contracts, &text), [""; 0], "{}", path.display());
        seen += 1;
    }
    let valid = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/language/valid");
    for entry in fs::read_dir(&valid).unwrap() {
        for name in ["contract.yaml", "contract.json"] {
            let path = entry.as_ref().unwrap().path().join(name);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            assert_eq!(mistakes(&contracts, &text), [""; 0], "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10);
    let wrong = "schemaVersion: v1\nmaterials: [{name: a, type: SBOM}]";
    assert_ne!(mistakes(&contracts, wrong), [""; 0]);
}
