//! Where a policy, its cases and what they refer to are read from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{Diagnostics, limits};
use policies::authoring::PolicyFiles;

use crate::{files, sources::Fetching};

/// Folders within folders that are looked into.
const DEPTH: usize = 16;
/// Files of one kind that are looked at.
const MOST: usize = 10_000;

/// Files that were read, by name.
pub type Sources = BTreeMap<String, String>;

/// A file by the folder that names begin at, and its name from there. Nothing outside of the folder is read for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub folder: PathBuf,
    pub name: String,
}

impl Place {
    /// The place of a file that was named on the command line. Names begin at the working folder, so that they are
    /// shown as they were typed; for what lies elsewhere, at its own folder.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let within = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if within {
            return Ok(Self { folder: PathBuf::new(), name: name(path)? });
        }
        let folder = files::folder_of(path);
        // Cases in a folder `tests` speak of the policies in the folder above.
        let root = match (folder.file_name(), folder.parent()) {
            (Some(last), Some(above)) if last == "tests" => above,
            _ => folder,
        };
        let name = name(path.strip_prefix(root).unwrap_or(path))?;
        Ok(Self { folder: root.to_owned(), name })
    }

    /// Another file of the same folder.
    pub fn beside(&self, name: &str) -> Self {
        Self { folder: self.folder.clone(), name: name.to_owned() }
    }

    /// The path to open.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

fn name(path: &Path) -> anyhow::Result<String> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let names: Option<Vec<&str>> = parts.map(|part| part.as_os_str().to_str()).collect();
    Ok(names.with_context(|| format!("`{}` is not text", path.display()))?.join("/"))
}

/// Reads a policy with what it refers to. Its files are added to the sources, also when there are mistakes.
pub async fn policy(
    place: &Place,
    sources: &mut Sources,
    fetching: &mut Fetching,
) -> anyhow::Result<Result<PolicyFiles, Diagnostics>> {
    // A policy that is not there is misuse, not a mistake in a policy.
    files::read(&place.path(), limits::REVISION_FILE_BYTES)?;
    let (policy, read) = fetching.collect(&place.folder, &mut |load| PolicyFiles::collect(&place.name, load)).await;
    sources.extend(read);
    Ok(policy)
}

/// The files in a folder and those within it that are wanted, in order. Hidden folders, and those of build tools, are
/// passed over. `what` names the files.
pub fn files(folder: &Path, what: &str, wanted: &dyn Fn(&Path) -> bool) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    walk(folder, DEPTH, &mut |path| {
        if wanted(&path) {
            if found.len() >= MOST {
                bail!("there are more than {MOST} {what}: name a folder further down");
            }
            found.insert(path);
        }
        Ok(())
    })?;
    Ok(found)
}

fn walk(folder: &Path, depth: usize, each: &mut dyn FnMut(PathBuf) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("`{}` cannot be read", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = if folder == Path::new(".") { PathBuf::from(entry.file_name()) } else { entry.path() };
        let kind = entry.file_type()?;
        let passed_over = name.starts_with('.') || matches!(&*name, "target" | "node_modules");
        if kind.is_dir() && !passed_over && depth > 0 {
            walk(&path, depth - 1, each)?;
        } else if kind.is_file() {
            each(path)?;
        }
    }
    Ok(())
}
