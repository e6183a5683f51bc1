//! Reading files with bounds, and writing them whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, bail};
use contracts::{Digest, Hasher};
use tempfile::NamedTempFile;

/// Reads a file of at most `max` bytes.
pub fn read(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    read_bounded(path, max).with_context(|| format!("`{}` cannot be read", path.display()))
}

fn read_bounded(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        bail!("it is a folder");
    }
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        bail!("it is larger than {max} bytes");
    }
    Ok(bytes)
}

/// Reads a text file of at most `max` bytes.
pub fn read_text(path: &Path, max: usize) -> anyhow::Result<String> {
    String::from_utf8(read(path, max)?).with_context(|| format!("`{}` is not text in UTF-8", path.display()))
}

/// The digest and length of a file of any size.
pub fn digest(path: &Path) -> anyhow::Result<(Digest, u64)> {
    digest_telling(path, |_| {})
}

/// The same, which tells how many bytes it has read by now.
pub fn digest_telling(path: &Path, mut told: impl FnMut(u64)) -> anyhow::Result<(Digest, u64)> {
    let mut go = || -> io::Result<(Digest, u64)> {
        let mut file = File::open(path)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 * 1024];
        let mut length: u64 = 0;
        loop {
            let read = file.read(&mut buffer)?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
            hasher.update(piece);
            length += piece.len() as u64;
            told(length);
        }
        Ok((hasher.finish(), length))
    };
    go().with_context(|| format!("`{}` cannot be read", path.display()))
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone.
    Owner,
    /// Everyone.
    Everyone,
}

/// Writes a file whole or not at all, replacing what is there.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers) -> anyhow::Result<()> {
    let go = || -> io::Result<()> {
        let file = prepare(path, bytes, readers)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    go().with_context(|| format!("`{}` cannot be written", path.display()))
}

/// Writes a file whole or not at all, as far as other programs see. A power cut may take it, so it is for what can be made
/// again: waiting for the disk takes longer than all else that a short command does.
pub fn replace_soon(path: &Path, bytes: &[u8], readers: Readers) -> anyhow::Result<()> {
    let go = || -> io::Result<()> { prepare(path, bytes, readers)?.persist(path).map(drop).map_err(|e| e.error) };
    go().with_context(|| format!("`{}` cannot be written", path.display()))
}

/// Writes a file whole or not at all, and refuses when there is one.
pub fn create(path: &Path, bytes: &[u8], readers: Readers) -> anyhow::Result<()> {
    let go = || -> io::Result<()> {
        let file = prepare(path, bytes, readers)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map(drop).map_err(|e| e.error)
    };
    go().with_context(|| format!("`{}` cannot be written", path.display()))
}

fn prepare(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    let mut file = NamedTempFile::new_in(folder)?;
    #[cfg(unix)]
    if readers == Readers::Everyone {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.write_all(bytes)?;
    Ok(file)
}

/// The folder of a file; the working folder when the path is a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a folder that only its owner may enter; does nothing when it is there.
pub fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}
