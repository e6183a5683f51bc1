//! The documents of the corpus held against the list of all fields: what each schema knows is used by a document that
//! is right, and told of in the report about one that is wrong; and what the readers know is what the schemas know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use contracts::{
    Code, Diagnostics, Finding, FindingType, MaterialType,
    cases::PolicyCases,
    contract::{self, Contract},
    policy::{self, PolicyDocument, PolicyGroupDocument},
    runners::Runner,
    yaml::Node,
};
use serde_json::Value;

use crate::{
    corpus::{cases, document, entries, kind_of, lint},
    schemas::{Field, KINDS, Map, Schemas, Use},
};

/// Keys that a reader knows only to say that they are wrong there, or say nothing, and that no schema offers.
const NOT_OFFERED: [(&str, &str, &str); 6] = [
    ("contract/1", "signers", "a contract of the legacy shape has no `signers`"),
    ("contract/1", "admission", "a contract of the legacy shape has no `admission`"),
    ("contract/$policies/attestation[]", "selector", "a policy on the attestation selects no material"),
    ("contract/$metadata", "findingType", "`findingType` says nothing here"),
    ("policy-group/metadata", "findingType", "`findingType` says nothing here"),
    ("policy-group/$attachment", "selector", "a `selector` says nothing in a group"),
];

/// The documents of a case that have a schema, wherever in its folder they lie.
fn documents(case: &Path) -> Vec<(String, &'static str, Node)> {
    let mut folders = vec![PathBuf::new()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(case.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            let name = path.to_str().unwrap().to_owned();
            if case.join(&path).is_dir() {
                folders.push(path);
            } else if let Some(kind) = kind_of(case, &name) {
                found.extend(document(case, &name).map(|node| (name, kind, node)));
            }
        }
    }
    found.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    found
}

fn valid_documents() -> Vec<(String, &'static str, Node)> {
    cases("valid").iter().flat_map(|case| documents(case)).collect()
}

/// Whether a text has this in it as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(|c| part(c) && c != '.'))
}

/// Whether a finding in the same file is about this use of a field, and so whoever reads it is led there.
fn is_about(finding: &Finding, used: &Use) -> bool {
    let Some(origin) = &finding.origin else { return false };
    let here = |place: &contracts::yaml::Place| (place.line, place.column) == (origin.line, origin.column);
    let text = format!("{} {}", finding.message, finding.mend.as_deref().unwrap_or_default());
    let named = || [used.key.clone(), first_spelling(&used.key)].iter().any(|key| text.contains(&format!("`{key}`")));
    used.of_values.iter().any(here) || used.around.iter().any(here) && named()
}

/// What is told about the invalid cases: the fields that findings are about, with what each says.
fn told(schemas: &Schemas, fields: &BTreeSet<Field>) -> BTreeMap<String, String> {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for case in cases("invalid") {
        let findings: Vec<Finding> = entries(&case).iter().flat_map(|entry| lint(&case, entry).0).collect();
        for (name, kind, node) in documents(&case) {
            let (uses, maps) = schemas.read(kind, &node);
            let of_file = |finding: &&Finding| finding.origin.as_ref().is_some_and(|origin| origin.file == name);
            for finding in findings.iter().filter(of_file) {
                let text = format!("{} {}\n", finding.message, finding.mend.as_deref().unwrap_or_default());
                for used in uses.iter().filter(|used| is_about(finding, used)) {
                    *told.entry(used.at.clone()).or_default() += &text;
                }
                for at in missing(finding, &maps, fields) {
                    *told.entry(at).or_default() += &text;
                }
            }
        }
    }
    told
}

/// The fields that a finding says are not there.
fn missing(finding: &Finding, maps: &[Map], fields: &BTreeSet<Field>) -> Vec<String> {
    let Some(origin) = finding.origin.as_ref().filter(|_| finding.code == Code::DocumentMissingKey) else {
        return Vec::new();
    };
    let here = |map: &&Map| (map.place.line, map.place.column) == (origin.line, origin.column);
    let named = |field: &&Field| finding.message.contains(&format!("needs `{}`", field.key));
    let maps = maps.iter().filter(here);
    maps.flat_map(|map| fields.iter().filter(|field| field.map == map.at).filter(named)).map(Field::at).collect()
}

#[test]
fn every_field_and_value_is_in_a_valid_document_and_in_a_report_about_an_invalid_one() {
    let schemas = Schemas::load();
    let fields = schemas.fields();
    assert!(fields.len() > 150, "only {} fields", fields.len());
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, kind, node) in valid_documents() {
        for one in schemas.read(kind, &node).0 {
            used.entry(one.at).or_default().extend(one.values);
        }
    }
    let told = told(&schemas, &fields);
    let mut lacking = BTreeSet::new();
    for field in &fields {
        let at = field.at();
        if !used.contains_key(&at) {
            lacking.insert(format!("valid   {at}"));
        }
        if !told.contains_key(&at) {
            lacking.insert(format!("invalid {at}"));
        }
        // The other spelling of a key takes what the key does, and fields may share a list.
        let sharing = || fields.iter().filter(|other| other.list == field.list).map(Field::at);
        for value in field.values.iter().filter(|_| !is_other_spelling(field)) {
            if !sharing().filter_map(|at| used.get(&at)).any(|values| values.contains(value)) {
                lacking.insert(format!("valid   {} = {value}", field.list));
            }
            if !sharing().filter_map(|at| told.get(&at)).any(|text| has_word(text, value)) {
                lacking.insert(format!("invalid {} = {value}", field.list));
            }
        }
    }
    let lacking: Vec<String> = lacking.into_iter().collect();
    assert!(lacking.is_empty(), "{} lacking in testdata/language:\n{}", lacking.len(), lacking.join("\n"));
}

#[test]
fn every_valid_document_fits_its_schema() {
    let validators: BTreeMap<&str, jsonschema::Validator> = KINDS
        .iter()
        .map(|(kind, text)| (*kind, jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()))
        .collect();
    for (name, kind, node) in valid_documents() {
        let json = node.to_json().unwrap();
        let mistakes: Vec<String> =
            validators[kind].iter_errors(&json).map(|error| format!("{} {error}", error.instance_path())).collect();
        assert_eq!(mistakes, [""; 0], "{name}");
    }
}

fn parse(kind: &str, json: &Value) -> Vec<Finding> {
    let bytes = json.to_string().into_bytes();
    let read = match kind {
        "contract" => Contract::parse("d.json", &bytes).map(|(_, warnings)| warnings),
        "policy" => PolicyDocument::parse("d.json", &bytes).map(|_| Vec::new()),
        "policy-group" => PolicyGroupDocument::parse("d.json", &bytes).map(|_| Vec::new()),
        _ => PolicyCases::parse("d.json", &bytes).map(|_| Vec::new()),
    };
    read.unwrap_or_else(|Diagnostics(mistakes)| mistakes)
}

/// For each map of the schemas a valid document that has one, and where.
fn examples(schemas: &Schemas) -> BTreeMap<String, (&'static str, Value, String)> {
    let mut examples = BTreeMap::new();
    for (_, kind, node) in valid_documents() {
        for map in schemas.read(kind, &node).1 {
            examples.entry(map.at).or_insert_with(|| (kind, node.to_json().unwrap(), map.pointer));
        }
    }
    examples
}

/// A reader that is given a key far from all others lists the keys that it knows.
#[test]
fn the_readers_and_the_schemas_know_the_same_keys() {
    const NEAR_TO_NONE: &str = "zzzzzzzzqqqqqqqq";
    let schemas = Schemas::load();
    let fields = schemas.fields();
    let examples = examples(&schemas);
    let maps: BTreeSet<&str> = fields.iter().map(|field| field.map.as_str()).collect();
    for map in maps {
        let (kind, document, pointer) = examples.get(map).unwrap_or_else(|| panic!("no valid document has {map}"));
        let mut document = document.clone();
        document.pointer_mut(pointer).unwrap()[NEAR_TO_NONE] = Value::from(1);
        let findings = parse(kind, &document);
        let told = findings.iter().find(|finding| finding.message.contains(&format!("no key `{NEAR_TO_NONE}`")));
        let told = told.unwrap_or_else(|| panic!("{map} takes any key: {findings:?}"));
        let listed = told.mend.as_deref().and_then(|mend| mend.strip_prefix("known keys: ")).unwrap_or_default();
        let refused = NOT_OFFERED.iter().filter(|(at, ..)| *at == map).map(|(_, key, _)| *key);
        let read: BTreeSet<&str> = listed.split(", ").map(|key| key.trim_matches('`')).collect();
        let own = fields.iter().filter(|field| field.map == map);
        let offered: BTreeSet<&str> =
            own.filter(|field| !is_other_spelling(field)).map(|field| field.key.as_str()).chain(refused).collect();
        assert_eq!(read, offered, "{map}: what the reader knows, and what the schema does");
    }
}

#[test]
fn what_no_schema_offers_and_a_reader_knows_is_told() {
    let schemas = Schemas::load();
    let examples = examples(&schemas);
    for (map, key, why) in NOT_OFFERED {
        let (kind, document, pointer) = &examples[map];
        let mut document = document.clone();
        document.pointer_mut(pointer).unwrap()[key] = match key {
            "findingType" => Value::from("SAST"),
            _ => serde_json::json!({"name": "x"}),
        };
        // With a mistake beside it, as warnings alone are told elsewhere.
        document["mistake"] = Value::from(1);
        let findings = parse(kind, &document);
        assert!(findings.iter().any(|finding| finding.message.starts_with(why)), "{map} {key}: {findings:?}");
    }
}

/// The lists of values are the tables of the types that are read.
#[test]
fn the_schemas_list_what_the_tables_have() {
    let fields = Schemas::load().fields();
    let of = |list: &str| {
        let field = fields.iter().find(|field| field.list == list).unwrap_or_else(|| panic!("no list {list}"));
        field.values.iter().map(String::as_str).collect::<Vec<_>>()
    };
    for (kind, _) in KINDS {
        let types: Vec<&str> = MaterialType::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(of(&format!("{kind}/$materialType")), types, "{kind}");
    }
    assert_eq!(of("contract/$runner/type"), Runner::ALL.iter().map(|runner| runner.as_str()).collect::<Vec<_>>());
    let codes: Vec<&str> = Code::ALL.iter().map(|(_, code, _)| *code).collect();
    assert_eq!(of("policy-test/tests[]/expect/codes[]"), codes);
    let about: Vec<&str> = FindingType::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(of("policy/metadata/findingType"), about);
    for (list, versions) in [
        ("contract/0/apiVersion", contract::API_VERSIONS),
        ("policy/apiVersion", policy::API_VERSIONS),
        ("policy-group/apiVersion", policy::API_VERSIONS),
    ] {
        assert_eq!(of(list), versions, "{list}");
    }
}

/// `snake_case`, as protobuf's JSON mapping reads it too. Schemas offer it beside each key that has one.
fn is_other_spelling(field: &Field) -> bool {
    field.key.contains('_')
}

fn first_spelling(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |all, word| all + &word[..1].to_ascii_uppercase() + &word[1..])
}

fn other_spelling(key: &str) -> String {
    key.chars()
        .map(|c| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.into() })
        .collect()
}

#[test]
fn a_misspelt_key_is_told_with_the_nearest_one() {
    let schemas = Schemas::load();
    let fields = schemas.fields();
    let keys: BTreeSet<(&str, &str)> = fields.iter().map(|field| (field.map.as_str(), field.key.as_str())).collect();
    let examples = examples(&schemas);
    for field in &fields {
        let other = other_spelling(&field.key);
        assert!(keys.contains(&(field.map.as_str(), other.as_str())), "{} is not offered as `{other}`", field.at());
        let (kind, document, pointer) = &examples[&field.map];
        let mut document = document.clone();
        let map = document.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        // A letter twice is the slip of a finger.
        let misspelt = format!("{}{}", field.key, field.key.chars().last().unwrap());
        let value = map.shift_remove(&field.key).unwrap_or(Value::from("x"));
        map.insert(misspelt.clone(), value);
        let findings = parse(kind, &document);
        let told = findings.iter().find(|finding| finding.message.contains(&format!("no key `{misspelt}`")));
        let Some(told) = told else {
            // Without it a legacy contract does not say what it is.
            assert!(field.key == "schemaVersion" || field.key == "schema_version", "{}: {findings:?}", field.at());
            continue;
        };
        let near = first_spelling(&field.key);
        assert_eq!(told.mend.as_deref(), Some(format!("did you mean `{near}`?").as_str()), "{}", field.at());
    }
}
