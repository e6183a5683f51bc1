//! Numbers of bytes as people write them: `50GiB`, `500MB`.

use crate::digest::shorten;

/// Reads a whole number and one unit: `KiB`, `MiB`, `GiB`, `TiB`, or their decimal cousins `kB`, `MB`, `GB`, `TB`.
/// Refuses signs, fractions, and more than 64 bits hold.
///
/// # Errors
/// When the text is anything else.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let factor: Option<u64> = match unit.strip_prefix(' ').unwrap_or(unit) {
        "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| SizeError { text: shorten(text) })
}

/// A number of bytes in the largest unit of which it has one: `1.5 GiB`.
#[must_use]
pub fn show(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes} bytes");
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size: write a whole number and a unit, such as `50GiB` or `500MB`")]
pub struct SizeError {
    /// What was read, shortened.
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        assert_eq!(parse("50GiB"), Ok(50 << 30));
        assert_eq!(parse("64 MiB"), Ok(64 << 20));
        assert_eq!(parse("2TB"), Ok(2_000_000_000_000));
        for bad in ["", "50", "GiB", "1.5GiB", "-1GiB", "50gib", "99999999999TiB", "5 GiB ", "5  GiB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            ((3 << 29) - 1, "1.4 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(show(bytes), shown);
        }
    }
}
