//! House rules that neither rustfmt nor clippy can hold. Each failure names the file and what to do.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file longer than this owes a reason: a line `// Over 500 lines: <why>` within it.
const LINES: usize = 500;
const REASON: &str = "// Over 500 lines: ";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "types", "misc"];

#[test]
fn long_files_say_why_and_names_say_what() {
    let mut broken = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display();
        let lines = text.lines().count();
        let reason = text.lines().any(|line| line.strip_prefix(REASON).is_some_and(|why| why.len() > 10));
        if lines > LINES && !reason {
            broken.push(format!("{shown}: {lines} lines; split it, or write `{REASON}…` at its top"));
        }
        if path.file_stem().is_some_and(|stem| EMPTY_NAMES.iter().any(|name| stem == *name)) {
            broken.push(format!("{shown}: name it after what it holds"));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn lints_are_excused_with_a_reason_or_not_at_all() {
    // Written in two pieces so that this file does not find itself.
    let allow = ["#[", "allow("].concat();
    let allow_inner = ["#![", "allow("].concat();
    let mut broken = Vec::new();
    for path in sources() {
        for (n, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if line.contains(&allow) || line.contains(&allow_inner) {
                let shown = path.strip_prefix(root()).unwrap().display();
                broken.push(format!("{shown}:{}: use `#[expect(…, reason = \"…\")]`", n + 1));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for manifest in files(root(), "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = fs::read_to_string(&manifest).unwrap();
        let own_workspace = text.contains("[workspace]");
        assert!(
            own_workspace || text.contains("[lints]\nworkspace = true"),
            "{}: add `[lints]` with `workspace = true`",
            manifest.display()
        );
    }
}

fn sources() -> Vec<PathBuf> {
    let sources = files(root(), "rs");
    assert!(sources.len() > 20, "the walk found only {} files", sources.len());
    sources
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
