//! Keys that other tools wrote, and ours. The fixtures were made for these tests with Go's `crypto/x509` and
//! go-securesystemslib's `encrypted`, which cosign uses.

use proptest::prelude::*;

use super::*;

const PASSWORD: &[u8] = b"correct horse";

/// Under the old label, with the old cost.
const P256_ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjozMjc2OCwiciI6
OCwicCI6MX0sInNhbHQiOiIwb2ppVXdiMGszY2wrNUVhYXdRWFRkL3pJMGJmRngw
NnBqaVBuYmE3RjNrPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJZcUF3YU5qVmdkS3ZZelk5YXJqdUNpelkrWnpBZ3JPMiJ9LCJj
aXBoZXJ0ZXh0IjoiUjFYbGNoNG0wNG02dTZsSWRCN2I1NWxvYlk4U2x3c3RiZVJN
SUljeUl4NDQ5bFlrZk9HMFZVSStodDhpcVQ5RmMyZDNsVFpvVnBPK1BReVVqVzlN
c0UwVGZ3R1hIUWZhN3NIQ2k4L1VYd3A2V3FZVXhzQUpwaDNqcklxUXMrdm5YeEg3
VStwbDN2MG5SY2pENUx3QWptenBIYnl1WXVNemMwby9BMGEzT3pISlBPa21HckJN
M3NqRjl5dVd1NlpXMm1zT3NLNERiUWlLQ2c9PSJ9
-----END ENCRYPTED COSIGN PRIVATE KEY-----
";

const P256_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUPPct9SouqWwnkRRsJsRX/4g+piK
wGIaVcXXpuhD2I6YOvuQMIiQksJ/EbjvK9LGk7DZkb+CqWOKU8NTF5yH9g==
-----END PUBLIC KEY-----
";

const ED25519_ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJXYW1lZ0huM0p2MEJOUWhoRlZrUHF0cFp6Y0lxWlBm
cTRUdTNnK2g0RmxNPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJ3MDZublNNMitmeE1Ia0lKWG9RS2NjZXRCNmZobTY2WSJ9LCJj
aXBoZXJ0ZXh0IjoiMWtLSEZUdDM3bmpIb0x4TWlmVzVkZ25CcHJva2ZnT0VXcWIr
ZWVjR1Zqd3FnYmhlMnpqTElqaUZnTGJXZ3MrL2RvOXNvZkRUczBHNlBOVzlPcWpx
S2c9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
";

const ED25519_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAW82KIrhlh9swEGC57K0O9RquTZXI+VX56g/drcE0OgQ=
-----END PUBLIC KEY-----
";

/// A P-256 key in the form of `openssl ecparam -genkey`.
const P256_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIIbAbP2UxQICfG5WQN+NAkRCcjq6Nyxva6I/uhl2nSCUoAoGCCqGSM49
AwEHoUQDQgAEXh8/tEDqRNN2dpOWAG59BAPxCzkaXU4ppHVt+VGEv4siTAj7QxJ5
tpAaGWN/w5fCi0CWRtJgpnfLvkOyQKunsA==
-----END EC PRIVATE KEY-----
";

#[test]
fn cosign_s_keys_open_with_their_password_alone() {
    for (encrypted, public) in [(P256_ENCRYPTED, P256_PUBLIC), (ED25519_ENCRYPTED, ED25519_PUBLIC)] {
        let key = SigningKey::from_pem(encrypted, Some(PASSWORD)).unwrap();
        assert_eq!(key.public().to_pem(), public);
        assert_eq!(SigningKey::from_pem(encrypted, None).unwrap_err(), KeyError::PasswordNeeded);
    }
    assert_eq!(SigningKey::from_pem(ED25519_ENCRYPTED, Some(b"")).unwrap_err(), KeyError::WrongPassword);
    assert!(SigningKey::from_pem(P256_SEC1, None).is_ok());
}

#[test]
fn keys_survive_being_written_and_show_nothing() {
    let keys = [SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap()];
    for key in &keys {
        let plain = SigningKey::from_pem(&key.to_pkcs8_pem(), None).unwrap();
        let encrypted = key.to_encrypted_pem(b"").unwrap();
        assert_eq!(plain.public(), key.public());
        assert_eq!(SigningKey::from_pem(&encrypted, Some(b"")).unwrap().public(), key.public());
        assert_eq!(PublicKey::from_pem(&key.public().to_pem()).as_ref(), Ok(key.public()));
        assert_eq!(format!("{key:?}"), format!("SigningKey(public {})", key.public().id()));
        let json = serde_json::to_string(key.public()).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), *key.public());
    }
    assert_ne!(keys[0].public(), keys[1].public());
}

#[test]
fn a_forged_key_file_does_not_choose_how_long_we_compute() {
    let (label, content) = pem::decode(ED25519_ENCRYPTED).unwrap();
    let text = std::str::from_utf8(&content).unwrap();
    for (from, to, expected) in [
        ("65536", "1073741824", KeyError::EncryptionCost),
        (r#""r":8"#, r#""r":64"#, KeyError::EncryptionCost),
        (r#""p":1"#, r#""p":1000"#, KeyError::EncryptionCost),
        ("scrypt", "argon2", KeyError::Encryption),
        ("nacl/secretbox", "none", KeyError::Encryption),
        (r#""nonce":""#, r#""nonce":"AAAA"#, KeyError::Encryption),
    ] {
        let forged = pem::encode(label, text.replace(from, to).as_bytes());
        assert_eq!(SigningKey::from_pem(&forged, Some(PASSWORD)).unwrap_err(), expected, "{to}");
    }
}

#[test]
fn what_is_not_one_key_of_a_known_kind_is_refused() {
    let label = |label: &str, wanted| KeyError::Label { label: label.into(), wanted };
    for (text, expected) in [
        (String::new(), KeyError::NotPem),
        ("ssh-ed25519 AAAA".to_owned(), KeyError::NotPem),
        (P256_PUBLIC.repeat(2), KeyError::SeveralBlocks),
        (P256_PUBLIC.replace("END PUBLIC", "END PRIVATE"), KeyError::NotPem),
        (P256_PUBLIC.replace("MFk", "M*k"), KeyError::Base64 { label: "PUBLIC KEY".into() }),
        (P256_SEC1.to_owned(), label("EC PRIVATE KEY", "public")),
        (" ".repeat(crate::limits::KEY_BYTES + 1), KeyError::TooLarge { max: crate::limits::KEY_BYTES }),
    ] {
        assert_eq!(PublicKey::from_pem(&text), Err(expected), "{text}");
    }
    assert_eq!(SigningKey::from_pem(P256_PUBLIC, None).unwrap_err(), label("PUBLIC KEY", "private"));

    let good = PublicKey::from_pem(P256_PUBLIC).unwrap();
    let der = good.as_spki_der();
    let off_the_curve = [&der[..der.len() - 1], &[der[der.len() - 1] ^ 1]].concat();
    let trailing = [der, &[0]].concat();
    for bad in [&off_the_curve[..], &trailing, &der[1..], &[]] {
        assert_eq!(PublicKey::from_spki_der(bad), Err(KeyError::Algorithm));
    }
}

proptest! {
    #[test]
    fn pem_reads_what_it_writes(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = pem::encode("PUBLIC KEY", &content);
        prop_assert!(text.lines().all(|line| line.len() <= 64));
        let (label, read) = pem::decode(&text).unwrap();
        prop_assert_eq!((label, &*read), ("PUBLIC KEY", &content));
    }

    #[test]
    fn reading_never_panics(text in any::<String>(), der in any::<Vec<u8>>()) {
        let _ = PublicKey::from_pem(&text);
        let _ = PublicKey::from_spki_der(&der);
        let _ = SigningKey::from_pem(&text, None);
    }
}
