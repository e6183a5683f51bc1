//! Spans of time as contracts write them: `90d`, `12h`, `30m`, `45s`.

use jiff::SignedDuration;

use crate::digest::shorten;

/// The longest span that is read, in days: a hundred years.
pub const MAX_DAYS: i64 = 36_500;

/// Reads a whole number and one unit: `d` (24 hours), `h`, `m` (minutes) or `s`. Refuses zero, signs, fractions,
/// sums such as `1d12h`, and more than [`MAX_DAYS`] days.
///
/// # Errors
/// When the text is anything else.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let malformed = || DurationError::Malformed { text: shorten(text) };
    let unit = text.chars().last().ok_or_else(malformed)?;
    let number = text.strip_suffix(unit).unwrap_or_default();
    if number.is_empty() || number.len() > 12 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let seconds_each: i64 = match unit {
        'd' => 24 * 60 * 60,
        'h' => 60 * 60,
        'm' => 60,
        's' => 1,
        _ => return Err(malformed()),
    };
    let number: i64 = number.parse().map_err(|_| malformed())?;
    match number.checked_mul(seconds_each) {
        Some(0) => Err(DurationError::Zero { text: shorten(text) }),
        Some(seconds) if seconds <= MAX_DAYS * 24 * 60 * 60 => Ok(SignedDuration::from_secs(seconds)),
        _ => Err(DurationError::TooLong { text: shorten(text) }),
    }
}

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not a number and one unit.
    #[error("`{text}` is not a span of time: write a number and one of `d`, `h`, `m`, `s`, for example `90d`")]
    Malformed {
        /// What was read, shortened.
        text: String,
    },
    /// Zero, which nothing could ever satisfy.
    #[error("`{text}` is no time at all: write at least `1s`")]
    Zero {
        /// What was read, shortened.
        text: String,
    },
    /// Longer than a hundred years.
    #[error("`{text}` is longer than {MAX_DAYS} days")]
    TooLong {
        /// What was read, shortened.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_number_and_one_unit() {
        for (text, seconds) in
            [("90d", 7_776_000), ("12h", 43_200), ("30m", 1_800), ("045s", 45), ("36500d", 3_153_600_000)]
        {
            assert_eq!(parse(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "d", "90", "90 d", "-1d", "+1d", "1.5h", "1d12h", "90D", "1w", "\u{661}d", "9999999999999s"] {
            assert!(matches!(parse(bad), Err(DurationError::Malformed { .. })), "{bad}");
        }
        assert!(matches!(parse("0d"), Err(DurationError::Zero { .. })));
        for long in ["36501d", "999999999999d", "999999999999s"] {
            assert!(matches!(parse(long), Err(DurationError::TooLong { .. })), "{long}");
        }
    }
}
