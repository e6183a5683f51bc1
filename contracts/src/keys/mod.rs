//! Keys that people hold: public ones that signatures are checked against, and private ones that sign.
//!
//! This module must not contain trust: whose signature counts is decided in [`crate::verify`].

mod encrypted;
mod pem;
mod public;
mod signing;

pub use public::PublicKey;
pub use signing::{SignError, SigningKey};

/// Why a key cannot be read, written or made. No message repeats any part of a private key or password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than any key.
    #[error("the key file is longer than {max} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// Not PEM.
    #[error("this is not a PEM file: a key begins with `-----BEGIN` and ends with the same words after `-----END`")]
    NotPem,
    /// More than one key in a file.
    #[error("the file holds more than one key: give one file for each")]
    SeveralBlocks,
    /// The content of the block is damaged.
    #[error("the content between the lines of `{label}` is damaged: it is not base64")]
    Base64 {
        /// The block's label, shortened.
        label: String,
    },
    /// A PEM file of something else.
    #[error("the file holds `{label}`, not a {wanted} key")]
    Label {
        /// The block's label, shortened.
        label: String,
        /// `public` or `private`.
        wanted: &'static str,
    },
    /// A key of another algorithm, or a damaged one.
    #[error("the key is damaged or of another kind: only ECDSA P-256 and Ed25519 keys are used")]
    Algorithm,
    /// The private key is encrypted and no password was given.
    #[error("the private key is encrypted: its password is needed")]
    PasswordNeeded,
    /// The private key does not open.
    #[error("the private key does not open: the password is wrong, or the file is damaged")]
    WrongPassword,
    /// Encrypted in another way.
    #[error("the private key is encrypted in a way that is not read: only cosign's format is")]
    Encryption,
    /// Encrypted with an unusual amount of work.
    #[error("the private key is encrypted with scrypt parameters other than cosign's")]
    EncryptionCost,
    /// The system's randomness or the cryptography library failed.
    #[error("the cryptography library or the system's source of randomness failed")]
    Cryptography,
}

#[cfg(test)]
mod tests;
