//! `.sluice.yml`: what a repository says of itself to `sluice attestation`, so that a pipeline need not.
//!
//! ```yaml
//! projectVersion: 1.2.3
//! materials:                       # what `sluice attestation add` adds when it is told nothing
//!   sbom: build/sbom.cdx.json
//!   tests: {value: "reports/*.xml", kind: JUNIT_XML, annotations: {suite: unit}}
//! ```
//!
//! Paths count from the folder of the file. Of Chainloop's `.chainloop.yml` only the version is read.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{Diagnostics, MaterialType, limits, yaml};
use serde::Deserialize;

use crate::files;

/// What the file is called, ours first.
const OWN: [&str; 2] = [".sluice.yml", ".sluice.yaml"];
const THEIRS: [&str; 2] = [".chainloop.yml", ".chainloop.yaml"];

/// The file as it is written.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    project_version: Option<String>,
    #[serde(default)]
    materials: BTreeMap<String, Said>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Said {
    Value(String),
    Whole(Entry),
}

/// One material of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// As `--value`.
    pub value: String,
    /// As `--kind`.
    #[serde(default)]
    pub kind: Option<MaterialType>,
    /// As `--annotation`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a repository says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The file, for messages.
    pub path: PathBuf,
    /// The version of the project.
    pub project_version: Option<String>,
    /// What is added, by name.
    pub materials: BTreeMap<String, Entry>,
}

impl Manifest {
    /// The file of the working folder, or of one above it within its Git repository.
    pub fn find() -> anyhow::Result<Option<Self>> {
        let folder = env::current_dir().context("the working folder is gone")?;
        let root = folder.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&folder);
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
            for name in OWN.iter().chain(&THEIRS) {
                let path = folder.join(name);
                if path.is_file() {
                    return Self::read(&path).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Reads one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = files::read(path, limits::REVISION_FILE_BYTES)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let theirs = THEIRS.contains(&name.as_str());
        let read = Self::parse(&name, &bytes, theirs).with_context(|| format!("`{}` is not right", path.display()));
        Ok(Self { path: path.to_owned(), ..read? })
    }

    fn parse(name: &str, bytes: &[u8], theirs: bool) -> anyhow::Result<Self> {
        let node = match yaml::parse(name, bytes) {
            Ok(node) => node,
            Err(Diagnostics(findings)) => {
                let first = findings.first();
                let place = first.and_then(|f| f.origin.as_ref()).map(|o| format!("line {}: ", o.line));
                bail!("{}{}", place.unwrap_or_default(), first.map_or("it cannot be read", |f| f.message.as_str()))
            }
        };
        // A version such as 1.10 is a text, whatever it looks like.
        let version = node.get("projectVersion").and_then(yaml::Node::scalar);
        let project_version = version
            .filter(|scalar| !scalar.is_null())
            .map(|scalar| scalar.text.clone())
            .filter(|text| !text.is_empty());
        if theirs || node.is_null() {
            return Ok(Self { project_version, ..Self::default() });
        }
        let mut json = node.to_json().map_err(|(place, text)| anyhow::anyhow!("line {}: `{text}`", place.line))?;
        if let Some(map) = json.as_object_mut() {
            map.remove("projectVersion");
        }
        let raw: Raw = serde_json::from_value(json).context(
            "it has `projectVersion` and `materials`: names with paths, or with `value`, `kind`, `annotations`",
        )?;
        let entry = |said| match said {
            Said::Value(value) => Entry { value, kind: None, annotations: BTreeMap::new() },
            Said::Whole(entry) => entry,
        };
        let materials = raw.materials.into_iter().map(|(name, said)| (name, entry(said))).collect();
        Ok(Self { path: PathBuf::new(), project_version, materials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_its_mistakes_are_told() {
        let text = b"projectVersion: 1.10\nmaterials:\n  sbom: a.json\n  tests: {value: 'r/*.xml', kind: JUNIT_XML}\n";
        let manifest = Manifest::parse("m", text, false).unwrap();
        assert_eq!(manifest.project_version.as_deref(), Some("1.10"));
        assert_eq!(manifest.materials["sbom"].value, "a.json");
        assert_eq!(manifest.materials["tests"].kind, Some(MaterialType::JunitXml));
        assert!(Manifest::parse("m", b"material: {}", false).is_err());
        assert!(Manifest::parse("m", b"materials: {a: {kind: SARIF}}", false).is_err());
        assert!(Manifest::parse("m", b"a: [", false).is_err());
        let theirs = Manifest::parse("m", b"projectVersion: v1\nother: x\n", true).unwrap();
        assert_eq!(theirs.project_version.as_deref(), Some("v1"));
    }
}
