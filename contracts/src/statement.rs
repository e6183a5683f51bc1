//! In-toto statements: what is said (the predicate) about which artifacts (the subjects).
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    Digest,
    digest::shorten,
    json::{JsonError, parse_unverified},
    limits,
};

/// The type that is written.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// The older type that is read as well; what differs does not matter here.
pub const STATEMENT_V0_1: &str = "https://in-toto.io/Statement/v0.1";

/// A statement as it was read. On its own it is a claim of nobody: [`crate::TrustRoot::verify`] says whose.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it speaks of: from 1 to [`limits::STATEMENT_SUBJECTS`], each with a digest.
    pub subjects: Vec<Subject>,
    /// What kind of claim it is. Never empty.
    pub predicate_type: String,
    /// The claim: an object, empty when there was none.
    pub predicate: Value,
    /// The whole statement, with what has no field here.
    pub raw: Value,
}

/// One thing that a statement speaks of.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// A name for people. Never what decides whether the statement is about an artifact.
    pub name: Option<String>,
    /// Algorithm to value, at least one. Images are named by `sha256`, commits by `sha1`.
    pub digest: BTreeMap<String, String>,
    /// What else is said of it: an object, or null.
    pub annotations: Value,
}

impl Subject {
    /// A subject that is named by its SHA-256 digest.
    pub fn sha256(name: impl Into<String>, digest: Digest) -> Self {
        let digest = BTreeMap::from([("sha256".to_owned(), digest.hex())]);
        Self { name: Some(name.into()), digest, annotations: Value::Null }
    }

    /// The SHA-256 digest, when it has one that is spelled as digests are.
    #[must_use]
    pub fn sha256_digest(&self) -> Option<Digest> {
        Digest::from_hex(self.digest.get("sha256")?).ok()
    }

    fn parse(value: &Value) -> Result<Self, StatementError> {
        let object = value.as_object().ok_or(StatementError::Field("subject"))?;
        let name = match object.get("name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return Err(StatementError::Field("subject.name")),
        };
        let annotations = match object.get("annotations") {
            None | Some(Value::Null) => Value::Null,
            Some(annotations @ Value::Object(_)) => annotations.clone(),
            Some(_) => return Err(StatementError::Field("subject.annotations")),
        };
        let digests = object.get("digest").and_then(Value::as_object).ok_or(StatementError::Field("subject.digest"))?;
        let mut digest = BTreeMap::new();
        for (algorithm, value) in digests {
            let value = value.as_str().ok_or(StatementError::Field("subject.digest"))?;
            digest.insert(algorithm.clone(), value.to_owned());
        }
        if digest.is_empty() {
            return Err(StatementError::Field("subject.digest"));
        }
        Ok(Self { name, digest, annotations })
    }

    fn to_value(&self) -> Value {
        let mut object = Map::new();
        if let Some(name) = &self.name {
            object.insert("name".to_owned(), json!(name));
        }
        object.insert("digest".to_owned(), json!(self.digest));
        if !self.annotations.is_null() {
            object.insert("annotations".to_owned(), self.annotations.clone());
        }
        Value::Object(object)
    }
}

impl Statement {
    /// A new statement, of the type v1.
    pub fn new(subjects: Vec<Subject>, predicate_type: impl Into<String>, predicate: Value) -> Self {
        let predicate_type = predicate_type.into();
        let listed: Vec<Value> = subjects.iter().map(Subject::to_value).collect();
        let raw = json!({
            "_type": STATEMENT_V1,
            "subject": listed,
            "predicateType": predicate_type,
            "predicate": predicate,
        });
        Self { subjects, predicate_type, predicate, raw }
    }

    /// Reads the payload of an envelope. Fields that the specification does not know are kept in `raw` alone.
    ///
    /// # Errors
    /// When it is longer than [`limits::BUNDLE_BYTES`], not strict JSON, of another `_type`, or speaks of nothing,
    /// of something without a digest, or of more than [`limits::STATEMENT_SUBJECTS`] things.
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let raw = parse_unverified(payload, limits::BUNDLE_BYTES)?;
        match raw.get("_type").and_then(Value::as_str) {
            Some(STATEMENT_V1 | STATEMENT_V0_1) => {}
            Some(other) => return Err(StatementError::Type { found: shorten(other) }),
            None => return Err(StatementError::Field("_type")),
        }
        let predicate_type = match raw.get("predicateType").and_then(Value::as_str) {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => return Err(StatementError::Field("predicateType")),
        };
        let predicate = match raw.get("predicate") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(predicate @ Value::Object(_)) => predicate.clone(),
            Some(_) => return Err(StatementError::Field("predicate")),
        };
        let list = raw.get("subject").and_then(Value::as_array).ok_or(StatementError::Field("subject"))?;
        if list.is_empty() {
            return Err(StatementError::NoSubject);
        }
        if list.len() > limits::STATEMENT_SUBJECTS {
            return Err(StatementError::TooManySubjects { max: limits::STATEMENT_SUBJECTS });
        }
        let subjects = list.iter().map(Subject::parse).collect::<Result<_, _>>()?;
        Ok(Self { subjects, predicate_type, predicate, raw })
    }

    /// Whether it speaks of the artifact with this digest. Names and other algorithms do not count.
    #[must_use]
    pub fn names_sha256(&self, digest: &Digest) -> bool {
        self.subjects.iter().filter_map(Subject::sha256_digest).any(|named| named == *digest)
    }

    /// Every SHA-256 digest that it speaks of: images, and whatever else is named that way.
    #[must_use]
    pub fn image_digests(&self) -> BTreeSet<Digest> {
        self.subjects.iter().filter_map(Subject::sha256_digest).collect()
    }

    /// The whole statement as JSON: the payload to sign.
    #[must_use]
    pub fn to_json_bytes(&self) -> Vec<u8> {
        self.raw.to_string().into_bytes()
    }
}

/// Why a payload is not an in-toto statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not JSON with one meaning.
    #[error("the statement cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Another kind of document.
    #[error("the statement's type is `{found}`: only in-toto statements v1 and v0.1 are read")]
    Type {
        /// What was read, shortened.
        found: String,
    },
    /// A field is missing or of another kind.
    #[error("the statement has no usable `{0}`")]
    Field(&'static str),
    /// It speaks of nothing.
    #[error("the statement names no subject")]
    NoSubject,
    /// It speaks of too much.
    #[error("the statement names more than {max} subjects")]
    TooManySubjects {
        /// The bound.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_it_writes_is_read_back_and_names_its_subjects_by_sha256_alone() {
        let image = Digest::of(b"image");
        let mut subject = Subject::sha256("registry.acme.dev/skynet", image);
        subject.annotations = json!({"chainloop.material.name": "image"});
        let sha1 = BTreeMap::from([("sha1".to_owned(), Digest::of(b"commit").hex())]);
        let head = Subject { name: Some("git.head".into()), digest: sha1, annotations: Value::Null };
        let statement = Statement::new(vec![subject, head], "https://example.com/p", json!({"a": 1}));
        assert_eq!(Statement::parse(&statement.to_json_bytes()), Ok(statement.clone()));
        assert!(statement.names_sha256(&image));
        assert_eq!(statement.image_digests(), BTreeSet::from([image]));
        let mut nibble = *image.as_bytes();
        nibble[31] ^= 1;
        assert!(!statement.names_sha256(&Digest::from_bytes(nibble)));
        assert!(!statement.names_sha256(&Digest::of(b"commit")), "a SHA-1 entry is never a SHA-256 digest");
    }

    #[test]
    fn what_is_not_a_statement_is_refused() {
        let good = json!({
            "_type": STATEMENT_V0_1,
            "subject": [{"digest": {"sha256": Digest::of(b"x").hex()}}],
            "predicateType": "p",
        });
        assert!(Statement::parse(good.to_string().as_bytes()).is_ok());
        let many: Vec<Value> = vec![good["subject"][0].clone(); limits::STATEMENT_SUBJECTS + 1];
        for (field, value, expected) in [
            ("_type", json!("https://in-toto.io/Statement/v2"), None),
            ("_type", json!(1), Some(StatementError::Field("_type"))),
            ("subject", json!([]), Some(StatementError::NoSubject)),
            ("subject", json!({}), Some(StatementError::Field("subject"))),
            ("subject", json!([{"name": "x"}]), Some(StatementError::Field("subject.digest"))),
            ("subject", json!([{"digest": {}}]), Some(StatementError::Field("subject.digest"))),
            ("subject", json!([{"digest": {"sha256": 1}}]), Some(StatementError::Field("subject.digest"))),
            ("subject", json!(many), Some(StatementError::TooManySubjects { max: limits::STATEMENT_SUBJECTS })),
            ("predicateType", json!(""), Some(StatementError::Field("predicateType"))),
            ("predicate", json!("text"), Some(StatementError::Field("predicate"))),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let error = Statement::parse(bad.to_string().as_bytes()).unwrap_err();
            assert!(expected.is_none_or(|expected| expected == error), "{field}: {error}");
        }
        let twice = good.to_string().replace(r#""predicateType":"p""#, r#""predicateType":"p","predicateType":"p""#);
        assert!(matches!(
            Statement::parse(twice.as_bytes()),
            Err(StatementError::Json(JsonError::DuplicateKey { .. }))
        ));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in any::<Vec<u8>>()) {
            let _ = Statement::parse(&bytes);
        }
    }
}
