//! The statement that a crafting session writes: predicate `chainloop.dev/attestation/v0.2`, as Chainloop's own
//! tools write and read it.
//!
//! Reading says what a statement *claims*. What the build claims about itself being good ([`SelfClaims`]) is taken
//! out before any rule reads it.

mod claims;
mod declared;
mod read;
mod write;

pub use claims::SelfClaims;
pub use declared::{CraftError, CraftedRun, DeclaredMaterial, ImageName};
pub use read::read;
pub use write::{Craft, CraftedMaterial, GitHead, ProjectVersion, Remote};

use crate::MaterialType;

/// The predicate type of a crafted statement.
pub const PREDICATE_TYPE: &str = "chainloop.dev/attestation/v0.2";

/// The name of the subject that is the Git commit.
pub const GIT_HEAD: &str = "git.head";

const MATERIAL_NAME: &str = "chainloop.material.name";
const MATERIAL_TYPE: &str = "chainloop.material.type";
const MATERIAL_STORED: &str = "chainloop.material.cas";
const MATERIAL_INLINE: &str = "chainloop.material.cas.inline";
const MATERIAL_SIZE: &str = "chainloop.material.size";
const IMAGE_TAG: &str = "chainloop.material.image.tag";
const IMAGE_IS_LATEST: &str = "chainloop.material.image.is_latest_tag";

/// Whether an annotation of a material says where its bytes are: in the evidence storage or in the statement. Whoever
/// holds the bytes knows; what an attestation says of it counts for nothing.
#[must_use]
pub fn says_where(annotation: &str) -> bool {
    matches!(annotation, MATERIAL_STORED | MATERIAL_INLINE)
}

/// The annotation of a material whose bytes are at hand.
#[must_use]
pub const fn kept(in_the_statement: bool) -> &'static str {
    if in_the_statement { MATERIAL_INLINE } else { MATERIAL_STORED }
}

/// The type of the slot that an attestation made by another tool fills, when its predicate is a document that
/// contracts ask for. The table is fixed: a predicate type that is not in it fills no slot.
#[must_use]
pub fn foreign_slot(predicate_type: &str) -> Option<MaterialType> {
    match predicate_type {
        "https://cyclonedx.org/bom" | "https://cyclonedx.org/schema" => Some(MaterialType::SbomCyclonedxJson),
        "https://spdx.dev/Document" | "https://spdx.dev/Document/v2.2" | "https://spdx.dev/Document/v2.3" => {
            Some(MaterialType::SbomSpdxJson)
        }
        _ => None,
    }
}
