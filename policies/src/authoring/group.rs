//! A policy group looked through without the contract that attaches it.

use std::collections::BTreeMap;

use contracts::{
    Diagnostics, Finding, MaterialType,
    api::RevisionFiles,
    policy::{PolicyDocument, PolicyGroupDocument, PolicyInput, ScriptKind},
    revision::{self, Revision},
};
use serde_json::{Value, json};

use super::{
    files::{CONTRACT, PolicyFiles, by_contract, without_contract},
    lint,
};
use crate::compile;

/// Every mistake in a group, in the policies that it names, and in how it attaches them, with what could be clearer in
/// its own files (not in the shipped library's, nor in what was fetched). `load` answers as for [`PolicyFiles::collect`].
///
/// Inputs that the group needs are given a word each, as nobody says what a contract will give: what follows from one
/// value and not from another is told by `contract lint`.
#[must_use]
pub fn lint_group(path: &str, load: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>) -> Vec<Finding> {
    match look_through(path, load) {
        Ok(findings) | Err(Diagnostics(findings)) => findings,
    }
}

fn look_through(
    path: &str,
    load: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Vec<Finding>, Diagnostics> {
    let mut collect = |contract: String| {
        let mut with_contract =
            |name: &str| if name == CONTRACT { Ok(contract.clone().into_bytes()) } else { load(name) };
        revision::collect(CONTRACT, &mut with_contract).map_err(without_contract)
    };
    let RevisionFiles { files, .. } = collect(attaching(path, &[], &BTreeMap::new()))?;
    let group = PolicyGroupDocument::parse(path, files.get(path).map(String::as_bytes).unwrap_or_default())?;
    let policies: Vec<(&String, PolicyDocument)> = files
        .iter()
        .filter_map(|(path, text)| Some((path, PolicyDocument::parse(path, text.as_bytes()).ok()?)))
        .collect();
    let mut findings = Vec::new();
    // What is not of these files is looked through by whoever ships it.
    for (path, _) in policies.iter().filter(|(path, _)| !path.contains("://")) {
        let mut read = |path: &str| files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(String::new);
        if let Ok(policy) = PolicyFiles::collect(path, &mut read) {
            findings.extend(lint(&policy));
        }
    }
    let kinds = kinds(&group, policies.iter().map(|(_, policy)| policy));
    let mut whole = RevisionFiles { contract: CONTRACT.to_owned(), files: files.clone() };
    whole.files.insert(CONTRACT.to_owned(), attaching(path, &kinds, &given(&group)));
    let told = Revision::from_files(&whole).and_then(|(revision, warnings)| compile(&revision).map(|_| warnings));
    let (Ok(more) | Err(Diagnostics(more))) = told.map_err(without_contract);
    for finding in more {
        // Nobody wrote the contract, so it cannot be made clearer.
        if (finding.blocks() || !by_contract(&finding)) && !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings.sort_by(|a, b| a.origin.cmp(&b.origin));
    Ok(findings)
}

/// What the contract asks for, so that every policy has something to read.
fn kinds<'p>(group: &PolicyGroupDocument, policies: impl Iterator<Item = &'p PolicyDocument>) -> Vec<MaterialType> {
    let of_group = group.materials.iter().filter_map(|material| material.kind);
    let of_policies = policies.flat_map(|policy| &policy.scripts).filter_map(|script| match script.kind {
        ScriptKind::Material(kind) => Some(kind),
        ScriptKind::Any | ScriptKind::Attestation => None,
    });
    let mut kinds = Vec::new();
    for kind in of_group.chain(of_policies).chain([MaterialType::Evidence]) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// A word for each input that has to be given, each another one, as two of them may be names of materials.
fn given(group: &PolicyGroupDocument) -> BTreeMap<&str, String> {
    let required = |(_, input): &(usize, &PolicyInput)| input.required;
    let inputs = group.inputs.iter().enumerate().filter(required);
    inputs.map(|(n, input)| (input.name.as_str(), format!("input-{n}"))).collect()
}

/// A contract that attaches the group and asks for one material of each type.
fn attaching(path: &str, kinds: &[MaterialType], with: &BTreeMap<&str, String>) -> String {
    let materials: Vec<Value> =
        kinds.iter().enumerate().map(|(n, kind)| json!({"name": format!("material-{n}"), "type": kind})).collect();
    let attached = json!({"ref": format!("file://{path}"), "gate": true, "with": with});
    let mut spec = json!({"policyGroups": [attached]});
    if let (Some(spec), false) = (spec.as_object_mut(), materials.is_empty()) {
        spec.insert("materials".to_owned(), materials.into());
    }
    json!({"apiVersion": "chainloop.dev/v1", "kind": "Contract", "metadata": {"name": "authoring"}, "spec": spec})
        .to_string()
}
