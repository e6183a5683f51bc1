//! Mints what tests need: keys, a certificate authority, images and layouts, documents, attestations. Everything
//! here is made on the spot or written out in code; nothing is downloaded, and no private key lies in the repository.
//!
//! Images and documents are deterministic: the same arguments give the same bytes. Keys and signatures are fresh.
//!
//! This crate must not contain anything that a shipped crate uses: it is a dev-dependency. It must not decide
//! anything, and it must not be used by unit tests inside `contracts` (they would see two `contracts`; tests in
//! `contracts/tests/` may). A minter that cannot mint panics: the test is broken then, and says so.
#![expect(clippy::expect_used, reason = "a minter that cannot mint ends the test that asked for it")]

pub mod archive;
mod attestation;
mod authority;
mod documents;
mod image;
mod layout;
mod mutate;
mod referrer;
mod samples;
mod sigstore;
mod stamping;
mod token;
mod tuf;

pub use attestation::{Material, Minter, run, statement};
pub use authority::{Authority, CodeSigning, TlsServer};
pub use documents::{
    Outcome, approval, contract, cyclonedx, cyclonedx_named, cyclonedx_of_size, endless_policy, junit,
    policy_banning_licence, sarif, spdx,
};
pub use image::{Blob, Image, Index, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST};
pub use layout::{Layout, scratch};
pub use mutate::{Mutator, deep};
pub use referrer::{Attached, list_of_referrers};
pub use samples::{Sample, samples};
pub use sigstore::Sigstore;
pub use stamping::{Stamp, Stamper};
pub use token::{TokenIssuer, github_claims};
pub use tuf::TufRepository;

use contracts::Repository;
use jiff::Timestamp;

/// A fixed instant for tests that judge time: 2026-11-24 12:00 UTC.
#[must_use]
pub fn noon() -> Timestamp {
    Timestamp::constant(1_795_521_600, 0)
}

/// A repository by name, for example `registry.acme.dev/skynet/app`.
#[must_use]
pub fn repository(name: &str) -> Repository {
    name.parse().expect("the test names a repository")
}
