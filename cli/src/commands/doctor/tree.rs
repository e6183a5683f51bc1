//! The files of a machine, or of a copy of one, with changes that are not written yet laid over them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::files;

/// A configuration that is longer is not read.
const FILE_BYTES: usize = 1024 * 1024;
/// A folder with more entries is not looked through.
const FOLDER_ENTRIES: usize = 4096;

/// A folder that stands for `/`. Paths are given as the machine itself names them.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    laid_over: BTreeMap<String, String>,
}

impl Tree {
    /// The tree under this folder.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let root = root.canonicalize().with_context(|| format!("the folder `{}` cannot be read", root.display()))?;
        if !root.is_dir() {
            bail!("`{}` is not a folder", root.display());
        }
        Ok(Self { root, laid_over: BTreeMap::new() })
    }

    /// Where a path of the machine lies here, before links are followed.
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, or nothing when it is not there. What leads out of the tree is an error: it would be read
    /// from another machine than the one that is meant.
    pub fn read(&self, path: &str) -> anyhow::Result<Option<String>> {
        if let Some(text) = self.laid_over.get(path) {
            return Ok(Some(text.clone()));
        }
        let Some(real) = self.real(path)? else { return Ok(None) };
        files::read_text(&real, FILE_BYTES).map(Some)
    }

    /// Whether something is there.
    pub fn exists(&self, path: &str) -> anyhow::Result<bool> {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let laid = self.laid_over.keys().any(|key| key == path || key.starts_with(&folder));
        Ok(laid || self.real(path)?.is_some())
    }

    /// The names in a folder, sorted; none when it is not there.
    pub fn list(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        if let Some(real) = self.real(path)?.filter(|real| real.is_dir()) {
            for entry in fs::read_dir(&real).with_context(|| format!("`{path}` cannot be read"))? {
                let name = entry.with_context(|| format!("`{path}` cannot be read"))?.file_name();
                names.push(
                    name.to_str()
                        .map(str::to_owned)
                        .with_context(|| format!("`{path}` holds a name that is not text"))?,
                );
                if names.len() > FOLDER_ENTRIES {
                    bail!("`{path}` holds more than {FOLDER_ENTRIES} entries");
                }
            }
        }
        let folder = format!("{}/", path.trim_end_matches('/'));
        for key in self.laid_over.keys() {
            if let Some(name) = key.strip_prefix(&folder).and_then(|rest| rest.split('/').next()) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Lays a text over a file, as if it had been written.
    pub fn lay(&mut self, path: &str, text: String) {
        self.laid_over.insert(path.to_owned(), text);
    }

    /// What was laid over, by path.
    pub fn laid(&self) -> &BTreeMap<String, String> {
        &self.laid_over
    }

    /// Whether it is this machine itself, and no copy of one.
    pub fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The same tree with nothing laid over it.
    pub fn bare(&self) -> Self {
        Self { root: self.root.clone(), laid_over: BTreeMap::new() }
    }

    /// Where a file is to be written, following links that stay in the tree.
    pub fn target(&self, path: &str) -> anyhow::Result<PathBuf> {
        if let Some(real) = self.real(path)? {
            return Ok(real);
        }
        match path.trim_end_matches('/').rsplit_once('/') {
            Some((folder, name)) => Ok(self.target(folder)?.join(name)),
            None => Ok(self.root.clone()),
        }
    }

    fn real(&self, path: &str) -> anyhow::Result<Option<PathBuf>> {
        let real = match self.path(path).canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link that leads nowhere here may lead somewhere on the machine.
                if self.path(path).is_symlink() {
                    bail!("`{path}` is a link that leads out of `{}`, or nowhere", self.root.display());
                }
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("`{path}` cannot be read")),
        };
        if !real.starts_with(&self.root) {
            bail!("`{path}` is a link that leads out of `{}`", self.root.display());
        }
        Ok(Some(real))
    }
}
