//! The samples of materials that lie beside this crate, in `materials/`: what each type takes, and what it refuses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use contracts::MaterialType;

use crate::archive;

/// A file of the samples. A folder with the name of an archive is packed when it is read.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name: `ok-…` is taken, `no-…` is refused.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Sample {
    /// Whether it is what its type says.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.name.starts_with("ok-")
    }
}

/// The samples of a type, in the order of their names.
#[must_use]
pub fn samples(kind: MaterialType) -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("materials").join(kind.as_str());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let sample = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let bytes = if path.is_dir() { packed(&path) } else { fs::read(&path).expect("a file") };
        Sample { name, bytes }
    };
    paths.into_iter().map(sample).collect()
}

fn packed(folder: &Path) -> Vec<u8> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let zipped = folder.extension().is_some_and(|ending| ending == "zip");
    if zipped { archive::zip(&files) } else { archive::tgz(&files) }
}

fn collect(root: &Path, folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, into);
        } else {
            let name = path.strip_prefix(root).ok().and_then(Path::to_str).expect("a name").to_owned();
            into.push((name, fs::read(&path).expect("a file")));
        }
    }
}
