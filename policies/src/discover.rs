//! What `chainloop.discover` answers: how the attestations of an image, their materials and their commits refer to each
//! other. In the shape of Chainloop's referrers, but of verified evidence alone.
//!
//! What an attestation says of its own policies is no evidence, so `hasPolicyViolations` is not among what is told.

use std::collections::BTreeMap;

use regorus::Value;

use crate::evidence::{Attested, Evidence, object, text};

/// The published kinds of what is no material.
const ATTESTATION: &str = "ATTESTATION";
const GIT_HEAD: &str = "GIT_HEAD";

/// What is known of a digest (`sha256:…`, `sha1:…`), of a kind when one is given.
///
/// # Errors
/// When nothing is known of it, or it is of several kinds. The published function fails there, too.
pub(crate) fn discover(evidence: &Evidence, digest: &str, kind: &str) -> Result<Value, String> {
    let mut found =
        known(evidence).into_iter().filter(|node| node.digest == digest && (kind.is_empty() || node.kind == kind));
    let Some(node) = found.next() else {
        let of_kind = if kind.is_empty() { String::new() } else { format!(" of kind `{kind}`") };
        return Err(format!("the evidence has nothing{of_kind} with the digest `{digest}`"));
    };
    if let Some(other) = found.next() {
        return Err(format!("`{digest}` is both {} and {}: name the kind", node.kind, other.kind));
    }
    let references = node.references.iter().map(Node::value).collect::<Vec<_>>();
    let mut value = node.fields();
    value.insert(Value::from("references"), Value::from(references));
    Ok(Value::from(value))
}

struct Node<'e> {
    digest: String,
    kind: String,
    downloadable: bool,
    of: Option<&'e Attested>,
    references: Vec<Node<'e>>,
}

impl<'e> Node<'e> {
    fn new(digest: String, kind: &str, downloadable: bool) -> Self {
        Self { digest, kind: kind.to_owned(), downloadable, of: None, references: Vec::new() }
    }

    fn attestation(attested: &'e Attested) -> Self {
        Self { of: Some(attested), ..Self::new(attested.id.to_string(), ATTESTATION, true) }
    }

    fn fields(&self) -> BTreeMap<Value, Value> {
        let (metadata, annotations) = self.of.map_or_else(|| (Value::new_object(), Value::new_object()), told);
        BTreeMap::from([
            (Value::from("digest"), text(&self.digest)),
            (Value::from("kind"), text(&self.kind)),
            (Value::from("downloadable"), Value::Bool(self.downloadable)),
            (Value::from("metadata"), metadata),
            (Value::from("annotations"), annotations),
        ])
    }

    fn value(&self) -> Value {
        Value::from(self.fields())
    }
}

/// Attestations refer to their materials and commits, and those back to them.
fn known(evidence: &Evidence) -> Vec<Node<'_>> {
    let mut parts = Vec::new();
    for piece in evidence.materials.values() {
        let material = &piece.material;
        parts.push(Node::new(material.digest(), material.kind.as_str(), material.document.is_some()));
    }
    for attested in &evidence.attested {
        if let Some(head) = git_head(attested) {
            parts.push(Node::new(head, GIT_HEAD, false));
        }
    }
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for part in &parts {
        // The same bytes may be attached twice.
        if nodes.iter().any(|node| node.digest == part.digest && node.kind == part.kind) {
            continue;
        }
        let mut node = Node::new(part.digest.clone(), &part.kind, part.downloadable);
        node.references = evidence.attested.iter().map(Node::attestation).collect();
        nodes.push(node);
    }
    for attested in &evidence.attested {
        let mut node = Node::attestation(attested);
        node.references =
            parts.iter().map(|part| Node::new(part.digest.clone(), &part.kind, part.downloadable)).collect();
        nodes.push(node);
    }
    nodes
}

/// The commit that an attestation names as a subject, as `sha1:…`.
fn git_head(attested: &Attested) -> Option<String> {
    let field = |of: &Value, name: &str| match of {
        Value::Object(fields) => fields.get(&Value::from(name)).cloned(),
        _ => None,
    };
    let Some(Value::Array(subjects)) = field(&attested.attestation, "subject") else { return None };
    let head = subjects.iter().find(|subject| field(subject, "name") == Some(Value::from("git.head")))?;
    let digest = field(&field(head, "digest")?, "sha1")?;
    digest.as_string().ok().map(|hex| format!("sha1:{hex}"))
}

/// What is told of an attestation: the names of its run, and its annotations.
fn told(attested: &Attested) -> (Value, Value) {
    let run = |name: &str| match &attested.run {
        Value::Object(fields) => fields.get(&Value::from(name)).cloned(),
        _ => None,
    };
    let mut metadata = BTreeMap::new();
    for (published, name) in [
        ("name", "workflow"),
        ("project", "project"),
        ("team", "team"),
        ("organization", "organization"),
        ("contractName", "contract"),
        ("contractVersion", "revision"),
    ] {
        if let Some(value) = run(name) {
            metadata.insert(Value::from(published), value);
        }
    }
    (Value::from(metadata), run("annotations").unwrap_or_else(|| object([])))
}
