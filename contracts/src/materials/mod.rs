//! Materials: the pieces of evidence that a contract asks for. This module tells the types apart, checks that
//! bytes are what their type says, and reads them as the JSON that policies see. [`table`](self) has a row for each type.
//!
//! It must not judge what a document says (that is for policies), and reads no more than its bounds.

mod archive;
mod chainloop;
mod coverage;
mod csaf;
mod cyclonedx;
mod documents;
mod dranzer;
mod graphql;
mod helm;
mod junit;
mod kind;
mod look;
mod radamsa;
mod reading;
mod sarif;
mod scans;
mod shape;
mod signed;
mod spdx;
mod specs;
mod sysinternals;
mod table;
mod tabular;
mod vex;
mod xml;

pub use kind::{MaterialType, UnknownMaterialType};
pub use look::Recognised;
pub use reading::{MaterialError, Projection, Reading};
pub use table::{describe_table, is_derived};

pub(crate) use kind::nearest;
use reading::{Annotations, Json, to_json};

use crate::Code;

/// Reads the bytes as what the type says: what policies see of them, and what they say of themselves.
///
/// SBOMs and other JSON documents are held to the fields that their format requires in the version that they declare,
/// to its enumerations, and to the kind of value of each field that policies read; not to every rule of the published
/// schemas, which widespread tools break (`npm sbom` does).
///
/// # Errors
/// When they are not what the type says, or are empty, too large, or of a version that is not known.
pub fn read(kind: MaterialType, bytes: &[u8]) -> Result<Reading<'_>, MaterialError> {
    let row = table::of(kind);
    check_size(kind, &row, bytes)?;
    (row.read)(bytes).map_err(|error| name_what_it_is(kind, bytes, error))
}

/// Checks that the bytes are what the type says.
///
/// # Errors
/// As [`read`].
pub fn validate(kind: MaterialType, bytes: &[u8]) -> Result<(), MaterialError> {
    read(kind, bytes).map(drop)
}

/// What policies see of the bytes, validated on the way.
///
/// # Errors
/// As [`read`].
pub fn project(kind: MaterialType, bytes: &[u8]) -> Result<Projection<'_>, MaterialError> {
    read(kind, bytes).map(|reading| reading.projection)
}

/// The types that a file's bytes speak for by themselves; what the file is called settles nothing.
#[must_use]
pub fn recognise(bytes: &[u8]) -> Recognised {
    look::recognise(bytes)
}

fn check_size(kind: MaterialType, row: &table::Row, bytes: &[u8]) -> Result<(), MaterialError> {
    if bytes.is_empty() && !row.may_be_empty {
        return Err(MaterialError::malformed("it is empty"));
    }
    if bytes.len() > row.most_bytes {
        let message = format!("it has {} bytes, and a `{kind}` may have {}", bytes.len(), row.most_bytes);
        return Err(MaterialError::too_large(message));
    }
    Ok(())
}

/// When the bytes are another type's, that is the more useful answer.
fn name_what_it_is(kind: MaterialType, bytes: &[u8], error: MaterialError) -> MaterialError {
    if error.code != Code::MaterialMalformed {
        return error;
    }
    match look::recognise(bytes).kinds.as_slice() {
        [other] if *other != kind => {
            let message = format!("it is of type `{other}`, and `{kind}` is asked for");
            MaterialError { code: Code::MaterialType, message, mend: None }
                .mend("name the right file, or ask for the other type in the contract")
        }
        _ => error,
    }
}
