//! OCI images with real layers: gzipped tar archives whose digests are right all the way down.

use std::io::Write as _;

use contracts::Digest;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// An image manifest of one platform (OCI image specification).
pub const MEDIA_TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An index: one image for several platforms.
pub const MEDIA_TYPE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MEDIA_TYPE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MEDIA_TYPE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Bytes with their media type and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What the bytes are.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A blob of these bytes.
    #[must_use]
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { media_type: media_type.to_owned(), digest: Digest::of(&bytes), bytes }
    }

    /// A blob of this JSON, written compactly.
    #[must_use]
    pub fn of_json(media_type: &str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    /// How a manifest refers to this blob.
    #[must_use]
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image's configuration.
    pub config: Blob,
    /// Its layers, lowest first.
    pub layers: Vec<Blob>,
    /// Its manifest: what a digest reference names.
    pub manifest: Blob,
}

impl Image {
    /// A small linux/amd64 image of two layers; another name gives another digest.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::for_platform(name, "amd64")
    }

    /// A small image for another architecture.
    #[must_use]
    pub fn for_platform(name: &str, architecture: &str) -> Self {
        let hello = format!("hello from {name} on {architecture}\n");
        Self::of_layers(name, architecture, &[&[("etc/os-release", b"ID=sluice\n")], &[("hello", hello.as_bytes())]])
    }

    /// An image whose second layer carries this many bytes that do not compress.
    #[must_use]
    pub fn with_payload(name: &str, bytes: usize) -> Self {
        let noise = noise(bytes);
        Self::of_layers(name, "amd64", &[&[("etc/os-release", b"ID=sluice\n")], &[("payload", &noise)]])
    }

    /// An image of these layers, each a list of paths and contents.
    #[must_use]
    pub fn of_layers(name: &str, architecture: &str, layers: &[&[(&str, &[u8])]]) -> Self {
        let archives: Vec<_> = layers.iter().map(|files| archive(files)).collect();
        let diff_ids: Vec<_> = archives.iter().map(|tar| Digest::of(tar)).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"], "Labels": {"org.opencontainers.image.title": name}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "testdata"})).collect::<Vec<_>>(),
        });
        let config = Blob::of_json(MEDIA_TYPE_CONFIG, &config);
        let layers: Vec<_> = archives.iter().map(|tar| Blob::new(MEDIA_TYPE_LAYER, gzip(tar))).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_MANIFEST,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        Self { config, layers, manifest: Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest) }
    }

    /// The manifest's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.manifest.digest
    }

    /// What the manifest refers to: the configuration, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

/// One image for linux/amd64 and linux/arm64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The images, in the index's order.
    pub images: Vec<Image>,
    /// The index itself.
    pub index: Blob,
}

impl Index {
    /// An index of two small images; another name gives another digest.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let platforms = ["amd64", "arm64"];
        let images: Vec<_> = platforms.iter().map(|architecture| Image::for_platform(name, architecture)).collect();
        let children = images.iter().zip(platforms).map(|(image, architecture)| {
            let mut child = image.manifest.descriptor();
            if let Some(fields) = child.as_object_mut() {
                fields.insert("platform".to_owned(), json!({"architecture": architecture, "os": "linux"}));
            }
            child
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_INDEX,
            "manifests": children.collect::<Vec<_>>(),
        });
        Self { index: Blob::of_json(MEDIA_TYPE_INDEX, &index), images }
    }

    /// The index's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.index.digest
    }
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(0);
        tar.append_data(&mut header, path, *content).expect("a tar archive in memory");
    }
    tar.into_inner().expect("a tar archive in memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("gzip into memory");
    gzip.finish().expect("gzip into memory")
}

/// The same bytes each time, without a pattern that gzip finds (xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        out.extend(words.next().unwrap_or_default());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_image_is_the_same_each_time_and_its_digests_are_right() {
        let image = Image::new("app");
        assert_eq!(image, Image::new("app"));
        assert_ne!(image.digest(), Image::new("other").digest());

        let manifest: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
        assert_eq!(manifest["config"]["digest"], image.config.digest.to_string());
        let config: Value = serde_json::from_slice(&image.config.bytes).unwrap();
        for (n, layer) in image.layers.iter().enumerate() {
            assert_eq!(manifest["layers"][n]["digest"], layer.digest.to_string());
            assert_eq!(manifest["layers"][n]["size"], layer.bytes.len());
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(&layer.bytes[..]).read_to_end(&mut tar).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][n], Digest::of(&tar).to_string());
        }
    }

    #[test]
    fn a_payload_stays_as_large_as_asked() {
        let size = Image::with_payload("app", 1_000_000).layers[1].bytes.len();
        assert!((1_000_000..1_100_000).contains(&size), "{size}");
    }
}
