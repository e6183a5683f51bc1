//! The two images of the quickstart, written as an OCI image layout: real manifests, configurations and layers,
//! a few hundred bytes each.

use std::{fs, io, path::Path};

use contracts::Digest;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes a layout that holds one image per tag, each with a text file in its only layer. Writing the same
/// images again changes nothing.
pub fn write_layout(folder: &Path, repository: &str, tags: &[&str]) -> io::Result<Vec<Digest>> {
    fs::create_dir_all(folder.join("blobs/sha256"))?;
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut manifests = Vec::new();
    let mut digests = Vec::new();
    for tag in tags {
        let mut manifest = write_image(folder, &format!("this is {repository}:{tag}\n"))?;
        digests.push(manifest.1);
        if let Some(descriptor) = manifest.0.as_object_mut() {
            descriptor.insert(
                "annotations".to_owned(),
                json!({ "org.opencontainers.image.ref.name": format!("{repository}:{tag}") }),
            );
        }
        manifests.push(manifest.0);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    fs::write(folder.join("index.json"), index.to_string())?;
    Ok(digests)
}

fn write_image(folder: &Path, text: &str) -> io::Result<(Value, Digest)> {
    let layer = tar_of("message.txt", text.as_bytes())?;
    let (layer_descriptor, layer_digest) = write_blob(folder, LAYER, &layer)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["cat", "/message.txt"] },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
    });
    let (config_descriptor, _) = write_blob(folder, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_descriptor,
        "layers": [layer_descriptor],
    });
    write_blob(folder, MANIFEST, manifest.to_string().as_bytes())
}

fn write_blob(folder: &Path, media_type: &str, bytes: &[u8]) -> io::Result<(Value, Digest)> {
    let digest = Digest::of(bytes);
    fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes)?;
    Ok((json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }), digest))
}

fn tar_of(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, content)?;
    archive.into_inner()
}
