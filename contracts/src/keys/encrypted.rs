//! The password-encrypted private keys of cosign: a JSON document that names scrypt (RFC 7914) for the key and
//! NaCl's secretbox (XSalsa20 and Poly1305) for the content, as go-securesystemslib's `encrypted` writes it.

use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305, aead::Aead};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::KeyError;
use crate::{json::parse_strict, limits};

const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;
/// What new keys are encrypted with: N = 2^16, 64 MiB.
const LOG_N: u8 = 16;
/// What keys are read with. Any other cost is refused: a forged file must not choose how long we compute.
const LOG_N_READ: std::ops::RangeInclusive<u8> = 15..=17;

pub(super) fn decrypt(document: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let value = parse_strict(document, limits::KEY_BYTES).map_err(|_| KeyError::Encryption)?;
    let (kdf, cipher) = (value.get("kdf"), value.get("cipher"));
    if text(kdf, "name") != Some(KDF) || text(cipher, "name") != Some(CIPHER) {
        return Err(KeyError::Encryption);
    }
    let parameters = kdf.and_then(|kdf| kdf.get("params"));
    let number = |name: &str| parameters.and_then(|all| all.get(name)).and_then(Value::as_u64);
    if number("r") != Some(BLOCK_SIZE.into()) || number("p") != Some(PARALLELISM.into()) {
        return Err(KeyError::EncryptionCost);
    }
    let log_n = LOG_N_READ.into_iter().find(|log_n| number("N") == Some(1 << log_n)).ok_or(KeyError::EncryptionCost)?;
    let bytes = |text: Option<&str>| text.and_then(|text| STANDARD.decode(text).ok()).ok_or(KeyError::Encryption);
    let salt = bytes(text(kdf, "salt"))?;
    let nonce: [u8; NONCE_BYTES] = bytes(text(cipher, "nonce"))?.try_into().map_err(|_| KeyError::Encryption)?;
    let ciphertext = bytes(text(Some(&value), "ciphertext"))?;
    secretbox(password, &salt, log_n)?
        .decrypt(&Nonce::from(nonce), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassword)
}

pub(super) fn encrypt(content: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut nonce)).map_err(|_| KeyError::Cryptography)?;
    let ciphertext =
        secretbox(password, &salt, LOG_N)?.encrypt(&Nonce::from(nonce), content).map_err(|_| KeyError::Cryptography)?;
    let document = json!({
        "kdf": {
            "name": KDF,
            "params": {"N": 1_u32 << LOG_N, "r": BLOCK_SIZE, "p": PARALLELISM},
            "salt": STANDARD.encode(salt),
        },
        "cipher": {"name": CIPHER, "nonce": STANDARD.encode(nonce)},
        "ciphertext": STANDARD.encode(ciphertext),
    });
    Ok(document.to_string().into_bytes())
}

fn secretbox(password: &[u8], salt: &[u8], log_n: u8) -> Result<XSalsa20Poly1305, KeyError> {
    let mut key = Zeroizing::new([0; 32]);
    let parameters = scrypt::Params::new(log_n, BLOCK_SIZE, PARALLELISM).map_err(|_| KeyError::Cryptography)?;
    scrypt::scrypt(password, salt, &parameters, key.as_mut()).map_err(|_| KeyError::Cryptography)?;
    XSalsa20Poly1305::new_from_slice(key.as_ref()).map_err(|_| KeyError::Cryptography)
}

fn text<'a>(value: Option<&'a Value>, name: &str) -> Option<&'a str> {
    value?.get(name)?.as_str()
}
