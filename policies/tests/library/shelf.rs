//! The policies and their cases, as they lie in the folder.

use std::{collections::BTreeMap, fs, path::PathBuf};

use contracts::cases::{CaseInput, PolicyCase, PolicyCases};
use policies::{authoring::PolicyFiles, library::Shipped};

/// Where they lie.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("library")
}

/// The names of all files in the folder with this ending, without it.
pub fn names(ending: &str) -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| Some(name.strip_suffix(ending)?.to_owned())).collect();
    names.sort();
    names
}

/// A policy, read from this text.
pub fn policy(name: &str, text: &str) -> PolicyFiles {
    let path = format!("{name}.yaml");
    let mut load = |asked: &str| {
        assert_eq!(asked, path, "shipped policies are one file");
        Ok(text.as_bytes().to_vec())
    };
    PolicyFiles::collect(&path, &mut load).unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"))
}

/// The cases of a policy, each with the bytes and name of its input.
pub fn cases(policy: &Shipped) -> Vec<(PolicyCase, Vec<u8>, Option<String>)> {
    let file = format!("{}.test.yaml", policy.name);
    let text = fs::read(folder().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let cases = PolicyCases::parse(&file, &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut read: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let input = |case: PolicyCase| match case.input.clone() {
        CaseInput::Inline(bytes) => (case, bytes, None),
        CaseInput::File { path, .. } => {
            let bytes = read.entry(path.clone()).or_insert_with(|| fs::read(folder().join(&path)).unwrap()).clone();
            let name = path.rsplit('/').next().map(ToOwned::to_owned);
            (case, bytes, name)
        }
    };
    cases.cases.into_iter().map(input).collect()
}
