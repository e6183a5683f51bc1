//! Reading: what a crafted statement claims.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    CraftError, CraftedRun, DeclaredMaterial, IMAGE_IS_LATEST, IMAGE_TAG, ImageName, MATERIAL_INLINE, MATERIAL_NAME,
    MATERIAL_STORED, MATERIAL_TYPE, PREDICATE_TYPE,
};
use crate::{Digest, MaterialType, digest::shorten, limits, runners, statement::Statement};

/// What the statement says of its run; `None` when its predicate is of another type.
///
/// # Errors
/// When the predicate is of this type and cannot be read without doubt.
pub fn read(statement: &Statement) -> Result<Option<CraftedRun>, CraftError> {
    if statement.predicate_type != PREDICATE_TYPE {
        return Ok(None);
    }
    let predicate = &statement.predicate;
    let metadata = predicate.get("metadata").filter(|value| value.is_object()).ok_or_else(|| field("metadata"))?;
    let required = |key: &str| match optional_text(metadata, "metadata", key)? {
        Some(text) => Ok(text),
        None => Err(field(&format!("metadata.{key}"))),
    };
    let runner = optional_text(predicate, "", "runnerType")?.filter(|text| text != runners::UNSPECIFIED);
    Ok(Some(CraftedRun {
        organization: required("organization")?,
        project: required("project")?,
        workflow: match optional_text(metadata, "metadata", "workflowName")? {
            Some(name) => name,
            None => required("name")?,
        },
        team: optional_text(metadata, "metadata", "team")?.unwrap_or_default(),
        run_id: required("workflowRunID")?,
        contract_name: optional_text(metadata, "metadata", "contractName")?,
        contract_revision: optional_text(metadata, "metadata", "contractVersion")?,
        runner,
        annotations: annotations(predicate)?,
        materials: materials(statement)?,
    }))
}

/// A text; what is absent, null or empty is not there.
fn optional_text(object: &Value, path: &str, key: &str) -> Result<Option<String>, CraftError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) if path.is_empty() => Err(field(key)),
        Some(_) => Err(field(&format!("{path}.{key}"))),
    }
}

fn annotations(predicate: &Value) -> Result<BTreeMap<String, String>, CraftError> {
    let map = match predicate.get("annotations") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(field("annotations")),
    };
    map.iter()
        .map(|(key, value)| {
            let text = value.as_str().ok_or_else(|| field(&format!("annotations.{}", shorten(key))))?;
            Ok((key.clone(), text.to_owned()))
        })
        .collect()
}

fn materials(statement: &Statement) -> Result<Vec<DeclaredMaterial>, CraftError> {
    let list = match statement.predicate.get("materials") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(field("materials")),
    };
    if list.len() > limits::STATEMENT_MATERIALS {
        return Err(CraftError::TooManyMaterials);
    }
    let outputs = outputs(statement);
    let mut names = BTreeSet::new();
    let mut materials = Vec::with_capacity(list.len());
    for (n, descriptor) in list.iter().enumerate() {
        let material = material(n, descriptor, &outputs)?;
        if !names.insert(material.name.clone()) {
            return Err(CraftError::DuplicateMaterial { name: shorten(&material.name) });
        }
        materials.push(material);
    }
    Ok(materials)
}

/// Name and digest of the materials that are subjects.
fn outputs(statement: &Statement) -> BTreeSet<(String, String)> {
    let subjects = statement.subjects.iter();
    subjects
        .filter_map(|subject| {
            let name = subject.annotations.get(MATERIAL_NAME)?.as_str()?;
            Some((name.to_owned(), subject.digest.get("sha256")?.clone()))
        })
        .collect()
}

fn material(
    n: usize,
    descriptor: &Value,
    outputs: &BTreeSet<(String, String)>,
) -> Result<DeclaredMaterial, CraftError> {
    let missing = |what: &str| field(&format!("materials[{n}].{what}"));
    let annotations = descriptor.get("annotations").and_then(Value::as_object).ok_or_else(|| missing("annotations"))?;
    let text = |key: &str| annotations.get(key).and_then(Value::as_str);
    let flag = |key: &str| annotations.get(key).and_then(Value::as_bool).unwrap_or(false);

    let name = text(MATERIAL_NAME).filter(|name| !name.is_empty()).ok_or_else(|| missing(MATERIAL_NAME))?.to_owned();
    let kind: MaterialType = text(MATERIAL_TYPE)
        .ok_or_else(|| missing(MATERIAL_TYPE))?
        .parse()
        .map_err(|source| CraftError::Kind { name: shorten(&name), source })?;

    let carried = kind == MaterialType::String || flag(MATERIAL_INLINE);
    let inline = match descriptor.get("content") {
        Some(Value::String(content)) if carried => Some(STANDARD.decode(content).map_err(|_| missing("content"))?),
        _ if carried => return Err(missing("content")),
        _ => None,
    };
    let named = descriptor.pointer("/digest/sha256");
    let digest = match (named, &inline) {
        (Some(hex), _) => hex.as_str().and_then(|hex| Digest::from_hex(hex).ok()),
        // Older statements give a value without its digest.
        (None, Some(value)) if kind == MaterialType::String => Some(Digest::of(value)),
        (None, _) => None,
    }
    .ok_or_else(|| CraftError::Digest { name: shorten(&name) })?;

    let called = descriptor.get("name").and_then(Value::as_str).filter(|called| !called.is_empty());
    // A chart is in a registry when it is annotated as what is there; else it is a file.
    let in_registry = kind == MaterialType::HelmChart && annotations.contains_key(IMAGE_IS_LATEST);
    let image = match kind {
        MaterialType::ContainerImage | MaterialType::HelmChart
            if in_registry || kind == MaterialType::ContainerImage =>
        {
            let repository = called.and_then(|called| called.parse().ok());
            let repository = repository.ok_or_else(|| CraftError::Image { name: shorten(&name) })?;
            Some(ImageName { repository, tag: text(IMAGE_TAG).and_then(|tag| tag.parse().ok()) })
        }
        _ => None,
    };
    let output = outputs.contains(&(name.clone(), digest.hex()));
    Ok(DeclaredMaterial {
        kind,
        digest,
        filename: if image.is_none() { called.map(str::to_owned) } else { None },
        skip_upload: image.is_none() && inline.is_none() && !flag(MATERIAL_STORED),
        inline,
        image,
        output,
        annotations: annotations.iter().map(|(key, value)| (key.clone(), as_text(value))).collect(),
        name,
    })
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn field(path: &str) -> CraftError {
    CraftError::Field { field: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Code, Runner,
        crafting::{Craft, CraftedMaterial, GitHead},
    };

    fn craft() -> Craft {
        let material = |name: &str, kind, bytes: &str| CraftedMaterial {
            name: name.to_owned(),
            kind,
            digest: Digest::of(bytes.as_bytes()),
            size: Some(bytes.len() as u64),
            filename: Some(format!("{name}.bin")),
            value: None,
            image: None,
            output: false,
            skip_upload: false,
            annotations: BTreeMap::new(),
        };
        let image = ImageName { repository: "registry.acme.dev/app".parse().unwrap(), tag: "v1".parse().ok() };
        let forged = BTreeMap::from([
            (MATERIAL_TYPE.to_owned(), "SARIF".to_owned()),
            (MATERIAL_STORED.to_owned(), "true".to_owned()),
            ("owner".to_owned(), "sre".to_owned()),
        ]);
        Craft {
            organization: "acme".into(),
            project: "skynet".into(),
            workflow: "release".into(),
            team: "sre".into(),
            run_id: "run-1".into(),
            contract_name: "skynet-release".into(),
            contract_revision: 4,
            version: None,
            runner: Some(Runner::GithubAction),
            runner_url: None,
            started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            finished_at: "2026-01-01T00:01:00Z".parse().unwrap(),
            materials: vec![
                CraftedMaterial {
                    filename: None,
                    size: None,
                    image: Some(image),
                    output: true,
                    ..material("image", MaterialType::ContainerImage, "image")
                },
                CraftedMaterial {
                    filename: None,
                    value: Some("1.2.3".into()),
                    ..material("version", MaterialType::String, "1.2.3")
                },
                CraftedMaterial { annotations: forged, ..material("sbom", MaterialType::SbomCyclonedxJson, "{}") },
                CraftedMaterial { skip_upload: true, ..material("big", MaterialType::Artifact, "big") },
            ],
            annotations: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
            env: BTreeMap::new(),
            git_head: Some(GitHead {
                sha1: "78ac366c9e8a300d51808d581422ca61f7b5b721".into(),
                author_name: "Jo".into(),
                author_email: "jo@acme.dev".into(),
                date: "2026-01-01T00:00:00Z".parse().unwrap(),
                message: "ship it".into(),
                signature: None,
                remotes: Vec::new(),
            }),
        }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let craft = craft();
        let statement = craft.statement();
        let subjects: Vec<_> = statement.subjects.iter().filter_map(|s| s.name.as_deref()).collect();
        assert_eq!(subjects, ["chainloop.workflow.release", "git.head", "registry.acme.dev/app"]);
        assert!(statement.names_sha256(&Digest::of(b"image")));

        let run = read(&statement).unwrap().unwrap();
        assert_eq!((run.organization.as_str(), run.project.as_str()), ("acme", "skynet"));
        assert_eq!((run.workflow.as_str(), run.run_id.as_str(), run.team.as_str()), ("release", "run-1", "sre"));
        assert_eq!(run.contract_name.as_deref(), Some("skynet-release"));
        assert_eq!(run.contract_revision.as_deref(), Some("4"));
        assert_eq!(run.runner.as_deref(), Some("GITHUB_ACTION"));
        assert_eq!(run.annotations, craft.annotations);
        let names: Vec<_> = run.materials.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["big", "image", "sbom", "version"]);
        let [big, image, sbom, version] = <[_; 4]>::try_from(run.materials).unwrap();
        assert!(big.skip_upload && !sbom.skip_upload && !image.skip_upload && !version.skip_upload);
        assert!(image.output && !sbom.output);
        assert_eq!(image.image, craft.materials[0].image);
        assert_eq!(image.filename, None);
        assert_eq!(version.inline.as_deref(), Some(&b"1.2.3"[..]));
        assert_eq!(sbom.kind, MaterialType::SbomCyclonedxJson);
        assert_eq!(sbom.filename.as_deref(), Some("sbom.bin"));
        assert_eq!(sbom.annotations.get("owner").map(String::as_str), Some("sre"));
    }

    #[test]
    fn refuses_what_it_cannot_read_without_doubt() {
        let bad = |change: &dyn Fn(&mut Value)| {
            let mut statement = craft().statement();
            change(&mut statement.predicate);
            read(&statement).unwrap_err()
        };
        let first = |key: &'static str, value: Value| move |p: &mut Value| p["materials"][0][key] = value.clone();
        bad(&|p| p["metadata"] = json!([]));
        bad(&|p| p["metadata"]["workflowRunID"] = json!(""));
        bad(&|p| p["metadata"]["organization"] = json!(7));
        bad(&|p| p["annotations"]["tier"] = json!({"gold": true}));
        bad(&|p| p["runnerType"] = json!(1));
        bad(&|p| p["materials"] = json!({}));
        bad(&first("annotations", json!({MATERIAL_NAME: "x"})));
        bad(&first("annotations", json!({MATERIAL_NAME: "x", MATERIAL_TYPE: "SBOM"})));
        bad(&first("digest", json!({"sha512": "00"})));
        bad(&first("digest", json!({"sha256": "ABC"})));
        bad(&|p| p["materials"][1]["name"] = json!("not an image"));
        bad(&|p| p["materials"][3]["content"] = json!("%%"));
        let twice = bad(&|p| {
            let again = p["materials"][0].clone();
            p["materials"].as_array_mut().unwrap().push(again);
        });
        assert_eq!(twice, CraftError::DuplicateMaterial { name: "big".into() });
        let many = bad(&|p| p["materials"] = Value::Array(vec![json!({}); limits::STATEMENT_MATERIALS + 1]));
        assert_eq!(many.code(), Code::LimitReached);
    }

    #[test]
    fn another_predicate_is_not_a_crafted_run() {
        let statement = Statement::new(Vec::new(), "https://slsa.dev/provenance/v1", json!({}));
        assert_eq!(read(&statement), Ok(None));
    }
}
