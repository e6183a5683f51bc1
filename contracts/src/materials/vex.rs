//! OpenVEX 0.0.1 and 0.2.0.

use super::{
    Annotations, MaterialError, documents,
    reading::Reading,
    shape::{
        Shape::{self, Any, Either, Filled, List, Object, OneOf, Several, Text, Whole},
        may, must,
    },
};

pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let document = documents::parse(bytes)?;
    documents::version(&document, "@context", "OpenVEX", CONTEXTS)?;
    DOCUMENT.check(&document, 0)?;
    Ok(Reading::itself(bytes, Annotations::new()))
}

const CONTEXTS: &[(&str, u16)] =
    &[("https://openvex.dev/ns/v0.2.0", 2), ("https://openvex.dev/ns/v0.0.1", 0), ("https://openvex.dev/ns", 0)];

static DOCUMENT: Shape = Object(&[
    must("@id", Filled),
    must("author", Filled),
    must("timestamp", Filled),
    // A number, and a text in the first version of the format.
    must("version", Either("a whole number from 1, or a text", &[Whole(1), Filled])),
    must("statements", Several(&STATEMENT)),
]);

const STATEMENT: Shape = Object(&[
    must(
        "vulnerability",
        Either(
            "the name of a vulnerability, or an object that names one",
            &[Filled, Object(&[must("name", Filled)]), Object(&[must("@id", Filled)])],
        ),
    ),
    must("status", OneOf(&["not_affected", "affected", "fixed", "under_investigation"])),
    may("products", List(&Either("the identifier of a product, or an object", &[Filled, Object(&[may("@id", Text)])]))),
    may(
        "justification",
        OneOf(&[
            "component_not_present",
            "vulnerable_code_not_present",
            "vulnerable_code_not_in_execute_path",
            "vulnerable_code_cannot_be_controlled_by_adversary",
            "inline_mitigations_already_exist",
        ]),
    ),
    may("impact_statement", Text),
    may("action_statement", Text),
    may("subcomponents", List(&Any)),
]);
