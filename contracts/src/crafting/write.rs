//! Writing: from what a session collected to a statement.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    GIT_HEAD, IMAGE_IS_LATEST, IMAGE_TAG, ImageName, MATERIAL_INLINE, MATERIAL_NAME, MATERIAL_SIZE, MATERIAL_STORED,
    MATERIAL_TYPE, PREDICATE_TYPE,
};
use crate::{
    Digest, MaterialType, Runner, runners,
    statement::{Statement, Subject},
};

/// Everything that goes into a crafted statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Craft {
    /// The organization.
    pub organization: String,
    /// The project.
    pub project: String,
    /// The workflow.
    pub workflow: String,
    /// Who owns the workflow.
    pub team: String,
    /// The run's id, as the gateway gave it.
    pub run_id: String,
    /// The contract's name.
    pub contract_name: String,
    /// The contract revision's number.
    pub contract_revision: u32,
    /// The version of the project that is built, if it is known.
    pub version: Option<ProjectVersion>,
    /// Where the pipeline runs, if it was recognised.
    pub runner: Option<Runner>,
    /// The address of the pipeline's run, if the runner tells it.
    pub runner_url: Option<String>,
    /// When the session began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The materials. Their order does not matter, they are written by name.
    pub materials: Vec<CraftedMaterial>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// Environment variables worth keeping.
    pub env: BTreeMap<String, String>,
    /// The Git commit that was built.
    pub git_head: Option<GitHead>,
}

/// A version of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectVersion {
    /// What people call it.
    pub name: String,
    /// Whether it is not released yet.
    pub prerelease: bool,
}

/// One material as it was collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CraftedMaterial {
    /// The slot's name in the contract.
    pub name: String,
    /// Its type.
    pub kind: MaterialType,
    /// The digest of its bytes; of an image, the image's.
    pub digest: Digest,
    /// How many bytes; not known of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The file's name without folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The value of a `STRING`, which travels in the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Which image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Whether it is what the workflow produces: a subject of the statement.
    #[serde(default)]
    pub output: bool,
    /// Whether the contract says not to upload it.
    #[serde(default)]
    pub skip_upload: bool,
    /// Annotations. They cannot replace those that say what the material is.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The Git commit that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitHead {
    /// The commit's SHA-1, 40 hexadecimal digits.
    pub sha1: String,
    /// Its author's name.
    pub author_name: String,
    /// Its author's address.
    pub author_email: String,
    /// When it was committed.
    pub date: Timestamp,
    /// Its message.
    pub message: String,
    /// Its signature, armored, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Where it was fetched from and pushed to, without credentials.
    #[serde(default)]
    pub remotes: Vec<Remote>,
}

/// A Git remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
}

impl Craft {
    /// The statement. The same input gives the same bytes. Subjects are the workflow (by the sha256 of the
    /// predicate's JSON), the commit, and each output.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let mut materials: Vec<&CraftedMaterial> = self.materials.iter().collect();
        materials.sort_by(|one, other| one.name.cmp(&other.name));
        let predicate = self.predicate(&materials);

        let mut subjects = vec![Subject {
            name: Some(format!("chainloop.workflow.{}", self.workflow)),
            digest: sha256(Digest::of(predicate.to_string().as_bytes())),
            annotations: Value::Null,
        }];
        subjects.extend(self.git_head.as_ref().map(commit_subject));
        subjects.extend(materials.iter().filter(|material| material.output).map(|material| Subject {
            name: material.descriptor_name(),
            digest: sha256(material.digest),
            annotations: material.descriptor_annotations(),
        }));
        Statement::new(subjects, PREDICATE_TYPE, predicate)
    }

    fn predicate(&self, materials: &[&CraftedMaterial]) -> Value {
        let mut predicate = Map::new();
        predicate.insert(
            "metadata".to_owned(),
            json!({
                "name": self.workflow,
                "project": self.project,
                "projectVersion": self.version.as_ref().map(|version| version.name.as_str()).unwrap_or_default(),
                "projectVersionPrerelease": self.version.as_ref().is_some_and(|version| version.prerelease),
                "team": self.team,
                "initializedAt": self.started_at,
                "finishedAt": self.finished_at,
                "workflowRunID": self.run_id,
                "workflowID": "",
                "workflowName": self.workflow,
                "organization": self.organization,
                "contractName": self.contract_name,
                "contractVersion": self.contract_revision.to_string(),
            }),
        );
        let builder = concat!("sluice.dev/cli/", env!("CARGO_PKG_VERSION"));
        predicate.insert("builder".to_owned(), json!({"id": builder}));
        predicate.insert("buildType".to_owned(), json!("chainloop.dev/workflowrun/v0.1"));
        if !self.env.is_empty() {
            predicate.insert("env".to_owned(), json!(self.env));
        }
        predicate.insert("runnerType".to_owned(), json!(self.runner.map_or(runners::UNSPECIFIED, Runner::as_str)));
        if let Some(url) = &self.runner_url {
            predicate.insert("runnerURL".to_owned(), json!(url));
        }
        if !self.annotations.is_empty() {
            predicate.insert("annotations".to_owned(), json!(self.annotations));
        }
        let materials: Vec<Value> = materials.iter().map(|material| material.descriptor()).collect();
        if !materials.is_empty() {
            predicate.insert("materials".to_owned(), materials.into());
        }
        Value::Object(predicate)
    }
}

impl CraftedMaterial {
    /// in-toto's ResourceDescriptor.
    fn descriptor(&self) -> Value {
        let mut descriptor = Map::new();
        if let Some(name) = self.descriptor_name() {
            descriptor.insert("name".to_owned(), name.into());
        }
        descriptor.insert("digest".to_owned(), json!({"sha256": self.digest.hex()}));
        if let Some(value) = &self.value {
            descriptor.insert("content".to_owned(), STANDARD.encode(value).into());
        }
        descriptor.insert("annotations".to_owned(), self.descriptor_annotations());
        Value::Object(descriptor)
    }

    fn descriptor_name(&self) -> Option<String> {
        match &self.image {
            Some(image) => Some(image.repository.to_string()),
            None => self.filename.clone(),
        }
    }

    fn descriptor_annotations(&self) -> Value {
        let mut annotations = Map::new();
        for (key, value) in &self.annotations {
            annotations.insert(key.clone(), value.clone().into());
        }
        for built_in in [MATERIAL_STORED, MATERIAL_INLINE, IMAGE_TAG, IMAGE_IS_LATEST] {
            annotations.shift_remove(built_in);
        }
        annotations.insert(MATERIAL_NAME.to_owned(), self.name.clone().into());
        annotations.insert(MATERIAL_TYPE.to_owned(), self.kind.as_str().into());
        if let Some(size) = self.size {
            annotations.insert(MATERIAL_SIZE.to_owned(), size.to_string().into());
        }
        match (&self.image, self.kind) {
            (Some(image), _) => {
                if let Some(tag) = &image.tag {
                    annotations.insert(IMAGE_TAG.to_owned(), tag.to_string().into());
                }
                let latest = image.tag.as_ref().is_some_and(|tag| tag.as_str() == "latest");
                annotations.insert(IMAGE_IS_LATEST.to_owned(), latest.into());
            }
            (None, MaterialType::String) => {}
            (None, _) if self.skip_upload => {}
            (None, _) => {
                annotations.insert(MATERIAL_STORED.to_owned(), true.into());
            }
        }
        annotations.sort_keys();
        Value::Object(annotations)
    }
}

fn commit_subject(head: &GitHead) -> Subject {
    let mut annotations = json!({
        "author.email": head.author_email,
        "author.name": head.author_name,
        "date": head.date,
        "message": head.message,
    });
    if let Some(map) = annotations.as_object_mut() {
        if !head.remotes.is_empty() {
            map.insert("remotes".to_owned(), json!(head.remotes));
        }
        if let Some(signature) = &head.signature {
            map.insert("signature".to_owned(), json!(signature));
        }
    }
    Subject {
        name: Some(GIT_HEAD.to_owned()),
        digest: BTreeMap::from([("sha1".to_owned(), head.sha1.clone())]),
        annotations,
    }
}

fn sha256(digest: Digest) -> BTreeMap<String, String> {
    BTreeMap::from([("sha256".to_owned(), digest.hex())])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of the published predicate that are always written or that this run has, in its words. Left out are
    /// those in which a build judges itself ([`super::super::SelfClaims`]), and `casBackend`, which nothing here has.
    #[test]
    fn the_predicate_has_the_published_fields() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let file = CraftedMaterial {
            name: "sbom".into(),
            kind: MaterialType::SbomCyclonedxJson,
            digest: Digest::of(b"{}"),
            size: Some(2),
            filename: Some("sbom.json".into()),
            value: None,
            image: None,
            output: true,
            skip_upload: false,
            annotations: BTreeMap::from([("chainloop.material.sbom.main_component.name".to_owned(), "app".to_owned())]),
        };
        let text = CraftedMaterial {
            name: "ref".into(),
            kind: MaterialType::String,
            digest: Digest::of(b"v"),
            size: None,
            filename: None,
            value: Some("v".into()),
            output: false,
            annotations: BTreeMap::new(),
            ..file.clone()
        };
        let head = GitHead {
            sha1: "78ac366c9e8a300d51808d581422ca61f7b5b721".into(),
            author_name: "Jo".into(),
            author_email: "jo@acme.dev".into(),
            date: noon,
            message: "ship".into(),
            signature: Some("-----BEGIN PGP SIGNATURE-----".into()),
            remotes: vec![Remote { name: "origin".into(), url: "git@acme.dev:a.git".into() }],
        };
        let craft = Craft {
            organization: "acme".into(),
            project: "skynet".into(),
            workflow: "release".into(),
            team: "sre".into(),
            run_id: "run-1".into(),
            contract_name: "skynet".into(),
            contract_revision: 4,
            version: Some(ProjectVersion { name: "v1".into(), prerelease: true }),
            runner: Some(Runner::GithubAction),
            runner_url: Some("https://github.com/acme/skynet/actions/runs/1".into()),
            started_at: noon,
            finished_at: noon,
            materials: vec![file, text],
            annotations: BTreeMap::from([("channel".to_owned(), "stable".to_owned())]),
            env: BTreeMap::from([("GITHUB_SHA".to_owned(), "78ac".to_owned())]),
            git_head: Some(head),
        };
        let statement = craft.statement().raw;
        let keys = |pointer: &str| {
            let object = statement.pointer(pointer).and_then(Value::as_object).unwrap();
            let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
            keys.sort_unstable();
            keys.join(" ")
        };
        assert_eq!(keys(""), "_type predicate predicateType subject");
        let predicate = "annotations buildType builder env materials metadata runnerType runnerURL";
        assert_eq!(keys("/predicate"), predicate);
        let metadata = "contractName contractVersion finishedAt initializedAt name organization project projectVersion \
                        projectVersionPrerelease team workflowID workflowName workflowRunID";
        assert_eq!(keys("/predicate/metadata"), metadata);
        assert_eq!(keys("/predicate/materials/1"), "annotations digest name");
        let annotations = "chainloop.material.cas chainloop.material.name chainloop.material.sbom.main_component.name \
                           chainloop.material.size chainloop.material.type";
        assert_eq!(keys("/predicate/materials/1/annotations"), annotations);
        assert_eq!(keys("/predicate/materials/0"), "annotations content digest");
        assert_eq!(keys("/predicate/materials/0/annotations"), "chainloop.material.name chainloop.material.type");
        assert_eq!(keys("/subject/1/annotations"), "author.email author.name date message remotes signature");
        assert_eq!(keys("/subject/2"), "annotations digest name");
        assert_eq!(statement["predicate"]["metadata"]["projectVersion"], "v1");
        assert_eq!(statement["predicate"]["metadata"]["contractVersion"], "4");
        assert_eq!(statement["predicate"]["buildType"], "chainloop.dev/workflowrun/v0.1");
    }
}
