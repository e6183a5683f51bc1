//! One material: what the attestation declares, and what its bytes are.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use contracts::{
    Code, Digest, EvidencePlace, Finding, MaterialType,
    crafting::{self, DeclaredMaterial},
    limits::MATERIAL_DOCUMENT_BYTES,
    materials::{self, Projection},
};
use regorus::Value;

use super::{fields_of, object, text};
use crate::document::Document;

/// Annotations that are true or false in the published shape.
const FLAGS: [&str; 3] =
    ["chainloop.material.cas", "chainloop.material.cas.inline", "chainloop.material.image.is_latest_tag"];

/// Where a material's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Stored,
    Inline,
    /// Where they need not be here.
    Elsewhere,
    Lost,
}

/// One material: what the attestation declares and what its bytes are.
#[derive(Debug, Clone)]
pub struct MaterialEvidence {
    pub(crate) name: String,
    pub(crate) kind: MaterialType,
    pub(crate) present: bool,
    pub(crate) document: Option<Arc<Document>>,
    facts: BTreeMap<Value, Value>,
    descriptor: BTreeMap<Value, Value>,
}

impl MaterialEvidence {
    /// A material with its bytes, which are hashed again, checked to be what their type says, and parsed.
    ///
    /// # Errors
    /// A blocking finding when they are not those that the attestation names, or not what their type says.
    #[expect(clippy::result_large_err, reason = "the finding is the answer, and goes straight into a list of them")]
    pub fn from_bytes(declared: &DeclaredMaterial, bytes: &[u8]) -> Result<Self, Finding> {
        let place = EvidencePlace { attestation: None, material: Some(declared.name.clone()) };
        let name = &declared.name;
        let refuse = |code, message: String| Finding::error(code, message).in_evidence(place.clone());
        if Digest::of(bytes) != declared.digest {
            let message = format!("the bytes of material `{name}` do not have the digest that the attestation names");
            return Err(refuse(Code::MaterialDigestMismatch, message));
        }
        if bytes.len() > MATERIAL_DOCUMENT_BYTES && declared.kind.has_document() {
            let message = format!("material `{name}` is larger than {MATERIAL_DOCUMENT_BYTES} bytes");
            return Err(refuse(Code::DocumentTooLarge, message));
        }
        let reading = materials::read(declared.kind, bytes)
            .map_err(|error| error.about(&format!("material `{name}`")).finding().in_evidence(place.clone()))?;
        let document = match reading.projection {
            Projection::Opaque => None,
            Projection::Json(json) => Some(
                Document::from_json(&json)
                    .map_err(|error| refuse(Code::MaterialMalformed, format!("material `{name}`: {error}")))?,
            ),
        };
        let content = (declared.kind == MaterialType::String).then_some(bytes);
        // What the bytes say of themselves was read just now: what the build says that they say does not count.
        let mut annotations = declared.annotations.clone();
        annotations.retain(|key, _| !materials::is_derived(key));
        annotations.extend(reading.annotations);
        let held = match (&declared.inline, declared.kind) {
            // A text is in the statement by nature, and nothing says so.
            (_, MaterialType::String) => Held::Elsewhere,
            (Some(_), _) => Held::Inline,
            (None, _) => Held::Stored,
        };
        Ok(Self::new(declared, annotations, held, document, content))
    }

    /// A material whose bytes no rule needs: an image, or one that the contract lets stay where it is. That its bytes
    /// need not be here is for the caller to know; what the attestation says of it counts for nothing.
    #[must_use]
    pub fn reference(declared: &DeclaredMaterial) -> Self {
        Self::unread(declared, Held::Elsewhere)
    }

    /// A material whose bytes are kept and have its digest, which is for the caller to know, and are not read.
    #[must_use]
    pub fn hashed(declared: &DeclaredMaterial) -> Self {
        Self::unread(declared, Held::Stored)
    }

    /// A material whose bytes were never uploaded, or were lost. Its rules fail.
    #[must_use]
    pub fn absent(declared: &DeclaredMaterial) -> Self {
        Self::unread(declared, Held::Lost)
    }

    /// Without what its bytes would say of themselves.
    fn unread(declared: &DeclaredMaterial, held: Held) -> Self {
        let mut annotations = declared.annotations.clone();
        annotations.retain(|key, _| !materials::is_derived(key));
        Self::new(declared, annotations, held, None, None)
    }

    fn new(
        declared: &DeclaredMaterial,
        mut annotations: BTreeMap<String, String>,
        held: Held,
        document: Option<Arc<Document>>,
        content: Option<&[u8]>,
    ) -> Self {
        annotations.retain(|key, _| !crafting::says_where(key));
        if matches!(held, Held::Stored | Held::Inline) {
            annotations.insert(crafting::kept(held == Held::Inline).to_owned(), true.to_string());
        }
        let annotations = annotations.iter().map(|(key, value)| {
            let flag = FLAGS.contains(&key.as_str()).then(|| value.parse::<bool>().ok()).flatten();
            (text(key), flag.map_or_else(|| text(value), Value::Bool))
        });
        let annotations = Value::from(annotations.collect::<BTreeMap<_, _>>());
        let called = match (&declared.image, &declared.filename) {
            (Some(image), _) => Some(image.repository.to_string()),
            (None, filename) => filename.clone(),
        };
        let mut descriptor = BTreeMap::from([
            (Value::from("digest"), object([("sha256", text(&declared.digest.hex()))])),
            (Value::from("annotations"), annotations.clone()),
        ]);
        if let Some(called) = &called {
            descriptor.insert(Value::from("name"), text(called));
        }
        if let Some(content) = content {
            descriptor.insert(Value::from("content"), text(&STANDARD.encode(content)));
        }
        let facts = BTreeMap::from([
            (Value::from("name"), text(&declared.name)),
            (Value::from("type"), text(declared.kind.as_str())),
            (Value::from("digest"), text(&declared.digest.to_string())),
            (Value::from("filename"), called.map_or(Value::Null, |called| text(&called))),
            (Value::from("output"), Value::Bool(declared.output)),
            (Value::from("annotations"), annotations),
        ]);
        let (name, present) = (declared.name.clone(), held != Held::Lost);
        Self { name, kind: declared.kind, present, document, facts, descriptor }
    }

    /// Its name, and its annotations with what was found of its bytes.
    pub(super) fn found(&self) -> Option<(&str, &Value)> {
        Some((&self.name, self.descriptor.get(&Value::from("annotations"))?))
    }

    /// What CEL sees.
    pub(super) fn facts(&self) -> Value {
        let mut facts = self.facts.clone();
        facts.insert(Value::from("present"), Value::Bool(self.present));
        if let Some(document) = &self.document {
            facts.insert(Value::from("document"), document.value().clone());
        }
        Value::from(facts)
    }

    /// What a policy sees: the document, an array as `elements`, anything else as nothing, with what is known of the
    /// material under `chainloop_metadata`.
    pub(super) fn input(&self, project: &BTreeMap<Value, Value>) -> Value {
        let mut input = match self.document.as_ref().map(|document| document.value()) {
            Some(document @ Value::Object(_)) => fields_of(document),
            Some(Value::Array(elements)) => {
                BTreeMap::from([(Value::from("elements"), Value::Array(Arc::clone(elements)))])
            }
            _ => BTreeMap::new(),
        };
        let mut metadata = self.descriptor.clone();
        metadata.extend(project.iter().map(|(key, value)| (key.clone(), value.clone())));
        input.insert(Value::from("chainloop_metadata"), Value::from(metadata));
        input.insert(Value::from("args"), Value::new_object());
        Value::from(input)
    }
}

impl MaterialEvidence {
    /// As `sha256:…`.
    pub(crate) fn digest(&self) -> String {
        let digest = self.facts.get(&Value::from("digest"));
        digest.and_then(|digest| digest.as_string().ok()).map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn renamed(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self.facts.insert(Value::from("name"), text(name));
        self
    }
}
