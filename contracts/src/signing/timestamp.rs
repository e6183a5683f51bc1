//! Requests for timestamps, and whether one was granted (RFC 3161). What the timestamp says is for verifiers.

use crate::Digest;

/// `SEQUENCE { OBJECT IDENTIFIER sha-256, NULL }`
const SHA256: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00];

/// A request for a timestamp over a signature, with a fresh nonce, that asks for the authority's certificate.
pub(super) fn request(signature: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce)?;
    // Positive and of its full length, as DER wants numbers.
    if let Some(first) = nonce.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    let digest = Digest::of(signature);
    let imprint = sequence(&[&SHA256, &element(0x04, digest.as_bytes())]);
    let (version, ask_for_certificate) = ([0x02, 0x01, 0x01], [0x01, 0x01, 0xff]);
    Ok(sequence(&[&version, &imprint, &element(0x02, &nonce), &ask_for_certificate]))
}

/// Whether an answer grants one: `SEQUENCE { SEQUENCE { INTEGER 0 or 1, … }, SEQUENCE …}`.
pub(super) fn granted(answer: &[u8]) -> bool {
    let Some((0x30, content, _)) = split(answer) else { return false };
    let Some((0x30, status, rest)) = split(content) else { return false };
    let Some((0x02, [0 | 1], _)) = split(status) else { return false };
    matches!(split(rest), Some((0x30, token, _)) if !token.is_empty())
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// One element of fewer than 128 bytes.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag, u8::try_from(content.len()).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(content);
    bytes
}

/// The first element: its tag, its content, and what follows.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(*short), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x0f))?;
            (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_der_of_the_signature_s_digest() {
        let request = request(b"signature").unwrap();
        let (tag, content, rest) = split(&request).unwrap();
        assert_eq!((tag, rest), (0x30, &[][..]));
        let (_, _, rest) = split(content).unwrap();
        let (_, imprint, rest) = split(rest).unwrap();
        assert!(imprint.ends_with(Digest::of(b"signature").as_bytes()));
        let (tag, nonce, rest) = split(rest).unwrap();
        assert_eq!((tag, nonce.len(), rest), (0x02, 8, &[0x01, 0x01, 0xff][..]));
    }

    #[test]
    fn only_a_granted_answer_is_taken() {
        for (answer, expected) in [
            (&[0x30, 0x08, 0x30, 0x03, 0x02, 0x01, 0x00, 0x30, 0x01, 0x00][..], true),
            (&[0x30, 0x08, 0x30, 0x03, 0x02, 0x01, 0x02, 0x30, 0x01, 0x00], false),
            (&[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00], false),
            (&[0x30, 0x07, 0x30, 0x03, 0x02, 0x01, 0x00, 0x30, 0x00], false),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00], false),
            (b"<html>", false),
            (b"", false),
        ] {
            assert_eq!(granted(answer), expected, "{answer:?}");
        }
    }
}
