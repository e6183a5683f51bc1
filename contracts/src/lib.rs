//! The vocabulary and the documents of Sluice: digests, references, signatures, statements, contracts, verdicts
//! and the bodies of the HTTP API. Bytes in, values out.
//!
//! This crate must not contain I/O, async code, a clock (`now` is an argument everywhere), a policy engine, or
//! anything that decides. Cryptography lives here and nowhere else, TLS and the test minter aside.

pub mod api;
pub mod contract;
pub mod crafting;
pub mod digest;
pub mod duration;
pub mod finding;
pub mod limits;
pub mod materials;
mod paths;
pub mod pattern;
pub mod policy;
pub mod reference;
pub mod revision;
pub mod runners;
pub mod verdict;
pub mod yaml;

pub use digest::{Digest, Hasher};
pub use finding::{Code, Diagnostics, EvidencePlace, Finding, Origin, Severity};
pub use materials::MaterialType;
pub use reference::{PinnedRef, Reference, Repository, Tag, Target};
pub use runners::Runner;
pub use verdict::{ContractAnswer, Decision, Dependency, Enforcement, Verdict};
