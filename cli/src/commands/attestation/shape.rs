//! The session as JSON: the published shape of Chainloop's command line, key by key, so that scripts which read it with
//! `jq` go on working, and beside it what only Sluice says (`missing`, `findings`, `decision`, `run`, `signed`).

use std::collections::{BTreeMap, BTreeSet};

use contracts::{
    Finding, MaterialType, Runner,
    contract::Contract,
    crafting::{CraftedMaterial, ProjectVersion},
    runners,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::state::Session;

/// One material: a slot of the contract, filled or not, or something beyond it.
#[derive(Debug, Clone, Serialize)]
pub struct Material {
    pub name: String,
    pub value: String,
    pub hash: String,
    pub tag: String,
    pub filename: String,
    #[serde(rename = "type")]
    pub kind: MaterialType,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    #[serde(rename = "Set")]
    pub set: bool,
    #[serde(rename = "IsOutput")]
    pub output: bool,
    #[serde(rename = "Required")]
    pub required: bool,
    #[serde(rename = "SkipUpload")]
    pub skip_upload: bool,
    /// The set of which at least one must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// An annotation that is asked for or given.
#[derive(Debug, Clone, Serialize)]
pub struct Annotation {
    pub name: String,
    pub value: String,
}

impl Material {
    /// What the value is, for people.
    pub fn shown(&self) -> Option<String> {
        let at = if self.tag.is_empty() { String::new() } else { format!(":{}", self.tag) };
        self.set.then(|| match self.kind {
            MaterialType::ContainerImage => format!("{}{at}@{}", self.value, self.hash),
            _ if self.value.is_empty() => self.hash.clone(),
            _ => self.value.clone(),
        })
    }
}

/// What the contract asks for, in its order, and what was added beyond it.
pub fn materials(session: &Session, contract: &Contract) -> Vec<Material> {
    let mut listed = Vec::new();
    for clause in &contract.materials {
        let mut annotations: Vec<Annotation> = clause
            .annotations
            .iter()
            .map(|asked| Annotation { name: asked.name.clone(), value: asked.value.clone().unwrap_or_default() })
            .collect();
        let added = session.materials.get(&clause.name).map(|added| &added.material);
        for annotation in &mut annotations {
            if let Some(value) = added.and_then(|added| added.annotations.get(&annotation.name)) {
                annotation.value.clone_from(value);
            }
        }
        listed.push(Material {
            kind: added.map_or(clause.kind, |added| added.kind),
            annotations,
            output: clause.output,
            required: !clause.optional && clause.group.is_none(),
            skip_upload: clause.skip_upload,
            group: clause.group.as_ref().map(|group| group.value.clone()),
            ..valued(&clause.name, clause.kind, added)
        });
    }
    for added in session.materials.values().filter(|added| contract.material(&added.material.name).is_none()) {
        listed.push(beyond(&added.material));
    }
    listed
}

fn beyond(added: &CraftedMaterial) -> Material {
    let given = added.annotations.iter();
    let given = given.map(|(name, value)| Annotation { name: name.clone(), value: value.clone() });
    Material { annotations: given.collect(), ..valued(&added.name, added.kind, Some(added)) }
}

fn valued(name: &str, kind: MaterialType, added: Option<&CraftedMaterial>) -> Material {
    let image = added.and_then(|added| added.image.as_ref());
    let value = added.map(|added| match (image, &added.value, &added.filename) {
        (Some(image), ..) => image.repository.to_string(),
        (None, Some(value), _) => value.clone(),
        (None, None, filename) => filename.clone().unwrap_or_default(),
    });
    Material {
        name: name.to_owned(),
        value: value.unwrap_or_default(),
        hash: added.map(|added| added.digest.to_string()).unwrap_or_default(),
        tag: image.and_then(|image| image.tag.as_ref()).map(ToString::to_string).unwrap_or_default(),
        filename: added.and_then(|added| added.filename.clone()).unwrap_or_default(),
        kind,
        annotations: Vec::new(),
        set: added.is_some(),
        output: added.is_some_and(|added| added.output),
        required: false,
        skip_upload: added.is_some_and(|added| added.skip_upload),
        group: None,
    }
}

/// The session. `findings` are what stands in its way as far as it is known here.
pub fn session(session: &Session, contract: &Contract, missing: &[String], findings: &[Finding]) -> Value {
    let run = &session.run;
    let own: BTreeSet<&str> = contract.env_allow_list.iter().map(String::as_str).collect();
    let asked: BTreeMap<&str, &str> =
        own.iter().map(|name| (*name, session.env.get(*name).map_or("", String::as_str))).collect();
    let told: BTreeMap<&String, &String> =
        session.env.iter().filter(|(name, _)| !own.contains(name.as_str())).collect();
    let annotations: Vec<Annotation> = contract
        .annotations
        .iter()
        .map(|asked| Annotation { name: asked.name.clone(), value: asked.value.clone().unwrap_or_default() })
        .collect();
    json!({
        "attestationID": run.id,
        "initializedAt": session.started_at,
        "workflowMeta": {
            "WorkflowID": "",
            "Name": run.workflow,
            "Team": run.team,
            "Project": run.project,
            "ContractRevision": run.contract.info.revision.to_string(),
            "ContractName": run.contract.info.name,
            "Organization": run.organization,
            "ProjectVersion": session.project_version.as_ref().map(version),
        },
        "materials": materials(session, contract),
        "envVars": asked,
        "runnerContext": {
            "EnvVars": told,
            "JobURL": session.runner_url.clone().unwrap_or_default(),
            "RunnerType": session.runner.map_or(runners::UNSPECIFIED, Runner::as_str),
        },
        "dryRun": session.dry_run,
        "annotations": annotations,
        "isPushed": session.signed.as_ref().is_some_and(|signed| signed.received),
        "policy_evaluations": evaluations(findings),
        "has_policy_violations": findings.iter().any(Finding::blocks),
        "must_block_on_policy_violations": true,
        "timestamp_authority": "",
        "attestation_view_url": "",
        "digest": session.signed.as_ref().map(|signed| signed.attestation.to_string()).unwrap_or_default(),
        "missing": missing,
        "findings": findings,
        "signed": session.signed,
    })
}

fn version(version: &ProjectVersion) -> Value {
    json!({"id": "", "version": version.name, "prerelease": version.prerelease, "markAsRelease": !version.prerelease})
}

/// How the published shape groups what rules say: by material, and by rule.
fn evaluations(findings: &[Finding]) -> Value {
    const WHOLE: &str = "CHAINLOOP.ATTESTATION";
    let mut grouped: BTreeMap<String, BTreeMap<String, Vec<&Finding>>> = BTreeMap::new();
    for finding in findings {
        let material = finding.evidence.as_ref().and_then(|place| place.material.clone());
        let rule = finding.rule.clone().unwrap_or_else(|| finding.code.to_string());
        grouped.entry(material.unwrap_or_else(|| WHOLE.to_owned())).or_default().entry(rule).or_default().push(finding);
    }
    let grouped = grouped.into_iter().map(|(material, rules)| {
        let rules = rules.into_iter().map(|(rule, findings)| {
            let violations: Vec<Value> =
                findings.iter().map(|finding| json!({"subject": rule, "message": finding.message})).collect();
            json!({
                "name": rule,
                "material_name": if material == WHOLE { "" } else { &material },
                "violations": violations,
                "type": "",
                "skipped": false,
                "gate": findings.iter().any(|finding| finding.blocks()),
            })
        });
        let rules: Vec<Value> = rules.collect();
        (material, Value::from(rules))
    });
    Value::Object(grouped.collect())
}
