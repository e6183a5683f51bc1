//! The key files.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use contracts::{KeyError, PublicKey, SigningKey, limits};
use zeroize::Zeroizing;

use super::WordError;
use crate::{config::SigningSettings, evidence::sync_folder};

/// The key that signs.
pub(super) fn signing_key(settings: &SigningSettings, password: Option<&[u8]>) -> Result<SigningKey, WordError> {
    let path = &settings.key;
    match text(path) {
        Ok(pem) => SigningKey::from_pem(&pem, password).map_err(|reason| unusable(path, reason)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && settings.make => {
            let key = SigningKey::generate_p256().map_err(|reason| unusable(path, reason))?;
            write(path, &key.to_pkcs8_pem()).map_err(|error| unread(path, error.to_string()))?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mend = "make a key with `sluice key generate`, correct the path, or leave `key` out to have one made";
            Err(unread(path, format!("it is not there: {mend}")))
        }
        Err(error) => Err(unread(path, error.to_string())),
    }
}

/// A key that signed before: the public one, or what can be told from the private one.
pub(super) fn public_key(path: &Path, password: Option<&[u8]>) -> Result<PublicKey, WordError> {
    let pem = text(path).map_err(|error| unread(path, error.to_string()))?;
    match PublicKey::from_pem(&pem) {
        Err(KeyError::Label { .. }) => {
            SigningKey::from_pem(&pem, password).map(|key| key.public().clone()).map_err(|e| unusable(path, e))
        }
        other => other.map_err(|reason| unusable(path, reason)),
    }
}

/// A password: the file's first line.
pub(super) fn password(path: &Path) -> Result<Zeroizing<String>, WordError> {
    let text = text(path).map_err(|error| unread(path, error.to_string()))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let most = u64::try_from(limits::KEY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file that is whole or not there, for its owner alone.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_folder(folder)?;
    let unfinished = path.with_extension("unfinished");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_folder(folder)
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn unread(path: &Path, reason: String) -> WordError {
    WordError::File { path: path.display().to_string(), reason }
}

fn unusable(path: &Path, reason: KeyError) -> WordError {
    WordError::Key { path: path.display().to_string(), reason }
}
