//! The only clock of this crate. Everything below the HTTP edge is given its `now`.

use jiff::Timestamp;

/// The time at which a request is answered.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the HTTP edge is where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
