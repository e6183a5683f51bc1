//! What is to be added: one value, every file that a pattern matches, or all that the repository's `.sluice.yml` names.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use contracts::{MaterialType, limits};
use globset::{GlobBuilder, GlobMatcher};

use super::manifest::{Entry, Manifest};
use crate::args;

/// Files that are looked at for a pattern.
const LOOKED_AT: usize = 100_000;
const DEPTH: usize = 32;

/// One thing to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The material's name, if it was said.
    pub name: Option<String>,
    /// A file, an image, a chart or a text.
    pub value: String,
    /// Its type, if it was said.
    pub kind: Option<MaterialType>,
    /// Its annotations.
    pub annotations: Vec<(String, String)>,
    /// Where it is written, in words, when it was not said with the command.
    pub written: Option<String>,
}

/// What the arguments mean.
pub fn of(args: &args::AttestationAdd) -> anyhow::Result<Vec<Wanted>> {
    let annotations: Vec<(String, String)> = args.annotations.iter().flatten().cloned().collect();
    let Some(value) = &args.value else {
        if args.name.is_some() || args.kind.is_some() {
            bail!("say what to add with --value");
        }
        let manifest = Manifest::find()?.filter(|manifest| !manifest.materials.is_empty());
        let manifest = manifest.context(
            "say what to add with --value FILE, or write a `.sluice.yml` with `materials:` and a path for each name",
        )?;
        return of_manifest(&manifest, &annotations);
    };
    let one = Wanted { name: args.name.clone(), value: value.clone(), kind: args.kind, annotations, written: None };
    spread(one)
}

fn of_manifest(manifest: &Manifest, annotations: &[(String, String)]) -> anyhow::Result<Vec<Wanted>> {
    let folder = manifest.path.parent().unwrap_or(Path::new(""));
    let mut all = Vec::new();
    for (name, Entry { value, kind, annotations: own }) in &manifest.materials {
        let beside = folder.join(value);
        let file = beside.exists() || is_pattern(value);
        let value = if file { beside.display().to_string() } else { value.clone() };
        let own = own.iter().map(|(key, value)| (key.clone(), value.clone()));
        let annotations = own.chain(annotations.iter().cloned()).collect();
        let written = format!("the material `{name}` of `{}`", manifest.path.display());
        let one = Wanted { name: Some(name.clone()), value, kind: *kind, annotations, written: Some(written.clone()) };
        all.extend(spread(one).context(written)?);
    }
    Ok(all)
}

fn is_pattern(value: &str) -> bool {
    value.contains(['*', '?', '[']) && !Path::new(value).exists()
}

/// A pattern becomes the files that it matches, in the order of their paths.
fn spread(one: Wanted) -> anyhow::Result<Vec<Wanted>> {
    if one.kind == Some(MaterialType::String) || !is_pattern(&one.value) {
        return Ok(vec![one]);
    }
    let files = matching(&one.value)?;
    match files.as_slice() {
        [] => bail!("no file matches `{}`", one.value),
        [only] => Ok(vec![Wanted { value: only.clone(), ..one }]),
        _ if files.len() > limits::STATEMENT_MATERIALS => {
            bail!("`{}` matches {} files, and {} may be added", one.value, files.len(), limits::STATEMENT_MATERIALS)
        }
        _ => Ok(files.iter().map(|file| numbered(&one, file)).collect()),
    }
}

/// One of several files for one name: called after the name and the file.
fn numbered(one: &Wanted, file: &str) -> Wanted {
    let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = one.name.as_ref().map(|name| format!("{name}-{}", slug(&stem)));
    Wanted { name, value: file.to_owned(), ..one.clone() }
}

/// A material's name from any text.
pub fn slug(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(60).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "material".to_owned() } else { slug.to_owned() }
}

fn matching(pattern: &str) -> anyhow::Result<Vec<String>> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let matcher = glob.with_context(|| format!("`{pattern}` is not a pattern"))?.compile_matcher();
    // What comes before the first wildcard is a folder.
    let fixed = Path::new(pattern).components().take_while(
        |part| !matches!(part, Component::Normal(name) if name.to_string_lossy().contains(['*', '?', '[', '{'])),
    );
    let root: PathBuf = fixed.collect();
    let mut found = Vec::new();
    let mut looked_at = 0;
    walk(&root, &matcher, DEPTH, &mut looked_at, &mut found)?;
    found.sort();
    Ok(found)
}

/// Links are not followed into folders, so that no walk goes in circles.
fn walk(
    folder: &Path,
    matcher: &GlobMatcher,
    depth: usize,
    looked_at: &mut usize,
    found: &mut Vec<String>,
) -> anyhow::Result<()> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(listed) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(|| format!("`{}` cannot be read", listed.display()))?;
        *looked_at += 1;
        if *looked_at > LOOKED_AT {
            bail!("the pattern looks at more than {LOOKED_AT} files: begin it with a folder");
        }
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type());
        if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
            if depth > 0 {
                walk(&path, matcher, depth - 1, looked_at, found)?;
            }
        } else if matcher.is_match(&path) && path.is_file() {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_the_files_that_it_matches() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(folder.path().join("r/deep")).unwrap();
        for name in ["r/TEST-b.xml", "r/TEST-a.xml", "r/deep/c.xml", "r/d.json"] {
            fs::write(path(name), "x").unwrap();
        }
        let wanted = |name: Option<&str>, value: &str| {
            let name = name.map(str::to_owned);
            spread(Wanted { name, value: path(value), kind: None, annotations: Vec::new(), written: None })
        };
        let told = |all: Vec<Wanted>| all.into_iter().map(|one| (one.name, one.value)).collect::<Vec<_>>();
        assert_eq!(
            told(wanted(Some("tests"), "r/*.xml").unwrap()),
            [
                (Some("tests-test-a".to_owned()), path("r/TEST-a.xml")),
                (Some("tests-test-b".to_owned()), path("r/TEST-b.xml"))
            ]
        );
        assert_eq!(told(wanted(Some("one"), "r/*.json").unwrap()), [(Some("one".to_owned()), path("r/d.json"))]);
        assert_eq!(wanted(None, "r/**/*.xml").unwrap().len(), 3);
        assert!(wanted(None, "r/*.txt").is_err());
        assert_eq!(told(wanted(None, "plain.txt").unwrap()), [(None, path("plain.txt"))]);
    }
}
