//! What a manifest says, read so that no client can read it otherwise.
//!
//! Clients read manifests with parsers that take the last of two equal keys, or match keys in any case. What two
//! parsers could read as two things is refused here, as is whatever would let a client fetch bytes elsewhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts::{
    Digest, json,
    limits::{MANIFEST_BYTES, PARSED_AT_ONCE},
};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::Manifest;

/// An OCI image index.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Whether manifests of this media type list manifests.
pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// Whether a media type is one of images' manifests and indexes, those that are not served among them.
pub(super) fn is_of_images(media_type: &str) -> bool {
    let media_type = media_type.trim().to_ascii_lowercase();
    ["application/vnd.oci.image.", "application/vnd.docker."].iter().any(|begin| media_type.starts_with(begin))
}

/// All that is asked for and served, as one header: some registries answer 404 to several.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Descriptors in one manifest.
const DESCRIPTORS: usize = 4096;

/// The keys that clients look for, in a manifest or a descriptor.
const KEYS: [&str; 17] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "blobs",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "fsLayers",
    "history",
    "signatures",
];

/// One descriptor.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) artifact_type: Option<String>,
    /// What cosign says of a signature; no other annotations.
    pub(super) cosign: BTreeMap<String, String>,
}

/// A manifest or index, read.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) media_type: String,
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: Map<String, Value>,
    pub(super) subject: Option<Digest>,
    /// Of an index.
    pub(super) manifests: Vec<Descriptor>,
    /// Of a manifest.
    pub(super) config: Option<Descriptor>,
    /// Of a manifest.
    pub(super) layers: Vec<Descriptor>,
}

impl Document {
    /// Reads a manifest. `said` is the media type that came with it. The reason for a refusal is a sentence.
    pub(super) fn parse(bytes: &[u8], said: Option<&str>) -> Result<Self, String> {
        let value = json::parse_strict(bytes, MANIFEST_BYTES).map_err(|error| format!("its manifest is {error}"))?;
        Self::of(&value, said)
    }

    fn of(value: &Value, said: Option<&str>) -> Result<Self, String> {
        let object = plain_object(value, "the manifest")?;
        let said = said.map(|text| text.split(';').next().unwrap_or_default().trim()).filter(|text| !text.is_empty());
        let own = text(object, "mediaType")?;
        let media_type = match (said, own) {
            (Some(said), Some(own)) if said != own => {
                return Err(format!("it calls `{}` what calls itself `{}`", shown(said), shown(own)));
            }
            (Some(one), _) | (None, Some(one)) => one.to_owned(),
            (None, None) => return Err("its manifest has no media type".to_owned()),
        };
        if object.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err("its manifest is not of schema version 2".to_owned());
        }
        let refused: &[&str] = match media_type.as_str() {
            OCI_INDEX | DOCKER_LIST => &["layers", "config", "fsLayers", "blobs"],
            OCI_MANIFEST | DOCKER_MANIFEST => &["manifests", "fsLayers", "blobs"],
            other => return Err(format!("manifests of type `{}` are not served", shown(other))),
        };
        if let Some(key) = refused.iter().find(|key| object.contains_key(**key)) {
            return Err(format!("a manifest of type `{media_type}` may not have `{key}`"));
        }
        let index = matches!(media_type.as_str(), OCI_INDEX | DOCKER_LIST);
        let subject = object.get("subject").filter(|v| !v.is_null()).map(Descriptor::parse).transpose()?;
        Ok(Self {
            artifact_type: text(object, "artifactType")?.map(str::to_owned),
            annotations: map(object, "annotations")?,
            subject: subject.map(|subject| subject.digest),
            manifests: if index { descriptors(object, "manifests")? } else { Vec::new() },
            config: match object.get("config") {
                Some(config) => Some(Descriptor::parse(config)?),
                None if index => None,
                None => return Err("its manifest has no `config`".to_owned()),
            },
            layers: if index { Vec::new() } else { descriptors(object, "layers")? },
            media_type,
        })
    }

    /// Whether it lists manifests.
    pub(super) fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// What belongs to it: manifests, configuration, layers. Its subject does not.
    pub(super) fn children(&self) -> Vec<Digest> {
        self.manifests.iter().chain(&self.config).chain(&self.layers).map(|child| child.digest).collect()
    }

    /// The manifest as it is served.
    pub(super) fn served(&self, bytes: Bytes, digest: Digest) -> Manifest {
        Manifest { bytes, digest, media_type: self.media_type.clone(), children: self.children().into() }
    }
}

impl Descriptor {
    fn parse(value: &Value) -> Result<Self, String> {
        let object = plain_object(value, "a descriptor")?;
        let elsewhere = match object.get("urls") {
            None | Some(Value::Null) => false,
            Some(Value::Array(urls)) => !urls.is_empty(),
            Some(_) => true,
        };
        if elsewhere {
            return Err("a descriptor names `urls` outside the registry, which are not served".to_owned());
        }
        let digest = text(object, "digest")?.ok_or("a descriptor has no digest")?;
        Ok(Self {
            media_type: text(object, "mediaType")?.unwrap_or_default().to_owned(),
            digest: digest.parse::<Digest>().map_err(|error| format!("in a descriptor, {error}"))?,
            size: object.get("size").and_then(Value::as_u64).ok_or("a descriptor has no size")?,
            artifact_type: text(object, "artifactType")?.map(str::to_owned),
            cosign: match object.get("annotations") {
                Some(Value::Object(all)) => all.iter().filter_map(of_cosign).collect(),
                _ => BTreeMap::new(),
            },
        })
    }
}

fn of_cosign((key, value): (&String, &Value)) -> Option<(String, String)> {
    let text = value.as_str().filter(|_| key.starts_with("dev.sigstore.cosign/"))?;
    Some((key.clone(), text.to_owned()))
}

/// Reads a document from a registry. A large one takes many times its length and a while, so it is read on a thread
/// for such work, and few are at a time.
pub(super) async fn parsed<T: Send + 'static>(
    bytes: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    /// Read where the request runs.
    const SMALL: usize = 64 * 1024;
    static PLACES: Semaphore = Semaphore::const_new(PARSED_AT_ONCE);
    if bytes.len() <= SMALL {
        return read(&bytes);
    }
    let place = PLACES.acquire().await.map_err(|error| error.to_string())?;
    let reading = tokio::task::spawn_blocking(move || {
        let _place = place;
        read(&bytes)
    });
    reading.await.map_err(|stopped| stopped.to_string())?
}

/// The descriptors of a list of referrers, and whether that is all of them: of a long one, the first.
pub(super) fn listed(bytes: &[u8], said: Option<&str>) -> Result<(Vec<Descriptor>, bool), String> {
    let mut value = json::parse_strict(bytes, MANIFEST_BYTES).map_err(|error| format!("its list is {error}"))?;
    let all = value.get_mut("manifests").and_then(Value::as_array_mut);
    let complete = all.is_none_or(|all| {
        let complete = all.len() <= DESCRIPTORS;
        all.truncate(DESCRIPTORS);
        complete
    });
    let document = Document::of(&value, said)?;
    if document.is_index() { Ok((document.manifests, complete)) } else { Err("it is not an index".to_owned()) }
}

fn plain_object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or_else(|| format!("{what} is not a JSON object"))?;
    let folds = |key: &&String| !key.is_ascii() || KEYS.iter().any(|k| reads_as(key, k) && k != key);
    match object.keys().find(folds) {
        Some(key) => Err(format!("{what} has the key `{}`, which clients may take for another", shown(key))),
        None => Ok(object),
    }
}

/// Whether a client may take a key for this one, which is plain ASCII. Go's decoder folds case, and Unicode's too: it
/// takes the long s and the sign of the kelvin for letters of ASCII. Others fold more.
pub(super) fn reads_as(key: &str, name: &str) -> bool {
    let folded = key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.eq(name.chars().map(|letter| letter.to_ascii_lowercase()))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` is not a text")),
    }
}

fn map(object: &Map<String, Value>, key: &str) -> Result<Map<String, Value>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(format!("`{key}` is not an object")),
    }
}

fn descriptors(object: &Map<String, Value>, key: &str) -> Result<Vec<Descriptor>, String> {
    match object.get(key) {
        Some(Value::Array(items)) if items.len() <= DESCRIPTORS => items.iter().map(Descriptor::parse).collect(),
        Some(Value::Array(_)) => Err(format!("`{key}` has more than {DESCRIPTORS} entries")),
        _ => Err(format!("its manifest has no `{key}`")),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(extra: &Value) -> Value {
        let mut one = json!({"mediaType": "x/y", "digest": Digest::of(b"x"), "size": 1});
        one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        one
    }

    fn manifest(extra: &Value) -> Vec<u8> {
        let mut one = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(&json!({})), "layers": [descriptor(&json!({}))],
        });
        one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        one.to_string().into_bytes()
    }

    #[test]
    fn reads_a_manifest_and_an_index() {
        let one = Document::parse(&manifest(&json!({})), Some(OCI_MANIFEST)).unwrap();
        assert_eq!(one.children(), [Digest::of(b"x"), Digest::of(b"x")]);
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(&json!({"urls": []}))]}).to_string();
        let index = Document::parse(index.as_bytes(), Some(&format!("{OCI_INDEX}; charset=utf-8"))).unwrap();
        assert!(index.is_index());
        assert_eq!(index.children().len(), 1);
    }

    #[test]
    fn refuses_what_two_parsers_could_read_differently() {
        let twice = String::from_utf8(manifest(&json!({}))).unwrap();
        let twice = twice.replacen('{', "{\"layers\":[],", 1).into_bytes();
        for (what, bytes, said) in [
            ("both kinds", manifest(&json!({"manifests": []})), OCI_MANIFEST),
            ("another case", manifest(&json!({"Manifests": []})), OCI_MANIFEST),
            ("folded Unicode", manifest(&json!({"layer\u{17f}": []})), OCI_MANIFEST),
            ("urls", manifest(&json!({"layers": [descriptor(&json!({"urls": ["https://evil.dev"]}))]})), OCI_MANIFEST),
            ("folded urls", manifest(&json!({"layers": [descriptor(&json!({"URLS": ["x"]}))]})), OCI_MANIFEST),
            (
                "urls of the configuration",
                manifest(&json!({"config": descriptor(&json!({"urls": ["x"]}))})),
                OCI_MANIFEST,
            ),
            ("another type than said", manifest(&json!({})), OCI_INDEX),
            ("a type nobody knows", manifest(&json!({"mediaType": "text/html"})), "text/html"),
            ("schema 1", manifest(&json!({"schemaVersion": 1})), OCI_MANIFEST),
            ("no layers", manifest(&json!({"layers": null})), OCI_MANIFEST),
            (
                "another algorithm",
                manifest(&json!({"layers": [descriptor(&json!({"digest": "sha512:00"}))]})),
                OCI_MANIFEST,
            ),
            ("a key twice", twice, OCI_MANIFEST),
            ("not JSON", b"<html>".to_vec(), OCI_MANIFEST),
        ] {
            assert!(Document::parse(&bytes, Some(said)).is_err(), "{what}");
        }
    }
}
