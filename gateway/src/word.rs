//! The gateway's own word: what it decided and verified itself, signed.
//!
//! [`Word`] holds the one private key of the gateway. Each of its methods takes a value that only the part of the
//! gateway makes which found it out (a [`Remembered`] is made by the gate alone), so nothing else is ever signed with
//! the key. Keys that signed before stay published for as long as the configuration says, so that old words can be
//! checked while the new key is being distributed.
//!
//! This module must not decide anything, and nothing that it signs is evidence here.

mod file;

use std::collections::BTreeSet;

use contracts::{
    Bundle, Digest, KeyError, PublicKey, SignError, SigningKey,
    api::{GatewayKey, GatewayKeys, IsolatedBuilder},
    provenance::{self, BuiltRun},
    vsa::{self, Verifier},
};
use jiff::Timestamp;

use crate::{config::SigningSettings, gate::Remembered, names::Name};

/// The gateway's private key, and what is published of it.
pub struct Word {
    key: SigningKey,
    gateway: String,
    current: GatewayKey,
    previous: Vec<GatewayKey>,
}

/// Why the gateway cannot give its word.
#[derive(Debug, thiserror::Error)]
pub enum WordError {
    /// A key file is not there, or cannot be made.
    #[error("the file `{path}` under `[signing]` cannot be used: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file holds something else than a key.
    #[error("the key `{path}` under `[signing]` cannot be used: {reason}")]
    Key {
        /// Which.
        path: String,
        /// Why.
        reason: KeyError,
    },
}

impl Word {
    /// Reads the keys that the settings name. Where they name none and none is there, one is made (mode 0600).
    /// `address` is how clients reach the gateway, when that is known.
    ///
    /// # Errors
    /// When a key cannot be read or made.
    pub fn open(settings: &SigningSettings, address: Option<&str>) -> Result<Self, WordError> {
        let password = settings.password_file.as_deref().map(file::password).transpose()?;
        let key = file::signing_key(settings, password.as_ref().map(|password| password.as_bytes()))?;
        let id = key.public().id();
        let gateway = settings.verifier.clone().or_else(|| address.map(str::to_owned));
        let mut previous = Vec::with_capacity(settings.previous.len());
        for old in &settings.previous {
            let public = file::public_key(&old.key, password.as_ref().map(|password| password.as_bytes()))?;
            if public.id() != id {
                previous.push(GatewayKey { from: old.from, until: old.until, ..published(&public, false) });
            }
        }
        let current = GatewayKey { from: settings.from, ..published(key.public(), true) };
        Ok(Self { gateway: gateway.unwrap_or_else(|| format!("urn:sluice:{}", id.hex())), key, current, previous })
    }

    /// The public keys whose signatures are the gateway's word at this instant.
    #[must_use]
    pub fn keys(&self, now: Timestamp) -> GatewayKeys {
        let still = self.previous.iter().filter(|key| key.until.is_none_or(|until| now < until)).cloned();
        GatewayKeys {
            gateway: self.gateway.clone(),
            keys: std::iter::once(self.current.clone()).chain(still).collect(),
        }
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn key_id(&self) -> Digest {
        self.key.public().id()
    }

    /// The ids of the key that signs and of all that did: what they signed is the gateway's own word.
    #[must_use]
    pub fn key_ids(&self) -> BTreeSet<Digest> {
        self.previous.iter().chain([&self.current]).map(|key| key.id).collect()
    }

    /// What the gate decided, as a signed Verification Summary Attestation.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn summary(&self, organization: &Name, made: &Remembered) -> Result<Bundle, SignError> {
        self.key.sign(&vsa::summary(&made.key, &made.verdict, &self.verifier(organization)))
    }

    /// What an accepted run built, and what was verified of who built it, as signed SLSA Provenance. `None`: it built
    /// nothing.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn provenance(
        &self,
        organization: &Name,
        built: &BuiltRun<'_>,
        isolated: &[IsolatedBuilder],
    ) -> Result<Option<Bundle>, SignError> {
        let statement = provenance::statement(built, isolated, &self.verifier(organization));
        statement.map(|statement| self.key.sign(&statement)).transpose()
    }

    fn verifier(&self, organization: &Name) -> Verifier {
        Verifier {
            gateway: self.gateway.clone(),
            organization: organization.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn published(key: &PublicKey, current: bool) -> GatewayKey {
    GatewayKey { id: key.id(), pem: key.to_pem(), current, from: None, until: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PreviousKey, Settings};

    fn settings(folder: &std::path::Path) -> SigningSettings {
        Settings::defaults(folder).signing
    }

    #[test]
    fn a_key_is_made_once_and_for_the_gateway_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Word::open(&settings(folder.path()), None).unwrap();
        let again = Word::open(&settings(folder.path()), Some("https://sluice.acme.dev")).unwrap();
        assert_eq!(first.key_id(), again.key_id());
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(first.keys(now).gateway, format!("urn:sluice:{}", first.key_id().hex()));
        assert_eq!(again.keys(now).gateway, "https://sluice.acme.dev");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join("state/signing.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("state")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_was_named_is_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        settings.make = false;
        let error = Word::open(&settings, None).err().unwrap().to_string();
        assert!(error.contains("signing.key") && error.contains("sluice key generate"), "{error}");
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::write(&settings.key, "hello").unwrap();
        let error = Word::open(&settings, None).err().unwrap().to_string();
        assert!(error.contains("not a PEM file"), "{error}");
        let encrypted = SigningKey::generate_ed25519().unwrap();
        std::fs::write(&settings.key, encrypted.to_encrypted_pem(b"secret").unwrap().as_bytes()).unwrap();
        assert!(Word::open(&settings, None).err().unwrap().to_string().contains("password is needed"));
        let password = folder.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        settings.password_file = Some(password);
        assert_eq!(Word::open(&settings, None).unwrap().key_id(), encrypted.public().id());
    }

    #[test]
    fn keys_that_signed_before_stay_published_until_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let (public, private) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap());
        let (a, b) = (folder.path().join("a.pub"), folder.path().join("b.key"));
        std::fs::write(&a, public.public().to_pem()).unwrap();
        std::fs::write(&b, private.to_pkcs8_pem().as_bytes()).unwrap();
        let until: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let mut settings = settings(folder.path());
        settings.previous = vec![
            PreviousKey { key: a, from: None, until: Some(until) },
            PreviousKey { key: b, from: None, until: None },
        ];
        let word = Word::open(&settings, None).unwrap();
        let ids = |now: &str| word.keys(now.parse().unwrap()).keys.iter().map(|k| k.id).collect::<Vec<_>>();
        let (current, a, b) = (word.key_id(), public.public().id(), private.public().id());
        assert_eq!(ids("2026-12-31T23:59:59Z"), [current, a, b]);
        assert_eq!(ids("2027-01-01T00:00:00Z"), [current, b]);
        assert!(word.keys(until).keys.iter().all(|key| !key.pem.contains("PRIVATE")));
    }
}
