//! Writing corrected files, with what was there before kept beside them.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use super::{Correction, tree::Tree};
use crate::files::{self, Readers};

/// How many copies of one file are kept.
const BACKUPS: usize = 100;

/// Writes what may be written without a person deciding.
pub fn all(tree: &Tree, corrections: &mut [Correction]) -> anyhow::Result<()> {
    for correction in corrections.iter_mut().filter(|correction| correction.caution.is_none()) {
        let path = tree.target(&correction.file)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("the folder of `{}` cannot be made", correction.file))?;
        }
        let readers = readers(&path)?;
        if !correction.new {
            let before = fs::read(&path).with_context(|| format!("`{}` cannot be read", correction.file))?;
            correction.backup = Some(keep(&path, &correction.file, &before, readers)?);
        }
        files::replace(&path, correction.content.as_bytes(), readers)?;
        correction.written = true;
    }
    Ok(())
}

/// Keeps the bytes beside the file; returns the name as the machine itself has it.
fn keep(path: &Path, file: &str, bytes: &[u8], readers: Readers) -> anyhow::Result<String> {
    for count in 1..=BACKUPS {
        let ending = if count == 1 { ".before-sluice".to_owned() } else { format!(".before-sluice-{count}") };
        let mut name = path.as_os_str().to_owned();
        name.push(&ending);
        let copy = Path::new(&name);
        if copy.exists() {
            continue;
        }
        files::create(copy, bytes, readers)?;
        return Ok(format!("{file}{ending}"));
    }
    bail!("there are {BACKUPS} copies of `{file}` already: remove some")
}

/// A file that only its owner could read stays so: it may hold a token.
fn readers(path: &Path) -> anyhow::Result<Readers> {
    #[cfg(unix)]
    if path.exists() {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            fs::metadata(path).with_context(|| format!("`{}` cannot be read", path.display()))?.permissions().mode();
        if mode & 0o007 == 0 {
            return Ok(Readers::Owner);
        }
    }
    Ok(Readers::Everyone)
}
