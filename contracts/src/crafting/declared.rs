//! What a crafted statement claims, as values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Code, Digest, MaterialType, Repository, Tag, limits, materials::UnknownMaterialType};

/// What a crafted statement says of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CraftedRun {
    /// The organization.
    pub organization: String,
    /// The project.
    pub project: String,
    /// The workflow.
    pub workflow: String,
    /// Who owns the workflow.
    pub team: String,
    /// The run's id.
    pub run_id: String,
    /// The contract's name; older statements name none.
    pub contract_name: Option<String>,
    /// The contract revision's number, as written.
    pub contract_revision: Option<String>,
    /// Where the pipeline ran, as written.
    pub runner: Option<String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The materials, no two of one name.
    pub materials: Vec<DeclaredMaterial>,
}

/// A material that a statement declares. Its bytes were not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredMaterial {
    /// The slot's name in the contract.
    pub name: String,
    /// Its type.
    pub kind: MaterialType,
    /// The digest that its bytes must have; of an image, the image's.
    pub digest: Digest,
    /// The file's name.
    pub filename: Option<String>,
    /// Its bytes, when they travel in the statement. Not compared with the digest.
    pub inline: Option<Vec<u8>>,
    /// Which image.
    pub image: Option<ImageName>,
    /// Whether its bytes were neither uploaded nor put into the statement.
    pub skip_upload: bool,
    /// Whether it is a subject of the statement.
    pub output: bool,
    /// Its annotations; those that are not text are written as JSON.
    pub annotations: BTreeMap<String, String>,
}

/// An image without its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    /// Where it is.
    pub repository: Repository,
    /// What it was called when it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

/// Why a statement with a crafted predicate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CraftError {
    /// A field that is missing or has another shape.
    #[error("the attestation's `{field}` is missing or has the wrong shape")]
    Field {
        /// Its path.
        field: String,
    },
    /// More materials than are looked at.
    #[error("the attestation has more than {} materials", limits::STATEMENT_MATERIALS)]
    TooManyMaterials,
    /// Two materials of one name.
    #[error("the attestation has two materials named `{name}`")]
    DuplicateMaterial {
        /// The name, shortened.
        name: String,
    },
    /// A type that the table does not have.
    #[error("material `{name}`: {source}")]
    Kind {
        /// The material's name, shortened.
        name: String,
        /// What is wrong.
        source: UnknownMaterialType,
    },
    /// A digest that is missing or not a sha256.
    #[error("material `{name}` has no sha256 digest")]
    Digest {
        /// The material's name, shortened.
        name: String,
    },
    /// An image whose repository cannot be read.
    #[error("material `{name}` does not name an image repository")]
    Image {
        /// The material's name, shortened.
        name: String,
    },
}

impl CraftError {
    /// The finding's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Field { .. } => Code::StatementMismatch,
            Self::TooManyMaterials => Code::LimitReached,
            Self::DuplicateMaterial { .. } | Self::Kind { .. } | Self::Digest { .. } | Self::Image { .. } => {
                Code::MaterialMalformed
            }
        }
    }
}
