//! Tells the program which commit it is built from, where that can be told: by `SLUICE_COMMIT`, else by git. A build never
//! fails for it, and needs no git.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SLUICE_COMMIT");
    let given = env::var("SLUICE_COMMIT").ok().filter(|commit| !commit.is_empty());
    // What is built while working on it would be built anew for each commit.
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let told = given.or_else(|| if release { of_git() } else { None });
    if let Some(commit) = told.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())) {
        println!("cargo:rustc-env=SLUICE_COMMIT={commit}");
    }
}

fn of_git() -> Option<String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).parent()?.canonicalize().ok()?;
    // The sources may lie, without a history of their own, within another repository.
    let of = Path::new(&git(&root, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if of != root {
        return None;
    }
    let commit = git(&root, &["rev-parse", "--short=12", "HEAD"])?;
    for moves in ["HEAD", "logs/HEAD"] {
        let path = git(&root, &["rev-parse", "--git-path", moves])?;
        let path = root.join(path);
        if fs::exists(&path).is_ok_and(|there| there) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let changed = git(&root, &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-changed") })
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let told = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    told.status.success().then(|| String::from_utf8_lossy(&told.stdout).trim().to_owned())
}
