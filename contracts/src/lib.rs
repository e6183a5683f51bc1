//! The vocabulary and the documents of Sluice: digests, references, signatures, statements, contracts, verdicts
//! and the bodies of the HTTP API. Bytes in, values out.
//!
//! This crate must not contain I/O, async code, a clock (`now` is an argument everywhere), a policy engine, or
//! anything that decides. Cryptography lives here and nowhere else, TLS and the test minter aside.

pub mod api;
pub mod bundle;
pub mod cases;
pub mod contract;
pub mod crafting;
pub mod digest;
pub mod dsse;
pub mod duration;
pub mod exemption;
pub mod finding;
pub mod identity;
pub mod json;
pub mod keys;
pub mod limits;
pub mod materials;
mod paths;
pub mod pattern;
pub mod policy;
pub mod provenance;
pub mod reference;
pub mod registry_login;
pub mod revision;
pub mod runners;
pub mod schema;
pub mod secret;
pub mod signing;
pub mod size;
pub mod statement;
pub mod verdict;
pub mod verify;
pub mod vsa;
pub mod yaml;

pub use bundle::{Bundle, BundleError};
pub use digest::{Digest, Hasher};
pub use dsse::{Envelope, EnvelopeError};
pub use finding::{Code, Diagnostics, EvidencePlace, Exempted, Finding, FindingDetails, FindingType, Origin, Severity};
pub use identity::{Builder, Provider, RunnerIdentity, Voucher};
pub use keys::{KeyError, PublicKey, SignError, SigningKey};
pub use materials::MaterialType;
pub use reference::{PinnedRef, Reference, Repository, Tag, Target};
pub use runners::Runner;
pub use secret::Secret;
pub use statement::{Statement, StatementError, Subject};
pub use verdict::{ContractAnswer, Decision, Dependency, Enforcement, Verdict, VerdictSubject};
pub use verify::{
    AllowedSigner, BuildClaims, SignedDocument, SignerIdentity, SignerPolicy, SignerPolicyError, TrustRoot,
    TrustRootError, Verification, Verified, VerifyError,
};
