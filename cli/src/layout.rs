//! Images in folders of the OCI image layout, as build tools leave them before anything is pushed.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use contracts::{Digest, Reference, Repository, Tag, Target, limits};
use serde::Deserialize;

use crate::files;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What some tools put the whole reference into.
const FULL_NAME: &str = "io.containerd.image.name";

/// An image that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is called.
    pub repository: Repository,
    /// Its tag, if it has one.
    pub tag: Option<Tag>,
    /// Its digest; the manifest is there and has it.
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Whether a value is such a folder, perhaps with a tag: `build/image` or `build/image:v1`.
pub fn is_layout(value: &str) -> bool {
    split(value).is_some()
}

fn split(value: &str) -> Option<(PathBuf, Option<&str>)> {
    let there = |path: &Path| path.join("oci-layout").is_file() && path.join("index.json").is_file();
    if there(Path::new(value)) {
        return Some((PathBuf::from(value), None));
    }
    let (path, tag) = value.rsplit_once(':')?;
    there(Path::new(path)).then(|| (PathBuf::from(path), Some(tag)))
}

/// The image of the folder: the one with the tag, else the only one.
pub fn find(value: &str) -> anyhow::Result<Found> {
    let (folder, tag) = split(value).context("it is no folder of the OCI image layout")?;
    let index: Index = serde_json::from_slice(&files::read(&folder.join("index.json"), limits::MANIFEST_BYTES)?)
        .context("its `index.json` cannot be read")?;
    let named = |descriptor: &Descriptor, key: &str| descriptor.annotations.get(key).cloned();
    let has_tag = |descriptor: &&Descriptor| {
        let Some(wanted) = tag else { return true };
        let name = named(descriptor, REF_NAME).unwrap_or_default();
        name == wanted || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
    };
    let candidates: Vec<&Descriptor> = index.manifests.iter().filter(has_tag).collect();
    let descriptor = match (candidates.as_slice(), tag) {
        ([only], _) => *only,
        ([], Some(tag)) => bail!("it has no image with the tag `{tag}`"),
        ([], None) => bail!("it has no image"),
        (several, _) => {
            let tags: Vec<String> = several.iter().filter_map(|descriptor| named(descriptor, REF_NAME)).collect();
            bail!("it has several images: write the tag after it, FOLDER:TAG ({})", tags.join(", "))
        }
    };
    let digest: Digest = descriptor.digest.parse()?;
    let manifest = files::read(&folder.join("blobs/sha256").join(digest.hex()), limits::MANIFEST_BYTES)?;
    if Digest::of(&manifest) != digest {
        bail!("the manifest `{digest}` in it is damaged");
    }
    let said = named(descriptor, FULL_NAME).or_else(|| named(descriptor, REF_NAME).filter(|name| name.contains('/')));
    let reference: Option<Reference> = said.and_then(|name| name.parse().ok());
    let (repository, own_tag) = match reference {
        Some(reference) => {
            let tag = match reference.target {
                Target::Tag(tag) => Some(tag),
                Target::Digest(_) => None,
            };
            (reference.repository, tag)
        }
        None => (by_folder(&folder)?, named(descriptor, REF_NAME).and_then(|name| name.parse().ok())),
    };
    Ok(Found { repository, tag: own_tag, digest })
}

/// An image that says no name is called after its folder.
fn by_folder(folder: &Path) -> anyhow::Result<Repository> {
    let folder = folder.canonicalize().context("it cannot be read")?;
    let name = folder.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let name = if plain.is_empty() { "image" } else { &plain };
    format!("localhost/{name}").parse().context("the folder's name cannot be an image's")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_image_is_found_by_its_tag_and_its_manifest_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("My_App");
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let blob = |text: &str| {
            let digest = Digest::of(text.as_bytes());
            fs::write(path.join("blobs/sha256").join(digest.hex()), text).unwrap();
            digest
        };
        let (one, two) = (blob("{}"), blob("{\"two\":2}"));
        let index = format!(
            r#"{{"manifests":[{{"digest":"{one}","annotations":{{"{REF_NAME}":"v1"}}}},
               {{"digest":"{two}","annotations":{{"{REF_NAME}":"registry.acme.dev/shop/app:v2"}}}}]}}"#
        );
        fs::write(path.join("index.json"), index).unwrap();
        let value = path.display().to_string();
        assert!(is_layout(&value) && is_layout(&format!("{value}:v1")) && !is_layout(&format!("{value}/blobs")));
        let told = find(&value).unwrap_err().to_string();
        assert!(told.contains("several images"), "{told}");
        let found = find(&format!("{value}:v1")).unwrap();
        assert_eq!((found.repository.to_string().as_str(), found.digest), ("localhost/myapp", one));
        let found = find(&format!("{value}:v2")).unwrap();
        assert_eq!((found.repository.to_string().as_str(), found.digest), ("registry.acme.dev/shop/app", two));
        fs::write(path.join("blobs/sha256").join(two.hex()), "changed").unwrap();
        assert!(find(&format!("{value}:v2")).is_err());
    }
}
