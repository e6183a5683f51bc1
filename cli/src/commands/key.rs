//! `sluice key …`

use std::path::{Path, PathBuf};

use anyhow::bail;
use contracts::keys::SigningKey;
use serde_json::json;

use super::variable;
use crate::{
    args::{self, Scheme},
    exit::Exit,
    files::{self, Readers},
    report::Report,
    secret::Secret,
};

/// Runs the command.
pub fn run(args: &args::Key) -> anyhow::Result<Report> {
    let args::Key::Generate { output, scheme } = args;
    let Some(password) = password(&variable) else {
        bail!(
            "the private key is written encrypted: put its password into SLUICE_KEY_PASSWORD \
             (set it to nothing for a key that anyone who has the file can use)"
        );
    };
    let (private, public) = (with_ending(output, "key"), with_ending(output, "pub"));
    for path in [&private, &public] {
        if path.exists() {
            bail!("`{}` is there already, and a key is never replaced", path.display());
        }
    }
    let key = match scheme {
        Scheme::EcdsaP256 => SigningKey::generate_p256()?,
        Scheme::Ed25519 => SigningKey::generate_ed25519()?,
    };
    let encrypted = key.to_encrypted_pem(password.reveal().as_bytes())?;
    files::create(&private, encrypted.as_bytes(), Readers::Owner)?;
    files::create(&public, key.public().to_pem().as_bytes(), Readers::Everyone)?;

    let id = key.public().id();
    let (private, public) = (private.display().to_string(), public.display().to_string());
    let text = format!("private key  {private}\npublic key   {public}\nid           {id}");
    Report::new(Exit::Yes, &json!({"private": private, "public": public, "id": id}), text)
}

/// The password of a private key. One that is set to nothing is a password.
pub fn password(variable: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    ["SLUICE_KEY_PASSWORD", "COSIGN_PASSWORD", "CHAINLOOP_SIGNING_PASSWORD"]
        .into_iter()
        .find_map(variable)
        .map(Secret::new)
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}
