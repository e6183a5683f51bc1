//! What a client has kept, whatever form it keeps it in.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use contracts::Digest;

use super::stage::Content;

/// Everything below a folder.
#[derive(Default)]
pub struct Look {
    /// The digests of its files' bytes.
    files: BTreeSet<Digest>,
    /// The names of its files and folders.
    names: Vec<String>,
    /// What is in its JSON files.
    notes: String,
}

impl Look {
    pub fn at(folder: &Path) -> Self {
        let mut look = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            // Files of a running client come and go.
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let path: PathBuf = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                look.names.push(entry.file_name().to_string_lossy().into_owned());
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && !kind.is_fifo() {
                    let bytes = fs::read(&path).unwrap_or_default();
                    look.files.insert(Digest::of(&bytes));
                    if path.extension().is_some_and(|ending| ending == "json") {
                        look.notes.push_str(&String::from_utf8_lossy(&bytes));
                    }
                }
            }
        }
        look
    }

    fn knows(&self, digest: Digest) -> bool {
        let hex = digest.hex();
        self.files.contains(&digest) || self.names.iter().any(|name| name.contains(&hex)) || self.notes.contains(&hex)
    }

    /// Whether all of it is there: each part under its digest, and the layers' bytes packed, or unpacked.
    pub fn holds(&self, content: &Content) -> Result<(), String> {
        let image = &content.image;
        for blob in [&image.manifest].into_iter().chain(image.blobs()) {
            if !self.knows(blob.digest) {
                return Err(format!("the {} {} is not there", blob.media_type, blob.digest));
            }
        }
        let packed = image.layers.iter().all(|layer| self.files.contains(&layer.digest));
        let unpacked = content.files.iter().all(|file| self.files.contains(&Digest::of(file)));
        if packed || unpacked { Ok(()) } else { Err("the layers are not there".to_owned()) }
    }

    /// Whether no part of it is there.
    pub fn holds_nothing_of(&self, content: &Content) -> Result<(), String> {
        let image = &content.image;
        for blob in [&image.manifest].into_iter().chain(image.blobs()) {
            if self.knows(blob.digest) {
                return Err(format!("the {} {} of what is denied is there", blob.media_type, blob.digest));
            }
        }
        match content.files.iter().any(|file| self.files.contains(&Digest::of(file))) {
            true => Err("a file of what is denied is there".to_owned()),
            false => Ok(()),
        }
    }
}
