//! OCI image layouts in a folder (OCI image specification, "Image Layout").

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Attached, Blob, Image, Index, MEDIA_TYPE_INDEX};

/// A layout being written. Every call leaves a layout on disk that is complete.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// Begins a layout in this folder, which may exist.
    pub fn create(folder: impl Into<PathBuf>) -> Self {
        let layout = Self { folder: folder.into(), manifests: Vec::new() };
        fs::create_dir_all(layout.folder.join("blobs/sha256")).expect("a folder for the layout");
        fs::write(layout.folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the layout's marker");
        layout.write_index();
        layout
    }

    /// The layout's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an image under a tag; a tag that was there moves.
    pub fn add(&mut self, tag: &str, image: &Image) -> &mut Self {
        self.put_image(image);
        self.tag(tag, &image.manifest)
    }

    /// Adds an index and its images under a tag; a tag that was there moves.
    pub fn add_index(&mut self, tag: &str, index: &Index) -> &mut Self {
        for image in &index.images {
            self.put_image(image);
        }
        self.put(&index.index);
        self.tag(tag, &index.index)
    }

    /// Adds what was attached to an image, under the tag that registries without the referrers API use.
    pub fn attach(&mut self, attached: &Attached) -> &mut Self {
        for blob in &attached.blobs {
            self.put(blob);
        }
        self.put(&attached.manifest);
        self.put(&attached.tagged);
        self.tag(&attached.tag, &attached.tagged)
    }

    /// Overwrites a blob with other bytes, as a registry that lies would serve it.
    pub fn corrupt(&mut self, blob: &Blob, bytes: &[u8]) -> &mut Self {
        fs::write(self.path(blob), bytes).expect("a blob of the layout");
        self
    }

    fn put_image(&self, image: &Image) {
        for blob in image.blobs() {
            self.put(blob);
        }
        self.put(&image.manifest);
    }

    fn put(&self, blob: &Blob) {
        fs::write(self.path(blob), &blob.bytes).expect("a blob of the layout");
    }

    fn tag(&mut self, tag: &str, blob: &Blob) -> &mut Self {
        const NAME: &str = "org.opencontainers.image.ref.name";
        let is_tag = |entry: &Value| entry.pointer("/annotations").and_then(|a| a.get(NAME)).is_some_and(|n| n == tag);
        self.manifests.retain(|entry| !is_tag(entry));
        let mut entry = blob.descriptor();
        if let Some(fields) = entry.as_object_mut() {
            fields.insert("annotations".to_owned(), json!({NAME: tag}));
        }
        self.manifests.push(entry);
        self.write_index();
        self
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": self.manifests});
        fs::write(self.folder.join("index.json"), index.to_string()).expect("the layout's index");
    }

    fn path(&self, blob: &Blob) -> PathBuf {
        self.folder.join("blobs/sha256").join(blob.digest.hex())
    }
}

/// A folder that is removed when dropped.
#[must_use]
pub fn scratch() -> TempDir {
    tempfile::tempdir().expect("a scratch folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_moves_and_every_blob_is_named_by_its_digest() {
        let folder = scratch();
        let mut layout = Layout::create(folder.path());
        layout.add("v1", &Image::new("one")).add_index("v1", &Index::new("two"));

        let index: Value = serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(index["manifests"][0]["digest"], Index::new("two").digest().to_string());
        for entry in fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let digest = contracts::Digest::of(&fs::read(&path).unwrap());
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), digest.hex());
        }
    }
}
