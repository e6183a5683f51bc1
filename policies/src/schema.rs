//! JSON Schemas of custom evidence.

use contracts::contract::compile_schema;
use jsonschema::Validator;

use crate::{evidence::Evidence, rego::shorten};

/// Mistakes told about one document.
const SHOWN: usize = 5;

/// The schema of a material.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) material: String,
    validator: Validator,
}

impl Schema {
    /// Prepares a schema. Nothing is fetched for it, and its patterns match in linear time.
    pub(crate) fn new(material: &str, schema: &serde_json::Value) -> Result<Self, String> {
        let validator = compile_schema(schema).map_err(|error| error.to_string())?;
        Ok(Self { material: material.to_owned(), validator })
    }

    /// What breaks the schema. Nothing, when the material is not there: that is for another rule to say.
    pub(crate) fn errors(&self, evidence: &Evidence) -> Vec<String> {
        let Some(piece) = evidence.materials.get(&self.material).filter(|piece| piece.material.present) else {
            return Vec::new();
        };
        let Some(document) = &piece.material.document else {
            return vec!["it is not JSON".to_owned()];
        };
        let Ok(json) = serde_json::to_value(document.value()) else {
            return vec!["it cannot be read".to_owned()];
        };
        let describe = |error: jsonschema::ValidationError<'_>| {
            let path = error.instance_path().to_string();
            let at = if path.is_empty() { String::new() } else { format!("`{}`: ", shorten(&path)) };
            format!("{at}{}", shorten(&error.masked().to_string()))
        };
        self.validator.iter_errors(&json).take(SHOWN).map(describe).collect()
    }
}
