//! What other tools hang on an image in its registry: cosign v3's bundles as referrers, cosign v2's `.att` tags.

use serde_json::{Value, json};

use crate::{Blob, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST};

const MEDIA_TYPE_EMPTY: &str = "application/vnd.oci.empty.v1+json";
const MEDIA_TYPE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MEDIA_TYPE_DSSE: &str = "application/vnd.dsse.envelope.v1+json";

/// Something attached to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Configuration and content.
    pub blobs: Vec<Blob>,
    /// The manifest that refers to the content.
    pub manifest: Blob,
    /// Where a registry without the referrers API has it.
    pub tag: String,
    /// What that tag points at: an index of referrers, or the manifest itself.
    pub tagged: Blob,
}

impl Attached {
    /// Sigstore bundles as cosign v3 attaches them: each a manifest with a `subject`, listed by an index under the
    /// tag `sha256-…` (OCI distribution specification, "Referrers Tag Schema"). The index's entries carry the
    /// `artifactType` of an empty configuration, as cosign writes it.
    #[must_use]
    pub fn bundles(subject: &Blob, bundles: &[&[u8]]) -> Self {
        let empty = Blob::new(MEDIA_TYPE_EMPTY, b"{}".to_vec());
        let mut blobs = vec![empty.clone()];
        let mut manifests = Vec::new();
        for bundle in bundles {
            let content = Blob::new(MEDIA_TYPE_BUNDLE, bundle.to_vec());
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MEDIA_TYPE_MANIFEST,
                "artifactType": MEDIA_TYPE_BUNDLE,
                "config": empty.descriptor(),
                "layers": [content.descriptor()],
                "subject": subject.descriptor(),
            });
            manifests.push(Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest));
            blobs.push(content);
        }
        let tagged = list_of_referrers(&manifests);
        let manifest = manifests.first().cloned().unwrap_or_else(|| empty.clone());
        blobs.extend(manifests.into_iter().skip(1));
        Self { blobs, manifest, tag: fallback_tag(subject, ""), tagged }
    }

    /// One artifact with these documents as its layers.
    #[must_use]
    pub fn carrying(subject: &Blob, documents: &[Blob]) -> Self {
        let empty = Blob::new(MEDIA_TYPE_EMPTY, b"{}".to_vec());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_MANIFEST,
            "artifactType": "application/json",
            "config": empty.descriptor(),
            "layers": documents.iter().map(Blob::descriptor).collect::<Vec<_>>(),
            "subject": subject.descriptor(),
        });
        let manifest = Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest);
        let blobs = std::iter::once(empty).chain(documents.iter().cloned()).collect();
        Self { blobs, tagged: list_of_referrers([&manifest]), manifest, tag: fallback_tag(subject, "") }
    }

    /// A DSSE envelope as cosign v2 attaches it: a layer of the image under the tag `sha256-….att`.
    #[must_use]
    pub fn cosign_v2(subject: &Blob, envelope: &[u8], predicate_type: &str) -> Self {
        let content = Blob::new(MEDIA_TYPE_DSSE, envelope.to_vec());
        let config = json!({
            "architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [content.digest]},
        });
        let config = Blob::of_json("application/vnd.oci.image.config.v1+json", &config);
        let mut layer = content.descriptor();
        if let Some(fields) = layer.as_object_mut() {
            let annotations = json!({"dev.cosignproject.cosign/signature": "", "predicateType": predicate_type});
            fields.insert("annotations".to_owned(), annotations);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_MANIFEST,
            "config": config.descriptor(),
            "layers": [layer],
        });
        let manifest = Blob::of_json(MEDIA_TYPE_MANIFEST, &manifest);
        let tagged = manifest.clone();
        Self { blobs: vec![config, content], manifest, tag: fallback_tag(subject, ".att"), tagged }
    }
}

/// The list of what refers to something, as a registry with the referrers API answers it.
#[must_use]
pub fn list_of_referrers<'m>(manifests: impl IntoIterator<Item = &'m Blob>) -> Blob {
    let entries = manifests.into_iter().map(|one| with(one.descriptor(), "artifactType", MEDIA_TYPE_EMPTY));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE_INDEX,
        "manifests": entries.collect::<Vec<_>>(),
    });
    Blob::of_json(MEDIA_TYPE_INDEX, &index)
}

fn fallback_tag(subject: &Blob, suffix: &str) -> String {
    format!("sha256-{}{suffix}", subject.digest.hex())
}

fn with(mut descriptor: Value, key: &str, value: &str) -> Value {
    if let Some(fields) = descriptor.as_object_mut() {
        fields.insert(key.to_owned(), json!(value));
    }
    descriptor
}
