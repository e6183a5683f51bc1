//! The proof that something was verified.

use std::ops::Deref;

/// Something that was verified against a [`crate::TrustRoot`], or claims of an identity token that were verified against
/// their issuer's keys ([`super::token`]): whoever holds one need not check again, and whoever
/// takes nothing less cannot forget to. There is no way to change what is inside, and only the verifier makes one:
///
/// ```compile_fail
/// let forged = contracts::Verified("anything");
/// ```
///
/// ```compile_fail
/// fn change(verified: &mut contracts::Verified<String>) {
///     verified.push_str("anything");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Only for the verifier, and only for what it has just verified.
    pub(super) fn proven(value: T) -> Self {
        Self(value)
    }

    /// What was verified.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
