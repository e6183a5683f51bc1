//! Materials: the pieces of evidence that a contract asks for.

mod kind;

pub use kind::{MaterialType, UnknownMaterialType};

pub(crate) use kind::nearest;
