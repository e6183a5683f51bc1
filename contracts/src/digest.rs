//! SHA-256 digests: the only names the gateway believes.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A SHA-256 digest. Reads and prints as `sha256:` and 64 lower-case hexadecimal digits (OCI image
/// specification, "Digests"); any other algorithm or spelling is refused, so two digests are equal exactly
/// when their texts are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_output(digest(&SHA256, bytes).as_ref())
    }

    /// A digest whose bytes are known already, for example from a database key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 lower-case hexadecimal digits, without the algorithm, as an in-toto DigestSet has them.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut bytes = [0; 32];
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(DigestError::Hex { text: shorten(text) });
        }
        Ok(Self(bytes))
    }

    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    fn from_output(output: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(output) {
            *to = *from;
        }
        Self(bytes)
    }
}

/// Digests what passes through in pieces.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes a piece with its length before it, so that the pieces of a key cannot run into each other.
    pub fn update_framed(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::from_output(self.0.finish().as_ref())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.split_once(':') {
            Some(("sha256", rest)) => Self::from_hex(rest),
            Some((algorithm, _)) => Err(DigestError::Algorithm { algorithm: shorten(algorithm) }),
            None => Err(DigestError::NoAlgorithm { text: shorten(text) }),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No `algorithm:` in front.
    #[error("`{text}` is not a digest: write `sha256:` and 64 hexadecimal digits")]
    NoAlgorithm {
        /// What was read, shortened.
        text: String,
    },
    /// An algorithm other than sha256.
    #[error("digest algorithm `{algorithm}` is not supported: only sha256 is")]
    Algorithm {
        /// What was read, shortened.
        algorithm: String,
    },
    /// Not 64 lower-case hexadecimal digits.
    #[error("`{text}` is not 64 lower-case hexadecimal digits")]
    Hex {
        /// What was read, shortened.
        text: String,
    },
}

/// Keeps what an error repeats of foreign input short, and its control characters out of terminals and logs.
pub(crate) fn shorten(text: &str) -> String {
    shorten_to(text, 80)
}

/// Like [`shorten`], for sentences of libraries that may quote foreign input.
pub(crate) fn shorten_to(text: &str, shown: usize) -> String {
    let clean = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    let cut = text.chars().nth(shown).map(|_| '…');
    text.chars().take(shown).map(clean).chain(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        for bad in ["", "sha256:", "sha512:00", &text.to_uppercase(), &text[..70], &format!("{text}0"), "ba78"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_errors_repeat_is_short_and_harmless() {
        assert_eq!(shorten("a\x1b[31m\n"), "a\u{fffd}[31m\u{fffd}");
        assert_eq!(shorten(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(shorten(&"é".repeat(81)), "é".repeat(80) + "…");
    }

    #[test]
    fn framed_pieces_do_not_run_into_each_other() {
        let mut one = Hasher::default();
        one.update_framed(b"ab");
        one.update_framed(b"c");
        let mut other = Hasher::default();
        other.update_framed(b"a");
        other.update_framed(b"bc");
        assert_ne!(one.finish(), other.finish());
    }
}
