//! CSAF 2.0 and 2.1 (OASIS), one material type for each of four categories.

use serde_json::Value;

use super::{
    Annotations, MaterialError, documents,
    reading::{Reading, TOOL_NAME, TOOL_VERSION, note, text},
    shape::{
        Shape::{self, Any, Filled, List, Map, Number, Object, OneOf, Several, Text},
        may, must,
    },
};
use crate::digest::shorten;

/// A document of this category.
pub(super) fn read<'b>(bytes: &'b [u8], category: &str) -> Result<Reading<'b>, MaterialError> {
    let document = documents::parse(bytes)?;
    let Some(about) = document.get("document").filter(|about| about.is_object()) else {
        return Err(MaterialError::malformed("it has no `document`, so it is not a CSAF document"));
    };
    documents::version(about, "csaf_version", "CSAF", &[("2.0", 20), ("2.1", 21)])?;
    if let Some(other) = text(about, "category").filter(|found| *found != category) {
        let message = format!("`/document/category` is `{}`; it has to be `{category}`", shorten(other));
        return Err(MaterialError::malformed(message).mend("add it as the material type of its own category"));
    }
    DOCUMENT.check(&document, 0)?;
    Ok(Reading::itself(bytes, describe(&document)))
}

static DOCUMENT: Shape = Object(&[
    must(
        "document",
        Object(&[
            must("category", Filled),
            must("title", Filled),
            must("publisher", Object(&[must("category", Filled), must("name", Filled), must("namespace", Filled)])),
            must(
                "tracking",
                Object(&[
                    must("id", Filled),
                    must("version", Filled),
                    must("status", OneOf(&["draft", "final", "interim"])),
                    must("initial_release_date", Filled),
                    must("current_release_date", Filled),
                    must(
                        "revision_history",
                        Several(&Object(&[must("date", Filled), must("number", Filled), must("summary", Filled)])),
                    ),
                ]),
            ),
            may("notes", List(&Object(&[must("category", Filled), must("text", Filled)]))),
            may("references", List(&Object(&[must("summary", Filled), must("url", Filled)]))),
        ]),
    ),
    may("product_tree", Map(&Any)),
    may("vulnerabilities", List(&VULNERABILITY)),
]);

const VULNERABILITY: Shape = Object(&[
    may("cve", Filled),
    may("product_status", Map(&List(&Text))),
    may("scores", List(&Object(&[may("products", List(&Text)), may("cvss_v3", Object(&[may("baseScore", Number)]))]))),
    may("remediations", List(&Object(&[must("category", Filled), must("details", Filled)]))),
    may("threats", List(&Object(&[must("category", Filled), must("details", Filled)]))),
    may("flags", List(&Object(&[must("label", Filled)]))),
    may("notes", List(&Object(&[must("text", Filled)]))),
]);

fn describe(document: &Value) -> Annotations {
    let mut annotations = Annotations::new();
    let engine = document.pointer("/document/tracking/generator/engine");
    note(&mut annotations, TOOL_NAME, engine.and_then(|engine| text(engine, "name")));
    note(&mut annotations, TOOL_VERSION, engine.and_then(|engine| text(engine, "version")));
    annotations
}
