//! PEM (RFC 7468), strictly: one block, its label, base64, nothing before or after but white space.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::KeyError;
use crate::{digest::shorten, limits};

/// The label of a text with one PEM block, and its content.
pub(super) fn decode(text: &str) -> Result<(&str, Zeroizing<Vec<u8>>), KeyError> {
    if text.len() > limits::KEY_BYTES {
        return Err(KeyError::TooLarge { max: limits::KEY_BYTES });
    }
    let rest = text.trim().strip_prefix("-----BEGIN ").ok_or(KeyError::NotPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::NotPem)?;
    let end = format!("-----END {label}-----");
    let body = rest.strip_suffix(&end).ok_or(KeyError::NotPem)?;
    if body.contains("-----") {
        return Err(KeyError::SeveralBlocks);
    }
    let compact: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let content = STANDARD.decode(compact.as_bytes()).map_err(|_| KeyError::Base64 { label: shorten(label) })?;
    Ok((label, Zeroizing::new(content)))
}

/// One PEM block, in lines of 64 characters.
pub(super) fn encode(label: &str, content: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(content));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for (n, character) in body.chars().enumerate() {
        if n > 0 && n % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
