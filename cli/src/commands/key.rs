//! `sluice key …`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use contracts::{
    Secret,
    keys::{KeyError, SigningKey},
};
use serde_json::json;

use super::variable;
use crate::{
    args::{self, Scheme},
    exit::Exit,
    files::{self, Readers},
    report::Report,
};

const KEY_BYTES: usize = 64 * 1024;

/// Runs the command.
pub fn run(args: &args::Key) -> anyhow::Result<Report> {
    let args::Key::Generate { output, scheme } = args;
    let Some(password) = password(&variable) else {
        bail!(
            "the private key is written encrypted: choose its password with `export SLUICE_KEY_PASSWORD=PASSWORD` \
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
    let folder = files::folder_of(output);
    std::fs::create_dir_all(folder).with_context(|| format!("the folder `{}` cannot be made", folder.display()))?;
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

/// Where keys live that never leave their place: hardware, and the key services of clouds.
const ELSEWHERE: &[(&str, &str)] = &[
    ("pkcs11:", "keys in hardware (PKCS#11)"),
    ("awskms://", "keys of AWS KMS"),
    ("gcpkms://", "keys of Google Cloud KMS"),
    ("azurekms://", "keys of Azure Key Vault"),
    ("hashivault://", "keys of HashiCorp Vault"),
    ("openbao://", "keys of OpenBao"),
    ("k8s://", "keys in Kubernetes secrets"),
    ("gitlab://", "keys in GitLab variables"),
    ("signserver://", "keys of SignServer"),
];

/// Refuses a key that is named as other programs name those which are not in a file.
pub fn refuse_elsewhere(reference: &str) -> anyhow::Result<()> {
    let Some((_, what)) = ELSEWHERE.iter().find(|(scheme, _)| reference.starts_with(scheme)) else { return Ok(()) };
    // A PKCS#11 address can carry a PIN, others a token.
    let shown = reference.split([';', '?', '&']).next().unwrap_or_default();
    let shown = if shown.contains("pin") { "pkcs11:…" } else { shown };
    bail!(
        "`{shown}`: {what} are not used here. Sign without a key where a CI system gives identity tokens (leave --key out), \
         with a key in a file or a variable (env://NAME; a Kubernetes secret or CI variable can be given as one), or let the \
         service's own program sign the statement and send its bundle with `POST /api/v1/attestations`. To verify, export the \
         public key into a file"
    )
}

/// Reads a private key: a file, or `env://` and the name of a variable that holds the PEM.
pub fn signing_key(reference: &str) -> anyhow::Result<SigningKey> {
    refuse_elsewhere(reference)?;
    let pem = match reference.strip_prefix("env://") {
        Some(name) => variable(name).with_context(|| format!("the variable `{name}` is not set"))?,
        None if !Path::new(reference).exists() => {
            let prefix = reference.strip_suffix(".key").unwrap_or("sluice");
            bail!(
                "there is no key `{reference}`: name yours with --key, or make one with `sluice key generate --output {prefix}`"
            )
        }
        None => files::read_text(Path::new(reference), KEY_BYTES)?,
    };
    let pem = Secret::new(pem);
    let password = password(&variable);
    let password = password.as_ref().map(|password| password.reveal().as_bytes());
    match SigningKey::from_pem(pem.reveal(), password) {
        Err(KeyError::PasswordNeeded) => {
            bail!(
                "the key `{reference}` is encrypted: put its password into SLUICE_KEY_PASSWORD: `export SLUICE_KEY_PASSWORD=PASSWORD`"
            )
        }
        read => read.with_context(|| format!("the key `{reference}` cannot be used")),
    }
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}
