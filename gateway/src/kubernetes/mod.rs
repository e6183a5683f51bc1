//! What a cluster's API server asks before it takes an object (`admission.k8s.io/v1`), and where images stand in it.
//!
//! Pure: bytes in, values out. Whether an image may be used is the gate's to say. What cannot be read, or of which it is
//! not known where its images stand, is an error that denies; nothing passes because it was not understood.

mod answer;
mod images;
mod review;

pub use answer::{Answer, Patch};
pub use images::{Image, Seen, Templates, Unjudged};
pub use review::{Kind, Operation, Review, ReviewError};
