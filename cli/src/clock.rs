//! The only place of this crate that reads the clock.

use jiff::Timestamp;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the edge of the program: everything below takes `now` as an argument")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
