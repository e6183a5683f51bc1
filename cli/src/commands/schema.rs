//! `sluice schema`: JSON Schemas of the documents that people write, for editors.
//!
//! A schema helps while typing. Whether a document is right is for `lint` to say, which knows what a schema cannot.

use serde_json::Value;

use crate::{args::SchemaKind, exit::Exit, report::Report};

/// Prints one.
pub fn run(kind: SchemaKind) -> anyhow::Result<Report> {
    let text = match kind {
        SchemaKind::Contract => contracts::schema::CONTRACT,
        SchemaKind::Policy => contracts::schema::POLICY,
        SchemaKind::PolicyGroup => contracts::schema::POLICY_GROUP,
        SchemaKind::Exemption => contracts::schema::EXEMPTION,
        SchemaKind::PolicyTest => contracts::schema::POLICY_TEST,
    };
    let schema: Value = serde_json::from_str(text)?;
    Report::new(Exit::Yes, &schema, text)
}
